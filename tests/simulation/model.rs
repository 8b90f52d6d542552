//! What the server ought to be doing: one state for each connection, and all statuses that ever were.
//!
//! It is told the same as the server is, byte by byte and at the same times, reads it by [`reading`], and says what has
//! to be true then: which responses, in which order, until when, from which status.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use gitops_status_server::connection::Limits;

use crate::reading::{self, Codes, Head, Length, Reading};
use crate::responses::{self, Response};

pub const BODIES_MAX: usize = 4;
pub const PAST_MAX: usize = 3;
/// How many bytes of a response lie in the connection.
const RESPONSE_MAX: usize = 768;
const LINGER_QUIET_MS: u64 = 5_000;
const LINGER_MS: u64 = 30_000;
const LINGER_AT_EXIT_MS: u64 = 500;
/// How long a request waits for a look at the files.
const LOOK_PATIENCE_MS: u64 = 500;
/// How many other things the files do at most before a whole body is stored, if they do not stop: whatever is under way,
/// and before this body and each one that came earlier a look.
const TURNS_MAX: u64 = 1 + 2 * (BODIES_MAX as u64 + 1);

/// What everybody is told whose status certainly is not stored.
pub const NOT_STORED: &str = "The status is not stored and the old one stays";

/// What is known of the files behind the status.
pub struct Files {
    /// For how long what was seen counts as what is.
    pub refresh: u64,
    /// When the last look that is finished began.
    pub looked: u64,
    /// How many things they were asked to do, and how many are done: one at a time.
    pub begun: u64,
    pub done: u64,
    /// When the last one began.
    pub since: u64,
    /// Whether that was a look and nothing else.
    pub only_looked: bool,
    /// Somebody has waited for what is under way in vain.
    pub slow: bool,
    /// Words that tell why nothing can be stored.
    pub trouble: Option<&'static str>,
    /// The status that is being stored.
    pub storing: Option<Vec<u8>>,
}

impl Files {
    /// They were looked at at the start.
    pub fn new(refresh: u64, trouble: Option<&'static str>, now: u64) -> Files {
        Files {
            refresh,
            looked: now,
            begun: 0,
            done: 0,
            since: now,
            only_looked: false,
            slow: false,
            trouble,
            storing: None,
        }
    }

    pub fn are_busy(&self) -> bool {
        self.begun > self.done
    }

    /// Whether it was looked at them so lately that nobody needs another look, or there would be none in time.
    fn need_no_look(&self, now: u64) -> bool {
        self.slow || now - self.looked < self.refresh
    }

    fn are_not_ready(&self) -> Option<&'static str> {
        if self.slow { Some("does not answer") } else { self.trouble }
    }
}

/// What all connections share.
pub struct World {
    pub limits: Limits,
    pub shutting_down: bool,
    /// When the requests in flight have to be done.
    pub ends: Option<u64>,
    /// Every status that was the current one, the newest last.
    pub statuses: Vec<Vec<u8>>,
    /// The tag of each status whose tag was seen.
    pub tags: BTreeMap<Vec<u8>, String>,
    /// The codes that the server says it answered with, and that were not asked for yet.
    pub answered: VecDeque<u16>,
    /// How many statuses the server says it accepted, less those that were expected.
    pub accepted: usize,
    pub files: Option<Files>,
    /// How many body buffers are taken, and how many wait for one, beside the connection that is told something.
    pub bodies: usize,
    pub queue: usize,
}

impl World {
    fn current(&self) -> usize {
        self.statuses.len() - 1
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Idle,
    Head,
    /// Waits for a look at the files.
    Look,
    /// Waits for a body buffer.
    Room,
    Body,
    /// Waits for its status to be stored.
    Store,
    Send,
    Shut,
    Linger,
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Idle,
    Close,
    Linger,
    Body,
}

/// What a response has to be.
#[derive(Debug, Clone)]
struct Expected {
    code: u16,
    content: Content,
    to_head: bool,
    connection: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    /// The status of this number.
    Status(usize),
    /// The status of this number in the answer to its post.
    Echo(usize),
    Text(&'static str),
    /// A view of the status, of this media type.
    View(&'static str),
    Error,
    /// An error with these words in it.
    Because(&'static str),
    Nothing,
    /// It is the 100.
    Continue,
}

/// The media type of the view that a path stands for.
fn view_of(path: &str) -> Option<&'static str> {
    Some(match path {
        "/" => "text/html; charset=utf-8",
        "/metrics" => "text/plain; version=0.0.4; charset=utf-8",
        "/badge.svg" => "image/svg+xml",
        "/history.json" => "application/json",
        _ => return None,
    })
}

/// One connection.
pub struct Connection {
    pub state: State,
    /// When what the deadline is about began.
    pub since: u64,
    pub deadline: u64,
    /// It was kept open behind a response.
    pub kept: bool,
    /// How many connections came before it.
    pub number: u64,
    /// What it wants stored, and whether that is being done.
    pub body: Vec<u8>,
    pub being_stored: bool,
    /// How many things the files had been asked to do when it began to wait for them.
    begun_before: u64,
    /// How many things they have begun while its status waited.
    turns: u64,
    /// It has waited, and does not any more.
    waited: bool,
    /// All that the server has read, and where the request begins that it is at.
    stream: Vec<u8>,
    at: usize,
    /// Where the body begins, and its framing.
    body_at: usize,
    length: Length,
    keep_alive: bool,
    version_10: bool,
    input_ended: bool,
    expected: Expected,
    then: Then,
    /// What was sent of the response.
    sent: Vec<u8>,
    linger_since: u64,
}

impl Connection {
    pub fn new(number: u64, world: &World, now: u64) -> Connection {
        let mut connection = Connection {
            state: State::Closed,
            since: 0,
            deadline: 0,
            kept: false,
            number,
            body: Vec::new(),
            being_stored: false,
            begun_before: 0,
            turns: 0,
            waited: false,
            stream: Vec::new(),
            at: 0,
            body_at: 0,
            length: Length::Bytes(0),
            keep_alive: false,
            version_10: false,
            input_ended: false,
            expected: Expected { code: 0, content: Content::Nothing, to_head: false, connection: None },
            then: Then::Close,
            sent: Vec::new(),
            linger_since: 0,
        };
        connection.enter(State::Idle, now, world.limits.idle_timeout);
        connection
    }

    /// Which status it is sent from. The answer to a small post is a copy.
    pub fn reads(&self, world: &World) -> Option<usize> {
        match (self.state, &self.expected.content) {
            (State::Send, Content::Status(status)) if !self.expected.to_head => Some(*status),
            (State::Send, Content::Echo(status)) => {
                let content = echo(&world.statuses[*status]).len();
                let connection = self.expected.connection.map(|option| format!("Connection: {option}\r\n"));
                let head = format!(
                    "HTTP/1.1 200 OK\r\nX-Content-Type-Options: nosniff\r\nContent-Type: application/json\r\n\
                     Content-Length: {content}\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n{}\r\n",
                    connection.unwrap_or_default()
                );
                Some(*status).filter(|_| head.len() + content > RESPONSE_MAX)
            }
            _ => None,
        }
    }

    /// Whether it has a body buffer.
    pub fn has_body(&self) -> bool {
        matches!(self.state, State::Body | State::Store) || (self.state == State::Send && self.then == Then::Body)
    }

    /// Whether it waits for a look that has not begun.
    pub fn wants_look(&self, files: &Files) -> bool {
        self.state == State::Look && self.begun_before == files.begun
    }

    /// Whether it need not wait any more. A look that began when it waited already tells what is; so does one that
    /// began earlier, if that is not long ago.
    pub fn may_go_on(&self, files: &Files, bodies: usize, now: u64) -> bool {
        match self.state {
            State::Look => files.done > self.begun_before || files.need_no_look(now),
            State::Room => bodies <= BODIES_MAX,
            _ => false,
        }
    }

    /// Nobody waits for ever while the files do something: to be asked whenever they begin.
    pub fn assert_its_turn_comes(&mut self, files: &Files, now: u64) {
        match self.state {
            // One look for all who wait, be it in front of a store.
            State::Look => assert!(files.begun - self.begun_before <= 1, "a look was finished and it still waits"),
            // Who came in the same millisecond may be taken for an earlier one.
            State::Store if now > self.since => {
                self.turns += 1;
                assert!(self.turns <= TURNS_MAX, "{} others had their turn", self.turns);
            }
            _ => {}
        }
    }

    /// How many bytes of its body are there, where that is easily told.
    pub fn content_so_far(&self) -> Option<usize> {
        match (self.state, self.length) {
            (State::Body, Length::Bytes(_)) => Some(self.stream.len() - self.body_at),
            _ => None,
        }
    }

    fn enter(&mut self, state: State, now: u64, timeout: u64) {
        self.state = state;
        self.since = now;
        self.deadline = now + timeout;
    }

    /// The server has read `bytes`.
    pub fn receive(&mut self, bytes: &[u8], world: &mut World, now: u64) {
        if self.state == State::Linger {
            self.deadline = (self.linger_since + LINGER_MS).min(now + LINGER_QUIET_MS);
        } else {
            self.stream.extend_from_slice(bytes);
            self.go_on(world, now);
        }
        self.hasten(world, now);
    }

    /// It need not wait for the files any more, or has done so for too long.
    pub fn waits_no_more(&mut self, world: &mut World, now: u64) {
        self.waited = true;
        self.state = State::Head;
        self.go_on(world, now);
        if self.input_ended {
            self.end_of_input(world, now);
        }
    }

    fn wait(&mut self, state: State, world: &World, now: u64, timeout: u64) {
        self.begun_before = world.files.as_ref().map_or(0, |files| files.begun);
        self.turns = 0;
        self.enter(state, now, timeout);
    }

    /// Goes on with what is there, until a response is owed or more is needed.
    fn go_on(&mut self, world: &mut World, now: u64) {
        loop {
            match self.state {
                State::Idle if self.stream[self.at..].starts_with(b"\r\n") => self.at += 2,
                State::Idle if self.stream[self.at..] == *b"\r" => return,
                State::Idle | State::Head if self.stream.len() > self.at => {
                    match reading::head(&self.stream[self.at..]) {
                        Reading::Partial(codes) => {
                            if world.answered.front().is_some_and(|code| codes.contains(code)) {
                                self.refuse_head(codes, world, now);
                            } else if self.state == State::Idle {
                                self.enter(State::Head, now, world.limits.head_timeout);
                            }
                            return;
                        }
                        Reading::Broken(codes) => return self.refuse_head(codes, world, now),
                        Reading::Whole(head) => self.take(head, world, now),
                    }
                }
                State::Body => match reading::body(&self.stream[self.body_at..], self.length, world.limits.max_bytes) {
                    Reading::Partial(codes) => {
                        if world.answered.front().is_some_and(|code| codes.contains(code)) {
                            self.refuse_unread(codes, world, now);
                        }
                        return;
                    }
                    Reading::Broken(codes) => return self.refuse_unread(codes, world, now),
                    Reading::Whole((content, length)) => {
                        self.at = self.body_at + length;
                        self.judge(content, world, now);
                    }
                },
                _ => return,
            }
        }
    }

    fn begins_with(&self, method: &[u8]) -> bool {
        self.stream[self.at..].starts_with(method)
    }

    fn refuse_head(&mut self, codes: Codes, world: &mut World, now: u64) {
        self.expected.to_head = self.begins_with(b"HEAD ");
        self.refuse_unread(codes, world, now);
    }

    /// It is refused without being read to its end, so nothing can follow it.
    fn refuse_unread(&mut self, codes: Codes, world: &mut World, now: u64) {
        self.keep_alive = false;
        self.answer(codes, Content::Error, Then::Linger, world, now);
    }

    /// The server has to have answered with one of these codes.
    fn answer(&mut self, codes: Codes, content: Content, then: Then, world: &mut World, now: u64) {
        let request =
            || self.stream[self.at..].iter().copied().take(400).collect::<Vec<u8>>().escape_ascii().to_string();
        let Some(code) = world.answered.pop_front() else { panic!("no answer, {codes:?} was expected: {}", request()) };
        assert!(codes.contains(&code), "answer {code}, {codes:?} was expected: {}", request());
        let persists = self.keep_alive && !world.shutting_down;
        self.expected.code = code;
        self.expected.content = content;
        self.expected.connection = match persists {
            true if self.version_10 => Some("keep-alive"),
            true => None,
            false => Some("close"),
        };
        let then = match then {
            Then::Idle if !persists => Then::Close,
            then => then,
        };
        self.send(then, world, now);
    }

    fn send(&mut self, then: Then, world: &World, now: u64) {
        self.then = then;
        self.sent.clear();
        self.enter(State::Send, now, world.limits.write_timeout);
    }

    /// A whole head that nothing is wrong with.
    fn take(&mut self, head: Head, world: &mut World, now: u64) {
        let waited = std::mem::take(&mut self.waited);
        let may_be_changed = (matches!(&*head.path, "/status.json" | "/ready") || view_of(&head.path).is_some())
            && matches!(&*head.method, "GET" | "HEAD");
        if may_be_changed && !waited && world.files.as_ref().is_some_and(|files| !files.need_no_look(now)) {
            return self.wait(State::Look, world, now, LOOK_PATIENCE_MS);
        }
        self.keep_alive = head.keep_alive;
        self.version_10 = head.version_10;
        self.expected.to_head = head.method == "HEAD";
        self.body_at = self.at + head.length;
        self.length = head.body;
        let limit = world.limits.max_bytes;
        let current = world.current();
        let tag = world.tags.get(&world.statuses[current]);
        let has_it = match tag {
            Some(tag) => reading::matches_tag(&head.values("if-none-match"), tag.as_bytes()),
            // Nobody has been told the tag, so nobody can know it.
            None => Some(head.values("if-none-match").contains(&&b"*"[..])),
        };
        let not_ready = world.files.as_ref().and_then(Files::are_not_ready);
        let one = |code: u16| Codes::from([code]);
        let (codes, content) = match (&*head.path, &*head.method) {
            ("/status.json" | "/health" | "/ready" | "/api/status" | "*", "OPTIONS") => (one(204), Content::Nothing),
            ("/status.json", "GET" | "HEAD") => match has_it {
                Some(true) => (one(304), Content::Nothing),
                Some(false) => (one(200), Content::Status(current)),
                None => (Codes::from([200, 304]), Content::Status(current)),
            },
            ("/health", "GET" | "HEAD") => (one(200), Content::Text(r#"{"status":"ok"}"#)),
            ("/ready", "GET" | "HEAD") if world.shutting_down => (one(503), Content::Error),
            ("/ready", "GET" | "HEAD") => match not_ready {
                Some(words) => (one(503), Content::Because(words)),
                None => (one(200), Content::Text(r#"{"status":"ready"}"#)),
            },
            (path, "GET" | "HEAD") if view_of(path).is_some() => {
                let view = Content::View(view_of(path).expect("it is one"));
                let tagged = path != "/metrics" && !head.values("if-none-match").is_empty();
                // Nobody here knows its tag.
                (if tagged { Codes::from([200, 304]) } else { one(200) }, view)
            }
            (path, method) if view_of(path).is_some() => match method {
                "OPTIONS" => (one(204), Content::Nothing),
                _ => (one(405), Content::Error),
            },
            ("/api/status", "POST") => {
                let mut codes = Codes::new();
                match &head.values("content-type")[..] {
                    [one] if reading::is_json_type(one) => {}
                    _ => drop(codes.insert(415)),
                }
                let codings = head.values("content-encoding");
                if codings.iter().flat_map(|value| value.split(|&byte| byte == b',')).any(|coding| {
                    let coding = coding.trim_ascii().to_ascii_lowercase();
                    !coding.is_empty() && coding != b"identity"
                }) {
                    codes.insert(415);
                }
                if matches!(head.body, Length::Bytes(bytes) if bytes > limit as u64) {
                    codes.insert(400);
                }
                let full = world.bodies > BODIES_MAX;
                match codes.is_empty() {
                    false => (codes, Content::Error),
                    // Who waits already was here earlier.
                    true if (full || world.queue > 0) && !waited => {
                        assert!(world.files.is_some(), "there is nothing to wait for");
                        return self.wait(State::Room, world, now, world.limits.body_timeout);
                    }
                    true if full => (one(503), Content::Because(NOT_STORED)),
                    true => return self.begin_body(head.expects_continue, world, now),
                }
            }
            ("/status.json" | "/health" | "/ready" | "/api/status" | "*", _) => (one(405), Content::Error),
            _ => (one(404), Content::Error),
        };
        if head.body != Length::Bytes(0) {
            self.keep_alive = false;
            self.at = self.stream.len();
            self.answer(codes, content, Then::Linger, world, now);
        } else {
            self.at = self.body_at;
            self.answer(codes, content, Then::Idle, world, now);
        }
        if self.expected.code == 304 {
            self.expected.content = Content::Nothing;
        }
    }

    fn begin_body(&mut self, expects_continue: bool, world: &mut World, now: u64) {
        self.enter(State::Body, now, world.limits.body_timeout);
        if expects_continue && self.stream.len() == self.body_at && self.length != Length::Bytes(0) {
            self.expected = Expected { code: 100, content: Content::Continue, to_head: false, connection: None };
            self.send(Then::Body, world, now);
        }
    }

    /// A whole body.
    fn judge(&mut self, content: Vec<u8>, world: &mut World, now: u64) {
        if !reading::is_status(&content) {
            self.answer(Codes::from([400]), Content::Error, Then::Idle, world, now);
        } else if world.files.is_some() {
            self.body = content;
            self.being_stored = false;
            self.wait(State::Store, world, now, world.limits.body_timeout);
        } else {
            world.accepted = world.accepted.checked_sub(1).expect("the status was not accepted");
            world.statuses.push(content);
            self.accepted(world, now);
        }
    }

    /// Its status is the current one.
    pub fn accepted(&mut self, world: &mut World, now: u64) {
        self.being_stored = false;
        self.answer(Codes::from([200]), Content::Echo(world.current()), Then::Idle, world, now);
    }

    /// Its status is not stored, or nobody knows.
    pub fn unstored(&mut self, code: u16, words: &'static str, world: &mut World, now: u64) {
        self.being_stored = false;
        self.answer(Codes::from([code]), Content::Because(words), Then::Idle, world, now);
    }

    /// The server has sent `bytes`; `finished` says whether it has nothing more to send of this response, and `unread`
    /// whether it was told that there may be more in the socket.
    pub fn sent(&mut self, bytes: &[u8], finished: bool, unread: bool, world: &mut World, now: u64) {
        self.sent.extend_from_slice(bytes);
        if !finished {
            assert!(responses::parse(&self.sent, self.expected.to_head).is_none(), "more than a response");
            self.enter(State::Send, now, world.limits.write_timeout);
            return;
        }
        let (response, length) = responses::parse(&self.sent, self.expected.to_head).expect("a whole response");
        assert_eq!(length, self.sent.len(), "something follows the response");
        self.check(&response, world);
        match self.then {
            Then::Idle => {
                self.kept = true;
                self.enter(State::Idle, now, world.limits.idle_timeout);
            }
            Then::Body => self.enter(State::Body, now, world.limits.body_timeout),
            _ if self.input_ended => self.state = State::Closed,
            Then::Close if !unread && self.stream.len() == self.at => self.state = State::Closed,
            _ => self.enter(State::Shut, now, LINGER_QUIET_MS),
        }
        if matches!(self.state, State::Idle | State::Body) {
            self.go_on(world, now);
            if self.input_ended {
                self.end_of_input(world, now);
            }
        }
        if self.state == State::Idle && world.shutting_down {
            self.state = State::Closed;
        }
    }

    fn check(&self, response: &Response, world: &mut World) {
        let expected = &self.expected;
        assert_eq!(response.code, expected.code);
        if expected.content == Content::Continue {
            assert!(response.fields.is_empty());
            return;
        }
        assert_eq!(response.field("Date"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
        assert_eq!(response.field("X-Content-Type-Options"), Some("nosniff"));
        let media_type = if let Content::View(media_type) = expected.content { media_type } else { "application/json" };
        // That a client has the view already is said of the view.
        assert!(response.code == 304 || response.field("Content-Type") == Some(media_type));
        assert_eq!(response.field("Connection"), expected.connection);
        assert_eq!(response.field("Allow").is_some(), [204, 405].contains(&response.code));
        let busy = response.code == 503 && response.field("Retry-After").is_some();
        assert!(busy || response.field("Retry-After").is_none());
        match &expected.content {
            Content::Status(status) => {
                let status = &world.statuses[*status];
                assert_eq!(response.length, Some(status.len()));
                assert!(
                    expected.to_head || response.content == *status,
                    "another status than the one that was current"
                );
                let tag = response.field("ETag").expect("a status has a tag");
                let known = world.tags.entry(status.clone()).or_insert_with(|| tag.to_owned());
                assert_eq!(known, tag, "the same status has another tag");
                assert_eq!(response.field("Cache-Control"), Some("no-cache"));
            }
            Content::Echo(status) => {
                let whole = echo(&world.statuses[*status]);
                assert!(response.content == whole, "another echo than the status that was posted");
            }
            Content::View(_) => {
                assert_eq!(response.content.is_empty(), expected.to_head);
                assert!(response.length.is_some_and(|length| expected.to_head || length == response.content.len()));
                assert!(response.field("Cache-Control").is_some());
            }
            Content::Text(text) if expected.to_head => assert_eq!(response.length, Some(text.len())),
            Content::Text(text) => assert_eq!(response.content, text.as_bytes()),
            Content::Error | Content::Because(_) if expected.to_head => {
                assert!(response.length.is_some_and(|length| length > 30));
            }
            Content::Error | Content::Because(_) => {
                let error: serde_json::Value = serde_json::from_slice(&response.content).expect("an error is JSON");
                let error = error.as_object().expect("an error is an object");
                assert_eq!(error.len(), 2);
                assert_eq!(error["success"], false);
                let message = error["message"].as_str().expect("a message is text");
                assert!(message.len() > 5);
                if let Content::Because(words) = &expected.content {
                    assert!(message.contains(words), "{words} is not said: {message}");
                }
            }
            Content::Nothing | Content::Continue => assert!(response.content.is_empty()),
        }
    }

    /// The client will send no more.
    pub fn end_of_input(&mut self, world: &mut World, now: u64) {
        self.input_ended = true;
        match self.state {
            State::Head | State::Body => {
                self.expected.to_head = self.state == State::Head && self.begins_with(b"HEAD ");
                self.keep_alive = false;
                self.answer(Codes::from([400]), Content::Error, Then::Close, world, now);
            }
            State::Look | State::Room | State::Store | State::Send => {}
            _ => self.state = State::Closed,
        }
    }

    pub fn write_side_shut(&mut self, world: &World, now: u64) {
        self.linger_since = now;
        self.enter(State::Linger, now, LINGER_QUIET_MS);
        self.hasten(world, now);
    }

    /// Its deadline has passed.
    pub fn expire(&mut self, world: &mut World, now: u64) {
        match self.state {
            State::Head | State::Body => {
                self.expected.to_head = self.state == State::Head && self.begins_with(b"HEAD ");
                self.refuse_unread(Codes::from([408]), world, now);
            }
            State::Look => {
                // It is answered from memory, and nobody else waits for what does not come.
                if let Some(files) = world.files.as_mut().filter(|files| files.are_busy()) {
                    files.slow = true;
                }
                self.waits_no_more(world, now);
            }
            State::Room => self.waits_no_more(world, now),
            State::Store if self.being_stored => self.unstored(503, "It is not known", world, now),
            State::Store => self.unstored(503, NOT_STORED, world, now),
            _ => self.state = State::Closed,
        }
    }

    /// Others have its body buffer.
    pub fn crowded_out(&mut self, world: &mut World, now: u64) {
        if self.state == State::Send && !self.sent.is_empty() {
            self.state = State::Closed;
        } else {
            self.expected.to_head = false;
            self.refuse_unread(Codes::from([503]), world, now);
        }
    }

    /// The server is about to exit, so there is little time to linger.
    pub fn hasten(&mut self, world: &World, now: u64) {
        if world.shutting_down && matches!(self.state, State::Shut | State::Linger) {
            self.deadline = self.deadline.min(now + LINGER_AT_EXIT_MS);
        }
    }

    /// Whether it has not asked anything yet.
    pub fn is_asking(&self) -> bool {
        self.state == State::Head || (self.state == State::Idle && !self.kept)
    }

    /// In which order connections have to make room for new ones: the lowest first, of the same ones that with the
    /// earliest time.
    pub fn rank(&self, many_ask: bool) -> (u8, u64) {
        let class = match self.state {
            State::Shut | State::Linger => 0,
            State::Idle if self.kept => 1,
            State::Idle | State::Head if many_ask => 2,
            State::Send => 3,
            State::Body | State::Look | State::Room => 4,
            State::Idle | State::Head => 5,
            State::Store => 6,
            State::Closed => 7,
        };
        (class, self.since)
    }
}

/// The answer to a post.
fn echo(status: &[u8]) -> Vec<u8> {
    [br#"{"success":true,"message":"Status updated successfully","status":"#, status, b"}"].concat()
}

/// How many past statuses are kept for those who read them.
pub fn past<'c>(connections: impl Iterator<Item = &'c Connection>, world: &World) -> BTreeSet<usize> {
    connections.filter_map(|connection| connection.reads(world)).filter(|&status| status != world.current()).collect()
}
