//! The whole core under many clients that do whatever clients can do, on a clock that jumps, all from one seed.
//!
//! Beside the core runs a model of it (`simulation/model.rs`) with its own reading of the standards
//! (`simulation/reading.rs`) and its own parser of responses (`simulation/responses.rs`). After every step both have to
//! agree on what each connection waits for, on the nearest deadline to the millisecond, on how many slots are in use,
//! and on every byte that was sent.
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
use gitops_status_server::connections::{Connections, Storage};
use gitops_status_server::event::{Event, Journal};
use gitops_status_server::http::response::Date;
use gitops_status_server::snapshot::{self, SLOTS};
use gitops_status_server::status::UNKNOWN;
use model::{State, World};
use random::Random;
use requests::Situation;

/// It is large, and a `static` costs only what is written.
static STORAGE: Mutex<Storage> = Mutex::new(Storage::new());

const DATE: Date = Date(*b"Sun, 06 Nov 1994 08:49:37 GMT");
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4711);

/// How many lives of a server are simulated when nothing else is asked for.
const SEEDS: u64 = 150;
/// Steps of one life.
const STEPS: usize = 1_500;

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
    /// How often, in 100 sends, it is up to the end of a head.
    heads: usize,
    /// How often, in 100 sends, whoever has begun a body does not go on with it.
    stalls: usize,
}

struct Simulation<'s> {
    random: Random,
    mood: Mood,
    core: Connections<'s>,
    world: World,
    clients: Vec<Option<Client>>,
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
        let limits = Limits {
            max_bytes: random.pick(&[2, 64, 500, 500, 4_000, 20_000]),
            head_timeout: time(&mut random),
            body_timeout: time(&mut random),
            idle_timeout: time(&mut random),
            write_timeout: time(&mut random),
        };
        let mood = Mood {
            pause: random.pick(&[1, 30, 30, 3_000]),
            jumps: random.pick(&[0, 1, 10, 50]),
            sending: random.pick(&[20, 40, 60]),
            reading: random.pick(&[5, 20, 30]),
            posts: random.pick(&[10, 40, 90]),
            heads: random.pick(&[0, 20, 80]),
            stalls: random.pick(&[0, 0, 98]),
        };
        Simulation {
            random,
            mood,
            core: Connections::new(storage, count, limits),
            world: World {
                limits,
                shutting_down: false,
                ends: None,
                statuses: vec![UNKNOWN.to_vec()],
                tags: Default::default(),
                answered: Default::default(),
                accepted: 0,
            },
            clients: (0..count).map(|_| None).collect(),
            now: 1_000_000,
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
        let client = self.clients[id].as_mut().expect("the connection is open");
        tell(&mut client.model, &mut self.world, self.now);
        assert!(self.world.answered.is_empty(), "{:?} nobody asked for", self.world.answered);
        assert_eq!(self.world.accepted, 0, "a status was accepted that should not");
    }

    fn state(&self, id: usize) -> State {
        self.clients[id].as_ref().expect("the connection is open").model.state
    }

    /// Closes those that read a status which is too old.
    fn close_overdue_readers(&mut self) {
        while let Some(reader) = self.core.overdue_reader() {
            let reads = |client: &Client| client.model.reads();
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
        self.core.close(id);
        self.clients[id] = None;
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
        let bodies = models().filter(|model| model.has_body()).count();
        let past = model::past(models(), &self.world).len();
        assert!(bodies <= model::BODIES_MAX && past <= model::PAST_MAX);
        let expected = snapshot::Usage { bodies, past, free: SLOTS - 1 - bodies - past };
        assert_eq!(self.core.snapshots().usage(), expected, "slots");
        assert!(self.core.snapshots().current().bytes() == self.world.statuses.last().unwrap(), "the current status");
        if past == model::PAST_MAX {
            self.tally.event("step with every past slot in use");
        }
        if bodies == model::BODIES_MAX {
            self.tally.event("step with every body buffer in use");
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
        let Mood { sending, reading, .. } = self.mood;
        match self.random.below(100) {
            0..4 => self.connect(),
            4 => self.end_input(),
            5 => self.reset(),
            at if at < 6 + sending => self.send_to_server(),
            at if at < 6 + sending + reading => self.send_to_client(),
            _ => self.pass_time(),
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
        self.clients[id] =
            Some(Client { model: model::Connection::new(&self.world, self.now), script: Vec::new(), ended: false });
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
        let Some(id) = self.any(|_, _| true) else { return };
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
                State::Body => "body too long",
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
        let grace = self.random.pick(&[0, 1_000, 10_000, 300_000]);
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
        let end = self.now + 2 * 3_600_000 + 30_000;
        for steps in 0.. {
            let Some(deadline) = self.core.deadline() else { break };
            self.now = deadline;
            if self.core.is_over(self.now) {
                // The server exits, and who is still there is cut off.
                self.tally.event("cut off at the end");
                for id in 0..self.clients.len() {
                    if self.clients[id].is_some() {
                        self.close(id);
                    }
                }
                break;
            }
            assert!(steps < 100_000 && (reading || self.now <= end), "a connection does not end");
            self.expire();
            self.check();
            if reading {
                self.send_to_client();
            }
        }
        assert_eq!(self.core.open(), 0);
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
        for code in [200, 204, 304, 400, 404, 405, 408, 414, 415, 417, 431, 501, 503, 505] {
            assert!(tally.codes[&code] >= 10, "{code} was hardly ever answered");
        }
        assert_eq!(tally.events.len(), 15, "{:?}", tally.events);
        assert!(tally.events.values().all(|&count| count >= 10), "{:?}", tally.events);
    }
}
