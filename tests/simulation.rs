//! The whole core under many clients that do whatever clients can do, on a clock that jumps, all from one seed.
//!
//! Beside the core runs a model of it (`simulation/model.rs`) with its own reading of the standards
//! (`simulation/reading.rs`) and its own parser of responses (`simulation/responses.rs`). After every step both have to
//! agree on what each connection waits for, on the nearest deadline to the millisecond, on how many slots are in use,
//! and on every byte that was sent.
//!
//! In half of the lives there are files behind the status. Then the simulation plays the worker too: what the core asks
//! the files takes as long and ends as the seed says.
//!
//! `SIMULATION_SECONDS` makes it run longer, from `SIMULATION_SEED` on. What fails names its seed; with
//! `SIMULATION_SEED` set to that and `SIMULATION_TRACE=1` it tells each step.

#[path = "simulation/model.rs"]
mod model;
#[path = "common/random.rs"]
mod random;
#[path = "simulation/reading.rs"]
mod reading;
#[path = "simulation/requests.rs"]
mod requests;
#[path = "simulation/responses.rs"]
mod responses;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use gitops_status_server::connection::{Limits, Next, Turn};
use gitops_status_server::connections::{Connections, Finished, Storage, Work};
use gitops_status_server::event::{Event, Journal};
use gitops_status_server::http::response::Date;
use gitops_status_server::snapshot::{self, SLOTS};
use gitops_status_server::status::UNKNOWN;
use gitops_status_server::store::{Fault, Step, Trouble};
use model::{State, World};
use random::Random;
use requests::Situation;

/// It is large, and a `static` costs only what is written.
static STORAGE: Mutex<Storage> = Mutex::new(Storage::new());

const DATE: Date = Date(*b"Sun, 06 Nov 1994 08:49:37 GMT");
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4711);

/// How many lives of a server are simulated when nothing else is asked for.
const SEEDS: u64 = 480;
/// Steps of one life.
const STEPS: usize = 1_500;

/// Why something is not stored, what the answer to its post is then, and words of it.
type Reason = (Trouble, u16, &'static str);
const REASONS: [Reason; 7] = [
    (Trouble::Step(Step::Write, Fault::Os(28)), 507, "No space left on device"),
    (Trouble::Step(Step::Write, Fault::Os(28)), 507, "No space left on device"),
    (Trouble::Step(Step::Sync, Fault::Os(122)), 507, "Disk quota exceeded"),
    (Trouble::Step(Step::Create, Fault::Os(30)), 503, "Read-only file system"),
    (Trouble::Step(Step::Open, Fault::Os(2)), 503, "No such file or directory"),
    (Trouble::Step(Step::Rename, Fault::Os(21)), 503, "Is a directory"),
    (Trouble::Step(Step::Look, Fault::NotAFile), 503, "not a regular file"),
];

#[derive(Default)]
struct Notes {
    answered: Vec<u16>,
    accepted: usize,
}

impl Journal for Notes {
    fn record(&mut self, event: Event<'_>) {
        match event {
            Event::Accepted { .. } => self.accepted += 1,
            Event::Answered { code, .. } => self.answered.push(code.number()),
            Event::Refused { .. } => {}
        }
    }
}

/// One client and what the model says of its connection.
struct Client {
    model: model::Connection,
    /// What it has to say that the server has not read yet.
    script: Vec<u8>,
    /// It says nothing more.
    ended: bool,
}

/// What clients of one life are like, so that many lives come to places that one would not.
struct Mood {
    /// How many milliseconds pass at most between things that happen.
    pause: usize,
    /// How often, in 1000 such times, the clock jumps to where a deadline may be.
    jumps: usize,
    /// How often, in 100 steps, somebody sends, and somebody reads.
    sending: usize,
    reading: usize,
    /// How often, in 100 requests, a status is posted.
    posts: usize,
    /// How often, in 100 statuses, one is too large to be copied.
    large: usize,
    /// How often, in 100 sends, it is up to the end of a head.
    heads: usize,
    /// How often, in 100 sends, whoever has begun a body does not go on with it.
    stalls: usize,
    /// What the files are like, if there are any.
    files: Option<Disk>,
}

/// What the files of one life are like.
#[derive(Clone, Copy)]
struct Disk {
    /// How often, in 100 steps, the server does not come to the end of its turn.
    delays: usize,
    /// How often, in 100 times, something takes a while, and how often it never ends.
    slow: usize,
    stuck: usize,
    /// How often, in 100 times, nothing can be stored.
    trouble: usize,
    /// How often, in 100 times, somebody else has changed something.
    changes: usize,
}

/// What the files are asked to do.
struct Job {
    /// How many steps it takes at most, and until when.
    steps: usize,
    until: u64,
    store: Option<Vec<u8>>,
}

struct Simulation<'s> {
    random: Random,
    mood: Mood,
    core: Connections<'s>,
    world: World,
    clients: Vec<Option<Client>>,
    /// How many clients there were.
    connected: u64,
    job: Option<Job>,
    now: u64,
    trace: bool,
    tally: &'s mut Tally,
}

/// What a simulation has seen: one that never came to the interesting places proves nothing.
#[derive(Debug, Default)]
struct Tally {
    steps: u64,
    codes: BTreeMap<u16, u64>,
    events: BTreeMap<&'static str, u64>,
}

impl Tally {
    fn event(&mut self, name: &'static str) {
        *self.events.entry(name).or_default() += 1;
    }
}

macro_rules! say {
    ($self:ident, $($text:tt)*) => {
        if $self.trace {
            eprintln!("{:>10}  {}", $self.now, format_args!($($text)*));
        }
    };
}

impl<'s> Simulation<'s> {
    fn new(seed: u64, storage: &'s mut Storage, tally: &'s mut Tally) -> Self {
        let mut random = Random(seed);
        let count = 8 + random.below(9);
        let time = |random: &mut Random| 1_000 * random.pick(&[1, 2, 10, 30, 75, 3_600]);
        let mut limits = Limits {
            max_bytes: random.pick(&[2, 64, 500, 1_000, 4_000, 20_000]),
            head_timeout: time(&mut random),
            body_timeout: time(&mut random),
            idle_timeout: time(&mut random),
            write_timeout: time(&mut random),
        };
        let mut mood = Mood {
            pause: random.pick(&[1, 30, 30, 3_000]),
            jumps: random.pick(&[0, 1, 10, 50]),
            sending: random.pick(&[20, 40, 60]),
            reading: random.pick(&[5, 20, 30]),
            posts: random.pick(&[10, 40, 90]),
            large: random.pick(&[0, 20, 90]),
            heads: random.pick(&[0, 20, 80]),
            stalls: random.pick(&[0, 0, 98]),
            files: (random.below(2) == 0).then(|| Disk {
                delays: random.pick(&[0, 0, 30, 90]),
                slow: random.pick(&[0, 20, 60, 95]),
                stuck: random.pick(&[0, 0, 10, 30]),
                trouble: random.pick(&[0, 20, 70]),
                changes: random.pick(&[0, 10, 50]),
            }),
        };
        // Some are so busy that the files have no rest.
        let is_busy = mood.files.is_some() && random.below(2) == 0;
        if is_busy {
            limits.body_timeout = 1_000 * random.pick(&[1, 1, 2, 30]);
            let pause = mood.pause.min(30);
            mood = Mood { pause, jumps: mood.jumps.min(10), sending: 50, reading: 30, posts: 40, ..mood };
        }
        let now = 1_000_000;
        let mut core = Connections::new(storage, count, limits);
        let mut statuses = vec![UNKNOWN.to_vec()];
        let files = mood.files.map(|_| {
            let refresh = random.pick(if is_busy { &[0, 0, 1, 30][..] } else { &[0, 1, 30, 1_000, 60_000] });
            let reason = (random.below(4) == 0).then(|| random.pick(&REASONS));
            if random.below(2) == 0 {
                let first = requests::changed(&mut random);
                core.load(&first);
                statuses.push(first);
            }
            core.have_files(refresh, reason.map(|(trouble, ..)| trouble), now);
            model::Files::new(refresh, reason.map(|(.., words)| words), now)
        });
        Simulation {
            random,
            mood,
            core,
            world: World {
                limits,
                shutting_down: false,
                ends: None,
                statuses,
                tags: Default::default(),
                answered: Default::default(),
                accepted: 0,
                files,
                bodies: 0,
                queue: 0,
            },
            clients: (0..count).map(|_| None).collect(),
            connected: 0,
            job: None,
            now,
            trace: std::env::var_os("SIMULATION_TRACE").is_some(),
            tally,
        }
    }

    /// Lets the core do something, and hands what it tells to the model.
    fn turn<T>(&mut self, work: impl FnOnce(&mut Connections<'s>, &mut Turn<'_>) -> T) -> T {
        let mut notes = Notes::default();
        let result = work(&mut self.core, &mut Turn { now: self.now, date: &DATE, journal: &mut notes });
        for &code in &notes.answered {
            say!(self, "        answers {code}");
            *self.tally.codes.entry(code).or_default() += 1;
        }
        if notes.accepted > 0 {
            self.tally.event("accepted");
        }
        self.world.answered.extend(notes.answered);
        self.world.accepted += notes.accepted;
        result
    }

    /// What the model makes of what has just happened to connection `id`.
    fn told(&mut self, id: usize, tell: impl FnOnce(&mut model::Connection, &mut World, u64)) {
        let before = self.state(id);
        let others = || self.models().filter(|(other, _)| *other != id).map(|(_, model)| model);
        let bodies = others().filter(|model| model.has_body()).count();
        // A status is stored to the end, whatever its client does meanwhile.
        let is_alone = self.is_storing() && !others().any(|model| model.being_stored);
        let is_own = self.clients[id].as_ref().is_some_and(|client| client.model.being_stored);
        let queue = others().filter(|model| model.state == State::Room).count();
        self.world.bodies = bodies + usize::from(is_alone && !is_own);
        self.world.queue = queue;
        let client = self.clients[id].as_mut().expect("the connection is open");
        tell(&mut client.model, &mut self.world, self.now);
        assert!(self.world.answered.is_empty(), "{:?} nobody asked for", self.world.answered);
        assert_eq!(self.world.accepted, 0, "a status was accepted that should not");
        let after = self.state(id);
        if after != before {
            match after {
                State::Look => self.tally.event("look waited for"),
                State::Room => self.tally.event("room waited for"),
                _ => {}
            }
        }
    }

    /// What the model says of all connections.
    fn models(&self) -> impl Iterator<Item = (usize, &model::Connection)> {
        let clients = self.clients.iter().enumerate();
        clients.filter_map(|(id, client)| client.as_ref().map(|client| (id, &client.model)))
    }

    /// The first of those connections that came to where they are now, of two that are alike the one that connected first.
    fn first(&self, fits: impl Fn(&model::Connection) -> bool) -> Option<usize> {
        let fitting = self.models().filter(|(_, model)| fits(model));
        fitting.min_by_key(|(_, model)| (model.since, model.number)).map(|(id, _)| id)
    }

    /// Whether a status is being stored.
    fn is_storing(&self) -> bool {
        self.world.files.as_ref().is_some_and(|files| files.storing.is_some())
    }

    /// How many body buffers are taken.
    fn bodies(&self) -> usize {
        let is_alone = self.is_storing() && !self.models().any(|(_, model)| model.being_stored);
        self.models().filter(|(_, model)| model.has_body()).count() + usize::from(is_alone)
    }

    /// Whether whole bodies wait to be stored, or are.
    fn is_to_store(&self) -> bool {
        self.is_storing() || self.models().any(|(_, model)| model.state == State::Store)
    }

    fn state(&self, id: usize) -> State {
        self.clients[id].as_ref().expect("the connection is open").model.state
    }

    /// Closes those that read a status which is too old.
    fn close_overdue_readers(&mut self) {
        while let Some(reader) = self.core.overdue_reader() {
            let reads = |client: &Client| client.model.reads(&self.world);
            let past = model::past(self.clients.iter().flatten().map(|client| &client.model), &self.world);
            assert!(past.len() > model::PAST_MAX, "{past:?}");
            let oldest = past.first().copied();
            assert_eq!(self.clients[reader].as_ref().and_then(reads), oldest, "not a reader of the oldest");
            say!(self, "{reader:>4} reads the oldest status and has to go");
            self.tally.event("reader of the oldest closed");
            self.close(reader);
        }
    }

    /// What the server does without waiting for the client, as long as there is something.
    fn settle(&mut self, id: usize) {
        self.close_overdue_readers();
        while let Some(slowest) = self.turn(|core, turn| core.crowd_out(turn)) {
            say!(self, "{slowest:>4} sends its body slowest and has to go");
            self.tally.event("slowest body refused");
            assert!(!self.is_to_store(), "there will be room");
            let bodies = || self.clients.iter().flatten().map(|client| &client.model).filter(|model| model.has_body());
            assert!(bodies().count() > model::BODIES_MAX);
            let victim = &self.clients[slowest].as_ref().expect("it is open").model;
            assert!(victim.has_body());
            // Of those that have just begun the oldest goes, and only if all have.
            let young = |model: &&model::Connection| self.now - model.since < 1_000;
            let first = bodies().map(|model| model.since).min();
            assert!(
                !young(&victim) || (bodies().all(|model| young(&model)) && Some(victim.since) == first),
                "too young"
            );
            // Whatever slow means: who began later and has sent more is not slower.
            let slower = |other: &model::Connection| {
                let sent = other.content_so_far().zip(victim.content_so_far());
                other.since < victim.since && sent.is_some_and(|(other, victim)| other < victim)
            };
            assert!(!bodies().any(slower), "a slower one stays");
            self.told(slowest, |model, world, now| model.crowded_out(world, now));
            self.follow(slowest);
        }
        if self.clients[id].is_some() {
            self.follow(id);
        }
    }

    /// Shuts and closes what has to be, and checks what the connection waits for.
    fn follow(&mut self, id: usize) {
        loop {
            let next = self.core.next(id);
            let state = self.state(id);
            match (next, state) {
                (Next::Read(at_most), State::Idle | State::Head | State::Body | State::Linger) => {
                    assert!(at_most > 0, "it reads nothing");
                }
                (Next::Wait, State::Look | State::Room | State::Store) => {
                    assert!(self.core.output(id).iter().all(|part| part.is_empty()), "it sends something");
                }
                (Next::Write, State::Send) => {
                    assert!(self.core.output(id).iter().any(|part| !part.is_empty()), "it sends nothing");
                }
                (Next::ShutWrite, State::Shut) => {
                    self.core.write_side_shut(id, self.now);
                    self.told(id, |model, world, now| model.write_side_shut(world, now));
                    continue;
                }
                (Next::Close, State::Closed) => {
                    say!(self, "{id:>4} ends");
                    self.close(id);
                }
                _ => panic!("{id} is {state:?} and waits for {next:?}"),
            }
            return;
        }
    }

    fn close(&mut self, id: usize) {
        match self.state(id) {
            State::Store => self.tally.event("closed while its status waits for the store"),
            State::Look | State::Room => self.tally.event("closed while it waits"),
            _ => {}
        }
        self.core.close(id);
        self.clients[id] = None;
    }

    /// The end of a turn of the server: who need not wait for files any more goes on, and then the files have something
    /// to do. Those who went on come to their turn in the next.
    fn end_turn(&mut self, look: bool) {
        let mut gone_on = Vec::new();
        loop {
            let (bodies, now) = (self.bodies(), self.now);
            let files = self.world.files.as_ref();
            let expected = files.and_then(|files| self.first(|model| model.may_go_on(files, bodies, now)));
            let released = self.turn(|core, turn| core.release(turn));
            assert_eq!(released, expected, "another one need not wait");
            let Some(id) = released else { break };
            say!(self, "{id:>4} need not wait any more");
            self.tally.event(match self.state(id) {
                State::Look => "looked for",
                _ => "room found",
            });
            self.told(id, |model, world, now| model.waits_no_more(world, now));
            gone_on.push(id);
        }
        self.begin_work(look);
        for id in gone_on {
            self.settle(id);
        }
    }

    /// Gives the files something to do, or finds that there is nothing.
    fn begin_work(&mut self, look: bool) {
        let work = self.core.begin_work(look, self.now).map(|work| match work {
            Work::Look => None,
            Work::Store(status) => Some(status.to_vec()),
        });
        let Some(files) = self.world.files.as_ref().filter(|files| !files.are_busy()) else {
            assert_eq!(work, None, "one thing at a time");
            return;
        };
        let wanted = self.models().any(|(_, model)| model.wants_look(files));
        let oldest = self.first(|model| model.state == State::Store);
        // A look takes less than to store something, so it comes first, but not again and again.
        let stored = oldest.filter(|_| !(look || wanted) || files.only_looked);
        let body = |id: usize| self.clients[id].as_ref().expect("it is open").model.body.clone();
        let expected = match stored {
            Some(id) => Some(Some(body(id))),
            None => (look || wanted).then_some(None),
        };
        assert_eq!(work, expected, "something else is to be done");
        let Some(store) = work else { return };
        if look && !wanted {
            self.tally.event("looked because of a signal");
        }
        if oldest.is_some() && stored.is_none() {
            self.tally.event("looked before something is stored");
        }
        if stored.is_some() && wanted {
            self.tally.event("stored before somebody has its look");
        }
        let files = self.world.files.as_mut().expect("they are there");
        files.begun += 1;
        files.since = self.now;
        files.only_looked = store.is_none();
        files.storing = store.clone();
        for client in self.clients.iter_mut().flatten() {
            client.model.assert_its_turn_comes(files, self.now);
        }
        if let Some(id) = stored {
            self.clients[id].as_mut().expect("it is open").model.being_stored = true;
        }
        let Disk { slow, stuck, .. } = self.mood.files.expect("there are files");
        let long = self.world.limits.body_timeout;
        let (steps, time) = match self.random.below(100) {
            at if at < stuck => (self.random.pick(&[100, 300, usize::MAX]), u64::MAX / 2),
            at if at < stuck + slow => (
                self.random.pick(&[1, 3, 10, 30, 100]),
                self.random.pick(&[1, 30, 499, 500, 501, long - 1, long, long + 1, 4_000_000]),
            ),
            _ => (0, 0),
        };
        say!(
            self,
            "     the files have to {} for {steps} steps or {time} ms",
            match &store {
                Some(status) => format!("store {}", status.escape_ascii()),
                None => "be looked at".to_owned(),
            }
        );
        self.job = Some(Job { steps, until: self.now + time, store });
    }

    /// The files have done what they were asked to, or have not been able to.
    fn finish_work(&mut self) {
        let Some(job) = self.job.take() else { return };
        let Disk { trouble, changes, .. } = self.mood.files.expect("there are files");
        let reason = (self.random.below(100) < trouble).then(|| self.random.pick(&REASONS));
        let changed = (self.random.below(100) < changes).then(|| requests::changed(&mut self.random));
        let stored = job.store.as_ref().map(|_| match reason {
            Some((trouble, ..)) => Err(trouble),
            None => Ok(()),
        });
        // The worker keeps to itself what else it saw when a status is stored, but it need not.
        let trouble = match reason {
            // Something may be wrong with one status alone.
            Some(_) if stored.is_some() && self.random.below(4) == 0 => None,
            reason => reason,
        };
        say!(self, "     the files: stored {stored:?}, changed {}, {trouble:?}", changed.is_some());
        let trouble_of = trouble.map(|(trouble, ..)| trouble);
        let finished =
            Finished { stored, changed: changed.as_deref(), history: None, keeps: true, trouble: trouble_of };
        let expected = self.models().find(|(_, model)| model.being_stored).map(|(id, _)| id);
        let waiting = self.turn(|core, turn| core.finish(&finished, turn));
        assert_eq!(waiting, expected, "another one waits for this");

        let files = self.world.files.as_mut().expect("there are files");
        files.done = files.begun;
        files.looked = files.since;
        files.slow = false;
        files.trouble = trouble.map(|(.., words)| words);
        files.storing = None;
        if let Some(changed) = changed {
            self.tally.event(match stored {
                None => "changed by others",
                Some(Ok(())) => "changed by others before it was stored",
                Some(Err(_)) => "changed by others and not stored",
            });
            self.world.statuses.push(changed);
        }
        if let Some(Ok(())) = stored {
            self.tally.event(if waiting.is_some() { "stored" } else { "stored after its client was told or gone" });
            self.world.accepted = self.world.accepted.checked_sub(1).expect("the status was not accepted");
            self.world.statuses.extend(job.store);
        } else if stored.is_some() && waiting.is_none() {
            self.tally.event("not stored after its client was told or gone");
        }
        assert!(waiting.is_some() || (self.world.accepted == 0 && self.world.answered.is_empty()), "nobody is there");
        if let Some(id) = waiting {
            self.told(id, |model, world, now| match reason {
                Some((_, code, words)) => model.unstored(code, words, world, now),
                None => model.accepted(world, now),
            });
        }
        self.close_overdue_readers();
        if let Some(id) = waiting {
            self.settle(id);
        }
    }

    /// Goes on with what the files do, as a step of it takes its time.
    fn work(&mut self) {
        let Some(job) = &mut self.job else { return };
        if job.steps == 0 || job.until <= self.now {
            self.finish_work();
        } else {
            job.steps -= 1;
        }
    }

    /// The world as a whole.
    fn check(&mut self) {
        let models = || self.clients.iter().flatten().map(|client| &client.model);
        assert_eq!(self.core.open(), models().count());
        let nearest = models().map(|model| model.deadline).min();
        let nearest = nearest.map(|nearest| self.world.ends.unwrap_or(u64::MAX).min(nearest));
        assert_eq!(self.core.deadline(), nearest, "the nearest deadline");
        let is_over = self.world.ends.is_some_and(|ends| ends <= self.now || self.core.open() == 0);
        assert_eq!(self.core.is_over(self.now), is_over, "the end");
        if is_over {
            return;
        }
        if let Some(deadline) = self.core.deadline() {
            assert!(deadline > self.now, "a deadline in the past");
        }
        for (id, client) in self.clients.iter().enumerate() {
            let idle = client.as_ref().is_some_and(|client| client.model.state == State::Idle);
            assert_eq!(self.core.is_idle(id), idle, "{id}");
        }
        let bodies = self.bodies();
        let past = model::past(models(), &self.world).len();
        assert!(bodies <= model::BODIES_MAX + usize::from(self.is_to_store()) && past <= model::PAST_MAX);
        let expected = snapshot::Usage { bodies, past, free: SLOTS - 1 - bodies - past };
        assert_eq!(self.core.snapshots().usage(), expected, "slots");
        assert!(self.core.snapshots().current().bytes() == self.world.statuses.last().unwrap(), "the current status");
        if past == model::PAST_MAX {
            self.tally.event("step with every past slot in use");
        }
        if bodies == model::BODIES_MAX {
            self.tally.event("step with every body buffer in use");
        }
        if bodies > model::BODIES_MAX {
            let somebody_waits = self.models().any(|(_, model)| model.state == State::Store);
            self.tally.event(match somebody_waits {
                true => "step with more, for what is to be stored",
                false => "step with more, for what is stored for nobody",
            });
        }
        if self.world.files.is_some() && self.core.open() == 0 && self.job.is_none() {
            self.tally.event("step in which nobody is there and the files are at rest");
        }
    }

    /// An open connection for which `fits` holds.
    fn any(&mut self, fits: impl Fn(&Self, usize) -> bool) -> Option<usize> {
        let fitting: Vec<usize> =
            (0..self.clients.len()).filter(|&id| self.clients[id].is_some() && fits(self, id)).collect();
        (!fitting.is_empty()).then(|| fitting[self.random.below(fitting.len())])
    }

    fn is_ended(&self, id: usize) -> bool {
        self.clients[id].as_ref().is_some_and(|client| client.ended)
    }

    fn step(&mut self) {
        self.tally.steps += 1;
        self.work();
        let Mood { sending, reading, files, .. } = self.mood;
        match self.random.below(100) {
            0..4 => self.connect(),
            4 => self.end_input(),
            5 => self.reset(),
            at if at < 6 + sending => self.send_to_server(),
            at if at < 6 + sending + reading => self.send_to_client(),
            _ => self.pass_time(),
        }
        if files.is_none_or(|files| self.random.below(100) >= files.delays) {
            let look = self.random.below(400) == 0;
            self.end_turn(look);
        }
        self.check();
    }

    fn connect(&mut self) {
        if self.world.shutting_down {
            return;
        }
        if self.core.open() == self.core.capacity() {
            assert_eq!(self.core.accept(PEER, self.now), None, "there is no room");
            self.tally.event("closed for a new one");
            let victim = self.core.victim().expect("there are connections");
            say!(self, "{victim:>4} has to go");
            let models = || self.clients.iter().flatten().map(|client| &client.model);
            let many_ask = models().filter(|model| model.is_asking()).count() > self.clients.len() / 4;
            let rank = self.clients[victim].as_ref().expect("it is open").model.rank(many_ask);
            let first = models().map(|model| model.rank(many_ask)).min();
            assert_eq!(Some(rank), first, "another one should go");
            self.close(victim);
        }
        let id = self.core.accept(PEER, self.now).expect("there is room");
        say!(self, "{id:>4} connects");
        assert!(self.clients[id].is_none());
        self.clients[id] = Some(Client {
            model: model::Connection::new(self.connected, &self.world, self.now),
            script: Vec::new(),
            ended: false,
        });
        self.connected += 1;
        self.settle(id);
    }

    fn send_to_server(&mut self) {
        let reads = |simulation: &Self, id| matches!(simulation.core.next(id), Next::Read(_));
        let Some(id) = self.any(|simulation, id| reads(simulation, id) && !simulation.is_ended(id)) else { return };
        if self.state(id) == State::Body && self.random.below(100) < self.mood.stalls {
            return;
        }
        self.send_some_to_server(id);
        // More of a body may be there, and then the server reads it before it compares those who send.
        while reads(self, id) && self.state(id) == State::Body && self.random.below(3) == 0 {
            self.close_overdue_readers();
            self.send_some_to_server(id);
        }
        self.settle(id);
    }

    fn send_some_to_server(&mut self, id: usize) {
        let Next::Read(at_most) = self.core.next(id) else { unreachable!() };
        let client = self.clients[id].as_mut().expect("it is open");
        while client.script.is_empty() || self.random.below(3) == 0 {
            let situation = Situation {
                tags: self.world.tags.values().map(|tag| &**tag).collect(),
                max_bytes: self.world.limits.max_bytes,
                posts: self.mood.posts,
                large: self.mood.large,
            };
            client.script.extend(requests::request(&mut self.random, &situation));
        }
        let most = client.script.len().min(at_most);
        let head = client.script.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
        let size = match (head, self.random.below(4)) {
            (Some(head), _) if self.random.below(100) < self.mood.heads => head.min(most),
            (_, 0) => 1 + self.random.below(most.min(4)),
            (_, 1) => 1 + self.random.below(most),
            _ => most,
        };
        let bytes: Vec<u8> = client.script.drain(..size).collect();
        say!(self, "{id:>4} sends {:?}", bytes.escape_ascii().to_string());
        self.turn(|core, turn| core.receive(id, &bytes, turn));
        self.told(id, |model, world, now| model.receive(&bytes, world, now));
    }

    fn send_to_client(&mut self) {
        let Some(id) = self.any(|simulation, id| simulation.core.next(id) == Next::Write) else { return };
        let output = self.core.output(id).concat();
        let size = match self.random.below(3) {
            0 => 1 + self.random.below(output.len()),
            _ => output.len(),
        };
        let unread = self.random.below(4) == 0;
        say!(self, "{id:>4} gets {size} of {} bytes, unread: {unread}", output.len());
        self.turn(|core, turn| core.sent(id, size, unread, turn));
        if output == b"HTTP/1.1 100 Continue\r\n\r\n" {
            self.tally.event("100");
        }
        self.told(id, |model, world, now| model.sent(&output[..size], size == output.len(), unread, world, now));
        self.settle(id);
    }

    fn end_input(&mut self) {
        let Some(id) = self.any(|simulation, id| !simulation.is_ended(id)) else { return };
        say!(self, "{id:>4} ends its side");
        self.clients[id].as_mut().expect("it is open").ended = true;
        self.tally.event("input ended");
        self.turn(|core, turn| core.end_of_input(id, turn));
        self.told(id, |model, world, now| model.end_of_input(world, now));
        self.settle(id);
    }

    fn reset(&mut self) {
        let is_stored = |simulation: &Self, id: usize| {
            simulation.clients[id].as_ref().is_some_and(|client| client.model.being_stored)
        };
        let rather = self.random.below(2) == 0;
        let stored = if rather { self.any(is_stored) } else { None };
        let Some(id) = stored.or_else(|| self.any(|_, _| true)) else { return };
        say!(self, "{id:>4} resets");
        self.tally.event("reset");
        self.close(id);
    }

    fn pass_time(&mut self) {
        let nearest = self.core.deadline().unwrap_or(self.now + 1);
        self.now = match self.random.below(10) {
            _ if self.random.below(1_000) >= self.mood.jumps => self.now + self.random.below(self.mood.pause) as u64,
            0..3 => (nearest - 1).max(self.now),
            3..7 => nearest,
            7 => nearest + 1,
            8 => self.now + self.random.below(100_000) as u64,
            // A machine that slept.
            _ => self.now + 86_400_000,
        };
        self.expire();
    }

    fn expire(&mut self) {
        while let Some(id) = self.turn(|core, turn| core.expire(turn)) {
            let client = self.clients[id].as_ref().expect("it is open");
            say!(self, "{id:>4} was {:?} too long", client.model.state);
            assert!(client.model.deadline <= self.now, "too early");
            self.tally.event(match client.model.state {
                State::Idle => "idle too long",
                State::Head => "head too long",
                State::Look if self.job.is_some() => "answered without the look",
                State::Look => "answered without a look that nobody began",
                State::Room => "room waited for too long",
                State::Body => "body too long",
                State::Store if client.model.being_stored => "being stored too long",
                State::Store => "store waited for too long",
                State::Send => "no progress too long",
                State::Linger => "lingered too long",
                State::Shut | State::Closed => panic!("nothing is waited for"),
            });
            self.told(id, |model, world, now| model.expire(world, now));
            self.settle(id);
        }
    }

    fn shut_down(&mut self) {
        say!(self, "the server shuts down");
        let grace = self.random.pick(&[0, 0, 0, 1_000, 10_000, 300_000]);
        self.world.shutting_down = true;
        self.world.ends = Some(self.now + grace);
        self.core.shut_down(self.now, grace);
        for id in 0..self.clients.len() {
            if self.clients[id].is_none() {
                continue;
            }
            self.told(id, |model, world, now| model.hasten(world, now));
            if self.core.is_idle(id) {
                self.close(id);
            }
        }
        self.check();
    }

    /// Nobody does anything any more, or the server shuts down and they all do. Either way each connection ends.
    fn end(mut self) {
        if self.random.below(2) == 0 {
            self.shut_down();
            for _ in 0..self.random.below(200) {
                if !self.core.is_over(self.now) {
                    self.step();
                }
            }
        }
        // Whoever still reads can have as many more answers as requests fit an inbox, and takes its time for each. Without
        // that there is at most a body too long, its refusal that nobody reads, and a time to linger.
        let reading = self.random.below(2) == 0;
        // With files there is a wait for a buffer before, and one for the store behind the body.
        let end = self.now + 4 * 3_600_000 + 30_000;
        for steps in 0.. {
            let Some(deadline) = self.core.deadline() else { break };
            self.now = deadline;
            if self.core.is_over(self.now) {
                // The server exits, and who is still there is cut off.
                self.tally.event(if self.job.is_some() { "cut off at work" } else { "cut off at the end" });
                for id in 0..self.clients.len() {
                    if self.clients[id].is_some() {
                        self.close(id);
                    }
                }
                break;
            }
            assert!(steps < 100_000 && (reading || self.now <= end), "a connection does not end");
            self.work();
            self.expire();
            self.end_turn(false);
            self.check();
            if reading {
                self.send_to_client();
            }
        }
        assert_eq!(self.core.open(), 0);
        if self.job.is_some() {
            self.tally.event("work that outlasts all connections");
            self.finish_work();
        }
        assert_eq!(self.core.snapshots().usage(), snapshot::Usage { bodies: 0, past: 0, free: SLOTS - 1 });
    }
}

/// Names the seed when a simulation fails.
struct Replay(u64, u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Replay(seed, step) = self;
            eprintln!(
                "simulation {seed} failed at step {step}; to see its steps:\n  \
                 SIMULATION_SEED={seed} SIMULATION_TRACE=1 cargo test --test simulation"
            );
        }
    }
}

fn simulate(seed: u64, tally: &mut Tally) {
    let mut storage = STORAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut replay = Replay(seed, 0);
    let mut simulation = Simulation::new(seed, &mut storage, tally);
    for step in 0..STEPS {
        replay.1 = step as u64;
        simulation.step();
    }
    simulation.end();
}

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")))
}

#[test]
fn whatever_clients_do_the_server_does_what_the_standards_say() {
    let first = number("SIMULATION_SEED");
    let time = number("SIMULATION_SECONDS").map(Duration::from_secs);
    let begun = Instant::now();
    let mut tally = Tally::default();
    let mut seed = first.unwrap_or(1);
    loop {
        simulate(seed, &mut tally);
        let more = match (time, first) {
            (Some(time), _) => begun.elapsed() < time,
            (None, Some(_)) => false,
            (None, None) => seed < SEEDS,
        };
        if !more {
            break;
        }
        seed += 1;
    }
    println!("seeds up to {seed}: {tally:#?}");
    if seed >= SEEDS && first.is_none() {
        for code in [200, 204, 304, 400, 404, 405, 408, 414, 415, 417, 431, 501, 503, 505, 507] {
            assert!(tally.codes[&code] >= 10, "{code} was hardly ever answered");
        }
        assert_eq!(tally.events.len(), 40, "{:?}", tally.events);
        assert!(tally.events.values().all(|&count| count >= 10), "{:?}", tally.events);
    }
}
