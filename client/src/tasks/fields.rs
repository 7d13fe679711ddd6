//! `name=value` pairs in one line of text: what the headers of the queue's records hold.
//!
//! Text, so that any client of Kafka shows what a queue did. Values hold no spaces; names that are
//! not known are left alone, so that later versions may add some. Pure.

use std::fmt::{Display, Write as _};
use std::str::FromStr;

/// Pairs on their way into a header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldsOut(String);

impl FieldsOut {
    /// One more pair.
    pub(crate) fn with(mut self, name: &str, value: impl Display) -> Self {
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        // Writing into a string cannot fail.
        let _ = write!(self.0, "{name}={value}");
        self
    }

    /// One more pair unless it says what is understood anyway.
    pub(crate) fn unless<T: Display + PartialEq>(self, usual: &T, name: &str, value: &T) -> Self {
        if value == usual {
            return self;
        }
        self.with(name, value)
    }

    pub(crate) fn text(self) -> String {
        self.0
    }
}

/// Pairs out of a header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a>(&'a str);

impl<'a> Fields<'a> {
    /// What is not UTF-8 has no pairs.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(std::str::from_utf8(bytes).unwrap_or_default())
    }

    pub(crate) fn text(self, name: &str) -> Option<&'a str> {
        let mut pairs = self.0.split(' ').filter_map(|pair| pair.split_once('='));
        pairs.find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// `None`: not there, or not what it ought to be.
    pub(crate) fn get<T: FromStr>(self, name: &str) -> Option<T> {
        self.text(name)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_come_back() {
        let out = FieldsOut::default()
            .with("n", 3)
            .unless(&5, "pri", &5)
            .with("w", "a=b");
        let text = out.text();
        assert_eq!(text, "n=3 w=a=b");
        let fields = Fields::new(text.as_bytes());
        assert_eq!(fields.get::<u32>("n"), Some(3));
        assert_eq!(fields.text("w"), Some("a=b"));
        assert_eq!(fields.get::<u32>("w"), None);
        assert_eq!(fields.text("pri"), None);
        assert_eq!(Fields::new(b"\xff=1").text("n"), None);
    }
}
