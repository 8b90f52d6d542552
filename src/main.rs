//! Reads the configuration, starts the server, gives the exit code.

#![forbid(unsafe_code)]

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use gitops_status_server::config::{self, Command};
use gitops_status_server::healthcheck;
use gitops_status_server::json;
use gitops_status_server::roundtrip;
use gitops_status_server::server::{Memory, Server};

/// A `static`, for what nobody writes is not resident; its lock is taken once.
static MEMORY: Mutex<Memory> = Mutex::new(Memory::new());

const FAILED: u8 = 1;
const BAD_USAGE: u8 = 2;

fn main() -> ExitCode {
    let command = match config::read(std::env::args_os().skip(1), |variable| std::env::var_os(variable)) {
        Ok(command) => command,
        Err(error) => return complain(&error, BAD_USAGE),
    };
    match command {
        Command::Serve(config) => {
            // Before the memory is touched: where the system gives huge pages unasked, as Debian's does, a byte written
            // makes 2 MiB around it resident (prctl(2), PR_SET_THP_DISABLE). Without them it is as small as elsewhere.
            let _ = rustix::thread::disable_transparent_huge_pages(true);
            let mut memory = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
            match Server::start(&config, &mut memory).and_then(|mut server| server.run()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => complain(&error, FAILED),
            }
        }
        Command::Healthcheck(url) => match healthcheck::check(&url) {
            Ok(()) => ExitCode::SUCCESS,
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

fn show(text: &str) -> ExitCode {
    // Nobody is left to tell when the reader of a pipe is gone.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn complain(error: &dyn fmt::Display, code: u8) -> ExitCode {
    // It may repeat what was given on the command line, in the environment, or by another server.
    let mut line = String::from("gitops-status-server: ");
    let _ = json::show(&mut line, error.to_string().chars());
    line.push('\n');
    let _ = std::io::stderr().write_all(line.as_bytes());
    ExitCode::from(code)
}
