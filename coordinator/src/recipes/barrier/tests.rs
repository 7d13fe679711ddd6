use super::*;
use crate::recipes::testing::{Place, soon};

#[tokio::test]
async fn it_holds_everybody_until_it_opens_over_restart_and_expiry() {
    let mut place = Place::start().await;
    let (a, b) = (place.session().await, place.session().await);
    let barrier = Barrier::new(a.clone(), "/b/1").expect("a path");
    assert_eq!(barrier.wait(None).await, Ok(()));
    barrier.close().await.expect("a server");
    barrier.close().await.expect("a second time is fine");
    assert_eq!(barrier.is_closed().await, Ok(true));
    let over = barrier.wait(Some(Duration::from_millis(30))).await;
    assert!(
        matches!(over, Err(RecipeError::TimedOut { .. })),
        "{over:?}"
    );

    let waiting = Barrier::new(b.clone(), "/b/1").expect("a path");
    let waiter = tokio::spawn(async move { waiting.wait(None).await });
    place.stop().await;
    place.start_again().await;
    let mut states = b.states();
    let back = states.wait_for(|s| s.is_connected());
    soon("the session", back).await.expect("it is not closed");
    place.expire(&b);
    assert!(!waiter.is_finished());
    assert_eq!(soon("opening", barrier.open()).await, Ok(true));
    assert_eq!(soon("the waiter", waiter).await.expect("no panic"), Ok(()));
    assert_eq!(barrier.open().await, Ok(false));
}

#[tokio::test]
async fn an_opening_whose_answer_is_lost_is_found_out() {
    let place = Place::start().await;
    let near = place.session().await;
    let barrier = Barrier::new(place.proxied().await, "/b").expect("a path");
    barrier.close().await.expect("a server");
    place.proxy.lose_answers();
    let heal = async {
        let waiting = Barrier::new(near.clone(), "/b").expect("a path");
        waiting.wait(None).await.expect("it opens");
        place.proxy.cut();
        place.proxy.heal();
    };
    let (opened, ()) = soon("opening", async { tokio::join!(barrier.open(), heal) }).await;
    assert_eq!(opened, Ok(true));
    assert!(Barrier::new(near, "b").is_err());
}
