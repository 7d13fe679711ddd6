mod storm;

use super::*;
use crate::recipes::testing::{Place, soon, until, until_children};
use crate::session::{Acl, CreateMode};

async fn open(session: &Session) -> Queue {
    let opened = Queue::open(session.clone(), "/q", QueueOptions::default()).await;
    opened.expect("a server is there")
}

async fn put(queue: &Queue, item: &str) {
    let put = queue.put(item.as_bytes(), Priority::default()).await;
    put.expect("there is room");
}

async fn take(queue: &Queue) -> Taken {
    let taken = soon("an item", queue.take(None)).await;
    taken.expect("no refusal").expect("no limit of time")
}

async fn drain(queue: &Queue) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(item) = queue.poll().await.expect("no refusal") {
        all.push(String::from_utf8_lossy(item.data()).into_owned());
        item.ack().await.expect("ours");
    }
    all
}

#[tokio::test]
async fn items_come_in_order_of_priority_then_of_arrival() {
    let place = Place::start().await;
    let queue = open(&place.session().await).await;
    let urgent = Priority::new(1).expect("below 1000");
    put(&queue, "a").await;
    queue
        .put_all(&[b"b", b"c"], Priority::default())
        .await
        .expect("room");
    queue.put(b"first", urgent).await.expect("room");
    assert_eq!(queue.len().await, Ok(4));
    assert_eq!(drain(&queue).await, ["first", "a", "b", "c"]);
    assert_eq!(queue.is_empty().await, Ok(true));
    let none = queue.take(Some(Duration::from_millis(30))).await;
    assert!(none.expect("no refusal").is_none());
    assert_eq!(Priority::new(1000), None);
}

#[tokio::test]
async fn what_is_pushed_stands_in_line_with_what_is_put() {
    let place = Place::start().await;
    let session = place.session().await;
    let queue = open(&session).await;
    put(&queue, "a").await;
    queue.push(b"b", Priority::default()).await.expect("room");
    put(&queue, "c").await;
    // A node that was copied here has the next number.
    let taken = "/q/entries/entry-100-0000000003";
    let mode = CreateMode::Persistent;
    session
        .create(taken, b"d", mode, Acl::Default)
        .await
        .expect("it is new");
    queue.push(b"e", Priority::default()).await.expect("room");
    let urgent = Priority::new(1).expect("below 1000");
    queue.push(b"first", urgent).await.expect("room");
    assert_eq!(drain(&queue).await, ["first", "a", "b", "c", "d", "e"]);
    let options = QueueOptions { items_max: Some(1) };
    let small = Queue::open(session, "/small", options)
        .await
        .expect("a server is there");
    small.push(b"x", urgent).await.expect("room");
    let full = small.push(b"y", urgent).await;
    assert!(
        matches!(full, Err(QueueError::Put(PutError::Full { .. }))),
        "{full:?}"
    );
}

#[tokio::test]
async fn each_item_goes_to_one_of_many_consumers() {
    let place = Place::start().await;
    let producer = open(&place.session().await).await;
    let mut takers = Vec::new();
    for _ in 0..4 {
        let queue = open(&place.session().await).await;
        takers.push(tokio::spawn(async move {
            let mut got = Vec::new();
            loop {
                let items = queue.take_many(7, None).await.expect("no refusal");
                let texts = items
                    .iter()
                    .map(|i| String::from_utf8_lossy(i.data()).into_owned());
                got.extend(texts);
                Taken::ack_all(items).await.expect("ours");
                if got.iter().any(|text| text == "end") {
                    return got;
                }
            }
        }));
    }
    let items: Vec<String> = (0..500).map(|n| format!("{n:03}")).collect();
    let bytes: Vec<&[u8]> = items.iter().map(String::as_bytes).collect();
    producer
        .put_all(&bytes, Priority::default())
        .await
        .expect("room");
    let last = Priority::new(999).expect("below 1000");
    until("all taken", || async {
        producer.is_empty().await == Ok(true)
    })
    .await;
    producer
        .put_all(&[b"end".as_slice(); 40], last)
        .await
        .expect("room");
    let mut all = Vec::new();
    for taker in takers {
        let got = soon("the end", taker).await.expect("no panic");
        let own: Vec<String> = got.into_iter().filter(|text| text != "end").collect();
        assert!(own.is_sorted(), "{own:?}");
        all.extend(own);
        // Who ends early leaves items for the others.
        producer
            .put_all(&[b"end".as_slice(); 8], last)
            .await
            .expect("room");
    }
    all.sort();
    assert_eq!(all, items);
}

#[tokio::test]
async fn an_item_of_a_consumer_whose_session_ends_is_given_to_another() {
    let place = Place::start().await;
    let (dying, living) = (place.session().await, place.session().await);
    let (one, two) = (open(&dying).await, open(&living).await);
    put(&one, "work").await;
    let first = take(&one).await;
    assert!(first.is_valid());
    assert!(two.poll().await.expect("no refusal").is_none());
    place.expire(&dying);
    let second = take(&two).await;
    assert_eq!(second.data(), b"work");
    assert!(second.fence() > first.fence());
    soon("the loss", first.lost()).await;
    assert!(!first.is_valid());
    let refused = first.ack().await;
    assert!(matches!(refused, Err(AckError::Lost { .. })), "{refused:?}");
    assert!(second.is_valid());
    second.ack().await.expect("ours");
    assert_eq!(one.is_empty().await, Ok(true));
}

#[tokio::test]
async fn an_item_is_given_back_to_its_old_place() {
    let place = Place::start().await;
    let queue = open(&place.session().await).await;
    put(&queue, "a").await;
    put(&queue, "b").await;
    take(&queue).await.release().await.expect("ours");
    assert_eq!(take(&queue).await.data(), b"a");
    // That one was dropped: it comes back by itself.
    let other = open(&place.session().await).await;
    until("both free", || async {
        other.poll_many(2).await.is_ok_and(|i| i.len() == 2)
    })
    .await;
    until("all", || async { drain(&other).await == ["a", "b"] }).await;
}

#[tokio::test]
async fn what_is_given_back_late_does_not_take_the_lease_of_a_later_take() {
    let place = Place::start().await;
    let session = place.session().await;
    let queue = open(&session).await;
    put(&queue, "work").await;
    // As if the deletion of the lease had come through, and its answer not: it is sent again.
    let first = take(&queue).await;
    let lease = format!("/q/taken/{}", first.id());
    session.delete(&lease, None).await.expect("it is held");
    let second = take(&queue).await;
    let refused = first.release().await;
    assert!(matches!(refused, Err(AckError::Lost { .. })), "{refused:?}");
    let held = session.get(&lease).await.expect("it is held");
    assert_eq!(held.stat.czxid, second.fence().0);
    second.ack().await.expect("ours");
}

#[tokio::test]
async fn a_release_over_a_lost_connection_is_done() {
    let place = Place::start().await;
    let near = place.session().await;
    let queue = open(&place.proxied().await).await;
    put(&queue, "work").await;
    let item = take(&queue).await;
    place.proxy.lose_answers();
    let heal = async {
        // The lease is read first, and that answer has to come.
        tokio::time::sleep(Duration::from_millis(100)).await;
        place.proxy.cut();
        place.proxy.heal();
    };
    let (released, ()) = tokio::join!(item.release(), heal);
    assert_eq!(released, Ok(()));
    until_children(&near, "/q/taken", 0).await;
    assert_eq!(drain(&queue).await, ["work"]);
}

#[tokio::test]
async fn a_put_whose_answer_is_lost_is_done_once() {
    let place = Place::start().await;
    let near = place.session().await;
    let queue = open(&place.proxied().await).await;
    put(&queue, "first").await;
    for lose_answers in [true, false] {
        let before = queue.len().await.expect("an answer");
        match lose_answers {
            true => place.proxy.lose_answers(),
            false => place.proxy.lose_requests(),
        }
        let both: [&[u8]; 2] = [b"x", b"y"];
        let putting = queue.put_all(&both, Priority::default());
        let heal = async {
            if lose_answers {
                until_children(&near, "/q/entries", before + 2).await;
            } else {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            place.proxy.cut();
            place.proxy.heal();
        };
        let (put, ()) = soon("the put", async { tokio::join!(putting, heal) }).await;
        put.expect("it was found out");
        assert_eq!(
            queue.len().await,
            Ok(before + 2),
            "answers lost: {lose_answers}"
        );
    }
    assert_eq!(drain(&queue).await, ["first", "x", "y", "x", "y"]);
}

#[tokio::test]
async fn a_put_over_the_end_of_its_session_says_that_it_does_not_know() {
    let place = Place::start().await;
    let near = place.session().await;
    let far = place.proxied().await;
    let queue = open(&far).await;
    put(&queue, "first").await;
    place.proxy.lose_answers();
    let lost = async {
        until_children(&near, "/q/entries", 2).await;
        place.expire(&far);
        place.proxy.cut();
        place.proxy.heal();
    };
    let putting = queue.put(b"second", Priority::default());
    let (put, ()) = soon("the put", async { tokio::join!(putting, lost) }).await;
    let unknown = PutError::Zk {
        path: "/q/entries".to_owned(),
        source: ZkError::Unknown,
        put: 0,
    };
    assert_eq!(put, Err(QueueError::Put(unknown)));
    put_again(&queue).await;
}

/// Under the next session it works as before.
async fn put_again(queue: &Queue) {
    put(queue, "third").await;
    assert_eq!(drain(queue).await, ["first", "second", "third"]);
}

#[tokio::test]
async fn a_take_and_an_ack_whose_answers_are_lost_are_done_once() {
    let place = Place::start().await;
    let near = place.session().await;
    let queue = open(&place.proxied().await).await;
    put(&queue, "other").await;
    put(&queue, "work").await;
    // Both items are listed by this, so that the next request is the take itself.
    let other = take(&queue).await;
    place.proxy.lose_answers();
    let heal = async |path, count| {
        until_children(&near, path, count).await;
        place.proxy.cut();
        place.proxy.heal();
    };
    let (item, ()) = tokio::join!(take(&queue), heal("/q/taken", 2));
    assert_eq!(item.data(), b"work");
    let lease = near.get(&format!("/q/taken/{}", item.id())).await;
    assert_eq!(item.fence().0, lease.expect("it is there").stat.czxid);
    place.proxy.lose_answers();
    let (acked, ()) = tokio::join!(item.ack(), heal("/q/entries", 1));
    assert_eq!(acked, Ok(()));
    other.ack().await.expect("ours");
    until_children(&near, "/q/taken", 0).await;
}

#[tokio::test]
async fn a_take_that_is_given_up_leaves_no_lease() {
    let place = Place::start().await;
    let near = place.session().await;
    let queue = open(&place.proxied().await).await;
    put(&queue, "other").await;
    put(&queue, "work").await;
    // Both items are listed by this, so that the next request is the take itself.
    let other = take(&queue).await;
    place.proxy.lose_answers();
    tokio::select! {
        _ = queue.take(None) => panic!("no answer can come"),
        () = until_children(&near, "/q/taken", 2) => {}
    }
    place.proxy.cut();
    place.proxy.heal();
    until_children(&near, "/q/taken", 1).await;
    assert!(other.is_valid());
    assert_eq!(take(&open(&near).await).await.data(), b"work");
}

#[tokio::test]
async fn waiting_goes_on_over_a_restart_and_the_end_of_the_session() {
    let mut place = Place::start().await;
    let waiting = place.session().await;
    let (queue, other) = (open(&waiting).await, open(&place.session().await).await);
    let waiter = tokio::spawn(async move { take(&queue).await.data().to_vec() });
    place.stop().await;
    place.start_again().await;
    until("both are back", || async { other.len().await == Ok(0) }).await;
    let states = waiting.states();
    until("connected", || async { states.borrow().is_connected() }).await;
    place.expire(&waiting);
    put(&other, "late").await;
    assert_eq!(soon("the item", waiter).await.expect("no panic"), b"late");
}

#[tokio::test]
async fn a_full_queue_says_so_and_takes_what_fits() {
    let place = Place::start().await;
    let options = QueueOptions { items_max: Some(3) };
    let queue = Queue::open(place.session().await, "/q", options).await;
    let queue = queue.expect("a server is there");
    let refused = queue
        .put_all(&[b"a", b"b", b"c", b"d"], Priority::default())
        .await;
    let full = PutError::Full {
        path: "/q/entries".to_owned(),
        items: 3,
        max: 3,
        put: 3,
    };
    assert_eq!(refused, Err(QueueError::Put(full)));
    // An item that is leased still counts.
    let item = take(&queue).await;
    assert!(queue.put(b"d", Priority::default()).await.is_err());
    item.ack().await.expect("ours");
    put(&queue, "d").await;
    assert_eq!(drain(&queue).await, ["b", "c", "d"]);
    let huge = vec![0; 2 << 20];
    let refused = queue.put(&huge, Priority::default()).await;
    assert!(
        matches!(refused, Err(QueueError::Put(PutError::Zk { .. }))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn many_producers_never_exceed_the_limit() {
    let place = Place::start().await;
    let mut puts = Vec::new();
    for _ in 0..4 {
        let options = QueueOptions {
            items_max: Some(10),
        };
        let queue = Queue::open(place.session().await, "/q", options).await;
        let queue = queue.expect("a server is there");
        puts.push(tokio::spawn(async move {
            let mut done = 0;
            while queue.put(b"x", Priority::default()).await.is_ok() {
                done += 1;
            }
            done
        }));
    }
    let mut sum = 0;
    for put in puts {
        sum += soon("a full queue", put).await.expect("no panic");
    }
    assert_eq!(sum, 10);
}

#[tokio::test]
async fn one_item_that_cannot_be_acknowledged_does_not_hold_up_the_others() {
    let place = Place::start().await;
    let session = place.session().await;
    let queue = open(&session).await;
    for item in ["a", "b", "c", "d"] {
        put(&queue, item).await;
    }
    let items = queue.poll_many(10).await.expect("no refusal");
    let names: Vec<String> = items.iter().map(|i| i.id().to_owned()).collect();
    // One is deleted by hand, and one has something below it.
    let deleted = format!("/q/entries/{}", names[1]);
    session.delete(&deleted, None).await.expect("it is there");
    let below = format!("/q/entries/{}/x/y", names[0]);
    session.ensure_path(&below).await.expect("a server");
    let lost = AckError::Lost {
        path: "/q".to_owned(),
        item: names[1].clone(),
    };
    let refused = Taken::ack_all(items).await.expect_err("one is gone");
    assert_eq!(refused.each(), [lost]);
    assert_eq!(queue.is_empty().await, Ok(true));
    until_children(&session, "/q/taken", 0).await;
}

#[tokio::test]
async fn copied_items_whose_numbers_are_to_come_do_not_stop_what_is_put() {
    let place = Place::start().await;
    let session = place.session().await;
    let queue = open(&session).await;
    let copied = "/q/entries/entry-100-0000000001";
    session.ensure_path(copied).await.expect("a server");
    for item in ["a", "b"] {
        put(&queue, item).await;
    }
    assert_eq!(drain(&queue).await, ["", "a", "b"]);
}

#[tokio::test]
async fn popped_items_leave_in_their_order_and_each_to_one() {
    let place = Place::start().await;
    let (one, two) = (
        open(&place.session().await).await,
        open(&place.session().await).await,
    );
    let items: Vec<String> = (0..200).map(|n| format!("{n:03}")).collect();
    let bytes: Vec<&[u8]> = items.iter().map(String::as_bytes).collect();
    let put = one.put_all(&bytes, Priority::default()).await;
    put.expect("room");
    let held = one.poll().await.expect("no refusal").expect("the first");
    let mut takers = Vec::new();
    for queue in [one.clone(), two] {
        takers.push(tokio::spawn(async move {
            let mut got = Vec::new();
            loop {
                let limit = Some(Duration::from_millis(100));
                let items = queue.pop_many(3, limit).await.expect("no refusal");
                if items.is_empty() {
                    return got;
                }
                got.extend(
                    items
                        .into_iter()
                        .map(|i| String::from_utf8(i).expect("text")),
                );
            }
        }));
    }
    let mut all = Vec::new();
    for taker in takers {
        let got = soon("the end", taker).await.expect("no panic");
        assert!(got.is_sorted(), "{got:?}");
        all.extend(got);
    }
    all.sort();
    assert_eq!(all, items[1..], "each once; the leased one stays");
    held.release().await.expect("ours");
    let last = one.pop(None).await.expect("no refusal");
    assert_eq!(last.as_deref(), Some(b"000".as_slice()));
    assert_eq!(one.is_empty().await, Ok(true));
    let none = one.pop(Some(Duration::from_millis(30))).await;
    assert_eq!(none, Ok(None));
}

#[tokio::test]
async fn who_wants_nothing_is_answered_at_once() {
    let place = Place::start().await;
    let queue = open(&place.session().await).await;
    put(&queue, "work").await;
    let popped = soon("nothing", queue.pop_many(0, None)).await;
    assert_eq!(popped, Ok(Vec::new()));
    let taken = soon("nothing", queue.take_many(0, None)).await;
    assert!(taken.expect("no refusal").is_empty());
    assert_eq!(queue.len().await, Ok(1));
}

#[tokio::test]
async fn who_waits_hears_that_the_session_was_closed() {
    let mut place = Place::start().await;
    let session = place.session().await;
    let queue = open(&session).await;
    let waiting = {
        let queue = queue.clone();
        tokio::spawn(async move { queue.pop(None).await })
    };
    place.stop().await;
    session.close().await;
    let popped = soon("the end", waiting).await.expect("no panic");
    let closed =
        |e: &QueueError| matches!(e, QueueError::Zk { source, .. } if *source == ZkError::Closed);
    assert!(popped.as_ref().is_err_and(closed), "{popped:?}");
}

#[tokio::test]
async fn nothing_is_popped_twice_or_lost_when_answers_are() {
    let place = Place::start().await;
    let queue = open(&place.proxied().await).await;
    for round in 0..40_u64 {
        put(&queue, &round.to_string()).await;
        let popping = {
            let queue = queue.clone();
            tokio::spawn(async move { queue.pop(None).await })
        };
        // Before, between and after the requests and their answers.
        tokio::time::sleep(Duration::from_micros(round * 50)).await;
        place.proxy.cut();
        place.proxy.heal();
        let popped = soon("an item", popping).await.expect("no panic");
        let expected = round.to_string().into_bytes();
        assert_eq!(popped, Ok(Some(expected)));
        // The connection may still be on its way back.
        until("an empty queue", || async {
            queue.is_empty().await == Ok(true)
        })
        .await;
    }
}

#[tokio::test]
async fn an_item_with_nodes_below_it_is_popped_all_the_same() {
    let place = Place::start().await;
    let session = place.session().await;
    let queue = open(&session).await;
    put(&queue, "work").await;
    let below = "/q/entries/entry-100-0000000000/note";
    session.ensure_path(below).await.expect("connected");
    let popped = soon("an item", queue.pop(None)).await;
    assert_eq!(popped, Ok(Some(b"work".to_vec())));
    assert_eq!(queue.is_empty().await, Ok(true));
}
