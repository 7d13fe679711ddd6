//! The produce guard: who held a lock, slept through the end of the session and wakes, writes no more.

use std::process::Command;

use harness::cluster::{Dev, nyala_binary};
use harness::process::run;
use harness::proxy::Proxy;
use harness::rdkafka::{config, producer, read_all};
use harness::wait::SOON;
use nyala_coordinator::recipes::{Fence, Lock};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::session::connect;

const TOPIC: &str = "ledger";
const LOCK: &str = "/locks/ledger";

async fn write(
    producer: &FutureProducer,
    value: &str,
    fence: Option<Fence>,
) -> Result<(), KafkaError> {
    let mut record = FutureRecord::<str, str>::to(TOPIC)
        .partition(0)
        .payload(value);
    if let Some(fence) = fence {
        let value = format!("{LOCK}:{fence}");
        record = record.headers(OwnedHeaders::new().insert(Header {
            key: "x-fence",
            value: Some(&value),
        }));
    }
    let sent = producer.send(record, SOON).await;
    sent.map(|_| ()).map_err(|(error, _)| error)
}

async fn is_fenced(bootstrap: &str, fence: Fence) {
    // A producer of its own, as the holder that wakes has one; without and with idempotence.
    for idempotence in ["false", "true"] {
        let producer = producer(bootstrap, &[("enable.idempotence", idempotence)]);
        let refused = write(&producer, "stale", Some(fence)).await;
        let expected = KafkaError::MessageProduction(RDKafkaErrorCode::InvalidRecord);
        assert_eq!(refused, Err(expected), "idempotence: {idempotence}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_wakes_too_late_writes_nothing_also_after_a_kill() {
    let mut dev = Dev::start();
    let admin: AdminClient<DefaultClientContext> = config(&dev.bootstrap(), &[])
        .create()
        .expect("admin settings are legal");
    let new = NewTopic::new(TOPIC, 1, TopicReplication::Fixed(1)).set("fence.enable", "true");
    let made = admin.create_topics([&new], &AdminOptions::new()).await;
    assert_eq!(made.expect("an answer"), [Ok(TOPIC.to_owned())]);

    // The first holder loses its ZooKeeper, and with it the session; the second takes over.
    let proxy = Proxy::start(dev.zookeeper()).await;
    let sleepy = connect(&proxy.address).await;
    let first = Lock::new(&sleepy, LOCK).expect("a legal path");
    let first = first.acquire().await.expect("nobody holds it");
    let early = producer(&dev.bootstrap(), &[]);
    write(&early, "first", Some(first.fence()))
        .await
        .expect("it holds the lock");
    proxy.cut();
    let awake = connect(dev.zookeeper()).await;
    let second = Lock::new(&awake, LOCK).expect("a legal path");
    let second = second.acquire_within(SOON).await.expect("the session ends");
    assert!(second.fence() > first.fence());
    let late = producer(&dev.bootstrap(), &[]);
    write(&late, "second", Some(second.fence()))
        .await
        .expect("it holds the lock");
    proxy.heal();
    is_fenced(&dev.bootstrap(), first.fence()).await;

    dev.kill();
    dev.restart();
    is_fenced(&dev.bootstrap(), first.fence()).await;
    let again = producer(&dev.bootstrap(), &[]);
    write(&again, "third", Some(second.fence()))
        .await
        .expect("the newest token");
    write(&again, "free", None)
        .await
        .expect("records without a token are not guarded");

    let bootstrap = dev.bootstrap();
    let read = tokio::task::spawn_blocking(move || read_all(&bootstrap, TOPIC, 0)).await;
    let values: Vec<_> = read.expect("read").into_iter().map(|(_, v)| v).collect();
    assert_eq!(values, [&b"first"[..], b"second", b"third", b"free"]);
}

#[test]
fn a_script_that_held_the_lock_too_long_ago_produces_nothing() {
    let dev = Dev::start();
    let (bootstrap, zookeeper) = (dev.bootstrap(), dev.zookeeper());
    let script = |script: &str| {
        let mut sh = Command::new("sh");
        let sh = sh.current_dir(dev.folder()).args(["-c", script]);
        sh.env("NYALA", nyala_binary());
        run("script", dev.folder(), sh, SOON)
    };
    let produce = format!(
        "$NYALA produce {TOPIC} --bootstrap {bootstrap} --header by=script --header x-fence={LOCK}:"
    );
    let create =
        format!("$NYALA topic create {TOPIC} --bootstrap {bootstrap} --config fence.enable=true");
    script(&create).expect_success("create");
    for holder in ["first", "second"] {
        let hold = format!(
            "$NYALA lock {LOCK} --zookeeper {zookeeper} -- \
             sh -c 'echo $NYALA_FENCE > {holder}; echo {holder} | {produce}$NYALA_FENCE'"
        );
        let ended = script(&hold);
        assert!(
            ended.stderr.contains("produced 1 record,"),
            "{}",
            ended.stderr
        );
        ended.expect_success(holder);
    }
    let late = script(&format!("echo late | {produce}$(cat first)"));
    assert_eq!(late.status.code(), Some(1), "{}", late.stderr);
    assert!(late.stderr.contains("line 1: "), "{}", late.stderr);
    script(&format!("echo again | {produce}$(cat second)")).expect_success("the last holder");
    let read = format!(
        "$NYALA consume {TOPIC} --bootstrap {bootstrap} --from-beginning --max-messages 3 --json"
    );
    let read = script(&read).expect_success("consume");
    let object = |line: &str| -> serde_json::Value { serde_json::from_str(line).expect("JSON") };
    let read: Vec<serde_json::Value> = read.lines().map(object).collect();
    let values: Vec<&str> = read.iter().filter_map(|r| r["value"].as_str()).collect();
    assert_eq!(values, ["first", "second", "again"]);
    assert_eq!(read[0]["headers"][0], serde_json::json!(["by", "script"]));
}
