//! The wire against two judges that share no code with it: the `kafka-protocol` crate, on random
//! messages of every API and version, and bytes that Kafka's own Java code wrote.

mod support;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey as TheirKey, RequestKind, ResponseKind};
use nyala_client::wire::batch::{BatchError, BatchView, ControlType, TimestampType};
use nyala_client::wire::{ApiKey, Reader, frame};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Highest versions that the judge of random messages knows, where they are below ours.
fn known_to_judge(key: ApiKey, version: i16) -> bool {
    match key {
        ApiKey::Metadata => version <= 12,
        ApiKey::DescribeGroups => version <= 5,
        _ => true,
    }
}

fn theirs(key: ApiKey, request: bool, body: &Bytes, version: i16) -> Result<Vec<u8>, String> {
    let their = TheirKey::try_from(key.code()).map_err(|()| format!("no key {key:?}"))?;
    let (mut input, mut output) = (body.clone(), BytesMut::new());
    if request {
        RequestKind::decode(their, &mut input, version)
            .and_then(|message| message.encode(&mut output, version))
    } else {
        ResponseKind::decode(their, &mut input, version)
            .and_then(|message| message.encode(&mut output, version))
    }
    .map_err(|error| format!("{error:#}"))?;
    if !input.is_empty() {
        return Err(format!("{} bytes left", input.len()));
    }
    Ok(output.to_vec())
}

#[test]
fn random_messages_of_every_version_read_and_write_alike() {
    let codecs = support::codecs();
    assert!(codecs.iter().map(|codec| codec.0).eq(ApiKey::ALL));
    for (api, (key, request, response)) in support::apis().iter().zip(codecs) {
        assert_eq!((api.key, api.name.as_str()), (key.code(), key.name()));
        for (message, ours, is_request) in [
            (&api.request, request, true),
            (&api.response, response, false),
        ] {
            for version in message.versions.low..=message.versions.high {
                let config = Config {
                    cases: 40,
                    failure_persistence: None,
                    ..Config::default()
                };
                let rng = proptest::test_runner::TestRng::deterministic_rng(config.rng_algorithm);
                let tapes = proptest::collection::vec(any::<u8>(), 0..400);
                let outcome = TestRunner::new_with_rng(config, rng).run(&tapes, |tape| {
                    let mut tape = support::Tape(tape.iter());
                    let body = Bytes::from(support::body(message, version, &mut tape));
                    prop_assert_eq!(ours(&body, version), Ok(body.to_vec()), "ours");
                    if known_to_judge(key, version) {
                        prop_assert_eq!(
                            theirs(key, is_request, &body, version),
                            Ok(body.to_vec()),
                            "theirs"
                        );
                    }
                    Ok(())
                });
                if let Err(error) = outcome {
                    panic!(
                        "{} request={is_request} version {version}: {error}",
                        api.name
                    );
                }
            }
        }
    }
}

fn samples(text: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(' ').collect())
}

fn unhex(hex: &str) -> Bytes {
    let digits = hex.as_bytes().chunks(2);
    let bytes = digits.map(|pair| std::str::from_utf8(pair).map(|p| u8::from_str_radix(p, 16)));
    bytes
        .map(|byte| byte.expect("ASCII").expect("hex"))
        .collect()
}

#[test]
fn frames_that_java_wrote_read_and_write_the_same() {
    let codecs = support::codecs();
    let mut seen = 0;
    for sample in samples(include_str!("../../tests/testdata/messages.hex")) {
        let [kind, name, version, hex] = sample[..] else {
            panic!("not a sample: {sample:?}");
        };
        let version: i16 = version.parse().expect("a version");
        let codec = codecs.iter().find(|(key, ..)| key.name() == name);
        let &(key, request, response) = codec.expect("an API");
        if !key.versions().contains(&version) {
            continue;
        }
        let bytes = unhex(hex);
        let mut reader = Reader::shared(&bytes);
        let ours = if kind == "request" {
            let header = frame::RequestHeader::decode(&mut reader).expect("a header");
            assert_eq!((header.key, header.version), (key, version));
            assert_eq!(header.correlation_id, 70_000 + i32::from(version));
            let named = key.request_header_version(version) >= 1;
            assert_eq!(header.client_id, named.then_some("sample-é"));
            request
        } else {
            let id = frame::decode_response_header(&mut reader, key, version).expect("a header");
            assert_eq!(id, 70_000 + i32::from(version));
            response
        };
        let body = bytes.slice_ref(reader.rest());
        assert_eq!(
            ours(&body, version),
            Ok(body.to_vec()),
            "{kind} {name} {version}"
        );
        seen += 1;
    }
    let versions = ApiKey::ALL
        .iter()
        .map(|key| key.versions().count())
        .sum::<usize>();
    assert_eq!(
        seen,
        2 * versions,
        "every version of every API has a sample"
    );
}

#[test]
fn batches_that_java_wrote_with_every_codec() {
    for sample in samples(include_str!("../../tests/testdata/batches.hex")) {
        let [name, hex] = sample[..] else {
            panic!("not a sample: {sample:?}");
        };
        let bytes = unhex(hex);
        if let Some(format) = name.strip_prefix("format-") {
            let error = BatchView::parse(&bytes).expect_err("an old format");
            assert_eq!(error, BatchError::Magic(format.parse().expect("a format")));
            continue;
        }
        let batch = BatchView::parse(&bytes).expect(name);
        assert!(batch.crc_ok(), "{name}");
        assert_eq!(batch.size(), bytes.len());
        let body = batch.decompress(1 << 20).expect(name);
        let summary = batch.check_records(&body).expect(name);
        assert_eq!(summary.count, batch.record_count());
        let records: Vec<_> = batch.records(&body).map(|r| r.expect(name)).collect();
        match name.split_once('-').map_or(name, |(_, kind)| kind) {
            "commit" => assert_eq!(records[0].control_type(), Some(ControlType::Commit)),
            "abort" => assert_eq!(records[0].control_type(), Some(ControlType::Abort)),
            "long" => {
                assert_eq!(records.len(), 300);
                assert_eq!(records[299].value, Some("value 9 ".repeat(60).as_bytes()));
                assert_eq!(records[299].timestamp_ms, 1299);
            }
            kind => sample_records(kind, &batch, &records),
        }
    }
}

fn sample_records(
    kind: &str,
    batch: &BatchView<'_>,
    records: &[nyala_client::wire::batch::Record<'_>],
) {
    assert_eq!(batch.is_transactional(), kind == "transactional");
    let by_broker = batch.timestamp_type() == TimestampType::LogAppendTime;
    assert_eq!(by_broker, kind == "time");
    if by_broker {
        assert!(records.iter().all(|r| r.timestamp_ms == 1_700_000_000_000));
    } else {
        let times: Vec<_> = records.iter().map(|r| r.timestamp_ms).collect();
        assert_eq!(times, [1000, 999, 1 << 41]);
        assert_eq!(batch.max_timestamp(), 1 << 41);
    }
    if !by_broker && kind != "transactional" {
        assert_eq!((batch.base_offset(), batch.leader_epoch()), (100, 5));
        assert_eq!((batch.producer_id(), batch.producer_epoch()), (7, 3));
        assert_eq!(
            (batch.base_sequence(), batch.last_sequence()),
            (i32::MAX - 1, 0)
        );
        assert_eq!(batch.codec().map(|codec| codec.name()), Ok(kind));
    }
    let keys: Vec<_> = records.iter().map(|r| r.key).collect();
    assert_eq!(keys, [Some(&b"key"[..]), None, Some(&b""[..])]);
    let values: Vec<_> = records.iter().map(|r| r.value).collect();
    assert_eq!(values, [Some(&b"value"[..]), Some(&b""[..]), None]);
    let headers: Vec<_> = records[0]
        .headers
        .clone()
        .map(|h| (h.name(), h.value))
        .collect();
    let expected = [
        ("a".into(), Some(&b"1"[..])),
        ("é".into(), None),
        ("a".into(), Some(&b""[..])),
    ];
    assert_eq!(headers, expected);
}
