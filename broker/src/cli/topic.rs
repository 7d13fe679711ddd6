//! `nyala topic`: create, list, describe, alter, delete.
//!
//! The brokers do it all, by Kafka's own requests: what works here works with Kafka's tools.

mod describe;

use std::error::Error;

use nyala_client::Cluster;
use nyala_client::error::ClusterError;
use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsTopic,
};
use nyala_client::wire::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use nyala_client::wire::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use nyala_client::wire::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use nyala_client::wire::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse,
};
use nyala_coordinator::ids::{TopicId, TopicName};
use serde_json::json;

use self::describe::Only;
use super::entry::{Shared, ask_controller, key_value, topic_name, words};
use super::{process, table};
use crate::cli::tell::tell;

/// Milliseconds that a broker may take over a request.
const TIMEOUT_MS: i32 = 20_000;
/// Version 12 has all that is shown.
const METADATA_VERSION_MAX: i16 = 12;
/// `ConfigResource.Type.TOPIC`.
const RESOURCE_TOPIC: i8 = 2;
/// `AlterConfigOp.OpType`.
const OP_SET: i8 = 0;
const OP_DELETE: i8 = 1;

/// Flags of `nyala topic`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Create a topic
    Create {
        /// Name of the topic
        #[arg(value_parser = topic_name)]
        name: TopicName,
        /// Number of partitions; without it the broker's num.partitions
        #[arg(long, value_name = "N", default_value_t = -1, hide_default_value = true)]
        partitions: i32,
        /// Copies of each; without it the broker's default.replication.factor
        #[arg(long, value_name = "N", default_value_t = -1, hide_default_value = true)]
        replication_factor: i16,
        /// Setting of the topic; may be given many times
        #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
        config: Vec<(String, String)>,
        #[command(flatten)]
        shared: Shared,
    },
    /// Print the names of all topics
    List {
        #[command(flatten)]
        shared: Shared,
    },
    /// Print partitions, leaders, replicas and settings
    Describe {
        /// Topics; without any, all
        #[arg(value_parser = topic_name)]
        names: Vec<TopicName>,
        /// Only partitions with fewer replicas in sync than replicas, with one that is away, or without a leader
        #[arg(long, conflicts_with = "unavailable")]
        under_replicated: bool,
        /// Only partitions without a leader
        #[arg(long)]
        unavailable: bool,
        #[command(flatten)]
        shared: Shared,
    },
    /// Add partitions, set and unset settings
    Alter {
        /// Name of the topic
        #[arg(value_parser = topic_name)]
        name: TopicName,
        /// New number of partitions; it can only grow
        #[arg(long, value_name = "N")]
        partitions: Option<i32>,
        /// Setting to set; may be given many times
        #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
        config: Vec<(String, String)>,
        /// Setting to go back to the broker's; may be given many times
        #[arg(long, value_name = "KEY")]
        delete_config: Vec<String>,
        #[command(flatten)]
        shared: Shared,
    },
    /// Delete topics with all their records
    Delete {
        /// Names of the topics
        #[arg(required = true, value_name = "NAME", value_parser = topic_name)]
        names: Vec<TopicName>,
        #[command(flatten)]
        shared: Shared,
    },
}

pub(super) fn run(args: Args) -> Result<(), Box<dyn Error>> {
    process::start_warnings();
    process::block_on(main(args.command))?
}

async fn main(command: Command) -> Result<(), Box<dyn Error>> {
    let (Command::Create { shared, .. }
    | Command::List { shared }
    | Command::Describe { shared, .. }
    | Command::Alter { shared, .. }
    | Command::Delete { shared, .. }) = &command;
    let (cluster, json) = (shared.entry.connect().await?, shared.json);
    match command {
        Command::Create {
            name,
            partitions,
            replication_factor,
            config,
            ..
        } => {
            let request = create_request(&name, partitions, replication_factor, config);
            create(&cluster, &name, request, json).await
        }
        Command::List { .. } => list(&cluster, json).await,
        Command::Describe {
            names,
            under_replicated,
            unavailable,
            ..
        } => {
            let only = match (under_replicated, unavailable) {
                (true, _) => Only::UnderReplicated,
                (_, true) => Only::Unavailable,
                _ => Only::Any,
            };
            describe::run(&cluster, &names, only, json).await
        }
        Command::Alter {
            name,
            partitions,
            config,
            delete_config,
            ..
        } => {
            let nothing = partitions.is_none() && config.is_empty() && delete_config.is_empty();
            if nothing {
                let words = "nothing to alter: give --partitions, --config or --delete-config";
                return Err(words.into());
            }
            if !(config.is_empty() && delete_config.is_empty()) {
                alter_config(&cluster, &name, config, delete_config).await?;
            }
            if let Some(count) = partitions {
                add_partitions(&cluster, &name, count).await?;
            }
            Ok(())
        }
        Command::Delete { names, .. } => delete(&cluster, &names).await,
    }
}

fn create_request(
    name: &TopicName,
    num_partitions: i32,
    replication_factor: i16,
    config: Vec<(String, String)>,
) -> CreateTopicsRequest {
    let configs = config
        .into_iter()
        .map(|(name, value)| CreatableTopicConfig {
            name,
            value: Some(value),
        });
    CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: name.as_str().to_owned(),
            num_partitions,
            replication_factor,
            assignments: Vec::new(),
            configs: configs.collect(),
        }],
        timeout_ms: TIMEOUT_MS,
        validate_only: false,
    }
}

async fn create(
    cluster: &Cluster,
    name: &TopicName,
    request: CreateTopicsRequest,
    as_json: bool,
) -> Result<(), Box<dyn Error>> {
    let code =
        |r: &CreateTopicsResponse| ErrorCode::from(r.topics.first().map_or(-1, |t| t.error_code));
    let answer = ask_controller(cluster, &request, code).await?;
    let topic = answer
        .topics
        .first()
        .ok_or("the broker's answer is empty")?;
    accepted(name, topic.error_code, topic.error_message.clone())?;
    if as_json {
        table::print_json(&json!({
            "topic": topic.name,
            "topic_id": topic.topic_id.to_string(),
            "partitions": topic.num_partitions,
            "replication_factor": topic.replication_factor,
        }))?;
    } else {
        tell!("nyala: created topic {name}");
    }
    Ok(())
}

/// What the broker said about one topic, with what to do where that is clear.
fn refusal(name: &str, code: ErrorCode, message: Option<&str>) -> Box<dyn Error> {
    let words = words(code, message);
    let advice = match code {
        ErrorCode::UnknownTopicOrPartition => "\n  `nyala topic list` shows what there is",
        ErrorCode::TopicAlreadyExists => "\n  `nyala topic alter` changes it",
        _ => "",
    };
    format!("topic {name}: {words}{advice}").into()
}

/// Nothing, unless the broker refused.
fn accepted(name: &TopicName, code: i16, message: Option<String>) -> Result<(), Box<dyn Error>> {
    match ErrorCode::from(code) {
        ErrorCode::None => Ok(()),
        code => Err(refusal(name.as_str(), code, message.as_deref())),
    }
}

async fn metadata(
    cluster: &Cluster,
    names: Option<&[TopicName]>,
) -> Result<MetadataResponse, ClusterError> {
    let wanted = names.map(|names| {
        let each = names.iter().map(|name| MetadataRequestTopic {
            name: Some(name.as_str().to_owned()),
            ..MetadataRequestTopic::default()
        });
        each.collect()
    });
    let request = MetadataRequest {
        topics: wanted,
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    };
    let connection = cluster.any_connection().await?;
    Ok(connection
        .call_up_to(&request, METADATA_VERSION_MAX)
        .await?)
}

async fn list(cluster: &Cluster, as_json: bool) -> Result<(), Box<dyn Error>> {
    let answer = metadata(cluster, None).await?;
    let mut names: Vec<String> = answer.topics.into_iter().filter_map(|t| t.name).collect();
    names.sort_unstable();
    if as_json {
        table::print_json(&json!(names))?;
    } else {
        for name in names {
            super::print_line(&name)?;
        }
    }
    Ok(())
}

async fn alter_config(
    cluster: &Cluster,
    name: &TopicName,
    set: Vec<(String, String)>,
    unset: Vec<String>,
) -> Result<(), Box<dyn Error>> {
    let set = set.into_iter().map(|(name, value)| AlterableConfig {
        name,
        config_operation: OP_SET,
        value: Some(value),
    });
    let unset = unset.into_iter().map(|name| AlterableConfig {
        name,
        config_operation: OP_DELETE,
        value: None,
    });
    let request = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: RESOURCE_TOPIC,
            resource_name: name.as_str().to_owned(),
            configs: set.chain(unset).collect(),
        }],
        validate_only: false,
    };
    let answer = ask_controller(cluster, &request, |r| {
        ErrorCode::from(r.responses.first().map_or(0, |r| r.error_code))
    });
    for result in answer.await?.responses {
        accepted(name, result.error_code, result.error_message)?;
    }
    tell!("nyala: changed the settings of topic {name}");
    Ok(())
}

async fn add_partitions(
    cluster: &Cluster,
    name: &TopicName,
    count: i32,
) -> Result<(), Box<dyn Error>> {
    let request = CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic {
            name: name.as_str().to_owned(),
            count,
            assignments: None,
        }],
        timeout_ms: TIMEOUT_MS,
        validate_only: false,
    };
    let answer = ask_controller(cluster, &request, |r| {
        ErrorCode::from(r.results.first().map_or(0, |r| r.error_code))
    });
    for result in answer.await?.results {
        accepted(name, result.error_code, result.error_message)?;
    }
    tell!("nyala: topic {name} has {count} partitions now");
    Ok(())
}

async fn delete(cluster: &Cluster, names: &[TopicName]) -> Result<(), Box<dyn Error>> {
    let texts = || names.iter().map(|n| n.as_str().to_owned());
    let request = DeleteTopicsRequest {
        topics: texts()
            .map(|name| DeleteTopicState {
                name: Some(name),
                topic_id: TopicId::ZERO,
            })
            .collect(),
        topic_names: texts().collect(),
        timeout_ms: TIMEOUT_MS,
    };
    let answer = ask_controller(cluster, &request, |r| {
        ErrorCode::from(r.responses.first().map_or(0, |r| r.error_code))
    });
    let mut failure = None;
    for result in answer.await?.responses {
        let name = result.name.unwrap_or_default();
        let code = ErrorCode::from(result.error_code);
        if code.is_error() {
            let error = refusal(&name, code, result.error_message.as_deref());
            // All are tried; each that fails is named.
            if let Some(earlier) = failure.replace(error) {
                tell!("nyala: {earlier}");
            }
        } else {
            tell!("nyala: deleted topic {name}");
        }
    }
    failure.map_or(Ok(()), Err)
}
