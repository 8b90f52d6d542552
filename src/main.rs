//! The process as the standard library has it: arguments, environment, threads, exit code.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use gitops_status_server::ground::Process;
use gitops_status_server::program;

fn main() -> ExitCode {
    ExitCode::from(program::run(std::env::args_os().skip(1), |variable| std::env::var_os(variable), &Process))
}
