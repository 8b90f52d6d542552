//! One connection to another server, for the commands that ask one: `healthcheck` and `roundtrip`.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::mem::replace;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::status::STATUS_CAPACITY;

/// The most bytes of the head of a response.
const HEAD_MAX: usize = 4096;

/// The most bytes of the content of a response: a status, and what stands around it where it was posted.
const CONTENT_MAX: usize = STATUS_CAPACITY + 1024;

/// An `http` URL, taken apart. Its host is an address or `localhost`: who asks stands beside the server, and a resolver
/// for names would be the largest part of this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// The host and the port, as `Host` has them.
    authority: String,
    /// The path, with its query.
    target: String,
    /// The host; `None` for `localhost`, which is two.
    host: Option<IpAddr>,
    port: u16,
}

impl Url {
    /// Reads `http://HOST[:PORT][/PATH]`, where the scheme may be `tcp` as well: a container has the addresses of Services
    /// like that in its environment. `None` for anything else.
    pub fn parse(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("tcp://"))?;
        let (authority, target) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let target = if target.is_empty() { "/" } else { target };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
            _ => (authority, 80),
        };
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(host) => Some(IpAddr::V6(host.parse().ok()?)),
            None if host == "localhost" => None,
            None => Some(IpAddr::V4(host.parse().ok()?)),
        };
        let visible = target.bytes().all(|byte| byte.is_ascii_graphic());
        visible.then(|| Url { authority: authority.to_owned(), target: target.to_owned(), host, port })
    }

    /// `target` of the server that listens on `address`.
    pub fn of(address: SocketAddr, target: &str) -> Self {
        // Who listens everywhere listens on the loopback too.
        let host = match address.ip() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
            host => host,
        };
        let port = address.port();
        let authority = SocketAddr::new(host, port).to_string();
        Url { authority, target: target.to_owned(), host: Some(host), port }
    }

    /// Another target of the same server.
    pub fn with_target(&self, target: &str) -> Self {
        Url { target: target.to_owned(), ..self.clone() }
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

/// A connection. Whatever is done with it fails once its deadline is over.
#[derive(Debug)]
pub struct Client<'u> {
    url: &'u Url,
    stream: TcpStream,
    deadline: Instant,
    /// What was read and not used yet.
    ahead: Vec<u8>,
}

impl<'u> Client<'u> {
    /// Connects to the server of `url`.
    ///
    /// # Errors
    /// Nobody listens there, or does not say so until `deadline`.
    pub fn connect(url: &'u Url, deadline: Instant) -> io::Result<Self> {
        let connect = |host| TcpStream::connect_timeout(&SocketAddr::new(host, url.port), left(deadline)?);
        let stream = match url.host {
            Some(host) => connect(host)?,
            None => connect(Ipv4Addr::LOCALHOST.into()).or_else(|_| connect(Ipv6Addr::LOCALHOST.into()))?,
        };
        Ok(Client { url, stream, deadline, ahead: Vec::new() })
    }

    /// Sends a request, with these lines of fields and this content, and gives the head of the response: its status line
    /// and its fields.
    ///
    /// # Errors
    /// The connection fails, or what comes is no response.
    pub fn ask(&mut self, method: &str, target: &str, fields: &str, content: &[u8]) -> io::Result<Head> {
        let authority = &self.url.authority;
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: {authority}\r\n{fields}\r\n").into_bytes();
        request.extend_from_slice(content);
        let mut unsent = &request[..];
        while !unsent.is_empty() {
            self.stream.set_write_timeout(Some(left(self.deadline)?))?;
            match self.stream.write(unsent) {
                Ok(sent) => unsent = &unsent[sent..],
                // A refusal may have come before all was sent.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
                Err(error) => retriable(error)?,
            }
        }
        loop {
            if let Some(end) = self.ahead.windows(4).position(|end| end == b"\r\n\r\n") {
                let rest = self.ahead.split_off(end + 4);
                return Head::new(&replace(&mut self.ahead, rest));
            }
            if self.ahead.len() >= HEAD_MAX || !self.read()? {
                return Err(io::Error::other(match &self.ahead[..] {
                    [] => "the connection was closed without an answer",
                    ahead if !ahead.starts_with(b"HTTP/1.") => "the answer is not HTTP",
                    _ => "the answer is cut off",
                }));
            }
        }
    }

    /// The content of the response whose head came last.
    ///
    /// # Errors
    /// Its length is not given or is larger than any this server sends; the connection fails or ends before its end.
    pub fn content(&mut self, head: &Head) -> io::Result<Vec<u8>> {
        let length = head.content_length.filter(|&length| length <= CONTENT_MAX);
        let length = length.ok_or_else(|| io::Error::other("the answer has no Content-Length that it may have"))?;
        while self.ahead.len() < length {
            if !self.read()? {
                return Err(io::Error::other("the answer is cut off"));
            }
        }
        let rest = self.ahead.split_off(length);
        Ok(replace(&mut self.ahead, rest))
    }

    /// Reads what comes next. False at the end.
    fn read(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        loop {
            self.stream.set_read_timeout(Some(left(self.deadline)?))?;
            match self.stream.read(&mut buffer) {
                Ok(read) => {
                    self.ahead.extend_from_slice(&buffer[..read]);
                    return Ok(read > 0);
                }
                Err(error) => retriable(error)?,
            }
        }
    }
}

/// The time until `deadline`, or that it is over.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Nothing for an error after which to try again, which is found to be too late by then if it was for the time.
fn retriable(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => Ok(()),
        _ => Err(error),
    }
}

/// The head of a response.
#[derive(Debug)]
pub struct Head {
    /// The status line.
    line: String,
    content_length: Option<usize>,
}

impl Head {
    fn new(head: &[u8]) -> io::Result<Self> {
        if !head.starts_with(b"HTTP/1.") {
            return Err(io::Error::other("the answer is not HTTP"));
        }
        let head = String::from_utf8_lossy(head);
        let mut lines = head.split('\r');
        let line = lines.next().unwrap_or_default().to_owned();
        let mut fields = lines.filter_map(|field| field.split_once(':'));
        let length = fields.find(|(name, _)| name.trim_ascii_start().eq_ignore_ascii_case("Content-Length"));
        Ok(Head { line, content_length: length.and_then(|(_, value)| value.trim_ascii().parse().ok()) })
    }

    /// Whether the status code is 200.
    pub fn is_ok(&self) -> bool {
        self.line.split(' ').nth(1) == Some("200")
    }
}

impl fmt::Display for Head {
    /// The status line, raw, as the server sent it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
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
