//! Points in time: seconds since 1970, as HTTP writes them and as RFC 3339 does.

use crate::http::response::Date;

const DAYS: &[u8] = b"ThuFriSatSunMonTueWed";
const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
const DAY: u64 = 24 * 60 * 60;
/// 400 years have so many days, after which all is as before.
const ERA_DAYS: u32 = 146_097;
/// From the first of March of the year 0, with which an era begins, to 1970.
const DAYS_BEFORE_1970: u32 = 719_468;
/// The last second of the year 9999: the formats have no more digits.
const LAST: u64 = 253_402_300_799;

/// So many seconds after the beginning of 1970, as HTTP writes it (RFC 9110 §5.6.7), `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn http(seconds: u64) -> Date {
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

/// How many seconds after the beginning of 1970 a date is, as [`http`] writes it.
pub fn seconds(date: &Date) -> u64 {
    parse(&rfc3339(date)).unwrap_or(0)
}

/// How many seconds after the beginning of 1970 a timestamp is (RFC 3339 §5.6), as `2026-04-21T10:30:00.5+02:00`; what is
/// less than a second is left out. `None` for anything else, and for what is before 1970.
pub fn parse(text: &[u8]) -> Option<u64> {
    let (date, rest) = text.split_at_checked(b"0000-00-00T00:00:00".len())?;
    for (at, &byte) in date.iter().enumerate() {
        let fits = match at {
            4 | 7 => byte == b'-',
            10 => matches!(byte, b'T' | b't' | b' '),
            13 | 16 => byte == b':',
            _ => byte.is_ascii_digit(),
        };
        if !fits {
            return None;
        }
    }
    let number = |at: usize| u32::from(date[at] - b'0') * 10 + u32::from(date[at + 1] - b'0');
    let (year, month, day) = (number(0) * 100 + number(2), number(5), number(8));
    let (hour, minute, second) = (number(11), number(14), number(17));
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    // A leap second counts as the next one.
    if !(1..=days).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let zone = match rest {
        [b'.', fraction @ ..] => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits == 0 {
                return None;
            }
            &fraction[digits..]
        }
        zone => zone,
    };
    let offset = match *zone {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let digits = [h1, h2, m1, m2];
            if !digits.iter().all(u8::is_ascii_digit) {
                return None;
            }
            let [h1, h2, m1, m2] = digits.map(|digit| i64::from(digit - b'0'));
            let (hours, minutes) = (h1 * 10 + h2, m1 * 10 + m2);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * if sign == b'-' { -60 } else { 60 }
        }
        _ => return None,
    };
    // As in `http`, the other way round.
    let (year, since_march) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * since_march + 2) / 5 + day - 1;
    let day = u64::from(days.checked_sub(DAYS_BEFORE_1970)?);
    (day * DAY + u64::from(hour * 3600 + minute * 60 + second)).checked_add_signed(-offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn a_date_reads_the_same_in_both_notations() {
        assert_eq!(&rfc3339(&Date(*b"Sun, 06 Nov 1994 08:49:37 GMT")), b"1994-11-06T08:49:37Z");
        assert_eq!(&rfc3339(&Date(*b"Fri, 31 Dec 1999 23:59:59 GMT")), b"1999-12-31T23:59:59Z");
    }

    #[test]
    fn every_day_has_the_date_that_everybody_gives_it_and_is_read_again() {
        for day in 0..=LAST / DAY {
            let since = day * DAY + day % DAY;
            let expected = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(since));
            assert_eq!(str::from_utf8(&http(since).0), Ok(&expected[..]));
            assert_eq!(seconds(&http(since)), since);
        }
        assert_eq!(http(u64::MAX).0, http(LAST).0);
    }

    #[test]
    fn a_timestamp_is_read_as_rfc_3339_has_it() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-04-21T10:30:00Z", Some(1_776_767_400)),
            ("2026-04-21t10:30:00.123456789z", Some(1_776_767_400)),
            ("2026-04-21 10:30:00Z", Some(1_776_767_400)),
            ("2026-04-21T12:30:00+02:00", Some(1_776_767_400)),
            ("2026-04-21T05:00:00-05:30", Some(1_776_767_400)),
            ("2024-02-29T00:00:00Z", Some(1_709_164_800)),
            ("2016-12-31T23:59:60Z", Some(1_483_228_800)),
            ("1970-01-01T01:00:00+01:00", Some(0)),
            ("1970-01-01T00:59:59+01:00", None),
            ("1969-12-31T23:59:59Z", None),
            ("2023-02-29T00:00:00Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-00-01T00:00:00Z", None),
            ("2026-04-31T00:00:00Z", None),
            ("2026-04-21T24:00:00Z", None),
            ("2026-04-21T10:30:00", None),
            ("2026-04-21T10:30:00.Z", None),
            ("2026-04-21T10:30:00+0200", None),
            ("2026-04-21T10:30:00+24:00", None),
            ("2026-04-21T10:30:00Zx", None),
            ("2026-04-21", None),
            ("yesterday", None),
            ("", None),
            ("2026-04-21T10:30:0äZ", None),
        ] {
            assert_eq!(parse(text.as_bytes()), expected, "{text}");
        }
    }
}
