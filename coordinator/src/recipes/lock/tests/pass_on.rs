//! Passing on: a release and a place at the end of the line in one write, or, through a fault, in two.

use super::*;

/// Passes on in the background.
fn passing(lock: &Lock, hold: Hold) -> JoinHandle<Result<Hold, RecipeError>> {
    let lock = lock.clone();
    tokio::spawn(async move { lock.pass_on(hold).await })
}

/// The next hold, and that it is the only thing left in line.
async fn the_only_one(other: &Session, next: JoinHandle<Result<Hold, RecipeError>>) -> Hold {
    let hold = soon("the next hold", next).await.expect("no panic");
    let hold = hold.expect("its turn came");
    assert!(hold.is_valid());
    until_children(other, PATH, 1).await;
    let stat = other.exists(hold.path()).await.expect("an answer");
    assert_eq!(stat.expect("it is there").czxid, hold.fence().0);
    hold
}

#[tokio::test]
async fn the_others_have_it_before_it_comes_back() {
    let place = Place::start().await;
    let (one, two) = (place.session().await, place.session().await);
    // Neighbours of one session, and strangers.
    for sessions in [[&one, &one], [&one, &two]] {
        let (first, second) = (lock(sessions[0]), lock(sessions[1]));
        let hold = first.acquire().await.expect("it is free");
        let (fence, validity) = (hold.fence(), hold.validity());
        let waiting = second.clone();
        let waiting = tokio::spawn(async move { waiting.acquire().await });
        until_children(&two, PATH, 2).await;
        let back = passing(&first, hold);
        let between = soon("the second", waiting).await.expect("no panic");
        let between = between.expect("its turn came");
        assert!(between.is_valid() && between.fence() > fence);
        assert!(!validity.is_valid(), "two holders");
        until("one node each", || async {
            let names = two.children(PATH).await.expect("they can be read");
            let holders = names
                .iter()
                .filter(|n| between.path().ends_with(n.as_str()));
            names.len() == 2 && holders.count() == 1
        })
        .await;
        assert!(!back.is_finished(), "two holders");
        let path = PATH.to_owned();
        let busy = first.acquire().await.err();
        assert_eq!(busy, Some(RecipeError::Reentrant { path }));
        let fence = between.fence();
        let again = passing(&second, between);
        let back = soon("the first again", back).await.expect("no panic");
        let back = back.expect("its turn came");
        assert!(back.is_valid() && back.fence() > fence);
        back.release().await.expect("it is ours");
        let again = the_only_one(&two, again).await;
        again.release().await.expect("it is ours");
        until_children(&two, PATH, 0).await;
    }
}

#[tokio::test]
async fn it_is_one_write_and_one_question() {
    let place = Place::start().await;
    let session = place.proxied().await;
    let lock = lock(&session);
    let hold = lock.acquire().await.expect("it is free");
    let fence = hold.fence();
    place.proxy.seen_below(PATH);
    let hold = lock.pass_on(hold).await.expect("nobody is before it");
    let seen = place.proxy.seen_below(PATH);
    let codes: Vec<i32> = seen.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, [MULTI, CHILDREN], "{seen:?}");
    assert!(hold.is_valid() && hold.fence() > fence);
}

#[tokio::test]
async fn an_answer_that_is_lost_is_found_out() {
    let place = Place::start().await;
    let (cut, other) = (place.proxied().await, place.session().await);
    let lock = lock(&cut);
    let hold = lock.acquire().await.expect("it is free");
    let before = hold.path().to_owned();
    place.proxy.lose_answers();
    let next = passing(&lock, hold);
    until("another node", || async {
        let stat = other.exists(&before).await.expect("an answer");
        stat.is_none()
    })
    .await;
    assert!(!next.is_finished(), "the answer was lost");
    place.proxy.cut();
    place.proxy.heal();
    the_only_one(&other, next).await;
}

#[tokio::test]
async fn a_request_that_never_arrives_is_made_up_for() {
    let place = Place::start().await;
    let (cut, other) = (place.proxied().await, place.session().await);
    let lock = lock(&cut);
    let hold = lock.acquire().await.expect("it is free");
    let validity = hold.validity();
    place.proxy.lose_requests();
    let next = passing(&lock, hold);
    let mut states = cut.states();
    let suspended = states.wait_for(|s| matches!(s, SessionState::Suspended { .. }));
    let suspended = soon("a connection without answers", suspended).await;
    suspended.expect("it lives");
    assert!(!validity.is_valid(), "it let go");
    place.proxy.heal();
    the_only_one(&other, next).await;
}

#[tokio::test]
async fn given_up_before_its_answer_it_leaves_nothing() {
    let place = Place::start().await;
    let (cut, other) = (place.proxied().await, place.session().await);
    for loses_answers in [true, false] {
        let lock = lock(&cut);
        let hold = lock.acquire().await.expect("it is free");
        match loses_answers {
            true => place.proxy.lose_answers(),
            false => place.proxy.lose_requests(),
        }
        let limit = Duration::from_millis(200);
        let late = tokio::time::timeout(limit, lock.pass_on(hold)).await;
        assert!(late.is_err(), "{late:?}");
        place.proxy.cut();
        place.proxy.heal();
        until_children(&other, PATH, 0).await;
        assert!(cut.state().generation() == 1, "the session never ended");
    }
}

#[tokio::test]
async fn what_was_lost_is_had_again() {
    let place = Place::start().await;
    let (ours, other) = (place.proxied().await, place.session().await);
    let lock = lock(&ours);
    let hold = lock.acquire().await.expect("it is free");
    other.delete(hold.path(), None).await.expect("deleted");
    let hold = the_only_one(&other, passing(&lock, hold)).await;
    place.expire(&ours);
    place.proxy.cut();
    place.proxy.heal();
    soon("the news", hold.lost()).await;
    let hold = the_only_one(&other, passing(&lock, hold)).await;
    hold.release().await.expect("it is ours");
}

#[tokio::test]
async fn the_hold_of_another_handle_is_released_first() {
    let place = Place::start().await;
    let session = place.session().await;
    let (one, two) = (lock(&session), lock(&session));
    let hold = one.acquire().await.expect("it is free");
    let hold = the_only_one(&session, passing(&two, hold)).await;
    let again = one.try_acquire().await.expect("the handle is free");
    assert!(again.is_none(), "two holders");
    hold.release().await.expect("it is ours");
}
