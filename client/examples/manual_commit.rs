//! Reads in batches and commits each one after it is done: at least once, under the
//! application's own control. The fencing token goes with what it writes elsewhere.
//!
//! ```text
//! cargo run -p nyala-client --example manual_commit -- TOPIC GROUP [HOST:PORT of ZooKeeper]
//! ```

use std::io::Write;
use std::time::Duration;

use nyala_client::Consumer;
use nyala_client::config::OffsetReset;
use nyala_client::error::ConsumerError;
use nyala_coordinator::ids::{TopicName, TopicPartition};

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
        .auto_commit(false)
        .build()
        .await?;

    let mut out = std::io::stdout();
    loop {
        let records = consumer.poll(Duration::from_secs(5)).await?;
        let Some(last) = records.last() else { break };
        let partition = TopicPartition {
            topic: last.topic.clone(),
            partition: last.partition,
        };
        // A store that keeps the largest token it has seen can refuse a reader that was paused and
        // has lost its partition without knowing.
        let token = consumer.assignment().get(&partition).and_then(|(_, t)| *t);
        writeln!(
            out,
            "{partition}: {} records, token {token:?}",
            records.len()
        )?;
        match consumer.commit().await {
            Ok(()) => {}
            // Another member has the partition now, and will read these records again.
            Err(error @ ConsumerError::Fenced { .. }) => writeln!(out, "{error}")?,
            Err(error) => return Err(error.into()),
        }
    }
    consumer.close().await?;
    Ok(())
}
