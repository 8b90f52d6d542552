//! The process as the standard library has it: arguments, environment, threads, exit code.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use gitops_status_server::ground::Process;
use gitops_status_server::program;

fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1).map(kept);
    ExitCode::from(program::run(arguments, |variable| std::env::var_os(variable).map(kept), &Process))
}

/// As long as the process runs.
fn kept(text: OsString) -> &'static OsStr {
    Box::leak(text.into_boxed_os_str())
}
