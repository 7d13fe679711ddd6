//! Readers share, writers are alone, nobody starves.

use super::super::RecipeError;
use super::super::testing::*;
use super::*;

const PATH: &str = "/locks/table";

fn table(session: &Session) -> RwLock {
    RwLock::new(session, PATH).expect("a legal path")
}

#[tokio::test]
async fn readers_share_and_writers_are_alone() {
    let place = Place::start().await;
    let session = place.session().await;
    let one = table(&session).read().await.expect("it is free");
    let two = table(&session).try_read().await.expect("an answer");
    let two = two.expect("readers share");
    assert!(
        table(&session)
            .try_write()
            .await
            .expect("an answer")
            .is_none()
    );
    let writer = table(&session);
    let writer = tokio::spawn(async move { writer.write().await });
    until_children(&session, PATH, 3).await;
    // It came after the writer, and so it waits.
    assert!(
        table(&session)
            .try_read()
            .await
            .expect("an answer")
            .is_none()
    );
    let reader = table(&session);
    let reader = tokio::spawn(async move { reader.read().await });
    until_children(&session, PATH, 4).await;
    let late = table(&session)
        .read_within(Duration::from_millis(100))
        .await;
    assert!(
        matches!(late, Err(RecipeError::TimedOut { .. })),
        "{late:?}"
    );
    // The second reader leaves first: the writer was woken for nothing, and waits for the first.
    let before = two.fence().max(one.fence());
    two.release().await.expect("it is ours");
    until_children(&session, PATH, 3).await;
    assert!(!writer.is_finished() && one.is_valid());
    one.release().await.expect("it is ours");
    let writer = soon("the writer", writer).await.expect("no panic");
    let writer = writer.expect("its turn came");
    assert!(writer.fence() > before);
    assert!(!reader.is_finished());
    assert!(
        table(&session)
            .try_write()
            .await
            .expect("an answer")
            .is_none()
    );
    writer.release().await.expect("it is ours");
    let reader = soon("the reader", reader).await.expect("no panic");
    assert!(reader.expect("its turn came").is_valid());
}

#[tokio::test]
async fn what_is_read_through_a_handle_is_not_written_through_it() {
    let place = Place::start().await;
    let session = place.session().await;
    let table = table(&session);
    let reading = table.read().await.expect("it is free");
    for refused in [table.write().await, table.read().await] {
        assert!(
            matches!(refused, Err(RecipeError::Reentrant { .. })),
            "{refused:?}"
        );
    }
    drop(reading);
    let limit = Duration::from_secs(30);
    assert!(table.write_within(limit).await.expect("free").is_valid());
}

#[tokio::test]
async fn a_reader_that_dies_lets_the_writer_in() {
    let place = Place::start().await;
    let (dies, lives) = (place.session().await, place.session().await);
    let reading = table(&dies).read().await.expect("it is free");
    let writer = table(&lives);
    let writer = tokio::spawn(async move { writer.write().await });
    until_children(&lives, PATH, 2).await;
    place.expire(&dies);
    let writer = soon("the writer", writer).await.expect("no panic");
    assert!(writer.expect("its turn came").fence() > reading.fence());
    soon("the news", reading.lost()).await;
    assert!(!reading.is_valid());
}

#[tokio::test]
async fn curators_names_are_written_when_asked_for() {
    let place = Place::start().await;
    let session = place.session().await;
    let theirs = || table(&session).with_layout(Layout::Curator);
    let reading = theirs().read().await.expect("it is free");
    assert!(reading.path().contains("-__READ__"), "{}", reading.path());
    assert!(theirs().try_read().await.expect("an answer").is_some());
    assert!(theirs().try_write().await.expect("an answer").is_none());
    reading.release().await.expect("it is ours");
    let writing = soon("the writer", theirs().write()).await.expect("free");
    assert!(writing.path().contains("-__WRIT__"), "{}", writing.path());
}

#[tokio::test]
async fn all_readers_of_the_writers_session_have_it_before_zookeeper_has_heard() {
    let place = Place::start().await;
    let (shared, other) = (place.proxied().await, place.session().await);
    let hold = table(&shared).write().await.expect("it is free");
    let mut readers = Vec::new();
    for count in 1..4 {
        let reader = table(&shared);
        readers.push(tokio::spawn(async move { reader.read().await }));
        until("the next one waits", || async {
            shared.neighbours().listening(hold.path()) == count
        })
        .await;
    }
    let writer = table(&other);
    let writer = tokio::spawn(async move { writer.write().await });
    until_children(&other, PATH, 5).await;
    place.proxy.lose_requests();
    let release = tokio::spawn(hold.release());
    let mut reads = Vec::new();
    for reader in readers {
        let hold = soon("a reader", reader).await.expect("no panic");
        reads.push(hold.expect("its turn came"));
    }
    assert!(reads.iter().all(Hold::is_valid));
    assert!(!release.is_finished() && !writer.is_finished());
    place.proxy.cut();
    place.proxy.heal();
    let released = soon("the release", release).await.expect("no panic");
    released.expect("it is ours");
    assert!(!writer.is_finished(), "readers hold it");
    for read in reads {
        read.release().await.expect("it is ours");
    }
    let writer = soon("the writer", writer).await.expect("no panic");
    assert!(writer.expect("its turn came").is_valid());
}
