//! The main job, done by those who do it: the scripts of pipelines and the queries of dashboards, run with curl itself.

mod common;

use common::{Server, UNKNOWN};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Runs a shell script; it has to succeed and to complain of nothing.
fn shell(script: &str) -> String {
    let Output { status, stdout, stderr } =
        Command::new("sh").args(["-e", "-c", script]).output().expect("there is a shell");
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(!stderr.contains("not found"), "this test needs curl, which is not installed: {stderr}");
    assert!(status.success() && stderr.is_empty(), "{script}\n{status}\n{stderr}");
    String::from_utf8(stdout).expect("the output is text")
}

/// The script of a Woodpecker pipeline; only the URL is the test's.
const WOODPECKER: &str = r#"#!/bin/bash
GITOPS_STATUS_SERVER_URL="URL"
STATUS_JSON='{
"repo": "rsyslog",
"server": "rsyslog-lab",
"sync_status": "SYNCED",
"drift_count": 0,
"files": [],
"last_check": "2026-04-21T10:30:00Z"
}'
curl -X POST "$GITOPS_STATUS_SERVER_URL/api/status" \
-H "Content-Type: application/json" \
-d "$STATUS_JSON"
"#;

#[test]
fn the_script_of_a_woodpecker_pipeline_posts_its_status() {
    let server = Server::start(&[]);
    // Its progress meter is for a person at a terminal.
    let script = WOODPECKER.replace("URL\"", &format!("{}\"", server.url(""))).replace("curl -X", "curl -sS -X");
    let answer = shell(&script);
    let posted = script.split('\'').nth(1).unwrap();
    assert_eq!(answer, format!(r#"{{"success":true,"message":"Status updated successfully","status":{posted}}}"#));
    assert_eq!(shell(&format!("curl -sS {}", server.url("/status.json"))), posted);
    assert!(server.wait_for_log("accepted status").contains(r#"sync_status="SYNCED""#));
}

#[test]
fn a_status_with_drifted_files_is_served_as_it_was_posted() {
    let server = Server::start(&[]);
    let status = r#"{
"repo": "rsyslog",
"server": "rsyslog-lab",
"sync_status": "OUT_OF_SYNC",
"drift_count": 2,
"files": [
{"name": "rsyslog.conf"},
{"name": "rsyslog.d/30-lab.conf"}
],
"last_check": "2026-04-21T10:30:00Z"
}"#;
    let url = server.url("");
    shell(&format!("curl -sS -X POST {url}/api/status \\\n-H \"Content-Type: application/json\" \\\n-d '{status}'"));
    assert_eq!(shell(&format!("curl -sS {url}/status.json")), status);
    assert_eq!(shell(&format!("curl -sS -o /dev/null -w '%{{http_code}}' {url}/health")), "200");
    assert_eq!(shell(&format!("curl -sS -o /dev/null -w '%{{http_code}}' {url}/ready")), "200");
}

#[test]
fn a_query_of_grafana_reuses_its_connection_and_meets_the_newest_status() {
    let server = Server::start(&[]);
    let query = |times: u32| {
        shell(&format!(
            "curl -sS -H 'User-Agent: Go-http-client/1.1' -H 'Accept: application/json;q=0.9,text/plain' \
             -H 'Accept-Encoding: gzip' -w '\\n%{{http_code}} %{{num_connects}} %{{content_type}}\\n' \
             '{}?from=1&to=2&_=[1-{times}]'",
            server.url("/status.json")
        ))
    };
    let expected = format!("{UNKNOWN}\n200 1 application/json\n{UNKNOWN}\n200 0 application/json\n");
    assert_eq!(query(2), expected);
    server.post(br#"{"sync_status":"SYNCED"}"#);
    assert_eq!(query(1), "{\"sync_status\":\"SYNCED\"}\n200 1 application/json\n");
}

#[test]
fn curl_is_told_why_a_status_is_refused_while_it_still_sends_ten_megabytes() {
    let server = Server::start(&[]);
    for coding in ["", "-H 'Transfer-Encoding: chunked'"] {
        let answer = shell(&format!(
            "head -c 10000000 /dev/zero | tr '\\0' ' ' | curl -sS {coding} -H 'Content-Type: application/json' \
             --data-binary @- {}",
            server.url("/api/status")
        ));
        let answer: serde_json::Value = serde_json::from_str(&answer).expect("the answer is JSON");
        let message = answer["message"].as_str().unwrap();
        assert!(message.ends_with("bytes; the limit is 65536"), "{message}");
        assert_eq!(server.get("/status.json").text(), UNKNOWN);
    }
}

#[test]
fn curl_that_expects_a_100_does_not_wait_for_it() {
    let server = Server::start(&["--max-bytes", "1048576"]);
    let begun = Instant::now();
    for (size, code) in [(100, "200"), (1_000_000, "200"), (2_000_000, "400")] {
        let answer = shell(&format!(
            "{{ printf '{{\"a\":\"'; head -c {size} /dev/zero | tr '\\0' x; printf '\"}}'; }} | curl -sS -o /dev/null \
             -w '%{{http_code}}' -H 'Expect: 100-continue' -H 'Content-Type: application/json' --data-binary @- {}",
            server.url("/api/status")
        ));
        assert_eq!(answer, code);
    }
    // Without the 100, curl waits a second before it sends, each time.
    assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
}

#[test]
fn curl_fails_with_the_reason_when_a_pipeline_asks_it_to() {
    let server = Server::start(&[]);
    let script = format!(
        "curl --fail-with-body -sS -d '{{\"repo\":1}}' -H 'Content-Type: application/json' {}",
        server.url("/api/status")
    );
    let output = Command::new("sh").args(["-c", &script]).output().expect("there is a shell");
    assert_eq!(output.status.code(), Some(22));
    let message = r#"{"success":false,"message":"Field \"repo\" must be a string or null"}"#;
    assert_eq!(String::from_utf8_lossy(&output.stdout), message);
}

/// Every command of the README that is shown with what it prints, does print it.
#[test]
fn the_readme_shows_what_happens() {
    let server = Server::start(&[]);
    let readme = include_str!("../README.md");
    let mut shown = 0;
    for block in readme.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap();
        for example in block.split("$ ").skip(1) {
            // A command goes on for as long as its lines end with a backslash or its quotes are open.
            let mut end = 0;
            for line in example.split_inclusive('\n') {
                end += line.len();
                if !line.ends_with("\\\n") && example[..end].matches('\'').count() % 2 == 0 {
                    break;
                }
            }
            let (command, output) = example.split_at(end);
            if command.starts_with("curl") {
                let command = command.replace("127.0.0.1:8080", &server.address().to_string());
                let command = command.replacen("curl", "curl -sS", 1);
                assert_eq!(shell(&command).trim_end(), output.trim_end(), "{command}");
                shown += 1;
            }
        }
    }
    assert!(shown >= 3, "the README shows only {shown} commands");
}
