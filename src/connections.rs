//! All connections: which of them are open, when the nearest deadline is, and which one goes when there are too many.

use core::net::SocketAddr;

use crate::connection::{Connection, Inbox, Limits, Next, Phase, Shared, Turn, prepare};
use crate::snapshot::Snapshots;
use crate::status;

/// The most connections that can be configured.
pub const CONNECTIONS_CAPACITY: usize = 1024;
const _: () = assert!(CONNECTIONS_CAPACITY <= u16::MAX as usize);

/// All the memory that the server ever uses for its work. It is meant to be a `static`: it begins as zeros, and what
/// is never written is never resident.
#[derive(Debug)]
pub struct Storage {
    connections: [Connection; CONNECTIONS_CAPACITY],
    inboxes: [Inbox; CONNECTIONS_CAPACITY],
    /// The deadline of each connection, 0 for none: side by side, for the search for the nearest.
    deadlines: [u64; CONNECTIONS_CAPACITY],
    free: heapless::Vec<u16, CONNECTIONS_CAPACITY>,
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
            snapshots: Snapshots::new(),
        }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self::new()
    }
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
    shared: Shared<'s>,
    /// One more than the highest number in use since the start.
    used: usize,
}

impl<'s> Connections<'s> {
    /// A server without connections whose status is [`status::UNKNOWN`]. It holds at most `count` connections, 1 to
    /// [`CONNECTIONS_CAPACITY`].
    pub fn new(storage: &'s mut Storage, count: usize, limits: Limits) -> Self {
        let Storage { connections, inboxes, deadlines, free, snapshots } = storage;
        let count = count.clamp(1, CONNECTIONS_CAPACITY);
        snapshots.start(status::UNKNOWN, prepare);
        // The last one in is the first one out, so the low numbers are used before memory is touched for the high ones.
        *free = (0..count as u16).rev().collect();
        Connections {
            connections: &mut connections[..count],
            inboxes: &mut inboxes[..count],
            deadlines: &mut deadlines[..count],
            free,
            shared: Shared { snapshots, limits, shutting_down: false },
            used: 0,
        }
    }

    /// The statuses.
    pub fn snapshots(&mut self) -> &mut Snapshots {
        self.shared.snapshots
    }

    /// How many connections can be open at once.
    pub fn capacity(&self) -> usize {
        self.connections.len()
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.capacity() - self.free.len()
    }

    /// Takes a new connection from `peer` and gives its number. There is always room: where all are taken, the one
    /// that can best be spared is closed, and the new one has its number; its socket has to go.
    pub fn accept(&mut self, peer: SocketAddr, now: u64) -> usize {
        let id = match self.free.pop() {
            Some(id) => usize::from(id),
            None => {
                let victim = self.victim(now).unwrap_or(0);
                self.connections[victim].close(&mut self.inboxes[victim], self.shared.snapshots);
                victim
            }
        };
        self.used = self.used.max(id + 1);
        self.connections[id].open(peer, &self.shared, now);
        self.settle(id);
        id
    }

    /// The connection that can best be spared: one that has its answer; then the one that is idle longest; then the
    /// one that sends its head longest; then the one that sends its body slowest; then the one that has not read
    /// anything of its response for longest.
    pub fn victim(&self, now: u64) -> Option<usize> {
        let spare = |connection: &Connection| {
            let age = now.saturating_sub(connection.since());
            match connection.phase() {
                Phase::Closed => None,
                Phase::Shut | Phase::Linger => Some((0, u64::MAX - age)),
                Phase::Idle => Some((1, u64::MAX - age)),
                Phase::Head => Some((2, u64::MAX - age)),
                // Bytes a second, a thousand times as fine; what has just begun counts as fast.
                Phase::Body => Some((3, (connection.received() + 1).saturating_mul(1_000_000) / (age + 1))),
                Phase::Send => Some((4, u64::MAX - age)),
            }
        };
        let open = self.connections[..self.used].iter().enumerate();
        open.filter_map(|(id, connection)| spare(connection).map(|rank| (rank, id))).min().map(|(_, id)| id)
    }

    /// What connection `id` waits for.
    pub fn next(&self, id: usize) -> Next {
        self.connections[id].next(&self.inboxes[id])
    }

    /// Whether connection `id` is open and has no request under way.
    pub fn is_idle(&self, id: usize) -> bool {
        self.connections[id].phase() == Phase::Idle
    }

    /// See [`Connection::receive`].
    pub fn receive(&mut self, id: usize, input: &[u8], turn: &mut Turn<'_>) {
        self.connections[id].receive(&mut self.inboxes[id], input, &mut self.shared, turn);
        self.settle(id);
    }

    /// See [`Connection::end_of_input`].
    pub fn end_of_input(&mut self, id: usize, turn: &mut Turn<'_>) {
        self.connections[id].end_of_input(&mut self.shared, turn);
        self.settle(id);
    }

    /// See [`Connection::output`].
    pub fn output(&self, id: usize) -> [&[u8]; 3] {
        self.connections[id].output(self.shared.snapshots)
    }

    /// See [`Connection::sent`].
    pub fn sent(&mut self, id: usize, bytes: usize, turn: &mut Turn<'_>) {
        self.connections[id].sent(&mut self.inboxes[id], bytes, &mut self.shared, turn);
        self.settle(id);
    }

    /// See [`Connection::write_side_shut`].
    pub fn write_side_shut(&mut self, id: usize, now: u64) {
        self.connections[id].write_side_shut(now);
        self.settle(id);
    }

    /// The socket of connection `id` is closed; its number is free.
    pub fn close(&mut self, id: usize) {
        self.connections[id].close(&mut self.inboxes[id], self.shared.snapshots);
        self.settle(id);
        self.free.push(id as u16).expect("a connection is closed once");
    }

    /// The nearest deadline of all connections.
    pub fn deadline(&self) -> Option<u64> {
        self.deadlines[..self.used].iter().copied().filter(|&deadline| deadline != 0).min()
    }

    /// A connection whose deadline has passed, after it has been told.
    pub fn expire(&mut self, turn: &mut Turn<'_>) -> Option<usize> {
        let due = |&deadline: &u64| deadline != 0 && deadline <= turn.now;
        let id = self.deadlines[..self.used].iter().position(due)?;
        self.connections[id].expire(&mut self.shared, turn);
        self.settle(id);
        Some(id)
    }

    /// A connection that has to be closed so that the statuses which nobody reads any more have their slots back.
    pub fn overdue_reader(&self) -> Option<usize> {
        let slot = self.shared.snapshots.overdue()?;
        self.connections[..self.used].iter().position(|connection| connection.reads(slot))
    }

    /// From now on every response is the last one of its connection, and nobody is told that the server is ready.
    pub fn shut_down(&mut self) {
        self.shared.shutting_down = true;
    }

    /// Whether [`shut_down`](Self::shut_down) was called.
    pub fn is_shutting_down(&self) -> bool {
        self.shared.shutting_down
    }

    fn settle(&mut self, id: usize) {
        let connection = &self.connections[id];
        self.deadlines[id] = if connection.phase() == Phase::Closed { 0 } else { connection.deadline() };
    }
}
