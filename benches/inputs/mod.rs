//! What the benchmarks are given: statuses of all sizes and shapes, and the requests that carry them.
//!
//! Everything follows from fixed seeds, so that a figure of today and one of next year are of the same bytes.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

#[path = "../../tests/common/random.rs"]
mod random;

use std::time::Duration;

use criterion::Criterion;
use random::Random;

/// Settings with which everything is measured within a few minutes; `--measurement-time 5` and the like make it longer.
pub fn brief() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1))
}

/// The sizes of the statuses, in bytes.
pub const SIZES: [(&str, usize); 4] = [("100 B", 100), ("1 KiB", 1 << 10), ("64 KiB", 64 << 10), ("1 MiB", 1 << 20)];

/// The size of the texts of one shape, in bytes.
pub const SHAPE_SIZE: usize = 64 << 10;

/// A status of `size` bytes as a pipeline posts it: a few fields, and as many files as there is room for, some as
/// strings and some as objects with more in them.
pub fn status(size: usize) -> Vec<u8> {
    let head = r#"{"repo":"shop","server":"prod-1","sync_status":"SYNCED","drift_count":0,"files":["#;
    let mut random = Random(7159);
    let mut text = head.to_owned();
    let tail = |pad: usize| format!(r#"],"by":"{}"}}"#, "c".repeat(pad));
    let mut item = String::new();
    loop {
        let used = text.len() + item.len() + tail(0).len();
        if used > size {
            break;
        }
        text.push_str(&item);
        item = file(&mut random);
        if text.len() > head.len() {
            item.insert(0, ',');
        }
    }
    let pad = size.checked_sub(text.len() + tail(0).len()).expect("the size has room for the fields");
    text.push_str(&tail(pad));
    assert_eq!(text.len(), size);
    text.into_bytes()
}

fn file(random: &mut Random) -> String {
    let area = random.pick(&["apps", "infrastructure", "monitoring", "größe", "サーバー"]);
    let kind = random.pick(&["deployment", "service", "configmap", "kustomization"]);
    let number = random.below(10_000);
    let path = format!("clusters/prod-1/{area}/{kind}-{number}.yaml");
    if random.below(2) == 0 {
        return format!(r#""{path}""#);
    }
    let (lines, share, size) = (random.below(500), random.below(1_000), random.below(100_000));
    let word = random.pick(&["true", "false", "null"]);
    let change = random.pick(&[
        r"@@ -1,3 +1,3 @@\n-  replicas: 2\n+  replicas: 3\n",
        r#"image: \"registry.example.org\/shop:1.4.2\""#,
        r"Gr\u00f6\u00dfe ge\u00e4ndert \ud83d\ude80",
        "größer als erwartet – bitte prüfen 🚀",
        "",
    ]);
    format!(
        r#"{{"name":"{path}","lines":{lines},"share":0.{share:03},"bytes":{size},"changed":{word},"owner":{{"uid":1000,"mode":"0644"}},"diff":"{change}"}}"#
    )
}

/// The same status as [`status`], as people and `jq .` write it.
pub fn pretty(size: usize) -> Vec<u8> {
    let value: serde_json::Value = serde_json::from_slice(&status(size)).expect("a status is JSON");
    serde_json::to_vec_pretty(&value).expect("a status can be written")
}

/// JSON texts of about [`SHAPE_SIZE`] bytes, each of one kind: what a judge may be good or bad at.
pub fn shapes() -> Vec<(&'static str, Vec<u8>)> {
    let mut random = Random(8259);
    let mut filled = |mut element: Box<dyn FnMut(&mut Random) -> String>| {
        let mut text = "[".to_owned();
        loop {
            text.push_str(&element(&mut random));
            if text.len() >= SHAPE_SIZE {
                text.push(']');
                return text.into_bytes();
            }
            text.push(',');
        }
    };
    let prose = |letters: &'static str, count: usize| {
        let letters: Vec<char> = letters.chars().collect();
        move |random: &mut Random| {
            let text: String = (0..count).map(|_| random.pick(&letters)).collect();
            format!("\"{text}\"")
        }
    };
    const ASCII: &str = "the quick brown fox jumps over the lazy dog, 0123456789";
    vec![
        ("status", status(SHAPE_SIZE)),
        ("pretty status", pretty(SHAPE_SIZE)),
        ("one long string", status_of_one_string(SHAPE_SIZE)),
        ("long strings", filled(Box::new(prose(ASCII, 1000)))),
        ("words", filled(Box::new(|random| prose(ASCII, 1 + random.below(12))(random)))),
        ("empty strings", filled(Box::new(|_| "\"\"".to_owned()))),
        ("umlauts", filled(Box::new(prose("Größenänderung übermäßig", 100)))),
        ("kanji", filled(Box::new(prose("状態監視サーバー同期済み", 100)))),
        ("emoji", filled(Box::new(prose("🚀😀🧨🎉", 100)))),
        (
            "log lines",
            filled(Box::new(|random| {
                let line = prose(ASCII, 60)(random);
                format!("\"{}\"", format!(r"{}\n", line.trim_matches('"')).repeat(16))
            })),
        ),
        (
            "escapes",
            filled(Box::new(|random| format!("\"{}\"", random.pick(&[r"\n\t\\", r"\u00e9\ud83d\ude80"]).repeat(20)))),
        ),
        (
            "short tokens",
            filled(Box::new(|random| random.pick(&["1", "0", "true", "null", "[]", "{}", "\"a\"", "-1"]).to_owned())),
        ),
        ("integers", filled(Box::new(|random| random.below(10_000_000).to_string()))),
        (
            "fractions",
            filled(Box::new(|random| {
                format!("{}.{}e-{}", random.below(1000), random.below(1_000_000), random.below(30))
            })),
        ),
        ("literals", filled(Box::new(|random| random.pick(&["true", "false", "null"]).to_owned()))),
        ("small objects", filled(Box::new(|random| format!(r#"{{"id":{},"ok":true,"at":"x"}}"#, random.below(100))))),
        ("deep arrays", filled(Box::new(|_| format!("{}{}", "[".repeat(60), "]".repeat(60))))),
        ("deep objects", filled(Box::new(|_| format!("{}0{}", "{\"a\":".repeat(60), "}".repeat(60))))),
        ("blanks", filled(Box::new(|random| format!("\n{}1", " ".repeat(random.below(60)))))),
        (
            "deeply indented",
            filled(Box::new(|_| {
                let opened: String = (1..40).map(|level| format!("{{\n{}\"a\": ", " ".repeat(2 * level))).collect();
                let closed: String = (0..39).rev().map(|level| format!("\n{}}}", " ".repeat(2 * level))).collect();
                format!("{opened}1{closed}")
            })),
        ),
    ]
}

/// A status that is one string but for its frame.
fn status_of_one_string(size: usize) -> Vec<u8> {
    format!(r#"{{"x":"{}"}}"#, "a".repeat(size - 8)).into_bytes()
}

/// Heads as clients send them.
pub fn heads() -> [(&'static str, Vec<u8>); 3] {
    let curl = "GET /status.json HTTP/1.1\r\nHost: gitops-status-server.observability-stack.svc:8080\r\n\
        User-Agent: curl/8.14.1\r\nAccept: */*\r\n\r\n";
    let grafana = "GET /status.json?_=1766570000000 HTTP/1.1\r\n\
        Host: gitops-status-server.observability-stack.svc.cluster.local\r\n\
        User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36\r\n\
        Accept: application/json, text/plain, */*\r\n\
        Accept-Encoding: gzip, deflate, br, zstd\r\n\
        Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n\
        Cache-Control: no-cache\r\n\
        Connection: keep-alive\r\n\
        If-None-Match: \"1e924b9d737700d7\"\r\n\
        Referer: https://grafana.example.org/d/gitops-status/gitops?orgId=1&refresh=30s\r\n\
        X-Forwarded-For: 10.42.0.17\r\n\
        X-Forwarded-Proto: https\r\n\
        X-Grafana-Org-Id: 1\r\n\r\n";
    let large = format!(
        "GET /status.json HTTP/1.1\r\nHost: x\r\nCookie: {}\r\nAuthorization: Bearer {}\r\n\r\n",
        "session=0123456789abcdef; ".repeat(230),
        "eyJhbGciOiJSUzI1NiIs".repeat(105)
    );
    let heads = [("curl's", curl.to_owned()), ("Grafana's", grafana.to_owned()), ("8 KiB", large)];
    heads.map(|(name, head)| (name, head.into_bytes()))
}

/// A GET of the status as curl sends it.
pub fn get() -> Vec<u8> {
    let [(_, curl), ..] = heads();
    curl
}

/// The post of `status` as curl sends it.
pub fn post(status: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /api/status HTTP/1.1\r\nHost: gitops-status-server.observability-stack.svc:8080\r\n\
            User-Agent: curl/8.14.1\r\nAccept: */*\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        status.len()
    );
    [head.as_bytes(), status].concat()
}

/// `content` as a chunked body, in chunks of `size` bytes.
pub fn chunked(content: &[u8], size: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for chunk in content.chunks(size) {
        body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        body.extend_from_slice(chunk);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"0\r\n\r\n");
    body
}
