//! What is said over the pipe from `nyala` to its guard.

use std::fmt;
use std::time::Duration;

use rustix::process::Signal;

/// What `nyala` tells its guard, a line each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The hold is good until then, by [`nyala_coordinator::clock::monotonic_ms`]: read late, it says nothing else.
    Beat(u64),
    /// Stop the command: this signal first, then so much time.
    Stop(Signal, Duration),
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Beat(until_ms) => writeln!(f, "beat {until_ms}"),
            Self::Stop(signal, grace) => {
                writeln!(f, "stop {} {}", signal.as_raw(), millis(*grace))
            }
        }
    }
}

/// As a number; what is too long for one is for ever.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Order {
    pub(super) fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let millis = |text: &str| text.parse().ok().map(Duration::from_millis);
        match words.as_slice() {
            ["beat", until_ms] => Some(Self::Beat(until_ms.parse().ok()?)),
            ["stop", signal, grace] => {
                let signal = Signal::from_named_raw(signal.parse().ok()?)?;
                Some(Self::Stop(signal, millis(grace)?))
            }
            _ => None,
        }
    }
}
