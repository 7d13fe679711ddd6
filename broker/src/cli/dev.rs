//! `nyala dev`: brokers and an embedded ZooKeeper in one process, data in one folder.
//!
//! Everything is bound to loopback. The folder is one installation: `zookeeper/`, `broker-0/`, ...
//! A kill leaves nothing behind that the next start does not put right by itself.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use futures::future::join_all;
use nyala_coordinator::embedded;
use nyala_coordinator::ids::BrokerId;
use nyala_coordinator::registry::paths;
use nyala_coordinator::session::{Session, SessionConfig};

use crate::broker::Broker;
use crate::config::{Properties, Settings};

use super::{advice, process};

/// Copies of each partition, unless there are fewer brokers.
const REPLICAS_MAX: u16 = 3;

/// Flags of `nyala dev`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder that keeps everything
    #[arg(long, value_name = "DIR", default_value = "nyala-data")]
    data: PathBuf,
    /// Port of the first broker, the others follow; 0: any free ones
    #[arg(long, default_value_t = 9092)]
    port: u16,
    /// Port of the embedded ZooKeeper; 0: any free one
    #[arg(long, value_name = "PORT", default_value_t = 2181)]
    zookeeper_port: u16,
    /// Number of brokers in this process
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    brokers: u16,
    /// Broker setting; may be given many times
    #[arg(long = "override", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

pub(super) fn run(args: Args) -> Result<(), Box<dyn Error>> {
    process::start_messages();
    process::block_on(main(args))?
}

async fn main(args: Args) -> Result<(), Box<dyn Error>> {
    let began = nyala_coordinator::clock::now();
    let folder = |name: &str| -> Result<PathBuf, String> {
        let folder = args.data.join(name);
        std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        Ok(folder)
    };
    let zookeeper = start_zookeeper(&folder("zookeeper")?, &args).await?;
    let mut starting = Vec::new();
    for number in 0..args.brokers {
        let logs = folder(&format!("broker-{number}"))?;
        let settings = settings(&args, number, zookeeper.address(), &logs)?;
        starting.push(Broker::start(settings));
    }
    // Together: the first one must not take over what the others will lead in a moment.
    let (brokers, failed): (Vec<_>, Vec<_>) = join_all(starting)
        .await
        .into_iter()
        .partition(Result::is_ok);
    let brokers: Vec<Broker> = brokers.into_iter().flatten().collect();
    let failed = failed.into_iter().find_map(Result::err);
    if failed.is_none() {
        let addresses: Vec<String> = brokers
            .iter()
            .flat_map(Broker::addresses)
            .map(ToString::to_string)
            .collect();
        super::print_line(&format!(
            "ready in {} ms: kafka {}, zookeeper {}, data {}",
            began.elapsed().as_millis(),
            addresses.join(","),
            zookeeper.address(),
            args.data.display()
        ))?;
        process::broker_stop_signal().await?;
    }
    join_all(brokers.into_iter().map(Broker::shutdown_at_once)).await;
    zookeeper.shutdown().await;
    match failed {
        Some(error) => Err(advice::of_broker(&error)),
        None => Ok(()),
    }
}

/// Starts ZooKeeper and ends the sessions of this folder's brokers that a kill left behind.
///
/// Nobody else can be running them: the folder is locked. Without that, a new broker would wait for
/// the session timeout until its place is free.
async fn start_zookeeper(data: &Path, args: &Args) -> Result<embedded::Server, Box<dyn Error>> {
    let server = embedded::Server::start(embedded::ServerConfig {
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, args.zookeeper_port)),
        ..embedded::ServerConfig::new(data)
    })
    .await
    .map_err(|error| advice::of_zookeeper(&error))?;
    if server.sessions().is_empty() {
        return Ok(server);
    }
    let session = Session::connect(SessionConfig::new(server.address().to_string())).await?;
    for number in 0..args.brokers {
        let path = paths::broker(BrokerId(i32::from(number)));
        if let Some(stat) = session.exists(&path).await? {
            let _was_alive = server.expire_session(stat.ephemeral_owner);
        }
    }
    session.close().await;
    Ok(server)
}

/// Settings of one broker: what one machine needs, then what the user wants.
fn settings(
    args: &Args,
    number: u16,
    zookeeper: SocketAddr,
    log_folder: &Path,
) -> Result<Settings, Box<dyn Error>> {
    let port = match args.port {
        0 => 0,
        first => first
            .checked_add(number)
            .ok_or_else(|| format!("port {first} leaves no room for {} brokers", args.brokers))?,
    };
    let replicas = args.brokers.min(REPLICAS_MAX);
    let mut properties = Properties::default();
    for (key, value) in [
        ("broker.id", number.to_string()),
        ("listeners", format!("PLAINTEXT://127.0.0.1:{port}")),
        ("log.dirs", log_folder.to_string_lossy().into_owned()),
        ("zookeeper.connect", zookeeper.to_string()),
        // As many copies as there are brokers for, up to Kafka's usual three. A group's first member does
        // not wait for others.
        ("default.replication.factor", replicas.to_string()),
        ("offsets.topic.replication.factor", replicas.to_string()),
        ("group.initial.rebalance.delay.ms", "0".to_owned()),
    ] {
        properties.values.insert(key.to_owned(), value);
    }
    for pair in &args.overrides {
        properties.set_pair(pair)?;
    }
    let (settings, unknown) = Settings::load(&properties)?;
    if number == 0 {
        for key in unknown {
            tracing::warn!(key, "this setting is not known here and has no effect");
        }
    }
    Ok(settings)
}
