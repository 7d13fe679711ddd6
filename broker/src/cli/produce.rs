//! `nyala produce`: lines in, records out, every refused one named.

mod watch;

use std::error::Error;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::ValueEnum;
use nyala_client::Producer;
use nyala_client::config::Acks;
use nyala_client::error::{ProducerError, SendError};
use nyala_client::producer::Record;
use nyala_client::wire::compression::Codec;
use nyala_coordinator::ids::TopicName;
use rustix::process::Signal;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use self::watch::{Fate, Tally, watch};
use super::entry::{EntryArgs, key_value, topic_name};
use super::progress::Progress;
use super::{lines, print_line, process};
use crate::cli::tell::tell;

/// Acks that are waited for at a time; the producer's own buffer is the real limit.
const ACKS_MAX: usize = 1 << 20;
/// Longest wait for acks after a signal: it is to end.
const CLOSE_AFTER_SIGNAL_MAX: Duration = Duration::from_secs(5);

const EXAMPLES: &str = "\
Examples:
  printf 'a\\nb\\n' | nyala produce numbers
  nyala produce users --key-separator : --file users.txt
  nyala lock /l -- sh -c 'nyala produce ledger --header x-fence=/l:$NYALA_FENCE < new'

The last one is refused once a later holder of /l has written, if the topic has fence.enable=true.

Exit code: 0 when every record is safe, 2 for a wrong command line, 1 for everything else; cut short by ctrl-C or
SIGTERM, the end by that signal, after up to 5 s for what is on its way; a second one ends it at once.

A record that is not acknowledged within --timeout may have been written all the same, if it was sent: those are told
apart from the refused ones, which are in no log. To send one again may double it.";

/// Flags of `nyala produce`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Topic to write to
    #[arg(value_parser = topic_name)]
    topic: TopicName,
    #[command(flatten)]
    entry: EntryArgs,
    /// Read this file instead of standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What stands between key and value; without it lines have no key
    #[arg(long, value_name = "C", value_parser = separator)]
    key_separator: Option<String>,
    /// A header of every record, such as x-fence=NAME:TOKEN; may be given several times
    #[arg(long = "header", value_name = "KEY=VALUE", value_parser = key_value)]
    headers: Vec<(String, String)>,
    /// Who must have a record before it counts: 0, 1 or all
    #[arg(long, value_enum, default_value_t = AcksArg::All)]
    acks: AcksArg,
    /// Codec of the batches: none, gzip, snappy, lz4 or zstd
    #[arg(long, value_name = "CODEC", default_value = "none")]
    compression: Codec,
    /// Longest time that a record is tried, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// Print the counts as JSON on standard output at the end
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AcksArg {
    #[value(name = "0")]
    None,
    #[value(name = "1")]
    Leader,
    #[value(name = "all", alias = "-1")]
    All,
}

/// A separator as typed: `\t` is a tab, for shells that make one hard to write.
fn separator(text: &str) -> Result<String, String> {
    match text {
        "" => Err("the separator is empty".to_owned()),
        "\\t" => Ok("\t".to_owned()),
        other => Ok(other.to_owned()),
    }
}

pub(super) fn run(args: Args) -> Result<(), Box<dyn Error>> {
    process::start_warnings();
    process::block_on(main(args))?
}

async fn main(args: Args) -> Result<(), Box<dyn Error>> {
    let name = args.file.as_ref().map(|f| f.display().to_string());
    let read = lines::read(args.file.as_deref());
    let (blocks, total) = read.map_err(|e| match name {
        Some(name) => format!("{name}: {e}"),
        None => format!("standard input: {e}"),
    })?;
    let producer = producer(&args).await?;
    let (fates, waiting) = mpsc::channel(ACKS_MAX);
    // A bar would tear what somebody types.
    let shown = args.file.is_some() || !std::io::stdin().is_terminal();
    let give_up = Arc::new(Notify::new());
    let watcher = {
        let (producer, give_up) = (producer.clone(), Arc::clone(&give_up));
        let progress = Progress::new("produced", total, shown);
        tokio::spawn(async move { watch(waiting, progress, producer, &give_up).await })
    };
    let mut stop = tokio::spawn(process::stop_signal());
    let sent = tokio::select! {
        sent = send(&args, &producer, blocks, &fates) => sent.map(|()| None),
        signal = &mut stop => Ok(Some(signal??)),
    };
    drop(fates);
    // What was read is settled in any case, if there is time.
    let (stopped, sent) = match sent {
        Ok(stopped) => (stopped, Ok(())),
        Err(error) => (None, Err(error)),
    };
    let early = stopped.is_some();
    let (stopped, flushed) = close(producer, stopped, stop).await?;
    if !matches!(flushed, Some(Ok(()))) {
        give_up.notify_one();
    }
    let tally = watcher.await?;
    tell_counts(&args, &tally)?;
    if let Some(signal) = stopped {
        if early {
            tell!("nyala: interrupted before the end of the input");
        }
        if tally.left > 0 {
            let left = tally.left;
            tell!("nyala: interrupted, not acknowledged but possibly written: {left} records");
        }
        process::die_by(signal);
    }
    sent?;
    flushed.transpose()?;
    tally
        .complaint()
        .map_or(Ok(()), |complaint| Err(complaint.into()))
}

/// Waits until all is settled; after a signal only for a moment, and then what became of it is not known.
async fn close(
    producer: Producer,
    stopped: Option<Signal>,
    mut stop: JoinHandle<std::io::Result<Signal>>,
) -> Result<(Option<Signal>, Option<Result<(), ProducerError>>), Box<dyn Error>> {
    let mut closing = pin!(producer.close());
    let signal = match stopped {
        Some(signal) => signal,
        None => tokio::select! {
            closed = &mut closing => return Ok((None, Some(closed))),
            signal = &mut stop => signal??,
        },
    };
    let closed = tokio::time::timeout(CLOSE_AFTER_SIGNAL_MAX, closing).await;
    Ok((Some(signal), closed.ok()))
}

fn tell_counts(args: &Args, tally: &Tally) -> std::io::Result<()> {
    let progress = &tally.progress;
    progress.finish();
    if args.json {
        let counts = serde_json::json!({
            "topic": args.topic.as_str(),
            "records": progress.records(),
            "bytes": progress.bytes(),
            "refused": tally.refused,
            "not_acknowledged": tally.unknown + tally.left,
            "milliseconds": u64::try_from(progress.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        print_line(&counts.to_string())?;
    }
    tell!("nyala: {}", progress.summary());
    Ok(())
}

async fn producer(args: &Args) -> Result<Producer, Box<dyn Error>> {
    let acks = match args.acks {
        AcksArg::None => Acks::None,
        AcksArg::Leader => Acks::Leader,
        AcksArg::All => Acks::All,
    };
    let timeout = Duration::from_secs(args.timeout);
    let built = Producer::builder()
        .acks(acks)
        .compression(args.compression)
        .configure(|config| {
            config.entry = args.entry.entry();
            config.cluster.connection.client_id = "nyala-produce".to_owned();
            // Lines are small and many: larger batches, and a moment to fill them.
            config.linger = Duration::from_millis(5);
            config.batch_bytes = 128 << 10;
            config.block_max = timeout;
        })
        .delivery_timeout(timeout)
        .build()
        .await;
    built.map_err(|error| match error {
        ProducerError::Cluster(error) => args.entry.advise(&error),
        other => other.into(),
    })
}

async fn send(
    args: &Args,
    producer: &Producer,
    mut blocks: mpsc::Receiver<lines::Block>,
    fates: &mpsc::Sender<Fate>,
) -> Result<(), Box<dyn Error>> {
    while let Some(block) = blocks.recv().await {
        for line in block? {
            let bytes = u64::try_from(line.len() + 1).unwrap_or(0);
            // Room first: what the producer has taken is counted, whenever this is cut short.
            let room = fates.reserve().await?;
            let fate = match record(args, line) {
                Ok(record) => match producer.send(record).await {
                    Ok(ack) => Fate::Sent(ack, bytes),
                    // Neither this record nor any other will get through.
                    Err(error @ (SendError::UnknownTopic { .. } | SendError::Closed)) => {
                        return Err(error.into());
                    }
                    Err(error) => Fate::Refused(error.to_string()),
                },
                Err(reason) => Fate::Refused(reason),
            };
            room.send(fate);
        }
    }
    Ok(())
}

fn record(args: &Args, line: Bytes) -> Result<Record, String> {
    let record = keyed(args, line)?;
    let headers = args.headers.iter().cloned();
    Ok(headers.fold(record, |record, (key, value)| {
        record.with_header(key, value)
    }))
}

fn keyed(args: &Args, line: Bytes) -> Result<Record, String> {
    let Some(separator) = args.key_separator.as_deref() else {
        return Ok(Record::new(args.topic.clone(), line));
    };
    let found = line
        .windows(separator.len())
        .position(|w| w == separator.as_bytes());
    let at = found.ok_or_else(|| format!("no key: the line has no {separator:?}"))?;
    let value = line.slice(at + separator.len()..);
    Ok(Record::new(args.topic.clone(), value).with_key(line.slice(..at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_may_be_long_or_a_tab() {
        assert_eq!(separator("\\t"), Ok("\t".to_owned()));
        assert_eq!(separator("::"), Ok("::".to_owned()));
        assert!(separator("").is_err());
    }
}
