//! Names in a line of the log: how many there are, and the first few. However many partitions something
//! happens to, it takes one line. Pure.

use std::fmt;

/// Names in one line.
pub(super) const NAMES_MAX: usize = 5;

/// Shown as `2 (t-0, t-1)`, or `7 (t-0, t-1, t-2, t-3, t-4, ...)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    count: usize,
    first: Vec<String>,
}

impl Names {
    /// `name` is made into text only if there is room for it.
    pub(super) fn push(&mut self, name: impl fmt::Display) {
        if self.first.len() < NAMES_MAX {
            self.first.push(name.to_string());
        }
        self.count += 1;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl<T: fmt::Display> FromIterator<T> for Names {
    fn from_iter<I: IntoIterator<Item = T>>(names: I) -> Self {
        let mut some = Self::default();
        names.into_iter().for_each(|name| some.push(name));
        some
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.count)?;
        if self.is_empty() {
            return Ok(());
        }
        let more = if self.count > self.first.len() {
            ", ..."
        } else {
            ""
        };
        write!(f, " ({}{more})", self.first.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_names_are_told_by_the_first_and_their_number() {
        let told = |count: i32| (0..count).collect::<Names>().to_string();
        assert_eq!(told(0), "0");
        assert_eq!(told(1), "1 (0)");
        assert_eq!(told(5), "5 (0, 1, 2, 3, 4)");
        assert_eq!(told(2_000), "2000 (0, 1, 2, 3, 4, ...)");
    }
}
