//! The last accepted statuses: when each state of things began to be reported, and for how long it was.

use core::fmt::{self, Write};

use crate::date;
use crate::json::escape;
use crate::summary::{Summary, TEXT_MAX, Text};

/// How many states are remembered.
pub const ROWS_MAX: usize = 64;

/// A second, in the nanoseconds that times are kept in.
pub const SECOND: u64 = 1_000_000_000;

/// The most bytes of JSON that one row has: its two texts, every byte of which is escaped by six, and what is around them.
const ROW_JSON_MAX: usize = 2 * (TEXT_MAX * 6 + "…".len()) + 320;
/// The most bytes of JSON that all of them have.
pub const JSON_MAX: usize = ROWS_MAX * ROW_JSON_MAX + 2;

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
        if let Some(newest) = self.rows.last_mut().filter(|newest| newest.fingerprint == summary.fingerprint) {
            newest.last_received_at = newest.last_received_at.max(at);
            newest.count = newest.count.saturating_add(1);
            newest.last_check.clone_from(&summary.last_check);
            return;
        }
        if self.rows.is_full() {
            self.rows.remove(0);
        }
        let _ = self.rows.push(Row {
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
