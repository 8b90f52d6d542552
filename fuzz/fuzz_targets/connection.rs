//! All connections, driven by a script as `src/server.rs` drives them by sockets.
//!
//! A step is a letter and what it needs: `C` is a connection, a digit from 0 to 7, and `N` is a byte.
//!
//! | step | what happens |
//! | --- | --- |
//! | `a` | a client connects |
//! | `b C N bytes` | it sends these N bytes |
//! | `c C N` | it sends the Nth of the [`REQUESTS`] |
//! | `p C N` | it posts a status that is larger the larger N is |
//! | `e C` | it sends no more |
//! | `k C` | its connection is reset |
//! | `g C N` | the server reads at most N bytes, 0 for all |
//! | `o C N` | the server sends at most N bytes, 0 for all |
//! | `d C` | the server reads and sends whatever it can |
//! | `n` | the system has no descriptor left |
//! | `f N` | time passes |
//! | `h` | the server begins to shut down |
//! | `r N` | from now on there are files behind the status; how long a look at them counts follows from N |
//! | `w N` | the server comes to the end of its turn: the files have something to do, with an odd N at least a look |
//! | `s N` | the files have done it; what came of it follows from N, see [`World::finish_work`] |
#![no_main]

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use gitops_status_server::connection::{Limits, Next, Turn};
use gitops_status_server::connections::{Connections, Finished, Storage, Work};
use gitops_status_server::event::{Event, Journal};
use gitops_status_server::http::response::Date;
use gitops_status_server::json::show;
use gitops_status_server::snapshot::{BODIES_MAX, PAST_MAX};
use gitops_status_server::store::{Fault, Step, Trouble};
use gitops_status_server_fuzz::grammar::{DEEPEST, is_json};
use gitops_status_server_fuzz::{Json, entity_tag};
use libfuzzer_sys::fuzz_target;

const COUNT: usize = 8;
const MAX_BYTES: usize = 4096;
const LIMITS: Limits = Limits {
    max_bytes: MAX_BYTES,
    head_timeout: 1_000,
    body_timeout: 2_000,
    idle_timeout: 5_000,
    write_timeout: 1_500,
};
/// What requests in flight have when the server exits.
const GRACE: u64 = 4_000;
/// No deadline is farther away than this: the time that a connection may linger.
const DEADLINE_MAX: u64 = 30_000;
/// What `f N` adds to the clock, by the lowest bits of N.
const TIMES: [u64; 8] = [0, 1, 100, 499, 1_000, 1_500, 4_999, 30_000];
/// For how long a look at the files counts, by the lowest bits of N in `r N`.
const REFRESHES: [u64; 4] = [0, 1, 1_000, 60_000];
/// What one read of the server takes at most.
const READ_MAX: usize = 64 << 10;
const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

const FULL: Trouble = Trouble::Step(Step::Write, Fault::Os(28));
const READ_ONLY: Trouble = Trouble::Step(Step::Create, Fault::Os(30));

/// A whole request, and the status codes that may answer it.
struct Canned {
    request: &'static str,
    codes: &'static [u16],
}

const fn canned(request: &'static str, codes: &'static [u16]) -> Canned {
    Canned { request, codes }
}

const REQUESTS: [Canned; 30] = [
    canned("GET /status.json HTTP/1.1\r\nHost: x\r\n\r\n", &[200]),
    canned("HEAD /status.json HTTP/1.1\r\nHost: x\r\n\r\n", &[200]),
    canned("GET /health HTTP/1.1\r\nHost: x\r\n\r\n", &[200]),
    canned("GET /ready HTTP/1.1\r\nHost: x\r\n\r\n", &[200, 503]),
    canned("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", &[204]),
    canned("GET / HTTP/1.1\r\nHost: x\r\n\r\n", &[200]),
    canned("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", &[200]),
    canned("GET /badge.svg?label=a%20b HTTP/1.1\r\nHost: x\r\n\r\n", &[200]),
    canned("GET /history.json HTTP/1.1\r\nHost: x\r\n\r\n", &[200]),
    canned("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", &[404]),
    canned("HEAD /nothing HTTP/1.1\r\nHost: x\r\n\r\n", &[404]),
    canned("PUT /status.json HTTP/1.1\r\nHost: x\r\n\r\n", &[405]),
    canned("\r\nGET http://x/status.json?a HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\n\r\n", &[304]),
    canned("GET /status.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", &[200]),
    canned("GET /status.json HTTP/1.0\r\n\r\n", &[200]),
    canned("GET /status.json HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &[200]),
    canned(
        "POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{\"a\":1}",
        &[200, 503, 507],
    ),
    canned(
        "POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
            3;x\r\n{\"b\r\n4\r\n\":2}\r\n0\r\nA: b\r\n\r\n",
        &[200, 503, 507],
    ),
    canned(
        "POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n\
            Content-Length: 7\r\n\r\n{\"c\":3}",
        &[200, 503, 507],
    ),
    canned(
        "POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{\"d\":4]",
        &[400, 503],
    ),
    canned(
        "POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n",
        &[400, 503],
    ),
    canned("POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\n{\"e\":5}", &[415]),
    canned(
        "POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4097\r\n\r\n{",
        &[400],
    ),
    canned(
        "POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
            1\r\n{\r\nfffffffffffffff\r\n",
        &[400, 503],
    ),
    canned("GET / HTTP/1.1\r\n\r\n", &[400]),
    canned("GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", &[501]),
    canned("GET / HTTP/1.1\r\nHost: x\r\nExpect: tea\r\n\r\n", &[417]),
    canned("HEAD / HTTP/1.1\r\n\r\n", &[400]),
    canned("HEAD /ready HTTP/1.1\r\nHost: x\r\n\r\n", &[200, 503]),
    canned("GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", &[200]),
];

/// What may answer a request.
struct Due {
    codes: &'static [u16],
    /// It was a HEAD.
    head_only: bool,
}

/// The media types of the views that are no JSON.
const VIEWS: [&str; 3] = ["text/html; charset=utf-8", "text/plain; version=0.0.4; charset=utf-8", "image/svg+xml"];

/// What the log is told of an answer.
struct Answered {
    peer: SocketAddr,
    code: u16,
    head_only: bool,
    bytes: usize,
}

#[derive(Default)]
struct Log {
    answered: Vec<Answered>,
}

impl Journal for Log {
    fn record(&mut self, event: Event<'_>) {
        let told = match event {
            Event::Accepted { bytes, sync_status, .. } => {
                assert!(bytes <= MAX_BYTES);
                sync_status.unwrap_or_default().to_owned()
            }
            Event::Refused { reason, .. } => reason.to_string(),
            Event::Answered { peer, method, target, code, bytes } => {
                self.answered.push(Answered { peer, code: code.number(), head_only: method == "HEAD", bytes });
                format!("{method} {target}")
            }
        };
        let mut line = String::new();
        show(&mut line, told.chars()).unwrap();
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}

/// One client, and the socket between it and the server.
struct Client {
    peer: SocketAddr,
    /// What the server has not read yet.
    unread: VecDeque<u8>,
    input_ended: bool,
    /// All that the server read.
    received: Vec<u8>,
    /// What the server sent and nobody judged yet.
    sent: Vec<u8>,
    answered: VecDeque<Answered>,
    /// What may answer the requests that are not answered yet, as long as they all are whole.
    due: Option<VecDeque<Due>>,
    interim: usize,
    finals: usize,
    heads: usize,
    /// A 100 was sent, and the response that it promised was not.
    continues: bool,
    /// The last response said that it is the last one.
    closes: bool,
}

impl Client {
    fn new(peer: SocketAddr) -> Self {
        Client {
            peer,
            unread: VecDeque::new(),
            input_ended: false,
            received: Vec::new(),
            sent: Vec::new(),
            answered: VecDeque::new(),
            due: Some(VecDeque::new()),
            interim: 0,
            finals: 0,
            heads: 0,
            continues: false,
            closes: false,
        }
    }

    /// Puts bytes into the socket; `codes` may answer them, if they are one whole request.
    fn send(&mut self, bytes: &[u8], codes: Option<&'static [u16]>) {
        if self.input_ended {
            return;
        }
        self.unread.extend(bytes);
        match (&mut self.due, codes) {
            (Some(due), Some(codes)) => due.push_back(Due { codes, head_only: bytes.starts_with(b"HEAD ") }),
            _ => self.due = None,
        }
    }

    /// How often `word` was received, in whatever case.
    fn received(&self, word: &str) -> usize {
        self.received.windows(word.len()).filter(|bytes| bytes.eq_ignore_ascii_case(word.as_bytes())).count()
    }

    /// Takes whole responses from what was sent. The last one may be cut short if the connection was.
    fn judge(&mut self, cut: bool) {
        while !self.sent.is_empty() {
            assert!(!self.closes, "something follows the last response: {}", self.sent.escape_ascii());
            let Some(end) = self.sent.windows(4).position(|four| four == b"\r\n\r\n") else {
                assert!(cut, "a head without an end: {}", self.sent.escape_ascii());
                return;
            };
            let head = std::str::from_utf8(&self.sent[..end]).expect("a head is ASCII").to_owned();
            let behind = self.sent.split_off(end + 4);
            self.sent.clear();
            let response = Response::of(&head);
            if response.code == 100 {
                assert!(response.fields.is_empty() && !self.continues, "{head}");
                self.continues = true;
                self.interim += 1;
                assert!(self.interim <= self.received("100-continue"), "a 100 that nobody waits for");
                self.sent = behind;
                continue;
            }
            self.continues = false;
            let answered = self.answered.pop_front().expect("the log is told of every answer");
            assert_eq!(response.code, answered.code, "{head}");
            let length = response.length();
            // Content begins with no status line, so where one follows there is none.
            let has_content = answered.bytes > 0;
            if has_content {
                assert!(length == answered.bytes && !answered.head_only, "{head}");
            } else {
                let next = b"HTTP/1.1 ";
                assert!(behind.starts_with(next) || next.starts_with(&behind), "content behind {head}");
                self.heads += usize::from(length > 0 && response.code != 304);
                assert!(length == 0 || response.code == 304 || answered.head_only, "no content behind {head}");
                assert!(self.heads <= self.received("HEAD "), "nobody sent a HEAD: {head}");
            }
            if behind.len() < answered.bytes {
                assert!(cut, "{} bytes of content behind {head}", behind.len());
                return;
            }
            self.finals += 1;
            self.closes = response.closes();
            // Every request but the last one has a whole head.
            let begun = self.received("\r\n\r\n") + 1;
            assert!(!self.received.is_empty() && self.finals <= begun, "more responses than requests: {head}");
            let (content, behind) = behind.split_at(answered.bytes);
            response.judge(content, &head);
            self.expect(&response, content, &head);
            self.sent = behind.to_vec();
        }
    }

    /// Fails unless the response is one for the request whose turn it is.
    fn expect(&mut self, response: &Response<'_>, content: &[u8], head: &str) {
        let Some(due) = &mut self.due else { return };
        let Due { codes, head_only } = due.pop_front().unwrap_or_else(|| panic!("nobody asked for this: {head}"));
        // A request that is slow, or was cut short, is answered with the last response.
        let otherwise = response.closes() && (response.code == 408 || (response.code == 400 && self.input_ended));
        assert!(codes.contains(&response.code) || otherwise, "not one of {codes:?}: {head}");
        let without = head_only || matches!(response.code, 204 | 304);
        assert!(otherwise || content.is_empty() == without, "{head}: {}", content.escape_ascii());
    }
}

/// The head of a response.
struct Response<'r> {
    code: u16,
    fields: Vec<(&'r str, &'r str)>,
}

impl<'r> Response<'r> {
    /// Reads a head without its last empty line (RFC 9112 §4).
    fn of(head: &'r str) -> Self {
        let mut lines = head.split("\r\n");
        let line = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).unwrap_or_else(|| panic!("{head}"));
        let (code, reason) = line.split_once(' ').unwrap_or_else(|| panic!("{head}"));
        assert!(
            code.len() == 3 && reason.chars().all(|letter| letter.is_ascii_alphabetic() || letter == ' '),
            "{head}"
        );
        let field = |line: &'r str| {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line}: {head}"));
            assert!(name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-'), "{head}");
            assert!(value.bytes().all(|byte| matches!(byte, b' '..=b'~')) && value.trim() == value, "{head}");
            (name, value)
        };
        Response { code: code.parse().unwrap_or_else(|_| panic!("{head}")), fields: lines.map(field).collect() }
    }

    fn field(&self, name: &str) -> Option<&'r str> {
        let mut values = self.fields.iter().filter(|(other, _)| *other == name).map(|(_, value)| *value);
        let value = values.next();
        assert!(values.next().is_none(), "{name} is given twice");
        value
    }

    fn closes(&self) -> bool {
        self.field("Connection") == Some("close")
    }

    /// What `Content-Length` says; a 204 has none (RFC 9110 §8.6).
    fn length(&self) -> usize {
        let length = self.field("Content-Length");
        assert_eq!(length.is_none(), self.code == 204, "{:?}", self.fields);
        length.map_or(0, |length| length.parse().expect("a number"))
    }

    fn judge(&self, content: &[u8], head: &str) {
        assert_eq!(self.field("Date"), Some(DATE), "{head}");
        let media_type = self.field("Content-Type").expect("every response says what it is");
        let is_view = VIEWS.contains(&media_type) && matches!(self.code, 200 | 304);
        assert!(is_view || media_type == "application/json", "{head}");
        assert_eq!(self.field("X-Content-Type-Options"), Some("nosniff"), "{head}");
        assert!(matches!(self.field("Connection"), None | Some("close" | "keep-alive")), "{head}");
        if content.is_empty() {
            return;
        }
        let text = std::str::from_utf8(content).expect("all content is UTF-8");
        if is_view {
            let tag = self.field("ETag");
            assert!(tag.is_none_or(|tag| tag == entity_tag(content)), "{head}: {text}");
            return;
        }
        // The envelope of a status may be one level too deep for the server itself.
        let inner = text.strip_prefix(r#"{"success":true,"message":"Status updated successfully","status":"#);
        let inner = inner.and_then(|inner| inner.strip_suffix('}')).unwrap_or(text);
        assert!(is_json(inner, DEEPEST), "{head}: {text}");
        match self.code {
            200 => {
                if let Some(tag) = self.field("ETag") {
                    assert_eq!(tag, entity_tag(content), "{head}: {text}");
                }
            }
            400.. => {
                let Json::Object(members) = Json::of(text) else { panic!("{head}: {text}") };
                let names: Vec<_> = members.iter().map(|(name, _)| &name[..]).collect();
                assert_eq!(names, ["success", "message"], "{head}: {text}");
                assert!(text.starts_with("{\"success\":false,") && matches!(members[1].1, Json::String(_)), "{text}");
            }
            _ => panic!("content of {head}: {text}"),
        }
    }
}

/// The server's side: what `src/server.rs` knows.
struct World<'s> {
    connections: Connections<'s>,
    clients: [Option<Client>; COUNT],
    accepted: u16,
    now: u64,
    log: Log,
    /// What is behind the status, if there is something.
    files: Option<Files>,
}

/// What is known of the files.
struct Files {
    /// What has to be the current status: nothing but the files makes another one the current.
    current: Vec<u8>,
    work: Option<Job>,
}

/// What the files have to do.
enum Job {
    Look,
    Store(Vec<u8>),
}

impl<'s> World<'s> {
    fn turn<T>(&mut self, work: impl FnOnce(&mut Connections<'s>, &mut Turn<'_>) -> T) -> T {
        let date = Date(DATE.as_bytes().try_into().unwrap());
        let done = work(&mut self.connections, &mut Turn { now: self.now, date: &date, journal: &mut self.log });
        for answered in self.log.answered.drain(..) {
            let mut clients = self.clients.iter_mut().flatten();
            let client = clients.find(|client| client.peer == answered.peer).expect("who has an answer is connected");
            assert!(answered.code != 507 || self.files.is_some(), "there is no disk");
            client.answered.push_back(answered);
        }
        done
    }

    fn client(&mut self, id: usize) -> &mut Client {
        self.clients[id].as_mut().expect("it is open")
    }

    fn connect(&mut self) -> usize {
        self.accepted += 1;
        let peer = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), self.accepted);
        if self.connections.open() == COUNT {
            assert_eq!(self.connections.accept(peer, self.now), None);
            let victim = self.connections.victim().expect("one goes");
            self.close(victim);
        }
        let id = self.connections.accept(peer, self.now).expect("there is room");
        assert!(self.clients[id].is_none());
        self.clients[id] = Some(Client::new(peer));
        id
    }

    fn close(&mut self, id: usize) {
        self.client(id).judge(true);
        self.clients[id] = None;
        self.connections.close(id);
    }

    /// Does what takes no time, as the server does before it turns to another connection. `cut` says that a response may
    /// have been given up.
    fn settle(&mut self, id: usize, cut: bool) {
        if self.clients[id].is_none() {
            return;
        }
        if self.connections.next(id) != Next::Write {
            self.client(id).judge(cut);
        }
        if self.connections.next(id) == Next::ShutWrite {
            self.connections.write_side_shut(id, self.now);
        }
        if self.connections.next(id) == Next::Close {
            self.close(id);
        }
    }

    /// What the server does each time it has received or sent something, or before it turns to another connection.
    fn after_work(&mut self) {
        while let Some(id) = self.connections.overdue_reader() {
            self.close(id);
        }
        while let Some(id) = self.turn(|connections, turn| connections.crowd_out(turn)) {
            self.settle(id, true);
        }
    }

    /// Reads at most so many bytes; says whether it could.
    fn read(&mut self, id: usize, bytes: usize) -> bool {
        let Next::Read(at_most) = self.connections.next(id) else { return false };
        let client = self.client(id);
        let bytes = bytes.min(at_most).min(READ_MAX).min(client.unread.len());
        if bytes > 0 {
            let input: Vec<u8> = client.unread.drain(..bytes).collect();
            client.received.extend_from_slice(&input);
            self.turn(|connections, turn| connections.receive(id, &input, turn));
            self.after_work();
            self.settle(id, false);
            true
        } else if client.input_ended {
            self.turn(|connections, turn| connections.end_of_input(id, turn));
            self.settle(id, false);
            true
        } else {
            false
        }
    }

    /// Sends at most so many bytes; says whether it could. `doubtful` says that the server does not know whether all was
    /// read.
    fn write(&mut self, id: usize, bytes: usize, doubtful: bool) -> bool {
        if self.connections.next(id) != Next::Write {
            return false;
        }
        let output = self.connections.output(id).concat();
        let bytes = bytes.min(output.len());
        let client = self.client(id);
        client.sent.extend_from_slice(&output[..bytes]);
        let unread = doubtful || client.input_ended || !client.unread.is_empty();
        self.turn(|connections, turn| connections.sent(id, bytes, unread, turn));
        self.after_work();
        self.settle(id, false);
        true
    }

    fn drive(&mut self, id: usize) {
        for _ in 0..64 {
            let open = self.clients[id].is_some();
            if !open || !(self.write(id, usize::MAX, false) || self.read(id, usize::MAX)) {
                return;
            }
        }
    }

    fn expire(&mut self) {
        // Whoever is told may have another deadline then, but no other that has passed.
        let mut told = 0;
        while let Some(id) = self.turn(|connections, turn| connections.expire(turn)) {
            told += 1;
            assert!(told <= COUNT, "a deadline does not go away");
            self.settle(id, true);
        }
        let over = self.connections.is_over(self.now);
        assert!(over || self.connections.deadline().is_none_or(|deadline| deadline > self.now));
    }

    fn shut_down(&mut self) {
        self.connections.shut_down(self.now, GRACE);
        for id in 0..COUNT {
            if self.clients[id].is_some() && self.connections.is_idle(id) {
                self.drive(id);
                if self.clients[id].is_some() && self.connections.is_idle(id) {
                    self.close(id);
                }
            }
        }
    }

    /// From now on there are files, which have just been looked at.
    fn have_files(&mut self, number: u8) {
        let trouble = (number & 4 != 0).then_some(READ_ONLY);
        self.connections.have_files(REFRESHES[usize::from(number & 3)], trouble, self.now);
        let current = self.connections.snapshots().current().bytes().to_vec();
        self.files = Some(Files { current, work: None });
    }

    /// What the server does before it waits for something.
    fn end_turn(&mut self, look: bool) {
        let mut released = Vec::new();
        while let Some(id) = self.turn(|connections, turn| connections.release(turn)) {
            assert!(!released.contains(&id), "it is released and waits again");
            released.push(id);
        }
        let work = self.connections.begin_work(look, self.now).map(|work| match work {
            Work::Look => Job::Look,
            Work::Store(status) => Job::Store(status.to_vec()),
        });
        let Some(files) = &mut self.files else {
            assert!(work.is_none() && released.is_empty(), "there are no files");
            return;
        };
        if let Some(work) = work {
            assert!(files.work.is_none(), "one thing at a time");
            files.work = Some(work);
        }
        let at_rest = files.work.is_none();
        let quiet = released.is_empty();
        for id in released {
            self.settle(id, false);
        }
        self.after_work();
        assert!(!(at_rest && look), "a look was wanted");
        assert!(!(at_rest && quiet && self.somebody_waits()), "they wait for nothing");
    }

    /// The files have done what they had to. The two lowest bits of the number say what came of a status that was to be
    /// stored; with the next one somebody else has changed something, and with the next one nothing can be stored.
    fn finish_work(&mut self, number: u8) {
        let Some(work) = self.files.as_mut().and_then(|files| files.work.take()) else { return };
        let result = match number & 3 {
            0 | 1 => Ok(()),
            2 => Err(FULL),
            _ => Err(READ_ONLY),
        };
        let changed = (number & 4 != 0).then(|| format!("{{\"changed\":{number}}}").into_bytes());
        let stored = matches!(work, Job::Store(_)).then_some(result);
        let trouble = (number & 8 != 0).then_some(READ_ONLY);
        let finished = Finished { stored, changed: changed.as_deref(), history: None, keeps: true, trouble };
        let told = self.turn(|connections, turn| connections.finish(&finished, turn));
        let files = self.files.as_mut().expect("there are files");
        if let Some(changed) = changed {
            files.current = changed;
        }
        if let (Job::Store(status), Ok(())) = (work, result) {
            files.current = status;
        } else {
            assert!(stored.is_some() || told.is_none(), "nobody posted this");
        }
        while let Some(id) = self.connections.overdue_reader() {
            self.close(id);
        }
        if let Some(id) = told {
            assert_eq!(self.connections.next(id), Next::Write);
        }
        self.after_work();
    }

    /// Gives the files all that they have to do, and they do it.
    fn work_off(&mut self) {
        // One look and one status for each client, and what was under way.
        for _ in 0..=2 * COUNT {
            self.finish_work(0);
            self.end_turn(false);
            if !self.somebody_waits() {
                self.finish_work(0);
                return;
            }
        }
        panic!("somebody waits for ever");
    }

    fn somebody_waits(&self) -> bool {
        (0..COUNT).any(|id| self.clients[id].is_some() && self.connections.next(id) == Next::Wait)
    }

    fn assert_sound(&mut self) {
        // Who had to give its sheet to others is closed like one whose deadline has long passed.
        if self.connections.deadline() == Some(1) {
            self.expire();
        }
        assert!(self.connections.overdue_reader().is_none());
        let stores = self.files.as_ref().is_some_and(|files| matches!(files.work, Some(Job::Store(_))));
        assert!(!self.connections.snapshots().is_crowded() || stores || self.somebody_waits());
        if let Some(files) = &self.files {
            assert!(self.connections.snapshots().current().bytes() == files.current, "another status");
        }
        let open: Vec<usize> = (0..COUNT).filter(|id| self.clients[*id].is_some()).collect();
        assert_eq!(self.connections.open(), open.len());
        for &id in &open {
            let output = self.connections.output(id).concat();
            match self.connections.next(id) {
                Next::Read(at_most) => assert!(at_most > 0 && output.is_empty()),
                Next::Write => assert!(!output.is_empty()),
                Next::Wait => assert!(output.is_empty() && self.files.is_some()),
                next => panic!("{next:?} was done"),
            }
        }
        match self.connections.deadline() {
            None => assert!(open.is_empty()),
            Some(deadline) => assert!(0 < deadline && deadline <= self.now + DEADLINE_MAX),
        }
        assert!(self.connections.victim().is_none_or(|id| open.contains(&id)));
        assert_eq!(self.connections.victim().is_none(), open.is_empty());
    }

    /// Fails unless all that was held has been given back.
    fn assert_nothing_is_lost(&mut self) {
        for id in 0..COUNT {
            if self.clients[id].is_some() {
                self.close(id);
            }
        }
        self.finish_work(0);
        self.assert_sound();
        let bodies: Vec<_> = std::iter::from_fn(|| self.connections.snapshots().reserve()).collect();
        assert_eq!(bodies.len(), BODIES_MAX + 1);
        for slot in bodies {
            self.connections.snapshots().abandon(slot);
        }
        // One past status more than these would be one too many.
        let pins = [(); PAST_MAX].map(|()| {
            let pin = self.connections.snapshots().pin_current();
            let slot = self.connections.snapshots().reserve().expect("no body is on its way");
            self.connections.snapshots().append(slot, b"{}");
            self.connections.publish(slot);
            pin
        });
        assert!(self.connections.snapshots().overdue().is_none(), "a past status is kept for nobody");
        for pin in pins {
            self.connections.snapshots().unpin(pin);
        }
        if let Some(files) = &mut self.files {
            files.current = b"{}".to_vec();
        }
        if self.files.is_some() {
            // What was seen a minute ago is not what is, whatever happened before.
            self.now += REFRESHES[3];
            self.expire();
            let id = self.connect();
            self.client(id).send(REQUESTS[0].request.as_bytes(), Some(&[200]));
            assert!(self.read(id, usize::MAX) && self.connections.next(id) == Next::Wait, "nobody looks any more");
            self.work_off();
            self.drive(id);
        }
        let post = |status: &str| {
            format!(
                "POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n\
                    {status}",
                status.len()
            )
        };
        let posts: Vec<(usize, String)> =
            (0..BODIES_MAX).map(|number| (self.connect(), post(&format!("{{\"last\":{number}}}")))).collect();
        for (id, post) in &posts {
            self.client(*id).send(&post.as_bytes()[..post.len() - 1], None);
            self.drive(*id);
            assert!(matches!(self.connections.next(*id), Next::Read(_)), "no buffer for a body");
        }
        for (id, _) in &posts {
            self.client(*id).send(b"}", None);
            self.drive(*id);
        }
        self.work_off();
        let status = r#"{"the last":"of all"}"#;
        let request = post(status);
        for (request, end) in [(&request[..], format!(r#""status":{status}}}"#)), (REQUESTS[0].request, status.into())]
        {
            let id = self.connect();
            self.client(id).send(request.as_bytes(), Some(&[200]));
            assert!(self.read(id, usize::MAX));
            self.work_off();
            let output = self.connections.output(id).concat();
            assert!(output.ends_with(end.as_bytes()), "{}", output.escape_ascii());
            self.drive(id);
        }
        self.assert_sound();
    }
}

/// Takes one step of the script; `None` at its end.
fn step(world: &mut World<'_>, script: &mut &[u8]) -> Option<()> {
    let letter = byte(script)?;
    if letter == b'a' && !world.connections.is_shutting_down() && world.accepted < 1_000 {
        world.connect();
    }
    if letter == b'f' {
        world.now += TIMES[usize::from(byte(script)? & 7)];
        world.expire();
        // The server exits, and whoever is still connected is cut off.
        if world.connections.is_over(world.now) {
            return None;
        }
    }
    if letter == b'h' && !world.connections.is_shutting_down() {
        world.shut_down();
    }
    match letter {
        b'r' => {
            let number = byte(script)?;
            if world.files.is_none() {
                world.have_files(number);
            }
        }
        b'w' => {
            let look = byte(script)? & 1 != 0;
            world.end_turn(look);
        }
        b's' => {
            let number = byte(script)?;
            world.finish_work(number);
        }
        _ => {}
    }
    if letter == b'n'
        && let Some(victim) = world.connections.victim()
    {
        world.close(victim);
    }
    if !b"bcpekgod".contains(&letter) {
        return Some(());
    }
    let number = byte(script)?;
    let id = usize::from(number & 7);
    // The server does not know everything: 8 to ? stand for 0 to 7 with a doubt.
    let doubtful = number & 8 != 0;
    let amount = if b"bcpgo".contains(&letter) { usize::from(byte(script)?) } else { 0 };
    let bytes = if letter == b'b' { script.split_off(..amount.min(script.len()))? } else { b"" };
    let Some(client) = &mut world.clients[id] else { return Some(()) };
    let at_most = if amount == 0 { usize::MAX } else { amount };
    match letter {
        b'b' => client.send(bytes, None),
        b'c' => {
            let canned = &REQUESTS[amount % REQUESTS.len()];
            client.send(canned.request.as_bytes(), Some(canned.codes));
        }
        b'p' => {
            let status = format!("{{\"filler\":\"{}\"}}", "x".repeat(amount * 20));
            let head = "POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ";
            let codes: &[u16] = if status.len() > MAX_BYTES { &[400] } else { &[200, 503, 507] };
            client.send(format!("{head}{}\r\n\r\n{status}", status.len()).as_bytes(), Some(codes));
        }
        b'e' => client.input_ended = true,
        b'k' => world.close(id),
        b'g' => drop(world.read(id, at_most)),
        b'o' => drop(world.write(id, at_most, doubtful)),
        b'd' => world.drive(id),
        _ => unreachable!("the letter is one of these"),
    }
    Some(())
}

fn byte(script: &mut &[u8]) -> Option<u8> {
    script.split_off_first().copied()
}

/// Large, and made once.
static STORAGE: Mutex<Storage> = Mutex::new(Storage::new());

fuzz_target!(|script: &[u8]| {
    let mut storage = STORAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut world = World {
        connections: Connections::new(&mut storage, COUNT, LIMITS),
        clients: [const { None }; COUNT],
        accepted: 0,
        now: 1_000_000,
        log: Log::default(),
        files: None,
    };
    let mut script = script;
    while step(&mut world, &mut script).is_some() {
        world.assert_sound();
    }
    world.assert_nothing_is_lost();
});
