//! Bytes as Kafka writes them, by hand; damage.

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn offset() -> OffsetRecord {
    OffsetRecord {
        offset: 42,
        leader_epoch: 5,
        metadata: "m".into(),
        commit_ms: 1000,
        expire_ms: -1,
    }
}

fn group() -> GroupRecord {
    GroupRecord {
        protocol_type: "consumer".into(),
        generation: 3,
        protocol: Some("range".into()),
        leader: Some("a-1".into()),
        state_since_ms: 77,
        members: vec![MemberRecord {
            id: "a-1".into(),
            instance: Some("i".into()),
            client: Client {
                id: "a".into(),
                host: "/127.0.0.1".into(),
            },
            rebalance_timeout_ms: 300_000,
            session_timeout_ms: 45_000,
            subscription: Bytes::from_static(&[1, 2]),
            assignment: Bytes::from_static(&[3]),
        }],
    }
}

#[test]
fn keys_are_kafkas() {
    let key = offset_key("g", "t", 7).unwrap();
    assert_eq!(key, hex("0001 0001 67 0001 74 00000007"));
    let parsed = Key::Offset {
        group: "g".to_owned(),
        topic: "t".to_owned(),
        partition: 7,
    };
    assert_eq!(read_key(&key).unwrap(), parsed);
    assert_eq!(read_key(&hex("0000 0001 67 0001 74 00000007")), Ok(parsed));
    let key = group_key("g").unwrap();
    assert_eq!(key, hex("0002 0001 67"));
    let group = "g".to_owned();
    assert_eq!(read_key(&key).unwrap(), Key::Group { group });
    assert_eq!(read_key(&hex("0003 00")), Ok(Key::Unknown { version: 3 }));
    assert!(read_key(&hex("0002 0009 67")).is_err());
    assert!(read_key(&[]).is_err());
}

#[test]
fn offset_values_are_kafkas() {
    let bytes = offset().encode().unwrap();
    assert_eq!(
        bytes,
        hex("0003 000000000000002a 00000005 0001 6d 00000000000003e8")
    );
    assert_eq!(OffsetRecord::decode(&bytes).unwrap(), offset());
    let expiring = OffsetRecord {
        leader_epoch: -1,
        expire_ms: 2000,
        ..offset()
    };
    let bytes = expiring.encode().unwrap();
    assert_eq!(
        bytes,
        hex("0001 000000000000002a 0001 6d 00000000000003e8 00000000000007d0")
    );
    assert_eq!(OffsetRecord::decode(&bytes).unwrap(), expiring);
}

#[test]
fn old_and_flexible_offset_values_are_read() {
    let without_epoch = OffsetRecord {
        leader_epoch: -1,
        ..offset()
    };
    for old in ["0000", "0002"] {
        let bytes = hex(&format!("{old} 000000000000002a 0001 6d 00000000000003e8"));
        assert_eq!(OffsetRecord::decode(&bytes).unwrap(), without_epoch);
    }
    let flexible = hex("0004 000000000000002a 00000005 02 6d 00000000000003e8 01 00 01 ff");
    assert_eq!(OffsetRecord::decode(&flexible).unwrap(), offset());
    let unknown = hex("0005 000000000000002a");
    assert_eq!(OffsetRecord::decode(&unknown), Err(RecordError::Version(5)));
}

#[test]
fn group_values_are_kafkas() {
    let bytes = group().encode().unwrap();
    let expected = hex(
        "0003 0008 636f6e73756d6572 00000003 0005 72616e6765 0003 612d31
         000000000000004d 00000001
         0003 612d31 0001 69 0001 61 000a 2f3132372e302e302e31
         000493e0 0000afc8 00000002 0102 00000001 03",
    );
    assert_eq!(bytes, expected);
    assert_eq!(GroupRecord::decode(&bytes).unwrap(), group());
    let empty = GroupRecord {
        protocol: None,
        leader: None,
        members: Vec::new(),
        ..group()
    };
    let bytes = empty.encode().unwrap();
    assert_eq!(GroupRecord::decode(&bytes).unwrap(), empty);
}

#[test]
fn old_group_values_are_read() {
    let bytes = hex("0000 0001 63 00000003 0001 72 0001 61 00000001
         0001 61 0001 61 0001 2f 0000afc8 00000000 00000000");
    let record = GroupRecord::decode(&bytes).unwrap();
    assert_eq!(record.state_since_ms, -1);
    let member = record.members.first().unwrap();
    assert_eq!(member.rebalance_timeout_ms, 45_000);
    assert_eq!(member.instance, None);
}

/// Whatever is cut off or flipped, reading ends in a value or an error, never in a panic.
#[test]
fn damaged_values_do_no_harm() {
    let values = [group().encode().unwrap(), offset().encode().unwrap()];
    for bytes in values {
        for at in 0..bytes.len() {
            let cut = bytes.slice(..at);
            let _ = GroupRecord::decode(&cut);
            let _ = OffsetRecord::decode(&cut);
            let _ = read_key(&cut);
            for bit in 0..8 {
                let mut flipped = bytes.to_vec();
                flipped[at] ^= 1 << bit;
                let _ = GroupRecord::decode(&flipped);
                let _ = OffsetRecord::decode(&flipped);
                let _ = read_key(&flipped);
            }
        }
    }
}
