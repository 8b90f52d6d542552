//! A second reading of RFC 9110, RFC 9112 and of what the README calls a status: slow, over whole buffers, and so plain
//! that it can be compared with the text. It shares no line with the program.
//!
//! A request may have several faults; which one it is refused for is free, so a reading gives the codes of all of them.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv6Addr;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

pub type Codes = BTreeSet<u16>;

/// What some bytes are.
#[derive(Debug)]
pub enum Reading<T> {
    /// The beginning of something. Where there are codes, no end can make it good, and it may be refused already.
    Partial(Codes),
    /// Nothing that can be taken: it has to be refused with one of these codes.
    Broken(Codes),
    Whole(T),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    Bytes(u64),
    Chunked,
}

#[derive(Debug)]
pub struct Head {
    /// How many bytes it has.
    pub length: usize,
    pub method: String,
    pub path: String,
    pub version_10: bool,
    pub keep_alive: bool,
    pub expects_continue: bool,
    pub body: Length,
    fields: Vec<(String, Vec<u8>)>,
}

impl Head {
    pub fn values(&self, name: &str) -> Vec<&[u8]> {
        self.fields.iter().filter(|(other, _)| other == name).map(|(_, value)| &value[..]).collect()
    }
}

const HEAD_MAX: usize = 8192;
const TARGET_MAX: usize = 2048;
const FIELDS_MAX: usize = 64;
const DROPPED_MAX: usize = 8192;

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (b' '..=b'~').contains(&byte) || byte >= 0x80
}

fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// The members of a comma-separated list, without the empty ones, in lower case.
fn members(values: &[&[u8]]) -> Vec<Vec<u8>> {
    let all = values.iter().flat_map(|value| value.split(|&byte| byte == b','));
    all.map(trim).filter(|member| !member.is_empty()).map(<[u8]>::to_ascii_lowercase).collect()
}

/// The head of the request that begins with `bytes`; no empty line stands before it, at most pieces of one.
pub fn head(bytes: &[u8]) -> Reading<Head> {
    let begin = bytes.iter().take_while(|byte| b"\r\n".contains(byte)).count();
    let end = find(&bytes[begin..], b"\r\n\r\n").map(|at| begin + at + 4).filter(|&end| end <= HEAD_MAX);
    let text = &bytes[..end.unwrap_or(bytes.len())];
    let mut faults = Codes::new();

    for (at, &byte) in text.iter().enumerate() {
        let fine = match byte {
            b'\r' => text.get(at + 1).is_none_or(|&next| next == b'\n'),
            b'\n' => at > 0 && text[at - 1] == b'\r',
            _ => is_text(byte),
        };
        if !fine {
            faults.insert(400);
        }
    }

    // A bare LF is a fault, and yet others may be found behind it.
    let mut lines = Vec::new();
    let mut rest = &text[begin.min(text.len())..];
    while let Some(at) = find(rest, b"\n") {
        lines.push(rest[..at].strip_suffix(b"\r").unwrap_or(&rest[..at]));
        rest = &rest[at + 1..];
    }
    if end.is_some() {
        lines.pop().expect("the last line is the empty one");
    }
    // A line that has not come to its end yet, or nothing of it but half of its line end is missing.
    let cut_in_line_end = rest.ends_with(b"\r");
    let torn = if end.is_some() { None } else { Some(rest.strip_suffix(b"\r").unwrap_or(rest)) };

    let mut request = (String::new(), String::new(), false);
    let mut fields = Vec::new();
    match lines.split_first() {
        None => request_line(torn.unwrap_or_default(), !cut_in_line_end, &mut faults, &mut request),
        Some((first, others)) => {
            request_line(first, false, &mut faults, &mut request);
            for line in others {
                match line.iter().position(|&byte| byte == b':') {
                    Some(colon) if colon > 0 && line[..colon].iter().all(|&byte| is_token(byte)) => {
                        let name = String::from_utf8(line[..colon].to_ascii_lowercase()).unwrap();
                        fields.push((name, trim(&line[colon + 1..]).to_vec()));
                    }
                    _ => drop(faults.insert(400)),
                }
            }
            if let Some(torn) = torn {
                let name = torn.split(|&byte| byte == b':').next().unwrap_or_default();
                let is_whole = cut_in_line_end && !torn.is_empty() && name.len() == torn.len();
                if !name.iter().all(|&byte| is_token(byte)) || torn.starts_with(b":") || is_whole {
                    faults.insert(400);
                }
            }
            if others.len() + usize::from(torn.is_some_and(|torn| !torn.is_empty())) > FIELDS_MAX {
                faults.insert(431);
            }
        }
    }

    let (method, target, version_10) = request;
    let Some(length) = end else {
        if bytes.len() >= HEAD_MAX {
            faults.insert(431);
            if target.len() > TARGET_MAX {
                faults.insert(414);
            }
            return Reading::Broken(faults);
        }
        return Reading::Partial(faults);
    };

    let mut head = Head {
        length,
        path: String::new(),
        version_10,
        keep_alive: false,
        expects_continue: false,
        body: Length::Bytes(0),
        method,
        fields,
    };
    if target.len() > TARGET_MAX {
        faults.insert(414);
    }
    match path(&target, &head.method) {
        Some(path) => head.path = path,
        None => drop(faults.insert(400)),
    }

    let hosts = head.values("host");
    if hosts.iter().any(|host| !is_host(host)) || hosts.len() > 1 || (hosts.is_empty() && !version_10) {
        faults.insert(400);
    }

    let mut lengths = BTreeSet::new();
    for value in head.values("content-length") {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        match String::from_utf8_lossy(value).parse::<u64>() {
            Ok(length) if digits => drop(lengths.insert(length)),
            _ => drop(faults.insert(400)),
        }
    }
    if lengths.len() > 1 {
        faults.insert(400);
    }
    let codings = head.values("transfer-encoding");
    let body = if codings.is_empty() {
        Length::Bytes(lengths.first().copied().unwrap_or(0))
    } else {
        if version_10 || !head.values("content-length").is_empty() {
            faults.insert(400);
        }
        if members(&codings) != [b"chunked"] {
            faults.extend([400, 501]);
        }
        Length::Chunked
    };

    let expectations = members(&head.values("expect"));
    if expectations.iter().any(|expectation| expectation != b"100-continue") {
        faults.insert(417);
    }
    let expects_continue = !expectations.is_empty() && !version_10;
    let options = members(&head.values("connection"));
    let has = |option: &[u8]| options.iter().any(|other| other == option);
    let keep_alive = !has(b"close") && (!version_10 || has(b"keep-alive"));

    if !faults.is_empty() {
        return Reading::Broken(faults);
    }
    Reading::Whole(Head { body, expects_continue, keep_alive, ..head })
}

/// Reads method, target and version into `request`. A `torn` line may go on.
fn request_line(line: &[u8], torn: bool, faults: &mut Codes, request: &mut (String, String, bool)) {
    let parts: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let complete = |index: usize| index + 1 < parts.len() || !torn;
    if (!torn && parts.len() != 3) || parts.len() > 3 {
        faults.insert(400);
        if parts.get(2).is_some_and(|part| part.starts_with(b"HTTP/")) {
            faults.insert(505);
        }
        return;
    }
    for (index, part) in parts.iter().enumerate() {
        if part.is_empty() && complete(index) {
            faults.insert(400);
        }
    }
    let method = parts[0];
    if !method.iter().all(|&byte| is_token(byte)) {
        faults.insert(400);
    } else if !torn {
        request.0 = String::from_utf8(method.to_vec()).unwrap();
        let known = ["GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "TRACE", "PATCH"];
        if !known.contains(&&*request.0) {
            faults.insert(501);
        }
    }
    if let Some(target) = parts.get(1) {
        if target.contains(&b'\t') || (complete(1) && str::from_utf8(target).is_err()) {
            faults.insert(400);
        }
        request.1 = String::from_utf8_lossy(target).into_owned();
    }
    if let Some(&version) = parts.get(2) {
        let known: [&[u8]; 2] = [b"HTTP/1.0", b"HTTP/1.1"];
        if torn {
            if !known.iter().any(|known| known.starts_with(version)) {
                faults.extend([400, 505]);
            }
        } else if !known.contains(&version) {
            let of_http = version.starts_with(b"HTTP/") && version.get(5).is_some_and(u8::is_ascii_digit);
            let well_formed = of_http && version.len() == 8 && version[6] == b'.' && version[7].is_ascii_digit();
            faults.insert(if well_formed { 505 } else { 400 });
            if of_http && !well_formed {
                faults.insert(505);
            }
        }
        request.2 = version == b"HTTP/1.0";
    }
}

/// `uri-host [ ":" port ]` of RFC 9110 §7.2, or nothing. No comma: that is what two hosts look like that were joined.
fn is_host(value: &[u8]) -> bool {
    let text = String::from_utf8_lossy(value);
    let fits = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-._~!$&'()*+;=%".contains(c));
    let escaped = |text: &str| {
        let digits = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
        text.split('%').skip(1).all(digits)
    };
    let port = |text: &str| {
        text.is_empty() || text.strip_prefix(':').is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()))
    };
    match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((address, rest)) => address.parse::<Ipv6Addr>().is_ok() && port(rest),
        None => {
            let colon = text.find(':').unwrap_or(text.len());
            fits(&text[..colon]) && escaped(&text[..colon]) && port(&text[colon..])
        }
    }
}

fn path(target: &str, method: &str) -> Option<String> {
    if target.contains('#') || !target.is_ascii() {
        return None;
    }
    if target == "*" {
        return (method == "OPTIONS").then(|| "*".to_owned());
    }
    if target.starts_with('/') {
        return target.split('?').next().map(str::to_owned);
    }
    let (scheme, rest) = target.split_once("://")?;
    if !["http", "https"].contains(&&*scheme.to_ascii_lowercase()) {
        return None;
    }
    let authority = rest.split(['/', '?']).next()?;
    if authority.is_empty() || authority.starts_with(':') || !is_host(authority.as_bytes()) {
        return None;
    }
    match rest[authority.len()..].split('?').next()? {
        "" if method == "OPTIONS" => Some("*".to_owned()),
        "" => Some("/".to_owned()),
        path => Some(path.to_owned()),
    }
}

/// The content of the body that begins with `bytes`, and how many bytes the body has. More than `limit` bytes of content
/// are too many.
pub fn body(bytes: &[u8], length: Length, limit: usize) -> Reading<(Vec<u8>, usize)> {
    match length {
        Length::Bytes(length) => match bytes.get(..length as usize) {
            Some(content) => Reading::Whole((content.to_vec(), content.len())),
            None => Reading::Partial(Codes::new()),
        },
        Length::Chunked => chunked(bytes, limit),
    }
}

fn chunked(bytes: &[u8], limit: usize) -> Reading<(Vec<u8>, usize)> {
    let refused = |code: u16| Codes::from([code]);
    let mut content = Vec::new();
    let mut extensions = 0;
    let mut at = 0;
    loop {
        let rest = &bytes[at..];
        let (line, ended) = match find(rest, b"\r\n") {
            Some(end) => (&rest[..end], true),
            None => (rest.strip_suffix(b"\r").unwrap_or(rest), false),
        };
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let behind = trim(&line[digits..]);
        extensions += line.len() - digits;
        let blank_end = behind.is_empty() && line.len() > digits;
        let good = digits <= 16
            && (digits > 0 || (line.is_empty() && !ended && rest.is_empty()))
            && (behind.is_empty() || (behind[0] == b';' && behind.iter().all(|&byte| is_text(byte))))
            && extensions <= DROPPED_MAX
            && !(blank_end && (ended || rest.ends_with(b"\r")));
        if !ended {
            return Reading::Partial(if good { Codes::new() } else { refused(400) });
        }
        if !good {
            return Reading::Broken(refused(400));
        }
        let size = u64::from_str_radix(str::from_utf8(&line[..digits]).unwrap(), 16).unwrap();
        at += line.len() + 2;
        if size == 0 {
            break;
        }
        if size > (limit - content.len()) as u64 {
            return Reading::Broken(refused(400));
        }
        let size = size as usize;
        let Some(chunk) = bytes.get(at..at + size) else { return Reading::Partial(Codes::new()) };
        content.extend_from_slice(chunk);
        at += size;
        match bytes.get(at..) {
            Some([b'\r', b'\n', ..]) => at += 2,
            Some([] | [b'\r']) => return Reading::Partial(Codes::new()),
            _ => return Reading::Broken(refused(400)),
        }
    }
    let mut trailers = 0;
    loop {
        let rest = &bytes[at..];
        let (line, ended) = match find(rest, b"\r\n") {
            Some(end) => (&rest[..end], true),
            None => (rest.strip_suffix(b"\r").unwrap_or(rest), false),
        };
        if line.is_empty() && ended {
            return Reading::Whole((content, at + 2));
        }
        trailers += line.len();
        let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
        let has_colon = name.len() < line.len();
        let mut faults = Codes::new();
        if !name.iter().all(|&byte| is_token(byte))
            || (name.is_empty() && has_colon)
            || !line[name.len()..].iter().all(|&byte| is_text(byte))
            || ((ended || rest.ends_with(b"\r")) && !has_colon && !line.is_empty())
        {
            faults.insert(400);
        }
        if trailers > DROPPED_MAX {
            faults.insert(431);
        }
        if !ended {
            return Reading::Partial(faults);
        }
        if !faults.is_empty() {
            return Reading::Broken(faults);
        }
        at += line.len() + 2;
    }
}

/// Whether a `Content-Type` says JSON.
pub fn is_json_type(value: &[u8]) -> bool {
    let text = String::from_utf8_lossy(value).to_ascii_lowercase();
    let Some(subtype) = text.split(';').next().unwrap().trim_end().strip_prefix("application/") else { return false };
    let fits = subtype.chars().all(|c| c.is_ascii_alphanumeric() || "!#$&-^_.+".contains(c));
    fits && (subtype == "json" || subtype.strip_suffix("+json").is_some_and(|rest| !rest.is_empty()))
}

/// Whether `If-None-Match` names the tag; `None` where the field is malformed and either answer will do.
pub fn matches_tag(values: &[&[u8]], tag: &[u8]) -> Option<bool> {
    if values.contains(&&b"*"[..]) {
        return Some(true);
    }
    if !values.iter().any(|value| find(value, tag).is_some()) {
        return Some(false);
    }
    for member in values.iter().flat_map(|value| value.split(|&byte| byte == b',')).map(trim) {
        let opaque = member.strip_prefix(b"W/").unwrap_or(member);
        let inner = opaque.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
        if !member.is_empty() && inner.is_none_or(|inner| inner.contains(&b'"')) {
            return None;
        }
    }
    Some(true)
}

/// Whether `bytes` are a status.
pub fn is_status(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else { return false };
    !text.starts_with('\u{feff}')
        && depth(text) <= 64
        && serde_json::from_str(text).is_ok_and(|Members(all)| {
            let twice = |name: &str| all.iter().filter(|(other, _)| other == name).count() > 1;
            all.iter().all(|(name, value)| match &**name {
                "repo" | "server" | "sync_status" | "last_check" => {
                    (value.is_string() || value.is_null()) && !twice(name)
                }
                "drift_count" => {
                    (value.as_u64().is_some_and(|count| count < 1 << 53) || value.is_null()) && !twice(name)
                }
                "files" => {
                    let item = |item: &Value| item.is_string() || item.get("name").is_some_and(Value::is_string);
                    (value.is_null() || value.as_array().is_some_and(|items| items.iter().all(item))) && !twice(name)
                }
                _ => true,
            })
        })
}

/// The members of an object, those with the same name too.
struct Members(Vec<(String, Value)>);

impl<'d> Deserialize<'d> for Members {
    fn deserialize<D: Deserializer<'d>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'d> Visitor<'d> for Object {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'d>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut all = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    let known = ["repo", "server", "sync_status", "last_check", "drift_count", "files"];
                    let value = if known.contains(&&*name) {
                        map.next_value()?
                    } else {
                        map.next_value::<IgnoredAny>()?;
                        Value::Null
                    };
                    all.push((name, value));
                }
                Ok(Members(all))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// How deep the brackets of a text nest. No string of the simulation has a quote in it.
fn depth(text: &str) -> usize {
    let mut open = 0usize;
    let mut deepest = 0;
    let mut in_string = false;
    for byte in text.bytes() {
        match byte {
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(open);
    }
    deepest
}
