//! Where a message body ends (RFC 9112 §6.3, §7.1): by its length or chunk by chunk.

use core::fmt;

/// How long a message body is, as its head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// So many bytes; 0 where the head names no body.
    Bytes(u64),
    /// In chunks, each with its own size.
    Chunked,
}

/// The most bytes that the chunk extensions of one body may have together, and its trailer section: both are read and
/// dropped, so nobody needs more.
pub const DROPPED_MAX: u16 = 8192;

/// The most digits of a chunk size: as many as a `u64` has.
const SIZE_DIGITS_MAX: u8 = 16;

/// Why a chunked body is refused. Where the next request begins is unknown behind any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FramingError {
    /// A chunk size that is not 1 to 16 hexadecimal digits (RFC 9112 §7.1).
    ChunkSize,
    /// A chunk extension with a control character, or a line that does not end with CR LF (RFC 9112 §7.1.1).
    ChunkLine,
    /// More bytes in a chunk than its size said (RFC 9112 §7.1).
    ChunkEnd,
    /// A malformed trailer field (RFC 9112 §7.1.2).
    Trailer,
    /// Extensions of more than [`DROPPED_MAX`] bytes.
    ExtensionsTooLarge,
    /// A trailer section of more than [`DROPPED_MAX`] bytes.
    TrailersTooLarge,
}

impl fmt::Display for FramingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FramingError::ChunkSize => "A chunk size must be 1 to 16 hexadecimal digits",
            FramingError::ChunkLine => "Malformed line after a chunk size",
            FramingError::ChunkEnd => "A chunk does not end where its size says",
            FramingError::Trailer => "Malformed trailer field",
            FramingError::ExtensionsTooLarge => "The chunk extensions are too large; the limit is 8192 bytes",
            FramingError::TrailersTooLarge => "The trailer section is too large; the limit is 8192 bytes",
        })
    }
}

const _: () = assert!(DROPPED_MAX == 8192, "the sentences above name it");

/// Finds the content in the bytes of one message body, however they are cut.
#[derive(Debug, Clone)]
pub struct Decoder {
    place: Place,
    /// Bytes of content still to come: of the body, or of the chunk.
    remaining: u64,
    /// Digits of the chunk size so far.
    digits: u8,
    /// Bytes of extensions, then of the trailer section, so far.
    dropped: u16,
}

/// What the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Behind the body.
    End,
    /// Content whose length the head gave.
    Content,
    Size,
    /// Blanks between a size and the semicolon of its extension (RFC 9112 §7.1.1).
    SizeBlank,
    Extension,
    SizeLf,
    ChunkContent,
    ChunkCr,
    ChunkLf,
    /// The start of a trailer field or of the last line.
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    LastLf,
}

impl Decoder {
    /// The decoder of no body at all.
    pub const EMPTY: Decoder = Decoder { place: Place::End, remaining: 0, digits: 0, dropped: 0 };

    /// The decoder of a body that is `length` long.
    pub fn new(length: Length) -> Self {
        let (place, remaining) = match length {
            Length::Bytes(0) => (Place::End, 0),
            Length::Bytes(bytes) => (Place::Content, bytes),
            Length::Chunked => (Place::Size, 0),
        };
        Decoder { place, remaining, ..Decoder::EMPTY }
    }

    /// Whether the whole body has been read.
    pub fn is_done(&self) -> bool {
        self.place == Place::End
    }

    /// How many bytes of content are announced and not read yet: of the body, or of this chunk.
    pub fn announced(&self) -> u64 {
        match self.place {
            Place::Content | Place::ChunkContent => self.remaining,
            _ => 0,
        }
    }

    /// Takes bytes from the front of `input` up to the end of the next run of content, of the body or of `input`, and
    /// gives how many it took, and the content among them. The rest is for the next call.
    ///
    /// # Errors
    /// See [`FramingError`].
    pub fn decode<'i>(&mut self, input: &'i [u8]) -> Result<(usize, &'i [u8]), FramingError> {
        for (at, &byte) in input.iter().enumerate() {
            match self.place {
                Place::End => return Ok((at, &[])),
                Place::Content | Place::ChunkContent => return Ok(self.content(at, input)),
                _ => self.place = self.step(byte)?,
            }
        }
        Ok((input.len(), &[]))
    }

    fn content<'i>(&mut self, at: usize, input: &'i [u8]) -> (usize, &'i [u8]) {
        let here = &input[at..];
        let len = usize::try_from(self.remaining).map_or(here.len(), |remaining| remaining.min(here.len()));
        self.remaining -= len as u64;
        if self.remaining == 0 {
            self.place = if self.place == Place::Content { Place::End } else { Place::ChunkCr };
        }
        (at + len, &here[..len])
    }

    /// What follows a byte that is not content.
    fn step(&mut self, byte: u8) -> Result<Place, FramingError> {
        Ok(match (self.place, byte) {
            (Place::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                if self.digits == SIZE_DIGITS_MAX {
                    return Err(FramingError::ChunkSize);
                }
                self.digits += 1;
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                self.remaining = self.remaining << 4 | u64::from(digit);
                Place::Size
            }
            (Place::Size, _) if self.digits == 0 => return Err(FramingError::ChunkSize),
            (Place::Size, b'\r') => Place::SizeLf,
            (Place::Size | Place::SizeBlank, b';') => self.drop_extension()?,
            (Place::Size | Place::SizeBlank, b' ' | b'\t') => {
                self.drop_extension()?;
                Place::SizeBlank
            }
            (Place::Size | Place::SizeBlank, _) => return Err(FramingError::ChunkSize),
            (Place::Extension, b'\r') => Place::SizeLf,
            (Place::Extension, _) if is_text(byte) => self.drop_extension()?,
            (Place::SizeLf, b'\n') => self.chunk_begins(),
            (Place::Extension | Place::SizeLf, _) => return Err(FramingError::ChunkLine),
            (Place::ChunkCr, b'\r') => Place::ChunkLf,
            (Place::ChunkLf, b'\n') => Place::Size,
            (Place::ChunkCr | Place::ChunkLf, _) => return Err(FramingError::ChunkEnd),
            (Place::TrailerStart, b'\r') => Place::LastLf,
            (Place::TrailerStart | Place::TrailerName, _) if is_token(byte) => self.drop_trailer(Place::TrailerName)?,
            (Place::TrailerName, b':') => self.drop_trailer(Place::TrailerValue)?,
            (Place::TrailerValue, b'\r') => Place::TrailerLf,
            (Place::TrailerValue, _) if is_text(byte) => self.drop_trailer(Place::TrailerValue)?,
            (Place::TrailerLf, b'\n') => Place::TrailerStart,
            (Place::LastLf, b'\n') => Place::End,
            _ => return Err(FramingError::Trailer),
        })
    }

    fn chunk_begins(&mut self) -> Place {
        self.digits = 0;
        if self.remaining == 0 {
            self.dropped = 0;
            Place::TrailerStart
        } else {
            Place::ChunkContent
        }
    }

    fn drop_extension(&mut self) -> Result<Place, FramingError> {
        self.dropped += 1;
        if self.dropped > DROPPED_MAX { Err(FramingError::ExtensionsTooLarge) } else { Ok(Place::Extension) }
    }

    fn drop_trailer(&mut self, place: Place) -> Result<Place, FramingError> {
        self.dropped += 1;
        if self.dropped > DROPPED_MAX { Err(FramingError::TrailersTooLarge) } else { Ok(place) }
    }
}

/// `HTAB / SP / VCHAR / obs-text`, which field values and quoted strings are made of (RFC 9110 §5.5).
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7F)
}

/// `tchar` (RFC 9110 §5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// The content, and what follows the body, with the input cut into pieces of `size` bytes.
    fn decode(length: Length, input: &[u8], size: usize) -> Result<(Vec<u8>, Vec<u8>), FramingError> {
        let mut decoder = Decoder::new(length);
        let (mut content, mut rest) = (Vec::new(), Vec::new());
        for mut piece in input.chunks(size) {
            while !piece.is_empty() && !decoder.is_done() {
                let (used, found) = decoder.decode(piece)?;
                content.extend_from_slice(found);
                piece = &piece[used..];
            }
            rest.extend_from_slice(piece);
        }
        assert!(decoder.is_done(), "{}", input.escape_ascii());
        Ok((content, rest))
    }

    #[test]
    fn a_body_ends_where_its_framing_says_however_it_is_cut() {
        let cases: [(Length, &[u8], &[u8]); 7] = [
            (Length::Bytes(0), b"GET", b""),
            (Length::Bytes(5), b"helloGET", b"hello"),
            (Length::Chunked, b"0\r\n\r\nGET", b""),
            (Length::Chunked, b"5\r\nhello\r\n0\r\n\r\nGET", b"hello"),
            (Length::Chunked, b"0002;a=\"b;c\" ; d\r\nhe\r\n3 ;x\r\nllo\r\n000\r\n\r\nGET", b"hello"),
            (
                Length::Chunked,
                b"A\r\n0123456789\r\na\r\nabcdefghij\r\n0\r\nX: y\r\nZ:\r\n\r\nGET",
                b"0123456789abcdefghij",
            ),
            (Length::Chunked, b"4\r\n\r\n\r\n\r\n0\r\n\r\nGET", b"\r\n\r\n"),
        ];
        for (length, input, content) in cases {
            for size in 1..=input.len() {
                let expected = Ok((content.to_vec(), b"GET".to_vec()));
                assert_eq!(decode(length, input, size), expected, "{} by {size}", input.escape_ascii());
            }
        }
    }

    #[test]
    fn a_malformed_chunk_is_refused_however_it_is_cut() {
        let cases: [(&[u8], FramingError); 20] = [
            (b"\r\n", FramingError::ChunkSize),
            (b";x\r\n", FramingError::ChunkSize),
            (b"g\r\n", FramingError::ChunkSize),
            (b"+5\r\n", FramingError::ChunkSize),
            (b"-5\r\n", FramingError::ChunkSize),
            (b"0x5\r\n", FramingError::ChunkSize),
            (b" 5\r\n", FramingError::ChunkSize),
            (b"5 \r\n", FramingError::ChunkSize),
            (b"5\n", FramingError::ChunkSize),
            (b"5_0\r\n", FramingError::ChunkSize),
            (b"00000000000000005\r\n", FramingError::ChunkSize),
            (b"10000000000000000\r\n", FramingError::ChunkSize),
            (b"5\rx", FramingError::ChunkLine),
            (b"5;a\n", FramingError::ChunkLine),
            (b"5;a\0\r\n", FramingError::ChunkLine),
            (b"5\r\nhelloX", FramingError::ChunkEnd),
            (b"5\r\nhello\n", FramingError::ChunkEnd),
            (b"0\r\n: x\r\n", FramingError::Trailer),
            (b"0\r\nX y\r\n", FramingError::Trailer),
            (b"0\r\nX: a\n", FramingError::Trailer),
        ];
        for (input, error) in cases {
            for size in 1..=input.len() {
                assert_eq!(decode(Length::Chunked, input, size), Err(error), "{} by {size}", input.escape_ascii());
            }
        }
    }

    #[test]
    fn what_is_dropped_is_bounded() {
        let limit = usize::from(DROPPED_MAX);
        let extension = |len: usize| [b"0;", "x".repeat(len - 1).as_bytes(), b"\r\n\r\n"].concat();
        assert!(decode(Length::Chunked, &extension(limit), 1000).is_ok());
        assert_eq!(decode(Length::Chunked, &extension(limit + 1), 1000), Err(FramingError::ExtensionsTooLarge));
        let trailer = |len: usize| [b"0\r\nX:", "x".repeat(len - 2).as_bytes(), b"\r\n\r\n"].concat();
        assert!(decode(Length::Chunked, &trailer(limit), 1000).is_ok());
        assert_eq!(decode(Length::Chunked, &trailer(limit + 1), 1000), Err(FramingError::TrailersTooLarge));
    }

    #[test]
    fn the_largest_chunk_size_does_not_overflow() {
        let mut decoder = Decoder::new(Length::Chunked);
        decoder.decode(b"FFFFFFFFFFFFFFFF\r\n").unwrap();
        assert_eq!(decoder.announced(), u64::MAX);
    }
}
