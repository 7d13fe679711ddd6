//! From a frame to its handler and back: header, version check, decode, encode.
//!
//! Whatever cannot be decoded closes the connection; an unknown version of ApiVersions is the one
//! exception (KIP-511).

use std::sync::Arc;

use bytes::BytesMut;
use nyala_client::wire::frame::{self, RequestHeader};
use nyala_client::wire::messages::api_versions::{ApiVersion, ApiVersionsResponse};
use nyala_client::wire::{ApiKey, ErrorCode, Message, Reader};

use super::body::Frame;
use super::cut_off;
use super::produce_direct::Direct;
use super::reply::{CloseReason, Later, LaterAnswer, LaterKind, Payload, Reply};
use super::{Api, Context, Peer, Run, fetch, find, produce};

impl Peer {
    /// Handles one frame (without its length); an answer that is there at once goes to `out`.
    pub(crate) fn handle(&mut self, frame: Frame<'_>, now_ms: i64, out: &mut Payload) -> Reply {
        match self.route(frame, now_ms, out) {
            Ok(reply) => reply,
            Err(reason) => Reply::Close(reason),
        }
    }

    /// Begins to receive a large produce request for a log that would take it, where it may go that way; all
    /// of `received`, the front of a frame of `frame_bytes`, is taken then.
    pub(crate) fn begin_direct(&self, frame_bytes: usize, received: &[u8]) -> Option<Direct> {
        Direct::begin(self, frame_bytes, received)
    }

    fn route(
        &mut self,
        frame: Frame<'_>,
        now_ms: i64,
        out: &mut Payload,
    ) -> Result<Reply, CloseReason> {
        let bytes = frame.bytes();
        let mut reader = Reader::new(bytes);
        let header =
            RequestHeader::decode(&mut reader).map_err(|error| malformed_header(bytes, &error))?;
        let key = header.key.code();
        let api = find(header.key).ok_or(CloseReason::UnknownKey { key })?;
        if !(api.min..=api.max).contains(&header.version) {
            return match header.key {
                ApiKey::ApiVersions => refuse_api_versions(api, header.correlation_id, out),
                _ => Err(unsupported(api, header.version)),
            };
        }
        match api.run {
            Run::Produce => produce::handle(self, &header, reader.rest(), now_ms, out),
            Run::Fetch => fetch::handle(self, &header, reader.rest(), now_ms, out),
            Run::Plain(run) => {
                let (cx, correlation) = (self.context(&header), header.correlation_id);
                let header_bytes = bytes.len() - reader.rest().len();
                let answer = run(cx, frame.into_body(header_bytes), correlation);
                Ok(Reply::Later(Later {
                    answer: match cut_off::concerns(api.key, self.services()) {
                        true => self.once_in_touch(api, answer),
                        false => answer,
                    },
                    kind: LaterKind::Exclusive,
                }))
            }
        }
    }

    fn once_in_touch(&self, api: &Api, answer: LaterAnswer) -> LaterAnswer {
        let (name, services) = (api.key.name(), Arc::clone(self.services()));
        Box::pin(async move {
            cut_off::over(name, &services).await?;
            answer.await
        })
    }
}

fn unsupported(api: &Api, version: i16) -> CloseReason {
    CloseReason::UnsupportedVersion {
        api: api.key.name(),
        version,
        min: api.min,
        max: api.max,
    }
}

/// Tells a client that asks too new a question which ones it may ask (KIP-511): in version 0, which
/// every client understands.
fn refuse_api_versions(
    api: &Api,
    correlation: i32,
    out: &mut Payload,
) -> Result<Reply, CloseReason> {
    let response = ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion.code(),
        api_keys: vec![ApiVersion {
            api_key: api.key.code(),
            min_version: api.min,
            max_version: api.max,
        }],
        ..ApiVersionsResponse::default()
    };
    let frame = frame::encode_response(0, correlation, &response)
        .map_err(|error| CloseReason::unanswerable(api.key, 0, &error))?;
    out.push_bytes(&frame);
    Ok(Reply::Now)
}

fn malformed_header(frame: &[u8], error: &dyn std::error::Error) -> CloseReason {
    let number = |at: usize| {
        frame
            .get(at..)
            .and_then(<[u8]>::first_chunk::<2>)
            .map_or(-1, |bytes| i16::from_be_bytes(*bytes))
    };
    let key = number(0);
    if ApiKey::try_from(key).is_err() {
        return CloseReason::UnknownKey { key };
    }
    CloseReason::Malformed {
        key,
        version: number(2),
        reason: error.to_string(),
    }
}

/// A whole answer.
pub(super) fn encode<M: Message>(
    cx: &Context,
    correlation: i32,
    response: &M,
) -> Result<Payload, CloseReason> {
    let frame = frame::encode_response(cx.version, correlation, response)
        .map_err(|error| CloseReason::unanswerable(M::KEY, cx.version, &error))?;
    Ok(Payload::from(BytesMut::from(frame)))
}
