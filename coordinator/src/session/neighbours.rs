//! What the callers of one session tell each other before ZooKeeper has heard of it.
//!
//! Contenders that share a session share its fate: it is alive for all of them or for none. Of what one
//! of them gives up, the next may therefore know from the one itself, without the write and the event
//! that other processes have to wait for; and need not ask ZooKeeper to watch it, either.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// How a caller's node came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// What it stood for was held until now, and let go.
    Held,
    /// It goes, and may never have held anything.
    Left,
}

#[derive(Debug, Default)]
struct Known {
    /// Nodes whose callers will say when they go, and the transactions that made them.
    standing: HashMap<String, i64>,
    /// Nodes that a caller is about to make.
    claimed: HashSet<String>,
    /// Who waits for whom, by the path of the node that is waited for.
    waiting: HashMap<String, Vec<oneshot::Sender<Word>>>,
}

/// The callers of one session that wait for each other. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Neighbours(Arc<Mutex<Known>>);

/// Waits for a word about one node; forgotten when dropped.
#[derive(Debug)]
pub(crate) struct Waiting {
    neighbours: Neighbours,
    path: String,
    word: oneshot::Receiver<Word>,
    stands: bool,
}

/// Keeps a name from the other callers while one makes its node; until dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    neighbours: Neighbours,
    path: String,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.neighbours.0.lock().claimed.remove(&self.path);
    }
}

impl Neighbours {
    /// The node at `path`, made by `czxid`, is a caller's, who says so when it [goes](Self::tell).
    pub(crate) fn stand(&self, path: &str, czxid: i64) {
        self.0.lock().standing.insert(path.to_owned(), czxid);
    }

    /// Whether the node at `path` that was made by `czxid` is a caller's.
    pub(crate) fn has(&self, path: &str, czxid: i64) -> bool {
        self.0.lock().standing.get(path) == Some(&czxid)
    }

    /// For one caller at a time who is about to make a node of this name: all of them are one to ZooKeeper.
    pub(crate) fn claim(&self, path: &str) -> Option<Claim> {
        let is_first = self.0.lock().claimed.insert(path.to_owned());
        is_first.then(|| Claim {
            neighbours: self.clone(),
            path: path.to_owned(),
        })
    }

    /// From now on, hears of the end of the node at `path` if it is [`told`](Self::tell) here.
    pub(crate) fn listen(&self, path: &str) -> Waiting {
        let (sender, word) = oneshot::channel();
        let mut known = self.0.lock();
        let waiting = &mut known.waiting;
        waiting.entry(path.to_owned()).or_default().push(sender);
        let stands = known.standing.contains_key(path);
        drop(known);
        Waiting {
            neighbours: self.clone(),
            path: path.to_owned(),
            word,
            stands,
        }
    }

    /// How many listen.
    #[cfg(test)]
    pub(crate) fn listening(&self, path: &str) -> usize {
        self.0.lock().waiting.get(path).map_or(0, Vec::len)
    }

    /// Tells all who listen that the node at `path` goes, and how; whether anybody heard.
    pub(crate) fn tell(&self, path: &str, word: Word) -> bool {
        let mut known = self.0.lock();
        known.standing.remove(path);
        let listeners = known.waiting.remove(path).unwrap_or_default();
        drop(known);
        let mut heard = false;
        for listener in listeners {
            heard |= listener.send(word).is_ok();
        }
        heard
    }
}

impl Waiting {
    /// Whether the node was a caller's when this began to listen: there will be a word.
    pub(crate) fn stands(&self) -> bool {
        self.stands
    }

    /// Resolves when the word has come, and never without.
    pub(crate) async fn heard(&mut self) -> Word {
        match (&mut self.word).await {
            Ok(word) => word,
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.word.close();
        let waiting = &mut self.neighbours.0.lock().waiting;
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
        assert!(!neighbours.tell("/a", Word::Held), "nobody listens");
        let (mut one, mut two) = (neighbours.listen("/a"), neighbours.listen("/a"));
        let mut other = neighbours.listen("/b");
        assert!(neighbours.tell("/a", Word::Left));
        assert_eq!(one.heard().await, Word::Left);
        assert_eq!(two.heard().await, Word::Left);
        tokio::select! {
            biased;
            _ = other.heard() => panic!("that was about another"),
            () = std::future::ready(()) => {}
        }
        assert!(!neighbours.tell("/a", Word::Held), "once only");
    }

    #[test]
    fn who_listens_no_more_is_forgotten() {
        let neighbours = Neighbours::default();
        let (one, two) = (neighbours.listen("/a"), neighbours.listen("/a"));
        drop(one);
        assert_eq!(neighbours.listening("/a"), 1);
        drop(two);
        assert!(neighbours.0.lock().waiting.is_empty());
        assert!(!neighbours.tell("/a", Word::Held));
    }

    #[test]
    fn a_word_is_promised_as_long_as_it_will_come() {
        let neighbours = Neighbours::default();
        assert!(!neighbours.listen("/a").stands(), "another process's");
        neighbours.stand("/a", 1);
        assert!(neighbours.listen("/a").stands());
        neighbours.tell("/a", Word::Left);
        assert!(!neighbours.listen("/a").stands(), "it was told");
        assert!(neighbours.0.lock().standing.is_empty());
    }
}
