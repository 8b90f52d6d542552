//! The time that processes had a processor.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// By how much the coarse clock may be ahead of the sum over threads. More than that, and threads have come or gone
/// with time of their own.
const TOLERANCE: Duration = Duration::from_millis(50);

/// What a process has used up to now.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    /// Of the threads that are there, to the nanosecond but for what the running ones had since their last tick, at most
    /// 10 ms; `None` where the system does not tell.
    threads: Option<Duration>,
    /// For how long threads that are there could have run, and others did.
    waited: Duration,
    /// Of all threads that ever were, in ticks of 10 ms mostly.
    user: Duration,
    system: Duration,
}

/// Some processes, and what they had used when the watch began.
#[derive(Debug)]
pub struct Watch {
    processes: Vec<(u32, Used)>,
}

/// What some processes have used in a while, all together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// In all.
    pub total: Duration,
    /// Outside of the kernel and in it, in ticks.
    pub user: Duration,
    /// In the kernel, in ticks.
    pub system: Duration,
    /// For how long they could have run, and others had the processor; as far as the system tells.
    pub waited: Duration,
}

impl Watch {
    /// Watches these processes.
    ///
    /// # Errors
    /// One of them is not there.
    pub fn new(processes: &[u32]) -> io::Result<Self> {
        let mut watch = Watch { processes: processes.iter().map(|&process| (process, Used::default())).collect() };
        watch.begin()?;
        Ok(watch)
    }

    /// Begins anew.
    ///
    /// # Errors
    /// One of the processes is not there any more.
    pub fn begin(&mut self) -> io::Result<()> {
        for (process, used) in &mut self.processes {
            *used = Used::of(*process)?;
        }
        Ok(())
    }

    /// What was used since it began; `None` when no process is watched.
    ///
    /// # Errors
    /// One of the processes is not there any more.
    pub fn spent(&self) -> io::Result<Option<Spent>> {
        let mut sum = Spent::default();
        for &(process, before) in &self.processes {
            let spent = Used::of(process)?.since(before);
            sum.total += spent.total;
            sum.user += spent.user;
            sum.system += spent.system;
            sum.waited += spent.waited;
        }
        Ok((!self.processes.is_empty()).then_some(sum))
    }
}

impl Used {
    fn of(process: u32) -> io::Result<Self> {
        let gone = |error| io::Error::new(io::ErrorKind::NotFound, format!("no process {process}: {error}"));
        let (user, system) = fs::read_to_string(format!("/proc/{process}/stat"))
            .and_then(|stat| ticks(&stat).ok_or_else(|| io::Error::other("its stat cannot be read")))
            .map_err(gone)?;
        let (mut threads, mut waited) = (Some(Duration::ZERO), Duration::ZERO);
        for thread in fs::read_dir(format!("/proc/{process}/task")).map_err(gone)? {
            // A thread that goes while this is read has told nothing; the ticks have its time.
            let Ok(schedstat) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
            let (ran, waits) = schedule(&schedstat).unzip();
            threads = threads.zip(ran).map(|(sum, thread)| sum + thread);
            waited += waits.unwrap_or_default();
        }
        // Without CONFIG_SCHED_INFO the file has noughts, or is not there.
        let threads = threads.filter(|sum| !sum.is_zero());
        Ok(Used { threads, waited, user, system })
    }

    fn since(self, before: Used) -> Spent {
        let user = self.user.saturating_sub(before.user);
        let system = self.system.saturating_sub(before.system);
        let ticks = user + system;
        let threads = self.threads.zip(before.threads).map(|(now, then)| now.saturating_sub(then));
        let total = threads.filter(|&threads| ticks <= threads + TOLERANCE).unwrap_or(ticks);
        Spent { total, user, system, waited: self.waited.saturating_sub(before.waited) }
    }
}

/// The time on a processor and the time waiting for one, in `/proc/PID/task/TID/schedstat`.
fn schedule(schedstat: &str) -> Option<(Duration, Duration)> {
    let mut fields = schedstat.split_ascii_whitespace().map_while(|field| field.parse().ok().map(Duration::from_nanos));
    Some((fields.next()?, fields.next()?))
}

/// The user and the system time in `/proc/PID/stat`.
fn ticks(stat: &str) -> Option<(Duration, Duration)> {
    // The second field is the name, in parentheses, with any characters in it; `utime` is the 14th.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().skip(11);
    let mut time = || {
        let ticks: u64 = fields.next()?.parse().ok()?;
        Some(Duration::from_nanos(ticks * (1_000_000_000 / rustix::param::clock_ticks_per_second())))
    };
    Some((time()?, time()?))
}

/// The time that this process has had a processor.
pub fn own() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_any_name_tells_its_ticks() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 1 1 1";
        assert_eq!(ticks(stat), Some((Duration::from_millis(2500), Duration::from_millis(500))));
        assert_eq!(ticks("42 (a) S"), None);
    }

    #[test]
    fn a_thread_tells_how_long_it_ran_and_how_long_it_waited() {
        let times = Some((Duration::from_nanos(804169), Duration::from_nanos(12)));
        assert_eq!(schedule("804169 12 1\n"), times);
        assert_eq!((schedule(""), schedule("1")), (None, None));
    }

    #[test]
    fn what_this_process_uses_is_what_it_measures_of_itself() {
        let watch = Watch::new(&[std::process::id()]).unwrap();
        let begun = own();
        while own() - begun < Duration::from_millis(300) {
            std::hint::spin_loop();
        }
        let spent = watch.spent().unwrap().unwrap();
        let difference = spent.total.abs_diff(own() - begun);
        assert!(difference < Duration::from_millis(60), "{spent:?} of {:?}", own() - begun);
        assert!(spent.user + spent.system >= Duration::from_millis(200), "{spent:?}");
    }

    #[test]
    fn time_of_threads_that_are_gone_counts_too() {
        let used = |threads, user| Used {
            threads: Some(Duration::from_millis(threads)),
            user: Duration::from_millis(user),
            ..Used::default()
        };
        assert_eq!(used(250, 260).since(used(100, 100)).total, Duration::from_millis(150));
        assert_eq!(used(120, 500).since(used(100, 100)).total, Duration::from_millis(400));
        assert_eq!(used(20, 500).since(used(100, 100)).total, Duration::from_millis(400));
    }

    #[test]
    fn a_process_that_is_not_there_is_named() {
        let error = Watch::new(&[u32::MAX]).unwrap_err().to_string();
        assert!(error.starts_with("no process 4294967295: "), "{error}");
    }
}
