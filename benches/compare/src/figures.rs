//! What was measured.

use std::fmt::{self, Write as _};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::cpu::Spent;

/// The longest time that is told apart, in nanoseconds: a longer one counts as this.
const LONGEST: u64 = 1_000_000_000_000;
/// How many decimal digits of a time are kept.
const DIGITS: u8 = 3;
/// Below so many seconds of processor time the ticks say nothing about what was spent where.
const SPLIT_MIN: Duration = Duration::from_millis(500);

/// What can go wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No connection.
    Connect,
    /// A connection that failed with a request on it.
    Reset,
    /// A connection that ended with a request on it and no or half a response.
    Closed,
    /// A status that is no 2xx.
    Status,
    /// Another body than expected.
    Body,
    /// What is no response.
    Malformed,
    /// No response for too long.
    Unanswered,
}

const FAULTS: [(Fault, &str); 7] = [
    (Fault::Connect, "could not connect"),
    (Fault::Reset, "connection failed"),
    (Fault::Closed, "connection ended without a whole response"),
    (Fault::Status, "status is no 2xx"),
    (Fault::Body, "wrong body"),
    (Fault::Malformed, "malformed response"),
    (Fault::Unanswered, "no response"),
];

/// How often what went wrong, and the first example of each.
#[derive(Debug, Default)]
pub struct Faults([(u64, String); FAULTS.len()]);

impl Faults {
    /// Counts one; the example is asked for once.
    pub fn count(&mut self, fault: Fault, example: impl FnOnce() -> String) {
        let (count, first) = &mut self.0[fault as usize];
        if *count == 0 {
            *first = example();
        }
        *count += 1;
    }

    /// How often anything went wrong.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|(count, _)| count).sum()
    }

    /// How often this went wrong.
    pub fn of(&self, fault: Fault) -> u64 {
        self.0[fault as usize].0
    }
}

/// A line for each kind.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (fault, name) in FAULTS {
            let (count, first) = &self.0[fault as usize];
            if *count > 0 {
                writeln!(f, "{count} times: {name}; first: {first}")?;
            }
        }
        Ok(())
    }
}

/// How a schedule was kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kept {
    /// Requests a second that were due.
    pub rate: f64,
    /// Whether at least 99 of 100 were answered in time.
    pub kept: bool,
    /// How many were due and not sent at the end, for no connection was free.
    pub unsent: u64,
}

/// All of a run.
#[derive(Debug)]
pub struct Figures {
    /// Good responses within the measured time, or, by a schedule, to what was due in it.
    pub requests: u64,
    /// Those of them that came within the measured time.
    pub requests_in_time: u64,
    /// The measured time.
    pub elapsed: Duration,
    /// Bytes received in it.
    pub bytes_read: u64,
    /// Processor time of the server in it, if that was asked for.
    pub server: Option<Spent>,
    /// Processor time of the load itself in it.
    pub load: Duration,
    /// For how long others had the processor that the load wanted.
    pub load_waited: Duration,
    /// How the schedule was kept, if there was one.
    pub schedule: Option<Kept>,
    /// Nanoseconds from when a request was due to the last byte of its response.
    pub latency: Histogram<u64>,
    /// What went wrong in the whole run.
    pub faults: Faults,
}

impl Figures {
    /// Of nothing yet.
    pub fn new() -> Self {
        Figures {
            requests: 0,
            requests_in_time: 0,
            elapsed: Duration::ZERO,
            bytes_read: 0,
            server: None,
            load: Duration::ZERO,
            load_waited: Duration::ZERO,
            schedule: None,
            latency: Histogram::new_with_bounds(1, LONGEST, DIGITS).expect("these bounds are within what is allowed"),
            faults: Faults::default(),
        }
    }

    /// Good responses a second of the measured time.
    pub fn requests_per_second(&self) -> Option<f64> {
        per_second(self.requests_in_time, self.elapsed)
    }

    /// One line of JSON.
    pub fn json(&self) -> String {
        let spent = self.server;
        let split = spent.filter(|spent| spent.user + spent.system >= SPLIT_MIN);
        let mut line = String::from("{");
        let mut number = |name: &str, value: Option<f64>, decimals: usize| {
            let _ = match value.filter(|value| value.is_finite()) {
                Some(value) => write!(line, "\"{name}\":{value:.decimals$},"),
                None => write!(line, "\"{name}\":null,"),
            };
        };
        number("requests", Some(self.requests as f64), 0);
        number("errors", Some(self.faults.total() as f64), 0);
        number("seconds", Some(self.elapsed.as_secs_f64()), 6);
        number("requests_per_second", self.requests_per_second(), 1);
        number("bytes_read", Some(self.bytes_read as f64), 0);
        number("server_cpu_seconds", spent.map(|spent| spent.total.as_secs_f64()), 6);
        number("server_user_seconds", split.map(|spent| spent.user.as_secs_f64()), 2);
        number("server_system_seconds", split.map(|spent| spent.system.as_secs_f64()), 2);
        number("requests_per_cpu_second", spent.and_then(|spent| per_second(self.requests_in_time, spent.total)), 1);
        number("server_wait_seconds", spent.map(|spent| spent.waited.as_secs_f64()), 6);
        number("load_cpu_seconds", Some(self.load.as_secs_f64()), 6);
        number("load_wait_seconds", Some(self.load_waited.as_secs_f64()), 6);
        number("rate", self.schedule.map(|schedule| schedule.rate), 1);
        number("unsent", self.schedule.map(|schedule| schedule.unsent as f64), 0);
        let kept = self.schedule.map_or("null", |schedule| if schedule.kept { "true" } else { "false" });
        let _ = write!(line, "\"rate_kept\":{kept},\"latency_us\":{{");
        let micros = |nanos: u64| nanos as f64 / 1000.0;
        let quantiles = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];
        let latencies =
            quantiles.iter().map(|&(name, quantile)| (name, micros(self.latency.value_at_quantile(quantile))));
        let others = [("max", micros(self.latency.max())), ("mean", self.latency.mean() / 1000.0)];
        for (index, (name, value)) in latencies.chain(others).enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let _ = match self.latency.is_empty() {
                false => write!(line, "{comma}\"{name}\":{value:.2}"),
                true => write!(line, "{comma}\"{name}\":null"),
            };
        }
        line.push_str("}}");
        line
    }
}

impl Default for Figures {
    fn default() -> Self {
        Self::new()
    }
}

fn per_second(count: u64, time: Duration) -> Option<f64> {
    (!time.is_zero()).then(|| count as f64 / time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_one_line_of_json_whatever_is_missing() {
        let mut figures = Figures::new();
        let json: serde_json::Value = serde_json::from_str(&figures.json()).unwrap();
        assert_eq!(json["requests"], 0);
        for name in ["requests_per_second", "server_cpu_seconds", "requests_per_cpu_second", "rate", "rate_kept"] {
            assert!(json[name].is_null(), "{name}");
        }
        assert!(json["latency_us"]["p99"].is_null());

        figures.requests = 1001;
        figures.requests_in_time = 1000;
        figures.elapsed = Duration::from_secs(2);
        figures.server = Some(Spent {
            total: Duration::from_millis(800),
            user: Duration::from_millis(200),
            system: Duration::from_millis(600),
            waited: Duration::from_millis(50),
        });
        figures.schedule = Some(Kept { rate: 501.0, kept: true, unsent: 2 });
        for micros in 1..=1000 {
            figures.latency.record(micros * 1000).unwrap();
        }
        figures.faults.count(Fault::Body, || "here".to_owned());
        figures.faults.count(Fault::Body, || "there".to_owned());
        let line = figures.json();
        assert!(!line.contains('\n'));
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["requests"], 1001);
        assert_eq!(json["errors"], 2);
        assert_eq!(json["requests_per_second"], 500.0);
        assert_eq!(json["requests_per_cpu_second"], 1250.0);
        assert_eq!(json["server_user_seconds"], 0.2);
        assert_eq!(json["server_system_seconds"], 0.6);
        assert_eq!(json["server_wait_seconds"], 0.05);
        assert_eq!(json["rate_kept"], true);
        assert_eq!(json["unsent"], 2);
        let p99 = json["latency_us"]["p99"].as_f64().unwrap();
        assert!((989.0..=991.0).contains(&p99), "{p99}");
        assert_eq!(figures.faults.to_string(), "2 times: wrong body; first: here\n");
    }

    #[test]
    fn each_fault_has_its_place() {
        for (index, (fault, _)) in FAULTS.iter().enumerate() {
            assert_eq!(*fault as usize, index);
        }
    }
}
