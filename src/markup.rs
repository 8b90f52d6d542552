//! Text that stands in HTML or XML, as content or between the quotes of an attribute.

use core::fmt::{self, Write};

/// Writes `characters` so that they are themselves and never markup. What XML cannot have (control characters, U+FFFE,
/// U+FFFF) and the marks that turn the direction of writing for what follows become U+FFFD.
///
/// # Errors
/// Those of `out`.
pub fn escape(out: &mut dyn Write, characters: impl Iterator<Item = char>) -> fmt::Result {
    for character in characters {
        match character {
            '&' => out.write_str("&amp;")?,
            '<' => out.write_str("&lt;")?,
            '>' => out.write_str("&gt;")?,
            '"' => out.write_str("&quot;")?,
            '\'' => out.write_str("&#39;")?,
            '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{fffe}'..='\u{ffff}' => {
                out.write_char(char::REPLACEMENT_CHARACTER)?;
            }
            _ => out.write_char(character)?,
        }
    }
    Ok(())
}

/// Writes `template`, and in the place of each `$` with a letter behind it whatever `fill` writes for that letter.
///
/// # Errors
/// Those of `out`.
pub fn fill(
    out: &mut dyn Write,
    template: &str,
    fill: &mut dyn FnMut(&mut dyn Write, u8) -> fmt::Result,
) -> fmt::Result {
    let mut rest = template;
    while let Some(at) = rest.bytes().position(|byte| byte == b'$') {
        out.write_str(&rest[..at])?;
        fill(out, rest.as_bytes().get(at + 1).copied().unwrap_or_default())?;
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    out.write_str(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    #[test]
    fn no_text_is_markup() {
        let mut out = String::new();
        escape(&mut out, "<b a=\"'&'\">\0\u{7}\u{202e}é\u{ffff}😀".chars()).unwrap();
        assert_eq!(out, "&lt;b a=&quot;&#39;&amp;&#39;&quot;&gt;\u{fffd}\u{fffd}\u{fffd}é\u{fffd}😀");
    }

    #[test]
    fn a_template_is_filled_where_it_says_so() {
        let mut out = String::new();
        fill(&mut out, "$ab$b$$c", &mut |out, letter| write!(out, "<{}>", letter as char)).unwrap();
        assert_eq!(out, "<a>b<b><$>c");
    }
}
