//! `gitops-status-server healthcheck`: asks a server how it is, for images that have no curl.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long the whole check may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The most bytes of a response that are looked at.
const RESPONSE_MAX: usize = 4096;

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
    /// Reads `http://HOST[:PORT][/PATH]`. `None` for anything else.
    pub fn parse(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("http://")?;
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

    /// `/health` of the server that listens on `address`.
    pub fn health_of(address: SocketAddr) -> Self {
        // Who listens everywhere listens on the loopback too.
        let host = match address.ip() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
            host => host,
        };
        let port = address.port();
        let authority = SocketAddr::new(host, port).to_string();
        Url { authority, target: "/health".to_owned(), host: Some(host), port }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.target)
    }
}

/// Gets `url`.
///
/// # Errors
/// A sentence that says why the answer is not a 200; what the other server sent is raw in it.
pub fn check(url: &Url) -> Result<(), String> {
    match status_line(url) {
        Ok(line) if line.split(' ').nth(1) == Some("200") => Ok(()),
        Ok(line) => Err(format!("{url}: {line}")),
        Err(error) => Err(format!("{url}: {error}")),
    }
}

fn status_line(url: &Url) -> io::Result<String> {
    let deadline = Instant::now() + TIMEOUT;
    let left = || {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::Error::from(io::ErrorKind::TimedOut)) } else { Ok(left) }
    };
    let mut stream = connect(url, left)?;
    stream.set_write_timeout(Some(left()?))?;
    let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", url.target, url.authority);
    stream.write_all(request.as_bytes())?;
    let mut response = Vec::new();
    let mut buffer = [0; 512];
    while response.len() < RESPONSE_MAX {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => response.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) => return Err(error),
        }
    }
    if response.is_empty() {
        return Err(io::Error::other("the connection was closed without an answer"));
    }
    if !response.starts_with(b"HTTP/1.") {
        return Err(io::Error::other("the answer is not HTTP"));
    }
    if !response.windows(4).any(|end| end == b"\r\n\r\n") {
        return Err(io::Error::other("the answer is cut off"));
    }
    let line = response.split(|&byte| byte == b'\r').next().unwrap_or_default();
    Ok(String::from_utf8_lossy(line).into_owned())
}

fn connect(url: &Url, left: impl Fn() -> io::Result<Duration>) -> io::Result<TcpStream> {
    let Some(host) = url.host else {
        let four = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, url.port).into(), left()?);
        return four.or_else(|_| TcpStream::connect_timeout(&(Ipv6Addr::LOCALHOST, url.port).into(), left()?));
    };
    TcpStream::connect_timeout(&(host, url.port).into(), left()?)
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
        ] {
            assert_eq!(parts(url), None, "{url:?}");
        }
    }

    #[test]
    fn the_default_is_the_loopback_of_what_is_listened_on() {
        let health = |address: &str| Url::health_of(address.parse().unwrap()).to_string();
        assert_eq!(health("0.0.0.0:8080"), "http://127.0.0.1:8080/health");
        assert_eq!(health("[::]:1"), "http://[::1]:1/health");
        assert_eq!(health("10.0.0.1:80"), "http://10.0.0.1:80/health");
    }
}
