//! The load: connections that ask and wait.
//!
//! One thread, edge-triggered, and nothing is done twice: a request that is answered is followed at once by the next, by
//! a write that waits for nothing, so that one at a time costs three system calls: wait, receive, send. A short read means
//! that there is no more for now. Nothing is allocated for a request.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, IoSlice, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::cpu::{self, Watch};
use crate::figures::{Fault, Figures, Kept};
use crate::options::{Amount, Options};
use crate::pace::{Kind, Pace, Request};
use crate::response::{self, Body, Reader, Response};

const EVENTS_MAX: usize = 1024;
/// How much one read takes: several large responses.
const READ_MAX: usize = 256 << 10;
/// How many pieces one write sends at most.
const PIECES_MAX: usize = 64;
/// How many connections are made at once before it begins: no more than any server's queue takes.
const CROWD_MAX: usize = 64;
/// How long they may take, all together.
const CONNECT_TIMEOUT: u64 = 10_000_000_000;
/// How long a connection rests after an error.
const REST: u64 = 10_000_000;
/// How long there may be no response at all, at the end and, if requests are counted, before.
const PATIENCE: u64 = 5_000_000_000;
/// How long a server may take to end a connection when it said that it will.
const END_PATIENCE: u64 = 1_000_000_000;
/// Nearer than this, something due is waited for without sleeping: the system sleeps whole milliseconds.
const AWAKE: u64 = 1_500_000;
/// Which part of what is due has to be answered in time, or the rate was not kept.
const KEPT_MIN: f64 = 0.99;
/// What is due later than so long before the end need not be answered by then.
const KEPT_LATE: Duration = Duration::from_millis(50);
/// Descriptors for other things than connections.
const DESCRIPTORS_RESERVED: u64 = 16;

/// Why there are no figures.
#[derive(Debug)]
pub enum Failure {
    /// What was asked for is not possible.
    Usage(String),
    /// The system refuses something.
    System(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::System(error)
    }
}

/// Does what the options say.
///
/// # Errors
/// There are no figures, and why.
pub fn run(options: &Options) -> Result<Figures, Failure> {
    make_room(options.connections)?;
    let server = Watch::new(&options.cpu_of).map_err(|error| Failure::Usage(format!("--cpu-of: {error}")))?;
    let mut load = Load::new(options, [server, Watch::new(&[std::process::id()])?])?;
    load.run()?;
    Ok(load.figures)
}

/// Raises the limit on open descriptors as far as it takes.
fn make_room(connections: usize) -> Result<(), Failure> {
    let wanted = connections as u64 + DESCRIPTORS_RESERVED;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }).map_err(|error| {
        Failure::Usage(format!(
            "RLIMIT_NOFILE leaves no room for {connections} connections: {}",
            io::Error::from(error)
        ))
    })
}

/// What is sent, ready to be written.
struct Messages {
    get: usize,
    /// As many as may be in flight on a connection.
    gets: Vec<u8>,
    post: Vec<u8>,
}

impl Messages {
    fn new(options: &Options) -> Self {
        Messages { get: options.get.len(), gets: options.get.repeat(options.pipeline), post: options.post.clone() }
    }

    fn length(&self, kind: Kind) -> usize {
        match kind {
            Kind::Get => self.get,
            Kind::Post => self.post.len(),
        }
    }

    /// Sends what follows the first `sent` bytes of `batch`. Gives how much was sent, and whether that is all that was
    /// tried.
    fn send(&self, stream: &mut TcpStream, batch: &[Request], mut sent: usize) -> io::Result<(usize, bool)> {
        if let [only] = batch {
            let bytes = match only.kind {
                Kind::Get => &self.gets[sent..self.get],
                Kind::Post => &self.post[sent..],
            };
            return stream.write(bytes).map(|count| (count, count == bytes.len()));
        }
        let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
        let (mut count, mut tried) = (0, 0);
        let mut rest = batch;
        while count < PIECES_MAX
            && let Some(first) = rest.first()
        {
            let run = match first.kind {
                Kind::Get => rest.iter().take_while(|request| request.kind == Kind::Get).count(),
                Kind::Post => 1,
            };
            rest = &rest[run..];
            let bytes = match first.kind {
                Kind::Get => &self.gets[..run * self.get],
                Kind::Post => &self.post[..],
            };
            let skipped = sent.min(bytes.len());
            sent -= skipped;
            if skipped < bytes.len() {
                pieces[count] = IoSlice::new(&bytes[skipped..]);
                tried += bytes.len() - skipped;
                count += 1;
            }
        }
        let sent = match &pieces[..count] {
            [only] => stream.write(only)?,
            pieces => stream.write_vectored(pieces)?,
        };
        Ok((sent, sent == tried))
    }
}

/// One of the connections: a place that has a socket most of the time.
struct Connection {
    stream: Option<TcpStream>,
    /// The handshake is over.
    connected: bool,
    readable: bool,
    writable: bool,
    /// The peer has ended: only a read that gives nothing says that all was read.
    read_closed: bool,
    /// It had a whole response on this socket.
    served: bool,
    /// The server said that it ends the connection.
    closes: bool,
    /// Since when it waits for that.
    waits_since: u64,
    /// The requests in flight, written together.
    batch: Vec<Request>,
    answered: usize,
    /// Of the bytes of the batch, and how many there are.
    sent: usize,
    length: usize,
    reader: Reader,
}

impl Connection {
    fn new(pipeline: usize) -> Self {
        Connection {
            stream: None,
            connected: false,
            readable: false,
            writable: false,
            read_closed: false,
            served: false,
            closes: false,
            waits_since: 0,
            batch: Vec::with_capacity(pipeline),
            answered: 0,
            sent: 0,
            length: 0,
            reader: Reader::new(),
        }
    }

    fn connect(&mut self, address: SocketAddr, no_delay: bool, registry: &Registry, id: usize) -> io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        registry.register(&mut stream, Token(id), Interest::READABLE | Interest::WRITABLE)?;
        if no_delay {
            stream.set_nodelay(true)?;
        }
        self.stream = Some(stream);
        (self.connected, self.readable, self.read_closed) = (false, false, false);
        (self.served, self.closes) = (false, false);
        // Over the loopback the handshake is over already; elsewhere the first write tells that it is not.
        self.writable = true;
        Ok(())
    }

    /// Remembers what an event tells.
    fn note(&mut self, event: &Event) {
        self.readable |= event.is_readable() || event.is_error();
        self.writable |= event.is_writable() || event.is_error();
        self.read_closed |= event.is_read_closed() || event.is_error();
    }

    /// Lets the socket go. What was not answered is to be sent again.
    fn disconnect(&mut self, messages: &Messages) {
        self.stream = None;
        self.reader.reset();
        self.batch.drain(..self.answered);
        self.answered = 0;
        self.sent = 0;
        self.length = self.batch.iter().map(|request| messages.length(request.kind)).sum();
    }

    /// Whether all that was asked is answered.
    fn is_answered(&self) -> bool {
        self.answered == self.batch.len()
    }
}

/// Where the run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing counts yet.
    Warm,
    /// What is answered now counts.
    Measure,
    /// Nothing more is sent, and who still waits may wait until then.
    Drain(u64),
}

struct Load<'o> {
    options: &'o Options,
    poll: Poll,
    /// When it was made; all times are nanoseconds since then.
    start: Instant,
    /// The time when it was last looked at.
    now: u64,
    phase: Phase,
    /// When the measured time begins and ends.
    window: (u64, u64),
    pace: Pace,
    messages: Messages,
    /// By [`Kind`].
    kinds: [response::Kind; 2],
    connections: Box<[Connection]>,
    /// Who waits for something to be due.
    free: VecDeque<usize>,
    /// Who rests after an error, and until when.
    resting: VecDeque<(u64, usize)>,
    /// Who has to look for input though no event says so.
    again: Vec<usize>,
    buffer: Box<[u8]>,
    /// Requests that were given out and neither answered nor given up.
    in_flight: u64,
    /// Answered or given up within the measured time.
    finished: u64,
    /// How many are measured; without a schedule, and if requests are counted.
    enough: u64,
    last_finished: u64,
    bytes_read: u64,
    /// Of the server and of the load itself.
    watches: [Watch; 2],
    figures: Figures,
}

impl<'o> Load<'o> {
    fn new(options: &'o Options, watches: [Watch; 2]) -> io::Result<Self> {
        Ok(Load {
            options,
            poll: Poll::new()?,
            start: Instant::now(),
            now: 0,
            phase: Phase::Warm,
            window: (0, u64::MAX),
            pace: Pace::closed(options.sequence),
            messages: Messages::new(options),
            kinds: [response::Kind::new(options.expect.clone()), response::Kind::new(None)],
            connections: (0..options.connections).map(|_| Connection::new(options.pipeline)).collect(),
            free: VecDeque::with_capacity(options.connections),
            resting: VecDeque::with_capacity(options.connections),
            again: Vec::with_capacity(options.connections),
            buffer: vec![0; READ_MAX].into_boxed_slice(),
            in_flight: 0,
            finished: 0,
            enough: match options.amount {
                Amount::Requests(count) if options.rate.is_none() => count,
                _ => u64::MAX,
            },
            last_finished: 0,
            bytes_read: 0,
            watches,
            figures: Figures::new(),
        })
    }

    fn look(&mut self) {
        self.now = self.start.elapsed().as_nanos() as u64;
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        if !self.options.close && !self.connect_all(&mut events)? {
            return Ok(());
        }
        self.begin()?;
        loop {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            if events.is_empty() || self.pace.is_open() {
                self.look();
            }
            for event in &events {
                let Token(id) = event.token();
                self.connections[id].note(event);
                self.drive(id);
            }
            while let Some(id) = self.again.pop() {
                self.drive(id);
            }
            while let Some(&(until, id)) = self.resting.front()
                && until <= self.now
            {
                self.resting.pop_front();
                self.wake(id);
            }
            while self.pace.next_due().is_some_and(|due| due <= self.now)
                && let Some(id) = self.free.pop_front()
            {
                self.next(id);
            }
            if self.is_over()? {
                return Ok(());
            }
        }
    }

    /// Makes all connections before it begins. Says whether there is any.
    fn connect_all(&mut self, events: &mut Events) -> io::Result<bool> {
        let mut pending = 0;
        let mut ids = 0..self.connections.len();
        loop {
            while pending < CROWD_MAX
                && let Some(id) = ids.next()
            {
                if self.connect(id) {
                    pending += 1;
                }
            }
            self.look();
            if pending == 0 || self.now > CONNECT_TIMEOUT {
                break;
            }
            match self.poll.poll(events, Some(Duration::from_millis(100))) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &*events {
                let Token(id) = event.token();
                let connection = &mut self.connections[id];
                connection.note(event);
                if connection.connected || connection.stream.is_none() {
                    continue;
                }
                pending -= 1;
                if let Some(error) = connection.stream.as_ref().and_then(|stream| stream.take_error().transpose()) {
                    self.fail(id, Fault::Connect, &error.unwrap_or_else(|error| error));
                } else {
                    connection.connected = true;
                }
            }
        }
        for id in 0..self.connections.len() {
            let connection = &self.connections[id];
            if connection.stream.is_some() && !connection.connected {
                self.fail(id, Fault::Connect, &"no answer");
            }
        }
        Ok(self.connections.iter().any(|connection| connection.stream.is_some()))
    }

    /// Begins to send.
    fn begin(&mut self) -> io::Result<()> {
        self.look();
        let warmup = self.options.warmup.as_nanos() as u64;
        if let Some(rate) = self.options.rate {
            let measured = match self.options.amount {
                Amount::Time(time) => (rate * time.as_secs_f64()).round().max(1.0) as u64,
                Amount::Requests(count) => count,
            };
            let warm = (rate * self.options.warmup.as_secs_f64()).round() as u64;
            self.pace = Pace::open(self.options.sequence, rate, self.now, warm, measured);
            self.window = self.pace.window().unwrap_or(self.window);
        } else {
            self.window.0 = self.now + warmup;
            if let Amount::Time(time) = self.options.amount {
                self.window.1 = self.window.0 + time.as_nanos() as u64;
            }
        }
        if self.window.0 <= self.now {
            self.open_window()?;
        }
        for id in 0..self.connections.len() {
            self.next(id);
        }
        Ok(())
    }

    /// How long to wait for events.
    fn timeout(&self) -> Option<Duration> {
        if !self.again.is_empty() {
            return Some(Duration::ZERO);
        }
        let phase = match self.phase {
            Phase::Warm => self.window.0,
            Phase::Measure if self.window.1 == u64::MAX => self.now + PATIENCE / 10,
            Phase::Measure => self.window.1,
            Phase::Drain(until) => until,
        };
        let rest = self.resting.front().map_or(u64::MAX, |&(until, _)| until);
        let wait = phase.min(rest).saturating_sub(self.now);
        let wait = match self.pace.next_due().map(|due| due.saturating_sub(self.now)) {
            Some(due) if due < AWAKE => 0,
            Some(due) => wait.min(due - AWAKE / 2),
            None => wait,
        };
        Some(Duration::from_nanos(wait))
    }

    /// Goes from phase to phase; says whether it is the end.
    fn is_over(&mut self) -> io::Result<bool> {
        match self.phase {
            Phase::Warm if self.now >= self.window.0 => self.open_window()?,
            Phase::Measure => {
                let stalls = self.window.1 == u64::MAX && self.now > self.last_finished + PATIENCE;
                if self.now >= self.window.1 || stalls || self.finished >= self.enough {
                    self.close_window(stalls)?;
                }
            }
            _ => {}
        }
        let over = matches!(self.phase, Phase::Drain(until) if self.in_flight == 0 || self.now >= until);
        if over {
            self.give_up();
        }
        Ok(over)
    }

    fn open_window(&mut self) -> io::Result<()> {
        for watch in &mut self.watches {
            watch.begin()?;
        }
        self.look();
        // A schedule knows when it begins, and what is late by then is late.
        if !self.pace.is_open() {
            let length = self.window.1.saturating_sub(self.window.0);
            self.window = (self.now, self.now.saturating_add(length));
            if self.enough < u64::MAX {
                self.window.1 = u64::MAX;
                self.pace.limit(self.enough.saturating_sub(self.in_flight));
            }
        }
        self.phase = Phase::Measure;
        self.last_finished = self.now;
        self.figures.load = cpu::own();
        self.figures.bytes_read = self.bytes_read;
        Ok(())
    }

    fn close_window(&mut self, stalls: bool) -> io::Result<()> {
        self.look();
        let figures = &mut self.figures;
        figures.load = cpu::own().saturating_sub(figures.load);
        let [server, load] = &self.watches;
        figures.server = server.spent()?;
        figures.load_waited = load.spent()?.unwrap_or_default().waited;
        figures.elapsed = Duration::from_nanos(self.now - self.window.0);
        figures.bytes_read = self.bytes_read - figures.bytes_read;
        let mut unsent = 0;
        for due in self.pace.stop() {
            unsent += 1;
            figures.latency.saturating_record(self.now.saturating_sub(due).max(1));
        }
        if let Some(rate) = self.options.rate {
            let due = rate * figures.elapsed.saturating_sub(KEPT_LATE).as_secs_f64();
            let kept = figures.requests_in_time as f64 >= KEPT_MIN * due.floor();
            figures.schedule = Some(Kept { rate, kept, unsent });
        }
        self.phase = Phase::Drain(if stalls { self.now } else { self.now + PATIENCE });
        Ok(())
    }

    /// Who still waits has waited in vain.
    fn give_up(&mut self) {
        for connection in &self.connections {
            let waits_for_end = connection.is_answered() && !connection.batch.is_empty();
            if waits_for_end && self.now > connection.waits_since + END_PATIENCE {
                let example = "the server does not end the connection, as it said it would";
                self.figures.faults.count(Fault::Unanswered, || example.to_owned());
            }
            for request in &connection.batch[connection.answered..] {
                let waited = self.now.saturating_sub(request.due);
                self.figures.faults.count(Fault::Unanswered, || format!("within {:.3} s", waited as f64 / 1e9));
                if self.pace.is_open() && !request.warms {
                    self.figures.latency.saturating_record(waited);
                }
            }
        }
    }

    /// Does for a connection what can be done without waiting.
    fn drive(&mut self, id: usize) {
        let connection = &mut self.connections[id];
        let Some(stream) = &connection.stream else { return };
        if !connection.connected && connection.writable {
            // Else the write tells it.
            if connection.batch.is_empty()
                && let Some(error) = stream.take_error().transpose()
            {
                return self.fail(id, Fault::Connect, &error.unwrap_or_else(|error| error));
            }
        }
        self.send(id);
        self.receive(id);
    }

    /// A rest is over.
    fn wake(&mut self, id: usize) {
        if self.connections[id].batch.is_empty() {
            self.next(id);
        } else {
            self.ask(id);
        }
    }

    /// Takes up the next requests, if any are due.
    fn next(&mut self, id: usize) {
        let connection = &mut self.connections[id];
        connection.batch.clear();
        connection.answered = 0;
        connection.sent = 0;
        connection.length = 0;
        while connection.batch.len() < self.options.pipeline
            && let Some(request) = self.pace.take(self.now)
        {
            connection.length += self.messages.length(request.kind);
            connection.batch.push(request);
        }
        if connection.batch.is_empty() {
            if self.pace.is_open() {
                self.free.push_back(id);
            }
            return;
        }
        self.in_flight += connection.batch.len() as u64;
        self.ask(id);
    }

    /// Sends what is to be sent, by a new connection if there is none.
    fn ask(&mut self, id: usize) {
        if self.connections[id].stream.is_some() || self.connect(id) {
            self.send(id);
        }
    }

    /// Says whether there is something to wait for.
    fn connect(&mut self, id: usize) -> bool {
        // A request that takes more than one segment must not wait for the acknowledgement of the first. A connection for
        // one small request can do without.
        let no_delay = !self.options.close || self.messages.post.len() > 16 << 10;
        let connected = self.connections[id].connect(self.options.address, no_delay, self.poll.registry(), id);
        match connected {
            Ok(()) => true,
            Err(error) => {
                self.fail(id, Fault::Connect, &error);
                false
            }
        }
    }

    fn send(&mut self, id: usize) {
        let connection = &mut self.connections[id];
        let Some(stream) = &mut connection.stream else { return };
        while connection.sent < connection.length && connection.writable {
            match self.messages.send(stream, &connection.batch, connection.sent) {
                Ok((bytes, all)) => {
                    connection.connected = true;
                    connection.sent += bytes;
                    // A short write means that there is no more room for now.
                    connection.writable = all;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => connection.writable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if !connection.connected => return self.fail(id, Fault::Connect, &error),
                // What the server said before it went says more.
                Err(_) => {
                    connection.writable = false;
                    connection.readable = true;
                    connection.read_closed = true;
                    return self.again.push(id);
                }
            }
        }
    }

    fn receive(&mut self, id: usize) {
        loop {
            let connection = &mut self.connections[id];
            let Some(stream) = connection.stream.as_mut().filter(|_| connection.readable) else { return };
            match stream.read(&mut self.buffer) {
                Ok(0) => {
                    self.look();
                    return self.ended(id);
                }
                Ok(count) => {
                    connection.readable = count == self.buffer.len() || connection.read_closed;
                    self.bytes_read += count as u64;
                    self.look();
                    if let Err(malformed) = self.read(id, count) {
                        return self.fail(id, Fault::Malformed, &malformed);
                    }
                    self.go_on(id);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => connection.readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if !connection.connected => return self.fail(id, Fault::Connect, &error),
                // Nobody waits for it any more.
                Err(_) if connection.is_answered() => return self.ended(id),
                Err(error) => return self.fail(id, Fault::Reset, &error),
            }
        }
    }

    /// Takes the responses out of what was received.
    fn read(&mut self, id: usize, count: usize) -> Result<(), String> {
        let mut at = 0;
        while at < count {
            let connection = &mut self.connections[id];
            let Some(request) = connection.batch.get(connection.answered).filter(|_| !connection.closes) else {
                // Behind its last response it may say what it likes.
                return if connection.closes {
                    Ok(())
                } else {
                    Err(format!("{} bytes that nobody asked for", count - at))
                };
            };
            let kind = &mut self.kinds[request.kind as usize];
            let (used, response) = connection.reader.read(&self.buffer[at..count], kind).map_err(|malformed| {
                let text = String::from_utf8_lossy(&self.buffer[at..count.min(at + 80)]).into_owned();
                format!("{malformed}: {text:?}")
            })?;
            at += used;
            if let Some(response) = response {
                self.answered(id, response);
            }
        }
        Ok(())
    }

    /// The next request of the batch has its response.
    fn answered(&mut self, id: usize, response: Response) {
        let connection = &mut self.connections[id];
        let request = connection.batch[connection.answered];
        connection.answered += 1;
        connection.served = true;
        connection.closes |= response.closes;
        self.finish();
        let faults = &mut self.figures.faults;
        if response.status / 100 != 2 {
            return faults.count(Fault::Status, || format!("{} to a {}", response.status, name(request.kind)));
        }
        if response.body != Body::Good {
            return faults.count(Fault::Body, || match response.body {
                Body::Length(length) => format!("{length} bytes"),
                Body::Bytes(at) => format!("differs at byte {at} or behind"),
                Body::Good => String::new(),
            });
        }
        if request.warms || self.finished > self.enough || (self.phase != Phase::Measure && !self.pace.is_open()) {
            return;
        }
        self.figures.requests += 1;
        self.figures.requests_in_time += u64::from(self.phase == Phase::Measure);
        self.figures.latency.saturating_record((self.now - request.due).max(1));
    }

    /// A request is answered or given up.
    fn finish(&mut self) {
        self.in_flight -= 1;
        self.finished += u64::from(self.phase == Phase::Measure);
        self.last_finished = self.now;
    }

    /// After responses: what comes next on this connection.
    fn go_on(&mut self, id: usize) {
        let connection = &mut self.connections[id];
        let answered = connection.is_answered() && !connection.batch.is_empty();
        if !answered && !connection.closes {
            return;
        }
        // The server ends it, and is waited for, so that it is the server who has to remember it for a while: the system
        // here would run out of ports.
        let waits = self.options.close && connection.closes && !connection.read_closed;
        if self.options.close && !waits || connection.closes && !self.options.close {
            connection.disconnect(&self.messages);
        }
        if waits {
            connection.waits_since = self.now;
            return;
        }
        if answered {
            self.next(id);
        } else {
            self.ask(id);
        }
    }

    /// The server has ended the connection.
    fn ended(&mut self, id: usize) {
        let connection = &mut self.connections[id];
        let request = connection.batch.get(connection.answered).copied();
        if let Some(request) = request
            && let Some(response) = connection.reader.end(&self.kinds[request.kind as usize])
        {
            self.answered(id, response);
        }
        let connection = &mut self.connections[id];
        let waits = !connection.batch.is_empty();
        if connection.is_answered() {
            connection.disconnect(&self.messages);
            if waits {
                self.next(id);
            }
        } else if connection.served && connection.reader.is_between() {
            connection.disconnect(&self.messages);
            self.ask(id);
        } else {
            let example = if connection.reader.is_between() { "before a response" } else { "within a response" };
            self.fail(id, Fault::Closed, &example);
        }
    }

    /// Something is wrong with a connection: what it was waiting for first is given up. If that was nothing, it is needed
    /// when the next request is.
    fn fail(&mut self, id: usize, fault: Fault, example: &dyn fmt::Display) {
        self.figures.faults.count(fault, || example.to_string());
        let connection = &mut self.connections[id];
        let idle = connection.batch.is_empty();
        if !connection.is_answered() {
            connection.answered += 1;
            self.finish();
        }
        self.connections[id].disconnect(&self.messages);
        if !idle {
            self.resting.push_back((self.now + REST, id));
        }
    }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Get => "GET",
        Kind::Post => "POST",
    }
}
