//! Never more than N, in order, and one wakes per permit.

use super::super::testing::*;
use super::*;

const PATH: &str = "/slots/transcode";

fn slots(session: &Session, permits: usize) -> Semaphore {
    Semaphore::new(session, PATH, permits).expect("a legal path")
}

#[tokio::test]
async fn permits_go_in_the_order_of_asking_whoever_leaves_first() {
    let place = Place::start().await;
    let session = place.session().await;
    let one = slots(&session, 2).acquire().await.expect("free");
    let two = slots(&session, 2).acquire().await.expect("free");
    assert!(
        slots(&session, 2)
            .try_acquire()
            .await
            .expect("an answer")
            .is_none()
    );
    let late = slots(&session, 2)
        .acquire_within(Duration::from_millis(100))
        .await;
    assert!(
        matches!(late, Err(RecipeError::TimedOut { .. })),
        "{late:?}"
    );
    until_children(&session, PATH, 2).await;
    let mut waiting = Vec::new();
    for number in 0..4 {
        let slots = slots(&session, 2);
        waiting.push(tokio::spawn(async move { slots.acquire().await }));
        until_children(&session, PATH, number + 3).await;
    }
    let mut waiting = waiting.into_iter();
    let mut next = async || {
        let task = waiting.next().expect("four wait");
        let hold = soon("the next", task).await.expect("no panic");
        hold.expect("its turn came")
    };
    // Not the first of the two: only one who watches all holders can know.
    two.release().await.expect("it is ours");
    let three = next().await;
    assert!(one.is_valid() && three.is_valid());
    one.release().await.expect("it is ours");
    let four = next().await;
    four.release().await.expect("it is ours");
    let five = next().await;
    drop(three);
    let six = next().await;
    assert!(five.is_valid() && six.is_valid() && six.fence() > five.fence());
}

#[tokio::test]
async fn one_wakes_per_permit() {
    let place = Place::start().await;
    let session = place.proxied().await;
    let mut holds = Vec::new();
    for _ in 0..3 {
        holds.push(slots(&session, 3).acquire().await.expect("free"));
    }
    let mut waiting = Vec::new();
    for number in 0..10 {
        let slots = slots(&session, 3);
        waiting.push(tokio::spawn(async move { slots.acquire().await }));
        until_children(&session, PATH, number + 4).await;
    }
    for next in waiting {
        until("a quiet line", || async {
            place.proxy.seen_below(PATH).is_empty()
        })
        .await;
        holds.remove(1).release().await.expect("it is ours");
        let hold = soon("the next", next).await.expect("no panic");
        holds.push(hold.expect("its turn came"));
        until("a quiet line", || async {
            tokio::time::sleep(Duration::from_millis(150)).await;
            true
        })
        .await;
        let seen = place.proxy.seen_below(PATH);
        // Deleted; listed and announced by the next; listed and watched by the one behind; the hold's
        // own watch; and the removal of watches that fired for nothing.
        assert!(seen.len() <= 9, "a herd of ten: {seen:?}");
    }
}

#[tokio::test]
async fn never_more_than_n_hold_at_a_time() {
    let place = Place::start().await;
    let session = place.session().await;
    let (held, most) = (Arc::new(std::sync::atomic::AtomicUsize::new(0)), 3);
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let (slots, held) = (slots(&session, most), Arc::clone(&held));
        tasks.push(tokio::spawn(async move {
            use std::sync::atomic::Ordering::SeqCst;
            for _ in 0..6 {
                let hold = slots.acquire().await.expect("its turn comes");
                assert!(held.fetch_add(1, SeqCst) < most, "too many hold");
                tokio::task::yield_now().await;
                assert!(hold.is_valid());
                held.fetch_sub(1, SeqCst);
                hold.release().await.expect("it is ours");
            }
        }));
    }
    for task in tasks {
        soon("everybody", task).await.expect("no panic");
    }
}

#[tokio::test]
async fn a_dead_holder_frees_its_permit_and_a_lost_waiter_stands_again() {
    let place = Place::start().await;
    let (dies, waits) = (place.session().await, place.session().await);
    let watcher = place.session().await;
    let old = slots(&dies, 1).acquire().await.expect("free");
    let slots = slots(&waits, 1);
    let next = tokio::spawn(async move { slots.acquire().await });
    until_children(&watcher, PATH, 2).await;
    let before = watcher.children(PATH).await.expect("they can be read");
    place.expire(&waits);
    until("another node", || async {
        let now = watcher.children(PATH).await.expect("they can be read");
        now.len() == 2 && now != before
    })
    .await;
    place.expire(&dies);
    let next = soon("the permit", next).await.expect("no panic");
    assert!(next.expect("its turn came").fence() > old.fence());
}

#[tokio::test]
async fn a_node_written_by_somebody_else_misleads_nobody_for_long() {
    let place = Place::start().await;
    let session = place.proxied().await;
    let one = slots(&session, 1).acquire().await.expect("free");
    let mut waiting = Vec::new();
    for number in 0..2 {
        let slots = slots(&session, 1);
        waiting.push(tokio::spawn(async move { slots.acquire().await }));
        until_children(&session, PATH, number + 2).await;
    }
    let entrants = slots(&session, 1).entrants().await.expect("readable");
    let node = format!("{PATH}/{}", entrants[1].name);
    session.set(&node, b"hello", None).await.expect("written");
    // The one behind looks once, then trusts it no more. A hundred reads of ours are time enough to see.
    place.proxy.seen_below(PATH);
    for _ in 0..100 {
        session.exists("/").await.expect("an answer");
    }
    let seen = place.proxy.seen_below(PATH);
    assert!(seen.len() < 10, "it looks again and again: {seen:?}");
    one.release().await.expect("it is ours");
    for next in waiting {
        let hold = soon("the next", next).await.expect("no panic");
        hold.expect("its turn came").release().await.expect("ours");
    }
}

#[tokio::test]
async fn everybody_must_ask_for_the_same_number() {
    let place = Place::start().await;
    let session = place.session().await;
    drop(slots(&session, 2).acquire().await.expect("free"));
    let refused = slots(&session, 3).acquire().await.err();
    let (path, stored, asked) = (PATH.to_owned(), "2".to_owned(), 3);
    let other = RecipeError::OtherPermits {
        path,
        stored,
        asked,
    };
    assert_eq!(refused, Some(other));
    assert!(Semaphore::new(&session, PATH, 0).is_err());
    // A folder that is only there takes the number.
    session.ensure_path("/slots/plain").await.expect("made");
    let plain = Semaphore::new(&session, "/slots/plain", 7).expect("a legal path");
    drop(plain.acquire().await.expect("free"));
    assert_eq!(session.get("/slots/plain").await.expect("there").data, b"7");
}
