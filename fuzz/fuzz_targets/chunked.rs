//! The decoder of message bodies against a reading of RFC 9112 §6.3 and §7.1 that has the whole body before it.
//!
//! An input is one byte that says how to read it, then piece sizes, then the body. With the highest bit of the first
//! byte the body has a length, the next two bytes, else it is chunked; the lowest three bits say how many sizes follow.
#![no_main]

use gitops_status_server::http::framing::{DROPPED_MAX, Decoder, FramingError, Length};
use gitops_status_server_fuzz::expand;
use libfuzzer_sys::fuzz_target;

/// What a body is, as far as it is there.
#[derive(Debug)]
struct Reference {
    /// Where each run of content begins, and how many bytes of it were announced.
    runs: Vec<(usize, u64)>,
    end: End,
}

#[derive(Debug, PartialEq)]
enum End {
    /// The body ends before this byte.
    Done(usize),
    Incomplete,
    /// This byte cannot stand where it stands.
    Error(usize, FramingError),
}

impl Reference {
    fn of_length(length: u64, body: &[u8]) -> Self {
        let end = match usize::try_from(length) {
            Ok(length) if length <= body.len() => End::Done(length),
            _ => End::Incomplete,
        };
        Reference { runs: vec![(0, length)], end }
    }

    fn of_chunks(body: &[u8]) -> Self {
        let mut runs = Vec::new();
        let end = chunks(body, &mut runs).map_or_else(|end| end, End::Done);
        Reference { runs, end }
    }

    fn content(&self, body: &[u8]) -> Vec<u8> {
        let run = |&(start, size): &(usize, u64)| {
            let there = &body[start..];
            &there[..usize::try_from(size).map_or(there.len(), |size| size.min(there.len()))]
        };
        self.runs.iter().map(run).collect::<Vec<_>>().concat()
    }

    /// How much of the run in which the byte at `place` lies is still to come, that byte included.
    fn announced(&self, place: usize) -> u64 {
        let begun = self.runs.partition_point(|&(start, _)| start <= place);
        let run = self.runs[..begun].last();
        run.map_or(0, |&(start, size)| size.saturating_sub((place - start) as u64))
    }
}

/// `*chunk last-chunk trailer-section CRLF`; gives where it ends.
fn chunks(body: &[u8], runs: &mut Vec<(usize, u64)>) -> Result<usize, End> {
    let mut at = 0;
    let mut extensions = 0;
    loop {
        let digits = body[at..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        if digits > 16 {
            return Err(End::Error(at + 16, FramingError::ChunkSize));
        }
        let size = u64::from_str_radix(std::str::from_utf8(&body[at..at + digits]).unwrap(), 16);
        at += digits;
        let line_end = body[at..].iter().position(|&byte| byte == b'\r').map_or(body.len(), |length| at + length);
        // Whether a semicolon was there: only blanks may stand before it, and any text behind.
        let mut extension = false;
        for (place, &byte) in (at..).zip(&body[at..line_end]) {
            match byte {
                _ if digits == 0 => return Err(End::Error(place, FramingError::ChunkSize)),
                _ if extension && !is_text(byte) => return Err(End::Error(place, FramingError::ChunkLine)),
                b';' => extension = true,
                b' ' | b'\t' => {}
                _ if extension => {}
                _ => return Err(End::Error(place, FramingError::ChunkSize)),
            }
            extensions += 1;
            if extensions > usize::from(DROPPED_MAX) {
                return Err(End::Error(place, FramingError::ExtensionsTooLarge));
            }
        }
        if line_end == body.len() {
            return Err(End::Incomplete);
        }
        if digits == 0 || (line_end > at && !extension) {
            return Err(End::Error(line_end, FramingError::ChunkSize));
        }
        at = crlf(body, line_end, FramingError::ChunkLine)?;
        let size = size.expect("1 to 16 digits");
        if size == 0 {
            break;
        }
        runs.push((at, size));
        match usize::try_from(size) {
            Ok(size) if size <= body.len() - at => at += size,
            _ => return Err(End::Incomplete),
        }
        at = crlf(body, at, FramingError::ChunkEnd)?;
    }
    let mut trailers = 0;
    loop {
        match body.get(at) {
            None => return Err(End::Incomplete),
            Some(b'\r') => return crlf(body, at, FramingError::Trailer),
            Some(_) => {}
        }
        let line_end = body[at..].iter().position(|&byte| byte == b'\r').map_or(body.len(), |length| at + length);
        let line = &body[at..line_end];
        let colon = line.iter().position(|&byte| byte == b':');
        for (place, &byte) in line.iter().enumerate() {
            let fits = match colon {
                Some(colon) if place == colon => place > 0,
                Some(colon) if place > colon => is_text(byte),
                _ => byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte),
            };
            if !fits {
                return Err(End::Error(at + place, FramingError::Trailer));
            }
            trailers += 1;
            if trailers > usize::from(DROPPED_MAX) {
                return Err(End::Error(at + place, FramingError::TrailersTooLarge));
            }
        }
        if line_end == body.len() {
            return Err(End::Incomplete);
        }
        if colon.is_none() {
            return Err(End::Error(line_end, FramingError::Trailer));
        }
        at = crlf(body, line_end, FramingError::Trailer)?;
    }
}

fn crlf(body: &[u8], at: usize, error: FramingError) -> Result<usize, End> {
    match &body[at..] {
        [b'\r', b'\n', ..] => Ok(at + 2),
        [] | [b'\r'] => Err(End::Incomplete),
        [b'\r', ..] => Err(End::Error(at + 1, error)),
        _ => Err(End::Error(at, error)),
    }
}

fn is_text(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

/// Fails unless the decoder says what the reference does when `body` comes in pieces of these sizes, again and again.
fn compare(length: Length, body: &[u8], reference: &Reference, sizes: &[usize]) {
    let told = || format!("{length:?} by {sizes:?}: {reference:?}: {}", body.escape_ascii());
    let mut decoder = Decoder::new(length);
    let mut content = Vec::new();
    let mut at = 0;
    let mut error = None;
    assert_eq!(decoder.announced(), reference.announced(0), "{}", told());
    'body: for size in sizes.iter().cycle() {
        let mut piece = &body[at..body.len().min(at + size)];
        if piece.is_empty() || decoder.is_done() {
            break;
        }
        while !piece.is_empty() && !decoder.is_done() {
            match decoder.decode(piece) {
                Ok((used, found)) => {
                    assert!(0 < used && found.len() <= used, "{}", told());
                    assert_eq!(&piece[used - found.len()..used], found, "{}", told());
                    content.extend_from_slice(found);
                    piece = &piece[used..];
                    at += used;
                    assert_eq!(decoder.announced(), reference.announced(at), "before byte {at}: {}", told());
                }
                Err(found) => {
                    error = Some((at..at + piece.len(), found));
                    break 'body;
                }
            }
        }
    }
    match (&reference.end, error) {
        (End::Done(end), None) => assert!(decoder.is_done() && at == *end, "{at}: {}", told()),
        (End::Incomplete, None) => assert!(!decoder.is_done() && at == body.len(), "{at}: {}", told()),
        (End::Error(place, due), Some((piece, found))) => {
            assert!(*due == found && piece.contains(place), "{found:?} in {piece:?}: {}", told());
        }
        (_, error) => panic!("{error:?} before byte {at}: {}", told()),
    }
    assert_eq!(content, reference.content(body), "{}", told());
    if decoder.is_done() {
        assert_eq!(decoder.decode(b"GET"), Ok((0, &b""[..])), "{}", told());
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, mut rest)) = data.split_first() else { return };
    let mut length = Length::Chunked;
    if first & 0x80 != 0 {
        let Some((bytes, behind)) = rest.split_first_chunk() else { return };
        length = Length::Bytes(u16::from_be_bytes(*bytes).into());
        rest = behind;
    }
    let Some((sizes, rest)) = rest.split_at_checked(usize::from(first & 7)) else { return };
    let mut sizes: Vec<usize> = sizes.iter().map(|&size| 1 + usize::from(size)).collect();
    sizes.push(7);
    let body = expand(rest);
    let reference = match length {
        Length::Bytes(length) => Reference::of_length(length, &body),
        Length::Chunked => Reference::of_chunks(&body),
    };
    for sizes in [&[usize::MAX >> 1][..], &[1], &sizes] {
        compare(length, &body, &reference, sizes);
    }
});
