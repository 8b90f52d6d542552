//! What the core tells whoever keeps the log.

use core::fmt;
use core::net::SocketAddr;

use crate::http::response::Code;

/// Something that happened. Whatever a client sent is raw here: who shows it escapes it, see
/// [`json::escape`](crate::json::escape).
#[derive(Clone, Copy)]
pub enum Event<'e> {
    /// A status was accepted and is the current one.
    Accepted {
        /// Who posted it.
        peer: SocketAddr,
        /// Its size in bytes.
        bytes: usize,
        /// Its field of that name, as it stands between its quotes.
        sync_status: Option<&'e str>,
    },
    /// A POST was refused; the old status stays.
    Refused {
        /// Who posted.
        peer: SocketAddr,
        /// The status code of the answer.
        code: Code,
        /// The size of the body in bytes, as far as it is known.
        bytes: u64,
        /// The sentence that the client was given.
        reason: &'e dyn fmt::Display,
    },
    /// A request was answered, or something that should have been one.
    Answered {
        /// Who asked.
        peer: SocketAddr,
        /// The method, or `-` where it is unknown.
        method: &'e str,
        /// The request target, or `-` where it is unknown.
        target: &'e str,
        /// The status code of the answer.
        code: Code,
        /// The bytes of content in the answer.
        bytes: usize,
    },
}

/// Keeps the log.
pub trait Journal {
    /// Takes down one event.
    fn record(&mut self, event: Event<'_>);
}
