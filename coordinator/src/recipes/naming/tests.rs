use std::collections::BTreeSet;

use super::*;
use crate::recipes::hold::Contender;
use crate::recipes::testing::{Place, soon, until};

#[tokio::test]
async fn the_smallest_free_name_is_claimed_and_free_again_with_its_session() {
    let place = Place::start().await;
    let (one, two) = (place.session().await, place.session().await);
    let names = |session: &Session| Names::new(session.clone(), "/workers").expect("a path");
    let (zero, hold) = names(&one).claim("w-").await.expect("free");
    let (first, other) = names(&two).claim("w-").await.expect("free");
    assert_eq!((zero.as_str(), first.as_str()), ("w-0", "w-1"));
    assert!(other.fence() > hold.fence());
    place.expire(&one);
    soon("the loss", hold.lost()).await;
    assert!(!hold.is_valid());
    let (again, next) = soon("a name", names(&two).claim("w-")).await.expect("free");
    assert_eq!(again, "w-0");
    assert!(next.fence() > hold.fence());
    assert_ne!(Names::unique("u-"), Names::unique("u-"));
}

#[tokio::test]
async fn claims_of_many_at_once_are_all_different() {
    let place = Place::start().await;
    let mut claims = Vec::new();
    for _ in 0..8 {
        let names = Names::new(place.session().await, "/workers").expect("a path");
        claims.push(tokio::spawn(async move {
            names.claim("w-").await.expect("free")
        }));
    }
    let mut seen = BTreeSet::new();
    let mut holds = Vec::new();
    for claim in claims {
        let (name, hold) = soon("a name", claim).await.expect("no panic");
        holds.push(hold);
        assert!(seen.insert(name));
    }
    assert_eq!(seen.len(), 8);
    assert!(holds.iter().all(Hold::is_valid));
}

/// What claims of as many callers of one session come to, whose first answers are lost.
async fn claimed_blindly(place: &Place, cut: &Session, callers: usize) -> Vec<Contender> {
    place.proxy.lose_answers();
    place.proxy.seen_below("/w-0");
    let claims: Vec<_> = (0..callers)
        .map(|_| {
            let cut = cut.clone();
            tokio::spawn(async move { claim(&cut, "/w-0", b"").await })
        })
        .collect();
    until("the request", || async {
        !place.proxy.seen_below("/w-0").is_empty()
    })
    .await;
    // For a second one, that should not come.
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    place.proxy.cut();
    place.proxy.heal();
    let mut claimed = Vec::new();
    for claim in claims {
        let one = soon("the outcome", claim).await.expect("no panic");
        claimed.extend(one.expect("it is found out"));
    }
    claimed
}

#[tokio::test]
async fn a_claim_without_an_answer_is_not_that_of_a_neighbour() {
    let place = Place::start().await;
    let cut = place.proxied().await;
    let first = claim(&cut, "/w-0", b"").await.expect("connected");
    let first = first.expect("it is free");
    let others = claimed_blindly(&place, &cut, 1).await;
    assert!(others.is_empty(), "two have it");
    first.leave().await.expect("it is ours");
    let mut both = claimed_blindly(&place, &cut, 2).await;
    let one = both.pop().expect("it was free");
    assert!(both.is_empty(), "two have it");
    one.leave().await.expect("it is ours");
}

#[tokio::test]
async fn names_are_bound_in_a_hierarchy() {
    let place = Place::start().await;
    let names = Names::new(place.session().await, "/names").expect("a path");
    names.bind("db/eu/1", b"10.0.0.1").await.expect("free");
    let bound = names.bind("db/eu/1", b"x").await;
    assert!(matches!(bound, Err(NamingError::Bound { .. })), "{bound:?}");
    names.rebind("db/eu/1", b"10.0.0.2").await.expect("any");
    names.rebind("db/us/1", b"10.0.0.3").await.expect("any");
    assert_eq!(
        names.resolve("db/eu/1").await,
        Ok(Some(b"10.0.0.2".to_vec()))
    );
    assert_eq!(names.resolve("db/asia").await, Ok(None));
    assert_eq!(
        names.list("db").await,
        Ok(vec!["eu".to_owned(), "us".to_owned()])
    );
    assert_eq!(names.list("").await, Ok(vec!["db".to_owned()]));
    let refused = names.unbind("db").await;
    assert!(
        matches!(refused, Err(NamingError::HasNames { .. })),
        "{refused:?}"
    );
    assert_eq!(names.unbind("db/us/1").await, Ok(true));
    assert_eq!(names.unbind("db/us/1").await, Ok(false));
    assert!(names.resolve("a//b").await.is_err());
}

#[tokio::test]
async fn numbers_never_come_twice_whatever_is_lost() {
    let place = Place::start().await;
    let far = place.proxied().await;
    let near = place.session().await;
    let mut seen = BTreeSet::new();
    let mut last = None;
    let (one, two) = (
        Sequence::new(far, "/ids", 3).expect("a path"),
        Sequence::new(near.clone(), "/ids", 1).expect("a path"),
    );
    for round in 0..20 {
        if round == 4 {
            place.proxy.lose_answers();
        }
        let next = async {
            let number = one.next().await.expect("a number");
            assert!(last < Some(number));
            last = Some(number);
            number
        };
        let other = async {
            let number = two.next().await.expect("a number");
            if round >= 4 {
                let moved = async || near.exists("/ids").await.is_ok_and(|s| s.is_some());
                until("the node", moved).await;
                place.proxy.cut();
                place.proxy.heal();
            }
            number
        };
        let (a, b) = soon("numbers", async { tokio::join!(next, other) }).await;
        assert!(seen.insert(a) && seen.insert(b), "{a} or {b} came twice");
    }
    near.set("/ids", b"no number", None).await.expect("any");
    let refused = two.next().await;
    assert!(
        matches!(refused, Err(NamingError::NotANumber { .. })),
        "{refused:?}"
    );
}
