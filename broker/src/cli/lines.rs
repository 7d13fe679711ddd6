//! Lines of a file or of standard input, byte for byte, in blocks.
//!
//! A thread of its own reads, for a terminal may keep it waiting for ever. Lines are slices of the
//! blocks they were read in; nothing is copied but what lies across two blocks.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::sync::mpsc;

/// Read at a time.
const BLOCK_BYTES: usize = 256 << 10;
/// No line is longer: a record of that size fits no request.
const LINE_BYTES_MAX: usize = 100 << 20;
/// Blocks that wait for the sender.
const BLOCKS_MAX: usize = 4;

/// The lines of one block, without their ends.
pub(super) type Block = io::Result<Vec<Bytes>>;

/// Reads `file`, or standard input, until its end. Gives its size where known.
pub(super) fn read(file: Option<&Path>) -> io::Result<(mpsc::Receiver<Block>, Option<u64>)> {
    let (source, size): (Box<dyn Read + Send>, Option<u64>) = match file {
        Some(path) => {
            let file = File::open(path)?;
            let meta = file.metadata()?;
            (Box::new(file), meta.is_file().then_some(meta.len()))
        }
        None => (Box::new(io::stdin()), None),
    };
    let (blocks, lines) = mpsc::channel(BLOCKS_MAX);
    std::thread::Builder::new()
        .name("nyala-lines".to_owned())
        .spawn(move || {
            if let Err(error) = pump(source, |block| blocks.blocking_send(Ok(block)).is_ok()) {
                // The other side may have gone.
                let _ = blocks.blocking_send(Err(error));
            }
        })?;
    Ok((lines, size))
}

/// Cuts what `source` gives into lines, block by block, while `take` wants more.
fn pump(mut source: impl Read, mut take: impl FnMut(Vec<Bytes>) -> bool) -> io::Result<()> {
    let mut pending = BytesMut::new();
    loop {
        let searched = pending.len();
        pending.resize(searched + BLOCK_BYTES, 0);
        let room = pending.get_mut(searched..).unwrap_or_default();
        let got = match source.read(room) {
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        pending.truncate(searched + got);
        if got == 0 {
            if !pending.is_empty() {
                take(vec![pending.freeze()]);
            }
            return Ok(());
        }
        let lines = cut(&mut pending, searched);
        if pending.len() > LINE_BYTES_MAX {
            let reason = format!("a line is longer than {LINE_BYTES_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        if !lines.is_empty() && !take(lines) {
            return Ok(());
        }
    }
}

/// Takes the whole lines off `pending`, of which the first `searched` bytes hold no line end.
fn cut(pending: &mut BytesMut, searched: usize) -> Vec<Bytes> {
    let fresh = pending.get(searched..).unwrap_or_default();
    let Some(last) = fresh.iter().rposition(|b| *b == b'\n') else {
        return Vec::new();
    };
    let mut block = pending.split_to(searched + last + 1).freeze();
    let mut lines = Vec::new();
    while let Some(end) = block.iter().position(|b| *b == b'\n') {
        lines.push(block.split_to(end));
        block.advance(1);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        pump(input, |block| {
            all.extend(block.iter().map(|l| l.to_vec()));
            true
        })
        .expect("memory does not fail");
        all
    }

    #[test]
    fn lines_are_kept_byte_for_byte() {
        assert_eq!(lines(b""), Vec::<Vec<u8>>::new());
        assert_eq!(
            lines(b"a\n\nb\r\n"),
            [b"a".to_vec(), vec![], b"b\r".to_vec()]
        );
        assert_eq!(lines(b"\xff\x00\nlast"), [vec![0xff, 0], b"last".to_vec()]);
    }

    #[test]
    fn lines_across_blocks_are_whole() {
        let long = vec![b'x'; 3 * BLOCK_BYTES + 17];
        let mut input = b"first\n".to_vec();
        input.extend(&long);
        input.extend(b"\nend\n");
        assert_eq!(lines(&input), [b"first".to_vec(), long, b"end".to_vec()]);
    }
}
