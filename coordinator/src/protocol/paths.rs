//! Which znode paths are legal, and how they are taken apart. Pure.
//!
//! The rules are ZooKeeper's (`PathUtils.validatePath`), applied to every operation, plus a bound
//! on depth that no real tree comes near.

/// What is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a path is / or names with a / before each, and no . or .. among them")]
pub(crate) struct NoPath;

/// Deepest legal path, in names.
pub(crate) const DEPTH_MAX: usize = 4096;

/// `Ok` when `path` is absolute, in normal form and free of forbidden characters.
pub(crate) fn validate(path: &str) -> Result<(), NoPath> {
    if path == "/" {
        return Ok(());
    }
    let names = path.strip_prefix('/').ok_or(NoPath)?;
    let mut depth = 0;
    for name in names.split('/') {
        depth += 1;
        let legal = !matches!(name, "" | "." | "..") && name.chars().all(is_legal);
        if !legal || depth > DEPTH_MAX {
            return Err(NoPath);
        }
    }
    Ok(())
}

/// ZooKeeper checks Java's UTF-16 units: what lies outside the basic plane is a pair of
/// surrogates there and as forbidden as they are.
fn is_legal(c: char) -> bool {
    !matches!(c, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{d7ff}'..='\u{f8ff}' | '\u{fff0}'..)
        || c == '\u{d7ff}'
}

/// Parent of a legal path; `None` for the root.
pub(crate) fn parent(path: &str) -> Option<&str> {
    match path.rsplit_once('/')? {
        ("", "") => None,
        ("", _) => Some("/"),
        (parent, _) => Some(parent),
    }
}

/// Last name of a legal path; empty for the root.
pub(crate) fn name(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(_, name)| name)
}

/// `path` of the child `name` of `parent`.
pub(crate) fn child(parent: &str, name: &str) -> String {
    match parent {
        "/" => format!("/{name}"),
        _ => format!("{parent}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legal_paths() {
        for good in [
            "/",
            "/a",
            "/a/b.c",
            "/...",
            "/.a/..b",
            "/ü/日本",
            "/a b",
            "/\u{d7ff}",
        ] {
            assert_eq!(validate(good), Ok(()), "{good:?}");
        }
        assert_eq!(validate(&"/a".repeat(DEPTH_MAX)), Ok(()));
    }

    #[test]
    fn illegal_paths() {
        let bad = [
            "",
            "a",
            "a/b",
            "/a/",
            "//",
            "//a",
            "/a//b",
            "/.",
            "/..",
            "/a/./b",
            "/a/../b",
            "/a/..",
            "/a\0",
            "/\u{1}",
            "/\u{1f}",
            "/\u{7f}",
            "/\u{9f}",
            "/\u{e000}",
            "/\u{f8ff}",
            "/\u{fff0}",
            "/\u{fffd}",
            "/\u{10000}",
            "/😀",
        ];
        for path in bad {
            assert_eq!(validate(path), Err(NoPath), "{path:?}");
        }
        assert!(validate(&"/a".repeat(DEPTH_MAX + 1)).is_err());
        assert!(validate(&"/".repeat(1 << 20)).is_err());
    }

    #[test]
    fn parents_and_names() {
        assert_eq!(parent("/"), None);
        assert_eq!(parent("/a"), Some("/"));
        assert_eq!(parent("/a/b"), Some("/a"));
        assert_eq!((name("/"), name("/a"), name("/a/b")), ("", "a", "b"));
        assert_eq!(
            (child("/", "a"), child("/a", "b")),
            ("/a".into(), "/a/b".into())
        );
    }
}
