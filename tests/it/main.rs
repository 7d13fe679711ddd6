//! The one integration test binary: every behaviour that needs more than one file of code.

/// Administration by librdkafka and kcat.
mod admin;
/// Answers to administration, against a real Kafka.
mod admin_differential;
/// Faults by a schedule, on a cluster under load.
mod chaos;
/// The ZooKeeper session and what it promises.
#[macro_use]
mod session;
/// Brokers in a cluster, without their sockets.
mod cluster;
/// A disk that runs full, and one that is replaced by an empty one.
mod cluster_disks;
mod cluster_epochs;
/// One broker is lost or asked to go: who leads next, how soon, and what is kept.
mod cluster_failover;
/// Brokers that are cut off: from each other, from ZooKeeper, in one direction.
mod cluster_isolation;
/// What is written in ZooKeeper by hand.
mod cluster_nodes;
/// Brokers that stand still and wake up.
mod cluster_pauses;
/// Sessions that end, and a ZooKeeper that is gone.
mod cluster_sessions;
/// The controller's requests, said by hand.
mod control_requests;
/// `nyala dev` as a process.
mod dev;
/// Fencing tokens, and a holder of a lock that wakes too late.
mod fenced_writes;
/// Our follower behind a real leader.
mod follow_kafka;
/// 256 MB, filled to the brim.
mod full_disk;
/// The group APIs, answer by answer, against a real Kafka.
mod groups_differential;
/// `__consumer_offsets` as a file, and Kafka's group tools.
mod groups_files;
/// Hostile group requests, over the wire.
mod groups_hostile;
/// librdkafka in groups.
mod groups_members;
/// The checker of histories, checked.
mod history_checker;
/// Produce, Fetch and ListOffsets as no honest client sends them.
mod hostile_produce_fetch;
/// Hostile framing, headers, bodies and administration.
mod hostile_wire;
/// Kafka's tools for whole clusters: moves, elections, what is under-replicated.
mod kafka_cluster_tools;
/// Kafka's own tools against ours.
mod kafka_tools;
/// kill -9 under load.
mod kills;
/// Several listeners on each broker.
mod listeners;
/// Real Kafka brokers and ours in one cluster.
mod mixed;
/// Ours under a real Kafka as the controller.
mod mixed_control;
/// Our consumer in a group of brokers, beside librdkafka.
mod native_classic;
/// What a user types: topics, groups, lines in and out.
mod native_cli;
/// Our producer and consumer on clusters that lose brokers, ours and real ones.
mod native_cluster;
/// Groups that meet in ZooKeeper.
mod native_groups;
/// Our producer through failures, and next to other clients.
mod native_producer;
/// `nyala service`, `config`, `queue`, `fanout`, `barrier` and `zk`, alone and beside kazoo.
mod recipes_cli;
/// Elections and locks through the faults of a real ZooKeeper.
mod recipes_elections;
/// `nyala lock` and `nyala elect`, through the faults that end a hold.
mod recipes_held;
/// Recipes shared with kazoo's.
mod recipes_kazoo;
/// Every znode, typed.
mod registry;
/// Throttled replicas.
mod replication_throttle;
/// Log folders that Kafka and we open in turn.
mod storage_kafka_files;
/// The task queue: workers that are killed, paused and stopped.
mod task_queue;
/// Rules of style and layering, checked on the sources.
mod tidy;
/// What a ZooKeeper does, against the embedded server and a real one.
mod zookeeper_conformance;
/// The same random requests to the embedded ZooKeeper and to a real one.
mod zookeeper_differential;
/// What the embedded ZooKeeper has answered survives kills, restarts and torn files.
mod zookeeper_durability;
/// Clients that others wrote, against the embedded ZooKeeper.
mod zookeeper_foreign;
/// What nobody should send to the embedded ZooKeeper.
mod zookeeper_hostile;
