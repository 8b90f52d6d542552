//! `load` against servers that do what a test tells them.

use std::net::TcpListener;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{Server, file, load, load_by_schedule, ok};

#[test]
fn so_many_requests_are_sent_as_were_asked_for() {
    let response = ok("hello");
    let server = Server::constant(response.clone());
    for (connections, pipeline) in [(1, 1), (7, 1), (7, 5), (16, 200)] {
        let before = server.requests();
        let options = format!("--requests 1000 --warmup 0 --connections {connections} --pipeline {pipeline}");
        let told = load(server.address, &options);
        told.assert_good(1000);
        assert_eq!(server.requests() - before, 1000);
        assert_eq!(told.number("bytes_read") as usize, 1000 * response.len());
    }
    assert_eq!(server.connections(), 1 + 7 + 7 + 16);
    // What is in flight at the end of the warmup is among them.
    for connections in [16, 200] {
        load(server.address, &format!("--requests 100 --warmup 0.05 --connections {connections}")).assert_good(100);
    }
}

#[test]
fn a_time_is_measured_behind_the_warmup() {
    let server = Server::constant(ok("hello"));
    let begun = Instant::now();
    let told = load(server.address, "--seconds 0.3 --warmup 0.3 --connections 2");
    assert!(begun.elapsed() >= Duration::from_millis(600));
    let requests = told.number("requests") as usize;
    told.assert_good(requests);
    assert!(requests > 100 && requests < server.requests(), "{requests} of {}", server.requests());
    let seconds = told.number("seconds");
    assert!((0.3..0.5).contains(&seconds), "{seconds}");
    let rate = requests as f64 / seconds;
    assert!((told.number("requests_per_second") - rate).abs() < 1.0);
    assert!(told.latency("p50") <= told.latency("p99") && told.latency("p99") <= told.latency("max"));
    assert!(told.json["server_cpu_seconds"].is_null() && told.json["rate"].is_null());
    assert!(told.number("load_cpu_seconds") > 0.0 && told.number("load_cpu_seconds") <= seconds);
}

/// Stands still once, for 200 ms, at its 300th request.
fn stalling() -> Server {
    let seen = AtomicUsize::new(0);
    Server::start(move |peer| {
        while peer.request().is_some() {
            if seen.fetch_add(1, Ordering::SeqCst) == 300 {
                thread::sleep(Duration::from_millis(200));
            }
            if !peer.send(ok("hello").as_bytes()) {
                return;
            }
        }
    })
}

#[test]
fn a_stall_is_in_the_latencies_of_all_that_were_due_in_it() {
    let (told, _) = load_by_schedule(stalling, "--rate 1000 --seconds 1 --warmup 0", 1000);
    // 200 of 1000 were due while it stood still, and waited 100 ms on average.
    assert!(told.latency("max") >= 200_000.0, "{}", told.json);
    assert!(told.latency("p99") >= 170_000.0, "{}", told.json);
    assert!(told.latency("p90") >= 60_000.0, "{}", told.json);
    assert!(told.latency("mean") >= 15_000.0, "{}", told.json);

    // A closed loop waits with the server, and sees one slow request.
    let told = load(stalling().address, "--requests 1000 --warmup 0");
    told.assert_good(1000);
    assert!(told.latency("max") >= 200_000.0 && told.latency("p99") < 150_000.0, "{}", told.json);
}

#[test]
fn a_schedule_goes_over_all_connections() {
    let slow = || {
        Server::start(|peer| {
            while peer.request().is_some() {
                thread::sleep(Duration::from_millis(10));
                peer.send(ok("hello").as_bytes());
            }
        })
    };
    // One connection could have 100 a second.
    let (told, server) = load_by_schedule(slow, "--rate 500 --seconds 0.5 --warmup 0.1 --connections 32", 250);
    assert_eq!(server.connections(), 32);
    assert_eq!(server.requests(), 300);
    assert!(told.latency("p50") >= 10_000.0, "{}", told.json);
}

#[test]
fn a_rate_that_cannot_be_kept_is_told_and_the_line_is_in_the_latencies() {
    let server = Server::start(|peer| {
        while peer.request().is_some() {
            thread::sleep(Duration::from_millis(5));
            peer.send(ok("hello").as_bytes());
        }
    });
    let told = load(server.address, "--rate 1000 --seconds 1 --warmup 0");
    assert_eq!(told.code, 0);
    assert_eq!(told.json["rate_kept"], false);
    assert!(told.number("requests_per_second") <= 200.0, "{}", told.json);
    assert!(told.number("unsent") >= 750.0, "{}", told.json);
    assert_eq!(told.number("unsent") + told.number("requests"), 1000.0);
    // The last ones that were sent were due 800 ms before, and half of all were never sent.
    assert!(told.latency("max") >= 750_000.0 && told.latency("p50") >= 300_000.0, "{}", told.json);
    assert!(told.stderr.contains("1000 requests a second could not be kept; "), "{}", told.stderr);
}

#[test]
fn a_wrong_body_is_an_error() {
    let expected = file("expected", b"hello");
    let server = Server::constant(ok("hello"));
    load(server.address, &format!("--requests 10 --warmup 0 --expect {expected}")).assert_good(10);
    for (body, example) in [("hellO", "differs at byte 0"), ("hello!", "6 bytes"), ("", "0 bytes")] {
        let server = Server::constant(ok(body));
        let told = load(server.address, &format!("--requests 10 --warmup 0 --expect {expected}"));
        assert_eq!((told.code, &told.json["requests"], &told.json["errors"]), (1, &0.into(), &10.into()));
        assert!(told.stderr.contains(&format!("10 times: wrong body; first: {example}")), "{}", told.stderr);
    }
}

#[test]
fn a_status_that_is_no_2xx_is_an_error() {
    let server = Server::start(|peer| {
        let mut count = 0;
        while peer.request().is_some() {
            count += 1;
            let status = if count % 4 == 0 { "503 Service Unavailable" } else { "201 Created" };
            peer.send(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nhi").as_bytes());
        }
    });
    let told = load(server.address, "--requests 100 --warmup 0");
    assert_eq!((told.code, &told.json["requests"], &told.json["errors"]), (1, &75.into(), &25.into()));
    assert!(told.stderr.contains("25 times: status is no 2xx; first: 503 to a GET"), "{}", told.stderr);
}

#[test]
fn in_close_mode_each_request_has_a_connection() {
    let closing = || {
        Server::start(|peer| {
            let (head, _) = peer.request().unwrap();
            assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
            thread::sleep(Duration::from_millis(2));
            peer.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello");
        })
    };
    let server = closing();
    let told = load(server.address, "--requests 200 --warmup 0 --connections 4 --close");
    told.assert_good(200);
    assert_eq!((server.connections(), server.requests()), (200, 200));
    assert!(told.latency("p50") >= 2_000.0, "{}", told.json);
    let (_, server) = load_by_schedule(closing, "--seconds 0.3 --rate 100 --warmup 0 --connections 4 --close", 30);
    assert_eq!((server.connections(), server.requests()), (30, 30));

    // Neither a server that does not end the connection nor one that ends it without a word is waited for.
    load(Server::constant(ok("hello")).address, "--requests 50 --warmup 0 --close").assert_good(50);
    let silent = Server::start(|peer| {
        peer.request();
        peer.send(b"HTTP/1.0 200 OK\r\n\r\nhello");
    });
    let expected = file("silent", b"hello");
    let told = load(silent.address, &format!("--requests 50 --warmup 0 --close --expect {expected}"));
    told.assert_good(50);
}

#[test]
fn pipelined_requests_are_in_flight_together() {
    let server = Server::start(|peer| {
        loop {
            for _ in 0..8 {
                if peer.request().is_none() {
                    return;
                }
            }
            peer.send(ok("hello").repeat(8).as_bytes());
        }
    });
    load(server.address, "--requests 800 --warmup 0 --connections 4 --pipeline 8").assert_good(800);
    assert_eq!(server.requests(), 800);
}

#[test]
fn chunked_responses_are_understood_in_any_pieces() {
    let expected = file("chunked", b"hello, world");
    let server = Server::start(|peer| {
        let response = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
            5;a=b\r\nhello\r\n7\r\n, world\r\n0\r\nX: y\r\n\r\n";
        let mut step = 0;
        while peer.request().is_some() {
            step = step % response.len() + 1;
            for piece in response.as_bytes().chunks(step) {
                if !peer.send(piece) {
                    return;
                }
            }
        }
    });
    let told = load(server.address, &format!("--requests 300 --warmup 0 --connections 2 --expect {expected}"));
    told.assert_good(300);
}

#[test]
fn a_server_may_end_a_kept_connection_between_responses() {
    for announced in [true, false] {
        for pipeline in [1, 3, 16] {
            let server = Server::start(move |peer| {
                for number in 1..=5 {
                    if peer.request().is_none() {
                        return;
                    }
                    let close = if announced && number == 5 { "Connection: close\r\n" } else { "" };
                    peer.send(format!("HTTP/1.1 200 OK\r\n{close}Content-Length: 5\r\n\r\nhello").as_bytes());
                }
                peer.end();
            });
            let told =
                load(server.address, &format!("--requests 100 --warmup 0 --connections 2 --pipeline {pipeline}"));
            told.assert_good(100);
            assert!((20..=22).contains(&server.connections()), "{} connections", server.connections());
        }
    }
    // One that it ends while nothing is asked for is replaced when something is.
    let hasty = || {
        Server::start(|peer| {
            peer.request();
            peer.send(ok("hello").as_bytes());
        })
    };
    load_by_schedule(hasty, "--requests 20 --warmup 0 --rate 100 --connections 3", 20);
    // One that says it would and does not is not waited for, but where that is what is measured.
    let reluctant = Server::start(|peer| {
        peer.request();
        peer.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello");
        while peer.request().is_some() {}
    });
    load(reluctant.address, "--requests 20 --warmup 0 --connections 2 --pipeline 4").assert_good(20);
    let told = load(reluctant.address, "--seconds 1.2 --warmup 0 --close --connections 2");
    assert_eq!((told.code, &told.json["requests"], &told.json["errors"]), (1, &2.into(), &2.into()));
    assert!(told.stderr.contains("the server does not end the connection"), "{}", told.stderr);
}

#[test]
fn what_ends_without_a_whole_response_is_an_error() {
    for (response, fault) in [
        ("", "connection ended without a whole response; first: before a response"),
        ("HTTP/1.1 200 OK\r\nContent-Le", "connection ended without a whole response; first: within a response"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
            "connection ended without a whole response; first: within",
        ),
        ("SSH-2.0-x\r\n\r\n", "malformed response; first: its head is malformed: \"SSH-2.0-x\\r\\n\\r\\n\""),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "malformed response; first: its Content-Length is no length: ",
        ),
    ] {
        let server = Server::start(move |peer| {
            peer.request();
            peer.send(response.as_bytes());
            peer.end();
        });
        let told = load(server.address, "--requests 5 --warmup 0");
        assert_eq!(
            (told.code, &told.json["requests"], &told.json["errors"]),
            (1, &0.into(), &5.into()),
            "{response:?}"
        );
        assert!(told.stderr.contains(&format!("5 times: {fault}")), "{}", told.stderr);
        assert_eq!(server.connections(), 5);
    }
    let server = Server::constant(ok("hello").repeat(2));
    let told = load(server.address, "--requests 5 --warmup 0");
    assert!(told.code == 1 && told.stderr.contains("43 bytes that nobody asked for"), "{}", told.stderr);
}

#[test]
fn a_connection_that_is_refused_or_reset_is_an_error() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for options in ["--requests 5 --warmup 0", "--requests 5 --warmup 0 --close"] {
        let told = load(address, options);
        assert_eq!((told.code, &told.json["requests"]), (1, &0.into()));
        assert!(told.number("errors") >= 1.0 && told.json["latency_us"]["p50"].is_null());
        assert!(told.stderr.contains("could not connect; first: Connection refused"), "{}", told.stderr);
    }
    // Who closes with something unread resets.
    let server = Server::start(|_| thread::sleep(Duration::from_millis(20)));
    let told = load(server.address, "--requests 3 --warmup 0");
    assert_eq!((told.code, &told.json["errors"]), (1, &3.into()));
    assert!(told.stderr.contains("3 times: connection failed; first: Connection reset by peer"), "{}", told.stderr);
}

#[test]
fn a_request_that_is_never_answered_is_an_error() {
    let server = Server::start(|peer| while peer.request().is_some() {});
    let address = server.address;
    let counted = thread::spawn(move || load(address, "--requests 5 --warmup 0 --connections 2"));
    let timed = load(server.address, "--seconds 0.1 --warmup 0 --connections 2");
    for told in [timed, counted.join().unwrap()] {
        assert_eq!((told.code, &told.json["requests"], &told.json["errors"]), (1, &0.into(), &2.into()));
        assert!(told.stderr.contains("2 times: no response; first: within 5."), "{}", told.stderr);
    }
}

#[test]
fn bodies_of_a_mebibyte_go_both_ways_whole() {
    let body: Vec<u8> = (0..1 << 20).map(|number: u32| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let path = file("mebibyte", &body);
    let shared = Arc::new(body);
    let server = Server::start(move |peer| {
        while let Some((head, body)) = peer.request() {
            if head.starts_with("PUT /metrics/job/x HTTP/1.1\r\n") {
                assert!(head.contains("\r\nContent-Type: text/plain\r\n"));
                let status = if body == *shared { "202 Accepted" } else { "400 Bad Request" };
                peer.send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes());
            } else {
                assert!(head.starts_with("GET /x HTTP/1.1\r\n"), "{head}");
                peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n");
                peer.send(&shared);
            }
        }
    });
    let post = format!("--post /metrics/job/x --method PUT --content-type text/plain --body {path}");
    load(server.address, &format!("--requests 20 --warmup 0 --connections 3 {post}")).assert_good(20);
    load(server.address, &format!("--requests 20 --warmup 0 --connections 3 --get /x --expect {path}")).assert_good(20);
    // More at once than the system takes.
    let mix = format!("--requests 64 --warmup 0 --connections 2 --pipeline 32 --mix 1 --get /x --expect {path} {post}");
    load(server.address, &mix).assert_good(64);
}

#[test]
fn a_mix_has_one_post_after_so_many_gets_over_all_connections() {
    let body = file("posted", b"{}");
    let seen = Arc::new(Mutex::new((0, 0)));
    let counts = Arc::clone(&seen);
    let server = Server::start(move |peer| {
        while let Some((head, body)) = peer.request() {
            let mut counts = counts.lock().unwrap();
            if head.starts_with("POST /api/status HTTP/1.1\r\n") {
                assert!(head.contains("\r\nContent-Type: application/json\r\n") && body == b"{}");
                counts.1 += 1;
            } else {
                counts.0 += 1;
            }
            peer.send(ok("hello").as_bytes());
        }
    });
    for (mix, pipeline, counts) in [(9, 1, (450, 50)), (9, 4, (450, 50)), (1, 200, (250, 250))] {
        *seen.lock().unwrap() = (0, 0);
        let post = format!("--post /api/status --body {body} --mix {mix} --pipeline {pipeline}");
        load(server.address, &format!("--requests 500 --warmup 0 --connections 5 {post}")).assert_good(500);
        assert_eq!(*seen.lock().unwrap(), counts);
    }
}

#[test]
fn bad_usage_is_told_and_the_exit_code_is_2() {
    for (arguments, message) in [
        (&["--connections", "5"][..], "load: --address IP:PORT is missing; see --help\n"),
        (&["--address", "127.0.0.1:1", "--cpu-of", "4294967295"], "load: --cpu-of: no process 4294967295: "),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_load")).args(arguments).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
        assert!(str::from_utf8(&output.stderr).unwrap().starts_with(message), "{output:?}");
    }
    let help = Command::new(env!("CARGO_BIN_EXE_load")).arg("--help").output().unwrap();
    assert!(help.status.success() && help.stdout.starts_with(b"Asks an HTTP/1.1 server"));
}
