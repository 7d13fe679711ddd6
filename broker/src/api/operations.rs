//! What a principal may do to a topic, a group or the cluster, as a field of bits (KIP-430).
//!
//! Bit N stands for the operation whose number in Kafka's `AclOperation` is N.

use super::{Context, Operation, Resource};

/// "Not asked for": what the field holds otherwise.
pub(super) const NOT_ASKED: i32 = i32::MIN;

const TOPIC: [(Operation, u32); 8] = [
    (Operation::Read, 3),
    (Operation::Write, 4),
    (Operation::Create, 5),
    (Operation::Delete, 6),
    (Operation::Alter, 7),
    (Operation::Describe, 8),
    (Operation::DescribeConfigs, 10),
    (Operation::AlterConfigs, 11),
];
const GROUP: [(Operation, u32); 3] = [
    (Operation::Read, 3),
    (Operation::Delete, 6),
    (Operation::Describe, 8),
];
const CLUSTER: [(Operation, u32); 7] = [
    (Operation::Create, 5),
    (Operation::Alter, 7),
    (Operation::Describe, 8),
    (Operation::ClusterAction, 9),
    (Operation::DescribeConfigs, 10),
    (Operation::AlterConfigs, 11),
    (Operation::IdempotentWrite, 12),
];

/// What the principal may do to `resource`, if that was `asked` for.
pub(super) fn authorized(cx: &Context, resource: Resource<'_>, asked: bool) -> i32 {
    if !asked {
        return NOT_ASKED;
    }
    let operations: &[_] = match resource {
        Resource::Topic(_) => &TOPIC,
        Resource::Group(_) => &GROUP,
        Resource::Cluster => &CLUSTER,
        Resource::TransactionalId(_) => &[],
    };
    let allowed = operations
        .iter()
        .filter(|(op, _)| cx.authorize(*op, resource));
    allowed.fold(0, |bits, (_, bit)| bits | 1 << bit)
}
