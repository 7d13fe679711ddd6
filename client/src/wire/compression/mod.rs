//! The four codecs of record batches, each with a bound on what comes out.
//!
//! A few kilobytes may claim to hold gigabytes. So output grows as it is made and stops at the
//! bound that the caller gives; no length that the peer wrote is believed.

#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod snappy;
mod zstandard;

use std::fmt;
use std::io::{Read, Write};
use std::str::FromStr;

/// How the records of a batch are compressed: the low three bits of its attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Codec {
    /// As they are.
    #[default]
    None,
    /// RFC 1952, one member or several.
    Gzip,
    /// Written in Java's framing (xerial); read in that framing and raw.
    Snappy,
    /// LZ4 frame format.
    Lz4,
    /// RFC 8878. Needs Produce 7 and Fetch 10.
    Zstd,
}

/// Why bytes cannot be decompressed, or compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompressionError {
    /// More comes out than the caller allows.
    #[error("{codec} data holds more than the {bound} bytes allowed")]
    TooLarge {
        /// Codec.
        codec: Codec,
        /// The bound.
        bound: usize,
    },
    /// The bytes are no data of the codec.
    #[error("malformed {0} data")]
    Malformed(Codec),
    /// The codec could not write; only memory can be the reason.
    #[error("{0} could not compress")]
    Compress(Codec),
    /// The three bits name no codec.
    #[error("unknown compression codec {0}")]
    Unknown(u8),
}

impl Codec {
    /// The codec in a batch's attributes.
    pub fn from_attributes(attributes: i16) -> Result<Self, CompressionError> {
        let [_, low] = attributes.to_be_bytes();
        match low & 7 {
            0 => Ok(Self::None),
            1 => Ok(Self::Gzip),
            2 => Ok(Self::Snappy),
            3 => Ok(Self::Lz4),
            4 => Ok(Self::Zstd),
            unknown => Err(CompressionError::Unknown(unknown)),
        }
    }

    /// The bits that say this codec.
    #[must_use]
    pub const fn attributes(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// Name as in `compression.type`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is none of Kafka's codecs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown compression type {0:?}, expected none, gzip, snappy, lz4 or zstd")]
pub struct UnknownCodec(pub String);

impl FromStr for Codec {
    type Err = UnknownCodec;

    fn from_str(name: &str) -> Result<Self, UnknownCodec> {
        let all = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];
        let found = all.into_iter().find(|codec| codec.name() == name);
        found.ok_or_else(|| UnknownCodec(name.to_owned()))
    }
}

/// Compresses `bytes`; `level` counts for gzip and zstd only.
pub fn compress(
    codec: Codec,
    bytes: &[u8],
    level: Option<i32>,
) -> Result<Vec<u8>, CompressionError> {
    let fault = CompressionError::Compress(codec);
    match codec {
        Codec::None => Ok(bytes.to_vec()),
        Codec::Gzip => {
            let level = level.and_then(|level| u32::try_from(level).ok());
            let level = flate2::Compression::new(level.map_or(6, |level| level.min(9)));
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(bytes).map_err(|_| fault)?;
            encoder.finish().map_err(|_| fault)
        }
        Codec::Snappy => snappy::compress(bytes),
        Codec::Lz4 => {
            let info = lz4_flex::frame::FrameInfo::new()
                .block_size(lz4_flex::frame::BlockSize::Max64KB)
                .block_mode(lz4_flex::frame::BlockMode::Independent);
            let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
            encoder.write_all(bytes).map_err(|_| fault)?;
            encoder.finish().map_err(|_| fault)
        }
        Codec::Zstd => zstandard::compress(bytes, level.unwrap_or(3)),
    }
}

/// Decompresses `bytes` into at most `bound` bytes.
pub fn decompress(codec: Codec, bytes: &[u8], bound: usize) -> Result<Vec<u8>, CompressionError> {
    match codec {
        Codec::None if bytes.len() > bound => Err(CompressionError::TooLarge { codec, bound }),
        Codec::None => Ok(bytes.to_vec()),
        Codec::Gzip => drain(codec, flate2::bufread::MultiGzDecoder::new(bytes), bound),
        Codec::Snappy => snappy::decompress(bytes, bound),
        // The magic of a current frame; the decoder would take the legacy one too, whose blocks
        // are 8 MiB each however short the input is.
        Codec::Lz4 if !bytes.starts_with(&0x184d_2204_u32.to_le_bytes()) => {
            Err(CompressionError::Malformed(codec))
        }
        Codec::Lz4 => drain(codec, lz4_flex::frame::FrameDecoder::new(bytes), bound),
        Codec::Zstd => zstandard::decompress(bytes, bound),
    }
}

/// Reads `source` to its end, but no further than one byte beyond `bound`.
fn drain(codec: Codec, source: impl Read, bound: usize) -> Result<Vec<u8>, CompressionError> {
    let mut output = Vec::new();
    let limit = u64::try_from(bound).unwrap_or(u64::MAX).saturating_add(1);
    let read = source.take(limit).read_to_end(&mut output);
    if output.len() > bound {
        return Err(CompressionError::TooLarge { codec, bound });
    }
    read.map_err(|_| CompressionError::Malformed(codec))?;
    Ok(output)
}

#[cfg(test)]
mod tests;
