//! Sends ten records and prints where each one went.
//!
//! Start a broker (`nyala dev`), then:
//!
//! ```text
//! cargo run -p nyala-client --example produce -- TOPIC [HOST:PORT of ZooKeeper]
//! ```
//! The topic is created by the broker if it is missing (`auto.create.topics.enable`).

use std::io::Write;

use nyala_client::Producer;
use nyala_client::producer::Record;
use nyala_coordinator::ids::TopicName;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let topic = TopicName::new(&args.next().unwrap_or_else(|| "examples".to_owned()))?;
    let zookeeper = args.next().unwrap_or_else(|| "127.0.0.1:2181".to_owned());

    let producer = Producer::builder().zookeeper(&zookeeper).build().await?;

    // `send` waits only for room in the buffer. The acks resolve when the broker has answered, so
    // that records travel together in batches.
    let mut acks = Vec::new();
    for n in 0..10 {
        let record = Record::new(topic.clone(), format!("record {n}")).with_key(format!("k{n}"));
        acks.push(producer.send(record).await?);
    }
    let mut out = std::io::stdout();
    for ack in acks {
        let placed = ack.await?;
        let offset = placed.offset.unwrap_or(-1);
        writeln!(out, "{}-{} offset {offset}", placed.topic, placed.partition)?;
    }
    // Nothing is lost by leaving now: everything is acknowledged. `close` would also wait.
    producer.close().await?;
    Ok(())
}
