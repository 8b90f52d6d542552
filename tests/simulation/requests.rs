//! Makes up what clients send: good requests, bad ones, and good ones that were damaged on the way.

use crate::random::Random;

/// What a request is made from.
pub struct Situation<'s> {
    pub tags: Vec<&'s str>,
    pub max_bytes: usize,
    /// How many of 100 requests post a status.
    pub posts: usize,
    /// How often, in 100 statuses, one is larger than what the answer to its post has room for.
    pub large: usize,
}

/// One request, or something that is meant to look like one.
pub fn request(random: &mut Random, situation: &Situation<'_>) -> Vec<u8> {
    let mut request = match random.below(20) {
        _ if random.below(100) < situation.posts => post(random, situation),
        0..15 => get(random, situation),
        15 | 16 => elsewhere(random),
        17 => b"\r\n".repeat(1 + random.below(3)),
        _ => broken(random),
    };
    if random.below(8) == 0 {
        damage(random, &mut request);
    }
    request
}

fn line(random: &mut Random, method: &str, path: &str) -> String {
    let query = random.pick(&["", "", "", "?", "?a=b&c", "?/../status.json"]);
    let origin = random.pick(&["", "", "", "", "http://x", "HTTP://[::1]:8080", "https://a.b"]);
    let version = random.pick(&["1.1", "1.1", "1.1", "1.1", "1.0"]);
    format!(
        "{method} {origin}{path}{query} HTTP/{version}\r\n{}",
        random.pick(&["Host: x\r\n", "hOST:x:80\r\n", "Host: [::1]\r\n"])
    )
}

fn extras(random: &mut Random, situation: &Situation<'_>) -> String {
    let mut fields = String::new();
    for _ in 0..random.below(3) {
        match random.below(9) {
            0 => fields.push_str("Connection: close\r\n"),
            1 | 2 => fields.push_str("Connection: keep-alive\r\n"),
            3 => fields.push_str("connection: foo , Keep-Alive\t\r\nX:\r\n"),
            4 => fields.push_str(&format!("X-Long: {}\r\n", "y".repeat(random.below(3000)))),
            5 => fields.push_str(&"A: b\r\n".repeat(random.below(70))),
            6 => fields.push_str("Expect: 100-Continue\r\n"),
            7 => fields.push_str("If-None-Match: *\r\n"),
            _ if situation.tags.is_empty() => fields.push_str("If-None-Match: \"0123456789abcdef\"\r\n"),
            _ => {
                let tag = situation.tags[random.below(situation.tags.len())];
                let value = match random.below(4) {
                    0 => format!("W/{tag}"),
                    1 => format!("\"x\" ,, {tag},"),
                    2 => tag.replace('"', ""),
                    _ => tag.to_owned(),
                };
                fields.push_str(&format!("If-None-Match: {value}\r\n"));
            }
        }
    }
    fields
}

fn get(random: &mut Random, situation: &Situation<'_>) -> Vec<u8> {
    let method = random.pick(&["GET", "GET", "GET", "HEAD", "OPTIONS"]);
    let view = random.pick(&["/", "/metrics", "/badge.svg?label=a%20b", "/history.json", "/health"]);
    let path = random.pick(&[
        "/status.json",
        "/status.json",
        "/status.json",
        "/status.json",
        "/status.json",
        "/status.json",
        "/health",
        "/ready",
        "/api/status",
        view,
    ]);
    format!("{}{}\r\n", line(random, method, path), extras(random, situation)).into_bytes()
}

fn elsewhere(random: &mut Random) -> Vec<u8> {
    let method = random.pick(&["GET", "PUT", "DELETE", "POST", "HEAD", "PATCH", "TRACE", "OPTIONS"]);
    let path = random.pick(&["/", "/nothing", "/status.json/", "/health", "/status.json"]);
    let body =
        random.pick(&["\r\n", "\r\n", "Content-Length: 3\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"]);
    format!("{}{body}", line(random, method, path)).into_bytes()
}

fn post(random: &mut Random, situation: &Situation<'_>) -> Vec<u8> {
    let content = match random.below(100) < situation.large {
        true => {
            format!("{{\"n\":{},\"x\":\"{}\"}}", random.below(1_000_000), "w".repeat(450 + random.below(400))).into()
        }
        false => status(random, situation.max_bytes),
    };
    let media_type = match random.below(12) {
        0 => random.pick(&["text/plain", "application/jsonx", "application/json, text/plain", "application/+json"]),
        1 => random.pick(&["Application/JSON ; charset=utf-8", "application/a.b+json;x"]),
        _ => "application/json",
    };
    let line = line(random, "POST", "/api/status").replace("1.0\r\n", random.pick(&["1.1\r\n", "1.0\r\n"]));
    let mut head = format!("{line}Content-Type: {media_type}\r\n{}", extras(random, situation));
    if random.below(20) == 0 {
        head.push_str(random.pick(&["Content-Encoding: gzip\r\n", "Content-Encoding: identity\r\n"]));
    }
    let chunked = random.below(2) == 0;
    if chunked {
        head.push_str(random.pick(&["Transfer-Encoding: chunked\r\n\r\n", "transfer-encoding:\tChunked\r\n\r\n"]));
        [head.into_bytes(), chunks(random, &content)].concat()
    } else {
        head.push_str(&format!("Content-Length: {}\r\n\r\n", content.len()));
        [head.into_bytes(), content].concat()
    }
}

/// `content` in chunks.
fn chunks(random: &mut Random, content: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut rest = content;
    let extension = |random: &mut Random| match random.below(12) {
        0 => ";a=b",
        1 => " ; a=\"b;c\"",
        _ => "",
    };
    while !rest.is_empty() {
        let most = random.pick(&[1, 7, 300, usize::MAX]);
        let size = 1 + random.below(rest.len().min(most));
        let digits = match random.below(16) {
            0..4 => format!("{size:X}"),
            4..7 => format!("{size:05x}"),
            7 => format!("{size:0width$x}", width = random.pick(&[16, 16, 16, 17])),
            _ => format!("{size:x}"),
        };
        body.extend_from_slice(format!("{digits}{}\r\n", extension(random)).as_bytes());
        body.extend_from_slice(&rest[..size]);
        body.extend_from_slice(b"\r\n");
        rest = &rest[size..];
    }
    let trailers = random.pick(&["", "", "", "A: b\r\n", "Content-Length: 5\r\nX:\r\n"]);
    body.extend_from_slice(format!("0{}\r\n{trailers}\r\n", extension(random)).as_bytes());
    body
}

/// A status that somebody else has put into a file.
pub fn changed(random: &mut Random) -> Vec<u8> {
    match random.below(5) {
        0 => b"{}".to_vec(),
        _ => format!("{{\"by\":\"others\",\"n\":{}}}", 100_000 + random.below(900_000)).into_bytes(),
    }
}

/// A status, good or bad.
fn status(random: &mut Random, max_bytes: usize) -> Vec<u8> {
    let number = 100_000 + random.below(900_000);
    match random.below(20) {
        0 => {
            let bad: [&[u8]; 22] = [
                b"",
                b" ",
                b"[]",
                b"null",
                b"{\"a\":1}x",
                b"{\"a\":1,}",
                b"{\"repo\":1}",
                b"{\"repo\":\"a\",\"repo\":\"b\"}",
                b"{\"r\\u0065po\":\"a\",\"repo\":null}",
                b"{\"drift_count\":-1}",
                b"{\"drift_count\":1.5}",
                b"{\"drift_count\":9007199254740992}",
                b"{\"files\":{}}",
                b"{\"files\":[1]}",
                b"{\"files\":[{\"names\":\"a\"}]}",
                b"\xEF\xBB\xBF{}",
                b"{\"a\":\"\xFF\"}",
                b"{\"a\":\"\xC0\x80\"}",
                b"{\"a\":\"\t\"}",
                b"{\"a\":\"\\x\"}",
                b"{\"a\":01}",
                b"{\"a\":\"",
            ];
            random.pick(&bad).to_vec()
        }
        1 => [b"{\"a\":".repeat(63), b"{".to_vec(), b"}".repeat(64)].concat(),
        2 => [b"{\"a\":".repeat(64), b"[".to_vec(), b"]".to_vec(), b"}".repeat(64)].concat(),
        3..5 => {
            // Just below the limit, at it, or above.
            let length = (max_bytes + 1).saturating_sub(random.below(3)).max(20);
            format!("{{\"n\":{number},\"x\":\"{}\"}}", "z".repeat(length - 19)).into_bytes()
        }
        5..8 => {
            let mut status = format!("{{\"n\":{number},\"drift_count\":12}}").into_bytes();
            damage(random, &mut status);
            status
        }
        8..12 => format!("{{\"n\":{number},\"x\":\"{}\"}}", "y".repeat(random.below(2 * max_bytes))).into_bytes(),
        _ => format!(
            " {{\"repo\":\"r\u{e9}\",\"sync_status\":\"SYNCED\",\"files\":[\"a\",{{\"name\":\"b\"}}],\"n\":{number}}}\n"
        )
        .into_bytes(),
    }
}

/// Something that is wrong in a way that is worth its own line.
fn broken(random: &mut Random) -> Vec<u8> {
    let long = |prefix: &str, length: usize, suffix: &str| format!("{prefix}{}{suffix}", "a".repeat(length));
    let fixed = [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET /health HTTP/1.1\nHost: x\n\n",
        "GET /health HTTP/1.1\r\nHost : x\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
        "GET /health HTTP/2.0\r\nHost: x\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: x\r\nExpect: tea\r\n\r\n",
        "BREW /health HTTP/1.1\r\nHost: x\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET  /health HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET health HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET http://:80/health HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET http://[::g]/health HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET http://a%41/health HTTP/1.1\r\nHost: a%4\r\n\r\n",
        "GET /health#x HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /h\u{e9} HTTP/1.1\r\nHost: x\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\0",
        "POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
        "POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n\r\n{}",
        "POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "POST /api/status HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n",
        "POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{} \r\n",
        "POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n{}",
    ];
    match random.below(fixed.len() + 6) {
        0 => long("GET /", 2047 + random.below(3) - 1, " HTTP/1.1\r\nHost: x\r\n\r\n"),
        1 => long("GET /", 9000, ""),
        2 => long("HEAD / HTTP/1.1\r\nHost: x\r\nA: ", 8155 + random.below(5), "\r\n\r\n"),
        3 => long("HEAD / HTTP/1.1\r\nHost: x\r\nA: ", 9000, "\r\n\r\n"),
        4 => format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(62 + random.below(4))),
        5 => {
            let line = if random.below(2) == 0 { "0;" } else { "0\r\nA:" };
            let head = "POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
            long(&format!("{head}{line}"), 8190 + random.below(3), "\r\n\r\n")
        }
        at => fixed[at - 6].to_owned(),
    }
    .into_bytes()
}

/// Changes, drops, adds or doubles one byte.
fn damage(random: &mut Random, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let at = random.below(bytes.len());
    let byte = random.pick(b"\0\t\n\r \"%+,-/019:;=aEx{}[]\x7f\x80\xff");
    match random.below(4) {
        0 => bytes[at] = byte,
        1 => drop(bytes.remove(at)),
        2 => bytes.insert(at, byte),
        _ => bytes.insert(at, bytes[at]),
    }
}
