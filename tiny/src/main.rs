//! The process without the start, the threads and the allocator of the standard library: what `./build-tiny` builds.
//!
//! The program is the same one, `gitops_status_server::program`. What the standard library does around it, for whatever
//! a program might do, is a quarter of a binary of this size: a handler for stacks that overflow and a tree of threads
//! for it, buffered standard output, destructors of thread-local values, an allocator for any pattern. Here is what this
//! program needs of it. All that is unsafe is in this package.

#![no_main]

mod memory;

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use gitops_status_server::ground::{Ground, HANG_UP, Job, STOP};
use gitops_status_server::program;
use gitops_status_server::store::Fault;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::fcntl_getfd;
use rustix::stdio::{stderr, stdin, stdout};
use rustix::thread::set_name;

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
        let value = |text: &'static [u8]| text.strip_prefix(name.as_bytes())?.strip_prefix(b"=").map(OsStr::from_bytes);
        environment.clone().find_map(value)
    };
    program::run(arguments.map(OsStr::from_bytes).skip(1), variable, &Process).into()
}

/// As the standard library does it at the start of a process: what is opened later is not taken for a standard stream that
/// was closed, and a pipe that nobody reads is an error and no signal.
fn prepare() {
    for stream in [stdin(), stdout(), stderr()] {
        if fcntl_getfd(stream).is_err() {
            match open(c"/dev/null", OFlags::RDWR, Mode::empty()) {
                // It has the lowest number that is free, which is this one.
                Ok(null) => mem::forget(null),
                Err(_) => panic!("nothing can stand in for a standard stream"),
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

/// The process as it is.
struct Process;

impl Ground for Process {
    fn take_signals(&self, wake: &'static OwnedFd) -> Result<(), Fault> {
        WAKE.store(wake.as_raw_fd(), Ordering::Relaxed);
        let handler = on_signal as extern "C" fn(c_int) as libc::sighandler_t;
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGXFSZ] {
            let handler = if signal == libc::SIGXFSZ { libc::SIG_IGN } else { handler };
            // SAFETY: the handler does nothing that a handler may not do.
            if unsafe { libc::signal(signal, handler) } == libc::SIG_ERR {
                return Err(Fault::Os(libc::EINVAL));
            }
        }
        Ok(())
    }

    fn spawn(&self, job: Job) -> Result<(), Fault> {
        extern "C" fn begin(job: *mut c_void) -> *mut c_void {
            // SAFETY: it is the pointer from below, and is given to one thread once.
            let job = unsafe { Box::from_raw(job.cast::<Job>()) };
            let _ = set_name(c"store");
            job();
            ptr::null_mut()
        }
        let job = Box::into_raw(Box::new(job));
        let mut thread = MaybeUninit::uninit();
        // SAFETY: `begin` takes what it is given here.
        match unsafe { libc::pthread_create(thread.as_mut_ptr(), ptr::null(), begin, job.cast()) } {
            0 => Ok(()),
            error => Err(Fault::Os(error)),
        }
    }
}

/// Where the handler writes.
static WAKE: AtomicI32 = AtomicI32::new(-1);

/// What is called here may be called by a handler (signal-safety(7)), and what may change `errno` puts it back.
extern "C" fn on_signal(signal: c_int) {
    if signal == libc::SIGHUP {
        HANG_UP.store(true, Ordering::Relaxed);
    } else if STOP.swap(true, Ordering::Relaxed) {
        // SAFETY: it ends the process, and nothing else.
        unsafe { libc::_exit(1) };
    }
    // SAFETY: there is a byte to write, and each thread has an `errno`. A pipe that is full wakes as well.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        libc::write(WAKE.load(Ordering::Relaxed), [0_u8].as_ptr().cast(), 1);
        *errno = before;
    }
}

/// What the standard library refers to for a panic that unwinds, and nothing calls: a panic aborts. Without these names
/// here the unwinder would be linked, and with it the formatted output of the libc, to complain by.
macro_rules! never_called {
    ($($name:ident)*) => {
        $(
            // SAFETY: nothing else has this name once the unwinder is left out.
            #[unsafe(no_mangle)]
            extern "C" fn $name() -> ! {
                unreachable!()
            }
        )*
    };
}

never_called! {
    _Unwind_Backtrace
    _Unwind_GetDataRelBase
    _Unwind_GetIP
    _Unwind_GetIPInfo
    _Unwind_GetLanguageSpecificData
    _Unwind_GetRegionStart
    _Unwind_GetTextRelBase
    _Unwind_Resume
    _Unwind_SetGR
    _Unwind_SetIP
}
