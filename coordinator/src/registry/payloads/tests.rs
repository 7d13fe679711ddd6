//! Payloads against what a real Kafka 3.9.1 wrote, older versions, and garbage.

use super::*;

fn same_json(ours: &[u8], kafkas: &str) {
    let ours: serde_json::Value = serde_json::from_slice(ours).expect("ours is JSON");
    let kafkas: serde_json::Value = serde_json::from_str(kafkas).expect("Kafka's is JSON");
    assert_eq!(ours, kafkas);
}

#[test]
fn broker_registration_is_kafkas() {
    let real = r#"{"features":{},"listener_security_protocol_map":{"PLAINTEXT":"PLAINTEXT"},"endpoints":["PLAINTEXT://127.0.0.1:29197"],"rack":"rack-1","jmx_port":-1,"port":29197,"host":"127.0.0.1","version":5,"timestamp":"1795233090196"}"#;
    let broker = BrokerRegistration::decode(real.as_bytes()).expect("Kafka wrote it");
    assert_eq!(broker.rack.as_deref(), Some("rack-1"));
    assert_eq!(broker.endpoints[0].port, 29197);
    assert_eq!(String::from_utf8_lossy(&broker.encode()), real);
}

#[test]
fn broker_registration_without_a_plaintext_listener() {
    let broker = BrokerRegistration {
        endpoints: vec![Endpoint {
            listener_name: "EXTERNAL".to_owned(),
            security_protocol: "SASL_SSL".to_owned(),
            host: "::1".to_owned(),
            port: 9093,
        }],
        rack: None,
        timestamp_ms: 5,
    };
    same_json(
        &broker.encode(),
        r#"{"features":{},"listener_security_protocol_map":{"EXTERNAL":"SASL_SSL"},"endpoints":["EXTERNAL://[::1]:9093"],"jmx_port":-1,"port":-1,"host":null,"version":5,"timestamp":"5"}"#,
    );
    assert_eq!(BrokerRegistration::decode(&broker.encode()), Ok(broker));
}

#[test]
fn old_broker_registrations() {
    let v1 = br#"{"version":1,"host":"h","port":9092,"jmx_port":9999,"timestamp":"2233345666"}"#;
    let v2 = br#"{"version":2,"host":"h","port":9092,"jmx_port":9999,"timestamp":"1","endpoints":["PLAINTEXT://h:9092","SSL://h:9093"]}"#;
    let v9 = br#"{"version":9,"new":[1],"endpoints":["C://h:1"],"listener_security_protocol_map":{"C":"SSL"}}"#;
    assert_eq!(
        BrokerRegistration::decode(v1).expect("v1").endpoints.len(),
        1
    );
    assert_eq!(
        BrokerRegistration::decode(v2).expect("v2").endpoints[1].security_protocol,
        "SSL"
    );
    assert_eq!(
        BrokerRegistration::decode(v9).expect("later").endpoints[0].listener_name,
        "C"
    );
}

#[test]
fn topic_is_kafkas() {
    let real = r#"{"partitions":{"0":[7],"1":[7],"2":[7],"3":[7]},"topic_id":"dWjXpO0VR0iDCuct8eVzzA","adding_replicas":{},"removing_replicas":{},"version":3}"#;
    let topic = TopicAssignment::decode(real.as_bytes()).expect("Kafka wrote it");
    assert_eq!(topic.replicas.len(), 4);
    assert_eq!(String::from_utf8_lossy(&topic.encode()), real);
    let v1 = TopicAssignment::decode(br#"{"version":1,"partitions":{"0":[1,2]}}"#).expect("v1");
    assert_eq!(v1.id, None);
    assert_eq!(v1.replicas[&PartitionIndex(0)], [BrokerId(1), BrokerId(2)]);
}

#[test]
fn state_is_kafkas() {
    let real = r#"{"controller_epoch":1,"leader":7,"version":1,"leader_epoch":0,"isr":[7]}"#;
    let state = PartitionState::decode(real.as_bytes()).expect("Kafka wrote it");
    assert_eq!(String::from_utf8_lossy(&state.encode()), real);
    let none = PartitionState {
        leader: None,
        ..state
    };
    same_json(
        &none.encode(),
        r#"{"controller_epoch":1,"leader":-1,"version":1,"leader_epoch":0,"isr":[7]}"#,
    );
    assert_eq!(PartitionState::decode(&none.encode()), Ok(none));
}

#[test]
fn the_small_nodes_are_kafkas() {
    assert_eq!(
        String::from_utf8_lossy(&encode_controller(BrokerId(7), 1_795_233_090_266)),
        r#"{"version":2,"brokerid":7,"timestamp":"1795233090266","kraftControllerEpoch":-1}"#
    );
    assert_eq!(
        decode_controller(br#"{"version":1,"brokerid":3}"#),
        Ok(BrokerId(3))
    );
    assert_eq!(
        String::from_utf8_lossy(&encode_cluster_id("LEyPwjzkSgCdmM6UVBmoRQ")),
        r#"{"version":"1","id":"LEyPwjzkSgCdmM6UVBmoRQ"}"#
    );
    let real = r#"{"version":1,"broker":7,"block_start":"0","block_end":"999"}"#;
    let block = ProducerIdBlock::decode(real.as_bytes()).expect("Kafka wrote it");
    assert_eq!((block.first, block.last), (0, 999));
    assert_eq!(String::from_utf8_lossy(&block.encode()), real);
    assert_eq!(
        String::from_utf8_lossy(&encode_config_change("brokers/<default>")),
        r#"{"version":2,"entity_path":"brokers/<default>"}"#
    );
    assert_eq!(
        decode_config_change(br#"{"version":1,"entity_type":"topics","entity_name":"t"}"#),
        Ok("topics/t".to_owned())
    );
    let config = decode_config(br#"{"version":1,"config":{"retention.bytes":"123"}}"#);
    let config = config.expect("Kafka wrote it");
    assert_eq!(config["retention.bytes"], "123");
    assert_eq!(decode_config(&encode_config(&config)), Ok(config));
    assert_eq!(decode_config(b""), Ok(BTreeMap::new()));
}

#[test]
fn garbage_is_an_error() {
    let texts: &[&[u8]] = &[
        b"",
        b"null",
        b"{}",
        b"[]",
        b"1",
        b"\xff\xfe",
        b"{\"version\":99999999999999999999}",
        b"{\"version\":5,\"endpoints\":[]}",
        b"{\"version\":5,\"endpoints\":[\"X://h:1\"]}",
        b"{\"version\":2,\"endpoints\":[\"PLAINTEXT://h:99999\"]}",
        b"{\"version\":2,\"endpoints\":[\"PLAINTEXT:h\"]}",
        b"{\"partitions\":{\"x\":[1]},\"version\":3}",
        b"{\"partitions\":{\"-1\":[1]},\"version\":3}",
        b"{\"partitions\":{\"0\":[-5]},\"version\":3}",
        b"{\"partitions\":{\"0\":[1]},\"topic_id\":\"no\",\"version\":3}",
        b"{\"controller_epoch\":1,\"leader\":7,\"version\":1,\"leader_epoch\":-1,\"isr\":[7]}",
        b"{\"broker\":1,\"block_start\":\"5\",\"block_end\":\"1\"}",
        b"{\"broker\":1,\"block_start\":\"x\",\"block_end\":\"1\"}",
        b"{\"broker\":1,\"block_start\":\"-1\",\"block_end\":\"9223372036854775808\"}",
    ];
    for text in texts {
        let shown = String::from_utf8_lossy(text);
        assert!(BrokerRegistration::decode(text).is_err(), "{shown}");
        assert!(TopicAssignment::decode(text).is_err(), "{shown}");
        assert!(PartitionState::decode(text).is_err(), "{shown}");
        assert!(ProducerIdBlock::decode(text).is_err(), "{shown}");
        assert!(decode_controller(text).is_err(), "{shown}");
        assert!(decode_cluster_id(text).is_err(), "{shown}");
        assert!(decode_config_change(text).is_err(), "{shown}");
        assert!(decode_group_member(text).is_err(), "{shown}");
        if *text != b"1" {
            assert!(decode_controller_epoch(text).is_err(), "{shown}");
            assert!(decode_group_offset(text).is_err(), "{shown}");
        }
        if !text.is_empty() {
            assert!(decode_config(text).is_err(), "{shown}");
        }
    }
    let deep = "[".repeat(100_000);
    assert!(decode_config(deep.as_bytes()).is_err());
}
