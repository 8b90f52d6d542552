//! The thread that waits for files, so that the server does not: a disk may take seconds, and a network file system
//! minutes, in which probes want their answers.
//!
//! It has one thing to do at a time. While it does that it holds the lock on what both share, and the server leaves that
//! alone until it is woken, so neither ever waits for the lock.

use std::fmt;
use std::mem::take;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fd::OwnedFd;

use crate::config::Config;
use crate::connections::{Finished, Work};
use crate::files::Files;
use crate::ground::Ground;
use crate::history::History;
use crate::log::Log;
use crate::store::{Buffers, Fault, Note, Notes, Reason, Sources, Store, Trouble};
use crate::text::Lossy;

/// The memory of the store. Its lock is taken once.
static BUFFERS: Mutex<Buffers> = Mutex::new(Buffers::new());

/// Where the files are. There is at least one.
#[derive(Debug, Clone, Copy)]
pub struct Places {
    seed: Option<&'static Path>,
    state: Option<&'static Path>,
}

impl Places {
    /// As configured.
    pub fn of(config: &Config) -> Option<Self> {
        let places = Places { seed: config.seed_file, state: config.state_dir };
        (places.seed.is_some() || places.state.is_some()).then_some(places)
    }
}

/// Why files cannot be used.
#[derive(Debug)]
pub enum WorkerError {
    /// The first status cannot be had from this file.
    Seed(&'static Path, Reason),
    /// Another server of this process uses the memory for them.
    Taken,
    /// The system refuses a thread.
    System(Fault),
}

impl fmt::Display for WorkerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WorkerError::Seed(path, reason) => write!(f, "seed file {}: {reason}", shown(path)),
            WorkerError::Taken => f.write_str("another server of this process has files"),
            WorkerError::System(error) => write!(f, "cannot have a thread for files: {error}"),
        }
    }
}

/// What to do.
#[derive(Debug, Clone, Copy)]
enum Order {
    Look,
    Store,
}

/// What came of it.
#[derive(Debug)]
struct Done {
    stored: Option<Result<(), Trouble>>,
    changed: bool,
}

#[derive(Debug)]
struct Desk {
    store: Store<'static, Files>,
    order: Option<Order>,
    done: Option<Done>,
}

#[derive(Debug)]
struct Office {
    desk: Mutex<Desk>,
    ordered: Condvar,
    /// Something is done, and nobody holds the lock.
    is_done: AtomicBool,
}

impl Office {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread, and who it works for.
#[derive(Debug)]
pub struct Worker {
    office: &'static Office,
    places: Places,
}

impl Worker {
    /// Reads the files, of which none is larger than `max_bytes`. `found` is told what they say: the status, which is empty
    /// if there is none, what was before, and why the directory is not usable, if it is not. Then starts the thread on `ground`, which writes
    /// to `wake` whenever something is done.
    ///
    /// # Errors
    /// See [`WorkerError`].
    pub fn start(
        places: Places,
        max_bytes: usize,
        wake: &'static OwnedFd,
        log: &Log,
        ground: &dyn Ground,
        found: impl FnOnce(&[u8], Option<&History>, Option<Trouble>),
    ) -> Result<Self, WorkerError> {
        // Neither they nor the office are ever given back, for the thread runs as long as the process.
        let buffers = Box::leak(Box::new(BUFFERS.try_lock().map_err(|_| WorkerError::Taken)?));
        let Places { seed, state } = places;
        let sources = Sources { state: state.is_some(), seed: seed.is_some(), max_bytes };
        let files = Files::new(state, seed);
        let desk = Desk { store: Store::new(files, sources, buffers), order: None, done: None };
        let is_done = AtomicBool::new(false);
        let office = &*Box::leak(Box::new(Office { desk: Mutex::new(desk), ordered: Condvar::new(), is_done }));
        let mut desk = office.desk();
        desk.store.begin().map_err(|reason| WorkerError::Seed(seed.unwrap_or(Path::new("")), reason))?;
        let notes = desk.store.take_notes();
        let trouble = desk.store.trouble();
        desk.store.look_back(|status, history| found(status, history, trouble));
        drop(desk);
        let worker = Worker { office, places };
        worker.tell(&notes, log);
        ground.spawn(Box::new(move || work(office, wake))).map_err(WorkerError::System)?;
        Ok(worker)
    }

    /// Begins some work. Nothing else may be under way.
    pub fn begin(&self, work: Work<'_>) {
        let mut desk = self.office.desk();
        desk.order = Some(match work {
            Work::Look => Order::Look,
            Work::Store(status) => {
                desk.store.hand_over(status);
                Order::Store
            }
        });
        drop(desk);
        self.office.ordered.notify_one();
    }

    /// What `tell` makes of what came of the work, if it is done, and what the log should tell.
    pub fn take_finished<T>(&self, tell: impl FnOnce(&Finished<'_>) -> T) -> Option<(T, Notes)> {
        if !self.office.is_done.swap(false, Ordering::Acquire) {
            return None;
        }
        let mut desk = self.office.desk();
        let Done { stored, changed } = desk.done.take()?;
        let notes = desk.store.take_notes();
        let (trouble, keeps) = (desk.store.trouble(), desk.store.has_directory());
        let told = desk.store.look_back(|status, history| {
            tell(&Finished { stored, changed: changed.then_some(status), history, trouble, keeps })
        });
        Some((told, notes))
    }

    /// Logs what happened to the files.
    pub fn tell(&self, notes: &Notes, log: &Log) {
        let seed = shown(self.places.seed.unwrap_or(Path::new("")));
        let state = shown(self.places.state.unwrap_or(Path::new("")));
        for note in notes {
            match note {
                Note::SeedTaken(bytes) => log.info(format_args!("seed file {seed}: {bytes} bytes")),
                Note::SeedRefused(reason, count) => log.error(format_args!(
                    "seed file {seed} is refused and the old status stays: {reason} ({count} refused)"
                )),
                Note::NoState => log.info(format_args!("state {state}/status.json: none yet")),
                Note::StateTaken(bytes) => log.info(format_args!("state {state}/status.json: {bytes} bytes")),
                Note::StateRefused(reason, count) => log.error(format_args!(
                    "state {state}/status.json is refused and the old status stays: {reason} ({count} refused)"
                )),
                Note::SetAside(reason) => log.error(format_args!(
                    "state {state}/status.json is no status, and is {state}/status.json.refused now: {reason}"
                )),
                Note::Restored => log.info(format_args!("state {state}/status.json was gone and is written anew")),
                Note::Trouble(trouble) => log.error(format_args!("state directory {state}: {trouble}")),
                Note::Usable => log.info(format_args!("state directory {state}: usable again")),
            }
        }
    }
}

fn shown(path: &Path) -> Lossy<'_> {
    Lossy(path.as_os_str().as_bytes())
}

fn work(office: &Office, wake: &OwnedFd) {
    let mut desk = office.desk();
    loop {
        desk = office.ordered.wait_while(desk, |desk| desk.order.is_none()).unwrap_or_else(PoisonError::into_inner);
        let done = match take(&mut desk.order) {
            Some(Order::Look) => Done { stored: None, changed: desk.store.look() },
            Some(Order::Store) => {
                let (changed, stored) = desk.store.post();
                // A status that was stored is newer than what somebody else has changed before.
                Done { stored: Some(stored), changed: changed && stored.is_err() }
            }
            None => continue,
        };
        desk.done = Some(done);
        drop(desk);
        // The server is waiting for this, or it is asleep without a deadline. A pipe that is full wakes it as well.
        office.is_done.store(true, Ordering::Release);
        let _ = rustix::io::write(wake, &[0]);
        desk = office.desk();
    }
}
