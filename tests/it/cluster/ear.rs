//! The one socket of a [`Member`](super::Member): it takes the controller's requests, as a broker's
//! listener would, and answers them by what the member's [`Cluster`] says.

use std::sync::Weak;

use bytes::Bytes;
use nyala::cluster::{Cluster, ControlHead, StopEpoch, StopFacts};
use nyala_client::wire::frame::{self, RequestHeader};
use nyala_client::wire::messages::leader_and_isr::LeaderAndIsrResponse;
use nyala_client::wire::messages::stop_replica::{StopReplicaRequest, StopReplicaResponse};
use nyala_client::wire::messages::update_metadata::UpdateMetadataResponse;
use nyala_client::wire::{ApiKey, Reader};
use nyala_coordinator::ids::{
    BrokerEpoch, BrokerId, ControllerEpoch, LeaderEpoch, PartitionIndex, TopicName, TopicPartition,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Listens until it is dropped, or its cluster is.
pub(super) async fn listen(listener: TcpListener, cluster: Weak<Cluster>) {
    let mut open = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        open.spawn(converse(stream, Weak::clone(&cluster)));
    }
}

async fn converse(mut stream: TcpStream, cluster: Weak<Cluster>) {
    while let Ok(length) = stream.read_u32().await {
        let mut bytes = vec![0; length as usize];
        if stream.read_exact(&mut bytes).await.is_err() {
            return;
        }
        let Some(cluster) = cluster.upgrade() else {
            return;
        };
        let answer = answer(&Bytes::from(bytes), &cluster).await;
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

async fn answer(frame: &Bytes, cluster: &Cluster) -> Bytes {
    let mut reader = Reader::shared(frame);
    let header = RequestHeader::decode(&mut reader).expect("a controller writes it");
    let (version, id) = (header.version, header.correlation_id);
    match header.key {
        // The snapshot says the same.
        ApiKey::LeaderAndIsr => {
            frame::encode_response(version, id, &LeaderAndIsrResponse::default())
        }
        ApiKey::UpdateMetadata => {
            frame::encode_response(version, id, &UpdateMetadataResponse::default())
        }
        ApiKey::StopReplica => {
            let request = StopReplicaRequest::decode(&mut reader, version);
            let answer = stop(request.expect("a controller writes it"), cluster).await;
            frame::encode_response(version, id, &answer)
        }
        other => panic!("no controller sends {other:?}"),
    }
    .expect("an answer of the same version")
}

async fn stop(request: StopReplicaRequest, cluster: &Cluster) -> StopReplicaResponse {
    let head = ControlHead {
        controller: BrokerId(request.controller_id),
        controller_epoch: ControllerEpoch(request.controller_epoch),
        broker_epoch: Some(BrokerEpoch(request.broker_epoch)),
    };
    let facts = request.topic_states.iter().flat_map(|topic| {
        topic.partition_states.iter().map(|state| StopFacts {
            partition: TopicPartition {
                topic: TopicName::new(&topic.topic_name).expect("legal"),
                partition: PartitionIndex(state.partition_index),
            },
            until: match state.leader_epoch {
                -2 => StopEpoch::Deletion,
                epoch => StopEpoch::Leader(LeaderEpoch(epoch)),
            },
            delete: state.delete_partition,
        })
    });
    let error_code = match cluster.stop_replicas(head, facts.collect()).await {
        Ok(failed) if failed.is_empty() => 0,
        Ok(_) => -1,
        // A stale one, which the next makes good.
        Err(_) => 77,
    };
    StopReplicaResponse {
        error_code,
        ..StopReplicaResponse::default()
    }
}
