//! How a command reaches the cluster, and what it says when it does not get there.

use std::error::Error;
use std::time::Duration;

use nyala_client::Cluster;
use nyala_client::config::{ClusterConfig, Entry};
use nyala_client::error::ClusterError;
use nyala_client::wire::{ErrorCode, Request};
use nyala_coordinator::ids::TopicName;
use nyala_coordinator::session::SessionError;

/// Where brokers listen unless told otherwise.
const BOOTSTRAP: &str = "127.0.0.1:9092";
/// How long an administrative request is repeated while the cluster sorts itself out.
const PATIENCE: Duration = Duration::from_secs(30);

/// The two ways into a cluster.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct EntryArgs {
    /// Brokers to ask [default: 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "zookeeper")]
    bootstrap: Option<String>,
    /// Go the native way, through ZooKeeper instead; without a value 127.0.0.1:2181
    #[arg(
        long,
        value_name = "HOST:PORT[/CHROOT]",
        num_args = 0..=1,
        default_missing_value = "127.0.0.1:2181"
    )]
    zookeeper: Option<String>,
}

/// What administrative commands share: the way in, and how the answer is printed.
#[derive(Debug, clap::Args)]
pub(super) struct Shared {
    #[command(flatten)]
    pub(super) entry: EntryArgs,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl EntryArgs {
    pub(super) fn entry(&self) -> Entry {
        match (&self.zookeeper, &self.bootstrap) {
            (Some(connect), _) => Entry::ZooKeeper(connect.clone()),
            (None, bootstrap) => Entry::brokers(bootstrap.as_deref().unwrap_or(BOOTSTRAP)),
        }
    }

    pub(super) fn is_native(&self) -> bool {
        self.zookeeper.is_some()
    }

    /// Enters the cluster.
    pub(super) async fn connect(&self) -> Result<Cluster, Box<dyn Error>> {
        let mut config = ClusterConfig::default();
        config.connection.client_id = "nyala-cli".to_owned();
        config.session_timeout = Duration::from_secs(10);
        Cluster::connect(&self.entry(), config)
            .await
            .map_err(|e| self.advise(&e))
    }

    /// The error with what to do about it.
    pub(super) fn advise(&self, error: &ClusterError) -> Box<dyn Error> {
        let advice = match error {
            ClusterError::Unreachable { .. } => {
                "is a broker running there? `nyala dev` starts one; --bootstrap names another"
            }
            ClusterError::Session(SessionError::ChrootMissing { .. }) => {
                "a broker makes it at its first start: is the chroot that of its zookeeper.connect?"
            }
            ClusterError::Session(_) => {
                "is ZooKeeper running there? `nyala dev` brings one; --zookeeper names another"
            }
            ClusterError::NoBrokers => {
                "ZooKeeper answers, but no broker is registered: is the chroot right?"
            }
            _ => return error.to_string().into(),
        };
        format!("{error}\n  {advice}").into()
    }
}

/// Asks the controller; while there is none, or it has just moved, asks again.
pub(super) async fn ask_controller<R: Request>(
    cluster: &Cluster,
    request: &R,
    code: impl Fn(&R::Response) -> ErrorCode,
) -> Result<R::Response, ClusterError> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let answer = cluster.ask_controller(request).await;
        let again = match &answer {
            Ok(answer) => matches!(
                code(answer),
                ErrorCode::NotController | ErrorCode::BrokerNotAvailable
            ),
            Err(ClusterError::NoBroker(_)) => true,
            Err(_) => false,
        };
        if !again || tokio::time::Instant::now() >= deadline {
            return answer;
        }
        cluster.refresh();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A legal topic name, or words on what is wrong with it.
pub(super) fn topic_name(text: &str) -> Result<TopicName, String> {
    TopicName::new(text).map_err(|e| e.to_string())
}

/// `key=value`; the value may hold further signs of equality.
pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

/// An error of one thing out of several, in words: code, the broker's message, or Kafka's own.
pub(super) fn words(code: ErrorCode, message: Option<&str>) -> String {
    let message = message.filter(|m| !m.is_empty());
    format!("{code}: {}", message.unwrap_or_else(|| code.message()))
}
