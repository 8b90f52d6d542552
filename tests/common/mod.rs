//! A running server and a plain HTTP client, for the tests that talk over real sockets.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use rustix::process::Signal;

/// The program under test: the one that was built with the tests, or the one that `TEST_PROGRAM` names.
pub static PROGRAM: LazyLock<String> = LazyLock::new(|| {
    let Some(path) = std::env::var_os("TEST_PROGRAM") else {
        return env!("CARGO_BIN_EXE_gitops-status-server").to_owned();
    };
    // Some tests start it in a directory of their own.
    let path = std::fs::canonicalize(&path).unwrap_or_else(|error| panic!("TEST_PROGRAM={}: {error}", path.display()));
    path.into_os_string().into_string().expect("the path in TEST_PROGRAM is UTF-8")
});

/// How long anything may take that should come at once. Only a failing test waits for it.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The status of a server that nobody has told one.
pub const UNKNOWN: &str =
    r#"{"repo":"","server":"","sync_status":"UNKNOWN","drift_count":0,"files":[],"last_check":null}"#;

/// The lines of a log, as they come.
#[derive(Default)]
struct Lines {
    text: Mutex<(String, bool)>,
    more: Condvar,
}

/// A server on a free port of the loopback. It is killed when it goes out of scope.
pub struct Server {
    child: Child,
    address: SocketAddr,
    lines: Arc<Lines>,
    reader: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts one with these arguments, on a free port, and waits until it listens.
    pub fn start(arguments: &[&str]) -> Server {
        Server::start_with(program().args(["--listen", "127.0.0.1:0"]).args(arguments))
    }

    /// Starts one by `command` and waits until it listens.
    pub fn start_with(command: &mut Command) -> Server {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the program starts");
        let lines = Arc::new(Lines::default());
        let reader = read_lines(child.stderr.take().expect("its standard error is a pipe"), Arc::clone(&lines));
        let address = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut server = Server { child, address, lines, reader: Some(reader) };
        let log = server.wait_for_log("listening on ");
        let address = log.split("listening on ").nth(1).expect("it says where it listens");
        let address = address.split(['\n', '"']).next().unwrap();
        server.address = address.parse().expect("it listens on an address");
        server
    }

    /// Starts one by `command`, which need not log anything, and waits until it answers on `address`.
    pub fn start_at(command: &mut Command, address: SocketAddr) -> Server {
        let mut child = command.spawn().expect("the program starts");
        let lines = Arc::new(Lines::default());
        let reader = child.stderr.take().map(|stderr| read_lines(stderr, Arc::clone(&lines)));
        let mut server = Server { child, address, lines, reader };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            assert!(server.child.try_wait().unwrap().is_none(), "the program exited:\n{}", server.log());
            assert!(Instant::now() < deadline, "nobody listens on {address}");
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(server.get("/health").code, 200);
        server
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A new connection.
    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// A connection on which the server has taken `bytes`. It takes what comes in the order in which it comes, so it has
    /// when another connection, begun later, has its answer.
    pub fn begin(&self, bytes: &[u8]) -> Client {
        let mut client = self.connect();
        client.send(bytes);
        assert_eq!(self.get("/health").code, 200);
        client
    }

    /// The response to one request on a connection of its own.
    pub fn get(&self, path: &str) -> Response {
        let mut client = self.connect();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").as_bytes());
        client.response()
    }

    /// The response to the post of a status.
    pub fn post(&self, status: &[u8]) -> Response {
        let mut client = self.connect();
        client.send(&post_request(status));
        client.response()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("the server runs");
    }

    /// How many descriptors it has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("the server runs").count()
    }

    /// What the program prints on standard output, if that is a pipe.
    pub fn take_stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().expect("standard output is a pipe")
    }

    /// The log so far.
    pub fn log(&self) -> String {
        self.lines.text.lock().unwrap().0.clone()
    }

    /// The log, as soon as it holds `text`.
    pub fn wait_for_log(&self, text: &str) -> String {
        let lines = self.lines.text.lock().unwrap();
        let done = |(log, ended): &mut (String, bool)| !log.contains(text) && !*ended;
        let (lines, _) = self.lines.more.wait_timeout_while(lines, PATIENCE, done).unwrap();
        assert!(lines.0.contains(text), "no {text:?} in the log:\n{}", lines.0);
        lines.0.clone()
    }

    /// Waits until the server exits; gives how it did and its whole log.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let status = wait_for_exit(&mut self.child);
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        (status, self.log())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, in an environment that configures nothing.
pub fn program() -> Command {
    started_by(&PROGRAM)
}

/// Another program, in the same environment, which starts the one under test.
pub fn started_by(other: &str) -> Command {
    let mut command = Command::new(other);
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("STATUS_") {
            command.env_remove(variable);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// How a run of the program ended, and what it said.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `command`, which is expected to end by itself.
pub fn finish(command: &mut Command) -> Finished {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let code = wait_for_exit(&mut child).code();
    let Output { stdout, stderr, .. } = child.wait_with_output().expect("the child is ours");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program speaks UTF-8");
    Finished { code, stdout: text(stdout), stderr: text(stderr) }
}

/// That it was refused with one line that has all of `parts`, and nothing was done before.
#[track_caller]
pub fn assert_refused(command: &mut Command, parts: &[&str]) {
    let Finished { code, stdout, stderr } = finish(command);
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{command:?}\n{stderr}");
    let line = stderr.strip_suffix('\n').unwrap_or_else(|| panic!("{command:?}: no line: {stderr:?}"));
    assert!(!line.chars().any(char::is_control), "{command:?}: not one line: {stderr:?}");
    let mut rest = line.to_owned();
    for part in parts {
        assert!(rest.contains(part), "{command:?}: no {part:?} in {rest:?}");
        // So that a value is not found within the range.
        rest = rest.replacen(part, "", 1);
    }
}

/// An address of the loopback that no other test has. Its port is not one that the system gives out.
pub fn own_address() -> SocketAddr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    SocketAddr::from(([127, 64 | high >> 2, low, COUNT.fetch_add(1, Ordering::Relaxed)], 18734))
}

/// A directory that is gone when it goes out of scope.
pub struct TemporaryDir(PathBuf);

impl TemporaryDir {
    pub fn new() -> TemporaryDir {
        TemporaryDir::within(std::env::temp_dir())
    }

    /// One in memory: there a disk that others keep busy does not make a server give up waiting for its files.
    pub fn in_memory() -> TemporaryDir {
        TemporaryDir::within("/dev/shm")
    }

    /// One in `parent`, which may be on another file system.
    pub fn within(parent: impl Into<PathBuf>) -> TemporaryDir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = parent.into().join(format!("gitops-status-server-{}-{count}", std::process::id()));
        std::fs::create_dir(&path).expect("a temporary directory can be made");
        TemporaryDir(path)
    }

    /// The path of `name` in it.
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).into_os_string().into_string().expect("the path is UTF-8")
    }

    /// The path of a new file in it.
    pub fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).expect("a temporary file can be written");
        path
    }
}

impl Drop for TemporaryDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Waits until `child` exits, but not for ever.
pub fn wait_for_exit(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("the child is ours") {
            return status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("the program does not exit");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn read_lines(source: impl Read + Send + 'static, lines: Arc<Lines>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut source = BufReader::new(source);
        let mut line = Vec::new();
        while source.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            lines.text.lock().unwrap().0.push_str(&String::from_utf8_lossy(&line));
            lines.more.notify_all();
            line.clear();
        }
        lines.text.lock().unwrap().1 = true;
        lines.more.notify_all();
    })
}

/// A status of so many bytes.
pub fn status_of(size: usize) -> Vec<u8> {
    match size {
        2..8 => format!("{{{}}}", " ".repeat(size - 2)).into_bytes(),
        _ => format!(r#"{{"x":"{}"}}"#, "a".repeat(size - 8)).into_bytes(),
    }
}

/// The beginning of a post.
pub const HALF_A_POST: &[u8] =
    b"POST /api/status HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{";

/// So many requests for a status of 1 MiB that the answers do not fit what the kernel holds for a client that does not
/// read.
pub const MORE_THAN_BUFFERS_HOLD: [&[u8]; 16] = [b"GET /status.json HTTP/1.1\r\nHost: test\r\n\r\n"; 16];

/// The request that posts `status`; the connection stays open.
pub fn post_request(status: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /api/status HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        status.len()
    );
    [head.as_bytes(), status].concat()
}

/// One connection.
pub struct Client {
    stream: TcpStream,
    /// What was read and not used yet.
    ahead: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, ahead: Vec::new() }
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// Says that nothing more will come.
    pub fn end(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("the connection is open");
    }

    /// Reads the response to a request that is not HEAD.
    pub fn response(&mut self) -> Response {
        self.read_response(false)
    }

    /// Reads a response; one to HEAD has no content whatever its head says.
    pub fn read_response(&mut self, to_head: bool) -> Response {
        let head = loop {
            if let Some(end) = self.ahead.windows(4).position(|window| window == b"\r\n\r\n") {
                break self.ahead.drain(..end + 4).collect::<Vec<_>>();
            }
            assert!(
                self.read_some() > 0,
                "the connection ended within a head: {:?}",
                self.ahead.escape_ascii().to_string()
            );
        };
        let mut response = Response::parse(&head);
        let no_content = to_head || matches!(response.code, 100..200 | 204 | 304);
        if !no_content {
            let length = response.field("Content-Length").expect("content has a length").parse::<usize>().unwrap();
            while self.ahead.len() < length {
                assert!(self.read_some() > 0, "the connection ended within the content");
            }
            response.content = self.ahead.drain(..length).collect();
        }
        response
    }

    fn read_some(&mut self) -> usize {
        let mut buffer = [0; 65536];
        let read = self.read(&mut buffer).expect("the server answers");
        self.ahead.extend_from_slice(&buffer[..read]);
        read
    }

    /// A child that exits interrupts a read that has a time-out, now and then.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.stream.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Whether the server ends the connection, orderly and without another byte.
    pub fn is_ended(&mut self) -> bool {
        assert!(self.ahead.is_empty(), "more came: {:?}", self.ahead.escape_ascii().to_string());
        match self.read(&mut [0; 1]) {
            Ok(0) => true,
            Ok(_) => panic!("more came"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// Whether the connection is still open a little later, with nothing more to read.
    pub fn is_open(&mut self) -> bool {
        self.stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let ended = self.is_ended();
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        !ended
    }
}

/// A response, taken apart by other code than the server's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub code: u16,
    pub reason: String,
    pub fields: Vec<(String, String)>,
    pub content: Vec<u8>,
}

impl Response {
    fn parse(head: &[u8]) -> Response {
        let text = std::str::from_utf8(head).expect("a head is ASCII");
        let mut lines = text.strip_suffix("\r\n\r\n").unwrap().split("\r\n");
        let status_line = lines.next().unwrap();
        let mut parts = status_line.splitn(3, ' ');
        assert_eq!(parts.next(), Some("HTTP/1.1"), "{status_line}");
        let code = parts.next().unwrap().parse().expect(status_line);
        let reason = parts.next().expect(status_line).to_owned();
        let fields = lines.map(|line| {
            let (name, value) = line.split_once(": ").expect(line);
            (name.to_owned(), value.to_owned())
        });
        Response { code, reason, fields: fields.collect(), content: Vec::new() }
    }

    /// The value of a field; `None` if there is none. Never twice.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|field| field.0.eq_ignore_ascii_case(name));
        let value = values.next().map(|field| field.1.as_str());
        assert!(values.next().is_none(), "{name} stands twice");
        value
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.content).expect("content is UTF-8")
    }

    /// The sentence of an error, which is in the envelope that every error has.
    pub fn message(&self) -> String {
        let json: serde_json::Value = serde_json::from_slice(&self.content).expect("an error is JSON");
        assert_eq!(json["success"], false);
        assert_eq!(self.field("Content-Type"), Some("application/json"));
        json["message"].as_str().expect("an error has a message").to_owned()
    }
}

// ------------------------------------------------------------------------------------- files that a status comes from

impl Client {
    /// The response to a GET; the connection stays open.
    pub fn get(&mut self, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes());
        self.response()
    }

    /// The response to the post of a status; the connection stays open.
    pub fn post(&mut self, status: &[u8]) -> Response {
        self.send(&post_request(status));
        self.response()
    }
}

impl Server {
    /// The log of all that happened before. What is posted to have a line behind it is refused; it has a size that nobody
    /// else posts.
    pub fn whole_log(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(20_000);
        let size = COUNT.fetch_add(1, Ordering::Relaxed);
        assert_eq!(self.post(&vec![b'x'; size as usize]).code, 400);
        self.wait_for_log(&format!(" code=400 bytes={size} "))
    }

    /// The one thread that waits for files.
    pub fn store_thread(&self) -> u32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let threads = threads(self.pid());
            assert_eq!(threads.len(), 2, "{threads:?}");
            // It names itself after it has begun, and then it waits for the first time.
            if let Some((task, _)) = threads.iter().find(|(_, name)| name == "store")
                && self.sleeps(*task) > 0
            {
                return *task;
            }
            assert!(Instant::now() < deadline, "{threads:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// How often a thread of it has gone to sleep.
    pub fn sleeps(&self, task: u32) -> u64 {
        task_counter(self.pid(), task, "status", "voluntary_ctxt_switches")
    }
}

/// A number that the kernel tells of a thread.
pub fn task_counter(pid: u32, task: u32, file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{task}/{file}")).expect("the thread runs");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {text}"));
    line.trim_start_matches(':').trim().parse().unwrap()
}

/// A volume as kubelet makes it of a ConfigMap: `status.json -> ..data/status.json`, `..data -> ..1`.
pub struct ConfigMap {
    volume: PathBuf,
    version: u32,
}

impl ConfigMap {
    /// A new one, at this path.
    pub fn new(volume: String, content: &[u8]) -> ConfigMap {
        let mut map = ConfigMap { volume: volume.into(), version: 0 };
        std::fs::create_dir(&map.volume).expect("a directory can be made");
        map.swap(content);
        std::os::unix::fs::symlink("..data/status.json", map.path()).expect("a link can be made");
        map
    }

    /// The path of its key.
    pub fn path(&self) -> String {
        self.volume.join("status.json").into_os_string().into_string().expect("the path is UTF-8")
    }

    /// Gives it another content: a new directory, to which `..data` leads from one moment to the next.
    pub fn swap(&mut self, content: &[u8]) {
        let old = self.volume.join(format!("..{}", self.version));
        self.version += 1;
        let name = format!("..{}", self.version);
        std::fs::create_dir(self.volume.join(&name)).expect("a directory can be made");
        std::fs::write(self.volume.join(&name).join("status.json"), content).expect("a file can be written");
        let link = self.volume.join("..data_tmp");
        std::os::unix::fs::symlink(&name, &link).expect("a link can be made");
        std::fs::rename(&link, self.volume.join("..data")).expect("a link can be renamed");
        let _ = std::fs::remove_dir_all(old);
    }
}

/// The threads of a process, with their names.
pub fn threads(pid: u32) -> Vec<(u32, String)> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    let task = |entry: io::Result<std::fs::DirEntry>| {
        let id = entry.unwrap().file_name().to_str().unwrap().parse().unwrap();
        (id, std::fs::read_to_string(format!("/proc/{pid}/task/{id}/comm")).unwrap().trim_end().to_owned())
    };
    tasks.map(task).collect()
}
