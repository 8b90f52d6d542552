//! A disk in memory, for several stores at once, on a clock that stands still until it is moved.
//!
//! What is visible and what is on the medium are kept apart: names are on the medium when the directory was synchronised,
//! contents when the file was. Every step of a store is counted and noted; it can be made to fail, and to be the last one
//! of its process. A crash leaves the disk as it is and answers each later step of that process with a fault.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gitops_status_server::store::{Disk, Fault, Name, Stamp};

use crate::random::Random;
use crate::turns::Turns;

const SECOND: i64 = 1_000_000_000;
pub const STATUS: &str = "status.json";
pub const SEEDS_SEEN: &str = "seeds-seen";
pub const HISTORY: &str = "history";
pub const REFUSED: &str = "status.json.refused";

pub const EIO: Fault = Fault::Os(5);
pub const EBADF: Fault = Fault::Os(9);
pub const EACCES: Fault = Fault::Os(13);
pub const EISDIR: Fault = Fault::Os(21);
pub const ENOSPC: Fault = Fault::Os(28);
pub const EROFS: Fault = Fault::Os(30);

/// A step of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    StatStatus,
    StatSeed,
    StatDirectory,
    ReadStatus,
    ReadSeedsSeen,
    ReadHistory,
    ReadSeed,
    Open,
    Create,
    Write,
    Sync,
    RenameStatus,
    RenameSeedsSeen,
    RenameHistory,
    SyncDirectory,
    Discard,
    Remove,
    SetAside,
    Prepare,
}

/// A step that will fail.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Which one, or any.
    pub call: Option<Call>,
    /// How many of them go well before.
    pub after: usize,
    pub fault: Fault,
    /// Whether those that follow fail too, until somebody repairs the disk.
    pub lasting: bool,
}

/// What happens to the steps of one process.
#[derive(Debug, Default)]
pub struct Process {
    /// What it has done since this was cleared.
    pub log: Vec<(Call, Option<Fault>)>,
    pub plans: Vec<Plan>,
    /// How many steps there are before it crashes.
    pub crash_after: Option<usize>,
    pub crashed: bool,
    /// Those that were made to fail since this was cleared.
    pub injected: Vec<Call>,
}

impl Process {
    pub fn calls(&self) -> Vec<Call> {
        self.log.iter().map(|(call, _)| *call).collect()
    }

    /// Whether the step fails, by what was planned.
    fn fault(&mut self, call: Call) -> Option<Fault> {
        let mut result = None;
        self.plans.retain_mut(|plan| {
            if plan.call.is_some_and(|planned| planned != call) || call == Call::Discard {
                return true;
            }
            if plan.after > 0 {
                plan.after -= 1;
                return true;
            }
            result = result.or(Some(plan.fault));
            plan.lasting
        });
        result
    }
}

#[derive(Debug, Clone)]
struct Inode {
    number: u64,
    is_directory: bool,
    unreadable: bool,
    content: Vec<u8>,
    /// The content on the medium, where it is another one.
    unsynced: Option<Vec<u8>>,
    modified: i64,
    changed: i64,
    opened: usize,
}

/// What was done to the names since they were synchronised last.
#[derive(Debug, Clone)]
enum Change {
    Link(String, u64),
    Unlink(String),
}

fn apply(names: &mut BTreeMap<String, u64>, change: Change) {
    match change {
        Change::Link(name, file) => drop(names.insert(name, file)),
        Change::Unlink(name) => drop(names.remove(&name)),
    }
}

/// A path that a seed is read from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seed {
    file: Option<u64>,
    /// When the path became what it is, if it is a symbolic link.
    link_changed: Option<i64>,
}

/// The disk, and the processes that use it.
#[derive(Debug)]
pub struct World {
    pub now: i64,
    /// What the clock of the file system can tell apart.
    pub tick: i64,
    /// Whether the number of a removed file is given to the next one, as ext4 does.
    pub reuses_numbers: bool,
    files: BTreeMap<u64, Inode>,
    next: u64,
    /// Which directory has the name, if one has.
    directory: Option<u64>,
    names: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    journal: Vec<Change>,
    pub seeds: Vec<Seed>,
    pub processes: Vec<Process>,
    /// What somebody else writes when the next step is made to fail.
    pub meanwhile: Option<(String, Vec<u8>)>,
    /// Before which step, of those since its log was cleared, a process is interrupted for what somebody else does; if
    /// that one is kept out then, before the first one at which it is not.
    pub interrupted_after: Option<usize>,
    /// Which process keeps the others out.
    locked_by: Option<usize>,
}

impl World {
    pub fn new(processes: usize) -> Self {
        World {
            now: 1_700_000_000_000_000_000,
            tick: 1,
            reuses_numbers: true,
            files: BTreeMap::new(),
            next: 1,
            directory: None,
            names: BTreeMap::new(),
            durable: BTreeMap::new(),
            journal: Vec::new(),
            seeds: vec![Seed::default(); processes],
            processes: std::iter::repeat_with(Process::default).take(processes).collect(),
            meanwhile: None,
            interrupted_after: None,
            locked_by: None,
        }
    }

    /// Lets so much time pass that what is written next has another time than what was written last.
    pub fn pass_tick(&mut self) {
        self.now += self.tick;
    }

    fn time(&self) -> i64 {
        self.now - self.now % self.tick
    }

    fn new_file(&mut self, content: &[u8]) -> u64 {
        let key = self.next;
        self.next += 1;
        let number = if self.reuses_numbers {
            let taken: Vec<u64> = self.visible().map(|file| self.files[&file].number).collect();
            (10..).find(|number| !taken.contains(number)).expect("there are enough")
        } else {
            1_000 + key
        };
        let (modified, changed) = (self.time(), self.time());
        let content = content.to_vec();
        let unsynced = Some(Vec::new());
        let is_directory = false;
        let inode = Inode { number, is_directory, unreadable: false, content, unsynced, modified, changed, opened: 0 };
        self.files.insert(key, inode);
        key
    }

    /// The files that have a name or are open.
    fn visible(&self) -> impl Iterator<Item = u64> {
        let opened = self.files.iter().filter(|(_, inode)| inode.opened > 0).map(|(key, _)| *key);
        self.names.values().copied().chain(self.seeds.iter().filter_map(|seed| seed.file)).chain(opened)
    }

    fn inode(&self, file: u64) -> &Inode {
        &self.files[&file]
    }

    fn inode_mut(&mut self, file: u64) -> &mut Inode {
        self.files.get_mut(&file).expect("a file is never forgotten")
    }

    fn stamp(&self, file: u64) -> Stamp {
        let Inode { number, modified, changed, content, .. } = self.inode(file);
        Stamp { inode: *number, size: content.len() as u64, modified: *modified, changed: *changed }
    }

    fn change(&mut self, change: Change) {
        self.journal.push(change.clone());
        apply(&mut self.names, change);
    }

    fn file_of(&self, name: &str) -> Result<u64, Fault> {
        self.names.get(name).copied().ok_or(Fault::NOT_FOUND)
    }

    /// What there is of a file for whoever may read everything.
    pub fn content(&self, name: &str) -> Option<&[u8]> {
        let inode = self.inode(self.file_of(name).ok()?);
        (!inode.is_directory).then_some(&inode.content)
    }

    /// Whether a file can neither be read nor replaced, or not be read.
    pub fn is_blocked(&self, name: &str) -> bool {
        self.file_of(name).is_ok_and(|file| self.inode(file).is_directory || self.inode(file).unreadable)
    }

    /// What there would be of a file after a crash of the machine.
    pub fn durable_content(&self, name: &str) -> Option<&[u8]> {
        let inode = self.inode(*self.durable.get(name)?);
        Some(inode.unsynced.as_ref().unwrap_or(&inode.content))
    }

    pub fn names(&self) -> Vec<&str> {
        self.names.keys().map(String::as_str).collect()
    }

    pub fn has_directory(&self) -> bool {
        self.directory.is_some()
    }

    /// When a file was written, as its stamp says.
    pub fn modified(&self, name: &str) -> i64 {
        self.inode(self.names[name]).modified
    }

    pub fn seed_content(&self, seed: usize) -> Option<&[u8]> {
        Some(&self.inode(self.seeds[seed].file?).content)
    }

    /// What is compared with the times of other seeds.
    pub fn seed_changed(&self, seed: usize) -> Option<i64> {
        let Seed { file, link_changed } = self.seeds[seed];
        Some(self.inode(file?).changed.max(link_changed.unwrap_or(i64::MIN)))
    }

    // What others do.

    pub fn create_directory(&mut self) {
        if self.directory.is_none() {
            self.directory = Some(self.next);
            self.next += 1;
        }
    }

    pub fn remove_directory(&mut self) {
        self.directory = None;
        self.names.clear();
        self.durable.clear();
        self.journal.clear();
    }

    /// All that is visible is on the medium.
    pub fn sync_all(&mut self) {
        for inode in self.files.values_mut() {
            inode.unsynced = None;
        }
        self.durable.clone_from(&self.names);
        self.journal.clear();
        let visible: Vec<u64> = self.visible().collect();
        self.files.retain(|file, _| visible.contains(file));
    }

    /// Somebody else writes a file: a new one that is renamed, or the one that is there.
    pub fn write_file(&mut self, name: &str, content: &[u8], in_place: bool) {
        self.create_directory();
        match self.names.get(name).copied() {
            Some(file) if in_place && !self.inode(file).is_directory => self.overwrite(file, content),
            _ => {
                let file = self.new_file(content);
                self.change(Change::Link(name.to_owned(), file));
            }
        }
        self.sync_all();
    }

    fn overwrite(&mut self, file: u64, content: &[u8]) {
        let time = self.time();
        let inode = self.inode_mut(file);
        inode.content = content.to_vec();
        inode.unreadable = false;
        (inode.modified, inode.changed) = (time, time);
    }

    pub fn make_directory(&mut self, name: &str) {
        self.write_file(name, b"", false);
        let file = self.names[name];
        self.inode_mut(file).is_directory = true;
    }

    pub fn remove_file(&mut self, name: &str) {
        self.change(Change::Unlink(name.to_owned()));
        self.sync_all();
    }

    pub fn set_readable(&mut self, name: &str, readable: bool) {
        if let Ok(file) = self.file_of(name) {
            let time = self.time();
            let inode = self.inode_mut(file);
            if inode.unreadable == readable {
                inode.unreadable = !readable;
                inode.changed = time;
            }
        }
    }

    /// Writes into the file of a seed, or into a new one where there is none.
    pub fn edit_seed(&mut self, seed: usize, content: &[u8]) {
        match self.seeds[seed].file {
            Some(file) => self.overwrite(file, content),
            None => self.seeds[seed].file = Some(self.new_file(content)),
        }
        self.sync_all();
    }

    /// A file that may become a seed later.
    pub fn prepare_seed(&mut self, content: &[u8]) -> u64 {
        let file = self.new_file(content);
        // It is somewhere.
        self.inode_mut(file).opened = 1;
        self.sync_all();
        file
    }

    /// Makes the path of a seed lead to another file, by itself or by a link further on.
    pub fn swap_seed(&mut self, seed: usize, file: u64, by_itself: bool) {
        self.seeds[seed] = Seed { file: Some(file), link_changed: by_itself.then_some(self.time()) };
    }

    pub fn remove_seed(&mut self, seed: usize) {
        self.seeds[seed] = Seed::default();
    }

    /// The machine stops, and starts again: what was not synchronised may or may not be there.
    pub fn crash(&mut self, random: &mut Random) {
        let kept = random.below(self.journal.len() + 1);
        let mut names = self.durable.clone();
        for change in std::mem::take(&mut self.journal).into_iter().take(kept) {
            apply(&mut names, change);
        }
        self.names = names;
        for inode in self.files.values_mut() {
            inode.opened = 0;
            if let Some(old) = inode.unsynced.take() {
                match random.below(3) {
                    0 => inode.content = old,
                    1 => inode.content.truncate(random.below(inode.content.len() + 1)),
                    _ => {}
                }
            }
        }
        self.sync_all();
    }

    /// Nothing fails any more.
    pub fn repair(&mut self) {
        self.processes.iter_mut().for_each(|process| process.plans.clear());
    }
}

/// A disk that is shared.
#[derive(Debug, Clone)]
pub struct Shared(Arc<Mutex<World>>);

impl Shared {
    pub fn new(processes: usize) -> Self {
        Shared(Arc::new(Mutex::new(World::new(processes))))
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk as a new process has it, which is number `process` and reads the seed of that number.
    pub fn handle(&self, process: usize) -> Handle {
        let mut world = self.world();
        let Process { log, crash_after, crashed, injected, .. } = &mut world.processes[process];
        log.clear();
        injected.clear();
        *crash_after = None;
        *crashed = false;
        drop(world);
        let shared = self.clone();
        Handle { shared, process, opened: None, file: None, exists: false, seed: process, turns: None, meanwhile: None }
    }
}

/// What somebody else does meanwhile.
pub struct Meanwhile(pub Box<dyn FnOnce() + Send>);

impl std::fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meanwhile")
    }
}

/// The disk as one process has it.
#[derive(Debug)]
pub struct Handle {
    shared: Shared,
    process: usize,
    opened: Option<u64>,
    file: Option<u64>,
    exists: bool,
    /// Which seed it reads.
    pub seed: usize,
    /// Who comes next, where there are several.
    pub turns: Option<Arc<Turns>>,
    /// What is done before one of the steps, when [`World::interrupted_after`] says so.
    pub meanwhile: Option<Meanwhile>,
}

impl Handle {
    fn temporary(&self) -> String {
        format!("{}.tmp", self.process)
    }

    fn step<T>(&mut self, call: Call, act: impl FnOnce(&mut Self, &mut World) -> Result<T, Fault>) -> Result<T, Fault> {
        if let Some(turns) = &self.turns {
            turns.pass(self.process);
        }
        let shared = self.shared.clone();
        let mut world = shared.world();
        let due = world.interrupted_after.is_some_and(|steps| steps <= world.processes[self.process].log.len());
        if due
            && world.locked_by.is_none()
            && let Some(Meanwhile(meanwhile)) = self.meanwhile.take()
        {
            drop(world);
            meanwhile();
            world = shared.world();
        }
        let process = &mut world.processes[self.process];
        if process.crash_after.is_some_and(|steps| process.log.len() >= steps) {
            if !process.crashed && call == Call::Write {
                // It may be in the middle of it.
                let _ = act(self, &mut world);
                let inode = world.inode_mut(self.file.expect("it was created"));
                inode.content.truncate(inode.content.len() / 2);
            }
            world.processes[self.process].crashed = true;
            return Err(EIO);
        }
        if let Some(fault) = process.fault(call) {
            process.injected.push(call);
            process.log.push((call, Some(fault)));
            if let Some((name, content)) = world.meanwhile.take() {
                world.write_file(&name, &content, false);
            }
            return Err(fault);
        }
        let result = act(self, &mut world);
        world.processes[self.process].log.push((call, result.as_ref().err().copied()));
        result
    }

    fn opened(&self, world: &World) -> Result<(), Fault> {
        match self.opened {
            None => Err(EBADF),
            opened if opened != world.directory => Err(Fault::NOT_FOUND),
            _ => Ok(()),
        }
    }

    fn close(&mut self, world: &mut World) {
        // After a crash of the machine it may be gone.
        if let Some(inode) = self.file.take().and_then(|file| world.files.get_mut(&file)) {
            inode.opened = 0;
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let shared = self.shared.clone();
        self.close(&mut shared.world());
        // A lock ends with who has it.
        self.unlock();
    }
}

fn own_name(name: Name) -> &'static str {
    match name {
        Name::SeedsSeen => SEEDS_SEEN,
        Name::History => HISTORY,
        _ => STATUS,
    }
}

impl Disk for Handle {
    /// No step of its own, for it is never told that it failed.
    fn lock(&mut self) {
        loop {
            let shared = self.shared.clone();
            let mut world = shared.world();
            let holder = world.locked_by;
            if holder.is_none_or(|holder| holder == self.process) {
                world.locked_by = Some(self.process);
                return;
            }
            drop(world);
            self.turns.as_ref().expect("somebody else has its turn").pass(self.process);
        }
    }

    fn unlock(&mut self) {
        let shared = self.shared.clone();
        let mut world = shared.world();
        if world.locked_by == Some(self.process) {
            world.locked_by = None;
        }
    }

    fn now(&mut self) -> i64 {
        self.shared.world().now
    }

    fn stat(&mut self, name: Name) -> Result<Stamp, Fault> {
        let call = match name {
            Name::Seed => Call::StatSeed,
            Name::Directory => Call::StatDirectory,
            Name::Status | Name::SeedsSeen | Name::History => Call::StatStatus,
        };
        self.step(call, |handle, world| {
            let file = match name {
                Name::Directory => return world.directory.map(|_| Stamp::default()).ok_or(Fault::NOT_FOUND),
                Name::Seed => world.seeds[handle.seed].file.ok_or(Fault::NOT_FOUND)?,
                Name::Status | Name::SeedsSeen | Name::History => world.file_of(own_name(name))?,
            };
            if world.inode(file).is_directory { Err(Fault::NotAFile) } else { Ok(world.stamp(file)) }
        })
    }

    fn read(&mut self, name: Name, limit: usize, into: &mut heapless::VecView<u8>) -> Result<Stamp, Fault> {
        into.clear();
        let call = match name {
            Name::Seed => Call::ReadSeed,
            Name::SeedsSeen => Call::ReadSeedsSeen,
            Name::History => Call::ReadHistory,
            Name::Status | Name::Directory => Call::ReadStatus,
        };
        self.step(call, |handle, world| {
            let file = match name {
                Name::Seed => world.seeds[handle.seed].file.ok_or(Fault::NOT_FOUND)?,
                _ => world.file_of(own_name(name))?,
            };
            let inode = world.inode(file);
            if inode.is_directory {
                return Err(Fault::NotAFile);
            }
            if inode.unreadable {
                return Err(EACCES);
            }
            if inode.content.len() > limit {
                return Err(Fault::TooLarge);
            }
            into.extend_from_slice(&inode.content).expect("it fits");
            let mut stamp = world.stamp(file);
            if name == Name::Seed {
                stamp.changed = world.seed_changed(handle.seed).expect("it is there");
            }
            Ok(stamp)
        })
    }

    fn open_directory(&mut self) -> Result<(), Fault> {
        self.step(Call::Open, |handle, world| {
            handle.opened = Some(world.directory.ok_or(Fault::NOT_FOUND)?);
            Ok(())
        })
    }

    fn create(&mut self) -> Result<(), Fault> {
        self.step(Call::Create, |handle, world| {
            handle.opened(world)?;
            let file = world.new_file(b"");
            world.change(Change::Link(handle.temporary(), file));
            handle.close(world);
            world.inode_mut(file).opened = 1;
            handle.file = Some(file);
            handle.exists = true;
            Ok(())
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.step(Call::Write, |handle, world| {
            let time = world.time();
            let inode = world.inode_mut(handle.file.ok_or(EBADF)?);
            inode.content.extend_from_slice(bytes);
            (inode.modified, inode.changed) = (time, time);
            Ok(())
        })
    }

    /// No step of its own, for it is never told that it failed.
    fn date(&mut self, at: i64) {
        let shared = self.shared.clone();
        let mut world = shared.world();
        if world.processes[self.process].crashed {
            return;
        }
        let (time, tick) = (world.time(), world.tick);
        let Some(inode) = self.file.and_then(|file| world.files.get_mut(&file)) else { return };
        // What has a clock with a long tick has no finer times either.
        (inode.modified, inode.changed) = (if tick < SECOND { at } else { at - at % tick }, time);
    }

    fn sync(&mut self) -> Result<(), Fault> {
        self.step(Call::Sync, |handle, world| {
            world.inode_mut(handle.file.ok_or(EBADF)?).unsynced = None;
            Ok(())
        })
    }

    fn rename(&mut self, to: Name) -> Result<Stamp, Fault> {
        let call = match to {
            Name::SeedsSeen => Call::RenameSeedsSeen,
            Name::History => Call::RenameHistory,
            _ => Call::RenameStatus,
        };
        self.step(call, |handle, world| {
            handle.opened(world)?;
            let file = world.file_of(&handle.temporary())?;
            if world.file_of(own_name(to)).is_ok_and(|old| world.inode(old).is_directory) {
                return Err(EISDIR);
            }
            world.change(Change::Link(own_name(to).to_owned(), file));
            // Both names change in one step; what a crash leaves of the first is a temporary file.
            world.names.remove(&handle.temporary());
            let unlink = Change::Unlink(handle.temporary());
            world.journal.push(unlink);
            world.inode_mut(file).changed = world.time();
            handle.exists = false;
            Ok(world.stamp(handle.file.ok_or(EBADF)?))
        })
    }

    fn sync_directory(&mut self) -> Result<(), Fault> {
        self.step(Call::SyncDirectory, |handle, world| {
            handle.opened.ok_or(EBADF)?;
            world.durable = world.names.clone();
            world.journal.clear();
            Ok(())
        })
    }

    fn discard(&mut self) {
        let _ = self.step(Call::Discard, |handle, world| {
            handle.close(world);
            if handle.opened.is_some() && handle.opened(world).is_ok() && handle.exists {
                world.change(Change::Unlink(handle.temporary()));
            }
            handle.opened = None;
            handle.exists = false;
            Ok(())
        });
    }

    fn remove(&mut self, name: Name) -> Result<(), Fault> {
        self.step(Call::Remove, |handle, world| {
            handle.opened(world)?;
            world.change(Change::Unlink(own_name(name).to_owned()));
            Ok(())
        })
    }

    fn set_aside(&mut self) -> Result<(), Fault> {
        self.step(Call::SetAside, |_, world| {
            let file = world.file_of(STATUS)?;
            world.change(Change::Link(REFUSED.to_owned(), file));
            world.change(Change::Unlink(STATUS.to_owned()));
            Ok(())
        })
    }

    fn prepare(&mut self) -> Result<(), Fault> {
        self.lock();
        self.step(Call::Prepare, |_, world| {
            world.create_directory();
            let left: Vec<String> = world.names.keys().filter(|name| name.ends_with(".tmp")).cloned().collect();
            left.into_iter().for_each(|name| world.change(Change::Unlink(name)));
            Ok(())
        })
    }
}
