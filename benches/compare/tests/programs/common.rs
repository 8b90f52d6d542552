//! Calling `load`, and servers that do what a test tells them.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;

/// What `load` said.
pub struct Told {
    pub code: i32,
    pub json: Value,
    pub stderr: String,
}

impl Told {
    pub fn number(&self, name: &str) -> f64 {
        self.json[name].as_f64().unwrap_or_else(|| panic!("{name} is no number in {}", self.json))
    }

    pub fn latency(&self, name: &str) -> f64 {
        self.json["latency_us"][name].as_f64().unwrap_or_else(|| panic!("{name} is no number in {}", self.json))
    }

    /// That nothing went wrong, with so many good responses.
    pub fn assert_good(&self, requests: usize) {
        assert_eq!((self.code, &*self.stderr), (0, ""), "{}", self.json);
        assert_eq!(self.json["errors"], 0);
        assert_eq!(self.json["requests"], requests);
    }
}

pub fn load(address: SocketAddr, arguments: &str) -> Told {
    let output = Command::new(env!("CARGO_BIN_EXE_load"))
        .arg("--address")
        .arg(address.to_string())
        .args(arguments.split_ascii_whitespace())
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.ends_with('\n') && stdout.trim_end().lines().count() == 1, "not one line: {stdout:?}");
    Told {
        code: output.status.code().expect("it ended by itself"),
        json: serde_json::from_str(&stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// `load` by a schedule of so many requests. It is tried again when the rate could not be kept: on a machine that is
/// busy with other things nothing goes by schedule.
pub fn load_by_schedule(server: impl Fn() -> Server, arguments: &str, requests: usize) -> (Told, Server) {
    for _ in 0..20 {
        let server = server();
        let told = load(server.address, arguments);
        assert_eq!((told.code, &told.json["errors"]), (0, &0.into()), "{}", told.stderr);
        assert_eq!((told.number("requests") + told.number("unsent")) as usize, requests, "{}", told.json);
        if told.json["rate_kept"] == true && told.json["unsent"] == 0 {
            assert_eq!(told.stderr, "");
            return (told, server);
        }
    }
    panic!("20 times the rate could not be kept");
}

/// A file with this content.
pub fn file(name: &str, content: &[u8]) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A server with a thread for each connection.
pub struct Server {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
    pub requests: Arc<AtomicUsize>,
}

impl Server {
    /// Does this with each connection.
    pub fn start(serve: impl Fn(&mut Peer) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let serve = Arc::new(serve);
        let server = Server { address, connections: Arc::clone(&connections), requests: Arc::clone(&requests) };
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                stream.set_nodelay(true).unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                let (serve, requests) = (Arc::clone(&serve), Arc::clone(&requests));
                thread::spawn(move || {
                    let reader = BufReader::new(stream.try_clone().unwrap());
                    serve(&mut Peer { reader, stream, requests });
                });
            }
        });
        server
    }

    /// Answers each request with these bytes.
    pub fn constant(response: impl Into<Vec<u8>>) -> Self {
        let response = response.into();
        Server::start(move |peer| while peer.request().is_some() && peer.send(&response) {})
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// One connection, as the server sees it.
pub struct Peer {
    reader: BufReader<TcpStream>,
    stream: TcpStream,
    requests: Arc<AtomicUsize>,
}

impl Peer {
    /// The next request: its head, and its body. `None` when there is none.
    pub fn request(&mut self) -> Option<(String, Vec<u8>)> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        self.reader.read_exact(&mut body).ok()?;
        self.requests.fetch_add(1, Ordering::SeqCst);
        Some((head, body))
    }

    /// Ends the connection, but not before the other side did: what it still sends must not reset what it has not read.
    pub fn end(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
        let _ = std::io::copy(&mut self.reader, &mut std::io::sink());
    }

    /// Says whether somebody takes it.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }
}

/// A 200 with this body.
pub fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}
