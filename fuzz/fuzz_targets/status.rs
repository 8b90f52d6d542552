//! From bytes to a stored status and back, against `serde_json` and an obvious reading of what a status is.
#![no_main]

use std::sync::{Mutex, PoisonError};

use gitops_status_server::json::{Unescape, escape, show};
use gitops_status_server::render::prepare;
use gitops_status_server::snapshot::{BODIES_MAX, Snapshots};
use gitops_status_server::status::{DRIFT_COUNT_MAX, Field, Refusal, UNKNOWN, read};
use gitops_status_server_fuzz::grammar::{DEEPEST, is_json};
use gitops_status_server_fuzz::{Json, entity_tag};
use libfuzzer_sys::fuzz_target;

const FIELDS: [(&str, Field); 6] = [
    ("repo", Field::Repo),
    ("server", Field::Server),
    ("sync_status", Field::SyncStatus),
    ("last_check", Field::LastCheck),
    ("drift_count", Field::DriftCount),
    ("files", Field::Files),
];

/// Why an object is no status: the first reason in the order of its members.
fn fault(members: &[(String, Json)]) -> Option<Refusal> {
    let mut seen = Vec::new();
    for (name, value) in members {
        let Some(&(_, field)) = FIELDS.iter().find(|(known, _)| known == name) else { continue };
        if seen.contains(name) {
            return Some(Refusal::Repeated(field));
        }
        seen.push(name.clone());
        match (field, value) {
            (_, Json::Null) => {}
            (Field::DriftCount, Json::Count(count)) if *count <= DRIFT_COUNT_MAX => {}
            (Field::Files, Json::Array(items)) => {
                if let Some(item) = items.iter().position(|item| !may_be_item(item)) {
                    return Some(Refusal::FilesItem(item));
                }
            }
            (Field::DriftCount | Field::Files, _) => return Some(Refusal::Type(field)),
            (_, Json::String(_)) => {}
            _ => return Some(Refusal::Type(field)),
        }
    }
    None
}

fn may_be_item(item: &Json) -> bool {
    match item {
        Json::String(_) => true,
        Json::Object(members) => {
            let names: Vec<_> = members.iter().filter(|(name, _)| name == "name").collect();
            matches!(names[..], [(_, Json::String(_))])
        }
        _ => false,
    }
}

fn assert_read(bytes: &[u8]) {
    let found = read(bytes);
    let told = || format!("{found:?}: {}", bytes.escape_ascii());
    let text = std::str::from_utf8(bytes).ok().filter(|text| is_json(text, DEEPEST));
    let Some(text) = text else {
        match found {
            Err(Refusal::Empty) => assert!(bytes.is_empty(), "{}", told()),
            Err(Refusal::Json(_)) => assert!(!bytes.is_empty(), "{}", told()),
            _ => panic!("{}", told()),
        }
        return;
    };
    let Json::Object(members) = Json::of(text) else {
        assert_eq!(found, Err(Refusal::NotAnObject), "{}", told());
        return;
    };
    if let Some(refusal) = fault(&members) {
        assert_eq!(found, Err(refusal), "{}", told());
        return;
    }
    let view = found.unwrap_or_else(|_| panic!("{}", told()));
    let value = |field: &str| {
        let value = members.iter().find(|(name, _)| name == field).map(|(_, value)| value);
        value.filter(|value| **value != Json::Null)
    };
    for (field, raw) in [
        ("repo", view.repo),
        ("server", view.server),
        ("sync_status", view.sync_status),
        ("last_check", view.last_check),
    ] {
        let characters = raw.map(|raw| Json::String(Unescape::new(raw).collect()));
        assert_eq!(characters.as_ref(), value(field), "{field}: {}", told());
    }
    let count = view.drift_count.map(Json::Count);
    assert_eq!(count.as_ref(), value("drift_count"), "{}", told());
    let files = value("files").map(|files| match files {
        Json::Array(items) => items.len(),
        _ => unreachable!("it was looked at"),
    });
    assert_eq!(view.files, files, "{}", told());
    assert_kept(bytes);
}

/// Large, and made once.
static SNAPSHOTS: Mutex<Snapshots> = Mutex::new(Snapshots::new());

/// Fails unless `bytes` are served as they came, by those who come now and by those who began before something else
/// was posted.
fn assert_kept(bytes: &[u8]) {
    let mut snapshots = SNAPSHOTS.lock().unwrap_or_else(PoisonError::into_inner);
    snapshots.start(UNKNOWN, prepare);
    let first = snapshots.pin_current();
    let mut post = |bytes: &[u8], at: usize| {
        let slot = snapshots.reserve().expect("no body is on its way");
        snapshots.append(slot, &bytes[..at]);
        snapshots.append(slot, &bytes[at..]);
        snapshots.publish(slot, prepare);
        let current = snapshots.current();
        assert_eq!(current.bytes(), bytes);
        assert_eq!(current.etag().as_bytes(), entity_tag(bytes).as_bytes());
        assert_prepared(current.response(), bytes);
        snapshots.pin_current()
    };
    let pins = [post(bytes, bytes.len() / 2), post(b"{}", 0), post(bytes, bytes.len())];
    assert_eq!(snapshots.slot(first).bytes(), UNKNOWN);
    for (pin, expected) in pins.into_iter().zip([bytes, b"{}", bytes]) {
        assert_eq!(snapshots.slot(pin).bytes(), expected);
        assert_prepared(snapshots.slot(pin).response(), expected);
        snapshots.unpin(pin);
    }
    snapshots.unpin(first);
    let bodies: Vec<_> = std::iter::from_fn(|| snapshots.reserve()).collect();
    assert_eq!(bodies.len(), BODIES_MAX + 1);
    assert!(snapshots.is_crowded());
    for body in bodies {
        snapshots.abandon(body);
    }
    assert_eq!(snapshots.current().bytes(), bytes);
}

fn assert_prepared(response: &[u8], bytes: &[u8]) {
    let head = response.strip_suffix(bytes).expect("the status is at the end");
    let head = std::str::from_utf8(head).expect("a head is ASCII");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    let lines: Vec<&str> = head[..head.len() - 4].split("\r\n").collect();
    assert!(lines.iter().all(|line| !line.is_empty() && !line.contains(['\r', '\n'])), "{head}");
    for due in [format!("Content-Length: {}", bytes.len()), format!("ETag: {}", entity_tag(bytes))] {
        let (name, _) = due.split_once(' ').unwrap();
        let given: Vec<_> = lines.iter().filter(|line| line.starts_with(name)).collect();
        assert_eq!(given, [&due], "{head}");
    }
}

/// Fails unless `text` comes through `escape` and back, and nothing in it can deceive on the way.
fn assert_shown(text: &str) {
    let mut escaped = String::new();
    escape(&mut escaped, text.chars()).unwrap();
    let quoted = format!("\"{escaped}\"");
    assert_eq!(serde_json::from_str::<String>(&quoted).unwrap_or_else(|error| panic!("{error}: {quoted:?}")), text);
    assert_eq!(Unescape::new(&escaped).collect::<String>(), text);
    let mut shown = String::new();
    show(&mut shown, text.chars()).unwrap();
    for letter in escaped.chars().chain(shown.chars()) {
        assert!(!letter.is_control() && !deceives(letter), "{letter:?}: {text:?}");
    }
}

/// The marks of UAX #9 that turn the direction of writing, and the separators of lines and paragraphs.
fn deceives(letter: char) -> bool {
    matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || matches!(letter, '\u{2028}' | '\u{2029}')
}

fuzz_target!(|bytes: &[u8]| {
    assert_read(bytes);
    assert_shown(&String::from_utf8_lossy(bytes));
});
