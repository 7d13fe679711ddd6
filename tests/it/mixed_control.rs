//! A real Kafka 3.9.1 is the controller: our broker is given partitions, leads them, stops, comes
//! back and loses them by the controller's word.

use std::time::Duration;

use harness::brokers::{Brokers, Maker, Options};
use harness::rdkafka::{config, producer, read_all};
use harness::wait::until;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::runtime::Runtime;

const TOPIC: &str = "given";
const KAFKA: i32 = 0;
const OURS: i32 = 1;

fn cluster() -> Brokers {
    let mut brokers = Brokers::prepare(&Options {
        makers: vec![Maker::Kafka, Maker::Nyala],
        settings: vec!["controlled.shutdown.retry.backoff.ms=500".to_owned()],
        ..Options::default()
    });
    // The first one becomes the controller.
    brokers.node(KAFKA).start();
    brokers.node(OURS).start();
    brokers
}

fn send(runtime: &Runtime, producer: &FutureProducer, partition: i32, count: i32) {
    for n in 0..count {
        let value = format!("{partition}-{n}");
        let record: FutureRecord<'_, (), String> =
            FutureRecord::to(TOPIC).partition(partition).payload(&value);
        let sent = runtime.block_on(producer.send(record, Duration::from_secs(30)));
        sent.unwrap_or_else(|(e, _)| panic!("{TOPIC}-{partition} record {n}: {e}"));
    }
}

#[test]
fn ours_leads_and_deletes_by_the_word_of_a_real_controller() {
    let runtime = Runtime::new().expect("a runtime");
    let mut brokers = cluster();
    let mut znodes = brokers.znodes();
    assert_eq!(znodes.controller(), Some(KAFKA));
    let admin: AdminClient<DefaultClientContext> =
        config(&brokers.bootstrap(), &[]).create().expect("legal");
    let placed: [&[i32]; 3] = [&[OURS], &[KAFKA], &[OURS]];
    let topic = NewTopic::new(TOPIC, 3, TopicReplication::Variable(&placed))
        .set("min.insync.replicas", "1");
    let made = runtime.block_on(admin.create_topics([&topic], &AdminOptions::new()));
    assert_eq!(made.expect("an answer"), [Ok(TOPIC.to_owned())]);
    for partition in [0, 2] {
        let led = znodes.wait_for_state(TOPIC, partition, "a leader", |s| s.leader == OURS);
        assert_eq!(led.isr, [OURS]);
    }
    let writer = producer(&brokers.bootstrap(), &[]);
    for partition in 0..3 {
        send(&runtime, &writer, partition, 100);
        assert_eq!(read_all(&brokers.bootstrap(), TOPIC, partition).len(), 100);
    }
    let said = brokers.node(OURS).said();
    assert!(said.contains("controller=0"), "no order came: {said}");
    let folder = brokers.node(OURS).log_folder.clone();
    assert!(folder.join("given-0").exists() && folder.join("given-2").exists());

    // Away and back: the controller gives the same partitions again, in a new epoch.
    let took = brokers.node(OURS).stop();
    eprintln!("stopped after {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    znodes.wait_for_state(TOPIC, 0, "nobody to lead", |s| s.leader == -1);
    brokers.node(OURS).start();
    znodes.wait_for_state(TOPIC, 0, "its leader again", |s| s.leader == OURS);
    for partition in 0..3 {
        send(&runtime, &writer, partition, 10);
        assert_eq!(read_all(&brokers.bootstrap(), TOPIC, partition).len(), 110);
    }

    // Killed and started again: the log is recovered, nothing acknowledged is gone.
    brokers.node(OURS).kill();
    brokers.node(OURS).start();
    send(&runtime, &writer, 0, 10);
    assert_eq!(read_all(&brokers.bootstrap(), TOPIC, 0).len(), 120);

    // The controller removes the topic's nodes only when every replica has answered.
    let gone = runtime.block_on(admin.delete_topics(&[TOPIC], &AdminOptions::new()));
    assert_eq!(gone.expect("an answer"), [Ok(TOPIC.to_owned())]);
    until("the topic to be gone from ZooKeeper", || {
        match znodes.children("/brokers/topics") {
            Ok(topics) if !topics.contains(&TOPIC.to_owned()) => Ok(()),
            other => Err(other),
        }
    });
    assert!(!folder.join("given-0").exists() && !folder.join("given-2").exists());
    // Its mark goes last; until then the name is taken.
    until("the mark to be gone", || {
        match znodes.children("/admin/delete_topics") {
            Ok(marked) if marked.is_empty() => Ok(()),
            other => Err(other),
        }
    });
    // The same name again is another topic, and ours leads it.
    let placed: [&[i32]; 1] = [&[OURS]];
    let topic = NewTopic::new(TOPIC, 1, TopicReplication::Variable(&placed))
        .set("min.insync.replicas", "1");
    let made = runtime.block_on(admin.create_topics([&topic], &AdminOptions::new()));
    assert_eq!(made.expect("an answer"), [Ok(TOPIC.to_owned())]);
    let fresh = producer(&brokers.bootstrap(), &[]);
    send(&runtime, &fresh, 0, 5);
    assert_eq!(read_all(&brokers.bootstrap(), TOPIC, 0).len(), 5);
}
