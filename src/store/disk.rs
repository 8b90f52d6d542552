//! The seam between the store and the files: what it needs of them, and how that can fail.

use core::fmt;

use crate::text::{Lossy, decimal};

/// One of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// The state.
    Status,
    /// The seen seeds.
    SeedsSeen,
    /// What was before the state.
    History,
    /// The seed.
    Seed,
    /// The directory of the first three.
    Directory,
}

/// What tells one content of a file from another without reading it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The number of the file in its file system.
    pub inode: u64,
    /// Its size in bytes.
    pub size: u64,
    /// When it was written last, in nanoseconds since 1970.
    pub modified: i64,
    /// When anything about it was changed last, the same. For a seed that is read: or which file its name stands for.
    pub changed: i64,
}

/// Why a step failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The system said so, with this `errno`.
    Os(i32),
    /// It is something else than a regular file.
    NotAFile,
    /// The file is larger than may be read.
    TooLarge,
}

impl Fault {
    /// There is no such file or directory (`ENOENT`).
    pub const NOT_FOUND: Fault = Fault::Os(2);

    /// Something on the way to the file is no directory (`ENOTDIR`).
    pub const NOT_A_DIRECTORY: Fault = Fault::Os(20);

    /// The file was replaced on a network file system, after it was opened (`ESTALE`).
    pub const STALE: Fault = Fault::Os(116);

    /// Whether there is not enough room: `ENOSPC`, `EDQUOT`, `EFBIG`.
    pub fn is_full(self) -> bool {
        matches!(self, Fault::Os(28 | 122 | 27))
    }
}

/// What may well happen, as the libc says it: a line has the number and the text.
const TEXTS: &str = "\
1 Operation not permitted
2 No such file or directory
5 Input/output error
11 Resource temporarily unavailable
12 Out of memory
13 Permission denied
16 Device or resource busy
20 Not a directory
21 Is a directory
22 Invalid argument
23 Too many open files
24 Too many open files
27 File too large
28 No space left on device
30 Read-only file system
32 Broken pipe
40 Is a symbolic link
97 Address family not supported by protocol
98 Address in use
99 Address not available
101 Network unreachable
103 Connection aborted
104 Connection reset by peer
105 No buffer space available
110 Operation timed out
111 Connection refused
113 Host is unreachable
116 Stale file handle
122 Disk quota exceeded
";

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = match *self {
            Fault::Os(code) => code,
            Fault::NotAFile => return f.write_str("not a regular file"),
            Fault::TooLarge => return f.write_str("too large"),
        };
        for line in TEXTS.as_bytes().split(|&byte| byte == b'\n') {
            let (number, text) = line.split_at(line.iter().position(|&byte| byte == b' ').unwrap_or(0));
            if decimal(number) == Some(code as u64) {
                write!(f, "{} ", Lossy(text.trim_ascii_start()))?;
            }
        }
        write!(f, "(os error {code})")
    }
}

/// The steps, as a file system does them. None is repeated when it fails, unless it says so.
pub trait Disk {
    /// Keeps others who share the directory from changing it until [`unlock`](Self::unlock), or waits until they have. Where
    /// that cannot be had, or takes too long, it goes without: a file that is replaced whole stays whole.
    fn lock(&mut self);

    /// Lets others in again, if they were kept out.
    fn unlock(&mut self);

    /// The time of the file system, in nanoseconds since 1970.
    fn now(&mut self) -> i64;

    /// What a file is like. [`Name::Status`] is not followed where it is a symbolic link, and is
    /// [`Fault::NotAFile`] then, as everything is that is no regular file; only a directory is
    /// expected of [`Name::Directory`].
    fn stat(&mut self, name: Name) -> Result<Stamp, Fault>;

    /// Reads a file to its end into `into`, up to `limit` bytes; says what it was like just before.
    fn read(&mut self, name: Name, limit: usize, into: &mut heapless::VecView<u8>) -> Result<Stamp, Fault>;

    /// Opens the directory, for the steps that follow.
    fn open_directory(&mut self) -> Result<(), Fault>;

    /// Creates the temporary file, which nobody else uses; one of the same name is removed first.
    fn create(&mut self) -> Result<(), Fault>;

    /// Writes all of `bytes` to it.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Fault>;

    /// Dates it: it was written at `at` then, in nanoseconds since 1970, as far as the file system can say that. One that
    /// cannot be dated is as good.
    fn date(&mut self, at: i64);

    /// Waits until it is on the medium.
    fn sync(&mut self) -> Result<(), Fault>;

    /// Gives it another name, and says what it is like then.
    fn rename(&mut self, to: Name) -> Result<Stamp, Fault>;

    /// Waits until the names in the directory are on the medium.
    fn sync_directory(&mut self) -> Result<(), Fault>;

    /// Ends the steps since [`open_directory`](Self::open_directory): the temporary file is removed, if it still has its
    /// name.
    fn discard(&mut self);

    /// Removes a file; that there is none is no fault.
    fn remove(&mut self, name: Name) -> Result<(), Fault>;

    /// Renames the state to something that nobody reads.
    fn set_aside(&mut self) -> Result<(), Fault>;

    /// Creates the directory if there is none, locks it, and removes what a crash left in it.
    fn prepare(&mut self) -> Result<(), Fault>;
}
