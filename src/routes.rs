//! Which request gets which answer.

use core::fmt;

use crate::http::framing::{FramingError, Length};
use crate::http::head::{Head, HeadError, Method, list};
use crate::http::response::Code;
use crate::snapshot::ETag;
use crate::status::Refusal;
use crate::store::Trouble;
use crate::text::same_word;

/// The path that statuses are posted to.
pub const POST_PATH: &str = "/api/status";

/// What a request asks for, when it may have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Something that can be sent at once.
    Now(Content),
    /// The message body is a new status.
    TakeStatus,
}

/// What can be sent at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// The current status.
    Status,
    /// The client has the current status already.
    NotModified,
    /// A small JSON text that is always the same.
    Text(&'static [u8]),
    /// The methods that a resource has.
    Options(Allow),
}

/// The methods of a resource, as `Allow` lists them (RFC 9110 §10.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allow(pub &'static str);

const READ: Allow = Allow("GET, HEAD, OPTIONS");
const WRITE: Allow = Allow("OPTIONS, POST");
const EITHER: Allow = Allow("GET, HEAD, OPTIONS, POST");

/// Why a request is not answered as it wishes. Its `Display` is the sentence for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// The head is malformed or asks for what is not spoken here.
    Head(HeadError),
    /// The body is malformed.
    Framing(FramingError),
    /// The body is no status.
    Refused(Refusal),
    /// No resource has this path.
    NotFound,
    /// The resource has other methods.
    MethodNotAllowed(Allow),
    /// The body is not declared as JSON.
    MediaType,
    /// The body is compressed.
    ContentCoding,
    /// Every body buffer is taken, and of those who send this one is the slowest.
    Busy,
    /// The head took longer than it may.
    HeadTimeout,
    /// The body took longer than it may.
    BodyTimeout,
    /// The client ended before its request did.
    Incomplete,
    /// The status could not be stored.
    Unstored(Trouble),
    /// The status is being stored, and nobody knows how that ends.
    Undecided,
    /// Statuses cannot be stored.
    NotReady(Trouble),
    /// The server is about to exit.
    ShuttingDown,
}

impl Problem {
    /// The status code of the answer.
    pub fn code(&self) -> Code {
        match self {
            Problem::Head(error) => match error {
                HeadError::Version => Code::HttpVersionNotSupported,
                HeadError::TargetTooLong => Code::UriTooLong,
                HeadError::TooLarge | HeadError::TooManyFields => Code::RequestHeaderFieldsTooLarge,
                HeadError::Method | HeadError::CodingUnknown => Code::NotImplemented,
                HeadError::Expectation => Code::ExpectationFailed,
                _ => Code::BadRequest,
            },
            Problem::Framing(FramingError::TrailersTooLarge) => Code::RequestHeaderFieldsTooLarge,
            Problem::Framing(_) | Problem::Refused(_) | Problem::Incomplete => Code::BadRequest,
            Problem::NotFound => Code::NotFound,
            Problem::MethodNotAllowed(_) => Code::MethodNotAllowed,
            Problem::MediaType | Problem::ContentCoding => Code::UnsupportedMediaType,
            Problem::Unstored(trouble) if trouble.is_full() => Code::InsufficientStorage,
            Problem::Busy
            | Problem::Unstored(_)
            | Problem::Undecided
            | Problem::NotReady(_)
            | Problem::ShuttingDown => Code::ServiceUnavailable,
            Problem::HeadTimeout | Problem::BodyTimeout => Code::RequestTimeout,
        }
    }

    /// A field that goes with the answer: its name and value.
    pub fn field(&self) -> Option<(&'static str, &'static [u8])> {
        match self {
            Problem::MethodNotAllowed(allow) => Some(("Allow", allow.0.as_bytes())),
            Problem::Busy | Problem::Unstored(Trouble::Slow) => Some(("Retry-After", b"1")),
            _ => None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Head(error) => error.fmt(f),
            Problem::Framing(error) => error.fmt(f),
            Problem::Refused(refusal) => refusal.fmt(f),
            Problem::NotFound => {
                f.write_str("Not found; there are GET /status.json, /health and /ready, and POST /api/status")
            }
            Problem::MethodNotAllowed(allow) => write!(f, "Method not allowed here; use one of {}", allow.0),
            Problem::MediaType => f.write_str("Content-Type must be application/json"),
            Problem::ContentCoding => f.write_str("Content-Encoding is not supported; send the status uncompressed"),
            Problem::Busy => f.write_str(
                "Too many statuses are being sent at once and this one is the slowest; try again in a second",
            ),
            Problem::HeadTimeout => f.write_str("The request head did not arrive in time"),
            Problem::BodyTimeout => f.write_str("The request body did not arrive in time"),
            Problem::Incomplete => f.write_str("The connection ended before the request was complete"),
            Problem::Undecided => {
                write!(f, "It is not known whether the status is stored: {}", Trouble::Slow)
            }
            Problem::Unstored(trouble) => write!(f, "The status is not stored and the old one stays: {trouble}"),
            Problem::NotReady(trouble) => write!(f, "Statuses cannot be stored: {trouble}"),
            Problem::ShuttingDown => f.write_str("Shutting down"),
        }
    }
}

/// What the answer depends on beside the request.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'s> {
    /// The entity tag of the current status.
    pub etag: &'s ETag,
    /// The largest status that is accepted, in bytes.
    pub max_bytes: usize,
    /// Whether the server is about to exit.
    pub shutting_down: bool,
    /// Why statuses cannot be stored, if they cannot.
    pub trouble: Option<Trouble>,
}

/// Whether the answer to the request with this head depends on files that somebody else may have changed.
pub fn depends_on_files(head: &Head<'_, '_>) -> bool {
    matches!(head.method, Method::Get | Method::Head)
        && matches!(resource(head.path), Some(Resource::Status | Resource::Ready))
}

/// What a path stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resource {
    Status,
    Health,
    Ready,
    Post,
    /// The server as a whole (RFC 9110 §9.3.7).
    Server,
}

fn resource(path: &str) -> Option<Resource> {
    Some(match path {
        "/status.json" => Resource::Status,
        "/health" => Resource::Health,
        "/ready" => Resource::Ready,
        POST_PATH => Resource::Post,
        "*" => Resource::Server,
        _ => return None,
    })
}

/// The answer to the request with this head.
///
/// # Errors
/// Why there is none; none of the body has been looked at by then.
pub fn route(head: &Head<'_, '_>, situation: &Situation<'_>) -> Result<Answer, Problem> {
    let resource = resource(head.path).ok_or(Problem::NotFound)?;
    let allow = match resource {
        Resource::Status | Resource::Health | Resource::Ready => READ,
        Resource::Post => WRITE,
        Resource::Server => EITHER,
    };
    let content = match (resource, head.method) {
        (_, Method::Options) => Content::Options(allow),
        (Resource::Post, Method::Post) => return may_post(head, situation).map(|()| Answer::TakeStatus),
        (Resource::Status, Method::Get | Method::Head) if has_already(head, situation.etag) => Content::NotModified,
        (Resource::Status, Method::Get | Method::Head) => Content::Status,
        (Resource::Health, Method::Get | Method::Head) => Content::Text(br#"{"status":"ok"}"#),
        (Resource::Ready, Method::Get | Method::Head) if situation.shutting_down => return Err(Problem::ShuttingDown),
        (Resource::Ready, Method::Get | Method::Head) => match situation.trouble {
            Some(trouble) => return Err(Problem::NotReady(trouble)),
            None => Content::Text(br#"{"status":"ready"}"#),
        },
        _ => return Err(Problem::MethodNotAllowed(allow)),
    };
    Ok(Answer::Now(content))
}

/// Whether a body may be read at all, by what its head says.
fn may_post(head: &Head<'_, '_>, situation: &Situation<'_>) -> Result<(), Problem> {
    let mut types = head.values("content-type");
    match (types.next(), types.next()) {
        (Some(media_type), None) if is_json(media_type) => {}
        _ => return Err(Problem::MediaType),
    }
    if head.values("content-encoding").flat_map(list).any(|coding| !same_word(coding, b"identity")) {
        return Err(Problem::ContentCoding);
    }
    match head.body {
        Length::Bytes(bytes) if bytes > situation.max_bytes as u64 => {
            Err(Problem::Refused(Refusal::TooLarge { bytes, at_least: false, limit: situation.max_bytes }))
        }
        _ => Ok(()),
    }
}

/// Whether a media type is `application/json` or `application/*+json`, whatever its parameters (RFC 9110 §8.3.1).
fn is_json(media_type: &[u8]) -> bool {
    let essence = media_type.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii_end();
    let Some((kind, subtype)) = essence.split_at_checked(b"application/".len()) else { return false };
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(byte);
    let suffix = subtype.len().checked_sub(b"+json".len()).map(|at| &subtype[at..]);
    same_word(kind, b"application/")
        && subtype.iter().all(is_token)
        && (same_word(subtype, b"json")
            || suffix.is_some_and(|suffix| same_word(suffix, b"+json") && subtype.len() > suffix.len()))
}

/// Whether `If-None-Match` names the current status (RFC 9110 §13.1.2, weak comparison).
fn has_already(head: &Head<'_, '_>, etag: &ETag) -> bool {
    head.values("if-none-match").any(|value| value == b"*" || entity_tags(value).any(|tag| tag == etag.as_bytes()))
}

/// The entity tags of a list, quotes included and `W/` left out, up to the first thing that is none. A comma may stand
/// in a tag (RFC 9110 §8.8.3).
fn entity_tags(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = list;
    core::iter::from_fn(move || {
        while let [b' ' | b'\t' | b',', behind @ ..] = rest {
            rest = behind;
        }
        rest = rest.strip_prefix(b"W/").unwrap_or(rest);
        let inner = rest.strip_prefix(b"\"")?;
        let end = inner.iter().position(|&byte| byte == b'"')? + 2;
        let (tag, behind) = rest.split_at(end);
        rest = behind;
        Some(tag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_two_kinds_of_names() {
        for name in [
            "application/json",
            "Application/JSON",
            "application/json;charset=utf-8",
            "application/json ; charset=\"utf-8\"",
            "application/vnd.api+json",
            "application/problem+JSON; a=b",
        ] {
            assert!(is_json(name.as_bytes()), "{name}");
        }
        for name in [
            "",
            "application/",
            "application/jsonx",
            "application/json x",
            "application/json, text/plain",
            "application/x-www-form-urlencoded",
            "application/+json",
            "application/a b+json",
            "text/json",
            "text/plain;application/json",
            "json",
        ] {
            assert!(!is_json(name.as_bytes()), "{name}");
        }
    }
}
