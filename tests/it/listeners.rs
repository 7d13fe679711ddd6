//! Several listeners: a client is told the addresses of the one that it came in through, brokers
//! meet on theirs.

use std::collections::BTreeMap;
use std::time::Duration;

use harness::brokers::{Brokers, Options};
use harness::ports::free_port;
use harness::rdkafka::config;
use nyala_client::config::{ClusterConfig, ConnectionConfig};
use nyala_client::connection::Connection;
use nyala_client::producer::Record;
use nyala_client::wire::messages::describe_cluster::DescribeClusterRequest;
use nyala_client::wire::messages::find_coordinator::FindCoordinatorRequest;
use nyala_client::wire::messages::metadata::MetadataRequest;
use nyala_client::{Cluster, Producer};
use nyala_coordinator::ids::TopicName;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::runtime::Runtime;

/// Three brokers with a listener for clients and one for themselves, by port.
struct Two {
    brokers: Brokers,
    inside: BTreeMap<i32, u16>,
    outside: BTreeMap<i32, u16>,
}

fn start() -> Two {
    let options = Options {
        settings: vec![
            "listener.security.protocol.map=OUTSIDE:PLAINTEXT,INSIDE:PLAINTEXT".to_owned(),
            "inter.broker.listener.name=INSIDE".to_owned(),
        ],
        ..Options::default()
    };
    let mut brokers = Brokers::prepare(&options);
    let (mut inside, mut outside) = (BTreeMap::new(), BTreeMap::new());
    for node in &mut brokers.nodes {
        let port = free_port();
        let listeners = format!("OUTSIDE://{},INSIDE://127.0.0.1:{port}", node.address);
        node.set("listeners", &listeners);
        inside.insert(node.id, port);
        let (_, own) = node.address.rsplit_once(':').expect("host:port");
        outside.insert(node.id, own.parse().expect("a port"));
        node.spawn();
    }
    for node in &mut brokers.nodes {
        node.wait_until_ready();
    }
    Two {
        brokers,
        inside,
        outside,
    }
}

/// Brokers and coordinator, by id and port, as a client at `port` is told of them.
async fn told(port: u16) -> BTreeMap<i32, u16> {
    let address = format!("127.0.0.1:{port}");
    let connection = Connection::connect(&address, ConnectionConfig::default()).await;
    let connection = connection.expect("it listens");
    let ports = |all: Vec<(i32, i32)>| -> BTreeMap<i32, u16> {
        let port = |(id, port): (i32, i32)| (id, u16::try_from(port).expect("a port"));
        all.into_iter().map(port).collect()
    };
    let metadata = connection.call(&MetadataRequest::default()).await;
    let brokers = metadata.expect("an answer").brokers.into_iter();
    let by_metadata = ports(brokers.map(|b| (b.node_id, b.port)).collect());
    let request = DescribeClusterRequest {
        endpoint_type: 1,
        ..DescribeClusterRequest::default()
    };
    let described = connection.call(&request).await.expect("an answer");
    let brokers = described.brokers.into_iter();
    let described = ports(brokers.map(|b| (b.broker_id, b.port)).collect());
    assert_eq!(described, by_metadata);
    let request = FindCoordinatorRequest {
        key: "group".to_owned(),
        ..FindCoordinatorRequest::default()
    };
    let found = harness::wait::until_async("a coordinator", || async {
        let found = connection.call_up_to(&request, 3).await.expect("an answer");
        match found.error_code {
            0 => Ok((found.node_id, found.port)),
            code => Err(code),
        }
    });
    let (id, port) = found.await;
    let expected = by_metadata.get(&id).map(|port| i32::from(*port));
    assert_eq!(Some(port), expected);
    by_metadata
}

#[test]
fn each_client_is_told_the_addresses_of_its_own_listener() {
    let two = start();
    let runtime = Runtime::new().expect("a runtime");
    two.brokers.create_topic("t", 3, 3, &[]);
    for port in two.outside.values() {
        assert_eq!(runtime.block_on(told(*port)), two.outside);
    }
    for port in two.inside.values() {
        assert_eq!(runtime.block_on(told(*port)), two.inside);
    }
    // librdkafka works with what it is told.
    let client: BaseConsumer = config(&two.brokers.bootstrap(), &[])
        .create()
        .expect("legal settings");
    let metadata = client.fetch_metadata(None, Duration::from_secs(10));
    let metadata = metadata.expect("an answer");
    let ports: Vec<i32> = metadata.brokers().iter().map(|b| b.port()).collect();
    assert!(
        ports
            .iter()
            .all(|p| two.outside.values().any(|o| i32::from(*o) == *p))
    );
    // So does our producer, whichever side it is on.
    for port in [two.outside[&0], two.inside[&0]] {
        runtime.block_on(async {
            let entry = [format!("127.0.0.1:{port}")];
            let cluster = Cluster::bootstrap(&entry, ClusterConfig::default()).await;
            let cluster = cluster.expect("a cluster");
            let producer = Producer::builder().build_in(cluster).expect("legal");
            let topic = TopicName::new("t").expect("legal");
            let ack = producer.send(Record::new(topic, "v")).await.expect("room");
            ack.await.expect("acknowledged by all replicas");
        });
    }
}
