//! Zstandard, frame by frame into one buffer.
//!
//! The streaming decoder would allocate the window that a frame asks for, up to 2 GiB. Decoding
//! into the output itself needs no window, so nothing but the bound limits a frame's settings.

use zstd::zstd_safe;

use crate::wire::compression::{Codec, CompressionError};

const MALFORMED: CompressionError = CompressionError::Malformed(Codec::Zstd);
/// First guess when a frame does not say how much it holds.
const RATIO_GUESS: usize = 8;
const GUESS_BYTES_MIN: usize = 16 << 10;
/// `ZSTD_error_dstSize_tooSmall` as libzstd returns it: an error is its negated number.
const OUTPUT_FULL: usize = 70_usize.wrapping_neg();

pub(super) fn compress(bytes: &[u8], level: i32) -> Result<Vec<u8>, CompressionError> {
    zstd::bulk::compress(bytes, level).map_err(|_| CompressionError::Compress(Codec::Zstd))
}

pub(super) fn decompress(bytes: &[u8], bound: usize) -> Result<Vec<u8>, CompressionError> {
    let mut context = zstd_safe::DCtx::create();
    let guess = bytes.len().saturating_mul(RATIO_GUESS).max(GUESS_BYTES_MIN);
    let announced = zstd_safe::get_frame_content_size(bytes).map_err(|_| MALFORMED)?;
    let announced = announced.and_then(|size| usize::try_from(size).ok());
    let mut room = guess.min(announced.unwrap_or(guess)).min(bound);
    loop {
        // A fresh buffer each time: growing would copy bytes that are written again anyway.
        let mut output = Vec::with_capacity(room);
        match context.decompress(&mut output, bytes) {
            Ok(_) if output.len() <= bound => return Ok(output),
            Err(OUTPUT_FULL) if room < bound => {
                room = room.saturating_mul(4).max(GUESS_BYTES_MIN).min(bound);
            }
            Ok(_) | Err(OUTPUT_FULL) => {
                let codec = Codec::Zstd;
                return Err(CompressionError::TooLarge { codec, bound });
            }
            Err(_) => return Err(MALFORMED),
        }
    }
}
