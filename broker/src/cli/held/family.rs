//! What this process has started, and what that has started: as `/proc` lists it.
//!
//! Orphans come to the nearest subreaper above them, which both `nyala` and its guard are.

use std::collections::HashSet;
use std::time::Duration;

use crate::cli::tell::tell;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, waitpid};
use tokio::time::sleep;

/// Between looks at what is killed and has not ended.
const KILL_EVERY: Duration = Duration::from_millis(5);

/// Whether the kernel lists children at all.
pub(super) fn is_listed() -> bool {
    std::fs::read(format!("/proc/self/task/{}/children", getpid())).is_ok()
}

/// The children of this process.
pub(super) fn children() -> Vec<Pid> {
    children_of(getpid())
}

/// The children of this process, theirs, and so on; not those of another hold's guard, who sees to them. Who is born or
/// changes its parent meanwhile may be missing.
pub(super) fn descendants() -> Vec<Pid> {
    let mut all = children();
    let mut next = 0;
    while let Some(pid) = all.get(next).copied() {
        next += 1;
        if !is_guard(pid) {
            all.extend(children_of(pid));
        }
    }
    all
}

/// By its command line: see `running::starter`.
fn is_guard(pid: Pid) -> bool {
    let words = std::fs::read(format!("/proc/{pid}/cmdline"));
    words.is_ok_and(|words| words.starts_with(b"nyala\0run-guarded\0"))
}

/// Of all threads of a process.
fn children_of(pid: Pid) -> Vec<Pid> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    let tasks = tasks.into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let pids = |list: String| -> Vec<Pid> {
        let raw = list.split_whitespace().filter_map(|pid| pid.parse().ok());
        raw.filter_map(Pid::from_raw).collect()
    };
    lists.flat_map(pids).collect()
}

/// Forgets children that have ended, but those who are waited for elsewhere.
pub(super) fn reap(elsewhere: impl Fn(Pid) -> bool) {
    for pid in children() {
        if !elsewhere(pid) {
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}

/// Kills all children but `others`, who are not ours to end, and resolves when none is left; `waited` is waited for
/// elsewhere meanwhile. The children of who is killed come to us, and are next. What runs as another user cannot be
/// killed: that is said, and its end waited for.
pub(super) async fn kill_all(others: &HashSet<Pid>, waited: Option<Pid>) {
    let mut told = HashSet::new();
    loop {
        reap(|pid| Some(pid) == waited || others.contains(&pid));
        let mut left = children();
        left.retain(|pid| !others.contains(pid));
        if left.is_empty() {
            return;
        }
        for pid in left {
            if kill_process(pid, Signal::KILL) == Err(Errno::PERM) && told.insert(pid) {
                tell!(
                    "nyala: process {pid} runs as another user and cannot be stopped; waiting for its end"
                );
            }
        }
        sleep(KILL_EVERY).await;
    }
}
