//! A request head: what `httparse` reads, and the rules of RFC 9112 that it leaves to its caller.

use core::fmt;
use core::mem::MaybeUninit;
use core::net::Ipv6Addr;
use core::str;

use httparse::Header;

use super::framing::Length;
use crate::text::{decimal, same_word};

/// The most bytes that a request head may have, its last empty line included: as much as one of nginx's large header
/// buffers, so that what comes through a proxy fits here too.
pub const HEAD_MAX: usize = 8192;
/// The most field lines that a request head may have: several times what a browser behind three proxies sends.
pub const FIELDS_MAX: usize = 64;
/// The most bytes that a request target may have: the paths here have twenty, and the rest is for queries that nobody
/// reads.
pub const TARGET_MAX: usize = 2048;
const _: () = assert!(TARGET_MAX < HEAD_MAX);

/// Room for the field lines of a head while it is looked at.
pub type FieldLines<'b> = [MaybeUninit<Header<'b>>; FIELDS_MAX];

/// Empty room for [`parse`].
pub const fn field_lines<'b>() -> FieldLines<'b> {
    [const { MaybeUninit::uninit() }; FIELDS_MAX]
}

/// The methods of RFC 9110 §9 and RFC 5789, as far as this server tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `OPTIONS`
    Options,
    /// A method of the standards that no resource here has: `PUT`, `DELETE`, `TRACE`, `PATCH`.
    Other,
}

/// A whole request head whose framing is beyond doubt.
#[derive(Debug)]
pub struct Head<'h, 'b> {
    /// The method.
    pub method: Method,
    /// The method as it was sent.
    pub method_text: &'b str,
    /// The request target as it was sent.
    pub target: &'b str,
    /// The path of the target, without its query; `*` for the asterisk form.
    pub path: &'b str,
    /// Whether the request came as HTTP/1.0.
    pub version_10: bool,
    /// Whether the connection may stay open behind the response (RFC 9112 §9.3).
    pub keep_alive: bool,
    /// Whether the client waits for a 100 before it sends the body (RFC 9110 §10.1.1).
    pub expects_continue: bool,
    /// How long the message body is.
    pub body: Length,
    /// How many bytes the head took, empty lines before it included.
    pub len: usize,
    fields: &'h [Header<'b>],
}

impl<'b> Head<'_, 'b> {
    /// The values of all field lines called `name`, in their order, blanks around them removed.
    pub fn values(&self, name: &'static str) -> impl Iterator<Item = &'b [u8]> {
        self.fields
            .iter()
            .filter(move |field| same_word(field.name.as_bytes(), name.as_bytes()))
            .map(|field| field.value)
    }
}

/// Why a request head is refused. The connection cannot go on behind any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadError {
    /// The request line is no method, target and version with one space between them (RFC 9112 §3).
    RequestLine,
    /// A fragment or a letter beyond ASCII in the target, or a target in none of the four forms (RFC 9112 §3.2).
    Target,
    /// A field name is malformed, or blanks stand before its colon, or the line is folded (RFC 9112 §5.1, §5.2).
    FieldName,
    /// A control character in a field value (RFC 9110 §5.5).
    FieldValue,
    /// A line that does not end with CR LF (RFC 9112 §2.2).
    LineEnd,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version,
    /// A target of more than [`TARGET_MAX`] bytes.
    TargetTooLong,
    /// A head of more than [`HEAD_MAX`] bytes.
    TooLarge,
    /// More than [`FIELDS_MAX`] field lines.
    TooManyFields,
    /// Not a method that this server knows, or `CONNECT`.
    Method,
    /// No `Host` in HTTP/1.1 (RFC 9112 §3.2).
    HostMissing,
    /// More than one `Host` (RFC 9112 §3.2).
    HostRepeated,
    /// A `Host` that names no host (RFC 9110 §7.2).
    HostInvalid,
    /// A `Content-Length` that is not plain digits or overflows (RFC 9112 §6.2).
    ContentLength,
    /// `Content-Length` lines that differ (RFC 9112 §6.3).
    ContentLengthsDiffer,
    /// `Content-Length` and `Transfer-Encoding` together (RFC 9112 §6.1).
    LengthAndCoding,
    /// `Transfer-Encoding` in HTTP/1.0 (RFC 9112 §6.1).
    CodingInVersion10,
    /// `chunked` that is not the one last coding, or an empty list (RFC 9112 §6.1, §6.3).
    ChunkedNotLast,
    /// A transfer coding other than `chunked` (RFC 9112 §7).
    CodingUnknown,
    /// An expectation other than `100-continue` (RFC 9110 §10.1.1).
    Expectation,
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HeadError::RequestLine => "Malformed request line; expected METHOD TARGET HTTP/1.1",
            HeadError::Target => "Malformed request target; expected a path that begins with /",
            HeadError::FieldName => {
                "Malformed header: a field name is invalid, or blanks stand before its colon, or the line is folded"
            }
            HeadError::FieldValue => "Malformed header: a field value holds a control character",
            HeadError::LineEnd => "Malformed request: every line must end with CR LF",
            HeadError::Version => "Only HTTP/1.1 and HTTP/1.0 are spoken here",
            HeadError::TargetTooLong => "The request target is too long; the limit is 2048 bytes",
            HeadError::TooLarge => "The request head is too large; the limit is 8192 bytes",
            HeadError::TooManyFields => "The request has too many header fields; the limit is 64",
            HeadError::Method => "Unknown method; use GET, HEAD, OPTIONS or POST",
            HeadError::HostMissing => "An HTTP/1.1 request needs a Host header",
            HeadError::HostRepeated => "The Host header is given more than once",
            HeadError::HostInvalid => "The Host header does not name a host",
            HeadError::ContentLength => "Content-Length must be one plain decimal number",
            HeadError::ContentLengthsDiffer => "Two Content-Length headers differ",
            HeadError::LengthAndCoding => "Content-Length and Transfer-Encoding cannot stand together",
            HeadError::CodingInVersion10 => "HTTP/1.0 has no Transfer-Encoding",
            HeadError::ChunkedNotLast => "Transfer-Encoding must be chunked, once",
            HeadError::CodingUnknown => "Unknown transfer coding; only chunked is supported",
            HeadError::Expectation => "Unknown expectation; only 100-continue is supported",
        })
    }
}

// The sentences above name the limits in figures.
const _: () = assert!(HEAD_MAX == 8192 && TARGET_MAX == 2048 && FIELDS_MAX == 64);

/// Reads the request head at the start of `bytes`; empty lines before it are passed over (RFC 9112 §2.2).
///
/// `None` means that more bytes are needed; that never happens with [`HEAD_MAX`] bytes or more. What is found does
/// not depend on how the bytes arrived: an error shows either in the shortest beginning that has it, or when the
/// head is whole.
///
/// # Errors
/// See [`HeadError`].
pub fn parse<'h, 'b>(bytes: &'b [u8], room: &'h mut FieldLines<'b>) -> Result<Option<Head<'h, 'b>>, HeadError> {
    let mut request = httparse::Request::new(&mut []);
    let len = match request.parse_with_uninit_headers(bytes, room) {
        Ok(httparse::Status::Complete(len)) if len <= HEAD_MAX => len,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_MAX => return Ok(None),
        Ok(_) if target_so_far(bytes).len() > TARGET_MAX => return Err(HeadError::TargetTooLong),
        Ok(_) => return Err(HeadError::TooLarge),
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooManyFields),
        Err(httparse::Error::HeaderName) => return Err(HeadError::FieldName),
        Err(httparse::Error::HeaderValue) => return Err(HeadError::FieldValue),
        Err(httparse::Error::NewLine) if !version_goes_on(bytes) => return Err(HeadError::LineEnd),
        Err(httparse::Error::Version) if version_of_http(bytes) => return Err(HeadError::Version),
        Err(_) => return Err(HeadError::RequestLine),
    };
    let (Some(method_text), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(HeadError::RequestLine);
    };
    let fields: &[Header<'b>] = request.headers;
    if !lines_end_with_cr_lf(&bytes[..len], method_text, fields) {
        return Err(HeadError::LineEnd);
    }
    if target.len() > TARGET_MAX {
        return Err(HeadError::TargetTooLong);
    }
    let method = match method_text {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "OPTIONS" => Method::Options,
        "PUT" | "DELETE" | "TRACE" | "PATCH" => Method::Other,
        _ => return Err(HeadError::Method),
    };
    let version_10 = minor == 0;
    let framing = Framing::read(fields, version_10)?;
    let path = path_of(target, method).ok_or(HeadError::Target)?;
    Ok(Some(Head {
        method,
        method_text,
        target,
        path,
        version_10,
        keep_alive: framing.keep_alive,
        expects_continue: framing.expects_continue,
        body: framing.body,
        len,
        fields,
    }))
}

/// What can be told of the method of a head that is not whole, or refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// Nothing that matters.
    Unknown,
    /// `HEAD`, whose response has no content.
    Head,
    /// `POST`
    Post,
}

impl Begun {
    /// Looks at the first word of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        match bytes {
            [b'H', b'E', b'A', b'D', b' ', ..] => Begun::Head,
            [b'P', b'O', b'S', b'T', b' ', ..] => Begun::Post,
            _ => Begun::Unknown,
        }
    }
}

/// What is known of the target when the head is not whole.
fn target_so_far(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == b' ').nth(1).unwrap_or_default()
}

/// Whether the version is followed by more than the end of its line: by more of itself, or by another word.
fn version_goes_on(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| b"\r\n".contains(byte)).next().unwrap_or_default();
    let mut words = line.split(|&byte| byte == b' ');
    let version = words.nth(2).unwrap_or_default();
    version.len() > "HTTP/1.1".len() || words.next().is_some()
}

/// Whether the word in the version's place begins like a version of HTTP, so that "not this one" is the better answer
/// than "malformed".
fn version_of_http(bytes: &[u8]) -> bool {
    let word = bytes.split(|&byte| byte == b' ').nth(2).unwrap_or_default();
    word.starts_with(b"HTTP/") && word.get(5).is_some_and(u8::is_ascii_digit)
}

/// `httparse` takes a lone LF for the end of a line. RFC 9112 §2.2 permits that and those who smuggle requests live on
/// it, so it is refused. Names are looked at because they lie in the head's bytes and begin right behind a line's end.
fn lines_end_with_cr_lf(head: &[u8], method: &str, fields: &[Header<'_>]) -> bool {
    let offset = |part: &str| part.as_ptr().addr() - head.as_ptr().addr();
    let blank_lines = &head[..offset(method)];
    head.ends_with(b"\r\n\r\n")
        && fields.iter().all(|field| head[..offset(field.name)].ends_with(b"\r\n"))
        && blank_lines.chunks(2).all(|line| line == b"\r\n")
}

/// What the field lines say about the message and the connection.
struct Framing {
    keep_alive: bool,
    expects_continue: bool,
    body: Length,
}

impl Framing {
    fn read(fields: &[Header<'_>], version_10: bool) -> Result<Self, HeadError> {
        let mut hosts = 0;
        let mut content_length = None;
        let mut codings = Codings::default();
        let mut close = false;
        let mut keep_alive = false;
        let mut expects_continue = false;
        for &Header { name, value } in fields {
            // The lengths sort out nearly every other field before a letter is compared.
            match name.len() {
                4 if same_word(name.as_bytes(), b"host") => {
                    hosts += 1;
                    if host(value).is_none() {
                        return Err(HeadError::HostInvalid);
                    }
                }
                6 if same_word(name.as_bytes(), b"expect") => {
                    for expectation in list(value) {
                        if !same_word(expectation, b"100-continue") {
                            return Err(HeadError::Expectation);
                        }
                        expects_continue = true;
                    }
                }
                10 if same_word(name.as_bytes(), b"connection") => {
                    for option in list(value) {
                        close |= same_word(option, b"close");
                        keep_alive |= same_word(option, b"keep-alive");
                    }
                }
                14 if same_word(name.as_bytes(), b"content-length") => {
                    let length = decimal(value).ok_or(HeadError::ContentLength)?;
                    if content_length.is_some_and(|other| other != length) {
                        return Err(HeadError::ContentLengthsDiffer);
                    }
                    content_length = Some(length);
                }
                17 if same_word(name.as_bytes(), b"transfer-encoding") => codings.add(value),
                _ => {}
            }
        }
        match hosts {
            0 if !version_10 => return Err(HeadError::HostMissing),
            0 | 1 => {}
            _ => return Err(HeadError::HostRepeated),
        }
        let body = match (codings.given, content_length) {
            (false, length) => Length::Bytes(length.unwrap_or(0)),
            (true, Some(_)) => return Err(HeadError::LengthAndCoding),
            (true, None) if version_10 => return Err(HeadError::CodingInVersion10),
            (true, None) => codings.chunked()?,
        };
        Ok(Framing {
            keep_alive: !close && (!version_10 || keep_alive),
            // A client of HTTP/1.0 does not wait for it (RFC 9110 §10.1.1).
            expects_continue: expects_continue && !version_10,
            body,
        })
    }
}

/// The `Transfer-Encoding` lines of a head, read as one list (RFC 9110 §5.3).
#[derive(Default)]
struct Codings {
    given: bool,
    chunked: u32,
    others: u32,
    chunked_is_last: bool,
}

impl Codings {
    fn add(&mut self, value: &[u8]) {
        self.given = true;
        for coding in list(value) {
            self.chunked_is_last = same_word(coding, b"chunked");
            *(if self.chunked_is_last { &mut self.chunked } else { &mut self.others }) += 1;
        }
    }

    fn chunked(&self) -> Result<Length, HeadError> {
        match (self.chunked, self.others) {
            (1, 0) => Ok(Length::Chunked),
            (0, 1..) => Err(HeadError::CodingUnknown),
            (1, _) if self.chunked_is_last => Err(HeadError::CodingUnknown),
            _ => Err(HeadError::ChunkedNotLast),
        }
    }
}

/// The elements of a list-based field value (RFC 9110 §5.6.1); empty ones are passed over, as it asks.
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// The host of `uri-host [ ":" port ]` (RFC 9110 §7.2), which may be empty for a target that has no authority. Names are
/// not resolved here, so their letters matter only as far as they could deceive somebody who does: a comma, which a
/// name may have (RFC 3986 §3.2.2), is what two hosts look like that were joined.
fn host(value: &[u8]) -> Option<&[u8]> {
    let (host, port) = match value.iter().rposition(|&byte| byte == b':') {
        Some(colon) if !value.ends_with(b"]") => (&value[..colon], &value[colon + 1..]),
        _ => (value, &b""[..]),
    };
    let is_host = match host {
        [b'[', address @ .., b']'] => str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok()),
        _ => is_name(host),
    };
    (is_host && port.iter().all(u8::is_ascii_digit)).then_some(host)
}

/// `reg-name` (RFC 3986 §3.2.2) without a comma. An IPv4 address is one too.
fn is_name(mut rest: &[u8]) -> bool {
    loop {
        rest = match rest {
            [] => return true,
            [byte, behind @ ..] if is_of_name(*byte) => behind,
            [b'%', high, low, behind @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => behind,
            _ => return false,
        }
    }
}

/// What a name is made of, but for its escapes: `unreserved` and `sub-delims` without a comma (RFC 3986 §2).
fn is_of_name(byte: u8) -> bool {
    matches!(
        byte,
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\''
            | b'(' | b')' | b'*' | b'+' | b';' | b'='
    )
}

/// The path of a target in origin form, absolute form or, for `OPTIONS`, asterisk form (RFC 9112 §3.2).
#[inline(never)]
fn path_of(target: &str, method: Method) -> Option<&str> {
    // A target has no fragment, and no letters but those of ASCII (RFC 9112 §3.2, RFC 3986 §2).
    if target.bytes().any(|byte| byte == b'#' || !byte.is_ascii()) {
        return None;
    }
    if target == "*" {
        return (method == Method::Options).then_some(target);
    }
    if target.starts_with('/') {
        return Some(before_query(target));
    }
    let colon = target.as_bytes().windows(3).position(|it| it == b"://")?;
    let (scheme, rest) = (&target[..colon], &target[colon + 3..]);
    if !same_word(scheme.as_bytes(), b"http") && !same_word(scheme.as_bytes(), b"https") {
        return None;
    }
    let (authority, path) =
        rest.split_at(rest.bytes().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len()));
    // Without a host it names nothing (RFC 9110 §4.2.1).
    if host(authority.as_bytes())?.is_empty() {
        return None;
    }
    match before_query(path) {
        // RFC 9110 §4.2.3: an empty path is the same as "/"; of OPTIONS it asks about the whole server (RFC 9112 §3.2.4).
        "" if method == Method::Options => Some("*"),
        "" => Some("/"),
        path => Some(path),
    }
}

fn before_query(target: &str) -> &str {
    // Paths are short: to look at one byte after the other is quicker than what looks at many at once.
    target.bytes().position(|byte| byte == b'?').map_or(target, |end| &target[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(head: &[u8]) -> HeadError {
        parse(head, &mut field_lines()).expect_err("should be refused")
    }

    #[test]
    fn a_head_is_read_whole_or_not_at_all() {
        let bytes = b"\r\nPOST http://x:8080/api/status?a=1 HTTP/1.1\r\nHost: x\r\nCONTENT-length: 5\r\nConnection: foo, Close\r\nExpect: 100-Continue\r\nX:\r\n\r\nhello";
        for end in 0..bytes.len() - 5 {
            assert!(matches!(parse(&bytes[..end], &mut field_lines()), Ok(None)), "{end}");
        }
        let mut room = field_lines();
        let head = parse(bytes, &mut room).unwrap().unwrap();
        assert_eq!(head.len, bytes.len() - 5);
        assert_eq!((head.method, head.path), (Method::Post, "/api/status"));
        assert_eq!(head.target, "http://x:8080/api/status?a=1");
        assert_eq!(head.body, Length::Bytes(5));
        assert!(head.expects_continue && !head.keep_alive && !head.version_10);
        assert_eq!(head.values("host").collect::<std::vec::Vec<_>>(), [b"x"]);
    }

    #[test]
    fn keep_alive_follows_version_and_connection() {
        for (version, connection, expected) in [
            ("1.1", "", true),
            ("1.1", "Connection: close\r\n", false),
            ("1.1", "Connection: keep-alive\r\n", true),
            ("1.0", "", false),
            ("1.0", "Connection: Keep-Alive\r\n", true),
            ("1.0", "Connection: keep-alive, close\r\n", false),
        ] {
            let head = std::format!("GET / HTTP/{version}\r\nHost: x\r\n{connection}\r\n");
            let mut room = field_lines();
            let keep_alive = parse(head.as_bytes(), &mut room).unwrap().unwrap().keep_alive;
            assert_eq!(keep_alive, expected, "{version} {connection}");
        }
    }

    #[test]
    fn targets_come_in_three_forms() {
        for (method, target, expected) in [
            (Method::Get, "/", Some("/")),
            (Method::Get, "/status.json?_=1?2", Some("/status.json")),
            (Method::Get, "HTTP://h", Some("/")),
            (Method::Get, "http://h?q", Some("/")),
            (Method::Get, "https://[::1]:8080/status.json?x", Some("/status.json")),
            (Method::Options, "*", Some("*")),
            (Method::Options, "http://h:80", Some("*")),
            (Method::Get, "*", None),
            (Method::Get, "h:80", None),
            (Method::Get, "http:///x", None),
            (Method::Get, "http://u@h/x", None),
            (Method::Get, "http://:80/x", None),
            (Method::Get, "http://[::g]/x", None),
            (Method::Get, "/x#y", None),
            (Method::Get, "/\u{e9}", None),
            (Method::Get, "ftp://h/", None),
            (Method::Get, "status.json", None),
        ] {
            assert_eq!(path_of(target, method), expected, "{target}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_a_literal_with_an_optional_port() {
        for (value, name) in [
            ("", ""),
            ("x", "x"),
            ("a-b.c_d:80", "a-b.c_d"),
            ("x:", "x"),
            (":80", ""),
            ("a%2Fb", "a%2Fb"),
            ("127.0.0.1:8080", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("[fe80::1]:80", "[fe80::1]"),
        ] {
            assert_eq!(host(value.as_bytes()), Some(name.as_bytes()), "{value}");
        }
        for value in [
            "a b", "a/b", "a@b", "a:b", "::1", "[::1", "[]", "[x]", "[::1]x", "a,b", "a:8 0", "\u{e9}", "%", "%4",
            "%4g",
        ] {
            assert_eq!(host(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn the_limits_are_exact() {
        let with_target = |len: usize| std::format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(len - 1));
        assert!(parse(with_target(TARGET_MAX).as_bytes(), &mut field_lines()).is_ok());
        assert_eq!(refused(with_target(TARGET_MAX + 1).as_bytes()), HeadError::TargetTooLong);
        assert_eq!(refused(&with_target(2 * HEAD_MAX).as_bytes()[..HEAD_MAX]), HeadError::TargetTooLong);

        let with_fields =
            |count: usize| std::format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(count - 1));
        assert!(parse(with_fields(FIELDS_MAX).as_bytes(), &mut field_lines()).is_ok());
        assert_eq!(refused(with_fields(FIELDS_MAX + 1).as_bytes()), HeadError::TooManyFields);

        let of_size = |len: usize| {
            let fixed = "GET / HTTP/1.1\r\nHost: x\r\nA: \r\n\r\n".len();
            std::format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "b".repeat(len - fixed))
        };
        assert!(parse(of_size(HEAD_MAX).as_bytes(), &mut field_lines()).unwrap().is_some());
        assert_eq!(refused(of_size(HEAD_MAX + 1).as_bytes()), HeadError::TooLarge);
        assert_eq!(refused(&of_size(HEAD_MAX + 1).as_bytes()[..HEAD_MAX]), HeadError::TooLarge);
    }

    #[test]
    fn an_error_does_not_depend_on_how_the_bytes_arrive() {
        for head in [
            "GET / HTTP/2.0\r\nHost: x\r\n\r\n",
            "GET / HTTP/1x1\r\nHost: x\r\n\r\n",
            "GET / FTP/1.1\r\nHost: x\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\n\n",
            "\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\n y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\ry\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\0y\r\n\r\n",
            "get / HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.10\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.1 \r\nHost: x\r\n\r\n",
            "\rG / x y",
            "\r   ",
        ] {
            let expected = refused(head.as_bytes());
            let first = (0..=head.len()).find_map(|end| parse(&head.as_bytes()[..end], &mut field_lines()).err());
            assert_eq!(first, Some(expected), "{head:?}");
        }
    }
}
