//! `nyala dev`: starts from nothing, says where it is, ends cleanly, comes back after a kill.

use harness::cluster::Dev;

#[test]
fn dev_says_where_it_is_and_ends_cleanly() {
    let mut dev = Dev::start();
    let ready = dev.ready().clone();
    assert_eq!(ready.brokers.len(), 1);
    assert!(ready.zookeeper.starts_with("127.0.0.1:"), "{ready:?}");
    dev.stop();
    dev.restart();
    assert_eq!(dev.ready().zookeeper, ready.zookeeper, "same port again");
    dev.stop();
}

#[test]
fn dev_comes_back_after_a_kill_without_waiting_for_its_old_session() {
    let mut dev = Dev::start();
    for _ in 0..3 {
        dev.kill();
        dev.restart();
        // The session timeout is 18 s: a start that had to wait for it would take longer than this.
        assert!(dev.ready().ms < 9_000, "{:?}", dev.ready());
    }
    dev.stop();
}
