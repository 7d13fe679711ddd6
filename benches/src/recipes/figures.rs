//! What is measured, and how it is shown: raw rows as CSV, medians with their spread as a table.

use std::fmt::Write as _;

/// Names of the sides, in the order of the table's columns.
pub(super) const SIDES: [&str; 3] = ["ours", "kazoo", "curator"];

/// One thing that every side does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Workload {
    /// As in `peer.rs`.
    pub(super) command: &'static str,
    /// Sessions that take part.
    pub(super) sessions: usize,
    /// What one operation is.
    operation: &'static str,
    /// What each side uses.
    by: &'static str,
}

/// In the order of the table.
pub(super) const ALL: [Workload; 9] = [
    Workload {
        command: "lock",
        sessions: 1,
        operation: "lock and unlock, nobody else",
        by: "`Lock`, `Lock`, `InterProcessMutex`",
    },
    Workload {
        command: "contend",
        sessions: 50,
        operation: "hand-over, 50 contenders in 50 sessions",
        by: "the same",
    },
    Workload {
        command: "turns",
        sessions: 50,
        operation: "hand-over, 50 contenders in 50 sessions, each of which wants it again",
        by: "`Lock::pass_on`, and the same",
    },
    Workload {
        command: "share",
        sessions: 1,
        operation: "hand-over, 50 contenders in one session",
        by: "a `Lock` each, a `Lock` each, one `InterProcessMutex`",
    },
    Workload {
        command: "put",
        sessions: 1,
        operation: "put an item, wait for it",
        by: "`Queue::put`, `LockingQueue`, `SimpleDistributedQueue`",
    },
    Workload {
        command: "push",
        sessions: 1,
        operation: "put an item at most once, wait for it",
        by: "`Queue::push`, `LockingQueue`, `SimpleDistributedQueue`",
    },
    Workload {
        command: "batch",
        sessions: 1,
        operation: "put items, 100 at a time",
        by: "`put_all`, `put_all`, `DistributedQueue.put` and `flushPuts`",
    },
    Workload {
        command: "leased",
        sessions: 2,
        operation: "put, take with a lease, acknowledge",
        by: "`Queue`, `LockingQueue`, `DistributedQueue` with `lockPath`",
    },
    Workload {
        command: "unleased",
        sessions: 2,
        operation: "put, take without a lease",
        by: "`Queue::pop`, `Queue`, `SimpleDistributedQueue`",
    },
];

/// One run of one workload on one side.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) command: &'static str,
    pub(super) side: &'static str,
    pub(super) run: usize,
    pub(super) operations_s: f64,
    /// Of single steps; 0 where they overlap.
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// Requests that ZooKeeper got, for each operation.
    pub(super) requests: f64,
    /// Events that it sent.
    pub(super) events: f64,
}

/// Every row.
pub(super) fn csv(rows: &[Row]) -> String {
    let mut text =
        "workload,side,run,operations_s,p50_ms,p99_ms,requests_per_operation,events_per_operation\n"
            .to_owned();
    for r in rows {
        let _ = writeln!(
            text,
            "{},{},{},{:.1},{:.3},{:.3},{:.2},{:.2}",
            r.command, r.side, r.run, r.operations_s, r.p50_ms, r.p99_ms, r.requests, r.events
        );
    }
    text
}

/// Medians of all runs; with a spread where it matters.
pub(super) fn table(rows: &[Row]) -> String {
    let mut text = "| | ours | kazoo | Curator | ours to the better of the two |\n\
                    | --- | ---: | ---: | ---: | ---: |\n"
        .to_owned();
    for workload in ALL {
        let of = |read: fn(&Row) -> f64| {
            SIDES.map(|side| {
                let runs = rows.iter();
                let runs = runs.filter(|r| r.command == workload.command && r.side == side);
                Spread::of(runs.map(read).collect())
            })
        };
        let rate = of(|r| r.operations_s);
        if rate[0].runs == 0 {
            continue;
        }
        let line = |what: &str, cells: [String; 3], ratio: String| {
            format!("| {what} | {} | {ratio} |\n", cells.join(" | "))
        };
        let best = rate[1].median.max(rate[2].median);
        let what = format!("**{}**, a second", workload.operation);
        let ratio = format!("{:.2}x", rate[0].median / best);
        text += &line(&what, rate.map(|s| s.rate()), ratio);
        let (p50, p99) = (of(|r| r.p50_ms), of(|r| r.p99_ms));
        if p50[0].median > 0.0 {
            let cell = |i: usize| format!("{:.2} / {:.2}", p50[i].median, p99[i].median);
            let faster = |s: &[Spread; 3]| s[1].median.min(s[2].median) / s[0].median;
            let ratio = format!("{:.2}x / {:.2}x", faster(&p50), faster(&p99));
            text += &line("p50 / p99, ms", [cell(0), cell(1), cell(2)], ratio);
        }
        let (requests, events) = (of(|r| r.requests), of(|r| r.events));
        let cell = |i: usize| format!("{:.2} + {:.2}", requests[i].median, events[i].median);
        text += &line(
            "requests + events",
            [cell(0), cell(1), cell(2)],
            String::new(),
        );
    }
    text += "\nBy: ";
    let by = ALL.map(|w| format!("{}: {}", w.operation, w.by));
    text + &by.join("; ") + ".\n"
}

/// Some runs' figures as one.
#[derive(Clone, Copy, Debug)]
struct Spread {
    median: f64,
    /// Half of the way from the least to the most, in percent of the median.
    percent: f64,
    runs: usize,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |i: usize| values.get(i).copied().unwrap_or(0.0);
        let median = at(values.len() / 2);
        let range = at(values.len().saturating_sub(1)) - at(0);
        Self {
            median,
            percent: range / 2.0 / median * 100.0,
            runs: values.len(),
        }
    }

    fn rate(&self) -> String {
        format!("{:.0} ±{:.0}%", self.median, self.percent)
    }
}
