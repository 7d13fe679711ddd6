//! Folders of tests that a slow disk must not disturb.

use std::path::Path;

use tempfile::TempDir;

/// Where Linux has a file system in memory.
const MEMORY: &str = "/dev/shm";

/// Less room than this is left to others, in bytes.
const ROOM_MIN: u64 = 2 << 30;

/// A folder in memory if there is room, else where temporary files are; goes with the value.
///
/// For ZooKeepers: what they are asked waits for their disk, so that one that stands still for a second or two ends
/// connections of the short sessions that tests have. What is to be shown on a real file system stays out of it.
#[must_use]
pub fn in_memory() -> TempDir {
    let memory = Path::new(MEMORY);
    let room = rustix::fs::statvfs(memory).map_or(0, |fs| fs.f_bavail.saturating_mul(fs.f_frsize));
    let mut named = tempfile::Builder::new();
    named.prefix("nyala-test-");
    let made = match room >= ROOM_MIN {
        true => named.tempdir_in(memory),
        false => named.tempdir(),
    };
    made.expect("a folder for the test")
}
