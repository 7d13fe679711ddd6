//! Long lines: who is far back listens for a farewell only, and has its turn whatever those before it do.

use super::*;

type Waiting = JoinHandle<Result<Hold, RecipeError>>;

/// One who holds, and so many behind it, of two sessions by turns.
async fn line(place: &Place, sessions: &[Session; 2], count: usize) -> (Hold, Vec<Waiting>) {
    let watcher = place.session().await;
    let hold = lock(&sessions[1]).acquire().await.expect("it is free");
    let mut waiting = Vec::new();
    for number in 0..count {
        let lock = lock(&sessions[number % 2]);
        waiting.push(tokio::spawn(async move { lock.acquire().await }));
        until_children(&watcher, PATH, number + 2).await;
    }
    (hold, waiting)
}

#[tokio::test]
async fn far_back_only_the_farewell_is_watched_for() {
    let place = Place::start().await;
    let sessions = [place.proxied().await, place.session().await];
    for _ in 0..50 {
        let (hold, waiting) = line(&place, &sessions, 12).await;
        tokio::time::sleep(2 * WORD_FIRST).await;
        place.proxy.seen_below(PATH);
        let begun = Instant::now();
        let lock = lock(&sessions[0]);
        let last = tokio::spawn(async move { lock.acquire().await });
        let mut seen = Vec::new();
        until("a watch", || {
            seen.extend(place.proxy.seen_below(PATH));
            let watches = seen.iter().any(|(code, _)| *code == EXISTS);
            async move { watches }
        })
        .await;
        let in_time = begun.elapsed() < WORD_FIRST;
        tokio::time::sleep(2 * WORD_FIRST).await;
        let late = place.proxy.seen_below(PATH);
        drop(hold);
        for next in waiting.into_iter().chain([last]) {
            let next = soon("the next hold", next).await.expect("no panic");
            drop(next.expect("its turn came"));
        }
        if in_time {
            let codes: Vec<i32> = seen.iter().map(|(code, _)| *code).collect();
            assert_eq!(codes, [CREATE, CHILDREN_AND_STAT, EXISTS], "{seen:?}");
            let (_, farewell) = seen.last().expect("three");
            let node = farewell.strip_suffix("-over").expect("the farewell");
            assert_eq!(late, [(EXISTS, node.to_owned())], "then the node itself");
            return;
        }
    }
    panic!("nothing is done in {WORD_FIRST:?} here");
}

#[tokio::test]
async fn far_back_one_that_gives_up_holds_nobody_up() {
    let place = Place::start().await;
    let sessions = [place.session().await, place.session().await];
    let (hold, mut waiting) = line(&place, &sessions, 12).await;
    let last = waiting.pop().expect("twelve");
    // At once, before anybody looks at its node.
    waiting.pop().expect("eleven").abort();
    drop(hold);
    let mut fence = None;
    for next in waiting.into_iter().chain([last]) {
        let next = soon("the next hold", next).await.expect("no panic");
        let next = next.expect("its turn came");
        assert!(next.is_valid() && Some(next.fence()) > fence);
        fence = Some(next.fence());
        next.release().await.expect("it is ours");
    }
    until_children(&sessions[0], PATH, 0).await;
}
