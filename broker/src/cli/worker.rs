//! `nyala worker`: how far each worker is, and which of them stand still.

use std::error::Error;
use std::time::Duration;

use nyala_coordinator::recipes::progress::{
    Progress, ProgressChange, ProgressWatch, Report, Worker,
};
use nyala_coordinator::session::Session;

use super::zookeeper::{self, EXIT_CODES, Ended, How, ZooKeeperArgs, counted, seconds};
use super::{lines, print_line, table};
use crate::cli::tell::tell;

const EXAMPLES: &str = "\
Examples:
  ./import | nyala worker report /import w-1         lines such as `40`, `40 100` or `40 100 page 4`
  nyala worker watch /import --stale-after 30        at, stale, gone: a line for each
  nyala worker list /import

`report` takes the worker off the list at the end of its input; one that is killed goes with its session.
";

/// Flags of `nyala worker`.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n{EXIT_CODES}"))]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    zookeeper: ZooKeeperArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Publish each line of standard input: done, out of, and what it is at
    Report {
        /// Where workers are listed
        path: String,
        /// This one
        worker: String,
    },
    /// Print how far each worker is
    List {
        /// Where workers are listed
        path: String,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Print how far each worker is, and each change, until stopped
    Watch {
        /// Where workers are listed
        path: String,
        /// Report workers from which nothing came for so long
        #[arg(long, value_name = "SECONDS", value_parser = seconds)]
        stale_after: Option<Duration>,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
        /// End after so many changes
        #[arg(long, value_name = "N")]
        max: Option<u64>,
    },
}

pub(super) fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let zookeeper = &args.zookeeper;
    match &args.command {
        Command::Report { path, worker } => {
            zookeeper::run(zookeeper, How::writes(), async |session: Session| {
                report(session, path, worker).await
            })
        }
        Command::List { path, json } => {
            zookeeper::run(zookeeper, How::reads(), async |session: Session| {
                let watch = ProgressWatch::start(&session, path, None).await?;
                for worker in watch.current().0.values() {
                    print(None, worker, *json)?;
                }
                Ok(Ended::Done)
            })
        }
        Command::Watch {
            path,
            stale_after,
            json,
            max,
        } => zookeeper::run(
            zookeeper,
            How::reads().until_stopped(max.is_none()).telling_absence(),
            async |session: Session| {
                let mut watch = ProgressWatch::start(&session, path, *stale_after).await?;
                for _ in 0..max.unwrap_or(u64::MAX) {
                    match watch.next().await.ok_or("the watch has ended")? {
                        ProgressChange::At(worker) => print(Some("at"), &worker, *json)?,
                        ProgressChange::Stale(worker) => print(Some("stale"), &worker, *json)?,
                        ProgressChange::Gone(worker) => print(Some("gone"), &worker, *json)?,
                    }
                }
                Ok(Ended::Done)
            },
        ),
    }
}

async fn report(session: Session, path: &str, worker: &str) -> Result<Ended, Box<dyn Error>> {
    let progress = Progress::start(&session, path, worker, None).await?;
    let (mut blocks, _) = lines::read(None)?;
    let mut wrong = 0;
    while let Some(block) = blocks.recv().await {
        // Of a burst only the last report matters.
        let mut last = None;
        for line in block? {
            let text = String::from_utf8_lossy(&line);
            match parse(&text) {
                Some(report) => last = Some(report),
                None => {
                    tell!("nyala: {text:?} is not DONE [TOTAL [NOTE]]");
                    wrong += 1;
                }
            }
        }
        if let Some(report) = last {
            progress.report(&report).await?;
        }
    }
    progress.finish().await;
    match wrong {
        0 => Ok(Ended::Done),
        n => Err(format!(
            "{} no report, see above",
            counted(n, "line was", "lines were")
        )
        .into()),
    }
}

fn parse(line: &str) -> Option<Report> {
    let mut parts = line.trim().splitn(3, ' ');
    Some(Report {
        done: parts.next()?.parse().ok()?,
        total: match parts.next() {
            Some(total) => Some(total.parse().ok()?),
            None => None,
        },
        note: parts.next().unwrap_or_default().to_owned(),
    })
}

fn print(word: Option<&str>, worker: &Worker, json: bool) -> std::io::Result<()> {
    let report = worker.report.clone().unwrap_or_default();
    if json {
        let mut object = serde_json::json!({
            "worker": worker.name, "done": report.done, "total": report.total,
            "note": report.note, "at_ms": worker.at_ms, "stale": worker.stale,
        });
        if let Some(word) = word {
            object["change"] = word.into();
        }
        return table::print_json(&object);
    }
    let total = report
        .total
        .map_or_else(|| "-".to_owned(), |t| t.to_string());
    let columns = [&worker.name, &report.done.to_string(), &total, &report.note];
    let columns = columns.map(String::as_str).join("\t");
    match word {
        Some(word) => print_line(&format!("{word}\t{columns}")),
        None => print_line(&columns),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_read_from_lines() {
        let read = |line| parse(line).map(|r| (r.done, r.total, r.note));
        assert_eq!(read("40"), Some((40, None, String::new())));
        assert_eq!(
            read("40 100 page 4\r"),
            Some((40, Some(100), "page 4".to_owned()))
        );
        assert_eq!(read("40 x"), None);
        assert_eq!(read(""), None);
    }
}
