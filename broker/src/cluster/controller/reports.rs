//! What brokers have reported, and what is asked of the controller: taken from its queues between rounds.

use std::sync::Arc;

use tracing::warn;

use super::Snapshots;
use super::term::Term;
use crate::cluster::names::Names;
use crate::cluster::tell::Report;

impl Term<'_> {
    /// Takes in what has come meanwhile; answers are for the next round.
    pub(super) fn collect(&mut self, snapshots: &Snapshots) {
        while let Ok(ask) = self.asks.try_recv() {
            self.asked.push(ask);
        }
        while let Ok(report) = self.reports.try_recv() {
            self.heed(report, snapshots);
        }
    }

    /// Brings a report into what is remembered.
    pub(super) fn heed(&mut self, report: Report, snapshots: &Snapshots) {
        match report {
            Report::Deleted { broker, replicas } => {
                for (tp, id) in replicas {
                    self.deletions.confirm(broker, &tp, id);
                    self.dropped.remove(&(broker, tp));
                }
            }
            Report::SetBack(passed) => {
                // It may be about a state that was written since the round began.
                self.set_back.see(&Arc::clone(&snapshots.borrow()));
                for (tp, epoch) in passed {
                    self.set_back.refused(tp, epoch);
                }
            }
            Report::Led(leads) => {
                for (tp, epoch) in leads {
                    let suspects = self.suspects.get_mut(&tp);
                    if let Some(suspects) = suspects.filter(|s| s.epoch == epoch) {
                        suspects.proven = true;
                    }
                    // A former leader may answer after the next one.
                    let led = self.led.entry(tp).or_insert(epoch);
                    *led = epoch.max(*led);
                }
            }
            Report::LogDirs {
                broker,
                epoch,
                failed,
                fine,
            } => {
                let now = snapshots.borrow().brokers.get(&broker).map(|b| b.epoch);
                if now == Some(epoch) {
                    for tp in fine {
                        self.offline.remove(&(broker, tp));
                    }
                    if !failed.is_empty() {
                        let names: Names = failed.iter().collect();
                        warn!("offline on broker {broker}, whose log folder has failed: {names}");
                    }
                    let failed = failed.into_iter().map(|tp| (broker, tp));
                    self.offline.extend(failed);
                }
            }
        }
    }
}
