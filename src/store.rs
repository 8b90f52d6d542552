//! The files that a status comes from.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::snapshot::{SlotId, Snapshots};
use crate::status::{self, Refusal};

/// Why a seed file is not the first status.
#[derive(Debug)]
pub struct SeedError {
    path: PathBuf,
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    Io(io::Error),
    NotAFile,
    Refused(Refusal),
}

impl fmt::Display for SeedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed file {}: ", self.path.display())?;
        match &self.reason {
            Reason::Io(error) => error.fmt(f),
            Reason::NotAFile => f.write_str("not a regular file"),
            Reason::Refused(refusal) => refusal.fmt(f),
        }
    }
}

/// Reads the content of the file at `path` into a slot, to be published.
///
/// # Errors
/// The file cannot be read, or what it holds is not accepted as a status of at most `limit` bytes.
pub fn load_seed(path: &Path, limit: usize, snapshots: &mut Snapshots) -> Result<SlotId, SeedError> {
    read_seed(path, limit, snapshots).map_err(|reason| SeedError { path: path.to_owned(), reason })
}

fn read_seed(path: &Path, limit: usize, snapshots: &mut Snapshots) -> Result<SlotId, Reason> {
    // Looked at before it is opened, for to open a pipe is to wait for somebody.
    if !std::fs::metadata(path).map_err(Reason::Io)?.is_file() {
        return Err(Reason::NotAFile);
    }
    let mut file = File::open(path).map_err(Reason::Io)?;
    let slot = snapshots.reserve().expect("nobody posts before the server runs");
    let mut size = 0;
    let mut buffer = [0; 4096];
    let result = loop {
        match file.read(&mut buffer) {
            Ok(0) => break status::read(snapshots.slot(slot).bytes()).map(|_| ()).map_err(Reason::Refused),
            Ok(read) => {
                size += read;
                if size > limit {
                    // What the file system says of the size is more, unless the file grows while it is read.
                    let bytes = file.metadata().map_or(0, |metadata| metadata.len()).max(size as u64);
                    break Err(Reason::Refused(Refusal::TooLarge { bytes, at_least: false, limit }));
                }
                snapshots.append(slot, &buffer[..read]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(Reason::Io(error)),
        }
    };
    match result {
        Ok(()) => Ok(slot),
        Err(reason) => {
            snapshots.abandon(slot);
            Err(reason)
        }
    }
}
