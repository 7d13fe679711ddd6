//! Random messages straight from the tables, as bytes.
//!
//! Made without the generated code, so that the code has a judge. What comes out is in Kafka's one
//! canonical form: tagged fields ascend and are left out when they hold their default.

#[allow(
    dead_code,
    reason = "the parser knows more of a table than messages need"
)]
#[path = "../../codegen/table.rs"]
mod table;

use table::{Api, Field, Message, Struct};

/// All tables, by file name.
pub(crate) fn apis() -> Vec<Api> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/schema");
    let mut apis: Vec<Api> = std::fs::read_dir(folder)
        .expect("the tables are there")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| !path.ends_with("errors.txt"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a readable table");
            table::parse(&text).expect("a table")
        })
        .collect();
    apis.sort_by_key(|api| api.key);
    apis
}

/// Choices, taken from random bytes and then all zero: shorter bytes make simpler messages.
pub(crate) struct Tape<'a>(pub(crate) std::slice::Iter<'a, u8>);

impl Tape<'_> {
    fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or_default()
    }

    fn below(&mut self, limit: u8) -> u8 {
        self.byte() % limit
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }
}

/// A body of `message` in `version`.
pub(crate) fn body(message: &Message, version: i16, tape: &mut Tape<'_>) -> Vec<u8> {
    let whole = message.structs.last().expect("a message has a struct");
    let mut maker = Maker {
        message,
        version,
        flexible: version >= message.flexible,
        out: Vec::new(),
    };
    maker.structure(whole, &mut Some(tape));
    maker.out
}

struct Maker<'a> {
    message: &'a Message,
    version: i16,
    flexible: bool,
    out: Vec<u8>,
}

/// Where values come from: random choices, or none, which means defaults.
type Source<'t, 'b> = Option<&'t mut Tape<'b>>;

impl<'a> Maker<'a> {
    fn structure(&mut self, item: &'a Struct, tape: &mut Source<'_, '_>) {
        let version = self.version;
        let present = |f: &&Field| (f.versions.low..=f.versions.high).contains(&version);
        for field in item
            .fields
            .iter()
            .filter(present)
            .filter(|f| f.tag.is_none())
        {
            self.field(field, tape);
        }
        if !self.flexible {
            return;
        }
        let mut tagged = Vec::new();
        for field in item.fields.iter().filter(present) {
            let Some(tag) = field.tag else { continue };
            let start = self.out.len();
            self.field(field, &mut None);
            let default = self.out.split_off(start);
            self.field(field, tape);
            let value = self.out.split_off(start);
            if value != default {
                tagged.push((tag, value));
            }
        }
        tagged.sort();
        self.varint(tagged.len());
        for (tag, value) in tagged {
            self.varint(usize::try_from(tag).expect("a small tag"));
            self.varint(value.len());
            self.out.extend(value);
        }
    }

    fn field(&mut self, field: &'a Field, tape: &mut Source<'_, '_>) {
        let nullable = field
            .null
            .is_some_and(|n| (n.low..=n.high).contains(&self.version));
        let null = match tape {
            Some(tape) => nullable && tape.below(4) == 1,
            None => nullable,
        };
        if field.array {
            let count = tape.as_mut().map_or(0, |tape| usize::from(tape.below(3)));
            self.length((!null).then_some(count), true);
            for _ in 0..if null { 0 } else { count } {
                self.value(field, false, tape);
            }
        } else {
            self.value(field, null, tape);
        }
    }

    fn value(&mut self, field: &'a Field, null: bool, tape: &mut Source<'_, '_>) {
        let width = match field.item.as_str() {
            "bool" | "int8" => 1,
            "int16" => 2,
            "int32" => 4,
            "int64" => 8,
            "uuid" | "topic_id" => 16,
            "string" | "bytes" | "records" => return self.text(field, null, tape),
            name => {
                let found = self.message.structs.iter().find(|s| s.name == name);
                return self.structure(found.expect("a struct of the table"), tape);
            }
        };
        let mut bytes = match (tape, field.default.as_deref()) {
            (Some(tape), _) => tape.bytes(width),
            (None, Some("true")) => vec![1],
            (None, Some(number)) => {
                let number: i64 = number.parse().expect("a number");
                number.to_be_bytes()[8 - width..].to_vec()
            }
            (None, None) => vec![0; width],
        };
        if field.item == "bool" {
            bytes[0] &= 1;
        }
        self.out.extend(bytes);
    }

    fn text(&mut self, field: &'a Field, null: bool, tape: &mut Source<'_, '_>) {
        let wide = field.item != "string";
        let length = tape.as_mut().map_or(0, |tape| usize::from(tape.below(9)));
        self.length((!null).then_some(length), wide);
        if let (Some(tape), false) = (tape, null) {
            let mut bytes = tape.bytes(length);
            if !wide {
                bytes.iter_mut().for_each(|b| *b &= 0x7f);
            }
            self.out.extend(bytes);
        }
    }

    fn length(&mut self, length: Option<usize>, wide: bool) {
        if self.flexible {
            return self.varint(length.map_or(0, |length| length + 1));
        }
        let length = length.map_or(-1, |length| i32::try_from(length).expect("a short length"));
        match wide {
            true => self.out.extend(length.to_be_bytes()),
            false => self.out.extend(&length.to_be_bytes()[2..]),
        }
    }

    fn varint(&mut self, value: usize) {
        let mut value = value;
        while value >= 0x80 {
            self.out.push((value & 0x7f).to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.out.push(value.to_le_bytes()[0]);
    }
}

/// Reads a body and writes it again.
pub(crate) type Again = fn(&bytes::Bytes, i16) -> Result<Vec<u8>, nyala_client::wire::DecodeError>;

fn again<M: nyala_client::wire::Message>(
    body: &bytes::Bytes,
    version: i16,
) -> Result<Vec<u8>, nyala_client::wire::DecodeError> {
    use nyala_client::wire::{Reader, Writer};
    let message = M::decode_body(&mut Reader::shared(body), version)?;
    let mut writer = Writer::new();
    message.encode_body(&mut writer, version);
    Ok(writer
        .finish()
        .expect("what was read can be written")
        .to_vec())
}

/// The codec under test: key, request, response.
pub(crate) fn codecs() -> Vec<(nyala_client::wire::ApiKey, Again, Again)> {
    use nyala_client::wire::messages::*;
    use nyala_client::wire::{Message, Request};
    fn pair<R: Request>() -> (nyala_client::wire::ApiKey, Again, Again) {
        assert_eq!(R::KEY, <R::Response as Message>::KEY);
        (R::KEY, again::<R>, again::<R::Response>)
    }
    vec![
        pair::<produce::ProduceRequest>(),
        pair::<fetch::FetchRequest>(),
        pair::<list_offsets::ListOffsetsRequest>(),
        pair::<metadata::MetadataRequest>(),
        pair::<leader_and_isr::LeaderAndIsrRequest>(),
        pair::<stop_replica::StopReplicaRequest>(),
        pair::<update_metadata::UpdateMetadataRequest>(),
        pair::<controlled_shutdown::ControlledShutdownRequest>(),
        pair::<offset_commit::OffsetCommitRequest>(),
        pair::<offset_fetch::OffsetFetchRequest>(),
        pair::<find_coordinator::FindCoordinatorRequest>(),
        pair::<join_group::JoinGroupRequest>(),
        pair::<heartbeat::HeartbeatRequest>(),
        pair::<leave_group::LeaveGroupRequest>(),
        pair::<sync_group::SyncGroupRequest>(),
        pair::<describe_groups::DescribeGroupsRequest>(),
        pair::<list_groups::ListGroupsRequest>(),
        pair::<api_versions::ApiVersionsRequest>(),
        pair::<create_topics::CreateTopicsRequest>(),
        pair::<delete_topics::DeleteTopicsRequest>(),
        pair::<delete_records::DeleteRecordsRequest>(),
        pair::<init_producer_id::InitProducerIdRequest>(),
        pair::<offset_for_leader_epoch::OffsetForLeaderEpochRequest>(),
        pair::<describe_configs::DescribeConfigsRequest>(),
        pair::<alter_configs::AlterConfigsRequest>(),
        pair::<describe_log_dirs::DescribeLogDirsRequest>(),
        pair::<create_partitions::CreatePartitionsRequest>(),
        pair::<delete_groups::DeleteGroupsRequest>(),
        pair::<elect_leaders::ElectLeadersRequest>(),
        pair::<incremental_alter_configs::IncrementalAlterConfigsRequest>(),
        pair::<alter_partition_reassignments::AlterPartitionReassignmentsRequest>(),
        pair::<list_partition_reassignments::ListPartitionReassignmentsRequest>(),
        pair::<offset_delete::OffsetDeleteRequest>(),
        pair::<alter_partition::AlterPartitionRequest>(),
        pair::<describe_cluster::DescribeClusterRequest>(),
        pair::<allocate_producer_ids::AllocateProducerIdsRequest>(),
    ]
}
