//! Bytes as text, for whoever reads what may be none.

use core::fmt::{Display, Formatter, Result, Write as _};

/// Shows bytes; what is not UTF-8 in them is U+FFFD.
#[derive(Debug, Clone, Copy)]
pub struct Lossy<'b>(pub &'b [u8]);

impl Display for Lossy<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for chunk in self.0.utf8_chunks() {
            f.write_str(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                f.write_char(char::REPLACEMENT_CHARACTER)?;
            }
        }
        Ok(())
    }
}
