//! Response heads (RFC 9112 §4) and the small responses that fit beside them.

use core::fmt;

/// The most bytes of one response that are rendered for one connection: every head, and every content but the status.
/// The longest is an error: a head of about 300 bytes with all its fields, and a sentence of at most
/// [`MESSAGE_MAX`] bytes in its envelope.
pub const RESPONSE_MAX: usize = 768;

/// The most bytes of the sentence in an error; a longer one is cut.
pub const MESSAGE_MAX: usize = 240;

/// The bytes of a rendered response.
pub type Rendered = heapless::Vec<u8, RESPONSE_MAX>;

/// A date as `Date` shows it (RFC 9110 §5.6.7), `Sun, 06 Nov 1994 08:49:37 GMT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date(pub [u8; 29]);

impl Date {
    /// Room for one.
    pub const BLANK: Date = Date([b' '; 29]);
}

/// The interim response that asks for the body (RFC 9110 §15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The media type of everything that is JSON.
pub const JSON: &[u8] = b"application/json";

/// The status codes in use (RFC 9110 §15; 431: RFC 6585; 507: RFC 4918).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Code {
    Ok,
    NoContent,
    NotModified,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    UriTooLong,
    UnsupportedMediaType,
    ExpectationFailed,
    RequestHeaderFieldsTooLarge,
    NotImplemented,
    ServiceUnavailable,
    HttpVersionNotSupported,
    InsufficientStorage,
}

impl Code {
    /// All of them, in their order.
    pub const ALL: [Code; 15] = [
        Code::Ok,
        Code::NoContent,
        Code::NotModified,
        Code::BadRequest,
        Code::NotFound,
        Code::MethodNotAllowed,
        Code::RequestTimeout,
        Code::UriTooLong,
        Code::UnsupportedMediaType,
        Code::ExpectationFailed,
        Code::RequestHeaderFieldsTooLarge,
        Code::NotImplemented,
        Code::ServiceUnavailable,
        Code::HttpVersionNotSupported,
        Code::InsufficientStorage,
    ];

    /// The three digits.
    pub fn number(self) -> u16 {
        self.text()[..3].iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'))
    }

    /// The code and its reason phrase.
    fn text(self) -> &'static [u8] {
        match self {
            Code::Ok => b"200 OK",
            Code::NoContent => b"204 No Content",
            Code::NotModified => b"304 Not Modified",
            Code::BadRequest => b"400 Bad Request",
            Code::NotFound => b"404 Not Found",
            Code::MethodNotAllowed => b"405 Method Not Allowed",
            Code::RequestTimeout => b"408 Request Timeout",
            Code::UriTooLong => b"414 URI Too Long",
            Code::UnsupportedMediaType => b"415 Unsupported Media Type",
            Code::ExpectationFailed => b"417 Expectation Failed",
            Code::RequestHeaderFieldsTooLarge => b"431 Request Header Fields Too Large",
            Code::NotImplemented => b"501 Not Implemented",
            Code::ServiceUnavailable => b"503 Service Unavailable",
            Code::HttpVersionNotSupported => b"505 HTTP Version Not Supported",
            Code::InsufficientStorage => b"507 Insufficient Storage",
        }
    }
}

/// What a response says about its connection (RFC 9112 §9.3, §9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// It stays open, as HTTP/1.1 takes for granted.
    Default,
    /// It stays open, and an HTTP/1.0 client has to be told.
    KeepAlive,
    /// It ends behind this response.
    Close,
}

/// Renders a response head: first [`Writer::new`], then its fields, then [`Writer::end`].
#[derive(Debug)]
pub struct Writer<'o, const N: usize> {
    out: &'o mut heapless::Vec<u8, N>,
}

impl<'o, const N: usize> Writer<'o, N> {
    /// Begins a response with `code`; what stood in `out` is gone.
    pub fn new(out: &'o mut heapless::Vec<u8, N>, code: Code) -> Self {
        out.clear();
        let mut writer = Writer { out };
        writer.put(b"HTTP/1.1 ");
        writer.put(code.text());
        writer.put(b"\r\nX-Content-Type-Options: nosniff\r\n");
        writer
    }

    /// Goes on with a head of which `begun` is rendered already.
    pub fn resume(out: &'o mut heapless::Vec<u8, N>, begun: &[u8]) -> Self {
        out.clear();
        let mut writer = Writer { out };
        writer.put(begun);
        writer
    }

    /// Adds `name: value`. Both come from this program, never from a client.
    pub fn field(&mut self, name: &str, value: &[u8]) -> &mut Self {
        self.put(name.as_bytes());
        self.put(b": ");
        self.put(value);
        self.put(b"\r\n");
        self
    }

    /// Adds that the content is JSON, and its length in bytes.
    pub fn json(&mut self, length: usize) -> &mut Self {
        self.content(JSON, length)
    }

    /// Adds the media type of the content and its length in bytes.
    pub fn content(&mut self, media_type: &[u8], length: usize) -> &mut Self {
        let mut digits = [0; 20];
        self.put(b"Content-Type: ");
        self.put(media_type);
        self.put(b"\r\nContent-Length: ");
        self.put(decimal(length, &mut digits));
        self.put(b"\r\n");
        self
    }

    /// Adds what is known only when the response is sent, and ends the head. Gives where in it the date stands.
    pub fn end(&mut self, date: &Date, persistence: Persistence) -> usize {
        self.put(b"Date: ");
        let at = self.out.len();
        self.end_from_date(date, persistence);
        at
    }

    /// The same where everything up to the date is rendered already.
    pub fn end_from_date(&mut self, date: &Date, persistence: Persistence) {
        self.put(&date.0);
        self.put(match persistence {
            Persistence::Default => b"\r\n\r\n",
            Persistence::KeepAlive => b"\r\nConnection: keep-alive\r\n\r\n",
            Persistence::Close => b"\r\nConnection: close\r\n\r\n",
        });
    }

    /// How many bytes there is room for.
    pub fn room(&self) -> usize {
        N - self.out.len()
    }

    /// Adds content behind the head, or any other bytes. Few large ones are better than many small ones: to copy has a
    /// cost of its own.
    pub fn put(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes).expect("RESPONSE_MAX has room for the longest response; a test renders it");
    }
}

fn decimal(mut number: usize, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[at..];
        }
    }
}

/// The content of every error: `{"success":false,"message":"…"}`.
#[derive(Debug)]
pub struct ErrorContent(heapless::String<{ MESSAGE_MAX + 40 }>);

impl ErrorContent {
    /// The content that tells `message`, a sentence of this program; cut where it is longer than [`MESSAGE_MAX`] bytes.
    pub fn new(message: &dyn fmt::Display) -> Self {
        const { assert!(r#"{"success":false,"message":""}"#.len() <= 40) };
        let mut text = Message(heapless::String::new());
        // The only error is the one that a cut is made of.
        let _ = fmt::write(&mut text, format_args!("{message}"));
        let mut content = heapless::String::new();
        let fits = content
            .push_str(r#"{"success":false,"message":""#)
            .and_then(|()| content.push_str(&text.0))
            .and_then(|()| content.push_str(r#""}"#));
        fits.expect("the envelope has 40 bytes and the message is cut");
        ErrorContent(content)
    }

    /// The bytes to send.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// The text between the quotes of a message.
struct Message(heapless::String<MESSAGE_MAX>);

impl fmt::Write for Message {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            let mut escaped = heapless::String::<8>::new();
            crate::json::escape(&mut escaped, core::iter::once(character))?;
            self.0.push_str(&escaped).map_err(|_| fmt::Error)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: Date = Date(*b"Sun, 06 Nov 1994 08:49:37 GMT");

    #[test]
    fn the_longest_response_fits() {
        let content = ErrorContent::new(&"x".repeat(1000));
        assert_eq!(content.as_bytes().len(), MESSAGE_MAX + r#"{"success":false,"message":""}"#.len());
        let mut out = Rendered::new();
        let mut writer = Writer::new(&mut out, Code::RequestHeaderFieldsTooLarge);
        writer.json(content.as_bytes().len()).field("Allow", b"GET, HEAD, OPTIONS, POST").field("Retry-After", b"1");
        writer.end(&DATE, Persistence::KeepAlive);
        writer.put(content.as_bytes());
        assert!(out.len() < RESPONSE_MAX, "{}", out.len());
    }

    #[test]
    fn a_head_is_lines_that_end_with_an_empty_one() {
        let mut out = Rendered::new();
        Writer::new(&mut out, Code::Ok).json(1_048_576).end(&DATE, Persistence::Close);
        let expected = "HTTP/1.1 200 OK\r\nX-Content-Type-Options: nosniff\r\nContent-Type: application/json\r\n\
            Content-Length: 1048576\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nConnection: close\r\n\r\n";
        assert_eq!(core::str::from_utf8(&out), Ok(expected));
    }

    #[test]
    fn a_message_is_a_json_string_and_is_cut_between_characters() {
        let content = ErrorContent::new(&"say \"a\\b\"\n");
        assert_eq!(content.as_bytes(), br#"{"success":false,"message":"say \"a\\b\"\n"}"#);
        let content = ErrorContent::new(&"é".repeat(MESSAGE_MAX));
        assert!(crate::json::check(content.as_bytes()).is_ok());
    }
}
