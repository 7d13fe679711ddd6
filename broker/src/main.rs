//! The `nyala` binary: flags in, exit code out; everything else is in `cli/`.

use std::process::ExitCode;

use clap::Parser;
use nyala::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            nyala::cli::tell_error(&*error);
            ExitCode::FAILURE
        }
    }
}
