//! One connection to another server, for the commands that ask one: `healthcheck` and `roundtrip`.

use std::fmt;
use std::mem::replace;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::sockopt::socket_error;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with};

use crate::clock::timespec;
use crate::status::STATUS_CAPACITY;
use crate::store::Fault;
use crate::text::{Address, Lossy, address, decimal, same_word};

/// The most bytes of the head of a response.
const HEAD_MAX: usize = 4096;

/// The most bytes of the content of a response: a status, and what stands around it where it was posted.
const CONTENT_MAX: usize = STATUS_CAPACITY + 1024;

/// The name that is two addresses.
const LOCALHOST: &str = "localhost";

/// An `http` URL, taken apart. Its host is an address or `localhost`: who asks stands beside the server, and a resolver
/// for names would be the largest part of this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// The host and the port, as `Host` has them.
    authority: String,
    /// The path, with its query.
    target: String,
    /// Where to connect to; for `localhost`, where to try first.
    address: SocketAddr,
}

impl Url {
    /// Reads `http://HOST[:PORT][/PATH]`, where the scheme may be `tcp` as well: a container has the addresses of Services
    /// like that in its environment. `None` for anything else.
    pub fn parse(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("tcp://"))?;
        let (authority, target) = rest.split_at(rest.bytes().position(|byte| byte == b'/').unwrap_or(rest.len()));
        let target = if target.is_empty() { "/" } else { target };
        let mut numeric = match authority.strip_prefix(LOCALHOST) {
            Some(port) if port.is_empty() || port.starts_with(':') => format!("127.0.0.1{port}"),
            _ => authority.to_owned(),
        };
        let address = address(&numeric).or_else(|| {
            numeric.push_str(":80");
            address(&numeric)
        })?;
        // A zone is nobody's business but this system's, and `Host` has no place for it (RFC 9110 §7.2).
        let zone = matches!(address, SocketAddr::V6(address) if address.scope_id() != 0);
        let visible = target.bytes().all(|byte| byte.is_ascii_graphic());
        (visible && !zone).then(|| Url { authority: authority.to_owned(), target: target.to_owned(), address })
    }

    /// `target` of the server that listens on `address`.
    pub fn of(mut address: SocketAddr, target: &str) -> Self {
        // Who listens everywhere listens on the loopback too.
        if address.ip().is_unspecified() {
            address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
        }
        Url { authority: Address(address).to_string(), target: target.to_owned(), address }
    }

    /// The host and the port, as `Host` has them.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The path, with its query; `/` where there is none.
    pub fn target(&self) -> &str {
        &self.target
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.target)
    }
}

/// The sentence that says what is wrong with `url`.
#[inline(never)]
pub fn failed(url: &Url, reason: &dyn fmt::Display) -> String {
    format!("{url}: {reason}")
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// The system says why.
    System(Fault),
    /// The deadline is over.
    TimedOut,
    /// What came is no answer that can be used.
    Answer(&'static str),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::System(fault) => fault.fmt(f),
            Failure::TimedOut => f.write_str("timed out"),
            Failure::Answer(reason) => f.write_str(reason),
        }
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Failure::System(Fault::Os(errno.raw_os_error()))
    }
}

/// A connection. Whatever is done with it fails once its deadline is over.
#[derive(Debug)]
pub struct Client<'u> {
    url: &'u Url,
    deadline: Instant,
    stream: Option<OwnedFd>,
    /// What was read and not used yet.
    ahead: Vec<u8>,
    /// The status line of the response whose head came last.
    status_line: Vec<u8>,
    content_length: Option<usize>,
}

impl<'u> Client<'u> {
    /// One that is not connected yet.
    #[inline(never)]
    pub fn new(url: &'u Url, deadline: Instant) -> Self {
        Client { url, deadline, stream: None, ahead: Vec::new(), status_line: Vec::new(), content_length: None }
    }

    /// Connects to the server.
    ///
    /// # Errors
    /// Nobody listens there, or does not say so until the deadline.
    pub fn connect(&mut self) -> Result<(), Failure> {
        let Client { url, deadline, .. } = *self;
        let mut stream = connected(url.address, deadline);
        if stream.is_err() && url.authority.starts_with(LOCALHOST) {
            stream = connected(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), url.address.port()), deadline);
        }
        self.stream = Some(stream?);
        Ok(())
    }

    /// Sends a request, with these lines of fields and this content, and waits for the head of the response; says whether
    /// its status code is 200. Connects first, if there is no connection yet.
    ///
    /// # Errors
    /// The connection fails, or what comes is no response.
    pub fn ask(&mut self, method: &str, target: &str, fields: &str, content: &[u8]) -> Result<bool, Failure> {
        if self.stream.is_none() {
            self.connect()?;
        }
        let authority = &self.url.authority;
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: {authority}\r\n{fields}\r\n").into_bytes();
        request.extend_from_slice(content);
        let mut unsent = &request[..];
        while !unsent.is_empty() {
            match send(self.wait(PollFlags::OUT)?, unsent, SendFlags::NOSIGNAL) {
                Ok(sent) => unsent = &unsent[sent..],
                // A refusal may have come before all was sent.
                Err(Errno::PIPE) => break,
                Err(error) => retriable(error)?,
            }
        }
        loop {
            if let Some(end) = self.ahead.windows(4).position(|end| end == b"\r\n\r\n") {
                let head = self.take(end + 4);
                return self.note_head(&head);
            }
            if self.ahead.len() >= HEAD_MAX || !self.read()? {
                return Err(Failure::Answer(match &self.ahead[..] {
                    [] => "the connection was closed without an answer",
                    ahead if !ahead.starts_with(HTTP_1) => NOT_HTTP,
                    _ => CUT_OFF,
                }));
            }
        }
    }

    fn note_head(&mut self, head: &[u8]) -> Result<bool, Failure> {
        if !head.starts_with(HTTP_1) {
            return Err(Failure::Answer(NOT_HTTP));
        }
        let mut lines = head.split(|&byte| byte == b'\r');
        self.status_line = lines.next().unwrap_or_default().to_owned();
        let length = lines.find_map(|field| {
            let (name, value) = field.trim_ascii_start().split_at_checked(CONTENT_LENGTH.len())?;
            same_word(name, CONTENT_LENGTH).then_some(value)
        });
        self.content_length = length.and_then(|value| usize::try_from(decimal(value.trim_ascii())?).ok());
        Ok(self.status_line.split(|&byte| byte == b' ').nth(1) == Some(b"200"))
    }

    /// The status line of the response whose head came last, raw, as the server sent it.
    pub fn status_line(&self) -> Lossy<'_> {
        Lossy(&self.status_line)
    }

    /// The content of the response whose head came last.
    ///
    /// # Errors
    /// Its length is not given or is larger than any this server sends; the connection fails or ends before its end.
    pub fn content(&mut self) -> Result<Vec<u8>, Failure> {
        let length = self.content_length.filter(|&length| length <= CONTENT_MAX);
        let length = length.ok_or(Failure::Answer("the answer has no Content-Length that it may have"))?;
        while self.ahead.len() < length {
            if !self.read()? {
                return Err(Failure::Answer(CUT_OFF));
            }
        }
        Ok(self.take(length))
    }

    /// Waits until the connection is ready, or has failed.
    fn wait(&self, ready: PollFlags) -> Result<&OwnedFd, Failure> {
        let stream = self.stream.as_ref().ok_or(Errno::NOTCONN)?;
        wait(stream, ready, self.deadline)?;
        Ok(stream)
    }

    /// The first bytes of what was read and not used yet.
    fn take(&mut self, length: usize) -> Vec<u8> {
        let rest = self.ahead.split_off(length);
        replace(&mut self.ahead, rest)
    }

    /// Reads what comes next. False at the end.
    fn read(&mut self) -> Result<bool, Failure> {
        let mut buffer = [0; 4096];
        loop {
            match recv(self.wait(PollFlags::IN)?, &mut buffer, RecvFlags::empty()) {
                Ok((read, _)) => {
                    self.ahead.extend_from_slice(&buffer[..read]);
                    return Ok(read > 0);
                }
                Err(error) => retriable(error)?,
            }
        }
    }
}

const HTTP_1: &[u8] = b"HTTP/1.";
/// As it stands in a line, before the value.
const CONTENT_LENGTH: &[u8] = b"Content-Length:";
const NOT_HTTP: &str = "the answer is not HTTP";
const CUT_OFF: &str = "the answer is cut off";

/// A connection to `address`, which nothing waits for but [`wait`].
fn connected(address: SocketAddr, deadline: Instant) -> Result<OwnedFd, Failure> {
    let stream = socket_for(address)?;
    match connect(&stream, &address) {
        Err(Errno::INPROGRESS) => {
            wait(&stream, PollFlags::OUT, deadline)?;
            socket_error(&stream)??;
        }
        result => result?,
    }
    Ok(stream)
}

/// A socket that never waits, for a connection to `address` or for those that come to it.
///
/// # Errors
/// The system has none.
pub fn socket_for(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

/// Waits until `stream` is ready, or has failed.
fn wait(stream: &OwnedFd, ready: PollFlags, deadline: Instant) -> Result<(), Failure> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failure::TimedOut);
        }
        match poll(&mut [PollFd::new(stream, ready)], Some(&timespec(left))) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Nothing for an error after which to wait and try again.
fn retriable(error: Errno) -> Result<(), Failure> {
    match error {
        Errno::INTR | Errno::AGAIN => Ok(()),
        _ => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_host_and_a_target() {
        let parts = |url| Url::parse(url).map(|url| (url.authority, url.target));
        let both = |authority: &str, target: &str| Some((authority.to_owned(), target.to_owned()));
        assert_eq!(parts("http://localhost"), both("localhost", "/"));
        assert_eq!(parts("http://[::1]:8080/ready?x"), both("[::1]:8080", "/ready?x"));
        assert_eq!(parts("http://127.0.0.1:8080/"), both("127.0.0.1:8080", "/"));
        assert_eq!(parts("tcp://10.96.0.5:80"), both("10.96.0.5:80", "/"));
        assert_eq!(parts("tcp://[fd00::5]:80"), both("[fd00::5]:80", "/"));
        for url in [
            "",
            "localhost:8080",
            "https://localhost",
            "http://",
            "http:///x",
            "http://example.org/",
            "http://u@127.0.0.1/",
            "http://127.0.0.1:x/",
            "http://127.0.0.1:65536/",
            "http://[127.0.0.1]/",
            "http://localhost/a b",
            "http://localhost/\r\n",
            "tcp://http://127.0.0.1",
        ] {
            assert_eq!(parts(url), None, "{url:?}");
        }
    }

    #[test]
    fn who_listens_everywhere_is_asked_on_the_loopback() {
        let health = |address: &str| Url::of(address.parse().unwrap(), "/health").to_string();
        assert_eq!(health("0.0.0.0:8080"), "http://127.0.0.1:8080/health");
        assert_eq!(health("[::]:1"), "http://[::1]:1/health");
        assert_eq!(health("10.0.0.1:80"), "http://10.0.0.1:80/health");
    }
}
