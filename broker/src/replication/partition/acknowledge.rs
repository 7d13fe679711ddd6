//! What an acknowledgement needs: that this broker still leads, that enough replicas are in sync, and that
//! they have the records.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::super::error::{AppendError, WaitError};
use super::super::isr::effective_minimum;
use super::super::lease::Verdict;
use super::super::waits::WaitSet;
use super::Partition;

/// One who waits looks at the lease so often: nothing wakes it when nothing is heard.
const LEASE_LOOK: Duration = Duration::from_millis(250);

impl Partition {
    pub(super) fn check_lease(&self) -> Result<(), AppendError> {
        match self.may_serve() {
            true => Ok(()),
            false => Err(AppendError::NotLeader(self.id.clone())),
        }
    }

    /// Whether this leader may still believe that it leads. The only replica always does.
    pub(super) fn may_serve(&self) -> bool {
        if self.alone.load(Ordering::Relaxed) {
            return true;
        }
        let period = match self.settings().lease.verdict() {
            Verdict::Holds => return true,
            Verdict::Over => return self.in_sync.load(Ordering::Relaxed) <= 1,
            Verdict::AskFollowers { period } => period,
        };
        let standing = self.standing.lock();
        match (&standing.lead, &standing.state) {
            (Some(lead), Some(state)) => {
                let minimum = self.config.load().min_insync_replicas;
                lead.is_followed(state, minimum, (period, Instant::now()))
            }
            _ => false,
        }
    }

    /// Of a partition that is led here with others in sync: whether it still may be.
    pub(in super::super) fn is_followed(&self) -> Option<bool> {
        let with_others = self.in_sync.load(Ordering::Relaxed) > 1;
        (with_others && self.leading().is_some()).then(|| self.may_serve())
    }

    pub(super) fn check_in_sync(&self, min_insync_replicas: usize) -> Result<(), AppendError> {
        let replicas = self.replicas.load(Ordering::Relaxed);
        let in_sync = self.in_sync.load(Ordering::Relaxed);
        let needed = effective_minimum(min_insync_replicas, replicas);
        if in_sync < needed {
            let partition = self.id.clone();
            return Err(AppendError::NotEnoughReplicas {
                partition,
                in_sync,
                needed,
            });
        }
        Ok(())
    }

    /// Waits until the high watermark has passed `last_offset`.
    pub async fn wait_replicated(
        self: &Arc<Self>,
        last_offset: i64,
        deadline: Instant,
    ) -> Result<(), WaitError> {
        let mut set = WaitSet::new();
        set.add_past(self, last_offset);
        let resignations = self.resignations.load(Ordering::Acquire);
        loop {
            // Led without a break, whatever the epoch: what was appended is still there.
            let led = self.leading().is_some();
            if !led || self.resignations.load(Ordering::Acquire) != resignations {
                return Err(WaitError::NotLeader(self.id.clone()));
            }
            if self.log.lock().high_watermark() > last_offset {
                return self.check_replicated();
            }
            // Followers that have gone to another leader are heard of by their silence only.
            if !self.may_serve() {
                return Err(WaitError::NotLeader(self.id.clone()));
            }
            let look = deadline.min(Instant::now() + LEASE_LOOK);
            let moved = tokio::time::timeout_at(look, set.moved()).await;
            if moved.is_err() && look == deadline {
                return Err(WaitError::TimedOut);
            }
        }
    }

    /// Replicas may have fallen out of sync since the append.
    fn check_replicated(&self) -> Result<(), WaitError> {
        let standing = self.standing.lock();
        if let (Some(lead), Some(state)) = (&standing.lead, &standing.state) {
            let minimum = self.config.load().min_insync_replicas;
            let needed = effective_minimum(minimum, state.replicas.len());
            if lead.maximal_in_sync(state) < needed {
                return Err(WaitError::NotEnoughReplicas(self.id.clone()));
            }
        }
        Ok(())
    }
}
