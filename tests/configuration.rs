//! The command line and the environment, as a running program obeys them.

mod common;

use common::{Client, Finished, HALF_A_POST, MORE_THAN_BUFFERS_HOLD, PATIENCE, PROGRAM, Server, Signal, TemporaryDir};
use common::{UNKNOWN, assert_refused, finish, own_address, program, started_by, status_of};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// An option and what it changes in a running server.
struct Case {
    flag: &'static str,
    variable: &'static str,
    /// As the help shows it.
    default: &'static str,
    /// What `observe` sees where the option is not given.
    default_effect: String,
    /// Two values, and what `observe` sees of them.
    values: [(String, String); 2],
    /// A value that nobody could start with.
    bad: &'static str,
    /// Starts the server, which has a configuration already, and looks.
    observe: fn(&mut Command) -> String,
}

/// Every option that has a value, in the order of the help.
fn cases(dir: &TemporaryDir) -> [Case; 14] {
    let case = |flag, variable, default, values: [&str; 2], bad, observe| Case {
        flag,
        variable,
        default,
        default_effect: default.to_owned(),
        values: values.map(|value| (value.to_owned(), value.to_owned())),
        bad,
        observe,
    };
    let seeds = [r#"{"repo":"a"}"#, r#"{"repo":"b"}"#];
    let seed = |name, index: usize| (dir.file(name, seeds[index].as_bytes()), seeds[index].to_owned());
    let state = |name, index: usize| {
        fs::create_dir(dir.path(name)).unwrap();
        let file = dir.file(&format!("{name}/status.json"), seeds[index].as_bytes());
        (file.replace("/status.json", ""), seeds[index].to_owned())
    };
    [
        Case {
            values: ["127.0.0.2:0", "127.0.0.3:0"].map(|value| (value.to_owned(), value.replace(":0", ""))),
            ..case("--listen", "STATUS_LISTEN", "127.0.0.1:8080", [""; 2], "localhost:80", listens_on)
        },
        case("--max-bytes", "STATUS_MAX_BYTES", "65536", ["2", "1048576"], "1", accepts_bytes),
        case("--max-connections", "STATUS_MAX_CONNECTIONS", "128", ["8", "20"], "7", holds_connections),
        Case {
            default_effect: UNKNOWN.to_owned(),
            values: [seed("a.json", 0), seed("b.json", 1)],
            ..case("--seed-file", "STATUS_SEED_FILE", "none", [""; 2], "/nonexistent/seed.json", first_status)
        },
        Case {
            default_effect: UNKNOWN.to_owned(),
            values: [state("a", 0), state("b", 1)],
            ..case("--state-dir", "STATUS_STATE_DIR", "none", [""; 2], "/dev/null", first_status)
        },
        case("--refresh-ms", "STATUS_REFRESH_MS", "1000", ["0", "60000"], "60001", notices_edits),
        case("--stale-after", "STATUS_STALE_AFTER", "none", ["1", "2"], "0", becomes_stale),
        case("--head-timeout", "STATUS_HEAD_TIMEOUT", "10", ["7", "3600"], "0", waits_for_head),
        case("--body-timeout", "STATUS_BODY_TIMEOUT", "30", ["7", "3600"], "0", waits_for_body),
        case("--idle-timeout", "STATUS_IDLE_TIMEOUT", "75", ["7", "3600"], "0", waits_for_request),
        case("--write-timeout", "STATUS_WRITE_TIMEOUT", "30", ["7", "3600"], "0", waits_for_reader),
        case("--shutdown-grace", "STATUS_SHUTDOWN_GRACE", "10", ["7", "300"], "301", waits_after_sigterm),
        case("--log", "STATUS_LOG", "info", ["error", "access"], "debug", log_level),
        case("--log-format", "STATUS_LOG_FORMAT", "text", ["json", "text"], "xml", log_format),
    ]
}

#[test]
fn every_option_is_obeyed_as_flag_and_as_variable_and_the_flag_wins() {
    let dir = TemporaryDir::new();
    thread::scope(|scope| {
        for case in cases(&dir) {
            scope.spawn(move || {
                let Case { flag, variable, default_effect, values, bad, observe, .. } = case;
                let [(value, effect), (other, other_effect)] = &values;
                let (value, other) = (value.as_str(), other.as_str());
                let joined = format!("{flag}={value}");
                for (arguments, environment, expected) in [
                    (&[][..], None, &default_effect),
                    (&[], Some(""), &default_effect),
                    (&[flag, value], None, effect),
                    (&[joined.as_str()], None, effect),
                    (&[], Some(value), effect),
                    (&[flag, other], None, other_effect),
                    (&[flag, value], Some(""), effect),
                    (&[flag, value], Some(other), effect),
                    (&[flag, value], Some(bad), effect),
                ] {
                    let mut command = program();
                    command.args(arguments).envs(environment.map(|value| (variable, value)));
                    assert_eq!(&observe(&mut command), expected, "{arguments:?} {variable}={environment:?}");
                }
            });
        }
    });
}

/// A server on a free port, otherwise configured by `command`.
fn start(command: &mut Command) -> Server {
    Server::start_with(command.args(["--listen", "127.0.0.1:0"]))
}

/// The address; without its port, where that is a free one. The default may be taken, which is how it shows then.
fn listens_on(command: &mut Command) -> String {
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let found = lines.find_map(|line| {
        let taken = line.split_once("cannot listen on ").map(|(_, rest)| rest.split(": ").next().unwrap().to_owned());
        taken.or_else(|| {
            let address: SocketAddr = line.split_once("listening on ")?.1.parse().expect("it names an address");
            assert_eq!(ask(address).code, 200);
            Some(if address.port() == 8080 { address.to_string() } else { address.ip().to_string() })
        })
    });
    let _ = child.kill();
    child.wait().unwrap();
    found.expect("it says where it listens")
}

fn ask(address: SocketAddr) -> common::Response {
    let mut client = Client::connect(address);
    client.send(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n");
    client.response()
}

fn accepts_bytes(command: &mut Command) -> String {
    let server = start(command);
    let mut client = server.connect();
    client.send(
        b"POST /api/status HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9999999\r\n\r\n",
    );
    let message = client.response().message();
    message.strip_prefix("The status is 9999999 bytes; the limit is ").expect(&message).to_owned()
}

/// How many of the connections stay open that were opened one after the other.
fn holds_connections(command: &mut Command) -> String {
    let server = start(command);
    let clients: Vec<_> = (0..140)
        .map(|_| {
            let mut client = server.connect();
            client.send(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n");
            assert_eq!(client.response().code, 200);
            client
        })
        .collect();
    let open = clients.iter().filter(|client| {
        client.stream().set_nonblocking(true).unwrap();
        client.stream().read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    });
    open.count().to_string()
}

fn first_status(command: &mut Command) -> String {
    start(command).get("/status.json").text().to_owned()
}

/// How many milliseconds the edit of a seed stays unseen: at once, a second, or very long.
fn notices_edits(command: &mut Command) -> String {
    let dir = TemporaryDir::new();
    let seed = dir.file("seed.json", b"{}");
    let server = start(command.args(["--seed-file", &seed]));
    let edited = br#"{"repo":"edited"}"#;
    let looked = Instant::now();
    fs::write(seed, edited).unwrap();
    while server.get("/status.json").content != edited {
        if looked.elapsed() > Duration::from_secs(3) {
            return "60000".to_owned();
        }
        thread::sleep(Duration::from_millis(5));
    }
    if looked.elapsed() < Duration::from_millis(500) { "0".to_owned() } else { "1000".to_owned() }
}

/// After how many seconds what nobody has posted counts as stale.
fn becomes_stale(command: &mut Command) -> String {
    let server = start(command);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(2_800) {
        if server.get("/metrics").text().contains("\ngitops_status_stale 1\n") {
            return begun.elapsed().as_secs_f64().round().to_string();
        }
        thread::sleep(Duration::from_millis(50));
    }
    "none".to_owned()
}

#[test]
fn a_switch_is_on_where_it_is_given_and_off_where_it_says_so() {
    let ready_when_stale = |command: &mut Command| {
        let server = start(command.args(["--stale-after", "1"]));
        thread::sleep(Duration::from_millis(1_100));
        server.get("/ready").code
    };
    let (flag, variable) = ("--stale-unready", "STATUS_STALE_UNREADY");
    thread::scope(|scope| {
        for (argument, value, expected) in [
            (None, None, 200),
            (None, Some(""), 200),
            (Some(flag), None, 503),
            (Some(flag), Some("off"), 503),
            (Some("--stale-unready=off"), Some("on"), 200),
            (Some("--stale-unready=true"), None, 503),
            (None, Some("on"), 503),
            (None, Some("true"), 503),
            (None, Some("yes"), 503),
            (None, Some("1"), 503),
            (None, Some("off"), 200),
            (None, Some("false"), 200),
            (None, Some("no"), 200),
            (None, Some("0"), 200),
        ] {
            scope.spawn(move || {
                let mut command = program();
                command.args(argument).envs(value.map(|value| (variable, value)));
                assert_eq!(ready_when_stale(&mut command), expected, "{argument:?} {variable}={value:?}");
            });
        }
    });
    assert_refused(program().args([flag, "on"]), &["on"]);
    assert_refused(program().arg("--stale-unready=maybe"), &[flag, "maybe", "off, on"]);
    assert_refused(program().env(variable, "2"), &[variable, "2"]);
    // Alone it would mean nothing.
    assert_refused(program().arg(flag), &[flag, "--stale-after"]);
    assert_refused(program().env(variable, "1"), &[variable, "--stale-after"]);
}

fn waits_for_head(command: &mut Command) -> String {
    seconds_to_wait(command, b"GET /health HT", |_| ())
}

fn waits_for_body(command: &mut Command) -> String {
    seconds_to_wait(command, HALF_A_POST, |_| ())
}

fn waits_for_request(command: &mut Command) -> String {
    seconds_to_wait(command, b"", |_| ())
}

fn waits_for_reader(command: &mut Command) -> String {
    let dir = TemporaryDir::new();
    command.args(["--max-bytes", "1048576", "--seed-file", &large_seed(&dir)]);
    seconds_to_wait(command, &MORE_THAN_BUFFERS_HOLD.concat(), |_| ())
}

fn waits_after_sigterm(command: &mut Command) -> String {
    seconds_to_wait(command.args(["--head-timeout", "3600"]), b"GET /health HT", |server| {
        server.signal(Signal::TERM);
        server.wait_for_log("stopping: ");
    })
}

fn large_seed(dir: &TemporaryDir) -> String {
    dir.file("large.json", &status_of(1_048_576))
}

/// How many seconds the server waits for a client that has sent so much, after what happens `then`.
fn seconds_to_wait(command: &mut Command, sent: &[u8], then: fn(&Server)) -> String {
    for _ in 0..20 {
        let server = start(command);
        let before = server.descriptors();
        let begun = Instant::now();
        let _client = server.begin(sent);
        // Until only that client is left.
        while server.descriptors() > before + 1 {
            assert!(begun.elapsed() < PATIENCE, "the other connection is not closed");
            thread::sleep(Duration::from_millis(1));
        }
        then(&server);
        let left = time_to_wake_up(&server);
        if begun.elapsed() < Duration::from_secs(1) {
            return left.as_millis().div_ceil(1000).to_string();
        }
    }
    panic!("this machine is too slow to tell");
}

/// When the server wakes up if nothing happens. The kernel shows what a process waits in and how long, see
/// proc_pid_syscall(5), so that nobody has to wait for it.
fn time_to_wake_up(server: &Server) -> Duration {
    let path = format!("/proc/{}/syscall", server.pid());
    let deadline = Instant::now() + PATIENCE;
    loop {
        let call = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        // epoll_wait and epoll_pwait of x86-64, epoll_pwait of AArch64.
        if let ["232" | "281" | "22", _, _, _, timeout, ..] = call.split_whitespace().collect::<Vec<_>>()[..] {
            let milliseconds = u64::from_str_radix(timeout.trim_start_matches("0x"), 16).unwrap();
            if milliseconds > 0 {
                return Duration::from_millis(milliseconds);
            }
        }
        assert!(Instant::now() < deadline, "the server does not come to rest: {call}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A whole log, from the start to a SIGTERM, with a request and a POST in it.
fn whole_log(command: &mut Command) -> String {
    let address = own_address();
    let server = Server::start_at(command.args(["--listen", &address.to_string()]).stderr(Stdio::piped()), address);
    assert_eq!(server.post(b"{}").code, 200);
    assert_eq!(server.post(b"[]").code, 400);
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0));
    log
}

fn log_level(command: &mut Command) -> String {
    let log = whole_log(command);
    let has = |text: &str| log.contains(text);
    let info = ["listening on", "accepted status", "refused status", "stopped"].map(has);
    match (info, has(" access request ")) {
        ([true, true, true, true], true) => "access".to_owned(),
        ([true, true, true, true], false) => "info".to_owned(),
        _ if log.is_empty() => "error".to_owned(),
        _ => log,
    }
}

fn log_format(command: &mut Command) -> String {
    let log = whole_log(command.args(["--log", "access"]));
    let is_json = |line: &str| {
        serde_json::from_str::<serde_json::Value>(line).is_ok_and(|line| {
            line["time"].as_str().is_some_and(is_time) && line["level"].is_string() && line["message"].is_string()
        })
    };
    let is_text = |line: &str| {
        let mut words = line.splitn(3, ' ');
        words.next().is_some_and(is_time) && words.next().is_some() && words.next().is_some()
    };
    assert!(log.lines().count() > 5, "{log}");
    match (log.lines().all(is_json), log.lines().all(is_text)) {
        (true, false) => "json".to_owned(),
        (false, true) => "text".to_owned(),
        _ => log,
    }
}

/// Whether `text` looks like `1994-11-06T08:49:37Z`.
fn is_time(text: &str) -> bool {
    let shape = |byte: u8| if byte.is_ascii_digit() { b'0' } else { byte };
    text.bytes().map(shape).eq(*b"0000-00-00T00:00:00Z")
}

#[test]
fn both_ends_of_each_range_are_accepted() {
    let listen = own_address();
    let edge = SocketAddr::new(listen.ip(), 65535).to_string();
    for (flag, values) in [
        ("--listen", ["127.0.0.1:0", &edge]),
        ("--max-bytes", ["2", "1048576"]),
        ("--max-connections", ["8", "1024"]),
        ("--stale-after", ["1", "31536000"]),
        ("--head-timeout", ["1", "3600"]),
        ("--body-timeout", ["1", "3600"]),
        ("--idle-timeout", ["1", "3600"]),
        ("--write-timeout", ["1", "3600"]),
        ("--shutdown-grace", ["0", "300"]),
    ] {
        for value in values {
            let server = Server::start_with(program().args(["--listen", "127.0.0.1:0", flag, value]));
            assert_eq!(server.get("/health").code, 200, "{flag} {value}");
        }
    }
}

#[test]
fn an_ipv6_address_is_listened_on() {
    let server = Server::start_with(program().args(["--listen", "[::1]:0"]));
    assert!(server.address().is_ipv6());
    assert!(server.log().contains(&format!("listening on [::1]:{}\n", server.address().port())));
    assert_eq!(server.get("/health").code, 200);
}

#[test]
fn a_status_of_max_bytes_is_accepted_and_one_byte_more_is_not() {
    for (arguments, limit) in [(&["--max-bytes", "2"][..], 2), (&[], 65_536), (&["--max-bytes", "1048576"], 1_048_576)]
    {
        let server = Server::start(arguments);
        let largest = status_of(limit);
        assert_eq!(server.post(&largest).code, 200, "{limit}");
        let refused = server.post(&status_of(limit + 1));
        assert_eq!(refused.code, 400, "{limit}");
        assert_eq!(refused.message(), format!("The status is {} bytes; the limit is {limit}", limit + 1));
        assert!(server.get("/status.json").content == largest, "{limit}: the old status stays");
    }
}

#[test]
fn a_ninth_connection_is_answered_where_eight_are_held() {
    let server = Server::start(&["--max-connections", "8"]);
    let mut held: Vec<_> = (0..8).map(|_| kept_connection(&server)).collect();
    let mut ninth = kept_connection(&server);
    assert!(held.remove(0).is_ended(), "the one that is idle longest makes room");
    for client in held.iter_mut().chain([&mut ninth]) {
        client.send(b"GET /ready HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(client.response().code, 200);
    }
}

#[test]
fn a_request_that_came_first_is_answered_when_more_connections_come_behind_it() {
    let server = Server::start(&["--max-connections", "8"]);
    let _held: Vec<_> = (0..8).map(|_| server.begin(b"GET /health HT")).collect();
    // The server counts in milliseconds; those that it holds are older than those that come.
    thread::sleep(Duration::from_millis(10));
    // All of it is there before the server looks.
    server.signal(Signal::STOP);
    let mut probe = server.connect();
    probe.send(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n");
    let _behind: Vec<_> = (0..16).map(|_| server.connect()).collect();
    server.signal(Signal::CONT);
    assert_eq!(probe.response().code, 200);
}

/// A connection that has had an answer and is kept.
fn kept_connection(server: &Server) -> Client {
    let mut client = server.connect();
    client.send(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.response().code, 200);
    client
}

#[test]
fn each_timeout_of_a_second_cuts_off_what_it_is_for_after_a_second() {
    let dir = TemporaryDir::new();
    let seed = large_seed(&dir);
    let after_a_second = |begun: Instant| {
        // What it waits for began a little later than `begun`; it counts in milliseconds.
        assert!((990..2000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    };
    thread::scope(|scope| {
        for (flag, request) in [("--head-timeout", &b"GET /health HT"[..]), ("--body-timeout", HALF_A_POST)] {
            scope.spawn(move || {
                let server = Server::start(&[flag, "1"]);
                let begun = Instant::now();
                let mut client = server.connect();
                client.send(request);
                let response = client.response();
                after_a_second(begun);
                assert_eq!((response.code, response.field("Connection")), (408, Some("close")));
                assert!(client.is_ended());
            });
        }
        scope.spawn(|| {
            let server = Server::start(&["--idle-timeout", "1"]);
            let begun = Instant::now();
            let mut silent = server.connect();
            let mut kept = kept_connection(&server);
            assert!(silent.is_ended());
            after_a_second(begun);
            assert!(kept.is_ended());
            after_a_second(begun);
        });
        scope.spawn(|| {
            let server = Server::start(&["--write-timeout", "1", "--max-bytes", "1048576", "--seed-file", &seed]);
            let before = server.descriptors();
            let begun = Instant::now();
            let mut client = server.connect();
            client.send(&MORE_THAN_BUFFERS_HOLD.concat());
            while begun.elapsed() < Duration::from_millis(500) {
                assert!(server.descriptors() <= before + 1);
                thread::sleep(Duration::from_millis(20));
            }
            assert_eq!(server.descriptors(), before + 1);
            // To read is to make progress, so it is seen from the side that the server closes it.
            while server.descriptors() > before {
                assert!(begun.elapsed() < PATIENCE, "it is not cut off");
                thread::sleep(Duration::from_millis(5));
            }
            after_a_second(begun);
            let mut rest = Vec::new();
            let _ = client.stream().read_to_end(&mut rest);
            assert!(rest.len() < MORE_THAN_BUFFERS_HOLD.len() << 20, "all was sent");
        });
    });
}

#[test]
fn a_grace_time_of_zero_waits_for_no_request() {
    let server = Server::start(&["--shutdown-grace", "0"]);
    let client = server.begin(b"GET /health HT");
    let begun = Instant::now();
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(client.stream().read(&mut [0]).is_ok_and(|read| read == 0), "it is closed without an answer");
}

#[test]
fn a_bad_value_is_refused_with_its_name_and_what_is_accepted_before_anything_is_done() {
    let not_numbers = b"ten|+5|-5| 8|8 |1e3|8.0|0x10|1_000|8s|\xff|9\xff|\xd9\xa5|4294967304|18446744073709551624";
    let no_number_and = |out_of_range: &[u8]| [not_numbers, out_of_range].concat();
    let no_address =
        b"localhost:80|:8080|8080|1.2.3.4|1.2.3.4:|[::1]|::1:80|[::1|1.2.3.4:65536|[::1]:65536|1.2.3.4:+80\
        |1.2.3.4:-1|1.2.3:80|1.2.3.256:80|01.2.3.4:80| 1.2.3.4:80|1.2.3.4:80 |http://1.2.3.4:80|[1.2.3.4]:80|*:80\
        |1.2.3.4:\xff|+5|1e3";
    let no_level = b"debug|Info|INFO| info|info,access|inf|2|\xff";
    let no_format = b"xml|JSON|Text| json|json,text|js|\xff";
    let options = [
        ("--listen", "STATUS_LISTEN", no_address.to_vec(), "ADDR:PORT"),
        ("--max-bytes", "STATUS_MAX_BYTES", no_number_and(b"|0|1|1048577"), "2 to 1048576"),
        ("--max-connections", "STATUS_MAX_CONNECTIONS", no_number_and(b"|0|7|1025"), "8 to 1024"),
        ("--refresh-ms", "STATUS_REFRESH_MS", no_number_and(b"|60001"), "0 to 60000"),
        ("--head-timeout", "STATUS_HEAD_TIMEOUT", no_number_and(b"|0|3601"), "1 to 3600"),
        ("--body-timeout", "STATUS_BODY_TIMEOUT", no_number_and(b"|0|3601"), "1 to 3600"),
        ("--idle-timeout", "STATUS_IDLE_TIMEOUT", no_number_and(b"|0|3601"), "1 to 3600"),
        ("--write-timeout", "STATUS_WRITE_TIMEOUT", no_number_and(b"|0|3601"), "1 to 3600"),
        ("--shutdown-grace", "STATUS_SHUTDOWN_GRACE", no_number_and(b"|301"), "0 to 300"),
        ("--log", "STATUS_LOG", no_level.to_vec(), "error, info, access"),
        ("--log-format", "STATUS_LOG_FORMAT", no_format.to_vec(), "text, json"),
    ];
    // What comes first after the options is the seed; this one would end it with another exit code and its own name.
    let without_seed = || {
        let mut command = program();
        command.env("STATUS_SEED_FILE", "/nonexistent/seed.json");
        command
    };
    thread::scope(|scope| {
        for (flag, variable, bad, accepted) in options {
            scope.spawn(move || {
                for value in bad.split(|&byte| byte == b'|').map(OsStr::from_bytes) {
                    let shown = value.to_string_lossy();
                    assert_refused(without_seed().arg(flag).arg(value), &[flag, accepted, &shown]);
                    assert_refused(without_seed().arg(joined(flag, value)), &[flag, accepted, &shown]);
                    assert_refused(without_seed().env(variable, value), &[variable, accepted, &shown]);
                }
                assert_refused(without_seed().args([flag, ""]), &[flag, accepted]);
                assert_refused(without_seed().arg(joined(flag, OsStr::new(""))), &[flag, accepted]);
            });
        }
    });
    for flag in ["--seed-file", "--state-dir"] {
        assert_refused(program().args([flag, ""]), &[flag, "path"]);
        assert_refused(program().arg(format!("{flag}=")), &[flag, "path"]);
    }
    // The flag that wins is the one that is judged.
    assert_refused(without_seed().args(["--max-bytes", "1"]).env("STATUS_MAX_BYTES", "2"), &["--max-bytes", " 1"]);
}

fn joined(flag: &str, value: &OsStr) -> OsString {
    let mut joined = OsString::from(flag);
    joined.push("=");
    joined.push(value);
    joined
}

#[test]
fn what_the_program_does_not_know_is_refused_by_name() {
    for (arguments, named) in [
        (&["--token-file", "/dev/null"][..], "--token-file"),
        (&["--token-reads"], "--token-reads"),
        (&["--write-listen", "127.0.0.1:0"], "--write-listen"),
        (&["--no-sandbox"], "--no-sandbox"),
        (&["--max-byte", "5"], "--max-byte"),
        (&["--max-bytess=5"], "--max-bytess"),
        (&["--LISTEN=127.0.0.1:0"], "--LISTEN"),
        (&["--no-log"], "--no-log"),
        (&["-l"], "-l"),
        (&["-listen", "127.0.0.1:0"], "-l"),
        (&["-?"], "-?"),
        (&["serve"], "serve"),
        (&["127.0.0.1:0"], "127.0.0.1:0"),
        (&["--log", "info", "access"], "access"),
        (&["--log", "info", "--", "--log"], "--log"),
        (&["healthcheck", "--listen", "127.0.0.1:0"], "--listen"),
        (&["healthcheck", "-q"], "-q"),
        (&["healthcheck", "http://127.0.0.1:1/", "http://127.0.0.1:2/"], "http://127.0.0.1:2/"),
        (&["--log", "info", "healthcheck"], "healthcheck"),
    ] {
        assert_refused(program().args(arguments).env("STATUS_SEED_FILE", "/nonexistent/seed.json"), &[named]);
    }
}

#[test]
fn a_value_of_an_option_that_takes_none_is_refused() {
    for (arguments, named) in
        [(&["--help=x"][..], "--help"), (&["--version=x"], "--version"), (&["healthcheck", "--help=x"], "--help")]
    {
        assert_refused(program().args(arguments), &[named]);
    }
}

#[test]
fn an_option_without_its_value_is_refused_by_name() {
    for Case { flag, .. } in cases(&TemporaryDir::new()) {
        let given = if flag == "--log" { ["--log-format", "text"] } else { ["--log", "info"] };
        assert_refused(program().args(given).arg(flag), &[flag, "value"]);
    }
}

#[test]
fn what_is_refused_cannot_forge_a_line_or_speak_to_the_terminal() {
    let hostile = "a\n2026-01-01T00:00:00Z info forged\r\u{1b}[2J\u{7f}\u{9b}";
    for flag in ["--listen", "--max-bytes", "--shutdown-grace", "--log", "--log-format"] {
        assert_refused(program().args([flag, hostile]), &[flag, "forged"]);
        assert_refused(program().arg(joined(flag, OsStr::new(hostile))), &[flag, "forged"]);
    }
    assert_refused(program().env("STATUS_MAX_BYTES", hostile), &["STATUS_MAX_BYTES", "forged"]);
    for argument in [hostile, &format!("--{hostile}"), "-\u{1b}"] {
        assert_refused(program().arg(argument), &[]);
        assert_refused(program().args(["healthcheck", argument]), &[]);
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    for arguments in [&["--version"][..], &["-V"], &["--log", "info", "-V"]] {
        let Finished { code, stdout, stderr } = finish(program().args(arguments));
        let expected = concat!("gitops-status-server ", env!("CARGO_PKG_VERSION"), "\n");
        assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), expected, ""), "{arguments:?}");
    }
    let help = help();
    for arguments in [&["-h"][..], &["healthcheck", "--help"], &["healthcheck", "-h"], &["--log", "info", "--help"]] {
        // Who asks for help may have a configuration that does not work.
        let Finished { code, stdout, stderr } = finish(program().args(arguments).env("STATUS_MAX_BYTES", "x"));
        assert_eq!((code, &stdout, stderr.as_str()), (Some(0), &help, ""), "{arguments:?}");
    }
}

#[test]
fn help_and_version_end_well_when_nobody_takes_them() {
    for argument in ["--help", "--version"] {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut child = program().arg(argument).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let status = common::wait_for_exit(&mut child);
        assert_eq!(io::read_to_string(child.stderr.unwrap()).unwrap(), "");
        assert_eq!(status.code(), Some(0), "{argument} to a pipe that nobody reads");

        let mut command = started_by("sh");
        let Finished { code, stderr, .. } = finish(command.args(["-c", "exec \"$0\" \"$1\" >&-", &PROGRAM, argument]));
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{argument} to a closed descriptor");
    }
}

fn help() -> String {
    let Finished { code, stdout, stderr } = finish(program().arg("--help"));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    stdout
}

/// An option as a reader sees it: flag with its value, variable, default, meaning.
type Row = [String; 4];

/// The options that a help text lists.
fn options_of_help(help: &str) -> Vec<Row> {
    let lines: Vec<_> = help.lines().collect();
    let rows = lines.windows(3).filter_map(|lines| {
        let flag = lines[0].strip_prefix("  --")?;
        let meaning = lines[1].strip_prefix("      ")?;
        let source = lines[2].strip_prefix("      [env: ")?.strip_suffix("]")?;
        let (variable, default) = source.split_once("] [default: ")?;
        Some([&format!("--{flag}"), variable, default, meaning].map(str::to_owned))
    });
    rows.collect()
}

/// The options in the table of a README.
fn options_of_readme(readme: &str) -> Vec<Row> {
    let mut lines = readme.lines();
    lines.find(|&line| line == "| flag | environment | default | meaning |").expect("there is a table of options");
    let rows = lines.skip(1).take_while(|line| line.starts_with('|')).map(|line| {
        let cells = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")).expect(line);
        let cells: Vec<_> = cells.split(" | ").collect();
        let [flag, variable, default, meaning] = cells[..] else { panic!("not four columns: {line}") };
        let code = |cell: &str| cell.trim_matches('`').to_owned();
        [code(flag), code(variable), code(default), meaning.to_owned()]
    });
    rows.collect()
}

#[test]
fn the_readme_lists_the_same_options_as_the_help() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    assert_eq!(options_of_readme(&readme), options_of_help(&help()));
}

#[test]
fn the_help_lists_every_option_with_its_variable_and_default() {
    let options = options_of_help(&help());
    let switch = ["--stale-unready", "STATUS_STALE_UNREADY", "off"];
    assert!(options.iter().any(|option| option[..3] == switch));
    let valued = options.iter().filter(|option| option[..3] != switch);
    let listed = valued.map(|[flag, variable, default, _]| {
        let (flag, value) = flag.split_once(' ').expect(flag);
        assert!(!value.is_empty());
        (flag, variable.as_str(), default.as_str())
    });
    let cases = cases(&TemporaryDir::new());
    let expected = cases.iter().map(|case| (case.flag, case.variable, case.default));
    assert_eq!(listed.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}
