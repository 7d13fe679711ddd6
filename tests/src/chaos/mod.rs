//! Chaos: three brokers and three real ZooKeepers, each on a host of its own, under the load of
//! several kinds of clients, and faults by a schedule that follows from a seed.
//!
//! [`plan`] is pure, [`faults`] breaks and mends, [`report`] tells; the verdict is the checker's.

mod faults;
pub mod plan;
pub mod report;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use nyala_coordinator::clock;

use crate::brokers::{Brokers, Coordination, Options};
use crate::disk::SmallDisk;
use crate::java_load::JavaClient;
use crate::load::Client;
use crate::native_load;
use crate::scene::{Scene, TOPIC, three};

use plan::Window;
use report::Report;

/// What to do.
#[derive(Clone, Debug)]
pub struct Chaos {
    /// What the schedule follows from.
    pub seed: u64,
    /// How long faults go on.
    pub time: Duration,
    /// Only faults whose name has this.
    pub only: Option<String>,
}

/// Size of each broker's disk: it is filled to the brim, and emptied again.
const DISK_MEGABYTES: u32 = 1024;

/// Partitions of the topic under load.
const PARTITIONS: i32 = 3;

/// Runs all of it and tells what happened; panics only when the cluster cannot even be started.
#[must_use]
pub fn run(chaos: &Chaos) -> Report {
    eprintln!("seed {}, {:?} of faults", chaos.seed, chaos.time);
    let disks: Vec<SmallDisk> = (0..3).map(|_| SmallDisk::mount(DISK_MEGABYTES)).collect();
    let mut brokers = Brokers::prepare(&Options {
        makers: three(),
        coordination: Coordination::Ensemble,
        network: true,
        settings: vec!["log.segment.bytes=16777216".to_owned()],
    });
    for (node, disk) in brokers.nodes.iter_mut().zip(&disks) {
        node.set("log.dirs", &disk.path().join("logs").to_string_lossy());
    }
    brokers.start_all();
    let mut scene = Scene::stage(brokers, PARTITIONS);
    let others = start_other_clients(&scene);
    scene.begin();
    let begun = clock::now();
    let mut stuck = None;
    let mut windows = 0;
    for window in plan::windows(chaos.seed, chaos.only.as_deref()) {
        if begun.elapsed() >= chaos.time {
            break;
        }
        windows += 1;
        let one = AssertUnwindSafe(|| run_window(&mut scene, &disks, &window));
        if let Err(panic) = catch_unwind(one) {
            let text = panic.downcast_ref::<String>().cloned();
            stuck = Some(format!(
                "{}: {}",
                window.kind.name(),
                text.unwrap_or_default()
            ));
            break;
        }
    }
    finish(scene, others, (chaos.seed, windows, stuck))
}

/// Clients of other makes than those of a scene.
struct Others {
    native: Vec<Client>,
    java: Vec<JavaClient>,
}

fn start_other_clients(scene: &Scene) -> Others {
    let (work, connect) = (&scene.work, &scene.brokers.connect);
    let folder = scene.brokers.folder();
    Others {
        native: vec![
            native_load::produce(work, connect, 3, 50),
            native_load::consume(work, connect, 50, "natives"),
            native_load::consume(work, connect, 51, "natives"),
        ],
        java: vec![
            JavaClient::produce(folder, work, 4, 50),
            JavaClient::consume(folder, work, 60, "java"),
        ],
    }
}

/// One fault, its end, and the time until everything is as it was.
fn run_window(scene: &mut Scene, disks: &[SmallDisk], window: &Window) {
    let at = scene.recorder.now();
    eprintln!("{:>7.1} s  {}", at.as_secs_f64(), window.kind.name());
    scene.fault(window.kind.name(), |scene| {
        faults::run(scene, disks, window);
        scene.brokers.heal();
    });
    scene.znodes.wait_for_full_isr(TOPIC);
    scene.wait_for_progress();
}

fn finish(mut scene: Scene, others: Others, run: (u64, usize, Option<String>)) -> Report {
    let (seed, windows, stuck) = run;
    // Their last words are part of the history, so they end before it is judged.
    let ended = catch_unwind(AssertUnwindSafe(|| {
        scene.brokers.heal();
        scene.wait_for_progress();
        others.java.into_iter().for_each(JavaClient::stop);
        others.native.into_iter().for_each(Client::stop);
        scene.judge_running()
    }));
    let (history, mut anomalies) = match ended {
        Ok(judged) => judged,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            let history = scene.recorder.snapshot();
            let mut anomalies = history.check();
            anomalies.push(crate::history::Anomaly::stuck(text));
            (history, anomalies)
        }
    };
    anomalies.extend(stuck.map(crate::history::Anomaly::stuck));
    let files = (!anomalies.is_empty()).then(|| scene.brokers.keep_files());
    Report {
        seed,
        windows,
        history,
        anomalies,
        files,
    }
}
