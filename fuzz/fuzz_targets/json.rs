//! The judge of JSON against `serde_json`, on any bytes.
#![no_main]

use gitops_status_server::json::{Fault, check};
use gitops_status_server::render::{ENVELOPE_END, ENVELOPE_START};
use gitops_status_server_fuzz::grammar::{DEEPEST, UNLIMITED, can_be_completed, is_json};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let verdict = check(text);
    let told = || format!("{verdict:?}: {}", text.escape_ascii());
    let utf8 = std::str::from_utf8(text);
    assert_eq!(verdict.is_ok(), utf8.is_ok_and(|text| is_json(text, DEEPEST)), "{}", told());
    match verdict {
        Ok(()) => {
            let answer = [ENVELOPE_START, text, ENVELOPE_END].concat();
            assert!(is_json(&String::from_utf8_lossy(&answer), UNLIMITED), "{}", told());
        }
        Err(error) => {
            // All before the place can become JSON, and with what stands there it cannot.
            let before = std::str::from_utf8(&text[..error.at]).expect("an error stands between two characters");
            assert!(can_be_completed(before, DEEPEST), "{}", told());
            let sound = text.utf8_chunks().next().map_or("", |chunk| chunk.valid());
            match sound[error.at..].chars().next() {
                Some(wrong) => {
                    assert!(!can_be_completed(&sound[..error.at + wrong.len_utf8()], DEEPEST), "{}", told());
                    assert!(!matches!(error.fault, Fault::End | Fault::Utf8), "{}", told());
                }
                None if error.at < text.len() => assert_eq!(error.fault, Fault::Utf8, "{}", told()),
                None => assert_eq!(error.fault, Fault::End, "{}", told()),
            }
        }
    }
});
