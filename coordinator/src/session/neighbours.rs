//! What the callers of one session tell each other before ZooKeeper has heard of it.
//!
//! Contenders that share a session share its fate: it is alive for all of them or for none. Of what one
//! of them gives up, the next may therefore know from the one itself, without the write and the event
//! that other processes have to wait for.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Who waits for whom, by the path of the node that is waited for.
type Waiters = Mutex<HashMap<String, Vec<oneshot::Sender<()>>>>;

/// The callers of one session that wait for each other. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Neighbours(Arc<Waiters>);

/// Waits for a word about one node; forgotten when dropped.
#[derive(Debug)]
pub(crate) struct Waiting {
    neighbours: Neighbours,
    path: String,
    word: oneshot::Receiver<()>,
}

impl Neighbours {
    /// From now on, hears of the end of the node at `path` if it is [`told`](Self::tell) here.
    pub(crate) fn listen(&self, path: &str) -> Waiting {
        let (sender, word) = oneshot::channel();
        let mut waiting = self.0.lock();
        waiting.entry(path.to_owned()).or_default().push(sender);
        drop(waiting);
        Waiting {
            neighbours: self.clone(),
            path: path.to_owned(),
            word,
        }
    }

    /// How many listen.
    #[cfg(test)]
    pub(crate) fn listening(&self, path: &str) -> usize {
        self.0.lock().get(path).map_or(0, Vec::len)
    }

    /// Tells all who listen that what the node at `path` stood for is over; whether anybody did.
    pub(crate) fn tell(&self, path: &str) -> bool {
        let listeners = self.0.lock().remove(path).unwrap_or_default();
        let mut heard = false;
        for listener in listeners {
            heard |= listener.send(()).is_ok();
        }
        heard
    }
}

impl Waiting {
    /// Resolves when the word has come, and never without.
    pub(crate) async fn heard(&mut self) {
        if (&mut self.word).await.is_err() {
            std::future::pending().await
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.word.close();
        let mut waiting = self.neighbours.0.lock();
        if let Some(listeners) = waiting.get_mut(&self.path) {
            listeners.retain(|listener| !listener.is_closed());
            if listeners.is_empty() {
                waiting.remove(&self.path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_who_listen_hear_it_and_nobody_else() {
        let neighbours = Neighbours::default();
        assert!(!neighbours.tell("/a"), "nobody listens");
        let (mut one, mut two) = (neighbours.listen("/a"), neighbours.listen("/a"));
        let mut other = neighbours.listen("/b");
        assert!(neighbours.tell("/a"));
        one.heard().await;
        two.heard().await;
        tokio::select! {
            biased;
            () = other.heard() => panic!("that was about another"),
            () = std::future::ready(()) => {}
        }
        assert!(!neighbours.tell("/a"), "once only");
    }

    #[test]
    fn who_listens_no_more_is_forgotten() {
        let neighbours = Neighbours::default();
        let (one, two) = (neighbours.listen("/a"), neighbours.listen("/a"));
        drop(one);
        assert_eq!(neighbours.listening("/a"), 1);
        drop(two);
        assert!(neighbours.0.lock().is_empty());
        assert!(!neighbours.tell("/a"));
    }
}
