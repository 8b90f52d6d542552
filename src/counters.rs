//! What is counted, for whoever watches the server.

use crate::http::response::{Code, Date};

/// What a request is counted for, by what it asks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Route {
    Status,
    Post,
    Health,
    Ready,
    Metrics,
    Page,
    Badge,
    History,
    /// The server as a whole.
    Server,
    /// Nothing that is there.
    None,
}

/// The labels of the routes, in their order.
pub const ROUTES: [&str; 10] =
    ["status", "post", "health", "ready", "metrics", "page", "badge", "history", "server", "none"];
/// The labels of the classes of methods: those that read, those that write, all others.
pub const CLASSES: [&str; 3] = ["read", "write", "other"];

/// A route and a class of methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally(u8);

impl Tally {
    /// How many there are.
    pub const COUNT: usize = ROUTES.len() * CLASSES.len();

    /// One for GET and HEAD.
    pub const fn read(route: Route) -> Self {
        Tally(route as u8 * 3)
    }

    /// One for POST.
    pub const fn write(route: Route) -> Self {
        Tally(route as u8 * 3 + 1)
    }

    /// One for all other methods.
    pub const fn other(route: Route) -> Self {
        Tally(route as u8 * 3 + 2)
    }
}

/// How many connections there are.
#[derive(Debug, Clone, Copy)]
pub struct Population {
    /// Open.
    pub open: usize,
    /// At most.
    pub most: usize,
    /// Since the start, all together.
    pub accepted: u64,
}

/// What happened since the start.
#[derive(Debug)]
pub struct Counters {
    /// Requests, by what they are counted for and by the code of their answer.
    pub requests: [[u64; Code::ALL.len()]; Tally::COUNT],
    /// Posts whose status became the current one.
    pub posts_accepted: u64,
    /// Posts that were refused.
    pub posts_refused: u64,
    /// When the last one was.
    pub refused_at: Option<Date>,
    /// Bytes that came.
    pub received: u64,
    /// Bytes that were sent.
    pub sent: u64,
    /// Connections that had to make room for others.
    pub evicted: u64,
    /// Connections that let a time-out pass.
    pub timed_out: u64,
    /// Statuses that were stored.
    pub state_writes: u64,
    /// Statuses that could not be stored.
    pub state_write_failures: u64,
}

impl Counters {
    /// Nothing happened yet.
    pub const ZERO: Counters = Counters {
        requests: [[0; Code::ALL.len()]; Tally::COUNT],
        posts_accepted: 0,
        posts_refused: 0,
        refused_at: None,
        received: 0,
        sent: 0,
        evicted: 0,
        timed_out: 0,
        state_writes: 0,
        state_write_failures: 0,
    };

    /// Counts an answer.
    pub fn answer(&mut self, Tally(tally): Tally, code: Code) {
        self.requests[usize::from(tally)][code as usize] += 1;
    }
}
