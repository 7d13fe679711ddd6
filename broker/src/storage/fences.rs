//! The produce guard: what a partition knows of fencing tokens. Pure.
//!
//! A record with a header `x-fence: TOKEN` or `x-fence: NAME:TOKEN` is written on behalf of whoever
//! holds the lock NAME, TOKEN being the czxid of the hold (`coordinator::recipes::Fence`). The partition
//! remembers the largest token of each name and refuses smaller ones: a holder that slept through the end
//! of its session cannot write over the work of the next one.
//!
//! Tokens only ever grow, in memory as on disk, so a truncation takes nothing back: that a token was
//! given out stays true when the record that told so is gone, and refusing its elders stays right.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use nyala_client::wire::batch::{BatchView, Header};
use nyala_client::wire::crc32c;

/// Key of the header.
const HEADER: &[u8] = b"x-fence";
/// Names that a partition remembers: some 300 KB at most.
pub(crate) const NAMES_MAX: usize = 1000;
/// Longest name, in bytes: a path of ZooKeeper fits.
const NAME_BYTES_MAX: usize = 255;
/// What a compressed batch may hold, for this look at it; it has passed a tighter bound before.
const RECORDS_BYTES_MAX: usize = 100 << 20;
const VERSION: &str = "0";

/// A token in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceMark {
    record: i32,
    name: String,
    token: i64,
}

/// Why the guard does not let a batch in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FenceRefusal {
    /// The header is none that the guard understands.
    #[error("x-fence of record {record} is {what}: it must be TOKEN or NAME:TOKEN")]
    Malformed {
        /// Position of the record.
        record: i32,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Somebody else has the lock by now, and has written.
    #[error(
        "fenced: token {token} of record {record} is older than {newest}{}",
        of_name(name)
    )]
    Stale {
        /// Position of the record.
        record: i32,
        /// Name of the lock; empty for the one without a name.
        name: String,
        /// In the record.
        token: i64,
        /// The largest that was accepted.
        newest: i64,
    },
    /// More locks than a partition remembers.
    #[error("x-fence of record {record} names a lock too many: a partition knows at most {limit}")]
    TooManyNames {
        /// Position of the record.
        record: i32,
        /// How many it knows.
        limit: usize,
    },
    /// The records cannot be looked at.
    #[error("records cannot be read to look for x-fence")]
    Unreadable,
}

impl FenceRefusal {
    /// Position of the record that is at fault.
    pub(crate) fn record(&self) -> Option<i32> {
        match self {
            Self::Malformed { record, .. }
            | Self::Stale { record, .. }
            | Self::TooManyNames { record, .. } => Some(*record),
            Self::Unreadable => None,
        }
    }
}

fn of_name(name: &str) -> String {
    match name {
        "" => String::new(),
        name => format!(" of {name}"),
    }
}

/// The tokens in a producer's batch, in order; one that is repeated counts once.
pub fn fence_marks(batch: &[u8]) -> Result<Vec<FenceMark>, FenceRefusal> {
    let mut marks = Vec::new();
    look(batch, &mut |mark| {
        marks.push(mark?);
        Ok(())
    })?;
    marks.dedup_by(|b, a| (&a.name, a.token) == (&b.name, b.token));
    Ok(marks)
}

/// The tokens in a batch that is in the log: what no guard would have let in counts as absent.
pub(crate) fn logged_marks(batch: &[u8]) -> Vec<FenceMark> {
    let mut marks = Vec::new();
    let looked = look(batch, &mut |mark| {
        marks.extend(mark);
        Ok(())
    });
    // Up to the fault, if there was one.
    drop(looked);
    marks
}

fn look(
    batch: &[u8],
    found: &mut dyn FnMut(Result<FenceMark, FenceRefusal>) -> Result<(), FenceRefusal>,
) -> Result<(), FenceRefusal> {
    let unreadable = |_| FenceRefusal::Unreadable;
    let view = BatchView::parse(batch).map_err(unreadable)?;
    if view.is_control() {
        return Ok(());
    }
    let body = view.decompress(RECORDS_BYTES_MAX).map_err(unreadable)?;
    for (record, position) in view.records(&body).zip(0..) {
        for header in record.map_err(unreadable)?.headers {
            if header.name == HEADER {
                found(mark(position, &header))?;
            }
        }
    }
    Ok(())
}

fn mark(record: i32, header: &Header<'_>) -> Result<FenceMark, FenceRefusal> {
    let malformed = |what| FenceRefusal::Malformed { record, what };
    let value = header.value.ok_or_else(|| malformed("null"))?;
    let text = std::str::from_utf8(value).map_err(|_| malformed("no UTF-8"))?;
    let (name, digits) = text.rsplit_once(':').unwrap_or(("", text));
    if name.len() > NAME_BYTES_MAX {
        return Err(malformed("longer than 255 bytes"));
    }
    if name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(malformed("a name with blanks or control characters"));
    }
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(malformed("without a decimal token"));
    }
    let token = digits
        .parse()
        .map_err(|_| malformed("a token of more than 63 bits"))?;
    let name = name.to_owned();
    Ok(FenceMark {
        record,
        name,
        token,
    })
}

/// The largest token of each name. Owner: the log, under its lock.
///
/// `stored_to <= counted_to <= next_offset` once the log is open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fences {
    newest: BTreeMap<String, i64>,
    /// Everything below this offset is counted in.
    pub(crate) counted_to: i64,
    /// As the file on disk says, if there is one.
    pub(crate) stored_to: Option<i64>,
}

impl Fences {
    /// Knows nothing, and counts from `offset` on.
    pub(crate) fn from(offset: i64) -> Self {
        Self {
            counted_to: offset,
            ..Self::default()
        }
    }

    /// Judges a client's batch; changes nothing.
    pub(crate) fn check(&self, marks: &[FenceMark]) -> Result<(), FenceRefusal> {
        // What earlier records of the same batch say counts for the later ones.
        let mut within: HashMap<&str, i64> = HashMap::new();
        let mut names = self.newest.len();
        for mark in marks {
            let known = self.newest.get(&mark.name).copied();
            let newest = known.max(within.get(mark.name.as_str()).copied());
            match newest {
                Some(newest) if mark.token < newest => {
                    return Err(FenceRefusal::Stale {
                        record: mark.record,
                        name: mark.name.clone(),
                        token: mark.token,
                        newest,
                    });
                }
                None if names >= NAMES_MAX => {
                    return Err(FenceRefusal::TooManyNames {
                        record: mark.record,
                        limit: NAMES_MAX,
                    });
                }
                None => names += 1,
                Some(_) => {}
            }
            if marks.len() > 1 {
                within.insert(&mark.name, mark.token);
            }
        }
        Ok(())
    }

    /// Takes in what a batch says that ends before `next_offset` and is in the log.
    pub(crate) fn note(&mut self, marks: &[FenceMark], next_offset: i64) {
        for mark in marks {
            if let Some(newest) = self.newest.get_mut(&mark.name) {
                *newest = mark.token.max(*newest);
            } else if self.newest.len() < NAMES_MAX {
                self.newest.insert(mark.name.clone(), mark.token);
            }
        }
        self.counted_to = next_offset;
    }

    /// The file: version and CRC32C of what follows, offset counted to, number of names, token and name.
    pub(crate) fn encode(&self) -> String {
        let mut text = format!("{}\n{}\n", self.counted_to, self.newest.len());
        for (name, token) in &self.newest {
            let _ = writeln!(text, "{token} {name}");
        }
        format!("{VERSION} {:08x}\n{text}", crc32c(text.as_bytes()))
    }

    /// Reads the file back; `None` when it is damaged.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        let (head, text) = text.split_once('\n')?;
        let (version, crc) = head.split_once(' ')?;
        if version != VERSION || crc != format!("{:08x}", crc32c(text.as_bytes())) {
            return None;
        }
        let mut lines = text.lines();
        let counted_to: i64 = lines.next()?.parse().ok().filter(|offset| *offset >= 0)?;
        let count: usize = lines.next()?.parse().ok()?;
        let entry = |line: &str| {
            let (token, name) = line.split_once(' ')?;
            Some((name.to_owned(), token.parse().ok()?))
        };
        let newest: BTreeMap<String, i64> = lines.map(entry).collect::<Option<_>>()?;
        (newest.len() == count && count <= NAMES_MAX).then_some(Self {
            newest,
            counted_to,
            stored_to: Some(counted_to),
        })
    }
}

#[cfg(test)]
pub(super) mod tests;
