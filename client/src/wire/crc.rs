//! CRC32C, which covers every record batch from its attributes to its end.

/// CRC32C (Castagnoli) of `bytes`.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes);
    u32::try_from(sum).expect("a sum of 32 bits fits 32 bits")
}

#[cfg(test)]
mod tests {
    use super::crc32c;

    #[test]
    fn known_values() {
        assert_eq!(crc32c(b""), 0);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn agrees_with_another_implementation_at_every_alignment() {
        let bytes: Vec<u8> = (0..8192_u32)
            .map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0])
            .collect();
        for start in 0..16 {
            for length in (0..300).chain([511, 1024, 4095, 4096, 8000]) {
                let slice = &bytes[start..start + length];
                assert_eq!(crc32c(slice), ::crc32c::crc32c(slice), "{start}+{length}");
            }
        }
    }
}
