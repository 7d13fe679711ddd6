//! What the lanes held when a term began. They are read side by side, so a task of the first lane that
//! answers would go before all those of higher priority that were submitted long ago.

use std::time::{Duration, Instant};

use super::super::state::State;
use super::super::task::LANES;

/// So long a scheduler waits for it before it decides anything.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where each lane ended when the term began.
pub(super) struct Backlog {
    ends: [i64; LANES],
    until: Instant,
}

impl Backlog {
    pub(super) fn of(ends: [i64; LANES], now: Instant) -> Self {
        let until = now + PATIENCE;
        Self { ends, until }
    }

    /// Whether it is known, as far as there is room for it. A lane that cannot be read for long does not
    /// hold up the others.
    pub(super) fn is_known(&self, state: &State, now: Instant) -> bool {
        let mut lanes = self.ends.iter().enumerate();
        lanes.all(|(lane, end)| state.position(lane) >= *end || !state.has_room(lane))
            || now > self.until
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::super::task::{Options, Place, Submitted, TaskId};
    use super::*;

    fn submit(state: &mut State, offset: i64) {
        state.submitted(Submitted {
            place: Place { lane: 2, offset },
            id: TaskId::new(&format!("t{offset}")).expect("legal"),
            options: Options::default(),
            payload: Bytes::from_static(b"x"),
            at_ms: 0,
        });
    }

    #[test]
    fn nothing_is_decided_before_it_is_read_or_there_is_no_room_or_the_time_is_over() {
        let mut ends = [0; LANES];
        ends[2] = 2;
        let now = nyala_coordinator::clock::now();
        let backlog = Backlog::of(ends, now);
        let mut state = State::default();
        assert!(!backlog.is_known(&state, now));
        submit(&mut state, 0);
        assert!(!backlog.is_known(&state, now), "one is missing");
        assert!(!backlog.is_known(&state, now + PATIENCE));
        assert!(backlog.is_known(&state, now + PATIENCE + Duration::from_millis(1)));
        submit(&mut state, 1);
        assert!(backlog.is_known(&state, now));

        // More than a lane may hold in memory is not waited for.
        ends[2] = 1_000_000;
        let backlog = Backlog::of(ends, now);
        let mut state = State::default();
        (0..10_000).for_each(|offset| submit(&mut state, offset));
        assert!(!state.has_room(2));
        assert!(backlog.is_known(&state, now));
    }
}
