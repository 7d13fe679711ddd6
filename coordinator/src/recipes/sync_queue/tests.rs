use super::*;
use crate::recipes::testing::{Place, soon, until_children};

fn queue(session: &Session) -> SyncQueue {
    SyncQueue::new(session.clone(), "/round", 3).expect("a path")
}

fn arrive(
    session: &Session,
    name: &'static str,
) -> tokio::task::JoinHandle<Result<Vec<Arrival>, SyncQueueError>> {
    let queue = queue(session);
    tokio::spawn(async move { queue.arrive(name, name.as_bytes(), None).await })
}

#[tokio::test]
async fn it_opens_for_all_with_the_same_list_over_a_restart() {
    let mut place = Place::start().await;
    let near = place.session().await;
    let a = arrive(&place.session().await, "a");
    until_children(&near, "/round", 1).await;
    let early = queue(&near)
        .arrive("b", b"", Some(Duration::from_millis(50)))
        .await;
    assert!(
        matches!(early, Err(SyncQueueError::TimedOut { size: 3, .. })),
        "{early:?}"
    );
    until_children(&near, "/round", 1).await;
    let c = arrive(&place.session().await, "c");
    until_children(&near, "/round", 2).await;
    let taken = queue(&near).arrive("c", b"", None).await;
    assert!(
        matches!(taken, Err(SyncQueueError::NameTaken { .. })),
        "{taken:?}"
    );
    place.stop().await;
    place.start_again().await;
    until_children(&near, "/round", 2).await;
    let b = arrive(&near, "b");
    for member in [a, b, c] {
        let all = soon("the others", member)
            .await
            .expect("no panic")
            .expect("it opened");
        let names: Vec<&str> = all.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(names, ["a", "c", "b"]);
        assert_eq!(all[1].data, b"c");
    }
    let late = queue(&near).arrive("d", b"", None).await;
    assert!(
        matches!(late, Err(SyncQueueError::Opened { .. })),
        "{late:?}"
    );
    assert_eq!(queue(&near).reset().await, Ok(true));
    assert_eq!(queue(&near).reset().await, Ok(false));
    assert_eq!(queue(&near).present().await, Ok(vec![]));
}

#[tokio::test]
async fn a_member_that_dies_before_does_not_count() {
    let place = Place::start().await;
    let (near, dying) = (place.session().await, place.session().await);
    let a = arrive(&near, "a");
    let dead = arrive(&dying, "dead");
    until_children(&near, "/round", 2).await;
    place.expire(&dying);
    let lost = soon("the loss", dead).await.expect("no panic");
    assert!(
        matches!(lost, Err(SyncQueueError::SessionLost { .. })),
        "{lost:?}"
    );
    let (b, c) = (arrive(&near, "b"), arrive(&place.session().await, "c"));
    for member in [a, b, c] {
        let all = soon("the others", member)
            .await
            .expect("no panic")
            .expect("it opened");
        assert!(all.len() == 3 && all.iter().all(|m| m.name != "dead"));
    }
}

#[tokio::test]
async fn a_list_that_cannot_be_read_is_refused() {
    let place = Place::start().await;
    let near = place.session().await;
    near.ensure_path("/round/opened").await.expect("a server");
    let bad = queue(&near).arrive("a", b"", None).await;
    assert!(
        matches!(bad, Err(SyncQueueError::BadList { .. })),
        "{bad:?}"
    );
}
