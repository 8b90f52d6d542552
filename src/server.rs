//! The sockets: one thread that waits with `mio` and moves bytes between sockets and the core.
//!
//! Every socket is registered once, for both directions, edge-triggered: what it is ready for is remembered here until
//! a call says otherwise. A short read means that there is no more for now, so that a request on a kept connection
//! costs three system calls: wait, receive, send.

use std::fmt;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_linger, set_socket_reuseaddr, set_socket_send_buffer_size, set_tcp_nodelay};
use rustix::net::{
    RecvFlags, SendFlags, Shutdown, SocketAddrAny, SocketFlags, acceptfrom_with, bind, getsockname, recv, shutdown,
};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Resource, getrlimit};

use crate::client::socket_for;
use crate::clock::Clock;
use crate::config::Config;
use crate::connection::{Next, Process, Turn};
use crate::connections::{CONNECTIONS_CAPACITY, Connections, Storage};
use crate::date;
use crate::ground::{Ground, HANG_UP, STOP};
use crate::http::head::HEAD_MAX;
use crate::http::response::RESPONSE_MAX;
use crate::log::{Level, Log};
use crate::store::{Fault, Trouble};
use crate::text::{Address, decimal};
use crate::worker::{Places, Worker, WorkerError};

const LISTENER: Token = Token(CONNECTIONS_CAPACITY);
const WAKE: Token = Token(CONNECTIONS_CAPACITY + 1);

/// How many events one wait can tell: a few KiB of memory. More are told by the next.
const EVENTS_MAX: usize = 256;
/// How many connections may wait to be accepted; the system may have a lower limit (listen(2)).
const BACKLOG: i32 = 1024;
/// How many connections are accepted in one turn: no more than a crowd of which the others hardly notice, at some ten
/// microseconds each.
const ACCEPTS_MAX: usize = 64;
/// How many calls are made for one connection in one turn: enough for a few requests, or for the largest status. The
/// latter takes some milliseconds, with what it takes to judge it.
const STEPS_MAX: usize = 16;
/// What the system is told to hold at most, in bytes, of what a connection is sent and does not take; it holds twice as
/// much (socket(7), SO_SNDBUF). A container's limit on memory counts that (cgroups v2), and who sends above the limit is
/// killed: so some hundred who do not read must not cost megabytes. One call sends up to [`PIECE`] bytes all the same, for
/// the system looks at the limit only before it begins with as many.
const SEND_BUFFER: usize = 8 << 10;
/// The same for the answer to a post that repeats a status of up to [`SEND_AT_ONCE`] bytes: that is the next buffer begun
/// behind one of some 50 KB, which is what a new connection is given at once.
const SEND_BUFFER_POST: usize = 32 << 10;
/// The same where a status may have more than [`SEND_AT_ONCE`] bytes, and several such pieces have to be on their way, or
/// each would wait for the acknowledgement of the one before.
const SEND_BUFFER_LARGE: usize = 128 << 10;
/// Up to how many bytes of a status the smaller one does.
const SEND_AT_ONCE: usize = 64 << 10;
/// How many bytes the system puts together for one sending (GSO), with whatever segments: 64 KiB without the headers, in
/// whole segments.
const PIECE: usize = 64_000;
/// By how much a response may have more than that, for its beginning to be sent first: that is little, so the system
/// takes a whole piece behind it. The other way round, the end would not fit behind the piece, and over the loopback,
/// where that is one segment, wait 40 ms for its acknowledgement.
const PIECE_EXCESS: usize = 4 << 10;
const _: () = assert!(SEND_AT_ONCE + RESPONSE_MAX < PIECE + PIECE_EXCESS && PIECE_EXCESS < SEND_BUFFER);
/// How many bytes of an answer go out at once where the next request is here already. Answers go out together then: as one
/// segment, which over the loopback can have 64 KiB, and there always have to be two of them on their way before
/// [`SEND_BUFFER`] is full. Who receives acknowledges the second at once, but the first alone only after 40 ms.
const PART: usize = 8 << 10;
/// Up to how many bytes are held back for more to come: with those the segment stays below what the buffer takes, and the
/// system's own kilobyte.
const HELD_MAX: usize = 6 << 10;
const _: () = assert!(HELD_MAX + PART + (1 << 10) < 2 * SEND_BUFFER);
/// How many bytes one read takes at most. It has to take all that a connection can have room for, or a short read would
/// not mean that there is no more.
const READ_MAX: usize = 64 << 10;
const _: () = assert!(READ_MAX >= HEAD_MAX);
/// How long, in milliseconds, nothing is accepted after the system had no descriptor or memory for a connection: short
/// for who waits, long for the processor.
const ACCEPT_PAUSE_MS: u64 = 100;
/// How long, in milliseconds, what would be told again and again is told only once.
const TELL_AGAIN_MS: u64 = 60_000;
/// Descriptors for other things than connections: standard input, output and error, the listener, epoll, the pipe that wakes,
/// with an end for the worker and each of three signals, the state directory and a file in it, the one that tells the resident
/// memory, and one to spare.
const DESCRIPTORS_RESERVED: u64 = 14;

/// The memory of a server. It is meant to be a `static`: what is never written is never resident.
pub struct Memory {
    storage: Storage,
    /// What one read takes.
    buffer: [u8; READ_MAX],
}

impl Memory {
    /// Memory that nobody uses yet.
    pub const fn new() -> Self {
        Memory { storage: Storage::new(), buffer: [0; READ_MAX] }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a server does not start or stops.
#[derive(Debug)]
pub enum ServerError {
    /// The address cannot be listened on.
    Listen(SocketAddr, Fault),
    /// The files cannot be used.
    Files(WorkerError),
    /// So many descriptors leave none for connections.
    Descriptors(u64),
    /// The system refuses something that the server cannot do without.
    System(Fault),
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerError::Listen(address, error) => write!(f, "cannot listen on {}: {error}", Address(*address)),
            ServerError::Files(error) => error.fmt(f),
            ServerError::Descriptors(limit) => write!(f, "RLIMIT_NOFILE is {limit}, which leaves none for connections"),
            ServerError::System(error) => error.fmt(f),
        }
    }
}

impl<E: Into<Fault>> From<E> for ServerError {
    fn from(error: E) -> Self {
        ServerError::System(error.into())
    }
}

/// A connection's socket and what it is ready for.
#[derive(Debug, Default)]
struct Socket {
    stream: Option<TcpStream>,
    readable: bool,
    writable: bool,
    /// The peer has ended: only a read that gives nothing says that all was read.
    read_closed: bool,
    /// So many bytes the system holds back, for there was more to come.
    corked: usize,
    queued: bool,
}

/// When something was told last.
#[derive(Debug, Default)]
struct LastTold(Option<u64>);

impl LastTold {
    /// Whether it is time to tell it again.
    fn is_due(&mut self, now: u64) -> bool {
        let due = self.0.is_none_or(|told| now >= told + TELL_AGAIN_MS);
        if due {
            self.0 = Some(now);
        }
        due
    }
}

/// A server that listens.
pub struct Server<'s> {
    poll: Poll,
    events: Events,
    /// Where signals and the worker wake the server.
    woken: OwnedFd,
    listener: Option<TcpListener>,
    /// Whether there may be connections to accept.
    acceptable: bool,
    /// Until when nothing is accepted.
    accept_paused_until: Option<u64>,
    crowd_told: LastTold,
    no_room_told: LastTold,
    slow_told: LastTold,
    sockets: Box<[Socket]>,
    connections: Connections<'s>,
    /// The connections that something can be done for.
    ready: Queue,
    /// Those for which there is much to do: they send a large body, or have had as many calls as there are in one turn.
    /// One of them has its turn when all others had theirs.
    long: Queue,
    /// Who waits for files, where there are any.
    worker: Option<Worker>,
    /// A signal asks for a look at them.
    look_wanted: bool,
    buffer: &'s mut [u8; READ_MAX],
    clock: Clock,
    log: Log,
    /// What the system is told to hold at most of the answer to a post.
    post_buffer: usize,
    /// How many milliseconds requests in flight have at the end.
    grace: u64,
}

impl<'s> Server<'s> {
    /// Takes over the signals SIGTERM, SIGINT and SIGHUP, reads the seed, and listens. All the memory that the server
    /// will use is taken here. The signals are taken, and the thread for files is started, on `ground`.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub fn start(config: &Config, memory: &'s mut Memory, ground: &dyn Ground) -> Result<Self, ServerError> {
        // First of all: to PID 1 a signal that it does not handle yet is lost.
        let (woken, wake) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Signals come as long as the process runs.
        let wake = &*Box::leak(Box::new(wake));
        ground.take_signals(wake)?;
        let clock = Clock::new();
        let log = Log::new(config.log_level, config.log_format, *clock.date());
        let max_bytes = config.limits.max_bytes;
        let count = connections_within_limit(config.max_connections, &log)?;
        log.info(format_args!(
            "gitops-status-server {}: statuses of at most {max_bytes} bytes, at most {count} connections",
            env!("CARGO_PKG_VERSION")
        ));
        let Memory { storage, buffer } = memory;
        let mut connections = Connections::new(storage, count, config.limits);
        connections.is_part_of(Process { started: date::seconds(clock.date()), resident: resident_memory });
        connections.tell_requests(config.log_level == Level::Access);
        let poll = Poll::new()?;
        let worker = match Places::of(config) {
            Some(places) => {
                let worker = Worker::start(places, max_bytes, wake, &log, ground, |status, history, trouble| {
                    if !status.is_empty() {
                        connections.load(status);
                    }
                    if let Some(history) = history {
                        connections.remember(history);
                    }
                    connections.have_files(config.refresh_ms, trouble, clock.now());
                });
                Some(worker.map_err(ServerError::Files)?)
            }
            None => None,
        };
        connections.stale_after(config.stale_after * 1000, config.stale_unready, clock.now(), clock.date());

        let send_buffer = if max_bytes > SEND_AT_ONCE { SEND_BUFFER_LARGE } else { SEND_BUFFER };
        let mut listener =
            listen(config.listen, send_buffer).map_err(|errno| ServerError::Listen(config.listen, errno.into()))?;
        let address = address_of(Some(getsockname(&listener)?))?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        poll.registry().register(&mut SourceFd(&woken.as_raw_fd()), WAKE, Interest::READABLE)?;
        let server = Server {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            woken,
            listener: Some(listener),
            acceptable: false,
            accept_paused_until: None,
            crowd_told: LastTold::default(),
            no_room_told: LastTold::default(),
            slow_told: LastTold::default(),
            sockets: (0..count).map(|_| Socket::default()).collect(),
            connections,
            ready: heapless::Deque::new(),
            long: heapless::Deque::new(),
            worker,
            look_wanted: false,
            buffer,
            clock,
            log,
            post_buffer: send_buffer.max(SEND_BUFFER_POST),
            grace: config.shutdown_grace * 1000,
        };
        server.log.info(format_args!("listening on {}", Address(address)));
        Ok(server)
    }

    /// Serves until a signal ends it.
    ///
    /// # Errors
    /// The system refuses to wait for events.
    pub fn run(&mut self) -> Result<(), ServerError> {
        loop {
            let timeout = self.timeout();
            match self.poll.poll(&mut self.events, timeout) {
                Err(error) if Errno::from_io_error(&error) != Some(Errno::INTR) => return Err(error.into()),
                _ => {}
            }
            self.clock.look();
            self.log.set_date(self.clock.date());
            if self.note_events() {
                // As many bytes as reasons: once there are none, the next one is an event again.
                while rustix::io::read(&self.woken, &mut [0; 64]).is_ok_and(|bytes| bytes > 0) {}
                self.take_signals();
                self.finish_work();
            }
            for _ in 0..self.ready.len() {
                if let Some(id) = next(&mut self.ready, &mut self.sockets) {
                    self.drive(id, Share::Small);
                }
            }
            // Behind those that are here already: some of them would be closed for new ones with their requests unread.
            self.accept();
            if let Some(id) = next(&mut self.long, &mut self.sockets) {
                self.drive(id, Share::Large);
            }
            // Before anybody is told that it takes too long.
            self.release();
            while let Some(id) = self.expired() {
                self.drive(id, Share::Small);
            }
            self.begin_work();
            if self.connections.is_over(self.clock.now()) {
                match self.connections.open() {
                    0 => self.log.info(format_args!("stopped")),
                    open => self
                        .log
                        .info(format_args!("stopped; the grace time is over and {open} connections are cut off")),
                }
                return Ok(());
            }
        }
    }

    /// How long there is nothing to do unless something happens; `None` for ever.
    fn timeout(&self) -> Option<Duration> {
        if !self.ready.is_empty() || !self.long.is_empty() || (self.acceptable && self.accept_paused_until.is_none()) {
            return Some(Duration::ZERO);
        }
        let nearest = match (self.connections.deadline(), self.accept_paused_until) {
            (Some(deadline), Some(until)) => deadline.min(until),
            (deadline, until) => deadline.or(until)?,
        };
        // The clock was looked at before the work of this turn; what that took makes the wait a little too long.
        Some(Duration::from_millis(nearest.saturating_sub(self.clock.now())))
    }

    /// Remembers what the events tell of connections; says whether a signal or the worker woke the server.
    fn note_events(&mut self) -> bool {
        let mut woken = false;
        for event in &self.events {
            match event.token() {
                LISTENER => self.acceptable = true,
                WAKE => woken = true,
                Token(id) => {
                    let socket = &mut self.sockets[id];
                    socket.readable |= event.is_readable() || event.is_error();
                    socket.writable |= event.is_writable() || event.is_error();
                    socket.read_closed |= event.is_read_closed() || event.is_error();
                    queue(&mut self.ready, socket, id);
                }
            }
        }
        woken
    }

    /// What the worker did is told to those who waited for it.
    fn finish_work(&mut self) {
        let Some(worker) = &self.worker else { return };
        let (connections, date) = (&mut self.connections, self.clock.date());
        let mut turn = Turn { now: self.clock.now(), date, journal: &mut self.log };
        let finished = worker.take_finished(|finished| connections.finish(finished, &mut turn));
        let Some((id, notes)) = finished else { return };
        worker.tell(&notes, &self.log);
        self.close_overdue_readers();
        if let Some(id) = id {
            self.drive(id, Share::Small);
        }
    }

    /// Lets those go on that need not wait for the files any more.
    fn release(&mut self) {
        if self.worker.is_none() {
            return;
        }
        // Each is sent its answer before the next one has its own, for there are few sheets for views.
        while let Some(id) = self.released() {
            self.drive(id, Share::Small);
        }
    }

    fn released(&mut self) -> Option<usize> {
        let mut turn = Turn { now: self.clock.now(), date: self.clock.date(), journal: &mut self.log };
        self.connections.release(&mut turn)
    }

    /// Gives the worker something to do, if it has nothing to do and there is something.
    fn begin_work(&mut self) {
        self.release();
        let Some(worker) = &self.worker else { return };
        if self.connections.has_slow_files() && self.slow_told.is_due(self.clock.now()) {
            self.log.error(format_args!("{}: until it does, requests are answered by what is known", Trouble::Slow));
        }
        if let Some(work) = self.connections.begin_work(self.look_wanted, self.clock.now()) {
            self.look_wanted = false;
            worker.begin(work);
        }
    }

    fn take_signals(&mut self) {
        if HANG_UP.swap(false, Ordering::Relaxed) {
            self.look_wanted = self.worker.is_some();
            self.log.info(match self.look_wanted {
                true => format_args!("SIGHUP: looking at the files"),
                false => format_args!("SIGHUP: nothing to do, there is no seed file and no state directory"),
            });
        }
        if STOP.load(Ordering::Relaxed) && !self.connections.is_shutting_down() {
            self.shut_down();
        }
    }

    /// Takes no more connections, closes the idle ones, and lets the others finish.
    fn shut_down(&mut self) {
        self.connections.shut_down(self.clock.now(), self.grace);
        // Who is connected already may have sent a request.
        self.acceptable = true;
        self.accept_paused_until = None;
        for _ in 0..=self.sockets.len() / ACCEPTS_MAX {
            self.accept();
        }
        self.listener = None;
        for id in 0..self.sockets.len() {
            if self.sockets[id].stream.is_some() && self.connections.is_idle(id) {
                self.sockets[id].readable = true;
                self.drive(id, Share::Small);
                if self.sockets[id].stream.is_some() && self.connections.is_idle(id) {
                    self.close(id);
                }
            }
        }
        let open = self.connections.open();
        let seconds = self.grace / 1000;
        self.log.info(format_args!("stopping: {open} requests in flight have {seconds} s; another signal ends it now"));
    }

    /// Accepts a bounded number of connections. Where the system has no descriptor or memory for one, the connection
    /// that can best be spared makes room, and if that does not help nothing is accepted for a while.
    fn accept(&mut self) {
        let now = self.clock.now();
        if self.accept_paused_until.is_some_and(|until| until > now) {
            return;
        }
        self.accept_paused_until = None;
        let mut made_room = false;
        for _ in 0..ACCEPTS_MAX {
            let Some(listener) = self.listener.as_ref().filter(|_| self.acceptable) else { return };
            match accept(listener) {
                Ok((stream, peer)) => {
                    self.admit(stream, peer);
                    made_room = false;
                }
                Err(Errno::AGAIN) => self.acceptable = false,
                Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                    if self.no_room_told.is_due(now) {
                        self.log.error(format_args!("cannot accept connections: {}", Fault::from(error)));
                    }
                    match self.connections.victim() {
                        Some(victim) if !made_room => {
                            self.evict(victim);
                            made_room = true;
                        }
                        _ => {
                            self.accept_paused_until = Some(now + ACCEPT_PAUSE_MS);
                            return;
                        }
                    }
                }
                // The connection was gone before it was taken (accept(2): treat like "again").
                Err(_) => {}
            }
        }
    }

    /// Takes a connection. Its request is looked for at once: it may be there already, and in a crowd the connection may
    /// be gone by the next turn.
    #[inline(never)]
    fn admit(&mut self, stream: TcpStream, peer: SocketAddr) {
        let now = self.clock.now();
        let capacity = self.connections.capacity();
        if self.connections.open() == capacity {
            if self.crowd_told.is_due(now) {
                self.log.info(format_args!(
                    "{capacity} connections are open: new ones take the place of those that can best be spared"
                ));
            }
            if let Some(victim) = self.connections.victim() {
                self.evict(victim);
            }
        }
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let Some(id) = self.connections.accept(peer, now) else { return };
        let queued = self.sockets[id].queued;
        self.sockets[id] = Socket { stream: Some(stream), readable: true, writable: true, queued, ..Socket::default() };
        self.drive(id, Share::Small);
        // Who has its answer already and is gone need not be waited for. What happened to a socket before it is
        // registered is told behind that.
        let Some(stream) = &mut self.sockets[id].stream else { return };
        if let Err(error) = self.poll.registry().register(stream, Token(id), Interest::READABLE | Interest::WRITABLE) {
            self.log.error(format_args!("cannot wait for a connection: {}", Fault::from(error)));
            self.close(id);
        }
    }

    fn expired(&mut self) -> Option<usize> {
        let mut turn = Turn { now: self.clock.now(), date: self.clock.date(), journal: &mut self.log };
        self.connections.expire(&mut turn)
    }

    /// Does for one connection what can be done without waiting, as much as its share allows. Then there may be too many
    /// bodies on their way in, and who sends slowest has to go.
    fn drive(&mut self, id: usize, share: Share) {
        if !self.serve(id, share) {
            queue(&mut self.long, &mut self.sockets[id], id);
        }
        let mut turn = Turn { now: self.clock.now(), date: self.clock.date(), journal: &mut self.log };
        while let Some(id) = self.connections.crowd_out(&mut turn) {
            queue(&mut self.ready, &mut self.sockets[id], id);
        }
    }

    /// Says whether all was done that could be.
    fn serve(&mut self, id: usize, share: Share) -> bool {
        let done = self.take_steps(id, share);
        let Socket { stream, corked, .. } = &mut self.sockets[id];
        if let Some(stream) = stream.as_ref().filter(|_| *corked > 0) {
            // What was to come did not. This sends what was held back, though it is set already (tcp(7)).
            let _ = set_tcp_nodelay(stream, true);
            *corked = 0;
        }
        done
    }

    /// The same, but for what the system was told to hold back.
    fn take_steps(&mut self, id: usize, share: Share) -> bool {
        for _ in 0..STEPS_MAX {
            let Socket { stream: Some(stream), readable, writable, read_closed, corked, .. } = &mut self.sockets[id]
            else {
                return true;
            };
            let mut turn = Turn { now: self.clock.now(), date: self.clock.date(), journal: &mut self.log };
            match self.connections.next(id) {
                Next::Read(at_most) => {
                    if !*readable {
                        return true;
                    }
                    if share == Share::Small && self.connections.has_large_body(id) {
                        return false;
                    }
                    let wanted = at_most.min(READ_MAX);
                    match recv(&*stream, &mut self.buffer[..wanted], RecvFlags::empty()) {
                        Ok((0, _)) => {
                            *readable = false;
                            self.connections.end_of_input(id, &mut turn);
                        }
                        Ok((bytes, _)) => {
                            *readable = bytes == wanted || *read_closed;
                            self.connections.receive(id, &self.buffer[..bytes], &mut turn);
                            self.close_overdue_readers();
                        }
                        Err(error) if goes_on(error, readable) => {}
                        Err(_) => {
                            self.close(id);
                            return true;
                        }
                    }
                }
                Next::Write => {
                    if !*writable {
                        return true;
                    }
                    let output = self.connections.output(id);
                    let has_next = output[1].is_empty() && self.connections.has_next(id);
                    let parts = first_piece(output, has_next);
                    let more = has_next && *corked + parts[0].len() < HELD_MAX;
                    match send(stream, parts, more, self.post_buffer) {
                        Ok(bytes) => {
                            *corked = if more { *corked + bytes } else { 0 };
                            self.connections.sent(id, bytes, *readable, &mut turn);
                            self.close_overdue_readers();
                        }
                        Err(error) if goes_on(error, writable) => {}
                        Err(_) => {
                            self.close(id);
                            return true;
                        }
                    }
                }
                Next::Wait => return true,
                Next::ShutWrite => {
                    // If that fails the connection is gone, which the next read tells.
                    let _ = shutdown(&*stream, Shutdown::Write);
                    *readable = true;
                    self.connections.write_side_shut(id, turn.now);
                }
                Next::Close => {
                    self.close(id);
                    return true;
                }
            }
        }
        false
    }

    /// The slots for past statuses are few: who still reads the oldest has to go when there are too many.
    #[inline(always)]
    fn close_overdue_readers(&mut self) {
        while let Some(id) = self.connections.overdue_reader() {
            self.evict(id);
        }
    }

    /// Closes a connection to make room for others.
    fn evict(&mut self, id: usize) {
        self.connections.evict();
        self.close(id);
    }

    fn close(&mut self, id: usize) {
        // To close the descriptor takes it out of epoll too.
        if let Some(stream) = self.sockets[id].stream.take() {
            // Who does not take what it is owed is reset: with an orderly end, the system would keep for minutes what it
            // holds for it.
            if self.connections.owes(id) {
                let _ = set_socket_linger(&stream, Some(Duration::ZERO));
            }
        }
        self.connections.close(id);
    }
}

/// How much of a turn a connection has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Share {
    /// All but the reading of a large body.
    Small,
    /// That too.
    Large,
}

type Queue = heapless::Deque<u16, CONNECTIONS_CAPACITY>;

/// Each connection stands in one queue at most.
fn queue(queue: &mut Queue, socket: &mut Socket, id: usize) {
    if !socket.queued {
        socket.queued = true;
        queue.push_back(id as u16).expect("each connection is queued once");
    }
}

fn next(queue: &mut Queue, sockets: &mut [Socket]) -> Option<usize> {
    let id = usize::from(queue.pop_front()?);
    sockets[id].queued = false;
    Some(id)
}

/// Whether a socket is still of use after this error; `ready` says then whether it is ready for the same call.
fn goes_on(error: Errno, ready: &mut bool) -> bool {
    match error {
        Errno::AGAIN => *ready = false,
        Errno::INTR => {}
        _ => return false,
    }
    true
}

/// Sends as much as the socket takes, in one call. With `more` another response follows at once, which the system may wait
/// for; that goes for one part alone. The last part is there in the answer to a post, which may fill `post_buffer`.
fn send(stream: &TcpStream, parts: [&[u8]; 3], more: bool, post_buffer: usize) -> Result<usize, Errno> {
    match parts {
        [only, [], []] => {
            let flags = if more { SendFlags::NOSIGNAL | SendFlags::MORE } else { SendFlags::NOSIGNAL };
            rustix::net::send(stream, only, flags)
        }
        parts => {
            if !parts[2].is_empty() {
                // The answer to a post goes out whole: else many who post at once would keep more past statuses than
                // there are slots for, and be closed before they hear that all is well.
                let _ = set_socket_send_buffer_size(stream, post_buffer);
            }
            rustix::io::writev(stream, &parts.map(IoSlice::new))
        }
    }
}

/// What of these bytes is sent first: all, unless they are a little more than one piece, or more than [`PART`] and others
/// follow.
fn first_piece(mut parts: [&[u8]; 3], has_next: bool) -> [&[u8]; 3] {
    let bytes: usize = parts.iter().map(|part| part.len()).sum();
    let mut first = match bytes.checked_sub(PIECE) {
        Some(excess @ 1..=PIECE_EXCESS) => excess,
        _ if has_next && bytes > PART => PART,
        _ => return parts,
    };
    for part in &mut parts {
        *part = &part[..part.len().min(first)];
        first -= part.len();
    }
    parts
}

/// Takes one connection, which never waits, and gives who is at the other end.
#[inline(never)]
fn accept(listener: &TcpListener) -> Result<(TcpStream, SocketAddr), Errno> {
    let (socket, peer) = acceptfrom_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    Ok((TcpStream::from_std(socket.into()), address_of(peer)?))
}

#[inline(never)]
fn address_of(end: Option<SocketAddrAny>) -> Result<SocketAddr, Errno> {
    end.and_then(|end| end.try_into().ok()).ok_or(Errno::CONNABORTED)
}

/// Listens, as `mio` does it but for the backlog: it asks for 128, which a burst fills while the loop is at something else,
/// and who is turned away then comes again a whole second later. Every connection inherits how much may be sent to it, and
/// that a second piece does not wait for the acknowledgement of the first.
#[inline(never)]
fn listen(address: SocketAddr, send_buffer: usize) -> Result<TcpListener, Errno> {
    let socket = socket_for(address)?;
    // A server that starts again need not wait until the connections of the one before are forgotten.
    set_socket_reuseaddr(&socket, true)?;
    set_socket_send_buffer_size(&socket, send_buffer)?;
    set_tcp_nodelay(&socket, true)?;
    bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// The bytes of the process that are resident, as proc(5) says; nothing where there is no such file system.
fn resident_memory() -> Option<u64> {
    let file = open(c"/proc/self/status", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut text = [0; 2048];
    let bytes = rustix::io::read(file, &mut text).ok()?;
    let line = text[..bytes].split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"VmRSS:"))?;
    let kib = decimal(line.strip_suffix(b" kB")?.trim_ascii_start())?;
    Some(kib * 1024)
}

/// How many connections the limit on open descriptors leaves.
fn connections_within_limit(wanted: usize, log: &Log) -> Result<usize, ServerError> {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return Ok(wanted) };
    let left = usize::try_from(limit.saturating_sub(DESCRIPTORS_RESERVED)).unwrap_or(wanted);
    if left == 0 {
        return Err(ServerError::Descriptors(limit));
    }
    if left < wanted {
        log.error(format_args!("RLIMIT_NOFILE is {limit}: at most {left} connections instead of {wanted}"));
    }
    Ok(wanted.min(left))
}
