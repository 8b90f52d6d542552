//! Which contents of the seed were taken already, as the file `seeds-seen` has them: one a line, the newest last.

use core::fmt::Write as _;

use crate::snapshot::{ETAG_LEN, ETag};
use crate::text::decimal;

/// How many contents of the seed are remembered: more than pods of one roll-out can differ in.
const SEEDS_SEEN_MAX: usize = 8;
/// How many bytes a line of the seen seeds takes at most: a tag without its quotes, a time, what separates them.
const SEED_LINE_MAX: usize = ETAG_LEN + 24;
/// How many bytes the file has at most.
pub(super) const SEEDS_FILE_MAX: usize = SEEDS_SEEN_MAX * SEED_LINE_MAX;

/// The file.
pub(super) type Text = heapless::String<SEEDS_FILE_MAX>;

/// One content of the seed that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SeenSeed {
    /// The tag that a status with this content has.
    pub(super) tag: ETag,
    /// [`Stamp::changed`](super::Stamp::changed) of its file.
    pub(super) changed: i64,
}

/// Them all.
pub(super) type SeenSeeds = heapless::Vec<SeenSeed, SEEDS_SEEN_MAX>;

/// Reads the file. What is something else counts as nothing.
pub(super) fn parse(text: &[u8]) -> SeenSeeds {
    let seed = |line: &[u8]| {
        let mut words = line.splitn(2, |&byte| byte == b' ');
        let (tag, changed) = (words.next()?, words.next()?);
        let (sign, digits) = changed.strip_prefix(b"-").map_or((1, changed), |digits| (-1, digits));
        let changed = decimal(digits)?;
        Some(SeenSeed { tag: ETag::from_hex(tag)?, changed: 0_i64.checked_add_unsigned(changed)? * sign })
    };
    let mut seeds = SeenSeeds::new();
    for seen in text.split(|&byte| byte == b'\n').filter_map(seed) {
        push(&mut seeds, seen);
    }
    seeds
}

/// Adds one. If they are too many, the oldest is forgotten.
fn push(seeds: &mut SeenSeeds, newest: SeenSeed) {
    if seeds.is_full() {
        seeds.remove(0);
    }
    let _ = seeds.push(newest);
}

/// The file with `newest` behind the others.
pub(super) fn add(mut seeds: SeenSeeds, newest: SeenSeed) -> Text {
    while let Some(at) = seeds.iter().position(|known| known.tag == newest.tag) {
        seeds.remove(at);
    }
    push(&mut seeds, newest);
    let mut text = Text::new();
    for SeenSeed { tag, changed } in &seeds {
        writeln!(text, "{} {changed}", tag.hex()).expect("a line is as long as SEED_LINE_MAX says");
    }
    text
}
