//! Responses (RFC 9112): where one ends, and whether its body is the right one.
//!
//! A response costs little where the server says the same as before: a head that is byte for byte the last one is
//! not parsed again, and most servers change theirs once a second.

use std::fmt;

/// The most bytes of a head.
const HEAD_MAX: usize = 16 << 10;
/// The most fields in a head.
const FIELDS_MAX: usize = 64;
/// Up to how many bytes each body is compared; of larger ones only the length, and the bytes of one in [`SAMPLE`].
pub const COMPARED_MAX: usize = 16 << 10;
/// Of how many large bodies one is compared.
pub const SAMPLE: u64 = 64;

/// A response that is read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Whether the connection ends behind it.
    pub closes: bool,
    /// Whether the body is what was expected.
    pub body: Body,
}

/// What is found about a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// It is as expected, or nothing was.
    Good,
    /// It has this length instead of the expected one.
    Length(usize),
    /// It differs; here or a little before.
    Bytes(usize),
}

/// Bytes that are no response, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(&'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What a head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    status: u16,
    closes: bool,
    framing: Framing,
}

/// How the end of a body is known (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    UntilEnd,
}

/// What is known about the responses to requests of one kind.
#[derive(Debug)]
pub struct Kind {
    expected: Option<Vec<u8>>,
    /// The last head, as bytes, and what it says. Empty before there is one.
    last: Vec<u8>,
    last_head: Head,
    /// How many bodies were begun.
    bodies: u64,
}

impl Kind {
    /// Responses whose body has to be `expected`, if anything is.
    pub fn new(expected: Option<Vec<u8>>) -> Self {
        let last_head = Head { status: 0, closes: true, framing: Framing::UntilEnd };
        Kind { expected, last: Vec::with_capacity(HEAD_MAX), last_head, bodies: 0 }
    }

    /// The head that `data` begins with, and its length; `None` when it is not whole.
    fn head(&mut self, data: &[u8]) -> Result<Option<(usize, Head)>, Malformed> {
        if !self.last.is_empty() && data.starts_with(&self.last) {
            return Ok(Some((self.last.len(), self.last_head)));
        }
        let Some((length, head)) = parse(data)? else { return Ok(None) };
        self.last.clear();
        self.last.extend_from_slice(&data[..length]);
        self.last_head = head;
        Ok(Some((length, head)))
    }

    /// Whether the bytes of the next body are compared.
    fn compares(&mut self) -> bool {
        let number = self.bodies;
        self.bodies += 1;
        self.expected.as_ref().is_some_and(|expected| expected.len() <= COMPARED_MAX || number.is_multiple_of(SAMPLE))
    }
}

fn parse(data: &[u8]) -> Result<Option<(usize, Head)>, Malformed> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let length = match response.parse(&data[..data.len().min(HEAD_MAX)]) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if data.len() >= HEAD_MAX => return Err(Malformed("its head is too long")),
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Malformed("its head has too many fields")),
        Err(_) => return Err(Malformed("its head is malformed")),
    };
    let status = response.code.unwrap_or(0);
    let mut content_length = None;
    let mut chunked = false;
    let mut encoded = false;
    let (mut close, mut keep_alive) = (false, false);
    for field in response.headers.iter() {
        if field.name.eq_ignore_ascii_case("content-length") {
            let length = decimal(field.value).ok_or(Malformed("its Content-Length is no length"))?;
            if content_length.is_some_and(|before| before != length) {
                return Err(Malformed("it has two lengths"));
            }
            content_length = Some(length);
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            encoded = true;
            // The last coding decides.
            chunked = words(field.value).last().is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
        } else if field.name.eq_ignore_ascii_case("connection") {
            close |= words(field.value).any(|word| word.eq_ignore_ascii_case(b"close"));
            keep_alive |= words(field.value).any(|word| word.eq_ignore_ascii_case(b"keep-alive"));
        }
    }
    let framing = match content_length {
        _ if status / 100 == 1 || status == 204 || status == 304 => Framing::Length(0),
        _ if chunked => Framing::Chunked,
        _ if encoded => Framing::UntilEnd,
        Some(length) => Framing::Length(length),
        None => Framing::UntilEnd,
    };
    let closes = close || framing == Framing::UntilEnd || (response.version == Some(0) && !keep_alive);
    Ok(Some((length, Head { status, closes, framing })))
}

fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

fn decimal(digits: &[u8]) -> Option<usize> {
    let digits = str::from_utf8(digits).ok()?;
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// Reads the responses on one connection, from whatever pieces they come in.
#[derive(Debug)]
pub struct Reader {
    /// The beginning of a head that is not whole yet.
    begun: Vec<u8>,
    body: Option<Rest>,
}

/// What is still to come of a response.
#[derive(Debug)]
struct Rest {
    head: Head,
    state: State,
    /// How much of the body was read.
    at: usize,
    compares: bool,
    /// Where it was found to differ.
    wrong: Option<usize>,
}

#[derive(Debug)]
enum State {
    Length(usize),
    Chunked(Chunked),
    UntilEnd,
}

impl Reader {
    /// Of a connection on which nothing was read.
    pub fn new() -> Self {
        Reader { begun: Vec::new(), body: None }
    }

    /// Forgets what was begun.
    pub fn reset(&mut self) {
        self.begun.clear();
        self.body = None;
    }

    /// Whether it stands between two responses.
    pub fn is_between(&self) -> bool {
        self.begun.is_empty() && self.body.is_none()
    }

    /// Reads at most one response. Gives how many bytes of `data` belong to it, and the response, if it is whole.
    ///
    /// # Errors
    /// This is no response.
    pub fn read(&mut self, data: &[u8], kind: &mut Kind) -> Result<(usize, Option<Response>), Malformed> {
        let mut used = 0;
        if self.body.is_none() {
            let Some((length, head)) = self.head(data, kind)? else { return Ok((data.len(), None)) };
            used = length;
            if head.status == 101 {
                return Err(Malformed("it changes the protocol"));
            }
            if head.status / 100 == 1 {
                return Ok((used, None));
            }
            // The usual: all of it is here.
            if let Framing::Length(length) = head.framing
                && let Some(body) = data[used..].get(..length)
            {
                let mut rest = Rest::new(head, kind);
                rest.take(body, kind);
                return Ok((used + length, Some(rest.response(kind))));
            }
            self.body = Some(Rest::new(head, kind));
        }
        let Some(rest) = &mut self.body else { return Ok((used, None)) };
        let (read, whole) = rest.read(&data[used..], kind)?;
        let response = whole.then(|| rest.response(kind));
        if whole {
            self.body = None;
        }
        Ok((used + read, response))
    }

    /// Nothing more comes. Gives the response that this ends.
    pub fn end(&mut self, kind: &Kind) -> Option<Response> {
        let rest = self.body.take_if(|rest| matches!(rest.state, State::UntilEnd))?;
        Some(rest.response(kind))
    }

    /// The head, and how many bytes of `data` belong to it.
    fn head(&mut self, data: &[u8], kind: &mut Kind) -> Result<Option<(usize, Head)>, Malformed> {
        if self.begun.is_empty() {
            let found = kind.head(data)?;
            if found.is_none() {
                self.begun.extend_from_slice(data);
            }
            return Ok(found);
        }
        let before = self.begun.len();
        self.begun.extend_from_slice(&data[..data.len().min(HEAD_MAX)]);
        let found = kind.head(&self.begun)?;
        if found.is_some() {
            self.begun.clear();
        }
        // A head that ended before was no beginning.
        Ok(found.map(|(length, head)| (length - before, head)))
    }
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl Rest {
    fn new(head: Head, kind: &mut Kind) -> Self {
        let state = match head.framing {
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunked(Chunked::Size { size: 0, digits: 0 }),
            Framing::UntilEnd => State::UntilEnd,
        };
        Rest { head, state, at: 0, compares: kind.compares(), wrong: None }
    }

    /// Gives how many bytes belong to the body, and whether it is whole.
    fn read(&mut self, data: &[u8], kind: &Kind) -> Result<(usize, bool), Malformed> {
        match &mut self.state {
            State::Length(left) => {
                let count = data.len().min(*left);
                *left -= count;
                let whole = *left == 0;
                self.take(&data[..count], kind);
                Ok((count, whole))
            }
            State::UntilEnd => {
                self.take(data, kind);
                Ok((data.len(), false))
            }
            &mut State::Chunked(mut chunked) => {
                let mut used = 0;
                while used < data.len() && chunked != Chunked::Over {
                    if let Chunked::Data(left) = chunked {
                        let count = left.min(data.len() - used);
                        self.take(&data[used..used + count], kind);
                        used += count;
                        chunked = if left == count { Chunked::DataEnd } else { Chunked::Data(left - count) };
                    } else {
                        chunked = chunked.next(data[used])?;
                        used += 1;
                    }
                }
                self.state = State::Chunked(chunked);
                Ok((used, chunked == Chunked::Over))
            }
        }
    }

    /// Takes bytes of the body.
    fn take(&mut self, data: &[u8], kind: &Kind) {
        let end = self.at + data.len();
        if self.compares
            && self.wrong.is_none()
            && let Some(expected) = &kind.expected
            && expected.get(self.at..end) != Some(data)
        {
            self.wrong = Some(self.at);
        }
        self.at = end;
    }

    fn response(&self, kind: &Kind) -> Response {
        let body = match (&kind.expected, self.wrong) {
            (Some(expected), _) if expected.len() != self.at => Body::Length(self.at),
            (_, Some(at)) => Body::Bytes(at),
            _ => Body::Good,
        };
        Response { status: self.head.status, closes: self.head.closes, body }
    }
}

/// Where in the chunked coding (RFC 9112 §7.1) it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunked {
    Size { size: usize, digits: u8 },
    Extension(usize),
    SizeEnd(usize),
    Data(usize),
    DataEnd,
    DataLineEnd,
    TrailerStart,
    Trailer,
    TrailerEnd,
    End,
    Over,
}

impl Chunked {
    /// What follows `byte`, which is none of the data.
    fn next(self, byte: u8) -> Result<Chunked, Malformed> {
        Ok(match (self, byte) {
            (Chunked::Size { size, digits: 1.. }, b';' | b' ' | b'\t') => Chunked::Extension(size),
            (Chunked::Size { size, digits: 1.. }, b'\r') => Chunked::SizeEnd(size),
            (Chunked::Size { size, digits: digits @ 0..8 }, digit) => {
                let value = char::from(digit).to_digit(16).ok_or(Malformed("a chunk has no size"))?;
                Chunked::Size { size: size << 4 | value as usize, digits: digits + 1 }
            }
            (Chunked::Extension(size), b'\r') => Chunked::SizeEnd(size),
            (Chunked::Extension(_), _) => self,
            (Chunked::SizeEnd(0), b'\n') => Chunked::TrailerStart,
            (Chunked::SizeEnd(size), b'\n') => Chunked::Data(size),
            (Chunked::DataEnd, b'\r') => Chunked::DataLineEnd,
            (Chunked::DataLineEnd, b'\n') => Chunked::Size { size: 0, digits: 0 },
            (Chunked::TrailerStart, b'\r') => Chunked::End,
            (Chunked::TrailerStart, _) => Chunked::Trailer,
            (Chunked::Trailer, b'\r') => Chunked::TrailerEnd,
            (Chunked::Trailer, _) => self,
            (Chunked::TrailerEnd, b'\n') => Chunked::TrailerStart,
            (Chunked::End, b'\n') => Chunked::Over,
            _ => return Err(Malformed("its chunks are malformed")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out of `data` in pieces of `step` bytes, when nothing comes behind it.
    fn responses(data: &[u8], step: usize, expected: Option<&[u8]>) -> Result<Vec<Response>, Malformed> {
        let mut kind = Kind::new(expected.map(<[u8]>::to_vec));
        let mut reader = Reader::new();
        let mut found = Vec::new();
        for mut piece in data.chunks(step) {
            while !piece.is_empty() {
                let (used, response) = reader.read(piece, &mut kind)?;
                piece = &piece[used..];
                found.extend(response);
            }
        }
        found.extend(reader.end(&kind));
        assert!(reader.is_between(), "something is left over: {reader:?}");
        Ok(found)
    }

    fn good(status: u16, closes: bool) -> Response {
        Response { status, closes, body: Body::Good }
    }

    #[test]
    fn responses_are_the_same_in_any_pieces() {
        let data = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\
            HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\
            HTTP/1.1 100 Continue\r\n\r\n\
            HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, Chunked\r\n\r\n3;a=\"b\"\r\nhel\r\n02\r\nlo\r\n0\r\nA: b\r\nC: d\r\n\r\n\
            HTTP/1.1 200 OK\r\nDate: now\r\ncontent-length:5 \r\nConnection: x, Close\r\n\r\nhello\
            HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello\
            HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello\
            HTTP/1.1 200 OK\r\n\r\nhello";
        let expected = [false, false, false, true, false, true, true].map(|closes| good(200, closes));
        for step in 1..=data.len() {
            assert_eq!(responses(data, step, Some(b"hello")).as_deref(), Ok(&expected[..]), "{step} bytes at a time");
        }
    }

    #[test]
    fn a_response_that_has_no_body_by_its_status_ends_with_its_head() {
        let data = b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n\
            HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        for step in 1..=data.len() {
            let found = responses(data, step, None);
            assert_eq!(found, Ok(vec![good(204, false), good(304, false), good(404, false)]), "{step} at a time");
        }
    }

    #[test]
    fn a_wrong_body_is_found_wherever_it_differs() {
        for (body, verdict) in [
            (&b"hellO"[..], Body::Bytes(0)),
            (b"hell", Body::Length(4)),
            (b"hello!", Body::Length(6)),
            (b"", Body::Length(0)),
        ] {
            let data = [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat();
            let found = responses(&data, data.len(), Some(b"hello"));
            assert_eq!(found, Ok(vec![Response { status: 200, closes: false, body: verdict }]));
        }
        let data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nl0\r\n0\r\n\r\n";
        let found = responses(data, data.len(), Some(b"hello"));
        assert_eq!(found, Ok(vec![Response { status: 200, closes: false, body: Body::Bytes(3) }]));
    }

    #[test]
    fn a_large_wrong_body_is_found_once_in_a_while_and_a_wrong_length_always() {
        let expected = vec![b'x'; COMPARED_MAX + 1];
        let mut wrong = expected.clone();
        wrong[COMPARED_MAX] = b'y';
        let response = |body: &[u8]| {
            [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
        };
        let found = responses(&response(&wrong).repeat(2 * SAMPLE as usize), 1 << 20, Some(&expected)).unwrap();
        assert_eq!(found.iter().filter(|response| response.body != Body::Good).count(), 2);
        let found = responses(&response(&wrong[1..]).repeat(SAMPLE as usize), 1 << 20, Some(&expected)).unwrap();
        assert!(found.iter().all(|response| response.body == Body::Length(COMPARED_MAX)));
    }

    #[test]
    fn what_is_no_response_is_refused() {
        let chunked = |body: &str| format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        let long = format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(HEAD_MAX));
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(FIELDS_MAX + 1));
        for data in [
            "hello\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            &chunked("\r\n"),
            &chunked("x\r\n"),
            &chunked("123456789\r\n"),
            &chunked("1\r\nab"),
            &chunked("1\rx"),
            &long,
            &many,
        ] {
            for step in [1, 7, data.len()] {
                assert!(responses(data.as_bytes(), step, None).is_err(), "{data:?}");
            }
        }
    }
}
