//! The page for people: the state in words, colour and shape.
//!
//! It is whole without a script, and asks for nothing but itself. The script asks for it again every five seconds, and
//! shows what is another than before: it has no words or shapes of its own but for the server that does not answer. The
//! browser's cache sends the entity tag, so that the answer is mostly a 304. Nothing in the page changes unless the
//! status, the history or its staleness does; ages are counted from `<time datetime>` by the script, and by the clock of
//! the server, which is in the `Date` of its answers.
//!
//! The sources are `page/page.html`, `page.css` and `page.js`; what is sent is without their comments and indentation.

use core::fmt::{self, Write};

use crate::date;
use crate::history::{History, ROWS_MAX, Row, SECOND};
use crate::markup::{escape, fill};
use crate::summary::{State, Summary, TEXT_MAX, Text};

/// The most bytes of the page: that of texts every character of which is escaped.
pub const PAGE_MAX: usize = 12 << 10;

/// The policy that goes with it (Content Security Policy Level 3): its own style and script by their hashes, its empty
/// icon, and requests to where it came from.
pub const POLICY: &str = "default-src 'none'; script-src 'sha256-aCGXmwTsGmOgmxpbESmnW1r896BDptzTLrRyymZP3DQ='; style-src 'sha256-6BuwJYdFgS589eqXCg43oT5cSRuMnDKWTl1wJVBOBjg='; img-src data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `source` as it is sent: without line breaks, indentation, lines that are comments, spaces beside `{`, `}`, `;`, `,` and
/// `=` and behind `:` and `=>`, and `;` before `}`. Puts as much of it into `packed` as there is room, and gives its length.
const fn pack(source: &[u8], packed: &mut [u8]) -> usize {
    let (mut at, mut length, mut last) = (0, 0, b'\n');
    let (mut last_kept, mut arrow) = (b' ', false);
    while at < source.len() {
        let byte = source[at];
        let next = if at + 1 < source.len() { source[at + 1] } else { b'\n' };
        at += 1;
        if last == b'\n' && byte == b'/' && matches!(next, b'/' | b'*') {
            while at < source.len() && source[at] != b'\n' {
                at += 1;
            }
            continue;
        }
        if byte == b'\n'
            || byte == b' '
                && (matches!(last, b'\n' | b'{' | b'}' | b';' | b',' | b'=' | b':')
                    || matches!(next, b'{' | b'}' | b'=')
                    || arrow)
        {
            if byte == b'\n' {
                last = byte;
            }
            continue;
        }
        if byte == b'}' && last_kept == b';' {
            length -= 1;
        }
        if length < packed.len() {
            packed[length] = byte;
        }
        arrow = last_kept == b'=' && byte == b'>';
        last_kept = byte;
        length += 1;
        last = byte;
    }
    length
}

macro_rules! packed {
    ($file:literal) => {{
        const SOURCE: &[u8] = include_bytes!($file);
        const LENGTH: usize = pack(SOURCE, &mut []);
        const PACKED: [u8; LENGTH] = {
            let mut packed = [0; LENGTH];
            pack(SOURCE, &mut packed);
            packed
        };
        match str::from_utf8(&PACKED) {
            Ok(packed) => packed,
            Err(_) => panic!("it is text"),
        }
    }};
}

const PAGE: &str = packed!("page/page.html");
const STYLE: &str = packed!("page/page.css");
const SCRIPT: &str = packed!("page/page.js");

const REPORTS: &str = "<div><dt>Last report<dd>$l</div><div><dt>Unchanged since<dd>$u</div>\
    <div><dt>Reports since<dd>$n</div></dl><ol aria-label=\"History, the newest last\">$r</ol>";
const NO_REPORT: &str = "</dl><p>No report yet.";

/// A word that has more characters than `UNREACHABLE` is shown smaller.
const LARGE_MAX: usize = 11;

/// An escaped text of so many characters has at most so many bytes: none has more than `&quot;`.
const fn escaped(characters: usize) -> usize {
    6 * characters
}
const _: () = assert!(
    PAGE.len()
        + STYLE.len()
        + SCRIPT.len()
        + REPORTS.len()
        // Twice in the page is the word, in the title and in the heading, and the repository.
        + 6 * escaped(TEXT_MAX + 1)
        // Twice a number of up to 16 digits, a count, three times, a shape and what little is around them.
        + 512
        + ROWS_MAX * b"<li class=o title=12-31T23:59>".len()
        <= PAGE_MAX
);

/// Writes the page.
///
/// # Errors
/// Those of `out`.
pub fn render(out: &mut dyn Write, summary: &Summary, history: &History, stale: bool) -> fmt::Result {
    // Each is drawn by one line in a circle, but for the triangle, for which the style hides that.
    let (class, shape) = match summary.state() {
        _ if stale => ("t", "M12 6.5V12l3.5 2.5"),
        State::Synced => ("s", "M7.5 12.5l3 3 6-6.5"),
        State::OutOfSync => ("o", "M12 3L1.8 20.8h20.4zM12 10v4.5m0 3v.1"),
        State::Unknown => ("q", "M9.4 9.5a2.7 2.7 0 1 1 4.2 2.2Q12 12.7 12 14m0 3v.1"),
        State::Other => ("q", "M7.6 12v.1m4.4-.1v.1m4.4-.1v.1"),
    };
    let unknown = Text::of("UNKNOWN".chars());
    let word = Some(given(&summary.sync_status).unwrap_or(&unknown));
    fill(out, PAGE, &mut |out, letter| match letter {
        b'C' => out.write_str(STYLE),
        b'J' => out.write_str(SCRIPT),
        b'c' => {
            let long = !stale && word.is_some_and(|word| word.characters().nth(LARGE_MAX).is_some());
            write!(out, "{class}{}", if long { " l" } else { "" })
        }
        b'p' => out.write_str(shape),
        b'w' if stale => out.write_str("STALE"),
        b'w' => text(out, word),
        b'o' if stale => {
            out.write_str("<p>was <bdi>")?;
            text(out, word)?;
            out.write_str("</bdi>")
        }
        b't' => {
            let repo = given(&summary.repo);
            out.write_str(if repo.is_some() { " · " } else { "" })?;
            text(out, repo)
        }
        b'r' => text(out, summary.repo.as_ref()),
        b's' => text(out, summary.server.as_ref()),
        b'd' => number(out, summary.drift_count),
        b'f' => number(out, summary.files),
        b'k' => match given(&summary.last_check) {
            None => out.write_str("–"),
            Some(check) => match date::parse(check.as_str().as_bytes()).filter(|_| !check.is_cut()) {
                Some(seconds) => time(out, seconds),
                None => {
                    out.write_str("<bdi>")?;
                    text(out, Some(check))?;
                    out.write_str("</bdi>")
                }
            },
        },
        b'h' => match history.newest() {
            Some(newest) => reports(out, history.rows(), newest),
            None => out.write_str(NO_REPORT),
        },
        _ => Ok(()),
    })
}

/// A text that is there and is not empty.
fn given(text: &Option<Text>) -> Option<&Text> {
    text.as_ref().filter(|text| !text.as_str().is_empty())
}

fn reports(out: &mut dyn Write, rows: &[Row], newest: &Row) -> fmt::Result {
    fill(out, REPORTS, &mut |out, letter| match letter {
        b'l' => time(out, newest.last_received_at / SECOND),
        b'u' => time(out, newest.received_at / SECOND),
        b'n' => number(out, Some(newest.count.into())),
        b'r' => rows.iter().try_for_each(|row| segment(out, row)),
        _ => Ok(()),
    })
}

/// A state of the past, and since when it was, as `<li class=o title=04-21T10:30>`.
fn segment(out: &mut dyn Write, row: &Row) -> fmt::Result {
    let since = rfc3339(row.received_at / SECOND);
    let since = str::from_utf8(&since).unwrap_or_default().get(5..16).unwrap_or_default();
    let class = match State::of(row.sync_status.as_ref()) {
        State::Synced => "",
        State::OutOfSync => "class=o ",
        State::Unknown | State::Other => "class=q ",
    };
    write!(out, "<li {class}title={since}>")
}

/// A point in time as people read it where there is no script, and as the script reads it.
fn time(out: &mut dyn Write, seconds: u64) -> fmt::Result {
    let time = rfc3339(seconds);
    let time = str::from_utf8(&time).unwrap_or_default();
    let [day, hour] = [0..10, 11..16].map(|part| time.get(part).unwrap_or_default());
    write!(out, "<time datetime={time}>{day} {hour} UTC</time>")
}

fn rfc3339(seconds: u64) -> [u8; 20] {
    date::rfc3339(&date::http(seconds))
}

fn text(out: &mut dyn Write, text: Option<&Text>) -> fmt::Result {
    escape(out, text.into_iter().flat_map(Text::characters))
}

fn number(out: &mut dyn Write, number: Option<u64>) -> fmt::Result {
    match number {
        Some(number) => write!(out, "{number}"),
        None => out.write_str("–"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status;
    use base64::Engine as _;
    use sha2::Digest as _;
    use std::format;
    use std::string::String;

    /// The page of a server that was posted these, one after the other, every ten minutes.
    fn page(statuses: &[String], stale: bool) -> String {
        let mut history = std::boxed::Box::new(History::new());
        let mut summary = Summary::of(&status::read(status::UNKNOWN).unwrap());
        for (at, status) in statuses.iter().enumerate() {
            summary = Summary::of(&status::read(status.as_bytes()).unwrap());
            history.record(&summary, (1_776_767_400 + 600 * at as u64) * SECOND);
        }
        let mut out = String::new();
        render(&mut out, &summary, &history, stale).unwrap();
        assert!(out.len() <= PAGE_MAX, "{}", out.len());
        out
    }

    fn status(sync_status: &str) -> String {
        format!(
            r#"{{"repo":"https://git.example.org/platform/production","server":"k8s-prod-1","sync_status":"{sync_status}","drift_count":3,"files":["a","b"],"last_check":"2026-04-21T10:30:00Z"}}"#
        )
    }

    #[test]
    fn a_page_with_a_whole_history_has_less_than_six_kib() {
        let statuses: std::vec::Vec<_> = (0..ROWS_MAX).map(|at| status(["SYNCED", "OUT_OF_SYNC"][at % 2])).collect();
        for stale in [false, true] {
            let page = page(&statuses, stale);
            assert_eq!(page.matches("<li ").count(), ROWS_MAX);
            assert!(page.len() < 6 << 10, "{}", page.len());
        }
    }

    #[test]
    fn the_most_hostile_texts_have_room() {
        let text = "\\\"".repeat(200);
        let statuses: std::vec::Vec<_> = (0..ROWS_MAX)
            .map(|at| {
                format!(
                    r#"{{"repo":"{text}","server":"{text}","sync_status":"{text}","drift_count":{},"files":[],"last_check":"{text}"}}"#,
                    9_007_199_254_740_991 - at
                )
            })
            .collect();
        for stale in [false, true] {
            let page = page(&statuses, stale);
            assert!(!page.contains("\"\"\""));
        }
    }

    #[test]
    fn the_policy_allows_the_style_and_the_script_of_the_page_and_nothing_else() {
        let page = page(&[status("SYNCED")], false);
        for (name, directive) in [("style", "style-src"), ("script", "script-src")] {
            let inline = page.split(&format!("<{name}>")).nth(1).unwrap().split(&format!("</{name}>")).next().unwrap();
            let hash = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(inline));
            assert!(POLICY.contains(&format!("{directive} 'sha256-{hash}';")), "{directive} 'sha256-{hash}'");
            assert_eq!(page.matches(&format!("<{name}")).count(), 1);
        }
        assert!(!page.contains(" style=") && !page.contains(" on"), "there is nothing inline");
        assert!(!page.contains("//") || page.matches("//").count() == page.matches("https://git.example.org").count());
    }

    #[test]
    fn a_page_says_the_state_in_words_shape_and_colour() {
        for (word, class, title) in [
            ("SYNCED", "s", "SYNCED · https"),
            ("OUT_OF_SYNC", "o", "OUT_OF_SYNC · https"),
            ("UNKNOWN", "q", "UNKNOWN · https"),
            ("", "q", "UNKNOWN · https"),
            ("Progressing", "q", "Progressing · https"),
            ("a longer word than usual", "q l", "a longer word than usual · https"),
        ] {
            let page = page(&[status(word)], false);
            assert!(page.contains(&format!("<html lang=en class=\"{class}\">")), "{page}");
            assert!(page.contains(&format!("<title>{title}")), "{page}");
            assert!(!page.to_lowercase().contains("stale"));
            for part in ["<dt>Drift<dd>3<", "<dt>Files<dd>2<", "2026-04-21 10:30 UTC", "k8s-prod-1"] {
                assert!(page.contains(part), "{part}");
            }
        }
        let shapes = ["SYNCED", "OUT_OF_SYNC", "UNKNOWN", "Progressing"].map(|word| {
            let page = page(&[status(word)], false);
            String::from(page.split("<path d=\"").nth(1).unwrap().split('"').next().unwrap())
        });
        assert!((1..shapes.len()).all(|at| !shapes[..at].contains(&shapes[at])));
    }

    #[test]
    fn what_is_stale_is_never_shown_as_good_news() {
        let page = page(&[status("SYNCED")], true);
        assert!(page.contains("<html lang=en class=\"t\">") && page.contains("<title>STALE · "), "{page}");
        assert!(page.contains("<bdi>STALE</bdi>") && page.contains("<p>was <bdi>SYNCED</bdi>"), "{page}");
    }

    #[test]
    fn a_server_that_was_told_nothing_says_so() {
        let page = page(&[], false);
        assert!(page.contains("<bdi>UNKNOWN</bdi>") && page.contains("No report yet."), "{page}");
    }

    #[test]
    fn a_text_of_the_status_is_never_markup() {
        let hostile = r#"<script>alert(1)</script>\"'&"#;
        let status = format!(
            r#"{{"repo":"{hostile}","server":"{hostile}","sync_status":"{hostile}","last_check":"{hostile}"}}"#
        );
        let page = page(&[status], false);
        assert_eq!(page.matches("<script").count(), 1);
        // In the title and in the page, the word and the repository; the server, the check.
        assert_eq!(page.matches("&lt;script&gt;").count(), 6);
    }
}
