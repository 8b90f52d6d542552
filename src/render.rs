//! An answer as bytes: the response head, and the content but for a status, which is sent from its slot, and for a view,
//! which has a sheet.

use crate::http::response::{Code, Date, ErrorContent, JSON, Persistence, Rendered, Writer};
use crate::metrics::{self, Facts};
use crate::routes::{Content, Problem, View};
use crate::sheets::Sheet;
use crate::snapshot::{ETag, Slot};
use crate::{badge, page};

/// What stands before the status in the answer to its POST.
pub const ENVELOPE_START: &[u8] = br#"{"success":true,"message":"Status updated successfully","status":"#;
/// What stands behind it.
pub const ENVELOPE_END: &[u8] = b"}";

/// How a response is to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Manner<'m> {
    /// Its date.
    pub date: &'m Date,
    /// What it says about its connection.
    pub persistence: Persistence,
    /// Without its content, as the answer to HEAD (RFC 9110 §9.3.2).
    pub head_only: bool,
}

/// Renders the head of a response that carries `status` and whose connection stays open, without a date, for
/// [`Snapshots::publish`]. Gives where in it the date stands.
///
/// [`Snapshots::publish`]: crate::snapshot::Snapshots::publish
pub fn prepare(status: &[u8], etag: &ETag, out: &mut Rendered) -> usize {
    let mut writer = Writer::new(out, Code::Ok);
    status_fields(&mut writer, status, etag);
    writer.end(&Date::BLANK, Persistence::Default)
}

/// The fields that a 200 and a 304 have in common (RFC 9110 §15.4.5).
fn status_fields<const N: usize>(writer: &mut Writer<'_, N>, status: &[u8], etag: &ETag) {
    writer.json(status.len()).put(b"ETag: ");
    writer.put(etag.as_bytes());
    writer.put(b"\r\nCache-Control: no-cache\r\n");
}

/// Renders `content`; the `current` status itself is not copied. Gives the status code and the bytes of content that
/// the whole response has.
pub fn content(out: &mut Rendered, content: Content, current: &Slot, manner: Manner<'_>) -> (Code, usize) {
    let Manner { date, persistence, head_only } = manner;
    let (code, bytes) = match content {
        Content::Status => {
            Writer::resume(out, current.begun_head()).end_from_date(date, persistence);
            (Code::Ok, current.bytes().len())
        }
        Content::NotModified => {
            let mut writer = Writer::new(out, Code::NotModified);
            status_fields(&mut writer, current.bytes(), current.etag());
            writer.end(date, persistence);
            (Code::NotModified, 0)
        }
        Content::Text(text) => {
            let mut writer = Writer::new(out, Code::Ok);
            writer.json(text.len()).field("Cache-Control", b"no-store").end(date, persistence);
            if !head_only {
                writer.put(text);
            }
            (Code::Ok, text.len())
        }
        // It has an answer of its own, see below.
        Content::View(_) => (Code::Ok, 0),
        Content::Options(allow) => {
            // RFC 9110 §8.6 forbids a Content-Length here.
            let mut writer = Writer::new(out, Code::NoContent);
            writer.field("Content-Type", JSON).field("Allow", allow.0.as_bytes()).end(date, persistence);
            (Code::NoContent, 0)
        }
    };
    (code, if head_only { 0 } else { bytes })
}

/// Renders a view on its sheet. `target` is the request target (RFC 9112 §3.2).
pub fn sheet(sheet: &mut Sheet, view: View, facts: &Facts<'_>, target: &str) {
    let Facts { summary, history, stale, .. } = *facts;
    let rendered = match view {
        View::Metrics => metrics::render(sheet, facts),
        View::Page => page::render(sheet, summary, history, stale),
        View::Badge => {
            let query = target.bytes().position(|byte| byte == b'?').map_or("", |at| &target[at + 1..]);
            badge::render(sheet, summary, stale, query)
        }
        View::History => history.write_json(sheet),
    };
    rendered.expect("a sheet has room for the longest view; tests render them");
}

/// Renders the head of the answer that carries a view of `bytes` bytes, or of the one that says that the client has it
/// already. Gives the status code and the bytes of content that the whole response has.
pub fn view(
    out: &mut Rendered,
    view: View,
    bytes: usize,
    etag: &ETag,
    known: bool,
    manner: Manner<'_>,
) -> (Code, usize) {
    let code = if known { Code::NotModified } else { Code::Ok };
    let media_type: &[u8] = match view {
        View::Metrics => b"text/plain; version=0.0.4; charset=utf-8",
        View::Page => b"text/html; charset=utf-8",
        View::Badge => b"image/svg+xml",
        View::History => JSON,
    };
    let mut writer = Writer::new(out, code);
    writer.content(media_type, bytes);
    if view == View::Metrics {
        // It is another one each time.
        writer.field("Cache-Control", b"no-store");
    } else {
        writer.field("ETag", etag.as_bytes()).field("Cache-Control", b"no-cache");
    }
    match view {
        View::Page => {
            writer.field("Content-Security-Policy", page::POLICY.as_bytes());
        }
        // Where it is opened by itself, it is a document.
        View::Badge => {
            writer.field("Content-Security-Policy", b"default-src 'none'");
        }
        _ => {}
    }
    writer.end(manner.date, manner.persistence);
    (code, if manner.head_only || known { 0 } else { bytes })
}

/// Renders the answer to the POST of `status`: whole if there is room for it, for to copy some hundred bytes costs less
/// than to send several pieces, else up to the status, and [`ENVELOPE_END`] has to come behind that. Gives the bytes of
/// content that the whole response has, and whether it is rendered whole.
pub fn accepted(out: &mut Rendered, status: &[u8], manner: Manner<'_>) -> (usize, bool) {
    let content = ENVELOPE_START.len() + status.len() + ENVELOPE_END.len();
    let mut writer = Writer::new(out, Code::Ok);
    writer.json(content).end(manner.date, manner.persistence);
    writer.put(ENVELOPE_START);
    let whole = status.len() + ENVELOPE_END.len() <= writer.room();
    if whole {
        writer.put(status);
        writer.put(ENVELOPE_END);
    }
    (content, whole)
}

/// Renders the answer to a request that cannot have what it wishes. Gives the bytes of content in it.
pub fn problem(out: &mut Rendered, problem: &Problem, manner: Manner<'_>) -> usize {
    let content = ErrorContent::new(problem);
    let content = content.as_bytes();
    let mut writer = Writer::new(out, problem.code());
    writer.json(content.len());
    if let Some((name, value)) = problem.field() {
        writer.field(name, value);
    }
    writer.end(manner.date, manner.persistence);
    if manner.head_only {
        return 0;
    }
    writer.put(content);
    content.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::response::RESPONSE_MAX;
    use crate::snapshot::HEAD_ROOM;
    use crate::status::STATUS_CAPACITY;

    #[test]
    fn the_answer_to_a_post_is_rendered_whole_as_long_as_there_is_room() {
        let manner = Manner { date: &Date::BLANK, persistence: Persistence::KeepAlive, head_only: false };
        let mut wholes = std::vec::Vec::new();
        for bytes in 0..RESPONSE_MAX {
            let status = std::vec![b' '; bytes];
            let mut out = Rendered::new();
            let (content, whole) = accepted(&mut out, &status, manner);
            let rest = if whole { std::vec![] } else { [&status, ENVELOPE_END].concat() };
            let response = [&out, &rest[..]].concat();
            let head = response.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
            assert_eq!(response.len() - head, content);
            assert_eq!(response[head..], [ENVELOPE_START, &status, ENVELOPE_END].concat());
            wholes.push(whole);
        }
        assert!(wholes[400] && wholes.is_sorted_by(|a, b| a >= b) && !wholes[RESPONSE_MAX - 1]);
    }

    #[test]
    fn the_head_in_front_of_a_status_has_room_there_and_names_the_place_of_its_date() {
        let status = std::vec![b' '; STATUS_CAPACITY];
        let mut head = Rendered::new();
        let date = prepare(&status, &ETag::of(&status), &mut head);
        assert!(head.len() <= HEAD_ROOM, "{}", head.len());
        assert_eq!(&head[date - 6..], std::format!("Date: {}\r\n\r\n", " ".repeat(29)).as_bytes());
    }
}
