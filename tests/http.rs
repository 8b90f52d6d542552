//! HTTP over real sockets: what the program answers to which bytes, however these bytes arrive.
//!
//! [`cases`] is the table of single requests. Each of them is sent whole, cut in two at its byte boundaries, byte by
//! byte, and twice in one segment, and has to get the same answer each time. What one request cannot show has a test of
//! its own below: what arrives when, who sees the end of a connection, and what a refused post leaves behind.

mod common;

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

use common::{Client, PATIENCE, Response, Server, UNKNOWN, post_request};
use gitops_status_server::snapshot::{BODIES_MAX, PAST_MAX};

// ---------------------------------------------------------------------------------------------------- the table

/// A request and its answer.
struct Case {
    name: &'static str,
    request: Vec<u8>,
    code: u16,
    /// A part of the sentence of an error, or of the content of another response; empty for a response without content.
    says: &'static str,
    after: After,
}

/// What becomes of the connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    /// It takes the next request.
    Open,
    /// It ends behind this answer, whatever follows the request.
    Closed,
}
use After::{Closed, Open};

impl Case {
    fn is_head(&self) -> bool {
        self.request.starts_with(b"HEAD ")
    }

    fn is_version_10(&self) -> bool {
        self.request.windows(11).any(|window| window == b" HTTP/1.0\r\n")
    }
}

const HEALTHY: &str = r#"{"status":"ok"}"#;
const READY: &str = r#"{"status":"ready"}"#;
/// What [`post`] posts, and what its answer ends with.
const STATUS: &str = r#"{"a":1}"#;
const UPDATED: &str = r#"{"success":true,"message":"Status updated successfully","status":{"a":1}}"#;
const LENGTH: &str = "Content-Length: 7\r\n";
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
const CHUNKS: &str = "7\r\n{\"a\":1}\r\n0\r\n\r\n";

fn request(method: &str, target: &str, fields: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n")
}

fn get(fields: &str) -> String {
    request("GET", "/health", fields)
}

fn post(fields: &str, body: &str) -> String {
    request("POST", "/api/status", &format!("Content-Type: application/json\r\n{fields}")) + body
}

/// A post whose only fault, if any, is its media type.
fn post_as(media_type: &str) -> String {
    request("POST", "/api/status", &format!("{media_type}{LENGTH}")) + STATUS
}

fn chunks(body: &str) -> String {
    post(CHUNKED, body)
}

/// A GET whose target has so many bytes.
fn target_of(length: usize) -> String {
    request("GET", &format!("/{}", "t".repeat(length - 1)), "")
}

/// A GET whose head has so many bytes.
fn head_of(length: usize, fields: &str) -> String {
    let rest = get(&format!("{fields}A: \r\n")).len();
    get(&format!("{fields}A: {}\r\n", "a".repeat(length - rest)))
}

/// A post whose head has 8192 bytes.
fn longest_post() -> String {
    let rest = post(&format!("{LENGTH}A: \r\n"), "").len();
    post(&format!("{LENGTH}A: {}\r\n", "a".repeat(8192 - rest)), STATUS)
}

/// A GET with so many field lines.
fn fields_of(count: usize) -> String {
    get(&"A:b\r\n".repeat(count - 1))
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    // A row reads like this: what it is, the request => the code, what the answer says, what becomes of the connection.
    macro_rules! table {
        ($($name:literal: $request:expr => $code:literal, $says:expr, $after:expr;)*) => {
            $(cases.push(Case { name: $name, request: Vec::from($request), code: $code, says: $says, after: $after });)*
        };
    }

    // The endpoints. A status is in this table only where the answer shows what this very request posted.
    table! {
        "GET /health": get("") => 200, HEALTHY, Open;
        "HEAD /health": request("HEAD", "/health", "") => 200, "", Open;
        "GET /ready": request("GET", "/ready", "") => 200, READY, Open;
        "HEAD /ready": request("HEAD", "/ready", "") => 200, "", Open;
        "GET /status.json": request("GET", "/status.json", "") => 200, "{", Open;
        "HEAD /status.json": request("HEAD", "/status.json", "") => 200, "", Open;
        "GET of what is known": request("GET", "/status.json", "If-None-Match: *\r\n") => 304, "", Open;
        "HEAD of what is known": request("HEAD", "/status.json", "If-None-Match: *\r\n") => 304, "", Open;
        "GET of a part": request("GET", "/status.json", "Range: bytes=0-1\r\n") => 200, "{", Open;
        "OPTIONS /status.json": request("OPTIONS", "/status.json", "") => 204, "", Open;
        "OPTIONS /api/status": request("OPTIONS", "/api/status", "") => 204, "", Open;
        "OPTIONS /health": request("OPTIONS", "/health", "") => 204, "", Open;
        "OPTIONS /ready": request("OPTIONS", "/ready", "") => 204, "", Open;
        "OPTIONS of the server": request("OPTIONS", "*", "") => 204, "", Open;
        "OPTIONS elsewhere": request("OPTIONS", "/x", "") => 404, "/status.json", Open;
        "GET /api/status": request("GET", "/api/status", "") => 405, "POST", Open;
        "HEAD /api/status": request("HEAD", "/api/status", "") => 405, "", Open;
        "POST /status.json": request("POST", "/status.json", "") => 405, "GET", Open;
        "PUT /api/status": request("PUT", "/api/status", "") => 405, "POST", Open;
        "DELETE /status.json": request("DELETE", "/status.json", "") => 405, "GET", Open;
        "PATCH /ready": request("PATCH", "/ready", "") => 405, "GET", Open;
        "TRACE /health": request("TRACE", "/health", "") => 405, "GET", Open;
        "GET elsewhere": request("GET", "/x", "") => 404, "POST /api/status", Open;
        "HEAD elsewhere": request("HEAD", "/x", "") => 404, "", Open;
        "POST elsewhere": request("POST", "/x", "") => 404, "POST /api/status", Open;
        "PUT elsewhere": request("PUT", "/x", "") => 404, "POST /api/status", Open;
        "a path below": request("GET", "/status.json/", "") => 404, "/status.json", Open;
        "a path in other case": request("GET", "/Health", "") => 404, "/status.json", Open;
        "a query": request("GET", "/health?_=1745230000123", "") => 200, HEALTHY, Open;
        "an empty query": request("GET", "/health?", "") => 200, HEALTHY, Open;
        "a query with all sorts": request("GET", "/health?a=/x?b=http://y/%00", "") => 200, HEALTHY, Open;
        "a post with a query": post(LENGTH, STATUS).replace("/api/status", "/api/status?a=b") => 200, UPDATED, Open;
        "absolute form": request("GET", "http://y:80/health", "") => 200, HEALTHY, Open;
        "absolute form, query": request("GET", "http://y/health?a", "") => 200, HEALTHY, Open;
        "absolute form, other case": request("GET", "HTTPS://[::1]:8080/health", "") => 200, HEALTHY, Open;
        "absolute form, no path": request("GET", "http://y", "") => 200, "<!doctype html>", Open;
        "absolute form, another scheme": request("GET", "ftp://y/health", "") => 400, "target", Closed;
        "asterisk form of GET": request("GET", "*", "") => 400, "target", Closed;
        "no slash": request("GET", "health", "") => 400, "target", Closed;
    }

    // Connections that stay open and connections that do not, in both versions.
    table! {
        "1.1, close": get("Connection: close\r\n") => 200, HEALTHY, Closed;
        "1.1, CLOSE among others": get("connection: foo ,\tCLOSE, bar\r\n") => 200, HEALTHY, Closed;
        "1.1, keep-alive": get("Connection: keep-alive\r\n") => 200, HEALTHY, Open;
        "1.1, both": get("Connection: close\r\nConnection: keep-alive\r\n") => 200, HEALTHY, Closed;
        "1.1, something else": get("Connection: upgrade\r\nUpgrade: h2c\r\n") => 200, HEALTHY, Open;
        "1.1, not found, close": request("GET", "/x", "Connection: close\r\n") => 404, "/status.json", Closed;
        "1.1, post, close": post(&format!("{LENGTH}Connection: close\r\n"), STATUS) => 200, UPDATED, Closed;
        "1.1, bad post, close": post("Content-Length: 1\r\nConnection: close\r\n", "x") => 400, "at byte 0", Closed;
        "1.0": "GET /health HTTP/1.0\r\n\r\n" => 200, HEALTHY, Closed;
        "1.0, Host": "GET /health HTTP/1.0\r\nHost: x\r\n\r\n" => 200, HEALTHY, Closed;
        "1.0, close": "GET /health HTTP/1.0\r\nConnection: close\r\n\r\n" => 200, HEALTHY, Closed;
        "1.0, keep-alive": "GET /health HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n" => 200, HEALTHY, Open;
        "1.0, both": "GET /health HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n" => 200, HEALTHY, Closed;
        "1.0, HEAD": "HEAD /status.json HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" => 200, "", Open;
        "1.0, not found": "GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" => 404, "/status.json", Open;
        "1.0, absolute form": "GET http://y/health HTTP/1.0\r\n\r\n" => 200, HEALTHY, Closed;
        "1.0, post": format!("POST /api/status HTTP/1.0\r\nContent-Type: application/json\r\n{LENGTH}\r\n{STATUS}")
            => 200, UPDATED, Closed;
        "1.0, post, keep-alive": format!("POST /api/status HTTP/1.0\r\nContent-Type: application/json\r\n{LENGTH}\
            Connection: keep-alive\r\n\r\n{STATUS}") => 200, UPDATED, Open;
        "1.0, bad post, keep-alive": "POST /api/status HTTP/1.0\r\nContent-Type: application/json\r\n\
            Content-Length: 1\r\nConnection: keep-alive\r\n\r\nx" => 400, "at byte 0", Open;
        "1.0, two Hosts": "GET /health HTTP/1.0\r\nHost: x\r\nHost: x\r\n\r\n" => 400, "Host", Closed;
        "1.0, chunked": format!("POST /api/status HTTP/1.0\r\nContent-Type: application/json\r\n{CHUNKED}\r\n{CHUNKS}")
            => 400, "Transfer-Encoding", Closed;
        "1.0, Expect": format!("POST /api/status HTTP/1.0\r\nContent-Type: application/json\r\n{LENGTH}\
            Expect: 100-continue\r\n\r\n{STATUS}") => 200, UPDATED, Closed;
        "an empty line before": format!("\r\n{}", get("")) => 200, HEALTHY, Open;
        "empty lines before": format!("\r\n\r\n\r\n{}", post(LENGTH, STATUS)) => 200, UPDATED, Open;
    }

    // Bodies by Content-Length.
    table! {
        "a length": post(LENGTH, STATUS) => 200, UPDATED, Open;
        "a length with a leading zero": post("Content-Length: 007\r\n", STATUS) => 200, UPDATED, Open;
        "a length with blanks around": post("content-LENGTH:\t 7 \t\r\n", STATUS) => 200, UPDATED, Open;
        "the same length twice": post("Content-Length: 7\r\nContent-Length: 7\r\n", STATUS) => 200, UPDATED, Open;
        "a length of 0": post("Content-Length: 0\r\n", "") => 400, "empty", Open;
        "no length": post("", "") => 400, "empty", Open;
        "not JSON": post("Content-Length: 9\r\n", "{\"a\":tru}") => 400, "at byte 8", Open;
        "not an object": post("Content-Length: 2\r\n", "[]") => 400, "object", Open;
        "a line end behind": post("Content-Length: 9\r\n", "{\"a\":1}\r\n") => 200, "\"status\":{\"a\":1}\r\n}", Open;
        "too large": post("Content-Length: 65537\r\n", "{") => 400, "is 65537 bytes; the limit is 65536", Closed;
        "the largest length": post("Content-Length: 18446744073709551615\r\n", "{")
            => 400, "is 18446744073709551615 bytes; the limit is 65536", Closed;
        "a length that overflows": post("Content-Length: 18446744073709551616\r\n", STATUS)
            => 400, "Content-Length", Closed;
        "a length that overflows to 7": post("Content-Length: 18446744073709551623\r\n", STATUS)
            => 400, "Content-Length", Closed;
        "a length with 40 digits": post(&format!("Content-Length: {}\r\n", "9".repeat(40)), STATUS)
            => 400, "Content-Length", Closed;
        "+7": post("Content-Length: +7\r\n", STATUS) => 400, "Content-Length", Closed;
        "-7": post("Content-Length: -7\r\n", STATUS) => 400, "Content-Length", Closed;
        "0x7": post("Content-Length: 0x7\r\n", STATUS) => 400, "Content-Length", Closed;
        "7 7": post("Content-Length:  7 7\r\n", STATUS) => 400, "Content-Length", Closed;
        "7,7": post("Content-Length: 7,7\r\n", STATUS) => 400, "Content-Length", Closed;
        "7.0": post("Content-Length: 7.0\r\n", STATUS) => 400, "Content-Length", Closed;
        "1e1": post("Content-Length: 1e1\r\n", STATUS) => 400, "Content-Length", Closed;
        "an empty length": post("Content-Length:\r\n", STATUS) => 400, "Content-Length", Closed;
        "a length of blanks": post("Content-Length: \t\r\n", STATUS) => 400, "Content-Length", Closed;
        "Arabic digits": post("Content-Length: \u{667}\r\n", STATUS) => 400, "Content-Length", Closed;
        "two lengths": post("Content-Length: 7\r\nContent-Length: 8\r\n", STATUS) => 400, "Content-Length", Closed;
        "two lengths, not for a post": get("Content-Length: 0\r\nContent-Length: 1\r\n")
            => 400, "Content-Length", Closed;
        "a length and a coding": post(&format!("{LENGTH}{CHUNKED}"), CHUNKS) => 400, "Transfer-Encoding", Closed;
        "a coding and a length": post(&format!("{CHUNKED}{LENGTH}"), CHUNKS) => 400, "Transfer-Encoding", Closed;
        "a coding and no length, two lines": get(&format!("{CHUNKED}Content-Length: 0\r\n"))
            => 400, "Transfer-Encoding", Closed;
    }

    // Bodies in chunks.
    table! {
        "one chunk": chunks(CHUNKS) => 200, UPDATED, Open;
        "many chunks": chunks("1\r\n{\r\n2\r\n\"a\r\n3\r\n\":1\r\n1\r\n}\r\n0\r\n\r\n") => 200, UPDATED, Open;
        "the coding in other case": post("transfer-ENCODING: Chunked\r\n", CHUNKS) => 200, UPDATED, Open;
        "the coding among nothing": post("Transfer-Encoding: , chunked ,\r\n", CHUNKS) => 200, UPDATED, Open;
        "sizes in either case": chunks("a\r\n{\"a\":1}   \r\nA\r\n          \r\n0\r\n\r\n")
            => 200, "\"status\":{\"a\":1}             }", Open;
        "sizes with leading zeros": chunks("0000000000000007\r\n{\"a\":1}\r\n000\r\n\r\n") => 200, UPDATED, Open;
        "extensions": chunks("7;a;b=c;d=\"e;f\" ; g\r\n{\"a\":1}\r\n0;h=i\r\n\r\n") => 200, UPDATED, Open;
        "blanks before an extension": chunks("7 \t;a\r\n{\"a\":1}\r\n0\r\n\r\n") => 200, UPDATED, Open;
        "trailers": chunks("7\r\n{\"a\":1}\r\n0\r\nX: y\r\nContent-Length: 1\r\nHost:\r\n\r\n") => 200, UPDATED, Open;
        "a chunk that looks like the end": chunks("e\r\n{\"a\":1}\r\n\r\n\r\n \r\n0\r\n\r\n")
            => 200, "\"status\":{\"a\":1}\r\n\r\n\r\n }", Open;
        "chunks of nothing": chunks("0\r\n\r\n") => 400, "empty", Open;
        "chunks of what is not JSON": chunks("2\r\n{]\r\n0\r\n\r\n") => 400, "at byte 1", Open;
        "a chunk that is too large": chunks("10001\r\n{") => 400, "65537 bytes; the limit is 65536", Closed;
        "a second chunk that is too large": chunks("1\r\n{\r\n10000\r\n ")
            => 400, "65537 bytes; the limit is 65536", Closed;
        "the largest chunk": chunks("FFFFFFFFFFFFFFFF\r\n{") => 400, "the limit is 65536", Closed;
        "chunks that overflow together": chunks("1\r\n{\r\nFFFFFFFFFFFFFFFF\r\n") => 400, "the limit is 65536", Closed;
        "a size that overflows": chunks("10000000000000007\r\n{\"a\":1}\r\n0\r\n\r\n") => 400, "chunk size", Closed;
        "a size of 17 digits": chunks("00000000000000007\r\n{\"a\":1}\r\n0\r\n\r\n") => 400, "chunk size", Closed;
        "a size with a sign": chunks("+7\r\n{\"a\":1}\r\n0\r\n\r\n") => 400, "chunk size", Closed;
        "a negative size": chunks("-7\r\n{\"a\":1}\r\n0\r\n\r\n") => 400, "chunk size", Closed;
        "a size with a prefix": chunks("0x7\r\n{\"a\":1}\r\n0\r\n\r\n") => 400, "chunk size", Closed;
        "a size with an underscore": chunks("0_7\r\n{\"a\":1}\r\n0\r\n\r\n") => 400, "chunk size", Closed;
        "a size behind a blank": chunks(" 7\r\n{\"a\":1}\r\n0\r\n\r\n") => 400, "chunk size", Closed;
        "a size before a blank": chunks("7 \r\n{\"a\":1}\r\n0\r\n\r\n") => 400, "chunk size", Closed;
        "no size": chunks("\r\n{\"a\":1}\r\n0\r\n\r\n") => 400, "chunk size", Closed;
        "an extension without a size": chunks(";a\r\n{\"a\":1}\r\n0\r\n\r\n") => 400, "chunk size", Closed;
        "no digit": chunks("g\r\n{\"a\":1}\r\n0\r\n\r\n") => 400, "chunk size", Closed;
        "a size before a bare LF": chunks("7\n{\"a\":1}\r\n0\r\n\r\n") => 400, "chunk size", Closed;
        "a size before a bare CR": chunks("7\r{\"a\":1}\r\n0\r\n\r\n") => 400, "chunk", Closed;
        "a size before CR and no LF": chunks("7\rx{\"a\":1}\r\n0\r\n\r\n") => 400, "chunk", Closed;
        "an extension before a bare LF": chunks("7;a\n{\"a\":1}\r\n0\r\n\r\n") => 400, "chunk", Closed;
        "a control character in an extension": chunks("7;\0\r\n{\"a\":1}\r\n0\r\n\r\n") => 400, "chunk", Closed;
        "a chunk longer than its size": chunks("6\r\n{\"a\":1}\r\n0\r\n\r\n") => 400, "chunk", Closed;
        "a chunk before a bare LF": chunks("7\r\n{\"a\":1}\n0\r\n\r\n") => 400, "chunk", Closed;
        "a chunk before a bare CR": chunks("7\r\n{\"a\":1}\r0\r\n\r\n") => 400, "chunk", Closed;
        "a chunk before CR and no LF": chunks("7\r\n{\"a\":1}\rx0\r\n\r\n") => 400, "chunk", Closed;
        "a chunk before something else": chunks("7\r\n{\"a\":1}x\n0\r\n\r\n") => 400, "chunk", Closed;
        "a trailer without a colon": chunks("7\r\n{\"a\":1}\r\n0\r\nX\r\n\r\n") => 400, "railer", Closed;
        "a trailer without a name": chunks("7\r\n{\"a\":1}\r\n0\r\n: x\r\n\r\n") => 400, "railer", Closed;
        "a trailer with a space before the colon": chunks("7\r\n{\"a\":1}\r\n0\r\nX : y\r\n\r\n")
            => 400, "railer", Closed;
        "a folded trailer": chunks("7\r\n{\"a\":1}\r\n0\r\nX: y\r\n z\r\n\r\n") => 400, "railer", Closed;
        "a control character in a trailer": chunks("7\r\n{\"a\":1}\r\n0\r\nX: \0\r\n\r\n") => 400, "railer", Closed;
        "a trailer before a bare LF": chunks("7\r\n{\"a\":1}\r\n0\r\nX: y\n\r\n") => 400, "railer", Closed;
        "trailers before a bare LF": chunks("7\r\n{\"a\":1}\r\n0\r\n\n") => 400, "railer", Closed;
        "a trailer before CR and no LF": chunks("7\r\n{\"a\":1}\r\n0\r\nX: y\rx\r\n\r\n") => 400, "railer", Closed;
        "trailers before CR and no LF": chunks("7\r\n{\"a\":1}\r\n0\r\n\rx") => 400, "railer", Closed;
        "gzip": post("Transfer-Encoding: gzip\r\n", "x") => 501, "chunked", Closed;
        "gzip, chunked": post("Transfer-Encoding: gzip, chunked\r\n", CHUNKS) => 501, "chunked", Closed;
        "gzip, chunked in two lines": post(&format!("Transfer-Encoding: gzip\r\n{CHUNKED}"), CHUNKS)
            => 501, "chunked", Closed;
        "chunked with a parameter": post("Transfer-Encoding: chunked;a=b\r\n", CHUNKS) => 501, "chunked", Closed;
        "identity": post("Transfer-Encoding: identity\r\n", "") => 501, "chunked", Closed;
        "xchunked": post("Transfer-Encoding: xchunked\r\n", CHUNKS) => 501, "chunked", Closed;
        "chunked, gzip": post("Transfer-Encoding: chunked, gzip\r\n", CHUNKS) => 400, "chunked", Closed;
        "chunked, chunked": post("Transfer-Encoding: chunked, chunked\r\n", CHUNKS) => 400, "chunked", Closed;
        "chunked in two lines": post(&format!("{CHUNKED}{CHUNKED}"), CHUNKS) => 400, "chunked", Closed;
        "an empty coding": post("Transfer-Encoding:\r\n", "") => 400, "chunked", Closed;
    }

    // Bodies that nobody reads, and bodies of another kind. A body is never taken for a second request.
    let smuggled = get("");
    let with_smuggled = |method, target, fields: &str| {
        request(method, target, &format!("{fields}Content-Length: {}\r\n", smuggled.len())) + &smuggled
    };
    let smuggled_chunks = format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
    table! {
        "GET with a body": with_smuggled("GET", "/health", "") => 200, HEALTHY, Closed;
        "GET with a body, keep-alive": with_smuggled("GET", "/ready", "Connection: keep-alive\r\n")
            => 200, READY, Closed;
        "GET with chunks": get(CHUNKED) + &smuggled_chunks => 200, HEALTHY, Closed;
        "GET with a huge body": get("Content-Length: 18446744073709551615\r\n") => 200, HEALTHY, Closed;
        "GET with a body of 0": get("Content-Length: 0\r\n") => 200, HEALTHY, Open;
        "HEAD with a body": with_smuggled("HEAD", "/health", "") => 200, "", Closed;
        "OPTIONS with a body": with_smuggled("OPTIONS", "/health", "") => 204, "", Closed;
        "304 with a body": with_smuggled("GET", "/status.json", "If-None-Match: *\r\n") => 304, "", Closed;
        "404 with a body": with_smuggled("POST", "/x", "") => 404, "/status.json", Closed;
        "405 with a body": with_smuggled("POST", "/health", "") => 405, "GET", Closed;
        "405 with chunks": request("PUT", "/api/status", CHUNKED) + &smuggled_chunks => 405, "POST", Closed;
        "415 with a body": with_smuggled("POST", "/api/status", "Content-Type: text/plain\r\n")
            => 415, "application/json", Closed;
        "1.0, GET with a body": "GET /health HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nGET"
            => 200, HEALTHY, Closed;
        "JSON": post_as("Content-Type: application/json\r\n") => 200, UPDATED, Open;
        "JSON in UTF-8": post_as("Content-Type: application/json; charset=utf-8\r\n") => 200, UPDATED, Open;
        "JSON, other case": post_as("CONTENT-TYPE: APPLICATION/JSON ;Charset=\"UTF-8\"\r\n") => 200, UPDATED, Open;
        "a kind of JSON": post_as("Content-Type: application/vnd.x+json\r\n") => 200, UPDATED, Open;
        "a kind of JSON, other case": post_as("Content-Type: Application/Problem+JSON;a=b\r\n") => 200, UPDATED, Open;
        "no type": post_as("") => 415, "application/json", Closed;
        "no type and no body": request("POST", "/api/status", "") => 415, "application/json", Open;
        "an empty type": post_as("Content-Type:\r\n") => 415, "application/json", Closed;
        "a form": post_as("Content-Type: application/x-www-form-urlencoded\r\n") => 415, "application/json", Closed;
        "a form with files": post_as("Content-Type: multipart/form-data; boundary=a\r\n")
            => 415, "application/json", Closed;
        "text": post_as("Content-Type: text/plain\r\n") => 415, "application/json", Closed;
        "text in disguise": post_as("Content-Type: text/plain; application/json\r\n")
            => 415, "application/json", Closed;
        "almost JSON": post_as("Content-Type: application/jsonx\r\n") => 415, "application/json", Closed;
        "text/json": post_as("Content-Type: text/json\r\n") => 415, "application/json", Closed;
        "two types in a line": post_as("Content-Type: application/json, text/plain\r\n")
            => 415, "application/json", Closed;
        "two types": post_as("Content-Type: application/json\r\nContent-Type: text/plain\r\n")
            => 415, "application/json", Closed;
        "compressed": post_as("Content-Type: application/json\r\nContent-Encoding: gzip\r\n")
            => 415, "Content-Encoding", Closed;
        "not compressed": post_as("Content-Type: application/json\r\nContent-Encoding: identity\r\n")
            => 200, UPDATED, Open;
    }

    // Expectations. Cut right behind the head, the two that are met get a 100 first.
    table! {
        "100-continue": post(&format!("{LENGTH}Expect: 100-continue\r\n"), STATUS) => 200, UPDATED, Open;
        "100-continue, chunks": post(&format!("{CHUNKED}expect: 100-Continue\r\n"), CHUNKS) => 200, UPDATED, Open;
        "100-continue of nothing": post("Content-Length: 0\r\nExpect: 100-continue\r\n", "") => 400, "empty", Open;
        "100-continue of a GET": get("Expect: 100-continue\r\n") => 200, HEALTHY, Open;
        "100-continue of a GET with a body": get("Expect: 100-continue\r\nContent-Length: 1\r\n") + "x"
            => 200, HEALTHY, Closed;
        "100-continue, too large": post("Content-Length: 65537\r\nExpect: 100-continue\r\n", "{")
            => 400, "is 65537 bytes; the limit is 65536", Closed;
        "100-continue, wrong type": post_as("Content-Type: text/plain\r\nExpect: 100-continue\r\n")
            => 415, "application/json", Closed;
        "100-continue, not found": request("POST", "/x", &format!("{LENGTH}Expect: 100-continue\r\n")) + STATUS
            => 404, "/status.json", Closed;
        "another expectation": post(&format!("{LENGTH}Expect: 200-ok\r\n"), STATUS) => 417, "100-continue", Closed;
        "an expectation and another": post(&format!("{LENGTH}Expect: 100-continue, x\r\n"), STATUS)
            => 417, "100-continue", Closed;
        "another expectation of a GET": get("Expect: x\r\n") => 417, "100-continue", Closed;
    }

    // Heads that are malformed.
    table! {
        "no Host": "GET /health HTTP/1.1\r\n\r\n" => 400, "Host", Closed;
        "no Host, absolute form": "GET http://x/health HTTP/1.1\r\n\r\n" => 400, "Host", Closed;
        "no Host of a post": post(LENGTH, STATUS).replace("Host: x\r\n", "") => 400, "Host", Closed;
        "two Hosts": get("Host: y\r\n") => 400, "Host", Closed;
        "the same Host twice": get("host: x\r\n") => 400, "Host", Closed;
        "two Hosts in a line": "GET /health HTTP/1.1\r\nHost: x, y\r\n\r\n" => 400, "Host", Closed;
        "a Host with a path": "GET /health HTTP/1.1\r\nHost: x/y\r\n\r\n" => 400, "Host", Closed;
        "a Host with a user": "GET /health HTTP/1.1\r\nHost: u@x\r\n\r\n" => 400, "Host", Closed;
        "a Host with a port": "GET /health HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n" => 200, HEALTHY, Open;
        "an empty Host": "GET /health HTTP/1.1\r\nHost:\r\n\r\n" => 200, HEALTHY, Open;
        "a bare LF behind the request line": "GET /health HTTP/1.1\nHost: x\r\n\r\n" => 400, "CR LF", Closed;
        "a bare LF behind a field": "GET /health HTTP/1.1\r\nHost: x\nA: b\r\n\r\n" => 400, "CR LF", Closed;
        "a bare LF behind the last field": "GET /health HTTP/1.1\r\nHost: x\n\r\n" => 400, "CR LF", Closed;
        "a bare LF at the end": "GET /health HTTP/1.1\r\nHost: x\r\n\n" => 400, "CR LF", Closed;
        "bare LFs": "GET /health HTTP/1.1\nHost: x\n\n" => 400, "CR LF", Closed;
        "a bare LF before": format!("\n{}", get("")) => 400, "CR LF", Closed;
        "a bare CR behind the request line": "GET /health HTTP/1.1\rHost: x\r\n\r\n" => 400, "CR LF", Closed;
        "a bare CR in a value": get("A: b\rc\r\n") => 400, "control character", Closed;
        "a bare CR before CR LF": get("A: b\r\r\n") => 400, "control character", Closed;
        "a bare CR in a name": get("A\rB: c\r\n") => 400, "header", Closed;
        "a bare CR before": format!("\r{}", get("")) => 400, "CR LF", Closed;
        "a space before the colon": get("A : b\r\n") => 400, "colon", Closed;
        "a tab before the colon": get("A\t: b\r\n") => 400, "colon", Closed;
        "a space before the colon of a length": post("Content-Length : 7\r\n", STATUS) => 400, "colon", Closed;
        "a space before the colon of a coding": post("Transfer-Encoding : chunked\r\n", CHUNKS) => 400, "colon", Closed;
        "a folded field": get("A: b\r\n c\r\n") => 400, "folded", Closed;
        "a field folded with a tab": get("A: b\r\n\tc\r\n") => 400, "folded", Closed;
        "a folded coding": post("Transfer-Encoding:\r\n chunked\r\n", CHUNKS) => 400, "folded", Closed;
        "a folded first field": "GET /health HTTP/1.1\r\n Host: x\r\n\r\n" => 400, "folded", Closed;
        "a field without a colon": get("A\r\n") => 400, "header", Closed;
        "a field without a name": get(": b\r\n") => 400, "header", Closed;
        "a field with a letter of its own": get("\u{e4}: b\r\n") => 400, "header", Closed;
        "a value beyond ASCII": get("A: \u{e4}\r\n") => 200, HEALTHY, Open;
        "a value that is not UTF-8": b"GET /health HTTP/1.1\r\nHost: x\r\nA:\xFF\r\n\r\n" => 200, HEALTHY, Open;
        "a value with a tab": get("A: b\tc\r\n") => 200, HEALTHY, Open;
        "an empty value": get("A:\r\n") => 200, HEALTHY, Open;
        "NUL in a value": get("A: b\0c\r\n") => 400, "control character", Closed;
        "DEL in a value": get("A: b\x7Fc\r\n") => 400, "control character", Closed;
        "NUL in a name": get("A\0: b\r\n") => 400, "header", Closed;
        "NUL in a target": request("GET", "/health\0", "") => 400, "request line", Closed;
        "DEL in a target": request("GET", "/health\x7F", "") => 400, "request line", Closed;
        "NUL in a method": request("G\0T", "/health", "") => 400, "request line", Closed;
        "NUL before": format!("\0{}", get("")) => 400, "request line", Closed;
        "a blank before": format!(" {}", get("")) => 400, "request line", Closed;
        "two blanks before the target": request("GET", " /health", "") => 400, "request line", Closed;
        "two blanks behind the target": request("GET", "/health ", "") => 400, "request line", Closed;
        "a blank in the target": request("GET", "/health /x", "") => 400, "request line", Closed;
        "a tab for a blank": "GET\t/health HTTP/1.1\r\nHost: x\r\n\r\n" => 400, "request line", Closed;
        "no version": "GET /health\r\nHost: x\r\n\r\n" => 400, "request line", Closed;
        "no target": "GET HTTP/1.1\r\nHost: x\r\n\r\n" => 400, "request line", Closed;
        "another protocol": "GET /health FTP/1.1\r\nHost: x\r\n\r\n" => 400, "request line", Closed;
        "the version in lower case": "GET /health http/1.1\r\nHost: x\r\n\r\n" => 400, "request line", Closed;
        "TLS": [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03"[..], &[0xAB; 40]].concat()
            => 400, "request line", Closed;
        "HTTP/1.2": "GET /health HTTP/1.2\r\nHost: x\r\n\r\n" => 505, "HTTP/1.1", Closed;
        "HTTP/2.0": "GET /health HTTP/2.0\r\nHost: x\r\n\r\n" => 505, "HTTP/1.1", Closed;
        "HTTP/0.9": "GET /health HTTP/0.9\r\n\r\n" => 505, "HTTP/1.1", Closed;
        "HTTP/2": "GET /health HTTP/2\r\nHost: x\r\n\r\n" => 505, "HTTP/1.1", Closed;
        "the preface of HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" => 505, "HTTP/1.1", Closed;
        "an unknown method": request("BREW", "/health", "") => 501, "method", Closed;
        "an unknown method elsewhere": request("PROPFIND", "/x", "") => 501, "method", Closed;
        "a method in lower case": request("get", "/health", "") => 501, "method", Closed;
        "a method in mixed case": request("Post", "/api/status", "") => 501, "method", Closed;
        "CONNECT": request("CONNECT", "x:80", "") => 501, "method", Closed;
        "a method with a body": request("BREW", "/api/status", LENGTH) + STATUS => 501, "method", Closed;
    }

    // The limits.
    table! {
        "the longest target": target_of(2048) => 404, "/status.json", Open;
        "a target that is too long": target_of(2049) => 414, "2048", Closed;
        "a target that is much too long": target_of(9000) => 414, "2048", Closed;
        "a query that is too long": request("GET", &format!("/health?{}", "q".repeat(2041)), "") => 414, "2048", Closed;
        "the longest head": head_of(8192, "") => 200, HEALTHY, Open;
        "a head that is too long": head_of(8193, "") => 431, "8192", Closed;
        "a head that is much too long": head_of(20_000, "") => 431, "8192", Closed;
        "a head without end": "GET /health HTTP/1.1\r\nHost: x\r\nA: ".to_owned() + &"a".repeat(9000)
            => 431, "8192", Closed;
        "the longest head of a post": longest_post() => 200, UPDATED, Open;
        "the most fields": fields_of(64) => 200, HEALTHY, Open;
        "too many fields": fields_of(65) => 431, "64", Closed;
        "much too many fields": fields_of(300) => 431, "64", Closed;
        "the longest extension": chunks(&format!("7;{}\r\n{STATUS}\r\n0\r\n\r\n", "e".repeat(8191)))
            => 200, UPDATED, Open;
        "an extension that is too long": chunks(&format!("7;{}\r\n{STATUS}\r\n0\r\n\r\n", "e".repeat(8192)))
            => 400, "8192", Closed;
        "the longest trailer": chunks(&format!("7\r\n{STATUS}\r\n0\r\nX:{}\r\n\r\n", "t".repeat(8190)))
            => 200, UPDATED, Open;
        "a trailer that is too long": chunks(&format!("7\r\n{STATUS}\r\n0\r\nX:{}\r\n\r\n", "t".repeat(8191)))
            => 431, "8192", Closed;
    }
    cases
}

// ------------------------------------------------------------------------------------------- ways to send a request

/// Says what was under way when a test fails.
struct Doing(String);

impl Drop for Doing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was: {}", self.0);
        }
    }
}

/// The places at which a request is cut: every one, but in a long request only those near its ends and near the limits,
/// and every 97th of the others, for nothing but padding lies there.
fn cuts(request: &[u8]) -> Vec<usize> {
    let near = |at: usize, place: usize| at.abs_diff(place) <= 8;
    let is_long = request.len() > 1000;
    let at_limit = |at| near(at, 2048) || near(at, 8192) || near(at, request.len());
    (1..request.len()).filter(|&at| !is_long || at < 150 || at % 97 == 0 || at_limit(at)).collect()
}

/// Waits until the server has taken all that was sent on other connections before: one loop serves them all in the
/// order in which they became ready. The first round takes up new connections, the second one comes behind their bytes.
fn let_the_server_see(probe: &mut Client) {
    for _ in 0..2 {
        probe.send(get("").as_bytes());
        assert_eq!(probe.response().code, 200);
    }
}

/// Reads the final response; interim ones are counted and passed over.
fn final_response(client: &mut Client, to_head: bool) -> (Response, usize) {
    let mut interim = 0;
    loop {
        let response = client.read_response(to_head);
        if response.code != 100 {
            return (response, interim);
        }
        assert_eq!(response.fields, []);
        interim += 1;
    }
}

/// Reads the response to a case's request, the last one that is owed, and looks what becomes of the connection.
fn only_response(client: &mut Client, case: &Case) -> (Response, usize) {
    let (response, interim) = final_response(client, case.is_head());
    assert_end(client, case.after);
    (undated(response), interim)
}

fn assert_end(client: &mut Client, after: After) {
    if after == Open {
        assert_open(std::slice::from_mut(client));
    } else {
        assert!(client.is_ended());
    }
}

/// Asserts that connections take another request, which whatever was left over would spoil, and ends them.
fn assert_open(clients: &mut [Client]) {
    for client in &mut *clients {
        client.send(get("Connection: close\r\n").as_bytes());
    }
    for client in clients {
        let response = client.response();
        assert_eq!((response.code, response.text()), (200, HEALTHY));
        assert!(client.is_ended());
    }
}

/// A response without the one field that may differ between two of them.
fn undated(mut response: Response) -> Response {
    response.fields.retain(|(name, _)| name != "Date");
    response
}

fn is_of_a_view(media_type: &str) -> bool {
    MEDIA_TYPES.iter().any(|(_, of_view)| media_type == *of_view)
}

const MEDIA_TYPES: [(&str, &str); 7] = [
    ("/status.json", "application/json"),
    ("/health", "application/json"),
    ("/ready", "application/json"),
    ("/history.json", "application/json"),
    ("/", "text/html; charset=utf-8"),
    ("/badge.svg", "image/svg+xml"),
    ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
];

#[test]
fn every_resource_says_what_it_is() {
    let server = Server::start(&[]);
    for (path, media_type) in MEDIA_TYPES {
        let response = server.get(path);
        assert_eq!((response.code, response.field("Content-Type")), (200, Some(media_type)), "{path}");
    }
}

/// What holds for every response.
fn check_fields(response: &Response, to_head: bool) {
    let date = response.field("Date").expect("every response has a date");
    let date = httpdate::parse_http_date(date).expect(date);
    let now = SystemTime::now();
    let apart = now.duration_since(date).or_else(|_| date.duration_since(now)).unwrap();
    assert!(apart < Duration::from_secs(10), "{apart:?}");
    assert_eq!(response.field("X-Content-Type-Options"), Some("nosniff"));
    let media_type = response.field("Content-Type").expect("every response says what it is");
    assert!(media_type == "application/json" || matches!(response.code, 200 | 304) && is_of_a_view(media_type));
    // RFC 9110 §8.6 forbids the field in a 204.
    assert_eq!(response.field("Content-Length").is_some(), response.code != 204);
    if response.code >= 400 && !to_head {
        let message = serde_json::to_string(&response.message()).unwrap();
        assert_eq!(response.text(), format!(r#"{{"success":false,"message":{message}}}"#));
    }
}

fn check(case: &Case, response: &Response) {
    assert_eq!(response.code, case.code, "{response:?}");
    check_fields(response, case.is_head());
    let connection = match case.after {
        Closed => Some("close"),
        Open if case.is_version_10() => Some("keep-alive"),
        Open => None,
    };
    assert_eq!(response.field("Connection"), connection);
    let text = if case.code >= 400 && !case.is_head() { response.message() } else { response.text().to_owned() };
    assert!(text.contains(case.says), "{:?} is not in {text:?}", case.says);
    assert_eq!(text.is_empty(), case.says.is_empty(), "{text:?}");
}

/// The answer to a case's request on a connection of its own.
fn whole(server: &Server, case: &Case) -> Response {
    let mut client = server.connect();
    client.send(&case.request);
    let (response, interim) = final_response(&mut client, case.is_head());
    check(case, &response);
    assert_eq!(interim, 0, "a body that is here already is not asked for");
    assert_end(&mut client, case.after);
    undated(response)
}

// ------------------------------------------------------------------------------------------- the table, in each way

#[test]
fn every_request_of_the_table_is_answered_as_it_says() {
    let server = Server::start(&[]);
    for case in cases() {
        let _doing = Doing(case.name.to_owned());
        whole(&server, &case);
    }
}

#[test]
fn the_answer_is_the_same_wherever_the_request_is_cut() {
    // These are some 20 000 connections, so they are shared out to two clients with a server each.
    std::thread::scope(|scope| {
        for half in 0..2 {
            scope.spawn(move || {
                let server = Server::start(&["--max-connections", "1024"]);
                let mut probe = server.connect();
                for case in cases().iter().skip(half).step_by(2) {
                    cut(&server, &mut probe, case);
                }
            });
        }
    });
}

/// Sends a case's request in two parts, for every place where it can be cut.
fn cut(server: &Server, probe: &mut Client, case: &Case) {
    let expected = {
        let _doing = Doing(case.name.to_owned());
        whole(server, case)
    };
    let head_end = case.request.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |at| at + 4);
    let is_post = case.request.windows(5).any(|window| window == b"POST ");
    // More bodies under way at once would find no buffer.
    let (in_body, in_head): (Vec<_>, Vec<_>) =
        cuts(&case.request).into_iter().partition(|&at| is_post && (at >= head_end || case.request.len() > 1000));
    for (cuts, at_once) in [(in_head, 48), (in_body, BODIES_MAX)] {
        let mut clients = Vec::new();
        for batch in cuts.chunks(at_once) {
            if case.after == Closed || clients.is_empty() {
                clients = batch.iter().map(|_| server.connect()).collect();
            }
            for (client, &at) in clients.iter_mut().zip(batch) {
                client.send(&case.request[..at]);
            }
            let_the_server_see(probe);
            for (client, &at) in clients.iter_mut().zip(batch) {
                client.send(&case.request[at..]);
            }
            for (client, &at) in clients.iter_mut().zip(batch) {
                let _doing = Doing(format!("{}, cut at {at}", case.name));
                let (response, interim) = final_response(client, case.is_head());
                assert_eq!(undated(response), expected);
                let may_ask = case.name.starts_with("100-continue") && at == head_end;
                assert!(interim <= usize::from(may_ask), "{interim} interim responses");
                if case.after == Closed {
                    assert!(client.is_ended());
                }
            }
        }
        if case.after == Open {
            let _doing = Doing(format!("{}, and the end", case.name));
            assert_open(&mut clients);
        }
    }
}

#[test]
fn the_answer_is_the_same_byte_by_byte() {
    let server = Server::start(&[]);
    for case in cases() {
        let _doing = Doing(case.name.to_owned());
        let expected = whole(&server, &case);
        let mut client = server.connect();
        for byte in case.request.chunks(1) {
            client.send(byte);
        }
        assert_eq!(only_response(&mut client, &case).0, expected);
    }
}

#[test]
fn two_requests_in_one_segment_get_two_answers_or_one_and_the_end() {
    let server = Server::start(&[]);
    for case in cases() {
        let _doing = Doing(case.name.to_owned());
        let expected = whole(&server, &case);
        let mut client = server.connect();
        client.send(&case.request.repeat(2));
        if case.after == Open {
            assert_eq!(undated(client.read_response(case.is_head())), expected);
        }
        assert_eq!(only_response(&mut client, &case), (expected, 0));
    }
}

// ------------------------------------------------------------------------------------------------ one after the other

/// The response to a request on a connection of its own.
fn ask(server: &Server, request: impl AsRef<[u8]>) -> Response {
    let request = request.as_ref();
    let mut client = server.connect();
    client.send(request);
    let to_head = request.starts_with(b"HEAD ");
    let response = client.read_response(to_head);
    check_fields(&response, to_head);
    response
}

fn chunked(status: &[u8], mut size: impl FnMut() -> usize) -> Vec<u8> {
    let mut request = chunks("").into_bytes();
    let mut rest = status;
    while !rest.is_empty() {
        let (chunk, behind) = rest.split_at(size().clamp(1, rest.len()));
        request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        request.extend_from_slice(chunk);
        request.extend_from_slice(b"\r\n");
        rest = behind;
    }
    request.extend_from_slice(b"0\r\n\r\n");
    request
}

/// Sizes of chunks that look random and are the same in every run.
fn sizes(largest: usize) -> impl FnMut() -> usize {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        1 + (state >> 33) as usize % largest
    }
}

/// The answer to a post that is accepted.
fn echo(status: &[u8]) -> Vec<u8> {
    let head = br#"{"success":true,"message":"Status updated successfully","status":"#;
    [head, status, b"}"].concat()
}

#[test]
fn pipelined_requests_are_answered_in_order_wherever_they_are_cut() {
    let requests = [
        request("GET", "/status.json", ""),
        post("Content-Length: 7\r\n", r#"{"n":1}"#),
        request("HEAD", "/status.json", ""),
        request("GET", "/status.json", ""),
        chunks("3;a=b\r\n{\"n\r\n4\r\n\":2}\r\n0\r\nA: b\r\n\r\n"),
        "\r\n".to_owned() + &request("GET", "/status.json", "If-None-Match: *\r\n"),
        request("GET", "/status.json", ""),
        post("Content-Length: 1\r\n", "{"),
        request("OPTIONS", "/status.json", ""),
        request("GET", "/x", ""),
        post("Content-Length: 7\r\nConnection: keep-alive\r\n", r#"{"n":3}"#).replace("HTTP/1.1", "HTTP/1.0"),
        request("GET", "/status.json", ""),
        // The first status again, so that every round begins with the same one.
        post(&format!("Content-Length: {}\r\n", UNKNOWN.len()), UNKNOWN),
        get("Connection: close\r\n"),
    ];
    let server = Server::start(&[]);
    let to_head = |request: &str| request.starts_with("HEAD");
    let expected: Vec<Response> = requests.iter().map(|request| undated(ask(&server, request))).collect();
    let codes: Vec<u16> = expected.iter().map(|response| response.code).collect();
    assert_eq!(codes, [200, 200, 200, 200, 200, 304, 200, 400, 204, 404, 200, 200, 200, 200]);
    for (at, status) in [(0, UNKNOWN), (3, r#"{"n":1}"#), (6, r#"{"n":2}"#), (11, r#"{"n":3}"#)] {
        assert_eq!(expected[at].text(), status);
    }

    let all = requests.concat().into_bytes();
    let mut probe = server.connect();
    for at in 0..all.len() {
        let _doing = Doing(format!("cut at {at}"));
        let mut client = server.connect();
        client.send(&all[..at]);
        let_the_server_see(&mut probe);
        client.send(&all[at..]);
        for (request, expected) in requests.iter().zip(&expected) {
            assert_eq!(&undated(client.read_response(to_head(request))), expected, "{request}");
        }
        assert!(client.is_ended());
    }
}

#[test]
fn a_get_behind_two_posts_in_one_segment_sees_the_second_status() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let status = request("GET", "/status.json", "").into_bytes();
    client.send(&[post_request(b"{\"n\":1}"), post_request(b"{\"n\":2}"), status].concat());
    assert_eq!(client.response().content, echo(b"{\"n\":1}"));
    assert_eq!(client.response().content, echo(b"{\"n\":2}"));
    assert_eq!(client.response().text(), "{\"n\":2}");
    assert_end(&mut client, Open);
}

#[test]
fn nothing_is_answered_behind_an_answer_that_closes() {
    let server = Server::start(&[]);
    for last in [get("Connection: close\r\n"), get("Expect: x\r\n"), "GET /health HTTP/1.0\r\n\r\n".to_owned()] {
        let mut client = server.connect();
        client.send([get(""), last.clone(), post(LENGTH, STATUS), get("")].concat().as_bytes());
        assert_eq!(client.response().text(), HEALTHY);
        assert_eq!(client.response().field("Connection"), Some("close"), "{last}");
        assert!(client.is_ended());
        assert_eq!(server.get("/status.json").text(), UNKNOWN);
    }
}

#[test]
fn a_thousand_pipelined_requests_are_answered_in_order() {
    let server = Server::start(&[]);
    let kinds = [get(""), request("GET", "/x", ""), request("GET", "/ready", ""), request("GET", "/status.json", "")];
    let mut client = server.connect();
    client.send(kinds.concat().repeat(250).as_bytes());
    for turn in 0..250 {
        assert_eq!(client.response().text(), HEALTHY, "{turn}");
        assert_eq!(client.response().code, 404, "{turn}");
        assert_eq!(client.response().text(), READY, "{turn}");
        assert_eq!(client.response().text(), UNKNOWN, "{turn}");
    }
    assert_end(&mut client, Open);
}

/// The least of some times, so that others who use the processor do not matter.
fn least(times: usize, mut what: impl FnMut()) -> Duration {
    let time = |_| {
        let begun = Instant::now();
        what();
        begun.elapsed()
    };
    (0..times).map(time).min().expect("there are some")
}

#[test]
fn a_response_does_not_wait_for_the_acknowledgement_of_its_own_beginning() {
    // Who receives may take 40 ms for it. Some of these are a little more than the system sends in one piece, and some
    // take several pieces.
    let sizes = [49_000, 60_000, 63_000, 64_000, 65_000, 65_536].map(|size| (size, "65536"));
    for (size, limit) in sizes.into_iter().chain([65_536, 200_000, 500_000, 1 << 20].map(|size| (size, "1048576"))) {
        let server = Server::start(&["--max-bytes", limit]);
        let status = common::status_of(size);
        let mut client = server.connect();
        assert_eq!(client.post(&status).code, 200);
        let get = least(10, || assert_eq!(client.get("/status.json").content, status));
        assert!(get < Duration::from_millis(30), "a GET of {size} bytes takes {get:?}");
        let post = least(10, || assert_eq!(client.post(&status).code, 200));
        assert!(post < Duration::from_millis(30), "a POST of {size} bytes takes {post:?}");
    }
}

#[test]
fn responses_that_are_asked_for_together_do_not_wait_for_the_acknowledgement_of_those_before() {
    // The system holds little of what is not acknowledged yet, so of these only a part may be on its way.
    const TOGETHER: usize = 16;
    let mut buffer = vec![0; 256 << 10];
    for (size, times) in
        [(200, 100), (1024, 100), (4096, 100), (7000, 100), (7900, 100), (12_000, 50), (16_384, 20), (65_536, 10)]
    {
        let server = Server::start(&[]);
        let status = common::status_of(size);
        assert_eq!(server.post(&status).code, 200);
        // Another connection: the answer to a post may make the buffer larger.
        let client = server.connect();
        let mut stream = client.stream();
        let get = request("GET", "/status.json", "");
        stream.write_all(get.as_bytes()).unwrap();
        let mut one = 0;
        while !buffer[..one].ends_with(&status) {
            one += stream.read(&mut buffer[one..]).unwrap();
        }
        let answered = least(3, || {
            for _ in 0..times {
                stream.write_all(get.repeat(TOGETHER).as_bytes()).unwrap();
                let mut left = TOGETHER * one;
                while left > 0 {
                    left -= stream.read(&mut buffer).unwrap();
                }
            }
        });
        let bound = Duration::from_millis(400);
        assert!(answered < bound, "{times} times {TOGETHER} GETs of {size} bytes take {answered:?}");
    }
}

#[test]
fn a_response_does_not_wait_for_a_request_that_is_not_whole() {
    // Who waits for more to send may do so for 200 ms.
    let server = Server::start(&[]);
    let get = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    let whole = String::from_utf8(post_request(b"{}")).unwrap();
    let post = whole.strip_suffix("{}").expect("it ends with its body");
    for rest in ["GET", &get[..get.len() - 1], post, &whole[..whole.len() - 1]] {
        let answered = least(5, || {
            let mut client = server.begin([get, get, rest].concat().as_bytes());
            assert_eq!([client.response().code, client.response().code], [200, 200]);
        });
        assert!(answered < Duration::from_millis(100), "before {rest:?}: {answered:?}");
    }
}

#[test]
fn large_requests_are_pipelined_too() {
    let server = Server::start(&[]);
    let status = status_of(65536);
    let round = [
        post_request(&status),
        head_of(8192, "").into_bytes(),
        chunked(&status, sizes(10_000)),
        request("GET", "/status.json", "").into_bytes(),
        longest_post().into_bytes(),
        head_of(8192, "").into_bytes(),
    ];
    let all = round.concat().repeat(3);
    let mut client = server.connect();
    let mut stream = client.stream().try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || stream.write_all(&all).expect("the server reads"));
        for _ in 0..3 {
            assert!(client.response().content == echo(&status));
            assert_eq!(client.response().text(), HEALTHY);
            assert!(client.response().content == echo(&status));
            assert!(client.response().content == status);
            assert_eq!(client.response().text(), UPDATED);
            assert_eq!(client.response().text(), HEALTHY);
        }
    });
    assert_end(&mut client, Open);
}

#[test]
fn grafana_gets_the_status_again_and_again_on_one_connection() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for cache_buster in [1745230000123_u64, 1745230005123] {
        client.send(
            format!(
                "GET /status.json?_={cache_buster} HTTP/1.1\r\nHost: {}\r\nUser-Agent: Go-http-client/1.1\r\n\
                Accept: application/json;q=0.9,text/plain\r\nAccept-Encoding: gzip\r\n\r\n",
                server.address()
            )
            .as_bytes(),
        );
        let response = client.response();
        check_fields(&response, false);
        assert_eq!((response.code, response.text()), (200, UNKNOWN));
        assert_eq!(response.field("Content-Encoding"), None);
    }
    assert_end(&mut client, Open);
}

// ------------------------------------------------------------------------------------------------ the endpoints

#[test]
fn nothing_else_exists() {
    let server = Server::start(&[]);
    for path in ["/api", "/api/status/", "/status", "//health", "/%68ealth", "//", "/index.html", "/badge", "/history"]
    {
        for method in ["GET", "HEAD", "POST", "PUT", "OPTIONS"] {
            let response = ask(&server, request(method, path, ""));
            assert_eq!((response.code, response.field("Allow")), (404, None), "{method} {path}");
        }
    }
}

#[test]
fn a_method_that_a_path_does_not_have_is_told_which_it_has() {
    let server = Server::start(&[]);
    let read = ["GET", "HEAD", "OPTIONS"];
    let write = ["OPTIONS", "POST"];
    let readable = ["/status.json", "/health", "/ready", "/metrics", "/", "/badge.svg", "/history.json"];
    for (path, has) in readable.map(|path| (path, &read[..])).into_iter().chain([("/api/status", &write[..])]) {
        for method in ["GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE"] {
            let response = ask(&server, request(method, path, ""));
            let code = match method {
                "OPTIONS" => 204,
                "POST" if path == "/api/status" => 415,
                _ if has.contains(&method) => 200,
                _ => 405,
            };
            assert_eq!(response.code, code, "{method} {path}");
            let allow: Option<Vec<&str>> = response.field("Allow").map(|list| list.split(", ").collect());
            assert_eq!(allow.as_deref(), matches!(code, 204 | 405).then_some(has), "{method} {path}");
        }
    }
}

#[test]
fn head_is_answered_like_get_without_the_content() {
    let server = Server::start(&[]);
    let fields = ["", "If-None-Match: *\r\n", "Connection: close\r\n"];
    for path in ["/status.json", "/health", "/ready", "/api/status", "/x", "/", "/badge.svg?label=x", "/history.json"] {
        for fields in fields {
            let to_get = undated(ask(&server, request("GET", path, fields)));
            let to_head = undated(ask(&server, request("HEAD", path, fields)));
            assert_eq!(to_head, Response { content: Vec::new(), ..to_get }, "{path} {fields}");
        }
    }
}

#[test]
fn a_status_carries_its_tag_and_has_to_be_asked_about_again() {
    let server = Server::start(&[]);
    for method in ["GET", "HEAD"] {
        let response = ask(&server, request(method, "/status.json", ""));
        assert_eq!(response.field("Content-Length"), Some(UNKNOWN.len().to_string().as_str()));
        assert_eq!(response.field("Cache-Control"), Some("no-cache"));
        let tag = response.field("ETag").unwrap().as_bytes();
        // A strong entity tag (RFC 9110 §8.8.3).
        assert!(tag.len() > 2 && tag.starts_with(b"\"") && tag.ends_with(b"\""), "{response:?}");
        assert!(tag[1..tag.len() - 1].iter().all(|byte| byte.is_ascii_graphic() && *byte != b'"'), "{response:?}");
    }
}

#[test]
fn a_status_that_the_client_has_is_not_sent_again() {
    let server = Server::start(&[]);
    let tag = server.get("/status.json").field("ETag").unwrap().to_owned();
    let bare = tag.trim_matches('"');
    for (fields, code) in [
        (format!("If-None-Match: {tag}\r\n"), 304),
        (format!("if-none-match: W/{tag}\r\n"), 304),
        ("If-None-Match: *\r\n".to_owned(), 304),
        (format!("If-None-Match: \"a\",{tag}\r\n"), 304),
        (format!("If-None-Match: \"a\", W/\"b\" ,, {tag} , \"c\"\r\n"), 304),
        (format!("If-None-Match: \"a\"\r\nIf-None-Match: {tag}\r\nIf-None-Match: \"b\"\r\n"), 304),
        (format!("If-None-Match: {tag}\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n"), 304),
        ("If-None-Match: \"a\"\r\n".to_owned(), 200),
        ("If-None-Match: \"a\", W/\"b\"\r\n".to_owned(), 200),
        ("If-None-Match: \"\"\r\n".to_owned(), 200),
        ("If-None-Match:\r\n".to_owned(), 200),
        (format!("If-None-Match: {bare}\r\n"), 200),
        (format!("If-None-Match: \"{}\"\r\n", bare.to_uppercase()), 200),
        (format!("If-None-Match: \"{bare}0\"\r\n"), 200),
        (format!("If-Match: {tag}\r\n"), 200),
        ("If-Modified-Since: Fri, 31 Dec 2100 23:59:59 GMT\r\n".to_owned(), 200),
    ] {
        for method in ["GET", "HEAD"] {
            let response = ask(&server, request(method, "/status.json", &fields));
            assert_eq!(response.code, code, "{method} {fields}");
            assert_eq!(response.field("ETag"), Some(tag.as_str()));
            assert_eq!(response.field("Cache-Control"), Some("no-cache"));
            let content = if (method, code) == ("GET", 200) { UNKNOWN } else { "" };
            assert_eq!(response.text(), content, "{method} {fields}");
        }
    }
    // What the client has is old as soon as another status is posted.
    server.post(STATUS.as_bytes());
    let response = ask(&server, request("GET", "/status.json", &format!("If-None-Match: {tag}\r\n")));
    assert_eq!((response.code, response.text()), (200, STATUS));
}

#[test]
fn a_comma_in_an_entity_tag_does_not_end_it() {
    // RFC 9110 §8.8.3 allows every visible character but the quote between the quotes.
    let server = Server::start(&[]);
    for fields in ["If-None-Match: \"a,*,b\"\r\n", "If-None-Match: \"a\", W/\"b,*,c\"\r\n"] {
        assert_eq!(ask(&server, request("GET", "/status.json", fields)).code, 200, "{fields}");
    }
}

#[test]
fn the_tag_of_a_status_depends_on_its_bytes_alone() {
    let servers = [Server::start(&[]), Server::start(&["--max-bytes", "1000"])];
    let tag = |server: &Server| server.get("/status.json").field("ETag").unwrap().to_owned();
    let unknown = tag(&servers[0]);
    assert_eq!(tag(&servers[1]), unknown);

    // They differ in one byte at the end, and in their length.
    let statuses = [status_of(1000), [&status_of(999)[..], b" "].concat(), status_of(999)];
    let mut tags = vec![unknown.clone()];
    for status in &statuses {
        servers[0].post(status);
        ask(&servers[1], chunked(status, || 7));
        let tag = servers.each_ref().map(tag);
        assert_eq!(tag[0], tag[1]);
        assert!(!tags.contains(&tag[0]), "{tags:?}");
        tags.extend_from_slice(&tag[..1]);
    }
    servers[0].post(&statuses[0]);
    assert_eq!(tag(&servers[0]), tags[1]);
    servers[0].post(UNKNOWN.as_bytes());
    assert_eq!(tag(&servers[0]), unknown);
}

// ------------------------------------------------------------------------------------------------ statuses

#[test]
fn a_status_is_served_byte_for_byte_as_it_was_posted() {
    let server = Server::start(&[]);
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(63), "]".repeat(63));
    let statuses = [
        "{}",
        " \t\r\n{ \"a\" :\t1 ,\n\"b\" : [ ] } \r\n\t ",
        r#"{"sync_status":"SYNCED","repo":"r","files":["b","a"],"drift_count":2,"server":"s","last_check":null}"#,
        r#"{"z":1,"a":{"y":[true,false,null],"x":{}},"z":2}"#,
        r#"{"repo":null,"server":null,"sync_status":null,"drift_count":null,"files":null,"last_check":null}"#,
        r#"{"drift_count":9007199254740991,"n":[18446744073709551615,-9223372036854775808,1.50,1E+2,-0,-0.0e-0]}"#,
        r#"{"n":123456789012345678901234567890.000000000000000000000000000001e999999999}"#,
        r#"{"s":"\u0041\/\"\\\b\f\n\r\t\u0000\uD83D\ude00\ud800","\u0061":"a\u002fb"}"#,
        "{\"s\":\"Gr\u{fc}\u{df}e \u{65e5}\u{672c} \u{1f600} \u{7f}\u{2028}\u{feff}\u{fffe}\",\"\u{e4}\":1}",
        r#"{"files":["a",{"name":"b","state":"drifted"},{"lines":[1,2],"name":""}],"sync_status":"</script>"}"#,
        &deep,
    ];
    for status in statuses {
        let bytes = status.as_bytes();
        let mut size = sizes(20);
        for request in [post_request(bytes), chunked(bytes, || 1), chunked(bytes, &mut size)] {
            // Something else in between, so that what is served is what this very request brought.
            server.post(b"{\"between\":true}");
            let response = ask(&server, &request);
            assert_eq!(response.code, 200, "{status}: {}", response.text());
            assert_eq!(response.content, echo(bytes), "{status}");
            let served = server.get("/status.json");
            assert_eq!(served.text(), status);
            assert_eq!(served.field("Content-Length"), Some(bytes.len().to_string().as_str()));
        }
    }
}

/// A status of so many bytes.
fn status_of(length: usize) -> Vec<u8> {
    let filling: String = (0..length).map(|at| char::from(b'a' + (at % 23) as u8)).collect();
    let frame = r#"{"a":""}"#.len();
    format!(r#"{{"a":"{}"}}"#, &filling[frame..]).into_bytes()
}

#[test]
fn a_status_may_be_as_large_as_the_limit_and_no_larger() {
    for (arguments, limit) in [
        (&[][..], 65536),
        (&["--max-bytes", "1048576"], 1_048_576),
        (&["--max-bytes", "1000"], 1000),
        (&["--max-bytes", "2"], 2),
    ] {
        let _doing = Doing(format!("a limit of {limit}"));
        let largest = if limit == 2 { b"{}".to_vec() } else { status_of(limit) };
        let larger = [&largest[..], b" "].concat();
        let mut size = sizes(20_000);
        for request in [post_request(&largest), chunked(&largest, &mut size), chunked(&largest, || usize::MAX)] {
            let server = Server::start(arguments);
            let response = ask(&server, request);
            assert_eq!(response.code, 200);
            assert!(response.content == echo(&largest), "the echo is another one");
            assert!(server.get("/status.json").content == largest, "what is served is another one");
        }
        let server = Server::start(arguments);
        let expected = format!("{} bytes; the limit is {limit}", limit + 1);
        for request in [
            post_request(&larger),
            chunked(&larger, &mut size),
            chunked(&larger, || limit),
            chunked(&larger, || usize::MAX),
        ] {
            let response = ask(&server, request);
            assert_eq!(response.code, 400);
            assert!(response.message().contains(&expected), "{}", response.message());
        }
        assert_eq!(server.get("/status.json").text(), UNKNOWN);
    }
}

#[test]
fn a_post_that_is_refused_leaves_the_old_status() {
    let server = Server::start(&[]);
    let old = r#"{"old":true}"#;
    server.post(old.as_bytes());
    let tag = server.get("/status.json").field("ETag").unwrap().to_owned();
    let too_large = status_of(65537);
    let too_deep = format!("{{\"a\":{}{}}}", "[".repeat(64), "]".repeat(64));
    let bodies: &[(&[u8], &str)] = &[
        (b"", "empty"),
        (b" ", "Invalid JSON: the text ends too early at byte 1"),
        (b"status=SYNCED", "at byte 0"),
        (b"{\"a\":1", "at byte 6"),
        (b"{\"a\":1}}", "at byte 7"),
        (b"{\"a\":1,}", "at byte 7"),
        (b"{'a':1}", "at byte 1"),
        (b"{\"a\":01}", "at byte 6"),
        (b"{\"a\":NaN}", "at byte 5"),
        (b"{\"a\":\"\n\"}", "at byte 6"),
        (b"{\"a\":\"\\x\"}", "at byte 7"),
        (b"{\"a\":\"\xFF\"}", "at byte 6"),
        (b"{\"a\":\"\xED\xA0\x80\"}", "at byte 6"),
        (b"\xEF\xBB\xBF{}", "at byte 0"),
        (b"{}\0", "at byte 2"),
        (too_deep.as_bytes(), "at byte 68"),
        (b"[]", "object"),
        (b"\"{}\"", "object"),
        (b"null", "object"),
        (b" 1 ", "object"),
        (b"{\"repo\":1}", "\"repo\""),
        (b"{\"server\":[]}", "\"server\""),
        (b"{\"sync_status\":true}", "\"sync_status\""),
        (b"{\"last_check\":{}}", "\"last_check\""),
        (b"{\"drift_count\":\"1\"}", "\"drift_count\""),
        (b"{\"drift_count\":-1}", "\"drift_count\""),
        (b"{\"drift_count\":1.5}", "\"drift_count\""),
        (b"{\"drift_count\":9007199254740992}", "\"drift_count\""),
        (b"{\"files\":{}}", "\"files\""),
        (b"{\"files\":[1]}", "\"files\""),
        (b"{\"files\":[{\"path\":\"a\"}]}", "\"files\""),
        (b"{\"files\":[{\"name\":1}]}", "\"files\""),
        (b"{\"repo\":\"a\",\"repo\":\"a\"}", "\"repo\""),
        (b"{\"files\":[],\"f\\u0069les\":[]}", "\"files\""),
        (&too_large, "65537 bytes; the limit is 65536"),
    ];
    for (body, says) in bodies {
        for request in [post_request(body), chunked(body, || 5)] {
            let _doing = Doing(format!("{} {says}", body[..body.len().min(50)].escape_ascii()));
            let response = ask(&server, request);
            assert_eq!(response.code, 400);
            assert!(response.message().contains(says), "{}", response.message());
            let served = server.get("/status.json");
            assert_eq!((served.text(), served.field("ETag")), (old, Some(tag.as_str())));
        }
    }
    // Nor does any request of the table replace it that gets another answer than 200.
    for case in cases().into_iter().filter(|case| case.code != 200) {
        let _doing = Doing(case.name.to_owned());
        ask(&server, &case.request);
        assert_eq!(server.get("/status.json").text(), old);
    }
}

#[test]
fn a_status_whose_body_does_not_come_to_its_end_is_not_taken() {
    let server = Server::start(&[]);
    for request in [post("Content-Length: 8\r\n", STATUS), chunks("7\r\n{\"a\":1}\r\n0\r\n")] {
        let mut client = server.connect();
        client.send(request.as_bytes());
        let_the_server_see(&mut server.connect());
        assert_eq!(server.get("/status.json").text(), UNKNOWN);
        drop(client);
        let_the_server_see(&mut server.connect());
        assert_eq!(server.get("/status.json").text(), UNKNOWN);
    }
}

#[test]
fn slow_readers_get_their_statuses_whole_whatever_is_posted_meanwhile() {
    // More than any socket buffers, so that the server gets stuck within one of the answers until somebody reads.
    const REQUESTS: usize = 32;
    let server = Server::start(&["--max-bytes", "1048576"]);
    let mut posted: Vec<Vec<u8>> = Vec::new();
    let mut readers = Vec::new();
    for reader in 0..PAST_MAX {
        posted.push(status_of((1 << 20) - reader));
        assert_eq!(server.post(&posted[reader]).code, 200);
        let mut client = server.connect();
        client.send(request("GET", "/status.json", "").repeat(REQUESTS).as_bytes());
        std::thread::sleep(Duration::from_millis(20));
        readers.push(client);
    }
    for n in 0..10 {
        posted.push(format!("{{\"n\":{n}}}").into_bytes());
        assert_eq!(server.post(posted.last().unwrap()).code, 200);
    }
    assert!(server.get("/status.json").content == *posted.last().unwrap());
    for (reader, client) in readers.iter_mut().enumerate() {
        // The answers are whole and in the order of time: the status when they were asked for, perhaps some of those
        // that came next, the newest.
        let mut newest = reader;
        for at in 0..REQUESTS {
            let response = client.response();
            check_fields(&response, false);
            let version = posted.iter().position(|status| *status == response.content).expect("a whole status");
            assert!(version >= newest && (at > 0 || version == reader), "answer {at} has {version} after {newest}");
            newest = version;
        }
        assert_eq!(newest, posted.len() - 1, "all was answered before the posts");
    }
    assert_open(&mut readers);
}

// ------------------------------------------------------------------------------------------------ what comes when

#[test]
fn a_body_is_asked_for_before_it_is_sent() {
    let server = Server::start(&[]);
    for (fields, body) in [(LENGTH, STATUS), (CHUNKED, CHUNKS)] {
        let mut client = server.connect();
        for _ in 0..2 {
            client.send(post(&format!("{fields}Expect: 100-continue\r\n"), "").as_bytes());
            let interim = client.response();
            assert_eq!((interim.code, interim.reason.as_str()), (100, "Continue"));
            assert_eq!(interim.fields, []);
            client.send(body.as_bytes());
            let response = client.response();
            assert_eq!((response.code, response.text()), (200, UPDATED));
        }
        // Pipelined behind another request.
        client.send((get("") + &post(&format!("{fields}Expect: 100-continue\r\n"), "")).as_bytes());
        assert_eq!(client.response().text(), HEALTHY);
        assert_eq!(client.response().code, 100);
        client.send(body.as_bytes());
        assert_eq!(client.response().text(), UPDATED);
        assert_end(&mut client, Open);
    }
}

#[test]
fn a_body_that_was_asked_for_can_still_be_refused() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send(post("Content-Length: 1\r\nExpect: 100-continue\r\n", "").as_bytes());
    assert_eq!(client.response().code, 100);
    client.send(b"x");
    assert_eq!(client.response().code, 400);
    // The body was read, so the connection goes on.
    client.send(post(&format!("{CHUNKED}Expect: 100-continue\r\n"), "").as_bytes());
    assert_eq!(client.response().code, 100);
    client.send(b"10001\r\n");
    let response = client.response();
    assert!(response.message().contains("65537 bytes"), "{}", response.message());
    client.send(STATUS.as_bytes());
    assert!(client.is_ended());
}

#[test]
fn a_body_that_nobody_wants_is_refused_without_being_asked_for() {
    let server = Server::start(&[]);
    for (request, code) in [
        (post("Content-Length: 65537\r\nExpect: 100-continue\r\n", ""), 400),
        (post("Content-Length: x\r\nExpect: 100-continue\r\n", ""), 400),
        (
            request("POST", "/api/status", "Expect: 100-continue\r\nContent-Length: 9\r\nContent-Type: text/plain\r\n"),
            415,
        ),
        (request("POST", "/api/status", "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n"), 415),
        (post("Content-Length: 7\r\nExpect: 101-continue\r\n", ""), 417),
        (request("POST", "/x", "Expect: 100-continue\r\nContent-Length: 7\r\n"), 404),
        (request("PUT", "/api/status", "Expect: 100-continue\r\nContent-Length: 7\r\n"), 405),
        (post("Transfer-Encoding: gzip\r\nExpect: 100-continue\r\n", ""), 501),
    ] {
        let mut client = server.connect();
        client.send(request.as_bytes());
        let response = client.response();
        check_fields(&response, false);
        assert_eq!((response.code, response.field("Connection")), (code, Some("close")), "{request}");
        // A client that sends its body all the same does not lose the answer.
        client.send(&[b'x'; 65537]);
        assert!(client.is_ended());
    }
}

#[test]
fn a_client_of_http_1_0_is_not_told_to_continue() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let head = "POST /api/status HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\
        Expect: 100-continue\r\n\r\n";
    client.send(head.as_bytes());
    assert!(client.is_open());
    client.send(STATUS.as_bytes());
    assert_eq!(client.response().text(), UPDATED);
    assert!(client.is_ended());
}

#[test]
fn a_client_that_has_ended_still_gets_its_answers() {
    let server = Server::start(&[]);
    for (requests, codes) in [
        (get(""), &[200][..]),
        (get("").repeat(3), &[200, 200, 200]),
        (request("GET", "/status.json", ""), &[200]),
        (post(LENGTH, STATUS), &[200]),
        (post(LENGTH, STATUS) + &chunks(CHUNKS) + &get(""), &[200, 200, 200]),
        (post("Content-Length: 1\r\n", "x"), &[400]),
        (post("Content-Length: 65537\r\n", "x"), &[400]),
        ("GET / HTTP/3.0\r\n".to_owned(), &[505]),
        (get("Connection: close\r\n"), &[200]),
        (get("") + &request("GET", "/x", "Content-Length: 10\r\n"), &[200, 404]),
        // The last one of these is not whole.
        (get("") + "GET", &[200, 400]),
        (post(LENGTH, STATUS) + &post(LENGTH, "{"), &[200, 400]),
        // Nothing has begun here.
        (String::new(), &[]),
        ("\r\n".to_owned(), &[]),
    ] {
        let _doing = Doing(requests.clone());
        let mut client = server.connect();
        client.send(requests.as_bytes());
        client.end();
        for &code in codes {
            assert_eq!(client.response().code, code);
        }
        assert!(client.is_ended());
    }
}

#[test]
fn a_request_that_ends_in_the_middle_is_refused() {
    let server = Server::start(&[]);
    let old = server.get("/status.json");
    for request in [get("Connection: keep-alive\r\n"), post(LENGTH, STATUS), chunks(CHUNKS)] {
        for at in 1..request.len() {
            let _doing = Doing(format!("{request:?} up to {at}"));
            let mut client = server.connect();
            client.send(&request.as_bytes()[..at]);
            client.end();
            let response = client.response();
            check_fields(&response, false);
            assert_eq!((response.code, response.field("Connection")), (400, Some("close")));
            assert!(response.message().contains("complete"), "{}", response.message());
            assert!(client.is_ended());
        }
    }
    assert_eq!(undated(server.get("/status.json")), undated(old));
}

#[test]
fn a_refusal_is_read_by_a_client_that_is_still_sending_10_megabytes() {
    const PIECE: usize = 50_000;
    const PIECES: usize = 200;
    let server = Server::start(&[]);
    let by_length = format!("Content-Length: {}\r\n", PIECE * PIECES);
    let chunk = format!("{PIECE:x}\r\n{}\r\n", "x".repeat(PIECE));
    let plain = "x".repeat(PIECE);
    for (head, piece, code) in [
        (post(&by_length, ""), &plain, 400),
        (chunks(""), &chunk, 400),
        (post(&by_length, "").replace("application/json", "text/plain"), &plain, 415),
        (post(&format!("{by_length}{CHUNKED}"), ""), &plain, 400),
        (post(&format!("{by_length}Expect: x\r\n"), ""), &plain, 417),
        (post("Transfer-Encoding: gzip\r\n", ""), &chunk, 501),
        (request("POST", "/x", &by_length), &plain, 404),
        (request("PUT", "/api/status", CHUNKED), &chunk, 405),
        ("POST /api/status HTTP/1.2\r\n".to_owned(), &plain, 505),
    ] {
        let _doing = Doing(head.clone());
        let mut client = server.connect();
        let mut stream = client.stream().try_clone().unwrap();
        let (answered, answer) = mpsc::channel();
        std::thread::scope(|scope| {
            let writer = scope.spawn(move || {
                stream.write_all(head.as_bytes())?;
                for at in 0..PIECES {
                    if at == PIECES / 2 {
                        // The answer is read while half of the body is still to come.
                        answer.recv_timeout(PATIENCE).expect("the reader sees the answer");
                    }
                    stream.write_all(piece.as_bytes())?;
                }
                std::io::Result::Ok(())
            });
            let response = client.response();
            check_fields(&response, false);
            assert_eq!((response.code, response.field("Connection")), (code, Some("close")));
            // The end comes right behind the answer, not when the client is done.
            assert!(client.is_ended());
            answered.send(()).unwrap();
            writer.join().unwrap().expect("all of it is taken");
            assert!(client.is_ended());
        });
        assert_eq!(server.get("/status.json").text(), UNKNOWN);
    }
}

#[test]
fn when_every_body_buffer_is_taken_the_slowest_post_is_told_to_come_again() {
    let server = Server::start(&[]);
    let expecting = post(&format!("{LENGTH}Expect: 100-continue\r\n"), "");
    let begin = || {
        let mut client = server.connect();
        client.send(expecting.as_bytes());
        // Who is asked for the body has a buffer for it.
        assert_eq!(client.response().code, 100);
        client
    };
    let assert_crowded_out = |mut client: Client| {
        let response = client.response();
        check_fields(&response, false);
        assert_eq!((response.code, response.field("Connection")), (503, Some("close")));
        let seconds = response.field("Retry-After").expect("it says when").parse::<u32>().unwrap();
        assert!((1..=60).contains(&seconds), "{seconds}");
        assert!(client.is_ended());
    };
    let mut posts: VecDeque<Client> = (0..BODIES_MAX).map(|_| begin()).collect();

    // Who sends all of it at once is always taken, and takes nothing away from the others.
    assert_eq!(ask(&server, post(LENGTH, STATUS)).text(), UPDATED);
    assert_eq!(ask(&server, chunks(CHUNKS)).text(), UPDATED);
    assert_eq!(ask(&server, post(LENGTH, "[1,2,3]")).code, 400);
    assert_eq!(ask(&server, post_as("Content-Type: text/plain\r\n")).code, 415);

    // Of those of which nothing has come, the one that began first is the slowest.
    posts.push_back(begin());
    assert_crowded_out(posts.pop_front().unwrap());
    let log = server.wait_for_log("code=503");
    assert!(
        log.contains(
            "reason=\"Too many statuses are being sent at once and this one is the slowest; try again in a second\""
        ),
        "{log}"
    );

    // Each way in which a post ends gives its buffer to the next one: nobody has to go for it.
    let mut last = posts.pop_back().unwrap();
    last.send(STATUS.as_bytes());
    assert_eq!(last.response().text(), UPDATED);
    posts.push_back(begin());

    let mut last = posts.pop_back().unwrap();
    last.send(b"[1,2,3]");
    assert_eq!(last.response().code, 400);
    posts.push_back(begin());

    let mut last = posts.pop_back().unwrap();
    last.end();
    assert_eq!(last.response().code, 400);
    posts.push_back(begin());

    // That a client is gone the server is told in its own time.
    let descriptors = server.descriptors();
    let gone = |client: Client| {
        drop(client);
        let deadline = Instant::now() + PATIENCE;
        while server.descriptors() == descriptors {
            assert!(Instant::now() < deadline, "the server has not closed it");
        }
    };
    gone(posts.pop_back().unwrap());
    posts.push_back(begin());

    let mut last = posts.pop_back().unwrap();
    last.send(STATUS.as_bytes());
    assert_eq!(last.response().text(), UPDATED);
    last.send(expecting.as_bytes());
    // To close a socket that holds something unread, here the 100, resets the connection.
    assert_eq!(last.stream().peek(&mut [0]).unwrap(), 1);
    gone(last);
    posts.push_back(begin());

    for mut post in posts {
        post.send(STATUS.as_bytes());
        assert_eq!(post.response().text(), UPDATED);
        assert_end(&mut post, Open);
    }
    assert_eq!(server.log().matches("code=503").count(), 1);
    assert_eq!(server.post(b"{}").code, 200);
}

#[test]
fn what_does_not_come_in_time_is_refused_and_who_asks_nothing_is_left_without_a_word() {
    let server = Server::start(&["--head-timeout", "1", "--body-timeout", "1", "--idle-timeout", "1"]);
    let start = Instant::now();
    let mut silent = server.connect();
    let mut idle = server.connect();
    idle.send(get("").as_bytes());
    assert_eq!(idle.response().code, 200);
    let mut half_heads = server.connect();
    half_heads.send(&get("").as_bytes()[..20]);
    let mut half_bodies =
        [post(LENGTH, "{"), chunks("7\r\n{\"a\""), chunks("7\r\n{\"a\":1}\r\n0\r\n")].map(|request| {
            let mut client = server.connect();
            client.send(request.as_bytes());
            client
        });
    let refused = |client: &mut Client, says: &str| {
        let response = client.response();
        check_fields(&response, false);
        assert_eq!((response.code, response.field("Connection")), (408, Some("close")));
        assert!(response.message().contains(says), "{}", response.message());
        // What comes late is dropped, and no reason for a reset.
        client.send(&[b'x'; 10_000]);
        assert!(client.is_ended());
    };
    refused(&mut half_heads, "head");
    for client in &mut half_bodies {
        refused(client, "body");
    }
    assert!(silent.is_ended());
    assert!(idle.is_ended());
    let time = start.elapsed();
    assert!((Duration::from_millis(900)..Duration::from_secs(10)).contains(&time), "{time:?}");
    assert_eq!(server.get("/status.json").text(), UNKNOWN);
}

#[test]
fn empty_lines_do_not_keep_a_connection_open() {
    let server = Server::start(&["--head-timeout", "1", "--idle-timeout", "1"]);
    let mut open = vec![("whole lines", &["\r\n"][..], server.connect()), ("halves", &["\r", "\n"], server.connect())];
    for (_, _, client) in &open {
        client.stream().set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    }
    for turn in 0..20 {
        open.retain(|(_, pieces, client)| {
            let mut stream = client.stream();
            // Whether this still arrives is a matter of luck when the server closes just then.
            let _ = stream.write_all(pieces[turn % pieces.len()].as_bytes());
            match stream.read(&mut [0; 1000]) {
                Ok(bytes) => bytes > 0,
                Err(error) => error.kind() != ErrorKind::ConnectionReset,
            }
        });
    }
    let names: Vec<&str> = open.iter().map(|(name, ..)| *name).collect();
    assert!(names.is_empty(), "still open: {names:?}");
}

// ------------------------------------------------------------------------------------------------ heads, once more

#[test]
fn no_control_character_stands_anywhere_in_a_head() {
    let server = Server::start(&[]);
    for control in (0..=0x1F).chain([0x7F]).map(char::from) {
        for (place, request) in [
            ("the method", request(&format!("GE{control}T"), "/health", "")),
            ("the target", request("GET", &format!("/health?{control}"), "")),
            ("the version", format!("GET /health HTTP/1.1{control}\r\nHost: x\r\n\r\n")),
            ("a name", get(&format!("A{control}B: c\r\n"))),
            ("a value", get(&format!("A: b{control}c\r\n"))),
        ] {
            let _doing = Doing(format!("{control:?} in {place}"));
            let response = ask(&server, &request);
            // The one that may stand somewhere, the tab in a value, has its place in the table.
            let expected = if (place, control) == ("a value", '\t') { 200 } else { 400 };
            assert_eq!(response.code, expected, "{}", response.text());
        }
    }
}

#[test]
fn an_empty_line_before_a_head_does_not_count_wherever_it_is_cut() {
    let server = Server::start(&[]);
    let mut probe = server.connect();
    let request = "\r\n".to_owned() + &head_of(8192, "");
    for at in [0, 1, 2, 3, 8191, 8192, 8193] {
        let _doing = Doing(format!("cut at {at}"));
        let mut client = server.connect();
        client.send(&request.as_bytes()[..at]);
        let_the_server_see(&mut probe);
        client.send(&request.as_bytes()[at..]);
        assert_eq!(client.response().code, 200);
        assert_end(&mut client, Open);
    }
}

#[test]
fn a_head_request_that_is_refused_gets_no_content_either() {
    // RFC 9110 §9.3.2 knows no exception, and the method is beyond doubt in all of these.
    let server = Server::start(&[]);
    for (request, code) in [
        ("HEAD /health HTTP/1.1\r\n\r\n".to_owned(), 400),
        (request("HEAD", "/health", "A : b\r\n"), 400),
        (request("HEAD", "/health", "Expect: x\r\n"), 417),
        (request("HEAD", "/health", &"A:b\r\n".repeat(64)), 431),
        (request("HEAD", &format!("/{}", "t".repeat(2048)), ""), 414),
        ("HEAD /health HTTP/1.1\r\nHost".to_owned(), 400),
    ] {
        let _doing = Doing(request.clone());
        let mut client = server.connect();
        client.send(request.as_bytes());
        client.end();
        let response = client.read_response(true);
        check_fields(&response, true);
        assert_eq!(response.code, code);
        assert!(client.is_ended());
    }
}

#[test]
fn the_end_is_orderly_behind_a_request_that_fills_a_read() {
    // The second request is still unread in the socket when the first one is answered, which is the last answer.
    let server = Server::start(&["--max-bytes", "1048576"]);
    let mut probe = server.connect();
    let close = "Connection: close\r\n";
    let by_head = head_of(8192, close).into_bytes();
    let post_head = post(&format!("{close}Content-Length: 65536\r\n"), "").into_bytes();
    let by_body = [&post_head[..], &status_of(65536)].concat();
    for (request, cut) in [(by_head, 0), (by_body, post_head.len())] {
        let _doing = Doing(format!("{} bytes, cut at {cut}", request.len()));
        let mut client = server.connect();
        client.send(&request[..cut]);
        let_the_server_see(&mut probe);
        client.send(&[&request[cut..], &request].concat());
        assert_eq!(client.response().code, 200);
        assert!(client.is_ended());
    }
}
