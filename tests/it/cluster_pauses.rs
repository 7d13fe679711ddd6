//! Brokers that stand still for shorter and for longer than their session, and wake up believing
//! what was true before.

use std::time::Duration;

use harness::brokers::{Options, SESSION};
use harness::scene::{FAILOVER_MAX, Scene, TOPIC, three};
use harness::wait;

fn scene() -> Scene {
    let options = Options {
        makers: three(),
        ..Options::default()
    };
    Scene::start(options, 2)
}

fn let_pass(scene: &Scene, time: Duration) {
    let end = scene.recorder.now() + time;
    wait::until("time to pass", || match scene.recorder.now() {
        now if now > end => Ok(()),
        now => Err(now),
    });
}

#[test]
fn a_leader_that_wakes_up_after_its_session_acknowledges_nothing_old() {
    let mut scene = scene();
    for _ in 0..2 {
        let before = scene.state();
        scene.fault("pause leader, long", |scene| {
            let begun = scene.recorder.now();
            scene.brokers.node(before.leader).pause();
            let other = |l: i32| l >= 0 && l != before.leader;
            scene
                .znodes
                .wait_for_state(TOPIC, 0, "another leader", |s| other(s.leader));
            let elected = scene.recorder.now().saturating_sub(begun);
            assert!(elected < FAILOVER_MAX, "{elected:?}");
            // librdkafka waits for the answer of a broker that stands still before it sends to
            // another: this time is the client's.
            let gap = scene.first_ack(begun).saturating_sub(begun);
            eprintln!("another leads after {elected:?} and acknowledges after {gap:?}");
            scene.brokers.node(before.leader).resume();
        });
        // What it acknowledged in its old epoch would be missing at the end, or doubled.
        scene.znodes.wait_for_full_isr(TOPIC);
        scene.wait_for_progress();
    }
    scene.finish();
}

#[test]
fn a_pause_shorter_than_the_session_costs_no_leader() {
    let mut scene = scene();
    let before = scene.state();
    scene.fault("pause leader, short", |scene| {
        scene.brokers.node(before.leader).pause();
        let_pass(scene, SESSION / 3);
        scene.brokers.node(before.leader).resume();
        scene.wait_for_progress();
    });
    assert_eq!(scene.state().leader, before.leader);
    assert_eq!(scene.state().leader_epoch, before.leader_epoch);
    scene.finish();
}

#[test]
fn a_controller_that_wakes_up_writes_nothing() {
    let mut scene = scene();
    let controller = scene.znodes.controller().expect("there is one");
    let mut next = controller;
    scene.fault("pause controller, long", |scene| {
        scene.brokers.node(controller).pause();
        let znodes = &mut scene.znodes;
        next = wait::until("another controller", || match znodes.controller() {
            Some(other) if other != controller => Ok(other),
            other => Err(other),
        });
        scene.wait_for_progress();
        // Something that the old one would like to undo or to do again.
        let bootstrap: Vec<String> = scene
            .brokers
            .nodes
            .iter()
            .filter(|n| n.id != controller)
            .map(|n| n.address.clone())
            .collect();
        make_a_topic(&bootstrap.join(","), "while-it-slept");
        scene.brokers.node(controller).resume();
    });
    scene.znodes.wait_for_full_isr(TOPIC);
    scene.znodes.wait_for_full_isr("while-it-slept");
    assert_eq!(scene.znodes.controller(), Some(next));
    scene.wait_for_progress();
    scene.finish();
}

fn make_a_topic(bootstrap: &str, name: &str) {
    use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
    use rdkafka::client::DefaultClientContext;
    let admin: AdminClient<DefaultClientContext> = harness::rdkafka::config(bootstrap, &[])
        .create()
        .expect("legal settings");
    let topic = NewTopic::new(name, 3, TopicReplication::Fixed(2));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let made = runtime.block_on(admin.create_topics([&topic], &AdminOptions::new()));
    for result in made.expect("an answer") {
        result.expect("the topic is made");
    }
}
