//! Several stores on one directory, each in a thread, whose steps are mixed as the seed says. Nothing fails, but some of
//! them crash and start again.
//!
//! Each round ends with a look of everybody, on a clock that has moved on. Then all have the same status, and that is one
//! that nobody has followed: no other one began after it was stored.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use gitops_status_server::store::{Note, Sources, Store};

use crate::alone::MAX_BYTES;
use crate::disk::{STATUS, Shared};
use crate::random::Random;
use crate::turns::{Run, Turns};
use crate::{Tally, buffers, document};

const ROUNDS: usize = 12;

#[derive(Debug, Clone)]
enum Order {
    Look,
    Post(Vec<u8>),
    /// To crash after so many steps, if it comes to that, and to start again.
    Crash(usize),
    Restart,
}

/// Something that may be the status at the end of a round.
#[derive(Debug)]
struct Event {
    content: Vec<u8>,
    begun: u64,
    /// When it was on the disk, if it is known to be there.
    ended: Option<u64>,
    of_seed: bool,
}

#[derive(Debug)]
struct Report {
    events: Vec<Event>,
    status: Vec<u8>,
    refused: Option<String>,
}

struct Replica {
    process: usize,
    seed: usize,
    disk: Shared,
    turns: Arc<Turns>,
    sources: Sources,
}

impl Replica {
    /// Does what it is told, until nobody tells it anything.
    fn run(&self, orders: &Receiver<Vec<Order>>, reports: &Sender<Report>) {
        let mut room = buffers();
        let mut pending = orders.recv();
        let mut run: Option<Run<'_>> = None;
        'lives: loop {
            let Ok(mut script) = pending.clone() else { return };
            let mut handle = self.disk.handle(self.process);
            handle.seed = self.seed;
            handle.turns = Some(Arc::clone(&self.turns));
            let mut report = Report { events: Vec::new(), status: Vec::new(), refused: None };
            // A restart is no reason to give the turn away.
            let turn = run.take().unwrap_or_else(|| self.turns.enter(self.process));
            run = Some(turn);
            let begun = self.turns.tick();
            let mut store = Store::start(handle, self.sources, &mut room).unwrap_or_else(|reason| panic!("{reason}"));
            self.note(&mut report, &mut store, begun, None);
            loop {
                while !script.is_empty() {
                    let order = script.remove(0);
                    let begun = self.turns.tick();
                    match order {
                        Order::Look => drop(store.look()),
                        Order::Post(content) => {
                            store.hand_over(&content);
                            let (_, result) = store.post();
                            let crashed = self.disk.world().processes[self.process].crashed;
                            if let (Err(trouble), false) = (result, crashed) {
                                report.refused = Some(trouble.to_string());
                            }
                            let ended = result.is_ok().then(|| self.turns.tick());
                            report.events.push(Event { content, begun, ended, of_seed: false });
                        }
                        Order::Crash(steps) => {
                            let mut world = self.disk.world();
                            let process = &mut world.processes[self.process];
                            process.crash_after = Some(process.log.len() + steps);
                        }
                        Order::Restart => {
                            drop(store);
                            // The rest of the script is for the next life.
                            report.status.clear();
                            reports.send(report).expect("somebody listens");
                            pending = Ok(script);
                            continue 'lives;
                        }
                    }
                    self.note(&mut report, &mut store, begun, None);
                }
                report.status = store.status().to_vec();
                drop(run.take());
                reports.send(report).expect("somebody listens");
                let Ok(next) = orders.recv() else { return };
                script = next;
                report = Report { events: Vec::new(), status: Vec::new(), refused: None };
                run = Some(self.turns.enter(self.process));
            }
        }
    }

    /// A seed that was taken is an event like a post.
    fn note<D: gitops_status_server::store::Disk>(
        &self,
        report: &mut Report,
        store: &mut Store<'_, D>,
        begun: u64,
        ended: Option<u64>,
    ) {
        let notes = store.take_notes();
        let crashed = self.disk.world().processes[self.process].crashed;
        if crashed || notes.iter().any(|note| matches!(note, Note::SeedTaken(_))) {
            let content = self.disk.world().seed_content(self.seed).expect("there is always one").to_vec();
            report.events.push(Event { content, begun, ended, of_seed: true });
        }
    }
}

pub fn simulate(seed: u64, trace: bool, tally: &mut Tally) {
    let mut random = Random(seed);
    let count = 2 + random.below(3);
    let shared_seed = random.below(2) == 0;
    let disk = Shared::new(count);
    {
        let mut world = disk.world();
        world.tick = random.pick(&[1, 4_000_000, 1_000_000_000]);
        world.reuses_numbers = random.below(2) == 0;
        for process in 0..count {
            world.edit_seed(process, &document("s", 0, 0));
        }
        world.now += 5_000_000_000;
    }
    let turns = Arc::new(Turns::new(random.next()));
    let sources = Sources { state: true, seed: random.below(3) > 0, max_bytes: MAX_BYTES };
    std::thread::scope(|scope| {
        let (reports, results) = channel();
        let mut orders = Vec::new();
        for process in 0..count {
            let seed = if shared_seed { 0 } else { process };
            let replica = Replica { process, seed, disk: disk.clone(), turns: Arc::clone(&turns), sources };
            let (sender, receiver) = channel::<Vec<Order>>();
            let reports = reports.clone();
            orders.push(sender);
            scope.spawn(move || replica.run(&receiver, &reports));
        }
        drop(reports);
        // Runs the scripts of all, and gives what came of them; a restart is a report of its own.
        let run = |scripts: Vec<Vec<Order>>| -> Vec<Report> {
            let mut all = Vec::new();
            let mut left = scripts;
            turns.begin(&(0..count).collect::<Vec<_>>());
            for (order, script) in orders.iter().zip(&left) {
                order.send(script.clone()).expect("it listens");
            }
            let restarts = |script: &Vec<Order>| script.iter().filter(|order| matches!(order, Order::Restart)).count();
            let mut expected = count + left.iter().map(restarts).sum::<usize>();
            left.clear();
            while expected > 0 {
                all.push(results.recv_timeout(Duration::from_secs(60)).expect("nobody panics"));
                expected -= 1;
            }
            all
        };
        let mut statuses = 0;
        let mut seeds = 0;
        let mut status = {
            run(vec![Vec::new(); count]);
            let reports = run(vec![vec![Order::Look, Order::Look]; count]);
            reports[0].status.clone()
        };
        for round in 0..ROUNDS {
            if sources.seed && random.below(3) == 0 {
                // Of a roll-out some see it now and some later, but nobody sees an older one after a newer one.
                seeds += 1;
                tally.event("seed");
                let mut world = disk.world();
                for process in 0..count {
                    if process == 0 || random.below(2) == 0 {
                        let in_place = random.below(2) == 0;
                        let content = document("s", seeds, 0);
                        if in_place {
                            world.edit_seed(process, &content);
                        } else {
                            let file = world.prepare_seed(&content);
                            world.swap_seed(process, file, false);
                        }
                    }
                }
            }
            let mut scripts: Vec<Vec<Order>> = (0..count)
                .map(|_| {
                    let mut script = Vec::new();
                    for _ in 0..random.below(4) {
                        script.push(match random.below(8) {
                            0..2 => Order::Look,
                            2..7 => {
                                statuses += 1;
                                Order::Post(document("p", statuses, 0))
                            }
                            _ => Order::Restart,
                        });
                    }
                    if random.below(6) == 0 {
                        script.insert(0, Order::Crash(random.below(30)));
                        script.push(Order::Restart);
                    }
                    script
                })
                .collect();
            // A post outlasts three starts of others.
            let mut starts = 0;
            for script in &mut scripts {
                script.retain(|order| {
                    starts += usize::from(matches!(order, Order::Restart));
                    starts <= 3 || !matches!(order, Order::Restart)
                });
                // Whoever crashes has to start again before it is asked for more.
                if !matches!(script.last(), Some(Order::Restart)) {
                    script.retain(|order| !matches!(order, Order::Crash(_)));
                }
            }
            if trace {
                eprintln!("round {round}, seed {seeds}: {scripts:?}");
            }
            for order in scripts.iter().flatten() {
                tally.event(match order {
                    Order::Look => "look",
                    Order::Post(_) => "post",
                    Order::Crash(_) => "crash",
                    Order::Restart => "restart",
                });
            }
            let mut events = Vec::new();
            for report in run(scripts) {
                assert_eq!(report.refused, None, "a post was refused");
                events.extend(report.events);
            }
            disk.world().now += 5_000_000_000;
            // The seeds that nobody has looked at yet come first.
            for report in run(vec![vec![Order::Look]; count]) {
                events.extend(report.events);
            }
            disk.world().now += 5_000_000_000;
            let reports = run(vec![vec![Order::Look]; count]);
            assert!(reports.iter().all(|report| report.events.is_empty()), "a seed was taken late");
            let last = disk.world().content(STATUS).unwrap_or_default().to_vec();
            for report in &reports {
                assert_eq!(report.status, last, "round {round}: not all have the same status");
            }
            let begun = events.iter().filter(|event| event.ended.is_some()).map(|event| event.begun).max();
            let mut possible = events.iter().filter(|event| event.ended.is_none_or(|ended| Some(ended) >= begun));
            if trace {
                eprintln!("{events:?}\n{:?}", String::from_utf8_lossy(&last));
            }
            let found = possible.any(|event| event.content == last);
            let none_stored = events.iter().all(|event| event.ended.is_none());
            assert!(found || (none_stored && last == status), "round {round}: {:?}", String::from_utf8_lossy(&last));
            if sources.seed && shared_seed {
                let old = (0..seeds).any(|seed| document("s", seed, 0) == last);
                assert!(!old || last == status, "an old seed is back");
            }
            if let Some(event) = events.iter().find(|event| event.of_seed && event.content == last) {
                assert!(event.ended.is_none());
                tally.event("round that ends with a seed");
            }
            status = last;
        }
        drop(orders);
    });
}
