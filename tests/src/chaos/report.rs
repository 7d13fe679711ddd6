//! What a run of chaos comes to.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::history::liveness::{quantile, unavailability};
use crate::history::{Anomaly, History, Outcome, What};

/// Findings that are told at most.
const TOLD_MAX: usize = 40;

/// What happened, and what was found.
#[derive(Debug)]
pub struct Report {
    /// The seed of the schedule.
    pub seed: u64,
    /// Number of faults.
    pub windows: usize,
    /// All operations.
    pub history: History,
    /// What cannot be true.
    pub anomalies: Vec<Anomaly>,
    /// Where the files of the run were kept, if anything was found.
    pub files: Option<PathBuf>,
}

/// Number of operations by kind and outcome.
fn counts(history: &History) -> BTreeMap<&'static str, [usize; 3]> {
    let mut counts: BTreeMap<&'static str, [usize; 3]> = BTreeMap::new();
    for operation in &history.operations {
        // What a Java producer may have had under way at its end has no time.
        if operation.ended.is_zero() {
            continue;
        }
        let (kind, outcome) = match &operation.what {
            What::Send { outcome, .. } => match outcome {
                Outcome::Acked(_) | Outcome::InLog => ("send", 0),
                Outcome::Refused => ("send", 1),
                Outcome::Unknown => ("send", 2),
            },
            What::Commit { done, .. } => ("commit", if *done { 0 } else { 2 }),
            What::Poll { .. } => ("poll", 0),
            What::Committed { .. } => ("read commit", 0),
            What::Watermark { .. } => ("list offsets", 0),
            What::Leader { .. } => ("look at leader", 0),
            What::Owns { .. } => ("own", 0),
            What::Seek { .. } | What::Fault { .. } => continue,
        };
        counts.entry(kind).or_default()[outcome] += 1;
    }
    counts
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, {} faults", self.seed, self.windows)?;
        writeln!(
            f,
            "\n{:<34} {:>9} {:>8} {:>8}",
            "operations", "ok", "refused", "unknown"
        )?;
        for (kind, [ok, refused, unknown]) in counts(&self.history) {
            writeln!(f, "{kind:<34} {ok:>9} {refused:>8} {unknown:>8}")?;
        }
        writeln!(
            f,
            "\n{:<34} {:>9} {:>8} {:>8}",
            "no acknowledgement for, ms", "faults", "p50", "p99"
        )?;
        for (kind, gaps) in unavailability(&self.history) {
            let at = |q| quantile(&gaps, q).as_millis();
            writeln!(
                f,
                "{kind:<34} {:>9} {:>8} {:>8}",
                gaps.len(),
                at(0.5),
                at(0.99)
            )?;
        }
        writeln!(f, "\nanomalies: {}", self.anomalies.len())?;
        for anomaly in self.anomalies.iter().take(TOLD_MAX) {
            writeln!(f, "  {anomaly}")?;
        }
        if let Some(files) = &self.files {
            writeln!(f, "files: {}", files.display())?;
        }
        Ok(())
    }
}
