//! When the next request is due. Times are nanoseconds since the run began.

/// The kinds of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A GET.
    Get,
    /// What has a body.
    Post,
}

/// A request that is to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// What to send.
    pub kind: Kind,
    /// Whether it only warms up.
    pub warms: bool,
    /// When it was due.
    pub due: u64,
}

/// Which requests follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sequence {
    /// Only these.
    Only(Kind),
    /// So many GETs before each POST.
    Mix(u64),
}

/// Gives requests out.
#[derive(Debug)]
pub struct Pace {
    sequence: Sequence,
    /// How many were given out.
    given: u64,
    /// No more than so many are.
    end: u64,
    schedule: Option<Schedule>,
}

#[derive(Debug, Clone, Copy)]
struct Schedule {
    start: u64,
    /// Nanoseconds from one to the next.
    period: f64,
    /// How many come before those that are measured.
    warm: u64,
    /// When the next one is due.
    next: u64,
}

impl Pace {
    /// Closed loop: a request is due as soon as it can be sent, until [`Pace::stop`].
    pub fn closed(sequence: Sequence) -> Self {
        Pace { sequence, given: 0, end: u64::MAX, schedule: None }
    }

    /// Open loop: `rate` requests a second from `start` on, of which the first `warm` ones are not measured, the next
    /// `measured` ones are, and no more.
    pub fn open(sequence: Sequence, rate: f64, start: u64, warm: u64, measured: u64) -> Self {
        let schedule = Schedule { start, period: 1e9 / rate, warm, next: start };
        Pace { sequence, given: 0, end: warm + measured, schedule: Some(schedule) }
    }

    /// Whether it is an open loop.
    pub fn is_open(&self) -> bool {
        self.schedule.is_some()
    }

    /// The next request, if one is due by now.
    pub fn take(&mut self, now: u64) -> Option<Request> {
        if self.given >= self.end {
            return None;
        }
        let (warms, due) = match &mut self.schedule {
            None => (false, now),
            Some(schedule) => {
                let due = schedule.next;
                if due > now {
                    return None;
                }
                schedule.next = schedule.time_of(self.given + 1);
                (self.given < schedule.warm, due)
            }
        };
        let kind = match self.sequence {
            Sequence::Only(kind) => kind,
            Sequence::Mix(gets) if self.given % (gets + 1) == gets => Kind::Post,
            Sequence::Mix(_) => Kind::Get,
        };
        self.given += 1;
        Some(Request { kind, warms, due })
    }

    /// When the next one is due; `None` when it is not a matter of time.
    pub fn next_due(&self) -> Option<u64> {
        self.schedule.filter(|_| self.given < self.end).map(|schedule| schedule.next)
    }

    /// Gives at most so many more.
    pub fn limit(&mut self, more: u64) {
        self.end = self.end.min(self.given.saturating_add(more));
    }

    /// When the measured ones of a schedule begin and end.
    pub fn window(&self) -> Option<(u64, u64)> {
        self.schedule.map(|schedule| (schedule.time_of(schedule.warm), schedule.time_of(self.end)))
    }

    /// Gives no more out. Those that were due are left over: gives when each was.
    pub fn stop(&mut self) -> impl Iterator<Item = u64> + use<> {
        let left = if self.schedule.is_some() { self.given..self.end } else { 0..0 };
        self.end = self.given;
        let schedule = self.schedule;
        left.filter_map(move |number| schedule.map(|schedule| schedule.time_of(number)))
    }
}

impl Schedule {
    fn time_of(&self, number: u64) -> u64 {
        self.start + (number as f64 * self.period) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_gives_what_is_due_and_the_rest_is_left_over() {
        let mut pace = Pace::open(Sequence::Only(Kind::Get), 4.0, 1_000, 2, 4);
        assert_eq!(pace.window(), Some((500_001_000, 1_500_001_000)));
        assert!(pace.take(999).is_none());
        let mut due = Vec::new();
        while let Some(request) = pace.take(750_001_000) {
            due.push((request.due, request.warms));
        }
        assert_eq!(due, [(1_000, true), (250_001_000, true), (500_001_000, false), (750_001_000, false)]);
        assert_eq!(pace.next_due(), Some(1_000_001_000));
        assert_eq!(pace.stop().collect::<Vec<_>>(), [1_000_001_000, 1_250_001_000]);
        assert!(pace.take(u64::MAX).is_none());
        assert_eq!(pace.next_due(), None);
    }

    #[test]
    fn a_mix_has_one_post_after_so_many_gets() {
        let mut pace = Pace::closed(Sequence::Mix(3));
        let kinds: Vec<_> = (0..8).filter_map(|now| pace.take(now)).map(|request| request.kind).collect();
        use Kind::{Get, Post};
        assert_eq!(kinds, [Get, Get, Get, Post, Get, Get, Get, Post]);
        pace.limit(1);
        assert!(pace.take(0).is_some() && pace.take(0).is_none());
        assert_eq!(pace.stop().count(), 0);
    }
}
