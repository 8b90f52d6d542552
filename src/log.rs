//! The log: one line an event, on standard error.
//!
//! A line is put together in a fixed buffer and written at once. Whatever a client sent is escaped and cut, so that it
//! can neither forge a line nor speak to a terminal. An error while writing is nobody's to hear.

use std::fmt::{self, Write as _};
use std::iter;

use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::stdio::stderr;

use crate::date::rfc3339;
use crate::event::{Event, Journal};
use crate::http::response::Date;
use crate::json::{Unescape, escape};
use crate::text::Address;

/// The most characters of a value that are shown.
const VALUE_MAX: usize = 200;
/// The most bytes of a line. What a client chose fits with all around it: a text every character of which is escaped by
/// two surrogates, or two texts, a method and a target, of ASCII.
const LINE_MAX: usize = 4096;
const _: () = assert!(VALUE_MAX * ESCAPE_MAX + 1024 < LINE_MAX);
const _: () = assert!(2 * VALUE_MAX * r"\u0000".len() + 1024 < LINE_MAX);
/// The most bytes that stand for one character.
const ESCAPE_MAX: usize = r"\udb40\udc01".len();
/// Where this program's own words are cut, for they may name a path of any length.
const WORDS_END: usize = LINE_MAX - ESCAPE_MAX - "…\"}\n".len();

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Only what went wrong with the server.
    Error,
    /// Start, end, and each POST.
    Info,
    /// Every request too.
    Access,
}

/// What a line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Time, level, message, `name=value`.
    Text,
    /// One JSON object.
    Json,
}

/// Writes the log.
#[derive(Debug)]
pub struct Log {
    level: Level,
    format: Format,
    date: Date,
}

impl Log {
    /// A log of what is at most `level`.
    pub fn new(level: Level, format: Format, date: Date) -> Self {
        Log { level, format, date }
    }

    /// Sets the time of the lines to come.
    pub fn set_date(&mut self, date: &Date) {
        self.date = *date;
    }

    /// Logs what went wrong with the server.
    pub fn error(&self, message: fmt::Arguments<'_>) {
        self.write(Level::Error, message, &|_| Ok(()));
    }

    /// Logs what an operator should know.
    pub fn info(&self, message: fmt::Arguments<'_>) {
        self.write(Level::Info, message, &|_| Ok(()));
    }

    fn write(&self, level: Level, message: fmt::Arguments<'_>, fields: &dyn Fn(&mut Line) -> fmt::Result) {
        if level > self.level {
            return;
        }
        let mut line = Line { text: heapless::String::new(), format: self.format };
        if line.begin(&self.date, level, message).and_then(|()| fields(&mut line)).and_then(|()| line.end()).is_ok() {
            write(stderr(), &line.text);
        }
    }
}

impl Journal for Log {
    fn record(&mut self, event: Event<'_>) {
        match event {
            Event::Accepted { peer, bytes, sync_status } => {
                self.write(Level::Info, format_args!("accepted status"), &|line| {
                    line.plain("peer", &Address(peer))?;
                    line.number("bytes", bytes as u64)?;
                    match sync_status {
                        Some(raw) => line.value("sync_status", Unescape::new(raw)),
                        None => Ok(()),
                    }
                });
            }
            Event::Refused { peer, code, bytes, reason } => {
                self.write(Level::Info, format_args!("refused status"), &|line| {
                    line.plain("peer", &Address(peer))?;
                    line.number("code", code.number().into())?;
                    line.number("bytes", bytes)?;
                    line.plain("reason", reason)
                });
            }
            Event::Answered { peer, method, target, code, bytes } => {
                self.write(Level::Access, format_args!("request"), &|line| {
                    line.plain("peer", &Address(peer))?;
                    line.value("method", method.chars())?;
                    line.value("target", target.chars())?;
                    line.number("code", code.number().into())?;
                    line.number("bytes", bytes as u64)
                });
            }
        }
    }
}

/// Writes all of `text`, if anybody takes it: nobody is left to tell when the reader of a pipe is gone.
pub fn write(to: BorrowedFd<'_>, text: &str) {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match rustix::io::write(to, rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// A line on its way.
struct Line {
    text: heapless::String<LINE_MAX>,
    format: Format,
}

impl Line {
    fn begin(&mut self, date: &Date, level: Level, message: fmt::Arguments<'_>) -> fmt::Result {
        let time = rfc3339(date);
        let time = std::str::from_utf8(&time).unwrap_or_default();
        let level = match level {
            Level::Error => "error",
            Level::Info => "info",
            Level::Access => "access",
        };
        match self.format {
            Format::Text => write!(self.text, "{time} {level} ")?,
            Format::Json => write!(self.text, r#"{{"time":"{time}","level":"{level}","message":""#)?,
        }
        write!(Escaping(&mut self.text), "{message}")?;
        if self.text.len() > WORDS_END {
            self.text.write_char('…')?;
        }
        if self.format == Format::Json { self.text.write_char('"') } else { Ok(()) }
    }

    fn name(&mut self, name: &str) -> fmt::Result {
        match self.format {
            Format::Text => write!(self.text, " {name}="),
            Format::Json => write!(self.text, r#","{name}":"#),
        }
    }

    fn number(&mut self, name: &str, number: u64) -> fmt::Result {
        self.name(name)?;
        write!(self.text, "{number}")
    }

    /// Adds what this program says.
    fn plain(&mut self, name: &str, value: &dyn fmt::Display) -> fmt::Result {
        self.name(name)?;
        self.text.write_char('"')?;
        write!(Escaping(&mut self.text), "{value}")?;
        self.text.write_char('"')
    }

    /// Adds what a client said.
    fn value(&mut self, name: &str, mut characters: impl Iterator<Item = char>) -> fmt::Result {
        self.name(name)?;
        self.text.write_char('"')?;
        escape(&mut self.text, characters.by_ref().take(VALUE_MAX))?;
        self.text.write_str(if characters.next().is_some() { "…\"" } else { "\"" })
    }

    fn end(&mut self) -> fmt::Result {
        self.text.write_str(if self.format == Format::Json { "}\n" } else { "\n" })
    }
}

/// Escapes what is formatted into it, up to [`WORDS_END`].
struct Escaping<'t>(&'t mut heapless::String<LINE_MAX>);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|character| match self.0.len() {
            ..=WORDS_END => escape(self.0, iter::once(character)),
            _ => Ok(()),
        })
    }
}
