//! A follower's socket to its leader: one request at a time, its answer in one buffer that is used again.
//!
//! A shared connection would hand every answer to another task in fresh memory; a follower lives off
//! large answers, so here it reads them itself. The bytes of records are slices of that buffer: they go
//! from there straight into the log.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use nyala_client::connection;
use nyala_client::error::ConnectionError;
use nyala_client::low_water::LowWater;
use nyala_client::wire::{Reader, Request, frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Least length of an answer: its correlation id.
const ANSWER_BYTES_MIN: usize = 4;
/// Longest answer: a leader may send one batch of any size (KIP-74).
const ANSWER_BYTES_MAX: usize = i32::MAX as usize;
/// Reserved at a time while a long answer arrives: memory follows what was really received.
const RESERVE_BYTES_MAX: usize = 4 << 20;

/// One connection. Drop it when a call was given up: its answer would be taken for the next one's.
#[derive(Debug)]
pub(super) struct Link {
    stream: TcpStream,
    mark: LowWater,
    address: String,
    client_id: String,
    correlation_id: i32,
    buffer: BytesMut,
    answers: u64,
}

impl Link {
    /// Connects to `address` within `limit`.
    pub(super) async fn open(
        address: String,
        client_id: String,
        receive_buffer_bytes: Option<u32>,
        limit: Duration,
    ) -> Result<Self, ConnectionError> {
        let stream = connection::open(&address, limit).await?;
        if let Some(bytes) = receive_buffer_bytes {
            // Only a wish: the connection works without.
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&stream, bytes);
        }
        Ok(Self {
            stream,
            mark: LowWater::default(),
            address,
            client_id,
            correlation_id: 0,
            buffer: BytesMut::new(),
            answers: 0,
        })
    }

    /// `host:port` of the leader.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Whether the leader never answered on this connection.
    pub(super) fn is_mute(&self) -> bool {
        self.answers == 0
    }

    /// Sends `request` and waits up to `limit` for the answer.
    pub(super) async fn call<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        limit: Duration,
    ) -> Result<R::Response, ConnectionError> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let id = self.correlation_id;
        let api = R::KEY;
        let frame = frame::encode_request(version, id, Some(&self.client_id), request)
            .map_err(|error| ConnectionError::Encode { api, error })?;
        let answer = match tokio::time::timeout(limit, self.exchange(&frame)).await {
            Ok(answer) => answer?,
            Err(_) => {
                let address = self.address.clone();
                let waited = limit;
                return Err(ConnectionError::Deadline {
                    address,
                    api,
                    waited,
                });
            }
        };
        let got = Reader::shared(&answer).i32();
        if got != id {
            return Err(ConnectionError::OutOfStep {
                address: self.address.clone(),
                expected: id,
                got,
            });
        }
        let (_, message) = frame::decode_response::<R::Response>(&answer, version)
            .map_err(|error| ConnectionError::Decode { api, error })?;
        self.answers += 1;
        Ok(message)
    }

    async fn exchange(&mut self, frame: &[u8]) -> Result<Bytes, ConnectionError> {
        let sent = self.stream.write_all(frame).await;
        sent.map_err(|error| self.broken(error))?;
        loop {
            let cut = frame::cut(&mut self.buffer, ANSWER_BYTES_MIN, ANSWER_BYTES_MAX);
            if let Some(answer) = cut.map_err(|error| self.none(error))? {
                return Ok(answer);
            }
            let due = frame::length(&self.buffer, ANSWER_BYTES_MIN, ANSWER_BYTES_MAX);
            let missing = match due {
                Ok(Some(length)) => {
                    (length + frame::LENGTH_BYTES).saturating_sub(self.buffer.len())
                }
                _ => 0,
            };
            // No answer lives by now, so the buffer takes its whole memory back.
            self.buffer
                .reserve(missing.clamp(8 << 10, RESERVE_BYTES_MAX));
            self.mark.expect(&self.stream, missing);
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) => return Err(self.broken("closed by the peer")),
                Ok(_) => {}
                Err(error) => return Err(self.broken(error)),
            }
        }
    }

    fn broken(&self, reason: impl ToString) -> ConnectionError {
        ConnectionError::Broken {
            address: self.address.clone(),
            reason: reason.to_string(),
        }
    }

    fn none(&self, error: frame::FrameError) -> ConnectionError {
        let address = self.address.clone();
        ConnectionError::Frame { address, error }
    }
}
