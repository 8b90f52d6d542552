//! JSON text, by RFC 8259 to the letter: the judge that says whether a text is JSON, and the reading and writing of
//! what stands between the quotes of a string.
//!
//! The judge recurses never and allocates never: nesting costs one bit a level, see [`DEPTH_MAX`].

use core::fmt;

use crate::text::show_hex;

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
    let mut judge = Judge { rest: text };
    judge.text().map_err(|fault| {
        let rest = judge.rest;
        let at = text.len() - rest.len();
        let fault = if rest.is_empty() {
            Fault::End
        } else if !begins_with_character(rest) {
            Fault::Utf8
        } else if at == 0 && rest.starts_with(b"\xEF\xBB\xBF") {
            Fault::ByteOrderMark
        } else {
            fault
        };
        Error { at, fault }
    })
}

/// Whether the UTF-8 of a whole character stands at the front.
fn begins_with_character(bytes: &[u8]) -> bool {
    core::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len) > 0
}

/// The nesting around a place: how many levels, and for each whether it is an object.
#[derive(Default)]
struct Nesting {
    depth: u32,
    /// Bit 0 is the innermost level; 1 stands for an object.
    objects: u64,
}

impl Nesting {
    #[inline]
    fn enter(&mut self, object: bool) -> Result<(), Fault> {
        if self.depth == DEPTH_MAX {
            return Err(Fault::Depth);
        }
        self.depth += 1;
        self.objects = self.objects << 1 | u64::from(object);
        Ok(())
    }

    #[inline]
    fn leave(&mut self) {
        self.depth -= 1;
        self.objects >>= 1;
    }

    #[inline]
    fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    /// What ends the innermost level.
    #[inline]
    fn end(&self) -> u8 {
        if self.in_object() { b'}' } else { b']' }
    }
}

/// What was not judged yet. The methods take what they are called for from its front; where they fail, the first byte
/// that cannot stand where it stands is at the front.
///
/// All that may stand outside of strings is ASCII, so whether the text is UTF-8 is looked at in strings alone, and where
/// something is wrong. The methods are to be inlined, since the place is kept in registers only then.
struct Judge<'t> {
    rest: &'t [u8],
}

impl Judge<'_> {
    fn text(&mut self) -> Result<(), Fault> {
        self.blanks();
        self.value()?;
        self.blanks();
        if self.rest.is_empty() { Ok(()) } else { Err(Fault::Trailing) }
    }

    /// Takes `byte`, or nothing.
    #[inline]
    fn take(&mut self, byte: u8) -> bool {
        match self.rest {
            [first, behind @ ..] if *first == byte => {
                self.rest = behind;
                true
            }
            _ => false,
        }
    }

    #[inline]
    fn blanks(&mut self) {
        if let [0..=b' ', ..] = self.rest {
            self.rest = behind_blanks(self.rest);
        }
    }

    /// One value with all that is in it. Each turn of the outer loop takes a member name, a scalar or the beginning of
    /// an array or object; the inner one closes what ends behind it.
    #[inline]
    fn value(&mut self) -> Result<(), Fault> {
        let mut nesting = Nesting::default();
        let mut name_is_due = false;
        loop {
            match self.rest {
                [b'"', behind @ ..] => {
                    self.rest = behind;
                    self.string()?;
                    if name_is_due {
                        name_is_due = false;
                        self.blanks();
                        if !self.take(b':') {
                            return Err(Fault::Colon);
                        }
                        self.blanks();
                        continue;
                    }
                }
                _ if name_is_due => return Err(Fault::Name),
                [open @ (b'{' | b'['), behind @ ..] => {
                    let object = *open == b'{';
                    nesting.enter(object)?;
                    self.rest = behind;
                    self.blanks();
                    if !self.take(nesting.end()) {
                        name_is_due = object;
                        continue;
                    }
                    nesting.leave();
                }
                [b'-' | b'0'..=b'9', ..] => self.number()?,
                _ => self.literal()?,
            }
            loop {
                if nesting.depth == 0 {
                    return Ok(());
                }
                self.blanks();
                if self.take(b',') {
                    self.blanks();
                    name_is_due = nesting.in_object();
                    break;
                }
                if !self.take(nesting.end()) {
                    return Err(if nesting.in_object() { Fault::ObjectNext } else { Fault::ArrayNext });
                }
                nesting.leave();
            }
        }
    }

    /// The rest of a string, behind its opening quote.
    #[inline]
    fn string(&mut self) -> Result<(), Fault> {
        if self.take(b'"') {
            return Ok(());
        }
        loop {
            self.plain();
            match self.rest {
                [b'"', behind @ ..] => {
                    self.rest = behind;
                    return Ok(());
                }
                // Where one is, others are.
                [b'\\', ..] => {
                    while self.take(b'\\') {
                        self.escape()?;
                    }
                }
                [0x80..=0xFF, ..] => self.beyond_ascii()?,
                _ => return Err(Fault::Control),
            }
        }
    }

    /// Passes over all up to a quote, a backslash, a control character, something beyond ASCII, or the end.
    #[inline]
    fn plain(&mut self) {
        let mut is_short = true;
        while let Some((eight, behind)) = self.rest.split_first_chunk() {
            let stops = stops(u64::from_le_bytes(*eight));
            if stops != 0 {
                self.rest = &self.rest[(stops.trailing_zeros() / 8) as usize..];
                return;
            }
            self.rest = behind;
            // Most names end within the first eight bytes; what does not may be long.
            if is_short {
                is_short = false;
                self.long_plain();
            }
        }
        while let [b' '..=b'!' | b'#'..=b'[' | b']'..=0x7F, behind @ ..] = self.rest {
            self.rest = behind;
        }
    }

    /// Passes over the same, as long as there are sixteen bytes of it.
    #[inline]
    fn long_plain(&mut self) {
        while let Some((sixteen, behind)) = self.rest.split_first_chunk() {
            let sixteen = u128::from_le_bytes(*sixteen);
            if stops(sixteen as u64) | stops((sixteen >> 64) as u64) != 0 {
                return;
            }
            self.rest = behind;
        }
    }

    /// Takes characters beyond ASCII, by the table of RFC 3629 §4.
    #[inline]
    fn beyond_ascii(&mut self) -> Result<(), Fault> {
        loop {
            // Only at the end of a text there are fewer than four bytes, and there zeros are as wrong as their absence.
            let four = match self.rest.first_chunk() {
                Some(four) => *four,
                None => {
                    let mut four = [0; 4];
                    four.iter_mut().zip(self.rest).for_each(|(to, from)| *to = *from);
                    four
                }
            };
            let four = u32::from_be_bytes(four);
            let len = match four {
                0..0x8000_0000 => return Ok(()),
                // Neither what two bytes could say nor a surrogate.
                0xE000_0000..0xF000_0000
                    if four & 0x00C0_C000 == 0x0080_8000 && !matches!(four & 0x0F20_0000, 0 | 0x0D20_0000) =>
                {
                    3
                }
                0xC200_0000..0xE000_0000 if four & 0x00C0_0000 == 0x0080_0000 => 2,
                0xF090_0000..0xF490_0000 if four & 0x00C0_C0C0 == 0x0080_8080 => 4,
                _ => return Err(Fault::Utf8),
            };
            self.rest = &self.rest[len..];
            // Scripts with two bytes a character are written with ASCII between, as a rule, the others without.
            if len == 2 {
                return Ok(());
            }
        }
    }

    /// The rest of an escape, behind its backslash (RFC 8259 §7).
    #[inline]
    fn escape(&mut self) -> Result<(), Fault> {
        match self.rest {
            [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', behind @ ..] => self.rest = behind,
            [b'u', behind @ ..] => {
                self.rest = behind;
                for _ in 0..4 {
                    match self.rest {
                        [digit, behind @ ..] if digit.is_ascii_hexdigit() => self.rest = behind,
                        _ => return Err(Fault::UnicodeEscape),
                    }
                }
            }
            _ => return Err(Fault::Escape),
        }
        Ok(())
    }

    /// A number (RFC 8259 §6).
    #[inline]
    fn number(&mut self) -> Result<(), Fault> {
        self.take(b'-');
        if self.take(b'0') {
            if let [b'0'..=b'9', ..] = self.rest {
                return Err(Fault::LeadingZero);
            }
        } else {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if let [b'e' | b'E', behind @ ..] = self.rest {
            self.rest = behind;
            if let [b'+' | b'-', behind @ ..] = self.rest {
                self.rest = behind;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// Digits, one at least.
    #[inline]
    fn digits(&mut self) -> Result<(), Fault> {
        let [b'0'..=b'9', ..] = self.rest else { return Err(Fault::Digit) };
        while let [b'0'..=b'9', behind @ ..] = self.rest {
            self.rest = behind;
        }
        Ok(())
    }

    /// `true`, `false` or `null`, for nothing else is left that could be a value.
    #[inline]
    fn literal(&mut self) -> Result<(), Fault> {
        let mut due: &[u8] = match self.rest {
            [b't', ..] => b"true",
            [b'f', ..] => b"false",
            [b'n', ..] => b"null",
            _ => return Err(Fault::Value),
        };
        while let ([letter, others @ ..], [first, behind @ ..]) = (due, self.rest)
            && letter == first
        {
            (due, self.rest) = (others, behind);
        }
        if due.is_empty() { Ok(()) } else { Err(Fault::Literal) }
    }
}

const ONES: u64 = u64::MAX / 0xFF;
const HIGHS: u64 = ONES * 0x80;

/// The high bits of those of eight bytes that a string is not just passed over at: quotes, backslashes, control
/// characters and all beyond ASCII. Only the first one is right for sure.
#[inline]
fn stops(eight: u64) -> u64 {
    // What is taken from a byte below it turns its high bit up. The borrow can only spoil what stands behind. With the
    // quote in the place of the space, all below 0x21 is one of the two.
    let control_or_quote = (eight ^ (ONES * 0x02)).wrapping_sub(ONES * 0x21);
    let backslash = (eight ^ (ONES * u64::from(b'\\'))).wrapping_sub(ONES);
    (control_or_quote | backslash | eight) & HIGHS
}

/// What follows the blanks at the front.
fn behind_blanks(mut rest: &[u8]) -> &[u8] {
    loop {
        match rest {
            [b'\n', behind @ ..] => {
                rest = behind;
                // Most of what people and programs write goes on with as many spaces as it is deep.
                while let Some((eight, behind)) = rest.split_first_chunk() {
                    let other = u64::from_le_bytes(*eight) ^ u64::from_le_bytes(*b"        ");
                    if other != 0 {
                        rest = &rest[(other.trailing_zeros() / 8) as usize..];
                        break;
                    }
                    rest = behind;
                }
            }
            [b' ' | b'\r' | b'\t', behind @ ..] => rest = behind,
            _ => return rest,
        }
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
                out.write_str("\\u")?;
                show_hex(out, *unit, 4)?;
            }
        }
        _ => out.write_char(character)?,
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
    fn what_is_utf8_in_a_string_is_what_the_standard_library_says() {
        let edges = [b'"', 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF];
        for lead in 0x80..=0xFF {
            for second in edges {
                for third in edges {
                    for fourth in edges {
                        let text = [b'"', lead, second, third, fourth, b'"'];
                        // With what a string needs behind it, and at the end of the text.
                        for end in 2..=text.len() {
                            let text = &text[..end];
                            let malformed = core::str::from_utf8(text).err().map(|error| error.valid_up_to());
                            // A quote may end the string before.
                            let earlier = text[1..].iter().position(|byte| *byte == b'"').map(|quote| quote + 2);
                            let due = malformed.filter(|at| earlier.is_none_or(|end| *at <= end));
                            let found = check(text).err().filter(|error| error.fault == Fault::Utf8);
                            assert_eq!(found.map(|error| error.at), due, "{}", text.escape_ascii());
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_byte_is_what_it_is_wherever_it_stands_in_a_word() {
        for byte in 0..=0x7F {
            for before in 0..40 {
                let at = before + 1;
                let mut text = [b"\"", &b"x".repeat(before)[..], &[byte], b"zzzzzzzzzzzzzzzzzzzz\""].concat();
                let due = match byte {
                    0..0x20 => Some((at, Fault::Control)),
                    b'"' => Some((at + 1, Fault::Trailing)),
                    b'\\' => Some((at + 1, Fault::Escape)),
                    _ => None,
                };
                assert_eq!(check(&text).err().map(|error| (error.at, error.fault)), due, "{}", text.escape_ascii());

                text = [&b"1".repeat(at)[..], &[byte], b" ,                    "].concat();
                let due = match byte {
                    b'0'..=b'9' | b' ' | b'\n' | b'\r' | b'\t' => (at + 2, Fault::Trailing),
                    b'.' | b'e' | b'E' => (at + 1, Fault::Digit),
                    _ => (at, Fault::Trailing),
                };
                assert_eq!(check(&text).map_err(|error| (error.at, error.fault)), Err(due), "{}", text.escape_ascii());

                text = [b"\n", &b" ".repeat(before)[..], &[byte], b"                     "].concat();
                let blank = matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
                if !blank && !byte.is_ascii_digit() {
                    let found = check(&text).expect_err("not a value").at;
                    assert!(found == at || (b"-[{\"tfn".contains(&byte) && found > at), "{}", text.escape_ascii());
                }
            }
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
