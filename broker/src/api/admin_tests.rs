//! The administrative handlers against a real cluster of one: what one changes, the others show.

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::alter_configs::{
    self, AlterConfigsRequest, AlterConfigsResource,
};
use nyala_client::wire::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsTopic,
};
use nyala_client::wire::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use nyala_client::wire::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use nyala_client::wire::messages::describe_cluster::DescribeClusterRequest;
use nyala_client::wire::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use nyala_client::wire::messages::describe_log_dirs::DescribeLogDirsRequest;
use nyala_client::wire::messages::find_coordinator::FindCoordinatorRequest;
use nyala_client::wire::messages::incremental_alter_configs::{
    self as incremental, IncrementalAlterConfigsRequest,
};
use nyala_client::wire::messages::init_producer_id::InitProducerIdRequest;
use nyala_client::wire::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse,
};
use nyala_coordinator::ids::TopicId;

use super::testing::Alone;

const WAIT_MS: i32 = 20_000;

async fn metadata(alone: &Alone, names: Option<&[&str]>, create: bool) -> MetadataResponse {
    let topic = |name: &&str| MetadataRequestTopic {
        name: Some((*name).to_owned()),
        ..MetadataRequestTopic::default()
    };
    let request = MetadataRequest {
        topics: names.map(|names| names.iter().map(topic).collect()),
        allow_auto_topic_creation: create,
        include_topic_authorized_operations: true,
        ..MetadataRequest::default()
    };
    super::metadata::handle(&alone.context::<MetadataRequest>(12), request).await
}

async fn create(alone: &Alone, topics: Vec<CreatableTopic>, only: bool) -> CreateTopicsResponse {
    let request = CreateTopicsRequest {
        topics,
        timeout_ms: WAIT_MS,
        validate_only: only,
    };
    super::create_topics::handle(&alone.context::<CreateTopicsRequest>(7), request).await
}

fn topic(name: &str, partitions: i32) -> CreatableTopic {
    CreatableTopic {
        name: name.to_owned(),
        num_partitions: partitions,
        replication_factor: 1,
        ..CreatableTopic::default()
    }
}

#[tokio::test]
async fn topics_come_and_go() {
    let alone = Alone::start("").await;
    let mut wanted = topic("a", 3);
    wanted.configs.push(CreatableTopicConfig {
        name: "retention.ms".to_owned(),
        value: Some("5000".to_owned()),
    });
    let checked = create(&alone, vec![wanted.clone()], true).await;
    assert_eq!(
        (
            checked.topics[0].error_code,
            checked.topics[0].num_partitions
        ),
        (0, 3)
    );
    assert!(metadata(&alone, None, false).await.topics.is_empty());

    let made = create(
        &alone,
        vec![wanted.clone(), topic("b", 1), topic("b", 1)],
        false,
    )
    .await;
    let codes: Vec<_> = made
        .topics
        .iter()
        .map(|t| (t.name.as_str(), t.error_code))
        .collect();
    assert_eq!(codes, [("a", 0), ("b", 42), ("b", 42)]);
    let configs = made.topics[0].configs.as_ref().expect("shown");
    let retention = configs
        .iter()
        .find(|c| c.name == "retention.ms")
        .expect("listed");
    assert_eq!(
        (retention.value.as_deref(), retention.config_source),
        (Some("5000"), 1)
    );
    assert_eq!(
        create(&alone, vec![wanted], false).await.topics[0].error_code,
        36
    );

    let seen = metadata(&alone, Some(&["a"]), false).await;
    assert_eq!(
        (seen.brokers[0].host.as_str(), seen.brokers[0].port),
        ("127.0.0.1", i32::from(alone.address.port()))
    );
    assert_eq!(seen.topics[0].topic_id, made.topics[0].topic_id);
    assert_eq!(seen.topics[0].topic_authorized_operations, 0x0df8);
    let leaders: Vec<_> = seen.topics[0]
        .partitions
        .iter()
        .map(|p| p.leader_id)
        .collect();
    assert_eq!(leaders, [0, 0, 0]);

    let cx = alone.context::<CreatePartitionsRequest>(3);
    let more = |count| CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic {
            name: "a".to_owned(),
            count,
            assignments: None,
        }],
        timeout_ms: WAIT_MS,
        validate_only: false,
    };
    let grown = super::create_partitions::handle(&cx, more(5)).await;
    assert_eq!(grown.results[0].error_code, 0, "{grown:?}");
    let again = super::create_partitions::handle(&cx, more(5)).await;
    assert_eq!(again.results[0].error_code, 37);
    let seen = metadata(&alone, Some(&["a"]), false).await;
    assert_eq!(seen.topics[0].partitions.len(), 5);

    let cx = alone.context::<DeleteTopicsRequest>(6);
    let by_id = DeleteTopicsRequest {
        topics: [made.topics[0].topic_id, TopicId([7; 16])]
            .map(|topic_id| DeleteTopicState {
                name: None,
                topic_id,
            })
            .into(),
        timeout_ms: WAIT_MS,
        ..DeleteTopicsRequest::default()
    };
    let deleted = super::delete_topics::handle(&cx, by_id).await;
    let codes: Vec<_> = deleted.responses.iter().map(|r| r.error_code).collect();
    assert_eq!(codes, [0, 100], "{deleted:?}");
    assert_eq!(
        metadata(&alone, Some(&["a"]), false).await.topics[0].error_code,
        3
    );
    alone.stop().await;
}

#[tokio::test]
async fn asking_for_a_topic_makes_it_and_shows_its_leader_at_once() {
    let alone = Alone::start("num.partitions=2").await;
    let seen = metadata(&alone, Some(&["new", "not/one"]), true).await;
    let codes: Vec<_> = seen.topics.iter().map(|t| t.error_code).collect();
    assert_eq!(codes, [0, 17]);
    let leaders: Vec<_> = seen.topics[0]
        .partitions
        .iter()
        .map(|p| p.leader_id)
        .collect();
    assert_eq!(leaders, [0, 0]);
    let unknown = metadata(&alone, Some(&["other"]), false).await;
    assert_eq!(unknown.topics[0].error_code, 3);
    alone.stop().await;

    let alone = Alone::start("auto.create.topics.enable=false").await;
    let seen = metadata(&alone, Some(&["new"]), true).await;
    assert_eq!(seen.topics[0].error_code, 3);
    alone.stop().await;
}

async fn described(alone: &Alone, kind: i8, name: &str, key: &str) -> (i16, Option<(String, i8)>) {
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: kind,
            resource_name: name.to_owned(),
            configuration_keys: Some(vec![key.to_owned()]),
        }],
        include_synonyms: true,
        include_documentation: true,
    };
    let cx = alone.context::<DescribeConfigsRequest>(4);
    let mut answer = super::describe_configs::handle(&cx, request).await;
    let result = answer.results.remove(0);
    let config = result.configs.into_iter().next();
    let value = config.and_then(|c| Some((c.value?, c.config_source)));
    (result.error_code, value)
}

async fn incremental(alone: &Alone, name: &str, key: &str, op: i8, value: Option<&str>) -> i16 {
    let request = IncrementalAlterConfigsRequest {
        resources: vec![incremental::AlterConfigsResource {
            resource_type: 2,
            resource_name: name.to_owned(),
            configs: vec![incremental::AlterableConfig {
                name: key.to_owned(),
                config_operation: op,
                value: value.map(str::to_owned),
            }],
        }],
        validate_only: false,
    };
    let cx = alone.context::<IncrementalAlterConfigsRequest>(1);
    let answer = super::incremental_alter_configs::handle(&cx, request).await;
    answer.responses[0].error_code
}

#[tokio::test]
async fn what_cannot_be_read_is_told_so_until_it_is_mended() {
    let alone = Alone::start("").await;
    create(&alone, vec![topic("t", 1)], false).await;
    let change = || incremental(&alone, "t", "cleanup.policy", 2, Some("compact"));
    let write = async |path: &str, data: &[u8]| {
        let set = alone.session.set(path, data, None).await;
        set.map(drop).expect("written");
    };
    write("/config/topics/t", b"{garbage").await;
    // Not a matter of time.
    assert_eq!(change().await, ErrorCode::UnknownServerError.code());
    write("/config/topics/t", br#"{"version":1,"config":{}}"#).await;
    assert_eq!(change().await, 0);

    let id = async || {
        let cx = alone.context::<InitProducerIdRequest>(4);
        let asked = InitProducerIdRequest {
            producer_id: -1,
            producer_epoch: -1,
            ..InitProducerIdRequest::default()
        };
        let answer = super::init_producer_id::handle(&cx, asked).await;
        (answer.error_code, answer.producer_id)
    };
    let path = "/latest_producer_id_block";
    write(path, b"{garbage").await;
    let asks_again = ErrorCode::CoordinatorLoadInProgress.code();
    assert_eq!(id().await, (asks_again, -1));
    let block = br#"{"version":1,"broker":0,"block_start":"0","block_end":"999"}"#;
    write(path, block).await;
    assert_eq!(id().await, (0, 1000));
    alone.stop().await;
}

#[tokio::test]
async fn overrides_are_set_shown_and_taken_back() {
    let alone = Alone::start("").await;
    create(&alone, vec![topic("t", 1)], false).await;
    let shown = |value: &str, source| (0, Some((value.to_owned(), source)));
    assert_eq!(
        described(&alone, 2, "t", "cleanup.policy").await,
        shown("delete", 5)
    );
    assert_eq!(
        incremental(&alone, "t", "cleanup.policy", 2, Some("compact")).await,
        0
    );
    let both = described(&alone, 2, "t", "cleanup.policy")
        .await
        .1
        .expect("set");
    assert!(
        both.0.contains("compact") && both.0.contains("delete"),
        "{both:?}"
    );
    assert_eq!(incremental(&alone, "t", "cleanup.policy", 1, None).await, 0);
    assert_eq!(
        described(&alone, 2, "t", "cleanup.policy").await,
        shown("delete", 5)
    );
    assert_eq!(
        incremental(&alone, "t", "no.such.key", 0, Some("1")).await,
        40
    );
    assert_eq!(
        incremental(&alone, "t", "retention.ms", 0, Some("soon")).await,
        40
    );
    assert_eq!(incremental(&alone, "t", "retention.ms", 0, None).await, 42);
    assert_eq!(
        incremental(&alone, "t", "retention.ms", 9, Some("1")).await,
        42
    );
    assert_eq!(
        incremental(&alone, "u", "retention.ms", 0, Some("1")).await,
        3
    );

    let replace = AlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: 2,
            resource_name: "t".to_owned(),
            configs: vec![alter_configs::AlterableConfig {
                name: "retention.ms".to_owned(),
                value: Some("77".to_owned()),
            }],
        }],
        validate_only: false,
    };
    let cx = alone.context::<AlterConfigsRequest>(2);
    let answer = super::alter_configs::handle(&cx, replace).await;
    assert_eq!(answer.responses[0].error_code, 0, "{answer:?}");
    assert_eq!(
        described(&alone, 2, "t", "retention.ms").await,
        shown("77", 1)
    );
    assert_eq!(
        described(&alone, 4, "0", "num.partitions").await,
        shown("1", 5)
    );
    assert_eq!(described(&alone, 4, "5", "num.partitions").await.0, 42);
    assert_eq!(described(&alone, 2, "u", "retention.ms").await.0, 3);
    assert_eq!(described(&alone, 2, "not/one", "retention.ms").await.0, 17);
    alone.stop().await;
}

#[tokio::test]
async fn cluster_and_folders_are_shown() {
    let alone = Alone::start("").await;
    create(&alone, vec![topic("t", 2)], false).await;
    let cx = alone.context::<DescribeClusterRequest>(1);
    let ask = |endpoint_type| DescribeClusterRequest {
        include_cluster_authorized_operations: false,
        endpoint_type,
    };
    let cluster = super::describe_cluster::handle(&cx, ask(1)).await;
    assert_eq!((cluster.error_code, cluster.brokers.len()), (0, 1));
    assert_eq!(cluster.cluster_id, alone.services.cluster.cluster_id());
    assert_eq!(cluster.controller_id, 0);
    assert_eq!(
        super::describe_cluster::handle(&cx, ask(2))
            .await
            .error_code,
        114
    );
    assert_eq!(
        super::describe_cluster::handle(&cx, ask(3))
            .await
            .error_code,
        115
    );

    let cx = alone.context::<DescribeLogDirsRequest>(4);
    let dirs = super::describe_log_dirs::handle(&cx, DescribeLogDirsRequest { topics: None }).await;
    let [dir] = &dirs.results[..] else {
        panic!("{dirs:?}");
    };
    assert_eq!(dir.error_code, 0);
    assert!(dir.total_bytes > 0 && dir.usable_bytes > 0);
    let partitions: Vec<_> = dir.topics[0]
        .partitions
        .iter()
        .map(|p| p.partition_index)
        .collect();
    assert_eq!(
        (dir.topics[0].name.as_str(), &partitions[..]),
        ("t", &[0, 1][..])
    );
    alone.stop().await;
}

#[tokio::test]
async fn transactional_producers_are_told_to_give_up_in_words_of_their_client() {
    let alone = Alone::start("").await;
    let asked = |version: i16| {
        let context = alone.context::<FindCoordinatorRequest>(version);
        let request = FindCoordinatorRequest {
            key: "tx".to_owned(),
            key_type: 1,
            coordinator_keys: vec!["tx".to_owned()],
        };
        async move { super::find_coordinator::handle(&context, request).await }
    };
    let old = asked(2).await;
    assert_eq!(
        ErrorCode::from(old.error_code),
        ErrorCode::TransactionalIdAuthorizationFailed
    );
    assert!(
        old.error_message
            .is_some_and(|text| text.contains("no transactions"))
    );
    let new = asked(4).await.coordinators.remove(0);
    assert_eq!(
        ErrorCode::from(new.error_code),
        ErrorCode::UnsupportedVersion
    );
    assert!(
        new.error_message
            .is_some_and(|text| text.contains("no transactions"))
    );
    alone.stop().await;
}
