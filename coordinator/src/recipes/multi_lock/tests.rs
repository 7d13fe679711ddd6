//! All or none, and never each waiting for the other.

use super::super::testing::*;
use super::*;

#[tokio::test]
async fn two_that_want_the_same_in_another_order_do_not_deadlock() {
    let place = Place::start().await;
    let session = place.session().await;
    let mut tasks = Vec::new();
    for number in 0..4 {
        let mut paths = vec!["/a/x", "/a/y", "/b"];
        if number % 2 == 0 {
            paths.reverse();
        }
        let both = MultiLock::new(&session, paths).expect("legal paths");
        tasks.push(tokio::spawn(async move {
            let mut fences = Vec::new();
            for _ in 0..5 {
                let hold = both.acquire().await.expect("its turn comes");
                assert!(hold.is_valid());
                assert_eq!(hold.fences().count(), 3);
                fences.push(hold.fence());
                hold.release().await.expect("all are ours");
            }
            fences
        }));
    }
    let mut all = Vec::new();
    for task in tasks {
        let fences = soon("everybody", task).await.expect("no panic");
        assert!(fences.is_sorted(), "{fences:?}");
        all.extend(fences);
    }
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 20, "every hold has its own token");
}

#[tokio::test]
async fn all_or_none() {
    let place = Place::start().await;
    let session = place.session().await;
    let b = Lock::new(&session, "/b").expect("a legal path");
    let held = b.acquire().await.expect("it is free");
    let both = MultiLock::new(&session, ["/b", "/a"]).expect("legal paths");
    assert!(both.try_acquire().await.expect("an answer").is_none());
    until_children(&session, "/a", 0).await;
    let late = both.acquire_within(Duration::from_millis(100)).await;
    assert!(
        matches!(late, Err(RecipeError::TimedOut { .. })),
        "{late:?}"
    );
    until_children(&session, "/a", 0).await;
    until_children(&session, "/b", 1).await;
    held.release().await.expect("it is ours");
    let hold = both.try_acquire().await.expect("an answer");
    let hold = hold.expect("both are free");
    // One is lost: the whole is.
    let (path, _) = hold.fences().next().expect("there are two");
    let names = session.children(path).await.expect("they can be read");
    let node = format!("{path}/{}", names[0]);
    session.delete(&node, None).await.expect("deleted");
    assert_eq!(soon("the news", hold.lost()).await, Loss::Deleted);
    assert!(!hold.is_valid());
    drop(hold);
    until_children(&session, "/b", 0).await;
}

#[tokio::test]
async fn lists_that_cannot_be_are_refused() {
    let place = Place::start().await;
    let session = place.session().await;
    for paths in [vec![], vec!["/a", "/b", "/a"], vec!["/a", "b"]] {
        let refused = MultiLock::new(&session, paths.clone()).err();
        assert!(
            matches!(refused, Some(RecipeError::BadPath { .. })),
            "{paths:?}"
        );
    }
}
