mod storm;

use super::*;
use crate::recipes::testing::{Place, soon, until, until_children};

async fn open(session: &Session) -> Fanout {
    let opened = Fanout::open(session.clone(), "/f", FanoutOptions::default()).await;
    opened.expect("a server is there")
}

async fn subscribe(session: &Session, name: &str, how: Subscribe) -> Subscription {
    let subscribed = open(session).await.subscribe(name, how).await;
    subscribed.expect("the place is free")
}

fn oldest() -> Subscribe {
    Subscribe {
        start: Start::Oldest,
        ..Subscribe::default()
    }
}

fn patient() -> Subscribe {
    Subscribe {
        wait: Some(Duration::from_secs(60)),
        ..Subscribe::default()
    }
}

async fn put(fanout: &Fanout, items: &[&str]) {
    let items: Vec<&[u8]> = items.iter().map(|i| i.as_bytes()).collect();
    fanout.put_all(&items).await.expect("room");
}

/// Reads so many items and acknowledges each.
async fn read(reader: &mut Subscription, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    while all.len() < count {
        let items = soon("items", reader.next(count - all.len(), None)).await;
        for item in items.expect("the place is ours") {
            all.push(String::from_utf8_lossy(&item.data).into_owned());
            reader.ack(item.number).await.expect("the place is ours");
        }
    }
    all
}

#[tokio::test]
async fn everybody_gets_everything_in_order_and_then_it_is_gone() {
    let place = Place::start().await;
    let session = place.session().await;
    let fanout = open(&session).await;
    put(&fanout, &["0"]).await;
    let mut early = subscribe(&session, "early", oldest()).await;
    let mut other = subscribe(&place.session().await, "other", Subscribe::default()).await;
    put(&fanout, &["1", "2", "3"]).await;
    assert_eq!(read(&mut early, 4).await, ["0", "1", "2", "3"]);
    assert_eq!(fanout.len().await, Ok(3));
    let mut late = subscribe(&session, "late", Subscribe::default()).await;
    assert_eq!(read(&mut other, 3).await, ["1", "2", "3"]);
    assert_eq!(fanout.is_empty().await, Ok(true));
    put(&fanout, &["4"]).await;
    for reader in [&mut early, &mut other, &mut late] {
        assert_eq!(fanout.len().await, Ok(1));
        assert_eq!(read(reader, 1).await, ["4"]);
    }
    assert_eq!(fanout.is_empty().await, Ok(true));
    let nothing = late.next(1, Some(Duration::from_millis(30))).await;
    assert_eq!(nothing, Ok(Vec::new()));
}

#[tokio::test]
async fn a_durable_consumer_that_dies_is_waited_for_until_it_is_removed() {
    let place = Place::start().await;
    let (session, dying) = (place.session().await, place.session().await);
    let fanout = open(&session).await;
    let mut here = subscribe(&session, "here", Subscribe::default()).await;
    let mut away = subscribe(&dying, "away", Subscribe::default()).await;
    put(&fanout, &["1", "2"]).await;
    let handed_out = soon("items", away.next(1, None)).await.expect("ours");
    assert_eq!(handed_out[0].data, b"1");
    let busy = fanout.subscribe("away", Subscribe::default()).await;
    assert!(
        matches!(busy, Err(FanoutError::Attached { .. })),
        "{busy:?}"
    );
    let taking = {
        let fanout = fanout.clone();
        tokio::spawn(async move { fanout.subscribe("away", patient()).await })
    };
    dying.abandon().await;
    // The first item was not acknowledged: it comes again.
    let mut again = soon("the place", taking)
        .await
        .expect("no panic")
        .expect("free");
    assert_eq!(read(&mut again, 1).await, ["1"]);
    assert_eq!(read(&mut here, 2).await, ["1", "2"]);
    again.close().await.expect("ours");
    let consumers = fanout.consumers().await.expect("a server");
    let shown: Vec<_> = consumers
        .iter()
        .map(|c| (c.name.as_str(), c.waiting, c.attached))
        .collect();
    assert_eq!(shown, [("away", 1, false), ("here", 0, true)]);
    assert_eq!(fanout.len().await, Ok(1));
    assert_eq!(fanout.remove("away").await, Ok(true));
    assert_eq!(fanout.remove("away").await, Ok(false));
    assert_eq!(fanout.is_empty().await, Ok(true));
}

#[tokio::test]
async fn one_that_lost_its_place_cannot_acknowledge() {
    let place = Place::start().await;
    let (session, slow) = (place.session().await, place.session().await);
    let fanout = open(&session).await;
    let mut first = subscribe(&slow, "c", Subscribe::default()).await;
    put(&fanout, &["1", "2"]).await;
    let item = soon("items", first.next(1, None))
        .await
        .expect("ours")
        .remove(0);
    place.expire(&slow);
    let mut second = soon("the place", fanout.subscribe("c", patient()))
        .await
        .expect("free");
    assert_eq!(read(&mut second, 1).await, ["1"]);
    let refused = first.ack(item.number).await;
    assert!(
        matches!(refused, Err(FanoutError::Displaced { .. })),
        "{refused:?}"
    );
    let refused = soon("a refusal", first.next(1, None)).await;
    assert!(
        matches!(refused, Err(FanoutError::Displaced { .. })),
        "{refused:?}"
    );
    drop(first);
    assert_eq!(read(&mut second, 1).await, ["2"]);
}

#[tokio::test]
async fn a_durable_consumer_goes_on_under_the_next_session_and_over_a_restart() {
    let mut place = Place::start().await;
    let (session, reading) = (place.session().await, place.session().await);
    let fanout = open(&session).await;
    let mut reader = subscribe(&reading, "c", Subscribe::default()).await;
    put(&fanout, &["1"]).await;
    assert_eq!(read(&mut reader, 1).await, ["1"]);
    let waiter = tokio::spawn(async move { (read(&mut reader, 1).await, reader) });
    place.expire(&reading);
    let attached = async || fanout.consumers().await.is_ok_and(|c| c[0].attached);
    until("the place taken again", attached).await;
    put(&fanout, &["2"]).await;
    let (items, mut reader) = soon("an item", waiter).await.expect("no panic");
    assert_eq!(items, ["2"]);
    let waiter = tokio::spawn(async move { read(&mut reader, 1).await });
    place.stop().await;
    place.start_again().await;
    until("the server", || async { fanout.len().await.is_ok() }).await;
    put(&fanout, &["3"]).await;
    assert_eq!(soon("an item", waiter).await.expect("no panic"), ["3"]);
}

#[tokio::test]
async fn a_transient_consumer_ends_with_its_session_and_holds_nothing_back() {
    let place = Place::start().await;
    let (session, dying) = (place.session().await, place.session().await);
    let fanout = open(&session).await;
    let how = Subscribe {
        transient: true,
        ..Subscribe::default()
    };
    let mut gone = subscribe(&dying, "gone", how.clone()).await;
    let busy = fanout.subscribe("gone", how.clone()).await;
    assert!(
        matches!(busy, Err(FanoutError::Attached { .. })),
        "{busy:?}"
    );
    let mut here = subscribe(&session, "here", how).await;
    put(&fanout, &["1"]).await;
    assert_eq!(read(&mut here, 1).await, ["1"]);
    assert_eq!(fanout.len().await, Ok(1));
    let waiting = tokio::spawn(async move { here.next(1, None).await });
    place.expire(&dying);
    // Who waits notices that nobody needs it any more.
    until("deletion", || async { fanout.is_empty().await == Ok(true) }).await;
    let ended = soon("the end", gone.next(1, None)).await;
    assert!(
        matches!(ended, Err(FanoutError::Displaced { .. })),
        "{ended:?}"
    );
    waiting.abort();
}

#[tokio::test]
async fn lost_answers_neither_double_an_item_nor_lose_an_acknowledgement() {
    let place = Place::start().await;
    let (near, far) = (place.session().await, place.proxied().await);
    let fanout = open(&far).await;
    let watching = open(&near).await;
    let mut reader = subscribe(&far, "c", Subscribe::default()).await;
    put(&fanout, &["1"]).await;
    let heal = async |count| {
        until_children(&near, "/f/items", count).await;
        place.proxy.cut();
        place.proxy.heal();
    };
    place.proxy.lose_answers();
    let both = async { tokio::join!(fanout.put(b"2"), heal(2)) };
    assert_eq!(soon("the put", both).await.0, Ok(()));
    assert_eq!(watching.len().await, Ok(2));
    let items = soon("items", reader.next(2, None)).await.expect("ours");
    place.proxy.lose_answers();
    let acked = async {
        let done = async || watching.consumers().await.is_ok_and(|c| c[0].waiting == 0);
        until("the acknowledgement", done).await;
        place.proxy.cut();
        place.proxy.heal();
    };
    let last = items.last().expect("two").number;
    let both = async { tokio::join!(reader.ack(last), acked) };
    assert_eq!(soon("the ack", both).await.0, Ok(()));
    assert_eq!(reader.position(), last + 1);
}

/// Reads what there is and acknowledges each.
async fn texts(reader: &mut Subscription) -> Vec<String> {
    let items = soon("items", reader.next(50, Some(Duration::from_millis(50)))).await;
    let mut all = Vec::new();
    for item in items.expect("the place is ours") {
        all.push(String::from_utf8_lossy(&item.data).into_owned());
        reader.ack(item.number).await.expect("the place is ours");
    }
    all
}

#[tokio::test]
async fn items_of_a_folder_made_anew_reach_who_was_further_in_the_one_before() {
    let place = Place::start().await;
    let session = place.session().await;
    let fanout = open(&session).await;
    let mut reading = subscribe(&session, "reading", oldest()).await;
    let mut away = subscribe(&place.session().await, "away", oldest()).await;
    put(&fanout, &["1", "2", "3"]).await;
    assert_eq!(read(&mut reading, 3).await, ["1", "2", "3"]);
    assert_eq!(read(&mut away, 3).await, ["1", "2", "3"]);
    away.close().await.expect("ours");
    session.delete_tree("/f/items").await.expect("a server");
    let fanout = open(&session).await;
    put(&fanout, &["4", "5"]).await;
    let waiting: Vec<usize> = fanout
        .consumers()
        .await
        .expect("a server")
        .iter()
        .map(|c| c.waiting)
        .collect();
    assert_eq!(waiting, [2, 2]);
    // Neither one that reads on nor one that comes back has had them, whatever their numbers.
    assert_eq!(read(&mut reading, 2).await, ["4", "5"]);
    assert_eq!(fanout.len().await, Ok(2));
    put(&fanout, &["6", "7", "8"]).await;
    let mut away = subscribe(&session, "away", Subscribe::default()).await;
    assert_eq!(read(&mut away, 5).await, ["4", "5", "6", "7", "8"]);
    assert_eq!(read(&mut reading, 3).await, ["6", "7", "8"]);
    assert_eq!(fanout.is_empty().await, Ok(true));
}

#[tokio::test]
async fn cursors_without_a_folder_count_unless_they_are_beyond_its_numbers() {
    let place = Place::start().await;
    let session = place.session().await;
    let fanout = open(&session).await;
    put(&fanout, &["0", "1", "2"]).await;
    for (name, said) in [("behind", "2"), ("beyond", "20")] {
        let node = format!("/f/consumers/{name}");
        let mode = crate::session::CreateMode::Persistent;
        let made = session.create(&node, said.as_bytes(), mode, crate::session::Acl::Default);
        made.await.expect("a server");
    }
    let mut behind = subscribe(&session, "behind", Subscribe::default()).await;
    assert_eq!(read(&mut behind, 1).await, ["2"]);
    assert_eq!(fanout.len().await, Ok(3));
    let mut beyond = subscribe(&session, "beyond", Subscribe::default()).await;
    assert_eq!(read(&mut beyond, 3).await, ["0", "1", "2"]);
    assert_eq!(fanout.is_empty().await, Ok(true));
}

#[tokio::test]
async fn copied_items_with_numbers_to_come_are_handed_out_and_hide_none() {
    let place = Place::start().await;
    let session = place.session().await;
    let fanout = open(&session).await;
    let mut reader = subscribe(&session, "c", oldest()).await;
    for name in [
        "item-0000000004",
        "item-0000000005",
        "item-2147483600",
        "junk",
    ] {
        let mode = crate::session::CreateMode::Persistent;
        let path = format!("/f/items/{name}");
        let made = session.create(&path, name.as_bytes(), mode, crate::session::Acl::Default);
        made.await.expect("a server");
    }
    // The first of these would get a number that is taken.
    put(&fanout, &["1", "2", "3"]).await;
    let mut all = texts(&mut reader).await;
    put(&fanout, &["4"]).await;
    all.extend(read(&mut reader, 1).await);
    let copied = ["item-0000000004", "item-0000000005"];
    let put_here = ["1", "2", "3", "item-2147483600", "4"];
    assert_eq!(all, [&copied[..], &put_here[..]].concat());
    assert_eq!(fanout.is_empty().await, Ok(true));
}
