//! A release of Kafka, as `inter.broker.protocol.version` names it. Pure.

/// In the order of releases. Which versions of requests go with one, whoever sends them knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    major: u16,
    minor: u16,
    /// The step on the way to it (`-IV`).
    step: u16,
}

impl Release {
    /// Of a text such as `3.9-IV0`, `3.9` or `0.11.0-IV2`, as in Kafka's `MetadataVersion`. Without `-IV`,
    /// the last of that release is meant. Before 1.0 a release had three numbers: the last is left out, as
    /// there was but one 0.11. What is no number, which the check of the setting refuses, counts as 0.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let number = |text: &str| text.parse().unwrap_or(0);
        let (numbers, step) = match text.split_once("-IV") {
            Some((numbers, step)) => (numbers, number(step)),
            None => (text, u16::MAX),
        };
        let mut numbers = numbers.split('.').map(number);
        Self {
            major: numbers.next().unwrap_or(0),
            minor: numbers.next().unwrap_or(0),
            step,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_in_order() {
        let texts = [
            "0.10.2",
            "0.11.0-IV0",
            "0.11.0",
            "1.1-IV0",
            "2.8-IV1",
            "2.8",
            "3.9-IV0",
            "3.9",
            "3.10",
        ];
        let releases = texts.map(Release::of);
        assert!(releases.is_sorted_by(|a, b| a < b), "{releases:?}");
    }
}
