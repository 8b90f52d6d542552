//! One connection: what of a request is here, what of a response is owed, what happens next and by when.
//!
//! It holds no socket and reads no clock. Bytes that came go into [`Connection::receive`], bytes to send come out of
//! [`Connection::output`], [`Connection::next`] tells what to do. It goes through these phases:
//!
//! ```text
//!                 first byte       head complete       body complete
//!     ┌─► Idle ─────────────► Head ───────┬─────► Body ───────┐
//!     │                        │          │  ▲      │         │
//!     │                  error │   answer │  │100   │ error   │ answer
//!     │                        ▼          ▼  │      ▼         ▼
//!     └────────────────────── Send ◄──────┴──┴──────┴─────────┘
//!       all sent, kept alive   │
//!                              ├─────► Closed                      all sent, nothing left unread
//!                              └─────► Shut ─────► Linger ─────► Closed
//!                     all sent, but part of the request is unread: the write side is shut, and what still comes is
//!                     dropped for a while, for a close with unread bytes would take the response away with it
//! ```
//!
//! Where there are files behind the status, a request may have to wait for them. Nothing is read in the meantime.
//!
//! ```text
//!     Head ───► Look ───► Head      somebody else may have changed a file: that is looked at first
//!     Head ───► Room ───► Head      every body buffer is taken, and those that wait for the store will be given back
//!     Body ───► Store ──► Send      the body is a status, and is being stored, or will be
//! ```

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::counters::{Counters, Population, Route, Tally};
use crate::date;
use crate::event::{Event, Journal};
use crate::history::{History, SECOND};
use crate::http::framing::{Decoder, Length};
use crate::http::head::{self, Begun, HEAD_MAX, Head, Method};
use crate::http::response::{CONTINUE, Code, Date, Persistence, RESPONSE_MAX, Rendered, Writer};
use crate::metrics::Facts;
use crate::render::{self, Manner};
use crate::routes::{self, Answer, Content, POST_PATH, Problem, Situation, View};
use crate::sheets::{SheetId, Sheets};
use crate::snapshot::{ETag, SlotId, Snapshots};
use crate::status::{self, Refusal, STATUS_CAPACITY};
use crate::store::Trouble;
use crate::summary::Summary;

/// How long, in milliseconds, a connection that lingers may send nothing before it is closed: several round trips of the
/// slowest links, and whoever has read its answer closes sooner.
pub const LINGER_QUIET_MS: u64 = 5_000;
/// How long, in milliseconds, a connection may linger at all: as long as a body may take by default.
pub const LINGER_MS: u64 = 30_000;
/// How long, in milliseconds, it may still linger when the server is about to exit: a round trip, for the answer is out.
pub const LINGER_AT_EXIT_MS: u64 = 500;
/// How many bytes of a request that is refused already are read and dropped: some tens of times the largest status, for
/// who sends the wrong file should see the 400.
pub const LINGER_BYTES_MAX: u64 = 64 << 20;
const _: () = assert!(LINGER_AT_EXIT_MS < LINGER_QUIET_MS && LINGER_QUIET_MS < LINGER_MS);
const _: () = assert!(LINGER_BYTES_MAX > STATUS_CAPACITY as u64);
const _: () = assert!(CONTINUE.len() <= RESPONSE_MAX);
const _: () = assert!((STATUS_CAPACITY as u64) << 32 >> 32 == STATUS_CAPACITY as u64);

/// The most bytes of a body that is read and judged as soon as it comes: that takes some tenths of a millisecond, which
/// others can wait.
const SMALL_BODY_MAX: u64 = 128 << 10;

/// How long, in milliseconds, a body is not judged by how fast it comes: a few round trips, in which there is little to
/// judge by.
const YOUNG_BODY_MS: u64 = 1_000;

/// How long, in milliseconds, a request waits for a look at the files at most: some tens of times what a network file
/// system needs, and less than a probe waits.
pub const LOOK_PATIENCE_MS: u64 = 500;

/// Bytes that came and were not used yet: a head that is not whole, or requests behind the one that is answered.
pub type Inbox = heapless::Vec<u8, HEAD_MAX>;

/// What is configured about connections. All times are in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest status, in bytes, at most [`STATUS_CAPACITY`].
    pub max_bytes: usize,
    /// For a whole request head, from its first byte.
    pub head_timeout: u64,
    /// For a whole request body, from the end of its head.
    pub body_timeout: u64,
    /// For a connection on which no request has begun.
    pub idle_timeout: u64,
    /// For sending without progress.
    pub write_timeout: u64,
}

/// What is known of the files behind the status. All times are in milliseconds, on the clock of [`Turn::now`].
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    /// For how long what was seen counts as what is.
    pub refresh: u64,
    /// When the last look began.
    pub looked: u64,
    /// When the look or the storing that is under way began.
    pub working_since: Option<u64>,
    /// Whether somebody has waited for that in vain.
    pub slow: bool,
    /// Why statuses cannot be stored, if they cannot.
    pub trouble: Option<Trouble>,
}

impl Watch {
    /// Whether nobody has to wait for another look. Who would wait in vain need not.
    pub fn is_fresh(&self, now: u64) -> bool {
        self.slow || now < self.looked + self.refresh
    }

    fn trouble(&self) -> Option<Trouble> {
        if self.slow { Some(Trouble::Slow) } else { self.trouble }
    }
}

/// When what is known is too old. All times are in milliseconds, on the clock of [`Turn::now`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Staleness {
    /// For how long no status has to come; 0 where that does not matter.
    pub after: u64,
    /// Whether the server is not ready then.
    pub unready: bool,
    /// When it will have been so long.
    pub at: u64,
}

impl Staleness {
    /// Whether no status came for too long.
    pub fn is_over(&self, now: u64) -> bool {
        self.after > 0 && now >= self.at
    }

    /// A status came `age` before `now`.
    pub fn reported(&mut self, age: u64, now: u64) {
        self.at = now + self.after.saturating_sub(age);
    }
}

/// What is known of the process. The core cannot ask.
#[derive(Debug, Clone, Copy)]
pub struct Process {
    /// When it was started, in seconds since 1970.
    pub started: u64,
    /// How many bytes of its memory are resident, if that can be known.
    pub resident: fn() -> Option<u64>,
}

/// What all connections share.
#[derive(Debug)]
pub struct Shared<'s> {
    /// The statuses.
    pub snapshots: &'s mut Snapshots,
    /// What the current one says.
    pub summary: &'s mut Summary,
    /// What the last ones said.
    pub history: &'s mut History,
    /// Where views are rendered.
    pub sheets: &'s mut Sheets,
    /// What happened so far.
    pub counters: &'s mut Counters,
    /// How many connections there are.
    pub population: Population,
    /// When what is known is too old.
    pub staleness: Staleness,
    /// The process.
    pub process: Process,
    /// Whether the log wants to know of each request.
    pub tells_requests: bool,
    /// The files behind them, if there are any.
    pub watch: Option<Watch>,
    /// How many connections wait for room.
    pub queue: usize,
    /// What is configured.
    pub limits: Limits,
    /// Whether the server is about to exit: every response is the last one of its connection.
    pub shutting_down: bool,
}

impl Shared<'_> {
    /// What answers depend on at `now`.
    #[inline(always)]
    fn situation(&self, now: u64) -> Situation<'_> {
        let Staleness { after, unready, .. } = self.staleness;
        Situation {
            etag: self.snapshots.current().etag(),
            max_bytes: self.limits.max_bytes,
            shutting_down: self.shutting_down,
            trouble: self.watch.and_then(|watch| watch.trouble()),
            stale: (unready && self.staleness.is_over(now)).then_some(after / 1000),
        }
    }

    /// The summary is that of a status which came just now.
    fn report(&mut self, turn: &Turn<'_>) {
        self.history.record(self.summary, date::seconds(turn.date) * SECOND);
        self.staleness.reported(0, turn.now);
    }
}

/// What the world outside says during one turn of the event loop.
pub struct Turn<'t> {
    /// Milliseconds on a clock that never goes back and does not start at 0.
    pub now: u64,
    /// The date for responses.
    pub date: &'t Date,
    /// Where events go.
    pub journal: &'t mut dyn Journal,
}

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Bytes; it takes at most so many at once.
    Read(usize),
    /// That its output is sent.
    Write,
    /// The files.
    Wait,
    /// That the write side of the socket is shut.
    ShutWrite,
    /// That the socket is closed.
    Close,
}

/// See the picture at the top.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Closed,
    Idle,
    Head,
    Look,
    Room,
    Body,
    Store,
    Send,
    Shut,
    Linger,
}

/// What follows when all is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Close,
    Linger,
    Idle,
    /// What was sent is the 100 that the client waited for.
    Body,
}

/// What stands around the status that is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frame {
    /// What is rendered stands in front of it.
    Rendered,
    /// That, and the end of the envelope of a POST's answer behind it.
    Envelope,
    /// The head that its slot has for it.
    Prepared,
    /// It is not the status: what is rendered stands in front of a view.
    Sheet(SheetId),
}

/// One connection. All its memory is in it, but for its [`Inbox`].
#[derive(Debug)]
pub struct Connection {
    phase: Phase,
    after: After,
    peer: SocketAddr,
    /// How many connections came before it.
    number: u64,
    /// When the phase began; while sending, when there was progress last.
    since: u64,
    /// When something has to have happened; 0 for never.
    deadline: u64,
    /// Bytes of the body, or of what is dropped, so far.
    received: u64,
    decoder: Decoder,
    /// Where the body goes.
    body: Option<SlotId>,
    keep_alive: bool,
    version_10: bool,
    /// The method of a head that is not whole, or refused.
    begun: Begun,
    /// It was kept open behind a response.
    kept: bool,
    /// Whether [`Connections`](crate::connections::Connections) counts it among those that wait.
    pub(crate) counted: bool,
    /// And among those that wait for room.
    pub(crate) queued: bool,
    /// The look that it waits for is under way.
    looked_for: bool,
    /// It has waited for the files, and does not any more.
    waited: bool,
    /// The peer will send no more.
    input_ended: bool,
    /// The status that is sent.
    content: Option<SlotId>,
    frame: Frame,
    rendered: Rendered,
    /// How many bytes of the response were sent, and how many it has.
    sent: usize,
    total: usize,
}

impl Connection {
    /// No connection. All zeros, so that it lies in memory that exists only when it is written.
    pub const CLOSED: Connection = Connection {
        phase: Phase::Closed,
        after: After::Close,
        peer: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        number: 0,
        since: 0,
        deadline: 0,
        received: 0,
        decoder: Decoder::EMPTY,
        body: None,
        keep_alive: false,
        version_10: false,
        begun: Begun::Unknown,
        kept: false,
        counted: false,
        queued: false,
        looked_for: false,
        waited: false,
        input_ended: false,
        content: None,
        frame: Frame::Rendered,
        rendered: Rendered::new(),
        sent: 0,
        total: 0,
    };

    /// Begins anew, for a connection from `peer` before which `number` others came.
    pub fn open(&mut self, peer: SocketAddr, number: u64, shared: &Shared<'_>, now: u64) {
        debug_assert_eq!(self.phase, Phase::Closed);
        self.peer = peer;
        self.number = number;
        self.kept = false;
        self.counted = false;
        self.queued = false;
        self.waited = false;
        self.input_ended = false;
        self.idle(shared, now);
    }

    /// What it waits for.
    pub fn next(&self, inbox: &Inbox) -> Next {
        match self.phase {
            // What is left over when the request is complete fits the inbox.
            Phase::Idle | Phase::Head => Next::Read(HEAD_MAX - inbox.len()),
            Phase::Body => Next::Read(usize::try_from(self.decoder.announced()).unwrap_or(0).saturating_add(HEAD_MAX)),
            Phase::Linger => Next::Read(usize::MAX),
            Phase::Look | Phase::Room | Phase::Store => Next::Wait,
            Phase::Send => Next::Write,
            Phase::Shut => Next::ShutWrite,
            Phase::Closed => Next::Close,
        }
    }

    /// By when something has to have happened, on the clock of [`Turn::now`]; 0 for never.
    pub fn deadline(&self) -> u64 {
        self.deadline
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.kept
    }

    pub(crate) fn since(&self) -> u64 {
        self.since
    }

    /// Whether it has a body buffer.
    pub(crate) fn has_body(&self) -> bool {
        self.body.is_some()
    }

    /// Whether it waits for the files.
    pub(crate) fn waits(&self) -> bool {
        matches!(self.phase, Phase::Look | Phase::Room | Phase::Store)
    }

    /// The body that it waits to have stored.
    pub(crate) fn to_store(&self) -> Option<SlotId> {
        self.body.filter(|_| self.phase == Phase::Store)
    }

    /// Whether it waits for a look that has not begun yet.
    pub(crate) fn wants_look(&self) -> bool {
        self.phase == Phase::Look && !self.looked_for
    }

    /// The look that it waits for has begun.
    pub(crate) fn look_begins(&mut self) {
        self.looked_for = true;
    }

    /// Whether what it waits for is there.
    pub(crate) fn can_go_on(&self, watch: &Watch, crowded: bool, now: u64) -> bool {
        match self.phase {
            Phase::Look => watch.is_fresh(now) || (self.looked_for && watch.working_since.is_none()),
            Phase::Room => !crowded,
            _ => false,
        }
    }

    /// Whether its body has more bytes than others should wait for, as far as is known yet.
    pub(crate) fn has_large_body(&self) -> bool {
        self.has_body() && self.received.saturating_add(self.decoder.announced()) > SMALL_BODY_MAX
    }

    /// How fast its body comes, the least for the slowest. Of those that have just begun, the oldest counts as the slowest:
    /// then whoever comes gets a buffer, and has it until as many others have come as there are buffers.
    pub(crate) fn pace(&self, now: u64) -> (bool, u64) {
        let age = now.saturating_sub(self.since);
        match age < YOUNG_BODY_MS {
            true => (true, self.since),
            // As fine as the largest status leaves room for: small bodies differ little.
            false => (false, (self.received << 32) / age),
        }
    }

    /// Whether it is sent from this sheet.
    pub(crate) fn has_sheet(&self, sheet: SheetId) -> bool {
        self.frame == Frame::Sheet(sheet)
    }

    /// Whether it is sent from this slot.
    pub(crate) fn reads(&self, slot: SlotId) -> bool {
        self.content == Some(slot)
    }

    /// Takes bytes that came, at most as many as [`next`](Self::next) said.
    pub fn receive(&mut self, inbox: &mut Inbox, input: &[u8], shared: &mut Shared<'_>, turn: &mut Turn<'_>) {
        if self.phase == Phase::Linger {
            self.take_nothing(input, turn.now);
        } else if inbox.is_empty() {
            let used = self.consume(input, shared, turn);
            if self.wants(&input[used..]) {
                put(inbox, &input[used..]);
            }
        } else {
            put(inbox, input);
            self.resume(inbox, shared, turn);
        }
    }

    /// Goes on with what is in the inbox.
    fn resume(&mut self, inbox: &mut Inbox, shared: &mut Shared<'_>, turn: &mut Turn<'_>) {
        // An inbox that was never needed is not even written to, so that it is not resident.
        if !inbox.is_empty() {
            let used = self.consume(inbox, shared, turn);
            if self.wants(&inbox[used..]) {
                inbox.drain(..used);
            } else {
                inbox.clear();
            }
        }
        if self.input_ended {
            self.end_of_input(shared, turn);
        }
    }

    /// Whether the bytes behind those that were used may be of use later. They are not when the response is the last
    /// one; but then they are a reason to linger.
    fn wants(&mut self, rest: &[u8]) -> bool {
        if self.phase == Phase::Send && self.after == After::Close && !rest.is_empty() {
            self.after = After::Linger;
        }
        !(self.phase == Phase::Closed || self.phase == Phase::Send && self.after == After::Linger)
    }

    /// Uses bytes until a response has to be sent or more are needed; gives how many it used.
    fn consume(&mut self, input: &[u8], shared: &mut Shared<'_>, turn: &mut Turn<'_>) -> usize {
        let mut used = 0;
        while used < input.len() {
            let rest = &input[used..];
            used += match self.phase {
                // An empty line before a request does not count (RFC 9112 §2.2), nor does half of one begin a request.
                Phase::Idle if rest.starts_with(b"\r\n") => 2,
                Phase::Idle if rest == b"\r" => break,
                Phase::Idle | Phase::Head => match self.take_head(rest, shared, turn) {
                    0 => break,
                    taken => taken,
                },
                Phase::Body => self.take_body(rest, shared, turn),
                Phase::Look | Phase::Room | Phase::Store => break,
                Phase::Send | Phase::Shut | Phase::Linger | Phase::Closed => break,
            };
        }
        used
    }

    /// What it waited for is there, or will not come: its request is looked at again.
    pub(crate) fn go_on(&mut self, inbox: &mut Inbox, shared: &mut Shared<'_>, turn: &mut Turn<'_>) {
        self.waited = true;
        self.phase = Phase::Head;
        self.resume(inbox, shared, turn);
    }

    /// Uses a request head, if it is whole.
    #[inline(never)]
    fn take_head(&mut self, input: &[u8], shared: &mut Shared<'_>, turn: &mut Turn<'_>) -> usize {
        let mut room = head::field_lines();
        let head = match head::parse(input, &mut room) {
            Ok(Some(head)) => head,
            Ok(None) => {
                self.begun = Begun::of(input);
                if self.phase == Phase::Idle {
                    self.enter(Phase::Head, turn.now, shared.limits.head_timeout);
                }
                return 0;
            }
            Err(error) => {
                self.begun = Begun::of(input);
                self.unread();
                self.refuse(Problem::Head(error), &self.unknown_request(), shared, turn);
                return input.len();
            }
        };
        let waited = core::mem::take(&mut self.waited);
        let outdated = shared.watch.is_some_and(|watch| !watch.is_fresh(turn.now));
        let route = routes::route_of(head.path);
        if outdated && !waited && routes::depends_on_files(route, head.method) {
            self.looked_for = false;
            self.enter(Phase::Look, turn.now, LOOK_PATIENCE_MS);
            return 0;
        }
        self.keep_alive = head.keep_alive;
        self.version_10 = head.version_10;
        let request = Request::of(&head, routes::tally(route, head.method));
        let answer = match routes::answer(route, &head, &shared.situation(turn.now)) {
            // Who waits already was here earlier.
            Ok(Answer::TakeStatus) if shared.queue > 0 && !waited => {
                self.enter(Phase::Room, turn.now, shared.limits.body_timeout);
                return 0;
            }
            Ok(Answer::TakeStatus) => match shared.snapshots.reserve() {
                Some(slot) => {
                    self.begin_body(&head, slot, head.len < input.len(), shared, turn);
                    return head.len;
                }
                None if shared.watch.is_none() => Err(Problem::Busy),
                None if !waited => {
                    self.enter(Phase::Room, turn.now, shared.limits.body_timeout);
                    return 0;
                }
                None => Err(Problem::Unstored(Trouble::Slow)),
            },
            Ok(Answer::Now(content)) => Ok(content),
            Err(problem) => Err(problem),
        };
        if head.body != Length::Bytes(0) {
            self.unread();
        }
        match answer {
            Ok(Content::View(view)) => self.show(view, &head, &request, shared, turn),
            Ok(content) => self.answer(content, &request, shared, turn),
            Err(problem) => self.refuse(problem, &request, shared, turn),
        }
        if self.after == After::Linger { input.len() } else { head.len }
    }

    /// Begins to read a body into `slot`; some of it may be here already.
    fn begin_body(
        &mut self,
        head: &Head<'_, '_>,
        slot: SlotId,
        here_already: bool,
        shared: &mut Shared<'_>,
        turn: &mut Turn<'_>,
    ) {
        self.body = Some(slot);
        self.received = 0;
        self.decoder = Decoder::new(head.body);
        self.enter(Phase::Body, turn.now, shared.limits.body_timeout);
        if self.decoder.is_done() {
            self.finish_body(shared, turn);
        } else if head.expects_continue && !here_already {
            Writer::resume(&mut self.rendered, CONTINUE);
            self.send(After::Body, shared, turn.now);
        }
    }

    /// Uses bytes of the body.
    #[inline(never)]
    fn take_body(&mut self, input: &[u8], shared: &mut Shared<'_>, turn: &mut Turn<'_>) -> usize {
        let (used, content) = match self.decoder.decode(input) {
            Ok(found) => found,
            Err(error) => {
                self.unread();
                self.refuse(Problem::Framing(error), &Request::POST, shared, turn);
                return input.len();
            }
        };
        self.received += content.len() as u64;
        let bytes = self.received.saturating_add(self.decoder.announced());
        let limit = shared.limits.max_bytes;
        if bytes > limit as u64 {
            self.received = bytes;
            self.unread();
            let refusal = Refusal::TooLarge { bytes, at_least: true, limit };
            self.refuse(Problem::Refused(refusal), &Request::POST, shared, turn);
            return input.len();
        }
        if let Some(slot) = self.body {
            shared.snapshots.append(slot, content);
        }
        if self.decoder.is_done() {
            self.finish_body(shared, turn);
        }
        used
    }

    /// Drops what comes behind the last response.
    fn take_nothing(&mut self, input: &[u8], now: u64) {
        self.received += input.len() as u64;
        self.deadline = (self.since + LINGER_MS).min(now + LINGER_QUIET_MS);
        if self.received > LINGER_BYTES_MAX {
            self.phase = Phase::Closed;
        }
    }

    /// Judges the body. It is the status now, or when it is stored.
    fn finish_body(&mut self, shared: &mut Shared<'_>, turn: &mut Turn<'_>) {
        let Some(slot) = self.body else { return };
        match status::read(shared.snapshots.slot(slot).bytes()) {
            Ok(_) if shared.watch.is_some() => self.enter(Phase::Store, turn.now, shared.limits.body_timeout),
            Ok(view) => {
                let (peer, bytes) = (self.peer, self.received as usize);
                turn.journal.record(Event::Accepted { peer, bytes, sync_status: view.sync_status });
                *shared.summary = Summary::of(&view);
                shared.snapshots.publish(slot, render::prepare);
                shared.counters.posts_accepted += 1;
                shared.report(turn);
                self.accepted(shared, turn);
            }
            Err(refusal) => self.refuse(Problem::Refused(refusal), &Request::POST, shared, turn),
        }
    }

    /// Its body is the current status.
    pub(crate) fn accepted(&mut self, shared: &mut Shared<'_>, turn: &mut Turn<'_>) {
        self.body = None;
        let manner = self.manner(&Request::POST, shared, turn.date);
        let (content, whole) = render::accepted(&mut self.rendered, shared.snapshots.current().bytes(), manner);
        if !whole {
            self.content = Some(shared.snapshots.pin_current());
            self.frame = Frame::Envelope;
        }
        self.answered(&Request::POST, Code::Ok, content, shared, turn);
    }

    /// Its body could not be stored.
    pub(crate) fn unstored(&mut self, trouble: Trouble, shared: &mut Shared<'_>, turn: &mut Turn<'_>) {
        self.refuse(Problem::Unstored(trouble), &Request::POST, shared, turn);
    }

    /// The request is answered without all of it being read, so nothing can follow it.
    #[inline(never)]
    fn unread(&mut self) {
        self.keep_alive = false;
        self.after = After::Linger;
    }

    /// A request whose head was never whole, or is refused.
    #[inline(never)]
    fn unknown_request(&self) -> Request<'static> {
        let (method, tally) = match self.begun {
            Begun::Unknown => ("-", Tally::other(Route::None)),
            Begun::Head => ("HEAD", Tally::read(Route::None)),
            Begun::Post => ("POST", Tally::write(Route::None)),
        };
        Request { method, target: "-", tally, length: Some(0), head_only: self.begun == Begun::Head }
    }

    fn persistence(&self, shared: &Shared<'_>) -> Persistence {
        match (self.keep_alive && !shared.shutting_down, self.version_10) {
            (true, false) => Persistence::Default,
            (true, true) => Persistence::KeepAlive,
            (false, _) => Persistence::Close,
        }
    }

    fn manner<'m>(&self, request: &Request<'_>, shared: &Shared<'_>, date: &'m Date) -> Manner<'m> {
        Manner { date, persistence: self.persistence(shared), head_only: request.head_only }
    }

    fn answer(&mut self, content: Content, request: &Request<'_>, shared: &mut Shared<'_>, turn: &mut Turn<'_>) {
        let manner = self.manner(request, shared, turn.date);
        let with_status = content == Content::Status && !request.head_only;
        if with_status && manner.persistence == Persistence::Default {
            self.content = shared.snapshots.pin_response(turn.date);
            if self.content.is_some() {
                self.frame = Frame::Prepared;
                return self.answered(request, Code::Ok, shared.snapshots.current().bytes().len(), shared, turn);
            }
        }
        let (code, bytes) = render::content(&mut self.rendered, content, shared.snapshots.current(), manner);
        if with_status {
            self.content = Some(shared.snapshots.pin_current());
        }
        self.answered(request, code, bytes, shared, turn);
    }

    /// Answers with a view of the status.
    #[inline(never)]
    fn show(
        &mut self,
        view: View,
        head: &Head<'_, '_>,
        request: &Request<'_>,
        shared: &mut Shared<'_>,
        turn: &mut Turn<'_>,
    ) {
        let stale = shared.staleness.is_over(turn.now);
        let id = shared.sheets.take().expect("one is always free: who has kept one longest has to go before");
        let facts = Facts {
            summary: shared.summary,
            history: shared.history,
            counters: shared.counters,
            stale,
            ready: shared.situation(turn.now).readiness().is_ok(),
            bytes: shared.snapshots.current().bytes().len(),
            population: shared.population,
            slots: shared.snapshots.usage(),
            started: shared.process.started,
            resident: if view == View::Metrics { (shared.process.resident)() } else { None },
        };
        let sheet = shared.sheets.get_mut(id);
        render::sheet(sheet, view, &facts, head.target);
        let etag = ETag::of(sheet);
        let known = view != View::Metrics && routes::has_already(head, &etag);
        let manner = self.manner(request, shared, turn.date);
        let sheet = shared.sheets.get(id);
        let (code, bytes) = render::view(&mut self.rendered, view, sheet.len(), &etag, known, manner);
        if bytes > 0 {
            self.frame = Frame::Sheet(id);
        } else {
            shared.sheets.give_back(id);
        }
        self.answered(request, code, bytes, shared, turn);
    }

    fn refuse(&mut self, problem: Problem, request: &Request<'_>, shared: &mut Shared<'_>, turn: &mut Turn<'_>) {
        if let Some(slot) = self.body.take() {
            shared.snapshots.abandon(slot);
        }
        let code = problem.code();
        if request.method == "POST" {
            let bytes = request.length.unwrap_or(self.received);
            shared.counters.posts_refused += 1;
            shared.counters.refused_at = Some(*turn.date);
            turn.journal.record(Event::Refused { peer: self.peer, code, bytes, reason: &problem });
        }
        let manner = self.manner(request, shared, turn.date);
        let bytes = render::problem(&mut self.rendered, &problem, manner);
        self.answered(request, code, bytes, shared, turn);
    }

    /// The response is rendered; it has to be told of and sent.
    fn answered(
        &mut self,
        request: &Request<'_>,
        code: Code,
        bytes: usize,
        shared: &mut Shared<'_>,
        turn: &mut Turn<'_>,
    ) {
        shared.counters.answer(request.tally, code);
        if shared.tells_requests {
            let (method, target) = (request.method, request.target);
            turn.journal.record(Event::Answered { peer: self.peer, method, target, code, bytes });
        }
        let after = match self.persistence(shared) {
            Persistence::Close if self.after == After::Linger => After::Linger,
            Persistence::Close => After::Close,
            _ => After::Idle,
        };
        self.send(after, shared, turn.now);
    }

    fn send(&mut self, after: After, shared: &Shared<'_>, now: u64) {
        self.after = after;
        self.sent = 0;
        self.total = self.response(shared).iter().map(|part| part.len()).sum();
        self.enter(Phase::Send, now, shared.limits.write_timeout);
    }

    /// The bytes to send next, in this order.
    pub fn output<'a>(&'a self, shared: &'a Shared<'_>) -> [&'a [u8]; 3] {
        if !self.owes() {
            return [b""; 3];
        }
        let mut skip = self.sent;
        self.response(shared).map(|part| {
            let skipped = skip.min(part.len());
            skip -= skipped;
            &part[skipped..]
        })
    }

    /// The whole response that was rendered last.
    fn response<'a>(&'a self, shared: &'a Shared<'_>) -> [&'a [u8]; 3] {
        let Some(slot) = self.content.map(|slot| shared.snapshots.slot(slot)) else {
            return match self.frame {
                Frame::Sheet(id) => [&self.rendered, shared.sheets.get(id), b""],
                _ => [&self.rendered, b"", b""],
            };
        };
        match self.frame {
            Frame::Rendered | Frame::Sheet(_) => [&self.rendered, slot.bytes(), b""],
            Frame::Envelope => [&self.rendered, slot.bytes(), render::ENVELOPE_END],
            Frame::Prepared => [slot.response(), b"", b""],
        }
    }

    /// Whether there is something to send.
    pub fn owes(&self) -> bool {
        self.sent < self.total
    }

    /// `bytes` of the output were sent. Requests that came in the meantime are taken up. `unread` says whether there may
    /// be more of them in the socket: then a connection that ends lingers first.
    pub fn sent(
        &mut self,
        inbox: &mut Inbox,
        bytes: usize,
        unread: bool,
        shared: &mut Shared<'_>,
        turn: &mut Turn<'_>,
    ) {
        debug_assert_eq!(self.phase, Phase::Send);
        self.sent += bytes;
        if self.owes() {
            self.enter(Phase::Send, turn.now, shared.limits.write_timeout);
            return;
        }
        self.let_go(shared);
        match self.after {
            After::Idle => {
                self.kept = true;
                self.idle(shared, turn.now);
            }
            After::Body => self.enter(Phase::Body, turn.now, shared.limits.body_timeout),
            After::Close | After::Linger if self.input_ended => self.phase = Phase::Closed,
            // Who has sent something behind it, before it was known to be the last, may send more.
            After::Close if !unread && inbox.is_empty() => self.phase = Phase::Closed,
            After::Close | After::Linger => self.enter(Phase::Shut, turn.now, LINGER_QUIET_MS),
        }
        if matches!(self.phase, Phase::Idle | Phase::Body) {
            self.resume(inbox, shared, turn);
        }
        if self.phase == Phase::Idle && shared.shutting_down {
            self.phase = Phase::Closed;
        }
    }

    /// The server is about to exit: who has its last answer has little time left to read it.
    pub fn hasten(&mut self, now: u64) {
        if matches!(self.phase, Phase::Shut | Phase::Linger) {
            self.deadline = self.deadline.min(now + LINGER_AT_EXIT_MS);
        }
    }

    /// The write side of the socket is shut, as [`Next::ShutWrite`] asked.
    pub fn write_side_shut(&mut self, now: u64) {
        self.received = 0;
        self.enter(Phase::Linger, now, LINGER_QUIET_MS);
    }

    /// The peer will send no more. What it is owed it still gets.
    pub fn end_of_input(&mut self, shared: &mut Shared<'_>, turn: &mut Turn<'_>) {
        self.input_ended = true;
        match self.phase {
            Phase::Head | Phase::Body => {
                let request = if self.phase == Phase::Body { Request::POST } else { self.unknown_request() };
                self.keep_alive = false;
                self.refuse(Problem::Incomplete, &request, shared, turn);
            }
            Phase::Look | Phase::Room | Phase::Store | Phase::Send => {}
            Phase::Idle | Phase::Shut | Phase::Linger | Phase::Closed => self.phase = Phase::Closed,
        }
    }

    /// The deadline has passed.
    pub fn expire(&mut self, inbox: &mut Inbox, shared: &mut Shared<'_>, turn: &mut Turn<'_>) {
        match self.phase {
            Phase::Head => {
                self.unread();
                self.refuse(Problem::HeadTimeout, &self.unknown_request(), shared, turn);
            }
            Phase::Body => {
                self.unread();
                self.refuse(Problem::BodyTimeout, &Request::POST, shared, turn);
            }
            Phase::Look => {
                // The answer is what was seen last; and nobody else need wait as long, until what is under way is done. If
                // nothing is, nothing would ever end this.
                if let Some(watch) = &mut shared.watch {
                    watch.slow = watch.working_since.is_some();
                }
                self.go_on(inbox, shared, turn);
            }
            Phase::Room => self.go_on(inbox, shared, turn),
            // What the store has not begun with, it never will.
            Phase::Store => match self.body.is_some_and(|slot| shared.snapshots.is_lent(slot)) {
                true => self.refuse(Problem::Undecided, &Request::POST, shared, turn),
                false => self.unstored(Trouble::Slow, shared, turn),
            },
            Phase::Idle | Phase::Send | Phase::Shut | Phase::Linger | Phase::Closed => self.phase = Phase::Closed,
        }
    }

    /// There are too many bodies on their way in, and this one is the slowest: its buffer goes to others.
    pub fn yield_body(&mut self, shared: &mut Shared<'_>, turn: &mut Turn<'_>) {
        if self.phase == Phase::Send && self.sent > 0 {
            // Half of a 100 is out, so nothing else can be said; and who does not read 25 bytes would not hear it.
            self.phase = Phase::Closed;
            if let Some(slot) = self.body.take() {
                shared.snapshots.abandon(slot);
            }
        } else {
            self.unread();
            self.refuse(Problem::Busy, &Request::POST, shared, turn);
        }
    }

    /// The socket is closed: gives back all that is held.
    pub fn close(&mut self, inbox: &mut Inbox, shared: &mut Shared<'_>) {
        if let Some(slot) = self.body.take() {
            shared.snapshots.abandon(slot);
        }
        self.let_go(shared);
        if !inbox.is_empty() {
            inbox.clear();
        }
        (self.sent, self.total) = (0, 0);
        self.phase = Phase::Closed;
        self.deadline = 0;
    }

    /// What was sent is not needed any more.
    #[inline(always)]
    fn let_go(&mut self, shared: &mut Shared<'_>) {
        if let Some(slot) = self.content.take() {
            shared.snapshots.unpin(slot);
        }
        if let Frame::Sheet(id) = self.frame {
            shared.sheets.give_back(id);
        }
        self.frame = Frame::Rendered;
    }

    /// The sheet that it is sent from goes to others. Half of its response is out, so nothing else can be said.
    pub(crate) fn yield_sheet(&mut self, shared: &mut Shared<'_>) {
        self.let_go(shared);
        self.phase = Phase::Closed;
    }

    fn idle(&mut self, shared: &Shared<'_>, now: u64) {
        self.after = After::Close;
        self.enter(Phase::Idle, now, shared.limits.idle_timeout);
    }

    fn enter(&mut self, phase: Phase, now: u64, timeout: u64) {
        self.phase = phase;
        self.since = now;
        self.deadline = now + timeout;
    }
}

/// Adds to the inbox what [`Connection::next`] left room for.
fn put(inbox: &mut Inbox, bytes: &[u8]) {
    inbox.extend_from_slice(bytes).expect("no more is read than the inbox has room for");
}

/// What is told about a request, and what its answer depends on.
struct Request<'r> {
    method: &'r str,
    target: &'r str,
    tally: Tally,
    /// How many bytes of body its head announced, as far as it did; `None` when the body is being read.
    length: Option<u64>,
    /// A response without its content is wanted (RFC 9110 §9.3.2).
    head_only: bool,
}

impl<'r> Request<'r> {
    /// One whose body was being read: there is one kind only.
    const POST: Request<'static> =
        Request { method: "POST", target: POST_PATH, tally: Tally::write(Route::Post), length: None, head_only: false };

    fn of(head: &Head<'_, 'r>, tally: Tally) -> Self {
        Request {
            method: head.method_text,
            target: head.target,
            tally,
            length: match head.body {
                Length::Bytes(bytes) => Some(bytes),
                Length::Chunked => Some(0),
            },
            head_only: head.method == Method::Head,
        }
    }
}
