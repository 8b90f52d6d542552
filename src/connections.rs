//! All connections: which of them are open, when the nearest deadline is, and which one goes when there are too many.

use core::net::SocketAddr;

use crate::connection::{Connection, Inbox, Limits, Next, Phase, Process, Shared, Staleness, Turn, Watch};
use crate::counters::{Counters, Population};
use crate::event::Event;
use crate::history::{History, SECOND};
use crate::render::prepare;
use crate::sheets::{SheetId, Sheets};
use crate::snapshot::{SlotId, Snapshots};
use crate::status;
use crate::store::Trouble;
use crate::summary::Summary;
use crate::{date, http::response::Date};

/// The most connections that can be configured: some hundred times what a dashboard and a pipeline need, and so few that
/// all of them can be looked through for the nearest deadline.
pub const CONNECTIONS_CAPACITY: usize = 1024;
/// Numbers of connections, and counts of readers of one status, are `u16`.
const _: () = assert!(CONNECTIONS_CAPACITY <= u16::MAX as usize);

/// The part of all connections, one in so many, that those which have not asked anything yet may always have. With it a
/// new connection has time for its request even where all others are stuck in the middle of something.
const NEWCOMERS_SHARE: usize = 4;

/// A deadline that has passed: no clock starts at 0.
const OVERDUE: u64 = 1;

/// All the memory that the server ever uses for its work. It is meant to be a `static`: it begins as zeros, and what
/// is never written is never resident.
#[derive(Debug)]
pub struct Storage {
    connections: [Connection; CONNECTIONS_CAPACITY],
    inboxes: [Inbox; CONNECTIONS_CAPACITY],
    /// The deadline of each connection, 0 for none: side by side, for the search for the nearest.
    deadlines: [u64; CONNECTIONS_CAPACITY],
    free: heapless::Vec<u16, CONNECTIONS_CAPACITY>,
    /// One more than the highest number that a connection ever had: nothing behind it was ever touched.
    used: usize,
    summary: Summary,
    counters: Counters,
    history: History,
    sheets: Sheets,
    snapshots: Snapshots,
}

impl Storage {
    /// Storage that nobody uses yet.
    pub const fn new() -> Self {
        Storage {
            connections: [const { Connection::CLOSED }; CONNECTIONS_CAPACITY],
            inboxes: [const { Inbox::new() }; CONNECTIONS_CAPACITY],
            deadlines: [0; CONNECTIONS_CAPACITY],
            free: heapless::Vec::new(),
            used: 0,
            summary: Summary::NONE,
            counters: Counters::ZERO,
            history: History::new(),
            sheets: Sheets::new(),
            snapshots: Snapshots::new(),
        }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self::new()
    }
}

/// What the files have to be asked. One thing at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work<'w> {
    /// Whether somebody else has changed one.
    Look,
    /// To store this status, and to look before.
    Store(&'w [u8]),
}

/// What came of some [`Work`].
#[derive(Debug, Clone, Copy)]
pub struct Finished<'w> {
    /// Whether the status was stored, if there was one to store.
    pub stored: Option<Result<(), Trouble>>,
    /// The status that somebody else has put into a file, if it is the newest.
    pub changed: Option<&'w [u8]>,
    /// What was reported so far, if that has changed.
    pub history: Option<&'w History>,
    /// Whether there is a directory in which statuses are stored.
    pub keeps: bool,
    /// Why statuses cannot be stored, if they cannot.
    pub trouble: Option<Trouble>,
}

/// The status that is being stored.
#[derive(Debug, Clone, Copy)]
struct Storing {
    slot: SlotId,
    peer: SocketAddr,
}

/// The connections of a server, and the statuses that they post and get.
///
/// A connection is named by a number below the configured count, which is used again when it is closed.
#[derive(Debug)]
pub struct Connections<'s> {
    connections: &'s mut [Connection],
    inboxes: &'s mut [Inbox],
    deadlines: &'s mut [u64],
    free: &'s mut heapless::Vec<u16, CONNECTIONS_CAPACITY>,
    used: &'s mut usize,
    /// When the requests in flight have to be done, once the server is about to exit.
    ends: Option<u64>,
    /// How many connections wait for the files.
    waiting: usize,
    storing: Option<Storing>,
    /// Whether the last work was a look alone.
    looked_last: bool,
    shared: Shared<'s>,
}

impl<'s> Connections<'s> {
    /// A server without connections whose status is [`status::UNKNOWN`]; whatever an earlier one left in `storage` is
    /// gone. It holds at most `count` connections, 1 to
    /// [`CONNECTIONS_CAPACITY`].
    pub fn new(storage: &'s mut Storage, count: usize, limits: Limits) -> Self {
        let Storage { connections, inboxes, deadlines, free, used, summary, counters, history, sheets, snapshots } =
            storage;
        let count = count.clamp(1, CONNECTIONS_CAPACITY);
        let mut shared = Shared {
            snapshots,
            summary,
            history,
            sheets,
            counters,
            population: Population { open: 0, most: count, accepted: 0 },
            staleness: Staleness::default(),
            process: Process { started: 0, resident: || None },
            tells_requests: true,
            watch: None,
            queue: 0,
            limits,
            shutting_down: false,
        };
        for id in 0..*used {
            connections[id].close(&mut inboxes[id], &mut shared);
            deadlines[id] = 0;
        }
        *used = 0;
        shared.snapshots.start(status::UNKNOWN, prepare);
        shared.sheets.start();
        *shared.counters = Counters::ZERO;
        shared.history.clear();
        *shared.summary = summary_of(status::UNKNOWN);
        // The last one in is the first one out, so the low numbers are used before memory is touched for the high ones.
        *free = (0..count as u16).rev().collect();
        Connections {
            connections: &mut connections[..count],
            inboxes: &mut inboxes[..count],
            deadlines: &mut deadlines[..count],
            free,
            used,
            ends: None,
            waiting: 0,
            storing: None,
            looked_last: false,
            shared,
        }
    }

    /// From now on there are files behind the status, which have just been looked at. What was seen counts for `refresh`
    /// milliseconds; `trouble` is why statuses cannot be stored there, if they cannot.
    pub fn have_files(&mut self, refresh: u64, trouble: Option<Trouble>, now: u64) {
        self.shared.watch = Some(Watch { refresh, looked: now, working_since: None, slow: false, trouble });
    }

    /// Makes `status`, which was found to be one and has at most [`status::STATUS_CAPACITY`] bytes, the current one.
    pub fn load(&mut self, status: &[u8]) {
        *self.shared.summary = summary_of(status);
        self.shared.snapshots.load(status, prepare);
    }

    /// What was reported so far is this.
    pub fn remember(&mut self, history: &History) {
        self.shared.history.copy_from(history);
    }

    /// Where no status comes for so many milliseconds, what is known is stale from then on, and with `unready` the server is
    /// not ready. The last one came when the history says, or now.
    pub fn stale_after(&mut self, after: u64, unready: bool, now: u64, date: &Date) {
        self.shared.staleness = Staleness { after, unready, at: 0 };
        self.reported(now, date);
    }

    /// The newest status came when the history says.
    fn reported(&mut self, now: u64, date: &Date) {
        let came = self.shared.history.newest().map(|newest| newest.last_received_at / SECOND);
        let age = came.map_or(0, |came| date::seconds(date).saturating_sub(came));
        self.shared.staleness.reported(age.saturating_mul(1000), now);
    }

    /// The metrics tell of this process.
    pub fn is_part_of(&mut self, process: Process) {
        self.shared.process = process;
    }

    /// Whether the journal wants to know of each request, as it does unless it says otherwise.
    pub fn tell_requests(&mut self, tell: bool) {
        self.shared.tells_requests = tell;
    }

    /// A connection has to make room for another.
    pub fn evict(&mut self) {
        self.shared.counters.evicted += 1;
    }

    /// Whether somebody has waited in vain for what the files are asked.
    pub fn has_slow_files(&self) -> bool {
        self.shared.watch.is_some_and(|watch| watch.slow)
    }

    /// What the files have to be asked next, if they are not busy: it is under way then, until
    /// [`finish`](Self::finish). With `look` a look is wanted though nobody waits for it.
    pub fn begin_work(&mut self, look: bool, now: u64) -> Option<Work<'_>> {
        if self.waiting == 0 && !look {
            return None;
        }
        let watch = self.shared.watch.as_mut().filter(|watch| watch.working_since.is_none())?;
        let open = &mut self.connections[..*self.used];
        let look = look || open.iter().any(Connection::wants_look);
        let oldest = first(open.iter(), &|connection| connection.to_store().map(|_| (0, connection.since())));
        let oldest = oldest.map(|id| &open[id]);
        // To store may take long, so looks come first; but they must not keep it waiting for ever.
        self.storing = match oldest {
            Some(connection) if !look || self.looked_last => {
                connection.to_store().map(|slot| Storing { slot, peer: connection.peer() })
            }
            _ if look => None,
            _ => return None,
        };
        self.looked_last = self.storing.is_none();
        watch.working_since = Some(now);
        open.iter_mut().for_each(Connection::look_begins);
        Some(match self.storing {
            Some(Storing { slot, .. }) => {
                self.shared.snapshots.lend(slot);
                Work::Store(self.shared.snapshots.slot(slot).bytes())
            }
            None => Work::Look,
        })
    }

    /// The work that was begun is done. Gives the connection whose status was stored, or was not, if it still waits;
    /// [`release`](Self::release) gives others that waited.
    pub fn finish(&mut self, finished: &Finished<'_>, turn: &mut Turn<'_>) -> Option<usize> {
        if let Some(watch) = &mut self.shared.watch {
            watch.looked = watch.working_since.take().unwrap_or(turn.now);
            watch.slow = false;
            watch.trouble = finished.trouble;
        }
        if let Some(status) = finished.changed {
            self.load(status);
        }
        if let Some(history) = finished.history {
            self.remember(history);
            self.reported(turn.now, turn.date);
        }
        let Storing { slot, peer } = self.storing.take()?;
        self.shared.snapshots.take_back(slot);
        let waiting = self.connections[..*self.used].iter().position(|connection| connection.to_store() == Some(slot));
        match finished.stored.unwrap_or(Ok(())) {
            Ok(()) => {
                let status = self.shared.snapshots.slot(slot).bytes();
                let view = status::read(status).unwrap_or_default();
                turn.journal.record(Event::Accepted { peer, bytes: status.len(), sync_status: view.sync_status });
                *self.shared.summary = Summary::of(&view);
                self.shared.counters.posts_accepted += 1;
                self.shared.counters.state_writes += u64::from(finished.keeps);
                self.publish(slot);
                if let Some(id) = waiting {
                    self.connections[id].accepted(&mut self.shared, turn);
                }
            }
            Err(trouble) => {
                self.shared.counters.state_write_failures += u64::from(finished.keeps);
                match waiting {
                    Some(id) => self.connections[id].unstored(trouble, &mut self.shared, turn),
                    None => self.shared.snapshots.abandon(slot),
                }
            }
        }
        let id = waiting?;
        self.settle(id);
        Some(id)
    }

    /// A connection that need not wait for the files any more, after it has been told: of those that wait for room the
    /// one that waits longest.
    pub fn release(&mut self, turn: &mut Turn<'_>) -> Option<usize> {
        let watch = self.shared.watch.filter(|_| self.waiting > 0)?;
        let crowded = self.shared.snapshots.is_crowded();
        let longest = |connection: &Connection| {
            connection.can_go_on(&watch, crowded, turn.now).then_some((0, connection.since()))
        };
        let id = first(self.connections[..*self.used].iter(), &longest)?;
        self.connections[id].go_on(&mut self.inboxes[id], &mut self.shared, turn);
        self.settle(id);
        Some(id)
    }

    /// The statuses.
    pub fn snapshots(&mut self) -> &mut Snapshots {
        self.shared.snapshots
    }

    /// Makes what was put into `slot` the current status; it was found to be one.
    pub fn publish(&mut self, slot: SlotId) {
        self.shared.snapshots.publish(slot, prepare);
    }

    /// How many connections can be open at once.
    pub fn capacity(&self) -> usize {
        self.connections.len()
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.shared.population.open
    }

    /// Takes a new connection from `peer` and gives its number. `None` where there is no room: then the
    /// [`victim`](Self::victim) has to be closed first.
    pub fn accept(&mut self, peer: SocketAddr, now: u64) -> Option<usize> {
        let id = usize::from(self.free.pop()?);
        *self.used = (*self.used).max(id + 1);
        let number = self.shared.population.accepted;
        self.connections[id].open(peer, number, &self.shared, now);
        self.shared.population.accepted += 1;
        self.shared.population.open += 1;
        self.settle(id);
        Some(id)
    }

    /// The connection that can best be spared: one that has its last answer; then the kept one that is idle longest; then
    /// the one that owes its head longest, if more than a quarter of all do; then the one that has not read anything of
    /// its response for longest. Who has just come therefore stays, among many who say nothing and among many who are
    /// stuck. Those that send bodies are few, and [`crowd_out`](Self::crowd_out) sees to them; who waits for the files does
    /// not wait long, and whose status is being stored is the last to go.
    pub fn victim(&self) -> Option<usize> {
        let asking = |connection: &&Connection| match connection.phase() {
            Phase::Idle => !connection.is_kept(),
            phase => phase == Phase::Head,
        };
        let open = self.connections[..*self.used].iter();
        let many_ask = open.clone().filter(asking).count() > self.capacity() / NEWCOMERS_SHARE;
        let rank = |connection: &Connection| match connection.phase() {
            Phase::Closed => None,
            Phase::Shut | Phase::Linger => Some(0),
            Phase::Idle if connection.is_kept() => Some(1),
            Phase::Idle | Phase::Head if many_ask => Some(2),
            Phase::Send => Some(3),
            Phase::Body | Phase::Look | Phase::Room => Some(4),
            Phase::Idle | Phase::Head => Some(5),
            Phase::Store => Some(6),
        };
        first(open, &|connection| Some((rank(connection)?, connection.since())))
    }

    /// What connection `id` waits for.
    pub fn next(&self, id: usize) -> Next {
        self.connections[id].next(&self.inboxes[id])
    }

    /// Whether connection `id` sends a body that is so large that others should have their turn first.
    pub fn has_large_body(&self, id: usize) -> bool {
        self.connections[id].has_large_body()
    }

    /// Whether connection `id` is open and has no request under way.
    pub fn is_idle(&self, id: usize) -> bool {
        self.connections[id].phase() == Phase::Idle
    }

    /// See [`Connection::receive`].
    pub fn receive(&mut self, id: usize, input: &[u8], turn: &mut Turn<'_>) {
        self.shared.counters.received += input.len() as u64;
        self.connections[id].receive(&mut self.inboxes[id], input, &mut self.shared, turn);
        if self.shared.shutting_down {
            self.connections[id].hasten(turn.now);
        }
        self.settle(id);
    }

    /// See [`Connection::end_of_input`].
    pub fn end_of_input(&mut self, id: usize, turn: &mut Turn<'_>) {
        self.connections[id].end_of_input(&mut self.shared, turn);
        self.settle(id);
    }

    /// See [`Connection::output`].
    pub fn output(&self, id: usize) -> [&[u8]; 3] {
        self.connections[id].output(&self.shared)
    }

    /// See [`Connection::owes`].
    pub fn owes(&self, id: usize) -> bool {
        self.connections[id].owes()
    }

    /// Whether bytes from behind the request that is answered are here too: as a rule another response follows at once.
    pub fn has_next(&self, id: usize) -> bool {
        !self.inboxes[id].is_empty()
    }

    /// See [`Connection::sent`].
    pub fn sent(&mut self, id: usize, bytes: usize, unread: bool, turn: &mut Turn<'_>) {
        self.shared.counters.sent += bytes as u64;
        self.connections[id].sent(&mut self.inboxes[id], bytes, unread, &mut self.shared, turn);
        self.settle(id);
    }

    /// See [`Connection::write_side_shut`].
    pub fn write_side_shut(&mut self, id: usize, now: u64) {
        self.connections[id].write_side_shut(now);
        if self.shared.shutting_down {
            self.connections[id].hasten(now);
        }
        self.settle(id);
    }

    /// The socket of connection `id` is closed; its number is free.
    pub fn close(&mut self, id: usize) {
        self.connections[id].close(&mut self.inboxes[id], &mut self.shared);
        self.shared.population.open -= 1;
        self.settle(id);
        self.free.push(id as u16).expect("a connection is closed once");
    }

    /// The nearest deadline of all connections, which is never later than the end of the server.
    pub fn deadline(&self) -> Option<u64> {
        let nearest = self.deadlines[..*self.used].iter().copied().filter(|&deadline| deadline != 0).min()?;
        Some(self.ends.map_or(nearest, |ends| ends.min(nearest)))
    }

    /// A connection whose deadline has passed, after it has been told.
    pub fn expire(&mut self, turn: &mut Turn<'_>) -> Option<usize> {
        let due = |&deadline: &u64| deadline != 0 && deadline <= turn.now;
        let id = self.deadlines[..*self.used].iter().position(due)?;
        // Who waits for files is not to blame.
        let blamed = !self.connections[id].waits() && self.connections[id].phase() != Phase::Closed;
        self.shared.counters.timed_out += u64::from(blamed);
        self.connections[id].expire(&mut self.inboxes[id], &mut self.shared, turn);
        self.settle(id);
        Some(id)
    }

    /// A connection that has to be closed so that the statuses which nobody reads any more have their slots back.
    #[inline(always)]
    pub fn overdue_reader(&self) -> Option<usize> {
        let slot = self.shared.snapshots.overdue()?;
        self.connections[..*self.used].iter().position(|connection| connection.reads(slot))
    }

    /// The connection that sends its body slowest, when there are too many bodies on their way in, after it has been told.
    /// To be called before another connection is given bytes: who had all of its body there already is not among those
    /// compared. Nobody has to go as long as some of the bodies are whole and wait for the store.
    pub fn crowd_out(&mut self, turn: &mut Turn<'_>) -> Option<usize> {
        if !self.shared.snapshots.is_crowded() || self.storing.is_some() {
            return None;
        }
        let open = &self.connections[..*self.used];
        if open.iter().any(|connection| connection.to_store().is_some()) {
            return None;
        }
        let pace = |connection: &Connection| {
            let (young, pace) = connection.pace(turn.now);
            connection.has_body().then_some((young.into(), pace))
        };
        let id = first(open.iter(), &pace)?;
        self.connections[id].yield_body(&mut self.shared, turn);
        self.settle(id);
        Some(id)
    }

    /// From now on every response is the last one of its connection, and nobody is told that the server is ready. The
    /// requests in flight have `grace` milliseconds.
    pub fn shut_down(&mut self, now: u64, grace: u64) {
        self.shared.shutting_down = true;
        self.ends = Some(now + grace);
        for id in 0..*self.used {
            self.connections[id].hasten(now);
            self.settle(id);
        }
    }

    /// Whether [`shut_down`](Self::shut_down) was called.
    pub fn is_shutting_down(&self) -> bool {
        self.shared.shutting_down
    }

    /// Whether nothing more has to be done behind [`shut_down`](Self::shut_down): nobody is connected any more, or the
    /// time is over.
    pub fn is_over(&self, now: u64) -> bool {
        self.ends.is_some_and(|ends| self.open() == 0 || ends <= now)
    }

    fn settle(&mut self, id: usize) {
        let connection = &mut self.connections[id];
        let waits = connection.waits();
        if waits != core::mem::replace(&mut connection.counted, waits) {
            self.waiting = if waits { self.waiting + 1 } else { self.waiting - 1 };
        }
        let queues = connection.phase() == Phase::Room;
        if queues != core::mem::replace(&mut connection.queued, queues) {
            self.shared.queue = if queues { self.shared.queue + 1 } else { self.shared.queue - 1 };
        }
        self.deadlines[id] = if connection.phase() == Phase::Closed { 0 } else { connection.deadline() };
        if let Some(sheet) = self.shared.sheets.overdue() {
            self.take_sheet(sheet);
        }
    }

    /// Takes a sheet from whoever is slow to read it. Its connection is closed as one whose deadline has passed.
    #[inline(never)]
    fn take_sheet(&mut self, sheet: SheetId) {
        let Some(id) = self.connections[..*self.used].iter().position(|connection| connection.has_sheet(sheet)) else {
            return;
        };
        self.connections[id].yield_sheet(&mut self.shared);
        self.shared.counters.evicted += 1;
        self.deadlines[id] = OVERDUE;
    }
}

/// What a status says that was found to be one.
fn summary_of(status: &[u8]) -> Summary {
    status::read(status).map_or(Summary::NONE, |view| Summary::of(&view))
}

/// The connection of the lowest rank. Of two that are alike to the millisecond, it is the one that came first.
fn first<'c>(
    connections: impl Iterator<Item = &'c Connection>,
    rank: &dyn Fn(&Connection) -> Option<(u8, u64)>,
) -> Option<usize> {
    let mut first = None;
    for (id, connection) in connections.enumerate() {
        let Some((rank, time)) = rank(connection) else { continue };
        let place = (rank, time, connection.number());
        if first.is_none_or(|(before, _)| place < before) {
            first = Some((place, id));
        }
    }
    first.map(|(_, id)| id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{LINGER_AT_EXIT_MS, LINGER_BYTES_MAX, LINGER_MS, LINGER_QUIET_MS, LOOK_PATIENCE_MS};
    use crate::event::{Event, Journal};
    use crate::http::response::Date;
    use crate::snapshot::PAST_MAX;
    use crate::store::{Fault, Step};
    use std::string::String;
    use std::sync::{Mutex, MutexGuard, PoisonError};
    use std::vec::Vec;

    /// One for all tests: it is large, and so are the stacks that it would have to be built on.
    static STORAGE: Mutex<Storage> = Mutex::new(Storage::new());

    const LIMITS: Limits = Limits {
        max_bytes: 65_536,
        head_timeout: 10_000,
        body_timeout: 30_000,
        idle_timeout: 75_000,
        write_timeout: 20_000,
    };

    const GRACE: u64 = 10_000;

    const PEER: SocketAddr = SocketAddr::new(core::net::IpAddr::V4(core::net::Ipv4Addr::LOCALHOST), 4711);
    const POST_HEAD: &str =
        "POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n";
    const GET: &str = "GET /status.json HTTP/1.1\r\nHost: x\r\n\r\n";

    struct Deaf;

    impl Journal for Deaf {
        fn record(&mut self, _: Event<'_>) {}
    }

    /// Connections without sockets, on a clock that the test sets.
    struct World<'s> {
        connections: Connections<'s>,
        now: u64,
    }

    fn storage() -> MutexGuard<'static, Storage> {
        STORAGE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    impl<'s> World<'s> {
        fn new(storage: &'s mut Storage, count: usize) -> Self {
            World { connections: Connections::new(storage, count, LIMITS), now: 1_000_000 }
        }

        fn turn<T>(&mut self, work: impl FnOnce(&mut Connections<'s>, &mut Turn<'_>) -> T) -> T {
            let date = Date(*b"Sun, 06 Nov 1994 08:49:37 GMT");
            work(&mut self.connections, &mut Turn { now: self.now, date: &date, journal: &mut Deaf })
        }

        fn open(&mut self, input: &str) -> usize {
            if self.connections.open() == self.connections.capacity() {
                let victim = self.connections.victim().expect("they are open");
                self.connections.close(victim);
            }
            let id = self.connections.accept(PEER, self.now).expect("there is room");
            self.receive(id, input);
            id
        }

        fn receive(&mut self, id: usize, input: &str) {
            if !input.is_empty() {
                let Next::Read(at_most) = self.connections.next(id) else { panic!("it does not read") };
                assert!(input.len() <= at_most);
                self.turn(|connections, turn| connections.receive(id, input.as_bytes(), turn));
            }
        }

        /// Sends all output, and all that follows from it; gives what was sent.
        fn send(&mut self, id: usize) -> String {
            let mut sent = Vec::new();
            while self.connections.next(id) == Next::Write {
                let output = self.connections.output(id).concat();
                sent.extend_from_slice(&output);
                self.turn(|connections, turn| connections.sent(id, output.len(), false, turn));
            }
            String::from_utf8(sent).unwrap()
        }

        /// What is sent when the nearest deadline passes, which is `after` milliseconds from now and not one earlier.
        fn expire(&mut self, id: usize, after: u64) -> String {
            assert_eq!(self.connections.deadline(), Some(self.now + after));
            self.now += after - 1;
            assert_eq!(self.turn(|connections, turn| connections.expire(turn)), None);
            self.now += 1;
            assert_eq!(self.turn(|connections, turn| connections.expire(turn)), Some(id));
            assert_eq!(self.turn(|connections, turn| connections.expire(turn)), None);
            self.send(id)
        }
    }

    #[test]
    fn without_connections_there_is_no_deadline() {
        let mut storage = storage();
        let mut world = World::new(&mut storage, 8);
        assert_eq!(world.connections.deadline(), None);
        let id = world.open(GET);
        world.send(id);
        world.connections.close(id);
        assert_eq!(world.connections.deadline(), None);
    }

    #[test]
    fn each_phase_has_its_deadline() {
        let mut storage = storage();
        let mut world = World::new(&mut storage, 8);

        let id = world.open("");
        assert_eq!(world.expire(id, LIMITS.idle_timeout), "");
        assert_eq!(world.connections.next(id), Next::Close);
        world.connections.close(id);

        // The time of the head does not begin anew with each byte.
        let id = world.open("GET");
        world.now += 4_000;
        world.receive(id, " ");
        assert!(world.expire(id, LIMITS.head_timeout - 4_000).starts_with("HTTP/1.1 408 "));
        assert_eq!(world.connections.next(id), Next::ShutWrite);
        world.connections.close(id);

        let id = world.open(POST_HEAD);
        world.now += 29_000;
        world.receive(id, "{");
        assert!(world.expire(id, LIMITS.body_timeout - 29_000).starts_with("HTTP/1.1 408 "));
        world.connections.close(id);

        // That of a response begins anew whenever something is sent.
        let id = world.open(GET);
        world.now += 15_000;
        world.turn(|connections, turn| connections.sent(id, 1, false, turn));
        assert_eq!(world.expire(id, LIMITS.write_timeout), "");
        assert_eq!(world.connections.next(id), Next::Close);
        world.connections.close(id);

        // A kept connection is idle from the end of the response on.
        let id = world.open(GET);
        world.now += 3_000;
        world.send(id);
        assert_eq!(world.expire(id, LIMITS.idle_timeout), "");
    }

    #[test]
    fn what_follows_a_refused_request_is_dropped_for_a_while() {
        let mut storage = storage();
        let mut world = World::new(&mut storage, 8);
        let id = world.open("GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n");
        let sent = world.send(id);
        assert!(sent.starts_with("HTTP/1.1 400 ") && sent.matches("Date: ").count() == 1, "{sent}");
        assert_eq!(world.connections.next(id), Next::ShutWrite);
        world.connections.write_side_shut(id, world.now);
        let end = world.now + LINGER_MS;
        while world.now + LINGER_QUIET_MS < end {
            world.receive(id, GET);
            world.now += LINGER_QUIET_MS - 1;
        }
        world.receive(id, GET);
        assert_eq!(world.expire(id, end - world.now), "");
        assert_eq!(world.connections.next(id), Next::Close);
    }

    #[test]
    fn what_follows_a_refused_request_is_dropped_up_to_a_bound() {
        let mut storage = storage();
        let mut world = World::new(&mut storage, 8);
        let id = world.open("GET / HTTP/1.1\r\n\r\n");
        world.send(id);
        world.connections.write_side_shut(id, world.now);
        let piece = "x".repeat(1 << 20);
        for _ in 0..LINGER_BYTES_MAX >> 20 {
            world.receive(id, &piece);
        }
        assert_eq!(world.connections.next(id), Next::Read(usize::MAX));
        world.receive(id, "x");
        assert_eq!(world.connections.next(id), Next::Close);
    }

    #[test]
    fn a_new_connection_takes_the_place_of_the_one_that_can_best_be_spared() {
        let mut storage = storage();
        let mut world = World::new(&mut storage, 10);
        let mut opened = |input: &str| {
            world.now += 10;
            world.open(input)
        };
        let sending = [opened(GET), opened(GET), opened(GET)];
        let posting = opened(POST_HEAD);
        let heads = [opened("GET /"), opened("GET")];
        let silent = [opened(""), opened("")];
        let kept = opened(GET);
        let lingering = opened("GET / HTTP/1.1\r\n\r\n");
        world.send(lingering);
        world.send(kept);
        world.now += 1_000;
        assert_eq!(world.connections.accept(PEER, world.now), None);
        // One of the readers makes progress.
        world.turn(|connections, turn| connections.sent(sending[0], 1, false, turn));
        // Two of ten may always ask; the others go for those who come.
        for expected in [lingering, kept, heads[0], heads[1], sending[1], sending[2], sending[0]] {
            assert_eq!(world.connections.victim(), Some(expected));
            // Each new one begins with something that keeps it from being the next to go.
            assert_eq!(world.open(GET), expected);
            world.now += 1;
        }
        for id in (0..10).filter(|id| ![posting, silent[0], silent[1]].contains(id)) {
            world.connections.close(id);
        }
        for expected in [posting, silent[0], silent[1]] {
            assert_eq!(world.connections.victim(), Some(expected));
            world.connections.close(expected);
        }
        assert_eq!(world.connections.victim(), None);
    }

    #[test]
    fn of_those_that_came_in_the_same_millisecond_the_first_goes_first() {
        let mut storage = storage();
        let mut world = World::new(&mut storage, 8);
        let opened: Vec<_> = (0..8).map(|_| world.open("GET /")).collect();
        world.connections.close(opened[0]);
        assert_eq!(world.open(""), opened[0]);
        for expected in [1, 2, 3, 4, 5, 6, 7, 0] {
            assert_eq!(world.open("GET /"), opened[expected]);
        }
    }

    #[test]
    fn who_has_its_last_answer_does_not_hold_up_the_end() {
        let mut storage = storage();
        let mut world = World::new(&mut storage, 8);
        let id = world.open("GET / HTTP/1.1\r\n\r\n");
        world.send(id);
        world.connections.write_side_shut(id, world.now);
        assert_eq!(world.connections.deadline(), Some(world.now + LINGER_QUIET_MS));
        world.connections.shut_down(world.now, GRACE);
        assert_eq!(world.expire(id, LINGER_AT_EXIT_MS), "");
        assert_eq!(world.connections.next(id), Next::Close);
        world.connections.close(id);

        let id = world.open("GET / HTTP/1.1\r\n\r\n");
        world.send(id);
        world.connections.write_side_shut(id, world.now);
        world.receive(id, GET);
        assert_eq!(world.expire(id, LINGER_AT_EXIT_MS), "");
    }

    #[test]
    fn requests_in_flight_have_the_grace_time_and_no_more() {
        let mut storage = storage();
        let mut world = World::new(&mut storage, 8);
        let (slow, quick) = (world.open(POST_HEAD), world.open(POST_HEAD));
        assert!(!world.connections.is_over(world.now));
        world.connections.shut_down(world.now, GRACE);
        let ends = world.now + GRACE;
        world.now += GRACE / 2;
        world.receive(quick, "{\"a\": 1 }");
        assert!(world.send(quick).starts_with("HTTP/1.1 200 "));
        world.connections.close(quick);
        assert_eq!(world.connections.deadline(), Some(ends));
        assert!(!world.connections.is_over(ends - 1));
        assert!(world.connections.is_over(ends));
        // Nobody waits for a time that nobody needs.
        world.connections.close(slow);
        assert!(world.connections.is_over(world.now));
        assert_eq!(world.connections.deadline(), None);
    }

    #[test]
    fn nothing_is_lost_with_a_connection_that_makes_room() {
        let mut storage = storage();
        let mut world = World::new(&mut storage, 8);
        // Each takes a body slot or pins the current status, and goes.
        for _ in 0..100 {
            world.open(POST_HEAD);
            world.open(GET);
        }
        for id in 0..8 {
            world.connections.close(id);
        }
        let id = world.open(&std::format!("{POST_HEAD}{{\"a\": 12}}"));
        assert!(world.send(id).ends_with("\"status\":{\"a\": 12}}"));
    }

    #[test]
    fn with_too_many_bodies_on_their_way_the_slowest_gives_up_its_buffer() {
        let mut storage = storage();
        let mut world = World::new(&mut storage, 16);
        let whole = std::format!("{POST_HEAD}{{\"a\": 1 }}");
        let expecting = POST_HEAD.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
        let large = POST_HEAD.replace("Length: 9", "Length: 60000");
        // The first one is the oldest, and has sent by far the most.
        let fast = world.open(&large);
        world.receive(fast, &"x".repeat(8_000));
        world.now += 1;
        let unasked = world.open(&expecting);
        world.now += 1;
        let half_asked = world.open(&expecting);
        world.turn(|connections, turn| connections.sent(half_asked, 1, false, turn));
        world.now += 1;
        let silent = world.open(POST_HEAD);
        let crowded_out = |world: &mut World<'_>| world.turn(|connections, turn| connections.crowd_out(turn));
        assert_eq!(crowded_out(&mut world), None);

        // Who sends all of it at once needs nobody's place.
        let poster = world.open(&whole);
        assert_eq!(crowded_out(&mut world), None);
        assert!(world.send(poster).starts_with("HTTP/1.1 200 "));

        world.now += 2_000;
        let mut young = Vec::new();
        let mut begin = |expected| {
            world.receive(poster, POST_HEAD);
            assert_eq!(crowded_out(&mut world), Some(expected));
            assert_eq!(crowded_out(&mut world), None);
            let told = world.send(expected);
            world.receive(poster, "{\"a\": 2 }");
            assert!(world.send(poster).starts_with("HTTP/1.1 200 "));
            // Somebody else takes what is free now. It has sent more, as fast as can be.
            young.push(world.open(&std::format!("{large}{}", "x".repeat(4_000))));
            world.now += 1;
            told
        };
        // It was not asked for its body yet, so it is told instead.
        let told = begin(unasked);
        assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("\r\nRetry-After: 1\r\n"), "{told}");
        // Half of the question is out.
        assert_eq!(begin(half_asked), "");
        assert!(begin(silent).starts_with("HTTP/1.1 503 "));
        // The others have all just begun.
        assert!(begin(fast).starts_with("HTTP/1.1 503 "));
        world.receive(poster, POST_HEAD);
        assert_eq!(crowded_out(&mut world), Some(young[0]));
        assert_eq!(world.connections.next(unasked), Next::ShutWrite);
        assert_eq!(world.connections.next(half_asked), Next::Close);
    }

    #[test]
    fn a_status_goes_out_in_one_piece_and_whole_with_the_date_of_its_request() {
        let mut storage = storage();
        let mut world = World::new(&mut storage, 8);
        let [early, late] = ["Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:38 GMT"];
        let ask = |world: &mut World<'_>, id, date: &str| {
            let date = Date(date.as_bytes().try_into().unwrap());
            let mut turn = Turn { now: world.now, date: &date, journal: &mut Deaf };
            world.connections.receive(id, GET.as_bytes(), &mut turn);
        };
        let [slow, quick, other] = [(); 3].map(|()| world.open(""));
        ask(&mut world, slow, early);
        assert!(world.connections.output(slow).iter().filter(|part| !part.is_empty()).count() == 1);
        let mut begun = String::from_utf8(world.connections.output(slow)[0][..150].to_vec()).unwrap();
        world.turn(|connections, turn| connections.sent(slow, 150, false, turn));
        // Somebody is in the middle of it, so it cannot be dated anew in its place.
        for (id, date) in [(quick, late), (other, early), (quick, late)] {
            ask(&mut world, id, date);
            let response = world.send(id);
            assert_eq!(response.matches("\r\nDate: ").count(), 1);
            assert!(response.contains(date) && response.ends_with("\"last_check\":null}"), "{response}");
        }
        begun.push_str(&world.send(slow));
        ask(&mut world, other, late);
        assert!(world.connections.output(other).iter().filter(|part| !part.is_empty()).count() == 1);
        assert_eq!(world.send(other), begun.replace(early, late));
    }

    #[test]
    fn a_reader_keeps_the_status_it_began_with_until_too_many_do() {
        let mut storage = storage();
        let mut world = World::new(&mut storage, 16);
        let poster = world.open("");
        let mut readers = Vec::new();
        for status in 0..=PAST_MAX {
            readers.push(world.open(GET));
            assert_eq!(world.connections.overdue_reader(), None);
            world.receive(poster, &std::format!("{POST_HEAD}{{\"a\": {status:2}}}"));
            assert!(world.send(poster).starts_with("HTTP/1.1 200 "));
        }
        assert_eq!(world.connections.overdue_reader(), Some(readers[0]));
        world.connections.close(readers[0]);
        assert_eq!(world.connections.overdue_reader(), None);
        for (status, reader) in readers[1..].iter().enumerate() {
            assert!(world.send(*reader).ends_with(&std::format!("{{\"a\": {status:2}}}")));
        }
    }

    const FULL: Trouble = Trouble::Step(Step::Write, Fault::Os(28));

    /// What came of some work that changed nothing else.
    fn finished(stored: Option<Result<(), Trouble>>) -> Finished<'static> {
        Finished { stored, changed: None, history: None, keeps: true, trouble: stored.and_then(Result::err) }
    }

    #[test]
    fn a_post_is_the_status_when_it_is_stored_and_not_before() {
        let mut storage = storage();
        let mut world = World::new(&mut storage, 8);
        world.connections.have_files(60_000, None, world.now);
        let [first, second, third] =
            [1, 2, 3].map(|status| world.open(&std::format!("{POST_HEAD}{{\"a\": {status} }}")));
        let reader = world.open("");
        let status = |world: &mut World<'_>| {
            world.receive(reader, GET);
            world.send(reader)
        };
        assert_eq!(world.connections.next(first), Next::Wait);
        assert_eq!(world.connections.begin_work(false, world.now), Some(Work::Store(b"{\"a\": 1 }")));
        assert_eq!(world.connections.begin_work(false, world.now), None, "one thing at a time");
        assert!(status(&mut world).contains("UNKNOWN"));
        assert_eq!(world.turn(|connections, turn| connections.finish(&finished(Some(Ok(()))), turn)), Some(first));
        assert!(world.send(first).ends_with("\"status\":{\"a\": 1 }}"));
        assert!(status(&mut world).ends_with("{\"a\": 1 }"));

        // Refused, the old one stays; a client that is gone does not take its status with it.
        assert_eq!(world.connections.begin_work(false, world.now), Some(Work::Store(b"{\"a\": 2 }")));
        assert_eq!(world.turn(|connections, turn| connections.finish(&finished(Some(Err(FULL))), turn)), Some(second));
        let refused = world.send(second);
        assert!(refused.starts_with("HTTP/1.1 507 ") && refused.contains("No space left on device"), "{refused}");
        assert!(status(&mut world).ends_with("{\"a\": 1 }"));
        assert_eq!(world.connections.begin_work(false, world.now), Some(Work::Store(b"{\"a\": 3 }")));
        world.connections.close(third);
        assert_eq!(world.turn(|connections, turn| connections.finish(&finished(Some(Ok(()))), turn)), None);
        assert!(status(&mut world).ends_with("{\"a\": 3 }"));
    }

    #[test]
    fn who_asks_when_what_was_seen_is_old_waits_for_a_look_but_not_for_ever() {
        let mut storage = storage();
        let mut world = World::new(&mut storage, 8);
        world.connections.have_files(1_000, None, world.now);
        let [early, late] = [(); 2].map(|()| world.open(""));
        let release = |world: &mut World<'_>| world.turn(|connections, turn| connections.release(turn));
        world.now += 999;
        world.receive(early, GET);
        assert!(world.send(early).contains("UNKNOWN"));
        world.now += 1;
        world.receive(early, GET);
        assert_eq!((world.connections.next(early), release(&mut world)), (Next::Wait, None));
        assert_eq!(world.connections.begin_work(false, world.now), Some(Work::Look));
        world.now += 100;
        // The look that is under way is good enough for this one too.
        world.receive(late, GET);
        let seen = Finished { changed: Some(b"{\"a\":1}"), ..finished(None) };
        assert_eq!(world.turn(|connections, turn| connections.finish(&seen, turn)), None);
        assert_eq!([early, late].map(|_| release(&mut world)), [Some(early), Some(late)]);
        for id in [early, late] {
            assert!(world.send(id).ends_with("{\"a\":1}"));
        }

        // Another one takes too long.
        world.now += 900;
        world.receive(early, GET);
        assert_eq!(world.connections.begin_work(false, world.now), Some(Work::Look));
        assert!(world.expire(early, LOOK_PATIENCE_MS).ends_with("{\"a\":1}"));
        world.receive(late, "GET /ready HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(world.send(late).starts_with("HTTP/1.1 503 "));
        world.turn(|connections, turn| connections.finish(&finished(None), turn));
        world.now += 1_000;
        world.receive(late, "GET /ready HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(world.connections.next(late), Next::Wait);
    }

    #[test]
    fn posts_wait_for_room_in_the_order_in_which_they_came() {
        let mut storage = storage();
        let mut world = World::new(&mut storage, 16);
        world.connections.have_files(1_000, None, world.now);
        let posters: Vec<_> = (0..12)
            .map(|status| {
                world.now += 1;
                world.open(&std::format!("{POST_HEAD}{{\"a\": {status:2}}}"))
            })
            .collect();
        for (status, poster) in posters.into_iter().enumerate() {
            assert_eq!(world.turn(|connections, turn| connections.crowd_out(turn)), None);
            let expected = std::format!("{{\"a\": {status:2}}}");
            assert_eq!(world.connections.begin_work(false, world.now), Some(Work::Store(expected.as_bytes())));
            assert_eq!(world.turn(|connections, turn| connections.finish(&finished(Some(Ok(()))), turn)), Some(poster));
            assert!(world.send(poster).contains(&expected));
            while world.turn(|connections, turn| connections.release(turn)).is_some() {}
        }
    }

    #[test]
    fn after_the_end_has_begun_every_response_is_the_last_one() {
        let mut storage = storage();
        let mut world = World::new(&mut storage, 8);
        let (half, whole) = (world.open("GET /ready HTTP/1.1\r\n"), world.open(GET));
        world.connections.shut_down(world.now, GRACE);
        world.receive(half, "Host: x\r\n\r\n");
        let ready = world.send(half);
        assert!(ready.starts_with("HTTP/1.1 503 ") && ready.contains("\r\nConnection: close\r\n"), "{ready}");
        assert_eq!(world.connections.next(half), Next::Close);
        // This one was told that it may stay.
        world.send(whole);
        assert_eq!(world.connections.next(whole), Next::Close);
    }

    #[test]
    fn requests_are_answered_in_order_however_their_bytes_arrive() {
        let mut storage = storage();
        let mut world = World::new(&mut storage, 8);
        let chunked = "POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
            Transfer-Encoding: chunked\r\n\r\n4;x\r\n{\"b\"\r\n4\r\n: 2}\r\n0\r\nA: b\r\n\r\n";
        let input =
            [POST_HEAD, "{\"a\": 1 }", GET, "\r\n", chunked, GET, "HEAD /nothing HTTP/1.1\r\nHost: x\r\n\r\n"].concat();
        let mut expected = String::new();
        for size in (1..input.len()).rev() {
            let id = world.open("");
            let mut sent = String::new();
            for piece in input.as_bytes().chunks(size) {
                world.receive(id, core::str::from_utf8(piece).unwrap());
                sent.push_str(&world.send(id));
            }
            world.connections.close(id);
            if expected.is_empty() {
                expected = sent.clone();
                let codes: Vec<_> = sent.split("HTTP/1.1 ").skip(1).map(|response| &response[..3]).collect();
                assert_eq!(codes, ["200", "200", "200", "200", "404"]);
                assert_eq!(sent.matches("{\"a\": 1 }").count(), 2);
                assert_eq!(sent.matches("{\"b\": 2}").count(), 2);
            }
            assert_eq!(sent, expected, "in pieces of {size}");
        }
    }
}
