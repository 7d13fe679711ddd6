//! `nyala broker`: one broker of a cluster, configured by a `server.properties`.

use std::error::Error;
use std::path::PathBuf;

use crate::broker::{self, Broker};
use crate::config::{Properties, Settings};

use super::{advice, process};

/// Flags of `nyala broker`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Kafka's server.properties
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Setting that wins over the file; may be given many times
    #[arg(long = "override", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Only say what is wrong with the settings, or unknown; start nothing, touch nothing
    #[arg(long)]
    check: bool,
}

pub(super) fn run(args: Args) -> Result<(), Box<dyn Error>> {
    process::start_messages();
    let began = nyala_coordinator::clock::now();
    let settings = read(&args)?;
    if args.check {
        broker::zookeeper(&settings).map_err(|error| advice::of_broker(&error))?;
        let path = args.config.display();
        super::print_line(&format!("{path}: a broker can start with these settings"))?;
        return Ok(());
    }
    process::block_on(async move {
        let started = Broker::start(settings).await;
        let broker = started.map_err(|error| advice::of_broker(&error))?;
        let addresses: Vec<String> = broker.addresses().iter().map(ToString::to_string).collect();
        let ms = began.elapsed().as_millis();
        let (id, addresses) = (broker.id(), addresses.join(","));
        super::print_line(&format!("ready in {ms} ms: broker {id}, kafka {addresses}"))?;
        process::broker_stop_signal().await?;
        broker.shutdown().await;
        Ok(())
    })?
}

/// The settings of the file and the command line; keys that are not known, and what is doubtful, are told.
fn read(args: &Args) -> Result<Settings, Box<dyn Error>> {
    let path = args.config.display();
    let bytes = std::fs::read(&args.config).map_err(|e| format!("{path}: {e}"))?;
    let mut properties = Properties::parse(&bytes).map_err(|e| format!("{path}: {e}"))?;
    for pair in &args.overrides {
        properties.set_pair(pair)?;
    }
    let (settings, unknown) = Settings::load(&properties)?;
    for key in unknown {
        tracing::warn!(key, "this setting is not known here and has no effect");
    }
    for warning in settings.warnings() {
        tracing::warn!("{warning}");
    }
    Ok(settings)
}
