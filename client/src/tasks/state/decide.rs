//! What the scheduler does about its state: give tasks to free workers, take them from dead ones, try
//! failed ones again, give up on some. Pure.

use std::collections::BinaryHeap;

use bytes::Bytes;

use super::super::event::{ERROR_BYTES_MAX, Event, Fence, Verdict, WorkerId};
use super::super::task::{Place, TaskId};
use super::{Phase, State};

/// A task that takes one worker more with it, or outlives its lease once more, is given up.
const LOSSES_MAX: u32 = 10;
/// Beyond the task's lease, for the worker's own report that it ran out.
const LEASE_GRACE_MS: i64 = 5_000;

/// An event for the log; `Dead` goes to the dead letters first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) place: Place,
    pub(crate) id: TaskId,
    pub(crate) attempt: u32,
    pub(crate) verdict: Verdict,
}

impl Decision {
    pub(crate) fn event(self, fence: Fence) -> Event {
        Event::Decided {
            fence,
            place: self.place,
            id: self.id,
            attempt: self.attempt,
            verdict: self.verdict,
        }
    }
}

impl State {
    /// All that is to be decided now, in order, and applied already (but for the end of dead tasks,
    /// who stay until their event is read back: a checkpoint before it must not forget them).
    pub(crate) fn decide(&mut self, now_ms: i64) -> Vec<Decision> {
        let mut decisions = Vec::new();
        self.take_from_the_dead(&mut decisions);
        self.end_leases(now_ms, &mut decisions);
        self.judge_failed(now_ms, &mut decisions);
        self.wake_waiting(now_ms);
        self.assign(&mut decisions);
        decisions
    }

    /// When the next decision falls due by time alone.
    pub(crate) fn next_deadline_ms(&self) -> Option<i64> {
        let due = self.waiting.first().map(|(due, _)| *due);
        let lease = self.leases.first();
        let lease = lease.map(|(until, _)| until.saturating_add(LEASE_GRACE_MS));
        due.into_iter().chain(lease).min()
    }

    fn decision(&self, place: Place, verdict: Verdict) -> Option<Decision> {
        let open = self.open.get(&place)?;
        Some(Decision {
            place,
            id: open.id.clone(),
            attempt: open.attempt,
            verdict,
        })
    }

    fn settle(&mut self, place: Place, verdict: Verdict, into: &mut Vec<Decision>) {
        if let Some(decision) = self.decision(place, verdict.clone()) {
            self.decided(place, decision.attempt, verdict);
            into.push(decision);
        }
    }

    fn take_from_the_dead(&mut self, into: &mut Vec<Decision>) {
        let gone = |worker: &&WorkerId| !self.members.contains_key(*worker);
        let gone: Vec<WorkerId> = self.shares.keys().filter(gone).cloned().collect();
        for worker in gone {
            let share = self.shares.get(&worker).cloned().unwrap_or_default();
            for place in share {
                self.lose(place, into);
            }
        }
    }

    fn lose(&mut self, place: Place, into: &mut Vec<Decision>) {
        let losses = self.open.get(&place).map_or(0, |o| o.losses);
        if losses < LOSSES_MAX {
            return self.settle(place, Verdict::Lost, into);
        }
        let words = format!(
            "given up: {} times its worker was lost or its lease ran out",
            losses + 1
        );
        self.give_up(place, words.into(), into);
    }

    fn give_up(&mut self, place: Place, error: Bytes, into: &mut Vec<Decision>) {
        // A report that others wrote may fill a record: a decision has more to say than that.
        let error = error.slice(..error.len().min(ERROR_BYTES_MAX));
        let verdict = Verdict::Dead {
            error: error.clone(),
        };
        if let Some(decision) = self.decision(place, verdict) {
            self.enter(place, Phase::Dying { error });
            into.push(decision);
        }
    }

    fn end_leases(&mut self, now_ms: i64, into: &mut Vec<Decision>) {
        let until = now_ms.saturating_sub(LEASE_GRACE_MS);
        while let Some((end, place)) = self.leases.first().copied()
            && end <= until
        {
            self.leases.pop_first();
            self.lose(place, into);
        }
    }

    fn judge_failed(&mut self, now_ms: i64, into: &mut Vec<Decision>) {
        for place in std::mem::take(&mut self.failed) {
            let Some(open) = self.open.get(&place) else {
                continue;
            };
            let Phase::Failed { error, fatal } = &open.phase else {
                continue;
            };
            if *fatal || open.failures > open.options.retries {
                let error = error.clone();
                self.give_up(place, error, into);
            } else {
                let pause = open.options.pause_ms(open.failures);
                let due_ms = now_ms.saturating_add(pause);
                self.settle(place, Verdict::Retry { due_ms }, into);
            }
        }
    }

    fn wake_waiting(&mut self, now_ms: i64) {
        while let Some((due_ms, place)) = self.waiting.first().copied()
            && due_ms <= now_ms
        {
            self.waiting.pop_first();
            let options = self.open.get(&place).map(|o| o.options.clone());
            let turn = self.turn(&options.unwrap_or_default(), true);
            self.enter(place, Phase::Ready(turn));
        }
    }

    /// Gives the ready to whoever is free, to the one with most room first.
    fn assign(&mut self, into: &mut Vec<Decision>) {
        let mut free: BinaryHeap<(usize, WorkerId)> = BinaryHeap::new();
        for (worker, capacity) in &self.members {
            let held = self.shares.get(worker).map_or(0, |share| share.len());
            let room = capacity.saturating_sub(held);
            if room > 0 && !self.leaving.contains(worker) {
                free.push((room, worker.clone()));
            }
        }
        while let Some((room, worker)) = free.pop() {
            let Some(place) = self.next_ready(into) else {
                return;
            };
            let Some(open) = self.open.get(&place) else {
                continue;
            };
            let verdict = Verdict::Assigned {
                worker: worker.clone(),
                lease_ms: open.options.lease_ms,
                payload: open.payload.clone(),
            };
            let attempt = open.attempt.saturating_add(1);
            let id = open.id.clone();
            self.decided(place, attempt, verdict.clone());
            into.push(Decision {
                place,
                id,
                attempt,
                verdict,
            });
            if room > 1 {
                free.push((room - 1, worker));
            }
        }
    }

    /// The first of the ready that is no duplicate.
    fn next_ready(&mut self, into: &mut Vec<Decision>) -> Option<Place> {
        loop {
            let place = self.ready.first_key_value().map(|(_, place)| *place)?;
            if !self.is_duplicate(place) {
                return Some(place);
            }
            self.settle(place, Verdict::Duplicate, into);
        }
    }

    fn is_duplicate(&self, place: Place) -> bool {
        let Some(open) = self.open.get(&place) else {
            return false;
        };
        if !open.options.unique || open.attempt > 0 {
            return false;
        }
        let other = self.unique.get(&open.id).is_some_and(|p| *p != place);
        other || (self.recent.contains(&open.id) && !open.options.redriven)
    }
}
