//! The store on a disk in memory: every order of events that one seed or another gives, and tables of the events that
//! are worth a name.
//!
//! `STORE_SECONDS` makes the simulations run longer, from `STORE_SEED` on. What fails names its seed; with `STORE_SEED`
//! set to that and `STORE_TRACE=1` it tells each step.

#[path = "store/alone.rs"]
mod alone;
#[path = "store/disk.rs"]
mod disk;
#[path = "common/random.rs"]
mod random;
#[path = "store/tables.rs"]
mod tables;
#[path = "store/together.rs"]
mod together;
#[path = "store/turns.rs"]
mod turns;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use gitops_status_server::status;
use gitops_status_server::store::Buffers;
use gitops_status_server::summary::Summary;

/// How many seeds are simulated when nothing else is asked for.
const SEEDS: u64 = 1_000;
const SEEDS_TOGETHER: u64 = 100;

/// They are large, and a `static` costs only what is written.
static BUFFERS: [Mutex<Buffers>; 24] = [const { Mutex::new(Buffers::new()) }; 24];

/// Some that nobody uses.
fn buffers() -> MutexGuard<'static, Buffers> {
    loop {
        for buffers in &BUFFERS {
            match buffers.try_lock() {
                Ok(guard) => return guard,
                Err(std::sync::TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                Err(std::sync::TryLockError::WouldBlock) => {}
            }
        }
        std::thread::yield_now();
    }
}

/// A status that is like no other one, of a length that others have too.
fn document(kind: &str, number: u64, more: usize) -> Vec<u8> {
    format!("{{\"repo\":\"{kind}{}\",\"server\":\"{}\"}}", 100_000 + number, "x".repeat(more)).into_bytes()
}

/// What the rows of a history know a status by.
fn fingerprint(status: &[u8]) -> u64 {
    Summary::of(&status::read(status).expect("it is a status")).fingerprint
}

/// What a simulation has seen: one that never came to the interesting places proves nothing.
#[derive(Debug, Default)]
struct Tally {
    events: BTreeMap<&'static str, u64>,
    /// The most notes of one operation.
    notes: usize,
}

impl Tally {
    fn event(&mut self, name: &'static str) {
        *self.events.entry(name).or_default() += 1;
    }
}

/// Names the seed when a simulation fails.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Replay(seed) = self;
            eprintln!(
                "seed {seed} failed; to see its steps:\n  STORE_SEED={seed} STORE_TRACE=1 cargo test --test store"
            );
        }
    }
}

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")))
}

/// Runs `one` for as many seeds as are asked for, and says whether that was the usual number.
fn simulate(seeds: u64, mut one: impl FnMut(u64, bool, &mut Tally)) -> (Tally, bool) {
    let first = number("STORE_SEED");
    let time = number("STORE_SECONDS").map(Duration::from_secs);
    let trace = std::env::var_os("STORE_TRACE").is_some();
    let begun = Instant::now();
    let mut tally = Tally::default();
    let mut seed = first.unwrap_or(1);
    loop {
        let replay = Replay(seed);
        one(seed, trace, &mut tally);
        drop(replay);
        let more = match (time, first) {
            (Some(time), _) => begun.elapsed() < time,
            (None, Some(_)) => false,
            (None, None) => seed < seeds,
        };
        if !more {
            break;
        }
        seed += 1;
    }
    println!("seeds up to {seed}: {tally:#?}");
    (tally, seed >= seeds && first.is_none())
}

#[test]
fn whatever_fails_and_whoever_crashes_the_status_is_the_last_one_that_was_acknowledged() {
    let mut room = buffers();
    let (tally, usual) = simulate(SEEDS, |seed, trace, tally| alone::simulate(seed, trace, tally, &mut room));
    if usual {
        let rare = |name: &str| name.starts_with("allowed");
        assert!(tally.events.iter().all(|(name, &count)| count >= if rare(name) { 1 } else { 10 }), "{tally:?}");
        assert_eq!(tally.events.len(), 18, "{tally:?}");
    }
}

#[test]
fn replicas_whose_steps_are_mixed_end_with_one_of_the_last_statuses_everywhere() {
    let (tally, usual) = simulate(SEEDS_TOGETHER, together::simulate);
    if usual {
        assert!(tally.events.values().all(|&count| count >= 10), "{tally:?}");
        assert_eq!(tally.events.len(), 6, "{tally:?}");
    }
}
