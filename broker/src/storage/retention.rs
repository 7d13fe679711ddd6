//! Which segments go: a pure choice from facts.
//!
//! Segments go oldest first, whole, and never when they reach the high watermark (KAFKA-5634). Where even
//! the active one is to go, the log rolls first.

use super::log_config::LogConfig;

/// What counts of one segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentFacts {
    pub(crate) size: u64,
    pub(crate) largest_timestamp_ms: i64,
    /// Offset behind its last one.
    pub(crate) end_offset: i64,
}

/// What bounds the choice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) log_start: i64,
    pub(crate) high_watermark: i64,
    pub(crate) now_ms: i64,
}

/// How many of the oldest segments go. `segments` are oldest first, the last one is active.
pub(crate) fn choose(segments: &[SegmentFacts], config: &LogConfig, bounds: &Bounds) -> usize {
    let deletable = |s: &SegmentFacts| s.end_offset <= bounds.high_watermark && s.size > 0;
    let below_start = |s: &SegmentFacts| s.end_offset <= bounds.log_start;
    let by_start = count(segments, |s| deletable(s) && below_start(s));
    if !config.cleanup_delete {
        return by_start;
    }
    let by_time = config.retention_ms.map_or(0, |retention_ms| {
        let expired =
            |s: &SegmentFacts| bounds.now_ms.saturating_sub(s.largest_timestamp_ms) > retention_ms;
        count(segments, |s| deletable(s) && expired(s))
    });
    let by_size = config.retention_bytes.map_or(0, |retention_bytes| {
        let total: u64 = segments.iter().map(|s| s.size).sum();
        let mut excess = total.saturating_sub(retention_bytes);
        count(segments, |s| {
            let goes = deletable(s) && excess >= s.size && excess > 0;
            excess = excess.saturating_sub(s.size);
            goes
        })
    });
    by_start.max(by_time).max(by_size)
}

fn count(segments: &[SegmentFacts], mut goes: impl FnMut(&SegmentFacts) -> bool) -> usize {
    segments.iter().take_while(|s| goes(s)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three segments of 100 bytes and 10 records; times 1000, 2000, 3000.
    fn three() -> Vec<SegmentFacts> {
        let segment = |i: i64| SegmentFacts {
            size: 100,
            largest_timestamp_ms: i * 1000,
            end_offset: i * 10,
        };
        (1..=3).map(segment).collect()
    }

    fn config(retention_ms: Option<i64>, retention_bytes: Option<u64>) -> LogConfig {
        LogConfig {
            retention_ms,
            retention_bytes,
            ..LogConfig::default()
        }
    }

    fn chosen(config: &LogConfig, log_start: i64, high_watermark: i64, now_ms: i64) -> usize {
        let bounds = Bounds {
            log_start,
            high_watermark,
            now_ms,
        };
        choose(&three(), config, &bounds)
    }

    #[test]
    fn by_time() {
        let config = config(Some(500), None);
        assert_eq!(chosen(&config, 0, 30, 1500), 0);
        assert_eq!(chosen(&config, 0, 30, 2501), 2);
        assert_eq!(
            chosen(&config, 0, 30, 9999),
            3,
            "the active one too, after a roll"
        );
        assert_eq!(
            chosen(&config, 0, 25, 9999),
            2,
            "not beyond the high watermark"
        );
    }

    #[test]
    fn by_size() {
        assert_eq!(chosen(&config(None, Some(300)), 0, 30, 0), 0);
        assert_eq!(chosen(&config(None, Some(201)), 0, 30, 0), 0);
        assert_eq!(chosen(&config(None, Some(200)), 0, 30, 0), 1);
        assert_eq!(chosen(&config(None, Some(0)), 0, 30, 0), 3);
        assert_eq!(chosen(&config(None, Some(0)), 0, 19, 0), 1);
    }

    #[test]
    fn by_log_start_also_where_only_compaction_cleans() {
        let mut config = config(Some(1), Some(0));
        config.cleanup_delete = false;
        config.cleanup_compact = true;
        assert_eq!(chosen(&config, 0, 30, 9999), 0);
        assert_eq!(chosen(&config, 20, 30, 9999), 2);
        assert_eq!(chosen(&config, 19, 30, 9999), 1);
    }
}
