//! `chaos --seed N --minutes M [--only NAME]`: the command behind `tests/chaos`.
#![expect(
    clippy::print_stdout,
    reason = "the report is what this program is for"
)]

use std::process::ExitCode;
use std::time::Duration;

use harness::chaos::{Chaos, run};

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)) {
        Ok(chaos) => {
            let report = run(&chaos);
            println!("{report}");
            ExitCode::from(u8::from(!report.anomalies.is_empty()))
        }
        Err(problem) => {
            eprintln!("chaos: {problem}\nusage: chaos --seed N --minutes M [--only NAME]");
            ExitCode::from(2)
        }
    }
}

fn parse(args: impl Iterator<Item = String>) -> Result<Chaos, String> {
    let mut chaos = Chaos {
        seed: 1,
        time: Duration::from_secs(120),
        only: None,
    };
    let mut args = args;
    while let Some(flag) = args.next() {
        let value = args.next().ok_or_else(|| format!("{flag} wants a value"))?;
        let bad = |e: &dyn std::fmt::Display| format!("{flag} {value}: {e}");
        match flag.as_str() {
            "--seed" => chaos.seed = value.parse().map_err(|e| bad(&e))?,
            "--minutes" => {
                let minutes: f64 = value.parse().map_err(|e| bad(&e))?;
                chaos.time = Duration::try_from_secs_f64(minutes * 60.0).map_err(|e| bad(&e))?;
            }
            "--only" => chaos.only = Some(value),
            _ => return Err(format!("{flag} is not known")),
        }
    }
    Ok(chaos)
}
