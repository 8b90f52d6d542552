//! Reads responses as a client does that trusts nobody.

pub struct Response {
    pub code: u16,
    pub fields: Vec<(String, String)>,
    pub content: Vec<u8>,
    /// What `Content-Length` says.
    pub length: Option<usize>,
}

impl Response {
    /// The value of the one field of that name.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| &**value);
        assert!(values.next().is_none(), "{name} is given twice");
        value
    }
}

/// The response that `bytes` begin with, and how many of them it takes; `None` where it is not whole.
pub fn parse(bytes: &[u8], to_head: bool) -> Option<(Response, usize)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = str::from_utf8(&bytes[..end]).expect("a response head is ASCII");
    assert!(head.bytes().all(|byte| byte == b'\r' || byte == b'\n' || (b' '..=b'~').contains(&byte)), "{head:?}");
    let mut lines = head.split("\r\n");
    let status_line = lines.next().expect("there is a first line");
    let rest = status_line.strip_prefix("HTTP/1.1 ").unwrap_or_else(|| panic!("{status_line:?}"));
    let (code, reason) = rest.split_once(' ').unwrap_or_else(|| panic!("{status_line:?}"));
    assert!(code.len() == 3 && !reason.is_empty(), "{status_line:?}");
    let code = code.parse().unwrap_or_else(|_| panic!("{status_line:?}"));
    let fields: Vec<(String, String)> = lines
        .map(|line| {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?}"));
            assert!(
                !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'),
                "{line:?}"
            );
            (name.to_owned(), value.to_owned())
        })
        .collect();
    let mut response = Response { code, fields, content: Vec::new(), length: None };
    response.length = response.field("Content-Length").map(|digits| digits.parse().expect("a length is a number"));
    assert!(response.field("Transfer-Encoding").is_none());
    let content = &bytes[end + 4..];
    let length = match code {
        100..200 | 204 => {
            assert!(response.length.is_none(), "{code} has a Content-Length (RFC 9110 §8.6)");
            0
        }
        304 => 0,
        _ if to_head => 0,
        _ => response.length.expect("the content has a length"),
    };
    response.content = content.get(..length)?.to_vec();
    Some((response, end + 4 + length))
}
