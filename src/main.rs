//! The `callgate` binary: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    callgate::cli::run()
}
