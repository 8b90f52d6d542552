//! The views of the status, as whoever asks gets them: history, metrics, page, badge.

mod common;

use common::{Client, Server, Signal, own_address, program};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

const VIEWS: [&str; 4] = ["/", "/badge.svg", "/history.json", "/metrics"];

fn history(server: &Server) -> Vec<Value> {
    let response = server.get("/history.json");
    assert_eq!((response.code, response.field("Content-Type")), (200, Some("application/json")));
    let rows: Value = serde_json::from_slice(&response.content).expect("it is JSON");
    rows.as_array().expect("it is an array").clone()
}

/// Every sample of the metrics, by its name with its labels.
fn metrics(server: &Server) -> BTreeMap<String, f64> {
    let response = server.get("/metrics");
    assert_eq!(
        (response.code, response.field("Content-Type")),
        (200, Some("text/plain; version=0.0.4; charset=utf-8"))
    );
    let samples = response.text().lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (name, value) = line.rsplit_once(' ').expect(line);
        (name.to_owned(), value.parse().expect(line))
    });
    samples.collect()
}

fn post(server: &Server, status: &Value) {
    assert_eq!(server.post(status.to_string().as_bytes()).code, 200);
}

#[test]
fn the_history_is_empty_before_the_first_post() {
    assert_eq!(history(&Server::start(&[])), [] as [Value; 0]);
}

#[test]
fn the_history_has_a_flat_row_for_each_state_the_newest_first() {
    let server = Server::start(&[]);
    let synced = json!({"repo": "r", "sync_status": "SYNCED", "drift_count": 0, "files": [], "last_check": "one"});
    let drifted = json!({"repo": "r", "sync_status": "OUT_OF_SYNC", "drift_count": 2, "files": ["a", {"name": "b"}]});
    for status in [&synced, &drifted] {
        post(&server, status);
    }
    let rows = history(&server);
    let members = |row: &Value| row.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let mut expected: Vec<_> =
        ["received_at", "last_received_at", "count", "sync_status", "last_check", "drift_count", "files", "truncated"]
            .map(str::to_owned)
            .into();
    expected.sort();
    for row in &rows {
        assert_eq!(members(row), expected);
        assert!(row.as_object().unwrap().values().all(|value| !value.is_object() && !value.is_array()), "{row}");
    }
    let shown = |row: &Value| {
        ["sync_status", "drift_count", "files", "last_check", "count", "truncated"].map(|name| row[name].clone())
    };
    assert_eq!(
        rows.iter().map(shown).collect::<Vec<_>>(),
        [
            [json!("OUT_OF_SYNC"), json!(2), json!(2), Value::Null, json!(1), json!(false)],
            [json!("SYNCED"), json!(0), json!(0), json!("one"), json!(1), json!(false)],
        ]
    );
}

#[test]
fn a_state_that_is_posted_again_extends_its_row_and_one_that_comes_back_has_a_new_one() {
    let server = Server::start(&[]);
    let status = |state: &str, check: u32| json!({"sync_status": state, "last_check": check.to_string(), "run": check});
    for check in 0..100 {
        post(&server, &status("SYNCED", check));
    }
    post(&server, &status("OUT_OF_SYNC", 100));
    thread::sleep(Duration::from_millis(1_100));
    post(&server, &status("OUT_OF_SYNC", 101));
    post(&server, &status("SYNCED", 102));
    let rows = history(&server);
    let shown = |row: &Value| ["sync_status", "count", "last_check"].map(|name| row[name].clone());
    assert_eq!(
        rows.iter().map(shown).collect::<Vec<_>>(),
        [
            [json!("SYNCED"), json!(1), json!("102")],
            [json!("OUT_OF_SYNC"), json!(2), json!("101")],
            [json!("SYNCED"), json!(100), json!("99")],
        ]
    );
    assert!(rows[1]["last_received_at"].as_str() > rows[1]["received_at"].as_str());
    assert_eq!(rows[0]["last_received_at"], rows[0]["received_at"]);
}

#[test]
fn the_history_remembers_sixty_four_states() {
    let server = Server::start(&[]);
    for count in 0..70 {
        post(&server, &json!({"drift_count": count}));
    }
    let counts: Vec<_> = history(&server).iter().map(|row| row["drift_count"].as_u64().unwrap()).collect();
    assert_eq!(counts, (6..70).rev().collect::<Vec<_>>());
}

#[test]
fn the_longest_history_is_valid_and_marks_what_it_cuts() {
    let server = Server::start(&[]);
    // Each of these is six bytes of JSON.
    let text = "\u{1}".repeat(200);
    for count in 0..64 {
        post(
            &server,
            &json!({"sync_status": text, "last_check": text, "drift_count": 9_007_199_254_740_991_u64 - count}),
        );
    }
    let rows = history(&server);
    assert_eq!(rows.len(), 64);
    for row in rows {
        let cut = "\u{1}".repeat(96) + "…";
        assert_eq!(
            [&row["sync_status"], &row["last_check"], &row["truncated"]],
            [&json!(cut), &json!(cut), &json!(true)]
        );
    }
}

#[test]
fn a_post_that_is_refused_is_not_in_the_history() {
    let server = Server::start(&[]);
    post(&server, &json!({"sync_status": "SYNCED"}));
    assert_eq!(server.post(br#"{"sync_status":1}"#).code, 400);
    assert_eq!(history(&server).len(), 1);
}

#[test]
fn the_first_status_of_a_seed_is_in_the_history() {
    let dir = common::TemporaryDir::new();
    let seed = dir.file("seed.json", br#"{"sync_status":"SYNCED"}"#);
    let server = Server::start(&["--seed-file", &seed, "--refresh-ms", "0"]);
    assert_eq!(history(&server).len(), 1);
    std::fs::write(&seed, br#"{"sync_status":"OUT_OF_SYNC"}"#).unwrap();
    let rows = history(&server);
    assert_eq!((rows.len(), &rows[0]["sync_status"]), (2, &json!("OUT_OF_SYNC")));
    // Nothing is stored where there is no directory.
    post(&server, &json!({}));
    assert_eq!(metrics(&server)["gitops_status_state_writes_total"], 0.0);
}

#[test]
fn a_view_has_a_tag_that_changes_with_what_it_shows_and_only_then() {
    let server = Server::start(&[]);
    let tag = |path: &str| server.get(path).field("ETag").map(str::to_owned);
    let ask = |path: &str, tag: &str| {
        let mut client = server.connect();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\nIf-None-Match: {tag}\r\n\r\n").as_bytes());
        client.response()
    };
    assert_eq!(tag("/metrics"), None);
    assert_eq!(server.get("/metrics").field("Cache-Control"), Some("no-store"));
    post(&server, &json!({"sync_status": "SYNCED"}));
    for path in &VIEWS[..3] {
        let before = tag(path).expect("it has a tag");
        thread::sleep(Duration::from_millis(10));
        let response = ask(path, &before);
        assert_eq!((response.code, response.content.len()), (304, 0), "{path}");
        assert_eq!(response.field("ETag"), Some(before.as_str()));
        assert_eq!(response.field("Cache-Control"), Some("no-cache"));
        post(&server, &json!({"sync_status": *path}));
        let after = ask(path, &before);
        assert_eq!(after.code, 200, "{path}");
        assert_ne!(after.field("ETag"), Some(before.as_str()), "{path}");
        // Back to what it was: the page and the history show that there was something else.
        post(&server, &json!({"sync_status": "SYNCED"}));
        assert_eq!(ask(path, &before).code, if *path == "/badge.svg" { 304 } else { 200 }, "{path}");
    }
}

#[test]
fn a_cache_buster_changes_nothing() {
    let server = Server::start(&[]);
    for path in &VIEWS[..3] {
        let busted = server.get(&format!("{path}?_=1795540000"));
        assert_eq!((busted.code, &busted.content), (200, &server.get(path).content), "{path}");
    }
    assert_eq!(server.get("/metrics?x").code, 200);
}

#[test]
fn what_was_not_reported_for_too_long_is_stale_until_it_is() {
    let server = Server::start(&["--stale-after", "1", "--stale-unready"]);
    let look = || {
        let pages = ["/", "/badge.svg"].map(|path| server.get(path).text().to_lowercase().contains("stale"));
        (
            server.get("/ready").code,
            metrics(&server)["gitops_status_stale"],
            metrics(&server)["gitops_status_ready"],
            pages,
        )
    };
    let (fresh, stale) = ((200, 0.0, 1.0, [false; 2]), (503, 1.0, 0.0, [true; 2]));
    for _ in 0..2 {
        post(&server, &json!({"sync_status": "SYNCED"}));
        assert_eq!(look(), fresh);
        thread::sleep(Duration::from_millis(1_050));
        assert_eq!(look(), stale);
        // What lives is not killed for it, and what is known is told.
        assert_eq!((server.get("/health").code, server.get("/status.json").code), (200, 200));
    }
    assert_eq!(server.get("/ready").message(), "No status was posted for more than 1 s");
    // A refused post tells nothing.
    assert_eq!(server.post(b"[]").code, 400);
    assert_eq!(look(), stale);
}

#[test]
fn requests_are_counted_by_what_they_ask_and_what_they_get() {
    let server = Server::start(&[]);
    let before = metrics(&server);
    for (request, times) in [
        ("GET /status.json HTTP/1.1\r\nHost: x\r\n\r\n", 3),
        ("HEAD /status.json HTTP/1.1\r\nHost: x\r\n\r\n", 2),
        ("GET /status.json HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\n\r\n", 4),
        ("OPTIONS /health HTTP/1.1\r\nHost: x\r\n\r\n", 1),
        ("DELETE /ready HTTP/1.1\r\nHost: x\r\n\r\n", 5),
        ("GET /invented/by/a/client HTTP/1.1\r\nHost: x\r\n\r\n", 6),
        ("BREW /status.json HTTP/1.1\r\nHost: x\r\n\r\n", 7),
        ("POST /api/status HTTP/1.1\r\nHost: x\r\n\r\n", 8),
        ("POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]", 9),
    ] {
        for _ in 0..times {
            let mut client = server.connect();
            client.send(request.as_bytes());
            client.read_response(request.starts_with("HEAD"));
        }
    }
    post(&server, &json!({}));
    let after = metrics(&server);
    let name = |route, class, code| {
        format!("gitops_status_http_requests_total{{route=\"{route}\",method=\"{class}\",code=\"{code}\"}}")
    };
    let expected: BTreeMap<_, _> = [
        (name("status", "read", 200), 5.0),
        (name("status", "read", 304), 4.0),
        (name("health", "other", 204), 1.0),
        (name("ready", "other", 405), 5.0),
        (name("none", "read", 404), 6.0),
        (name("none", "other", 501), 7.0),
        (name("post", "write", 415), 8.0),
        (name("post", "write", 400), 9.0),
        (name("post", "write", 200), 1.0),
        (name("metrics", "read", 200), 1.0),
    ]
    .into();
    let requests = after.iter().filter(|(name, _)| name.contains("http_requests_total"));
    let risen = requests.map(|(name, value)| (name.clone(), value - before.get(name).unwrap_or(&0.0)));
    assert_eq!(risen.filter(|(_, value)| *value > 0.0).collect::<BTreeMap<_, _>>(), expected);
    assert_eq!(after["gitops_status_posts_accepted_total"], 1.0);
    assert_eq!(after["gitops_status_posts_refused_total"], 17.0);
    assert!(after["gitops_status_last_refused_post_timestamp_seconds"] >= after["process_start_time_seconds"]);
    assert!(after["process_resident_memory_bytes"] > 65_536.0);
}

#[test]
fn bytes_and_connections_are_counted() {
    let server = Server::start(&["--max-connections", "8", "--idle-timeout", "1", "--head-timeout", "1"]);
    let mut client = server.connect();
    let mut sizes = [0_usize; 2];
    let mut ask = || {
        let request = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
        client.send(request.as_bytes());
        let response = client.response();
        sizes[0] += request.len();
        let text = response.text().to_owned();
        let value = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(&format!("gitops_status_{name} "))).expect(name);
            line.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap()
        };
        (["http_received_bytes_total", "http_sent_bytes_total", "connections"].map(value), response)
    };
    let first = ask().0;
    let second = ask();
    assert_eq!(second.0[0] - first[0], "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".len());
    let third = ask().0;
    // Between the two, the second response was sent: its content, and a head of some 200 bytes.
    let sent = third[1] - second.0[1];
    assert!((150..300).contains(&(sent - second.1.content.len())), "{sent}");

    let open = metrics(&server)["gitops_status_connections_accepted_total"];
    let mut crowd: Vec<Client> = (0..12).map(|_| server.connect()).collect();
    for client in &mut crowd {
        client.send(b"GET /hea");
    }
    thread::sleep(Duration::from_millis(1_300));
    let after = metrics(&server);
    assert_eq!(after["gitops_status_connections_accepted_total"], open + 13.0);
    assert!(after["gitops_status_connections_evicted_total"] >= 4.0, "{after:?}");
    assert!(after["gitops_status_connections_timed_out_total"] >= 7.0, "{after:?}");
    assert_eq!(after["gitops_status_connections_max"], 8.0);
    drop(crowd);
    drop(client);
    thread::sleep(Duration::from_millis(100));
    assert_eq!(metrics(&server)["gitops_status_connections"], 1.0);
}

#[test]
fn stored_statuses_are_counted() {
    let dir = common::TemporaryDir::new();
    let server = Server::start(&["--state-dir", &dir.path("state")]);
    post(&server, &json!({"drift_count": 1}));
    post(&server, &json!({"drift_count": 2}));
    let after = metrics(&server);
    assert_eq!(after["gitops_status_state_writes_total"], 2.0);
    assert_eq!(after["gitops_status_state_write_failures_total"], 0.0);
    assert_eq!(after["gitops_status_drift_count"], 2.0);
    assert_eq!(after["gitops_status_ready"], 1.0);
    let state = dir.path("state");
    std::fs::remove_dir_all(&state).unwrap();
    std::fs::write(&state, "in the way").unwrap();
    assert_eq!(server.post(b"{}").code, 503);
    let after = metrics(&server);
    assert_eq!(after["gitops_status_state_write_failures_total"], 1.0);
    assert_eq!(after["gitops_status_drift_count"], 2.0);
    assert_eq!(after["gitops_status_ready"], 0.0);
}

#[test]
fn those_who_ask_for_views_and_do_not_read_keep_nobody_from_them() {
    let server = Server::start(&[]);
    let text = "\u{1}".repeat(96);
    for count in 0..64 {
        post(&server, &json!({"sync_status": text, "last_check": text, "drift_count": count}));
    }
    let requests = "GET /history.json HTTP/1.1\r\nHost: x\r\n\r\n".repeat(200);
    let mut slow: Vec<Client> = Vec::new();
    for _ in 0..12 {
        let client = server.connect();
        client.stream().write_all(requests.as_bytes()).unwrap();
        slow.push(client);
        let begun = Instant::now();
        for path in VIEWS {
            assert_eq!(server.get(path).code, 200, "{path}");
        }
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    }
    assert_eq!(history(&server).len(), 64);
    let evicted = metrics(&server)["gitops_status_connections_evicted_total"];
    assert!(evicted >= 8.0, "{evicted} of twelve had to go");
}

#[test]
fn many_who_ask_at_the_same_time_all_get_their_views_though_files_have_to_be_looked_at_first() {
    let dir = common::TemporaryDir::new();
    let server = Server::start(&["--state-dir", &dir.path("state"), "--refresh-ms", "0"]);
    post(&server, &json!({"sync_status": "SYNCED"}));
    let mut clients: Vec<_> = (0..40).map(|_| server.connect()).collect();
    for (client, path) in clients.iter_mut().zip(VIEWS.iter().cycle()) {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
    }
    for client in &mut clients {
        assert_eq!(client.response().code, 200);
    }
    assert_eq!(metrics(&server)["gitops_status_connections_evicted_total"], 0.0);
}

#[test]
fn a_server_without_files_counts_what_it_is_told_in_one_run() {
    let address = own_address();
    let started = {
        let server = Server::start_at(program().args(["--listen", &address.to_string()]), address);
        post(&server, &json!({"sync_status": "SYNCED"}));
        let found = metrics(&server);
        assert_eq!(found["gitops_status_synced"], 1.0);
        assert_eq!(found["gitops_status_state{state=\"synced\"}"], 1.0);
        found["process_start_time_seconds"]
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((0.0..20.0).contains(&(now - started)), "{started}");
}

#[test]
fn the_history_outlasts_the_server_however_it_ends() {
    let dir = common::TemporaryDir::new();
    let state = dir.path("state");
    let start = || Server::start(&["--state-dir", &state]);
    let text = "\u{1}é\"\\\n".repeat(30);
    let mut expected = Vec::new();
    for (number, signal) in [Signal::KILL, Signal::TERM, Signal::KILL].into_iter().enumerate() {
        let server = start();
        assert_eq!(history(&server), expected);
        for status in [
            json!({"sync_status": "SYNCED", "drift_count": number}),
            json!({"sync_status": text, "last_check": text, "files": ["a"]}),
            json!({"sync_status": text, "last_check": "again", "files": ["b"]}),
            json!({"sync_status": "OUT_OF_SYNC", "drift_count": number + 1}),
        ] {
            post(&server, &status);
        }
        expected = history(&server);
        assert_eq!(expected.len(), 3 * (number + 1));
        assert_eq!(expected[1]["count"], json!(2));
        server.signal(signal);
        drop(server);
    }
    assert_eq!(history(&start()), expected);
}

#[test]
fn servers_that_share_a_directory_show_the_same_history() {
    let dir = common::TemporaryDir::new();
    let state = dir.path("state");
    let start = || Server::start(&["--state-dir", &state, "--refresh-ms", "0"]);
    let replicas = [start(), start()];
    for number in 0..20_usize {
        post(&replicas[number % 2], &json!({"drift_count": number / 3}));
        // Two reports of the same are told apart by when the file was written, and its clock has ticks.
        thread::sleep(Duration::from_millis(20));
    }
    let rows = replicas.each_ref().map(history);
    assert_eq!(rows[0], rows[1]);
    let counts: Vec<_> = rows[0].iter().map(|row| (row["drift_count"].clone(), row["count"].clone())).collect();
    let expected = [(6, 2), (5, 3), (4, 3), (3, 3), (2, 3), (1, 3), (0, 3)];
    assert_eq!(counts, expected.map(|(number, count)| (json!(number), json!(count))));
    drop(replicas);
    assert_eq!(history(&start()), rows[0]);
}

#[test]
fn a_history_that_is_none_keeps_nobody_from_starting_and_is_written_anew() {
    for what in ["damaged", "a link", "too large"] {
        let dir = common::TemporaryDir::new();
        let state = dir.path("state");
        let file = format!("{state}/history");
        drop({
            let server = Server::start(&["--state-dir", &state]);
            post(&server, &json!({"drift_count": 1}));
            post(&server, &json!({"drift_count": 2}));
            server
        });
        match what {
            "damaged" => std::fs::write(&file, b"\xff\0 x\n1\t2\n").unwrap(),
            "a link" => {
                std::fs::remove_file(&file).unwrap();
                std::os::unix::fs::symlink("/etc/passwd", &file).unwrap();
            }
            _ => std::fs::write(&file, vec![b'1'; 1 << 20]).unwrap(),
        }
        let server = Server::start(&["--state-dir", &state]);
        let numbers = |rows: Vec<Value>| rows.iter().map(|row| row["drift_count"].clone()).collect::<Vec<_>>();
        assert_eq!(numbers(history(&server)), [2], "{what}");
        post(&server, &json!({"drift_count": 3}));
        assert_eq!(numbers(history(&server)), [3, 2], "{what}");
        drop(server);
        assert!(std::fs::symlink_metadata(&file).unwrap().is_file());
        assert_eq!(numbers(history(&Server::start(&["--state-dir", &state]))), [3, 2], "{what}");
    }
}

#[test]
fn a_state_that_is_edited_by_hand_has_its_row_beside_those_of_the_posts() {
    let dir = common::TemporaryDir::new();
    let state = dir.path("state");
    let start = || Server::start(&["--state-dir", &state, "--refresh-ms", "0"]);
    let server = start();
    post(&server, &json!({"sync_status": "SYNCED"}));
    std::fs::write(format!("{state}/status.json"), br#"{"sync_status":"edited"}"#).unwrap();
    let words = |server: &Server| history(server).iter().map(|row| row["sync_status"].clone()).collect::<Vec<_>>();
    assert_eq!(words(&server), ["edited", "SYNCED"]);
    drop(server);
    assert_eq!(words(&start()), ["edited", "SYNCED"]);
}

#[test]
fn a_state_that_is_set_aside_at_start_does_not_take_the_history_with_it() {
    let dir = common::TemporaryDir::new();
    let state = dir.path("state");
    let start = || Server::start(&["--state-dir", &state]);
    let numbers = |server: &Server| history(server).iter().map(|row| row["drift_count"].clone()).collect::<Vec<_>>();
    let server = start();
    for number in 1..=3 {
        post(&server, &json!({"drift_count": number}));
    }
    drop(server);
    std::fs::write(format!("{state}/status.json"), b"no status").unwrap();
    let server = start();
    // The third was in the state alone.
    assert_eq!(numbers(&server), [2, 1]);
    for number in 4..=5 {
        post(&server, &json!({"drift_count": number}));
    }
    drop(server);
    assert_eq!(numbers(&start()), [5, 4, 2, 1]);
}
