use super::*;
use crate::recipes::testing::{Place, soon, until, until_children};

const SHORT: Option<Duration> = Some(Duration::from_millis(50));

fn of(session: &Session, names: &[&str]) -> DoubleBarrier {
    DoubleBarrier::of(session.clone(), "/d", names).expect("a path")
}

#[tokio::test]
async fn all_begin_and_end_together_and_it_can_be_used_again() {
    let place = Place::start().await;
    let near = place.session().await;
    for _ in 0..2 {
        let mut members = Vec::new();
        for name in ["a", "b", "c"] {
            let barrier = of(&place.session().await, &["a", "b", "c"]);
            members.push(tokio::spawn(async move {
                let inside = barrier.enter(name, None).await.expect("all come");
                assert!(inside.is_valid() && inside.fence().0 > 0);
                inside.leave(None).await
            }));
        }
        for member in members {
            let left = soon("everybody", member).await.expect("no panic");
            assert_eq!(left, Ok(()));
        }
        until_children(&near, "/d", 0).await;
    }
}

#[tokio::test]
async fn who_is_missing_is_told_and_nothing_is_left_behind() {
    let place = Place::start().await;
    let near = place.session().await;
    let barrier = of(&place.session().await, &["a", "b", "c"]);
    let other = barrier.clone();
    let waiter = tokio::spawn(async move { other.enter("b", None).await.map(drop) });
    until_children(&near, "/d", 1).await;
    let taken = of(&near, &["a", "b", "c"]).enter("b", SHORT).await;
    assert!(
        matches!(taken, Err(BarrierError::NameTaken { .. })),
        "{taken:?}"
    );
    let overdue = barrier.enter("a", SHORT).await.map(drop);
    let expected = BarrierError::TimedOut {
        path: "/d".to_owned(),
        waited: Duration::from_millis(50),
        present: vec!["a".to_owned(), "b".to_owned()],
        parties: 3,
        missing: vec!["c".to_owned()],
    };
    let shown = expected.to_string();
    assert!(
        shown.contains("2 of 3") && shown.contains("missing: c"),
        "{shown}"
    );
    match overdue {
        // The member that gave up may be gone already when the others are counted.
        Err(BarrierError::TimedOut { missing, .. }) => {
            assert!(missing.contains(&"c".to_owned()) && !missing.contains(&"b".to_owned()));
        }
        other => panic!("{other:?}"),
    }
    until_children(&near, "/d", 1).await;
    waiter.abort();
    until_children(&near, "/d", 0).await;
}

#[tokio::test]
async fn a_member_whose_session_ends_while_it_waits_is_told() {
    let place = Place::start().await;
    let (near, dying) = (place.session().await, place.session().await);
    let barrier = of(&dying, &["a", "b"]);
    let waiter = tokio::spawn(async move { barrier.enter("a", None).await.map(drop) });
    until_children(&near, "/d", 1).await;
    place.expire(&dying);
    let lost = soon("the loss", waiter).await.expect("no panic");
    assert!(
        matches!(lost, Err(BarrierError::SessionLost { .. })),
        "{lost:?}"
    );
}

#[tokio::test]
async fn a_member_takes_the_place_of_the_dead_one_of_its_name() {
    let place = Place::start().await;
    let (near, dying) = (place.session().await, place.session().await);
    let killed = of(&dying, &["a", "b"]);
    let killed = tokio::spawn(async move { killed.enter("a", None).await.map(drop) });
    until_children(&near, "/d", 1).await;
    let (again, other) = (of(&near, &["a", "b"]), of(&near, &["a", "b"]));
    let again = tokio::spawn(async move { again.enter("a", None).await });
    dying.abandon().await;
    let ours = async || {
        let there = near.exists("/d/party-a").await;
        there.is_ok_and(|s| s.is_some_and(|s| Some(s.ephemeral_owner) == near.session_id()))
    };
    until("the name", ours).await;
    let other = soon("both", other.enter("b", None))
        .await
        .expect("both came");
    let again = soon("both", again)
        .await
        .expect("no panic")
        .expect("both came");
    let left = async { tokio::join!(again.leave(None), other.leave(None)) };
    assert_eq!(soon("the end", left).await, (Ok(()), Ok(())));
    killed.abort();
}

#[tokio::test]
async fn a_member_that_dies_inside_does_not_keep_the_others() {
    let place = Place::start().await;
    let (near, dying) = (place.session().await, place.session().await);
    let (one, two) = (of(&near, &["a", "b"]), of(&dying, &["a", "b"]));
    let (a, b) = soon("both", async {
        tokio::join!(one.enter("a", None), two.enter("b", None))
    })
    .await;
    let (a, b) = (a.expect("both came"), b.expect("both came"));
    let over = a.leave(SHORT).await;
    assert!(
        matches!(over, Err(BarrierError::TimedOut { .. })),
        "{over:?}"
    );
    place.expire(&dying);
    assert_eq!(soon("the loss", b.lost()).await, Loss::SessionEnded);
    let left = b.leave(None).await;
    assert!(
        matches!(left, Err(BarrierError::SessionLost { .. })),
        "{left:?}"
    );
    // They all died inside: what is left of the round does not let anybody in alone.
    until_children(&near, "/d", 1).await;
    assert_eq!(near.children("/d").await, Ok(vec!["ready".to_owned()]));
    let alone = one.enter("a", SHORT).await.map(drop);
    assert!(
        matches!(alone, Err(BarrierError::TimedOut { .. })),
        "{alone:?}"
    );
}

#[tokio::test]
async fn coming_in_is_found_out_when_its_answer_is_lost_and_waits_over_a_restart() {
    let mut place = Place::start().await;
    let near = place.session().await;
    let far = place.proxied().await;
    near.ensure_path("/d").await.expect("a server");
    let (one, two) = (of(&far, &["a", "b"]), of(&near, &["a", "b"]));
    place.proxy.lose_answers();
    let first = tokio::spawn(async move { one.enter("a", None).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    place.proxy.cut();
    place.proxy.heal();
    until_children(&near, "/d", 1).await;
    place.stop().await;
    place.start_again().await;
    let second = soon("the second", two.enter("b", None))
        .await
        .expect("both came");
    let first = soon("the first", first).await.expect("no panic");
    let first = first.expect("both came");
    let done = async { tokio::join!(first.leave(None), second.leave(None)) };
    assert_eq!(soon("the end", done).await, (Ok(()), Ok(())));
}
