//! What a configuration key is: name, type, default, bound, and how a text becomes a value.
//!
//! Used by the tables of broker and topic keys. Messages are Kafka's (`ConfigDef`), because
//! `AlterConfigs` hands them to clients. Pure.

use std::fmt;

use super::release::Release;

/// Type of a value, as Kafka's `ConfigDef.Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// Text.
    String,
    /// 32 bits.
    Int,
    /// 16 bits.
    Short,
    /// 64 bits.
    Long,
    /// Floating point.
    Double,
    /// Comma-separated texts.
    List,
}

/// What Kafka's validator of a key demands beyond its type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// Nothing.
    Any,
    /// A number of at least this.
    AtLeast(i64),
    /// A number from here to there.
    Between(i64, i64),
    /// A fraction from 0 to 1.
    Fraction,
    /// One of these texts, or a list of some of them.
    OneOf(&'static [&'static str]),
    /// Gzip levels: 1 to 9, or -1 for the library's default.
    GzipLevel,
    /// `partition:broker,...` or `*` (replication throttles).
    ThrottledReplicas,
    /// A release of Kafka, up to 3.9 (`release.rs`).
    Version,
}

/// When a change of a key takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// At the next start only.
    Fixed,
    /// At once, through `AlterConfigs` on one broker or on all.
    Dynamic,
}

/// One row of a table of keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Key {
    /// Kafka's name.
    pub name: &'static str,
    /// Type.
    pub kind: Kind,
    /// Default as text; `None` means unset (Kafka's null).
    pub default: Option<&'static str>,
    /// What is allowed.
    pub bound: Bound,
    /// When it may change.
    pub change: Change,
    /// One line or two on its meaning.
    pub doc: &'static str,
}

/// One wrong setting: the key, the value and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid value {value} for configuration {key}: {reason}")]
pub struct Fault {
    /// Key.
    pub key: String,
    /// Value as it was given.
    pub value: String,
    /// The bound, in Kafka's words.
    pub reason: String,
}

impl Fault {
    pub(crate) fn new(key: &str, value: &str, reason: impl Into<String>) -> Self {
        Self {
            key: key.to_owned(),
            value: value.to_owned(),
            reason: reason.into(),
        }
    }
}

/// Every wrong setting at once, so that one start shows all there is to mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

/// A type that a key can have.
pub(crate) trait Setting: Sized {
    /// Kafka's name of the type.
    const KIND: Kind;
    /// Reads trimmed text; the error says what was expected.
    fn parse(text: &str) -> Result<Self, String>;
    /// The text that Kafka shows for it; `None` when unset.
    fn show(&self) -> Option<String>;
    /// The value of an unset key, where that is allowed.
    fn unset() -> Option<Self> {
        None
    }
}

macro_rules! number_setting {
    ($($type:ty, $kind:ident, $name:literal;)*) => {$(
        impl Setting for $type {
            const KIND: Kind = Kind::$kind;
            fn parse(text: &str) -> Result<Self, String> {
                text.parse().map_err(|_| concat!("Not a number of type ", $name).to_owned())
            }
            fn show(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )*};
}
number_setting! {
    i16, Short, "SHORT";
    i32, Int, "INT";
    i64, Long, "LONG";
    f64, Double, "DOUBLE";
}

impl Setting for bool {
    const KIND: Kind = Kind::Boolean;
    fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("Expected value to be either true or false".to_owned()),
        }
    }
    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Setting for String {
    const KIND: Kind = Kind::String;
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
    fn show(&self) -> Option<String> {
        Some(self.clone())
    }
}

impl Setting for Vec<String> {
    const KIND: Kind = Kind::List;
    fn parse(text: &str) -> Result<Self, String> {
        Ok(list(text).map(str::to_owned).collect())
    }
    fn show(&self) -> Option<String> {
        Some(self.join(","))
    }
}

impl<T: Setting> Setting for Option<T> {
    const KIND: Kind = T::KIND;
    fn parse(text: &str) -> Result<Self, String> {
        T::parse(text).map(Some)
    }
    fn show(&self) -> Option<String> {
        self.as_ref().and_then(T::show)
    }
    fn unset() -> Option<Self> {
        Some(None)
    }
}

/// The items of a comma-separated list, trimmed; an empty text is an empty list.
pub(crate) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

impl Bound {
    /// Checks the text of a value whose type is already right.
    pub(crate) fn check(&self, text: &str, kind: Kind) -> Result<(), String> {
        match *self {
            Self::Any => Ok(()),
            Self::AtLeast(min) => between(text, min, i64::MAX),
            Self::Between(min, max) => between(text, min, max),
            Self::Fraction => fraction(text),
            Self::OneOf(words) if kind == Kind::List => {
                list(text).try_for_each(|item| one_of(item, words, "String must be one of"))
            }
            Self::OneOf(words) => one_of(text, words, "String must be one of"),
            Self::GzipLevel if text == "-1" => Ok(()),
            Self::GzipLevel => between(text, 1, 9)
                .map_err(|_| "Value must be between 1 and 9 or equal to -1".to_owned()),
            Self::ThrottledReplicas => throttled_replicas(text),
            Self::Version => Release::parse(text).map(|_| ()),
        }
    }
}

fn between(text: &str, min: i64, max: i64) -> Result<(), String> {
    let value: i64 = text.parse().map_err(|_| "Not a number".to_owned())?;
    if value < min {
        return Err(format!("Value must be at least {min}"));
    }
    if value > max {
        return Err(format!("Value must be no more than {max}"));
    }
    Ok(())
}

fn fraction(text: &str) -> Result<(), String> {
    match text.parse::<f64>() {
        Ok(value) if value < 0.0 || value.is_nan() => Err("Value must be at least 0".to_owned()),
        Ok(value) if value > 1.0 => Err("Value must be no more than 1".to_owned()),
        Ok(_) => Ok(()),
        Err(_) => Err("Not a number".to_owned()),
    }
}

fn one_of(text: &str, words: &[&str], expected: &str) -> Result<(), String> {
    if words.contains(&text) {
        Ok(())
    } else {
        Err(format!("{expected}: {}", words.join(", ")))
    }
}

fn throttled_replicas(text: &str) -> Result<(), String> {
    let pair = |item: &str| {
        item.split_once(':').is_some_and(|(partition, broker)| {
            partition.parse::<u32>().is_ok() && broker.parse::<u32>().is_ok()
        })
    };
    if text.trim() == "*" || list(text).all(pair) {
        return Ok(());
    }
    Err(
        "Must be the literal '*' or a list of replicas in the following format: \
         [partitionId]:[brokerId],[partitionId]:[brokerId],..."
            .to_owned(),
    )
}
