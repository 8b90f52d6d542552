//! From start to end: what keeps a server from starting, what it says, and how signals, clients and the system end it
//! or do not.

mod common;

use common::{Client, Finished, HALF_A_POST, MORE_THAN_BUFFERS_HOLD, PROGRAM, Server, Signal, TemporaryDir};
use common::{finish, own_address, post_request, program, started_by, status_of};
use rustix::process::{Pid, Resource, Rlimit, kill_process, prlimit};
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const AT_ONCE: Duration = Duration::from_secs(1);

const HALF_A_HEAD: &[u8] = b"GET /health HTTP/1.1\r\nHost: te";

/// A server on an address that nobody else will listen on when it is free again.
fn start(arguments: &[&str]) -> Server {
    Server::start_with(program().args(["--listen", &own_address().to_string()]).args(arguments))
}

/// A server with a status of 1 MiB.
fn start_with_large_status(arguments: &[&str]) -> Server {
    let dir = TemporaryDir::new();
    let seed = dir.file("seed.json", &status_of(1 << 20));
    start(&[&["--max-bytes", "1048576", "--seed-file", &seed][..], arguments].concat())
}

fn assert_nobody_listens(server: &Server) {
    let refused = TcpStream::connect(server.address()).expect_err("nobody listens any more");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn sigterm_and_sigint_end_an_idle_server_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let server = start(&[]);
        let mut kept = server.begin(b"GET /ready HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(kept.response().code, 200);
        let mut fresh = server.begin(b"");
        let begun = Instant::now();
        server.signal(signal);
        assert!(kept.is_ended());
        assert!(fresh.is_ended());
        let (address, (status, log)) = (server.address(), server.wait());
        assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.ends_with(" info stopped\n"), "{log}");
        assert!(TcpStream::connect(address).is_err());
    }
}

#[test]
fn requests_in_flight_are_finished_after_sigterm() {
    let server = start(&[]);
    let ok = r#"{"status":"ok"}"#;
    let accepted = r#"{"success":true,"message":"Status updated successfully","status":{}}"#;
    let chunked = b"POST /api/status HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
        Transfer-Encoding: chunked\r\n\r\n1\r\n{";
    let expecting = b"POST /api/status HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
        Content-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    let (post_head, post_rest) = HALF_A_POST.split_at(20);
    let in_flight: [(&[u8], &[u8], u16, &str); 7] = [
        (HALF_A_HEAD, b"st\r\n\r\n", 200, ok),
        (b"G", b"ET /health HTTP/1.1\r\nHost: test\r\n\r\n", 200, ok),
        (b"GET /ready HTTP/1.1\r\nHost: test\r\n", b"\r\n", 503, r#"{"success":false,"message":"Shutting down"}"#),
        (post_head, &[post_rest, b"}"].concat(), 200, accepted),
        (HALF_A_POST, b"}", 200, accepted),
        (chunked, b"\r\n1\r\n}\r\n0\r\n\r\n", 200, accepted),
        (expecting, b"{}", 200, accepted),
    ];
    let mut clients = in_flight.map(|(first, ..)| server.begin(first));
    assert_eq!(clients[6].response().code, 100);

    server.signal(Signal::TERM);
    server.wait_for_log("stopping");
    assert_nobody_listens(&server);
    for ((first, rest, code, content), client) in in_flight.iter().zip(&mut clients) {
        client.send(rest);
        let response = client.response();
        assert_eq!((response.code, response.text()), (*code, *content), "{}", first.escape_ascii());
        assert_eq!(response.field("Connection"), Some("close"), "{}", first.escape_ascii());
        assert!(client.is_ended(), "{}", first.escape_ascii());
    }
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(log.matches("accepted status").count(), 4, "{log}");
    assert!(log.ends_with(" info stopped\n"), "{log}");
}

#[test]
fn requests_that_were_sent_before_sigterm_are_answered_although_nobody_has_looked_at_them() {
    let server = start(&[]);
    server.signal(Signal::STOP);
    let mut clients: Vec<_> = (0..120).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(b"GET /status.json HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    server.signal(Signal::TERM);
    server.signal(Signal::CONT);
    for client in &mut clients {
        // Whether it says that it is the last one depends on what the server meets first, the request or the signal.
        assert_eq!(client.response().code, 200);
        assert!(client.is_ended());
    }
    assert_eq!(server.wait().0.code(), Some(0));
}

#[test]
fn a_slow_reader_gets_all_of_its_response_after_sigterm() {
    let server = start_with_large_status(&[]);
    let mut client = server.begin(&MORE_THAN_BUFFERS_HOLD.concat());
    server.signal(Signal::TERM);
    server.wait_for_log("stopping");
    let mut answered = 0;
    loop {
        thread::sleep(Duration::from_millis(20));
        let response = client.response();
        assert!(response.content == status_of(1 << 20));
        answered += 1;
        if response.field("Connection") == Some("close") {
            break;
        }
    }
    assert!(client.is_ended());
    drop(client);
    assert!(answered < MORE_THAN_BUFFERS_HOLD.len(), "all was sent before the signal");
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.ends_with(" info stopped\n"), "{log}");
}

#[test]
fn what_is_not_finished_in_the_grace_time_is_cut_off() {
    let server = start_with_large_status(&["--shutdown-grace", "1"]);
    let in_flight = [HALF_A_HEAD, HALF_A_POST, &MORE_THAN_BUFFERS_HOLD.concat()];
    let clients = in_flight.map(|bytes| server.begin(bytes));
    let begun = Instant::now();
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    assert!((990..2000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    assert_eq!(status.code(), Some(0), "{log}");
    let end = log.lines().last().unwrap();
    assert!(end.contains("grace time") && end.contains(" 3 connections"), "{log}");
    for client in clients {
        let mut rest = Vec::new();
        let _ = client.stream().read_to_end(&mut rest);
        assert!(rest.len() < MORE_THAN_BUFFERS_HOLD.len() << 20);
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    const PAIRS: [[Signal; 2]; 4] = [
        [Signal::TERM, Signal::TERM],
        [Signal::TERM, Signal::INT],
        [Signal::INT, Signal::TERM],
        [Signal::INT, Signal::INT],
    ];
    for signals in PAIRS {
        let server = start(&["--shutdown-grace", "300", "--head-timeout", "3600"]);
        let _in_flight = server.begin(HALF_A_HEAD);
        server.signal(signals[0]);
        server.wait_for_log("stopping");
        let begun = Instant::now();
        server.signal(signals[1]);
        let (status, log) = server.wait();
        assert!(begun.elapsed() < AT_ONCE, "{signals:?}: {:?}", begun.elapsed());
        assert_eq!(status.code(), Some(1), "{signals:?}: {log}");
    }
    // Both before it has looked at either.
    let server = start(&["--shutdown-grace", "300", "--head-timeout", "3600"]);
    let _in_flight = server.begin(HALF_A_HEAD);
    server.signal(Signal::TERM);
    server.signal(Signal::INT);
    assert_eq!(server.wait().0.code(), Some(1));
}

#[test]
fn other_signals_do_not_end_it() {
    let server = start(&[]);
    let mut kept = server.begin(b"");
    for _ in 0..3 {
        for signal in [Signal::HUP, Signal::PIPE] {
            server.signal(signal);
            assert_eq!(server.post(b"{}").code, 200);
        }
    }
    kept.send(b"GET /ready HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(kept.response().code, 200);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().0.code(), Some(0));
}

/// A command that runs the program as PID 1: nothing happens to that process by a signal that it does not handle.
fn as_pid_1() -> Command {
    let ways = [&["--pid", "--fork"][..], &["--user", "--map-root-user", "--pid", "--fork"]];
    let possible = |way: &&&[&str]| {
        let tried = Command::new("unshare").args(**way).arg("true").output();
        tried.is_ok_and(|output| output.status.success())
    };
    let way = ways.iter().find(possible).expect("this test needs unshare, and to be root or allowed a user namespace");
    let mut command = started_by("unshare");
    command.args(*way).args(["--kill-child", &PROGRAM, "--listen", "127.0.0.1:0"]);
    command
}

#[test]
fn as_pid_1_it_heeds_signals_too() {
    let cases = [
        (&[Signal::TERM][..], &b""[..], &b""[..], 0),
        (&[Signal::INT], b"", b"", 0),
        (&[Signal::HUP, Signal::PIPE, Signal::TERM], b"", b"", 0),
        (&[Signal::TERM], HALF_A_HEAD, b"st\r\n\r\n", 0),
        (&[Signal::TERM, Signal::TERM], HALF_A_HEAD, b"", 1),
    ];
    for (signals, first, rest, code) in cases {
        let server = Server::start_with(as_pid_1().args(["--shutdown-grace", "300", "--head-timeout", "3600"]));
        let unshare = server.pid();
        let children = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).unwrap();
        let pid = children.trim().parse().expect("unshare has one child");
        let state = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let inner = state.lines().find(|line| line.starts_with("NSpid:")).unwrap();
        assert!(inner.ends_with("\t1"), "{inner}");

        let mut client = server.begin(first);
        for (index, &signal) in signals.iter().enumerate() {
            if index > 0 && signals[index - 1] == Signal::TERM {
                server.wait_for_log("stopping");
            }
            kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
        }
        if !rest.is_empty() {
            server.wait_for_log("stopping");
            client.send(rest);
            assert_eq!(client.response().code, 200);
        }
        let (status, log) = server.wait();
        assert_eq!(status.code(), Some(code), "{signals:?}: {log}");
    }
}

/// That the program could not start, and said so in one line that has all of `parts`.
#[track_caller]
fn assert_fails(arguments: &[&str], parts: &[&str]) {
    let Finished { code, stdout, stderr } = finish(program().args(["--log", "error"]).args(arguments));
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{arguments:?}: {stderr}");
    let line = stderr.strip_suffix('\n').expect("a line");
    assert!(!line.chars().any(char::is_control), "{arguments:?}: not one line: {stderr:?}");
    for part in parts {
        assert!(line.contains(part), "{arguments:?}: no {part:?} in {stderr}");
    }

    let Finished { code, stderr, .. } = finish(program().args(arguments));
    assert_eq!(code, Some(1), "{arguments:?}: {stderr}");
    assert!(stderr.ends_with(&format!("{line}\n")), "{arguments:?}: {stderr}");
    assert!(!stderr.contains("listening on"), "{arguments:?}: {stderr}");
}

#[test]
fn an_address_that_cannot_be_had_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().map(|address| (taken, address.to_string())).unwrap();
    assert_fails(&["--listen", &taken.1], &["listen", &taken.1, "in use"]);
    // An address for documentation (RFC 5737), which is nobody's.
    assert_fails(&["--listen", "203.0.113.1:0"], &["listen", "203.0.113.1:0"]);
}

#[test]
fn a_seed_that_cannot_be_read_is_named() {
    let dir = TemporaryDir::new();
    let fifo = dir.path("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let file = dir.file("file", b"{}");
    for (path, reason) in [
        (dir.path("missing"), "No such file"),
        (dir.path(""), "not a regular file"),
        (fifo, "not a regular file"),
        ("/dev/zero".to_owned(), "not a regular file"),
        (format!("{file}/below"), "Not a directory"),
        // A regular file that nobody can read from its beginning, not even root.
        ("/proc/self/mem".to_owned(), "os error 5"),
    ] {
        assert_fails(&["--listen", "127.0.0.1:0", "--seed-file", &path], &[&path, reason]);
    }
}

#[test]
fn a_seed_that_is_no_status_is_named_with_what_is_wrong() {
    let dir = TemporaryDir::new();
    let huge = dir.path("huge.json");
    fs::File::create(&huge).unwrap().set_len(10 << 20).unwrap();
    let seed = |name: &str, content: &[u8]| dir.file(name, content);
    for (path, max_bytes, parts) in [
        (seed("a", b""), "65536", ["empty", "object"]),
        (seed("b", b"{\"a\":tru}"), "65536", ["Invalid JSON", "at byte 8"]),
        (seed("c", b"{\"a\":"), "65536", ["Invalid JSON", "at byte 5"]),
        (seed("d", b"{\"a\":\"\xff\"}"), "65536", ["Invalid JSON", "at byte 6"]),
        (seed("e", b"\xef\xbb\xbf{}"), "65536", ["Invalid JSON", "at byte 0"]),
        (seed("f", b"{} {}"), "65536", ["Invalid JSON", "at byte 3"]),
        (seed("g", b"[]"), "65536", ["must be", "object"]),
        (seed("h", b"{\"drift_count\":\"1\"}"), "65536", ["drift_count", "integer"]),
        (seed("i", b"{\"repo\":1}"), "65536", ["repo", "string"]),
        (seed("j", b"{\"repo\":\"a\",\"repo\":\"a\"}"), "65536", ["repo", "twice"]),
        (seed("k", b"{\"files\":[1]}"), "65536", ["files", "item 0"]),
        (seed("l", &status_of(65_537)), "65536", ["65537", "65536"]),
        (seed("m", &status_of(1_048_577)), "1048576", ["1048577", "1048576"]),
        (seed("n", b"{ }"), "2", ["is 3 bytes", "limit is 2"]),
        (huge, "65536", ["10485760", "65536"]),
    ] {
        let arguments = ["--listen", "127.0.0.1:0", "--max-bytes", max_bytes, "--seed-file", &path];
        assert_fails(&arguments, &[&path, parts[0], parts[1]]);
    }
}

#[test]
fn the_name_of_a_seed_cannot_forge_a_line() {
    let dir = TemporaryDir::new();
    let name = "a\n2026-01-01T00:00:00Z info forged\u{1b}[2J\u{7f}\u{202e}";
    assert_fails(&["--listen", "127.0.0.1:0", "--seed-file", &dir.path(name)], &["forged"]);
    for format in ["text", "json"] {
        let server = start(&["--log-format", format, "--seed-file", &dir.file(name, b"{}")]);
        assert_harmless(&server.log(), format);
    }
}

#[test]
fn a_seed_is_served_as_it_is_and_has_the_tag_of_the_same_status_posted() {
    let dir = TemporaryDir::new();
    let odd = " \t\r\n{\"repo\" : \"\\u0061\u{e4}\u{1f600}\",\n \"x\":1e400, \"x\":[]}\n\n";
    // What Kubernetes mounts of a ConfigMap are links.
    let link = dir.path("link.json");
    std::os::unix::fs::symlink(dir.file("odd.json", odd.as_bytes()), &link).unwrap();
    for (path, content) in [
        (link, odd.as_bytes().to_vec()),
        (dir.file("small.json", b"{}"), b"{}".to_vec()),
        (dir.file("largest.json", &status_of(65_536)), status_of(65_536)),
    ] {
        let seeded = start(&["--seed-file", &path]);
        assert!(seeded.log().contains(&path));
        let first = seeded.get("/status.json");
        assert!(first.code == 200 && first.content == content, "{path}");

        let posted = start(&[]);
        assert_eq!(posted.post(&content).code, 200);
        let etag = first.field("ETag").expect("there is an entity tag");
        assert_eq!(posted.get("/status.json").field("ETag"), Some(etag), "{path}");
    }
}

#[test]
fn closed_standard_streams_do_not_matter() {
    for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
        let address = own_address();
        let script = format!("exec \"$0\" --listen {address} --log access {closed}");
        let mut command = started_by("sh");
        let server = Server::start_at(command.args(["-c", &script, &PROGRAM]).stderr(Stdio::piped()), address);
        // Were a connection descriptor 2, it would get the log.
        let mut clients: Vec<_> = (0..4).map(|_| server.begin(b"")).collect();
        for client in &mut clients {
            client.send(&post_request(b"{\"repo\":\"a\"}"));
            assert_eq!(client.response().code, 200, "{closed}");
            client.send(b"GET /status.json HTTP/1.1\r\nHost: test\r\n\r\n");
            assert_eq!(client.response().text(), "{\"repo\":\"a\"}", "{closed}");
        }
        server.signal(Signal::TERM);
        assert!(clients.iter_mut().all(Client::is_ended), "{closed}");
        assert_eq!(server.wait().0.code(), Some(0), "{closed}");
    }
}

#[test]
fn a_log_that_nobody_reads_any_more_does_not_matter() {
    let address = own_address();
    let (reader, writer) = io::pipe().unwrap();
    let mut command = program();
    let command = command.args(["--listen", &address.to_string(), "--log", "access"]).stderr(writer);
    let server = Server::start_at(command, address);
    drop(reader);
    for _ in 0..3 {
        assert_eq!(server.post(b"{}").code, 200);
        assert_eq!(server.post(b"").code, 400);
        assert_eq!(server.get("/status.json").text(), "{}");
    }
    server.signal(Signal::TERM);
    assert_eq!(server.wait().0.code(), Some(0));
}

#[test]
fn clients_that_reset_in_the_middle_of_a_response_do_not_matter() {
    let server = start_with_large_status(&[]);
    let before = server.descriptors();
    for _ in 0..5 {
        let client = server.begin(&MORE_THAN_BUFFERS_HOLD.concat());
        client.stream().read_exact(&mut [0; 1000]).unwrap();
        // Closed with bytes unread, it is reset.
        drop(client);
        assert_eq!(server.get("/health").code, 200);
    }
    let begun = Instant::now();
    while server.descriptors() > before {
        assert!(begun.elapsed() < common::PATIENCE, "not all of them are closed");
        thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(server.post(b"{}").code, 200);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().0.code(), Some(0));
}

/// The program, allowed so many descriptors.
fn with_descriptors(limit: u32, arguments: &[&str]) -> Command {
    let mut command = started_by("sh");
    command.args(["-c", &format!("ulimit -n {limit} && exec \"$0\" \"$@\""), &PROGRAM]).args(arguments);
    command
}

#[test]
fn a_byte_that_is_written_never_makes_a_huge_page_resident() {
    let server = start(&[]);
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let enabled = status.lines().find_map(|line| line.strip_prefix("THP_enabled:")).expect("Linux 5.0 or newer");
    assert_eq!(enabled.trim(), "0");
}

/// The processor time that the server has used, see proc_pid_stat(5).
fn processor_time(server: &Server) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// That so many connections that say nothing, or not all, keep nobody out and the server does not spin.
fn assert_withstands(server: &Server, connections: usize) {
    let held: Vec<_> = (0..connections)
        .map(|index| {
            let mut client = server.connect();
            client.send([b"", HALF_A_HEAD][index % 2]);
            client
        })
        .collect();
    // The server counts in milliseconds, and who has just come is spared.
    thread::sleep(Duration::from_millis(10));
    assert_eq!(server.get("/health").code, 200);
    let before = processor_time(server);
    thread::sleep(Duration::from_secs(1));
    let used = processor_time(server) - before;
    assert!(used < Duration::from_millis(200), "it used {used:?} of a second");
    for _ in 0..3 {
        assert_eq!(server.get("/health").code, 200);
    }
    drop(held);
}

#[test]
fn few_descriptors_make_few_connections_and_keep_nobody_out() {
    let mut command = with_descriptors(20, &["--listen", "127.0.0.1:0", "--max-connections", "128"]);
    let server = Server::start_with(&mut command);
    let log = server.log();
    let line = log.lines().find(|line| line.contains("RLIMIT_NOFILE is 20")).expect("it says what bounds it");
    let count = line.split("at most ").nth(1).and_then(|rest| rest.split(' ').next()).expect(line);
    assert!((1..20).contains(&count.parse().expect(line)) && line.contains("instead of 128"), "{line}");
    assert!(log.contains(&format!("at most {count} connections\n")), "{log}");
    assert_withstands(&server, 40);
}

#[test]
fn descriptors_that_run_out_later_keep_nobody_out() {
    let server = start(&[]);
    let limit = Some(server.descriptors() as u64 + 3);
    let pid = Pid::from_raw(server.pid() as i32);
    prlimit(pid, Resource::Nofile, Rlimit { current: limit, maximum: limit }).unwrap();
    assert_withstands(&server, 12);
    server.wait_for_log("cannot accept connections");
}

#[test]
fn too_few_descriptors_for_any_connection_end_it() {
    let Finished { code, stdout, stderr } = finish(&mut with_descriptors(10, &["--listen", "127.0.0.1:0"]));
    assert_eq!((code, stdout.as_str(), stderr.lines().count()), (Some(1), "", 1), "{stderr}");
    assert!(stderr.contains("RLIMIT_NOFILE is 10"), "{stderr}");
}

/// The members of a line of the log.
type Line = serde_json::Map<String, serde_json::Value>;

/// Takes a log apart, which has no byte that could deceive: every line is one event.
fn assert_harmless(log: &str, format: &str) -> Vec<Line> {
    let turns =
        |it| matches!(it, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let deceives = |it: char| it.is_control() || turns(it);
    let lines = log.strip_suffix('\n').expect("the last line is whole").split('\n').map(|line| {
        assert!(!line.contains(deceives), "{line:?}");
        if format == "json" {
            return serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        }
        let mut words = line.splitn(3, ' ');
        let mut word = || words.next().unwrap_or_else(|| panic!("too few words: {line:?}")).into();
        Line::from_iter([("time", word()), ("level", word()), ("message", word())].map(|(k, v)| (k.to_owned(), v)))
    });
    let lines: Vec<_> = lines.collect();
    for line in &lines {
        let shape = |byte: u8| if byte.is_ascii_digit() { b'0' } else { byte };
        assert!(line["time"].as_str().unwrap().bytes().map(shape).eq(*b"0000-00-00T00:00:00Z"), "{line:?}");
        assert!(["error", "info", "access"].contains(&line["level"].as_str().unwrap()), "{line:?}");
    }
    lines
}

#[test]
fn the_log_tells_of_start_posts_and_end() {
    let server = start(&["--max-bytes", "5000", "--max-connections", "77"]);
    let address = server.address();
    let mut client = server.connect();
    let peer = client.stream().local_addr().unwrap();
    client.send(&post_request(br#"{"sync_status":"SYNCED"}"#));
    assert_eq!(client.response().code, 200);
    client.send(&post_request(br#"{"drift_count":-1}"#));
    let reason = client.response().message();
    server.signal(Signal::TERM);
    let (_, log) = server.wait();
    let lines = assert_harmless(&log, "text");
    let expected: [&[&str]; 6] = [
        &["gitops-status-server", env!("CARGO_PKG_VERSION"), "5000 bytes", "77 connections"],
        &["listening on", &address.to_string()],
        &["accepted status", &format!("peer=\"{peer}\""), "bytes=24", "sync_status=\"SYNCED\""],
        &["refused status", &format!("peer=\"{peer}\""), "code=400", "bytes=18", &reason.replace('"', "\\\"")],
        &["stopping", "10 s"],
        &["stopped"],
    ];
    assert_eq!(lines.len(), expected.len(), "{log}");
    for (line, parts) in lines.iter().zip(expected) {
        assert_eq!(line["level"], "info");
        assert!(parts.iter().all(|part| line["message"].as_str().unwrap().contains(part)), "{parts:?}: {line:?}");
    }
}

#[test]
fn every_refused_post_is_logged_with_its_peer_size_and_reason() {
    let server = start(&["--log-format", "json"]);
    let head = "POST /api/status HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n";
    let requests = [
        (post_request(b""), 400, 0),
        (post_request(b"[]"), 400, 2),
        (post_request(b"{\"a\":tru}"), 400, 9),
        (post_request(b"{\"repo\":1,\"x\":\"\n\"}"), 400, 18),
        (format!("{head}Content-Length: 70000\r\n\r\n").into_bytes(), 400, 70_000),
        (format!("{head}Transfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n").into_bytes(), 400, 2),
        (format!("{head}Transfer-Encoding: chunked\r\n\r\nx").into_bytes(), 400, 0),
        (format!("{head}Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc").into_bytes(), 415, 3),
        (b"POST /api/status HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}".to_vec(), 415, 2),
        (b"POST /status.json HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}".to_vec(), 405, 2),
        (HALF_A_POST.to_vec(), 400, 1),
    ];
    let expected = requests.map(|(request, code, bytes)| {
        let mut client = server.connect();
        client.send(&request);
        client.end();
        let response = client.response();
        assert_eq!(response.code, code, "{}", request.escape_ascii());
        (client.stream().local_addr().unwrap().to_string(), code, bytes, response.message())
    });
    server.signal(Signal::TERM);
    let (_, log) = server.wait();
    let lines = assert_harmless(&log, "json");
    let refused: Vec<_> = lines.iter().filter(|line| line["message"] == "refused status").collect();
    assert_eq!(refused.len(), expected.len(), "{log}");
    for (line, (peer, code, bytes, reason)) in refused.into_iter().zip(expected) {
        assert_eq!(line["level"], "info");
        assert_eq!((&line["peer"], &line["reason"]), (&peer.into(), &reason.into()));
        assert_eq!((&line["code"], &line["bytes"]), (&code.into(), &bytes.into()), "{line:?}");
    }
}

#[test]
fn nothing_that_a_client_sends_can_forge_a_line_of_the_log() {
    let long = "\\u0007\u{202e}\"".replace('"', "\\\"").repeat(2000);
    // As they stand in JSON, and what they say.
    let statuses = [
        (r"a\n2026-01-01T00:00:00Z info forged\r\n", "a\n2026-01-01T00:00:00Z info forged\r\n".to_owned()),
        (r#"\" level=\"error\\"#, r#"" level="error\"#.to_owned()),
        (r#"\"}\n{\"time\":\"now\"}"#, "\"}\n{\"time\":\"now\"}".to_owned()),
        (r"\u001b[2J\u0000\b\f\t\u007f\u0085\u009b", "\u{1b}[2J\0\u{8}\u{c}\t\u{7f}\u{85}\u{9b}".to_owned()),
        ("\u{7f}\u{85}\u{9b}[2J\u{2028}\u{2029}", "\u{7f}\u{85}\u{9b}[2J\u{2028}\u{2029}".to_owned()),
        ("\u{202e}DECNYS\u{202c}\u{2066}\u{61c}", "\u{202e}DECNYS\u{202c}\u{2066}\u{61c}".to_owned()),
        (r"\u202eDECNYS\u2069\u200f", "\u{202e}DECNYS\u{2069}\u{200f}".to_owned()),
        (r"\ud800\ud83d\ude00\ude00", "\u{fffd}\u{1f600}\u{fffd}".to_owned()),
        ("\u{e4}\u{1f600}", "\u{e4}\u{1f600}".to_owned()),
        ("", String::new()),
        (&long, "\u{7}\u{202e}\"".repeat(2000)),
    ];
    let longest = format!("/{}", "\"".repeat(2047));
    let too_long = format!("/{}", "\"".repeat(2048));
    let targets: [&[u8]; 12] = [
        b"/%0a2026-01-01T00:00:00Z%20info%20forged",
        b"/\\n2026-01-01T00:00:00Z",
        b"/\" code=200 x=\"",
        b"/\"},{\"time\":\"",
        b"/a\x1b[2J",
        b"/a\x7f",
        b"/a\nb",
        "/\u{202e}\u{85}".as_bytes(),
        b"/\x9b\xff",
        longest.as_bytes(),
        too_long.as_bytes(),
        b"http://a/\"\\",
    ];
    for format in ["text", "json"] {
        let server = start(&["--log", "access", "--log-format", format]);
        for (text, _) in &statuses {
            let response = server.post(format!("{{\"sync_status\":\"{text}\"}}").as_bytes());
            assert_eq!(response.code, 200, "{text}");
        }
        let asked = targets.map(|target| {
            let mut client = server.connect();
            client.send(&[b"GET ", target, b" HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"].concat());
            client.response().code
        });
        let mut client = server.connect();
        client.send(b"G\x1b[2J\"T /health HTTP/1.1\r\nHost: test\r\n\r\n");
        assert!(client.response().code >= 400);
        drop(client);
        server.signal(Signal::TERM);
        let (_, log) = server.wait();

        let lines = assert_harmless(&log, format);
        let of = |message: &str| {
            let of = |line: &&Line| line["message"].as_str().unwrap().starts_with(message);
            lines.iter().filter(of).collect::<Vec<_>>()
        };
        let (accepted, requests) = (of("accepted status"), of("request"));
        assert_eq!((accepted.len(), requests.len()), (statuses.len(), statuses.len() + targets.len() + 1), "{log}");
        // Two lines tell of the start, two of the end.
        assert_eq!(lines.len(), accepted.len() + requests.len() + 4, "{log}");
        if format == "text" {
            continue;
        }
        let shown = |text: &str| {
            let beginning: String = text.chars().take(200).collect();
            if beginning == text { beginning } else { beginning + "…" }
        };
        for (line, (_, said)) in accepted.iter().zip(&statuses) {
            assert_eq!(line["sync_status"], shown(said));
        }
        for (line, (target, code)) in requests[statuses.len()..].iter().zip(targets.iter().zip(asked)) {
            assert_eq!(line["code"], code);
            // The target of a head that is malformed is not known.
            let expected = if code == 404 { shown(std::str::from_utf8(target).unwrap()) } else { "-".to_owned() };
            assert_eq!(line["target"], expected, "{line:?}");
        }
    }
}

#[test]
fn a_post_that_is_refused_by_its_head_is_in_the_log_too() {
    let server = start(&[]);
    for (fields, reason) in [
        ("Content-Length: 2\r\n", "needs a Host header"),
        ("Host: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n", "Two Content-Length headers differ"),
        ("Host: x\r\nExpect: tea\r\n", "Unknown expectation"),
    ] {
        let mut client = server.connect();
        client.send(format!("POST /api/status HTTP/1.1\r\n{fields}\r\n").as_bytes());
        assert!(client.response().message().contains(reason));
        let log = server.wait_for_log(reason);
        assert!(log.lines().last().unwrap().contains("info refused status"), "{log}");
    }
}
