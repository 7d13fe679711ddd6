//! Produce 0 to 2: named by ApiVersions, refused when used.
//!
//! librdkafka up to 2.11.0 compresses only where it finds version 0 advertised (KAFKA-18659), so it
//! is; record batches came with version 3, and older formats are not taken.

use nyala_client::wire::frame::RequestHeader;
use nyala_client::wire::{ApiKey, DecodeError, ErrorCode, Reader, Writer};

use super::reply::{CloseReason, Payload, Reply};

/// Answers every partition with `UNSUPPORTED_VERSION`.
pub(super) fn handle(
    header: &RequestHeader<'_>,
    body: &[u8],
    out: &mut Payload,
) -> Result<Reply, CloseReason> {
    let version = header.version;
    let mut writer = Writer::new();
    let acks = write(body, version, &mut writer)
        .map_err(|error| CloseReason::malformed(ApiKey::Produce, version, &error))?;
    if acks == 0 {
        let reason = ErrorCode::UnsupportedVersion.name().to_owned();
        return Err(CloseReason::UnackedFailure(reason));
    }
    let answer = writer
        .finish()
        .map_err(|error| CloseReason::unanswerable(ApiKey::Produce, version, &error))?;
    let frame = out.begin(header.correlation_id, false);
    out.push_bytes(&answer);
    out.finish(&frame);
    Ok(Reply::Now)
}

/// Writes the answer's body while the request's is read; gives `acks`.
fn write(body: &[u8], version: i16, writer: &mut Writer) -> Result<i16, DecodeError> {
    let mut reader = Reader::new(body);
    let acks = reader.i16();
    reader.i32();
    let topics = reader.count_or_null(6, false).unwrap_or(0);
    writer.count(topics);
    for _ in 0..topics {
        writer.string(reader.str());
        let partitions = reader.count_or_null(8, false).unwrap_or(0);
        writer.count(partitions);
        for _ in 0..partitions {
            writer.i32(reader.i32());
            reader.slice_or_null(true);
            reader.check()?;
            writer.i16(ErrorCode::UnsupportedVersion.code());
            writer.i64(-1);
            if version >= 2 {
                writer.i64(-1);
            }
        }
    }
    reader.end()?;
    if version >= 1 {
        writer.i32(0);
    }
    Ok(acks)
}
