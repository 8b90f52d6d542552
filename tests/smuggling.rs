//! Request smuggling: requests that two readers could take for different ones, and what this server takes them for.
//!
//! Whoever stands before this server and reads a request in another way than it does may be made to pass on a second
//! request unseen. So each row of [`table`] is followed at once by a marked request. Behind what is refused, or is
//! answered without being read, the marked one is never taken, however the bytes are cut; behind what is valid it is
//! taken exactly where the RFC says that the first one ends. The rows name the section that decides.
//!
//! The core is driven as `src/server.rs` does it, without a socket, so that every cut of every row can be tried.

mod common;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use common::{Server, UNKNOWN};
use gitops_status_server::connection::{Limits, Next, Turn};
use gitops_status_server::connections::{Connections, Storage};
use gitops_status_server::event::{Event, Journal};
use gitops_status_server::http::response::Date;

// ---------------------------------------------------------------------------------------------------- the table

/// A request, and the answer it has to get.
struct Row {
    name: &'static str,
    request: Vec<u8>,
    code: u16,
    /// Of an error a part of its sentence, of another answer its whole content.
    says: &'static str,
    /// The section that decides.
    rfc: &'static str,
    after: After,
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// The marked request is the next one.
    Open,
    /// Nothing is taken any more.
    Closed,
}
use After::{Closed, Open};

impl Row {
    fn is_head(&self) -> bool {
        self.request.starts_with(b"HEAD ")
    }

    /// Whether the row itself posts a status.
    fn is_accepted_post(&self) -> bool {
        self.code == 200 && self.request.starts_with(b"POST ")
    }
}

const HEALTHY: &str = r#"{"status":"ok"}"#;
/// What most rows post: 7 bytes.
const STATUS: &str = r#"{"a":1}"#;
const UPDATED: &str = r#"{"success":true,"message":"Status updated successfully","status":{"a":1}}"#;
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
const CHUNKS: &str = "7\r\n{\"a\":1}\r\n0\r\n\r\n";

/// The marked requests. Nobody but they asks for this path, or posts this status.
const MARKED_GET: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
const MARKED_POST: &[u8] = b"POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
    Content-Length: 17\r\n\r\n{\"smuggled\":true}";
const MARKED_STATUS: &str = r#"{"smuggled":true}"#;

/// A GET whose request line is `line`.
fn line(line: &str) -> String {
    format!("{line}\r\nHost: x\r\n\r\n")
}

/// A GET with these field lines behind its Host.
fn get(fields: &str) -> String {
    format!("GET /health HTTP/1.1\r\nHost: x\r\n{fields}\r\n")
}

/// A GET with these field lines and no Host of its own.
fn hosted(fields: &str) -> String {
    format!("GET /health HTTP/1.1\r\n{fields}\r\n")
}

fn post(fields: &str, body: &str) -> String {
    format!("POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{fields}\r\n{body}")
}

/// A post whose only peculiarity is the value of its Content-Length, and which has the seven bytes of a status.
fn length(value: &str) -> String {
    post(&format!("Content-Length:{value}\r\n"), STATUS)
}

/// A post whose only peculiarity is the value of its Transfer-Encoding, and which has a status in chunks.
fn coding(value: &str) -> String {
    post(&format!("Transfer-Encoding:{value}\r\n"), CHUNKS)
}

/// A post in these chunks.
fn chunks(body: &str) -> String {
    post(CHUNKED, body)
}

/// A request with the marked one for its body.
fn with_body(method: &str, target: &str) -> Vec<u8> {
    let head = format!("{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", MARKED_GET.len());
    [head.as_bytes(), MARKED_GET].concat()
}

/// The same in a chunk.
fn with_chunk(method: &str, target: &str) -> Vec<u8> {
    let head = format!("{method} {target} HTTP/1.1\r\nHost: x\r\n{CHUNKED}\r\n{:x}\r\n", MARKED_GET.len());
    [head.as_bytes(), MARKED_GET, b"\r\n0\r\n\r\n"].concat()
}

/// A request with bytes that no `str` holds.
fn raw(before: &str, bytes: &[u8], after: &str) -> Vec<u8> {
    [before.as_bytes(), bytes, after.as_bytes()].concat()
}

fn table() -> Vec<Row> {
    let mut rows = Vec::new();
    // A row reads like this: what it is, the request => the code, what the answer says, who decides, and what becomes
    // of the connection.
    macro_rules! rows {
        ($($name:literal: $request:expr => $code:literal, $says:expr, $rfc:literal, $after:expr;)*) => {
            $(rows.push(Row {
                name: $name, request: Vec::from($request), code: $code, says: $says, rfc: $rfc, after: $after,
            });)*
        };
    }

    // Content-Length. Every body has seven bytes, so a lenient reader would find a status in it.
    rows! {
        "a length": length(" 7") => 200, UPDATED, "RFC 9112 §6.3 item 6", Open;
        "a length without a blank": length("7") => 200, UPDATED, "RFC 9112 §5.1", Open;
        "a length between odd blanks": length(" \t 7\t ") => 200, UPDATED, "RFC 9112 §5.1", Open;
        "a length in odd case": post("cONTENT-lENGTH: 7\r\n", STATUS) => 200, UPDATED, "RFC 9110 §5.1", Open;
        "leading zeros": length(" 007") => 200, UPDATED, "RFC 9110 §8.6", Open;
        "more leading zeros than a number has digits": length(&format!(" {}7", "0".repeat(40)))
            => 200, UPDATED, "RFC 9110 §8.6", Open;
        "one length twice": post("Content-Length: 7\r\nContent-Length: 7\r\n", STATUS)
            => 200, UPDATED, "RFC 9112 §6.3 item 5", Open;
        "two lengths, the first is right": post("Content-Length: 7\r\nContent-Length: 8\r\n", STATUS)
            => 400, "Content-Length headers differ", "RFC 9112 §6.3 item 5", Closed;
        "two lengths, the last is right": post("Content-Length: 0\r\nContent-Length: 7\r\n", STATUS)
            => 400, "Content-Length headers differ", "RFC 9112 §6.3 item 5", Closed;
        "two lengths in odd case": post("Content-Length: 7\r\nX: y\r\nCONTENT-LENGTH: 0\r\n", STATUS)
            => 400, "Content-Length headers differ", "RFC 9112 §6.3 item 5", Closed;
        "two lengths of a GET": get("Content-Length: 0\r\nContent-Length: 36\r\n")
            => 400, "Content-Length headers differ", "RFC 9112 §6.3 item 5", Closed;
        "a good length and a bad one": post("Content-Length: 7\r\nContent-Length: x\r\n", STATUS)
            => 400, "plain decimal number", "RFC 9112 §6.3 item 5", Closed;
        // It may be taken or refused; here it is refused, for a length has to be plain digits.
        "one length twice in a line": length(" 7, 7") => 400, "plain decimal number", "RFC 9110 §8.6", Closed;
        "two lengths in a line": length(" 7,8") => 400, "plain decimal number", "RFC 9112 §6.3 item 5", Closed;
        "a length and a comma": length(" 7,") => 400, "plain decimal number", "RFC 9110 §8.6", Closed;
        "a comma and a length": length(" ,7") => 400, "plain decimal number", "RFC 9110 §8.6", Closed;
        "a length with a plus": length(" +7") => 400, "plain decimal number", "RFC 9110 §8.6", Closed;
        "a length with a minus": length(" -7") => 400, "plain decimal number", "RFC 9110 §8.6", Closed;
        "a length of minus nothing": length(" -0") => 400, "plain decimal number", "RFC 9110 §8.6", Closed;
        "a length in base 16": length(" 0x7") => 400, "plain decimal number", "RFC 9110 §8.6", Closed;
        "a length with an underscore": length(" 0_7") => 400, "plain decimal number", "RFC 9110 §8.6", Closed;
        "a length with a parameter": length(" 7;") => 400, "plain decimal number", "RFC 9110 §8.6", Closed;
        "a length with a fraction": length(" 7.0") => 400, "plain decimal number", "RFC 9110 §8.6", Closed;
        "a length with an exponent": length(" 7e0") => 400, "plain decimal number", "RFC 9110 §8.6", Closed;
        "a length in quotes": length(" \"7\"") => 400, "plain decimal number", "RFC 9110 §8.6", Closed;
        "two numbers": length(" 7 7") => 400, "plain decimal number", "RFC 9110 §8.6", Closed;
        "two numbers and a tab": length(" 0\t7") => 400, "plain decimal number", "RFC 9110 §8.6", Closed;
        "a length with a unit": length(" 7 bytes") => 400, "plain decimal number", "RFC 9110 §8.6", Closed;
        "an empty length": length("") => 400, "plain decimal number", "RFC 9110 §8.6", Closed;
        "a length of blanks": length(" \t ") => 400, "plain decimal number", "RFC 9110 §8.6", Closed;
        "Arabic digits": length(" \u{667}") => 400, "plain decimal number", "RFC 9110 §8.6", Closed;
        "full-width digits": length(" \u{ff17}") => 400, "plain decimal number", "RFC 9110 §8.6", Closed;
        "a superscript digit in Latin-1": raw(
            "POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ",
            b"\xb2", "\r\n\r\n{}") => 400, "plain decimal number", "RFC 9110 §8.6", Closed;
        "the largest length": length(" 18446744073709551615")
            => 400, "is 18446744073709551615 bytes; the limit is 65536", "RFC 9110 §8.6", Closed;
        "a length that wraps to 0": length(" 18446744073709551616")
            => 400, "plain decimal number", "RFC 9110 §8.6", Closed;
        "a length that wraps to 7": length(" 18446744073709551623")
            => 400, "plain decimal number", "RFC 9110 §8.6", Closed;
        "a length that wraps to 7 in 32 bits": length(" 4294967303")
            => 400, "is 4294967303 bytes; the limit is 65536", "RFC 9110 §8.6", Closed;
        "a length of 100 digits": length(&"9".repeat(100)) => 400, "plain decimal number", "RFC 9110 §8.6", Closed;
        "a length before a vertical tab": length(" 7\x0b") => 400, "control character", "RFC 9110 §5.5", Closed;
        "a length behind a form feed": length(" \x0c7") => 400, "control character", "RFC 9110 §5.5", Closed;
        "a length before NUL": length(" 7\0") => 400, "control character", "RFC 9110 §5.5", Closed;
        "a blank before the colon of the length": post("Content-Length : 7\r\n", STATUS)
            => 400, "blanks stand before its colon", "RFC 9112 §5.1", Closed;
        "a folded length": length("\r\n 7") => 400, "the line is folded", "RFC 9112 §5.2", Closed;
        "a length behind a good one and a fold": post("Content-Length: 7\r\n 0\r\n", STATUS)
            => 400, "the line is folded", "RFC 9112 §5.2", Closed;
        "Content_Length is another field": get("Content_Length: 36\r\n") => 200, HEALTHY, "RFC 9112 §6.3 item 7", Open;
        "Content-Length1 is another field": get("Content-Length1: 36\r\n")
            => 200, HEALTHY, "RFC 9112 §6.3 item 7", Open;
        "X-Content-Length is another field": get("X-Content-Length: 36\r\n")
            => 200, HEALTHY, "RFC 9112 §6.3 item 7", Open;
        "a length of 0": get("Content-Length: 0\r\n") => 200, HEALTHY, "RFC 9112 §6.3 item 6", Open;
        "a line end behind a body": post("Content-Length: 7\r\n", "{\"a\":1}\r\n")
            => 200, UPDATED, "RFC 9112 §2.2", Open;
    }

    // Transfer-Encoding. Where no coding is left over but an unknown one, the contract asks for 501.
    rows! {
        "chunks": coding(" chunked") => 200, UPDATED, "RFC 9112 §6.3 item 4", Open;
        "the coding in odd case": coding(" cHuNkEd") => 200, UPDATED, "RFC 9112 §7", Open;
        "the coding between blanks": coding("\t chunked \t") => 200, UPDATED, "RFC 9112 §5.1", Open;
        "the coding and an empty member": coding(" chunked,") => 200, UPDATED, "RFC 9110 §5.6.1.2", Open;
        "an empty member and the coding": coding(" ,chunked") => 200, UPDATED, "RFC 9110 §5.6.1.2", Open;
        "the coding among empty members": coding(" , \t,chunked ,,") => 200, UPDATED, "RFC 9110 §5.6.1.2", Open;
        "a length and a coding": post(&format!("Content-Length: 17\r\n{CHUNKED}"), CHUNKS)
            => 400, "cannot stand together", "RFC 9112 §6.3 item 3", Closed;
        "a coding and a length": post(&format!("{CHUNKED}Content-Length: 17\r\n"), CHUNKS)
            => 400, "cannot stand together", "RFC 9112 §6.3 item 3", Closed;
        "a length of 0 and a coding": get(&format!("Content-Length: 0\r\n{CHUNKED}")) + "0\r\n\r\n"
            => 400, "cannot stand together", "RFC 9112 §6.3 item 3", Closed;
        "a length and an unknown coding": post("Content-Length: 7\r\nTransfer-Encoding: x\r\n", STATUS)
            => 400, "cannot stand together", "RFC 9112 §6.3 item 3", Closed;
        "a length and an empty coding": post("Content-Length: 7\r\nTransfer-Encoding:\r\n", STATUS)
            => 400, "cannot stand together", "RFC 9112 §6.3 item 3", Closed;
        "chunked twice": coding(" chunked, chunked") => 400, "chunked, once", "RFC 9112 §6.1", Closed;
        "chunked in two lines": post(&format!("{CHUNKED}{CHUNKED}"), CHUNKS)
            => 400, "chunked, once", "RFC 9112 §6.1", Closed;
        "chunked and identity in two lines": post(&format!("{CHUNKED}Transfer-Encoding: identity\r\n"), CHUNKS)
            => 400, "chunked, once", "RFC 9112 §6.3 item 4", Closed;
        "identity and chunked in two lines": post(&format!("Transfer-Encoding: identity\r\n{CHUNKED}"), CHUNKS)
            => 501, "Unknown transfer coding", "RFC 9112 §6.1", Closed;
        "chunked is not the last": coding(" chunked, gzip") => 400, "chunked, once", "RFC 9112 §6.3 item 4", Closed;
        "gzip within chunked": coding(" gzip, chunked") => 501, "Unknown transfer coding", "RFC 9112 §6.1", Closed;
        "identity": coding(" identity") => 501, "Unknown transfer coding", "RFC 9112 §6.1", Closed;
        "xchunked": coding(" xchunked") => 501, "Unknown transfer coding", "RFC 9112 §6.1", Closed;
        "chunkedx": coding(" chunkedx") => 501, "Unknown transfer coding", "RFC 9112 §6.1", Closed;
        "chunked with a parameter": coding(" chunked;q=1") => 501, "Unknown transfer coding", "RFC 9112 §7.1", Closed;
        "chunked in quotes": coding(" \"chunked\"") => 501, "Unknown transfer coding", "RFC 9112 §6.1", Closed;
        "two words": coding(" chunked x") => 501, "Unknown transfer coding", "RFC 9112 §6.1", Closed;
        "chunked behind a semicolon": coding(" ;chunked") => 501, "Unknown transfer coding", "RFC 9112 §6.1", Closed;
        "a letter that upper case makes a k": coding(" chun\u{212a}ed")
            => 501, "Unknown transfer coding", "RFC 9112 §6.1", Closed;
        "chunked before a blank of Latin-1": raw(
            "POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked",
            b"\xa0", &format!("\r\n\r\n{CHUNKS}")) => 501, "Unknown transfer coding", "RFC 9112 §6.1", Closed;
        "chunked before a vertical tab": coding(" chunked\x0b") => 400, "control character", "RFC 9110 §5.5", Closed;
        "chunked behind a vertical tab": coding(" \x0bchunked") => 400, "control character", "RFC 9110 §5.5", Closed;
        "chunked behind a form feed": coding("\x0cchunked") => 400, "control character", "RFC 9110 §5.5", Closed;
        "chunked before NUL": coding(" chunked\0") => 400, "control character", "RFC 9110 §5.5", Closed;
        "chunked before a bare CR": coding(" chunked\r") => 400, "control character", "RFC 9112 §2.2", Closed;
        "no coding": coding("") => 400, "chunked, once", "RFC 9112 §6.3 item 4", Closed;
        "nothing but a comma": coding(" ,") => 400, "chunked, once", "RFC 9112 §6.3 item 4", Closed;
        "chunks in HTTP/1.0": format!("POST /api/status HTTP/1.0\r\nContent-Type: application/json\r\n\
            Connection: keep-alive\r\n{CHUNKED}\r\n{CHUNKS}")
            => 400, "HTTP/1.0 has no Transfer-Encoding", "RFC 9112 §6.1", Closed;
        "a coding and a length in HTTP/1.0": format!("POST /api/status HTTP/1.0\r\nContent-Type: application/json\r\n\
            Connection: keep-alive\r\nContent-Length: 7\r\n{CHUNKED}\r\n{STATUS}")
            => 400, "cannot stand together", "RFC 9112 §6.1", Closed;
        "a blank before the colon": post("Transfer-Encoding : chunked\r\n", CHUNKS)
            => 400, "blanks stand before its colon", "RFC 9112 §5.1", Closed;
        "a tab before the colon": post("Transfer-Encoding\t: chunked\r\n", CHUNKS)
            => 400, "blanks stand before its colon", "RFC 9112 §5.1", Closed;
        "a length, and a coding with a blank before its colon":
            post("Content-Length: 7\r\nTransfer-Encoding : chunked\r\n", STATUS)
            => 400, "blanks stand before its colon", "RFC 9112 §5.1", Closed;
        "Transfer_Encoding is another field": post("Content-Length: 7\r\nTransfer_Encoding: chunked\r\n", STATUS)
            => 200, UPDATED, "RFC 9112 §6.3 item 6", Open;
        "Transfer-Encodings is another field": post("Content-Length: 7\r\nTransfer-Encodings: chunked\r\n", STATUS)
            => 200, UPDATED, "RFC 9112 §6.3 item 6", Open;
        "TE is another field": post("Content-Length: 7\r\nTE: chunked\r\n", STATUS)
            => 200, UPDATED, "RFC 9110 §10.1.4", Open;
        "a coding in a folded line": post("Content-Length: 7\r\n Transfer-Encoding: chunked\r\n", STATUS)
            => 400, "the line is folded", "RFC 9112 §5.2", Closed;
        "a coding in a line folded with a tab":
            post("Content-Length: 7\r\nX: y\r\n\tTransfer-Encoding: chunked\r\n", STATUS)
            => 400, "the line is folded", "RFC 9112 §5.2", Closed;
        "a folded coding": coding(" \r\n chunked") => 400, "the line is folded", "RFC 9112 §5.2", Closed;
        "a coding behind a bare LF": post("Content-Length: 7\r\nX: y\nTransfer-Encoding: chunked\r\n", STATUS)
            => 400, "CR LF", "RFC 9112 §2.2", Closed;
        "a coding behind a bare CR": post("Content-Length: 7\r\nX: y\rTransfer-Encoding: chunked\r\n", STATUS)
            => 400, "control character", "RFC 9112 §2.2", Closed;
        "a vertical tab before the name": post("Content-Length: 7\r\n\x0bTransfer-Encoding: chunked\r\n", STATUS)
            => 400, "field name is invalid", "RFC 9110 §5.1", Closed;
        "NUL in the name": post("Content-Length: 7\r\nTransfer-Encoding\0: chunked\r\n", STATUS)
            => 400, "field name is invalid", "RFC 9110 §5.1", Closed;
        "a CR in the name": post("Content-Length: 7\r\nTransfer-Encoding\r: chunked\r\n", STATUS)
            => 400, "field name is invalid", "RFC 9112 §2.2", Closed;
        "a byte order mark before the name": post("Content-Length: 7\r\n\u{feff}Transfer-Encoding: chunked\r\n", STATUS)
            => 400, "field name is invalid", "RFC 9110 §5.1", Closed;
    }

    // Line ends.
    rows! {
        "a bare LF behind the request line": "GET /health HTTP/1.1\nHost: x\r\n\r\n"
            => 400, "CR LF", "RFC 9112 §2.2", Closed;
        "a bare LF behind a field": "GET /health HTTP/1.1\r\nHost: x\nX: y\r\n\r\n"
            => 400, "CR LF", "RFC 9112 §2.2", Closed;
        "a bare LF behind the last field": "GET /health HTTP/1.1\r\nHost: x\n\r\n"
            => 400, "CR LF", "RFC 9112 §2.2", Closed;
        "a bare LF for the last line": "GET /health HTTP/1.1\r\nHost: x\r\n\n" => 400, "CR LF", "RFC 9112 §2.2", Closed;
        "bare LFs everywhere": "GET /health HTTP/1.1\nHost: x\n\n" => 400, "CR LF", "RFC 9112 §2.2", Closed;
        "a bare LF before the request": "\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n"
            => 400, "CR LF", "RFC 9112 §2.2", Closed;
        "a bare LF behind an empty line": "\r\n\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n"
            => 400, "CR LF", "RFC 9112 §2.2", Closed;
        "a bare LF within a request line": line("GET /health\nHTTP/1.1") => 400, "request line", "RFC 9112 §3", Closed;
        "a bare LF and no field in HTTP/1.0": "GET /health HTTP/1.0\n\r\n" => 400, "CR LF", "RFC 9112 §2.2", Closed;
        "an empty line before the request": format!("\r\n{}", get("")) => 200, HEALTHY, "RFC 9112 §2.2", Open;
        "a bare CR before the request": format!("\r{}", get("")) => 400, "CR LF", "RFC 9112 §2.2", Closed;
        "CR CR LF before the request": format!("\r\r\n{}", get("")) => 400, "CR LF", "RFC 9112 §2.2", Closed;
        "a bare CR behind the request line": "GET /health HTTP/1.1\rHost: x\r\n\r\n"
            => 400, "CR LF", "RFC 9112 §2.2", Closed;
        "a bare CR in a value": get("X: a\rb\r\n") => 400, "control character", "RFC 9112 §2.2", Closed;
        "a bare CR in a name": get("X\rY: a\r\n") => 400, "field name is invalid", "RFC 9112 §2.2", Closed;
        "a bare CR in a target": line("GET /hea\rlth HTTP/1.1") => 400, "request line", "RFC 9112 §2.2", Closed;
        "a bare CR before a colon": get("X\r: a\r\n") => 400, "field name is invalid", "RFC 9112 §2.2", Closed;
        "a bare CR behind a colon": get("X:\ra\r\n") => 400, "control character", "RFC 9112 §2.2", Closed;
        "CR CR LF behind the request line": "GET /health HTTP/1.1\r\r\nHost: x\r\n\r\n"
            => 400, "CR LF", "RFC 9112 §2.2", Closed;
        "CR CR LF behind a field": get("X: y\r\r\n") => 400, "control character", "RFC 9112 §2.2", Closed;
        "CR CR LF for the last line": "GET /health HTTP/1.1\r\nHost: x\r\n\r\r\n"
            => 400, "CR LF", "RFC 9112 §2.2", Closed;
        "CR for the last line": "GET /health HTTP/1.1\r\nHost: x\r\n\r" => 400, "CR LF", "RFC 9112 §2.2", Closed;
        "a blank in the last line": "GET /health HTTP/1.1\r\nHost: x\r\n \r\n\r\n"
            => 400, "the line is folded", "RFC 9112 §5.2", Closed;
        "a blank before the first field": "GET /health HTTP/1.1\r\n X: y\r\nHost: x\r\n\r\n"
            => 400, "the line is folded", "RFC 9112 §2.2", Closed;
    }

    // Field lines.
    rows! {
        "NUL in a name": get("X\0Y: a\r\n") => 400, "field name is invalid", "RFC 9110 §5.1", Closed;
        "NUL in a value": get("X: a\0b\r\n") => 400, "control character", "RFC 9110 §5.5", Closed;
        "DEL in a value": get("X: a\x7fb\r\n") => 400, "control character", "RFC 9110 §5.5", Closed;
        "a vertical tab for the blank of a field": get("X:\x0by\r\n")
            => 400, "control character", "RFC 9110 §5.5", Closed;
        "a form feed for the blank of a field": get("X:\x0cy\r\n") => 400, "control character", "RFC 9110 §5.5", Closed;
        "ESC in a value": get("X: \x1b[2J\r\n") => 400, "control character", "RFC 9110 §5.5", Closed;
        "no colon": get("X\r\n") => 400, "field name is invalid", "RFC 9112 §5", Closed;
        "no colon but a length": get("Content-Length 36\r\n") => 400, "field name is invalid", "RFC 9112 §5", Closed;
        "no name": get(": y\r\n") => 400, "field name is invalid", "RFC 9112 §5", Closed;
        "a blank for a name": get(" : y\r\n") => 400, "field name is invalid", "RFC 9112 §5.2", Closed;
        "a blank in a name": get("X Y: z\r\n") => 400, "field name is invalid", "RFC 9110 §5.1", Closed;
        "a parenthesis in a name": get("X(Y): z\r\n") => 400, "field name is invalid", "RFC 9110 §5.1", Closed;
        "a name in quotes": get("\"X\": z\r\n") => 400, "field name is invalid", "RFC 9110 §5.1", Closed;
        "a name of other letters": get("\u{e4}: z\r\n") => 400, "field name is invalid", "RFC 9110 §5.1", Closed;
        "a value of other letters": raw("GET /health HTTP/1.1\r\nHost: x\r\nX: ", b"\xe4\xff", "\r\n\r\n")
            => 200, HEALTHY, "RFC 9110 §5.5", Open;
        "an empty value": get("X:\r\n") => 200, HEALTHY, "RFC 9112 §5", Open;
        "colons in a value": get("X::Y: Content-Length: 36\r\n") => 200, HEALTHY, "RFC 9112 §5", Open;
    }

    // Host.
    rows! {
        "no Host": hosted("") => 400, "needs a Host header", "RFC 9112 §3.2", Closed;
        "one Host twice": hosted("Host: x\r\nHost: x\r\n") => 400, "more than once", "RFC 9112 §3.2", Closed;
        "two Hosts": hosted("Host: x\r\nHost: y\r\n") => 400, "more than once", "RFC 9112 §3.2", Closed;
        "two Hosts in odd case": hosted("HOST: x\r\nX: y\r\nhost: y\r\n")
            => 400, "more than once", "RFC 9112 §3.2", Closed;
        "two Hosts in HTTP/1.0": "GET /health HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n"
            => 400, "more than once", "RFC 9112 §3.2", Closed;
        "two Hosts in a line": hosted("Host: x, y\r\n") => 400, "does not name a host", "RFC 9112 §3.2", Closed;
        // A registered name may hold a comma (RFC 3986 §3.2.2), but so does what somebody made of two lines.
        "two Hosts in a line without a blank": hosted("Host: x,y\r\n")
            => 400, "does not name a host", "RFC 9110 §5.3", Closed;
        "a Host with userinfo": hosted("Host: x@y\r\n") => 400, "does not name a host", "RFC 9110 §7.2", Closed;
        "a Host with a path": hosted("Host: x/y\r\n") => 400, "does not name a host", "RFC 9110 §7.2", Closed;
        "a Host with a query": hosted("Host: x?y\r\n") => 400, "does not name a host", "RFC 9110 §7.2", Closed;
        "a Host with a fragment": hosted("Host: x#y\r\n") => 400, "does not name a host", "RFC 9110 §7.2", Closed;
        "a Host with a backslash": hosted("Host: x\\y\r\n") => 400, "does not name a host", "RFC 9110 §7.2", Closed;
        "a Host with a blank": hosted("Host: x y\r\n") => 400, "does not name a host", "RFC 9110 §7.2", Closed;
        "a Host with a scheme": hosted("Host: http://x\r\n") => 400, "does not name a host", "RFC 9110 §7.2", Closed;
        "a Host with two ports": hosted("Host: x:80:81\r\n") => 400, "does not name a host", "RFC 9110 §7.2", Closed;
        "a Host with a port of letters": hosted("Host: x:8o\r\n")
            => 400, "does not name a host", "RFC 9110 §7.2", Closed;
        "a Host of other letters": hosted("Host: \u{e4}\r\n") => 400, "does not name a host", "RFC 9110 §7.2", Closed;
        "a Host with an open bracket": hosted("Host: [::1\r\n") => 400, "does not name a host", "RFC 9110 §7.2", Closed;
        "a blank before the colon of Host": hosted("Host : x\r\n")
            => 400, "blanks stand before its colon", "RFC 9112 §5.1", Closed;
        "a Host with half an escape": hosted("Host: %z\r\n") => 400, "does not name a host", "RFC 3986 §2.1", Closed;
        "a Host with a whole escape": hosted("Host: %7a:80\r\n") => 200, HEALTHY, "RFC 3986 §3.2.2", Open;
        "a Host in brackets that is no address": hosted("Host: [z]\r\n")
            => 400, "does not name a host", "RFC 3986 §3.2.2", Closed;
        "a folded Host": hosted("Host: x\r\n y\r\n") => 400, "the line is folded", "RFC 9112 §5.2", Closed;
        "an empty Host": hosted("Host:\r\n") => 200, HEALTHY, "RFC 9112 §3.2", Open;
        "no Host in HTTP/1.0": "GET /health HTTP/1.0\r\n\r\n" => 200, HEALTHY, "RFC 9112 §9.3", Closed;
        "no Host in HTTP/1.0 that stays": "GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
            => 200, HEALTHY, "RFC 9112 §9.3", Open;
        "another Host for proxies": get("X-Forwarded-Host: y\r\nX-Host: z\r\nForwarded: host=y\r\n")
            => 200, HEALTHY, "RFC 9112 §3.3", Open;
    }

    // The target.
    rows! {
        "absolute form, the same Host": line("GET http://x/health HTTP/1.1") => 200, HEALTHY, "RFC 9112 §3.2.2", Open;
        "absolute form, another Host": line("GET http://y/health HTTP/1.1") => 200, HEALTHY, "RFC 9112 §3.2.2", Open;
        "absolute form, no Host": "GET http://x/health HTTP/1.1\r\n\r\n"
            => 400, "needs a Host header", "RFC 9112 §3.2", Closed;
        "absolute form, two Hosts": "GET http://x/health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"
            => 400, "more than once", "RFC 9112 §3.2", Closed;
        "absolute form with userinfo": line("GET http://a@x/health HTTP/1.1")
            => 400, "request target", "RFC 9110 §4.2.4", Closed;
        "absolute form with a password": line("GET http://a:b@x/health HTTP/1.1")
            => 400, "request target", "RFC 9110 §4.2.4", Closed;
        "absolute form without a host": line("GET http:///health HTTP/1.1")
            => 400, "request target", "RFC 9110 §4.2.1", Closed;
        "absolute form with a port and no host": line("GET http://:80/health HTTP/1.1")
            => 400, "request target", "RFC 9110 §4.2.1", Closed;
        "absolute form with a host in brackets that is no address": line("GET http://[z]/health HTTP/1.1")
            => 400, "request target", "RFC 3986 §3.2.2", Closed;
        "absolute form with half an escape in the host": line("GET http://%4/health HTTP/1.1")
            => 400, "request target", "RFC 3986 §2.1", Closed;
        "a fragment": line("GET /health#x HTTP/1.1") => 400, "request target", "RFC 9112 §3.2", Closed;
        "a fragment behind a query": line("GET /health?a#x HTTP/1.1") => 400, "request target", "RFC 9112 §3.2", Closed;
        "other letters in the target": line("GET /h\u{e4}lth HTTP/1.1")
            => 400, "request target", "RFC 9112 §3.2", Closed;
        "other letters in the query": line("GET /health?\u{202e} HTTP/1.1")
            => 400, "request target", "RFC 9112 §3.2", Closed;
        "a control character of Latin-1 in the target": line("GET /health?\u{85} HTTP/1.1")
            => 400, "request target", "RFC 9112 §3.2", Closed;
        "absolute form without slashes": line("GET http:/health HTTP/1.1")
            => 400, "request target", "RFC 9112 §3.2", Closed;
        "absolute form of another scheme": line("GET file://x/health HTTP/1.1")
            => 400, "request target", "RFC 9110 §7.4", Closed;
        "absolute form within a path": line("GET /http://x/health HTTP/1.1")
            => 404, "Not found", "RFC 9112 §3.2.1", Open;
        "an empty segment first": line("GET //x/health HTTP/1.1") => 404, "Not found", "RFC 9112 §3.2.1", Open;
        "dots in a path": line("GET /x/../health HTTP/1.1") => 404, "Not found", "RFC 9112 §3.2.1", Open;
        "a line end in per cent": line("GET /health%0d%0aHost:%20y HTTP/1.1")
            => 404, "Not found", "RFC 9112 §3.2.1", Open;
        "a request in a query": line("GET /health?%20HTTP/1.1%0d%0a%0d%0aGET%20/smuggled HTTP/1.1")
            => 200, HEALTHY, "RFC 9112 §3.2.1", Open;
        "authority form of GET": line("GET x:80 HTTP/1.1") => 400, "request target", "RFC 9112 §3.2.3", Closed;
        "authority form of CONNECT": line("CONNECT x:80 HTTP/1.1") => 501, "Unknown method", "RFC 9110 §9.1", Closed;
        "asterisk form of GET": line("GET * HTTP/1.1") => 400, "request target", "RFC 9112 §3.2.4", Closed;
        "asterisk form of OPTIONS": line("OPTIONS * HTTP/1.1") => 204, "", "RFC 9112 §3.2.4", Open;
        "a target without a slash": line("GET health HTTP/1.1") => 400, "request target", "RFC 9112 §3.2", Closed;
        "a target that is a query": line("GET ?a HTTP/1.1") => 400, "request target", "RFC 9112 §3.2", Closed;
        "a blank in the target": line("GET /health x HTTP/1.1") => 400, "request line", "RFC 9112 §3", Closed;
        "a request line in the target": line("GET /health HTTP/1.1 HTTP/1.1") => 400, "request line", "RFC 9112 §3", Closed;
        "NUL in the target": line("GET /hea\0lth HTTP/1.1") => 400, "request line", "RFC 9112 §3.2", Closed;
        "DEL in the target": line("GET /hea\x7flth HTTP/1.1") => 400, "request line", "RFC 9112 §3.2", Closed;
        "no UTF-8 in the target": raw("GET /hea", b"\xff", "lth HTTP/1.1\r\nHost: x\r\n\r\n")
            => 400, "request line", "RFC 9112 §3.2", Closed;
    }

    // The rest of the request line.
    rows! {
        "no target": line("GET HTTP/1.1") => 400, "request line", "RFC 9112 §3", Closed;
        "two blanks before the target": line("GET  /health HTTP/1.1") => 400, "request line", "RFC 9112 §3", Closed;
        "two blanks behind the target": line("GET /health  HTTP/1.1") => 400, "request line", "RFC 9112 §3", Closed;
        "a blank before the method": line(" GET /health HTTP/1.1") => 400, "request line", "RFC 9112 §3", Closed;
        "a blank behind the version": line("GET /health HTTP/1.1 ") => 400, "request line", "RFC 9112 §3", Closed;
        "a tab before the target": line("GET\t/health HTTP/1.1") => 400, "request line", "RFC 9112 §3", Closed;
        "a tab behind the target": line("GET /health\tHTTP/1.1") => 400, "request line", "RFC 9112 §3", Closed;
        "a vertical tab before the target": line("GET\x0b/health HTTP/1.1")
            => 400, "request line", "RFC 9112 §3", Closed;
        "a form feed behind the target": line("GET /health\x0cHTTP/1.1") => 400, "request line", "RFC 9112 §3", Closed;
        "NUL in the method": line("GE\0T /health HTTP/1.1") => 400, "request line", "RFC 9110 §9.1", Closed;
        "other letters in the method": line("G\u{c9}T /health HTTP/1.1")
            => 400, "request line", "RFC 9110 §9.1", Closed;
        "a method in lower case": line("get /health HTTP/1.1") => 501, "Unknown method", "RFC 9110 §9.1", Closed;
        "a method in odd case": line("Post /api/status HTTP/1.1") => 501, "Unknown method", "RFC 9110 §9.1", Closed;
        "no such method": line("XGET /health HTTP/1.1") => 501, "Unknown method", "RFC 9110 §9.1", Closed;
        "the rest of a body for a method": line("{}GET /health HTTP/1.1") => 400, "request line", "RFC 9112 §3", Closed;
        "HTTP/1.10": line("GET /health HTTP/1.10") => 400, "request line", "RFC 9112 §2.3", Closed;
        "HTTP/1.": line("GET /health HTTP/1.") => 505, "HTTP/1.1", "RFC 9112 §2.3", Closed;
        "HTTP/2.0": line("GET /health HTTP/2.0") => 505, "HTTP/1.1", "RFC 9110 §15.6.6", Closed;
        "HTTP/0.9": line("GET /health HTTP/0.9") => 505, "HTTP/1.1", "RFC 9110 §15.6.6", Closed;
        "a simple request": "GET /health\r\n" => 400, "request line", "RFC 9112 §3", Closed;
        "a simple request and a Host": line("GET /health") => 400, "request line", "RFC 9112 §3", Closed;
        "a version in lower case": line("GET /health http/1.1") => 400, "request line", "RFC 9112 §2.3", Closed;
        "another protocol": line("GET /health HTTPS/1.1") => 400, "request line", "RFC 9112 §2.3", Closed;
        "a version with a comma": line("GET /health HTTP/1,1") => 505, "HTTP/1.1", "RFC 9112 §2.3", Closed;
        "a version with a blank": line("GET /health HTTP/ 1.1") => 400, "request line", "RFC 9112 §2.3", Closed;
        "a response": "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" => 400, "request line", "RFC 9112 §3", Closed;
        "the preface of HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" => 505, "HTTP/1.1", "RFC 9113 §3.4", Closed;
        "the beginning of TLS": raw("", b"\x16\x03\x01\x00\x2e\x01\x00\x00\x2a\x03\x03GET / HTTP/1.1", "\r\n\r\n")
            => 400, "request line", "RFC 9112 §3", Closed;
        "a line of the PROXY protocol": format!("PROXY TCP4 127.0.0.1 127.0.0.1 1 80\r\n{}", get(""))
            => 400, "request line", "RFC 9112 §3", Closed;
    }

    // Bodies where none is expected: they are not read, so nothing can follow them.
    rows! {
        "GET with a body": with_body("GET", "/health") => 200, HEALTHY, "RFC 9110 §9.3.1", Closed;
        "GET with chunks": with_chunk("GET", "/health") => 200, HEALTHY, "RFC 9110 §9.3.1", Closed;
        "GET with chunks of nothing": get(CHUNKED) + "0\r\n\r\n" => 200, HEALTHY, "RFC 9112 §9.3", Closed;
        "HEAD with a body": with_body("HEAD", "/health") => 200, "", "RFC 9110 §9.3.2", Closed;
        "HEAD with chunks": with_chunk("HEAD", "/health") => 200, "", "RFC 9110 §9.3.2", Closed;
        "HEAD without a body": line("HEAD /health HTTP/1.1") => 200, "", "RFC 9112 §6.3 item 1", Open;
        "HEAD that is refused": line("HEAD /health  HTTP/1.1") => 400, "", "RFC 9112 §6.3 item 1", Closed;
        "OPTIONS with a body": with_body("OPTIONS", "/health") => 204, "", "RFC 9110 §9.3.7", Closed;
        "DELETE with a body": with_body("DELETE", "/health") => 405, "Method not allowed", "RFC 9110 §9.3.5", Closed;
        "POST elsewhere with a body": with_body("POST", "/smuggle") => 404, "Not found", "RFC 9112 §9.3", Closed;
        "POST elsewhere with chunks": with_chunk("POST", "/smuggle") => 404, "Not found", "RFC 9112 §9.3", Closed;
        "POST of a body that is no JSON": with_body("POST", "/api/status")
            => 415, "application/json", "RFC 9112 §9.3", Closed;
        "a body longer than anything": get("Content-Length: 18446744073709551615\r\n")
            => 200, HEALTHY, "RFC 9112 §9.3", Closed;
        "GET with a body that asks to stay": raw("GET /health HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\
            Content-Length: 36\r\n\r\n", MARKED_GET, "") => 200, HEALTHY, "RFC 9112 §9.3", Closed;
    }

    // Chunk sizes and extensions.
    rows! {
        "a size with leading zeros": chunks("0007\r\n{\"a\":1}\r\n000\r\n\r\n") => 200, UPDATED, "RFC 9112 §7.1", Open;
        "a size of 16 digits": chunks("0000000000000007\r\n{\"a\":1}\r\n0\r\n\r\n")
            => 200, UPDATED, "RFC 9112 §7.1", Open;
        "a size of 17 digits": chunks("00000000000000007\r\n{\"a\":1}\r\n0\r\n\r\n")
            => 400, "16 hexadecimal digits", "RFC 9112 §7.1", Closed;
        "a size that wraps to 7": chunks("10000000000000007\r\n{\"a\":1}\r\n0\r\n\r\n")
            => 400, "16 hexadecimal digits", "RFC 9112 §7.1", Closed;
        "a size that wraps to 7 in 32 bits": chunks("100000007\r\n{\"a\":1}\r\n0\r\n\r\n")
            => 400, "the limit is 65536", "RFC 9112 §7.1", Closed;
        "the largest size": chunks("FFFFFFFFFFFFFFFF\r\n{\"a\":1}\r\n0\r\n\r\n")
            => 400, "the limit is 65536", "RFC 9112 §7.1", Closed;
        "sizes that wrap together": chunks("7\r\n{\"a\":1}\r\nFFFFFFFFFFFFFFF9\r\n\r\n0\r\n\r\n")
            => 400, "the limit is 65536", "RFC 9112 §7.1", Closed;
        "a size with a plus": chunks("+7\r\n{\"a\":1}\r\n0\r\n\r\n") => 400, "chunk size", "RFC 9112 §7.1", Closed;
        "a size with a minus": chunks("-1\r\n{\"a\":1}\r\n0\r\n\r\n") => 400, "chunk size", "RFC 9112 §7.1", Closed;
        "a size of minus nothing": chunks("7\r\n{\"a\":1}\r\n-0\r\n\r\n") => 400, "chunk size", "RFC 9112 §7.1", Closed;
        "a size with a prefix": chunks("0x7\r\n{\"a\":1}\r\n0\r\n\r\n") => 400, "chunk size", "RFC 9112 §7.1", Closed;
        "a size with a suffix": chunks("7h\r\n{\"a\":1}\r\n0\r\n\r\n") => 400, "chunk size", "RFC 9112 §7.1", Closed;
        "a size with an underscore": chunks("0_7\r\n{\"a\":1}\r\n0\r\n\r\n")
            => 400, "chunk size", "RFC 9112 §7.1", Closed;
        "a size with a fraction": chunks("7.0\r\n{\"a\":1}\r\n0\r\n\r\n") => 400, "chunk size", "RFC 9112 §7.1", Closed;
        "a size in quotes": chunks("\"7\"\r\n{\"a\":1}\r\n0\r\n\r\n") => 400, "chunk size", "RFC 9112 §7.1", Closed;
        "a size behind a blank": chunks(" 7\r\n{\"a\":1}\r\n0\r\n\r\n") => 400, "chunk size", "RFC 9112 §7.1", Closed;
        "a size before a blank": chunks("7 \r\n{\"a\":1}\r\n0\r\n\r\n") => 400, "chunk size", "RFC 9112 §7.1", Closed;
        "a size before a tab": chunks("7\t\r\n{\"a\":1}\r\n0\r\n\r\n") => 400, "chunk size", "RFC 9112 §7.1", Closed;
        "a size before a vertical tab": chunks("7\x0b\r\n{\"a\":1}\r\n0\r\n\r\n")
            => 400, "chunk size", "RFC 9112 §7.1", Closed;
        "two sizes": chunks("7 7\r\n{\"a\":1}\r\n0\r\n\r\n") => 400, "chunk size", "RFC 9112 §7.1", Closed;
        "two sizes and a comma": chunks("7,7\r\n{\"a\":1}\r\n0\r\n\r\n") => 400, "chunk size", "RFC 9112 §7.1", Closed;
        "a size of Arabic digits": chunks("\u{667}\r\n{\"a\":1}\r\n0\r\n\r\n")
            => 400, "chunk size", "RFC 9112 §7.1", Closed;
        "no size": chunks("\r\n{\"a\":1}\r\n0\r\n\r\n") => 400, "chunk size", "RFC 9112 §7.1", Closed;
        "an extension without a size": chunks(";a=b\r\n{\"a\":1}\r\n0\r\n\r\n")
            => 400, "chunk size", "RFC 9112 §7.1", Closed;
        "a bare LF behind a size": chunks("7\n{\"a\":1}\r\n0\r\n\r\n") => 400, "chunk size", "RFC 9112 §2.2", Closed;
        "a bare CR behind a size": chunks("7\r{\"a\":1}\r\n0\r\n\r\n")
            => 400, "after a chunk size", "RFC 9112 §2.2", Closed;
        "CR CR LF behind a size": chunks("7\r\r\n{\"a\":1}\r\n0\r\n\r\n")
            => 400, "after a chunk size", "RFC 9112 §2.2", Closed;
        "an extension": chunks("7;a=b\r\n{\"a\":1}\r\n0;c\r\n\r\n") => 200, UPDATED, "RFC 9112 §7.1.1", Open;
        "an extension behind a blank": chunks("7 ; a = b\r\n{\"a\":1}\r\n0\r\n\r\n")
            => 200, UPDATED, "RFC 9112 §7.1.1", Open;
        "an extension in quotes": chunks("7;a=\"x;0\\\"\"\r\n{\"a\":1}\r\n0\r\n\r\n")
            => 200, UPDATED, "RFC 9112 §7.1.1", Open;
        // No quoted string holds a line end. The extension is malformed, but where its line ends is beyond doubt for
        // whoever drops extensions unread, so what follows has to be a chunk, and what it hides is none.
        "a line end in the quotes of an extension": chunks("7;a=\"x\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n\"\r\n")
            => 400, "A chunk does not end", "RFC 9112 §7.1.1", Closed;
        "a bare LF in the quotes of an extension": chunks("7;a=\"x\n\"\r\n{\"a\":1}\r\n0\r\n\r\n")
            => 400, "after a chunk size", "RFC 9112 §7.1.1", Closed;
        "a bare LF behind an extension": chunks("7;a\n{\"a\":1}\r\n0\r\n\r\n")
            => 400, "after a chunk size", "RFC 9112 §2.2", Closed;
        "a chunk behind a bare LF in an extension": chunks("2;\n00\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n0\r\n\r\n")
            => 400, "after a chunk size", "RFC 9112 §2.2", Closed;
        "a bare CR in an extension": chunks("7;a\rb\r\n{\"a\":1}\r\n0\r\n\r\n")
            => 400, "after a chunk size", "RFC 9112 §2.2", Closed;
        "NUL in an extension": chunks("7;a\0\r\n{\"a\":1}\r\n0\r\n\r\n")
            => 400, "after a chunk size", "RFC 9112 §7.1.1", Closed;
        "DEL in an extension": chunks("7;a=\"\x7f\"\r\n{\"a\":1}\r\n0\r\n\r\n")
            => 400, "after a chunk size", "RFC 9112 §7.1.1", Closed;
        "a bare LF behind the extension of the last chunk": chunks("7\r\n{\"a\":1}\r\n0;a\n\r\n")
            => 400, "after a chunk size", "RFC 9112 §2.2", Closed;
        "a vertical tab before an extension": chunks("7\x0b;a\r\n{\"a\":1}\r\n0\r\n\r\n")
            => 400, "chunk size", "RFC 9112 §7.1.1", Closed;
    }

    // Chunk data, the last chunk and the trailers.
    rows! {
        "a chunk like a request": chunks("22\r\n{\"a\":\"\\r\\nGET /smuggled HTTP/1.1\"}\r\n0\r\n\r\n")

            => 200,
            r#"{"success":true,"message":"Status updated successfully","status":{"a":"\r\nGET /smuggled HTTP/1.1"}}"#,
            "RFC 9112 §7.1", Open;
        "a chunk with an empty line in it": chunks("b\r\n{\"a\":1\r\n\r\n}\r\n0\r\n\r\n")
            => 200, "{\"success\":true,\"message\":\"Status updated successfully\",\"status\":{\"a\":1\r\n\r\n}}",
            "RFC 9112 §7.1", Open;
        "a chunk longer than its size": chunks("6\r\n{\"a\":1}\r\n0\r\n\r\n")
            => 400, "chunk does not end", "RFC 9112 §7.1", Closed;
        "a chunk shorter than its size": chunks("8\r\n{\"a\":1}\r\n0\r\n\r\n")
            => 400, "chunk does not end", "RFC 9112 §7.1", Closed;
        "a chunk with two bytes too many": chunks("7\r\n{\"a\":1}xx0\r\n\r\n")
            => 400, "chunk does not end", "RFC 9112 §7.1", Closed;
        "a chunk before nothing": chunks("7\r\n{\"a\":1}0\r\n\r\n")
            => 400, "chunk does not end", "RFC 9112 §7.1", Closed;
        "a chunk before a bare LF": chunks("7\r\n{\"a\":1}\n0\r\n\r\n")
            => 400, "chunk does not end", "RFC 9112 §2.2", Closed;
        "a chunk before a bare CR": chunks("7\r\n{\"a\":1}\r0\r\n\r\n")
            => 400, "chunk does not end", "RFC 9112 §2.2", Closed;
        "a chunk before two line ends": chunks("7\r\n{\"a\":1}\r\n\r\n0\r\n\r\n")
            => 400, "chunk size", "RFC 9112 §7.1", Closed;
        "no last chunk": chunks("7\r\n{\"a\":1}\r\n") => 400, "chunk size", "RFC 9112 §7.1", Closed;
        "no last line": chunks("7\r\n{\"a\":1}\r\n0\r\n") => 400, "Malformed trailer", "RFC 9112 §7.1", Closed;
        "half of a last line": chunks("7\r\n{\"a\":1}\r\n0\r\n\r") => 400, "Malformed trailer", "RFC 9112 §7.1", Closed;
        "a bare LF behind the last chunk": chunks("7\r\n{\"a\":1}\r\n0\n\r\n")
            => 400, "chunk size", "RFC 9112 §2.2", Closed;
        "a bare LF for the last line of chunks": chunks("7\r\n{\"a\":1}\r\n0\r\n\n")
            => 400, "Malformed trailer", "RFC 9112 §2.2", Closed;
        "a trailer": chunks("7\r\n{\"a\":1}\r\n0\r\nX: y\r\n\r\n") => 200, UPDATED, "RFC 9112 §7.1.2", Open;
        "a trailer that names a length": chunks("7\r\n{\"a\":1}\r\n0\r\nContent-Length: 36\r\n\r\n")
            => 200, UPDATED, "RFC 9110 §6.5.1", Open;
        "a trailer that names a coding": chunks("7\r\n{\"a\":1}\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n")
            => 200, UPDATED, "RFC 9110 §6.5.1", Open;
        "a trailer that names a Host": chunks("7\r\n{\"a\":1}\r\n0\r\nHost: y\r\nHost: z\r\n\r\n")
            => 200, UPDATED, "RFC 9110 §6.5.1", Open;
        "a trailer that names a type": chunks("7\r\n{\"a\":1}\r\n0\r\nContent-Type: text/plain\r\n\r\n")
            => 200, UPDATED, "RFC 9110 §6.5.1", Open;
        "a trailer that ends the connection": chunks("7\r\n{\"a\":1}\r\n0\r\nConnection: close\r\n\r\n")
            => 200, UPDATED, "RFC 9110 §6.5.1", Open;
        "a trailer that expects": chunks("7\r\n{\"a\":1}\r\n0\r\nExpect: tea\r\n\r\n")
            => 200, UPDATED, "RFC 9110 §6.5.1", Open;
        "a folded trailer": chunks("7\r\n{\"a\":1}\r\n0\r\nX: y\r\n z\r\n\r\n")
            => 400, "Malformed trailer", "RFC 9112 §5.2", Closed;
        "a trailer with a bare CR": chunks("7\r\n{\"a\":1}\r\n0\r\nX: y\rz\r\n\r\n")
            => 400, "Malformed trailer", "RFC 9112 §2.2", Closed;
        "a trailer with a bare LF": chunks("7\r\n{\"a\":1}\r\n0\r\nX: y\nY: z\r\n\r\n")
            => 400, "Malformed trailer", "RFC 9112 §2.2", Closed;
        "a trailer with a blank before its colon": chunks("7\r\n{\"a\":1}\r\n0\r\nX : y\r\n\r\n")
            => 400, "Malformed trailer", "RFC 9112 §5.1", Closed;
        "a trailer without a colon": chunks("7\r\n{\"a\":1}\r\n0\r\nX\r\n\r\n")
            => 400, "Malformed trailer", "RFC 9112 §5", Closed;
        "a trailer without a name": chunks("7\r\n{\"a\":1}\r\n0\r\n: y\r\n\r\n")
            => 400, "Malformed trailer", "RFC 9112 §5", Closed;
        "NUL in a trailer": chunks("7\r\n{\"a\":1}\r\n0\r\nX: \0\r\n\r\n")
            => 400, "Malformed trailer", "RFC 9110 §5.5", Closed;
    }

    // Expectations, connection options, and fields that ask for something else than the request line.
    rows! {
        "an expectation": post("Content-Length: 7\r\nExpect: 100-continue\r\n", STATUS)
            => 200, UPDATED, "RFC 9110 §10.1.1", Open;
        "an expectation in odd case": post("Content-Length: 7\r\neXPECT: 100-CONTINUE\r\n", STATUS)
            => 200, UPDATED, "RFC 9110 §10.1.1", Open;
        "an expectation and chunks": post(&format!("Expect: 100-continue\r\n{CHUNKED}"), CHUNKS)
            => 200, UPDATED, "RFC 9110 §10.1.1", Open;
        "an expectation twice": post("Expect: 100-continue\r\nContent-Length: 7\r\nExpect: 100-continue\r\n", STATUS)
            => 200, UPDATED, "RFC 9110 §10.1.1", Open;
        "an expectation of a GET": get("Expect: 100-continue\r\n") => 200, HEALTHY, "RFC 9110 §10.1.1", Open;
        "an empty expectation": get("Expect:\r\n") => 200, HEALTHY, "RFC 9110 §5.6.1", Open;
        "one expectation twice in a line": get("Expect: 100-continue, 100-continue\r\n")
            => 200, HEALTHY, "RFC 9110 §10.1.1", Open;
        "an expectation of a GET with a body": raw("GET /health HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\
            Content-Length: 36\r\n\r\n", MARKED_GET, "") => 200, HEALTHY, "RFC 9110 §10.1.1", Closed;
        "another expectation": post("Content-Length: 7\r\nExpect: tea\r\n", STATUS)
            => 417, "Unknown expectation", "RFC 9110 §10.1.1", Closed;
        "another expectation too": post("Content-Length: 7\r\nExpect: 100-continue, tea\r\n", STATUS)
            => 417, "Unknown expectation", "RFC 9110 §10.1.1", Closed;
        "an expectation and more": post("Content-Length: 7\r\nExpect: 100-continued\r\n", STATUS)
            => 417, "Unknown expectation", "RFC 9110 §10.1.1", Closed;
        "an expectation with a blank": post("Content-Length: 7\r\nExpect: 100 continue\r\n", STATUS)
            => 417, "Unknown expectation", "RFC 9110 §10.1.1", Closed;
        "an expectation of HTTP/1.0": format!("POST /api/status HTTP/1.0\r\nContent-Type: application/json\r\n\
            Content-Length: 7\r\nExpect: 100-continue\r\n\r\n{STATUS}") => 200, UPDATED, "RFC 9110 §10.1.1", Closed;
        "close and keep-alive": get("Connection: close, keep-alive\r\n") => 200, HEALTHY, "RFC 9112 §9.3", Closed;
        "keep-alive and close": get("Connection: keep-alive\r\nConnection: CLOSE\r\n")
            => 200, HEALTHY, "RFC 9112 §9.3", Closed;
        "a post and close": post("Content-Length: 7\r\nConnection: close\r\n", STATUS)
            => 200, UPDATED, "RFC 9112 §9.6", Closed;
        "a length named by Connection": post("Connection: Content-Length\r\nContent-Length: 7\r\n", STATUS)
            => 200, UPDATED, "RFC 9110 §7.6.1", Open;
        "a Host named by Connection": get("Connection: Host\r\n") => 200, HEALTHY, "RFC 9110 §7.6.1", Open;
        "closed is not close": get("Connection: closed, xclose\r\n") => 200, HEALTHY, "RFC 9112 §9.3", Open;
        "an upgrade": get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n")
            => 200, HEALTHY, "RFC 9110 §7.8", Open;
        "an upgrade to WebSocket": get("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n")
            => 200, HEALTHY, "RFC 9110 §7.8", Open;
        "an upgrade of a post": post("Content-Length: 7\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n", STATUS)
            => 200, UPDATED, "RFC 9110 §7.8", Open;
        "another method in a field":
            get("X-HTTP-Method-Override: POST\r\nX-HTTP-Method: DELETE\r\nX-Method-Override: PUT\r\n")
            => 200, HEALTHY, "RFC 9112 §3.1", Open;
        "another target in a field": get("X-Original-URL: /smuggled\r\nX-Rewrite-URL: /smuggled\r\n")
            => 200, HEALTHY, "RFC 9112 §3.2", Open;
    }
    rows
}

/// Requests that break a rule, or bend one, which says nothing of where they end: they may be refused or answered.
fn harmless() -> [(&'static str, Vec<u8>); 9] {
    [
        ("a quote and a backslash in the target", Vec::from(line("GET /health?\"\\ HTTP/1.1"))),
        ("half an escape in the target", Vec::from(line("GET /health?%0 HTTP/1.1"))),
        ("a Host with a port and no name", Vec::from(hosted("Host: :80\r\n"))),
        ("HTTP/1.2", Vec::from(line("GET /health HTTP/1.2"))),
        ("HTTP/01.1", Vec::from(line("GET /health HTTP/01.1"))),
        ("one length in two ways", Vec::from(post("Content-Length: 7\r\nContent-Length: 07\r\n", STATUS))),
        ("an extension without a name", Vec::from(chunks("7;\r\n{\"a\":1}\r\n0;=b\r\n\r\n"))),
        ("an extension that is no token", Vec::from(chunks("7;@[]\r\n{\"a\":1}\r\n0\r\n\r\n"))),
        ("an open quote in an extension", Vec::from(chunks("7;a=\"\r\n{\"a\":1}\r\n0\r\n\r\n"))),
    ]
}

// ---------------------------------------------------------------------------------------------------- the driver

const LIMITS: Limits = Limits {
    max_bytes: 65_536,
    head_timeout: 10_000,
    body_timeout: 30_000,
    idle_timeout: 75_000,
    write_timeout: 20_000,
};
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4711);
const NOW: u64 = 1_000_000;

/// What the core told of.
#[derive(Default, Debug)]
struct Told {
    /// The target and the code of each request that was answered.
    answered: Vec<(String, u16)>,
    /// How many statuses were accepted.
    accepted: usize,
}

impl Journal for Told {
    fn record(&mut self, event: Event<'_>) {
        match event {
            Event::Accepted { .. } => self.accepted += 1,
            Event::Refused { .. } => {}
            Event::Answered { target, code, .. } => self.answered.push((target.to_owned(), code.number())),
        }
    }
}

/// What came of some bytes on a new connection to a new server.
struct Outcome {
    sent: Vec<u8>,
    told: Told,
    /// Whether the connection waits for another request.
    open: bool,
    /// The status at the end.
    status: Vec<u8>,
}

/// Does with `pieces`, which arrive one after the other, what `Server::drive` does.
fn run(storage: &mut Storage, pieces: &[&[u8]]) -> Outcome {
    let mut connections = Connections::new(storage, 8, LIMITS);
    let date = Date(*b"Sun, 06 Nov 1994 08:49:37 GMT");
    let mut told = Told::default();
    let mut sent = Vec::new();
    let mut turn = Turn { now: NOW, date: &date, journal: &mut told };
    let id = connections.accept(PEER, NOW).expect("there is room");
    let mut pieces = pieces.iter();
    let mut here: &[u8] = b"";
    let mut write_shut = false;
    let mut open = false;
    loop {
        match connections.next(id) {
            Next::Read(at_most) => {
                if here.is_empty() {
                    let Some(piece) = pieces.next() else {
                        open = !write_shut && connections.is_idle(id);
                        // Now the client ends too. Who waits for more of a request would answer that.
                        connections.end_of_input(id, &mut turn);
                        assert!(!write_shut || connections.next(id) == Next::Close);
                        if connections.next(id) == Next::Close {
                            break;
                        }
                        continue;
                    };
                    here = piece;
                }
                let (taken, rest) = here.split_at(at_most.min(here.len()));
                assert!(!taken.is_empty(), "it has to take something");
                here = rest;
                connections.receive(id, taken, &mut turn);
            }
            Next::Write => {
                assert!(!write_shut, "the write side is shut");
                let output = connections.output(id).concat();
                sent.extend_from_slice(&output);
                connections.sent(id, output.len(), !here.is_empty(), &mut turn);
            }
            Next::ShutWrite => {
                write_shut = true;
                connections.write_side_shut(id, NOW);
            }
            Next::Wait => unreachable!("there are no files to wait for"),
            Next::Close => break,
        }
    }
    connections.close(id);
    let status = connections.snapshots().current().bytes().to_vec();
    Outcome { sent, told, open, status }
}

/// A response, taken apart.
#[derive(Debug)]
struct Answer {
    code: u16,
    closes: bool,
    content: String,
}

impl Answer {
    /// What an error says; nothing where it is not one.
    fn message(&self) -> String {
        let json: serde_json::Value = serde_json::from_str(&self.content).unwrap_or_default();
        json["message"].as_str().unwrap_or_default().to_owned()
    }
}

/// All responses, but for those that only ask for the body. The first one is to HEAD if `to_head`.
fn answers(sent: &[u8], to_head: bool) -> Vec<Answer> {
    let mut rest = std::str::from_utf8(sent).expect("responses are UTF-8");
    let mut answers = Vec::new();
    while !rest.is_empty() {
        let (head, behind) = rest.split_once("\r\n\r\n").expect("a head ends");
        let mut lines = head.split("\r\n");
        let code = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).expect("a status line")[..3].parse();
        let code: u16 = code.expect("a status code");
        let fields: Vec<_> = lines.map(|line| line.split_once(": ").expect(line)).collect();
        let field = |wanted: &str| {
            let mut values = fields.iter().filter(|(name, _)| *name == wanted).map(|(_, value)| *value);
            let value = values.next();
            assert_eq!(values.next(), None, "{wanted} stands twice");
            value
        };
        let empty = code < 200 || code == 204 || code == 304 || (to_head && answers.is_empty());
        let length = if empty { 0 } else { field("Content-Length").expect("a length").parse().expect("a number") };
        let (content, behind) = behind.split_at(length);
        rest = behind;
        if code != 100 {
            let closes = field("Connection") == Some("close");
            answers.push(Answer { code, closes, content: content.to_owned() });
        }
    }
    answers
}

/// Checks the first answer against its row.
fn assert_answer(row: &Row, answer: &Answer, context: &str) {
    assert_eq!(answer.code, row.code, "{context}: {answer:?}");
    if row.is_head() || row.code < 400 {
        assert_eq!(answer.content, row.says, "{context}");
    } else {
        assert!(answer.message().contains(row.says), "{context}: {answer:?}");
    }
    assert_eq!(answer.closes, row.after == Closed, "{context}: {answer:?}");
}

/// Checks all that came of a row with the marked request behind it.
fn assert_outcome(row: &Row, outcome: &Outcome, marked: &[u8], context: &str) {
    let Outcome { sent, told, open, status } = outcome;
    let sent = answers(sent, row.is_head());
    assert!(!sent.is_empty(), "{context}: no answer");
    assert_answer(row, &sent[0], context);
    let posted = usize::from(row.is_accepted_post());
    assert_eq!(told.answered.first().map(|(_, code)| *code), Some(row.code), "{context}");
    match row.after {
        Closed => {
            assert_eq!(sent.len(), 1, "{context}: more than one answer: {sent:?}");
            assert_eq!(told.answered.len(), 1, "{context}: the marked request was taken: {told:?}");
            assert_eq!(told.accepted, posted, "{context}: {told:?}");
            assert!(!open, "{context}: it stays open");
            assert_eq!(status != UNKNOWN.as_bytes(), posted == 1, "{context}: the status changed");
            assert_ne!(status, MARKED_STATUS.as_bytes(), "{context}: the marked status was taken");
        }
        Open => {
            assert_eq!((sent.len(), told.answered.len()), (2, 2), "{context}: {sent:?}, {told:?}");
            assert!(open, "{context}: it does not stay open");
            if marked == MARKED_GET {
                assert_eq!(sent[1].code, 404, "{context}");
                assert_eq!(told.answered[1], ("/smuggled".to_owned(), 404), "{context}");
                assert_eq!(told.accepted, posted, "{context}");
            } else {
                assert_eq!(sent[1].code, 200, "{context}");
                assert!(sent[1].content.ends_with(&format!("\"status\":{MARKED_STATUS}}}")), "{context}");
                assert_eq!(told.accepted, posted + 1, "{context}");
                assert_eq!(status, MARKED_STATUS.as_bytes(), "{context}");
            }
        }
    }
}

/// Sends each row with `marked` behind it: whole, byte by byte, and cut in two at every place.
fn try_every_cut(storage: &Mutex<Storage>, marked: &[u8]) {
    let mut storage = storage.lock().unwrap_or_else(PoisonError::into_inner);
    for row in table() {
        let bytes = [&row.request[..], marked].concat();
        let mut check = |pieces: &[&[u8]], cut: &str| {
            let outcome = run(&mut storage, pieces);
            assert_outcome(&row, &outcome, marked, &format!("{} ({}), {cut}", row.name, row.rfc));
        };
        check(&[&bytes], "whole");
        check(&bytes.chunks(1).collect::<Vec<_>>(), "byte by byte");
        for at in 1..bytes.len() {
            let (first, second) = bytes.split_at(at);
            check(&[first, second], &format!("cut at {at}"));
        }
        if row.after == Closed {
            // More than a connection has room for.
            let flood = marked.repeat(300);
            check(&[&row.request, &flood, &flood], "before a flood");
        }
    }
}

// ---------------------------------------------------------------------------------------------------- the tests

#[test]
fn the_table_is_large_and_no_row_stands_twice() {
    let rows = table();
    let count = |after| rows.iter().filter(|row| row.after == after).count();
    assert!(rows.len() >= 250 && count(Closed) >= 180 && count(Open) >= 60, "{} {}", count(Closed), count(Open));
    let refused = rows.iter().filter(|row| row.code >= 400 && row.after == Closed).count();
    assert!(refused >= 180, "{refused}");
    let mut names: Vec<_> = rows.iter().map(|row| row.name).collect();
    let mut requests: Vec<_> = rows.iter().map(|row| &row.request).collect();
    names.sort_unstable();
    requests.sort_unstable();
    names.dedup();
    requests.dedup();
    assert_eq!((names.len(), requests.len()), (rows.len(), rows.len()));
    assert!(
        rows.iter()
            .all(|row| ["RFC 911", "RFC 3986"].iter().any(|rfc| row.rfc.starts_with(rfc)) && row.rfc.contains(" §"))
    );
}

#[test]
fn a_marked_get_is_taken_only_where_a_request_begins_however_the_bytes_are_cut() {
    static STORAGE: Mutex<Storage> = Mutex::new(Storage::new());
    try_every_cut(&STORAGE, MARKED_GET);
}

#[test]
fn a_marked_post_is_taken_only_where_a_request_begins_however_the_bytes_are_cut() {
    static STORAGE: Mutex<Storage> = Mutex::new(Storage::new());
    try_every_cut(&STORAGE, MARKED_POST);
}

#[test]
fn what_is_malformed_without_harm_is_refused_or_read_to_its_end() {
    static STORAGE: Mutex<Storage> = Mutex::new(Storage::new());
    let mut storage = STORAGE.lock().unwrap_or_else(PoisonError::into_inner);
    for (name, request) in harmless() {
        let bytes = [&request, MARKED_GET].concat();
        let codes = |outcome: &Outcome| {
            let sent: Vec<_> = answers(&outcome.sent, false).iter().map(|answer| answer.code).collect();
            let answered: Vec<_> = outcome.told.answered.iter().map(|(_, code)| *code).collect();
            assert_eq!(sent, answered, "{name}");
            sent
        };
        let whole = run(&mut storage, &[&bytes]);
        let expected = codes(&whole);
        match expected[..] {
            [refused] => assert!(refused >= 400 && !whole.open, "{name}: {refused}"),
            [_, marked] => {
                assert_eq!((marked, &*whole.told.answered[1].0, whole.open), (404, "/smuggled", true), "{name}")
            }
            _ => panic!("{name}: {expected:?}"),
        }
        for at in 1..bytes.len() {
            let (first, second) = bytes.split_at(at);
            let outcome = run(&mut storage, &[first, second]);
            assert_eq!(codes(&outcome), expected, "{name}, cut at {at}");
            assert_eq!((&outcome.status, outcome.open), (&whole.status, whole.open), "{name}, cut at {at}");
        }
    }
}

#[test]
fn over_a_socket_it_is_the_same() {
    let server = Server::start(&[]);
    let mut tried = 0;
    // Every seventh row: of each group a few.
    for row in table().iter().step_by(7).filter(|row| !row.is_head()) {
        let before = server.get("/status.json").content;
        let mut client = server.connect();
        client.send(&[&row.request[..], MARKED_POST].concat());
        let response = client.response();
        let answer = Answer {
            code: response.code,
            closes: response.field("Connection") == Some("close"),
            content: String::from_utf8(response.content).expect("content is UTF-8"),
        };
        assert_answer(row, &answer, row.name);
        if row.after == Open {
            let response = client.response();
            assert_eq!(response.code, 200, "{}", row.name);
            assert!(response.text().ends_with(&format!("\"status\":{MARKED_STATUS}}}")), "{}", row.name);
        }
        client.end();
        assert!(client.is_ended(), "{}", row.name);
        let after = server.get("/status.json").content;
        match (row.after, row.is_accepted_post()) {
            (Open, _) => assert_eq!(after, MARKED_STATUS.as_bytes(), "{}", row.name),
            (Closed, true) => assert_eq!(after, STATUS.as_bytes(), "{}", row.name),
            (Closed, false) => assert_eq!(after, before, "{}", row.name),
        }
        tried += 1;
        // So that the marked status is never there already.
        assert_eq!(server.post(STATUS.as_bytes()).code, 200);
    }
    assert!(tried >= 30, "{tried}");
}
