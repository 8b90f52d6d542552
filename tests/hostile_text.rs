//! Hostile text: whatever comes in, by a request or on the command line, does not get out raw.
//!
//! The texts of [`texts`] are put into every place of a request that takes text, and into the seed file's name and
//! content. What comes out is judged by code of this file alone: the log in both formats, byte by byte and event by
//! event, the heads of the responses, and the sentences of the errors. Only the status itself is exempt: it is served
//! as it was posted, which is what it is for.

mod common;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::unix::ffi::OsStrExt as _;

use common::{PATIENCE, Server, Signal, TemporaryDir, finish, own_address, program};
use gitops_status_server::http::response::MESSAGE_MAX;

/// Whether a character could deceive who reads it on a terminal: a control character, a line separator, a mark that
/// turns the direction of writing, or one that is not seen.
fn deceives(character: char) -> bool {
    // Those that are not seen: DerivedCoreProperties.txt, `Default_Ignorable_Code_Point`.
    const IGNORABLE: [std::ops::RangeInclusive<char>; 17] = [
        '\u{ad}'..='\u{ad}',
        '\u{34f}'..='\u{34f}',
        '\u{61c}'..='\u{61c}',
        '\u{115f}'..='\u{1160}',
        '\u{17b4}'..='\u{17b5}',
        '\u{180b}'..='\u{180f}',
        '\u{200b}'..='\u{200f}',
        '\u{202a}'..='\u{202e}',
        '\u{2060}'..='\u{206f}',
        '\u{3164}'..='\u{3164}',
        '\u{fe00}'..='\u{fe0f}',
        '\u{feff}'..='\u{feff}',
        '\u{ffa0}'..='\u{ffa0}',
        '\u{fff0}'..='\u{fff8}',
        '\u{1bca0}'..='\u{1bca3}',
        '\u{1d173}'..='\u{1d17a}',
        '\u{e0000}'..='\u{e0fff}',
    ];
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{fff9}'..='\u{fffb}')
        || IGNORABLE.iter().any(|range| range.contains(&character))
}

// ---------------------------------------------------------------------------------------------------- the texts

/// Texts that are UTF-8: each character that [`deceives`], and what such characters are used for.
fn texts() -> Vec<String> {
    let beyond = ['\u{1bca0}', '\u{1d173}', '\u{e0001}', '\u{e0041}', '\u{e0fff}'];
    let single = ('\0'..='\u{ffff}').chain(beyond).filter(|&character| deceives(character));
    let mut texts: Vec<String> = single.map(|character| format!("a{character}b")).collect();
    assert!(texts.len() >= 32 + 1 + 32 + 9 + 4, "{}", texts.len());
    let more = [
        "\u{1b}[2J\u{1b}]0;title\u{7}",
        "\u{9b}31m\u{9d}0;title\u{9c}",
        "\" code=200 x=\"",
        "\"},{\"time\":\"now\",\"level\":\"error\"",
        "\\",
        "\\\"",
        "\\n\\u000a",
        "\\\n",
        "a\r\n2026-01-01T00:00:00Z info accepted status peer=\"1.2.3.4:5\" bytes=2",
        "a\n{\"time\":\"2026-01-01T00:00:00Z\",\"level\":\"info\",\"message\":\"accepted status\"}",
        "a\r\nX-Forged: b\r\nHTTP/1.1 200 OK",
        "\u{202e}DECNYS\u{202c}",
        "\u{2066}\u{202d}a\u{2069}",
        "</script><script>alert(1)</script>",
        "%0d%0aSet-Cookie:%20a=b",
        "%00%1b[2J%e2%80%ae%ff",
        "%n%s{}{0}",
        "\u{e4}\u{20ac}\u{1f600}",
        "\u{fffd}\u{ffff}\u{10ffff}",
    ];
    texts.extend(more.map(str::to_owned));
    texts.push("\u{202e}".repeat(201));
    texts.push("\"".repeat(200));
    texts
}

/// Bytes that are not UTF-8: overlong, alone, surrogates, cut off, beyond the last character.
const NOT_UTF8: [&[u8]; 12] = [
    b"\x80",
    b"\xbf\xbf",
    b"\xc0\x8a",
    b"\xc1\xbf",
    b"\xe0\x80\x8a",
    b"\xed\xa0\x80",
    b"\xed\xa0\x80\xed\xb0\x80",
    b"\xe2\x80",
    b"\xf0\x9f\x98",
    b"\xf4\x90\x80\x80",
    b"\xfe\xff",
    b"\xff\n\xff\r\n",
];

/// A text as it may stand in JSON, with an escape for every one of its characters.
fn escaped(text: &str) -> String {
    text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect()
}

/// A text as it may stand in JSON, with no escape that is not needed.
fn raw_json(text: &str) -> String {
    let quoted = serde_json::to_string(text).expect("a text is JSON");
    quoted[1..quoted.len() - 1].to_owned()
}

/// A text in per cent, whole.
fn percent(text: &[u8]) -> String {
    text.iter().map(|byte| format!("%{byte:02x}")).collect()
}

// ---------------------------------------------------------------------------------------------------- the log

#[derive(Debug, Clone, PartialEq)]
enum Value {
    Number(u64),
    Text(String),
}

/// One line, as it is meant: its fields by their names, `time` left out.
type Fields = BTreeMap<String, Value>;

fn fields(pairs: &[(&str, Value)]) -> Fields {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

fn text(value: impl Into<String>) -> Value {
    Value::Text(value.into())
}

/// The first 200 characters, which is as much as the log shows of what a client sent.
fn cut(text: &str) -> String {
    match text.char_indices().nth(200) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// Takes a whole log apart. It is judged as bytes first.
fn read_log(log: &[u8], format: &str) -> Vec<Fields> {
    let log = std::str::from_utf8(log).expect("a log is UTF-8");
    let lines = log.strip_suffix('\n').expect("the last line is whole").split('\n');
    lines
        .map(|line| {
            assert!(line.len() < 4096, "{} bytes: {line}", line.len());
            assert!(!line.contains(deceives), "{line:?}");
            let mut fields = if format == "json" { read_json_line(line) } else { read_text_line(line) };
            let Some(Value::Text(time)) = fields.remove("time") else { panic!("no time: {line}") };
            let shape = time.bytes().map(|byte| if byte.is_ascii_digit() { b'0' } else { byte });
            assert!(shape.eq(*b"0000-00-00T00:00:00Z"), "{line}");
            fields
        })
        .collect()
}

fn read_json_line(line: &str) -> Fields {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).expect(line);
    let members = object.into_iter().map(|(name, value)| match value {
        serde_json::Value::String(value) => (name, Value::Text(value)),
        serde_json::Value::Number(value) => (name, Value::Number(value.as_u64().expect(line))),
        _ => panic!("{line}"),
    });
    members.collect()
}

/// `TIME LEVEL MESSAGE name=1 name="value"`; a message is what stands before the first name.
fn read_text_line(line: &str) -> Fields {
    let (time, rest) = line.split_once(' ').expect(line);
    let (level, rest) = rest.split_once(' ').expect(line);
    let mut found = fields(&[("time", text(time)), ("level", text(level))]);
    let names = ["peer", "bytes", "sync_status", "code", "reason", "method", "target"];
    let is_event = ["accepted status peer=", "refused status peer=", "request peer="];
    let Some(start) = is_event.iter().find(|start| rest.starts_with(**start)) else {
        found.insert("message".to_owned(), text(unescape(rest).expect(line)));
        return found;
    };
    let message = start.strip_suffix(" peer=").unwrap();
    found.insert("message".to_owned(), text(message));
    let mut rest = &rest[message.len()..];
    while !rest.is_empty() {
        let (name, behind) = rest.strip_prefix(' ').and_then(|rest| rest.split_once('=')).expect(line);
        assert!(names.contains(&name), "{name:?}: {line}");
        let (value, behind) = match behind.strip_prefix('"') {
            Some(behind) => {
                // A quote ends the value unless a backslash stands before it that is not itself escaped.
                let mut backslash = false;
                let end = behind.find(|character| {
                    let ends = character == '"' && !backslash;
                    backslash = character == '\\' && !backslash;
                    ends
                });
                let end = end.expect(line);
                (text(unescape(&behind[..end]).expect(line)), &behind[end + 1..])
            }
            None => {
                let (digits, behind) = behind.split_at(behind.find(' ').unwrap_or(behind.len()));
                (Value::Number(digits.parse().expect(line)), behind)
            }
        };
        assert!(found.insert(name.to_owned(), value).is_none(), "{name} stands twice: {line}");
        rest = behind;
    }
    found
}

/// The four digits of an escape.
fn unit(characters: &mut std::str::Chars<'_>) -> Option<u16> {
    let digits: String = characters.by_ref().take(4).collect();
    u16::from_str_radix(&digits, 16).ok()
}

/// What an escaped text stands for; `None` where an escape is none, or something is not escaped.
fn unescape(escaped: &str) -> Option<String> {
    let mut characters = escaped.chars();
    let mut text = String::new();
    while let Some(character) = characters.next() {
        text.push(match character {
            '"' => return None,
            '\\' => match characters.next()? {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                quoted @ ('"' | '\\') => quoted,
                'u' => {
                    let first = unit(&mut characters)?;
                    let mut units = vec![first];
                    if (0xD800..0xDC00).contains(&first) && characters.by_ref().take(2).eq("\\u".chars()) {
                        units.push(unit(&mut characters)?);
                    }
                    String::from_utf16(&units).ok()?.parse().ok()?
                }
                _ => return None,
            },
            plain => plain,
        });
    }
    Some(text)
}

// ---------------------------------------------------------------------------------------------------- the responses

/// A response whose head has been judged.
struct Response {
    code: u64,
    content: Vec<u8>,
    /// What an error says.
    message: Option<String>,
}

/// Takes a response apart that is the only one on its connection.
fn read_response(bytes: &[u8], context: &str) -> Response {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect(context);
    let head = std::str::from_utf8(&bytes[..end]).expect(context);
    let mut lines = head.split("\r\n");
    let status_line = lines.next().unwrap();
    let code = status_line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest[..3].parse().ok()).expect(context);
    let known = [
        "X-Content-Type-Options",
        "Content-Type",
        "Content-Length",
        "ETag",
        "Cache-Control",
        "Allow",
        "Retry-After",
        "Date",
        "Connection",
    ];
    let mut names = Vec::new();
    for line in head.split("\r\n") {
        assert!(line.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{context}: {line:?}");
    }
    for line in lines {
        let (name, _) = line.split_once(": ").expect(context);
        assert!(known.contains(&name) && !names.contains(&name), "{context}: {line:?}");
        names.push(name);
    }
    let content = bytes[end + 4..].to_vec();
    if code == 304 {
        assert_eq!(content, b"", "{context}");
        return Response { code, content, message: None };
    }
    if content.starts_with(br#"{"success":true,"message":"Status updated successfully","status":{"#) {
        return Response { code, content, message: None };
    }
    let json: serde_json::Value = serde_json::from_slice(&content).expect(context);
    let message = (code >= 400).then(|| {
        let raw = std::str::from_utf8(&content).unwrap();
        assert!(!raw.contains(deceives), "{context}: {raw:?}");
        assert_eq!(json["success"], false, "{context}");
        assert_eq!(json.as_object().map(|object| object.len()), Some(2), "{context}");
        assert!(content.len() <= MESSAGE_MAX + r#"{"success":false,"message":""}"#.len(), "{context}");
        let message = json["message"].as_str().expect(context).to_owned();
        assert!(!message.is_empty() && !message.contains(deceives), "{context}: {message:?}");
        message
    });
    Response { code, content, message }
}

// ---------------------------------------------------------------------------------------------------- the talk

/// A server, what was asked of it, and what its log has to say of that.
struct Talk {
    server: Server,
    expected: Vec<Fields>,
}

impl Talk {
    /// Sends `bytes`, a GET, on a connection of its own, gives the response and adds to what the log has to say.
    fn ask(&mut self, bytes: &[u8], target: &str) -> Response {
        let (peer, response) = self.exchange(bytes);
        // Of a head that is refused nothing is told.
        let known = matches!(response.code, 200 | 304 | 404);
        let (method, target) = if known { ("GET", target) } else { ("-", "-") };
        self.answered(&peer, method, target, &response);
        response
    }

    /// The same for a post, which the log tells of twice. `sync_status` is what it shows of one that is accepted, and
    /// `size` what it says of the body.
    fn post(&mut self, bytes: &[u8], target: &str, sync_status: Option<&str>, size: usize) -> Response {
        let (peer, response) = self.exchange(bytes);
        let level = ("level", text("info"));
        let who = ("peer", text(&*peer));
        let size = ("bytes", Value::Number(size as u64));
        self.expected.push(match &response.message {
            None => {
                let mut line = fields(&[level, ("message", text("accepted status")), who, size]);
                line.extend(sync_status.map(|shown| ("sync_status".to_owned(), text(cut(shown)))));
                line
            }
            Some(reason) => fields(&[
                level,
                ("message", text("refused status")),
                who,
                ("code", Value::Number(response.code)),
                size,
                ("reason", text(&**reason)),
            ]),
        });
        // The target of another path is known only if that is not found.
        let target = if target == "/api/status" || response.code == 404 { target } else { "-" };
        self.answered(&peer, "POST", target, &response);
        response
    }

    fn answered(&mut self, peer: &str, method: &str, target: &str, response: &Response) {
        self.expected.push(fields(&[
            ("level", text("access")),
            ("message", text("request")),
            ("peer", text(peer)),
            ("method", text(method)),
            ("target", text(cut(target))),
            ("code", Value::Number(response.code)),
            ("bytes", Value::Number(response.content.len() as u64)),
        ]));
    }

    fn exchange(&self, bytes: &[u8]) -> (String, Response) {
        let mut stream = TcpStream::connect(self.server.address()).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let peer = stream.local_addr().unwrap().to_string();
        stream.write_all(bytes).expect("the server reads");
        stream.shutdown(Shutdown::Write).expect("the connection is open");
        let mut response = Vec::new();
        stream.read_to_end(&mut response).expect("the server answers");
        (peer, read_response(&response, &bytes[..bytes.len().min(300)].escape_ascii().to_string()))
    }

    /// A GET with a target of these bytes.
    fn get(&mut self, target: &[u8]) -> Response {
        let request = [b"GET ", target, b" HTTP/1.1\r\nHost: x\r\n\r\n"].concat();
        self.ask(&request, &String::from_utf8_lossy(target))
    }

    /// Whether a target of these bytes is read at all.
    fn is_known(&self, target: &[u8]) -> bool {
        target.iter().all(|&byte| byte.is_ascii_graphic() && byte != b'#') && target.len() <= 2048
    }

    /// A GET with a field of this name and value.
    fn with_field(&mut self, target: &str, name: &[u8], value: &[u8]) -> Response {
        let head = format!("GET {target} HTTP/1.1\r\n{}", if name == b"Host" { "" } else { "Host: x\r\n" });
        let request = [head.as_bytes(), name, b": ", value, b"\r\n\r\n"].concat();
        self.ask(&request, target)
    }

    /// A post of this body.
    fn status(&mut self, body: &[u8], sync_status: Option<&str>) -> Response {
        let head = format!(
            "POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.post(&[head.as_bytes(), body].concat(), "/api/status", sync_status, body.len())
    }

    /// A post of `{}` in chunks, with these bytes in an extension or as a trailer; `accepted` if they may stand there.
    fn chunks(&mut self, extension: &[u8], trailer: &[u8], accepted: bool) {
        let head = b"POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
            Transfer-Encoding: chunked\r\n\r\n2;";
        let bytes = [head, extension, b"\r\n{}\r\n0\r\n", trailer, b"\r\n"].concat();
        // What is wrong with an extension shows before the body has begun.
        let size = if accepted || !trailer.is_empty() { 2 } else { 0 };
        let response = self.post(&bytes, "/api/status", None, size);
        assert_eq!(response.code, if accepted { 200 } else { 400 }, "{}", bytes.escape_ascii());
    }
}

/// Puts every text into every place.
fn ask_everything(talk: &mut Talk) {
    let texts = texts();
    let all = texts.iter().map(|text| text.as_bytes()).chain(NOT_UTF8);
    for bytes in all {
        let context = bytes.escape_ascii().to_string();
        // What field values, extensions and trailers may not hold (RFC 9110 §5.5).
        let control = bytes.iter().any(|byte| byte.is_ascii_control());

        // In the target, as it is and in per cent.
        let target = [b"/", bytes].concat();
        let response = talk.get(&target);
        let expected: &[u64] = if talk.is_known(&target) { &[400, 404] } else { &[400] };
        assert!(expected.contains(&response.code), "{context}: {}", response.code);
        assert_eq!(talk.get(format!("/{}", percent(bytes)).as_bytes()).code, 404, "{context}");

        // In the target of a post, and in a post whose head is refused: both are told of twice.
        let request = [b"POST ", &target[..], b" HTTP/1.1\r\nHost: x\r\n\r\n"].concat();
        let response = talk.post(&request, &String::from_utf8_lossy(&target), None, 0);
        assert!(expected.contains(&response.code), "{context}: {}", response.code);
        let request = [b"POST /x HTTP/1.1\r\nContent-Length: 1", bytes, b"\r\n\r\n"].concat();
        assert_eq!(talk.post(&request, "/x", None, 0).code, 400, "{context}");

        // In the method: nothing of it is shown. It begins with a letter, for an empty line may stand before a request.
        let request = [b"M", bytes, b" /x HTTP/1.1\r\nHost: x\r\n\r\n"].concat();
        let response = talk.ask(&request, "/x");
        assert!(matches!(response.code, 400 | 501), "{context}: {}", response.code);

        // In a field's name and in values.
        let name = [b"X", bytes].concat();
        let response = talk.with_field("/x", &name, b"y");
        assert!(matches!(response.code, 400 | 404), "{context}: {}", response.code);
        for name in ["X-Forwarded-For", "User-Agent", "Connection", "If-None-Match"] {
            let response = talk.with_field("/x", name.as_bytes(), bytes);
            // A tab is a blank, and what stands behind a line end is a line of its own.
            let expected: &[u64] = if control { &[400, 404, 431] } else { &[404] };
            assert!(expected.contains(&response.code), "{name}, {context}: {}", response.code);
        }
        for (name, codes) in [
            ("Host", [400, 404]),
            ("Expect", [400, 417]),
            ("Content-Length", [400, 400]),
            ("Transfer-Encoding", [400, 501]),
        ] {
            let response = talk.with_field("/x", name.as_bytes(), bytes);
            assert!(codes.contains(&response.code), "{name}, {context}: {}", response.code);
        }
        let response = talk.with_field("/health", b"If-None-Match", bytes);
        assert!(matches!(response.code, 200 | 400), "{context}: {}", response.code);

        // In an extension and in a trailer.
        let held = !bytes.iter().any(|&byte| byte.is_ascii_control() && byte != b'\t');
        if !bytes.contains(&b'\r') {
            talk.chunks(&[b"a=", bytes].concat(), b"", held);
            talk.chunks(b"a", &[b"X: ", bytes, b"\r\n"].concat(), held);
        }

        // As a body that is no JSON. It begins with what none begins with.
        let response = talk.status(&[b"?", bytes].concat(), None);
        assert_eq!(response.code, 400, "{context}");
        let response = talk.status(&[b"{\"repo\":\"\xff", bytes].concat(), None);
        assert_eq!(response.code, 400, "{context}");
    }

    for text in &texts {
        let (raw, escaped) = (raw_json(text), escaped(text));
        for json in [&raw, &escaped] {
            // What the log shows, what it does not, and a name that is spelled in another way.
            for (body, shown) in [
                (format!("{{\"sync_status\":\"{json}\"}}"), Some(&**text)),
                (format!("{{\"sync_st\\u0061tus\":\"{json}\"}}"), Some(text)),
                (format!("{{\"repo\":\"{json}\",\"server\":\"{json}\",\"last_check\":\"{json}\"}}"), None),
                (format!("{{\"files\":[\"{json}\",{{\"name\":\"{json}\"}}]}}"), None),
                (format!("{{\"{json}\":\"{json}\"}}"), None),
            ] {
                let response = talk.status(body.as_bytes(), shown);
                assert_eq!(response.code, 200, "{body}");
                // The status is exempt, byte for byte.
                assert!(response.content.ends_with(format!("\"status\":{body}}}").as_bytes()), "{body}");
            }
            for body in [
                format!("{{\"repo\":[\"{json}\"]}}"),
                format!("{{\"drift_count\":\"{json}\"}}"),
                format!("{{\"files\":[{{\"{json}\":1}}]}}"),
                format!("{{\"sync_status\":\"{json}\",\"sync_status\":\"{json}\"}}"),
                format!("{{\"x\":\"{json}\",\"repo\":0}}"),
                format!("[\"{json}\"]"),
                format!("\"{json}\""),
                format!("{{\"{json}\":{json}"),
            ] {
                assert_eq!(talk.status(body.as_bytes(), None).code, 400, "{body}");
            }
        }
        // Raw, whatever JSON wants.
        if text.chars().any(|character| character < ' ') {
            assert_eq!(talk.status(format!("{{\"sync_status\":\"{text}\"}}").as_bytes(), None).code, 400, "{text:?}");
        }
        // A media type, which is refused.
        let request =
            format!("POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Type: {}\r\n\r\n", text.replace('\r', ""));
        if !text.contains(|character: char| character.is_ascii_control()) {
            assert_eq!(talk.post(request.as_bytes(), "/api/status", None, 0).code, 415, "{text:?}");
        }
    }

    // A surrogate without its partner stands for no character.
    for (json, shown) in [
        (r"\ud800", "\u{fffd}"),
        (r"\uDFFF", "\u{fffd}"),
        (r"a\udc00\ud800b", "a\u{fffd}\u{fffd}b"),
        (r"\ud800\u202e", "\u{fffd}\u{202e}"),
        (r"\ud800\n", "\u{fffd}\n"),
        (r"\ud83d\ude00", "\u{1f600}"),
    ] {
        let body = format!("{{\"sync_status\":\"{json}\",\"{json}\":\"{json}\"}}");
        assert_eq!(talk.status(body.as_bytes(), Some(shown)).code, 200, "{body}");
    }
    for bytes in NOT_UTF8 {
        let body = [b"{\"sync_status\":\"", bytes, b"\"}"].concat();
        assert_eq!(talk.status(&body, None).code, 400, "{}", body.escape_ascii());
    }

    ask_long_things(talk);
}

/// Much of it.
fn ask_long_things(talk: &mut Talk) {
    let marks = "\u{202e}".repeat(682);
    let quotes = "\"\\".repeat(1023);
    assert_eq!(talk.get(format!("/{marks}").as_bytes()).code, 400);
    for target in [format!("/{quotes}"), format!("/{}", "%0a".repeat(682))] {
        assert_eq!(talk.get(target.as_bytes()).code, 404);
    }
    for target in [format!("/{marks}ab"), format!("/{quotes}ab"), format!("/{}", "\u{202e}".repeat(2700))] {
        assert_eq!(talk.get(target.as_bytes()).code, 414);
    }
    let response = talk.ask(format!("/{}\r\n\r\n", "\u{1b}".repeat(9000)).as_bytes(), "/x");
    assert_eq!(response.code, 400);
    for length in [201, 5000] {
        let request = format!("{} /x HTTP/1.1\r\nHost: x\r\n\r\n", "M".repeat(length));
        assert_eq!(talk.ask(request.as_bytes(), "/x").code, 501);
    }
    let response = talk.ask(format!("{} /x HTTP/1.1\r\n", "M".repeat(9000)).as_bytes(), "/x");
    assert_eq!(response.code, 431);
    for (value, code) in [("\u{202e}".repeat(2600), 404), ("\u{85}".repeat(4000), 404), ("\"".repeat(9000), 431)] {
        assert_eq!(talk.with_field("/x", b"X-Forwarded-For", value.as_bytes()).code, code);
    }
    for name in ["Host", "Content-Length"] {
        assert_eq!(talk.with_field("/x", name.as_bytes(), "\u{202e}".repeat(2000).as_bytes()).code, 400);
    }
    for text in ["\u{202e}".repeat(20_000), "\u{1}\"".repeat(4000)] {
        let body = format!("{{\"sync_status\":\"{}\",\"\u{202e}\":1}}", raw_json(&text));
        assert_eq!(talk.status(body.as_bytes(), Some(&text)).code, 200);
        let body = format!("{{\"sync_status\":\"{}\",\"repo\":1}}", raw_json(&text));
        assert_eq!(talk.status(body.as_bytes(), None).code, 400);
    }
}

/// Asks everything of a server that logs in `format`, and judges its log.
fn assert_log(format: &str) {
    let directory = TemporaryDir::new();
    let seed =
        directory.file("a\"\\\u{1b}[2J\r\n\u{202e}\u{2028}\u{9b}\u{feff}.json", b"{\"sync_status\":\"\xe2\x80\xae\"}");
    let log = directory.path("log");
    let address = own_address();
    let mut command = program();
    command.args(["--listen", &address.to_string(), "--log", "access", "--log-format", format, "--seed-file", &seed]);
    // A file takes the bytes as they are.
    command.stderr(File::create(&log).unwrap());
    let server = Server::start_at(&mut command, address);
    let mut talk = Talk { server, expected: Vec::new() };
    ask_everything(&mut talk);
    talk.server.signal(Signal::TERM);
    let Talk { server, expected } = talk;
    server.wait();

    let lines = read_log(&std::fs::read(log).unwrap(), format);
    let message = |line: &Fields| match &line["message"] {
        Value::Text(message) => message.clone(),
        Value::Number(_) => panic!("{line:?}"),
    };
    // The start, the question whether it answers yet, the end.
    assert!(message(&lines[0]).starts_with("gitops-status-server "), "{:?}", lines[0]);
    assert_eq!(message(&lines[1]), format!("seed file {seed}: 21 bytes"));
    assert_eq!(message(&lines[2]), format!("listening on {address}"));
    assert_eq!((&lines[3]["target"], &lines[3]["code"]), (&text("/health"), &Value::Number(200)));
    let [.., stopping, stopped] = &lines[..] else { panic!("{lines:?}") };
    assert!(message(stopping).starts_with("stopping: "), "{stopping:?}");
    assert_eq!(message(stopped), "stopped");
    for (line, expected) in lines[4..].iter().zip(&expected) {
        assert_eq!(line, expected);
    }
    assert!(expected.len() > 5000, "{}", expected.len());
    assert_eq!(lines.len(), 4 + expected.len() + 2, "each event has one line, and each line is of an event");
}

// ---------------------------------------------------------------------------------------------------- the tests

#[test]
fn whatever_a_client_sends_a_line_of_text_tells_of_one_event() {
    assert_log("text");
}

#[test]
fn whatever_a_client_sends_a_line_of_json_tells_of_one_event() {
    assert_log("json");
}

/// Runs the program, which refuses what it is given, and judges its one line.
fn assert_refused(arguments: &[&OsStr], code: i32) -> String {
    let finished = finish(program().args(arguments));
    assert_eq!(finished.code, Some(code), "{arguments:?}: {}", finished.stderr);
    assert_eq!(finished.stdout, "", "{arguments:?}");
    let last = finished.stderr.strip_suffix('\n').and_then(|lines| lines.split('\n').next_back()).expect("a line");
    assert!(last.starts_with("gitops-status-server: "), "{last:?}");
    for line in finished.stderr.strip_suffix('\n').unwrap().split('\n') {
        assert!(!line.contains(deceives), "{line:?}");
        // The start is told of before the seed is read; nothing else is said.
        assert!(line == last || line.contains(" info gitops-status-server "), "{line:?}");
    }
    last.to_owned()
}

#[test]
fn a_hostile_command_line_is_complained_about_in_one_harmless_line() {
    let directory = TemporaryDir::new();
    let listen = [OsStr::new("--listen"), OsStr::new("127.0.0.1:0")];
    let names = texts().into_iter().filter(|text| !text.contains(['/', '\0']) && text.len() < 250);
    // One run of the program takes many characters at once, another some of the words.
    let (single, words): (Vec<_>, Vec<_>) = names.partition(|name| name.chars().count() == 3);
    let all: Vec<char> = single.iter().flat_map(|name| name.chars().nth(1)).collect();
    let mut names: Vec<String> = all.chunks(60).map(String::from_iter).collect();
    names.extend(words.chunks(3).map(|words| words.concat()).filter(|name| name.len() < 250));
    let mut names: Vec<Vec<u8>> = names.into_iter().map(String::into_bytes).collect();
    names.push(NOT_UTF8.concat());
    for name in &names {
        let path = [directory.path("").as_bytes(), name].concat();
        let path = OsStr::from_bytes(&path);
        let seed = [&listen[..], &[OsStr::new("--seed-file"), path]].concat();
        assert!(assert_refused(&seed, 1).contains("seed file "));
        // Its content is named by place alone.
        std::fs::write(path, [b"{\"repo\":", &name[..]].concat()).unwrap();
        assert!(assert_refused(&seed, 1).contains("Invalid JSON: "));
        let name = OsStr::from_bytes(name);
        assert_refused(&[OsStr::new("--log"), name], 2);
        assert_refused(&[OsStr::new("--listen"), name], 2);
        assert_refused(&[OsStr::from_bytes(&[b"--x", name.as_bytes()].concat())], 2);
        assert_refused(&[OsStr::new("healthcheck"), name], 2);
    }
}

#[test]
fn a_line_that_would_be_too_long_is_cut_and_not_lost() {
    let directory = TemporaryDir::new();
    let mut path = std::path::PathBuf::from(directory.path(""));
    for _ in 0..4 {
        path.push("\u{1}".repeat(200));
        std::fs::create_dir(&path).unwrap();
    }
    path.push("seed.json");
    std::fs::write(&path, "{}").unwrap();
    for format in ["text", "json"] {
        let path = path.to_str().unwrap();
        let server = Server::start(&["--seed-file", path, "--log-format", format]);
        let log = server.log();
        let line = log.lines().find(|line| line.contains("seed file ")).expect("the seed is told of");
        assert!(line.len() < 4096 && line.contains(r"\u0001…"), "{line}");
        assert_eq!(read_log(log.as_bytes(), format).len(), 3, "{log}");
    }
}

#[test]
fn the_checks_of_this_file_find_what_they_look_for() {
    let line = |rest: &str| format!("2026-01-01T00:00:00Z access request peer=\"a\" {rest}\n");
    let refused = |log: &str, format| std::panic::catch_unwind(|| read_log(log.as_bytes(), format)).is_err();
    assert!(!refused(&line(r#"target="\u202e\"\\" code=200"#), "text"));
    for rest in [
        "target=\"\u{202e}\"",
        "target=\"\u{1b}\"",
        "target=\"a\" b\"",
        "target=\"a\\x\"",
        "target=\"a\" code=200 code=400",
        "target=\"\n2026-01-01T00:00:00Z info x\"",
        &format!("target=\"{}\"", "x".repeat(4096)),
    ] {
        assert!(refused(&line(rest), "text"), "{rest:?}");
    }
    assert!(!refused("{\"time\":\"2026-01-01T00:00:00Z\",\"code\":1}\n", "json"));
    for log in ["{}\n", "{\"time\":\"2026-01-01T00:00:00Z\"}", "{\"time\":\"2026-01-01T00:00:00Z\",\"a\":\"\u{85}\"}\n"]
    {
        assert!(refused(log, "json"), "{log:?}");
    }
}
