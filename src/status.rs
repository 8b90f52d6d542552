//! The status document: what is accepted as one, and the typed view of what its known fields say.

use core::fmt;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::json;

/// The largest status that can be configured, in bytes: the size of every buffer that holds one.
pub const STATUS_CAPACITY: usize = 1_048_576;

/// The status of a server that nobody has told one.
pub const UNKNOWN: &[u8] =
    br#"{"repo":"","server":"","sync_status":"UNKNOWN","drift_count":0,"files":[],"last_check":null}"#;

/// The largest drift count: above it, a reader that takes numbers for IEEE 754 doubles loses digits (RFC 8259 §6).
pub const DRIFT_COUNT_MAX: u64 = (1 << 53) - 1;
const _: () = assert!(DRIFT_COUNT_MAX == 9_007_199_254_740_991, "a sentence below names it");

/// What the known fields of a status say. `None` stands for a field that is missing or null.
///
/// Strings are given as they stand between their quotes; [`json::Unescape`] reads them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct View<'s> {
    /// The repository.
    pub repo: Option<&'s str>,
    /// The server.
    pub server: Option<&'s str>,
    /// The state of the synchronisation.
    pub sync_status: Option<&'s str>,
    /// When somebody last looked.
    pub last_check: Option<&'s str>,
    /// How many things differ, 0 to [`DRIFT_COUNT_MAX`].
    pub drift_count: Option<u64>,
    /// How many files are listed.
    pub files: Option<usize>,
}

/// The fields whose types are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `repo`
    Repo,
    /// `server`
    Server,
    /// `sync_status`
    SyncStatus,
    /// `last_check`
    LastCheck,
    /// `drift_count`
    DriftCount,
    /// `files`
    Files,
}

impl Field {
    const ALL: [Field; 6] =
        [Field::Repo, Field::Server, Field::SyncStatus, Field::LastCheck, Field::DriftCount, Field::Files];

    /// The member name.
    pub fn name(self) -> &'static str {
        match self {
            Field::Repo => "repo",
            Field::Server => "server",
            Field::SyncStatus => "sync_status",
            Field::LastCheck => "last_check",
            Field::DriftCount => "drift_count",
            Field::Files => "files",
        }
    }

    /// The field of a member name as it stands between its quotes: `sync\u005fstatus` is `sync_status` too.
    fn of(raw: &str) -> Option<Field> {
        Field::ALL.into_iter().find(|field| is_name(raw, field.name()))
    }
}

fn is_name(raw: &str, name: &str) -> bool {
    raw == name || (raw.as_bytes().contains(&b'\\') && json::Unescape::new(raw).eq(name.chars()))
}

/// Why a document is not accepted as a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing at all.
    Empty,
    /// More bytes than the configured limit.
    TooLarge {
        /// Its size in bytes, or what is known of it.
        bytes: u64,
        /// Whether there are more bytes than `bytes`, nobody knows how many.
        at_least: bool,
        /// The configured limit in bytes.
        limit: usize,
    },
    /// Not JSON.
    Json(json::Error),
    /// JSON, but not an object.
    NotAnObject,
    /// A known field with a value of another type.
    Type(Field),
    /// An item of `files`, counted from 0, that is neither a string nor an object with one string `name`.
    FilesItem(usize),
    /// A known field that is given twice.
    Repeated(Field),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Refusal::Empty => f.write_str("The status is empty; expected a JSON object"),
            Refusal::TooLarge { bytes, at_least, limit } => {
                let at_least = if at_least { "at least " } else { "" };
                write!(f, "The status is {at_least}{bytes} bytes; the limit is {limit}")
            }
            Refusal::Json(error) => write!(f, "Invalid JSON: {error}"),
            Refusal::NotAnObject => f.write_str("The status must be a JSON object"),
            Refusal::Type(field) => {
                let expected = match field {
                    Field::DriftCount => "an integer from 0 to 9007199254740991",
                    Field::Files => "an array",
                    _ => "a string",
                };
                write!(f, "Field \"{}\" must be {expected} or null", field.name())
            }
            Refusal::FilesItem(index) => {
                write!(f, "Field \"files\": item {index} must be a string or an object with one string \"name\"")
            }
            Refusal::Repeated(field) => write!(f, "Field \"{}\" is given twice", field.name()),
        }
    }
}

/// Reads `text` as a status.
///
/// # Errors
/// See [`Refusal`]; the size is the caller's to look at, for it may know it before the text.
pub fn read(text: &[u8]) -> Result<View<'_>, Refusal> {
    if text.is_empty() {
        return Err(Refusal::Empty);
    }
    json::check(text).map_err(Refusal::Json)?;
    if text.trim_ascii_start().first() != Some(&b'{') {
        return Err(Refusal::NotAnObject);
    }
    // The reader below stops at what it does not expect and cannot say where it was, so it leaves word on its way.
    let mut reading = Reading { view: View::default(), seen: 0, refusal: Refusal::NotAnObject };
    let mut deserializer = serde_json_core::de::Deserializer::new(text, None);
    match (&mut reading).deserialize(&mut deserializer).and_then(|()| deserializer.end()) {
        Ok(_) => Ok(reading.view),
        Err(_) => Err(reading.refusal),
    }
}

/// The members of the document, one after the other.
struct Reading<'s> {
    view: View<'s>,
    /// One bit for each known field that came by.
    seen: u8,
    /// What to say if what is read now is not as it should be.
    refusal: Refusal,
}

impl<'s> DeserializeSeed<'s> for &mut Reading<'s> {
    type Value = ();

    fn deserialize<D: Deserializer<'s>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'s> Visitor<'s> for &mut Reading<'s> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a status")
    }

    fn visit_map<A: MapAccess<'s>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<&str>()? {
            let Some(field) = Field::of(name) else {
                members.next_value::<Kind>()?;
                continue;
            };
            if self.seen & 1 << field as u8 != 0 {
                self.refusal = Refusal::Repeated(field);
                return Err(de::Error::duplicate_field(field.name()));
            }
            self.seen |= 1 << field as u8;
            self.refusal = Refusal::Type(field);
            match field {
                Field::Repo => self.view.repo = members.next_value()?,
                Field::Server => self.view.server = members.next_value()?,
                Field::SyncStatus => self.view.sync_status = members.next_value()?,
                Field::LastCheck => self.view.last_check = members.next_value()?,
                Field::DriftCount => {
                    self.view.drift_count = members.next_value()?;
                    if self.view.drift_count.is_some_and(|count| count > DRIFT_COUNT_MAX) {
                        return Err(de::Error::custom("too large"));
                    }
                }
                Field::Files => self.view.files = members.next_value_seed(Files { refusal: &mut self.refusal })?,
            }
        }
        Ok(())
    }
}

/// `files`: null or an array; its value is the number of items.
struct Files<'r> {
    refusal: &'r mut Refusal,
}

impl<'s> DeserializeSeed<'s> for Files<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'s>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'s> Visitor<'s> for Files<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array or null")
    }

    fn visit_none<E>(self) -> Result<Option<usize>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'s>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'s>>(self, mut items: A) -> Result<Option<usize>, A::Error> {
        let mut count = 0;
        *self.refusal = Refusal::FilesItem(count);
        while let Some(item) = items.next_element::<Kind>()? {
            if item == Kind::Other {
                return Err(de::Error::missing_field("name"));
            }
            count += 1;
            *self.refusal = Refusal::FilesItem(count);
        }
        Ok(Some(count))
    }
}

/// What kind of value something is, as far as it matters. Whatever is in it is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A string.
    Text,
    /// An object with one string `name`.
    Named,
    /// Anything else.
    Other,
}

impl<'s> Deserialize<'s> for Kind {
    fn deserialize<D: Deserializer<'s>>(deserializer: D) -> Result<Self, D::Error> {
        // Which it is shows only in its text; this is the call that takes any.
        deserializer.deserialize_ignored_any(AnyKind)
    }
}

struct AnyKind;

impl<'s> Visitor<'s> for AnyKind {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Other)
    }

    fn visit_str<E>(self, _: &str) -> Result<Kind, E> {
        Ok(Kind::Text)
    }

    fn visit_seq<A: SeqAccess<'s>>(self, mut items: A) -> Result<Kind, A::Error> {
        while items.next_element::<Kind>()?.is_some() {}
        Ok(Kind::Other)
    }

    fn visit_map<A: MapAccess<'s>>(self, mut members: A) -> Result<Kind, A::Error> {
        let (mut names, mut texts) = (0, 0);
        while let Some(name) = members.next_key::<&str>()? {
            let value = members.next_value::<Kind>()?;
            if is_name(name, "name") {
                names += 1;
                texts += u32::from(value == Kind::Text);
            }
        }
        Ok(if (names, texts) == (1, 1) { Kind::Named } else { Kind::Other })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    fn refusal(text: &str) -> std::string::String {
        read(text.as_bytes()).expect_err(text).to_string()
    }

    #[test]
    fn a_status_shows_what_its_known_fields_say() {
        let text = r#" {"files":["a",{"x":[1.5e3,{"y":null}],"name":"b"}],"drift_count":2,"more":{"repo":1},
            "sync_status":"OUT_OF\u005fSYNC","repo":null,"ser\u0076er":"s","last_check":"2026-04-21T10:30:00Z"} "#;
        let expected = View {
            repo: None,
            server: Some("s"),
            sync_status: Some(r"OUT_OF\u005fSYNC"),
            last_check: Some("2026-04-21T10:30:00Z"),
            drift_count: Some(2),
            files: Some(2),
        };
        assert_eq!(read(text.as_bytes()), Ok(expected));
    }

    #[test]
    fn known_fields_may_be_missing_or_null_and_unknown_ones_anything() {
        for text in [
            "{}",
            r#"{"repo":null,"server":null,"sync_status":null,"drift_count":null,"files":null,"last_check":null}"#,
            r#"{"a":1,"a":[true,{}],"b":"\ud800","c":123456789012345678901234567890,"d":-1.5E-9}"#,
            r#"{"files":[],"drift_count":0}"#,
            r#"{"drift_count":9007199254740991}"#,
        ] {
            assert!(read(text.as_bytes()).is_ok(), "{text}");
        }
        assert!(read(UNKNOWN).is_ok());
    }

    #[test]
    fn a_known_field_of_another_type_is_refused_by_name() {
        for field in ["repo", "server", "sync_status", "last_check"] {
            for value in ["1", "true", "[]", "{}", "-0.5", "[\"a\"]"] {
                let expected = std::format!("Field \"{field}\" must be a string or null");
                assert_eq!(refusal(&std::format!("{{\"x\":1,\"{field}\":{value},\"y\":2}}")), expected, "{value}");
            }
        }
        for value in
            ["-1", "1.0", "1.5", "1e2", "\"1\"", "true", "[]", "{}", "9007199254740992", "99999999999999999999"]
        {
            for text in
                [std::format!("{{\"drift_count\":{value}}}"), std::format!("{{\"drift_count\": {value} ,\"a\":1}}")]
            {
                assert_eq!(
                    refusal(&text),
                    "Field \"drift_count\" must be an integer from 0 to 9007199254740991 or null"
                );
            }
        }
        for value in ["1", "true", "\"a\"", "{}"] {
            assert_eq!(refusal(&std::format!("{{\"files\":{value}}}")), "Field \"files\" must be an array or null");
        }
        for item in [
            "1",
            "null",
            "true",
            "[]",
            "{}",
            "{\"name\":1}",
            "{\"name\":null}",
            "{\"name\":\"a\",\"name\":\"b\"}",
            "-2.5",
        ] {
            let expected = "Field \"files\": item 1 must be a string or an object with one string \"name\"";
            assert_eq!(refusal(&std::format!("{{\"files\":[\"a\",{item}]}}")), expected, "{item}");
        }
    }

    #[test]
    fn a_known_field_given_twice_is_refused_by_name() {
        assert_eq!(refusal(r#"{"repo":"a","repo":"a"}"#), "Field \"repo\" is given twice");
        assert_eq!(refusal(r#"{"files":[],"f\u0069les":null}"#), "Field \"files\" is given twice");
    }

    #[test]
    fn what_is_no_json_object_is_refused() {
        assert_eq!(refusal(""), "The status is empty; expected a JSON object");
        assert_eq!(refusal("  "), "Invalid JSON: the text ends too early at byte 2");
        assert_eq!(refusal("{\"a\":tru}"), "Invalid JSON: expected true, false or null at byte 8");
        for text in ["[]", "\"{}\"", "1", "null", " [{}]"] {
            assert_eq!(refusal(text), "The status must be a JSON object", "{text}");
        }
    }
}
