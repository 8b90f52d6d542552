//! Too much of everything: floods, greedy clients, slow ones and broken ones, over real sockets. None of them keeps a
//! normal client out, and none of them leaves anything behind.
//!
//! What is measured is printed: `cargo test --test overload -- --nocapture` shows it.

mod common;
#[path = "common/random.rs"]
mod random;

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use common::{Client, PATIENCE, Server, Signal, TemporaryDir, post_request, status_of};
use gitops_status_server::connection::{Connection, Inbox};
use gitops_status_server::snapshot::{BODIES_MAX, PAST_MAX, SLOTS};
use mio::{Events, Interest, Poll, Token};
use random::Random;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const MIB: usize = 1 << 20;
const GET_HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n";
const GET_STATUS: &[u8] = b"GET /status.json HTTP/1.1\r\nHost: test\r\n\r\n";

/// A server for statuses of 1 MiB.
const LARGE: [&str; 2] = ["--max-bytes", "1048576"];

/// What measures or needs both cores for itself runs one after the other.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long things took.
struct Times(Vec<Duration>);

impl Times {
    fn at(&self, hundredths: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted[(sorted.len() * hundredths).div_ceil(100).saturating_sub(1)]
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, most] = [50, 99, 100].map(|hundredths| self.at(hundredths));
        write!(f, "{} times: p50 {p50:?}, p99 {p99:?}, most {most:?}", self.0.len())
    }
}

/// The memory that only this process has, in bytes. The pages of the program's file are not counted: they are shared,
/// and how many of them are resident depends on which code has run.
fn memory_of(server: &Server) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux tells it");
    line.trim().strip_suffix(" kB").expect(line).parse::<usize>().expect(line) << 10
}

/// Waits until the server has closed all that it had opened since `before` was counted.
fn wait_for_descriptors(server: &Server, before: usize) {
    let begun = Instant::now();
    while server.descriptors() != before {
        assert!(begun.elapsed() < PATIENCE, "{} descriptors, {before} at first", server.descriptors());
        thread::sleep(Duration::from_millis(2));
    }
}

/// So many posts can be on their way in at once: no buffer was lost.
fn assert_all_body_buffers_are_free(server: &Server) {
    let mut posters: Vec<Client> = (0..BODIES_MAX)
        .map(|_| {
            let mut client = server.connect();
            client.send(&post_head("Content-Length: 2\r\nExpect: 100-continue\r\n"));
            assert_eq!(client.response().code, 100);
            client
        })
        .collect();
    for client in &mut posters {
        client.send(b"{}");
        assert_eq!(client.response().code, 200);
    }
}

/// So many connections can be open at once, beside `before` descriptors: no place for one was lost.
fn assert_all_places_are_free(server: &Server, places: usize, before: usize) {
    wait_for_descriptors(server, before);
    let mut clients: Vec<Client> = (0..places).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(GET_HEALTH);
        assert_eq!(client.response().code, 200);
    }
    assert_eq!(server.descriptors(), before + places);
}

fn post_head(fields: &str) -> Vec<u8> {
    format!("POST /api/status HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n{fields}\r\n").into_bytes()
}

/// A socket that is reset when it is closed, so that thousands of them leave nothing in the system. Where its receive
/// buffer has to be small it is so before it connects: the server is never told of more room.
fn hostile_socket(address: SocketAddr, receive_buffer: Option<usize>, flags: SocketFlags) -> io::Result<TcpStream> {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags | SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    if let Some(bytes) = receive_buffer {
        sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
    }
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
        Err(error) => Err(error.into()),
    }
}

// ---------------------------------------------------------------------------------------------------- floods

/// What the connections of a flood do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hostile {
    SaysNothing,
    /// A byte of a head every now and then.
    Trickles,
    HalfAHead,
    HalfABody,
    HalfAChunk,
    /// Asks for a large status, once, and reads nothing.
    ReadsNothing,
    /// The same, for more of them than the system takes from the server: it is stuck within one.
    ReadsNothingOfMany,
}
use Hostile::{HalfABody, HalfAChunk, HalfAHead, ReadsNothing, ReadsNothingOfMany, SaysNothing, Trickles};

/// How many bytes of a body are sent by those who send half of it.
const HALF_OF_A_BODY: usize = 2000;

impl Hostile {
    fn opening(self) -> Vec<u8> {
        match self {
            SaysNothing => Vec::new(),
            Trickles => b"G".to_vec(),
            HalfAHead => GET_HEALTH[..GET_HEALTH.len() / 2].to_vec(),
            HalfABody => {
                let head = post_head(&format!("Content-Length: {}\r\n", 2 * HALF_OF_A_BODY));
                [&head[..], &status_of(2 * HALF_OF_A_BODY)[..HALF_OF_A_BODY]].concat()
            }
            HalfAChunk => {
                let head = post_head("Transfer-Encoding: chunked\r\n");
                let size = format!("{:x}\r\n", 2 * HALF_OF_A_BODY);
                [&head[..], size.as_bytes(), &status_of(2 * HALF_OF_A_BODY)[..HALF_OF_A_BODY]].concat()
            }
            ReadsNothing => GET_STATUS.to_vec(),
            ReadsNothingOfMany => GET_STATUS.repeat(8),
        }
    }

    fn has_body(self) -> bool {
        matches!(self, HalfABody | HalfAChunk)
    }

    fn reads_nothing(self) -> bool {
        matches!(self, ReadsNothing | ReadsNothingOfMany)
    }
}

/// How many connections a flood has.
const FLOOD: usize = 2000;
/// How many connections the flooded server holds.
const HELD: usize = 64;
/// The time from one connection that a flood opens to the next: 2000 in a second. One that the server closes is opened
/// again, in its turn.
const INTERVAL: Duration = Duration::from_micros(500);
/// The pause between two bytes of those who trickle: short, so that they send several before they have to go.
const TRICKLE: Duration = Duration::from_millis(5);

/// Connections that never do what they should, kept open by a thread.
struct Flood {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Flood {
    /// Begins one whose connections do what `kinds` says, in turn.
    fn begin(address: SocketAddr, kinds: &'static [Hostile]) -> Flood {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut poll = Poll::new().unwrap();
            let mut events = Events::with_capacity(1024);
            let openings: Vec<_> = kinds.iter().map(|kind| kind.opening()).collect();
            let mut sockets: Vec<Option<(mio::net::TcpStream, bool)>> = (0..FLOOD).map(|_| None).collect();
            let mut closed: VecDeque<usize> = (0..FLOOD).collect();
            let (mut due, mut opened, mut trickled) = (Instant::now(), 0, Instant::now());
            while !told.load(Ordering::Relaxed) {
                // Who was kept from it by the system does not make up for it: that would be more than the rate.
                due = due.max(Instant::now() - 2 * INTERVAL);
                while due <= Instant::now() {
                    let Some(index) = closed.pop_front() else { break };
                    due += INTERVAL;
                    let kind = kinds[index % kinds.len()];
                    let buffer = kind.reads_nothing().then_some(4096);
                    let socket = hostile_socket(address, buffer, SocketFlags::NONBLOCK).expect("it can connect");
                    let mut socket = mio::net::TcpStream::from_std(socket);
                    let both = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut socket, Token(index), both).unwrap();
                    sockets[index] = Some((socket, false));
                    opened += 1;
                }
                if let Err(error) = poll.poll(&mut events, Some(Duration::from_millis(1))) {
                    assert_eq!(error.kind(), ErrorKind::Interrupted);
                }
                for event in &events {
                    let Token(index) = event.token();
                    let Some((socket, said)) = &mut sockets[index] else { continue };
                    if event.is_read_closed() || event.is_error() {
                        sockets[index] = None;
                        closed.push_back(index);
                    } else if event.is_writable() && !*said {
                        *said = true;
                        // It fails when the server has closed already, which the next event tells.
                        let _ = socket.write(&openings[index % kinds.len()]);
                    }
                }
                if trickled.elapsed() >= TRICKLE && kinds.contains(&Trickles) {
                    trickled = Instant::now();
                    let mine = |(index, _): &(usize, _)| kinds[index % kinds.len()] == Trickles;
                    for (_, socket) in sockets.iter_mut().enumerate().filter(mine) {
                        if let Some((socket, true)) = socket {
                            let _ = socket.write(b"E");
                        }
                    }
                }
            }
            opened
        });
        Flood { stop, thread }
    }

    /// Closes all of it; gives how many connections it had opened.
    fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the flood went on")
    }
}

/// What a normal client does: it connects, sends a request in these pieces, and reads the answer to its end. With `asks`
/// it waits for the 100 behind the first piece, and sends nothing more where it is told something else.
fn exchange(address: SocketAddr, pieces: &[&[u8]], asks: bool) -> io::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut answer = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        if asks && index == 1 {
            let mut asked = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
            stream.read_exact(&mut asked)?;
            if !asked.starts_with(b"HTTP/1.1 100 ") {
                answer.extend(asked);
                break;
            }
        }
        stream.write_all(piece)?;
    }
    stream.read_to_end(&mut answer)?;
    let code = answer.get(9..12).and_then(|code| std::str::from_utf8(code).ok()?.parse().ok());
    Ok((code.ok_or(ErrorKind::UnexpectedEof)?, answer))
}

/// That a flood of these kinds keeps no normal client out and leaves nothing behind.
fn assert_withstands(kinds: &'static [Hostile]) {
    assert_withstands_with(kinds, &[]);
}

fn assert_withstands_with(kinds: &'static [Hostile], arguments: &[&str]) {
    /// How many requests the normal client makes, and how long it rests after each: it takes a second.
    const REQUESTS: usize = 300;
    const REST: Duration = Duration::from_millis(3);
    const BOUND: Duration = Duration::from_millis(50);

    let _alone = alone();
    let limit = getrlimit(Resource::Nofile);
    let enough = limit.maximum.is_none_or(|maximum| maximum > FLOOD as u64 + 500);
    assert!(enough, "this test needs more descriptors than the hard limit allows: {limit:?}");
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();

    let held = HELD.to_string();
    let server = Server::start(&[&LARGE[..], &["--max-connections", &held], arguments].concat());
    let address = server.address();
    let (descriptors, memory) = (server.descriptors(), memory_of(&server));
    let large = kinds.iter().any(|kind| kind.reads_nothing());
    if large {
        assert_eq!(server.post(&status_of(MIB)).code, 200);
    }
    let flood = Flood::begin(address, kinds);
    let (mut times, mut failures, mut crowded_out) = (Times(Vec::new()), Vec::new(), 0);
    let post = |fields: &str| {
        let fields = format!("Connection: close\r\nContent-Length: 2\r\n{fields}");
        post_head(&fields)
    };
    let mut posts = VecDeque::from([
        ("in one write", vec![[&post("")[..], b"{}"].concat()]),
        ("in two writes", vec![post(""), b"{}".to_vec()]),
        ("asking first", vec![post("Expect: 100-continue\r\n"), b"{}".to_vec()]),
    ]);
    for turn in 0..REQUESTS {
        let begun = Instant::now();
        match exchange(address, &[b"GET /health HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"], false) {
            Ok((200, _)) => times.0.push(begun.elapsed()),
            other => failures.push(format!("GET {turn}: {other:?}")),
        }
        // By now the server is full.
        if turn >= REQUESTS / 4 * 3
            && turn % 25 == 0
            && let Some((name, pieces)) = posts.pop_front()
        {
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let exchange = || exchange(address, &pieces, name == "asking first");
            let mut answer = exchange();
            // Where the flood has bodies too, every buffer goes round in two milliseconds. A client that this machine did
            // not let send its second piece in that time is told so, and comes again as it is told.
            let may_be_crowded_out = pieces.len() > 1 && kinds.iter().any(|kind| kind.has_body());
            for _ in 0..2 {
                match &answer {
                    Ok((503, text))
                        if may_be_crowded_out && String::from_utf8_lossy(text).contains("\r\nRetry-After: 1\r\n") =>
                    {
                        crowded_out += 1;
                        thread::sleep(Duration::from_secs(1));
                        answer = exchange();
                    }
                    _ => break,
                }
            }
            match answer {
                Ok((200, _)) => {}
                Ok((code, answer)) => failures.push(format!("POST {name}: {code}, {}", answer.escape_ascii())),
                Err(error) => failures.push(format!("POST {name}: {error:?}")),
            }
        }
        thread::sleep(REST);
    }
    let opened = flood.end();
    wait_for_descriptors(&server, descriptors);
    let grown = memory_of(&server).saturating_sub(memory);
    println!(
        "{kinds:?}: {opened} opened; {times}; {crowded_out} posts came again; {} KiB more\n{}",
        grown >> 10,
        failures.join("\n")
    );
    assert_eq!(failures.len(), 0, "{kinds:?}:\n{}", failures.join("\n"));
    assert!(times.at(99) < BOUND, "{kinds:?}: {times}");
    assert!(opened > HELD, "{opened}");

    // All connections may have been used, and all slots: by a small status or half a body, and its tag and head, which
    // lie on pages of their own. One slot has had the large status. The rest is the buffer of a read, and the stack.
    let page = 4096;
    let connections = HELD * (size_of::<Connection>() + size_of::<Inbox>());
    let slots = SLOTS * (HALF_OF_A_BODY.next_multiple_of(page) + 2 * page) + if large { MIB } else { 0 };
    // What is stored is handed over to another thread, and kept there.
    let store = if arguments.is_empty() { 0 } else { MIB + 64 * page };
    let rest = (64 << 10) + 32 * page + store;
    assert!(grown <= connections + slots + rest, "{grown} bytes more, of them {connections} and {slots} foreseen");
    assert_all_body_buffers_are_free(&server);
    assert_all_places_are_free(&server, HELD, descriptors);
}

#[test]
fn a_flood_that_says_nothing_keeps_nobody_out() {
    assert_withstands(&[SaysNothing]);
}

#[test]
fn a_flood_that_trickles_keeps_nobody_out() {
    assert_withstands(&[Trickles]);
}

#[test]
fn a_flood_of_half_heads_keeps_nobody_out() {
    assert_withstands(&[HalfAHead]);
}

#[test]
fn a_flood_of_half_bodies_keeps_nobody_out() {
    assert_withstands(&[HalfABody, HalfAChunk]);
}

#[test]
fn a_flood_that_reads_nothing_keeps_nobody_out() {
    assert_withstands(&[ReadsNothing, ReadsNothingOfMany]);
}

const EVERYTHING: [Hostile; 7] =
    [SaysNothing, Trickles, HalfAHead, HalfABody, HalfAChunk, ReadsNothing, ReadsNothingOfMany];

#[test]
fn a_flood_of_everything_keeps_nobody_out() {
    assert_withstands(&EVERYTHING);
}

#[test]
fn a_flood_of_everything_keeps_nobody_out_where_statuses_are_stored() {
    let dir = TemporaryDir::new();
    assert_withstands_with(&EVERYTHING, &["--state-dir", &dir.path("state"), "--refresh-ms", "0"]);
}

// ---------------------------------------------------------------------------------------------------- fairness

/// A client that sends the same request again and again without waiting, and reads all the answers.
struct Greedy {
    stream: TcpStream,
    sending: JoinHandle<()>,
    reading: JoinHandle<u64>,
}

impl Greedy {
    fn begin(server: &Server, request: Vec<u8>) -> Greedy {
        let stream = TcpStream::connect(server.address()).expect("the server listens");
        let (mut input, mut output) = (stream.try_clone().unwrap(), stream.try_clone().unwrap());
        // Each ends when the stream is shut.
        let sending = thread::spawn(move || while output.write_all(&request).is_ok() {});
        let reading = thread::spawn(move || {
            let mut buffer = vec![0; 256 << 10];
            let mut total = 0;
            while let Ok(bytes @ 1..) = input.read(&mut buffer) {
                total += bytes as u64;
            }
            total
        });
        Greedy { stream, sending, reading }
    }

    /// Gives how many bytes it was answered.
    fn end(self) -> u64 {
        let _ = self.stream.shutdown(Shutdown::Both);
        self.sending.join().unwrap();
        self.reading.join().unwrap()
    }
}

/// That others are answered soon while so many clients send this request without end.
fn assert_fair(what: &str, greedy: usize, status: &[u8], request: Vec<u8>, bound: Duration) {
    let _alone = alone();
    let server = Server::start(&LARGE);
    let descriptors = server.descriptors();
    assert_eq!(server.post(status).code, 200);
    let etag = server.get("/status.json").field("ETag").expect("a status has a tag").to_owned();
    // Its answer is small even where the status is not.
    let get_status = format!("GET /status.json HTTP/1.1\r\nHost: test\r\nIf-None-Match: {etag}\r\n\r\n");
    let greedy: Vec<_> = (0..greedy).map(|_| Greedy::begin(&server, request.clone())).collect();
    let mut kept = server.connect();
    let mut times = Times(Vec::new());
    let begun = Instant::now();
    while begun.elapsed() < FAIR_TIME {
        for (request, code) in [(GET_HEALTH, 200), (get_status.as_bytes(), 304)] {
            let begun = Instant::now();
            kept.send(request);
            assert_eq!(kept.response().code, code);
            times.0.push(begun.elapsed());

            let begun = Instant::now();
            let mut fresh = server.connect();
            fresh.send(request);
            assert_eq!(fresh.response().code, code);
            times.0.push(begun.elapsed());
        }
    }
    let answered: Vec<u64> = greedy.into_iter().map(Greedy::end).collect();
    drop(kept);
    wait_for_descriptors(&server, descriptors);
    println!("{what}: {times}; greedy: {answered:?} bytes");
    assert!(answered.iter().all(|&bytes| bytes > 1000), "{what}: the greedy were kept out: {answered:?}");
    assert!(times.at(99) <= bound, "{what}: {times}");
}

/// How long others ask.
const FAIR_TIME: Duration = Duration::from_millis(800);
/// What others may wait.
const SOON: Duration = Duration::from_millis(10);
/// What they may wait behind somebody who posts large statuses. To judge 1 MiB takes a debug build many times as long.
const SOON_BEHIND_A_POST: Duration = if cfg!(debug_assertions) { Duration::from_millis(250) } else { SOON };

#[test]
fn a_client_that_reads_large_statuses_without_end_does_not_delay_others() {
    assert_fair("large GETs", 1, &status_of(MIB), GET_STATUS.repeat(64), SOON);
}

#[test]
fn a_client_that_asks_small_things_without_end_does_not_delay_others() {
    assert_fair("small GETs", 1, b"{}", GET_STATUS.repeat(64), SOON);
}

#[test]
fn a_client_that_posts_large_statuses_without_end_does_not_delay_others() {
    let status = status_of(MIB);
    assert_fair("a poster", 1, &status, post_request(&status), SOON_BEHIND_A_POST);
}

#[test]
fn clients_that_post_large_statuses_without_end_do_not_delay_others() {
    let status = status_of(MIB);
    assert_fair("posters", BODIES_MAX, &status, post_request(&status), SOON_BEHIND_A_POST);
}

/// That others are answered soon while statuses are stored in `parent` without end.
fn assert_storing_delays_nobody(what: &str, parent: impl Into<PathBuf>) {
    let _alone = alone();
    let dir = TemporaryDir::within(parent);
    let server = Server::start(&["--state-dir", &dir.path("state")]);
    let (post, ended) = (post_request(&status_of(200)), AtomicBool::new(false));
    let (mut probes, mut gets) = (Times(Vec::new()), Times(Vec::new()));
    let (begun, mut kept) = (Instant::now(), server.connect());
    let poster = || {
        let (mut client, mut posts) = (server.connect(), 0);
        while !ended.load(Ordering::Relaxed) {
            client.send(&post);
            assert_eq!(client.response().code, 200);
            posts += 1;
        }
        posts
    };
    let posts: Vec<u32> = thread::scope(|scope| {
        let posters: Vec<_> = (0..2 * BODIES_MAX).map(|_| scope.spawn(poster)).collect();
        while begun.elapsed() < 2 * FAIR_TIME {
            for (request, times) in [(GET_HEALTH, &mut probes), (GET_STATUS, &mut gets)] {
                let begun = Instant::now();
                kept.send(request);
                assert_eq!(kept.response().code, 200);
                times.0.push(begun.elapsed());
                thread::sleep(Duration::from_millis(1));
            }
        }
        ended.store(true, Ordering::Relaxed);
        posters.into_iter().map(|poster| poster.join().unwrap()).collect()
    });
    let per_second = f64::from(posts.iter().sum::<u32>()) / begun.elapsed().as_secs_f64();
    println!("{what}: {per_second:.0} posts a second; probes: {probes}; statuses: {gets}");
    assert!(posts.iter().all(|&posts| posts > 0), "{what}: posters were kept out: {posts:?}");
    assert!(probes.at(99) <= SOON && gets.at(99) <= SOON, "{what}: probes: {probes}; statuses: {gets}");
}

#[test]
fn statuses_that_are_stored_on_disk_without_end_do_not_delay_others() {
    assert_storing_delays_nobody("on disk", std::env::temp_dir());
}

#[test]
fn statuses_that_are_stored_in_memory_without_end_do_not_delay_others() {
    assert_storing_delays_nobody("in memory", "/dev/shm");
}

// ---------------------------------------------------------------------------------------------------- slow readers

/// How many statuses a slow reader asks for at once: more than the system takes from the server, which is at most 4 MiB
/// as Linux is set up, so that the server gets stuck within one of the answers until somebody reads.
const ASKED: usize = 8;

/// Of 1 MiB, and its number all through, so that a mixture of two would show.
fn version(number: usize) -> Vec<u8> {
    format!(r#"{{"n":"{}"}}"#, format!("{number:08}").repeat(MIB / 8 - 1)).into_bytes()
}

/// How the connection of a reader ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// All answers came.
    Whole,
    /// It was closed before all of an announced length had come.
    Cut,
}

/// A client that asks for many statuses, reads the beginning of the first, and stops.
struct SlowReader {
    stream: TcpStream,
    ahead: Vec<u8>,
}

impl SlowReader {
    fn begin(server: &Server) -> SlowReader {
        let socket = hostile_socket(server.address(), Some(32 << 10), SocketFlags::empty()).expect("it can connect");
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut reader = SlowReader { stream: socket, ahead: Vec::new() };
        reader.stream.write_all(&GET_STATUS.repeat(ASKED)).expect("the server reads");
        while reader.ahead.len() < 100_000 {
            assert!(reader.read_some() > 0, "it is closed before it is slow");
        }
        reader
    }

    fn read_some(&mut self) -> usize {
        let mut buffer = [0; 64 << 10];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(bytes) => {
                    self.ahead.extend_from_slice(&buffer[..bytes]);
                    return bytes;
                }
                // An end and a reset are both ways to be closed.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return 0,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Reads on to the end; gives the numbers of the versions that came, and how it ended.
    fn finish(mut self, posted: &[Vec<u8>]) -> (Vec<usize>, End) {
        let mut came = Vec::new();
        while came.len() < ASKED {
            let whole = self.ahead.windows(4).position(|window| window == b"\r\n\r\n").map(|end| end + 4);
            if let Some(begin) = whole.filter(|begin| self.ahead.len() >= begin + MIB) {
                let head = std::str::from_utf8(&self.ahead[..begin]).expect("a head is ASCII");
                assert!(
                    head.starts_with("HTTP/1.1 200 ") && head.contains("\r\nContent-Length: 1048576\r\n"),
                    "{head}"
                );
                let content = &self.ahead[begin..begin + MIB];
                let number = std::str::from_utf8(&content[6..14]).ok().and_then(|digits| digits.parse().ok());
                let number: usize = number.expect("a version has a number");
                assert!(content == posted[number], "version {number} is mixed with another one");
                came.push(number);
                self.ahead.drain(..begin + MIB);
            } else if self.read_some() == 0 {
                return (came, End::Cut);
            }
        }
        assert!(self.ahead.is_empty(), "more came");
        (came, End::Whole)
    }
}

#[test]
fn readers_that_stall_delay_no_post_and_get_whole_statuses_or_are_cut_off() {
    const CROWD: usize = 64;
    const CONNECTIONS: usize = 128;
    const POSTS: usize = 20;
    /// How many readers each version has in the second part.
    const READERS: usize = 4;
    // A debug build needs a tenth of that to judge 1 MiB.
    const BOUND: Duration = Duration::from_millis(500);

    let _alone = alone();
    let server = Server::start(&[&LARGE[..], &["--max-connections", &CONNECTIONS.to_string()]].concat());
    let (descriptors, memory) = (server.descriptors(), memory_of(&server));
    let posted: Vec<_> = (0..1 + POSTS + PAST_MAX + 1).map(version).collect();
    let mut times = Times(Vec::new());
    let mut post = |number: usize| {
        let begun = Instant::now();
        assert_eq!(server.post(&posted[number]).code, 200);
        times.0.push(begun.elapsed());
        assert!(server.get("/status.json").content == posted[number], "the newest is not {number}");
    };
    // Until nothing more moves.
    let settle = || {
        thread::sleep(Duration::from_millis(50));
        assert_eq!(server.get("/health").code, 200);
    };

    // All of them read the same status: it is the only past one, however many come behind it.
    post(0);
    let readers: Vec<_> = (0..CROWD).map(|_| SlowReader::begin(&server)).collect();
    settle();
    (1..=POSTS).for_each(&mut post);
    wait_for_descriptors(&server, descriptors + CROWD);
    for (index, reader) in readers.into_iter().enumerate() {
        let (came, end) = reader.finish(&posted);
        assert_eq!((came.len(), end), (ASKED, End::Whole), "reader {index}");
        // Stuck within an answer when the posts came, it got that one whole and the newest behind it.
        let old = came.iter().take_while(|&&number| number == 0).count();
        assert!((1..ASKED).contains(&old) && came[old..].iter().all(|&number| number == POSTS), "{index}: {came:?}");
    }

    // Readers of the current status and of as many past ones as may stay, and then one more.
    let mut readers = Vec::new();
    for number in POSTS..=POSTS + PAST_MAX {
        if number > POSTS {
            post(number);
        }
        readers.extend((0..READERS).map(|_| (number, SlowReader::begin(&server))));
        settle();
        wait_for_descriptors(&server, descriptors + readers.len());
    }
    let newest = POSTS + PAST_MAX + 1;
    post(newest);
    wait_for_descriptors(&server, descriptors + readers.len() - READERS);
    let grown = memory_of(&server) - memory;
    for (number, reader) in readers {
        let (came, end) = reader.finish(&posted);
        if number == POSTS {
            // What was on its way already may still come.
            assert!(came.len() < ASKED && came.iter().all(|&came| came == number), "{number}: {came:?}");
            assert_eq!(end, End::Cut, "a reader of {number}");
        } else {
            let old = came.iter().take_while(|&&came| came == number).count();
            assert!((1..ASKED).contains(&old) && came[old..].iter().all(|&came| came == newest), "{number}: {came:?}");
            assert_eq!((came.len(), end), (ASKED, End::Whole), "a reader of {number}");
        }
    }
    wait_for_descriptors(&server, descriptors);
    println!("posts: {times}; {} KiB more", grown >> 10);
    assert!(times.at(100) < BOUND, "{times}");
    // One slot for a body on its way in, one for the current status, one for each past one, and for a moment one more of
    // these. The rest is what lies around the statuses, the buffer of a read, and the stack.
    let slots = (1 + 1 + PAST_MAX + 1).min(SLOTS) * (MIB + 8192);
    let connections = CONNECTIONS * (size_of::<Connection>() + size_of::<Inbox>());
    let rest = (64 << 10) + (128 << 10);
    assert!(grown <= slots + connections + rest, "{grown} bytes more, of them {slots} and {connections} foreseen");
    assert_all_body_buffers_are_free(&server);
}

// ---------------------------------------------------------------------------------------------------- deadlines

/// A time-out of a second, as a client sees it.
#[track_caller]
fn assert_a_second(what: &str, since: Instant) {
    let time = since.elapsed();
    assert!((950..2000).contains(&time.as_millis()), "{what}: {time:?}");
}

/// Sends a byte every now and then until the server has closed or answered; gives the code of the answer, if any.
fn trickle(server: &Server, opening: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(server.address()).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    stream.write_all(opening).unwrap();
    let begun = Instant::now();
    let mut answer = [0; 12];
    loop {
        assert!(begun.elapsed() < PATIENCE, "it goes on for ever");
        match stream.read(&mut answer) {
            Ok(0) => return None,
            Ok(_) => return std::str::from_utf8(&answer[9..]).ok()?.parse().ok(),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => panic!("{error}"),
        }
        let _ = stream.write_all(b"1");
    }
}

#[test]
fn who_trickles_has_no_more_time_than_who_stops() {
    let server = Server::start(&["--head-timeout", "1", "--body-timeout", "1"]);
    let half_a_body = [post_head("Content-Length: 1000\r\n"), b"{".to_vec()].concat();
    let half_a_chunk = [post_head("Transfer-Encoding: chunked\r\n"), b"3e8\r\n{".to_vec()].concat();
    let half_a_size = [post_head("Transfer-Encoding: chunked\r\n"), b"1;".to_vec()].concat();
    thread::scope(|scope| {
        for opening in [&b"GET /"[..], &half_a_body, &half_a_chunk, &half_a_size] {
            let server = &server;
            scope.spawn(move || {
                let begun = Instant::now();
                assert_eq!(trickle(server, opening), Some(408));
                assert_a_second(&opening.escape_ascii().to_string(), begun);
            });
        }
    });
}

#[test]
fn a_kept_connection_is_idle_from_its_last_answer_on() {
    let server = Server::start(&["--idle-timeout", "1", "--head-timeout", "2"]);
    let mut kept = server.connect();
    for _ in 0..3 {
        // Each begins before the idle time is over, and takes its time.
        kept.send(&GET_HEALTH[..10]);
        thread::sleep(Duration::from_millis(400));
        kept.send(&GET_HEALTH[10..]);
        assert_eq!(kept.response().code, 200);
        thread::sleep(Duration::from_millis(300));
    }
    kept.send(GET_HEALTH);
    assert_eq!(kept.response().code, 200);
    let answered = Instant::now();
    assert!(kept.is_ended());
    assert_a_second("kept", answered);
}

#[test]
fn who_reads_slowly_is_served_for_as_long_as_there_is_progress() {
    let server = Server::start(&[&LARGE[..], &["--write-timeout", "1"]].concat());
    let descriptors = server.descriptors();
    assert_eq!(server.post(&status_of(MIB)).code, 200);
    let mut stream = hostile_socket(server.address(), Some(32 << 10), SocketFlags::empty()).expect("it can connect");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&GET_STATUS.repeat(32)).expect("the server reads");
    // One answer takes longer than the time-out.
    let mut piece = vec![0; MIB / 4];
    let begun = Instant::now();
    let mut read = Instant::now();
    while begun.elapsed() < Duration::from_millis(2500) {
        stream.read_exact(&mut piece).expect("there is progress");
        read = Instant::now();
        thread::sleep(Duration::from_millis(300));
    }
    assert_eq!(server.descriptors(), descriptors + 1);
    // To read more is to make progress, so it is seen from the side that the server closes it.
    wait_for_descriptors(&server, descriptors);
    assert_a_second("no progress", read);
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.len() < 8 * MIB, "all was sent");
}

// ---------------------------------------------------------------------------------------------------- broken clients

#[test]
fn clients_that_break_off_anywhere_leave_nothing_behind() {
    const CLIENTS: usize = 500;
    const AT_ONCE: usize = 24;

    let _alone = alone();
    // A client that goes while it takes nothing more may leave no trace of that: then this time-out ends its connection.
    let server = Server::start(&["--max-connections", "32", "--write-timeout", "5"]);
    let descriptors = server.descriptors();
    let requests = [
        GET_HEALTH.to_vec(),
        GET_STATUS.repeat(20),
        post_request(br#"{"repo":"a"}"#),
        post_request(&status_of(60_000)),
        post_request(b"{"),
        [post_head("Expect: 100-continue\r\nContent-Length: 2\r\n"), b"{}".to_vec()].concat(),
        [post_head("Transfer-Encoding: chunked\r\n"), b"2\r\n{}\r\n0\r\n\r\n".to_vec()].concat(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ];
    let mut random = Random(1);
    let mut open: Vec<(TcpStream, Vec<u8>)> = Vec::new();
    let mut begun = 0;
    while begun < CLIENTS || !open.is_empty() {
        if begun < CLIENTS && (open.is_empty() || open.len() < AT_ONCE && random.below(2) == 0) {
            let stream = TcpStream::connect(server.address()).expect("the server listens");
            stream.set_nonblocking(true).unwrap();
            let requests: Vec<_> = (0..1 + random.below(3)).map(|_| &requests[random.below(8)][..]).collect();
            open.push((stream, requests.concat()));
            begun += 1;
            continue;
        }
        let at = random.below(open.len());
        let (stream, rest) = &mut open[at];
        // What fails here does because the server has closed already.
        match random.below(10) {
            0 => {
                sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
                open.swap_remove(at);
            }
            1 => drop(open.swap_remove(at)),
            2 => drop(stream.shutdown(Shutdown::Write)),
            3 => drop(stream.shutdown(Shutdown::Read)),
            4 | 5 => drop(stream.read(&mut [0; 1000])),
            6 => drop(stream.read(&mut [0; 100_000])),
            _ => {
                let most = [1, 100, 70_000][random.below(3)];
                let piece = rest[..rest.len().min(random.below(most) + 1)].to_vec();
                if let Ok(bytes) = stream.write(&piece) {
                    rest.drain(..bytes);
                }
            }
        }
    }
    wait_for_descriptors(&server, descriptors);
    assert_eq!(server.get("/status.json").code, 200);
    assert_all_body_buffers_are_free(&server);
    assert_eq!(server.get("/status.json").text(), "{}");
    assert_all_places_are_free(&server, 32, descriptors);
}

// ---------------------------------------------------------------------------------------------------- one by one

#[test]
fn a_request_that_was_there_before_the_crowd_is_answered() {
    let server = Server::start(&["--max-connections", "8"]);
    let mut client = server.begin(b"");
    // Until the server waits again.
    thread::sleep(Duration::from_millis(20));
    // When the server goes on it hears of the request and of the crowd at once.
    server.signal(Signal::STOP);
    client.send(GET_HEALTH);
    let crowd: Vec<_> = (0..20).map(|_| server.connect()).collect();
    server.signal(Signal::CONT);
    assert_eq!(client.response().code, 200);
    drop(crowd);
}

#[test]
fn among_readers_who_are_stuck_a_newcomer_has_time_to_ask() {
    let server = Server::start(&[&LARGE[..], &["--max-connections", "8"]].concat());
    assert_eq!(server.post(&status_of(MIB)).code, 200);
    let stuck: Vec<_> = (0..8).map(|_| SlowReader::begin(&server)).collect();
    let mut client = server.connect();
    thread::sleep(Duration::from_millis(10));
    let _behind = server.connect();
    thread::sleep(Duration::from_millis(10));
    client.send(GET_HEALTH);
    assert_eq!(client.response().code, 200);
    drop(stuck);
}

#[test]
fn a_reader_that_makes_room_leaves_nothing_with_the_system() {
    let server = Server::start(&[&LARGE[..], &["--max-connections", "8"]].concat());
    assert_eq!(server.post(&status_of(MIB)).code, 200);
    let stuck: Vec<_> = (0..8).map(|_| SlowReader::begin(&server)).collect();
    let crowd: Vec<_> = (0..20).map(|_| server.begin(GET_HEALTH)).collect();
    // An orderly end would stand behind megabytes that the system keeps for somebody who never takes them.
    let reset = stuck.iter().filter(|reader| reader.stream.take_error().unwrap().is_some()).count();
    assert!(reset >= 1, "nobody was reset");
    drop(crowd);
}

/// How many bytes the system holds that the server has sent and nobody has taken.
fn held_by_the_system(server: &Server) -> u64 {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the system lists its sockets");
    let local = format!(":{:04X}", server.address().port());
    let held = table.lines().skip(1).filter_map(|line| {
        let mut columns = line.split_whitespace();
        let of_server = columns.nth(1)?.ends_with(&local);
        let (sent, _) = columns.nth(2)?.split_once(':')?;
        of_server.then(|| u64::from_str_radix(sent, 16).expect("a number"))
    });
    held.sum()
}

#[test]
fn readers_who_take_nothing_leave_little_with_the_system() {
    const READERS: usize = 128;
    let server = Server::start(&["--max-connections", &READERS.to_string()]);
    let descriptors = server.descriptors();
    assert_eq!(server.post(&status_of(64 << 10)).code, 200);
    let stuck: Vec<_> = (0..READERS)
        .map(|_| {
            let mut stream = hostile_socket(server.address(), Some(1), SocketFlags::empty()).expect("it can connect");
            stream.write_all(GET_STATUS).unwrap();
            stream
        })
        .collect();
    wait_for_descriptors(&server, descriptors + READERS);
    // Until all are answered, as far as they take it.
    thread::sleep(Duration::from_millis(100));
    let held = held_by_the_system(&server);
    println!("{} KiB are held for {READERS} readers of 64 KiB who take nothing", held >> 10);
    // In small pieces, as here, the system counts two to three bytes for each.
    assert!((1..=READERS as u64 * 16384).contains(&held), "{held} bytes");
    drop(stuck);
}

#[test]
fn posts_that_are_here_whole_are_all_taken_and_cost_nobody_a_place() {
    let server = Server::start(&[]);
    let mut begun: Vec<Client> = (0..BODIES_MAX).map(|_| server.begin(&post_head("Content-Length: 2\r\n"))).collect();
    let post = post_request(&status_of(40_000));
    // When the server goes on it hears of all of them at once.
    server.signal(Signal::STOP);
    let mut crowd: Vec<Client> = (0..3 * BODIES_MAX).map(|_| server.connect()).collect();
    for client in &mut crowd {
        client.send(&post);
    }
    server.signal(Signal::CONT);
    for client in &mut crowd {
        assert_eq!(client.response().code, 200);
    }
    for client in &mut begun {
        client.send(b"{}");
        assert_eq!(client.response().code, 200);
    }
}

#[test]
fn who_has_just_begun_to_post_is_not_refused_for_others_who_have_more() {
    let server = Server::start(&[]);
    let half = [post_head("Content-Length: 60000\r\n"), status_of(60_000)[..30_000].to_vec()].concat();
    let hostile: Vec<_> = (0..BODIES_MAX).map(|_| server.begin(&half)).collect();
    let mut client = server.begin(&post_head("Content-Length: 2\r\n"));
    client.send(b"{}");
    assert_eq!(client.response().code, 200);
    drop(hostile);
}
