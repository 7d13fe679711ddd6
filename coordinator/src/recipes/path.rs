//! Paths and names of recipes: checked once when a recipe is opened, then only joined.
//!
//! Pure text. Names that other clients left beside ours are never trusted to be of our making.

use super::error::{RecipeError, usable_path};

/// Longest name of a single node that recipes make.
const NAME_BYTES_MAX: usize = 255;
/// Digits that ZooKeeper appends to a sequential node.
const SEQUENCE_DIGITS: usize = 10;

/// `path` if a recipe can be kept there, below the session's chroot.
pub(super) fn usable(path: &str) -> Result<String, RecipeError> {
    usable_path(path)?;
    match path.chars().any(unprintable) {
        true => Err(bad(path, "it has control characters")),
        false => Ok(path.to_owned()),
    }
}

/// `text` if it can be the name of one node.
pub(super) fn usable_name(text: &str) -> Result<(), RecipeError> {
    let reason = match text {
        "" => "a name is not empty",
        "." | ".." => "a name is neither \".\" nor \"..\"",
        _ if text.len() > NAME_BYTES_MAX => "a name has at most 255 bytes",
        _ if text.contains('/') => "a name has no '/'",
        _ if text.chars().any(unprintable) => "a name has no control characters",
        _ => return Ok(()),
    };
    Err(bad(text, reason))
}

fn bad(path: &str, reason: &'static str) -> RecipeError {
    RecipeError::BadPath {
        path: path.to_owned(),
        reason,
    }
}

/// What ZooKeeper's own check of paths refuses.
fn unprintable(c: char) -> bool {
    c.is_control() || matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{ffff}')
}

/// The number that ZooKeeper gave a sequential node whose name starts with `prefix`.
pub(super) fn sequence(name: &str, prefix: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix)?;
    let plain = digits.len() == SEQUENCE_DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_checked_once() {
        for good in ["/a", "/a/b c/\u{e4}", "/a..b"] {
            assert_eq!(usable(good).as_deref(), Ok(good));
        }
        for wrong in ["", "a", "/", "/a/", "//a", "/a/../b", "/a\n", "/\u{f700}"] {
            assert!(usable(wrong).is_err(), "{wrong:?}");
        }
        assert!(usable_name("a").is_ok());
        for wrong in ["", ".", "a/b", "\u{7}", &"x".repeat(256)] {
            assert!(usable_name(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn numbers_of_sequential_nodes() {
        assert_eq!(sequence("item-0000000042", "item-"), Some(42));
        for other in [
            "item-42",
            "join-0000000042",
            "item--000000042",
            "item-00000000x2",
        ] {
            assert_eq!(sequence(other, "item-"), None, "{other}");
        }
    }
}
