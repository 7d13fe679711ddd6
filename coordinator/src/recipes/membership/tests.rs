use super::*;
use crate::recipes::testing::{Place, TIMEOUT, soon, until};

const PATH: &str = "/svc/api";

async fn register(session: &Session, id: &str, data: &str) -> Registration {
    let registered = Registration::register(session, PATH, id, data.as_bytes(), None);
    soon("registering", registered)
        .await
        .expect("the id is free")
}

async fn watch(session: &Session, stale_after: Option<Duration>) -> Members {
    let options = MembersOptions { stale_after };
    Members::watch(session, PATH, options)
        .await
        .expect("a server")
}

async fn next(members: &mut Members) -> String {
    let change = soon("a change", members.next()).await.expect("it goes on");
    let text = |m: &Member| format!("{}={}", m.id, String::from_utf8_lossy(&m.data));
    match change {
        Change::Joined(m) => format!("joined {}", text(&m)),
        Change::Updated(m) => format!("updated {}", text(&m)),
        Change::Stale(m) => format!("stale {}", text(&m)),
        Change::Recovered(m) => format!("recovered {}", text(&m)),
        Change::Left(m) => format!("left {}", text(&m)),
    }
}

#[tokio::test]
async fn members_come_change_and_go() {
    let place = Place::start().await;
    let session = place.session().await;
    let a = register(&session, "a", "1").await;
    let mut members = watch(&place.session().await, None).await;
    assert_eq!(next(&mut members).await, "joined a=1");
    let b = register(&session, "b", "2").await;
    assert_eq!(next(&mut members).await, "joined b=2");
    a.update(b"3").await.expect("it stands");
    assert_eq!(next(&mut members).await, "updated a=3");
    let snapshot = members.snapshot();
    assert!(snapshot.fresh && snapshot.members.len() == 2);
    assert_eq!(a.fence(), Some(snapshot.members["a"].fence));
    let turns: Vec<String> = (0..3)
        .filter_map(|_| members.pick(Pick::RoundRobin))
        .map(|m| m.id)
        .collect();
    assert_eq!(turns, ["a", "b", "a"]);
    let by_key = || members.pick(Pick::Key(b"k")).map(|m| m.id);
    assert_eq!(by_key(), by_key());
    a.leave().await;
    assert_eq!(next(&mut members).await, "left a=3");
    drop(b);
    assert_eq!(next(&mut members).await, "left b=2");
    assert_eq!(members.pick(Pick::Random), None);
}

#[tokio::test]
async fn who_loses_its_session_comes_again_with_its_latest_data() {
    let place = Place::start().await;
    let session = place.session().await;
    let a = register(&session, "a", "old").await;
    a.update(b"new").await.expect("it stands");
    let first = a.fence().expect("it stands");
    let mut members = watch(&place.session().await, None).await;
    assert_eq!(next(&mut members).await, "joined a=new");
    place.expire(&session);
    assert_eq!(next(&mut members).await, "left a=new");
    assert_eq!(next(&mut members).await, "joined a=new");
    until("a larger fence", || async {
        a.fence().is_some_and(|f| f > first)
    })
    .await;
    // Deleted by an operator: it is made again as well.
    session
        .delete("/svc/api/a", None)
        .await
        .expect("it is there");
    assert_eq!(next(&mut members).await, "left a=new");
    assert_eq!(next(&mut members).await, "joined a=new");
}

#[tokio::test]
async fn an_id_belongs_to_one_at_a_time() {
    let place = Place::start().await;
    let (one, two) = (place.session().await, place.session().await);
    let a = register(&one, "a", "1").await;
    for session in [&one, &two] {
        let short = Some(Duration::from_millis(100));
        let taken = Registration::register(session, PATH, "a", b"2", short).await;
        assert!(
            matches!(taken, Err(MembershipError::IdTaken { .. })),
            "{taken:?}"
        );
    }
    let waiting = {
        let two = two.clone();
        tokio::spawn(async move { Registration::register(&two, PATH, "a", b"2", None).await })
    };
    place.expire(&one);
    let second = soon("the id", waiting)
        .await
        .expect("no panic")
        .expect("it is free");
    // Whoever comes first has it; the other waits for it.
    let both = async || (a.fence().is_some(), second.fence().is_some());
    until("one of them", || async {
        matches!(both().await, (true, false) | (false, true))
    })
    .await;
    assert!(
        Registration::register(&one, PATH, "a/b", b"", None)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_member_without_heartbeat_is_stale_and_not_picked() {
    let place = Place::start().await;
    let session = place.session().await;
    let quiet = register(&session, "quiet", "").await;
    let mut members = watch(&place.session().await, Some(Duration::from_millis(300))).await;
    assert_eq!(next(&mut members).await, "joined quiet=");
    assert_eq!(next(&mut members).await, "stale quiet=");
    assert_eq!(members.pick(Pick::RoundRobin), None);
    quiet.beat().await.expect("it stands");
    assert_eq!(next(&mut members).await, "recovered quiet=");
    assert!(members.snapshot().members["quiet"].beats > 0);
}

#[tokio::test]
async fn the_last_good_list_stays_while_zookeeper_is_away() {
    let mut place = Place::start().await;
    let session = place.session().await;
    let a = register(&session, "a", "1").await;
    let mut members = watch(&place.session().await, None).await;
    assert_eq!(next(&mut members).await, "joined a=1");
    place.stop().await;
    until("not fresh", || async { !members.snapshot().fresh }).await;
    assert_eq!(
        members.pick(Pick::RoundRobin).map(|m| m.id).as_deref(),
        Some("a")
    );
    place.start_again().await;
    until("fresh again", || async { members.snapshot().fresh }).await;
    soon("an update", a.update(b"2")).await.expect("it stands");
    until("news", || async {
        members
            .pick(Pick::RoundRobin)
            .is_some_and(|m| m.data == b"2")
    })
    .await;
}

#[tokio::test]
async fn registering_whose_answer_is_lost_is_found_out_and_giving_up_leaves_nothing() {
    let place = Place::start().await;
    let near = place.session().await;
    let far = place.proxied().await;
    near.ensure_path(PATH).await.expect("a server");
    place.proxy.lose_answers();
    let heal = async {
        let there = async || near.exists("/svc/api/a").await.is_ok_and(|s| s.is_some());
        until("the node", there).await;
        place.proxy.cut();
        place.proxy.heal();
    };
    let both = async { tokio::join!(register(&far, "a", "1"), heal) };
    let (a, ()) = soon("registering", both).await;
    assert!(a.fence().is_some());
    place.proxy.lose_answers();
    let given_up = Registration::register(&far, PATH, "b", b"", Some(Duration::from_millis(200)));
    assert!(given_up.await.is_err());
    place.proxy.cut();
    place.proxy.heal();
    tokio::time::sleep(TIMEOUT / 10).await;
    let gone = async || near.exists("/svc/api/b").await.is_ok_and(|s| s.is_none());
    until("nothing left", gone).await;
}
