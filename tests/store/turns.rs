//! Who of several threads comes next, so that their steps are interleaved as a seed says.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::random::Random;

struct State {
    random: Random,
    running: Vec<usize>,
    current: Option<usize>,
    steps: u64,
}

/// One of those who run has the turn; it gives it to one of them, maybe itself, before each of its steps.
pub struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

impl std::fmt::Debug for Turns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Turns")
    }
}

impl Turns {
    pub fn new(seed: u64) -> Self {
        let state = State { random: Random(seed), running: Vec::new(), current: None, steps: 0 };
        Turns { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self, state: &mut State) {
        state.current = match state.running.len() {
            0 => None,
            count => Some(state.running[state.random.below(count)]),
        };
        self.changed.notify_all();
    }

    fn wait(&self, me: usize, state: MutexGuard<'_, State>) {
        drop(self.changed.wait_while(state, |state| state.current != Some(me)).unwrap_or_else(PoisonError::into_inner));
    }

    /// From now on all of these run.
    pub fn begin(&self, all: &[usize]) {
        let mut state = self.state();
        state.running = all.to_vec();
        self.next(&mut state);
    }

    /// Waits for the first turn. What it gives ends the run.
    pub fn enter(&self, me: usize) -> Run<'_> {
        self.wait(me, self.state());
        Run(self, me)
    }

    /// Waits for the next turn.
    pub fn pass(&self, me: usize) {
        let mut state = self.state();
        state.steps += 1;
        if state.running.len() > 1 {
            self.next(&mut state);
            self.wait(me, state);
        }
    }

    /// How many turns there were: a clock that orders all that happens.
    pub fn tick(&self) -> u64 {
        let mut state = self.state();
        state.steps += 1;
        state.steps
    }
}

pub struct Run<'t>(&'t Turns, usize);

impl Drop for Run<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.running.retain(|running| *running != self.1);
        self.0.next(&mut state);
    }
}
