//! Releases of Kafka, as `inter.broker.protocol.version` and `log.message.format.version` name them.
//!
//! The same texts are legal as in Kafka 3.9 (`MetadataVersion.fromVersionString`): a release, which stands for its
//! last internal version, one of these, and numbers behind, which count for nothing (`3.9.1`). Not legal are the two
//! internal versions of 4.0 that Kafka 3.9 has for its developers. Pure.

/// Each release before 3.10 with the number of its internal versions; the first four have none.
const RELEASES: &[(&str, usize)] = &[
    ("0.8.0", 0),
    ("0.8.1", 0),
    ("0.8.2", 0),
    ("0.9.0", 0),
    ("0.10.0", 2),
    ("0.10.1", 3),
    ("0.10.2", 1),
    ("0.11.0", 3),
    ("1.0", 1),
    ("1.1", 1),
    ("2.0", 2),
    ("2.1", 3),
    ("2.2", 2),
    ("2.3", 2),
    ("2.4", 2),
    ("2.5", 1),
    ("2.6", 1),
    ("2.7", 3),
    ("2.8", 2),
    ("3.0", 2),
    ("3.1", 1),
    ("3.2", 1),
    ("3.3", 4),
    ("3.4", 1),
    ("3.5", 3),
    ("3.6", 3),
    ("3.7", 5),
    ("3.8", 1),
    ("3.9", 1),
];

/// A place in the order of all internal versions; later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release(usize, usize);

impl Release {
    /// What a setting names that was checked. Anything else is the oldest, whose versions everybody knows.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self::parse(text).unwrap_or(Self(0, 0))
    }

    /// What `text` names, or Kafka's words for a text that names none.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let segments = if text.starts_with("0.") { 3 } else { 2 };
        let named: Vec<&str> = text.split('.').take(segments).collect();
        let named = named.join(".");
        let found = RELEASES.iter().enumerate().find_map(|(at, (name, count))| {
            let internal = match named.strip_prefix(name)? {
                "" => count.saturating_sub(1),
                rest => (0..*count).find(|n| rest == format!("-IV{n}"))?,
            };
            Some(Self(at, internal))
        });
        found.ok_or_else(|| format!("Version {text} is not a valid version"))
    }

    /// Whether this is older than the release that this broker is of.
    pub(super) fn is_old(self) -> bool {
        self.0 + 1 < RELEASES.len()
    }

    /// Whether its brokers kept records in the format 0 or 1.
    pub(super) fn has_old_format(self) -> bool {
        Self::parse("0.11.0-IV0").is_ok_and(|new| self < new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_legal_that_are_in_kafka() {
        for (text, same) in [
            ("3.9", "3.9-IV0"),
            ("3.9.1", "3.9-IV0"),
            ("2.8", "2.8-IV1"),
            ("0.10.2", "0.10.2-IV0"),
            ("0.10.2.1", "0.10.2-IV0"),
            ("0.11.0", "0.11.0-IV2"),
            ("1.1.2-IV0", "1.1"),
            ("3.7", "3.7-IV4"),
            ("0.8.0.1", "0.8.0"),
        ] {
            assert!(Release::parse(text).is_ok(), "{text}");
            assert_eq!(Release::parse(text), Release::parse(same), "{text}");
        }
        for text in [
            "4.2",
            "4.0",
            "4.0-IV0",
            "3.9-IV7",
            "3.10",
            "0.8",
            "0.9",
            "3",
            "3.9-SNAPSHOT",
            "",
            "x.y",
        ] {
            let words = format!("Version {text} is not a valid version");
            assert_eq!(Release::parse(text), Err(words), "{text}");
        }
    }

    #[test]
    fn releases_are_in_order() {
        let release = |text| Release::parse(text).expect("legal");
        assert!(release("0.9.0") < release("0.10.0-IV0"));
        assert!(release("2.8-IV0") < release("2.8-IV1"));
        assert!(release("3.8").is_old() && !release("3.9-IV0").is_old());
    }
}
