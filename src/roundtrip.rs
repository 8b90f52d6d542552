//! `gitops-status-server roundtrip`: shows that a server takes a post and serves it, and leaves its status as it was.
//!
//! What the server has now is posted twice: first with a line end more, or without the one that it had, and then as it was.
//! That is the same status to whoever reads it meanwhile, and to whoever reads it for ever should the second post fail;
//! and yet a server that takes no post is found out.

use std::fmt::Display;
use std::time::{Duration, Instant};

use crate::client::{Client, Url, failed};
use crate::clock::pause;
use crate::text::Lossy;

/// How long all of it may take.
const TIMEOUT: Duration = Duration::from_secs(15);

/// How long until it tries again to reach a server that is not there yet.
const PAUSE: Duration = Duration::from_millis(250);

const STATUS: &str = "/status.json";

/// Posts the status that the server of `url` has, gets it, and gives its size in bytes. All is done on one connection,
/// which leads to one server where several share a name.
///
/// # Errors
/// A sentence that says what was not as it should be; what the other server sent is raw in it.
pub fn run(url: &Url) -> Result<usize, String> {
    let deadline = Instant::now() + TIMEOUT;
    let mut client = Client::new(url, deadline);
    while let Err(error) = client.connect() {
        if Instant::now() + PAUSE >= deadline {
            return Err(failed(url, &error));
        }
        pause(PAUSE);
    }
    let mut ask = |method: &str, target: &str, fields: &str, sent: &[u8]| {
        let failed = |reason: &dyn Display| format!("{method} http://{}{target}: {reason}", url.authority());
        let is_ok = client.ask(method, target, fields, sent).map_err(|error| failed(&error))?;
        let content = client.content().map_err(|error| failed(&error))?;
        if is_ok { Ok(content) } else { Err(failed(&format_args!("{}: {}", client.status_line(), Lossy(&content)))) }
    };
    let original = ask("GET", STATUS, "", b"")?;
    for status in [&with_other_end(&original), &original] {
        let fields = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", status.len());
        ask("POST", "/api/status", &fields, status)?;
        if ask("GET", STATUS, "", b"")? != *status {
            return Err(format!(
                "GET http://{}{STATUS}: not what was just posted; does somebody else post too?",
                url.authority()
            ));
        }
    }
    Ok(original.len())
}

/// The same JSON text in other bytes.
fn with_other_end(status: &[u8]) -> Vec<u8> {
    let mut other = status.to_vec();
    if other.pop_if(|last| *last == b'\n').is_none() {
        other.push(b'\n');
    }
    other
}
