//! What integration tests share: brokers as processes, ZooKeeper, real Kafka, foreign clients.
