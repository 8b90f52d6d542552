//! The two clocks: one to measure with, and the date for responses and the log.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::thread::{Timespec, nanosleep};

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
        self.date = date(since_epoch.as_secs());
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

const DAYS: &[u8] = b"ThuFriSatSunMonTueWed";
const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
const DAY: u64 = 24 * 60 * 60;
/// 400 years have so many days, after which all is as before.
const ERA_DAYS: u32 = 146_097;
/// From the first of March of the year 0, with which an era begins, to 1970.
const DAYS_BEFORE_1970: u32 = 719_468;
/// The last second of the year 9999: the format has no more digits.
const LAST: u64 = 253_402_300_799;

/// So many seconds after the beginning of 1970, as HTTP writes it (RFC 9110 §5.6.7), `Sun, 06 Nov 1994 08:49:37 GMT`.
fn date(seconds: u64) -> Date {
    let seconds = seconds.min(LAST);
    let (day, second) = ((seconds / DAY) as u32, (seconds % DAY) as u32);
    // The days of an era are counted in years that begin with March, so that a leap day is the last of its year.
    let (era, in_era) = ((day + DAYS_BEFORE_1970) / ERA_DAYS, (day + DAYS_BEFORE_1970) % ERA_DAYS);
    let year = (in_era - in_era / 1460 + in_era / 36524 - in_era / (ERA_DAYS - 1)) / 365;
    let in_year = in_era - (365 * year + year / 4 - year / 100);
    // From March on, five months have 153 days, over and over.
    let since_march = (5 * in_year + 2) / 153;
    let in_month = in_year - (153 * since_march + 2) / 5 + 1;
    let month = (since_march + 2) % 12;
    let year = era * 400 + year + u32::from(month < 2);
    let mut text = *b"   , 00     0000 00:00:00 GMT";
    let mut put = |at: usize, name: &[u8]| text[at..at + 3].copy_from_slice(name);
    put(0, &DAYS[(day % 7 * 3) as usize..][..3]);
    put(8, &MONTHS[(month * 3) as usize..][..3]);
    for (at, number) in [
        (5, in_month),
        (12, year / 100),
        (14, year % 100),
        (17, second / 3600),
        (20, second / 60 % 60),
        (23, second % 60),
    ] {
        text[at] += (number / 10) as u8;
        text[at + 1] += (number % 10) as u8;
    }
    Date(text)
}

/// The same date as RFC 3339 writes it, `1994-11-06T08:49:37Z`.
pub fn rfc3339(Date(date): &Date) -> [u8; 20] {
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
    fn every_day_has_the_date_that_everybody_gives_it() {
        for day in 0..=LAST / DAY {
            let seconds = day * DAY + day % DAY;
            let expected = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(str::from_utf8(&date(seconds).0), Ok(&expected[..]));
        }
        assert_eq!(date(u64::MAX).0, date(LAST).0);
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
