//! 2,000 partitions with three replicas: how long their creation takes, and how long until all have
//! a live leader again after the session of a killed controller has ended.

use std::time::Instant;

use anyhow::Result;
use rdkafka::admin::{NewTopic, TopicReplication};

use super::metadata::Metadata;
use super::trio::Trio;
use super::{Figure, Sizes};

const PARTITIONS: i32 = 2000;
const TOPIC: &str = "many";

pub(super) fn measure(trio: &mut Trio, _sizes: &Sizes) -> Result<Vec<Figure>> {
    let all = usize::try_from(PARTITIONS)?;
    let begun = Instant::now();
    trio.create(&NewTopic::new(
        TOPIC,
        PARTITIONS,
        TopicReplication::Fixed(3),
    ))?;
    wait_for_leaders(trio, all)?;
    let created = begun.elapsed();
    trio.wait_for("the whole ISR", || {
        Ok(Metadata::of(trio.address(0), TOPIC)?.fully_in_sync())
    })?;
    let controller = Metadata::of(trio.address(0), "")?.controller;
    let controller = usize::try_from(controller)?;
    trio.kill(controller)?;
    trio.wait_for_end_of_session(controller)?;
    let ended = Instant::now();
    wait_for_leaders(trio, all)?;
    let known = ended.elapsed();
    Ok(vec![
        Figure {
            name: "creating 2,000 partitions until every broker knows all leaders, ms",
            text: created.as_millis().to_string(),
        },
        Figure {
            name: "controller killed with 2,000 partitions: end of its session until every broker \
                   knows all leaders, ms",
            text: known.as_millis().to_string(),
        },
    ])
}

/// Waits until every broker that runs says that all partitions are led by brokers that run.
fn wait_for_leaders(trio: &Trio, all: usize) -> Result<()> {
    let alive = trio.running();
    for id in &alive {
        trio.wait_for("live leaders", || {
            let seen = Metadata::of(trio.address(*id), TOPIC)?;
            Ok(seen.led_by(&alive) == all)
        })?;
    }
    Ok(())
}
