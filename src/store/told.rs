//! What the store tells: of trouble, to whoever asks; of what happened, to the log.

use core::fmt;

use super::Fault;
use crate::status::Refusal;

/// A step, as a sentence about its failure names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// To open the directory.
    Open,
    /// To look at the state.
    Look,
    /// To read the state.
    Read,
    /// To read the seen seeds.
    ReadSeeds,
    /// To read the history.
    ReadHistory,
    /// To create the temporary file.
    Create,
    /// To write it.
    Write,
    /// To synchronise it.
    Sync,
    /// To rename it.
    Rename,
    /// To synchronise the directory.
    SyncDirectory,
}

/// Why the directory is not usable. Its `Display` is the sentence for whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// This step failed.
    Step(Step, Fault),
    /// A step takes longer than anybody should wait.
    Slow,
}

impl Trouble {
    /// Whether there is not enough room.
    pub fn is_full(self) -> bool {
        matches!(self, Trouble::Step(_, fault) if fault.is_full())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Trouble::Step(step, fault) = self else {
            return f.write_str("the file system does not answer");
        };
        let step = match step {
            Step::Open => "open the state directory",
            Step::Look => "look at status.json",
            Step::Read => "read status.json",
            Step::ReadSeeds => "read seeds-seen",
            Step::ReadHistory => "read history",
            Step::Create => "create a file in the state directory",
            Step::Write => "write",
            Step::Sync => "synchronise what was written",
            Step::Rename => "rename a file in the state directory",
            Step::SyncDirectory => "synchronise the state directory",
        };
        write!(f, "cannot {step}: {fault}")
    }
}

/// Why what a file holds is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It cannot be read.
    Fault(Fault),
    /// It is no status.
    Refused(Refusal),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Fault(fault) => fault.fmt(f),
            Reason::Refused(refusal) => refusal.fmt(f),
        }
    }
}

/// Something that the log should tell. Sizes are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// The seed is the status now.
    SeedTaken(usize),
    /// The seed is not taken; that happened so often since the start.
    SeedRefused(Reason, u64),
    /// There is no state yet.
    NoState,
    /// The state, as somebody else wrote it, is the status now.
    StateTaken(usize),
    /// The state, as somebody else wrote it, is not taken; that happened so often since the start.
    StateRefused(Reason, u64),
    /// What was found at the start is no state, and lies beside it now.
    SetAside(Reason),
    /// The state was gone, and was written anew.
    Restored,
    /// The directory is not usable.
    Trouble(Trouble),
    /// It is again.
    Usable,
}

/// The most notes of one look or post: a few for each file, and some for the directory, which may fail in several ways.
const NOTES_MAX: usize = 8;

/// What the log should tell of one look or post.
pub type Notes = heapless::Vec<Note, NOTES_MAX>;
