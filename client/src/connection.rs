//! One TCP connection to a broker: frames out, replies in, in order.
//!
//! Requests are pipelined: each gets a correlation id and a place in a queue, and the broker
//! answers in that order. A reply that is overdue, out of step, malformed or too long ends the
//! connection, for nothing after it could be trusted. Clients use it, and the broker's followers,
//! which are clients of their leaders. It believes nothing that the peer says about lengths.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::ConnectionConfig;
use crate::error::ConnectionError;
use crate::low_water::LowWater;
use crate::wire::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use crate::wire::{ApiKey, ErrorCode, Message, Reader, Request, frame};

/// Least length of a response: its correlation id.
const RESPONSE_BYTES_MIN: usize = 4;
/// Reserved at a time while a long frame arrives: memory follows what was really received.
const RESERVE_BYTES_MAX: usize = 1 << 20;

type Answer = Result<Bytes, ConnectionError>;

/// A handle; clones share the connection, which ends with the last of them.
#[derive(Clone, Debug)]
pub struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    address: String,
    config: ConnectionConfig,
    versions: BTreeMap<i16, (i16, i16)>,
    link: Arc<Link>,
    outgoing: mpsc::Sender<Outgoing>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.link.end(ConnectionError::Closed);
    }
}

/// What handles, replies and the connection's task have in common.
#[derive(Debug)]
struct Link {
    next_correlation_id: AtomicI32,
    stop: CancellationToken,
    /// First reason of the end, once it has come.
    ended: Mutex<Option<ConnectionError>>,
}

impl Link {
    fn end(&self, reason: ConnectionError) {
        self.ended.lock().get_or_insert(reason);
        self.stop.cancel();
    }

    fn reason(&self) -> ConnectionError {
        let ended = self.ended.lock().clone();
        ended.unwrap_or(ConnectionError::Closed)
    }
}

#[derive(Debug)]
struct Outgoing {
    frame: Bytes,
    expected: Option<Expected>,
}

#[derive(Debug)]
struct Expected {
    correlation_id: i32,
    answer: oneshot::Sender<Answer>,
}

type Queue = Mutex<VecDeque<Expected>>;

/// A request that is on its way; [`Reply::wait`] gives its answer.
#[derive(Debug)]
#[must_use = "the answer is lost unless it is waited for"]
pub struct Reply {
    api: ApiKey,
    version: i16,
    deadline: Instant,
    waited: Duration,
    address: String,
    link: Arc<Link>,
    answer: oneshot::Receiver<Answer>,
}

impl Reply {
    /// Waits up to the deadline of the request for the bytes of the answer, header included.
    async fn bytes(&mut self) -> Answer {
        match tokio::time::timeout_at(self.deadline, &mut self.answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(self.link.reason()),
            Err(_) => {
                let error = ConnectionError::Deadline {
                    address: self.address.clone(),
                    api: self.api,
                    waited: self.waited,
                };
                self.link.end(error.clone());
                Err(error)
            }
        }
    }

    /// The answer, decoded. A malformed one ends the connection.
    pub async fn wait<M: Message>(mut self) -> Result<M, ConnectionError> {
        let bytes = self.bytes().await?;
        match frame::decode_response::<M>(&bytes, self.version) {
            Ok((_, message)) => Ok(message),
            Err(error) => {
                let error = ConnectionError::Decode {
                    api: self.api,
                    error,
                };
                self.link.end(error.clone());
                Err(error)
            }
        }
    }
}

impl Connection {
    /// Connects to `address` (`host:port`) and asks for the versions that the broker serves.
    pub async fn connect(address: &str, config: ConnectionConfig) -> Result<Self, ConnectionError> {
        let stream = open(address, config.connect_timeout).await?;
        let mut shared = Self::start(stream, address, config);
        shared.versions = Self::ask_versions(&shared).await?;
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// As [`Self::connect`], but asks for nothing: brokers know one another's versions by
    /// `inter.broker.protocol.version`. Only [`Self::send`] with a version works on it.
    pub async fn connect_plain(
        address: &str,
        config: ConnectionConfig,
    ) -> Result<Self, ConnectionError> {
        let stream = open(address, config.connect_timeout).await?;
        Ok(Self {
            shared: Arc::new(Self::start(stream, address, config)),
        })
    }

    fn start(stream: TcpStream, address: &str, config: ConnectionConfig) -> Shared {
        let (outgoing, requests) = mpsc::channel(config.in_flight_max.max(1));
        let link = Arc::new(Link {
            next_correlation_id: AtomicI32::new(0),
            stop: CancellationToken::new(),
            ended: Mutex::new(None),
        });
        let wires = Wires {
            address: address.to_owned(),
            limit: config.frame_bytes_max,
            link: Arc::clone(&link),
            queue: Mutex::new(VecDeque::new()),
        };
        tokio::spawn(wires.run(stream, requests));
        Shared {
            address: address.to_owned(),
            config,
            versions: BTreeMap::new(),
            link,
            outgoing,
        }
    }

    /// ApiVersions v3; a broker that does not know it answers error 35 in a v0 body (KIP-511).
    async fn ask_versions(shared: &Shared) -> Result<BTreeMap<i16, (i16, i16)>, ConnectionError> {
        let request = ApiVersionsRequest {
            client_software_name: "nyala".to_owned(),
            client_software_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        // Part of connecting: a process that stands still accepts connections all the same.
        let waited = shared.config.connect_timeout;
        let mut reply = shared.send(&request, 3, waited)?;
        let bytes = reply.bytes().await?;
        let mut head = Reader::shared(&bytes);
        head.i32();
        let response = if ErrorCode::from(head.i16()) == ErrorCode::UnsupportedVersion {
            let reply = shared.send(&request, 0, waited)?;
            reply.wait::<ApiVersionsResponse>().await?
        } else {
            let decoded = frame::decode_response::<ApiVersionsResponse>(&bytes, 3);
            let api = ApiKey::ApiVersions;
            decoded
                .map_err(|error| ConnectionError::Decode { api, error })?
                .1
        };
        let code = ErrorCode::from(response.error_code);
        if code.is_error() {
            return Err(ConnectionError::Refused(code));
        }
        let ranges = response.api_keys.iter();
        Ok(ranges
            .map(|k| (k.api_key, (k.min_version, k.max_version)))
            .collect())
    }

    /// `host:port` of the peer.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// Whether requests can still be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.shared.link.stop.is_cancelled()
    }

    /// Resolves when the connection has ended, whoever ended it.
    pub async fn ended(&self) {
        self.shared.link.stop.cancelled().await;
    }

    /// Ends the connection: whoever waits for an answer gets [`ConnectionError::Closed`].
    pub fn close(&self) {
        self.shared.link.end(ConnectionError::Closed);
    }

    /// The highest version of `R` that both sides have, but none above `cap`.
    pub fn version<R: Request>(&self, cap: i16) -> Result<i16, ConnectionError> {
        let ours = (R::MIN_VERSION, R::MAX_VERSION.min(cap));
        let theirs = self.shared.versions.get(&R::KEY.code());
        if let Some((low, high)) = theirs {
            let version = ours.1.min(*high);
            if version >= ours.0 && version >= *low {
                return Ok(version);
            }
        }
        Err(ConnectionError::Unsupported {
            api: R::KEY,
            ours,
            theirs: theirs.map_or_else(|| "none".to_owned(), |(l, h)| format!("{l} to {h}")),
        })
    }

    /// Sends `request` in `version`; requests go out, and are answered, in the order of the calls.
    pub fn send<R: Request>(&self, request: &R, version: i16) -> Result<Reply, ConnectionError> {
        let timeout = self.shared.config.request_timeout;
        self.shared.send(request, version, timeout)
    }

    /// As [`Self::send`], with a deadline of its own.
    pub fn send_within<R: Request>(
        &self,
        request: &R,
        version: i16,
        timeout: Duration,
    ) -> Result<Reply, ConnectionError> {
        self.shared.send(request, version, timeout)
    }

    /// Sends a request that the broker does not answer: Produce with acks=0.
    pub fn send_unanswered<R: Request>(
        &self,
        request: &R,
        version: i16,
    ) -> Result<(), ConnectionError> {
        let (frame, _) = self.shared.frame(request, version)?;
        self.shared.enqueue(Outgoing {
            frame,
            expected: None,
        })
    }

    /// Sends `request` in the highest common version and waits for the answer.
    pub async fn call<R: Request>(&self, request: &R) -> Result<R::Response, ConnectionError> {
        self.call_up_to(request, i16::MAX).await
    }

    /// As [`Self::call`], in no version above `cap`.
    pub async fn call_up_to<R: Request>(
        &self,
        request: &R,
        cap: i16,
    ) -> Result<R::Response, ConnectionError> {
        let version = self.version::<R>(cap)?;
        self.send(request, version)?.wait().await
    }
}

impl Shared {
    fn frame<R: Request>(
        &self,
        request: &R,
        version: i16,
    ) -> Result<(Bytes, i32), ConnectionError> {
        // Ids go round through all of i32: they only have to be told apart while in flight.
        let id = self
            .link
            .next_correlation_id
            .fetch_add(1, Ordering::Relaxed);
        let client_id = Some(self.config.client_id.as_str());
        let encoded = frame::encode_request(version, id, client_id, request);
        let api = R::KEY;
        match encoded {
            Ok(frame) => Ok((frame, id)),
            Err(error) => Err(ConnectionError::Encode { api, error }),
        }
    }

    fn enqueue(&self, outgoing: Outgoing) -> Result<(), ConnectionError> {
        if self.link.stop.is_cancelled() {
            return Err(self.link.reason());
        }
        self.outgoing.try_send(outgoing).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => ConnectionError::TooManyInFlight {
                limit: self.config.in_flight_max,
            },
            mpsc::error::TrySendError::Closed(_) => self.link.reason(),
        })
    }

    fn send<R: Request>(
        &self,
        request: &R,
        version: i16,
        timeout: Duration,
    ) -> Result<Reply, ConnectionError> {
        let (frame, correlation_id) = self.frame(request, version)?;
        let (sender, answer) = oneshot::channel();
        let expected = Some(Expected {
            correlation_id,
            answer: sender,
        });
        self.enqueue(Outgoing { frame, expected })?;
        Ok(Reply {
            api: R::KEY,
            version,
            deadline: Instant::now() + timeout,
            waited: timeout,
            address: self.address.clone(),
            link: Arc::clone(&self.link),
            answer,
        })
    }
}

/// A socket to `address` (`host:port`), without delay for small frames.
pub async fn open(address: &str, limit: Duration) -> Result<TcpStream, ConnectionError> {
    let failed = |reason: String| ConnectionError::Connect {
        address: address.to_owned(),
        reason,
    };
    let stream = match tokio::time::timeout(limit, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(failed(error.to_string())),
        Err(_) => return Err(failed(format!("no answer within {} ms", limit.as_millis()))),
    };
    stream
        .set_nodelay(true)
        .map_err(|e| failed(e.to_string()))?;
    Ok(stream)
}

/// The connection's task: both halves of the socket, and the queue of answers that are due.
struct Wires {
    address: String,
    limit: usize,
    link: Arc<Link>,
    queue: Queue,
}

impl Wires {
    async fn run(self, stream: TcpStream, requests: mpsc::Receiver<Outgoing>) {
        let (read, write) = stream.into_split();
        let reason = tokio::select! {
            error = self.read(read) => error,
            error = self.write(write, requests) => error,
            () = self.link.stop.cancelled() => self.link.reason(),
        };
        self.link.end(reason);
        let reason = self.link.reason();
        for expected in self.queue.lock().drain(..) {
            // Whoever stopped waiting does not need to know.
            let _ = expected.answer.send(Err(reason.clone()));
        }
    }

    fn broken(&self, reason: impl ToString) -> ConnectionError {
        ConnectionError::Broken {
            address: self.address.clone(),
            reason: reason.to_string(),
        }
    }

    async fn write(
        &self,
        mut socket: OwnedWriteHalf,
        mut requests: mpsc::Receiver<Outgoing>,
    ) -> ConnectionError {
        while let Some(outgoing) = requests.recv().await {
            // In the queue before its first byte leaves: the answer cannot be faster.
            self.queue.lock().extend(outgoing.expected);
            if let Err(error) = socket.write_all(&outgoing.frame).await {
                return self.broken(error);
            }
        }
        ConnectionError::Closed
    }

    async fn read(&self, mut socket: OwnedReadHalf) -> ConnectionError {
        let mut buffer = BytesMut::new();
        let mut mark = LowWater::default();
        loop {
            match frame::cut(&mut buffer, RESPONSE_BYTES_MIN, self.limit) {
                Ok(Some(answer)) => {
                    if let Err(error) = self.answer(answer) {
                        return error;
                    }
                    continue;
                }
                Ok(None) => {}
                Err(error) => {
                    let address = self.address.clone();
                    return ConnectionError::Frame { address, error };
                }
            }
            let due = frame::length(&buffer, RESPONSE_BYTES_MIN, self.limit);
            let missing = match due {
                Ok(Some(length)) => (length + frame::LENGTH_BYTES).saturating_sub(buffer.len()),
                _ => 0,
            };
            buffer.reserve(missing.clamp(8 << 10, RESERVE_BYTES_MAX));
            mark.expect(socket.as_ref(), missing);
            match socket.read_buf(&mut buffer).await {
                Ok(0) => return self.broken("closed by the peer"),
                Ok(_) => {}
                Err(error) => return self.broken(error),
            }
        }
    }

    fn answer(&self, bytes: Bytes) -> Result<(), ConnectionError> {
        let Some(expected) = self.queue.lock().pop_front() else {
            return Err(self.broken("an answer came that nobody asked for"));
        };
        let got = Reader::shared(&bytes).i32();
        if got != expected.correlation_id {
            let error = ConnectionError::OutOfStep {
                address: self.address.clone(),
                expected: expected.correlation_id,
                got,
            };
            let _ = expected.answer.send(Err(error.clone()));
            return Err(error);
        }
        let _ = expected.answer.send(Ok(bytes));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
