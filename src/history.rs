//! The last accepted statuses: when each state of things began to be reported, and for how long it was.

use core::fmt::{self, Write};

use crate::date;
use crate::json::{Unescape, escape};
use crate::summary::{Summary, TEXT_MAX, Text};
use crate::text::{decimal, hex};

/// How many states are remembered.
pub const ROWS_MAX: usize = 64;

/// A second, in the nanoseconds that times are kept in.
pub const SECOND: u64 = 1_000_000_000;

/// The clock of a file system may stand still for so long, on FAT, in nanoseconds. Within that, what comes later is later.
const TICK: u64 = 2 * SECOND;

/// The most bytes of JSON that one row has: its two texts, every byte of which is escaped by six, and what is around them.
const ROW_JSON_MAX: usize = 2 * (TEXT_MAX * 6 + "…".len()) + 320;
/// The most bytes of JSON that all of them have.
pub const JSON_MAX: usize = ROWS_MAX * ROW_JSON_MAX + 2;

/// The most bytes of one row as it is kept: the same two texts, six numbers of at most 20 digits, and what separates them.
const ROW_KEPT_MAX: usize = 2 * (TEXT_MAX * 6 + "\"\"+\t".len()) + 6 * 21;
/// The most bytes of all of them as they are kept.
pub const KEPT_MAX: usize = ROWS_MAX * ROW_KEPT_MAX;

/// A state of things, as one or more posts in a row reported it. Times are in nanoseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// When it was reported first.
    pub received_at: u64,
    /// When it was reported last.
    pub last_received_at: u64,
    /// How often it was.
    pub count: u32,
    /// [`Summary::fingerprint`] of what was reported.
    pub fingerprint: u64,
    /// Its fields, as they were reported last.
    pub sync_status: Option<Text>,
    /// The same.
    pub last_check: Option<Text>,
    /// The same.
    pub drift_count: Option<u64>,
    /// The same.
    pub files: Option<u64>,
}

/// The rows, of which the oldest is forgotten where they would be more than [`ROWS_MAX`].
#[derive(Debug, Default)]
pub struct History {
    /// The oldest is the first.
    rows: heapless::Vec<Row, ROWS_MAX>,
}

impl History {
    /// One of nothing. All zeros, so that it lies in memory that exists only when it is written.
    pub const fn new() -> Self {
        History { rows: heapless::Vec::new() }
    }

    /// Takes down that `summary` was reported at `at`, nanoseconds since 1970. What is reported again extends its row.
    pub fn record(&mut self, summary: &Summary, at: u64) {
        let before = self.newest().map_or(0, |newest| newest.last_received_at);
        let at = if (at..=at.saturating_add(TICK)).contains(&before) { before + 1 } else { at };
        if let Some(newest) = self.rows.last_mut().filter(|newest| newest.fingerprint == summary.fingerprint) {
            newest.last_received_at = at;
            newest.count = newest.count.saturating_add(1);
            newest.last_check.clone_from(&summary.last_check);
            return;
        }
        self.push(Row {
            received_at: at,
            last_received_at: at,
            count: 1,
            fingerprint: summary.fingerprint,
            sync_status: summary.sync_status.clone(),
            last_check: summary.last_check.clone(),
            drift_count: summary.drift_count,
            files: summary.files,
        });
    }

    /// The same for a file that says so since `at`. To be told so again changes nothing.
    pub fn record_file(&mut self, summary: &Summary, at: u64) {
        let range = at..=at.saturating_add(TICK);
        let known =
            |newest: &&mut Row| newest.fingerprint == summary.fingerprint && range.contains(&newest.last_received_at);
        match self.rows.last_mut().filter(known) {
            // The file is what was reported last, though its clock may have stood still since the one before.
            Some(newest) => newest.last_check.clone_from(&summary.last_check),
            None => self.record(summary, at),
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.rows.clear();
    }

    /// The rows, the oldest first.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The newest row.
    pub fn newest(&self) -> Option<&Row> {
        self.rows.last()
    }

    /// Adds what `later` has beyond the newest row here; says whether that was anything. Where it does not know that row, it
    /// has nothing beyond it, whatever the times are: clocks go back too.
    pub fn follow(&mut self, later: &History) -> bool {
        let mut first = 0;
        let mut changed = false;
        if let Some(newest) = self.rows.last_mut() {
            let same = |row: &Row| row.fingerprint == newest.fingerprint && row.received_at == newest.received_at;
            let Some(at) = later.rows.iter().rposition(same) else { return false };
            changed = later.rows[at].count > newest.count;
            if changed {
                newest.clone_from(&later.rows[at]);
            }
            first = at + 1;
        }
        for row in &later.rows[first..] {
            changed = true;
            self.push(row.clone());
        }
        changed
    }

    /// Becomes the same as `other`.
    pub fn copy_from(&mut self, other: &History) {
        self.rows.clear();
        // It has the same capacity.
        let _ = self.rows.extend_from_slice(&other.rows);
    }

    /// Writes the rows as JSON, the newest first: an array of objects with the same members each, none of which is an
    /// object or array. At most [`JSON_MAX`] bytes.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_json(&self, out: &mut dyn Write) -> fmt::Result {
        let mut before = "[";
        for row in self.rows.iter().rev() {
            out.write_str(before)?;
            before = ",\n";
            write_row(row, out)?;
        }
        out.write_str(if before == "[" { "[]" } else { "]" })
    }
}

impl History {
    /// Writes the rows as they are kept, at most [`KEPT_MAX`] bytes: one a line, the oldest first, their fields separated by
    /// tabs. A text stands in quotes, as in JSON, with `+` behind it where it is cut; what is missing is `-`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_kept(&self, mut out: &mut dyn Write) -> fmt::Result {
        for row in &self.rows {
            let fingerprint = hex(row.fingerprint);
            let fingerprint = str::from_utf8(&fingerprint).unwrap_or_default();
            write!(out, "{}\t{}\t{}\t{fingerprint}", row.received_at, row.last_received_at, row.count)?;
            for number in [row.drift_count, row.files] {
                match number {
                    Some(number) => write!(out, "\t{number}")?,
                    None => out.write_str("\t-")?,
                }
            }
            for text in [&row.sync_status, &row.last_check] {
                let Some(text) = text else {
                    out.write_str("\t-")?;
                    continue;
                };
                out.write_str("\t\"")?;
                escape(&mut out, text.as_str().chars())?;
                out.write_str(if text.is_cut() { "\"+" } else { "\"" })?;
            }
            out.write_char('\n')?;
        }
        Ok(())
    }

    /// Becomes what was [kept](Self::write_kept). What is something else counts as nothing.
    pub fn read_kept(&mut self, kept: &[u8]) {
        self.clear();
        for row in kept.split(|&byte| byte == b'\n').filter_map(kept_row) {
            self.push(row);
        }
    }

    /// Adds a row. If they are too many, the oldest is forgotten.
    fn push(&mut self, row: Row) {
        if self.rows.is_full() {
            self.rows.remove(0);
        }
        let _ = self.rows.push(row);
    }
}

fn kept_row(line: &[u8]) -> Option<Row> {
    let mut fields = str::from_utf8(line).ok()?.split('\t');
    let mut field = || fields.next();
    let row = Row {
        received_at: decimal(field()?.as_bytes())?,
        last_received_at: decimal(field()?.as_bytes())?,
        count: decimal(field()?.as_bytes())?.try_into().ok()?,
        fingerprint: u64::from_str_radix(field()?, 16).ok()?,
        drift_count: kept_number(field()?)?,
        files: kept_number(field()?)?,
        sync_status: kept_text(field()?)?,
        last_check: kept_text(field()?)?,
    };
    field().is_none().then_some(row)
}

fn kept_number(field: &str) -> Option<Option<u64>> {
    if field == "-" { Some(None) } else { decimal(field.as_bytes()).map(Some) }
}

fn kept_text(field: &str) -> Option<Option<Text>> {
    if field == "-" {
        return Some(None);
    }
    let (field, cut) = field.strip_suffix('+').map_or((field, false), |field| (field, true));
    let text = Text::of(Unescape::new(field.strip_prefix('"')?.strip_suffix('"')?));
    Some(Some(if cut { text.cut() } else { text }))
}

fn write_row(row: &Row, mut out: &mut dyn Write) -> fmt::Result {
    let mut time = |name: &str, nanoseconds: u64| {
        let text = date::rfc3339(&date::http(nanoseconds / SECOND));
        write!(out, "{name}\":\"{}\",\"", str::from_utf8(&text).unwrap_or_default())
    };
    time("{\"received_at", row.received_at)?;
    time("last_received_at", row.last_received_at)?;
    write!(out, "count\":{}", row.count)?;
    for (name, text) in [("sync_status", &row.sync_status), ("last_check", &row.last_check)] {
        write!(out, ",\"{name}\":")?;
        match text {
            Some(text) => {
                out.write_char('"')?;
                escape(&mut out, text.characters())?;
                out.write_char('"')?;
            }
            None => out.write_str("null")?,
        }
    }
    for (name, number) in [("drift_count", row.drift_count), ("files", row.files)] {
        write!(out, ",\"{name}\":")?;
        match number {
            Some(number) => write!(out, "{number}")?,
            None => out.write_str("null")?,
        }
    }
    let cut = [&row.sync_status, &row.last_check].into_iter().flatten().any(Text::is_cut);
    write!(out, ",\"truncated\":{cut}}}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status;
    use std::boxed::Box;
    use std::format;
    use std::string::{String, ToString};
    use std::vec::Vec;

    fn summary(status: &str) -> Summary {
        Summary::of(&status::read(status.as_bytes()).unwrap())
    }

    fn kept(history: &History) -> String {
        let mut kept = String::new();
        history.write_kept(&mut kept).unwrap();
        assert!(kept.len() <= KEPT_MAX, "{}", kept.len());
        kept
    }

    fn read(kept: &[u8]) -> Box<History> {
        let mut history = Box::new(History::new());
        history.read_kept(kept);
        history
    }

    #[test]
    fn what_is_kept_is_read_as_it_was() {
        let mut history = Box::new(History::new());
        let long = "\u{1}".repeat(97).chars().map(|c| format!("\\u{:04x}", c as u32)).collect::<String>();
        for (at, status) in [
            "{}".to_string(),
            r#"{"sync_status":"SYNCED","drift_count":9007199254740991,"files":["a"],"last_check":"x"}"#.to_string(),
            r#"{"sync_status":"a\tb\nc\"d\\e","last_check":"\u202e😀-+\""}"#.to_string(),
            r#"{"sync_status":"","last_check":"-"}"#.to_string(),
            format!(r#"{{"sync_status":"{long}","last_check":"{long}","drift_count":1}}"#),
            r#"{"sync_status":"+"}"#.to_string(),
        ]
        .iter()
        .enumerate()
        {
            history.record(&summary(status), at as u64 * 1_000_000_007);
            history.record(&summary(status), at as u64 * 1_000_000_007 + 3);
        }
        let text = kept(&history);
        assert_eq!(text.lines().count(), 6);
        assert_eq!(read(text.as_bytes()).rows(), history.rows());
    }

    #[test]
    fn the_longest_rows_have_room() {
        let text = "\\u0001".repeat(97);
        let mut history = Box::new(History::new());
        for number in 0..ROWS_MAX as u64 {
            let drift_count = status::DRIFT_COUNT_MAX - number;
            let status =
                format!(r#"{{"sync_status":"{text}","last_check":"{text}","drift_count":{drift_count},"files":[]}}"#);
            history.record(&summary(&status), u64::MAX - 1_000 + number);
        }
        assert_eq!(read(kept(&history).as_bytes()).rows(), history.rows());
        let mut json = String::new();
        history.write_json(&mut json).unwrap();
        assert!(json.len() <= JSON_MAX, "{}", json.len());
    }

    #[test]
    fn what_is_no_row_counts_as_nothing() {
        let row = "1\t2\t3\t00000000000000ff\t4\t-\t\"a\"\t\"b\"+";
        let expected = Row {
            received_at: 1,
            last_received_at: 2,
            count: 3,
            fingerprint: 255,
            sync_status: Some(Text::of("a".chars())),
            last_check: Some(Text::of("b".chars()).cut()),
            drift_count: Some(4),
            files: None,
        };
        for line in [
            "",
            "x",
            "1\t2\t3",
            &row.replace("\t-", "\t"),
            &row.replace("\t4", "\t-4"),
            &row.replace("1\t", "18446744073709551616\t"),
            &row.replace("3\t", "4294967296\t"),
            &row.replace("ff", "fg"),
            &row.replace("\"a\"", "a"),
            &row.replace("\"a\"", "\""),
            &format!("{row}\t"),
            &row.replace('\t', " "),
        ] {
            assert_eq!(read(line.as_bytes()).rows(), [], "{line:?}");
            assert_eq!(
                read(format!("{line}\n{row}\n{line}\n").as_bytes()).rows(),
                std::slice::from_ref(&expected),
                "{line:?}"
            );
        }
        assert_eq!(read(b"\xff\n").rows(), []);
        let many: Vec<_> = (0..100).map(|at| row.replacen('1', &at.to_string(), 1)).collect();
        let kept = read(many.join("\n").as_bytes());
        assert_eq!((kept.rows().len(), kept.rows()[0].received_at), (ROWS_MAX, 36));
    }

    /// So late that what comes behind it in time is not within a tick.
    const BACK: u64 = 100 * SECOND;

    #[test]
    fn what_somebody_else_has_kept_goes_on_with_what_is_known_here() {
        let history = |reports: &[(u64, u64)]| {
            let mut history = Box::new(History::new());
            for &(number, at) in reports {
                history.record(&summary(&format!("{{\"drift_count\":{number}}}")), at);
            }
            history
        };
        for (kept, here, expected) in [
            (&[][..], &[(1, 1)][..], &[(1, 1, 1, 1)][..]),
            (&[(1, 1)], &[], &[(1, 1, 1, 1)]),
            (&[(1, 1), (2, 2)], &[(1, 1)], &[(1, 1, 1, 1), (2, 2, 2, 1)]),
            (&[(1, 1)], &[(1, 1), (2, 2), (3, 3)], &[(1, 1, 1, 1), (2, 2, 2, 1), (3, 3, 3, 1)]),
            (&[(1, 1), (1, 2)], &[(1, 1), (1, 2), (1, 3)], &[(1, 1, 3, 3)]),
            (&[(1, 1), (1, 2), (1, 3)], &[(1, 1), (1, 2)], &[(1, 1, 3, 3)]),
            (&[(1, 1), (2, 4)], &[(3, 3)], &[(1, 1, 1, 1), (2, 4, 4, 1)]),
            (&[(1, 1), (2, 4)], &[(1, 1), (3, 5)], &[(1, 1, 1, 1), (2, 4, 4, 1)]),
            // The clock has gone back.
            (
                &[(1, BACK), (2, BACK + 1), (3, 1)],
                &[(1, BACK), (2, BACK + 1), (3, 1)],
                &[(1, BACK, BACK, 1), (2, BACK + 1, BACK + 1, 1), (3, 1, 1, 1)],
            ),
            (&[(1, BACK)], &[(1, BACK), (1, 1), (2, 2)], &[(1, BACK, 1, 2), (2, 2, 2, 1)]),
        ] {
            let mut history_kept = history(kept);
            let changed = history_kept.follow(&history(here));
            let rows = history_kept.rows().iter();
            let rows: Vec<_> =
                rows.map(|row| (row.drift_count.unwrap(), row.received_at, row.last_received_at, row.count)).collect();
            assert_eq!(rows, expected, "{kept:?} {here:?}");
            assert_eq!(changed, history_kept.rows() != history(kept).rows());
        }
    }

    #[test]
    fn to_read_the_same_file_again_changes_nothing() {
        let mut history = Box::new(History::new());
        let [one, two] = ["{}", r#"{"drift_count":1}"#].map(summary);
        for (summary, at, rows, count) in [
            (&one, 5, 1, 1),
            (&one, 5, 1, 1),
            (&one, 6, 1, 2),
            (&two, 6, 2, 1),
            (&two, 7, 2, 1),
            (&two, 8, 2, 2),
            (&two, BACK, 2, 3),
            (&two, 8, 2, 4),
            (&two, 8, 2, 4),
            (&one, 8, 3, 1),
        ] {
            history.record_file(summary, at);
            assert_eq!((history.rows().len(), history.newest().unwrap().count), (rows, count));
        }
    }
}
