//! The load generator. `load --help` tells how to call it.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use compare::load::{self, Failure};
use compare::options::{self, HELP};

const FAILED: u8 = 1;
const BAD_USAGE: u8 = 2;

fn main() -> ExitCode {
    let options = match options::read(std::env::args_os().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("load: {error}");
            return ExitCode::from(BAD_USAGE);
        }
    };
    let figures = match load::run(&options) {
        Ok(figures) => figures,
        Err(Failure::Usage(message)) => {
            eprintln!("load: {message}");
            return ExitCode::from(BAD_USAGE);
        }
        Err(Failure::System(error)) => {
            eprintln!("load: {error}");
            return ExitCode::from(FAILED);
        }
    };
    println!("{}", figures.json());
    if let Some(schedule) = figures.schedule.filter(|schedule| !schedule.kept) {
        let achieved = figures.requests_per_second().unwrap_or(0.0);
        eprintln!("load: {} requests a second could not be kept; {achieved:.1} were answered", schedule.rate);
    }
    for line in figures.faults.to_string().lines() {
        eprintln!("load: {line}");
    }
    if figures.faults.total() == 0 { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}
