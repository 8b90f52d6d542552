//! One store on a disk that fails, is changed by others and loses its power, with a model of what has to come of it.
//!
//! The model knows no steps. It knows the content of the state before and after each operation, what was posted, whether
//! the seed is an edit, and which steps were made to fail; and says which content may follow which.

use gitops_status_server::history::ROWS_MAX;
use gitops_status_server::status::{self, STATUS_CAPACITY};
use gitops_status_server::store::{Buffers, Fault, Note, Notes, Sources, Store, Trouble};

use crate::disk::{Call, EACCES, EIO, ENOSPC, EROFS, Handle, Plan, STATUS, Shared};
use crate::random::Random;
use crate::{Tally, document, fingerprint};

const LIVES: usize = 6;
const OPERATIONS: usize = 40;
pub const MAX_BYTES: usize = 400;

/// Whether what the seed holds is news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edit {
    No,
    /// Nobody can know, and either is right.
    Maybe,
    Yes,
}

/// What is done to a store.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Doing {
    Start,
    Look,
    Post(Vec<u8>),
}

type Content = Option<Vec<u8>>;

fn is_status(content: &[u8]) -> bool {
    content.len() <= MAX_BYTES && status::read(content).is_ok()
}

pub struct Alone<'t> {
    random: Random,
    disk: Shared,
    tally: &'t mut Tally,
    trace: bool,
    sources: Sources,
    documents: u64,
    /// What the store said last; empty where it has none.
    status: Vec<u8>,
    /// The state is not what the store said last because somebody else has changed it, or it was never read.
    foreign: bool,
    edit: Edit,
    /// The content of the seed that the store knows, and whether it may know another one.
    consumed: Content,
    uncertain: bool,
    /// All contents of the seed that the store may know, and the latest time of one.
    used: Vec<Vec<u8>>,
    newest: i64,
    /// Whether no seed was ever like this one.
    fresh: bool,
    /// Whether the seen seeds are as they should be.
    recorded: bool,
    seeds_lost: bool,
    /// Whether this process has seen a seed that is one.
    acquainted: bool,
    /// Whether the seed that it knows was taken by this process, so that it is the newest for sure.
    taken_here: bool,
    /// A seed that may be an older one was written again as it was: a start may take that for an edit back.
    touched: bool,
    /// What was refused and may be on the disk all the same.
    refused: Vec<Vec<u8>>,
    /// What may be on the medium though it is not visible.
    unsynchronised: Vec<Vec<u8>>,
    /// There may be no state on the medium though there is one.
    none_below: bool,
    /// The fingerprints of what was acknowledged, as far as nobody else has meddled since.
    reported: Vec<u64>,
    told: Option<Trouble>,
    states_refused: u64,
    seeds_refused: u64,
}

macro_rules! say {
    ($self:ident, $($text:tt)*) => {
        if $self.trace {
            eprintln!("{}", format_args!($($text)*));
        }
    };
}

fn text(content: &[u8]) -> String {
    String::from_utf8_lossy(&content[..content.len().min(40)]).into_owned()
}

pub fn simulate(seed: u64, trace: bool, tally: &mut Tally, buffers: &mut Buffers) {
    let mut random = Random(seed);
    let disk = Shared::new(1);
    {
        let mut world = disk.world();
        world.tick = random.pick(&[1, 1_000_000, 4_000_000, 1_000_000_000, 2_000_000_000]);
        world.reuses_numbers = random.below(2) == 0;
    }
    let sources = Sources { state: true, seed: random.below(4) > 0, max_bytes: MAX_BYTES };
    const { assert!(MAX_BYTES <= STATUS_CAPACITY) };
    let mut alone = Alone {
        random,
        disk,
        tally,
        trace,
        sources,
        documents: 0,
        status: Vec::new(),
        foreign: false,
        edit: Edit::No,
        consumed: None,
        uncertain: false,
        used: Vec::new(),
        newest: i64::MIN,
        fresh: false,
        recorded: true,
        seeds_lost: true,
        acquainted: false,
        taken_here: false,
        touched: false,
        refused: Vec::new(),
        unsynchronised: Vec::new(),
        none_below: false,
        reported: Vec::new(),
        told: None,
        states_refused: 0,
        seeds_refused: 0,
    };
    if sources.seed {
        alone.edit_seed();
    }
    for _ in 0..LIVES {
        alone.live(buffers);
    }
}

impl Alone<'_> {
    fn document(&mut self, kind: &str) -> Vec<u8> {
        self.documents += 1;
        document(kind, self.documents, self.random.pick(&[0, 0, 0, 1, 100]))
    }

    fn state(&self) -> Content {
        self.disk.world().content(STATUS).map(<[u8]>::to_vec)
    }

    /// The seed, if it is one.
    fn seed(&self) -> Content {
        let world = self.disk.world();
        world.seed_content(0).filter(|content| self.sources.seed && is_status(content)).map(<[u8]>::to_vec)
    }

    fn live(&mut self, buffers: &mut Buffers) {
        for _ in 0..self.random.below(4) {
            self.disturb();
        }
        let mut store = loop {
            self.expect_after_restart();
            let before = self.before(&Doing::Start);
            let handle = self.disk.handle(0);
            if self.random.below(8) == 0 {
                let steps = self.random.below(20);
                self.disk.world().processes[0].crash_after = Some(steps);
            }
            let result = Store::start(handle, self.sources, buffers);
            match result {
                Ok(mut store) => {
                    let notes = store.take_notes();
                    self.after(&before, Doing::Start, &store, &notes, None, true);
                    break store;
                }
                Err(reason) => {
                    say!(self, "no start: {reason}");
                    self.tally.event("no start");
                    let state = self.state();
                    let none = before.state.as_deref().is_none_or(|content| !is_status(content));
                    let hurt = !self.process(|process| process.injected.is_empty() && !process.crashed);
                    assert!(self.sources.seed && (hurt || self.is_blocked() || (none && self.seed().is_none())));
                    assert!(state == before.state || none, "a start that failed has changed the state");
                    // What was set aside may be back.
                    self.unsynchronised.extend(before.state.clone().filter(|_| none));
                    self.disk.world().repair();
                    self.unblock();
                    if self.random.below(2) == 0 || self.seed().is_none() {
                        self.edit_seed();
                    }
                }
            }
        };
        for _ in 0..self.random.below(OPERATIONS) {
            if self.process(|process| process.crashed) {
                break;
            }
            match self.random.below(10) {
                0..3 => self.disturb(),
                3..6 => {
                    let content = self.document("p");
                    self.operate(&mut store, Doing::Post(content));
                }
                6..9 => self.operate(&mut store, Doing::Look),
                _ => self.rest(&mut store),
            }
        }
        drop(store);
        // Nobody knows any more that it was refused.
        self.foreign |= self.state().is_some_and(|state| self.refused.contains(&state));
        self.refused.clear();
        let lost = self.random.below(3) == 0;
        say!(self, "--- crash{}", if lost { " of the machine" } else { "" });
        if lost {
            self.tally.event("crash of the machine");
            let before = self.state();
            self.disk.world().crash(&mut self.random);
            let after = self.state();
            if after != before {
                self.tally.event("crash of the machine: state changed");
                self.reported.clear();
                let status = Some(self.status.clone()).filter(|status| !status.is_empty());
                let unsynchronised = after.as_ref().is_some_and(|state| self.unsynchronised.contains(state));
                assert!(
                    after == status
                        || unsynchronised
                        || (after.is_none() && (before.as_deref() != status.as_deref() || self.none_below)),
                    "the crash of the machine brought {:?}",
                    after.as_deref().map(text)
                );
                if after.is_some_and(|state| unsynchronised && state != self.status && is_status(&state)) {
                    self.tally.event("allowed: refused and brought back by the crash of the machine");
                    self.foreign = true;
                }
            }
            self.recorded = false;
        }
        self.told = None;
        self.acquainted = false;
        self.taken_here = false;
        (self.states_refused, self.seeds_refused) = (0, 0);
    }

    fn process<T>(&self, ask: impl FnOnce(&crate::disk::Process) -> T) -> T {
        ask(&self.disk.world().processes[0])
    }

    /// Something that is no doing of the store.
    fn disturb(&mut self) {
        match self.random.below(12) {
            0 | 1 => {
                let steps = self.random.pick(&[1, 1_000, 5_000_000, 700_000_000, 2_500_000_000, 60_000_000_000]);
                self.disk.world().now += steps;
            }
            2 | 3 if self.sources.seed => self.edit_seed(),
            4 if self.sources.seed => self.spoil_seed(),
            5 => self.change_state(),
            6 | 7 => self.plan(),
            8 => {
                let steps = self.random.below(25);
                self.disk.world().processes[0].crash_after = Some(steps);
            }
            9 if self.random.below(4) == 0 => {
                say!(self, "directory removed");
                self.disk.world().remove_directory();
                self.foreign = true;
                self.seeds_lost = true;
                self.reported.clear();
                if !self.acquainted && self.edit == Edit::Yes {
                    self.edit = Edit::Maybe;
                }
            }
            _ => {
                say!(self, "repaired");
                self.disk.world().repair();
                self.unblock();
            }
        }
    }

    fn plan(&mut self) {
        let random = &mut self.random;
        let (call, faults): (_, &[Fault]) = match random.below(13) {
            0 => (Call::StatStatus, &[EIO, EACCES, Fault::STALE]),
            1 => (Call::ReadStatus, &[EIO, EACCES, Fault::STALE]),
            2 => (Call::StatSeed, &[EIO, EACCES, Fault::NOT_FOUND]),
            3 => (Call::ReadSeed, &[EIO, EACCES, Fault::STALE]),
            4 => (Call::ReadSeedsSeen, &[EIO, EACCES, Fault::STALE]),
            5 => (Call::Open, &[EIO, EACCES, Fault::Os(24)]),
            6 => (Call::Create, &[ENOSPC, EROFS, Fault::STALE]),
            7 => (Call::Write, &[ENOSPC, EIO, Fault::Os(122)]),
            8 => (Call::Sync, &[ENOSPC, EIO]),
            9 => (random.pick(&[Call::RenameStatus, Call::RenameSeedsSeen]), &[Fault::NOT_FOUND, EIO, EROFS, ENOSPC]),
            10 => (Call::SyncDirectory, &[EIO, ENOSPC]),
            11 => (random.pick(&[Call::ReadHistory, Call::RenameHistory]), &[EIO, Fault::STALE, ENOSPC]),
            _ => (random.pick(&[Call::Prepare, Call::SetAside, Call::Remove]), &[EIO, EROFS]),
        };
        let call = Some(call).filter(|_| random.below(5) > 0);
        let fault = if call.is_some() { random.pick(faults) } else { EIO };
        let plan = Plan { call, after: random.pick(&[0, 0, 0, 1, 2]), fault, lasting: random.below(3) == 0 };
        say!(self, "planned: {plan:?}");
        self.disk.world().processes[0].plans.push(plan);
    }

    fn edit_seed(&mut self) {
        let content = match self.used.len() {
            0 => self.document("s"),
            _ if self.random.below(2) == 0 => self.document("s"),
            count => self.used[self.random.below(count)].clone(),
        };
        let way = self.random.below(4);
        say!(self, "seed {} by way {way}", text(&content));
        {
            let mut world = self.disk.world();
            world.pass_tick();
            if way == 0 {
                world.edit_seed(0, &content);
            } else {
                let file = world.prepare_seed(&content);
                world.now += [0, 1, 3_000_000_000][way - 1];
                world.swap_seed(0, file, way == 3);
            }
        }
        let fresh = !self.used.contains(&content);
        self.edit = match () {
            // With a state and no seed to compare with, nobody knows what was first.
            () if !self.acquainted && (self.seeds_lost || !fresh) => Edit::Maybe,
            () if fresh => Edit::Yes,
            () if !self.taken_here => Edit::Maybe,
            () if self.uncertain => Edit::Maybe,
            () if self.consumed.as_ref() == Some(&content) => Edit::No,
            () => Edit::Yes,
        };
        // A change that has the stamp of what was there is seen all the same, for that was not settled, unless it is of
        // another length; but only a look tells.
        self.fresh = fresh;
        self.touched |= !fresh && !self.taken_here;
        if fresh {
            self.used.push(content);
        }
    }

    fn spoil_seed(&mut self) {
        say!(self, "seed spoilt");
        let mut world = self.disk.world();
        world.pass_tick();
        match self.random.below(3) {
            0 => world.remove_seed(0),
            1 => world.edit_seed(0, b"{\"repo\":"),
            _ => world.edit_seed(0, &[b' '; MAX_BYTES + 1]),
        }
        drop(world);
        // Whoever has begun to take it may still know it.
        self.uncertain |= self.edit != Edit::No;
        self.edit = Edit::No;
    }

    fn is_blocked(&self) -> bool {
        let world = self.disk.world();
        !world.has_directory() || world.is_blocked(STATUS)
    }

    fn unblock(&mut self) {
        let mut world = self.disk.world();
        world.create_directory();
        if world.is_blocked(STATUS) {
            if world.content(STATUS).is_some() {
                world.set_readable(STATUS, true);
            } else {
                world.remove_file(STATUS);
                self.foreign = true;
                self.reported.clear();
            }
        }
    }

    fn change_state(&mut self) {
        let in_place = self.random.below(2) == 0;
        let document = self.document("f");
        let mut world = self.disk.world();
        // What has the stamp of what was there is seen later; the tables tell of that.
        world.pass_tick();
        let way = self.random.below(9);
        match way {
            0..4 => world.write_file(STATUS, &document, in_place),
            4 => world.write_file(STATUS, b"", in_place),
            5 => world.write_file(STATUS, b"[1", in_place),
            6 => world.write_file(STATUS, &[b' '; MAX_BYTES + 9], in_place),
            7 if world.content(STATUS).is_some() => world.remove_file(STATUS),
            8 if self.random.below(2) == 0 => world.make_directory(STATUS),
            _ => world.set_readable(STATUS, false),
        }
        world.sync_all();
        drop(world);
        say!(self, "state by others: way {way}{}", if in_place { ", in place" } else { "" });
        self.foreign = true;
        self.refused.clear();
        self.unsynchronised.clear();
        self.reported.clear();
    }

    /// At a start an edit is what the seen seeds do not know.
    fn expect_after_restart(&mut self) {
        if self.seed().is_none() {
            return;
        }
        let later = self.disk.world().seed_changed(0) > Some(self.newest);
        let fresh = self.fresh;
        self.edit = match self.edit {
            Edit::Yes if !self.seeds_lost && (fresh || (later && !self.uncertain && self.recorded)) => Edit::Yes,
            Edit::Yes | Edit::Maybe => Edit::Maybe,
            Edit::No if self.recorded && !self.touched => Edit::No,
            Edit::No => Edit::Maybe,
        };
        if self.state().is_none_or(|state| !is_status(&state)) && !self.disk.world().is_blocked(STATUS) {
            self.edit = Edit::Yes;
        }
    }

    fn operate(&mut self, store: &mut Store<'_, Handle>, doing: Doing) {
        {
            let mut world = self.disk.world();
            let process = &mut world.processes[0];
            process.crash_after = process.crash_after.map(|steps| steps.saturating_sub(process.log.len()));
            process.log.clear();
            process.injected.clear();
        }
        let before = self.before(&doing);
        let (changed, result) = match &doing {
            Doing::Post(content) => {
                store.hand_over(content);
                store.post()
            }
            _ => (store.look(), Ok(())),
        };
        let stored = matches!(doing, Doing::Post(_)).then_some(result);
        let notes = store.take_notes();
        self.after(&before, doing, store, &notes, stored, changed);
    }

    fn before(&mut self, doing: &Doing) -> Before {
        let state = self.state();
        say!(
            self,
            "{} of {:?}",
            if let Doing::Post(_) = doing { "post" } else { "look or start" },
            doing.posted().map(text)
        );
        let modified = state.as_ref().map(|_| self.disk.world().modified(STATUS));
        Before { state, seed: self.seed(), status: self.status.clone(), modified }
    }

    fn after(
        &mut self,
        before: &Before,
        doing: Doing,
        store: &Store<'_, Handle>,
        notes: &Notes,
        stored: Option<Result<(), Trouble>>,
        changed: bool,
    ) {
        let (log, injected, crashed) =
            self.process(|process| (process.log.clone(), process.injected.clone(), process.crashed));
        let status = store.status().to_vec();
        let state = self.state();
        say!(
            self,
            "    {:?}, status {}, state {:?}, trouble {:?}, injected {injected:?}, {notes:?}{}",
            stored,
            text(&status),
            state.as_deref().map(text),
            store.trouble(),
            if crashed { ", crashed" } else { "" }
        );
        let starting = doing == Doing::Start;
        let clean = injected.is_empty() && !crashed && !self.is_blocked();
        let posted = doing.posted().map(<[u8]>::to_vec);
        let found = before.state.clone().filter(|state| is_status(state));
        self.tally.event(match (&doing, clean, crashed) {
            (Doing::Start, true, _) => "start",
            (Doing::Start, _, true) => "start, crashed",
            (Doing::Start, ..) => "start with faults",
            (Doing::Look, true, _) => "look",
            (Doing::Look, _, true) => "look, crashed",
            (Doing::Look, ..) => "look with faults",
            (Doing::Post(_), true, _) => "post",
            (Doing::Post(_), _, true) => "post, crashed",
            (Doing::Post(_), ..) if stored == Some(Ok(())) => "post with faults, stored",
            (Doing::Post(_), ..) => "post with faults, refused",
        });

        // What may be on the disk now.
        let seed_is_news = self.edit != Edit::No;
        let is = |content: &Content, of: &Content| content.is_some() && content == of;
        // One fault after the name was changed, and one more when that was undone.
        let double = injected.len() > 1 && (injected.contains(&Call::SyncDirectory) || seed_is_news || self.uncertain);
        // What vanishes while it is read is passed over by a post, and a refused post is undone.
        let unseen = double && posted.is_some() && injected.contains(&Call::ReadStatus);
        let justified = state == before.state
            || (is(&state, &posted) && (stored == Some(Ok(())) || crashed || double))
            || (is(&state, &before.seed) && seed_is_news)
            || (is(&state, &Some(before.status.clone()))
                && (unseen
                    || before.state.as_ref().is_none_or(|state| self.refused.contains(state) || !is_status(state))))
            || (state.is_none()
                && before.state.as_ref().is_some_and(|found| {
                    // Set aside; or a refused one that is undone.
                    (starting && !is_status(found))
                        || (before.status.is_empty() && (self.refused.contains(found) || !is_status(found)))
                }));
        assert!(
            justified,
            "the state was {:?} and is {:?}",
            before.state.as_deref().map(text),
            state.as_deref().map(text)
        );
        if let (Some(Err(_)), false) = (stored, crashed)
            && is(&state, &posted)
        {
            assert!(double);
            self.tally.event("allowed: refused and not put back");
            self.refused.extend(posted.clone());
        }
        if !crashed && state != before.state && is(&state, &before.seed) && before.seed.as_ref() != Some(&status) {
            assert!(double);
            self.tally.event("allowed: an edit that failed and was not put back");
            self.refused.extend(state.clone());
        }

        // What may be on the medium.
        let last_sync = log.iter().rposition(|(call, fault)| *call == Call::SyncDirectory && fault.is_none());
        let last_rename = log.iter().rposition(|(call, fault)| *call == Call::RenameStatus && fault.is_none());
        if last_sync.is_some() && last_sync > last_rename {
            self.unsynchronised.clear();
            self.none_below = false;
        }
        if last_rename > last_sync || crashed {
            self.unsynchronised.extend(posted.clone());
            // At a start it may have been set aside before something else had its name.
            self.none_below |= before.state.is_none() || (starting && found.is_none());
            self.unsynchronised.extend(before.state.clone());
            self.unsynchronised.extend(before.seed.clone().filter(|_| seed_is_news));
            self.unsynchronised.extend(Some(before.status.clone()));
        }

        if starting && found.is_none() {
            // What was set aside may be back.
            self.unsynchronised.extend(before.state.clone());
        }

        if crashed {
            // Whatever is there is the last one that was acknowledged, or one in flight.
            self.foreign = true;
            self.recorded = false;
            self.refused.clear();
            if seed_is_news && (starting || is(&state, &before.seed)) {
                self.edit = Edit::Maybe;
            }
            if seed_is_news && posted.is_some() && is(&state, &posted) && self.edit == Edit::Yes {
                // It was taken before, or is still to come.
                self.edit = Edit::Maybe;
            }
            return;
        }

        // What may be the status.
        let foreign = found.clone().filter(|found| self.foreign && !self.refused.contains(found));
        let mut possible: Vec<Vec<u8>> = Vec::new();
        if stored == Some(Ok(())) {
            possible.extend(posted.clone());
            assert_eq!(state, posted, "it was acknowledged");
            assert_eq!(self.disk.world().durable_content(STATUS), posted.as_deref(), "it was acknowledged");
        } else if clean {
            assert!(stored.is_none(), "a post was refused without a fault: {stored:?}");
            let old = match starting {
                true => found.clone().unwrap_or_default(),
                false => before.status.clone(),
            };
            let base = foreign.clone().unwrap_or(old);
            // Of a state that is news and an edit the later one wins. A state that came from a seed is as old as that.
            let other = if starting { found.as_ref() } else { foreign.as_ref() };
            let seed_later = other.is_none() || before.modified <= self.disk.world().seed_changed(0);
            let from_seed = other.is_some_and(|other| self.used.contains(other));
            match (self.edit, before.seed.clone()) {
                (Edit::Yes, Some(seed)) if seed_later => possible.push(seed),
                (Edit::Yes, Some(seed)) if from_seed => possible.extend([seed, base]),
                (Edit::Maybe, Some(seed)) => possible.extend([seed, base]),
                (Edit::Yes, Some(seed)) if self.uncertain => possible.extend([seed, base]),
                _ => possible.push(base),
            }
        } else {
            possible.extend(foreign.clone());
            possible.extend(before.seed.clone().filter(|_| seed_is_news));
            match starting {
                false => possible.push(before.status.clone()),
                true => {
                    possible.extend(found.clone());
                    possible.extend([before.seed.clone().unwrap_or_default(), Vec::new()]);
                }
            }
        }
        assert!(
            possible.contains(&status),
            "the status is {} and should be one of {:?}",
            text(&status),
            possible.iter().map(|content| text(content)).collect::<Vec<_>>()
        );
        if !starting && stored != Some(Ok(())) && status != before.status {
            assert!(changed, "the status changed and nobody was told");
        }

        // What is known from now on.
        let seed_read =
            !injected.iter().any(|call| matches!(call, Call::StatSeed | Call::ReadSeed | Call::ReadSeedsSeen));
        if clean || (stored == Some(Ok(())) && seed_read) {
            self.consumed = before.seed.clone().or(self.consumed.take());
            // An older seed that was not taken is somebody else's, and so is the newest one that follows it.
            let ignored = self.edit == Edit::Maybe && before.seed.as_ref() != Some(&status);
            let taken = notes.iter().any(|note| matches!(note, Note::SeedTaken(_)));
            self.taken_here = taken || (self.taken_here && (self.edit == Edit::No));
            self.touched &= !taken;
            let resolved = taken || (self.edit == Edit::Yes && before.seed.is_some());
            self.uncertain = (self.uncertain && !resolved) || ignored;
            self.edit = Edit::No;
            self.acquainted |= before.seed.is_some();
            self.recorded = store.trouble().is_none();
            if (starting && before.seed.is_some()) || notes.iter().any(|note| matches!(note, Note::SeedTaken(_))) {
                self.seeds_lost = false;
            }
        } else if before.seed.is_some() && is(&Some(status.clone()), &before.seed) && state == before.seed {
            self.consumed = before.seed.clone();
            self.edit = Edit::Maybe;
            self.recorded = false;
            self.uncertain = true;
        } else {
            self.recorded = false;
            if self.edit != Edit::No {
                self.uncertain = true;
                self.taken_here = false;
                let taken = notes.iter().any(|note| matches!(note, Note::SeedTaken(_)));
                if foreign.is_some() || stored == Some(Ok(())) || starting || taken {
                    self.edit = Edit::Maybe;
                }
            }
        }
        if let Some(changed) = self.disk.world().seed_changed(0) {
            self.newest = self.newest.max(changed);
        }
        if let (Some(Ok(())), Some(posted)) = (stored, &posted) {
            self.reported.push(fingerprint(posted));
        }
        let rows: Vec<_> = store.history().rows().iter().map(|row| row.fingerprint).collect();
        if !status.is_empty() {
            assert_eq!(rows.last(), Some(&fingerprint(&status)), "the newest row is not the status");
        }
        let mut rest = rows.iter();
        // What cannot be read yet is not shown yet.
        let hidden = store.trouble().is_some() || injected.contains(&Call::ReadHistory);
        let first = self.reported.len().saturating_sub(ROWS_MAX / 2);
        for reported in self.reported[first..].iter().filter(|_| !hidden) {
            assert!(rest.any(|row| row == reported), "a report that was acknowledged is not in the history: {rows:?}");
        }
        self.tally.event(if self.reported.len() > 2 { "several reports are remembered" } else { "few reports" });
        self.status = status;
        let holds = state.as_deref().unwrap_or_default() == self.status;
        self.foreign = !holds && (self.foreign || starting);
        if stored == Some(Ok(())) || (clean && holds) {
            self.refused.clear();
        }
        self.check_trouble(&doing, store, notes, stored, clean);
    }

    fn check_trouble(
        &mut self,
        doing: &Doing,
        store: &Store<'_, Handle>,
        notes: &Notes,
        stored: Option<Result<(), Trouble>>,
        clean: bool,
    ) {
        self.tally.notes = self.tally.notes.max(notes.len());
        assert!(!notes.is_full(), "there may have been more: {notes:?}");
        if let Some(Err(trouble)) = stored {
            assert_eq!(store.trouble(), Some(trouble));
        }
        if clean && *doing != Doing::Start {
            assert_eq!(store.trouble(), None, "nothing fails any more");
        }
        for note in notes {
            match *note {
                Note::Trouble(trouble) => {
                    assert_ne!(self.told, Some(trouble), "told twice");
                    self.told = Some(trouble);
                }
                Note::Usable => assert!(self.told.take().is_some(), "it was usable before"),
                Note::StateRefused(_, count) => {
                    self.states_refused += 1;
                    assert_eq!(count, self.states_refused);
                }
                Note::SeedRefused(_, count) => {
                    self.seeds_refused += 1;
                    assert_eq!(count, self.seeds_refused);
                }
                _ => {}
            }
        }
        assert_eq!(self.told, store.trouble(), "what was told last is what is");
    }

    /// The disk recovers and nobody does anything: after a few looks all is well, and a look costs next to nothing.
    fn rest(&mut self, store: &mut Store<'_, Handle>) {
        {
            let mut world = self.disk.world();
            world.repair();
            world.processes[0].crash_after = None;
        }
        self.unblock();
        for _ in 0..3 {
            self.disk.world().now += 4_000_000_001;
            self.operate(store, Doing::Look);
        }
        assert_eq!(store.trouble(), None);
        let state = self.state();
        if !self.status.is_empty() && state.as_deref().is_none_or(is_status) {
            assert_eq!(state.as_deref(), Some(&self.status[..]), "the disk does not hold the status");
        }
        if self.status.is_empty() {
            assert!(state.is_none_or(|state| !is_status(&state)), "a refused status is on the disk");
            return;
        }
        {
            let mut world = self.disk.world();
            world.processes[0].log.clear();
        }
        assert!(!store.look());
        assert!(store.take_notes().is_empty());
        let calls = self.process(|process| process.calls());
        let expected: &[Call] =
            if self.sources.seed { &[Call::StatStatus, Call::StatSeed] } else { &[Call::StatStatus] };
        assert_eq!(calls, expected);
        self.tally.event("at rest");
    }
}

struct Before {
    state: Content,
    seed: Content,
    status: Vec<u8>,
    modified: Option<i64>,
}

impl Doing {
    fn posted(&self) -> Option<&[u8]> {
        if let Doing::Post(content) = self { Some(content) } else { None }
    }
}
