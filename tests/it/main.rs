//! The one integration test binary: every behaviour that needs more than one file of code.

/// Administration by librdkafka and kcat.
mod admin;
/// Answers to administration, against a real Kafka.
mod admin_differential;
/// The ZooKeeper session and what it promises.
#[macro_use]
mod session;
/// Brokers in a cluster, without their sockets.
mod cluster;
/// `nyala dev` as a process.
mod dev;
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
/// Produce, Fetch and ListOffsets as no honest client sends them.
mod hostile_produce_fetch;
/// Hostile framing, headers, bodies and administration.
mod hostile_wire;
/// Kafka's own tools against ours.
mod kafka_tools;
/// kill -9 under load.
mod kills;
/// Our consumer in a group of brokers, beside librdkafka.
mod native_classic;
/// What a user types: topics, groups, lines in and out.
mod native_cli;
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
/// Log folders that Kafka and we open in turn.
mod storage_kafka_files;
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
