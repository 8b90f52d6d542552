//! The JSON judge keeps up with `serde_json`, which throws away what it reads as well, and 1 MiB is read in a moment.
//!
//! What is compared runs in turn, in short rounds, and the best round of each counts: other programs take time from some
//! rounds and give it to none. A build without optimisation says nothing, and leaves these tests out.
//! `cargo test --release --test speed -- --nocapture` shows the figures too.

#[path = "../benches/inputs/mod.rs"]
mod inputs;

use std::hint::black_box;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use gitops_status_server::{json, status};
use serde::de::IgnoredAny;

const ROUNDS: u32 = 40;
/// How many there are until something is said to be too slow: a few seconds of them.
const ROUNDS_MAX: u32 = 10_000;
/// How long a round takes at least: so long that it does not matter how long the clock takes.
const ROUND: Duration = Duration::from_micros(100);

/// How long 1 MiB may take.
const MOMENT: Duration = Duration::from_millis(3);

/// Nothing else runs in this process while something is measured.
static ALONE: Mutex<()> = Mutex::new(());

/// How long each of `works` takes once, at best. Where that is not `enough`, there are more rounds.
fn best<const N: usize>(mut works: [&mut dyn FnMut(); N], enough: impl Fn([Duration; N]) -> bool) -> [Duration; N] {
    let round = |work: &mut dyn FnMut(), times: u32| {
        let begun = Instant::now();
        (0..times).for_each(|_| work());
        begun.elapsed()
    };
    let mut times = [1; N];
    for (work, times) in works.iter_mut().zip(&mut times) {
        while round(*work, *times) < ROUND {
            *times *= 2;
        }
    }
    let mut best = [Duration::MAX; N];
    for number in 0..ROUNDS_MAX {
        if number >= ROUNDS && enough(best) {
            break;
        }
        for ((work, times), best) in works.iter_mut().zip(times).zip(&mut best) {
            *best = (*best).min(round(*work, times) / times);
        }
    }
    best
}

/// What `serde_json` says of `text` when it throws away what it reads.
fn serde_json(text: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

/// The same of a text that has to be UTF-8, which it does not look at in what it throws away.
fn serde_json_and_utf8(text: &[u8]) -> bool {
    str::from_utf8(text).is_ok_and(|text| serde_json(text.as_bytes()))
}

/// Fails where `check` takes longer than `peer`, or more than `percent` of its time.
fn assert_keeps_up(name: &str, text: &[u8], peer: fn(&[u8]) -> bool, percent: u32) {
    assert!(json::check(text).is_ok() && peer(text), "{name} is JSON");
    let keeps_up = |[ours, theirs]: [Duration; 2]| ours <= theirs * percent / 100;
    let times = best(
        [&mut || _ = black_box(json::check(black_box(text))), &mut || _ = black_box(peer(black_box(text)))],
        keeps_up,
    );
    let [ours, theirs] = times;
    let rate = |time: Duration| text.len() as f64 / time.as_nanos() as f64;
    println!("{name:16} {ours:10.2?} {:6.2} GB/s; serde_json {theirs:10.2?} {:6.2} GB/s", rate(ours), rate(theirs));
    assert!(keeps_up(times), "{name}: {ours:?}, and serde_json {theirs:?}");
}

#[test]
#[cfg_attr(debug_assertions, ignore = "not optimised")]
fn the_judge_is_at_least_as_fast_as_serde_json_on_a_status_of_any_size() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for (name, size) in inputs::SIZES {
        assert_keeps_up(name, &inputs::status(size), serde_json, 100);
    }
}

#[test]
#[cfg_attr(debug_assertions, ignore = "not optimised")]
fn no_kind_of_text_makes_the_judge_slower_than_serde_json() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for (name, text) in inputs::shapes() {
        let beyond_ascii = text.iter().filter(|byte| !byte.is_ascii()).count();
        let peer = if beyond_ascii > text.len() / 10 { serde_json_and_utf8 } else { serde_json };
        // Where one comes out a little ahead on one machine, the other may on the next.
        assert_keeps_up(name, &text, peer, 120);
    }
}

#[test]
#[cfg_attr(debug_assertions, ignore = "not optimised")]
fn a_status_of_1_mib_is_judged_and_read_in_less_than_3_ms() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for (name, text) in [("as programs write it", inputs::status(1 << 20)), ("as people do", inputs::pretty(3 << 18))] {
        let [judged, read] = best(
            [&mut || _ = black_box(json::check(black_box(&text))), &mut || {
                _ = black_box(status::read(black_box(&text)))
            }],
            |[_, read]| read < MOMENT,
        );
        println!("{} bytes {name}: judged in {judged:.2?}, judged and read in {read:.2?}", text.len());
        assert!(read < MOMENT, "{name}: {read:?}");
    }
}
