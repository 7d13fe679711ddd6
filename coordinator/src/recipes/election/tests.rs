//! One leader, through the timelines in which Curator's `LeaderLatch` had two.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

use super::super::testing::*;
use super::*;

const PATH: &str = "/election";

fn election(session: &Session) -> Election {
    Election::new(session, PATH).expect("a legal path")
}

async fn until_leads(candidate: &Candidate) -> Fence {
    let term = soon("an election", candidate.elected()).await;
    term.expect("nothing refuses it").fence()
}

/// Follows two candidates, and fails when both lead at once.
fn never_both(one: &Arc<Candidate>, two: &Arc<Candidate>) -> AbortOnDropHandle<()> {
    let (one, two) = (Arc::clone(one), Arc::clone(two));
    AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            // Leadership may pass on between two looks: one led throughout if it did in both of its own.
            let (first, other, second) = (one.is_leader(), two.is_leader(), one.is_leader());
            let both = first.is_some() && first == second && other.is_some();
            assert!(!both, "two leaders: {first:?}, {other:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }))
}

#[tokio::test]
async fn candidates_lead_in_order_and_resign() {
    let place = Place::start().await;
    let (one, two) = (place.session().await, place.session().await);
    let first = election(&one).stand("one");
    let fence = until_leads(&first).await;
    assert_eq!(first.is_leader(), Some(fence));
    let second = election(&two).stand("two");
    until_children(&one, PATH, 2).await;
    let third = election(&one).stand("three");
    until_children(&one, PATH, 3).await;
    assert_eq!(second.is_leader(), None);
    let said = |all: Vec<Entrant>| -> Vec<String> {
        let text = |e: Entrant| String::from_utf8_lossy(&e.data).into_owned();
        all.into_iter().map(text).collect()
    };
    let all = election(&two).candidates().await.expect("readable");
    assert_eq!(said(all), ["one", "two", "three"]);
    // The second stands down before its turn.
    second.resign().await.expect("it is ours");
    first.resign().await.expect("it is ours");
    assert!(until_leads(&third).await > fence);
    let leader = election(&two).leader().await.expect("an answer");
    assert_eq!(leader.expect("there is one").data, b"three");
    drop(third);
    until_children(&one, PATH, 0).await;
    assert_eq!(election(&two).leader().await, Ok(None));
}

#[tokio::test]
async fn observers_follow_the_leader() {
    let place = Place::start().await;
    let (one, two) = (place.session().await, place.session().await);
    let observed = election(&two).observe().await.expect("an answer");
    assert_eq!(observed.current(), None);
    let mut leaders = observed.subscribe();
    let mut leader_is = async |data: &str| {
        let seen = leaders.wait_for(|l| l.as_ref().map(|l| l.data.clone()) == Some(data.into()));
        let seen = soon("the leader", seen).await.expect("it is observed");
        seen.as_ref().expect("it was looked for").fence
    };
    let first = election(&one).stand("one");
    assert_eq!(leader_is("one").await, until_leads(&first).await);
    let second = election(&one).stand("two");
    until_children(&two, PATH, 2).await;
    first.resign().await.expect("it is ours");
    assert_eq!(leader_is("two").await, until_leads(&second).await);
    drop(second);
    let mut gone = observed.subscribe();
    let gone = gone.wait_for(Option::is_none);
    soon("nobody", gone).await.expect("it is observed");
}

#[tokio::test]
async fn a_leader_whose_session_ends_stands_again_behind_the_others() {
    let place = Place::start().await;
    let (one, two) = (place.session().await, place.session().await);
    let first = election(&one).stand("one");
    let old = until_leads(&first).await;
    let second = election(&two).stand("two");
    until_children(&two, PATH, 2).await;
    place.expire(&one);
    let new = until_leads(&second).await;
    assert!(new > old);
    until_children(&two, PATH, 2).await;
    assert_eq!(first.is_leader(), None);
    second.resign().await.expect("it is ours");
    assert!(until_leads(&first).await > new);
}

#[tokio::test]
async fn one_term_is_a_hold() {
    let place = Place::start().await;
    let session = place.session().await;
    let term = election(&session).lead("one", None).await.expect("free");
    let limit = Some(Duration::from_millis(100));
    let late = election(&session).lead("two", limit).await;
    assert!(
        matches!(late, Err(RecipeError::TimedOut { .. })),
        "{late:?}"
    );
    term.release().await.expect("it is ours");
    until_children(&session, PATH, 0).await;
}

#[tokio::test]
async fn curator_696_an_old_node_that_is_deleted_after_the_reconnect() {
    // 1. A leads. 2. ZooKeeper is away. 3. It is back, A reconnects and finds its old node first in line.
    // 4. ZooKeeper ends A's session, and the old node goes. 5. A does not notice. 6. B leads. 7. So does A.
    let mut place = Place::start().await;
    let a = place.session().await;
    let first = election(&a).stand("A");
    let old = until_leads(&first).await;
    let id = a.session_id().expect("alive");
    place.stop().await;
    let mut states = a.states();
    let suspended = states.wait_for(|s| !s.is_connected());
    soon("A's loss", suspended).await.expect("it lives");
    place.start_again().await;
    let back = states.wait_for(|s| s.is_connected() && s.generation() == 1);
    soon("A's return", back).await.expect("it lives");
    assert_eq!(
        first.is_leader(),
        Some(old),
        "the same session, the same node"
    );
    let b = place.session().await;
    let second = election(&b).stand("B");
    until_children(&b, PATH, 2).await;
    assert!(place.server().expire_session(id), "it was alive");
    let new = until_leads(&second).await;
    assert!(new > old);
    until("A's insight", || async { first.is_leader().is_none() }).await;
    // It is back in line, with a node of its new session.
    until_children(&b, PATH, 2).await;
    let owners: BTreeSet<i64> = {
        let all = election(&b).candidates().await.expect("readable");
        all.iter().map(|e| e.session_id).collect()
    };
    assert_eq!(owners.len(), 2);
    assert!(!owners.contains(&id));
    assert_eq!(second.is_leader(), Some(new));
}

#[tokio::test]
async fn curator_696_expired_while_zookeeper_cannot_be_reached() {
    // The same with the session's own timeout: A is out of reach until its session is over. Nobody ends it
    // by force, so nobody may ever see two leaders.
    let place = Place::start().await;
    let (a, b) = (place.proxied().await, place.session().await);
    let first = Arc::new(election(&a).stand("A"));
    let old = until_leads(&first).await;
    let second = Arc::new(election(&b).stand("B"));
    until_children(&b, PATH, 2).await;
    let check = never_both(&first, &second);
    place.proxy.cut();
    let new = until_leads(&second).await;
    assert!(new > old && first.is_leader().is_none());
    place.proxy.heal();
    until_children(&b, PATH, 2).await;
    assert_eq!(second.is_leader(), Some(new));
    assert_eq!(first.is_leader(), None);
    assert!(!check.is_finished(), "two leaders");
}

#[tokio::test]
async fn curator_620_two_reconnects_in_quick_succession() {
    // Two resets of one latch interleave: the node is deleted after its owner became the leader by it.
    let place = Place::start().await;
    let (a, b) = (place.proxied().await, place.proxied().await);
    let first = Arc::new(election(&a).stand("A"));
    until_leads(&first).await;
    let second = Arc::new(election(&b).stand("B"));
    let other = place.session().await;
    until_children(&other, PATH, 2).await;
    let check = never_both(&first, &second);
    for _ in 0..8 {
        place.proxy.cut();
        place.proxy.heal();
        place.proxy.cut();
        place.proxy.heal();
        let mut states = a.states();
        let back = states.wait_for(|s| s.is_connected());
        soon("contact", back).await.expect("it lives");
        // Whoever says that it leads has a node, and the first one.
        if let Some(fence) = first.is_leader() {
            let leader = election(&other).leader().await.expect("an answer");
            assert_eq!(leader.expect("there is one").fence, fence);
        }
    }
    until_children(&other, PATH, 2).await;
    until("one leader", || async {
        first.is_leader().is_some() != second.is_leader().is_some()
    })
    .await;
    assert!(!check.is_finished(), "two leaders");
}

#[tokio::test]
async fn curator_653_the_one_before_goes_while_its_follower_reconnects() {
    // A and B are suspended together. B, the leader, goes; A is told so while it reconnects, leads by its
    // old node, and then deletes that node: B, behind it by then, leads as well.
    let place = Place::start().await;
    let (b, a) = (place.proxied().await, place.proxied().await);
    let leader = Arc::new(election(&b).stand("B"));
    let old = until_leads(&leader).await;
    let follower = Arc::new(election(&a).stand("A"));
    let other = place.session().await;
    until_children(&other, PATH, 2).await;
    let terms = Arc::new(Mutex::new(vec![old]));
    for round in 0..4 {
        let check = never_both(&leader, &follower);
        let before = terms.lock().last().copied().expect("one leads");
        let leads = match leader.is_leader() {
            Some(_) => &b,
            None => &a,
        };
        place.proxy.cut();
        // The leader's session ends on the server while both are away.
        until("both away", || async {
            !a.state().is_connected() && !b.state().is_connected()
        })
        .await;
        until("the end of the lease", || async {
            leader.is_leader().is_none() && follower.is_leader().is_none()
        })
        .await;
        let id = leads.session_id();
        place.proxy.heal();
        if let Some(id) = id {
            // It may have timed out, or not yet: both are ends.
            let _ = place.server().expire_session(id);
        }
        let term = soon("a leader", async {
            loop {
                if let Some(fence) = leader.is_leader().or_else(|| follower.is_leader()) {
                    return fence;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        assert!(term > before, "round {round}: {term} after {before}");
        terms.lock().push(term);
        until_children(&other, PATH, 2).await;
        assert!(!check.is_finished(), "two leaders");
    }
}
