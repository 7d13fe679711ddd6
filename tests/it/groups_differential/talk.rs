//! One side of the comparison: connections, the ids that were seen, and what was answered.

use std::collections::HashMap;
use std::fmt::Debug;

use harness::wait;
use harness::wire::Caller;
use nyala_client::wire::Request;
use nyala_client::wire::messages::create_topics::{CreatableTopic, CreateTopicsRequest};
use nyala_client::wire::messages::find_coordinator::FindCoordinatorRequest;
use nyala_client::wire::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
};
use nyala_client::wire::messages::list_groups::ListGroupsRequest;
use nyala_client::wire::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use nyala_client::wire::messages::sync_group::{
    SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse,
};

/// Topic with two partitions that both sides have.
pub(super) const TOPIC: &str = "read";

/// What was said, line by line.
pub(super) struct Talk {
    address: String,
    pub(super) main: Caller,
    ids: HashMap<String, String>,
    lines: Vec<String>,
}

/// Runs a script against one broker.
pub(super) fn run(address: &str, script: fn(&mut Talk)) -> Vec<String> {
    let mut talk = Talk {
        address: address.to_owned(),
        main: Caller::connect(address, "main"),
        ids: HashMap::new(),
        lines: Vec::new(),
    };
    talk.prepare();
    script(&mut talk);
    talk.lines
}

impl Talk {
    /// The topic is there and the coordinator answers.
    fn prepare(&mut self) {
        let create = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: TOPIC.to_owned(),
                num_partitions: 2,
                replication_factor: 1,
                ..CreatableTopic::default()
            }],
            timeout_ms: 30_000,
            validate_only: false,
        };
        self.main.call(5, &create);
        let metadata = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                name: Some(TOPIC.to_owned()),
                ..MetadataRequestTopic::default()
            }]),
            ..MetadataRequest::default()
        };
        wait::until("leaders of the topic", || {
            let answer = self.main.call(4, &metadata);
            let topic = answer.topics.first().ok_or("no topic")?;
            let led = topic.partitions.iter().all(|p| p.leader_id >= 0);
            if topic.partitions.len() == 2 && led {
                Ok(())
            } else {
                Err("no leaders")
            }
        });
        wait::until("a coordinator that has loaded its groups", || {
            let find = FindCoordinatorRequest {
                key: "a".to_owned(),
                ..FindCoordinatorRequest::default()
            };
            let found = self.main.call(2, &find).error_code;
            // One partition that still loads is an error of the whole list.
            let listed = self.main.call(0, &ListGroupsRequest::default()).error_code;
            if (found, listed) == (0, 0) {
                Ok(())
            } else {
                Err((found, listed))
            }
        });
    }

    /// Another connection, under another client id.
    pub(super) fn connect(&self, client_id: &str) -> Caller {
        Caller::connect(&self.address, client_id)
    }

    /// Notes an answer; ids of this run are replaced by their number.
    pub(super) fn note(&mut self, what: &str, answer: &impl Debug) {
        let mut line = format!("{what}: {answer:?}");
        for (id, name) in &self.ids {
            line = line.replace(id, name);
        }
        self.lines.push(line);
    }

    /// Learns an id: the part in front of the random one stays.
    pub(super) fn learn(&mut self, id: &str) {
        if id.len() > 36 && !self.ids.contains_key(id) {
            let (stem, _) = id.split_at(id.len() - 36);
            let name = format!("{stem}#{}", self.ids.len() + 1);
            self.ids.insert(id.to_owned(), name);
        }
    }

    /// Calls on the main connection and notes the answer.
    pub(super) fn say<R: Request>(&mut self, version: i16, request: &R) -> R::Response
    where
        R::Response: Debug,
    {
        let answer = self.main.call(version, request);
        self.note(&format!("{:?} v{version}", R::KEY), &answer);
        answer
    }

    /// JoinGroup on the main connection.
    pub(super) fn join(&mut self, version: i16, request: &JoinGroupRequest) -> JoinGroupResponse {
        let mut answer = self.main.call(version, request);
        self.note_join(version, &mut answer);
        answer
    }

    pub(super) fn note_join(&mut self, version: i16, answer: &mut JoinGroupResponse) {
        self.learn(&answer.member_id);
        for member in &answer.members {
            self.learn(&member.member_id);
        }
        // The order of the members is nobody's promise.
        answer.members.sort_by(|a, b| a.metadata.cmp(&b.metadata));
        self.note(&format!("JoinGroup v{version}"), answer);
    }

    /// SyncGroup on the main connection, with all the shares for `member`.
    pub(super) fn sync(
        &mut self,
        version: i16,
        group: &str,
        joined: &JoinGroupResponse,
    ) -> SyncGroupResponse {
        self.say(version, &sync(version, group, joined, "all of it"))
    }
}

/// A member of `group` that has no id yet.
pub(super) fn join(group: &str, client: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: group.to_owned(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![protocol("range", client)],
        ..JoinGroupRequest::default()
    }
}

/// A subscription to [`TOPIC`], with the client's name as user data.
pub(super) fn protocol(name: &str, client: &str) -> JoinGroupRequestProtocol {
    let mut metadata = vec![0, 0, 0, 0, 0, 1, 0, 4];
    metadata.extend(TOPIC.as_bytes());
    metadata.extend(i32::try_from(client.len()).expect("short").to_be_bytes());
    metadata.extend(client.as_bytes());
    JoinGroupRequestProtocol {
        name: name.to_owned(),
        metadata: metadata.into(),
    }
}

/// The leader's SyncGroup, with a share for itself.
pub(super) fn sync(
    version: i16,
    group: &str,
    joined: &JoinGroupResponse,
    share: &'static str,
) -> SyncGroupRequest {
    SyncGroupRequest {
        group_id: group.to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        protocol_type: (version >= 5).then(|| "consumer".to_owned()),
        protocol_name: (version >= 5).then(|| "range".to_owned()),
        assignments: vec![SyncGroupRequestAssignment {
            member_id: joined.member_id.clone(),
            assignment: share.into(),
        }],
        ..SyncGroupRequest::default()
    }
}

/// Every version of FindCoordinator; nodes differ, so only the codes and words count.
pub(super) fn find_coordinator(talk: &mut Talk) {
    for version in 0..=6 {
        let request = FindCoordinatorRequest {
            key: "a".to_owned(),
            key_type: 0,
            coordinator_keys: match version {
                4.. => vec!["a".to_owned(), "b".to_owned()],
                _ => Vec::new(),
            },
        };
        let answer = talk.main.call(version, &request);
        let keys = answer.coordinators.iter();
        let keys: Vec<_> = keys
            .map(|c| (&c.key, c.error_code, &c.error_message))
            .collect();
        let line = (answer.error_code, &answer.error_message, keys);
        talk.note(&format!("FindCoordinator v{version}"), &line);
    }
    for version in 1..=6 {
        let request = FindCoordinatorRequest {
            key: "a".to_owned(),
            key_type: 2,
            coordinator_keys: vec!["a".to_owned()],
        };
        let request = FindCoordinatorRequest {
            coordinator_keys: if version >= 4 {
                request.coordinator_keys
            } else {
                Vec::new()
            },
            ..request
        };
        talk.say(version, &request);
    }
}
