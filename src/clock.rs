//! The two clocks: one to measure with, and the date for responses and the log.

use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::http::response::Date;

/// Both clocks, as they stood when they were last looked at.
#[derive(Debug)]
pub struct Clock {
    start: Instant,
    /// Milliseconds since then, and one.
    now: u64,
    /// When the date has to be looked at again.
    next_second: Instant,
    date: Date,
}

impl Clock {
    /// Looks at the clocks.
    pub fn new() -> Self {
        let now = Instant::now();
        let mut clock = Clock { start: now, now: 1, next_second: now, date: Date::BLANK };
        clock.look();
        clock
    }

    /// Looks at the clocks again; at the date only when its second is over.
    pub fn look(&mut self) {
        let now = Instant::now();
        self.now = (now - self.start).as_millis() as u64 + 1;
        if now < self.next_second {
            return;
        }
        // A clock that was never set stands at the beginning; what stands before it, no date can show.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = Duration::from_secs(since_epoch.as_secs());
        self.next_second = now + (Duration::from_secs(1) - (since_epoch - seconds));
        let mut text = heapless::String::<29>::new();
        let date = httpdate::HttpDate::from(UNIX_EPOCH + seconds);
        if write!(text, "{date}").is_ok()
            && let Ok(bytes) = text.as_bytes().try_into()
        {
            self.date = Date(bytes);
        }
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

/// The same date as RFC 3339 writes it, `1994-11-06T08:49:37Z`.
pub fn rfc3339(Date(date): &Date) -> [u8; 20] {
    const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let month = MONTHS.chunks(3).position(|name| name == &date[8..11]).unwrap_or(0) as u8 + 1;
    let mut text = *b"0000-00-00T00:00:00Z";
    text[0..4].copy_from_slice(&date[12..16]);
    text[5] = b'0' + month / 10;
    text[6] = b'0' + month % 10;
    text[8..10].copy_from_slice(&date[5..7]);
    text[11..19].copy_from_slice(&date[17..25]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_reads_the_same_in_both_notations() {
        assert_eq!(&rfc3339(&Date(*b"Sun, 06 Nov 1994 08:49:37 GMT")), b"1994-11-06T08:49:37Z");
        assert_eq!(&rfc3339(&Date(*b"Fri, 31 Dec 1999 23:59:59 GMT")), b"1999-12-31T23:59:59Z");
    }

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
