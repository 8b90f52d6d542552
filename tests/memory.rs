//! After "listening on" the server takes no memory from the heap, whatever is sent to it, and whatever happens to files.
//!
//! The test runs itself a second time as the server, with an allocator that counts; that is why it has a `main` of its
//! own. The counting begins when the server listens and ends when it stops.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{Client, PATIENCE, Server, Signal, TemporaryDir, post_request};
use gitops_status_server::config;
use gitops_status_server::ground::Process;
use gitops_status_server::server::{Memory, Server as Serving};

const TESTS: [(&str, fn()); 2] = [
    ("nothing_that_is_sent_makes_the_server_allocate", drive),
    ("nothing_that_happens_to_files_makes_the_server_allocate", drive_files),
];
const AS_SERVER: &str = "MEMORY_TEST_AS_SERVER";

struct Counting;

static COUNTED: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

fn count() {
    if COUNTED.load(Ordering::Relaxed) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: everything is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static MEMORY: Mutex<Memory> = Mutex::new(Memory::new());

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if std::env::var_os(AS_SERVER).is_some() {
        return serve(arguments);
    }
    // What a test runner asks of a test file.
    if arguments.iter().any(|argument| argument == "--list") {
        return TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
    }
    let filters: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    for (name, test) in TESTS {
        if filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str())) {
            test();
            println!("test {name} ... ok");
        }
    }
}

/// The second run.
fn serve(arguments: Vec<String>) {
    let arguments = arguments.into_iter().map(|argument| OsStr::new(argument.leak()));
    let Ok(config::Command::Serve(config)) = config::read(arguments, |_| None) else { panic!("bad arguments") };
    let mut memory = MEMORY.lock().unwrap();
    let mut server = Serving::start(&config, &mut memory, &Process).unwrap_or_else(|error| panic!("{error}"));
    // The thread for files takes some memory itself when it begins, and then goes to sleep.
    let id = std::process::id();
    while common::threads(id)
        .iter()
        .any(|&(task, _)| task != id && common::task_counter(id, task, "status", "voluntary_ctxt_switches") == 0)
    {
        std::thread::sleep(Duration::from_millis(1));
    }
    // That the allocator counts at all is seen here.
    COUNTED.store(true, Ordering::Relaxed);
    drop(std::hint::black_box(Box::new(1)));
    assert_eq!(ALLOCATIONS.swap(0, Ordering::Relaxed), 1);
    server.run().unwrap_or_else(|error| panic!("{error}"));
    COUNTED.store(false, Ordering::Relaxed);
    println!("{} allocations", ALLOCATIONS.load(Ordering::Relaxed));
}

/// Starts the second run; gives where it will say what it counted, too.
fn start(arguments: &[&str]) -> (Server, ChildStdout) {
    let mut command = Command::new(std::env::current_exe().expect("the test is a file"));
    command.env(AS_SERVER, "1").stdout(Stdio::piped()).args(["--listen", "127.0.0.1:0"]).args(arguments);
    let mut server = Server::start_with(&mut command);
    let output = server.take_stdout();
    (server, output)
}

/// Ends it, says what it has counted, for `benches/budget`, and asserts that it is nothing.
fn stop(server: Server, mut output: ChildStdout) {
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    assert!(status.success(), "{log}");
    let mut counted = String::new();
    output.read_to_string(&mut counted).expect("the server said how much it allocated");
    print!("{counted}");
    assert_eq!(counted, "0 allocations\n", "within {PATIENCE:?}:\n{log}");
}

/// The first run: starts the second and sends it one of everything.
fn drive() {
    let (server, output) = start(&[
        "--log",
        "access",
        "--max-connections",
        "8",
        "--head-timeout",
        "1",
        "--body-timeout",
        "1",
        "--idle-timeout",
        "1",
        "--write-timeout",
        "1",
        "--shutdown-grace",
        "1",
    ]);

    let post = |body: &str| String::from_utf8(post_request(body.as_bytes())).unwrap();
    let long_head = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(8200));
    let long_target = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(3000));
    let large = post(&format!(r#"{{"a":"{}"}}"#, "x".repeat(65_000)));
    let too_large = post(&format!(r#"{{"a":"{}"}}"#, "x".repeat(70_000)));
    let requests = [
        ("GET /status.json HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        ("HEAD /status.json HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200),
        ("GET /status.json HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\n\r\n", 304),
        ("GET /health HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        ("GET /ready HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 204),
        ("GET /nothing?%F0%9F%A6%80\" HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        ("GET /nothing?\u{1f980} HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("PUT /status.json HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (&post(r#"{"sync_status":"a\n\u202e\ud83d\ude00","files":["a",{"name":"b"}],"drift_count":1}"#), 200),
        (&large, 200),
        ("GET /status.json HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (&too_large, 400),
        (&post("{"), 400),
        (&post("[1]"), 400),
        (&post(r#"{"files":[1]}"#), 400),
        (&post(r#"{"repo":1}"#), 400),
        (&post(&"[".repeat(65_536)), 400),
        ("POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", 415),
        (
            "POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
             2;x=y\r\n{}\r\n0\r\nTrailer: x\r\n\r\n",
            200,
        ),
        (
            "POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nx",
            400,
        ),
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        ("GET /badge.svg?label=a%20b HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        ("GET /history.json HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\n\r\n", 304),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        ("BREW / HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        ("GET / HTTP/1.1\r\nHost: x\r\nExpect: tea\r\n\r\n", 417),
        (&long_head, 431),
        (&long_target, 414),
    ];
    for (request, code) in requests {
        for cut in [request.len(), request.len() / 2, 1] {
            let mut client = server.connect();
            client.send(&request.as_bytes()[..cut]);
            std::thread::sleep(Duration::from_millis(1));
            client.send(&request.as_bytes()[cut..]);
            assert_eq!(client.read_response(request.starts_with("HEAD")).code, code, "{request:.60}");
        }
    }

    // More connections than there is room for, in every state: idle, within a head, within a body, not reading.
    let crowd: Vec<Client> = (0..40)
        .map(|at| {
            let mut client = server.connect();
            client.send(match at % 4 {
                0 => b"",
                1 => b"GET /sta",
                2 => b"POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
                _ => b"GET /status.json HTTP/1.1\r\nHost: x\r\n\r\n",
            });
            client
        })
        .collect();
    assert_eq!(server.get("/health").code, 200);

    // Every time-out.
    for (begun, code) in [("", None), ("GET /", Some(408)), (&large[..200], Some(408))] {
        let mut client = server.connect();
        client.send(begun.as_bytes());
        if let Some(code) = code {
            assert_eq!(client.response().code, code);
        }
        assert!(client.is_ended());
    }
    drop(crowd);

    server.signal(Signal::HUP);
    server.wait_for_log("SIGHUP");
    let mut unfinished = server.connect();
    unfinished.send(b"GET /");
    std::thread::sleep(Duration::from_millis(20));
    stop(server, output);
}

/// The same with files: all that may happen to them.
fn drive_files() {
    let dir = TemporaryDir::in_memory();
    let seed = dir.file("seed.json", br#"{"repo":"seed"}"#);
    let state = dir.path("state");
    let status = dir.path("state/status.json");
    let (server, output) =
        start(&["--log", "access", "--refresh-ms", "0", "--seed-file", &seed, "--state-dir", &state]);
    let post = |content: &[u8], code: u16| {
        let response = server.post(content);
        assert_eq!(response.code, code, "{}", response.text());
    };
    let expect = |content: &[u8]| assert!(server.get("/status.json").content == content, "{}", server.log());
    let ready = |code: u16| assert_eq!(server.get("/ready").code, code, "{}", server.log());
    let large = |letter: &str| format!(r#"{{"a":"{}"}}"#, letter.repeat(65_000)).into_bytes();
    for round in 0..3 {
        let text = |name: &str| format!(r#"{{"repo":"{name}","drift_count":{round}}}"#).into_bytes();
        // Posts.
        post(&text("posted"), 200);
        expect(&text("posted"));
        post(b"{", 400);
        post(&large("x"), 200);
        expect(&large("x"));
        post(&vec![b'x'; 70_000], 400);

        // Edits, and what is none.
        for content in [text("edited"), large("y"), text("edited again")] {
            fs::write(&seed, &content).unwrap();
            expect(&content);
        }
        fs::write(&seed, text("edited again")).unwrap();
        expect(&text("edited again"));
        for content in [&b""[..], b"{", b"[1]", &vec![b' '; 70_000], b"\xff"] {
            fs::write(&seed, content).unwrap();
            expect(&text("edited again"));
        }
        fs::remove_file(&seed).unwrap();
        ready(200);
        fs::create_dir(&seed).unwrap();
        ready(200);
        fs::remove_dir(&seed).unwrap();
        fs::rename(dir.file("new.json", &text("renamed")), &seed).unwrap();
        expect(&text("renamed"));

        // What others write.
        for content in [text("by hand"), large("z")] {
            fs::write(&status, &content).unwrap();
            expect(&content);
        }
        for content in [&b""[..], b"{", &vec![b' '; 70_000]] {
            fs::write(&status, content).unwrap();
            expect(&large("z"));
        }
        fs::rename(dir.file("new.json", &text("by rename")), &status).unwrap();
        expect(&text("by rename"));
        fs::write(dir.path("state/seeds-seen"), "what is this?").unwrap();
        post(&text("posted again"), 200);

        // Trouble.
        fs::remove_file(&status).unwrap();
        expect(&text("posted again"));
        fs::remove_file(&status).unwrap();
        fs::create_dir(&status).unwrap();
        ready(503);
        post(&text("refused"), 503);
        expect(&text("posted again"));
        fs::write(&seed, text("edited in trouble")).unwrap();
        ready(503);
        fs::remove_dir(&status).unwrap();
        // It is written anew, and then the edit is taken.
        expect(&text("edited in trouble"));
        ready(200);
        fs::rename(&state, dir.path("gone")).unwrap();
        ready(503);
        post(&text("refused"), 503);
        fs::rename(dir.path("gone"), &state).unwrap();
        ready(200);
        post(&text("posted last"), 200);

        let looks = server.log().matches("SIGHUP").count();
        server.signal(Signal::HUP);
        let deadline = Instant::now() + PATIENCE;
        while server.log().matches("SIGHUP").count() == looks {
            assert!(Instant::now() < deadline, "{}", server.log());
            std::thread::sleep(Duration::from_millis(2));
        }
        // Many at once, who wait for each other and for the files.
        let mut crowd: Vec<Client> = (0..24).map(|_| server.connect()).collect();
        for (at, client) in crowd.iter_mut().enumerate() {
            match at % 3 {
                0 => client.send(&post_request(&text("one of many"))),
                _ => client.send(b"GET /status.json HTTP/1.1\r\nHost: x\r\n\r\n"),
            }
        }
        crowd.iter_mut().for_each(|client| assert_eq!(client.response().code, 200));
        expect(&text("one of many"));
    }
    stop(server, output);
}
