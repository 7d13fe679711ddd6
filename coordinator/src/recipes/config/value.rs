//! Values of settings as text, so that a person can read and write them with any tool.

use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why bytes are not a value of a type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a value of type {wanted}: {reason}")]
pub struct ValueError {
    /// The beginning of what is there.
    pub text: String,
    /// The type.
    pub wanted: &'static str,
    /// What the type says about it.
    pub reason: String,
}

/// Bytes of a value that an error shows.
const SHOWN_MAX: usize = 80;

/// A type that settings can have.
pub trait Value {
    /// As it is stored.
    fn encode(&self) -> Vec<u8>;

    /// From what is stored.
    fn decode(bytes: &[u8]) -> Result<Self, ValueError>
    where
        Self: Sized;
}

fn wrong<T>(bytes: &[u8], reason: impl ToString) -> ValueError {
    let start = bytes.get(..SHOWN_MAX.min(bytes.len())).unwrap_or(bytes);
    ValueError {
        text: String::from_utf8_lossy(start).into_owned(),
        wanted: std::any::type_name::<T>(),
        reason: reason.to_string(),
    }
}

fn parse<T: FromStr<Err: ToString>>(bytes: &[u8]) -> Result<T, ValueError> {
    let text = std::str::from_utf8(bytes).map_err(|e| wrong::<T>(bytes, e))?;
    text.trim().parse().map_err(|e| wrong::<T>(bytes, e))
}

macro_rules! as_text {
    ($($of:ty),*) => {$(
        impl Value for $of {
            fn encode(&self) -> Vec<u8> {
                self.to_string().into_bytes()
            }

            fn decode(bytes: &[u8]) -> Result<Self, ValueError> {
                parse(bytes)
            }
        }
    )*};
}
as_text!(bool, i32, i64, u16, u32, u64, usize, f64);

impl Value for String {
    fn encode(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Self, ValueError> {
        Self::from_utf8(bytes.to_vec()).map_err(|e| wrong::<Self>(bytes, e))
    }
}

impl Value for Vec<u8> {
    fn encode(&self) -> Vec<u8> {
        self.clone()
    }

    fn decode(bytes: &[u8]) -> Result<Self, ValueError> {
        Ok(bytes.to_vec())
    }
}

/// Any type of serde's, stored as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: Serialize + DeserializeOwned> Value for Json<T> {
    fn encode(&self) -> Vec<u8> {
        // A map with keys that are no text cannot be JSON; then it cannot be read back either.
        serde_json::to_vec(&self.0).unwrap_or_default()
    }

    fn decode(bytes: &[u8]) -> Result<Self, ValueError> {
        serde_json::from_slice(bytes)
            .map(Self)
            .map_err(|e| wrong::<T>(bytes, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back() {
        assert_eq!(bool::decode(&true.encode()), Ok(true));
        assert_eq!(u64::decode(b" 42\n"), Ok(42));
        assert_eq!(f64::decode(&0.25.encode()), Ok(0.25));
        assert_eq!(String::decode("\u{e4}".as_bytes()).as_deref(), Ok("\u{e4}"));
        assert_eq!(Vec::<u8>::decode(&[0xff]), Ok(vec![0xff]));
        let json = Json(vec![("a".to_owned(), 1)]);
        assert_eq!(Json::decode(&json.encode()), Ok(json));
    }

    #[test]
    fn a_wrong_value_is_shown_with_the_reason() {
        let error = u16::decode(b"70000").expect_err("too large").to_string();
        assert!(
            error.contains("\"70000\"") && error.contains("u16"),
            "{error}"
        );
        assert!(String::decode(&[0xff]).is_err());
        assert!(Json::<u8>::decode(b"{").is_err());
        let long = [b'x'; 500];
        let error = u16::decode(&long).expect_err("no number");
        assert_eq!(error.text.len(), SHOWN_MAX);
    }
}
