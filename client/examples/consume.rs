//! Joins a group that meets in ZooKeeper and prints what it reads, until ctrl-C.
//!
//! ```text
//! cargo run -p nyala-client --example consume -- TOPIC GROUP [HOST:PORT of ZooKeeper]
//! ```
//! Start it several times: the partitions are shared out anew each time, and again when one of
//! the processes ends, however it ends.

use std::io::Write;

use futures::StreamExt;
use nyala_client::Consumer;
use nyala_client::config::OffsetReset;
use nyala_coordinator::ids::TopicName;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let topic = TopicName::new(&args.next().unwrap_or_else(|| "examples".to_owned()))?;
    let group = args.next().unwrap_or_else(|| "examples".to_owned());
    let zookeeper = args.next().unwrap_or_else(|| "127.0.0.1:2181".to_owned());

    let mut consumer = Consumer::builder()
        .zookeeper(&zookeeper)
        .group(group)
        .topics([topic])
        .offset_reset(OffsetReset::Earliest)
        .build()
        .await?;

    let mut out = std::io::stdout();
    let mut stream = Box::pin(consumer.stream());
    loop {
        tokio::select! {
            record = stream.next() => match record {
                Some(Ok(record)) => {
                    let value = record.value.unwrap_or_default();
                    let value = String::from_utf8_lossy(&value);
                    writeln!(out, "{}-{} {} {value}", record.topic, record.partition, record.offset)?;
                }
                Some(Err(error)) => writeln!(std::io::stderr(), "{error}")?,
                None => break,
            },
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    drop(stream);
    // Commits what was printed and hands the partitions on at once.
    consumer.close().await?;
    Ok(())
}
