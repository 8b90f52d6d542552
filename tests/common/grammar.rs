//! What is JSON, and what can become it, by `serde_json` and a plain scan: for the tests of the judge, and for the fuzzers.

use gitops_status_server::json::DEPTH_MAX;
use serde::de::IgnoredAny;

/// No JSON text begins with it.
pub const BYTE_ORDER_MARK: &str = "\u{feff}";
/// How deep the server lets JSON nest.
pub const DEEPEST: usize = DEPTH_MAX as usize;
/// For texts of any depth.
pub const UNLIMITED: usize = usize::MAX;

/// Whether `text` is JSON that nests no deeper than `deepest`.
///
/// `IgnoredAny` makes `serde_json` walk the grammar and nothing more: it looks neither at the size of a number nor at
/// the partner of a surrogate, and counts no levels. It does not look at UTF-8 either, thus the `str`.
pub fn is_json(text: &str, deepest: usize) -> bool {
    !text.starts_with(BYTE_ORDER_MARK)
        && serde_json::from_str::<IgnoredAny>(text).is_ok()
        && Brackets::of(text).deepest <= deepest
}

/// The brackets of a text, those in strings left out.
pub struct Brackets {
    /// What has to close those that are open at the end, the outermost first.
    pub missing: String,
    /// How many were open at most.
    pub deepest: usize,
}

impl Brackets {
    pub fn of(text: &str) -> Brackets {
        let mut brackets = Brackets { missing: String::new(), deepest: 0 };
        let (mut in_string, mut escaped) = (false, false);
        for byte in text.bytes() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'"' => in_string = !in_string,
                _ if in_string => {}
                b'[' => brackets.missing.push(']'),
                b'{' => brackets.missing.push('}'),
                b']' | b'}' => drop(brackets.missing.pop()),
                _ => {}
            }
            brackets.deepest = brackets.deepest.max(brackets.missing.len());
        }
        brackets
    }
}

/// Everything that can be missing, save brackets, where a JSON text breaks off between two characters.
const MISSING: [&str; 25] = [
    // Nothing; a value or the digits of a number; the value of a member; a member.
    "", "0", ":0", "\"\":0",
    // The end of a string, then that of a member name: in plain text, behind a backslash, in `\u`.
    "\"", "n\"", "0000\"", "000\"", "00\"", "0\"", "\":0", "n\":0", "0000\":0", "000\":0", "00\":0", "0\":0",
    // The end of a literal.
    "rue", "ue", "e", "alse", "lse", "se", "ull", "ll", "l",
];

/// Whether something can be put behind `text` that makes it JSON.
///
/// This is the definition itself, tried out: a completion from a list, and `serde_json` to say whether it is one. So a
/// yes needs no faith in anything but `serde_json`'s verdict, and a no only in the list being whole, which
/// `every_beginning_of_a_valid_text_can_be_completed` watches over. What kind of error `serde_json` meets at the end of
/// the text would be quicker and wrong: it calls `1.` a syntax error, and `"\ux` a text that ends too early.
pub fn can_be_completed(text: &str, deepest: usize) -> bool {
    let brackets = Brackets::of(text);
    if brackets.deepest > deepest {
        return false;
    }
    let closing: String = brackets.missing.chars().rev().collect();
    let mut whole = String::with_capacity(text.len() + 10 + closing.len());
    MISSING.iter().any(|missing| {
        whole.clear();
        whole.extend([text, missing, &closing]);
        is_json(&whole, deepest)
    })
}
