//! The files of the store, as the operating system has them.
//!
//! Everything in the state directory is opened relative to it, by a name of our own, and no symbolic link is followed. The
//! directory is opened anew for each change: one that was removed and is there again is another one.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{self, AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::{self, Errno};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::clock::pause;
use crate::history::SECOND;
use crate::store::{Disk, Fault, Name, Stamp};
use crate::text::hex;

const STATUS: &CStr = c"status.json";
const SEEDS_SEEN: &CStr = c"seeds-seen";
const HISTORY: &CStr = c"history";
const SET_ASIDE: &CStr = c"status.json.refused";
const LOCK: &CStr = c".lock";

/// What the names of temporary files begin and end with; between them is what nobody else has.
const TEMPORARY: [&str; 2] = [".gitops-status-server-", ".tmp"];

/// How long somebody else's lock is waited for, and how long between two tries: as long as some posts take. Whoever has it
/// longer than that hangs, or is on a machine that is gone.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_PAUSE: Duration = Duration::from_millis(1);

/// Whoever runs the server may write, and its group may read, as the other containers of a pod that share an `fsGroup`.
const MODE: u32 = 0o640;
const DIRECTORY_MODE: u32 = 0o750;

/// The files of one server.
#[derive(Debug)]
pub struct Files {
    directory: &'static CStr,
    /// `directory/status.json`
    status: &'static CStr,
    /// `directory/.lock`, for where the directory itself cannot be locked.
    lock: &'static CStr,
    seed: &'static CStr,
    seed_directory: &'static CStr,
    temporary: &'static CStr,
    /// As long as a change is under way.
    opened: Option<OwnedFd>,
    /// The temporary file, as long as it is written.
    file: Option<OwnedFd>,
    /// Whether the temporary file has its name.
    exists: bool,
    locked: Option<OwnedFd>,
}

impl Files {
    /// The state is in `directory`, the seed is `seed`, as far as there is either. Nothing is looked at yet.
    pub fn new(directory: Option<&Path>, seed: Option<&Path>) -> Self {
        let [directory, seed] = [directory, seed].map(|path| path.unwrap_or(Path::new("")).as_os_str().as_bytes());
        let within = |name: &CStr| match directory {
            [] => c"",
            directory => c_string(&[directory, b"/", name.to_bytes()]),
        };
        let seed_directory = match seed.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => &seed[..=slash],
            None => b".",
        };
        let mut random = [0; 8];
        // Without randomness the process has a number at least.
        let _ = getrandom(&mut random, GetRandomFlags::NONBLOCK);
        let number = u64::from_ne_bytes(random) ^ u64::from(std::process::id());
        let [begin, end] = TEMPORARY;
        Files {
            directory: c_string(&[directory]),
            status: within(STATUS),
            lock: within(LOCK),
            seed: c_string(&[seed]),
            seed_directory: c_string(&[seed_directory]),
            temporary: c_string(&[begin.as_bytes(), &hex(number), end.as_bytes()]),
            opened: None,
            file: None,
            exists: false,
            locked: None,
        }
    }

    /// When the seed's name was made to lead to another file, which may have been there before. It is a symbolic link then;
    /// or it leads through one beside it, as those do that kubelet makes, and to replace that one changes the directory.
    fn led_elsewhere(&self) -> Result<i64, Fault> {
        let link = fs::statat(CWD, self.seed, AtFlags::SYMLINK_NOFOLLOW).map_err(fault)?;
        if FileType::from_raw_mode(link.st_mode) != FileType::Symlink {
            return Ok(0);
        }
        let directory = fs::statat(CWD, self.seed_directory, AtFlags::empty()).map_err(fault)?;
        Ok(stamp(&link).changed.max(stamp(&directory).modified))
    }

    fn opened(&self) -> Result<&OwnedFd, Fault> {
        self.opened.as_ref().ok_or(Fault::Os(Errno::BADF.raw_os_error()))
    }

    fn file(&self) -> Result<&OwnedFd, Fault> {
        self.file.as_ref().ok_or(Fault::Os(Errno::BADF.raw_os_error()))
    }

    /// Removes what a crash left, of this server or of another one, which writes it again if it still lives.
    fn clean(&mut self) -> Result<(), Fault> {
        self.open_directory()?;
        let directory = self.opened()?;
        let mut room = [std::mem::MaybeUninit::uninit(); 1024];
        let mut entries = fs::RawDir::new(directory, &mut room);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(fault)?;
            let name = entry.file_name().to_bytes();
            if name.starts_with(TEMPORARY[0].as_bytes()) && name.ends_with(TEMPORARY[1].as_bytes()) {
                // What cannot be removed is no harm.
                let _ = fs::unlinkat(directory, entry.file_name(), AtFlags::empty());
            }
        }
        Ok(())
    }
}

impl Disk for Files {
    fn lock(&mut self) {
        if self.locked.is_some() {
            return;
        }
        // NFS locks only what is open for writing, which no directory ever is.
        let locked = lock(fs::openat(CWD, self.directory, DIRECTORY, Mode::empty())).or_else(|_| {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            lock(fs::openat(CWD, self.lock, flags, Mode::from_raw_mode(MODE)))
        });
        // To close it is to unlock it.
        self.locked = locked.ok();
    }

    fn unlock(&mut self) {
        self.locked = None;
    }

    fn now(&mut self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64)
    }

    fn stat(&mut self, name: Name) -> Result<Stamp, Fault> {
        let (path, flags) = match name {
            Name::Seed => (self.seed, AtFlags::empty()),
            Name::Directory => (self.directory, AtFlags::empty()),
            Name::Status => (self.status, AtFlags::SYMLINK_NOFOLLOW),
            // Nobody asks: they are read whenever they are needed.
            Name::SeedsSeen | Name::History => return Err(Fault::NOT_FOUND),
        };
        let stat = fs::statat(CWD, path, flags).map_err(fault)?;
        match name {
            Name::Directory if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => Ok(stamp(&stat)),
            Name::Directory => Err(Fault::NOT_A_DIRECTORY),
            _ => regular(&stat),
        }
    }

    fn read(&mut self, name: Name, limit: usize, into: &mut heapless::VecView<u8>) -> Result<Stamp, Fault> {
        into.clear();
        // To open a pipe would be to wait for somebody.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match name {
            Name::Seed => fs::openat(CWD, self.seed, flags, Mode::empty()),
            Name::Directory => Err(Errno::ISDIR),
            Name::Status | Name::SeedsSeen | Name::History => {
                let directory = fs::openat(CWD, self.directory, DIRECTORY, Mode::empty()).map_err(fault)?;
                fs::openat(&directory, own_name(name), flags | OFlags::NOFOLLOW, Mode::empty())
            }
        };
        let file = match file {
            // The last part of the name is a symbolic link, which `stat` says too.
            Err(Errno::LOOP) if name != Name::Seed => return Err(Fault::NotAFile),
            file => file.map_err(fault)?,
        };
        let stat = fs::fstat(&file).map_err(fault)?;
        let mut found = regular(&stat)?;
        if name == Name::Seed {
            found.changed = found.changed.max(self.led_elsewhere()?);
        }
        let mut buffer = [0; 4096];
        loop {
            match io::read(&file, &mut buffer) {
                Ok(0) => return Ok(found),
                Ok(bytes) => {
                    let size = into.len() + bytes;
                    if size > limit || into.extend_from_slice(&buffer[..bytes]).is_err() {
                        return Err(Fault::TooLarge);
                    }
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(fault(error)),
            }
        }
    }

    fn open_directory(&mut self) -> Result<(), Fault> {
        self.opened = Some(fs::openat(CWD, self.directory, DIRECTORY, Mode::empty()).map_err(fault)?);
        Ok(())
    }

    #[inline(never)]
    fn create(&mut self) -> Result<(), Fault> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = |files: &Self| -> Result<_, Fault> {
            Ok(fs::openat(files.opened()?, files.temporary, flags, Mode::from_raw_mode(MODE)))
        };
        let mut file = create(self)?;
        if matches!(file, Err(Errno::EXIST)) {
            fs::unlinkat(self.opened()?, self.temporary, AtFlags::empty()).map_err(fault)?;
            file = create(self)?;
        }
        let file = file.map_err(fault)?;
        self.exists = true;
        // The umask may have taken more away. Where a file system has modes of its own, those are as good.
        let _ = fs::fchmod(&file, Mode::from_raw_mode(MODE));
        self.file = Some(file);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let file = self.file()?;
        let mut rest = bytes;
        while !rest.is_empty() {
            match io::write(file, rest) {
                Ok(0) => return Err(Fault::Os(Errno::IO.raw_os_error())),
                Ok(written) => rest = &rest[written..],
                Err(Errno::INTR) => {}
                Err(error) => return Err(fault(error)),
            }
        }
        Ok(())
    }

    fn date(&mut self, at: i64) {
        let Ok(file) = self.file() else { return };
        let time = |tv_nsec| Timespec { tv_sec: at.div_euclid(SECOND as i64), tv_nsec };
        let last_modification = time(at.rem_euclid(SECOND as i64));
        let _ = fs::futimens(file, &Timestamps { last_access: time(UTIME_OMIT), last_modification });
    }

    fn sync(&mut self) -> Result<(), Fault> {
        fs::fsync(self.file()?).map_err(fault)
    }

    fn rename(&mut self, to: Name) -> Result<Stamp, Fault> {
        let directory = self.opened()?;
        fs::renameat(directory, self.temporary, directory, own_name(to)).map_err(fault)?;
        self.exists = false;
        // Of the file and not of the name, which somebody else may have given to another one already. Where that cannot be
        // had, the next look reads the file.
        Ok(fs::fstat(self.file()?).map(|stat| stamp(&stat)).unwrap_or_default())
    }

    fn sync_directory(&mut self) -> Result<(), Fault> {
        match fs::fsync(self.opened()?) {
            // Some file systems have nothing to synchronise there, and say so.
            Ok(()) | Err(Errno::INVAL | Errno::NOTSUP | Errno::NOSYS) => Ok(()),
            Err(error) => Err(fault(error)),
        }
    }

    fn discard(&mut self) {
        self.file = None;
        if let Some(directory) = self.opened.take()
            && self.exists
        {
            // The next one removes it, or the next start.
            let _ = fs::unlinkat(directory, self.temporary, AtFlags::empty());
        }
        self.exists = false;
    }

    fn remove(&mut self, name: Name) -> Result<(), Fault> {
        match fs::unlinkat(self.opened()?, own_name(name), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(fault(error)),
        }
    }

    fn set_aside(&mut self) -> Result<(), Fault> {
        self.open_directory()?;
        let directory = self.opened()?;
        let result = fs::renameat(directory, STATUS, directory, SET_ASIDE).map_err(fault);
        self.discard();
        result
    }

    fn prepare(&mut self) -> Result<(), Fault> {
        let mode = Mode::from_raw_mode(DIRECTORY_MODE);
        // Where it fails, the directory may be there all the same: to open it tells.
        if fs::mkdirat(CWD, self.directory, mode).is_ok() {
            // The umask may have taken more away.
            let _ = fs::chmod(self.directory, mode);
        }
        self.lock();
        let result = self.clean();
        self.discard();
        result
    }
}

/// Locks what was opened, or waits for it in vain.
fn lock(opened: io::Result<OwnedFd>) -> io::Result<OwnedFd> {
    let file = opened?;
    let begun = Instant::now();
    loop {
        match fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if begun.elapsed() < LOCK_PATIENCE => pause(LOCK_PAUSE),
            Ok(()) | Err(Errno::WOULDBLOCK) => return Ok(file),
            Err(error) => return Err(error),
        }
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The name of a file in the directory.
fn own_name(name: Name) -> &'static CStr {
    match name {
        Name::SeedsSeen => SEEDS_SEEN,
        Name::History => HISTORY,
        _ => STATUS,
    }
}

/// It is kept as long as the process runs.
fn c_string(parts: &[&[u8]]) -> &'static CStr {
    let mut text = parts.concat();
    // A path from the command line or the environment has no zero in it, or it would end there.
    text.push(0);
    CStr::from_bytes_until_nul(text.leak()).unwrap_or_default()
}

fn fault(error: Errno) -> Fault {
    Fault::Os(error.raw_os_error())
}

fn regular(stat: &Stat) -> Result<Stamp, Fault> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(stamp(stat)),
        _ => Err(Fault::NotAFile),
    }
}

#[inline(never)]
fn stamp(stat: &Stat) -> Stamp {
    let time = |seconds: i64, nanoseconds: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds);
    Stamp {
        inode: stat.st_ino,
        size: stat.st_size as u64,
        modified: time(stat.st_mtime, stat.st_mtime_nsec as i64),
        changed: time(stat.st_ctime, stat.st_ctime_nsec as i64),
    }
}
