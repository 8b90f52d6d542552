//! `gitops-status-server healthcheck`: asks a server how it is, for images that have no curl.

use std::time::{Duration, Instant};

use crate::client::{Client, Url, failed};
use crate::text::Lossy;

/// How long the whole check may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The most bytes of a response's content that are shown.
const CONTENT_SHOWN: usize = 400;

/// Gets `url`.
///
/// # Errors
/// A sentence that says why the answer is not a 200; what the other server sent is raw in it.
pub fn check(url: &Url) -> Result<(), String> {
    let mut client = Client::new(url, Instant::now() + TIMEOUT);
    match client.ask("GET", url.target(), "Connection: close\r\n", b"") {
        Ok(true) => Ok(()),
        Ok(false) => {
            // What it says is worth a look, but not a failure of its own.
            let content = client.content().unwrap_or_default();
            let said = Lossy(&content[..content.len().min(CONTENT_SHOWN)]);
            let mut reason = failed(url, &format_args!("{} {said}", client.status_line()));
            reason.truncate(reason.trim_ascii_end().len());
            Err(reason)
        }
        Err(error) => Err(failed(url, &error)),
    }
}
