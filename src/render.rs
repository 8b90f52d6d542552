//! An answer as bytes: the response head, and the content but for a status, which is sent from its slot.

use crate::http::response::{Code, Date, ErrorContent, JSON, Persistence, Rendered, Writer};
use crate::routes::{Content, Problem};
use crate::snapshot::{ETag, Slot};

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
    writer.content(JSON, status.len()).field("ETag", etag.as_bytes()).field("Cache-Control", b"no-cache");
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
            writer.content(JSON, text.len()).field("Cache-Control", b"no-store").end(date, persistence);
            if !head_only {
                writer.put(text);
            }
            (Code::Ok, text.len())
        }
        Content::Options(allow) => {
            // RFC 9110 §8.6 forbids a Content-Length here.
            let mut writer = Writer::new(out, Code::NoContent);
            writer.field("Content-Type", JSON).field("Allow", allow.0.as_bytes()).end(date, persistence);
            (Code::NoContent, 0)
        }
    };
    (code, if head_only { 0 } else { bytes })
}

/// Renders the answer to a POST up to the status of `bytes` bytes. Behind that has to come [`ENVELOPE_END`]. Gives the
/// bytes of content that the whole response has.
pub fn accepted(out: &mut Rendered, bytes: usize, manner: Manner<'_>) -> usize {
    let content = ENVELOPE_START.len() + bytes + ENVELOPE_END.len();
    let mut writer = Writer::new(out, Code::Ok);
    writer.content(JSON, content).end(manner.date, manner.persistence);
    writer.put(ENVELOPE_START);
    content
}

/// Renders the answer to a request that cannot have what it wishes. Gives the bytes of content in it.
pub fn problem(out: &mut Rendered, problem: &Problem, manner: Manner<'_>) -> usize {
    let content = ErrorContent::new(problem);
    let content = content.as_bytes();
    let mut writer = Writer::new(out, problem.code());
    writer.content(JSON, content.len());
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
    use crate::snapshot::HEAD_ROOM;
    use crate::status::STATUS_CAPACITY;

    #[test]
    fn the_head_in_front_of_a_status_has_room_there_and_names_the_place_of_its_date() {
        let status = std::vec![b' '; STATUS_CAPACITY];
        let mut head = Rendered::new();
        let date = prepare(&status, &ETag::of(&status), &mut head);
        assert!(head.len() <= HEAD_ROOM, "{}", head.len());
        assert_eq!(&head[date - 6..], std::format!("Date: {}\r\n\r\n", " ".repeat(29)).as_bytes());
    }
}
