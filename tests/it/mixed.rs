//! Real Kafka 3.9.1 brokers and ours in one cluster: ours under a controller of theirs, theirs under
//! ours, and three of theirs replaced by ours on the same log folders, one after the other.
//!
//! `NYALA_TEST_MAKER=kafka` has no meaning here.

use harness::brokers::{Brokers, Coordination, Maker, Options};
use harness::java_load::JavaClient;
use harness::kafka::tool;
use harness::rdkafka::committed;
use harness::scene::{GROUP, Scene, TOPIC};
use harness::wait;
use harness::wire::Caller;
use nyala_client::wire::messages::init_producer_id::InitProducerIdRequest;

/// A cluster with these makers, the first of which is the controller.
fn start(makers: Vec<Maker>) -> Brokers {
    let mut brokers = Brokers::prepare(&Options {
        makers,
        coordination: Coordination::Real,
        // A Java process among others on two cores needs more time than ours.
        settings: vec!["zookeeper.session.timeout.ms=6000".to_owned()],
        ..Options::default()
    });
    let mut znodes = brokers.znodes();
    brokers.node(0).start();
    wait::until("a controller", || match znodes.controller() {
        Some(0) => Ok(()),
        other => Err(other),
    });
    brokers.start_all();
    brokers
}

/// Elects the preferred leaders of all partitions, by Kafka's own tool.
fn elect_preferred(brokers: &Brokers) {
    let args = [
        "--bootstrap-server",
        &brokers.bootstrap(),
        "--election-type",
        "preferred",
        "--all-topic-partitions",
    ];
    tool(brokers.folder(), "LeaderElectionCommand", &args).expect_success("LeaderElectionCommand");
}

/// Lets broker `id` follow, lead, hand over, come back, and be killed.
fn through_its_paces(scene: &mut Scene, id: i32) {
    // The first replica of one of three partitions, so it follows and leads from the start.
    let led_by = |scene: &mut Scene, id: i32| {
        let mut partitions = 0..scene.work.partitions;
        let znodes = &mut scene.znodes;
        partitions.find(|p| znodes.state(TOPIC, *p).is_some_and(|s| s.leader == id))
    };
    let own = led_by(scene, id).expect("it leads one of three");
    scene.wait_for_progress();

    scene.fault("SIGTERM", |scene| {
        let begun = scene.recorder.now();
        scene.brokers.node(id).stop();
        let other = |leader: i32| leader >= 0 && leader != id;
        scene
            .znodes
            .wait_for_state(TOPIC, own, "another leader", |s| other(s.leader));
        scene.wait_for_progress();
        eprintln!("longest gap at its end: {:?}", scene.longest_gap(begun));
    });
    scene.brokers.node(id).start();
    scene.znodes.wait_for_full_isr(TOPIC);

    elect_preferred(&scene.brokers);
    scene
        .znodes
        .wait_for_state(TOPIC, own, "its leadership back", |s| s.leader == id);
    scene.wait_for_progress();

    scene.fault("kill -9", |scene| {
        scene.brokers.node(id).kill();
        let other = |leader: i32| leader >= 0 && leader != id;
        scene
            .znodes
            .wait_for_state(TOPIC, own, "another leader", |s| other(s.leader));
        scene.wait_for_progress();
    });
    scene.brokers.node(id).start();
    scene.znodes.wait_for_full_isr(TOPIC);
    assert_eq!(scene.failed_sends(), 0, "no error reaches a producer");
}

#[test]
fn ours_under_a_controller_of_kafka_follows_leads_and_hands_back() {
    let brokers = start(vec![Maker::Kafka, Maker::Kafka, Maker::Nyala]);
    let mut scene = Scene::stage(brokers, 3);
    scene.begin();
    assert_eq!(scene.znodes.controller(), Some(0));
    through_its_paces(&mut scene, 2);
    assert_eq!(scene.znodes.controller(), Some(0));
    scene.finish();
}

#[test]
fn kafka_under_a_controller_of_ours_follows_leads_and_hands_back() {
    let brokers = start(vec![Maker::Nyala, Maker::Nyala, Maker::Kafka]);
    // Kafka's broker asks the controller for the producer ids that it gives.
    let mut caller = Caller::connect(&brokers.nodes[2].address, "producer");
    wait::until("a producer id from Kafka's broker", || {
        let request = InitProducerIdRequest {
            producer_id: -1,
            producer_epoch: -1,
            ..InitProducerIdRequest::default()
        };
        match caller.call(4, &request).error_code {
            0 => Ok(()),
            code => Err(code),
        }
    });
    let mut scene = Scene::stage(brokers, 3);
    scene.begin();
    assert_eq!(scene.znodes.controller(), Some(0));
    through_its_paces(&mut scene, 2);
    assert_eq!(scene.znodes.controller(), Some(0));
    scene.finish();
}

#[test]
fn three_kafka_brokers_are_replaced_one_by_one_under_load() {
    let brokers = start(vec![Maker::Kafka; 3]);
    let mut scene = Scene::stage(brokers, 3);
    let (folder, work) = (scene.brokers.folder().to_owned(), scene.work.clone());
    let java = JavaClient::produce(&folder, &work, 4, 100);
    let reader = JavaClient::consume(&folder, &work, 60, "java");
    scene.begin();
    wait::until("the Java clients at work", || {
        match (java.records(), reader.records()) {
            (1.., 1..) => Ok(()),
            other => Err(other),
        }
    });
    for id in 0..3 {
        let before = committed(&scene.brokers.bootstrap(), GROUP, TOPIC, 3);
        scene.fault("replace a broker", |scene| {
            let begun = scene.recorder.now();
            let node = scene.brokers.node(id);
            node.stop();
            node.maker = Maker::Nyala;
            node.start();
            scene.znodes.wait_for_full_isr(TOPIC);
            scene.znodes.wait_for_full_isr("__consumer_offsets");
            scene.wait_for_progress();
            eprintln!("broker {id}: longest gap {:?}", scene.longest_gap(begun));
        });
        let after = committed(&scene.brokers.bootstrap(), GROUP, TOPIC, 3);
        for (partition, offset) in before {
            assert!(
                after.get(&partition) >= Some(&offset),
                "{partition}: {offset}, {after:?}"
            );
        }
    }
    // Nothing of theirs runs any more; ours elects, and the groups live on.
    elect_preferred(&scene.brokers);
    scene.wait_for_progress();
    let read = reader.records();
    wait::until("more records for the Java group", || {
        let now = reader.records();
        if now > read { Ok(()) } else { Err((now, read)) }
    });
    // And one goes back.
    scene.fault("give a broker back", |scene| {
        let node = scene.brokers.node(0);
        node.stop();
        node.maker = Maker::Kafka;
        node.start();
        scene.znodes.wait_for_full_isr(TOPIC);
        scene.znodes.wait_for_full_isr("__consumer_offsets");
    });
    elect_preferred(&scene.brokers);
    scene.wait_for_progress();
    assert_eq!(scene.failed_sends(), 0, "no error reaches a producer");
    java.stop();
    reader.stop();
    scene.finish();
}
