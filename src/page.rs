//! The page for people: the state in words, colour and shape.

use core::fmt::{self, Write};

use crate::history::History;
use crate::summary::Summary;

/// The most bytes of the page.
pub const PAGE_MAX: usize = 16 << 10;

/// The policy that goes with it (Content Security Policy Level 3).
pub const POLICY: &str = "default-src 'none'";

/// Writes the page.
///
/// # Errors
/// Those of `out`.
pub fn render(out: &mut dyn Write, summary: &Summary, history: &History, stale: bool) -> fmt::Result {
    let _ = (summary, history, stale);
    out.write_str("<!doctype html>")
}
