//! The command line and the environment.

use std::ffi::OsStr;
use std::fmt;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::client::Url;
use crate::connection::Limits;
use crate::connections::CONNECTIONS_CAPACITY;

use crate::log::{Format, Level};
use crate::status::STATUS_CAPACITY;
use crate::text::{Lossy, address, decimal};

/// An option, as `--help` shows it.
#[derive(Debug)]
pub struct Opt {
    /// Its name behind `--`.
    pub name: &'static str,
    /// What stands for its value.
    pub value: &'static str,
    /// Its default, as it would be given; empty for none.
    pub default: &'static str,
    /// What it means.
    pub meaning: &'static str,
    kind: Kind,
}

/// What a value has to be.
#[derive(Debug)]
enum Kind {
    Address,
    /// From the first to the second.
    Number(u32, u32),
    /// One of these, between which stands `, `.
    OneOf(&'static str),
    Path,
    /// On or off; the flag alone is on.
    Switch,
}

impl Opt {
    /// Its environment variable: `STATUS_MAX_BYTES` for `max-bytes`.
    pub fn variable(&self) -> String {
        let mut variable = String::from("STATUS_");
        for byte in self.name.bytes() {
            variable.push(if byte == b'-' { '_' } else { byte.to_ascii_uppercase().into() });
        }
        variable
    }
}

const fn opt(name: &'static str, value: &'static str, default: &'static str, kind: Kind, meaning: &'static str) -> Opt {
    Opt { name, value, default, meaning, kind }
}

const LISTEN: usize = 0;
const MAX_BYTES: usize = 1;
const MAX_CONNECTIONS: usize = 2;
const SEED_FILE: usize = 3;
const REFRESH_MS: usize = 5;
const STALE_AFTER: usize = 6;
const STALE_UNREADY: usize = 7;
const HEAD_TIMEOUT: usize = 8;
const BODY_TIMEOUT: usize = 9;
const IDLE_TIMEOUT: usize = 10;
const WRITE_TIMEOUT: usize = 11;
const SHUTDOWN_GRACE: usize = 12;
const LOG: usize = 13;
const LOG_FORMAT: usize = 14;

const TIMEOUT: Kind = Kind::Number(1, 3600);

/// What a switch may be: every second one is on.
const SWITCH: &str = "off, on, false, true, no, yes, 0, 1";

/// A year.
const STALE_AFTER_MAX: u32 = 31_536_000;

/// Every option, in the order of `--help`.
pub static OPTIONS: [Opt; 15] = [
    opt(
        "listen",
        "ADDR:PORT",
        "127.0.0.1:8080",
        Kind::Address,
        "where to listen: IPv4 or [IPv6]; port 0 is any free port",
    ),
    opt(
        "max-bytes",
        "N",
        "65536",
        Kind::Number(2, STATUS_CAPACITY as u32),
        "largest accepted status in bytes, 2 to 1048576",
    ),
    opt(
        "max-connections",
        "N",
        "128",
        Kind::Number(8, CONNECTIONS_CAPACITY as u32),
        "connections held at once, 8 to 1024",
    ),
    opt("seed-file", "PATH", "", Kind::Path, "file with the first status; an edit of it counts as a post"),
    opt("state-dir", "DIR", "", Kind::Path, "directory where accepted statuses survive a restart"),
    opt(
        "refresh-ms",
        "N",
        "1000",
        Kind::Number(0, 60_000),
        "how long others' changes of the seed or state may stay unseen, 0 to 60000",
    ),
    opt(
        "stale-after",
        "S",
        "",
        Kind::Number(1, STALE_AFTER_MAX),
        "seconds without a post after which the status is shown as stale, 1 to 31536000",
    ),
    opt("stale-unready", "", "off", Kind::Switch, "with --stale-after: /ready is 503 as long as the status is stale"),
    opt("head-timeout", "S", "10", TIMEOUT, "seconds for a whole request head, 1 to 3600"),
    opt("body-timeout", "S", "30", TIMEOUT, "seconds for a whole request body, 1 to 3600"),
    opt("idle-timeout", "S", "75", TIMEOUT, "seconds that a connection may be idle, 1 to 3600"),
    opt("write-timeout", "S", "30", TIMEOUT, "seconds without progress while sending, 1 to 3600"),
    opt("shutdown-grace", "S", "10", Kind::Number(0, 300), "seconds for requests in flight after SIGTERM, 0 to 300"),
    opt(
        "log",
        "LEVEL",
        "info",
        Kind::OneOf("error, info, access"),
        "error, info, or access (a line for each request too)",
    ),
    opt(
        "log-format",
        "FORMAT",
        "text",
        Kind::OneOf("text, json"),
        "text or json; one line an event, to standard error",
    ),
];

const _: () = assert!(STATUS_CAPACITY == 1_048_576 && CONNECTIONS_CAPACITY == 1024, "the table above names both");

/// What the program is asked to do.
#[derive(Debug)]
pub enum Command {
    /// Serve.
    Serve(Config),
    /// Ask another server how it is.
    Healthcheck(Url),
    /// Post to another server what it has, and read it back.
    Roundtrip(Url),
    /// Show the help.
    Help,
    /// Show the version.
    Version,
}

/// The configuration of a server.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// How many connections are held at once.
    pub max_connections: usize,
    /// The file with the first status.
    pub seed_file: Option<&'static Path>,
    /// The directory that statuses are kept in.
    pub state_dir: Option<&'static Path>,
    /// Milliseconds for which others' changes of either may stay unseen.
    pub refresh_ms: u64,
    /// Seconds without a status after which what is known is stale; 0 for never.
    pub stale_after: u64,
    /// Whether the server is not ready then.
    pub stale_unready: bool,
    /// What is configured about connections.
    pub limits: Limits,
    /// Seconds for requests in flight.
    pub shutdown_grace: u64,
    /// How much is logged.
    pub log_level: Level,
    /// What the log looks like.
    pub log_format: Format,
}

/// A bad command line or environment, in a sentence.
#[derive(Debug, PartialEq, Eq)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; see --help", self.0)
    }
}

/// Reads the arguments, without the program's name, and the environment. A flag wins over its variable, and an empty
/// variable counts as none. Both are there as long as the process is, and so is what the configuration has of them.
///
/// # Errors
/// The first thing that is wrong: what was given, what was expected.
pub fn read(
    mut arguments: impl Iterator<Item = &'static OsStr>,
    environment: impl Fn(&str) -> Option<&'static OsStr>,
) -> Result<Command, UsageError> {
    parse(&mut arguments, &environment)
}

type Environment<'e> = &'e dyn Fn(&str) -> Option<&'static OsStr>;

fn parse(
    arguments: &mut dyn Iterator<Item = &'static OsStr>,
    environment: Environment<'_>,
) -> Result<Command, UsageError> {
    let mut flags = [None; OPTIONS.len()];
    let mut asking: Option<&Asking> = None;
    let mut url = None;
    let mut only_words = false;
    while let Some(argument) = arguments.next() {
        let given = argument.as_bytes();
        if only_words || !given.starts_with(b"-") || given == b"-" {
            match asking {
                None if flags.iter().all(Option::is_none) => {
                    asking = ASKING.iter().find(|asking| asking.name.as_bytes() == given);
                    if asking.is_some() {
                        continue;
                    }
                }
                Some(_) if url.is_none() => {
                    url = Some(given);
                    continue;
                }
                _ => {}
            }
            return Err(UsageError(format!("unexpected argument {}", Lossy(given))));
        }
        if given == b"--" {
            only_words = true;
            continue;
        }
        let mut parts = given.splitn(2, |&byte| byte == b'=');
        let name = parts.next().unwrap_or_default();
        let value = parts.next();
        let is = |long: &str, short: &str| [long, short].iter().any(|it| it.as_bytes() == name);
        let command = match asking {
            _ if is("--help", "-h") => Some(Command::Help),
            None if is("--version", "-V") => Some(Command::Version),
            _ => None,
        };
        let name = Lossy(name);
        if let Some(command) = command {
            return if value.is_none() { Ok(command) } else { Err(UsageError(format!("{name} takes no value"))) };
        }
        if let Some(Asking { name: command, .. }) = asking {
            return Err(UsageError(format!("{command} has no option {name}")));
        }
        let Some(index) = name.0.strip_prefix(b"--").and_then(|name| position(&OPTIONS, name)) else {
            return Err(UsageError(format!("unknown option {name}")));
        };
        let is_switch = matches!(OPTIONS[index].kind, Kind::Switch);
        let value = value.map(OsStr::from_bytes);
        let value = if is_switch { value.or(Some(OsStr::new("on"))) } else { value.or_else(|| arguments.next()) };
        let missing = || UsageError(format!("{name} needs a value: {}", OPTIONS[index].value));
        flags[index] = Some(value.ok_or_else(missing)?);
    }
    match asking {
        None => Ok(Command::Serve(config(&flags, environment)?)),
        Some(asking) => Ok((asking.command)(match url {
            Some(given) => asking.url(given)?,
            None => Url::of(listen(None, environment)?, asking.target),
        })),
    }
}

fn position(options: &[Opt], name: &[u8]) -> Option<usize> {
    options.iter().position(|option| option.name.as_bytes() == name)
}

/// The configuration that `flags` make, which are in the order of [`OPTIONS`].
fn config(flags: &[Option<&'static OsStr>], environment: Environment<'_>) -> Result<Config, UsageError> {
    let listen = listen(flags[LISTEN], environment)?;
    let mut numbers = [0; OPTIONS.len()];
    let (mut seed_file, mut state_dir) = (None, None);
    for (index, option) in OPTIONS.iter().enumerate() {
        let given = Given::of(option, flags[index], environment);
        match option.kind {
            Kind::Address => {}
            Kind::Number(least, most) => numbers[index] = given.number(least, most)?,
            Kind::OneOf(choices) => numbers[index] = given.one_of(choices)?,
            Kind::Switch => numbers[index] = given.one_of(SWITCH)? % 2,
            Kind::Path if index == SEED_FILE => seed_file = given.path()?,
            Kind::Path => state_dir = given.path()?,
        }
    }
    if numbers[STALE_UNREADY] == 1 && numbers[STALE_AFTER] == 0 {
        let given = Given::of(&OPTIONS[STALE_UNREADY], flags[STALE_UNREADY], environment);
        return Err(given.wrong(format_args!("--stale-after with it")));
    }
    let milliseconds = |index: usize| u64::from(numbers[index]) * 1000;
    Ok(Config {
        listen,
        max_connections: numbers[MAX_CONNECTIONS] as usize,
        seed_file,
        state_dir,
        refresh_ms: numbers[REFRESH_MS].into(),
        stale_after: numbers[STALE_AFTER].into(),
        stale_unready: numbers[STALE_UNREADY] == 1,
        limits: Limits {
            max_bytes: numbers[MAX_BYTES] as usize,
            head_timeout: milliseconds(HEAD_TIMEOUT),
            body_timeout: milliseconds(BODY_TIMEOUT),
            idle_timeout: milliseconds(IDLE_TIMEOUT),
            write_timeout: milliseconds(WRITE_TIMEOUT),
        },
        shutdown_grace: numbers[SHUTDOWN_GRACE].into(),
        log_level: match numbers[LOG] {
            0 => Level::Error,
            1 => Level::Info,
            _ => Level::Access,
        },
        log_format: if numbers[LOG_FORMAT] == 0 { Format::Text } else { Format::Json },
    })
}

/// Where to listen.
#[inline(never)]
fn listen(flag: Option<&'static OsStr>, environment: Environment<'_>) -> Result<SocketAddr, UsageError> {
    let given = Given::of(&OPTIONS[LISTEN], flag, environment);
    let found = given.value.to_str().and_then(address);
    found.ok_or_else(|| {
        given.wrong(format_args!("ADDR:PORT with an IPv4 address or an [IPv6] address, port 0 to 65535"))
    })
}

/// A command that asks another server.
struct Asking {
    name: &'static str,
    /// What is asked for where no URL is given.
    target: &'static str,
    /// Whether the URL may have a path of its own.
    any_target: bool,
    command: fn(Url) -> Command,
}

static ASKING: [Asking; 2] = [
    Asking { name: "healthcheck", target: "/health", any_target: true, command: Command::Healthcheck },
    Asking { name: "roundtrip", target: "/", any_target: false, command: Command::Roundtrip },
];

impl Asking {
    fn url(&self, given: &[u8]) -> Result<Url, UsageError> {
        let url = str::from_utf8(given).ok().and_then(Url::parse);
        url.filter(|url| self.any_target || url.target() == self.target).ok_or_else(|| {
            let path = if self.any_target { "[/PATH]" } else { "" };
            UsageError(format!(
                "{} {}: expected http://HOST[:PORT]{path}, HOST an address or localhost",
                self.name,
                Lossy(given)
            ))
        })
    }
}

/// The value of an option, and where it comes from.
struct Given {
    option: &'static Opt,
    is_flag: bool,
    value: &'static OsStr,
}

impl Given {
    fn of(option: &'static Opt, flag: Option<&'static OsStr>, environment: Environment<'_>) -> Self {
        let variable = || environment(&option.variable()).filter(|value| !value.is_empty());
        let value = flag.or_else(variable).unwrap_or(OsStr::new(option.default));
        Given { option, is_flag: flag.is_some(), value }
    }

    fn wrong(&self, expected: fmt::Arguments<'_>) -> UsageError {
        let value = Lossy(self.value.as_bytes());
        UsageError(match self.is_flag {
            true => format!("--{} {value}: expected {expected}", self.option.name),
            false => format!("{}={value}: expected {expected}", self.option.variable()),
        })
    }

    fn number(&self, least: u32, most: u32) -> Result<u32, UsageError> {
        if self.value.is_empty() && !self.is_flag {
            // It has no default.
            return Ok(0);
        }
        let number = decimal(self.value.as_bytes()).filter(|&number| number >= least.into() && number <= most.into());
        let number = number.ok_or_else(|| self.wrong(format_args!("a number from {least} to {most}")));
        number.map(|number| number as u32)
    }

    fn path(&self) -> Result<Option<&'static Path>, UsageError> {
        match (self.value.is_empty(), self.is_flag) {
            (true, true) => Err(self.wrong(format_args!("a path"))),
            (empty, _) => Ok((!empty).then_some(Path::new(self.value))),
        }
    }

    /// Which one it is.
    #[inline(never)]
    fn one_of(&self, choices: &str) -> Result<u32, UsageError> {
        let mut each = choices.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii_start);
        let found = each.position(|choice| choice == self.value.as_bytes());
        found.map(|index| index as u32).ok_or_else(|| self.wrong(format_args!("one of {choices}")))
    }
}

/// The text of `--help`.
pub fn help() -> String {
    let mut text = String::from(
        "\
One JSON status over HTTP: CI posts it to /api/status, Grafana and people get it at /status.json.

Usage: gitops-status-server [OPTION]...
       gitops-status-server healthcheck [URL]
       gitops-status-server roundtrip [URL]

Options; a flag wins over its environment variable, and that over the default:

",
    );
    for option @ Opt { name, value, default, meaning, .. } in &OPTIONS {
        let variable = option.variable();
        let default = if default.is_empty() { "none" } else { default };
        let space = if value.is_empty() { "" } else { " " };
        text.push_str(&format!(
            "  --{name}{space}{value}\n      {meaning}\n      [env: {variable}] [default: {default}]\n"
        ));
    }
    text.push_str(
        "  -h, --help
      this text
  -V, --version
      the version

healthcheck gets URL, by default /health on the port of STATUS_LISTEN, and exits with 0 when the answer is a 200,
else with 1 and the reason. The host of URL is an IP address or localhost.

roundtrip shows that the server at URL takes a post and serves it: the status that it has, with a line end more or less
and then as it was. What others post in between may be overwritten by that. For up to 15 s it waits until somebody
listens there. It exits with 0, else with 1 and the reason.

Exit codes: 0 done, 1 could not start or keep running, 2 bad usage.
",
    );
    text
}
