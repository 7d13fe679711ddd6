//! Administration by librdkafka, and what kcat sees.

use std::time::Duration;

use harness::cluster::{Dev, kcat};
use harness::rdkafka::config;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;

const SOON: Duration = Duration::from_secs(60);

fn admin(dev: &Dev) -> AdminClient<DefaultClientContext> {
    let created = config(&dev.bootstrap(), &[]).create();
    created.expect("admin settings are legal")
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .operation_timeout(Some(SOON))
        .request_timeout(Some(SOON))
}

/// Partitions of the topic with the leader of each, as librdkafka sees them.
fn leaders(dev: &Dev, topic: &str) -> Vec<i32> {
    let consumer: BaseConsumer = config(&dev.bootstrap(), &[("allow.auto.create.topics", "false")])
        .create()
        .expect("consumer settings are legal");
    let metadata = consumer
        .fetch_metadata(Some(topic), SOON)
        .expect("metadata");
    let partitions = metadata.topics()[0].partitions().iter();
    partitions.map(|partition| partition.leader()).collect()
}

#[tokio::test]
async fn librdkafka_creates_grows_and_deletes_topics() {
    let dev = Dev::start();
    let admin = admin(&dev);
    let new = NewTopic::new("t", 2, TopicReplication::Fixed(1)).set("retention.ms", "60000");
    let made = admin
        .create_topics([&new], &options())
        .await
        .expect("an answer");
    assert_eq!(made, [Ok("t".to_owned())]);
    let again = admin
        .create_topics([&new], &options())
        .await
        .expect("an answer");
    let exists = RDKafkaErrorCode::TopicAlreadyExists;
    assert_eq!(again, [Err(("t".to_owned(), exists))]);
    assert_eq!(leaders(&dev, "t"), [0, 0]);

    let more = NewPartitions::new("t", 4);
    let grown = admin
        .create_partitions([&more], &options())
        .await
        .expect("an answer");
    assert_eq!(grown, [Ok("t".to_owned())]);
    assert_eq!(leaders(&dev, "t"), [0; 4]);

    let gone = admin
        .delete_topics(&["t", "u"], &options())
        .await
        .expect("an answer");
    let unknown = RDKafkaErrorCode::UnknownTopicOrPartition;
    assert_eq!(gone, [Ok("t".to_owned()), Err(("u".to_owned(), unknown))]);
}

#[tokio::test]
async fn librdkafka_describes_and_alters_settings() {
    let dev = Dev::start();
    let admin = admin(&dev);
    let new = NewTopic::new("t", 1, TopicReplication::Fixed(1));
    admin
        .create_topics([&new], &options())
        .await
        .expect("an answer");
    let topic = ResourceSpecifier::Topic("t");
    let change = AlterConfig::new(topic).set("retention.ms", "12345");
    let changed = admin
        .alter_configs([&change], &options())
        .await
        .expect("an answer");
    assert!(changed[0].is_ok(), "{changed:?}");
    // The crate does not hand on the refusal of one resource; that nothing has changed shows below.
    let wrong = AlterConfig::new(topic).set("retention.ms", "soon");
    admin
        .alter_configs([&wrong], &options())
        .await
        .expect("an answer");

    let asked = [topic, ResourceSpecifier::Broker(0)];
    let described = admin
        .describe_configs(&asked, &options())
        .await
        .expect("an answer");
    let topic = described[0].as_ref().expect("the topic");
    let retention = topic.get("retention.ms").expect("listed");
    assert_eq!(retention.value.as_deref(), Some("12345"));
    let broker = described[1].as_ref().expect("the broker");
    let partitions = broker.get("num.partitions").expect("listed");
    assert_eq!(partitions.value.as_deref(), Some("1"));
    assert!(partitions.is_read_only);
}

#[test]
fn kcat_lists_brokers_and_topics() {
    let dev = Dev::start();
    let bootstrap = dev.bootstrap();
    let listed = kcat(dev.folder(), &["-b", &bootstrap, "-L"]).expect_success("kcat -L");
    assert!(
        listed.contains(&format!("broker 0 at {bootstrap} (controller)")),
        "{listed}"
    );
    // Asking for a topic makes it, and its leader is in the very first answer.
    let listed = kcat(dev.folder(), &["-b", &bootstrap, "-L", "-t", "asked-for"]);
    let listed = listed.expect_success("kcat -L -t");
    assert!(
        listed.contains("topic \"asked-for\" with 1 partitions"),
        "{listed}"
    );
    assert!(
        listed.contains("partition 0, leader 0, replicas: 0, isrs: 0"),
        "{listed}"
    );
}
