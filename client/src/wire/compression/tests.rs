//! Codecs: round trips, exact bounds, lies about lengths, bombs, garbage.

use std::io::Write as _;

use super::{Codec, CompressionError, compress, decompress};

const ALL: [Codec; 5] = [
    Codec::None,
    Codec::Gzip,
    Codec::Snappy,
    Codec::Lz4,
    Codec::Zstd,
];

fn text(bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|i| b'a' + (i / 7 % 23).to_le_bytes()[0])
        .collect()
}

#[test]
fn what_goes_in_comes_out() {
    for codec in ALL {
        for bytes in [0, 1, 100, 32 << 10, (32 << 10) + 1, 300_000] {
            let plain = text(bytes);
            let packed = compress(codec, &plain, None).unwrap();
            assert_eq!(
                decompress(codec, &packed, bytes),
                Ok(plain),
                "{codec} {bytes}"
            );
        }
    }
}

#[test]
fn the_bound_is_exact() {
    for codec in ALL {
        let packed = compress(codec, &text(100_000), None).unwrap();
        let error = CompressionError::TooLarge {
            codec,
            bound: 99_999,
        };
        assert_eq!(decompress(codec, &packed, 99_999), Err(error));
    }
}

#[test]
fn raw_snappy_and_repeated_headers_are_read() {
    let plain = text(1000);
    let raw = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
    assert_eq!(decompress(Codec::Snappy, &raw, 1000).unwrap(), plain);
    let framed = compress(Codec::Snappy, &plain, None).unwrap();
    let twice = [framed.clone(), framed].concat();
    assert_eq!(
        decompress(Codec::Snappy, &twice, 2000).unwrap(),
        plain.repeat(2)
    );
}

#[test]
fn gzip_members_and_zstd_frames_follow_each_other() {
    for codec in [Codec::Gzip, Codec::Zstd] {
        let packed = compress(codec, &text(500), None).unwrap().repeat(3);
        assert_eq!(
            decompress(codec, &packed, 1500).unwrap(),
            text(500).repeat(3)
        );
    }
}

#[test]
fn a_lie_about_the_length_allocates_nothing() {
    // Raw snappy that announces 4 GiB - 1 and then stops.
    let lie = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
    let error = CompressionError::Malformed(Codec::Snappy);
    assert_eq!(decompress(Codec::Snappy, &lie, 1 << 20), Err(error));
    // A zstd frame with a window of 2 GiB and a content of 100 bytes.
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(&text(100)).unwrap();
    let packed = encoder.finish().unwrap();
    assert_eq!(decompress(Codec::Zstd, &packed, 100).unwrap(), text(100));
}

#[test]
fn bombs_stop_at_the_bound() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let packed = compress(codec, &vec![0; 64 << 20], None).unwrap();
        let bound = 1 << 20;
        let error = CompressionError::TooLarge { codec, bound };
        assert_eq!(decompress(codec, &packed, bound), Err(error));
    }
}

#[test]
fn garbage_is_an_error() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let result = decompress(codec, b"\x99 is no compressed data at all", 1 << 20);
        assert_eq!(result, Err(CompressionError::Malformed(codec)));
        let mut cut = compress(codec, &text(5000), None).unwrap();
        cut.truncate(cut.len() / 2);
        assert!(decompress(codec, &cut, 1 << 20).is_err(), "{codec}");
    }
}

#[test]
fn names_and_bits_agree() {
    for codec in ALL {
        assert_eq!(codec.name().parse(), Ok(codec));
        assert_eq!(Codec::from_attributes(codec.attributes() | 0x18), Ok(codec));
    }
    assert_eq!(Codec::from_attributes(5), Err(CompressionError::Unknown(5)));
    assert!("lzma".parse::<Codec>().is_err());
}
