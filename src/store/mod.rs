//! The files that a status comes from and is kept in, and which of them wins when.
//!
//! This is the order of the steps and the rules; what a step does to a real file is [`Disk`]'s to know, so that every
//! step can be made to fail, and to be the last one before a crash. There are these files:
//!
//! - the *state*, `status.json`: the status and nothing else, as other programs may read and write it;
//! - the *seed*, written by somebody else, whose content is a status as if it had been posted, once;
//! - the *seen seeds*, `seeds-seen`: which contents of the seed were taken already, and when that seed was written. Without
//!   it a restart would bring the seed back over the statuses that were posted since;
//! - the *history*, `history`: what the states before this one said. What the state itself says is not among it, or need not
//!   be: whoever reads both adds that, as of when the state was written. So all who share the directory, and whoever starts
//!   on it, have the same rows, whatever was the last step before a crash.
//!
//! The state and the seen seeds are replaced whole: a temporary file is written and synchronised, then renamed over the
//! old one, then the directory is synchronised. The state comes first: a crash between the two makes the same seed the
//! status a second time, which changes nothing, and not a seed forgotten. The history is replaced before the state is, and the
//! directory is synchronised once for both. Whoever changes something holds a lock on the
//! directory from the look before to the last step; to look alone takes none.

use core::mem::swap;

pub use self::disk::{Disk, Fault, Name, Stamp};
use self::seeds::{SeenSeed, SeenSeeds};
pub use self::told::{Note, Notes, Reason, Step, Trouble};
use crate::history::{History, KEPT_MAX};
use crate::snapshot::ETag;
use crate::status::{self, Refusal, STATUS_CAPACITY};
use crate::summary::Summary;

mod disk;
mod seeds;
mod told;

/// The content of a file.
pub type Bytes = heapless::Vec<u8, STATUS_CAPACITY>;

/// How long, in nanoseconds, a file has to rest before its [`Stamp`] alone says that it is the same: two writes within what
/// a file system's clock can tell apart have the same stamp. FAT has the coarsest, 2 s. After that time it is read once
/// more.
const SETTLED_NS: i64 = 2_000_000_000;

/// How often a file is written anew when its temporary file is gone: another server that starts on the same directory
/// takes it for one left over by a crash.
const ATTEMPTS_MAX: usize = 4;

/// How often a file is looked at anew that is gone when it is read: it is being replaced.
const LOOKS_MAX: usize = 4;

/// Room for the contents of files. It is meant to be a `static`: what is never written is never resident.
#[derive(Debug)]
pub struct Buffers {
    kept: Bytes,
    read: Bytes,
    posted: Bytes,
    history: History,
    others: History,
    rows: Rows,
}

/// The history as it is kept.
type Rows = heapless::Vec<u8, KEPT_MAX>;

impl Buffers {
    /// Empty ones.
    pub const fn new() -> Self {
        Buffers {
            kept: Bytes::new(),
            read: Bytes::new(),
            posted: Bytes::new(),
            history: History::new(),
            others: History::new(),
            rows: Rows::new(),
        }
    }
}

impl Default for Buffers {
    fn default() -> Self {
        Self::new()
    }
}

/// What is known of a file.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    stamp: Option<Stamp>,
    /// Whether any other content will have another stamp.
    settled: bool,
    /// What was told of why it cannot be read.
    fault: Option<Fault>,
}

impl Known {
    /// A file that was written or looked at just before `now`.
    fn at(stamp: Stamp, now: i64) -> Self {
        Known { stamp: Some(stamp), settled: is_old(stamp, now), fault: None }
    }

    /// Whether it need not be read again, with this stamp. One that has not settled is read once more when it has.
    fn is(&self, stamp: Stamp, now: i64) -> bool {
        self.stamp == Some(stamp) && self.settled == is_old(stamp, now)
    }
}

#[inline(never)]
fn is_old(stamp: Stamp, now: i64) -> bool {
    now.saturating_sub(stamp.changed) > SETTLED_NS
}

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Sources {
    /// Whether there is a directory to keep the status in.
    pub state: bool,
    /// Whether there is a seed.
    pub seed: bool,
    /// The largest status, in bytes, at most [`STATUS_CAPACITY`].
    pub max_bytes: usize,
}

/// The status, as files keep it.
#[derive(Debug)]
pub struct Store<'b, D> {
    disk: D,
    sources: Sources,
    /// The newest status that came from a file or went into one; empty as long as there was none.
    kept: &'b mut Bytes,
    /// What is read from a file and may become the status.
    read: &'b mut Bytes,
    posted: &'b mut Bytes,
    /// What the states said, this one included.
    history: &'b mut History,
    /// What the file says, when it is read.
    others: &'b mut History,
    rows: &'b mut Rows,
    /// Whether the history is another one than was asked for last.
    history_changed: bool,
    /// Whether it has something that its file may not have.
    history_unkept: bool,
    /// Why its file could not be read; what is in there must not be lost.
    history_unread: Option<Fault>,
    state: Known,
    seed: Known,
    /// The content of the seed when it was read last, if it is a status.
    seed_tag: Option<ETag>,
    /// A seed that is not yet among the seen ones, and has to be.
    unrecorded: Option<SeenSeed>,
    /// The one that was recorded last.
    recorded: Option<SeenSeed>,
    /// Whether the state has to be written anew.
    state_lost: bool,
    /// Why the state was not read since the start: nobody knows what it is.
    unread: Option<Trouble>,
    trouble: Option<Trouble>,
    seeds_refused: u64,
    states_refused: u64,
    notes: Notes,
}

impl<'b, D: Disk> Store<'b, D> {
    /// Reads what there is. The status, if there is one, is [`status`](Self::status) then.
    ///
    /// # Errors
    /// The seed cannot be read or is no status, and there is no state either.
    pub fn start(disk: D, sources: Sources, buffers: &'b mut Buffers) -> Result<Self, Reason> {
        let mut store = Store::new(disk, sources, buffers);
        store.begin().map(|()| store)
    }

    /// One that has read nothing yet, which [`begin`](Self::begin) does.
    pub fn new(disk: D, sources: Sources, buffers: &'b mut Buffers) -> Self {
        let Buffers { kept, read, posted, history, others, rows } = buffers;
        kept.clear();
        posted.clear();
        history.clear();
        Store {
            disk,
            sources,
            kept,
            read,
            posted,
            history,
            others,
            rows,
            history_changed: false,
            history_unkept: false,
            history_unread: None,
            state: Known::default(),
            seed: Known::default(),
            seed_tag: None,
            unrecorded: None,
            recorded: None,
            state_lost: false,
            unread: None,
            trouble: None,
            seeds_refused: 0,
            states_refused: 0,
            notes: Notes::new(),
        }
    }

    /// Does what [`start`](Self::start) does, where the store is.
    ///
    /// # Errors
    /// The same.
    pub fn begin(&mut self) -> Result<(), Reason> {
        let result = self.read_all();
        self.disk.unlock();
        result
    }

    fn read_all(&mut self) -> Result<(), Reason> {
        let mut written = None;
        if self.sources.state {
            let prepared = self.disk.prepare().map_err(|fault| Trouble::Step(Step::Open, fault));
            self.adopt_history();
            match prepared.and_then(|()| self.look_at_state(true)) {
                Ok(found) => written = found,
                Err(trouble) => {
                    self.unread = Some(trouble).filter(|trouble| !matches!(trouble, Trouble::Step(Step::Rename, _)));
                    self.troubled(trouble);
                }
            }
        }
        if self.sources.seed {
            if let Err(trouble) = self.look_at_seed(written) {
                self.troubled(trouble);
                if self.kept.is_empty() {
                    // Better than none, though nothing keeps it yet.
                    swap(&mut self.kept, &mut self.read);
                    self.seed_tag = Some(ETag::of(self.kept));
                    self.state_lost = true;
                    self.report();
                    self.note(Note::SeedTaken(self.kept.len()));
                }
            }
            if self.kept.is_empty() {
                let refused = self.notes.iter().find_map(|note| match note {
                    Note::SeedRefused(reason, _) => Some(*reason),
                    _ => None,
                });
                return Err(refused.expect("a seed is taken or refused"));
            }
        }
        if self.sources.state && self.trouble.is_none() {
            self.prove();
        }
        Ok(())
    }

    /// The newest status that came from a file or went into one; empty when there was none.
    pub fn status(&self) -> &[u8] {
        self.kept
    }

    /// Shows the [status](Self::status), and what all of them said, if that has changed since this was called last.
    pub fn look_back<T>(&mut self, see: impl FnOnce(&[u8], Option<&History>) -> T) -> T {
        let changed = core::mem::take(&mut self.history_changed);
        see(self.kept, changed.then_some(&*self.history))
    }

    /// What the states said.
    pub fn history(&self) -> &History {
        self.history
    }

    /// Whether there is a directory to keep the status in.
    pub fn has_directory(&self) -> bool {
        self.sources.state
    }

    /// Why the directory is not usable, if it is not.
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble
    }

    /// What happened since this was asked last.
    pub fn take_notes(&mut self) -> Notes {
        core::mem::take(&mut self.notes)
    }

    /// Puts a status here that is to be stored by [`post`](Self::post), at most [`STATUS_CAPACITY`] bytes.
    pub fn hand_over(&mut self, status: &[u8]) {
        self.posted.clear();
        self.posted.extend_from_slice(status).expect("a status fits");
    }

    /// Looks whether somebody else has changed a file; says whether [`status`](Self::status) is another one now. Where
    /// the directory was not usable, that is tried again.
    pub fn look(&mut self) -> bool {
        let (mut changed, mut usable) = self.look_around();
        if usable.is_ok() && self.has_to_prove() {
            // Somebody else may just be mending it.
            self.disk.lock();
            let (changed_since, usable_still) = self.look_around();
            (changed, usable) = (changed || changed_since, usable_still);
            if usable.is_ok() && self.has_to_prove() {
                self.prove();
            }
        }
        self.disk.unlock();
        if let Err(trouble) = usable {
            self.troubled(trouble);
        }
        changed
    }

    /// Makes what was [handed over](Self::hand_over) the status. What somebody else has changed before counts as earlier.
    ///
    /// # Errors
    /// It could not be stored. Then the status is the one that it was, or what somebody else has made it: the first result
    /// says whether that is another one now.
    pub fn post(&mut self) -> (bool, Result<(), Trouble>) {
        if self.sources.state {
            self.disk.lock();
        }
        let (changed, usable) = self.look_around();
        // Nothing is written over a state that is not what it should be, nor before an edit of the seed that was earlier.
        let stored = usable.and_then(|()| match self.sources.state {
            // A seed that is the status has to be recorded, or a restart would bring it back.
            true => self.record_seed().and_then(|()| self.put_state(Content::Posted)),
            false => Ok(()),
        });
        self.disk.unlock();
        match stored {
            Ok(()) => {
                swap(&mut self.kept, &mut self.posted);
                self.report();
                self.usable();
            }
            Err(trouble) => self.troubled(trouble),
        }
        (changed, stored)
    }

    #[inline(never)]
    fn note(&mut self, note: Note) {
        // They fit; and the log is not worth more than the status.
        let _ = self.notes.push(note);
    }

    /// Notes that the directory is not usable, once for each reason.
    fn troubled(&mut self, trouble: Trouble) {
        if self.trouble != Some(trouble) {
            self.trouble = Some(trouble);
            self.note(Note::Trouble(trouble));
        }
    }

    fn usable(&mut self) {
        if self.trouble.take().is_some() {
            self.note(Note::Usable);
        }
    }

    fn has_to_prove(&self) -> bool {
        self.trouble.is_some() || self.state_lost || self.history_unread.is_some()
    }

    /// Looks at all files; says whether the status is another one now, and whether the directory was of use.
    fn look_around(&mut self) -> (bool, Result<(), Trouble>) {
        let mut written = match self.look_at_state_again() {
            Ok(written) => written,
            Err(trouble) => return (false, Err(trouble)),
        };
        if !self.sources.seed || !self.is_seed_new() {
            return (written.is_some(), Ok(()));
        }
        if self.sources.state {
            // Others see the same edit. Who comes second has to see what the first one has made of it.
            self.disk.lock();
            match self.look_at_state_again() {
                Ok(written_since) => written = written_since.or(written),
                Err(trouble) => return (written.is_some(), Err(trouble)),
            }
        }
        let edited = self.look_at_seed(written);
        (written.is_some() || edited == Ok(true), edited.map(|_| ()))
    }

    fn look_at_state_again(&mut self) -> Result<Option<i64>, Trouble> {
        if !self.sources.state {
            return Ok(None);
        }
        let written = self.look_at_state(false)?;
        self.unread = None;
        Ok(written)
    }

    /// Looks at the state; gives when it was written, if it is another status now. What is none at the start is set aside.
    fn look_at_state(&mut self, at_start: bool) -> Result<Option<i64>, Trouble> {
        for _ in 0..LOOKS_MAX {
            let stamp = match self.disk.stat(Name::Status) {
                Ok(stamp) => stamp,
                Err(Fault::NOT_FOUND | Fault::NOT_A_DIRECTORY) => return self.miss_state(at_start),
                Err(fault @ Fault::NotAFile) => return Err(Trouble::Step(Step::Read, fault)),
                Err(fault) => return Err(Trouble::Step(Step::Look, fault)),
            };
            let now = self.disk.now();
            if self.state.is(stamp, now) {
                return Ok(None);
            }
            let (stamp, reason) = match self.disk.read(Name::Status, self.sources.max_bytes, self.read) {
                Ok(stamp) => (stamp, None),
                Err(Fault::TooLarge) => (stamp, Some(self.too_large(stamp))),
                Err(Fault::NOT_FOUND | Fault::STALE) => continue,
                Err(fault) => return Err(Trouble::Step(Step::Read, fault)),
            };
            let seen_before = self.state.stamp == Some(stamp);
            self.state = Known::at(stamp, now);
            // What has to be written anew was undone, and is still there; any other file is somebody else's.
            self.state_lost &= seen_before;
            if self.state_lost {
                return Ok(None);
            }
            let is_kept = reason.is_none() && !self.kept.is_empty() && self.read == self.kept;
            if is_kept && seen_before {
                // It is read again because its stamp proved nothing yet.
                return Ok(None);
            }
            let reason = match reason {
                None => status::read(self.read).err().map(Reason::Refused),
                Some(reason) => Some(reason),
            };
            if reason.is_none() && !at_start && !self.meet_others(stamp) {
                continue;
            }
            return match reason {
                None if is_kept => {
                    // Somebody has reported the same once more.
                    self.find();
                    Ok(None)
                }
                None => {
                    swap(&mut self.kept, &mut self.read);
                    self.find();
                    self.note(Note::StateTaken(self.kept.len()));
                    Ok(Some(stamp.modified))
                }
                Some(_) if seen_before => Ok(None),
                Some(reason) if at_start => self.set_state_aside(reason),
                Some(reason) => {
                    self.states_refused += 1;
                    self.note(Note::StateRefused(reason, self.states_refused));
                    Ok(None)
                }
            };
        }
        Err(Trouble::Step(Step::Read, Fault::STALE))
    }

    /// The file with this stamp is, or has become so while it was read.
    #[inline(never)]
    fn too_large(&self, stamp: Stamp) -> Reason {
        let limit = self.sources.max_bytes;
        Reason::Refused(Refusal::TooLarge { bytes: stamp.size.max(limit as u64 + 1), at_least: false, limit })
    }

    /// There is no state.
    fn miss_state(&mut self, at_start: bool) -> Result<Option<i64>, Trouble> {
        self.state = Known::default();
        if at_start {
            self.note(Note::NoState);
        } else if self.kept.is_empty() {
            // There was none before; but there may be no directory either.
            self.state_lost = false;
            self.disk.stat(Name::Directory).map_err(|fault| Trouble::Step(Step::Open, fault))?;
        } else {
            // The seen seeds may be gone as well.
            self.state_lost = true;
            self.history_unkept = true;
            self.unrecorded = self.unrecorded.or(self.recorded);
        }
        Ok(None)
    }

    fn set_state_aside(&mut self, reason: Reason) -> Result<Option<i64>, Trouble> {
        self.disk.set_aside().map_err(|fault| Trouble::Step(Step::Rename, fault))?;
        self.state = Known::default();
        self.note(Note::SetAside(reason));
        Ok(None)
    }

    /// Whether the seed has to be read.
    fn is_seed_new(&mut self) -> bool {
        match self.disk.stat(Name::Seed) {
            Ok(stamp) => {
                let now = self.disk.now();
                !self.seed.is(stamp, now)
            }
            Err(fault) => {
                self.refuse_seed_fault(fault);
                false
            }
        }
    }

    /// Reads the seed; says whether it is the status now. `written` says when the state was, if that has just turned out to
    /// be another one. Where the seed should be the status and cannot be stored, the next look tries again.
    fn look_at_seed(&mut self, written: Option<i64>) -> Result<bool, Trouble> {
        let stamp = match self.disk.stat(Name::Seed) {
            Ok(stamp) => stamp,
            Err(fault) => return Ok(self.refuse_seed_fault(fault)),
        };
        let now = self.disk.now();
        let read = match self.disk.read(Name::Seed, self.sources.max_bytes, self.read) {
            Ok(read) => status::read(self.read).map(|_| read).map_err(Reason::Refused),
            Err(Fault::TooLarge) => Err(self.too_large(stamp)),
            Err(fault) => return Ok(self.refuse_seed_fault(fault)),
        };
        // As it was before it was read: if it was written in the meantime it is read again.
        let known = Known::at(stamp, now);
        let read_stamp = match read {
            Ok(read_stamp) => read_stamp,
            Err(reason) => {
                if self.seed.stamp != Some(stamp) {
                    self.refuse_seed(reason);
                }
                self.seed = known;
                return Ok(false);
            }
        };
        let seen = SeenSeed { tag: ETag::of(self.read), changed: read_stamp.changed };
        let taken = if self.sources.state {
            self.take_seed(seen, written)?
        } else {
            let edited = self.seed_tag != Some(seen.tag);
            if edited {
                swap(&mut self.kept, &mut self.read);
                self.report();
            }
            edited
        };
        self.seed_tag = Some(seen.tag);
        self.seed = known;
        if taken {
            self.note(Note::SeedTaken(self.kept.len()));
        }
        Ok(taken)
    }

    /// Makes the seed, which was read just now, the state, if it is an edit that is not known yet; says whether it was.
    fn take_seed(&mut self, seen: SeenSeed, written: Option<i64>) -> Result<bool, Trouble> {
        if let Some(trouble) = self.unread {
            return Err(trouble);
        }
        let seeds = self.seen_seeds()?;
        self.recorded = seeds.last().copied().or(self.recorded);
        let newest = self.unrecorded.or(seeds.last().copied());
        if !self.is_edit(&seen, &seeds, newest) {
            if newest.is_none() {
                self.unrecorded = Some(seen);
                self.record_seed()?;
            }
            return Ok(false);
        }
        // Both were changed since the last look: the later one wins. A state that came from a seed is as old as that.
        let from_seed = newest.filter(|newest| newest.tag == ETag::of(self.kept)).map(|newest| newest.changed);
        let outdated = written.is_some_and(|written| from_seed.unwrap_or(written) > seen.changed);
        if !outdated {
            self.put_state(Content::Read)?;
            swap(&mut self.kept, &mut self.read);
            self.report();
        }
        self.unrecorded = Some(seen);
        if let Err(trouble) = self.record_seed() {
            // It is the status all the same. No post is taken before it is recorded.
            self.troubled(trouble);
        }
        Ok(!outdated)
    }

    /// Whether a seed is one that nobody has taken yet, or that was written again since.
    fn is_edit(&self, seen: &SeenSeed, seeds: &SeenSeeds, newest: Option<SeenSeed>) -> bool {
        if self.kept.is_empty() {
            return true;
        }
        let Some(newest) = newest else {
            // With a state and nothing seen, the seed is new here, unless it was seen to change.
            let looked_at = self.seed.stamp.is_some() || self.seed_tag.is_some();
            return looked_at && self.seed_tag != Some(seen.tag);
        };
        // One that was taken before is an edit if it was seen to change from the newest one to it, or if it was written
        // after the newest one. Else it belongs to somebody whom the newest one has not reached yet.
        let known = seeds.iter().any(|known| known.tag == seen.tag);
        newest.tag != seen.tag && (!known || self.seed_tag == Some(newest.tag) || seen.changed > newest.changed)
    }

    fn refuse_seed_fault(&mut self, fault: Fault) -> bool {
        if self.seed.fault != Some(fault) {
            self.seed = Known { fault: Some(fault), ..Known::default() };
            self.refuse_seed(Reason::Fault(fault));
        }
        false
    }

    fn refuse_seed(&mut self, reason: Reason) {
        self.seeds_refused += 1;
        self.note(Note::SeedRefused(reason, self.seeds_refused));
    }

    /// The seen seeds, oldest first. What is too large or no file is not what was written here, and counts as none.
    fn seen_seeds(&mut self) -> Result<SeenSeeds, Trouble> {
        let mut text = heapless::Vec::<u8, { seeds::SEEDS_FILE_MAX }>::new();
        match self.disk.read(Name::SeedsSeen, seeds::SEEDS_FILE_MAX, &mut text) {
            Ok(_) => Ok(seeds::parse(&text)),
            Err(Fault::NOT_FOUND | Fault::TooLarge | Fault::NotAFile) => Ok(SeenSeeds::new()),
            Err(fault) => Err(Trouble::Step(Step::ReadSeeds, fault)),
        }
    }

    /// Adds the seed that became the status to the seen ones, if that has not been done yet.
    fn record_seed(&mut self) -> Result<(), Trouble> {
        let Some(seen) = self.unrecorded else { return Ok(()) };
        let seeds = self.seen_seeds()?;
        // One that was recorded before is recorded again only where it was lost: there may be newer ones.
        if self.recorded != Some(seen) || !seeds.iter().any(|known| known.tag == seen.tag) {
            let (_, result) = put(&mut self.disk, Name::SeedsSeen, seeds::add(seeds, seen).as_bytes(), None);
            result?;
        }
        self.unrecorded = None;
        self.recorded = Some(seen);
        Ok(())
    }

    /// Takes down what was made the status just now. The time is when the state was written, so that others find the same;
    /// where there is none, it is now.
    fn report(&mut self) {
        let at = match self.state.stamp {
            Some(stamp) if self.sources.state && !self.state_lost => stamp.modified,
            _ => self.disk.now(),
        };
        self.take_down(History::record, at);
    }

    /// Takes down what is found to be the state, which may be known already.
    fn find(&mut self) {
        if let Some(stamp) = self.state.stamp {
            self.take_down(History::record_file, stamp.modified);
        }
    }

    fn take_down(&mut self, record: fn(&mut History, &Summary, u64), at: i64) {
        if let Ok(view) = status::read(self.kept) {
            record(self.history, &Summary::of(&view), at.max(0) as u64);
            self.history_changed = true;
            self.history_unkept = true;
        }
    }

    /// Somebody else has written the state with this stamp, and may have written others before: what they said is adopted.
    /// What is known here and nowhere else, for the state had it and is gone, is kept. Says whether the state is still the
    /// one that was read, for which the history that was read is meant; where it is not, nobody can write another one
    /// until the next look is over.
    fn meet_others(&mut self, stamp: Stamp) -> bool {
        if self.history_unkept {
            self.disk.lock();
        }
        self.adopt_history();
        if self.disk.stat(Name::Status).is_ok_and(|now| now != stamp) {
            self.disk.lock();
            return false;
        }
        if self.history_unread.is_none() {
            // Where that fails, the next post tries it again.
            let _ = self.keep_history();
        }
        true
    }

    /// Reads the history that is kept, which goes on with what is known here. Where it is something else, what is known here
    /// will be written over it.
    fn adopt_history(&mut self) {
        match self.disk.read(Name::History, KEPT_MAX, self.rows) {
            Ok(_) => {}
            Err(Fault::NOT_FOUND | Fault::NOT_A_DIRECTORY | Fault::TooLarge | Fault::NotAFile) => self.rows.clear(),
            Err(fault) => {
                self.history_unread = Some(fault);
                return;
            }
        }
        self.history_unread = None;
        self.others.read_kept(self.rows);
        self.history_unkept = self.others.follow(self.history);
        self.history.copy_from(self.others);
        self.history_changed = true;
    }

    /// The same, where it could not be read before.
    fn adopt_unread_history(&mut self) -> Result<(), Trouble> {
        if self.history_unread.is_some() {
            // The newest row is that of the status.
            let newest = self.history.newest().map(|newest| newest.last_received_at);
            self.adopt_history();
            if let Some(at) = newest {
                self.take_down(History::record_file, at as i64);
            }
        }
        self.history_unread.map_or(Ok(()), |fault| Err(Trouble::Step(Step::ReadHistory, fault)))
    }

    /// Writes the history, if it has to be. The directory is not synchronised: that is done for the state, which follows.
    fn keep_history(&mut self) -> Result<(), Trouble> {
        self.adopt_unread_history()?;
        if !self.history_unkept {
            return Ok(());
        }
        self.rows.clear();
        self.history.write_kept(self.rows).expect("KEPT_MAX has room for the longest rows; a test writes them");
        let result = replace(&mut self.disk, Name::History, self.rows, None);
        self.disk.discard();
        result?;
        self.history_unkept = false;
        Ok(())
    }

    /// Writes the state, and before it what the old one said. Where that fails, the old one is there as before.
    fn put_state(&mut self, content: Content) -> Result<(), Trouble> {
        if let Err(trouble) = self.keep_history() {
            self.troubled(trouble);
            return Err(trouble);
        }
        let (stamp, result) = self.replace_state(content);
        if let Err(trouble) = result {
            self.troubled(trouble);
            // It has its name, but nobody knows for how long.
            if stamp.is_some() && content != Content::Kept {
                self.put_back();
            }
        }
        result
    }

    /// Undoes what [`put_state`](Self::put_state) did: whoever is told that it failed must not find it there later.
    fn put_back(&mut self) {
        self.state_lost = true;
        match self.disk.stat(Name::Status) {
            Ok(stamp) if self.state.stamp != Some(stamp) => {
                // Somebody else has written it since, which the next look will see.
                self.state_lost = false;
            }
            _ if self.kept.is_empty() => self.remove_state(),
            _ => {
                // Where even this cannot be synchronised, the refused one stays until it can: what was accepted is on the
                // medium, and no name is given to what may not be.
                let _ = self.replace_state(Content::Kept);
            }
        }
    }

    /// Replaces the state, whose time says when it was reported: what is written again was so when it was.
    fn replace_state(&mut self, content: Content) -> (Option<Stamp>, Result<(), Trouble>) {
        let (bytes, date) = match content {
            Content::Kept => (&self.kept, self.history.newest().map(|newest| newest.last_received_at as i64)),
            Content::Read => (&self.read, None),
            Content::Posted => (&self.posted, None),
        };
        let (stamp, result) = put(&mut self.disk, Name::Status, bytes, date);
        if let Some(stamp) = stamp {
            self.state = Known::at(stamp, self.disk.now());
            self.state_lost = result.is_err();
        }
        (stamp, result)
    }

    fn remove_state(&mut self) {
        let removed = self.disk.open_directory().and_then(|()| self.disk.remove(Name::Status));
        self.state_lost = removed.and_then(|()| self.disk.sync_directory()).is_err();
        self.disk.discard();
        if removed.is_ok() {
            self.state = Known::default();
        }
    }

    /// Finds out whether the directory can be written to: by what has to be written, or else by a file that is removed.
    fn prove(&mut self) {
        let lost = self.state_lost;
        if lost && self.kept.is_empty() {
            self.remove_state();
        }
        // That a file can be renamed to the state is not known before it was.
        let renames = !matches!(self.trouble, Some(Trouble::Step(Step::Rename, _)));
        let result = if (lost || !renames) && !self.kept.is_empty() {
            self.put_state(Content::Kept)
        } else {
            // There has to be room for what there was none for.
            let full = self.trouble.is_some_and(Trouble::is_full);
            let bytes = if full && self.posted.len() > self.kept.len() { &self.posted } else { &self.kept };
            let result = write(&mut self.disk, bytes, None).and_then(|()| sync_directory(&mut self.disk));
            self.disk.discard();
            result
        };
        match result.and_then(|()| self.record_seed()).and_then(|()| self.adopt_unread_history()) {
            Ok(()) => {
                // Where the directory was not usable before, that is all that has to be told.
                if lost && self.trouble.is_none() {
                    self.note(Note::Restored);
                }
                self.usable();
            }
            Err(trouble) => self.troubled(trouble),
        }
    }
}

/// A status that may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Kept,
    Read,
    Posted,
}

/// Replaces a file whole. Where it has its name, what it is like is the first result, though the name may not last.
fn put<D: Disk>(disk: &mut D, name: Name, bytes: &[u8], date: Option<i64>) -> (Option<Stamp>, Result<(), Trouble>) {
    let result = match replace(disk, name, bytes, date) {
        Ok(stamp) => (Some(stamp), sync_directory(disk)),
        Err(trouble) => (None, Err(trouble)),
    };
    disk.discard();
    result
}

/// The same, but for what makes the name last, and for the end of the steps.
fn replace<D: Disk>(disk: &mut D, name: Name, bytes: &[u8], date: Option<i64>) -> Result<Stamp, Trouble> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        write(disk, bytes, date)?;
        match disk.rename(name) {
            Ok(stamp) => return Ok(stamp),
            Err(Fault::NOT_FOUND) if attempts < ATTEMPTS_MAX => disk.discard(),
            Err(fault) => return Err(Trouble::Step(Step::Rename, fault)),
        }
    }
}

/// Writes the temporary file, and [dates](Disk::date) it.
fn write<D: Disk>(disk: &mut D, bytes: &[u8], date: Option<i64>) -> Result<(), Trouble> {
    let failed = |step| move |fault| Trouble::Step(step, fault);
    disk.open_directory().map_err(failed(Step::Open))?;
    disk.create().map_err(failed(Step::Create))?;
    disk.write(bytes).map_err(failed(Step::Write))?;
    if let Some(at) = date {
        disk.date(at);
    }
    disk.sync().map_err(failed(Step::Sync))
}

fn sync_directory<D: Disk>(disk: &mut D) -> Result<(), Trouble> {
    disk.sync_directory().map_err(|fault| Trouble::Step(Step::SyncDirectory, fault))
}
