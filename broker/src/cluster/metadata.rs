//! Topics by id: an index over the snapshot, made anew when the snapshot is another one.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use nyala_coordinator::cluster::ClusterSnapshot;
use nyala_coordinator::ids::{TopicId, TopicName};

/// The index of the last snapshot that was asked for.
#[derive(Debug, Default)]
pub(super) struct TopicIds {
    current: ArcSwapOption<Index>,
}

#[derive(Debug)]
struct Index {
    snapshot: Arc<ClusterSnapshot>,
    names: HashMap<TopicId, TopicName>,
}

impl TopicIds {
    /// Name of the topic with this id in `snapshot`.
    pub(super) fn name(&self, snapshot: &Arc<ClusterSnapshot>, id: TopicId) -> Option<TopicName> {
        if let Some(index) = &*self.current.load()
            && Arc::ptr_eq(&index.snapshot, snapshot)
        {
            return index.names.get(&id).cloned();
        }
        let topics = snapshot.topics.iter();
        let names = topics.filter_map(|(name, info)| Some((info.id?, name.clone())));
        let index = Arc::new(Index {
            names: names.collect(),
            snapshot: Arc::clone(snapshot),
        });
        let found = index.names.get(&id).cloned();
        self.current.store(Some(index));
        found
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use nyala_coordinator::cluster::TopicInfo;

    use super::*;

    fn snapshot(name: &str, id: TopicId) -> Arc<ClusterSnapshot> {
        let info = TopicInfo {
            id: Some(id),
            partitions: BTreeMap::new(),
        };
        let name = TopicName::new(name).expect("legal");
        Arc::new(ClusterSnapshot {
            topics: BTreeMap::from([(name, Arc::new(info))]),
            ..ClusterSnapshot::default()
        })
    }

    #[test]
    fn the_index_follows_the_snapshot() {
        let ids = TopicIds::default();
        let (one, two) = (TopicId([1; 16]), TopicId([2; 16]));
        let (first, second) = (snapshot("t", one), snapshot("t", two));
        for _ in 0..2 {
            assert!(ids.name(&first, one).is_some());
            assert_eq!(ids.name(&first, two), None);
            assert!(ids.name(&second, two).is_some());
            assert_eq!(ids.name(&second, one), None);
        }
    }
}
