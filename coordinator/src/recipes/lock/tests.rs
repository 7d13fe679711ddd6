//! The lock, and with it everything under it, through the faults it was made for.

mod pass_on;

use std::sync::atomic::{AtomicI64, Ordering};

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::super::hold::Loss;
use super::super::line::NEIGHBOUR_FIRST;
use super::super::own::{Own, Plan};
use super::super::testing::*;
use super::super::turn::sequence;
use super::super::{Fence, RecipeError, Semaphore};
use super::*;
use crate::session::{Acl, CreateMode, Op, SessionState, Word};

const PATH: &str = "/locks/one";

fn lock(session: &Session) -> Lock {
    Lock::new(session, PATH).expect("a legal path")
}

/// A store that refuses late writers.
#[derive(Default)]
struct Store(AtomicI64);

impl Store {
    fn write(&self, fence: Fence) -> bool {
        self.0.fetch_max(fence.0, Ordering::SeqCst) <= fence.0
    }
}

#[tokio::test]
async fn holders_come_in_the_order_of_asking_with_growing_fences() {
    let place = Place::start().await;
    let session = place.session().await;
    let first = lock(&session).acquire().await.expect("it is free");
    let mut waiting = Vec::new();
    for number in 0..5_usize {
        let lock = lock(&session).with_data(number.to_string());
        waiting.push(tokio::spawn(async move {
            let hold = lock.acquire().await.expect("its turn comes");
            (number, hold)
        }));
        until_children(&session, PATH, number + 2).await;
    }
    let entrants = lock(&session).entrants().await.expect("all can be read");
    let said: Vec<&[u8]> = entrants.iter().map(|e| e.data.as_slice()).collect();
    assert_eq!(said, [&b""[..], b"0", b"1", b"2", b"3", b"4"]);
    assert_eq!(entrants[0].fence, first.fence());
    let mut fence = first.fence();
    first.release().await.expect("it is ours");
    for (number, next) in waiting.into_iter().enumerate() {
        let (asked, hold) = soon("the next holder", next).await.expect("no panic");
        assert_eq!(asked, number);
        assert!(hold.is_valid() && hold.fence() > fence);
        assert_eq!(hold.fence(), entrants[number + 1].fence);
        fence = hold.fence();
        hold.release().await.expect("it is ours");
    }
    until_children(&session, PATH, 0).await;
}

#[tokio::test]
async fn who_shares_the_session_has_it_before_zookeeper_has_heard() {
    let place = Place::start().await;
    let (shared, other) = (place.proxied().await, place.session().await);
    let hold = lock(&shared).acquire().await.expect("it is free");
    let next = neighbour(&shared, &hold).await;
    let third = lock(&other);
    let third = tokio::spawn(async move { third.acquire().await });
    until_children(&other, PATH, 3).await;
    place.proxy.lose_requests();
    let (fence, validity) = (hold.fence(), hold.validity());
    let release = tokio::spawn(hold.release());
    let next = soon("the next hold", next).await.expect("no panic");
    let next = next.expect("its turn came");
    assert!(next.is_valid() && next.fence() > fence && !validity.is_valid());
    let names = other.children(PATH).await.expect("they can be read");
    assert_eq!(names.len(), 3, "ZooKeeper has not heard of it: {names:?}");
    assert!(!release.is_finished(), "so it is not done");
    place.proxy.cut();
    place.proxy.heal();
    let released = soon("the release", release).await.expect("no panic");
    released.expect("it is ours");
    until_children(&other, PATH, 2).await;
    assert!(next.is_valid() && !third.is_finished());
    next.release().await.expect("it is ours");
    let third = soon("the third", third).await.expect("no panic");
    assert!(third.expect("its turn came").is_valid());
}

#[tokio::test]
async fn a_hold_that_was_deleted_gives_its_turn_to_nobody() {
    let place = Place::start().await;
    let (shared, other) = (place.session().await, place.session().await);
    let hold = lock(&shared).acquire().await.expect("it is free");
    let next = neighbour(&shared, &hold).await;
    // It is held so long that it watches its node.
    assert_eq!(
        soon("the loss", deletion_of(&other, &hold)).await,
        Loss::Deleted
    );
    let path = hold.path().to_owned();
    let mut heard = shared.neighbours().listen(&path);
    drop(hold);
    let word = soon("a word", heard.heard()).await;
    assert_eq!(word, Word::Left, "it has nothing to give");
    let next = soon("the next hold", next).await.expect("no panic");
    assert!(next.expect("it is the first in the list").is_valid());
}

#[tokio::test]
async fn who_waits_for_a_neighbour_only_enters_and_looks() {
    let place = Place::start().await;
    let shared = place.proxied().await;
    for _ in 0..50 {
        let hold = lock(&shared).acquire().await.expect("it is free");
        place.proxy.seen_below(PATH);
        let begun = Instant::now();
        let next = neighbour(&shared, &hold).await;
        hold.release().await.expect("it is ours");
        let next = soon("the next hold", next).await.expect("no panic");
        let seen = place.proxy.seen_below(PATH);
        let in_time = begun.elapsed() < NEIGHBOUR_FIRST;
        next.expect("its turn came").release().await.expect("ours");
        if in_time {
            let codes: Vec<i32> = seen.iter().map(|(code, _)| *code).collect();
            assert_eq!(codes, [CREATE, CHILDREN, DELETE], "{seen:?}");
            return;
        }
    }
    panic!("nothing is done in {NEIGHBOUR_FIRST:?} here");
}

#[tokio::test]
async fn who_waits_for_a_neighbour_notices_that_it_was_deleted() {
    let place = Place::start().await;
    let (shared, other) = (place.session().await, place.session().await);
    let hold = lock(&shared).acquire().await.expect("it is free");
    let next = neighbour(&shared, &hold).await;
    let deleted = other.delete(hold.path(), None).await;
    deleted.expect("nobody protects it");
    let next = soon("the next hold", next).await.expect("no panic");
    assert!(next.expect("nobody is before it").is_valid());
    drop(hold);
}

#[tokio::test]
async fn who_waits_for_a_neighbour_that_gives_up_goes_on_waiting_for_the_holder() {
    let place = Place::start().await;
    let (shared, other) = (place.session().await, place.session().await);
    let hold = lock(&other).acquire().await.expect("it is free");
    let waiting = lock(&shared);
    let waiting = tokio::spawn(async move { waiting.acquire().await });
    until_children(&other, PATH, 2).await;
    let names = other.children(PATH).await.expect("they can be read");
    let second = names.iter().max_by_key(|name| sequence(name));
    let path = format!("{PATH}/{}", second.expect("there are two"));
    let last = lock(&shared);
    let last = tokio::spawn(async move { last.acquire().await });
    until("the last one waits", || async {
        shared.neighbours().listening(&path) == 1
    })
    .await;
    waiting.abort();
    until_children(&other, PATH, 2).await;
    assert!(!last.is_finished(), "two holders");
    hold.release().await.expect("it is ours");
    let last = soon("the last hold", last).await.expect("no panic");
    assert!(last.expect("its turn came").is_valid());
}

/// One that waits right behind `hold`, in its session.
async fn neighbour(session: &Session, hold: &Hold) -> JoinHandle<Result<Hold, RecipeError>> {
    let next = lock(session);
    let next = tokio::spawn(async move { next.acquire().await });
    until("the next one waits", || async {
        session.neighbours().listening(hold.path()) == 1
    })
    .await;
    next
}

async fn deletion_of(other: &Session, hold: &Hold) -> Loss {
    let deleted = other.delete(hold.path(), None).await;
    deleted.expect("nobody protects it");
    hold.lost().await
}

#[tokio::test]
async fn what_a_closing_session_holds_is_over_before_others_can_have_it() {
    let place = Place::start().await;
    let (closing, other) = (place.proxied().await, place.session().await);
    let hold = lock(&closing).acquire().await.expect("it is free");
    let next = lock(&other);
    let next = tokio::spawn(async move { next.acquire().await });
    until_children(&other, PATH, 2).await;
    place.proxy.lose_answers();
    let close = tokio::spawn(async move { closing.close().await });
    let next = soon("the next hold", next).await.expect("no panic");
    assert!(next.expect("its turn came").is_valid());
    assert!(!close.is_finished(), "the answer was lost");
    assert!(!hold.is_valid(), "two holders");
    assert_eq!(soon("the loss", hold.lost()).await, Loss::SessionEnded);
    soon("the close", close).await.expect("no panic");
}

#[tokio::test]
async fn time_runs_out_and_leaves_nothing_behind() {
    let place = Place::start().await;
    let (one, two) = (place.session().await, place.session().await);
    let hold = lock(&one).acquire().await.expect("it is free");
    let limit = Duration::from_millis(150);
    let late = lock(&two).acquire_within(limit).await;
    let (path, waited) = (PATH.to_owned(), limit);
    assert_eq!(late.err(), Some(RecipeError::TimedOut { path, waited }));
    until_children(&one, PATH, 1).await;
    assert!(lock(&two).try_acquire().await.expect("an answer").is_none());
    assert_eq!(one.children(PATH).await.expect("they can be read").len(), 1);
    hold.release().await.expect("it is ours");
    let hold = lock(&two).try_acquire().await.expect("an answer");
    assert!(hold.expect("it is free").is_valid());
    // That one was dropped: it goes by itself.
    until_children(&one, PATH, 0).await;
}

#[tokio::test]
async fn who_stops_waiting_leaves_the_line_and_who_is_behind_goes_on() {
    let place = Place::start().await;
    let session = place.session().await;
    let hold = lock(&session).acquire().await.expect("it is free");
    let (second, third) = (lock(&session), lock(&session));
    let second = tokio::spawn(async move { second.acquire().await.map(drop) });
    until_children(&session, PATH, 2).await;
    let third = tokio::spawn(async move { third.acquire().await });
    until_children(&session, PATH, 3).await;
    second.abort();
    until_children(&session, PATH, 2).await;
    assert!(!third.is_finished(), "the first still holds");
    hold.release().await.expect("it is ours");
    let third = soon("the third", third).await.expect("no panic");
    assert!(third.expect("its turn came").is_valid());
}

#[tokio::test]
async fn one_handle_holds_once() {
    let place = Place::start().await;
    let session = place.session().await;
    let lock = lock(&session);
    let hold = lock.acquire().await.expect("it is free");
    let path = PATH.to_owned();
    let refused = Some(RecipeError::Reentrant { path });
    assert_eq!(lock.acquire().await.err(), refused);
    assert_eq!(lock.clone().try_acquire().await.err(), refused);
    hold.release().await.expect("it is ours");
    drop(lock.acquire().await.expect("the handle is free again"));
    let hold = soon("after a drop", lock.acquire()).await;
    assert!(hold.expect("the handle is free again").is_valid());
}

#[tokio::test]
async fn a_create_whose_answer_is_lost_is_found_again() {
    let place = Place::start().await;
    let (cut, other) = (place.proxied().await, place.session().await);
    cut.ensure_path(PATH).await.expect("made");
    place.proxy.lose_answers();
    let lock = lock(&cut);
    let hold = tokio::spawn(async move { lock.acquire().await });
    until_children(&other, PATH, 1).await;
    assert!(!hold.is_finished(), "the answer was lost");
    place.proxy.cut();
    place.proxy.heal();
    let hold = soon("the hold", hold).await.expect("no panic");
    let hold = hold.expect("the node is there");
    let names = other.children(PATH).await.expect("they can be read");
    assert_eq!(names.len(), 1, "made once: {names:?}");
    let stat = other.exists(hold.path()).await.expect("an answer");
    assert_eq!(stat.expect("it is there").czxid, hold.fence().0);
    hold.release().await.expect("it is ours");
    until_children(&other, PATH, 0).await;
}

#[tokio::test]
async fn a_create_that_never_arrives_is_made_again() {
    let place = Place::start().await;
    let (cut, other) = (place.proxied().await, place.session().await);
    cut.ensure_path(PATH).await.expect("made");
    place.proxy.lose_requests();
    let lock = lock(&cut);
    let hold = tokio::spawn(async move { lock.acquire().await });
    let mut states = cut.states();
    // No heartbeat is answered either.
    let suspended = states.wait_for(|s| matches!(s, SessionState::Suspended { .. }));
    soon("a connection without answers", suspended)
        .await
        .expect("it lives");
    place.proxy.heal();
    let hold = soon("the hold", hold).await.expect("no panic");
    assert!(hold.expect("made again").is_valid());
    let names = other.children(PATH).await.expect("they can be read");
    assert_eq!(names.len(), 1, "{names:?}");
}

#[tokio::test]
async fn a_create_given_up_before_its_answer_leaves_nothing() {
    let place = Place::start().await;
    let (cut, other) = (place.proxied().await, place.session().await);
    cut.ensure_path(PATH).await.expect("made");
    place.proxy.lose_answers();
    let lock = lock(&cut);
    let late = lock.acquire_within(Duration::from_millis(200)).await;
    assert!(
        matches!(late, Err(RecipeError::TimedOut { .. })),
        "{late:?}"
    );
    until_children(&other, PATH, 1).await;
    place.proxy.cut();
    place.proxy.heal();
    until_children(&other, PATH, 0).await;
    assert!(cut.state().generation() == 1, "the session never ended");
}

#[tokio::test]
async fn a_create_in_a_session_that_ends_is_made_again_in_the_next() {
    let place = Place::start().await;
    let (cut, other) = (place.proxied().await, place.session().await);
    cut.ensure_path(PATH).await.expect("made");
    place.proxy.lose_answers();
    let lock = lock(&cut);
    let hold = tokio::spawn(async move { lock.acquire().await });
    until_children(&other, PATH, 1).await;
    let before = other.children(PATH).await.expect("they can be read");
    place.expire(&cut);
    place.proxy.cut();
    place.proxy.heal();
    let hold = soon("the hold", hold).await.expect("no panic");
    let hold = hold.expect("made again");
    assert!(hold.is_valid());
    let names = other.children(PATH).await.expect("they can be read");
    assert_eq!(names.len(), 1, "{names:?}");
    assert_ne!(names, before);
}

#[tokio::test]
async fn a_node_of_an_earlier_session_is_not_taken_for_ours() {
    // CURATOR-498: a create in a session that ends; the next session sees the node of that one, which
    // ZooKeeper has not deleted yet, and takes it for its own.
    let place = Place::start().await;
    let (ours, earlier) = (place.session().await, place.session().await);
    ours.ensure_path(PATH).await.expect("made");
    let plan = Plan {
        parent: PATH.to_owned(),
        prefix: "5f0c__lock__".to_owned(),
        data: Vec::new(),
    };
    let mode = CreateMode::EphemeralSequential;
    let start = format!("{PATH}/{}", plan.prefix);
    let made = earlier.create(&start, b"", mode, Acl::Open).await;
    let made = made.expect("made");
    assert_eq!(Own::find(&ours, &plan).await, Ok(None));
    let found = Own::find(&earlier, &plan).await.expect("an answer");
    assert_eq!(found.expect("it is its own").fence, Fence(made.stat.czxid));
}

#[tokio::test]
async fn an_expired_holder_is_told_and_its_late_write_is_refused() {
    let place = Place::start().await;
    let (one, two) = (place.session().await, place.session().await);
    let store = Store::default();
    let old = lock(&one).acquire().await.expect("it is free");
    assert!(store.write(old.fence()));
    let next = lock(&two);
    let next = tokio::spawn(async move { next.acquire().await });
    until_children(&two, PATH, 2).await;
    place.expire(&one);
    let next = soon("the next holder", next).await.expect("no panic");
    let next = next.expect("its turn came");
    assert!(next.fence() > old.fence());
    assert!(store.write(next.fence()));
    assert!(!store.write(old.fence()), "a late write came through");
    assert_eq!(soon("the news", old.lost()).await, Loss::SessionEnded);
    assert!(!old.is_valid());
    // The session has a successor by now, with a lease that runs; the hold stays lost.
    let mut states = one.states();
    let anew = states.wait_for(|s| s.is_connected() && s.generation() == 2);
    soon("a new session", anew).await.expect("it lives");
    assert!(!old.is_valid());
    assert_eq!(old.release().await, Ok(()));
    assert!(next.is_valid());
}

#[tokio::test]
async fn a_session_that_expires_while_waiting_waits_on() {
    let place = Place::start().await;
    let (one, two) = (place.session().await, place.session().await);
    let hold = lock(&one).acquire().await.expect("it is free");
    let waits = lock(&two);
    let waits = tokio::spawn(async move { waits.acquire().await });
    until_children(&one, PATH, 2).await;
    let before = one.children(PATH).await.expect("they can be read");
    place.expire(&two);
    until("another node", || async {
        let now = one.children(PATH).await.expect("they can be read");
        now.len() == 2 && now != before
    })
    .await;
    hold.release().await.expect("it is ours");
    let waits = soon("the second", waits).await.expect("no panic");
    assert!(waits.expect("its turn came").is_valid());
}

#[tokio::test]
async fn a_restart_of_zookeeper_costs_nobody_his_place() {
    let mut place = Place::start().await;
    let (one, two) = (place.session().await, place.session().await);
    let hold = lock(&one).acquire().await.expect("it is free");
    let waits = lock(&two);
    let waits = tokio::spawn(async move { waits.acquire().await });
    until_children(&one, PATH, 2).await;
    let late = lock(&two);
    place.stop().await;
    // Asked for while nobody is there.
    let late = tokio::spawn(async move { late.acquire().await });
    place.start_again().await;
    until_children(&one, PATH, 3).await;
    assert!(hold.is_valid(), "it was back in time");
    hold.release().await.expect("it is ours");
    let waits = soon("the second", waits).await.expect("no panic");
    waits.expect("its turn came").release().await.expect("ours");
    let late = soon("the third", late).await.expect("no panic");
    assert!(late.expect("its turn came").is_valid());
}

#[tokio::test]
async fn a_holder_out_of_touch_is_invalid_before_anybody_else_holds() {
    let place = Place::start().await;
    let (cut, other) = (place.proxied().await, place.session().await);
    let old = lock(&cut).acquire().await.expect("it is free");
    let next = lock(&other);
    let next = tokio::spawn(async move { next.acquire().await });
    until_children(&other, PATH, 2).await;
    place.proxy.cut();
    let begun = crate::clock::now();
    assert!(old.is_valid(), "the lease runs on for a while");
    // By itself, without a word from anybody.
    assert_eq!(
        soon("the end of the lease", old.lost()).await,
        Loss::LeaseRanOut
    );
    assert!(!old.is_valid() && begun.elapsed() <= TIMEOUT);
    assert!(!next.is_finished(), "the session has not timed out yet");
    let next = soon("the next holder", next).await.expect("no panic");
    let next = next.expect("its turn came");
    assert!(!old.is_valid() && next.is_valid());
    assert!(next.fence() > old.fence());
    place.proxy.heal();
    let mut states = cut.states();
    let anew = states.wait_for(|s| s.is_connected());
    soon("contact", anew).await.expect("it lives");
    assert!(!old.is_valid(), "what is lost stays lost");
}

#[tokio::test]
async fn a_holder_that_stood_still_knows_without_being_told() {
    let place = Place::start().await;
    let cut = place.proxied().await;
    let hold = lock(&cut).acquire().await.expect("it is free");
    place.proxy.cut();
    let mut states = cut.states();
    let suspended = states.wait_for(|s| matches!(s, SessionState::Suspended { .. }));
    soon("the cut", suspended).await.expect("it lives");
    assert!(hold.is_valid(), "the lease runs on for a while");
    // Nothing on this thread runs meanwhile, as in a process that is paused: no task, no timer.
    while cut.lease().holds() {
        std::thread::yield_now();
    }
    assert!(!hold.is_valid() && !hold.validity().is_valid());
}

#[tokio::test]
async fn a_lease_that_ran_out_gives_way_though_the_session_lives() {
    let place = Place::start().await;
    let (cut, other) = (place.proxied().await, place.session().await);
    let old = lock(&cut).acquire().await.expect("it is free");
    let next = lock(&other);
    let next = tokio::spawn(async move { next.acquire().await });
    until_children(&other, PATH, 2).await;
    place.proxy.cut();
    assert_eq!(
        soon("the end of the lease", old.lost()).await,
        Loss::LeaseRanOut
    );
    place.proxy.heal();
    let next = soon("the next holder", next).await.expect("no panic");
    assert!(next.expect("the node was removed").is_valid());
    assert!(!old.is_valid());
}

#[tokio::test]
async fn a_node_or_folder_deleted_by_hand_is_noticed() {
    let place = Place::start().await;
    let (one, two) = (place.session().await, place.session().await);
    let old = lock(&one).acquire().await.expect("it is free");
    two.delete(old.path(), None).await.expect("deleted");
    assert_eq!(soon("the news", old.lost()).await, Loss::Deleted);
    assert!(!old.is_valid());
    let hold = lock(&two).acquire().await.expect("it is free");
    assert!(hold.fence() > old.fence());
    let waits = lock(&one);
    let waits = tokio::spawn(async move { waits.acquire().await });
    until_children(&two, PATH, 2).await;
    // CURATOR-724: everything is gone, with the folder. Numbers begin anew there, fences do not.
    let names = two.children(PATH).await.expect("they can be read");
    let nodes = names.iter().map(|name| format!("{PATH}/{name}"));
    let delete = |path| Op::Delete {
        path,
        version: None,
    };
    let all = nodes.chain([PATH.to_owned()]).map(delete).collect();
    two.multi(all).await.expect("deleted");
    let waits = soon("the next holder", waits).await.expect("no panic");
    let waits = waits.expect("the folder was made again");
    assert!(
        waits.path().ends_with("__lock__0000000000"),
        "{}",
        waits.path()
    );
    assert!(waits.fence() > hold.fence());
    assert_eq!(soon("the news", hold.lost()).await, Loss::Deleted);
    assert!(waits.is_valid() && !hold.is_valid());
}

#[tokio::test]
async fn a_hold_costs_three_operations_and_a_handover_wakes_one() {
    let place = Place::start().await;
    let session = place.proxied().await;
    session.ensure_path(PATH).await.expect("made");
    place.proxy.seen_below(PATH);
    let hold = lock(&session).acquire().await.expect("it is free");
    hold.release().await.expect("it is ours");
    let seen = place.proxy.seen_below(PATH);
    let codes: Vec<i32> = seen.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, [CREATE, CHILDREN, DELETE], "{seen:?}");

    let sessions = [session, place.proxied().await];
    handovers_ask_nothing(&place, &sessions, MULTI).await;
    let [session, _] = sessions;
    handovers_ask_nothing(&place, &[session], DELETE).await;
}

/// Contenders of these sessions by turns; `end`: what a hold ends with.
async fn handovers_ask_nothing(place: &Place, sessions: &[Session], end: i32) {
    let session = &sessions[0];
    let mut hold = lock(session).acquire().await.expect("it is free");
    let mut waiting = Vec::new();
    for number in 0..20 {
        let lock = lock(&sessions[(number + 1) % sessions.len()]);
        waiting.push(tokio::spawn(async move { lock.acquire().await }));
        until_children(session, PATH, number + 2).await;
    }
    for next in waiting {
        until("a quiet line", || async {
            place.proxy.seen_below(PATH).is_empty()
        })
        .await;
        hold.release().await.expect("it is ours");
        hold = soon("the next", next)
            .await
            .expect("no panic")
            .expect("its turn");
        let seen = place.proxy.seen_below(PATH);
        let count = |codes: &[i32]| seen.iter().filter(|(code, _)| codes.contains(code)).count();
        assert_eq!(count(&[MULTI, DELETE]), 1, "{seen:?}");
        assert_eq!(count(&[end]), 1, "{seen:?}");
        let questions = count(&[CHILDREN]);
        assert_eq!(questions, 0, "a herd, or a question: {seen:?}");
    }
    // The last one has nobody to tell it to, and has waited: it is a multi all the same.
    hold.release().await.expect("it is ours");
    until_children(session, PATH, 0).await;
    place.proxy.seen_below(PATH);
}

#[tokio::test]
async fn a_word_to_the_holder_is_not_taken_for_its_farewell() {
    let place = Place::start().await;
    let (one, two) = (place.session().await, place.session().await);
    let mut hold = lock(&one).acquire().await.expect("it is free");
    // The first ends by hand, without a farewell; the second with one.
    for by_hand in [true, false] {
        let next = lock(&two);
        let next = tokio::spawn(async move { next.acquire().await });
        until_children(&two, PATH, 2).await;
        // As Curator's Revoker does.
        let asked = two.set(hold.path(), b"__REVOKE__", None).await;
        asked.expect("it is there");
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!next.is_finished(), "two holders");
        match by_hand {
            true => two.delete(hold.path(), None).await.expect("deleted"),
            false => hold.release().await.expect("it is ours"),
        }
        let next = soon("the next holder", next).await.expect("no panic");
        hold = next.expect("its turn came");
    }
    assert!(hold.is_valid());
}

#[tokio::test]
async fn who_waits_notices_that_its_node_is_gone() {
    let place = Place::start().await;
    let (one, two) = (place.session().await, place.session().await);
    let hold = lock(&one).acquire().await.expect("it is free");
    let next = lock(&two);
    let next = tokio::spawn(async move { next.acquire().await });
    until_children(&two, PATH, 2).await;
    let names = two.children(PATH).await.expect("they can be read");
    let waits = names.iter().map(|name| format!("{PATH}/{name}"));
    for path in waits.filter(|path| path != hold.path()) {
        two.delete(&path, None).await.expect("deleted");
    }
    // It stands in line again, though the holder has not moved.
    until_children(&two, PATH, 2).await;
    hold.release().await.expect("it is ours");
    let next = soon("the next holder", next).await.expect("no panic");
    assert!(next.expect("its turn came").is_valid());
}

#[tokio::test]
async fn who_would_not_wait_for_us_is_refused() {
    let place = Place::start().await;
    let (one, other) = (place.session().await, place.session().await);
    let hold = lock(&one).acquire().await.expect("it is free");
    let curators = lock(&other).with_layout(Layout::Curator);
    let permits = Semaphore::new(&other, PATH, 2).expect("a legal path");
    for refused in [curators.acquire().await, permits.acquire().await] {
        assert!(matches!(refused, Err(RecipeError::OtherLayout { .. })));
    }
    hold.release().await.expect("held");
    until_children(&one, PATH, 0).await;
    let permit = permits.acquire().await.expect("nobody locks it now");
    let refused = lock(&one).acquire().await;
    assert!(matches!(refused, Err(RecipeError::OtherLayout { .. })));
    permit.release().await.expect("held");
}

#[tokio::test]
async fn what_is_dropped_without_a_runtime_is_let_go() {
    let place = Place::start().await;
    let session = place.session().await;
    let home = tokio::runtime::Runtime::new().expect("a runtime");
    let held = lock(&session);
    let hold = home.spawn(async move { held.acquire().await });
    let hold = hold.await.expect("no panic").expect("it is free");
    home.shutdown_background();
    let dropping = std::thread::spawn(move || drop(hold));
    dropping.join().expect("no panic");
    until_children(&session, PATH, 0).await;
}
