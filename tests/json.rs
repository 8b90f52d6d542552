//! The JSON judge and the reader of the status against references of other make: `serde_json` says what is JSON, and
//! a slow scan of the raw text says what is a status.
//!
//! The random tests begin at `JSON_SEED` and run `JSON_CASES` cases each; what fails names both.

#[path = "common/grammar.rs"]
mod grammar;
#[path = "common/random.rs"]
mod random;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;

use gitops_status_server::json::{Fault, Unescape, check};
use gitops_status_server::status::{self, Refusal, View};
use grammar::{BYTE_ORDER_MARK, Brackets, DEEPEST, UNLIMITED, can_be_completed, is_json};
use random::Random;
use serde_json::Value;

// ---------------------------------------------------------------------------------------------------------------------
// What is JSON, and where it stops to be
// ---------------------------------------------------------------------------------------------------------------------

/// What stands before the first malformed sequence.
fn sound(text: &[u8]) -> &str {
    let end = std::str::from_utf8(text).map_or_else(|error| error.valid_up_to(), str::len);
    std::str::from_utf8(&text[..end]).expect("the standard library says so")
}

/// Where `text` stops to be JSON: the length of its longest beginning that can be completed. `None` if it is JSON.
fn first_fault(text: &[u8]) -> Option<usize> {
    let sound = sound(text);
    if sound.len() == text.len() && is_json(sound, DEEPEST) {
        return None;
    }
    // All that can be completed begins with what can be completed, so halving finds the place.
    let ends: Vec<usize> = sound.char_indices().map(|(at, character)| at + character.len_utf8()).collect();
    let completable = ends.partition_point(|&end| can_be_completed(&sound[..end], DEEPEST));
    Some(completable.checked_sub(1).map_or(0, |last| ends[last]))
}

/// Fails unless the judge says of `text` what the reference does.
fn assert_judged(text: &[u8], case: impl fmt::Display) {
    assert_verdict(text, first_fault(text), case);
}

/// Fails unless the judge takes `text`, if `fault` is none, or refuses it there.
fn assert_verdict(text: &[u8], fault: Option<usize>, case: impl fmt::Display) {
    let verdict = check(text);
    assert_eq!(verdict.err().map(|error| error.at), fault, "{case}: {verdict:?}: {}", text.escape_ascii());
    let Err(error) = verdict else { return };
    let unsound = sound(text).len();
    let too_deep = text.get(error.at).is_some_and(|bracket| b"[{".contains(bracket)) && {
        let (before, bracket) = sound(text).split_at(error.at);
        Brackets::of(before).missing.len() == DEEPEST && can_be_completed(&[before, &bracket[..1]].concat(), UNLIMITED)
    };
    for (kind, due) in [
        (Fault::End, error.at == text.len()),
        (Fault::Utf8, error.at == unsound && unsound < text.len()),
        (Fault::ByteOrderMark, text.starts_with(BYTE_ORDER_MARK.as_bytes())),
        (Fault::Depth, too_deep),
    ] {
        assert_eq!(error.fault == kind, due, "{case}: {error:?} is not {kind:?}: {}", text.escape_ascii());
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Random texts
// ---------------------------------------------------------------------------------------------------------------------

/// One turn of a random test, printed as what it takes to run it again.
struct Case {
    seed: u64,
    number: u64,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JSON_SEED={} case {}", self.seed, self.number)
    }
}

impl Case {
    fn random(&self) -> Random {
        let mut seeds = Random(self.seed);
        Random(seeds.next() ^ self.number.wrapping_mul(0xD134_2543_DE82_EF95))
    }
}

fn cases(default: u64) -> impl Iterator<Item = Case> {
    let setting = |name, default| match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} must be a number")),
        Err(_) => default,
    };
    let (seed, count) = (setting("JSON_SEED", 8259), setting("JSON_CASES", default));
    (0..count).map(move |number| Case { seed, number })
}

impl Random {
    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// A number of the range, often one of its ends.
    fn within(&mut self, range: RangeInclusive<u32>) -> u32 {
        match self.below(4) {
            0 => *range.start(),
            1 => *range.end(),
            _ => range.start() + self.below((range.end() - range.start() + 1) as usize) as u32,
        }
    }
}

/// Characters at the ends of what UTF-8 writes in one, two, three and four bytes, around the surrogates, and some that
/// pass elsewhere for blanks, ends of lines, or nothing.
const EDGES: &str = "\u{7f}\u{80}\u{85}\u{a0}é\u{7ff}\u{800}\u{2028}\u{202e}€\u{d7ff}\u{e000}\u{feff}\u{fffd}\u{ffff}\
    \u{10000}😀\u{10ffff}";

/// Writes valid texts.
struct Writer {
    random: Random,
    out: String,
    /// Whether to write what is JSON but asks more of a reader than RFC 8259 promises it can bear (§6, §8.2): numbers
    /// beyond a double, and surrogates without a partner.
    wild: bool,
}

impl Writer {
    fn new(random: Random, wild: bool) -> Self {
        Writer { random, out: String::new(), wild }
    }

    /// A document with any value in it; now and then as deep as can be.
    fn document(mut self) -> (String, Random) {
        self.blanks();
        match self.random.below(16) {
            0 => self.nested(DEEPEST),
            1 | 2 => self.value(0),
            3..9 => self.array(4),
            _ => self.object(4),
        }
        self.blanks();
        (self.out, self.random)
    }

    fn blanks(&mut self) {
        if self.random.one_in(3) {
            for _ in 0..=self.random.below(3) {
                self.out.push(self.random.pick(&[' ', '\t', '\n', '\r']));
            }
        }
    }

    /// A value that nests at most `levels` deep.
    fn value(&mut self, levels: usize) {
        match self.random.below(if levels == 0 { 5 } else { 8 }) {
            0 => self.out.push_str(self.random.pick(&["null", "true", "false"])),
            1 | 2 => self.number(),
            3 | 4 => self.string(),
            5 | 6 => self.array(levels),
            _ => self.object(levels),
        }
    }

    fn array(&mut self, levels: usize) {
        self.composite('[', ']', levels, |writer| writer.value(levels - 1));
    }

    fn object(&mut self, levels: usize) {
        self.composite('{', '}', levels, |writer| {
            writer.string();
            writer.colon();
            writer.value(levels - 1);
        });
    }

    fn composite(&mut self, open: char, close: char, levels: usize, mut part: impl FnMut(&mut Self)) {
        self.out.push(open);
        self.blanks();
        for index in 0..self.random.below(levels.min(3) + 1) {
            if index > 0 {
                self.comma();
            }
            part(self);
            self.blanks();
        }
        self.out.push(close);
    }

    fn comma(&mut self) {
        self.out.push(',');
        self.blanks();
    }

    fn colon(&mut self) {
        self.blanks();
        self.out.push(':');
        self.blanks();
    }

    /// A value that nests exactly `levels` deep; the deepest stands among other values now and then.
    fn nested(&mut self, levels: usize) {
        if levels == 0 {
            return self.value(0);
        }
        let object = self.random.one_in(2);
        self.out.push(if object { '{' } else { '[' });
        self.blanks();
        if levels > 1 || self.random.one_in(2) {
            let (before, after) = (self.random.one_in(6), self.random.one_in(6));
            let levels_within = [before.then_some(0), Some(levels - 1), after.then_some(0)];
            for (index, levels_within) in levels_within.into_iter().flatten().enumerate() {
                if index > 0 {
                    self.comma();
                }
                if object {
                    self.out.push_str(self.random.pick(&["\"\"", "\"a\"", "\"[\"", "\"}\""]));
                    self.colon();
                }
                self.nested(levels_within);
                self.blanks();
            }
        }
        self.out.push(if object { '}' } else { ']' });
    }

    fn number(&mut self) {
        if self.random.one_in(8) {
            let whole = ["0", "-0", "1E+5", "-0.0e-0", "9007199254740992", "123456789012345678901234567890", "1e00"];
            return self.out.push_str(self.random.pick(&whole));
        }
        if self.random.one_in(3) {
            self.out.push('-');
        }
        if self.random.one_in(3) {
            self.out.push('0');
        } else {
            self.out.push(self.random.pick(&['1', '5', '9']));
            let digits = if self.random.one_in(8) { 30 } else { 4 };
            self.digits(digits);
        }
        if self.random.one_in(3) {
            self.out.push('.');
            self.digits(9);
            self.out.push('0');
        }
        if self.random.one_in(3) {
            self.out.push(self.random.pick(&['e', 'E']));
            self.out.push_str(self.random.pick(&["", "+", "-"]));
            self.digits(if self.wild { 30 } else { 1 });
            self.out.push('7');
        }
    }

    /// Digits, `most` of them at most.
    fn digits(&mut self, most: usize) {
        for _ in 0..self.random.below(most + 1) {
            self.out.push(char::from(b'0' + self.random.below(10) as u8));
        }
    }

    fn string(&mut self) {
        self.out.push('"');
        for _ in 0..self.random.below(5) {
            match self.random.below(if self.wild { 9 } else { 8 }) {
                // Longer than a machine word, so that whatever follows stands at every place of one.
                0 | 1 => {
                    for _ in 0..self.random.below(20) {
                        let plain = char::from(b' ' + self.random.below(96) as u8);
                        self.out.push(if matches!(plain, '"' | '\\') { '!' } else { plain });
                    }
                }
                2 => self.out.push_str(self.random.pick(&["\\\"", "\\\\", "\\/", "\\b", "\\f", "\\n", "\\r", "\\t"])),
                3 => {
                    let range = self.random.pick(&[(0, 0x7F), (0x80, 0xD7FF), (0xE000, 0xFFFF)]);
                    let unit = self.random.within(range.0..=range.1);
                    self.escape(unit);
                }
                4 => {
                    let (high, low) = (self.random.within(0xD800..=0xDBFF), self.random.within(0xDC00..=0xDFFF));
                    self.escape(high);
                    self.escape(low);
                }
                5 | 6 => self.out.push(self.random.pick(&EDGES.chars().collect::<Vec<_>>())),
                7 => {
                    let code = self.random.within(0x80..=0x10_FFFF);
                    self.out.push(char::from_u32(code).unwrap_or('\u{d7ff}'));
                }
                _ => {
                    let unit = self.random.within(0xD800..=0xDFFF);
                    self.escape(unit);
                }
            }
        }
        self.out.push('"');
    }

    fn escape(&mut self, unit: u32) {
        self.out.push_str("\\u");
        for digit in format!("{unit:04x}").chars() {
            let upper = self.random.one_in(2);
            self.out.push(if upper { digit.to_ascii_uppercase() } else { digit });
        }
    }
}

/// What breaks JSON, or other people's readers of it, by kind and with blanks between.
const BREAKERS: [&[u8]; 7] = [
    // Strings.
    b"\0 \x01 \t \n \x0B \x0C \x1F \x7F",
    b"\\ \\x \\' \\0 \\u \\u12 \\u12G4 \\U0041 \\u{41} \\u+041 \\ud83d \\ude00 \" \"\" 'a'",
    // Numbers.
    b"+1 01 -01 00 - --1 1. .5 1e 1e+ 1.e1 1e1.5 0x1F 1_000 1,5 -0 1E+5",
    // Literals.
    b"nul nulL True NaN Infinity -Infinity undefined truefalse",
    // Structure.
    b", ,, ,] ,} [, {, : :: [ ] { } {}[] {a:1} //a\n /*a*/ #a\n ;",
    // Not UTF-8: overlong in two, three and four bytes, a surrogate, too large, cut short, lone continuation, never.
    b"\xC0\xAF \xE0\x80\xAF \xF0\x80\x80\xAF \xED\xA0\x80 \xF4\x90\x80\x80 \xE2\x82 \x80 \xFF",
    // UTF-8, but no blanks: a byte order mark, U+00A0, U+2028.
    b"\xEF\xBB\xBF \xC2\xA0 \xE2\x80\xA8",
];

/// Changes `text` in one to three places, with help of `other`.
fn mutate(random: &mut Random, text: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=random.below(3) {
        let at = random.below(text.len() + 1);
        let piece = {
            let (from, to) = (random.below(other.len()), random.below(other.len()));
            &other[from.min(to)..=from.max(to)]
        };
        let end = (at + random.below(4)).min(text.len());
        let breakers: Vec<&[u8]> = random.pick(&BREAKERS).split(|byte| *byte == b' ').collect();
        match random.below(12) {
            0..3 => drop(text.splice(at..at, random.pick(&breakers).iter().copied())),
            3 => drop(text.splice(at..end, random.pick(&breakers).iter().copied())),
            4 => text.insert(at, random.byte()),
            5 => drop(text.drain(at..end)),
            6 => text.truncate(at),
            7 => drop(text.splice(at..at, piece.iter().copied())),
            8 => {
                let again = text[at..end].to_vec();
                drop(text.splice(at..at, again));
            }
            _ if at == text.len() => text.push(random.byte()),
            9 => text[at] ^= 1 << random.below(8),
            10 => text[at] = random.byte(),
            _ => {
                let with = random.below(text.len());
                text.swap(at, with);
            }
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// The reference itself
// ---------------------------------------------------------------------------------------------------------------------

#[test]
fn the_reference_takes_all_that_the_grammar_takes_and_counts_levels_without_end() {
    for text in ["\"\\ud800\"", "\"\\udc00\\ud800\"", "1e999999999999999999999999", "-0", "0e-0", "1E+5", "\"\u{7f}\""]
    {
        assert!(is_json(text, DEEPEST), "{text}");
    }
    let long = "9".repeat(1000);
    assert!(is_json(&long, DEEPEST));
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(is_json(&nested(DEEPEST), DEEPEST));
    assert!(!is_json(&nested(DEEPEST + 1), DEEPEST));
    assert!(is_json(&nested(100_000), UNLIMITED));
    assert!(!is_json(&nested(100_000)[1..], UNLIMITED));
    assert!(!is_json("\u{feff}1", DEEPEST));
}

#[test]
fn every_beginning_of_a_valid_text_can_be_completed() {
    for case in cases(150) {
        let (text, _) = Writer::new(case.random(), true).document();
        for (end, _) in text.char_indices() {
            assert!(can_be_completed(&text[..end], DEEPEST), "{case}: {}", text[..end].escape_debug());
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// The judge
// ---------------------------------------------------------------------------------------------------------------------

#[test]
fn nothing_valid_is_refused() {
    for case in cases(2000) {
        let (text, _) = Writer::new(case.random(), true).document();
        assert!(is_json(&text, DEEPEST), "{case}: the test is wrong: {}", text.escape_debug());
        assert_verdict(text.as_bytes(), None, case);
    }
}

#[test]
fn nothing_valid_is_refused_and_nothing_invalid_is_taken() {
    let (mut taken, mut refused) = (0, 0);
    for case in cases(4000) {
        let (text, random) = Writer::new(case.random(), true).document();
        let (other, mut random) = Writer::new(random, true).document();
        let mut mutant = text.into_bytes();
        mutate(&mut random, &mut mutant, other.as_bytes());
        assert_judged(&mutant, &case);
        *if check(&mutant).is_ok() { &mut taken } else { &mut refused } += 1;
    }
    // A test that hardly sees one of the two says little; few cases say nothing.
    assert!(taken + refused < 1000 || (taken > 50 && refused > 500), "{taken} taken, {refused} refused");
}

#[test]
fn a_text_cut_anywhere_ends_too_early_at_its_end() {
    for case in cases(500) {
        let (text, _) = Writer::new(case.random(), true).document();
        for end in 0..text.len() {
            let cut = &text.as_bytes()[..end];
            let whole = text.is_char_boundary(end) && is_json(&text[..end], DEEPEST);
            assert_verdict(cut, (!whole).then_some(sound(cut).len()), &case);
        }
    }
}

/// Holds `text`, and every text of up to `left` of `units` more, against the reference.
///
/// A text that cannot be completed is wrong at the same place whatever follows: `settled` is that place, once there is
/// one, and spares the search.
fn judge_all(text: &mut Vec<u8>, units: &[&[u8]], left: usize, settled: Option<usize>) {
    let fault = settled.or_else(|| first_fault(text));
    assert_verdict(text, fault, "every text");
    let valid = std::str::from_utf8(text).is_ok_and(|text| is_json(text, DEEPEST));
    assert_eq!(check(text).is_ok(), valid, "{}", text.escape_ascii());
    if left == 0 {
        return;
    }
    let unfinished_character = std::str::from_utf8(text).is_err_and(|error| error.error_len().is_none());
    let may_go_on = fault == Some(if unfinished_character { sound(text).len() } else { text.len() });
    let settled = if may_go_on { None } else { fault };
    let length = text.len();
    for unit in units {
        text.extend_from_slice(unit);
        judge_all(text, units, left - 1, settled);
        text.truncate(length);
    }
}

#[test]
fn every_text_of_up_to_four_or_five_telling_bytes_is_judged_right() {
    let bytes = b"{}[]\",:\\01-+.eEtrun \t\x1F\x7F\xC2\xA0\xE2";
    judge_all(&mut Vec::new(), &bytes.chunks(1).collect::<Vec<_>>(), 4, None);
    let bytes = b"{}[\",:\\0-.e ";
    judge_all(&mut Vec::new(), &bytes.chunks(1).collect::<Vec<_>>(), 5, None);
}

#[test]
fn every_text_of_up_to_six_tokens_is_judged_right() {
    let tokens: [&[u8]; 7] = [b"{", b"}", b"[", b"]", b",", b":", b"\"\""];
    judge_all(&mut Vec::new(), &tokens, 6, None);
}

#[test]
fn every_number_of_up_to_seven_characters_is_judged_right() {
    let characters: [&[u8]; 5] = [b"0", b"7", b"-", b".", b"e"];
    judge_all(&mut Vec::new(), &characters, 7, None);
    judge_all(&mut b"[1E".to_vec(), &[b"0", b"+", b"-", b"E", b"]"], 4, None);
}

#[test]
fn every_byte_is_judged_right_wherever_it_stands_in_a_string() {
    for filler in ["a", "!", "\u{7f}", "é", "😀"] {
        for length in 0..=17 {
            // The byte stands at another place of a machine word for every length.
            let before: String = ["\"", &filler.repeat(length)].concat();
            for byte in 0..=255 {
                let text = [before.as_bytes(), &[byte], b"abcdefgh\""].concat();
                let fault = match byte {
                    // `\a` is no escape, and `a` cannot follow a string.
                    b'"' | b'\\' => Some(before.len() + 1),
                    0..0x20 | 0x80.. => Some(before.len()),
                    _ => None,
                };
                assert_verdict(&text, fault, "a byte in a string");
            }
        }
    }
}

#[test]
fn the_first_of_two_telling_bytes_in_a_string_is_the_one_that_counts() {
    let telling: [&[u8]; 11] =
        [b"\"", b"\\", b"\x00", b"\x1F", b" ", b"!", b"#", b"[", b"]", "\u{7f}".as_bytes(), "\u{a2}".as_bytes()];
    for length in 0..9 {
        for first in telling {
            for second in telling {
                let text = [b"\"", "a".repeat(length).as_bytes(), first, second, b"nnnnnnnnn\""].concat();
                assert_judged(&text, "two bytes in a string");
            }
        }
    }
}

#[test]
fn every_byte_is_judged_right_wherever_it_is_put_into_a_text() {
    let text = b"[-0.5e+1,{\"\\u00e9\":true},\"\\n\xC3\xA9\" ,[]]";
    assert_judged(text, "the text itself");
    for at in 0..=text.len() {
        // The bytes that mean something, their neighbours, and one of each kind that means nothing.
        for byte in (0x08..=0x0E).chain(0x1F..=0x3B).chain(*b"AEFGZ[\\]^`abefglnrtuxz{|}\x7F\x80\xA9\xC3\xE2\xF0\xFF") {
            let inserted = [&text[..at], &[byte], &text[at..]].concat();
            assert_judged(&inserted, "a byte put in");
        }
    }
}

#[test]
fn levels_are_counted_to_64_and_the_bracket_that_opens_the_next_is_refused() {
    for case in cases(200) {
        let mut writer = Writer::new(case.random(), true);
        writer.nested(DEEPEST);
        let text = writer.out;
        assert_verdict(text.as_bytes(), None, &case);

        let around =
            writer.random.pick(&[("[", "]"), ("{\"a\":", "}"), (" [ 1 , ", " , 2 ]"), ("{\"[\":[],\"b\":", " }")]);
        let deeper = [around.0, &text, around.1].concat();
        let opens = |end: &usize| Brackets::of(&deeper[..=*end]).deepest > DEEPEST;
        let (last, _) = deeper.match_indices(['[', '{']).find(|(at, _)| opens(at)).expect("it nests deeper");
        assert_verdict(deeper.as_bytes(), Some(last), &case);
    }
    // Levels that were left do not count.
    let wide = ["[", &"[{}],{\"a\":[]},".repeat(1000), "0]"].concat();
    assert_verdict(wide.as_bytes(), None, "a wide text");
    // At the deepest level everything but another bracket is as elsewhere, and what is wrong is not the depth.
    for inside in ["", "1", "\"[{\"", "{", "]", "}", "[", "x"] {
        for open in ["[", "{\"a\":"] {
            let text = [&open.repeat(DEEPEST), inside].concat();
            assert_judged(text.as_bytes(), "the deepest level");
        }
        let text = ["[".repeat(DEEPEST - 1).as_str(), "{", inside].concat();
        assert_judged(text.as_bytes(), "an object at the deepest level");
    }
}

#[test]
fn brackets_without_end_are_refused_at_the_65th() {
    for (open, at) in [("[", 64), ("{\"a\":", 64 * 5), ("[{\"a\":", 32 * 6), (" [", 129)] {
        let text = open.repeat(65536);
        assert_verdict(text.as_bytes(), Some(at), open);
    }
    assert_verdict(("[".repeat(64) + &"]".repeat(64)).as_bytes(), None, "64 levels");
    assert_verdict(("[".repeat(65) + &"]".repeat(65)).as_bytes(), Some(64), "65 levels");
}

#[test]
fn what_others_take_for_json_is_refused_at_the_byte_that_is_not() {
    let cases: &[(&[u8], usize)] = &[
        // Nothing.
        (b"", 0),
        (b" \t\r\n", 4),
        // Strings.
        (b"\"", 1),
        (b"\"a", 2),
        (b"\"a\\", 3),
        (b"\"\\\"", 3),
        (b"\"\\x\"", 2),
        (b"\"\\'\"", 2),
        (b"\"\\0\"", 2),
        (b"\"\\a\"", 2),
        (b"\"\\U0041\"", 2),
        (b"\"\\\n\"", 2),
        (b"\"\\\xC3\xA9\"", 2),
        (b"\"\\u\"", 3),
        (b"\"\\u12\"", 5),
        (b"\"\\u12", 5),
        (b"\"\\u12x", 5),
        (b"\"\\u123\"", 6),
        (b"\"\\uG000\"", 3),
        (b"\"\\u00g0\"", 5),
        (b"\"\\u+123\"", 3),
        (b"\"\\u-123\"", 3),
        (b"\"\\u 123\"", 3),
        (b"\"\\u{41}\"", 3),
        (b"\"\\u00\xC3\xA9\"", 5),
        (b"\"\\u000\xEF\xBC\x91\"", 6),
        (b"\"\\ud83d\\u12\"", 11),
        (b"\"\\ud83d\\x\"", 8),
        (b"'a'", 0),
        (b"{'a':1}", 1),
        (b"`a`", 0),
        (b"\"a\" \"b\"", 4),
        (b"\"a\"b", 3),
        // Numbers.
        (b"+1", 0),
        (b"[+1]", 1),
        (b"01", 1),
        (b"00", 1),
        (b"-01", 2),
        (b"-00", 2),
        (b"[01]", 2),
        (b"-", 1),
        (b"[-]", 2),
        (b"--1", 1),
        (b"-+1", 1),
        (b"- 1", 1),
        (b"-.5", 1),
        (b"-e1", 1),
        (b"1.", 2),
        (b"1.]", 2),
        (b"[1.,2]", 3),
        (b"1. 5", 2),
        (b"1..5", 2),
        (b"1.e1", 2),
        (b"1.5.5", 3),
        (b".5", 0),
        (b"1e", 2),
        (b"1e]", 2),
        (b"1E+", 3),
        (b"1E+-1", 3),
        (b"1e1.5", 3),
        (b"1ee1", 2),
        (b"1e1e1", 3),
        (b"0e", 2),
        (b"0x1F", 1),
        (b"1_000", 1),
        (b"1a", 1),
        (b"1-1", 1),
        (b"1 2", 2),
        (b"1,5", 1),
        (b"NaN", 0),
        (b"nan", 1),
        (b"[NaN]", 1),
        (b"Infinity", 0),
        (b"-Infinity", 1),
        (b"{\"a\":-Infinity}", 6),
        (b"\xD9\xA1", 0),
        // Literals.
        (b"n", 1),
        (b"nul", 3),
        (b"nul]", 3),
        (b"[nul]", 4),
        (b"nulL", 3),
        (b"nulll", 4),
        (b"null0", 4),
        (b"tru", 3),
        (b"trUe", 2),
        (b"True", 0),
        (b"TRUE", 0),
        (b"fals", 4),
        (b"falsy", 4),
        (b"truefalse", 4),
        (b"t\xC3\xA9", 1),
        (b"undefined", 0),
        // Arrays.
        (b"[", 1),
        (b"[ ", 2),
        (b"[1", 2),
        (b"[1,", 3),
        (b"[1, ", 4),
        (b"[1,]", 3),
        (b"[1, ]", 4),
        (b"[,1]", 1),
        (b"[,]", 1),
        (b"[1,,2]", 3),
        (b"[1 2]", 3),
        (b"[1:2]", 2),
        (b"[1;2]", 2),
        (b"[\"a\":1]", 4),
        (b"[1}", 2),
        (b"[}", 1),
        (b"[]]", 2),
        (b"[][]", 2),
        (b"]", 0),
        // Objects.
        (b"{", 1),
        (b"{\"a\"", 4),
        (b"{\"a\":", 5),
        (b"{\"a\":1", 6),
        (b"{\"a\":1,", 7),
        (b"{\"a\":1,}", 7),
        (b"{\"a\":1, }", 8),
        (b"{,}", 1),
        (b"{\"a\":1,,\"b\":2}", 7),
        (b"{\"a\"}", 4),
        (b"{\"a\":}", 5),
        (b"{\"a\",1}", 4),
        (b"{\"a\" 1}", 5),
        (b"{\"a\"::1}", 5),
        (b"{\"a\":1 \"b\":2}", 7),
        (b"{\"a\":1:2}", 6),
        (b"{\"a\":1]", 6),
        (b"{]", 1),
        (b"{1:2}", 1),
        (b"{a:1}", 1),
        (b"{null:1}", 1),
        (b"{[]:1}", 1),
        (b"{\"a\":1}}", 7),
        (b"{}{}", 2),
        (b"}", 0),
        (b",", 0),
        (b":", 0),
        // Comments.
        (b"// a\n1", 0),
        (b"1 // a", 2),
        (b"[1 /* a */]", 3),
        (b"# a\n1", 0),
        (b"[1] # a", 4),
        // What is blank elsewhere.
        (b"\x0B1", 0),
        (b"\x0C1", 0),
        (b"1\x0C", 1),
        (b"\x00", 0),
        (b"1\x00", 1),
        (b"[1,\x00]", 3),
        (b"[\x7F]", 1),
        (b"\xC2\xA01", 0),
        (b"[1,\xC2\xA02]", 3),
        (b"{\"a\":\xC2\xA01}", 5),
        (b"1\xC2\x85", 1),
        (b"[\xE2\x80\xA8]", 1),
        (b"1\xE3\x80\x80", 1),
        // Byte order marks, in UTF-8 and others, and cut short.
        (b"\xEF\xBB\xBF", 0),
        (b"\xEF\xBB\xBF{}", 0),
        (b"\xEF\xBB\xBF\xEF\xBB\xBF1", 0),
        (b"\xEF\xBB", 0),
        (b" \xEF\xBB\xBF{}", 1),
        (b"{}\xEF\xBB\xBF", 2),
        (b"\xEF\xBB\xBF\xFF", 0),
        (b"\xFE\xFF\0{\0}", 0),
        (b"\xFF\xFE{\0}\0", 0),
        (b"{\0}\0", 1),
        (b"\0{\0}", 0),
        // Not UTF-8: the first byte of the sequence, wherever in it the error shows.
        (b"\xFF", 0),
        (b"[\"a\xFF\"]", 3),
        (b"\"\xFE\"", 1),
        (b"\"\x80\"", 1),
        (b"\"\xBF\"", 1),
        (b"\"\xC3\xA9\xA9\"", 3),
        (b"\"\xC0\x80\"", 1),
        (b"\"\xC0\xAF\"", 1),
        (b"\"\xC1\xBF\"", 1),
        (b"\"\xE0\x80\x80\"", 1),
        (b"\"\xE0\x9F\xBF\"", 1),
        (b"\"\xF0\x80\x80\x80\"", 1),
        (b"\"\xF0\x8F\xBF\xBF\"", 1),
        (b"\"\xF8\x88\x80\x80\x80\"", 1),
        (b"\"\xED\xA0\x80\"", 1),
        (b"\"\xED\xBF\xBF\"", 1),
        (b"\"\xED\xA0\xBD\xED\xB8\x80\"", 1),
        (b"\"\xF4\x90\x80\x80\"", 1),
        (b"\"\xF5\x80\x80\x80\"", 1),
        (b"\"ab\xC3\"", 3),
        (b"\"ab\xC3", 3),
        (b"\"ab\xE2\x82\"", 3),
        (b"\"ab\xE2\x82", 3),
        (b"\"ab\xF0\x9F\x98\"", 3),
        (b"\"ab\xF0\x9F\x98", 3),
        (b"\"abcdefghijklmnop\xF0\x9F\x98\"", 17),
        (b"{\"\xFF\":1}", 2),
        (b"{\"a\":\xFF}", 5),
        (b"\"\\\xFF\"", 2),
        (b"\"\\u00\xFF\"", 5),
        (b"1\xFF", 1),
        (b"nul\xFF", 3),
        // The first fault counts, whichever it is.
        (b"[1 2, \"\xFF\"]", 3),
        (b"[\"\xFF\", 1 2]", 2),
        (b"\"\x01\xFF\"", 1),
        (b"\"\xFF\x01\"", 1),
        (b"\xEF\xBB\xBF\"\xFF\"", 0),
    ];
    for &(text, at) in cases {
        assert_verdict(text, Some(at), "by hand");
        assert_eq!(first_fault(text), Some(at), "the test is wrong: {}", text.escape_ascii());
    }
}

#[test]
fn what_others_refuse_is_json_all_the_same() {
    let cases: &[&[u8]] = &[
        b"0",
        b"-0",
        b"-0.0e-0",
        b"1E+5",
        b"0e0",
        b"1e00",
        b"123456789012345678901234567890",
        b"-1e999999999999999999999999999999",
        b"0.000000000000000000000000000001",
        b"null",
        b" true ",
        b"\"\"",
        b"\t\r\n [ \t\r\n ] \t\r\n ",
        b"{ \"a\" : 1 , \"a\" : 2 , \"\" : { } }",
        b"\"\x7F\"",
        b"\"'/\\/\"",
        b"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\uFFFF\\uabCD\"",
        b"\"\\ud83d\\ude00\"",
        b"\"\\ud800\"",
        b"\"\\udc00\\ud800\"",
        b"\"\\ud800\\n\"",
        b"\"\xC2\x80\xDF\xBF\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xEF\xBF\xBF\xF0\x90\x80\x80\xF4\x8F\xBF\xBF\"",
        b"\"\xEF\xBB\xBF\xC2\xA0\xE2\x80\xA8\"",
        b"{\"\xEF\xBB\xBF\":0}",
    ];
    for text in cases {
        assert_verdict(text, None, "by hand");
        assert_eq!(first_fault(text), None, "the test is wrong: {}", text.escape_ascii());
    }
}

#[test]
fn a_control_character_in_a_string_has_to_be_escaped() {
    for control in 0..0x20 {
        for before in ["\"", "\"abcdefgh", "{\"a\":\"\\n", "{\"", "[\"é"] {
            let raw = [before.as_bytes(), &[control], b"\""].concat();
            assert_verdict(&raw, Some(before.len()), "a raw control character");
            assert_eq!(check(&raw).map_err(|error| error.fault), Err(Fault::Control), "{control:#04x}");
        }
        let escaped = format!("\"\\u{control:04x}\"");
        assert_verdict(escaped.as_bytes(), None, "an escaped control character");
    }
    assert_verdict(b"\"\x7F\"", None, "DEL is none of them");
}

#[test]
fn a_string_is_unescaped_to_the_characters_it_stands_for() {
    for case in cases(4000) {
        let mut writer = Writer::new(case.random(), true);
        writer.string();
        let raw = &writer.out[1..writer.out.len() - 1];
        // By way of UTF-16, which is what the escapes are made of.
        let mut units: Vec<u16> = Vec::new();
        let mut rest = raw.chars();
        while let Some(character) = rest.next() {
            let plain = match (character, rest.clone().next()) {
                ('\\', Some('u')) => {
                    let digits: String = rest.by_ref().skip(1).take(4).collect();
                    units.push(u16::from_str_radix(&digits, 16).expect("four digits"));
                    continue;
                }
                ('\\', Some(escaped)) => {
                    rest.next();
                    let known = [('b', '\u{8}'), ('f', '\u{c}'), ('n', '\n'), ('r', '\r'), ('t', '\t')];
                    known.iter().find(|(letter, _)| *letter == escaped).map_or(escaped, |(_, control)| *control)
                }
                (plain, _) => plain,
            };
            units.extend_from_slice(plain.encode_utf16(&mut [0; 2]));
        }
        assert_eq!(Unescape::new(raw).collect::<String>(), String::from_utf16_lossy(&units), "{case}: {raw}");
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// What is a status
// ---------------------------------------------------------------------------------------------------------------------

const KNOWN: [&str; 6] = ["repo", "server", "sync_status", "last_check", "drift_count", "files"];

/// What stands between the commas of an array or object that is known to be JSON.
fn parts(composite: &str) -> Vec<&str> {
    let inside = &composite[1..composite.len() - 1];
    let mut parts = Vec::new();
    let mut begin = 0;
    for (at, _) in inside.match_indices(',') {
        // The commas that divide stand outside of brackets and strings.
        let before = &inside[begin..at];
        if Brackets::of(before).missing.is_empty() && !ends_in_string(before) {
            parts.push(before.trim());
            begin = at + 1;
        }
    }
    let last = inside[begin..].trim();
    if !last.is_empty() {
        parts.push(last);
    }
    parts
}

fn ends_in_string(text: &str) -> bool {
    text.replace("\\\\", "").replace("\\\"", "").matches('"').count() % 2 == 1
}

/// The members of an object that is known to be JSON: the name, and the text of the value. A name that is no sequence
/// of characters, for a surrogate in it has no partner, is none.
fn members(object: &str) -> Vec<(Option<String>, &str)> {
    let member = |part| {
        let mut colons = str::match_indices(part, ':').map(|(at, _)| part.split_at(at));
        let (name, value) = colons.find(|(name, _)| !ends_in_string(name)).expect("a member has a colon");
        (serde_json::from_str(name).ok(), value[1..].trim())
    };
    parts(object).into_iter().map(member).collect()
}

/// Whether a known field may have this value.
fn may_be(field: &str, value: &str) -> bool {
    let is_string = |value: &str| value.starts_with('"');
    let is_item = |item: &&str| {
        let is_name = |(name, _): &(Option<String>, &str)| name.as_deref() == Some("name");
        is_string(item)
            || item.starts_with('{')
                && matches!(&members(item).into_iter().filter(is_name).collect::<Vec<_>>()[..],
                    [(_, name)] if is_string(name))
    };
    value == "null"
        || match field {
            "drift_count" => {
                value.bytes().all(|byte| byte.is_ascii_digit())
                    && value.parse::<u64>().is_ok_and(|count| count < 1 << 53)
            }
            "files" => value.starts_with('[') && parts(value).iter().all(is_item),
            _ => is_string(value),
        }
}

/// What a status that is known to be a JSON object says, or the known fields that keep it from being one.
fn contract(object: &str) -> Result<View<'_>, BTreeSet<&'static str>> {
    let members = members(object);
    let values = |field: &str| -> Vec<&str> {
        members.iter().filter(|(name, _)| name.as_deref() == Some(field)).map(|(_, value)| *value).collect()
    };
    let wrong = |field: &&str| values(field).len() > 1 || !values(field).iter().all(|value| may_be(field, value));
    let culprits: BTreeSet<&'static str> = KNOWN.into_iter().filter(wrong).collect();
    if !culprits.is_empty() {
        return Err(culprits);
    }
    let value = |field| values(field).first().copied().filter(|value| *value != "null");
    let text = |field| value(field).map(|value: &str| &value[1..value.len() - 1]);
    Ok(View {
        repo: text("repo"),
        server: text("server"),
        sync_status: text("sync_status"),
        last_check: text("last_check"),
        drift_count: value("drift_count").map(|count| count.parse().expect("digits")),
        files: value("files").map(|files| parts(files).len()),
    })
}

/// Fails unless the reader says of `text` what the references do; tells whether it was taken.
fn assert_read(text: &[u8], case: &Case) -> bool {
    let read = status::read(text);
    let told = || format!("{case}: {read:?}: {}", text.escape_ascii());
    let Ok(json) = std::str::from_utf8(text).map_err(drop).and_then(|json| match is_json(json, DEEPEST) {
        true => Ok(json.trim()),
        false => Err(()),
    }) else {
        let due = if text.is_empty() { Refusal::Empty } else { Refusal::Json(check(text).expect_err(&told())) };
        assert_eq!(read, Err(due), "{}", told());
        return false;
    };
    if !json.starts_with('{') {
        assert_eq!(read, Err(Refusal::NotAnObject), "{}", told());
        return false;
    }
    match (contract(json), &read) {
        (Ok(view), _) => {
            assert_eq!(read, Ok(view), "{}", told());
            true
        }
        (Err(culprits), Err(refusal)) => {
            let sentence = refusal.to_string();
            let words = sentence.split(|letter: char| !letter.is_ascii_lowercase() && letter != '_');
            let named: Vec<&str> = words.filter(|word| KNOWN.contains(word)).collect();
            assert!(
                matches!(named[..], [field] if culprits.contains(field)),
                "{sentence}, not {culprits:?}: {}",
                told()
            );
            false
        }
        (Err(culprits), Ok(_)) => panic!("taken in spite of {culprits:?}: {}", told()),
    }
}

/// Whether every reader can bear it: no number beyond a double, no surrogate without a partner.
fn is_tame(text: &str) -> bool {
    // What is escaped by a backslash begins nothing; without it, every other quote ends a string.
    let text = text.replace("\\\\", "--").replace("\\\"", "--");
    let unit = |at: usize| {
        let digits = text.get(at..at + 6).and_then(|escape| escape.strip_prefix("\\u"));
        digits.map_or(0, |digits| u16::from_str_radix(digits, 16).expect("four digits"))
    };
    let is_paired = |at: usize| match unit(at) {
        0xD800..0xDC00 => matches!(unit(at + 6), 0xDC00..0xE000),
        0xDC00..0xE000 => at >= 6 && matches!(unit(at - 6), 0xD800..0xDC00),
        _ => true,
    };
    // Less than a hundred digits and an exponent of less than three.
    let is_small = |number: &str| {
        let (digits, exponent) = number.split_once(['e', 'E']).unwrap_or((number, ""));
        digits.len() < 100 && exponent.trim_start_matches(['+', '-']).len() < 3
    };
    let numbers = |bare: &str| bare.split(|letter| !"+-.0123456789eE".contains(letter)).all(is_small);
    text.match_indices("\\u").all(|(at, _)| is_paired(at)) && text.split('"').step_by(2).all(numbers)
}

/// Fails unless every strict reader takes what the reader of the status took.
fn assert_strict(text: &[u8], case: &Case) {
    let strict: Result<Value, _> = serde_json::from_slice(text);
    let tame = is_tame(std::str::from_utf8(text).expect("it was taken"));
    assert!(strict.is_ok() || !tame, "{case}: {strict:?}: {}", text.escape_ascii());
}

impl Writer {
    /// An object that comes close to being a status.
    fn status(mut self) -> (String, Random) {
        self.blanks();
        self.out.push('{');
        self.blanks();
        let mut fresh = KNOWN.to_vec();
        for index in 0..self.random.below(8) {
            if index > 0 {
                self.comma();
            }
            match self.random.below(8) {
                0 => {
                    self.string();
                    self.colon();
                    self.value(2);
                }
                1 => {
                    let near = ["Repo", "repo ", "repos", "", "sync-status", "files\\u0000", "name", "nam\\u00e9"];
                    self.out.extend(["\"", self.random.pick(&near), "\""]);
                    self.colon();
                    self.value(2);
                }
                _ if fresh.is_empty() => self.member("x", |writer| writer.value(2)),
                _ => {
                    let field = if self.random.one_in(40) {
                        self.random.pick(&KNOWN)
                    } else {
                        let field = self.random.below(fresh.len());
                        fresh.swap_remove(field)
                    };
                    self.member(field, |writer| writer.field(field));
                }
            }
            self.blanks();
        }
        self.out.push('}');
        self.blanks();
        (self.out, self.random)
    }

    /// A member whose name is written as it is, or with escapes in it.
    fn member(&mut self, name: &str, value: impl FnOnce(&mut Self)) {
        let chances = self.random.pick(&[2, 6, 1000]);
        self.out.push('"');
        for character in name.chars() {
            if self.random.one_in(chances) { self.escape(character.into()) } else { self.out.push(character) }
        }
        self.out.push('"');
        self.colon();
        value(self);
    }

    /// A value for a known field, mostly one that it may have.
    fn field(&mut self, field: &str) {
        match (self.random.below(16), field) {
            (0, _) => self.value(2),
            (1, _) => self.out.push_str("null"),
            (2, "drift_count") => {
                let odd = ["-0", "0.0", "1.0", "-1", "1e2", "0e0", "9007199254740992", "18446744073709551616", "\"1\""];
                self.out.push_str(self.random.pick(&odd));
            }
            (_, "drift_count") => {
                let good = ["0", "7", "10", "4294967296", "9007199254740990", "9007199254740991"];
                self.out.push_str(self.random.pick(&good));
            }
            (_, "files") => self.composite('[', ']', 3, Writer::item),
            _ => self.string(),
        }
    }

    /// An item of `files`, mostly one that may be.
    fn item(&mut self) {
        match self.random.below(24) {
            0 => self.value(2),
            1 => self.out.push_str("null"),
            2..12 => self.string(),
            _ => {
                let names = self.random.pick(&[1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 2]);
                let place = self.random.below(3);
                self.out.push('{');
                self.blanks();
                let mut written = 0;
                for index in 0..3 {
                    let count = if index == place { names } else { self.random.below(2) };
                    for _ in 0..count {
                        if written > 0 {
                            self.comma();
                        }
                        written += 1;
                        match (index == place, self.random.one_in(24)) {
                            (true, false) => self.member("name", Writer::string),
                            (true, true) => self.member("name", |writer| writer.value(1)),
                            (false, _) => self.member("names", |writer| writer.value(2)),
                        }
                        self.blanks();
                    }
                }
                self.out.push('}');
            }
        }
    }
}

#[test]
fn a_status_is_taken_exactly_when_its_known_fields_are_what_they_must_be() {
    let (mut taken, mut refused) = (0, 0);
    for case in cases(4000) {
        let (text, _) = Writer::new(case.random(), true).status();
        *if assert_read(text.as_bytes(), &case) { &mut taken } else { &mut refused } += 1;
        assert!(check(text.as_bytes()).is_ok(), "{case}: the test is wrong: {}", text.escape_debug());
    }
    // A test that hardly sees one of the two says little; few cases say nothing.
    assert!(taken + refused < 1000 || (taken > 300 && refused > 300), "{taken} taken, {refused} refused");
}

#[test]
fn a_status_broken_anywhere_is_refused_for_what_it_is() {
    for case in cases(4000) {
        let (text, random) = Writer::new(case.random(), true).status();
        let (other, mut random) = Writer::new(random, true).status();
        let mut mutant = text.into_bytes();
        mutate(&mut random, &mut mutant, other.as_bytes());
        if assert_read(&mutant, &case) {
            assert_strict(&mutant, &case);
        }
    }
}

#[test]
fn what_is_no_object_is_no_status() {
    for case in cases(1000) {
        let (text, _) = Writer::new(case.random(), true).document();
        assert_read(text.as_bytes(), &case);
    }
}

#[test]
fn what_is_taken_every_strict_reader_can_take() {
    for case in cases(2000) {
        for wild in [false, true] {
            let (text, _) = Writer::new(case.random(), wild).status();
            assert!(wild || is_tame(&text), "{case}: the test is wrong: {}", text.escape_debug());
            if status::read(text.as_bytes()).is_ok() {
                assert_strict(text.as_bytes(), &case);
            }
        }
        // What is deep is not too deep for them.
        if case.number % 100 == 0 {
            let mut writer = Writer::new(case.random(), false);
            writer.nested(DEEPEST - 1);
            let deep = ["{\"a\":", &writer.out, "}"].concat();
            assert!(status::read(deep.as_bytes()).is_ok(), "{case}: {deep}");
            assert_strict(deep.as_bytes(), &case);
        }
    }
}

#[test]
fn a_refused_status_names_the_field() {
    let name = |text: &str| status::read(text.as_bytes()).expect_err(text).to_string();
    for field in KNOWN {
        let escaped: String = field.bytes().map(|byte| format!("\\u{byte:04X}")).collect();
        for (one, two) in [(field, field), (field, escaped.as_str()), (escaped.as_str(), field)] {
            let twice = format!("{{\"{one}\":null,\"x\":[],\"x\":{{}},\"{two}\":null}}");
            assert!(name(&twice).contains(field), "{}", name(&twice));
        }
        for value in ["true", "false", "-0", "0.5", "1e1", "{}", "[[]]", "[null]", "[{}]", "[{\"name\":[]}]"] {
            for spelling in [field, &escaped] {
                let wrong = format!(" {{ \"x\" : 1 , \"{spelling}\" : {value} , \"y\" : 2 }} ");
                assert!(name(&wrong).contains(field), "{}", name(&wrong));
            }
        }
        for fine in
            [format!("{{\"{escaped}\":null}}"), format!("{{\"{field}\\u0000\":1,\"{field} \":2,\"\\\"{field}\":3}}")]
        {
            assert!(status::read(fine.as_bytes()).is_ok(), "{fine}");
        }
    }
}
