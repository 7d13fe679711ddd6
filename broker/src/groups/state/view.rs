//! A group as DescribeGroups shows it.

use std::sync::Arc;

use bytes::Bytes;

use super::{Group, Member, MemberId, State};
use crate::groups::member::Client;

/// A group as DescribeGroups shows it.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    /// Kafka's name of the state.
    pub(crate) state: &'static str,
    /// Type, empty if none.
    pub(crate) protocol_type: String,
    /// Protocol, only while Stable.
    pub(crate) protocol: String,
    /// Members; metadata and assignment only while Stable.
    pub(crate) members: Vec<MemberSummary>,
}

/// A member as DescribeGroups shows it.
#[derive(Clone, Debug)]
pub(crate) struct MemberSummary {
    /// Id.
    pub(crate) member: MemberId,
    /// Static identity.
    pub(crate) instance: Option<Arc<str>>,
    /// Where it runs.
    pub(crate) client: Client,
    /// What it said for the group's protocol.
    pub(crate) metadata: Bytes,
    /// Its share.
    pub(crate) assignment: Bytes,
}

impl Group {
    /// As DescribeGroups shows it.
    #[must_use]
    pub(crate) fn summary(&self) -> Summary {
        let protocol = match self.state {
            State::Stable => self.protocol.as_deref(),
            _ => None,
        };
        let member = |m: &Member| MemberSummary {
            member: m.id.clone(),
            instance: m.instance.clone(),
            client: m.client.clone(),
            metadata: protocol
                .and_then(|p| m.metadata(p))
                .cloned()
                .unwrap_or_default(),
            assignment: protocol.map(|_| m.assignment.clone()).unwrap_or_default(),
        };
        Summary {
            state: self.state.name(),
            protocol_type: self.protocol_type.as_deref().unwrap_or("").to_owned(),
            protocol: protocol.unwrap_or("").to_owned(),
            members: self.members.iter().map(member).collect(),
        }
    }
}
