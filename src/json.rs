//! JSON text, by RFC 8259 to the letter: the judge that says whether a text is JSON, and the reading and writing of
//! what stands between the quotes of a string.
//!
//! The judge recurses never and allocates never: nesting costs one bit a level, see [`DEPTH_MAX`].

use core::fmt;

/// How deep arrays and objects may nest; RFC 8259 §9 leaves the limit to the implementation. One bit a level has to
/// fit a `u64`.
pub const DEPTH_MAX: u32 = 64;
const _: () = assert!(DEPTH_MAX <= u64::BITS);

/// Why a text is not JSON, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error {
    /// The offset, in bytes from the start of the text, of the first byte that cannot stand where it stands; the
    /// length of the text when it ends too early.
    pub at: usize,
    /// What is wrong there.
    pub fault: Fault,
}

/// What can be wrong with a text that should be JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The text ends inside a value.
    End,
    /// A byte order mark; RFC 8259 §8.1 forbids to send one.
    ByteOrderMark,
    /// Not UTF-8 (RFC 8259 §8.1); the offset is that of the first byte of the malformed sequence.
    Utf8,
    /// No value begins with this byte.
    Value,
    /// A letter that does not belong to `true`, `false` or `null`.
    Literal,
    /// A digit has to stand here.
    Digit,
    /// A number begins with 0 and goes on.
    LeadingZero,
    /// A control character below U+0020 stands raw in a string.
    Control,
    /// A backslash before something that cannot be escaped.
    Escape,
    /// `\u` without four hexadecimal digits.
    UnicodeEscape,
    /// A member name, in quotes, has to stand here.
    Name,
    /// A colon has to stand here.
    Colon,
    /// A comma or the end of the array has to stand here.
    ArrayNext,
    /// A comma or the end of the object has to stand here.
    ObjectNext,
    /// Nested deeper than [`DEPTH_MAX`].
    Depth,
    /// Something follows the value.
    Trailing,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::End => "the text ends too early",
            Fault::ByteOrderMark => "a byte order mark is not allowed",
            Fault::Utf8 => "not UTF-8",
            Fault::Value => "expected a value",
            Fault::Literal => "expected true, false or null",
            Fault::Digit => "expected a digit",
            Fault::LeadingZero => "a number cannot have a leading zero",
            Fault::Control => "a control character in a string must be escaped",
            Fault::Escape => "unknown escape in a string",
            Fault::UnicodeEscape => "\\u needs four hexadecimal digits",
            Fault::Name => "expected a member name in double quotes",
            Fault::Colon => "expected ':'",
            Fault::ArrayNext => "expected ',' or ']'",
            Fault::ObjectNext => "expected ',' or '}'",
            Fault::Depth => "nested deeper than 64 levels",
            Fault::Trailing => "unexpected text after the end",
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.fault, self.at)
    }
}

/// Judges whether `text` is one JSON text: any value of RFC 8259 §3, blanks around it, nothing else.
///
/// Numbers of any size and unpaired surrogates in `\u` escapes pass, for the grammar allows them (§6, §8.2).
///
/// # Errors
/// The first byte, in the order of the text, that makes it something else, or nesting beyond [`DEPTH_MAX`].
pub fn check(text: &[u8]) -> Result<(), Error> {
    // Whether it is UTF-8 is a question that the standard library answers many bytes at a time; what is wrong
    // before the place it names still comes first.
    match core::str::from_utf8(text) {
        Ok(_) => Judge { text }.text(),
        Err(utf8) => {
            let at = utf8.valid_up_to();
            match (Judge { text: &text[..at] }).text() {
                Err(earlier) if earlier.at < at => Err(earlier),
                _ => Err(Error { at, fault: Fault::Utf8 }),
            }
        }
    }
}

/// The nesting around a place: how many levels, and for each whether it is an object.
#[derive(Default)]
struct Nesting {
    depth: u32,
    /// Bit 0 is the innermost level; 1 stands for an object.
    objects: u64,
}

impl Nesting {
    fn enter(&mut self, object: bool) -> bool {
        if self.depth == DEPTH_MAX {
            return false;
        }
        self.depth += 1;
        self.objects = self.objects << 1 | u64::from(object);
        true
    }

    fn leave(&mut self) {
        self.depth -= 1;
        self.objects >>= 1;
    }

    fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }
}

/// A text known to be UTF-8. Its methods take an offset where something has to begin and give the offset behind it.
struct Judge<'t> {
    text: &'t [u8],
}

impl Judge<'_> {
    fn text(&self) -> Result<(), Error> {
        if self.text.starts_with(b"\xEF\xBB\xBF") {
            return Err(Error { at: 0, fault: Fault::ByteOrderMark });
        }
        let end = self.blanks(self.value(self.blanks(0))?);
        match self.text.get(end) {
            None => Ok(()),
            Some(_) => self.fail(end, Fault::Trailing),
        }
    }

    /// The error for what stands at `at`, or for standing at the end.
    fn fail<T>(&self, at: usize, fault: Fault) -> Result<T, Error> {
        let fault = if at < self.text.len() { fault } else { Fault::End };
        Err(Error { at, fault })
    }

    fn blanks(&self, mut at: usize) -> usize {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.text.get(at) {
            at += 1;
        }
        at
    }

    /// One value with all that is in it. Each turn of the outer loop begins a value; the inner one closes what ends
    /// behind it.
    fn value(&self, mut at: usize) -> Result<usize, Error> {
        let mut nesting = Nesting::default();
        loop {
            at = match self.text.get(at) {
                Some(b'"') => self.string(at + 1)?,
                Some(b'{') => {
                    if !nesting.enter(true) {
                        return self.fail(at, Fault::Depth);
                    }
                    let inside = self.blanks(at + 1);
                    if self.text.get(inside) == Some(&b'}') {
                        nesting.leave();
                        inside + 1
                    } else {
                        at = self.member_name(inside)?;
                        continue;
                    }
                }
                Some(b'[') => {
                    if !nesting.enter(false) {
                        return self.fail(at, Fault::Depth);
                    }
                    let inside = self.blanks(at + 1);
                    if self.text.get(inside) == Some(&b']') {
                        nesting.leave();
                        inside + 1
                    } else {
                        at = inside;
                        continue;
                    }
                }
                Some(b'-' | b'0'..=b'9') => self.number(at)?,
                Some(b't') => self.literal(at, b"true")?,
                Some(b'f') => self.literal(at, b"false")?,
                Some(b'n') => self.literal(at, b"null")?,
                _ => return self.fail(at, Fault::Value),
            };
            loop {
                if nesting.depth == 0 {
                    return Ok(at);
                }
                at = self.blanks(at);
                match (self.text.get(at), nesting.in_object()) {
                    (Some(b','), false) => {
                        at = self.blanks(at + 1);
                        break;
                    }
                    (Some(b','), true) => {
                        at = self.member_name(self.blanks(at + 1))?;
                        break;
                    }
                    (Some(b']'), false) | (Some(b'}'), true) => {
                        nesting.leave();
                        at += 1;
                    }
                    (_, false) => return self.fail(at, Fault::ArrayNext),
                    (_, true) => return self.fail(at, Fault::ObjectNext),
                }
            }
        }
    }

    /// A member name, the colon, and the blanks before the value.
    fn member_name(&self, at: usize) -> Result<usize, Error> {
        if self.text.get(at) != Some(&b'"') {
            return self.fail(at, Fault::Name);
        }
        let colon = self.blanks(self.string(at + 1)?);
        if self.text.get(colon) != Some(&b':') {
            return self.fail(colon, Fault::Colon);
        }
        Ok(self.blanks(colon + 1))
    }

    /// The rest of a string, behind its opening quote.
    fn string(&self, mut at: usize) -> Result<usize, Error> {
        loop {
            at = self.plain(at);
            match self.text.get(at) {
                Some(b'"') => return Ok(at + 1),
                Some(b'\\') => at = self.escape(at + 1)?,
                _ => return self.fail(at, Fault::Control),
            }
        }
    }

    /// The first place from `at` on that holds a quote, a backslash, a control character, or the end.
    fn plain(&self, mut at: usize) -> usize {
        const ONES: u64 = u64::MAX / 0xFF;
        const HIGHS: u64 = ONES * 0x80;
        // A byte is below n exactly when n is taken from it and its high bit turns up that was not there: eight bytes
        // at a time. A borrow can only spoil what stands behind a byte that was found already.
        let below = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word & HIGHS;
        while let Some(eight) = self.text.get(at..).and_then(|rest| rest.first_chunk()) {
            let word = u64::from_le_bytes(*eight);
            let quote = below(word ^ (ONES * u64::from(b'"')), 1);
            let backslash = below(word ^ (ONES * u64::from(b'\\')), 1);
            let found = quote | backslash | below(word, 0x20);
            if found != 0 {
                return at + (found.trailing_zeros() / 8) as usize;
            }
            at += 8;
        }
        while let Some(byte) = self.text.get(at) {
            if matches!(byte, b'"' | b'\\' | 0..0x20) {
                break;
            }
            at += 1;
        }
        at
    }

    /// The rest of an escape, behind its backslash (RFC 8259 §7).
    fn escape(&self, at: usize) -> Result<usize, Error> {
        match self.text.get(at) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 1),
            Some(b'u') => {
                for digit in at + 1..at + 5 {
                    if !self.text.get(digit).is_some_and(u8::is_ascii_hexdigit) {
                        return self.fail(digit, Fault::UnicodeEscape);
                    }
                }
                Ok(at + 5)
            }
            _ => self.fail(at, Fault::Escape),
        }
    }

    /// A number (RFC 8259 §6).
    fn number(&self, mut at: usize) -> Result<usize, Error> {
        if self.text.get(at) == Some(&b'-') {
            at += 1;
        }
        if self.text.get(at) == Some(&b'0') {
            at += 1;
            if self.text.get(at).is_some_and(u8::is_ascii_digit) {
                return self.fail(at, Fault::LeadingZero);
            }
        } else {
            at = self.digits(at)?;
        }
        if self.text.get(at) == Some(&b'.') {
            at = self.digits(at + 1)?;
        }
        if let Some(b'e' | b'E') = self.text.get(at) {
            at += 1;
            if let Some(b'+' | b'-') = self.text.get(at) {
                at += 1;
            }
            at = self.digits(at)?;
        }
        Ok(at)
    }

    fn digits(&self, mut at: usize) -> Result<usize, Error> {
        if !self.text.get(at).is_some_and(u8::is_ascii_digit) {
            return self.fail(at, Fault::Digit);
        }
        while self.text.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        Ok(at)
    }

    fn literal(&self, at: usize, word: &[u8]) -> Result<usize, Error> {
        for (place, letter) in (at..).zip(word) {
            if self.text.get(place) != Some(letter) {
                return self.fail(place, Fault::Literal);
            }
        }
        Ok(at + word.len())
    }
}

/// The characters that a string stands for, from what stands between its quotes in a text that [`check`] let pass.
///
/// A surrogate that has no partner becomes U+FFFD.
#[derive(Debug, Clone)]
pub struct Unescape<'t> {
    rest: core::str::Chars<'t>,
}

impl<'t> Unescape<'t> {
    /// Reads `raw`, the text between the quotes.
    pub fn new(raw: &'t str) -> Self {
        Unescape { rest: raw.chars() }
    }

    /// The four digits behind `\u`.
    fn code_unit(&mut self) -> u32 {
        self.rest.by_ref().take(4).fold(0, |unit, digit| unit << 4 | digit.to_digit(16).unwrap_or(0))
    }
}

impl Iterator for Unescape<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        let first = self.rest.next()?;
        if first != '\\' {
            return Some(first);
        }
        Some(match self.rest.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let unit = self.code_unit();
                let mut ahead = self.clone();
                let pair =
                    matches!(unit, 0xD800..0xDC00) && ahead.rest.next() == Some('\\') && ahead.rest.next() == Some('u');
                let low = if pair { ahead.code_unit() } else { 0 };
                if matches!(low, 0xDC00..0xE000) {
                    *self = ahead;
                    let code = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
                    char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
                } else {
                    char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)
                }
            }
            itself => itself,
        })
    }
}

/// Writes `characters` as they stand between the quotes of a JSON string.
///
/// Escaped is what RFC 8259 §7 wants escaped, and all that [`show`] does not show.
///
/// # Errors
/// Those of `out`.
pub fn escape(out: &mut impl fmt::Write, mut characters: impl Iterator<Item = char>) -> fmt::Result {
    characters.try_for_each(|character| {
        if matches!(character, '"' | '\\') {
            out.write_char('\\')?;
        }
        show_one(out, character)
    })
}

/// Writes `characters` for people, with escapes in the place of what could deceive who reads a terminal or a log:
/// control characters, line separators, the marks that turn the direction of writing, and all that is not seen at all
/// (`Default_Ignorable_Code_Point` of Unicode). Beyond U+FFFF they are pairs of surrogates, as JSON has them.
///
/// # Errors
/// Those of `out`.
pub fn show(out: &mut impl fmt::Write, mut characters: impl Iterator<Item = char>) -> fmt::Result {
    characters.try_for_each(|character| show_one(out, character))
}

fn show_one(out: &mut dyn fmt::Write, character: char) -> fmt::Result {
    {
        match character {
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}' => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}")?;
                }
            }
            _ => out.write_char(character)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    fn at(text: &str) -> (usize, Fault) {
        let error = check(text.as_bytes()).expect_err(text);
        (error.at, error.fault)
    }

    #[test]
    fn an_error_names_the_first_byte_that_cannot_stand_where_it_stands() {
        for (text, expected) in [
            ("", (0, Fault::End)),
            (" ", (1, Fault::End)),
            ("+1", (0, Fault::Value)),
            ("01", (1, Fault::LeadingZero)),
            ("-", (1, Fault::End)),
            ("-a", (1, Fault::Digit)),
            ("1.", (2, Fault::End)),
            ("1.]", (2, Fault::Digit)),
            (".5", (0, Fault::Value)),
            ("1e", (2, Fault::End)),
            ("1e+x", (3, Fault::Digit)),
            ("nul", (3, Fault::End)),
            ("nulL", (3, Fault::Literal)),
            ("NaN", (0, Fault::Value)),
            ("[1,]", (3, Fault::Value)),
            ("[1 2]", (3, Fault::ArrayNext)),
            ("[1}", (2, Fault::ArrayNext)),
            ("{\"a\":1,}", (7, Fault::Name)),
            ("{\"a\" 1}", (5, Fault::Colon)),
            ("{\"a\":1 \"b\"}", (7, Fault::ObjectNext)),
            ("{1:2}", (1, Fault::Name)),
            ("{} x", (3, Fault::Trailing)),
            ("\"a\nb\"", (2, Fault::Control)),
            ("\"0123456789\u{1}\"", (11, Fault::Control)),
            ("\"\\x\"", (2, Fault::Escape)),
            ("\"\\u12\"", (5, Fault::UnicodeEscape)),
            ("\"\\u12", (5, Fault::End)),
            ("\"abc", (4, Fault::End)),
            ("\u{feff}{}", (0, Fault::ByteOrderMark)),
        ] {
            assert_eq!(at(text), expected, "{text:?}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_named_unless_something_before_them_is_wrong() {
        let cases: [(&[u8], usize, Fault); 5] = [
            (b"\"\xC0\xAF\"", 1, Fault::Utf8),
            (b"\"\xED\xA0\x80\"", 1, Fault::Utf8),
            (b"\"ab\xE2\x82", 3, Fault::Utf8),
            (b"[1 2, \"\xFF\"]", 3, Fault::ArrayNext),
            (b"{\xFF", 1, Fault::Utf8),
        ];
        for (text, at, fault) in cases {
            assert_eq!(check(text), Err(Error { at, fault }), "{text:?}");
        }
    }

    #[test]
    fn nesting_ends_at_64_levels_and_never_recurses() {
        let nested = |depth: usize| [b"[".repeat(depth), b"]".repeat(depth)].concat();
        assert_eq!(check(&nested(64)), Ok(()));
        assert_eq!(check(&nested(65)), Err(Error { at: 64, fault: Fault::Depth }));
        assert_eq!(check(&b"[".repeat(65536)), Err(Error { at: 64, fault: Fault::Depth }));
        assert_eq!(check(&b"{\"a\":".repeat(65536)), Err(Error { at: 64 * 5, fault: Fault::Depth }));
    }

    #[test]
    fn an_object_in_an_array_in_an_object_closes_in_that_order() {
        assert_eq!(check(br#"{"a":[{"b":[]},{}],"c":[[{}],{"d":{}}]}"#), Ok(()));
        assert_eq!(at("[{]}"), (2, Fault::Name));
        assert_eq!(at("{\"a\":[}"), (6, Fault::Value));
    }

    #[test]
    fn unescape_gives_the_characters_that_the_string_stands_for() {
        let plain = |raw| Unescape::new(raw).collect::<String>();
        assert_eq!(plain(r#"a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00z"#), "a\"\\/\u{8}\u{c}\n\r\té😀z");
        assert_eq!(plain(r"\ud83dx"), "\u{fffd}x");
        assert_eq!(plain(r"\ud83dA\udc00"), "\u{fffd}A\u{fffd}");
    }

    #[test]
    fn escape_lets_nothing_through_that_could_forge_a_line() {
        let mut out = String::new();
        escape(&mut out, "a\"\\\n\r\t\u{1b}\u{7f}\u{85}\u{202e}\u{2028}é".chars()).unwrap();
        assert_eq!(out, r#"a\"\\\n\r\t\u001b\u007f\u0085\u202e\u2028é"#);
    }
}
