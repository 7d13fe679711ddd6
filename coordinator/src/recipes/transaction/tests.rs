use super::*;
use crate::recipes::testing::{Place, soon, until_children};

#[tokio::test]
async fn all_or_nothing_and_the_culprit_is_named() {
    let place = Place::start().await;
    let session = place.session().await;
    let mut make = Transaction::new(&session);
    let a = make.create("/a", b"1");
    let entry = make.create_sequential("/a/entry-", b"x");
    let set = make.set("/a", b"2", Some(0));
    make.check_exists("/a").check("/a", 1);
    let done = make.commit().await.expect("nothing is in the way");
    assert_eq!(
        (done.path(a), done.path(entry)),
        (Some("/a"), Some("/a/entry-0000000000"))
    );
    assert_eq!(done.stat(set).map(|s| s.version), Some(1));

    let mut wrong = Transaction::new(&session);
    wrong.create("/b", b"");
    wrong.check("/a", 7);
    wrong.delete("/a/entry-0000000000", None);
    let error = wrong.commit().await.expect_err("the version is another");
    assert_eq!(
        error.to_string(),
        "operation 1 (check /a at version 7) was refused: node has another version"
    );
    assert_eq!(session.exists("/b").await, Ok(None));
    let error = wrong
        .commit_once("/marks")
        .await
        .expect_err("the version is another");
    assert!(
        matches!(error, TransactionError::Refused { index: 1, .. }),
        "{error:?}"
    );
    let mut empty = Transaction::new(&session);
    empty.delete("/none", None);
    let error = empty
        .commit_once("/marks")
        .await
        .expect_err("there is none")
        .to_string();
    assert_eq!(
        error,
        "operation 0 (delete /none) was refused: node does not exist"
    );
}

#[tokio::test]
async fn one_whose_answer_is_lost_is_done_once() {
    let place = Place::start().await;
    let near = place.session().await;
    near.ensure_path("/q").await.expect("a server");
    near.ensure_path("/marks").await.expect("a server");
    let far = place.proxied().await;
    place.proxy.lose_answers();
    let mut put = Transaction::new(&far);
    let item = put.create_sequential("/q/n-", b"x");
    // The mark itself is made over a lost answer, too.
    let heal = async {
        until_children(&near, "/marks", 1).await;
        place.proxy.cut();
        place.proxy.heal();
    };
    let both = async { tokio::join!(put.commit_once("/marks"), heal) };
    let (done, ()) = soon("the transaction", both).await;
    assert_eq!(
        done.expect("it was done").path(item),
        Some("/q/n-0000000000")
    );

    let presence = Presence::new(far, "/marks".to_owned());
    presence.mark().await.expect("a server");
    place.proxy.lose_answers();
    let heal = async {
        until_children(&near, "/q", 2).await;
        place.proxy.cut();
        place.proxy.heal();
    };
    let commit = presence.commit(|_| put.ops.clone());
    let (done, ()) = soon("the transaction", async { tokio::join!(commit, heal) }).await;
    assert!(done.expect("it was done").results.is_none());
    assert_eq!(near.children("/q").await.map(|c| c.len()), Ok(2));
    // One that was given up cannot come through behind the next.
    place.proxy.lose_requests();
    tokio::select! {
        _ = presence.commit(|_| put.ops.clone()) => panic!("no answer can come"),
        () = tokio::time::sleep(std::time::Duration::from_millis(50)) => {}
    }
    place.proxy.cut();
    place.proxy.heal();
    let done = soon("the next", presence.commit(|_| put.ops.clone())).await;
    assert!(done.expect("it was done").results.is_some());
    assert_eq!(near.children("/q").await.map(|c| c.len()), Ok(3));
}

#[tokio::test]
async fn it_fails_as_a_whole_when_the_session_ends_before_its_answer() {
    let place = Place::start().await;
    let near = place.session().await;
    let far = place.proxied().await;
    place.proxy.lose_answers();
    let mut make = Transaction::new(&far);
    make.create("/a", b"1");
    let end = async {
        let there = async || near.exists("/a").await.is_ok_and(|s| s.is_some());
        crate::recipes::testing::until("the node", there).await;
        place.expire(&far);
        place.proxy.cut();
        place.proxy.heal();
    };
    let (done, ()) = soon("the end", async { tokio::join!(make.commit(), end) }).await;
    let unknown = TransactionError::Failed {
        operations: 1,
        source: ZkError::Unknown,
    };
    assert_eq!(done, Err(unknown));
}
