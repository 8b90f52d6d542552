//! The bare loop: what a server with `mio` does at least. It waits, receives and sends; it parses nothing, and what it
//! sends is a constant.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;

use gitops_status_server::http::response::{Date, Rendered};
use gitops_status_server::render::prepare;
use gitops_status_server::snapshot::ETag;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

/// The same as in the server.
const BACKLOG: i32 = 1024;
/// The same as in the server.
const ACCEPTS_MAX: usize = 64;
/// The same as in the server.
const EVENTS_MAX: usize = 256;
const LISTENER: Token = Token(usize::MAX);
/// A GET without a body has some hundred bytes.
const READ_MAX: usize = 4096;
/// Any date is as long.
const DATE: Date = Date(*b"Sun, 06 Nov 1994 08:49:37 GMT");

/// What the server would answer a GET for the status `body` with, by its own code.
pub fn response(body: &[u8]) -> Vec<u8> {
    let mut head = Rendered::new();
    let date = prepare(body, &ETag::of(body), &mut head);
    head[date..][..DATE.0.len()].copy_from_slice(&DATE.0);
    [&head, body].concat()
}

struct Connection {
    stream: TcpStream,
    /// What is still to be sent of a response.
    unsent: usize,
    read_closed: bool,
}

/// A server that listens.
pub struct Limit {
    poll: Poll,
    listener: TcpListener,
    connections: Vec<Option<Connection>>,
    /// Places in `connections`.
    free: Vec<usize>,
    response: Vec<u8>,
}

impl Limit {
    /// Listens.
    ///
    /// # Errors
    /// The system refuses it.
    pub fn start(listen: SocketAddr, body: &[u8]) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(listen)?;
        rustix::net::listen(&listener, BACKLOG)?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Limit { poll, listener, connections: Vec::new(), free: Vec::new(), response: response(body) })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until it is killed.
    ///
    /// # Errors
    /// The system refuses to wait for events.
    pub fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut buffer = [0; READ_MAX];
        let mut acceptable = false;
        loop {
            let timeout = if acceptable { Some(std::time::Duration::ZERO) } else { None };
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                if event.token() == LISTENER {
                    acceptable = true;
                    continue;
                }
                let Token(id) = event.token();
                let Some(connection) = &mut self.connections[id] else { continue };
                connection.read_closed |= event.is_read_closed() || event.is_error();
                if !connection.serve(event.is_readable(), &self.response, &mut buffer) {
                    self.connections[id] = None;
                    self.free.push(id);
                }
            }
            if acceptable {
                acceptable = self.accept(&mut buffer)?;
            }
        }
    }

    /// Says whether there may be more to accept.
    fn accept(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        for _ in 0..ACCEPTS_MAX {
            let (mut stream, _) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                // The connection was gone before it was taken.
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => continue,
                Err(error) => return Err(error),
            };
            let id = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            self.poll.registry().register(&mut stream, Token(id), Interest::READABLE | Interest::WRITABLE)?;
            let mut connection = Connection { stream, unsent: 0, read_closed: false };
            // The request may be there already.
            if connection.serve(true, &self.response, buffer) {
                self.connections[id] = Some(connection);
            } else {
                self.free.push(id);
            }
        }
        Ok(true)
    }
}

impl Connection {
    /// Says whether the connection goes on.
    fn serve(&mut self, readable: bool, response: &[u8], buffer: &mut [u8]) -> bool {
        if self.unsent > 0 && !self.send(response) {
            return false;
        }
        // Who sends its next request before it has the whole response pipelines, and that is not served.
        if self.unsent > 0 || !(readable || self.read_closed) {
            return true;
        }
        match self.stream.read(buffer) {
            Ok(0) => false,
            Ok(_) => {
                self.unsent = response.len();
                self.send(response) && !self.read_closed
            }
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }

    /// One write mostly sends all of it.
    fn send(&mut self, response: &[u8]) -> bool {
        match self.stream.write(&response[response.len() - self.unsent..]) {
            Ok(bytes) => {
                self.unsent -= bytes;
                true
            }
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_response_is_the_servers() {
        let body = br#"{"sync_status":"SYNCED"}"#;
        let head = format!(
            "HTTP/1.1 200 OK\r\nX-Content-Type-Options: nosniff\r\nContent-Type: application/json\r\n\
            Content-Length: {}\r\nETag: {}\r\nCache-Control: no-cache\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n",
            body.len(),
            str::from_utf8(ETag::of(body).as_bytes()).unwrap(),
        );
        assert_eq!(str::from_utf8(&response(body)), Ok(&*(head + r#"{"sync_status":"SYNCED"}"#)));
    }
}
