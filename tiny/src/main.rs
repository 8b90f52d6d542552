//! The process without the start, the threads and the allocator of the standard library: what `./build-tiny` builds.
//!
//! The program is the same one, `gitops_status_server::program`. What the standard library does around it, for whatever
//! a program might do, is a quarter of a binary of this size: a handler for stacks that overflow and a tree of threads
//! for it, buffered standard output, destructors of thread-local values, an allocator for any pattern. Here is what this
//! program needs of it. All that is unsafe is in this file.

#![no_main]

mod memory;

use std::ffi::{CStr, OsStr, OsString, c_char, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt as _;
use std::ptr;

use gitops_status_server::program;
use gitops_status_server::worker::Job;

#[global_allocator]
static ALLOCATOR: memory::Allocator = memory::Allocator::new();

/// What the libc calls.
// SAFETY: nothing else has this name.
#[unsafe(no_mangle)]
extern "C" fn main(_: c_int, arguments: *const *const c_char, environment: *const *const c_char) -> c_int {
    prepare();
    // SAFETY: that is what the libc calls `main` with, and nobody changes it as long as the process runs.
    let (arguments, environment) = unsafe { (strings(arguments), strings(environment)) };
    let variable = |name: &str| {
        let value = |text: &[u8]| Some(owned(text.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?));
        environment.clone().find_map(value)
    };
    program::run(arguments.map(owned).skip(1), variable, spawn).into()
}

/// As the standard library does it at the start of a process: what is opened later is not taken for a standard stream that
/// was closed, and a pipe that nobody reads is an error and no signal.
fn prepare() {
    for stream in 0..3 {
        // SAFETY: these calls touch no memory but the name.
        unsafe {
            if libc::fcntl(stream, libc::F_GETFD) == -1 && libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) == -1 {
                libc::abort();
            }
        }
    }
    // SAFETY: there is no handler.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// The strings of a list that a null pointer ends.
///
/// # Safety
/// It is one, and never changes.
unsafe fn strings(list: *const *const c_char) -> impl Iterator<Item = &'static [u8]> + Clone {
    (0..).map_while(move |index| {
        // SAFETY: the one before was not the end.
        let string = unsafe { *list.add(index) };
        // SAFETY: what is not null is a string.
        (!string.is_null()).then(|| unsafe { CStr::from_ptr(string) }.to_bytes())
    })
}

fn owned(text: &[u8]) -> OsString {
    OsStr::from_bytes(text).to_owned()
}

/// Runs `job` in a thread that nobody waits for.
fn spawn(job: Job) -> io::Result<()> {
    extern "C" fn begin(job: *mut c_void) -> *mut c_void {
        // SAFETY: it is the pointer from below, and is given to one thread once.
        let job = unsafe { Box::from_raw(job.cast::<Job>()) };
        // SAFETY: the name is shorter than 16 bytes.
        unsafe { libc::prctl(libc::PR_SET_NAME, c"store".as_ptr()) };
        job();
        ptr::null_mut()
    }
    let job = Box::into_raw(Box::new(job));
    let mut thread = MaybeUninit::uninit();
    // SAFETY: `begin` takes what it is given here.
    match unsafe { libc::pthread_create(thread.as_mut_ptr(), ptr::null(), begin, job.cast()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}
