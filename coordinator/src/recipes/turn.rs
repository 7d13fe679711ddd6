//! Who is before whom: names of contenders, as we and others write them. Pure.
//!
//! ZooKeeper ends the name of a sequential node with ten digits; whoever has fewer before it was first.
//! kazoo puts `__lock__` or `__rlock__` before them, Curator `-lock-`, `-latch-`, `__READ__` or
//! `__WRIT__`. Names without digits are not contenders.

use uuid::Uuid;

/// Under whose names we contend. All names are understood; this is about who understands ours, so everybody at
/// one path must agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// `<32 hex digits>__lock__0000000001`: ours, and kazoo's `Lock`, `ReadLock`, `WriteLock`, `Election`.
    #[default]
    Kazoo,
    /// `_c_<UUID>-lock-0000000001`: Curator's `InterProcessMutex`, `InterProcessReadWriteLock`,
    /// `LeaderLatch`.
    Curator,
}

/// What a contender wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Lock,
    Read,
    Write,
    Latch,
    /// Of a semaphore; a layout of our own.
    Permit,
}

impl Kind {
    /// The start of a name that nobody else uses.
    pub(super) fn prefix(self, layout: Layout) -> String {
        let id = Uuid::new_v4();
        match (layout, self) {
            (_, Self::Permit) => format!("{}__permit__", id.simple()),
            (Layout::Kazoo, Self::Read) => format!("{}__rlock__", id.simple()),
            (Layout::Kazoo, _) => format!("{}__lock__", id.simple()),
            (Layout::Curator, Self::Lock) => format!("_c_{}-lock-", id.hyphenated()),
            (Layout::Curator, Self::Read) => format!("_c_{}-__READ__", id.hyphenated()),
            (Layout::Curator, Self::Write) => format!("_c_{}-__WRIT__", id.hyphenated()),
            (Layout::Curator, Self::Latch) => format!("_c_{}-latch-", id.hyphenated()),
        }
    }
}

/// Number that ZooKeeper gave to a node: its last digits, ten or more of them.
pub(super) fn sequence(name: &str) -> Option<i64> {
    let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    if digits < 10 {
        return None;
    }
    name.get(name.len() - digits..)?.parse().ok()
}

/// The name without its number.
fn marker(name: &str) -> &str {
    name.trim_end_matches(|c: char| c.is_ascii_digit())
}

/// Whether the contender lets others in of its own kind.
pub(super) fn is_reader(name: &str) -> bool {
    let marker = marker(name);
    marker.ends_with("__rlock__") || marker.ends_with("__READ__")
}

/// Contenders that wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Kazoo,
    Curator,
    /// A semaphore's, of which several hold.
    Permits,
}

/// Whose contender has this name, if that can be told.
fn family(name: &str) -> Option<Family> {
    sequence(name)?;
    let ends_with = |ends: &[&str]| ends.iter().any(|end| marker(name).ends_with(end));
    if ends_with(&["__lock__", "__rlock__"]) {
        Some(Family::Kazoo)
    } else if ends_with(&["lock-", "latch-", "__READ__", "__WRIT__"]) {
        Some(Family::Curator)
    } else if ends_with(&["__permit__"]) {
        Some(Family::Permits)
    } else {
        None
    }
}

/// Where a contender stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn<'a> {
    /// It is not in line: its node is gone.
    Missing,
    /// Nobody who is in its way is before it.
    Mine,
    /// This is the last of those who are.
    Behind(&'a str),
}

/// Where `own` stands among `names`; readers are only in the way of others.
pub(super) fn turn<'a>(names: &'a [String], own: &str) -> Turn<'a> {
    if !names.iter().any(|name| name == own) {
        return Turn::Missing;
    }
    let Some(number) = sequence(own) else {
        return Turn::Missing;
    };
    let reads = is_reader(own);
    let before = names
        .iter()
        .filter(|name| !(reads && is_reader(name)))
        .filter_map(|name| Some((sequence(name)?, name)))
        .filter(|(n, _)| *n < number)
        .max_by_key(|(n, _)| *n);
    match before {
        Some((_, name)) => Turn::Behind(name),
        None => Turn::Mine,
    }
}

/// All contenders before `own`, nearest first; `None` when it is not in line.
pub(super) fn all_before<'a>(names: &'a [String], own: &str) -> Option<Vec<&'a str>> {
    if !names.iter().any(|name| name == own) {
        return None;
    }
    let number = sequence(own)?;
    let mut before: Vec<(i64, &str)> = names
        .iter()
        .filter_map(|name| Some((sequence(name)?, name.as_str())))
        .filter(|(n, _)| *n < number)
        .collect();
    before.sort_unstable_by_key(|(n, _)| -n);
    Some(before.into_iter().map(|(_, name)| name).collect())
}

/// Contenders in order.
pub(super) fn in_order(names: &[String]) -> Vec<&str> {
    let mut all: Vec<(i64, &str)> = names
        .iter()
        .filter_map(|name| Some((sequence(name)?, name.as_str())))
        .collect();
    all.sort_unstable();
    all.into_iter().map(|(_, name)| name).collect()
}

/// A contender of those that would not see `own`, and so would not wait for it either, or not as long as it holds.
pub(super) fn stranger<'a>(names: &'a [String], own: &str) -> Option<&'a str> {
    let ours = family(own)?;
    let strange = |name: &&String| family(name).is_some_and(|theirs| theirs != ours);
    names.iter().find(strange).map(String::as_str)
}

#[cfg(test)]
mod tests;
