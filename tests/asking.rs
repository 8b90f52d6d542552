//! The commands that ask another server: how it is, and whether it takes a post.

mod common;

use common::{Finished, PATIENCE, Server, TemporaryDir, UNKNOWN};
use common::{assert_refused, finish, own_address, program, status_of};
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::ffi::OsStrExt;
use std::thread;
use std::time::{Duration, Instant};

/// Runs one of the two commands.
fn ask(command: &str, arguments: &[&str], listen: Option<&str>) -> Finished {
    finish(program().arg(command).args(arguments).envs(listen.map(|listen| ("STATUS_LISTEN", listen))))
}

fn healthcheck(arguments: &[&str], listen: Option<&str>) -> Finished {
    ask("healthcheck", arguments, listen)
}

#[track_caller]
fn assert_healthy(arguments: &[&str], listen: Option<&str>) {
    let Finished { code, stdout, stderr } = healthcheck(arguments, listen);
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), "", ""), "{arguments:?} {listen:?}");
}

/// That the check failed with one line that has all of `parts`.
#[track_caller]
fn assert_unhealthy(arguments: &[&str], listen: Option<&str>, parts: &[&str]) {
    assert_failed(healthcheck(arguments, listen), parts);
}

/// That a command failed with one line that has all of `parts`.
#[track_caller]
fn assert_failed(Finished { code, stdout, stderr }: Finished, parts: &[&str]) {
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    let line = stderr.strip_suffix('\n').expect("a line");
    assert!(!line.chars().any(char::is_control), "not one line: {stderr:?}");
    for part in parts {
        assert!(line.contains(part), "no {part:?} in {stderr}");
    }
}

#[test]
fn a_health_check_of_a_live_server_is_silent_and_exits_with_0() {
    for (listen, hosts) in [
        ("127.0.0.1:0", &["127.0.0.1", "localhost"][..]),
        ("0.0.0.0:0", &["0.0.0.0", "127.0.0.1", "127.0.0.2", "localhost"]),
        ("[::1]:0", &["[::1]", "localhost"]),
        ("[::]:0", &["[::]", "[::1]", "localhost"]),
    ] {
        let server = Server::start_with(program().args(["--listen", listen]));
        let port = server.address().port();
        for host in hosts {
            if *host != "localhost" {
                assert_healthy(&[], Some(&format!("{host}:{port}")));
            }
            for path in ["/health", "/ready", "/status.json?a=b"] {
                assert_healthy(&[&format!("http://{host}:{port}{path}")], None);
            }
        }
    }
}

/// Answers one request in its own way, and gives it.
fn answer_once(answer: &'static [u8]) -> (SocketAddr, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answering = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut buffer = [0; 1024];
            let read = stream.read(&mut buffer).unwrap();
            assert!(read > 0);
            request.extend_from_slice(&buffer[..read]);
        }
        stream.write_all(answer).unwrap();
        String::from_utf8(request).unwrap()
    });
    (address, answering)
}

#[test]
fn a_health_check_asks_for_health_where_the_server_listens() {
    for (given, target) in [(None, "/health"), (Some("/ready?x=1"), "/ready?x=1"), (Some(""), "/")] {
        let (address, answering) = answer_once(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        match given {
            None => assert_healthy(&[], Some(&address.to_string())),
            Some(path) => assert_healthy(&[&format!("http://{address}{path}")], None),
        }
        let request = answering.join().unwrap();
        assert!(request.starts_with(&format!("GET {target} HTTP/1.1\r\n")), "{request}");
        assert!(request.contains(&format!("\r\nHost: {address}\r\n")), "{request}");
    }
}

#[test]
fn a_health_check_says_why_the_answer_is_not_a_200() {
    let server = Server::start(&[]);
    let url = server.url("/nothing");
    assert_unhealthy(&[&url], None, &[&url, "404", r#"{"success":false,"message":""#]);

    for (answer, reason) in [
        (&b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"[..], "503"),
        (b"HTTP/1.0 500 Oh\r\n\r\n", "500"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "204"),
        (b"HTTP/1.1 301 Moved\r\nLocation: /health\r\n\r\n", "301"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "2000"),
        (b"HTTP/1.1 503 a\x1b[2J\nforged\x9b\r\n\r\n", "forged"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "not HTTP"),
        (b"200 OK\r\n", "not HTTP"),
        (b"\n", "not HTTP"),
        (b"", "closed"),
        (b"HTTP/1.1 200", ""),
        (b"HTTP/1.1 200 OK\r\nContent-Len", ""),
    ] {
        let (address, answering) = answer_once(answer);
        assert_unhealthy(&[], Some(&address.to_string()), &[&format!("http://{address}/health"), reason]);
        answering.join().unwrap();
    }
}

#[test]
fn a_health_check_fails_where_nothing_listens() {
    let address = own_address().to_string();
    let url = format!("http://{address}/health");
    assert_unhealthy(&[], Some(&address), &[&url, "refused"]);
    assert_unhealthy(&[&url], None, &[&url, "refused"]);
    assert_unhealthy(&["http://localhost:1/x"], None, &["http://localhost:1/x", "refused"]);
}

#[test]
fn a_health_check_waits_for_an_answer_for_five_seconds() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let dripping = TcpListener::bind("127.0.0.1:0").unwrap();
    let [silent, dripping_address] = [silent, dripping.try_clone().unwrap()].map(|it| (it.local_addr().unwrap(), it));
    let begun = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = dripping.accept().unwrap();
            while stream.write_all(b"H").is_ok() && begun.elapsed() < PATIENCE {
                thread::sleep(Duration::from_millis(200));
            }
        });
        for (address, _) in [&silent, &dripping_address] {
            scope.spawn(move || {
                let address = address.to_string();
                assert_unhealthy(&[], Some(&address), &[&format!("http://{address}/health"), "timed out"]);
                let seconds = begun.elapsed().as_secs_f64();
                assert!((4.9..8.0).contains(&seconds), "after {seconds} s");
            });
        }
        scope.spawn(|| {
            // Without a configuration it asks at the default address, where this test says nothing, unless another
            // program is there and says something.
            let silent_too = TcpListener::bind("127.0.0.1:8080");
            let Finished { code, stderr, .. } = healthcheck(&[], Some(""));
            let named = stderr.contains("http://127.0.0.1:8080/health: ");
            assert!(code == Some(1) && named || silent_too.is_err() && code == Some(0), "{code:?} {stderr}");
        });
    });
}

/// What is no URL for either command.
const NO_URLS: [&str; 16] = [
    "",
    "https://127.0.0.1:1/health",
    "http://example.org/health",
    "http://",
    "http:///health",
    "127.0.0.1:1",
    "localhost:1/health",
    "/health",
    "http://127.0.0.1:65536/",
    "http://127.0.0.1:x/",
    "http://127.0.0.1:/",
    "http://::1:1/",
    "http://[::1/",
    "http://user@127.0.0.1:1/",
    "http://127.0.0.1:1/a b",
    "HTTP://127.0.0.1:1/",
];

#[test]
fn what_is_no_url_is_bad_usage() {
    for command in ["healthcheck", "roundtrip"] {
        for url in NO_URLS {
            assert_refused(program().args([command, url]), &[command, url, "http://HOST"]);
        }
        let not_text = OsStr::from_bytes(b"http://127.0.0.1:1/\xff");
        assert_refused(program().arg(command).arg(not_text), &[command, "http://HOST"]);
        for listen in ["localhost:80", ":8080", "127.0.0.1", "127.0.0.1:65536"] {
            let mut program = program();
            assert_refused(program.arg(command).env("STATUS_LISTEN", listen), &["STATUS_LISTEN", listen, "ADDR:PORT"]);
        }
    }
    // Where the status is, and where to post, is not for the caller to say.
    for url in ["http://127.0.0.1:1/status.json", "http://127.0.0.1:1/?x"] {
        assert_refused(program().args(["roundtrip", url]), &["roundtrip", url, "http://HOST[:PORT],"]);
    }
}

#[track_caller]
fn assert_round_trip(arguments: &[&str], listen: Option<&str>, says: &str) {
    let Finished { code, stdout, stderr } = ask("roundtrip", arguments, listen);
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), says, ""), "{arguments:?} {listen:?}");
}

#[test]
fn a_round_trip_leaves_the_status_byte_for_byte_as_it_was() {
    let dir = TemporaryDir::new();
    let state = dir.path("state");
    let server = Server::start(&["--state-dir", &state]);
    let blank = br#" { "sync_status" : "SYNCED" } "#.to_vec();
    let line_end = b"{\"files\":[\"\xc3\xa4\"]}\n".to_vec();
    let line_ends = b"{}\r\n\r\n".to_vec();
    for status in [UNKNOWN.as_bytes().to_vec(), blank, line_end, line_ends, status_of(65535)] {
        assert_eq!(server.post(&status).code, 200);
        let etag = server.get("/status.json").field("ETag").expect("a status has a tag").to_owned();
        let posts = server.whole_log().matches("accepted status").count();
        let says = format!("{}: posted a status of {} bytes and read it back\n", server.url("/"), status.len());
        assert_round_trip(&[&server.url("")], None, &says);
        let served = server.get("/status.json");
        assert_eq!((&served.content, served.field("ETag")), (&status, Some(&etag[..])));
        assert_eq!(fs::read(format!("{state}/status.json")).unwrap(), status);
        let log = server.whole_log();
        let sizes = log.lines().filter(|line| line.contains("accepted status")).skip(posts);
        let sizes: Vec<_> = sizes.map(|line| line.split("bytes=").nth(1).unwrap().split(' ').next().unwrap()).collect();
        let other = if status.ends_with(b"\n") { status.len() - 1 } else { status.len() + 1 };
        assert_eq!(sizes, [other.to_string(), status.len().to_string()], "one more or less, and as it was");
    }
}

#[test]
fn a_round_trip_goes_where_it_is_told_to() {
    for (listen, hosts) in
        [("127.0.0.1:0", &["127.0.0.1", "localhost"][..]), ("[::]:0", &["[::]", "[::1]", "127.0.0.1", "localhost"])]
    {
        let server = Server::start_with(program().args(["--listen", listen]));
        let port = server.address().port();
        for host in hosts {
            let says = |host: &str| format!("http://{host}:{port}/: posted a status of 92 bytes and read it back\n");
            for url in ["http://HOST", "http://HOST/", "tcp://HOST"] {
                let url = url.replace("HOST", &format!("{host}:{port}"));
                assert_round_trip(&[&url], None, &says(host));
            }
            if *host != "localhost" {
                let asked = if *host == "[::]" { "[::1]" } else { host };
                assert_round_trip(&[], Some(&format!("{host}:{port}")), &says(asked));
            }
        }
    }
}

#[test]
fn a_round_trip_waits_for_a_server_that_comes_later() {
    let address = own_address();
    let url = format!("http://{address}");
    let round_trip = thread::spawn(move || ask("roundtrip", &[&url], None));
    thread::sleep(Duration::from_secs(1));
    let _server = Server::start_with(program().args(["--listen", &address.to_string()]));
    let Finished { code, stdout, stderr } = round_trip.join().unwrap();
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
}

#[test]
fn a_round_trip_gives_up_after_fifteen_seconds() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let cases = [
        (silent.local_addr().unwrap(), "GET http://ADDRESS/status.json: timed out"),
        (own_address(), "http://ADDRESS/: Connection refused"),
    ];
    let begun = Instant::now();
    thread::scope(|scope| {
        for (address, reason) in cases {
            scope.spawn(move || {
                let reason = reason.replace("ADDRESS", &address.to_string());
                assert_failed(ask("roundtrip", &[&format!("http://{address}")], None), &[&reason]);
                let seconds = begun.elapsed().as_secs_f64();
                assert!((14.0..20.0).contains(&seconds), "after {seconds} s");
            });
        }
    });
}

#[test]
fn a_round_trip_says_why_a_post_is_refused_and_the_status_stays() {
    let dir = TemporaryDir::new();
    let seed = dir.file("seed.json", &status_of(100));
    let server = Server::start(&["--seed-file", &seed, "--max-bytes", "100"]);
    let url = server.url("/api/status");
    assert_failed(ask("roundtrip", &[&server.url("")], None), &[&format!("POST {url}: "), "400", "101", "100"]);
    assert_eq!(server.get("/status.json").content, status_of(100));
}

/// A server that answers whatever it is asked with these, one after the other, on one connection.
fn answer_each(answers: &'static [&'static str]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for answer in answers {
            // Each request is small and comes in one piece.
            assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    address
}

#[test]
fn a_round_trip_finds_out_a_server_that_does_not_do_as_it_says() {
    const EMPTY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    const LARGE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n{}";
    for (answers, parts) in [
        (&[EMPTY, EMPTY, EMPTY][..], &["GET", "/status.json", "not what was just posted"][..]),
        (&[EMPTY, "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"], &["POST", "/api/status", "204"]),
        (&[EMPTY, "HTTP/1.1 502 No\r\ncontent-length: 5\r\n\r\na\x1b\nb\x07"], &["502 No", "a", "b"]),
        (&["HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"], &["GET", "404"]),
        (&["HTTP/1.1 200 OK\r\n\r\n{}"], &["GET", "Content-Length"]),
        (&[LARGE], &["GET", "Content-Length"]),
        (&["HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}"], &["GET", "cut off"]),
        (&[EMPTY, "HTTP/1.1 200 O"], &["POST", "cut off"]),
        (&[EMPTY, "SSH-2.0-OpenSSH_9.9\r\n"], &["POST", "not HTTP"]),
        (&[EMPTY, ""], &["POST", "closed"]),
    ] {
        let url = format!("http://{}", answer_each(answers));
        assert_failed(ask("roundtrip", &[&url], None), &[&[&url[..]], parts].concat());
    }
}
