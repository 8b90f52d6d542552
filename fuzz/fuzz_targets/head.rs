//! Request heads against a reading of RFC 9112 that has the whole head before it, line by line.
#![no_main]

use std::net::Ipv6Addr;

use gitops_status_server::http::framing::Length;
use gitops_status_server::http::head::{FIELDS_MAX, HEAD_MAX, Head, Method, TARGET_MAX, field_lines, parse};
use gitops_status_server_fuzz::expand;
use libfuzzer_sys::fuzz_target;

/// What the standards say about some bytes.
#[derive(Debug)]
enum Verdict<'b> {
    /// The head does not end here.
    Incomplete,
    /// It ends, and it has to be refused.
    Refused(#[expect(dead_code, reason = "for those who read a finding")] &'static str),
    Whole(Reading<'b>),
}

#[derive(Debug, PartialEq)]
struct Reading<'b> {
    len: usize,
    method: &'b str,
    target: &'b [u8],
    path: &'b [u8],
    version_10: bool,
    keep_alive: bool,
    expects_continue: bool,
    body: Length,
    fields: Vec<(&'b str, &'b [u8])>,
    /// Something in it is not by the letter of a grammar, but harmless: it may be refused.
    odd: bool,
}

fn read(bytes: &[u8]) -> Verdict<'_> {
    let is_line_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let begin = bytes.iter().position(|byte| !is_line_end(byte)).unwrap_or(bytes.len());
    let Some(end) = bytes[begin..].windows(4).position(|four| four == b"\r\n\r\n") else { return Verdict::Incomplete };
    let len = begin + end + 4;
    if bytes[..begin] != *b"\r\n".repeat(begin / 2) {
        return Verdict::Refused("what stands before it is no empty lines");
    }
    read_lines(&bytes[begin..begin + end], len).map_or_else(Verdict::Refused, Verdict::Whole)
}

/// Reads a head without the empty lines around it.
fn read_lines(head: &[u8], len: usize) -> Result<Reading<'_>, &'static str> {
    let mut lines = Vec::new();
    let mut rest = head;
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    lines.push(rest);
    if lines.iter().any(|line| !line.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..))) {
        return Err("a control character");
    }
    if len > HEAD_MAX {
        return Err("too large");
    }
    let words: Vec<&[u8]> = lines[0].split(|&byte| byte == b' ').collect();
    let [method, target, version] = words[..] else { return Err("no three words") };
    let method = std::str::from_utf8(method).map_err(|_| "method")?;
    if !["GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "TRACE", "PATCH"].contains(&method) {
        return Err("method");
    }
    let version_10 = match version {
        b"HTTP/1.0" => true,
        b"HTTP/1.1" => false,
        _ => return Err("version"),
    };
    let (path, odd_target) = read_target(target, method)?;
    let fields = lines[1..].iter().map(|line| read_field(line)).collect::<Result<Vec<_>, _>>()?;
    if fields.len() > FIELDS_MAX {
        return Err("too many fields");
    }
    let values = |name: &str| -> Vec<&[u8]> {
        fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| *value).collect()
    };
    let elements = |name: &str| -> Vec<String> { values(name).into_iter().flat_map(elements).collect() };

    let odd_host = match values("Host")[..] {
        [host] => read_host(host)?,
        [] if version_10 => false,
        _ => return Err("not one Host"),
    };
    let expectations = elements("Expect");
    if expectations.iter().any(|expectation| expectation != "100-continue") {
        return Err("an unknown expectation");
    }
    let body = match (&values("Content-Length")[..], &values("Transfer-Encoding")[..]) {
        ([], []) => Length::Bytes(0),
        (lengths, []) => {
            let lengths = lengths.iter().map(|digits| read_number(digits)).collect::<Result<Vec<_>, _>>()?;
            if lengths.iter().any(|length| *length != lengths[0]) {
                return Err("lengths that differ");
            }
            Length::Bytes(lengths[0])
        }
        ([], _) if !version_10 && elements("Transfer-Encoding") == ["chunked"] => Length::Chunked,
        _ => return Err("an unclear end of the body"),
    };
    let options = elements("Connection");
    let has = |option: &str| options.iter().any(|other| other == option);
    Ok(Reading {
        len,
        method,
        target,
        path,
        version_10,
        keep_alive: !has("close") && (!version_10 || has("keep-alive")),
        expects_continue: !expectations.is_empty() && !version_10,
        body,
        odd: odd_target || odd_host,
        fields,
    })
}

/// The elements of a list in lower case, those that are empty left out (RFC 9110 §5.6.1).
fn elements(value: &[u8]) -> Vec<String> {
    let elements = value.split(|&byte| byte == b',').map(|element| String::from_utf8_lossy(trim(element)));
    elements.filter(|element| !element.is_empty()).map(|element| element.to_ascii_lowercase()).collect()
}

fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

fn read_field(line: &[u8]) -> Result<(&str, &[u8]), &'static str> {
    let colon = line.iter().position(|&byte| byte == b':').ok_or("a field without a colon")?;
    let (name, value) = line.split_at(colon);
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    if name.is_empty() || !name.iter().all(is_token) {
        return Err("a field name");
    }
    Ok((std::str::from_utf8(name).expect("ASCII"), trim(&value[1..])))
}

fn read_number(digits: &[u8]) -> Result<u64, &'static str> {
    let digits = std::str::from_utf8(digits).map_err(|_| "a length")?;
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err("a length");
    }
    digits.parse().map_err(|_| "a length")
}

/// The path, and whether the target is odd (RFC 9112 §3.2).
fn read_target<'b>(target: &'b [u8], method: &str) -> Result<(&'b [u8], bool), &'static str> {
    if target.len() > TARGET_MAX {
        return Err("a long target");
    }
    if target.is_empty() || target.iter().any(|byte| matches!(byte, 0..=b' ' | 0x7F)) {
        return Err("a character in the target");
    }
    if target.iter().any(|byte| !byte.is_ascii() || *byte == b'#') {
        return Err("a fragment, or a letter beyond ASCII");
    }
    // Of the others RFC 3986 has some only as %XX.
    let odd = target.iter().any(|byte| b"\"<>[\\]^`{|}".contains(byte));
    if target == b"*" {
        return if method == "OPTIONS" { Ok((target, odd)) } else { Err("* without OPTIONS") };
    }
    let before_query = |part: &'b [u8]| part.split(|&byte| byte == b'?').next().unwrap_or_default();
    if target[0] == b'/' {
        return Ok((before_query(target), odd));
    }
    let scheme = ["http://", "https://"]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|begun| begun.eq_ignore_ascii_case(scheme.as_bytes())));
    let rest = &target[scheme.ok_or("no form of target")?.len()..];
    let authority = rest.split(|byte| b"/?".contains(byte)).next().unwrap_or_default();
    if authority.is_empty() || authority[0] == b':' {
        return Err("no host");
    }
    let odd = read_host(authority)? || odd;
    let path = before_query(&rest[authority.len()..]);
    match path {
        // Of no path RFC 9110 §4.2.3 says that it is "/" unless OPTIONS asks, and RFC 9112 §3.2.4 that it is "*" then,
        // of one with a query neither says anything.
        b"" if method == "OPTIONS" => Ok((b"*", odd)),
        b"" => Ok((b"/", odd)),
        path => Ok((path, odd)),
    }
}

/// Whether `uri-host [ ":" port ]` is odd (RFC 9110 §7.2).
fn read_host(host: &[u8]) -> Result<bool, &'static str> {
    let host = std::str::from_utf8(host).map_err(|_| "a host")?;
    let (name, port) = match host.strip_prefix('[') {
        Some(literal) => literal.split_once(']').ok_or("a literal without an end")?,
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    if !port.is_empty() && !port.strip_prefix(':').is_some_and(|port| port.bytes().all(|digit| digit.is_ascii_digit()))
    {
        return Err("a port");
    }
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(&byte);
    if host.starts_with('[') {
        return if name.parse::<Ipv6Addr>().is_ok() { Ok(false) } else { Err("a literal") };
    }
    let is_escape = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|digit| digit.is_ascii_hexdigit());
    if !name.bytes().all(is_of_name) || !name.split('%').skip(1).all(is_escape) {
        return Err("a host");
    }
    // Two Host lines that somebody joined have a comma between them.
    Ok(name.contains(','))
}

fn assert_same(head: &Head<'_, '_>, due: &Reading<'_>, told: &dyn Fn() -> String) {
    let method = match due.method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "OPTIONS" => Method::Options,
        _ => Method::Other,
    };
    assert_eq!(head.method, method, "{}", told());
    assert_eq!((head.len, head.method_text), (due.len, due.method), "{}", told());
    assert_eq!((head.target.as_bytes(), head.path.as_bytes()), (due.target, due.path), "{}", told());
    assert_eq!((head.version_10, head.keep_alive), (due.version_10, due.keep_alive), "{}", told());
    assert_eq!((head.expects_continue, head.body), (due.expects_continue, due.body), "{}", told());
    for name in ["content-type", "content-encoding", "if-none-match", "host"] {
        let values = due.fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| *value);
        assert!(head.values(name).eq(values), "{name}: {}", told());
    }
}

fuzz_target!(|data: &[u8]| {
    let bytes = &expand(data)[..];
    let mut room = field_lines();
    let found = parse(bytes, &mut room);
    let due = read(bytes);
    let told = || format!("{due:?}: {}", bytes.escape_ascii());
    match (&found, &due) {
        (Ok(Some(head)), Verdict::Whole(due)) => assert_same(head, due, &told),
        (Ok(None), Verdict::Incomplete) => assert!(bytes.len() < HEAD_MAX, "{}", told()),
        (Err(_), Verdict::Incomplete | Verdict::Refused(_)) => {}
        (Err(_), Verdict::Whole(due)) if due.odd => {}
        _ => panic!("{found:?}: {}", told()),
    }

    // However the bytes arrive, the first that is found is the same.
    let arrived = bytes.len().min(HEAD_MAX);
    for end in (0..arrived).step_by(arrived / 24 + 1).chain(arrived.checked_sub(1)) {
        let mut room = field_lines();
        match (parse(&bytes[..end], &mut room), &found) {
            (Ok(None), Ok(Some(head))) => assert!(end < head.len, "{end}: {}", told()),
            (Ok(Some(_)), Ok(Some(head))) => assert!(end >= head.len, "{end}: {}", told()),
            (Ok(None), _) => {}
            (Err(error), Err(whole)) if bytes.len() <= HEAD_MAX => assert_eq!(error, *whole, "{end}: {}", told()),
            (Err(_), Err(_)) => {}
            (part, _) => panic!("{end}: {part:?}: {found:?}: {}", told()),
        }
    }
    if let (Ok(Some(head)), Verdict::Whole(due)) = (&found, &due) {
        for behind in [&b""[..], b"\r\n", b"GET / HTTP/1.1\r\n", b"\0\xFF"] {
            let longer = [&bytes[..head.len], behind].concat();
            let mut room = field_lines();
            let again = parse(&longer, &mut room);
            assert_same(again.unwrap().as_ref().unwrap(), due, &told);
        }
    }
});
