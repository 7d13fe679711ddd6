//! The outbox: order, waiting for the disk, and the ends of a connection.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, DuplexStream};

use super::*;

struct Scene {
    outbox: Arc<Outbox>,
    progress: watch::Sender<Progress>,
    peer: DuplexStream,
    pump: tokio::task::JoinHandle<std::io::Result<()>>,
}

fn scene(bytes_max: usize, pipe: usize) -> Scene {
    let outbox = Arc::new(Outbox::new(bytes_max));
    let (progress, durable) = watch::channel(Progress::default());
    let (peer, socket) = tokio::io::duplex(pipe);
    let theirs = outbox.clone();
    let pump = tokio::spawn(async move { theirs.pump(socket, durable, |_, _| ()).await });
    Scene {
        outbox,
        progress,
        peer,
        pump,
    }
}

fn reply(outbox: &Outbox, zxid: i64, text: &'static str) {
    outbox.reply(zxid, Bytes::from_static(text.as_bytes()), None);
}

async fn read(scene: &mut Scene, count: usize) -> String {
    let mut bytes = vec![0; count];
    scene
        .peer
        .read_exact(&mut bytes)
        .await
        .expect("an open pipe");
    String::from_utf8(bytes).expect("text")
}

/// Whether `future` still waits after every other task had its turn.
async fn waits<T>(future: impl Future<Output = T>) -> bool {
    let mut future = pin!(future);
    for _ in 0..10 {
        tokio::select! {
            biased;
            _ = &mut future => return false,
            () = tokio::task::yield_now() => {}
        }
    }
    true
}

#[tokio::test]
async fn messages_leave_in_order_and_when_they_are_durable() {
    let mut scene = scene(1000, 1000);
    reply(&scene.outbox, 0, "a");
    assert_eq!(read(&mut scene, 1).await, "a");
    reply(&scene.outbox, 1, "b");
    reply(&scene.outbox, 0, "c");
    reply(&scene.outbox, 2, "d");
    assert!(waits(scene.peer.read_u8()).await, "nothing is on disk");
    scene.progress.send_modify(|p| p.zxid = 1);
    assert_eq!(read(&mut scene, 2).await, "bc");
    assert!(waits(scene.peer.read_u8()).await, "the last is not on disk");
    scene.progress.send_modify(|p| p.zxid = 2);
    assert_eq!(read(&mut scene, 1).await, "d");
    assert!(scene.outbox.is_empty());
}

#[tokio::test]
async fn a_broken_journal_ends_it_without_another_word() {
    let mut scene = scene(1000, 1000);
    reply(&scene.outbox, 1, "never");
    scene
        .progress
        .send_modify(|p| p.broken = Some("why".into()));
    scene.pump.await.expect("no panic").expect("no error");
    let mut all = String::new();
    scene.peer.read_to_string(&mut all).await.expect("a pipe");
    assert_eq!(all, "");
}

#[tokio::test]
async fn finishing_sends_what_waits_and_takes_no_more() {
    let mut scene = scene(1000, 1000);
    reply(&scene.outbox, 1, "last");
    scene.outbox.finish();
    reply(&scene.outbox, 1, "late");
    scene.progress.send_modify(|p| p.zxid = 1);
    let mut all = String::new();
    scene.peer.read_to_string(&mut all).await.expect("a pipe");
    assert_eq!(all, "last");
}

#[tokio::test]
async fn events_for_who_does_not_read_close_and_free_the_memory() {
    let scene = scene(10_000, 1);
    let event = || Bytes::from_static(&[0; 1000]);
    let cut = (0..100).position(|_| scene.outbox.event(0, event()));
    assert_eq!(cut, Some(10), "as soon as more waits than may");
    scene.outbox.closed().await;
    assert!(scene.outbox.is_empty());
    assert!(!scene.outbox.event(0, event()), "it is told once");
    assert!(scene.outbox.is_empty());
}

#[tokio::test]
async fn room_waits_for_the_reader() {
    let mut scene = scene(1 << 30, 1 << 10);
    let large = Bytes::from(vec![7; READ_PAUSE_BYTES]);
    scene.outbox.room().await;
    scene.outbox.reply(1, large, None);
    assert!(waits(scene.outbox.room()).await);
    scene.progress.send_modify(|p| p.zxid = 1);
    let outbox = scene.outbox.clone();
    let room = tokio::spawn(async move { outbox.room().await });
    assert_eq!(
        read(&mut scene, READ_PAUSE_BYTES).await.len(),
        READ_PAUSE_BYTES
    );
    room.await.expect("no panic");
}
