//! What integration tests share: brokers as processes, ZooKeeper, real Kafka, foreign clients.
//!
//! Every test has its own folder and its own ports, waits on conditions
//! with a deadline and never sleeps for luck. What a test starts ends with the value that holds it.

pub mod brokers;
pub mod chaos;
pub mod cluster;
pub mod disk;
pub mod folder;
pub mod history;
pub mod java_load;
pub mod kafka;
pub mod load;
pub mod member;
pub mod native_load;
pub mod network;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod rdkafka;
pub mod scene;
pub mod seed;
pub mod wait;
pub mod wire;
pub mod znodes;
pub mod zookeeper;
pub mod zookeeper_wire;
