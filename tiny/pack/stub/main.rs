//! The stub: what runs first in the packed binary. It unpacks the program to where that was linked to be, and goes there.
//!
//! The system has mapped the packed file as its program headers say: the headers and this, to be executed; what is packed,
//! to be read; where that will be unpacked, empty memory that can be written; and the data of the program. Nothing here
//! needs relocations, a libc, or more of the stack than the program does. What the program finds is what the system would
//! have given it: the same stack, and an auxiliary vector that leads to program headers which say where its parts are.
//!
//! No huge page makes more of the empty memory resident than is written: it is far smaller than one, and a segment of its
//! own.

#![no_std]
#![no_main]
#![no_builtins]

use core::arch::{asm, global_asm};
use core::panic::PanicInfo;
use core::slice::{from_raw_parts, from_raw_parts_mut};

#[path = "../src/inflate.rs"]
mod inflate;
#[path = "../src/operands.rs"]
mod operands;
#[path = "../src/plan.rs"]
mod plan;

use plan::Plan;

// The stack is aligned for a call (System V ABI, AMD64, 3.4.1), and as it was when that returns. RDX is a function that is
// called at exit; there is none.
global_asm!(
    ".section .start, \"ax\"",
    ".globl _start",
    "_start:",
    "lea rdi, [rip + headers]",
    "lea rsi, [rip + plan]",
    "call {unpack}",
    "xor edx, edx",
    "jmp rax",
    unpack = sym unpack,
);

/// Of a page of memory.
const PAGE: usize = 4096;

/// Is given where the ELF header and the plan are, and gives where the program starts.
unsafe extern "C" fn unpack(base: usize, plan_at: usize) -> usize {
    // SAFETY: the packer has put it there.
    let given = unsafe { &*(plan_at as *const Plan) };
    let (packed_at, packed_size) = (base + given.packed as usize, given.packed_size as usize);
    // SAFETY: all of the plan but its sum, and of two segments what they have in the file. Nothing writes to them meanwhile.
    let (fields, data, packed) = unsafe {
        (
            from_raw_parts((&raw const given.data).cast(), size_of::<Plan>() - size_of_val(&given.sum)),
            from_raw_parts((base + given.data as usize) as *const u8, given.data_size as usize),
            from_raw_parts(packed_at as *const u8, packed_size),
        )
    };
    if [fields, data, packed].into_iter().fold(0, plan::sum) != given.sum {
        die(DAMAGED);
    }
    let (image_at, image_size) = (base + given.image as usize, given.image_size as usize);
    // SAFETY: that is a segment of its own, which nobody else knows.
    let image = unsafe { from_raw_parts_mut(image_at as *mut u8, image_size) };
    if inflate::inflate(packed, image).is_none() {
        die(DAMAGED);
    }
    if let Some(code) = image.get_mut(given.code as usize..) {
        operands::to_relative(code);
    }
    let pages = image_size.next_multiple_of(PAGE);
    if call(SYS_MPROTECT, [image_at, pages, PROT_READ | PROT_EXEC, 0, 0, 0]) != 0 {
        remap(image_at, pages);
    }
    let entry = base + given.entry as usize;
    // What was packed is no longer needed.
    let (first, end) = (packed_at / PAGE * PAGE, packed_at + packed_size);
    if call(SYS_MUNMAP, [first, end - first, 0, 0, 0, 0]) != 0 {
        die(REFUSED);
    }
    entry
}

/// The other way to execute what was unpacked, where nothing may be made executable that could be written before, as by
/// `MemoryDenyWriteExecute=` of systemd: as the content of a file in memory, which is mapped to be executed from the
/// start.
fn remap(at: usize, size: usize) {
    let name = c"gitops-status-server".as_ptr().addr();
    let mut file = call(SYS_MEMFD_CREATE, [name, MFD_CLOEXEC | MFD_NOEXEC_SEAL, 0, 0, 0, 0]);
    if file == -EINVAL {
        // The system is older than Linux 6.3.
        file = call(SYS_MEMFD_CREATE, [name, MFD_CLOEXEC, 0, 0, 0, 0]);
    }
    let file = file as usize;
    if call(SYS_WRITE, [file, at, size, 0, 0, 0]) != size as isize
        || call(SYS_MMAP, [at, size, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, file, 0]) != at as isize
        || call(SYS_CLOSE, [file, 0, 0, 0, 0, 0]) != 0
    {
        die(REFUSED);
    }
}

const DAMAGED: &str = "gitops-status-server: this file is damaged\n";
const REFUSED: &str =
    "gitops-status-server: the system does not let this file unpack itself: take the one that stable Rust builds\n";

fn die(why: &str) -> ! {
    call(SYS_WRITE, [2, why.as_ptr().addr(), why.len(), 0, 0, 0]);
    loop {
        call(SYS_EXIT_GROUP, [1, 0, 0, 0, 0, 0]);
    }
}

const SYS_WRITE: usize = 1;
const SYS_CLOSE: usize = 3;
const SYS_MMAP: usize = 9;
const SYS_MPROTECT: usize = 10;
const SYS_MUNMAP: usize = 11;
const SYS_EXIT_GROUP: usize = 231;
const SYS_MEMFD_CREATE: usize = 319;

const PROT_READ: usize = 1;
const PROT_EXEC: usize = 4;
const MAP_PRIVATE: usize = 2;
const MAP_FIXED: usize = 0x10;
const MFD_CLOEXEC: usize = 1;
const MFD_NOEXEC_SEAL: usize = 8;
const EINVAL: isize = 22;

/// A system call. What it gives is negative where it fails.
fn call(number: usize, [first, second, third, fourth, fifth, sixth]: [usize; 6]) -> isize {
    let result;
    // SAFETY: the callers know what they call. What it changes in memory is no variable of anybody here.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") first,
            in("rsi") second,
            in("rdx") third,
            in("r10") fourth,
            in("r8") fifth,
            in("r9") sixth,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// The compiler calls it to clear what is larger than some words.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, size: usize) -> *mut u8 {
    // SAFETY: the direction flag is clear, and the caller says that there are so many bytes.
    unsafe {
        asm!("rep stosb", inout("rcx") size => _, inout("rdi") to => _, in("al") byte as u8, options(nostack, preserves_flags))
    };
    to
}

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    die(DAMAGED)
}
