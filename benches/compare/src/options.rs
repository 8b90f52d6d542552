//! The command line of `load`.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use crate::pace::{Kind, Sequence};

/// What `--help` shows.
pub const HELP: &str = "\
Asks an HTTP/1.1 server as often as it can, or at a fixed rate, and tells how fast it answers. One thread.

Usage: load --address IP:PORT [OPTION...]

  --address IP:PORT    where the server listens
  --connections N      how many connections (1 to 4096; default 1)
  --pipeline D         requests in flight on each (1 to 1024; default 1); the next D are written, together, when all
                       of the last D were answered
  --close              a new connection for each request, with `Connection: close`; the time is from connect to the
                       last byte of the response; the server ends the connection, if it says that it will
  --get PATH           ask for this (default /status.json, unless there is --post)
  --post PATH          send the body to this
  --body FILE          the body, of at most 1 MiB
  --content-type TYPE  its type (default application/json)
  --method METHOD      what to send it with (default POST)
  --mix N              with --post: one of these after each N GETs, over all connections
  --expect FILE        each 200 to a GET has to have this body. The length of each is checked, and the bytes of each
                       that has at most 16 KiB; of larger ones, of the first and of one in 64 on all connections
  --seconds S          how long to measure (default 3)
  --requests N         stop after so many instead; with --warmup 0 exactly so many are sent
  --warmup S           what comes before and does not count (default 0.2)
  --rate R             open loop: R requests a second by a fixed schedule, over all connections. A request counts from
                       when it was due, and waits in line while no connection is free. `requests` are those that were
                       due in the measured time, also if the response came later; `requests_per_second` is what was
                       achieved; `rate_kept` says whether 99 % of what was due more than 50 ms before the end was
                       answered by the end; `unsent` counts what was still in line then, and it is in the latencies
                       with what it had waited. To be on time the load does not sleep, so `load_cpu_seconds` says
                       nothing
  --cpu-of PID,...     tell the processor time of these processes, all threads, in the measured time

It prints one line of JSON. `requests` are the good responses: 2xx with the right body. Latencies are in microseconds,
without --rate from write to the last byte. `server_user_seconds` and `server_system_seconds` come from ticks and are
null for less than half a second. If `load_cpu_seconds` is close to `seconds`, the load was the bottleneck.
`server_wait_seconds` and `load_wait_seconds` tell for how long they could have run while others had the processor: if
that is not little, the machine was busy with something else, and latencies tell about that too. Threads of a server
on one core wait for each other, which counts as well.

Errors of the whole run are told by kind on standard error, with an example. That a server ends a kept connection
between two responses is none: another takes its place. After an error a connection rests for 10 ms.

Exit code 0 if there was no error, 1 if there was, 2 for bad usage.
";

/// The most bytes of a body that is sent.
const BODY_MAX: usize = 1 << 20;
const CONNECTIONS_RANGE: RangeInclusive<usize> = 1..=4096;
const PIPELINE_RANGE: RangeInclusive<usize> = 1..=1024;
const SECONDS_MAX: f64 = 86_400.0;
const RATE_MAX: f64 = 10_000_000.0;

/// How long to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// So long.
    Time(Duration),
    /// So many requests.
    Requests(u64),
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Where the server listens.
    pub address: SocketAddr,
    /// How many connections.
    pub connections: usize,
    /// How many requests in flight on each.
    pub pipeline: usize,
    /// Whether each request has a connection of its own.
    pub close: bool,
    /// A whole GET.
    pub get: Vec<u8>,
    /// A whole request with a body.
    pub post: Vec<u8>,
    /// Which of them are sent.
    pub sequence: Sequence,
    /// The body that a GET is answered with.
    pub expect: Option<Vec<u8>>,
    /// How long to measure.
    pub amount: Amount,
    /// What comes before.
    pub warmup: Duration,
    /// Requests a second, if they are sent by a schedule.
    pub rate: Option<f64>,
    /// Whose processor time is told.
    pub cpu_of: Vec<u32>,
}

/// A bad command line, in a sentence.
#[derive(Debug, PartialEq, Eq)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; see --help", self.0)
    }
}

impl From<lexopt::Error> for UsageError {
    fn from(error: lexopt::Error) -> Self {
        UsageError(error.to_string())
    }
}

/// Reads the arguments, without the program's name; `None` when they ask for help.
///
/// # Errors
/// What is wrong.
pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Options>, UsageError> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut address = None;
    let (mut connections, mut pipeline, mut close) = (1, 1, false);
    let (mut get, mut post, mut body, mut media_type, mut method) = (None, None, None, None, None);
    let (mut mix, mut expect, mut seconds, mut requests, mut warmup, mut rate) = (None, None, None, None, None, None);
    let mut cpu_of = Vec::new();
    while let Some(argument) = parser.next()? {
        let lexopt::Arg::Long(name) = argument else {
            return match argument {
                lexopt::Arg::Short('h') => Ok(None),
                argument => Err(argument.unexpected().into()),
            };
        };
        match name.to_owned().as_str() {
            "help" => return Ok(None),
            "close" => close = true,
            "address" => address = Some(one::<SocketAddr>(&mut parser, "--address", "IP:PORT")?),
            "connections" => connections = within(&mut parser, "--connections", CONNECTIONS_RANGE)?,
            "pipeline" => pipeline = within(&mut parser, "--pipeline", PIPELINE_RANGE)?,
            "get" => get = Some(visible(&mut parser, "--get", "a path", |path| path.starts_with('/'))?),
            "post" => post = Some(visible(&mut parser, "--post", "a path", |path| path.starts_with('/'))?),
            "body" => body = Some(file(&mut parser, "--body")?),
            "content-type" => media_type = Some(visible(&mut parser, "--content-type", "a media type", |_| true)?),
            "method" => method = Some(visible(&mut parser, "--method", "a method", |_| true)?),
            "mix" => mix = Some(within(&mut parser, "--mix", 1..=u64::from(u32::MAX))?),
            "expect" => expect = Some(file(&mut parser, "--expect")?),
            "seconds" => seconds = Some(number(&mut parser, "--seconds", f64::MIN_POSITIVE..=SECONDS_MAX)?),
            "requests" => requests = Some(within(&mut parser, "--requests", 1..=u64::from(u32::MAX))?),
            "warmup" => warmup = Some(number(&mut parser, "--warmup", 0.0..=SECONDS_MAX)?),
            "rate" => rate = Some(number(&mut parser, "--rate", 0.001..=RATE_MAX)?),
            "cpu-of" => {
                let list = one::<String>(&mut parser, "--cpu-of", "PID,...")?;
                let processes: Result<Vec<u32>, _> = list.split(',').map(str::parse).collect();
                cpu_of.extend(processes.map_err(|_| UsageError(format!("--cpu-of takes PID,..., not {list}")))?);
            }
            other => return Err(UsageError(format!("unknown option --{other}"))),
        }
    }

    let wrong = |message: &str| Err(UsageError(message.to_owned()));
    let Some(address) = address else { return wrong("--address IP:PORT is missing") };
    let sequence = match (&post, mix) {
        (None, Some(_)) => return wrong("--mix needs --post"),
        (None, None) => Sequence::Only(Kind::Get),
        (Some(_), Some(gets)) => Sequence::Mix(gets),
        (Some(_), None) if get.is_some() => return wrong("--get and --post together need --mix"),
        (Some(_), None) => Sequence::Only(Kind::Post),
    };
    if post.is_none() && (body.is_some() || media_type.is_some() || method.is_some()) {
        return wrong("--body, --content-type and --method need --post");
    }
    if expect.is_some() && sequence == Sequence::Only(Kind::Post) {
        return wrong("--expect is for GETs, and there are none");
    }
    if close && pipeline > 1 {
        return wrong("--close and --pipeline exclude each other");
    }
    let amount = match (seconds, requests) {
        (Some(_), Some(_)) => return wrong("--seconds and --requests exclude each other"),
        (_, Some(requests)) => Amount::Requests(requests),
        (seconds, None) => Amount::Time(Duration::from_secs_f64(seconds.unwrap_or(3.0))),
    };
    let persistence = if close { "Connection: close\r\n" } else { "" };
    let get = get.as_deref().unwrap_or("/status.json");
    let get = format!("GET {get} HTTP/1.1\r\nHost: {address}\r\n{persistence}\r\n").into_bytes();
    let post = match post {
        None => Vec::new(),
        Some(path) => {
            let Some(body) = body else { return wrong("--post needs --body") };
            if body.len() > BODY_MAX {
                return wrong("--body has more than 1 MiB");
            }
            let method = method.as_deref().unwrap_or("POST");
            let media_type = media_type.as_deref().unwrap_or("application/json");
            let length = body.len();
            let head = format!(
                "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: {media_type}\r\n\
                Content-Length: {length}\r\n{persistence}\r\n"
            );
            [head.as_bytes(), &body].concat()
        }
    };
    let warmup = Duration::from_secs_f64(warmup.unwrap_or(0.2));
    Ok(Some(Options {
        address,
        connections,
        pipeline,
        close,
        get,
        post,
        sequence,
        expect,
        amount,
        warmup,
        rate,
        cpu_of,
    }))
}

fn one<T: FromStr>(parser: &mut lexopt::Parser, name: &str, form: &str) -> Result<T, UsageError> {
    let value = parser.value()?;
    let parsed = value.to_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| UsageError(format!("{name} takes {form}, not {}", value.display())))
}

fn within<T: FromStr + PartialOrd + fmt::Display>(
    parser: &mut lexopt::Parser,
    name: &str,
    range: RangeInclusive<T>,
) -> Result<T, UsageError> {
    let form = format!("a number from {} to {}", range.start(), range.end());
    let value = one(parser, name, &form)?;
    if range.contains(&value) { Ok(value) } else { Err(UsageError(format!("{name} takes {form}, not {value}"))) }
}

fn number(parser: &mut lexopt::Parser, name: &str, range: RangeInclusive<f64>) -> Result<f64, UsageError> {
    let least =
        if *range.start() < 0.001 && *range.start() > 0.0 { "more than 0" } else { &format!("{}", range.start()) };
    let form = format!("a number from {least} to {}", range.end());
    let value = one(parser, name, &form)?;
    if range.contains(&value) { Ok(value) } else { Err(UsageError(format!("{name} takes {form}, not {value}"))) }
}

fn visible(
    parser: &mut lexopt::Parser,
    name: &str,
    form: &str,
    fits: impl Fn(&str) -> bool,
) -> Result<String, UsageError> {
    let value: String = one(parser, name, form)?;
    let good = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic()) && fits(&value);
    if good { Ok(value) } else { Err(UsageError(format!("{name} takes {form}, not {value:?}"))) }
}

fn file(parser: &mut lexopt::Parser, name: &str) -> Result<Vec<u8>, UsageError> {
    let path = parser.value()?;
    fs::read(&path).map_err(|error| UsageError(format!("{name}: cannot read {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Result<Option<Options>, UsageError> {
        read(line.split_ascii_whitespace().map(OsString::from))
    }

    #[test]
    fn an_address_is_enough() {
        let options = options("--address 127.0.0.1:80").unwrap().unwrap();
        assert_eq!(options.get, b"GET /status.json HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n");
        assert_eq!(options.sequence, Sequence::Only(Kind::Get));
        assert_eq!(options.amount, Amount::Time(Duration::from_secs(3)));
        assert_eq!((options.connections, options.pipeline, options.rate), (1, 1, None));
    }

    #[test]
    fn a_post_has_its_body_and_its_length() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs");
        let body = fs::read(file).unwrap();
        let line =
            format!("--address [::1]:80 --close --method PUT --post /a?b --mix 1000 --content-type a/b --body {file}");
        let options = options(&line).unwrap().unwrap();
        let head = format!(
            "PUT /a?b HTTP/1.1\r\nHost: [::1]:80\r\nContent-Type: a/b\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        assert_eq!(options.post, [head.as_bytes(), &body].concat());
        assert_eq!(options.get, b"GET /status.json HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close\r\n\r\n");
        assert_eq!(options.sequence, Sequence::Mix(1000));
    }

    #[test]
    fn a_bad_command_line_is_named() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs");
        for (line, message) in [
            ("", "--address IP:PORT is missing"),
            ("--address localhost:80", "--address takes IP:PORT, not localhost:80"),
            ("--address 127.0.0.1:80 --connections 0", "--connections takes a number from 1 to 4096, not 0"),
            ("--address 127.0.0.1:80 --pipeline x", "--pipeline takes a number from 1 to 1024, not x"),
            ("--address 127.0.0.1:80 --seconds 0", "--seconds takes a number from more than 0 to 86400, not 0"),
            ("--address 127.0.0.1:80 --seconds 1 --requests 2", "--seconds and --requests exclude each other"),
            ("--address 127.0.0.1:80 --rate NaN", "--rate takes a number from 0.001 to 10000000, not NaN"),
            ("--address 127.0.0.1:80 --get status", "--get takes a path, not \"status\""),
            ("--address 127.0.0.1:80 --mix 2", "--mix needs --post"),
            ("--address 127.0.0.1:80 --post /", "--post needs --body"),
            ("--address 127.0.0.1:80 --method PUT", "--body, --content-type and --method need --post"),
            ("--address 127.0.0.1:80 --close --pipeline 2", "--close and --pipeline exclude each other"),
            ("--address 127.0.0.1:80 --cpu-of 1,x", "--cpu-of takes PID,..., not 1,x"),
            ("--address 127.0.0.1:80 --get / --post / --body FILE", "--get and --post together need --mix"),
            ("--address 127.0.0.1:80 --expect FILE --post / --body FILE", "--expect is for GETs, and there are none"),
            ("--frequency 5", "unknown option --frequency"),
        ] {
            let error = options(&line.replace("FILE", file)).unwrap_err().to_string();
            assert_eq!(error, format!("{message}; see --help"), "{line}");
        }
        assert!(options("--body /nowhere").unwrap_err().0.starts_with("--body: cannot read /nowhere: "));
        assert_eq!(options("--help"), Ok(None));
    }
}
