//! The two clocks: one to measure with, and the date for responses and the log.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::thread::{Timespec, nanosleep};

use crate::date;
use crate::http::response::Date;

/// Does nothing for so long, or less if a signal comes.
pub fn pause(time: Duration) {
    // Whoever waits looks again anyway.
    let _ = nanosleep(&timespec(time));
}

/// A span of time as system calls have it.
pub fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() }
}

/// Both clocks, as they stood when they were last looked at.
#[derive(Debug)]
pub struct Clock {
    start: Instant,
    /// Milliseconds since then, and one.
    now: u64,
    /// When the date has to be looked at again.
    next_second: u64,
    date: Date,
}

impl Clock {
    /// Looks at the clocks.
    pub fn new() -> Self {
        let mut clock = Clock { start: Instant::now(), now: 0, next_second: 0, date: Date::BLANK };
        clock.look();
        clock
    }

    /// Looks at the clocks again; at the date only when its second is over.
    pub fn look(&mut self) {
        self.now = self.start.elapsed().as_millis() as u64 + 1;
        if self.now < self.next_second {
            return;
        }
        // A clock that was never set stands at the beginning; what stands before it, no date can show.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Both clocks are cut to milliseconds, so that the date is late by one at most.
        self.next_second = self.now + 1000 - u64::from(since_epoch.subsec_millis());
        self.date = date::http(since_epoch.as_secs());
    }

    /// Milliseconds since the clock was made, and one: 0 is never now.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// The date.
    pub fn date(&self) -> &Date {
        &self.date
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_shows_todays_date() {
        let seconds = |date: &Date| {
            let date = httpdate::parse_http_date(std::str::from_utf8(&date.0).unwrap()).unwrap();
            date.duration_since(UNIX_EPOCH).unwrap().as_secs()
        };
        let clock = Clock::new();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert!(now - seconds(clock.date()) <= 1);
        assert_eq!(clock.now(), 1);
    }
}
