//! Bytes that may be text: shown, and read as a number.

use core::fmt::{Display, Formatter, Result, Write};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

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

/// Reads the address of a socket, as the standard library does: `1.2.3.4:80`, `[::1]:80`, `[fe80::1%2]:80`.
pub fn address(text: &str) -> Option<SocketAddr> {
    let colon = text.bytes().rposition(|byte| byte == b':')?;
    let (host, port) = (&text[..colon], decimal(&text.as_bytes()[colon + 1..])?.try_into().ok()?);
    let Some(host) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) else {
        return Some(SocketAddr::new(IpAddr::V4(host.parse().ok()?), port));
    };
    let (host, zone) = match host.bytes().position(|byte| byte == b'%') {
        Some(at) => (&host[..at], decimal(&host.as_bytes()[at + 1..])?.try_into().ok()?),
        None => (host, 0),
    };
    Some(SocketAddrV6::new(host.parse().ok()?, port, 0, zone).into())
}

/// Shows the address of a socket, as the standard library does, which can align it too.
#[derive(Debug, Clone, Copy)]
pub struct Address(pub SocketAddr);

impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.0.ip() {
            IpAddr::V4(ip) => show_v4(ip, f)?,
            IpAddr::V6(ip) => {
                f.write_char('[')?;
                show_v6(ip, f)?;
                if let SocketAddr::V6(address) = self.0
                    && address.scope_id() != 0
                {
                    write!(f, "%{}", address.scope_id())?;
                }
                f.write_char(']')?;
            }
        }
        write!(f, ":{}", self.0.port())
    }
}

fn show_v4(ip: Ipv4Addr, f: &mut Formatter<'_>) -> Result {
    let [a, b, c, d] = ip.octets();
    write!(f, "{a}.{b}.{c}.{d}")
}

/// RFC 5952: `::` stands for the longest run of zeros, if it is two or more, and for the first of those.
fn show_v6(ip: Ipv6Addr, f: &mut Formatter<'_>) -> Result {
    if let Some(ip) = ip.to_ipv4_mapped() {
        f.write_str("::ffff:")?;
        return show_v4(ip, f);
    }
    let octets = ip.octets();
    let segment = |at: usize| u16::from_be_bytes([octets[2 * at], octets[2 * at + 1]]);
    let (mut start, mut end) = (0, 0);
    for at in 0..8 {
        let zeros = (at..8).take_while(|&at| segment(at) == 0).count();
        if zeros > 1 && zeros > end - start {
            (start, end) = (at, at + zeros);
        }
    }
    for at in 0..8 {
        if (start..end).contains(&at) {
            f.write_str(if at == start { "::" } else { "" })?;
        } else {
            f.write_str(if at == 0 || at == end { "" } else { ":" })?;
            show_hex(f, segment(at), 1)?;
        }
    }
    Ok(())
}

/// The sixteen digits of a number in hexadecimal.
pub fn hex(number: u64) -> [u8; 16] {
    core::array::from_fn(|at| b"0123456789abcdef"[(number >> (60 - 4 * at)) as usize & 0xF])
}

/// Shows a number in hexadecimal, with at least so many digits.
///
/// # Errors
/// Those of `out`.
pub fn show_hex(out: &mut dyn Write, number: u16, least: usize) -> Result {
    let digits = hex(number.into());
    let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    digits[zeros.min(digits.len() - least)..].iter().try_for_each(|&digit| out.write_char(digit.into()))
}

/// Whether two words are the same but for the case of their letters, as names and options of HTTP are compared
/// (RFC 9110 §5.1). They are short, for which the standard library does too much.
#[inline(never)]
pub fn same_word(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.eq_ignore_ascii_case(other))
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
        for text in ["127.0.0.1:0", "255.10.0.9:8080", "[::1]:65535", "[::ffff:1.2.3.4]:80", "[fe80::1%3]:80"] {
            assert_eq!(Address(text.parse().unwrap()).to_string(), text);
        }
        // Where zeros may stand is what makes the difference.
        for zeros in 0..=255_u32 {
            let ip =
                Ipv6Addr::from(core::array::from_fn::<u16, 8, _>(|at| if zeros >> at & 1 == 1 { 0 } else { 0xa00 }));
            let address = SocketAddr::new(ip.into(), 80);
            assert_eq!(Address(address).to_string(), address.to_string());
        }
    }

    #[test]
    fn an_address_is_read_as_the_standard_library_reads_it() {
        for host in ["1.2.3.4", "01.2.3.4", "1.2.3", "1.2.3.256", "[::1]", "::1", "[::", "[1.2.3.4]", "[fe80::1%3]"]
            .into_iter()
            .chain(["[fe80::1%]", "[fe80::1%4294967296]", "[::ffff:1.2.3.4]", "localhost", "", "[]", "[::1]x", " ::1"])
        {
            for port in [
                "",
                ":",
                ":0",
                ":00080",
                ":65535",
                ":65536",
                ":+1",
                ":-1",
                ": 1",
                ":1 ",
                ":1:1",
                ":18446744073709551617",
            ] {
                let text = std::format!("{host}{port}");
                assert_eq!(address(&text), text.parse().ok(), "{text:?}");
            }
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
