//! Frames: a length of four bytes, a header, a body.
//!
//! [`cut`] takes whole frames off a receive buffer without copying; [`RequestHeader`] borrows from
//! the frame, so that the hot path allocates nothing. What is longer than the limit is refused as
//! soon as its length is known, before a byte of it is waited for.

#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use bytes::{Buf, Bytes, BytesMut};

use crate::wire::api::{ApiKey, UnknownApiKey};
use crate::wire::codec::{DecodeError, EncodeError, Message, Reader, Request, Writer};

/// Bytes of the length in front of each frame.
pub const LENGTH_BYTES: usize = 4;
/// Least length of a request: key, version, correlation id.
pub const REQUEST_BYTES_MIN: usize = 8;

/// Why a connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length is negative, or too small for any header.
    #[error("frame length {length} is less than the {least} bytes of a header")]
    TooShort {
        /// Length as sent.
        length: i32,
        /// Least length.
        least: usize,
    },
    /// The length is above the limit.
    #[error("frame of {length} bytes, at most {limit} are allowed")]
    TooLong {
        /// Length as sent.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// The key is none of ours.
    #[error(transparent)]
    ApiKey(#[from] UnknownApiKey),
    /// The header is malformed.
    #[error("malformed header: {0}")]
    Header(#[from] DecodeError),
}

/// The length of the frame that `buffer` starts with, once its four bytes are there.
///
/// `least` is the least legal length: [`REQUEST_BYTES_MIN`] in a broker, 4 in a client.
pub fn length(buffer: &[u8], least: usize, limit: usize) -> Result<Option<usize>, FrameError> {
    let Some((head, _)) = buffer.split_first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let length = i32::from_be_bytes(*head);
    match usize::try_from(length) {
        Ok(length) if length > limit => Err(FrameError::TooLong { length, limit }),
        Ok(length) if length >= least => Ok(Some(length)),
        _ => Err(FrameError::TooShort { length, least }),
    }
}

/// Takes one whole frame, without its length, off the front of `buffer`.
pub fn cut(buffer: &mut BytesMut, least: usize, limit: usize) -> Result<Option<Bytes>, FrameError> {
    match length(buffer, least, limit)? {
        Some(length) if buffer.len() - LENGTH_BYTES >= length => {
            buffer.advance(LENGTH_BYTES);
            Ok(Some(buffer.split_to(length).freeze()))
        }
        _ => Ok(None),
    }
}

/// What every request starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHeader<'a> {
    /// API.
    pub key: ApiKey,
    /// Version of the body; not yet checked against anything.
    pub version: i16,
    /// To be echoed.
    pub correlation_id: i32,
    /// Name that the client gives itself.
    pub client_id: Option<&'a str>,
}

impl<'a> RequestHeader<'a> {
    /// Reads the header; `reader` then stands at the body.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, FrameError> {
        reader.set_flexible(false);
        let (key, version, correlation_id) = (reader.i16(), reader.i16(), reader.i32());
        reader.check()?;
        let key = ApiKey::try_from(key)?;
        let header_version = key.request_header_version(version);
        // The client id keeps its two-byte length also in the flexible header.
        let client_id = match header_version {
            0 => None,
            _ => reader.str_or_null(true),
        };
        if header_version >= 2 {
            reader.set_flexible(true);
            reader.skip_tags();
        }
        reader.check()?;
        Ok(Self {
            key,
            version,
            correlation_id,
            client_id,
        })
    }

    /// Appends the header.
    pub fn encode(&self, writer: &mut Writer) {
        let header_version = self.key.request_header_version(self.version);
        writer.set_flexible(false);
        writer.i16(self.key.code());
        writer.i16(self.version);
        writer.i32(self.correlation_id);
        if header_version >= 1 {
            writer.string_or_null(self.client_id, true);
        }
        if header_version >= 2 {
            writer.set_flexible(true);
            writer.no_tags();
        }
    }
}

/// Appends the head of a response: correlation id and, where the version has them, no tags.
pub fn encode_response_header(writer: &mut Writer, key: ApiKey, version: i16, correlation_id: i32) {
    writer.i32(correlation_id);
    writer.set_flexible(key.response_header_version(version) >= 1);
    writer.no_tags();
}

/// Reads the head of a response and gives its correlation id.
pub fn decode_response_header(
    reader: &mut Reader<'_>,
    key: ApiKey,
    version: i16,
) -> Result<i32, DecodeError> {
    reader.set_flexible(key.response_header_version(version) >= 1);
    let correlation_id = reader.i32();
    reader.skip_tags();
    reader.check()?;
    Ok(correlation_id)
}

/// A whole request frame, length included.
pub fn encode_request<R: Request>(
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
    request: &R,
) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    writer.i32(0);
    let header = RequestHeader {
        key: R::KEY,
        version,
        correlation_id,
        client_id,
    };
    header.encode(&mut writer);
    request.encode_body(&mut writer, version);
    seal(writer)
}

/// A whole response frame, length included.
pub fn encode_response<M: Message>(
    version: i16,
    correlation_id: i32,
    response: &M,
) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    writer.i32(0);
    encode_response_header(&mut writer, M::KEY, version, correlation_id);
    response.encode_body(&mut writer, version);
    seal(writer)
}

/// Fills in the length that a frame starts with.
fn seal(mut writer: Writer) -> Result<Bytes, EncodeError> {
    let length = writer.len().saturating_sub(LENGTH_BYTES);
    let length = i32::try_from(length).map_err(|_| EncodeError::Length(length))?;
    writer.patch_i32(0, length);
    writer.finish()
}

/// The body of a response frame (without its length), after a check of its correlation id.
pub fn decode_response<M: Message>(frame: &Bytes, version: i16) -> Result<(i32, M), DecodeError> {
    let mut reader = Reader::shared(frame);
    let correlation_id = decode_response_header(&mut reader, M::KEY, version)?;
    Ok((correlation_id, M::decode_body(&mut reader, version)?))
}
