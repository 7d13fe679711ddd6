//! A leader that a test plays: it answers questions by itself, and hands fetches to the test.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use nyala_client::wire::frame::{self, RequestHeader};
use nyala_client::wire::messages::api_versions::{ApiVersion, ApiVersionsResponse};
use nyala_client::wire::messages::fetch::{
    FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData,
};
use nyala_client::wire::messages::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use nyala_client::wire::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderTopicResult,
};
use nyala_client::wire::{ApiKey, Message, Reader};
use nyala_coordinator::cluster::{BrokerInfo, ClusterSnapshot, Endpoint};
use nyala_coordinator::ids::{BrokerEpoch, BrokerId};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};

const SOON: Duration = Duration::from_secs(60);

/// A fetch that waits for its answer. Dropped without one, the leader stays silent.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) version: i16,
    pub(super) fetch: FetchRequest,
    /// Index and offset of all partitions that the session wants, by now.
    pub(super) wants: Vec<(i32, i64)>,
    reply: oneshot::Sender<FetchResponse>,
}

impl Asked {
    /// Partitions that this request names: index, offset, current and last epoch.
    pub(super) fn offsets(&self) -> Vec<(i32, i64, i32, i32)> {
        let partitions = self.fetch.topics.iter().flat_map(|t| &t.partitions);
        partitions
            .map(|p| {
                let epochs = (p.current_leader_epoch, p.last_fetched_epoch);
                (p.partition, p.fetch_offset, epochs.0, epochs.1)
            })
            .collect()
    }

    pub(super) fn forgets(&self, index: i32) -> bool {
        let forgotten = &self.fetch.forgotten_topics_data;
        forgotten.iter().any(|t| t.partitions.contains(&index))
    }

    /// Whether the first partitions are wanted from these offsets on.
    pub(super) fn ends(&self, offsets: &[i64]) -> bool {
        (offsets.iter().enumerate()).all(|(index, offset)| {
            let index = i32::try_from(index).unwrap();
            self.wants.contains(&(index, *offset))
        })
    }

    pub(super) fn answer(self, session_id: i32, partitions: Vec<PartitionData>) {
        let by_id = self.version >= 13;
        let topic = FetchableTopicResponse {
            topic: if by_id { String::new() } else { "t".to_owned() },
            topic_id: super::TOPIC_ID,
            partitions,
        };
        let response = FetchResponse {
            session_id,
            responses: vec![topic],
            ..FetchResponse::default()
        };
        self.reply.send(response).expect("the follower waits");
    }
}

#[derive(Debug, Default)]
struct Book {
    version_max: i16,
    offsets: (i64, i64),
    epoch_ends: HashMap<i32, (i32, i64)>,
    wants: HashMap<i32, i64>,
}

pub(super) struct Leader {
    id: BrokerId,
    port: u16,
    book: Arc<Mutex<Book>>,
    asked: tokio::sync::Mutex<mpsc::UnboundedReceiver<Asked>>,
}

impl Leader {
    pub(super) async fn start(id: BrokerId) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let book = Arc::new(Mutex::new(Book {
            version_max: 17,
            ..Book::default()
        }));
        let (tell, asked) = mpsc::unbounded_channel();
        let shared = Arc::clone(&book);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, Arc::clone(&shared), tell.clone()));
            }
        });
        Self {
            id,
            port,
            book,
            asked: tokio::sync::Mutex::new(asked),
        }
    }

    pub(super) fn snapshots(&self) -> watch::Receiver<Arc<ClusterSnapshot>> {
        let endpoint = Endpoint {
            listener_name: "PLAINTEXT".to_owned(),
            security_protocol: "PLAINTEXT".to_owned(),
            host: "127.0.0.1".to_owned(),
            port: self.port,
        };
        let info = BrokerInfo {
            id: self.id,
            epoch: BrokerEpoch(1),
            endpoints: vec![endpoint],
            rack: None,
        };
        let snapshot = ClusterSnapshot {
            brokers: [(self.id, info)].into(),
            ..ClusterSnapshot::default()
        };
        watch::channel(Arc::new(snapshot)).1
    }

    /// Versions above this end the connection.
    pub(super) fn serves_up_to(&self, version: i16) {
        self.book.lock().version_max = version;
    }

    /// Start and end of its log.
    pub(super) fn has(&self, start: i64, end: i64) {
        self.book.lock().offsets = (start, end);
    }

    /// Asked for epoch `asked`, it answers with an epoch and its end.
    pub(super) fn ends_epoch(&self, asked: i32, epoch: i32, end: i64) {
        self.book.lock().epoch_ends.insert(asked, (epoch, end));
    }

    pub(super) async fn asked(&self) -> Asked {
        self.asked_within(SOON).await.expect("a fetch comes")
    }

    pub(super) async fn asked_within(&self, limit: Duration) -> Option<Asked> {
        let mut asked = self.asked.lock().await;
        let next = tokio::time::timeout(limit, asked.recv()).await;
        next.ok().flatten()
    }
}

async fn serve(mut socket: TcpStream, book: Arc<Mutex<Book>>, tell: mpsc::UnboundedSender<Asked>) {
    let mut buffer = BytesMut::new();
    loop {
        let Some(request) = frame::cut(&mut buffer, 8, 1 << 30).unwrap() else {
            match socket.read_buf(&mut buffer).await {
                Ok(n) if n > 0 => continue,
                _ => return,
            }
        };
        let mut reader = Reader::shared(&request);
        let header = RequestHeader::decode(&mut reader).unwrap();
        let (version, id) = (header.version, header.correlation_id);
        let answer = match header.key {
            ApiKey::Fetch if version > book.lock().version_max => return,
            ApiKey::Fetch => {
                let fetch = FetchRequest::decode(&mut reader, version).unwrap();
                let (reply, answer) = oneshot::channel();
                let wants = book.lock().note(&fetch);
                let asked = Asked {
                    version,
                    fetch,
                    wants,
                    reply,
                };
                if tell.send(asked).is_err() {
                    return;
                }
                match answer.await {
                    Ok(answer) => encode(version, id, &answer),
                    // Silent until the follower goes away.
                    Err(_) => {
                        let _ = socket.read_buf(&mut buffer).await;
                        return;
                    }
                }
            }
            ApiKey::ApiVersions => encode(version, id, &versions(&book.lock())),
            ApiKey::ListOffsets => {
                let asked = ListOffsetsRequest::decode(&mut reader, version).unwrap();
                encode(version, id, &offset(&book.lock(), &asked))
            }
            ApiKey::OffsetForLeaderEpoch => {
                let asked = OffsetForLeaderEpochRequest::decode(&mut reader, version).unwrap();
                encode(version, id, &epochs(&book.lock(), &asked))
            }
            other => panic!("a follower sends no {other:?}"),
        };
        if socket.write_all(&answer).await.is_err() {
            return;
        }
    }
}

fn encode<M: Message>(version: i16, id: i32, message: &M) -> bytes::Bytes {
    frame::encode_response(version, id, message).unwrap()
}

impl Book {
    fn note(&mut self, fetch: &FetchRequest) -> Vec<(i32, i64)> {
        if fetch.session_epoch <= 0 {
            self.wants.clear();
        }
        for index in (fetch.forgotten_topics_data.iter()).flat_map(|t| &t.partitions) {
            self.wants.remove(index);
        }
        for p in fetch.topics.iter().flat_map(|t| &t.partitions) {
            self.wants.insert(p.partition, p.fetch_offset);
        }
        let mut wants: Vec<_> = self.wants.iter().map(|(i, o)| (*i, *o)).collect();
        wants.sort_unstable();
        wants
    }
}

fn versions(book: &Book) -> ApiVersionsResponse {
    let range = |api_key, max_version| ApiVersion {
        api_key,
        min_version: 0,
        max_version,
    };
    ApiVersionsResponse {
        api_keys: vec![range(1, book.version_max), range(2, 5), range(23, 3)],
        ..ApiVersionsResponse::default()
    }
}

fn offset(book: &Book, asked: &ListOffsetsRequest) -> ListOffsetsResponse {
    let topics = asked.topics.iter().map(|topic| ListOffsetsTopicResponse {
        name: topic.name.clone(),
        partitions: (topic.partitions.iter())
            .map(|p| ListOffsetsPartitionResponse {
                partition_index: p.partition_index,
                offset: match p.timestamp {
                    -1 => book.offsets.1,
                    _ => book.offsets.0,
                },
                ..ListOffsetsPartitionResponse::default()
            })
            .collect(),
    });
    ListOffsetsResponse {
        topics: topics.collect(),
        ..ListOffsetsResponse::default()
    }
}

fn epochs(book: &Book, asked: &OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
    let topics = asked.topics.iter().map(|topic| OffsetForLeaderTopicResult {
        topic: topic.topic.clone(),
        partitions: (topic.partitions.iter())
            .map(|p| {
                let (leader_epoch, end_offset) = book.epoch_ends[&p.leader_epoch];
                EpochEndOffset {
                    partition: p.partition,
                    leader_epoch,
                    end_offset,
                    ..EpochEndOffset::default()
                }
            })
            .collect(),
    });
    OffsetForLeaderEpochResponse {
        topics: topics.collect(),
        ..OffsetForLeaderEpochResponse::default()
    }
}
