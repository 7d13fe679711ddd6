//! Requests: what is told apart, what is refused, and that no bytes make the decoder panic.

use proptest::prelude::*;

use super::*;
use crate::protocol::jute::Writer;

fn frame(xid: i32, op: i32, body: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut w = Writer::new();
    w.int(xid).int(op);
    body(&mut w);
    w.into_bytes()
}

#[test]
fn a_connect_request_with_and_without_the_read_only_flag() {
    let mut w = Writer::new();
    w.int(0).long(5).int(4000).long(6).buffer(Some(&[1; 16]));
    let mut bytes = w.into_bytes();
    let old = ConnectRequest::decode(&bytes).expect("complete");
    assert_eq!(
        (old.last_zxid_seen, old.timeout_ms, old.session),
        (5, 4000, 6)
    );
    assert!(!old.has_read_only);
    bytes.push(1);
    assert!(
        ConnectRequest::decode(&bytes)
            .expect("complete")
            .has_read_only
    );
    for end in 0..bytes.len() - 1 {
        assert_eq!(ConnectRequest::decode(&bytes[..end]), Err(Malformed));
    }
}

#[test]
fn reserved_xids_belong_to_their_packets() {
    let ping = |xid| decode(&frame(xid, 11, |_| ()));
    assert!(ping(-2).is_ok() && ping(7).is_ok());
    for xid in [-1, -4, -8] {
        assert!(ping(xid).is_err(), "{xid}");
    }
    let read = |xid| {
        decode(&frame(xid, 3, |w| {
            w.string("/").bool(false);
        }))
    };
    assert!(read(1).is_ok() && read(0).is_ok() && read(-3).is_ok());
    assert!(read(-2).is_err());
}

#[test]
fn a_multi_holds_writes_and_a_multi_read_reads() {
    let ops = |kind: i32, inner: i32| {
        decode(&frame(1, kind, |w| {
            w.int(inner).bool(false).int(-1);
            w.string("/a").int(-1);
            w.int(-1).bool(true).int(-1);
        }))
        .map(|(_, request)| request)
    };
    let delete = WriteOp::Delete {
        path: "/a".into(),
        version: -1,
    };
    assert_eq!(ops(14, 2), Ok(Request::Multi(vec![delete])));
    for inner in [14, 22, 3, 4, 6, 7, 9, 11, 99, -11] {
        assert_eq!(ops(14, inner), Ok(Request::BadMulti), "{inner}");
    }
    for inner in [1, 2, 3, 12, 14, 22] {
        assert_eq!(ops(22, inner), Ok(Request::BadMulti), "{inner}");
    }
    let endless = frame(1, 14, |w| {
        w.int(2).bool(false).int(-1);
    });
    assert_eq!(decode(&endless), Err(Malformed));
}

#[test]
fn sasl_is_unknown_and_reconfig_unimplemented() {
    let request = |op| decode(&frame(1, op, |_| ())).map(|(_, request)| request);
    assert_eq!(request(102), Ok(Request::Unknown));
    assert_eq!(request(999), Ok(Request::Unknown));
    assert_eq!(request(16), Ok(Request::Unimplemented));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        op in prop_oneof![-12..30, 99..110],
        body in prop::collection::vec(prop_oneof![3 => Just(0_u8), 1 => any::<u8>()], 0..200),
    ) {
        let bytes = frame(1, op, |w| { w.raw(&body); });
        let _ = decode(&bytes);
        let _ = ConnectRequest::decode(&body);
    }
}
