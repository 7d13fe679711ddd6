//! Keys of Kafka that this broker cannot honour and must not ignore: what they protect, or where
//! they keep their data, would be lost without anybody noticing. With one of them it does not start.
//!
//! Keys whose loss only costs comfort (metrics reporters, say) are a warning instead. Pure.

use super::Values;
use super::key::Fault;

/// When a value of such a key cannot be ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// Anything but `false`.
    On,
    /// Any text.
    Set,
    /// Any text, which is a secret.
    Secret,
}

/// One row: the key, when it matters, what it means, and what to do.
struct Refused(&'static str, When, &'static str, &'static str);

const OPEN: &str = "leave this broker to Kafka, or remove the key if everybody who reaches its listeners may do everything";
const PLAIN_ZOOKEEPER: &str = "let brokers reach ZooKeeper over a network that nobody else is on, at a port without TLS and with znodes that need no login, and remove the key";
const NO_KRAFT: &str = "remove the key to run with ZooKeeper, or leave this node to Kafka";

const REFUSED: &[Refused] = &[
    Refused(
        "authorizer.class.name",
        When::Set,
        "requests are checked against ACLs, which this version does not do: a protected cluster would be open to every client",
        OPEN,
    ),
    Refused(
        "delegation.token.master.key",
        When::Secret,
        "clients log in with delegation tokens, which this version does not know",
        OPEN,
    ),
    Refused(
        "delegation.token.secret.key",
        When::Secret,
        "clients log in with delegation tokens, which this version does not know",
        OPEN,
    ),
    Refused(
        "client.quota.callback.class",
        When::Set,
        "clients are held to quotas, which this version does not do: any of them could take the whole broker",
        "remove the key if clients may go without quotas",
    ),
    Refused(
        "create.topic.policy.class.name",
        When::Set,
        "new topics are checked by a class of yours, which this version cannot load: all of them would be allowed",
        "remove the key if topics may be created without the check",
    ),
    Refused(
        "alter.config.policy.class.name",
        When::Set,
        "changed settings are checked by a class of yours, which this version cannot load: all of them would be allowed",
        "remove the key if settings may be changed without the check",
    ),
    Refused(
        "remote.log.storage.system.enable",
        When::On,
        "older segments lie in remote storage, which this version does not read: their records would be missing",
        "remove the key once no topic has remote.storage.enable=true",
    ),
    Refused(
        "zookeeper.ssl.client.enable",
        When::On,
        "ZooKeeper is reached over TLS, which this version does not speak: what the broker says there would go over the network in the clear",
        PLAIN_ZOOKEEPER,
    ),
    Refused(
        "zookeeper.set.acl",
        When::On,
        "only brokers that log in to ZooKeeper may write its znodes, and this version does not log in",
        PLAIN_ZOOKEEPER,
    ),
    Refused(
        "process.roles",
        When::Set,
        "the node runs without ZooKeeper (KRaft), and this broker needs ZooKeeper",
        NO_KRAFT,
    ),
    Refused(
        "zookeeper.metadata.migration.enable",
        When::On,
        "the cluster is on its way from ZooKeeper to KRaft, whose controller this broker does not know",
        NO_KRAFT,
    ),
];

/// A fault for every key among `values` that must not be ignored.
pub(super) fn faults(values: &Values) -> Vec<Fault> {
    let mut faults: Vec<Fault> = REFUSED
        .iter()
        .filter_map(|row| row.fault(values.get(row.0)?.trim()))
        .collect();
    faults.extend(other_node_id(values));
    faults
}

/// A second number of the broker that is another one.
fn other_node_id(values: &Values) -> Option<Fault> {
    let text = values.get("node.id")?.trim();
    let Ok(id) = text.parse::<i32>() else {
        return Some(Fault::new("node.id", text, "Not a number of type INT"));
    };
    let broker_id: i32 = values.get("broker.id")?.trim().parse().ok()?;
    let reason = "You must set `node.id` to the same value as `broker.id`.";
    (id != broker_id).then(|| Fault::new("node.id", text, reason))
}

impl Refused {
    fn fault(&self, value: &str) -> Option<Fault> {
        let Self(key, when, meaning, what_to_do) = self;
        let harmless =
            value.is_empty() || matches!(when, When::On) && value.eq_ignore_ascii_case("false");
        let shown = match when {
            When::Secret => "[hidden]",
            When::On | When::Set => value,
        };
        let reason = format!("{meaning}; {what_to_do}");
        (!harmless).then(|| Fault::new(key, shown, reason))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Properties, Settings};
    use super::*;

    fn load(text: &str) -> Result<Vec<String>, String> {
        let properties = Properties::parse(text.as_bytes()).expect("syntax is right");
        let loaded = Settings::load(&properties).map(|(_, unknown)| unknown);
        loaded.map_err(|faults| faults.to_string())
    }

    #[test]
    fn keys_that_protect_something_are_refused_together_with_other_faults() {
        let text = load(
            "authorizer.class.name=kafka.security.authorizer.AclAuthorizer\n\
             zookeeper.set.acl=true\nzookeeper.ssl.client.enable=TRUE\nprocess.roles=broker\n\
             remote.log.storage.system.enable=true\nclient.quota.callback.class=a.B\n\
             delegation.token.secret.key=hush\nnum.partitions=0",
        )
        .expect_err("all of them");
        assert_eq!(text.lines().count(), 8, "{text}");
        for (key, why) in [
            (
                "AclAuthorizer for configuration authorizer.class.name",
                "open to every client",
            ),
            (
                "true for configuration zookeeper.set.acl",
                "does not log in",
            ),
            (
                "TRUE for configuration zookeeper.ssl.client.enable",
                "in the clear",
            ),
            ("broker for configuration process.roles", "KRaft"),
            (
                "true for configuration remote.log.storage.system.enable",
                "would be missing",
            ),
            (
                "a.B for configuration client.quota.callback.class",
                "without quotas",
            ),
            (
                "[hidden] for configuration delegation.token.secret.key",
                "log in with",
            ),
            ("0 for configuration num.partitions", "at least 1"),
        ] {
            let line = text.lines().find(|line| line.contains(key));
            assert!(line.is_some_and(|line| line.contains(why)), "{key}: {text}");
        }
        assert!(!text.contains("hush"), "secrets stay out of logs");
    }

    #[test]
    fn every_row_is_refused_and_its_default_is_not() {
        for Refused(key, when, ..) in REFUSED {
            let (bad, good) = match when {
                When::On => ("true", "False"),
                When::Set | When::Secret => ("x", ""),
            };
            assert!(load(&format!("{key}={bad}")).is_err(), "{key}");
            assert!(load(&format!("{key} = {good}")).is_ok(), "{key}");
        }
    }

    #[test]
    fn node_id_is_no_silent_loss_of_the_brokers_number() {
        for legal in ["node.id=3", "node.id=3\nbroker.id=3"] {
            let properties = Properties::parse(legal.as_bytes()).expect("syntax is right");
            let (settings, unknown) = Settings::load(&properties).expect("as in Kafka");
            assert_eq!(settings.broker_id, 3, "{legal}");
            assert!(unknown.is_empty(), "{unknown:?}");
        }
        let other = load("node.id=9\nbroker.id=7").expect_err("which of the two?");
        let words = "You must set `node.id` to the same value as `broker.id`.";
        assert!(other.ends_with(words), "{other}");
        let text = load("node.id=x").expect_err("no number");
        assert!(text.contains("x for configuration node.id"), "{text}");
    }
}
