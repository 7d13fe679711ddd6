//! Why something could not be had: shared by all recipes that hold or wait.

use std::time::Duration;

use crate::session::ZkError;

/// Why a recipe failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecipeError {
    /// ZooKeeper refused.
    #[error("{path}: {source}")]
    Zk {
        /// Node of the call.
        path: String,
        /// What went wrong.
        source: ZkError,
    },
    /// The time that the caller gave was over.
    #[error("{path}: not had within {} ms", waited.as_millis())]
    TimedOut {
        /// What was waited for.
        path: String,
        /// The limit.
        waited: Duration,
    },
    /// The same handle holds it, or waits for it, already: waiting would never end.
    #[error("{path} is held or waited for through this very handle: it is not re-entrant")]
    Reentrant {
        /// What was asked for.
        path: String,
    },
    /// Others contend here that would not wait for us: of another layout, or for permits.
    #[error(
        "{path} is used by contenders that would not wait for ours, such as {name}: ask for the same, or use another path"
    )]
    OtherLayout {
        /// What was asked for.
        path: String,
        /// A node of theirs.
        name: String,
    },
    /// A semaphore was made for another number of permits.
    #[error("{path} has {stored} permits, not {asked}")]
    OtherPermits {
        /// The semaphore.
        path: String,
        /// Number in its node.
        stored: String,
        /// Number that was asked for.
        asked: usize,
    },
    /// The path or the list of paths cannot be used.
    #[error("{path:?} cannot be used: {reason}")]
    BadPath {
        /// As given.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl RecipeError {
    /// A ZooKeeper error at `path`.
    pub(super) fn at(path: &str) -> impl FnOnce(ZkError) -> Self {
        move |source| Self::Zk {
            path: path.to_owned(),
            source,
        }
    }
}

/// `path` if it can have children: absolute and without a slash at its end.
pub(super) fn usable_path(path: &str) -> Result<(), RecipeError> {
    let bad = |reason| RecipeError::BadPath {
        path: path.to_owned(),
        reason,
    };
    let Some(names) = path.strip_prefix('/') else {
        return Err(bad("it does not start with a slash"));
    };
    if names.split('/').any(|name| matches!(name, "" | "." | "..")) {
        return Err(bad(
            "it is the root, or a part of it is empty or made of dots",
        ));
    }
    Ok(())
}

/// Gives `wait` a limit, if there is one. What it holds so far is let go when time is up.
pub(super) async fn within<T>(
    path: &str,
    limit: Option<Duration>,
    wait: impl Future<Output = Result<T, RecipeError>>,
) -> Result<T, RecipeError> {
    let Some(waited) = limit else {
        return wait.await;
    };
    match tokio::time::timeout(waited, wait).await {
        Ok(done) => done,
        Err(_) => Err(RecipeError::TimedOut {
            path: path.to_owned(),
            waited,
        }),
    }
}
