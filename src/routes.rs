//! Which request gets which answer.

use core::fmt;

use crate::counters::{Route, Tally};
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
    /// Something that is rendered for this request.
    View(View),
}

/// A view of the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// For Prometheus.
    Metrics,
    /// For people.
    Page,
    /// For a README.
    Badge,
    /// The last statuses.
    History,
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
    /// No status came for so many seconds.
    Stale(u64),
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
            | Problem::Stale(_)
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
            Problem::NotFound => f.write_str(
                "Not found; there are GET /, /status.json, /history.json, /badge.svg, /metrics, /health and /ready, \
                 and POST /api/status",
            ),
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
            Problem::Stale(seconds) => write!(f, "No status was posted for more than {seconds} s"),
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
    /// The seconds for which no status came, if that makes the server unready.
    pub stale: Option<u64>,
}

/// Whether the answer to a request for `route` depends on files that somebody else may have changed.
pub fn depends_on_files(route: Route, method: Method) -> bool {
    matches!(method, Method::Get | Method::Head)
        && !matches!(route, Route::Health | Route::Post | Route::Server | Route::None)
}

/// What a path stands for.
pub fn route_of(path: &str) -> Route {
    match path {
        "/status.json" => Route::Status,
        "/health" => Route::Health,
        "/ready" => Route::Ready,
        "/metrics" => Route::Metrics,
        "/" => Route::Page,
        "/badge.svg" => Route::Badge,
        "/history.json" => Route::History,
        POST_PATH => Route::Post,
        "*" => Route::Server,
        _ => Route::None,
    }
}

/// What a request is counted for.
pub fn tally(route: Route, method: Method) -> Tally {
    match method {
        Method::Get | Method::Head => Tally::read(route),
        Method::Post => Tally::write(route),
        Method::Options | Method::Other => Tally::other(route),
    }
}

/// The answer to the request with this head, for `route`.
///
/// # Errors
/// Why there is none; none of the body has been looked at by then.
pub fn answer(route: Route, head: &Head<'_, '_>, situation: &Situation<'_>) -> Result<Answer, Problem> {
    let allow = match route {
        Route::Post => WRITE,
        Route::Server => EITHER,
        Route::None => return Err(Problem::NotFound),
        _ => READ,
    };
    let content = match (route, head.method) {
        (_, Method::Options) => Content::Options(allow),
        (Route::Post, Method::Post) => return may_post(head, situation).map(|()| Answer::TakeStatus),
        (Route::Post | Route::Server, _) | (_, Method::Post | Method::Other) => {
            return Err(Problem::MethodNotAllowed(allow));
        }
        (Route::Status, _) if has_already(head, situation.etag) => Content::NotModified,
        (Route::Status, _) => Content::Status,
        (Route::Health, _) => Content::Text(br#"{"status":"ok"}"#),
        (Route::Ready, _) => {
            situation.readiness()?;
            Content::Text(br#"{"status":"ready"}"#)
        }
        (Route::Metrics, _) => Content::View(View::Metrics),
        (Route::Page, _) => Content::View(View::Page),
        (Route::Badge, _) => Content::View(View::Badge),
        (Route::History | Route::None, _) => Content::View(View::History),
    };
    Ok(Answer::Now(content))
}

impl Situation<'_> {
    /// What `/ready` tells.
    ///
    /// # Errors
    /// The server is not ready for this reason.
    pub fn readiness(&self) -> Result<(), Problem> {
        if self.shutting_down {
            return Err(Problem::ShuttingDown);
        }
        match (self.trouble, self.stale) {
            (Some(trouble), _) => Err(Problem::NotReady(trouble)),
            (None, Some(seconds)) => Err(Problem::Stale(seconds)),
            (None, None) => Ok(()),
        }
    }
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

/// Whether `If-None-Match` names this representation (RFC 9110 §13.1.2, weak comparison).
pub fn has_already(head: &Head<'_, '_>, etag: &ETag) -> bool {
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
