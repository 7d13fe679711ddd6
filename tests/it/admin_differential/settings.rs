//! Describing and altering the settings of topics and brokers.

use nyala_client::wire::messages::alter_configs as alter;
use nyala_client::wire::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use nyala_client::wire::messages::incremental_alter_configs as incremental;

use super::Talk;

pub(super) fn configs(talk: &mut Talk) {
    let own = talk.broker.to_string();
    let cases = [
        (2, "good", None),
        (2, "set", None),
        (
            2,
            "good",
            Some(vec!["retention.ms", "segment.bytes", "nothing"]),
        ),
        (2, "good", Some(vec![])),
        (2, "absent", None),
        (2, "a/b", None),
        (2, "", None),
        (
            4,
            own.as_str(),
            Some(vec![
                "num.partitions",
                "log.retention.ms",
                "log.segment.bytes",
            ]),
        ),
        (4, "", None),
        (4, "77", None),
        (4, "x", None),
        (8, "", None),
        (8, "77", None),
        (1, "x", None),
    ];
    for (kind, name, keys) in cases {
        let request = DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type: kind,
                resource_name: name.to_owned(),
                configuration_keys: keys.map(|keys| keys.into_iter().map(str::to_owned).collect()),
            }],
            include_synonyms: true,
            include_documentation: false,
        };
        let answer = talk.ask(4, &request);
        let result = &answer.results[0];
        let words = talk.words(result.error_message.as_deref());
        let shown = if name == own { "own" } else { name };
        talk.say(
            &format!("describe {kind} {shown:?}"),
            (result.error_code, words),
        );
        let mut configs = result.configs.clone();
        // Keys of ours, and those of tiered storage, whose broker keys are not there.
        let absent = ["flush.before.ack", "fence.enable"];
        configs.retain(|c| {
            !absent.contains(&c.name.as_str()) && !c.name.starts_with("local.retention")
        });
        configs.sort_by(|a, b| a.name.cmp(&b.name));
        for c in configs {
            let synonyms: Vec<_> = c
                .synonyms
                .iter()
                .map(|s| (s.name.as_str(), s.value.as_deref(), s.source))
                .collect();
            let head = (
                &c.value,
                c.config_source,
                c.config_type,
                c.read_only,
                c.is_sensitive,
            );
            talk.say(
                &format!("describe {kind} {shown:?} {}", c.name),
                (head, synonyms),
            );
        }
    }
}

pub(super) fn alter_whole(talk: &mut Talk) {
    let cases = [
        (2, "good", vec![("retention.ms", Some("77"))], true),
        (2, "good", vec![("retention.ms", Some("77"))], false),
        (2, "good", vec![("retention.ms", Some("soon"))], false),
        (2, "good", vec![("no.such.key", Some("1"))], false),
        (2, "good", vec![("retention.ms", None)], false),
        (2, "absent", vec![("retention.ms", Some("1"))], false),
        (4, "77", vec![("log.retention.ms", Some("1"))], false),
        (4, "", vec![("num.partitions", Some("1"))], false),
        (8, "77", vec![], false),
    ];
    for (kind, name, configs, validate_only) in cases {
        let configs = configs
            .into_iter()
            .map(|(name, value)| alter::AlterableConfig {
                name: name.to_owned(),
                value: value.map(str::to_owned),
            });
        let request = alter::AlterConfigsRequest {
            resources: vec![alter::AlterConfigsResource {
                resource_type: kind,
                resource_name: name.to_owned(),
                configs: configs.collect(),
            }],
            validate_only,
        };
        let answer = talk.ask(2, &request);
        let result = &answer.responses[0];
        let words = talk.words(result.error_message.as_deref());
        talk.say(
            &format!("alter {kind} {name:?} {:?}", request.resources[0].configs),
            (result.error_code, words),
        );
    }
}

/// Key, operation, value.
type Changes = Vec<(&'static str, i8, Option<&'static str>)>;

pub(super) fn alter_by_key(talk: &mut Talk) {
    let cases: [(&str, Changes); 10] = [
        ("good", vec![("cleanup.policy", 2, Some("compact"))]),
        ("good", vec![("cleanup.policy", 3, Some("delete"))]),
        ("good", vec![("cleanup.policy", 1, None)]),
        ("good", vec![("retention.ms", 2, Some("1"))]),
        ("good", vec![("retention.ms", 0, None)]),
        (
            "good",
            vec![("retention.ms", 0, Some("1")), ("retention.ms", 1, None)],
        ),
        ("good", vec![("no.such.key", 0, Some("1"))]),
        ("good", vec![("retention.ms", 0, Some("soon"))]),
        ("good", vec![("max.message.bytes", 0, Some("-1"))]),
        ("absent", vec![("retention.ms", 0, Some("1"))]),
    ];
    for (name, changes) in cases {
        let said = format!("{changes:?}");
        let configs = changes
            .into_iter()
            .map(|(name, op, value)| incremental::AlterableConfig {
                name: name.to_owned(),
                config_operation: op,
                value: value.map(str::to_owned),
            });
        let request = incremental::IncrementalAlterConfigsRequest {
            resources: vec![incremental::AlterConfigsResource {
                resource_type: 2,
                resource_name: name.to_owned(),
                configs: configs.collect(),
            }],
            validate_only: false,
        };
        let answer = talk.ask(1, &request);
        talk.say(
            &format!("change {name:?} {said}"),
            (
                answer.responses[0].error_code,
                &answer.responses[0].error_message,
            ),
        );
    }
}
