//! What the program needs of the process that it runs in, and how the standard library and `signal-hook` give it.

use std::io;
use std::sync::atomic::AtomicBool;
use std::thread;

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use signal_hook::low_level::pipe;

use crate::store::Fault;

/// SIGTERM or SIGINT came.
pub static STOP: AtomicBool = AtomicBool::new(false);

/// SIGHUP came.
pub static HANG_UP: AtomicBool = AtomicBool::new(false);

/// How many bytes of stack a thread has. It needs a page or two.
const STACK: usize = 64 << 10;

/// What a thread does.
pub type Job = Box<dyn FnOnce() + Send>;

/// A process as the program needs it.
pub trait Ground {
    /// Takes over SIGTERM, SIGINT and SIGHUP: they set what stands above, and then write something to `wake`. A second one
    /// that ends the process does so at once, with the exit code 1, whatever the process is at. SIGXFSZ is left to those
    /// who write: else a file that is larger than RLIMIT_FSIZE allows would end the process, instead of failing.
    ///
    /// # Errors
    /// The system refuses it.
    fn take_signals(&self, wake: &'static OwnedFd) -> Result<(), Fault>;

    /// Runs `job` in a thread of its own, for which nobody waits.
    ///
    /// # Errors
    /// The system refuses a thread.
    fn spawn(&self, job: Job) -> Result<(), Fault>;
}

/// The process of the standard library.
#[derive(Debug)]
pub struct Process;

impl Ground for Process {
    fn take_signals(&self, wake: &'static OwnedFd) -> Result<(), Fault> {
        for signal in [SIGTERM, SIGINT] {
            flag::register_conditional_shutdown(signal, 1, &STOP)?;
            flag::register(signal, &STOP)?;
            pipe::register(signal, wake.try_clone()?)?;
        }
        flag::register(SIGHUP, &HANG_UP)?;
        pipe::register(SIGHUP, wake.try_clone()?)?;
        static IGNORED: AtomicBool = AtomicBool::new(false);
        flag::register(SIGXFSZ, &IGNORED)?;
        Ok(())
    }

    fn spawn(&self, job: Job) -> Result<(), Fault> {
        thread::Builder::new().name("store".to_owned()).stack_size(STACK).spawn(job)?;
        Ok(())
    }
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Self {
        Fault::Os(errno.raw_os_error())
    }
}

impl From<io::Error> for Fault {
    /// For what the system says; what is not of the system is as if it could not do it.
    fn from(error: io::Error) -> Self {
        Errno::from_io_error(&error).unwrap_or(Errno::IO).into()
    }
}
