//! What the program does: reads the configuration, starts the server or asks one, gives the exit code.
//!
//! How a process begins and what a thread is are left to whoever calls this: `main.rs` has both of the standard library.

use std::ffi::OsStr;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use rustix::stdio::{stderr, stdout};

use crate::config::{self, Command};
use crate::ground::Ground;
use crate::healthcheck;
use crate::json;
use crate::log::write;
use crate::roundtrip;
use crate::server::{Memory, Server};

/// A `static`, for what nobody writes is not resident; its lock is taken once.
static MEMORY: Mutex<Memory> = Mutex::new(Memory::new());

const DONE: u8 = 0;
const FAILED: u8 = 1;
const BAD_USAGE: u8 = 2;

/// Does what `arguments` say, without the program's name, and the environment. Gives the exit code.
pub fn run(
    arguments: impl Iterator<Item = &'static OsStr>,
    environment: impl Fn(&str) -> Option<&'static OsStr>,
    ground: &dyn Ground,
) -> u8 {
    let command = match config::read(arguments, environment) {
        Ok(command) => command,
        Err(error) => return complain(&error, BAD_USAGE),
    };
    match command {
        Command::Serve(config) => {
            // Before the memory is touched: where the system gives huge pages unasked, as Debian's does, a byte written
            // makes 2 MiB around it resident (prctl(2), PR_SET_THP_DISABLE). Without them it is as small as elsewhere.
            let _ = rustix::thread::disable_transparent_huge_pages(true);
            let mut memory = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
            let served = match Server::start(&config, &mut memory, ground) {
                Ok(mut server) => server.run(),
                Err(error) => Err(error),
            };
            served.map_or_else(|error| complain(&error, FAILED), |()| DONE)
        }
        Command::Healthcheck(url) => match healthcheck::check(&url) {
            Ok(()) => DONE,
            Err(reason) => complain(&reason, FAILED),
        },
        Command::Roundtrip(url) => match roundtrip::run(&url) {
            Ok(bytes) => show(&format!("{url}: posted a status of {bytes} bytes and read it back\n")),
            Err(reason) => complain(&reason, FAILED),
        },
        Command::Help => show(&config::help()),
        Command::Version => show(concat!("gitops-status-server ", env!("CARGO_PKG_VERSION"), "\n")),
    }
}

fn show(text: &str) -> u8 {
    write(stdout(), text);
    DONE
}

fn complain(error: &dyn fmt::Display, code: u8) -> u8 {
    // It may repeat what was given on the command line, in the environment, or by another server.
    let mut line = String::from("gitops-status-server: ");
    let _ = json::show(&mut line, error.to_string().chars());
    line.push('\n');
    write(stderr(), &line);
    code
}
