//! What more than one target needs: references that are slow and obvious, made of `serde_json` and plain scans.

#[path = "../../tests/common/grammar.rs"]
pub mod grammar;

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// The most bytes that [`expand`] gives.
const EXPANDED_MAX: usize = 12 << 10;

/// Makes long inputs of short ones, so that limits of kilobytes are within reach of a small corpus: FF n stands for
/// 64 n more of the byte before it, and FF 00 for FF itself.
pub fn expand(data: &[u8]) -> Vec<u8> {
    let mut expanded = Vec::with_capacity(data.len());
    let mut rest = data.iter();
    while let Some(&byte) = rest.next() {
        let times = if byte == 0xFF { rest.next().copied().unwrap_or(0) } else { 0 };
        let before = expanded.last().copied().unwrap_or(0xFF);
        match (byte, times) {
            (0xFF, 1..) => expanded.extend(std::iter::repeat_n(before, 64 * usize::from(times))),
            _ => expanded.push(byte),
        }
        if expanded.len() > EXPANDED_MAX {
            expanded.truncate(EXPANDED_MAX);
            break;
        }
    }
    expanded
}

/// A JSON text as `serde_json` reads it, with every member of an object in its place.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number written as a plain integer that fits a `u64`.
    Count(u64),
    /// Any other number.
    Number,
    /// The characters of a string; U+FFFD where a surrogate has no partner.
    String(String),
    /// The elements.
    Array(Vec<Json>),
    /// The members, those of the same name too.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads `text`, which [`is_json`](grammar::is_json).
    ///
    /// # Panics
    /// When `serde_json` thinks otherwise.
    pub fn of(text: &str) -> Json {
        let tamed = tame(text);
        serde_json::from_str(&tamed).unwrap_or_else(|error| panic!("{error}: {tamed:?}"))
    }
}

/// `text` without what the grammar takes and `serde_json` does not take for a value: a surrogate without a partner is
/// replaced, and so is every number that is no plain integer.
fn tame(text: &str) -> String {
    let mut tamed = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let token = match first {
            '"' => {
                let end = end_of_string(rest);
                tame_string(&rest[..end], &mut tamed);
                end
            }
            '-' | '0'..='9' => {
                let end = rest.find(|letter| !"+-.eE0123456789".contains(letter)).unwrap_or(rest.len());
                tamed.push_str(if rest[..end].parse::<u64>().is_ok() { &rest[..end] } else { "0.5" });
                end
            }
            other => {
                tamed.push(other);
                other.len_utf8()
            }
        };
        rest = &rest[token..];
    }
    tamed
}

/// The length of the string that `text` begins with, quotes included.
fn end_of_string(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn tame_string(string: &str, tamed: &mut String) {
    let unit = |text: &str| {
        let digits = text.strip_prefix("\\u").and_then(|digits| digits.get(..4));
        digits.and_then(|digits| u16::from_str_radix(digits, 16).ok())
    };
    let mut rest = string;
    while let Some(first) = rest.chars().next() {
        let taken = match (unit(rest), rest.get(6..).and_then(unit)) {
            (Some(0xD800..0xDC00), Some(0xDC00..0xE000)) => 12,
            (Some(0xD800..0xE000), _) => {
                tamed.push_str("\\ufffd");
                rest = &rest[6..];
                continue;
            }
            (Some(_), _) => 6,
            (None, _) if first == '\\' => 2,
            (None, _) => first.len_utf8(),
        };
        tamed.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
}

impl<'j> Deserialize<'j> for Json {
    fn deserialize<D: Deserializer<'j>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tree)
    }
}

struct Tree;

impl<'j> Visitor<'j> for Tree {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Bool)
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Count(number))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Number)
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'j>>(self, mut elements: A) -> Result<Json, A::Error> {
        let mut array = Vec::new();
        while let Some(element) = elements.next_element()? {
            array.push(element);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'j>>(self, mut members: A) -> Result<Json, A::Error> {
        let mut object = Vec::new();
        while let Some(member) = members.next_entry()? {
            object.push(member);
        }
        Ok(Json::Object(object))
    }
}

/// The entity tag that bytes have to have: SipHash-2-4 with the key zero, which the standard library still has.
pub fn entity_tag(bytes: &[u8]) -> String {
    #[expect(deprecated, reason = "it is fit for tags, not for hash maps")]
    let mut hasher = std::hash::SipHasher::new();
    std::hash::Hasher::write(&mut hasher, bytes);
    format!("\"{:016x}\"", std::hash::Hasher::finish(&hasher))
}
