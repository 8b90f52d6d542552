//! Bytes that may be text: shown, and read as a number.

use core::fmt::{Display, Formatter, Result, Write as _};
use core::net::SocketAddr;

/// Shows bytes; what is not UTF-8 in them is U+FFFD.
#[derive(Debug, Clone, Copy)]
pub struct Lossy<'b>(pub &'b [u8]);

impl Display for Lossy<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let mut rest = self.0;
        loop {
            let (valid, behind) = match str::from_utf8(rest) {
                Ok(valid) => return f.write_str(valid),
                Err(error) => rest.split_at(error.valid_up_to()),
            };
            f.write_str(str::from_utf8(valid).unwrap_or_default())?;
            f.write_char(char::REPLACEMENT_CHARACTER)?;
            // A character that is cut off is shown as one, as the standard library does it.
            let bad = str::from_utf8(behind).err().and_then(|error| error.error_len()).unwrap_or(behind.len());
            rest = &behind[bad..];
        }
    }
}

/// Shows the address of a socket, as the standard library does, which can align it too.
#[derive(Debug, Clone, Copy)]
pub struct Address(pub SocketAddr);

impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.0 {
            SocketAddr::V4(address) => write!(f, "{}:{}", address.ip(), address.port()),
            SocketAddr::V6(address) if address.scope_id() == 0 => write!(f, "[{}]:{}", address.ip(), address.port()),
            SocketAddr::V6(address) => write!(f, "[{}%{}]:{}", address.ip(), address.scope_id(), address.port()),
        }
    }
}

/// The number that decimal digits are, if there are any and nothing else.
pub fn decimal(digits: &[u8]) -> Option<u64> {
    let number = digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    });
    number.filter(|_| !digits.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_shown_as_far_as_it_is() {
        assert_eq!(Lossy(b"a\xffb\xc3\xa4\xc3").to_string(), "a\u{fffd}b\u{e4}\u{fffd}");
    }

    #[test]
    fn an_address_is_shown_as_everybody_shows_it() {
        for text in ["127.0.0.1:0", "[::1]:65535", "[::ffff:1.2.3.4]:80", "[fe80::1%3]:80"] {
            assert_eq!(Address(text.parse().unwrap()).to_string(), text);
        }
    }

    #[test]
    fn a_number_has_digits_alone_and_fits() {
        assert_eq!(decimal(b"0018446744073709551615"), Some(u64::MAX));
        for text in ["", "18446744073709551616", "+1", "-1", " 1", "1 ", "1.0", "0x1"] {
            assert_eq!(decimal(text.as_bytes()), None, "{text:?}");
        }
    }
}
