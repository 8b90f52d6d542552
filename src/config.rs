//! The command line and the environment.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::client::Url;
use crate::connection::Limits;
use crate::connections::CONNECTIONS_CAPACITY;

use crate::log::{Format, Level};
use crate::status::STATUS_CAPACITY;

/// An option, as `--help` shows it.
#[derive(Debug)]
pub struct Opt {
    /// Its name behind `--`.
    pub name: &'static str,
    /// What stands for its value.
    pub value: &'static str,
    /// Its environment variable.
    pub variable: &'static str,
    /// Its default, as it would be given; empty for none.
    pub default: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

const fn opt(
    name: &'static str,
    value: &'static str,
    variable: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Opt {
    Opt { name, value, variable, default, meaning }
}

const LISTEN: usize = 0;
const MAX_BYTES: usize = 1;
const MAX_CONNECTIONS: usize = 2;
const SEED_FILE: usize = 3;
const STATE_DIR: usize = 4;
const REFRESH_MS: usize = 5;
const HEAD_TIMEOUT: usize = 6;
const BODY_TIMEOUT: usize = 7;
const IDLE_TIMEOUT: usize = 8;
const WRITE_TIMEOUT: usize = 9;
const SHUTDOWN_GRACE: usize = 10;
const LOG: usize = 11;
const LOG_FORMAT: usize = 12;

/// Every option, in the order of `--help`.
pub const OPTIONS: [Opt; 13] = [
    opt(
        "listen",
        "ADDR:PORT",
        "STATUS_LISTEN",
        "127.0.0.1:8080",
        "where to listen: IPv4 or [IPv6]; port 0 is any free port",
    ),
    opt("max-bytes", "N", "STATUS_MAX_BYTES", "65536", "largest accepted status in bytes, 2 to 1048576"),
    opt("max-connections", "N", "STATUS_MAX_CONNECTIONS", "128", "connections held at once, 8 to 1024"),
    opt("seed-file", "PATH", "STATUS_SEED_FILE", "", "file with the first status; an edit of it counts as a post"),
    opt("state-dir", "DIR", "STATUS_STATE_DIR", "", "directory where accepted statuses survive a restart"),
    opt(
        "refresh-ms",
        "N",
        "STATUS_REFRESH_MS",
        "1000",
        "how long others' changes of the seed or state may stay unseen, 0 to 60000",
    ),
    opt("head-timeout", "S", "STATUS_HEAD_TIMEOUT", "10", "seconds for a whole request head, 1 to 3600"),
    opt("body-timeout", "S", "STATUS_BODY_TIMEOUT", "30", "seconds for a whole request body, 1 to 3600"),
    opt("idle-timeout", "S", "STATUS_IDLE_TIMEOUT", "75", "seconds that a connection may be idle, 1 to 3600"),
    opt("write-timeout", "S", "STATUS_WRITE_TIMEOUT", "30", "seconds without progress while sending, 1 to 3600"),
    opt("shutdown-grace", "S", "STATUS_SHUTDOWN_GRACE", "10", "seconds for requests in flight after SIGTERM, 0 to 300"),
    opt("log", "LEVEL", "STATUS_LOG", "info", "error, info, or access (a line for each request too)"),
    opt("log-format", "FORMAT", "STATUS_LOG_FORMAT", "text", "text or json; one line an event, to standard error"),
];

const MAX_BYTES_RANGE: RangeInclusive<u32> = 2..=STATUS_CAPACITY as u32;
const MAX_CONNECTIONS_RANGE: RangeInclusive<u32> = 8..=CONNECTIONS_CAPACITY as u32;
const TIMEOUT_RANGE: RangeInclusive<u32> = 1..=3600;
const GRACE_RANGE: RangeInclusive<u32> = 0..=300;
const REFRESH_RANGE: RangeInclusive<u32> = 0..=60_000;
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
    pub seed_file: Option<PathBuf>,
    /// The directory that statuses are kept in.
    pub state_dir: Option<PathBuf>,
    /// Milliseconds for which others' changes of either may stay unseen.
    pub refresh_ms: u64,
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
/// variable counts as none.
///
/// # Errors
/// The first thing that is wrong: what was given, what was expected.
pub fn read(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<Command, UsageError> {
    let mut flags = [const { None }; OPTIONS.len()];
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next().map_err(needless_value)? {
        match argument {
            lexopt::Arg::Long("help") | lexopt::Arg::Short('h') => return alone(&mut parser, "--help", Command::Help),
            lexopt::Arg::Long("version") | lexopt::Arg::Short('V') => {
                return alone(&mut parser, "--version", Command::Version);
            }
            lexopt::Arg::Long(name) => {
                let Some(index) = OPTIONS.iter().position(|option| option.name == name) else {
                    return Err(UsageError(format!("unknown option --{name}")));
                };
                let missing =
                    |_| UsageError(format!("--{} needs a value: {}", OPTIONS[index].name, OPTIONS[index].value));
                flags[index] = Some(parser.value().map_err(missing)?);
            }
            lexopt::Arg::Short(letter) => {
                return Err(UsageError(format!("unknown option -{letter}")));
            }
            lexopt::Arg::Value(word) if word == HEALTHCHECK.name && flags.iter().all(Option::is_none) => {
                return HEALTHCHECK.read(&mut parser, environment);
            }
            lexopt::Arg::Value(word) if word == ROUNDTRIP.name && flags.iter().all(Option::is_none) => {
                return ROUNDTRIP.read(&mut parser, environment);
            }
            lexopt::Arg::Value(word) => return Err(UsageError(format!("unexpected argument {}", word.display()))),
        }
    }
    let given = |index: usize| Given {
        option: &OPTIONS[index],
        flag: flags[index].as_deref(),
        variable: environment(OPTIONS[index].variable).filter(|value| !value.is_empty()),
    };
    let seconds = |index: usize| given(index).number(TIMEOUT_RANGE).map(u64::from);
    Ok(Command::Serve(Config {
        listen: given(LISTEN).address()?,
        max_connections: given(MAX_CONNECTIONS).number(MAX_CONNECTIONS_RANGE)? as usize,
        seed_file: given(SEED_FILE).path()?,
        state_dir: given(STATE_DIR).path()?,
        refresh_ms: given(REFRESH_MS).number(REFRESH_RANGE)?.into(),
        limits: Limits {
            max_bytes: given(MAX_BYTES).number(MAX_BYTES_RANGE)? as usize,
            head_timeout: seconds(HEAD_TIMEOUT)? * 1000,
            body_timeout: seconds(BODY_TIMEOUT)? * 1000,
            idle_timeout: seconds(IDLE_TIMEOUT)? * 1000,
            write_timeout: seconds(WRITE_TIMEOUT)? * 1000,
        },
        shutdown_grace: given(SHUTDOWN_GRACE).number(GRACE_RANGE)?.into(),
        log_level: given(LOG).one_of(&[("error", Level::Error), ("info", Level::Info), ("access", Level::Access)])?,
        log_format: given(LOG_FORMAT).one_of(&[("text", Format::Text), ("json", Format::Json)])?,
    }))
}

/// The command of a flag that takes no value.
fn alone(parser: &mut lexopt::Parser, flag: &str, command: Command) -> Result<Command, UsageError> {
    match parser.optional_value() {
        None => Ok(command),
        Some(_) => Err(UsageError(format!("{flag} takes no value"))),
    }
}

/// What `lexopt` finds wrong when it goes on to the next argument. Every flag above has taken its value, or it was
/// seen to have none, so this does not happen.
fn needless_value(_: lexopt::Error) -> UsageError {
    UsageError("an option that takes no value was given one".to_owned())
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

const HEALTHCHECK: Asking =
    Asking { name: "healthcheck", target: "/health", any_target: true, command: Command::Healthcheck };
const ROUNDTRIP: Asking = Asking { name: "roundtrip", target: "/", any_target: false, command: Command::Roundtrip };

impl Asking {
    fn read(
        &self,
        parser: &mut lexopt::Parser,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Command, UsageError> {
        let name = self.name;
        let mut url = None;
        while let Some(argument) = parser.next().map_err(needless_value)? {
            match argument {
                lexopt::Arg::Long("help") | lexopt::Arg::Short('h') => return alone(parser, "--help", Command::Help),
                lexopt::Arg::Value(word) if url.is_none() => {
                    let parsed = word.to_str().and_then(Url::parse);
                    let parsed = parsed.filter(|url| self.any_target || url.target() == self.target);
                    let path = if self.any_target { "[/PATH]" } else { "" };
                    let wrong = || {
                        UsageError(format!(
                            "{name} {}: expected http://HOST[:PORT]{path}, HOST an address or localhost",
                            word.display()
                        ))
                    };
                    url = Some(parsed.ok_or_else(wrong)?);
                }
                lexopt::Arg::Value(word) => return Err(UsageError(format!("unexpected argument {}", word.display()))),
                lexopt::Arg::Long(option) => return Err(UsageError(format!("{name} has no option --{option}"))),
                lexopt::Arg::Short(letter) => return Err(UsageError(format!("{name} has no option -{letter}"))),
            }
        }
        let variable = environment(OPTIONS[LISTEN].variable).filter(|value| !value.is_empty());
        let listen = Given { option: &OPTIONS[LISTEN], flag: None, variable };
        Ok((self.command)(match url {
            Some(url) => url,
            None => Url::of(listen.address()?, self.target),
        }))
    }
}

/// Where the value of an option comes from.
struct Given<'g> {
    option: &'static Opt,
    flag: Option<&'g OsStr>,
    variable: Option<OsString>,
}

impl Given<'_> {
    fn value(&self) -> &OsStr {
        self.flag.or(self.variable.as_deref()).unwrap_or(OsStr::new(self.option.default))
    }

    fn wrong(&self, expected: fmt::Arguments<'_>) -> UsageError {
        let value = self.value().display();
        UsageError(match self.flag {
            Some(_) => format!("--{} {value}: expected {expected}", self.option.name),
            None => format!("{}={value}: expected {expected}", self.option.variable),
        })
    }

    fn number(&self, range: RangeInclusive<u32>) -> Result<u32, UsageError> {
        let digits = self.value().to_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let number = digits.and_then(|digits| digits.parse().ok()).filter(|number| range.contains(number));
        number.ok_or_else(|| self.wrong(format_args!("a number from {} to {}", range.start(), range.end())))
    }

    fn address(&self) -> Result<SocketAddr, UsageError> {
        let address = self.value().to_str().and_then(|text| text.parse().ok());
        address.ok_or_else(|| {
            self.wrong(format_args!("ADDR:PORT with an IPv4 address or an [IPv6] address, port 0 to 65535"))
        })
    }

    fn path(&self) -> Result<Option<PathBuf>, UsageError> {
        match self.value() {
            path if !path.is_empty() => Ok(Some(path.into())),
            _ if self.flag.is_some() => Err(self.wrong(format_args!("a path"))),
            _ => Ok(None),
        }
    }

    fn one_of<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, UsageError> {
        let found = choices.iter().find(|(name, _)| self.value() == *name).map(|&(_, choice)| choice);
        found.ok_or_else(|| {
            let names: Vec<_> = choices.iter().map(|&(name, _)| name).collect();
            self.wrong(format_args!("one of {}", names.join(", ")))
        })
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
    for Opt { name, value, variable, default, meaning } in &OPTIONS {
        let default = if default.is_empty() { "none" } else { default };
        text.push_str(&format!("  --{name} {value}\n      {meaning}\n      [env: {variable}] [default: {default}]\n"));
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
