//! Groups: who belongs together, who leads, who reads what (Kafka's classic group protocol), and
//! the offsets that groups commit. Stored in `__consumer_offsets`, as Kafka stores it.
//!
//! `state.rs` decides (pure: an event and the time give effects), `driver.rs` acts (locks, timers,
//! appends, answers), `replay.rs` reads a partition back when this broker comes to lead it. A group
//! lives on the leader of the partition that its id hashes to. Nothing here knows the wire.

mod alarm;
mod driver;
mod error;
mod event;
mod log;
mod member;
mod members;
mod offsets;
mod partition_log;
mod records;
mod replay;
mod settings;
mod shard;
mod state;
mod subscription;

pub(crate) use driver::{Commit, FetchedOffset, Groups, JoinRequest, NewOffset, Overview, shares};
pub(crate) use error::GroupError;
pub(crate) use event::{Joined, JoinedMember, Leaving, Sync};
pub(crate) use member::{Client, MemberId};
pub(crate) use partition_log::OFFSETS_TOPIC;
pub(crate) use state::{MemberSummary, Summary};
