//! The syntax of HTTP/1.1 (RFC 9110, RFC 9112): request heads, the framing of message bodies, response heads.

pub mod framing;
pub mod head;
pub mod response;
