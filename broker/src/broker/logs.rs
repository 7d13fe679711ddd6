//! The log folders: opened before the broker joins, looked after by rounds, closed last.
//!
//! Storage works without clock and runtime; both come from here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nyala_coordinator::clock;
use nyala_coordinator::ids::TopicName;
use parking_lot::Mutex;

use super::{StartError, Tasks};
use crate::cluster::Configs;
use crate::config::{Settings, TopicConfig};
use crate::storage::{Health, LogConfig, LogDirs, LogDirsConfig, LowDir, RoundReport};

/// How often files whose delay is over, and `flush.ms`, are looked at.
const SHORT_ROUND: Duration = Duration::from_secs(1);

/// Opens every folder, on the blocking pool: after a crash there is something to read.
pub(super) async fn open(settings: &Settings) -> Result<Arc<LogDirs>, StartError> {
    let dirs: Vec<PathBuf> = settings.log_folders().iter().map(absolute).collect();
    let config = LogDirsConfig {
        min_free_bytes: min_free_bytes(settings, &dirs),
        recovery_threads_per_dir: usize::try_from(settings.num_recovery_threads_per_data_dir)
            .unwrap_or(1),
        dirs,
    };
    let own = Arc::new(TopicConfig::defaults(settings).log_config(settings));
    let began = clock::now();
    let opened = tokio::task::spawn_blocking(move || {
        let config_of = |_: &TopicName| -> Arc<LogConfig> { Arc::clone(&own) };
        LogDirs::open(config, &config_of, clock::wall_ms())
    });
    let (logs, report) = opened.await.map_err(StartError::Interrupted)??;
    for (path, error) in &report.offline {
        tracing::error!(path = %path.display(), %error, "offline");
    }
    for (path, offsets_lost) in &report.synced_lost {
        tracing::error!(
            path = %path.display(),
            offsets_lost,
            "records that had been synced are missing: the disk lost what it had confirmed"
        );
    }
    if report.logs > 0 {
        tracing::info!(
            logs = report.logs,
            bytes_scanned = report.bytes_scanned,
            bytes_cut = report.bytes_cut,
            ms = began.elapsed().as_millis(),
            "logs are open"
        );
    }
    Ok(logs)
}

/// The folder as others are told of it; as it is where there is no working directory.
fn absolute(folder: &String) -> PathBuf {
    std::path::absolute(folder).unwrap_or_else(|_| folder.into())
}

/// `min.free.bytes` for the smallest file system among the folders.
fn min_free_bytes(settings: &Settings, dirs: &[PathBuf]) -> u64 {
    let total = |dir: &PathBuf| {
        let there = dir.ancestors().find(|path| path.exists());
        let stat = rustix::fs::statvfs(there.unwrap_or_else(|| Path::new("/"))).ok()?;
        Some(stat.f_blocks.saturating_mul(stat.f_frsize))
    };
    let floors = dirs.iter().filter_map(total);
    floors
        .map(|total| settings.min_free_bytes_of(total))
        .min()
        .unwrap_or(0)
}

/// Gives every log its topic's settings, which were not known when it was opened.
pub(super) fn configure(logs: &LogDirs, configs: &Configs) {
    let settings = configs.live().get();
    for (partition, log) in logs.logs() {
        let config = configs.topic(&partition.topic).log_config(&settings);
        log.lock().set_config(Arc::new(config));
    }
}

/// Retention, flushing, checkpoints and removal, each at its own pace.
pub(super) fn spawn_rounds(tasks: &mut Tasks, logs: &Arc<LogDirs>, settings: &Settings) {
    let mut every = |name, period, round: fn(&LogDirs, i64) -> RoundReport| {
        let logs = Arc::clone(logs);
        tasks.every(name, period, move || {
            tell(name, round(&logs, clock::wall_ms()))
        });
    };
    let ms = |number: i64| Duration::from_millis(u64::try_from(number).unwrap_or(0).max(100));
    // One round writes every checkpoint, so the shortest of their intervals counts.
    let checkpoints = settings
        .replica_high_watermark_checkpoint_interval_ms
        .min(i64::from(settings.log_flush_offset_checkpoint_interval_ms))
        .min(i64::from(
            settings.log_flush_start_offset_checkpoint_interval_ms,
        ));
    every(
        "retention",
        ms(settings.log_retention_check_interval_ms),
        LogDirs::retain,
    );
    every("checkpoints", ms(checkpoints), LogDirs::checkpoint_round);
    every("flush", SHORT_ROUND, LogDirs::flush_round);
    every("removal", SHORT_ROUND, LogDirs::remove_deleted);
    let (logs, told) = (
        Arc::clone(logs),
        Arc::new(Mutex::new(Told::since_open(logs))),
    );
    tasks.every("health", SHORT_ROUND, move || {
        let health = logs.health();
        told.lock().tell(&health);
    });
}

/// What was said of the logs' health, so that each change is said once.
#[derive(Debug)]
struct Told {
    offline: BTreeSet<PathBuf>,
    low: BTreeSet<PathBuf>,
}

impl Told {
    /// [`open`] has told which folders were offline then.
    fn since_open(logs: &LogDirs) -> Self {
        let states = logs.states().into_iter();
        let offline = states.filter(|dir| dir.offline.is_some());
        Self {
            offline: offline.map(|dir| dir.path).collect(),
            low: BTreeSet::new(),
        }
    }

    fn tell(&mut self, health: &Health) {
        for (path, reason) in &health.offline {
            if self.offline.insert(path.clone()) {
                tracing::error!(
                    path = %path.display(),
                    %reason,
                    "offline: mend the cause and start the broker again"
                );
            }
        }
        for LowDir { path, free, limit } in &health.low {
            if self.low.insert(path.clone()) {
                tracing::warn!(
                    path = %path.display(),
                    free,
                    limit,
                    "less than min.free.bytes is free: produce is refused until there is more"
                );
            }
        }
        self.low.retain(|path| {
            let still = health.low.iter().any(|low| low.path == *path);
            if !still {
                tracing::info!(path = %path.display(), "there is space again: produce is served");
            }
            still
        });
    }
}

fn tell(name: &str, report: RoundReport) {
    for (path, error) in report.failed {
        tracing::error!(round = name, path = %path.display(), %error, "failed");
    }
}

/// Closes every log and leaves the marks of a clean stop.
pub(super) async fn close(logs: &Arc<LogDirs>) {
    let logs = Arc::clone(logs);
    let closed = tokio::task::spawn_blocking(move || logs.close());
    match closed.await {
        Ok(report) => tell("close", report),
        Err(error) => tracing::error!(%error, "closing the logs was cut short"),
    }
}
