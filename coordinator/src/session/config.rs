//! How to reach ZooKeeper: the connect string, the timeouts, the identity.
//!
//! Pure text and numbers; `attach.rs` is what connects with them.

use std::time::Duration;

use super::error::SessionError;
use crate::protocol::paths::validate;

/// Settings of one [`Session`](super::Session).
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// `host:port[,host:port...][/chroot]`, as Kafka's `zookeeper.connect`.
    pub connect: String,
    /// Asked for; the server may grant less or more.
    pub session_timeout: Duration,
    /// How long [`Session::connect`](super::Session::connect) goes on trying.
    pub connect_timeout: Duration,
    /// Longest that any call takes before it fails.
    pub op_timeout: Duration,
    /// Digest identity, sent with every (re)connect.
    pub auth: Option<DigestAuth>,
    /// `zookeeper.set.acl`: znodes that this session makes belong to its identity.
    pub secure_acls: bool,
    /// Makes the chroot when it is missing, as Kafka's brokers do.
    pub create_chroot: bool,
    /// Most calls that wait for an answer at a time; further ones queue up to their deadline.
    pub in_flight_max: usize,
}

impl SessionConfig {
    /// Kafka's defaults: 18 s session and connect timeout.
    pub fn new(connect: impl Into<String>) -> Self {
        Self {
            connect: connect.into(),
            session_timeout: Duration::from_secs(18),
            connect_timeout: Duration::from_secs(18),
            op_timeout: Duration::from_secs(15),
            auth: None,
            secure_acls: false,
            create_chroot: false,
            in_flight_max: 1024,
        }
    }
}

/// User and password for ZooKeeper's `digest` scheme.
#[derive(Clone)]
pub struct DigestAuth {
    /// User name, without a colon.
    pub user: String,
    /// Password, never printed.
    pub password: String,
}

impl std::fmt::Debug for DigestAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DigestAuth")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// A connect string taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConnectString {
    /// `host:port[,host:port...]`.
    pub(super) hosts: String,
    /// Empty, or a path that starts with `/` and does not end with it.
    pub(super) chroot: String,
}

impl ConnectString {
    /// Each server as `host:port`; ZooKeeper's port is 2181 where none is named.
    pub(super) fn servers(&self) -> Vec<String> {
        let with_port = |host: &str| match host.rsplit_once(':') {
            Some((_, port)) if !port.ends_with(']') => host.to_owned(),
            _ => format!("{host}:2181"),
        };
        self.hosts.split(',').map(with_port).collect()
    }

    pub(super) fn parse(text: &str) -> Result<Self, SessionError> {
        let bad = |reason| SessionError::BadConnectString {
            connect: text.to_owned(),
            reason,
        };
        let (hosts, chroot) = match text.find('/') {
            Some(i) => text.split_at(i),
            None => (text, ""),
        };
        if hosts.trim().is_empty() {
            return Err(bad("it names no host"));
        }
        if hosts.split(',').any(|h| h.trim().is_empty()) {
            return Err(bad("it has an empty host"));
        }
        let port_ok = |h: &str| match h.rsplit_once(':') {
            Some((name, port)) if !name.is_empty() && !port.ends_with(']') => {
                port.parse::<u16>().is_ok_and(|p| p > 0)
            }
            Some((name, _)) => !name.is_empty(),
            None => true,
        };
        if !hosts.split(',').all(|h| port_ok(h.trim())) {
            return Err(bad("a port is not a number from 1 to 65535"));
        }
        let hosts: Vec<&str> = hosts.split(',').map(str::trim).collect();
        let chroot = chroot.strip_suffix('/').unwrap_or(chroot);
        if !chroot.is_empty() && validate(chroot).is_err() {
            return Err(bad("its chroot is not a path"));
        }
        Ok(Self {
            hosts: hosts.join(","),
            chroot: chroot.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_strings() {
        let parse = |text: &str| ConnectString::parse(text).map(|c| (c.hosts, c.chroot));
        let ok = |hosts: &str, chroot: &str| Ok::<_, ()>((hosts.to_owned(), chroot.to_owned()));
        for (text, hosts, chroot) in [
            ("a:1", "a:1", ""),
            ("a", "a", ""),
            ("a:1, b:2", "a:1,b:2", ""),
            ("a:1,b:2/x/y", "a:1,b:2", "/x/y"),
            ("a:1/", "a:1", ""),
            ("a:1/x/", "a:1", "/x"),
            ("[::1]:2181/x", "[::1]:2181", "/x"),
        ] {
            assert_eq!(parse(text).map_err(drop), ok(hosts, chroot), "{text}");
        }
        for text in [
            "", "/x", "a:1,,b:2", "a:x", "a:0", "a:70000", "a:1//x", "a:1/../x", ":1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn servers_have_a_port() {
        let connect = ConnectString::parse("a,b:2,[::1],[::1]:3/x").expect("it is one");
        let servers = connect.servers();
        assert_eq!(servers, ["a:2181", "b:2", "[::1]:2181", "[::1]:3"]);
    }

    #[test]
    fn passwords_are_not_printed() {
        let auth = DigestAuth {
            user: "u".to_owned(),
            password: "secret".to_owned(),
        };
        assert!(!format!("{auth:?}").contains("secret"));
    }
}
