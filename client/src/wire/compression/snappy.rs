//! Snappy in the framing of Java's snappy library (xerial), and raw as librdkafka may send it.
//!
//! ```text
//! 82 'S' 'N' 'A' 'P' 'P' 'Y' 00 | version 1 | compatible 1 | then blocks: length | raw snappy
//! ```
//! All numbers have four bytes, big endian. A header may come again between blocks.

use crate::wire::compression::{Codec, CompressionError};

const MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
const HEADER_BYTES: usize = 16;
/// What Java puts into a block.
const BLOCK_BYTES: usize = 32 << 10;
/// No three bytes of snappy give more than 64.
const RATIO_MAX: usize = 22;

const MALFORMED: CompressionError = CompressionError::Malformed(Codec::Snappy);

pub(super) fn compress(bytes: &[u8]) -> Result<Vec<u8>, CompressionError> {
    let mut output = Vec::with_capacity(HEADER_BYTES + bytes.len() / 2);
    output.extend_from_slice(&MAGIC);
    output.extend_from_slice(&1_u32.to_be_bytes());
    output.extend_from_slice(&1_u32.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for block in bytes.chunks(BLOCK_BYTES) {
        let fault = |_| CompressionError::Compress(Codec::Snappy);
        let packed = encoder.compress_vec(block).map_err(fault)?;
        let length = u32::try_from(packed.len()).map_err(|_| MALFORMED)?;
        output.extend_from_slice(&length.to_be_bytes());
        output.extend_from_slice(&packed);
    }
    Ok(output)
}

pub(super) fn decompress(bytes: &[u8], bound: usize) -> Result<Vec<u8>, CompressionError> {
    let mut output = Vec::new();
    if !bytes.starts_with(&MAGIC) {
        block(bytes, bound, &mut output)?;
        return Ok(output);
    }
    let mut rest = bytes;
    while !rest.is_empty() {
        if rest.starts_with(&MAGIC) {
            rest = rest.get(HEADER_BYTES..).ok_or(MALFORMED)?;
            continue;
        }
        let (length, after) = rest.split_first_chunk::<4>().ok_or(MALFORMED)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| MALFORMED)?;
        let (packed, after) = after.split_at_checked(length).ok_or(MALFORMED)?;
        block(packed, bound, &mut output)?;
        rest = after;
    }
    Ok(output)
}

/// Appends one raw block, whose announced length is checked against what its bytes can give.
fn block(packed: &[u8], bound: usize, output: &mut Vec<u8>) -> Result<(), CompressionError> {
    let length = snap::raw::decompress_len(packed).map_err(|_| MALFORMED)?;
    let start = output.len();
    if length > packed.len().saturating_mul(RATIO_MAX) {
        return Err(MALFORMED);
    }
    if length > bound.saturating_sub(start) {
        let codec = Codec::Snappy;
        return Err(CompressionError::TooLarge { codec, bound });
    }
    output.resize(start + length, 0);
    let place = output.get_mut(start..).unwrap_or_default();
    let written = snap::raw::Decoder::new().decompress(packed, place);
    match written {
        Ok(written) if written == length => Ok(()),
        _ => Err(MALFORMED),
    }
}
