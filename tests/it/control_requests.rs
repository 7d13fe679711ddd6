//! The controller's requests, said by hand: what is applied, what is refused, and with which code.

use std::collections::BTreeMap;

use harness::brokers::Brokers;
use harness::cluster::Dev;
use harness::wait::until;
use harness::wire::Caller;
use harness::znodes::Znodes;
use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::allocate_producer_ids::AllocateProducerIdsRequest;
use nyala_client::wire::messages::fetch::{FetchPartition, FetchRequest, FetchTopic, ReplicaState};
use nyala_client::wire::messages::leader_and_isr::{
    LeaderAndIsrPartitionState, LeaderAndIsrRequest, LeaderAndIsrTopicState,
};
use nyala_client::wire::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use nyala_client::wire::messages::stop_replica::{
    StopReplicaPartitionState, StopReplicaRequest, StopReplicaTopicState,
};
use nyala_client::wire::messages::update_metadata::UpdateMetadataRequest;
use nyala_coordinator::ids::TopicId;

const TOPIC: &str = "told";

/// The epoch of a controller that outranks the broker's own.
const EPOCH: i32 = 50;

struct Controlled {
    dev: Dev,
    caller: Caller,
    topic_id: TopicId,
}

impl Controlled {
    fn start() -> Self {
        let dev = Dev::start();
        let made = harness::cluster::nyala(
            dev.folder(),
            &["topic", "create", TOPIC, "--bootstrap", &dev.bootstrap()],
        );
        assert!(made.status.success(), "{made:?}");
        let mut caller = Caller::connect(&dev.bootstrap(), "controller");
        let topic = MetadataRequestTopic {
            name: Some(TOPIC.to_owned()),
            ..MetadataRequestTopic::default()
        };
        let request = MetadataRequest {
            topics: Some(vec![topic]),
            ..MetadataRequest::default()
        };
        let topic_id = caller.call(12, &request).topics[0].topic_id;
        Self {
            dev,
            caller,
            topic_id,
        }
    }

    fn is_here(&self) -> bool {
        self.dev.log_folder(0).join(format!("{TOPIC}-0")).exists()
    }

    /// LeaderAndIsr about the topic; the code of the whole, or of its partition.
    fn lead(&mut self, change: impl FnOnce(&mut LeaderAndIsrRequest)) -> ErrorCode {
        let state = LeaderAndIsrPartitionState {
            controller_epoch: EPOCH,
            isr: vec![0],
            replicas: vec![0],
            ..LeaderAndIsrPartitionState::default()
        };
        let mut request = LeaderAndIsrRequest {
            controller_id: 9,
            controller_epoch: EPOCH,
            topic_states: vec![LeaderAndIsrTopicState {
                topic_name: TOPIC.to_owned(),
                topic_id: self.topic_id,
                partition_states: vec![state],
            }],
            ..LeaderAndIsrRequest::default()
        };
        change(&mut request);
        let asked = request.topic_states[0].topic_id;
        let answer = self.caller.call(7, &request);
        let of_partition: BTreeMap<TopicId, i16> = answer
            .topics
            .iter()
            .map(|t| (t.topic_id, t.partition_errors[0].error_code))
            .collect();
        ErrorCode::from_code(match answer.error_code {
            0 => of_partition[&asked],
            code => code,
        })
    }

    /// StopReplica of its partition; the code of the whole, or of the partition.
    fn stop(&mut self, leader_epoch: i32, delete_partition: bool) -> ErrorCode {
        let request = StopReplicaRequest {
            controller_id: 9,
            controller_epoch: EPOCH,
            topic_states: vec![StopReplicaTopicState {
                topic_name: TOPIC.to_owned(),
                partition_states: vec![StopReplicaPartitionState {
                    partition_index: 0,
                    leader_epoch,
                    delete_partition,
                }],
            }],
            ..StopReplicaRequest::default()
        };
        let answer = self.caller.call(4, &request);
        ErrorCode::from_code(match answer.error_code {
            0 => answer.partition_errors[0].error_code,
            code => code,
        })
    }

    /// The code that clients see for the partition's leader.
    fn answers_produce(&mut self) -> bool {
        let bootstrap = self.dev.bootstrap();
        let args = ["produce", TOPIC, "--bootstrap", &bootstrap, "--file"];
        let file = self.dev.folder().join("line");
        std::fs::write(&file, "x\n").expect("a file");
        let mut args: Vec<&str> = args.to_vec();
        let file = file.to_string_lossy();
        args.push(&file);
        harness::cluster::nyala(self.dev.folder(), &args)
            .status
            .success()
    }
}

fn state(request: &mut LeaderAndIsrRequest) -> &mut LeaderAndIsrPartitionState {
    &mut request.topic_states[0].partition_states[0]
}

#[test]
fn orders_are_applied_once_and_old_ones_are_refused() {
    let mut it = Controlled::start();
    assert_eq!(it.lead(|_| {}), ErrorCode::None, "the same again");
    assert_eq!(it.lead(|_| {}), ErrorCode::None);
    let later = |r: &mut LeaderAndIsrRequest| state(r).leader_epoch = 5;
    assert_eq!(it.lead(later), ErrorCode::None);
    assert_eq!(
        it.lead(|r| state(r).leader_epoch = 4),
        ErrorCode::StaleControllerEpoch,
        "an older leader epoch"
    );
    assert_eq!(
        it.lead(|r| r.controller_epoch = EPOCH - 1),
        ErrorCode::StaleControllerEpoch,
        "an older controller"
    );
    assert_eq!(
        it.lead(|r| r.broker_epoch = 1),
        ErrorCode::StaleBrokerEpoch,
        "an earlier incarnation"
    );
    let ahead = |r: &mut LeaderAndIsrRequest| {
        r.broker_epoch = i64::MAX;
        state(r).leader_epoch = 6;
    };
    assert_eq!(
        it.lead(ahead),
        ErrorCode::None,
        "a registration not seen yet"
    );
    assert_eq!(
        it.lead(|r| r.topic_states[0].topic_id = TopicId([7; 16])),
        ErrorCode::InconsistentTopicId
    );
    let elsewhere = |r: &mut LeaderAndIsrRequest| {
        state(r).leader_epoch = 7;
        state(r).replicas = vec![1, 2];
    };
    assert_eq!(it.lead(elsewhere), ErrorCode::UnknownTopicOrPartition);
    assert_eq!(
        it.lead(|r| {
            r.topic_states[0].topic_name = "../x".to_owned();
        }),
        ErrorCode::InvalidTopicException
    );
    assert!(it.answers_produce());
}

#[test]
fn a_replica_goes_when_it_is_stopped_with_its_data() {
    let mut it = Controlled::start();
    let later = |r: &mut LeaderAndIsrRequest| state(r).leader_epoch = 5;
    assert_eq!(it.lead(later), ErrorCode::None);
    assert_eq!(it.stop(4, true), ErrorCode::FencedLeaderEpoch);
    assert!(it.is_here(), "a later epoch is served");
    assert_eq!(it.stop(5, false), ErrorCode::None);
    assert!(it.is_here(), "its data stays");
    assert_eq!(it.stop(-2, true), ErrorCode::None);
    assert!(!it.is_here());
    assert_eq!(it.stop(-2, true), ErrorCode::None, "nothing left to do");
    // What ZooKeeper still says does not bring it back; the controller's word does.
    let restarted = until("the order to be applied", || {
        match it.lead(|r| state(r).leader_epoch = 9) {
            ErrorCode::None => Ok(true),
            code => Err(code),
        }
    });
    assert!(restarted && it.is_here());
}

#[test]
fn metadata_is_taken_from_the_current_controller_only() {
    let mut it = Controlled::start();
    let mut tell = |controller_epoch: i32, broker_epoch: i64| {
        let request = UpdateMetadataRequest {
            controller_id: 9,
            controller_epoch,
            broker_epoch,
            ..UpdateMetadataRequest::default()
        };
        ErrorCode::from_code(it.caller.call(8, &request).error_code)
    };
    assert_eq!(tell(EPOCH, -1), ErrorCode::None);
    assert_eq!(tell(EPOCH - 1, -1), ErrorCode::StaleControllerEpoch);
    assert_eq!(tell(EPOCH, 1), ErrorCode::StaleBrokerEpoch);
}

#[test]
fn the_controller_gives_blocks_of_producer_ids_to_registered_brokers() {
    let mut it = Controlled::start();
    let mut znodes = Znodes::new(it.dev.zookeeper());
    let (_, registration) = znodes.get("/brokers/ids/0").expect("read").expect("is one");
    let epoch = registration.czxid;
    let mut allocate = |broker_id: i32, broker_epoch: i64| {
        let request = AllocateProducerIdsRequest {
            broker_id,
            broker_epoch,
        };
        it.caller.call(0, &request)
    };
    let first = allocate(0, epoch);
    assert_eq!((first.error_code, first.producer_id_len), (0, 1000));
    let second = allocate(0, epoch);
    assert_eq!(
        second.producer_id_start,
        first.producer_id_start + i64::from(first.producer_id_len)
    );
    let mut refused = |broker, epoch| ErrorCode::from_code(allocate(broker, epoch).error_code);
    assert_eq!(refused(0, epoch - 1), ErrorCode::StaleBrokerEpoch);
    assert_eq!(refused(7, epoch), ErrorCode::BrokerIdNotRegistered);
}

/// A fetch in a follower's name, with an epoch of its broker that is yet to come.
#[test]
fn a_made_up_broker_epoch_keeps_no_follower_out() {
    let mut brokers = Brokers::three(&[]);
    brokers.create_topic("t", 1, 3, &[]);
    let mut znodes = brokers.znodes();
    znodes.wait_for_full_isr("t");
    let state = znodes.state("t", 0).expect("a state");
    let follower = state.isr.iter().find(|id| **id != state.leader);
    let follower = *follower.expect("two of them");
    let mut caller = Caller::connect(&brokers.node(state.leader).address, "a stranger");
    let topic = MetadataRequestTopic {
        name: Some("t".to_owned()),
        ..MetadataRequestTopic::default()
    };
    let request = MetadataRequest {
        topics: Some(vec![topic]),
        ..MetadataRequest::default()
    };
    let topic_id = caller.call(12, &request).topics[0].topic_id;
    let mut fetch = |replica_epoch| {
        let request = FetchRequest {
            replica_state: ReplicaState {
                replica_id: follower,
                replica_epoch,
            },
            max_bytes: 1,
            session_epoch: -1,
            topics: vec![FetchTopic {
                topic_id,
                partitions: vec![FetchPartition::default()],
                ..FetchTopic::default()
            }],
            ..FetchRequest::default()
        };
        let answer = caller.call(15, &request);
        ErrorCode::from(answer.responses[0].partitions[0].error_code)
    };
    let registered = znodes.get(&format!("/brokers/ids/{follower}"));
    let registered = registered.expect("read").expect("it lives").1.czxid;
    assert_eq!(fetch(i64::MAX), ErrorCode::None);
    assert_eq!(fetch(registered), ErrorCode::None);
    // Its last life, however, is over.
    assert_eq!(fetch(registered - 1), ErrorCode::NotLeaderOrFollower);
}
