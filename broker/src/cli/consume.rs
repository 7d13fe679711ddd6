//! `nyala consume`: records out, as lines, byte for byte.

use std::error::Error;
use std::io::{self, BufWriter, IsTerminal as _, StdoutLock, Write};
use std::time::Duration;

use nyala_client::config::OffsetReset;
use nyala_client::consumer::ConsumerRecord;
use nyala_client::error::{ClusterError, ConsumerError};
use nyala_client::{Cluster, Consumer};
use nyala_coordinator::ids::TopicName;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use tokio::time::Instant;

use super::entry::{EntryArgs, topic_name};
use super::process;
use super::progress::Progress;
use crate::cli::tell::tell;

/// Records handed over, printed and flushed at a time.
const BATCH_RECORDS: usize = 5000;
/// A topic has so long to show up.
const TOPIC_PATIENCE: Duration = Duration::from_secs(10);
/// Of which so long nothing is said.
const SILENT_WAIT: Duration = Duration::from_secs(1);

/// Flags of `nyala consume`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Topics to read
    #[arg(required = true, value_name = "TOPIC", value_parser = topic_name)]
    topics: Vec<TopicName>,
    #[command(flatten)]
    entry: EntryArgs,
    /// Read as a member of this group, from where it has committed
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Without a committed offset, begin with the oldest record
    #[arg(long)]
    from_beginning: bool,
    /// End after so many records
    #[arg(long, value_name = "N")]
    max_messages: Option<u64>,
    /// End when nothing has come for so long
    #[arg(long, value_name = "MILLISECONDS")]
    timeout_ms: Option<u64>,
    /// A member of a group that is silent for so long is replaced
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1000..=3_600_000))]
    session_timeout_ms: u64,
    #[command(flatten)]
    show: Show,
}

/// What is printed of a record.
#[derive(Clone, Debug, clap::Args)]
struct Show {
    /// Print the timestamp before the value
    #[arg(long)]
    print_timestamp: bool,
    /// Print the topic before the value
    #[arg(long)]
    print_topic: bool,
    /// Print the partition before the value
    #[arg(long)]
    print_partition: bool,
    /// Print the offset before the value
    #[arg(long)]
    print_offset: bool,
    /// Print the key before the value
    #[arg(long)]
    print_key: bool,
    /// What stands between them
    #[arg(long, value_name = "C", default_value = "\t")]
    separator: String,
    /// Print one JSON object a record; what is not UTF-8 comes as *_base64
    #[arg(long)]
    json: bool,
}

/// Why the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Enough,
    Quiet,
    Interrupted(Signal),
    /// Whoever reads our output has gone, as `head` does.
    ReaderGone,
}

pub(super) fn run(args: Args) -> Result<(), Box<dyn Error>> {
    process::start_warnings();
    process::block_on(main(args))?
}

async fn main(args: Args) -> Result<(), Box<dyn Error>> {
    let mut consumer = consumer(&args).await?;
    let patience = args.timeout_ms.map(Duration::from_millis);
    let patience = patience.map_or(TOPIC_PATIENCE, |limit| limit.min(TOPIC_PATIENCE));
    for topic in &args.topics {
        await_topic(consumer.cluster(), topic, patience).await?;
    }
    // On one terminal a bar and the data would tear each other.
    let shown = !io::stdout().is_terminal();
    let mut progress = Progress::new("consumed", None, shown);
    let end = tokio::select! {
        end = print(&args, &mut consumer, &mut progress) => end?,
        signal = process::stop_signal() => End::Interrupted(signal?),
    };
    progress.finish();
    match end {
        // What was not printed is not to be committed.
        End::ReaderGone => drop(consumer),
        _ => consumer.close().await?,
    }
    tell!("nyala: {}", progress.summary());
    let missing = args
        .max_messages
        .filter(|max| end != End::ReaderGone && progress.records() < *max);
    let got = progress.records();
    let missing =
        missing.map(|max| format!("only {got} of the {max} records that were asked for came"));
    match (end, missing) {
        // Without an end of its own, this is how it ends.
        (End::Interrupted(signal), missing) if missing.is_some() || args.timeout_ms.is_some() => {
            tell!(
                "nyala: {}",
                missing.unwrap_or_else(|| "interrupted".to_owned())
            );
            process::die_by(signal)
        }
        (_, Some(missing)) => Err(missing.into()),
        (_, None) => Ok(()),
    }
}

async fn consumer(args: &Args) -> Result<Consumer, Box<dyn Error>> {
    let reset = match args.from_beginning {
        true => OffsetReset::Earliest,
        false => OffsetReset::Latest,
    };
    let built = Consumer::builder()
        .topics(args.topics.iter().cloned())
        .offset_reset(reset)
        .configure(|config| {
            config.entry = args.entry.entry();
            config.group.clone_from(&args.group);
            config.cluster.connection.client_id = "nyala-consume".to_owned();
            config.poll_records_max = BATCH_RECORDS;
        })
        .session_timeout(Duration::from_millis(args.session_timeout_ms))
        .build()
        .await;
    built.map_err(|error| match error {
        ConsumerError::Cluster(error) => args.entry.advise(&error),
        other => other.into(),
    })
}

/// Waits for a topic, and says so when that takes longer than anybody would expect.
async fn await_topic(
    cluster: &Cluster,
    topic: &TopicName,
    patience: Duration,
) -> Result<(), String> {
    let silent = patience.min(SILENT_WAIT);
    if cluster.await_topic(topic, silent).await.is_ok() {
        return Ok(());
    }
    tell!("nyala: waiting for topic {topic}, up to {patience:?}");
    let found = cluster.await_topic(topic, patience - silent).await;
    found.map(|_| ()).map_err(|error| unknown(topic, &error))
}

fn unknown(topic: &TopicName, error: &ClusterError) -> String {
    format!(
        "topic {topic}: {error}\n  `nyala topic create {topic}` makes it, `nyala topic list` shows what there is"
    )
}

async fn print(
    args: &Args,
    consumer: &mut Consumer,
    progress: &mut Progress,
) -> Result<End, Box<dyn Error>> {
    let quiet = args.timeout_ms.map(Duration::from_millis);
    let mut last = Instant::now();
    loop {
        let left = args.max_messages.map(|max| max - progress.records());
        if left == Some(0) {
            return Ok(End::Enough);
        }
        let max = left.map_or(BATCH_RECORDS, |n| {
            usize::try_from(n).map_or(BATCH_RECORDS, |n| n.min(BATCH_RECORDS))
        });
        let wait = quiet.map_or(Duration::from_secs(1), |q| {
            (last + q).saturating_duration_since(Instant::now())
        });
        let records = match consumer.poll_up_to(max, wait).await {
            Ok(records) => records,
            Err(error) => {
                progress.say(&error.to_string());
                continue;
            }
        };
        if records.is_empty() {
            if quiet.is_some_and(|q| last.elapsed() >= q) {
                return Ok(End::Quiet);
            }
            if reader_gone() {
                return Ok(End::ReaderGone);
            }
            continue;
        }
        last = Instant::now();
        match write_all(&args.show, &records) {
            Ok(bytes) => progress.add(u64::try_from(records.len()).unwrap_or(u64::MAX), bytes),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(End::ReaderGone),
            Err(error) => return Err(format!("standard output: {error}").into()),
        }
    }
}

/// Whether nobody reads our output any more: without records to print, no write would tell.
fn reader_gone() -> bool {
    let out = io::stdout();
    let mut fds = [PollFd::new(&out, PollFlags::empty())];
    // A failed look is as good as none.
    let _ = poll(&mut fds, Some(&Timespec::default()));
    fds.iter().any(|fd| fd.revents().contains(PollFlags::ERR))
}

/// Prints and flushes one batch: only then may its offsets be committed.
fn write_all(show: &Show, records: &[ConsumerRecord]) -> io::Result<u64> {
    let mut out = BufWriter::with_capacity(64 << 10, io::stdout().lock());
    let mut bytes = 0;
    for record in records {
        let value = record.value.as_deref().unwrap_or_default();
        bytes += u64::try_from(value.len() + 1).unwrap_or(0);
        if show.json {
            writeln!(out, "{}", json(record))?;
        } else {
            write_fields(&mut out, show, record)?;
            out.write_all(value)?;
            out.write_all(b"\n")?;
        }
    }
    out.flush()?;
    Ok(bytes)
}

fn write_fields(
    out: &mut BufWriter<StdoutLock<'_>>,
    show: &Show,
    record: &ConsumerRecord,
) -> io::Result<()> {
    let between = &show.separator;
    if show.print_timestamp {
        write!(out, "{}{between}", record.timestamp_ms)?;
    }
    if show.print_topic {
        write!(out, "{}{between}", record.topic)?;
    }
    if show.print_partition {
        write!(out, "{}{between}", record.partition)?;
    }
    if show.print_offset {
        write!(out, "{}{between}", record.offset)?;
    }
    if show.print_key {
        out.write_all(record.key.as_deref().unwrap_or(b"null"))?;
        write!(out, "{between}")?;
    }
    Ok(())
}

fn json(record: &ConsumerRecord) -> serde_json::Value {
    let mut object = serde_json::json!({
        "topic": record.topic.as_str(),
        "partition": record.partition.0,
        "offset": record.offset,
        "timestamp": record.timestamp_ms,
    });
    let mut put = |name: &str, bytes: Option<&[u8]>| {
        let (name, value) = match bytes.map(|b| (b, std::str::from_utf8(b))) {
            None => (name.to_owned(), serde_json::Value::Null),
            Some((_, Ok(text))) => (name.to_owned(), text.into()),
            Some((bytes, Err(_))) => (format!("{name}_base64"), base64(bytes).into()),
        };
        if let Some(object) = object.as_object_mut() {
            object.insert(name, value);
        }
    };
    put("key", record.key.as_deref());
    put("value", record.value.as_deref());
    if !record.headers.is_empty() {
        let pairs = record.headers.iter().map(|h| {
            let value = h.value.as_deref();
            let value = value.map(|v| String::from_utf8_lossy(v).into_owned());
            serde_json::json!([h.key, value])
        });
        object["headers"] = pairs.collect();
    }
    object
}

/// Standard base64 with padding (RFC 4648).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |bits: u32| {
        let at = usize::try_from(bits & 63).unwrap_or(0);
        char::from(DIGITS.get(at).copied().unwrap_or(b'='))
    };
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        text.push(digit(bits >> 18));
        text.push(digit(bits >> 12));
        text.push(if chunk.len() > 1 {
            digit(bits >> 6)
        } else {
            '='
        });
        text.push(if chunk.len() > 2 { digit(bits) } else { '=' });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_the_standard_one() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"\xff\xfe\xfd\xfc", "//79/A=="),
        ] {
            assert_eq!(base64(bytes), text);
        }
    }
}
