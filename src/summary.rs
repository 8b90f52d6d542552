//! What the views of a status are made of: its known fields, each cut to what fits a line.

use core::fmt;
use core::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::json::Unescape;
use crate::status::View;

/// The most bytes of a text that are kept.
pub const TEXT_MAX: usize = 96;

/// A text, cut between characters where it is longer than [`TEXT_MAX`]. Shown, what is cut ends with `…`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text {
    text: heapless::String<TEXT_MAX>,
    /// 1 where it is, else 0. A `bool` has values to spare for the `None` of an `Option` around it, and memory that begins
    /// as that would not be zeros.
    cut: u8,
}

impl Text {
    /// The beginning of `characters`.
    pub fn of(characters: impl Iterator<Item = char>) -> Self {
        let mut text = heapless::String::new();
        for character in characters {
            if text.push(character).is_err() {
                return Text { text, cut: 1 };
            }
        }
        Text { text, cut: 0 }
    }

    /// That of a JSON string, from what stands between its quotes.
    fn of_json(raw: &str) -> Self {
        // As a rule it stands there as it is meant, and short.
        let mut text = heapless::String::new();
        if raw.len() <= TEXT_MAX && !raw.as_bytes().contains(&b'\\') && text.push_str(raw).is_ok() {
            return Text { text, cut: 0 };
        }
        Text::of(Unescape::new(raw))
    }

    /// The same, of which there was more.
    pub fn cut(self) -> Self {
        Text { cut: 1, ..self }
    }

    /// The characters, and `…` behind what is cut.
    pub fn characters(&self) -> impl Iterator<Item = char> {
        self.text.chars().chain(self.is_cut().then_some('…'))
    }

    /// What is kept.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether there was more.
    pub fn is_cut(&self) -> bool {
        self.cut != 0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        f.write_str(if self.is_cut() { "…" } else { "" })
    }
}

/// What `sync_status` means, where it is one of the words that everybody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// What runs is what is in git.
    Synced,
    /// It is not.
    OutOfSync,
    /// Nobody has said.
    Unknown,
    /// Something else.
    Other,
}

impl State {
    /// That of a word: `OUT_OF_SYNC`, `OutOfSync` and `out of sync` are one. Without a word, nobody has said.
    pub fn of(word: Option<&Text>) -> Self {
        let Some(word) = word else { return State::Unknown };
        let is = |known: &str| {
            let letters = word.characters().filter(|character| !matches!(character, '_' | '-' | ' '));
            letters.map(|letter| letter.to_ascii_uppercase()).eq(known.chars())
        };
        if is("SYNCED") {
            State::Synced
        } else if is("OUTOFSYNC") {
            State::OutOfSync
        } else if is("UNKNOWN") || is("") {
            State::Unknown
        } else {
            State::Other
        }
    }
}

/// The known fields of a status. `None` stands for a field that is missing or null.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// The repository.
    pub repo: Option<Text>,
    /// The server.
    pub server: Option<Text>,
    /// The state of the synchronisation.
    pub sync_status: Option<Text>,
    /// When somebody last looked.
    pub last_check: Option<Text>,
    /// How many things differ, 0 to [`DRIFT_COUNT_MAX`](crate::status::DRIFT_COUNT_MAX).
    pub drift_count: Option<u64>,
    /// How many files are listed.
    pub files: Option<u64>,
    /// Equal for two statuses that say the same but for the time of the check.
    pub fingerprint: u64,
}

impl Summary {
    /// One of nothing.
    pub const NONE: Summary = Summary {
        repo: None,
        server: None,
        sync_status: None,
        last_check: None,
        drift_count: None,
        files: None,
        fingerprint: 0,
    };

    /// That of a status.
    pub fn of(view: &View<'_>) -> Self {
        let files = view.files.map(|files| files as u64);
        let mut hasher = SipHasher24::new();
        for text in [view.repo, view.server, view.sync_status] {
            // 0xFF is in no text.
            hasher.write(text.unwrap_or("\0").as_bytes());
            hasher.write_u8(0xFF);
        }
        for number in [view.drift_count, files] {
            hasher.write_u64(number.map_or(u64::MAX, |number| number));
        }
        let text = |raw: Option<&str>| raw.map(Text::of_json);
        Summary {
            repo: text(view.repo),
            server: text(view.server),
            sync_status: text(view.sync_status),
            last_check: text(view.last_check),
            drift_count: view.drift_count,
            files,
            fingerprint: hasher.finish(),
        }
    }

    /// What `sync_status` means.
    pub fn state(&self) -> State {
        State::of(self.sync_status.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status;
    use std::format;
    use std::string::{String, ToString};

    fn summary(status: &str) -> Summary {
        Summary::of(&status::read(status.as_bytes()).expect(status))
    }

    #[test]
    fn a_text_is_cut_between_characters_and_says_so() {
        for (characters, kept) in [(96, 96), (97, 96)] {
            let text = Text::of("x".repeat(characters).chars());
            assert_eq!((text.as_str().len(), text.is_cut()), (kept, characters > kept));
        }
        let text = Text::of("ä".repeat(60).chars());
        assert_eq!(text.to_string(), "ä".repeat(48) + "…");
        assert_eq!(text.characters().collect::<String>(), text.to_string());
    }

    #[test]
    fn a_state_is_known_by_its_letters() {
        for (word, expected) in [
            ("SYNCED", State::Synced),
            ("Synced", State::Synced),
            ("OUT_OF_SYNC", State::OutOfSync),
            ("OutOfSync", State::OutOfSync),
            ("out-of sync", State::OutOfSync),
            ("UNKNOWN", State::Unknown),
            ("", State::Unknown),
            ("SYNCEDX", State::Other),
            ("not synced", State::Other),
            ("SY\\u004eCED", State::Synced),
        ] {
            assert_eq!(summary(&format!("{{\"sync_status\":\"{word}\"}}")).state(), expected, "{word}");
        }
        assert_eq!(summary("{}").state(), State::Unknown);
    }

    #[test]
    fn statuses_that_say_the_same_at_another_time_have_the_same_fingerprint() {
        let one = r#"{"repo":"a","sync_status":"SYNCED","drift_count":1,"files":["x"],"last_check":"1"}"#;
        let of = |from: &str, to: &str| {
            assert!(one.contains(from));
            summary(&one.replace(from, to)).fingerprint
        };
        let same = summary(one).fingerprint;
        for (from, to) in [("\"1\"", "\"2\""), ("\"1\"", "null"), ("[\"x\"]", "[\"y\"]"), ("\"x\"", "{\"name\":\"x\"}")]
        {
            assert_eq!(of(from, to), same, "{to}");
        }
        for (from, to) in [
            ("SYNCED", "SYNCEd"),
            ("\"repo\"", "\"server\""),
            ("\"SYNCED\"", "null"),
            (":1,", ":2,"),
            (":1,", ":null,"),
            ("[\"x\"]", "[]"),
            ("[\"x\"]", "null"),
        ] {
            assert_ne!(of(from, to), same, "{to}");
        }
    }
}
