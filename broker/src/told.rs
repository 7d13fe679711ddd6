//! The same thing again and again is told once.

use parking_lot::Mutex;

/// What was told last of one matter.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<Option<String>>);

impl Told {
    /// Notes what there is to tell; whether that is new. `None`: all is well.
    pub(crate) fn is_news(&self, now: Option<String>) -> bool {
        let mut last = self.0.lock();
        let is_news = now.is_some() && *last != now;
        *last = now;
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_once_and_again_after_all_was_well() {
        let told = Told::default();
        let steps = [
            (Some("a"), true),
            (Some("a"), false),
            (Some("b"), true),
            (None, false),
            (Some("b"), true),
        ];
        for (now, is_news) in steps {
            assert_eq!(told.is_news(now.map(str::to_owned)), is_news, "{now:?}");
        }
    }
}
