//! The metrics, as Prometheus reads them (its text format, version 0.0.4).

use core::fmt::{self, Write};

use crate::counters::{CLASSES, Counters, Population, ROUTES};
use crate::history::{History, SECOND};
use crate::http::response::Code;
use crate::summary::{State, Summary, TEXT_MAX, Text};
use crate::{date, snapshot};

/// The most bytes of all metrics: what does not change with what happens, three texts of which every byte is escaped, and a
/// line for every code of every tally.
pub const METRICS_MAX: usize = (8 << 10) + 3 * 2 * TEXT_MAX + crate::counters::Tally::COUNT * Code::ALL.len() * 96;

/// What they are taken from.
#[derive(Debug)]
pub struct Facts<'f> {
    /// The current status.
    pub summary: &'f Summary,
    /// The last ones.
    pub history: &'f History,
    /// What was counted.
    pub counters: &'f Counters,
    /// Whether no status came for too long.
    pub stale: bool,
    /// Whether `/ready` says so.
    pub ready: bool,
    /// The bytes of the current status.
    pub bytes: usize,
    /// How many connections there are.
    pub population: Population,
    /// How many slots are used for what.
    pub slots: snapshot::Usage,
    /// When the process was started, in seconds since 1970.
    pub started: u64,
    /// The bytes of memory that are resident, if that is known.
    pub resident: Option<u64>,
}

/// What stands behind the name of a metric.
enum Sample {
    /// A number, or nothing where there is none.
    Number(Option<u64>),
    /// Whatever there is to say of one thing with several labels.
    Lines(fn(&Facts<'_>, &str, &mut dyn Write) -> fmt::Result),
}

/// Every metric: `g` for a gauge or `c` for a counter, its name without what all names begin with, what it means.
const FAMILIES: &str = "\
g info The status as it was posted.
g state What the status means: one of these is 1.
g synced Whether what runs is what is in git.
g stale Whether no status came for longer than --stale-after.
g drift_count How many things differ, as the status says.
g files How many files the status lists.
g bytes Size of the status.
g last_check_timestamp_seconds When somebody last looked, as the status says.
g last_post_timestamp_seconds When the last status was accepted.
g last_refused_post_timestamp_seconds When the last post was refused.
c posts_accepted_total Posts whose status became the current one.
c posts_refused_total Posts that were refused.
c http_requests_total Requests answered, by route, class of method and status code.
c http_received_bytes_total Bytes received.
c http_sent_bytes_total Bytes sent.
g connections Connections that are open.
g connections_max Connections that can be open.
c connections_accepted_total Connections accepted.
c connections_evicted_total Connections that had to make room for others.
c connections_timed_out_total Connections that let a time-out pass.
g body_buffers Buffers in use for statuses on their way in or to the state directory.
g body_buffers_max Buffers that there are for them.
g snapshot_slots Slots in use for statuses, past ones that are still read included.
g snapshot_slots_max Slots that there are.
c state_writes_total Statuses stored in the state directory.
c state_write_failures_total Statuses that could not be stored.
g ready Whether /ready says so.
g build_info The version of the server.
g process_start_time_seconds When the process was started.
g process_resident_memory_bytes Resident memory.
";

/// What the names of all metrics begin with, but for those that are the same for every process.
const PREFIX: &str = "gitops_status_";

/// Writes them all, at most [`METRICS_MAX`] bytes.
///
/// # Errors
/// Those of `out`.
pub fn render(out: &mut dyn Write, facts: &Facts<'_>) -> fmt::Result {
    let Facts { summary, counters, slots, population, .. } = *facts;
    let some = |number| Sample::Number(Some(number));
    let seconds = |nanoseconds: u64| nanoseconds / SECOND;
    let check = summary.last_check.as_ref().and_then(|text| date::parse(text.as_str().as_bytes()));
    let samples = [
        Sample::Lines(info),
        Sample::Lines(states),
        some((summary.state() == State::Synced).into()),
        some(facts.stale.into()),
        Sample::Number(summary.drift_count),
        Sample::Number(summary.files),
        some(facts.bytes as u64),
        Sample::Number(check),
        Sample::Number(facts.history.newest().map(|newest| seconds(newest.last_received_at))),
        Sample::Number(counters.refused_at.as_ref().map(date::seconds)),
        some(counters.posts_accepted),
        some(counters.posts_refused),
        Sample::Lines(requests),
        some(counters.received),
        some(counters.sent),
        some(population.open as u64),
        some(population.most as u64),
        some(population.accepted),
        some(counters.evicted),
        some(counters.timed_out),
        some(slots.bodies as u64),
        some(snapshot::BODIES_MAX as u64 + 1),
        some((snapshot::SLOTS - slots.free) as u64),
        some(snapshot::SLOTS as u64),
        some(counters.state_writes),
        some(counters.state_write_failures),
        some(facts.ready.into()),
        Sample::Lines(build),
        some(facts.started),
        Sample::Number(facts.resident),
    ];
    for (line, sample) in FAMILIES.lines().zip(samples) {
        let (kind, line) = line.split_at(2);
        let (name, meaning) = line.split_at(line.bytes().position(|byte| byte == b' ').unwrap_or(0));
        let prefix = if name.starts_with("process_") { "" } else { PREFIX };
        let kind = if kind == "c " { "counter" } else { "gauge" };
        write!(out, "# HELP {prefix}{name}{meaning}\n# TYPE {prefix}{name} {kind}\n")?;
        match sample {
            Sample::Number(Some(number)) => writeln!(out, "{prefix}{name} {number}")?,
            Sample::Number(None) => {}
            Sample::Lines(lines) => lines(facts, name, out)?,
        }
    }
    Ok(())
}

fn info(facts: &Facts<'_>, name: &str, out: &mut dyn Write) -> fmt::Result {
    let Summary { repo, server, sync_status, .. } = facts.summary;
    write!(out, "{PREFIX}{name}")?;
    for (begin, text) in [("{repo=\"", repo), ("\",server=\"", server), ("\",sync_status=\"", sync_status)] {
        out.write_str(begin)?;
        for character in text.iter().flat_map(Text::characters) {
            match character {
                '"' => out.write_str("\\\"")?,
                '\\' => out.write_str("\\\\")?,
                '\n' => out.write_str("\\n")?,
                _ => out.write_char(character)?,
            }
        }
    }
    out.write_str("\"} 1\n")
}

fn states(facts: &Facts<'_>, name: &str, out: &mut dyn Write) -> fmt::Result {
    let current = facts.summary.state();
    for (label, state) in [
        ("synced", State::Synced),
        ("out_of_sync", State::OutOfSync),
        ("unknown", State::Unknown),
        ("other", State::Other),
    ] {
        writeln!(out, "{PREFIX}{name}{{state=\"{label}\"}} {}", u8::from(state == current))?;
    }
    Ok(())
}

/// What never happened has no line, for most of it never will; but for what should happen, so that the first time shows as
/// a rise.
fn requests(facts: &Facts<'_>, name: &str, out: &mut dyn Write) -> fmt::Result {
    for (tally, counts) in facts.counters.requests.iter().enumerate() {
        let (route, class) = (ROUTES[tally / CLASSES.len()], CLASSES[tally % CLASSES.len()]);
        let expected = matches!((route, class), ("post", "write"))
            || (tally < 8 * CLASSES.len() && class == "read" && route != "post");
        for (code, count) in Code::ALL.iter().zip(counts) {
            if *count > 0 || (expected && *code == Code::Ok) {
                let code = code.number();
                writeln!(out, "{PREFIX}{name}{{route=\"{route}\",method=\"{class}\",code=\"{code}\"}} {count}")?;
            }
        }
    }
    Ok(())
}

fn build(_: &Facts<'_>, name: &str, out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "{PREFIX}{name}{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::{Route, Tally};
    use crate::status;
    use std::boxed::Box;
    use std::format;
    use std::string::String;
    use std::vec::Vec;

    fn rendered(status: &str, change: impl FnOnce(&mut Counters, &mut History)) -> String {
        let summary = Summary::of(&status::read(status.as_bytes()).unwrap());
        let (mut counters, mut history) = (Box::new(Counters::ZERO), Box::new(History::new()));
        change(&mut counters, &mut history);
        let mut out = String::new();
        let facts = Facts {
            summary: &summary,
            history: &history,
            counters: &counters,
            stale: true,
            ready: false,
            bytes: status.len(),
            population: Population { open: 3, most: 128, accepted: 77 },
            slots: snapshot::Usage { bodies: 2, past: 1, free: 6 },
            started: 1_776_767_000,
            resident: Some(450_560),
        };
        render(&mut out, &facts).unwrap();
        out
    }

    /// The lines that are samples.
    fn samples(metrics: &str) -> Vec<&str> {
        metrics.lines().filter(|line| !line.starts_with('#')).collect()
    }

    #[test]
    fn every_metric_has_its_own_number() {
        let status = r#"{"repo":"r","server":"s","sync_status":"OutOfSync","drift_count":4,"files":["a","b"],"last_check":"2026-04-21T10:30:00Z"}"#;
        let metrics = rendered(status, |counters, history| {
            history.record(&Summary::NONE, 1_776_767_401 * SECOND + 5);
            *counters = Counters {
                posts_accepted: 11,
                posts_refused: 12,
                refused_at: Some(date::http(1_776_767_402)),
                received: 13,
                sent: 14,
                evicted: 15,
                timed_out: 16,
                state_writes: 17,
                state_write_failures: 18,
                ..Counters::ZERO
            };
            for _ in 0..3 {
                counters.answer(Tally::read(Route::Status), Code::NotModified);
            }
            counters.answer(Tally::other(Route::None), Code::NotImplemented);
        });
        let expected = format!(
            r#"gitops_status_info{{repo="r",server="s",sync_status="OutOfSync"}} 1
gitops_status_state{{state="synced"}} 0
gitops_status_state{{state="out_of_sync"}} 1
gitops_status_state{{state="unknown"}} 0
gitops_status_state{{state="other"}} 0
gitops_status_synced 0
gitops_status_stale 1
gitops_status_drift_count 4
gitops_status_files 2
gitops_status_bytes {}
gitops_status_last_check_timestamp_seconds 1776767400
gitops_status_last_post_timestamp_seconds 1776767401
gitops_status_last_refused_post_timestamp_seconds 1776767402
gitops_status_posts_accepted_total 11
gitops_status_posts_refused_total 12
gitops_status_http_requests_total{{route="status",method="read",code="200"}} 0
gitops_status_http_requests_total{{route="status",method="read",code="304"}} 3
gitops_status_http_requests_total{{route="post",method="write",code="200"}} 0
gitops_status_http_requests_total{{route="health",method="read",code="200"}} 0
gitops_status_http_requests_total{{route="ready",method="read",code="200"}} 0
gitops_status_http_requests_total{{route="metrics",method="read",code="200"}} 0
gitops_status_http_requests_total{{route="page",method="read",code="200"}} 0
gitops_status_http_requests_total{{route="badge",method="read",code="200"}} 0
gitops_status_http_requests_total{{route="history",method="read",code="200"}} 0
gitops_status_http_requests_total{{route="none",method="other",code="501"}} 1
gitops_status_http_received_bytes_total 13
gitops_status_http_sent_bytes_total 14
gitops_status_connections 3
gitops_status_connections_max 128
gitops_status_connections_accepted_total 77
gitops_status_connections_evicted_total 15
gitops_status_connections_timed_out_total 16
gitops_status_body_buffers 2
gitops_status_body_buffers_max 5
gitops_status_snapshot_slots 4
gitops_status_snapshot_slots_max 10
gitops_status_state_writes_total 17
gitops_status_state_write_failures_total 18
gitops_status_ready 0
gitops_status_build_info{{version="{}"}} 1
process_start_time_seconds 1776767000
process_resident_memory_bytes 450560"#,
            status.len(),
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(samples(&metrics), expected.lines().collect::<Vec<_>>());
    }

    #[test]
    fn a_family_has_its_help_and_its_type_once_and_before_its_samples() {
        let metrics = rendered("{}", |_, _| {});
        let mut families = Vec::new();
        for line in metrics.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, meaning) = help.split_once(' ').unwrap();
                assert!(!families.contains(&name) && meaning.ends_with('.'), "{line}");
                families.push(name);
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert_eq!(Some(&name), families.last());
                assert_eq!(kind, if name.ends_with("_total") { "counter" } else { "gauge" });
            } else {
                let name = line.split(['{', ' ']).next().unwrap();
                assert_eq!(Some(&name), families.last());
            }
        }
        assert_eq!(families.len(), FAMILIES.lines().count());
    }

    #[test]
    fn what_the_status_does_not_say_has_no_sample() {
        let metrics = rendered(r#"{"last_check":"yesterday"}"#, |_, _| {});
        for name in ["drift_count", "files", "last_check_timestamp_seconds", "last_post_timestamp_seconds"] {
            assert!(!metrics.contains(&format!("\n{PREFIX}{name} ")), "{name}");
            assert!(metrics.contains(&format!("# TYPE {PREFIX}{name} gauge\n")), "{name}");
        }
        assert!(metrics.contains("{repo=\"\",server=\"\",sync_status=\"\"} 1\n"));
        assert!(metrics.contains("{state=\"unknown\"} 1\n"));
    }

    #[test]
    fn a_label_is_escaped() {
        let metrics = rendered(r#"{"repo":"a\"b\\c\nd","server":"é{}"}"#, |_, _| {});
        assert!(metrics.contains("{repo=\"a\\\"b\\\\c\\nd\",server=\"é{}\",sync_status=\"\"} 1\n"), "{metrics}");
    }

    #[test]
    fn the_most_that_can_be_told_has_room() {
        let text = "\\n".repeat(TEXT_MAX + 1);
        let status = format!(
            r#"{{"repo":"{text}","server":"{text}","sync_status":"{text}","drift_count":9007199254740991,"files":[],"last_check":"2026-04-21T10:30:00Z"}}"#
        );
        let metrics = rendered(&status, |counters, history| {
            history.record(&Summary::NONE, u64::MAX);
            counters.requests = [[u64::MAX; Code::ALL.len()]; Tally::COUNT];
            for number in [
                &mut counters.posts_accepted,
                &mut counters.posts_refused,
                &mut counters.received,
                &mut counters.sent,
                &mut counters.evicted,
                &mut counters.timed_out,
                &mut counters.state_writes,
                &mut counters.state_write_failures,
            ] {
                *number = u64::MAX;
            }
        });
        assert!(metrics.len() < METRICS_MAX, "{}", metrics.len());
    }
}
