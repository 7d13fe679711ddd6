//! `listeners` and `advertised.listeners`: `NAME://host:port`, with the protocol of each name.
//!
//! Pure text to types; whether an address can be bound is found out by `net`.

use std::collections::BTreeMap;
use std::fmt;

use super::key::{Fault, list};

/// How a listener's connections are secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityProtocol {
    /// Neither encrypted nor authenticated.
    Plaintext,
    /// TLS.
    Ssl,
    /// SASL without TLS.
    SaslPlaintext,
    /// SASL over TLS.
    SaslSsl,
}

impl SecurityProtocol {
    /// Kafka's name of it, as in znodes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [
            Self::Plaintext,
            Self::Ssl,
            Self::SaslPlaintext,
            Self::SaslSsl,
        ]
        .into_iter()
        .find(|p| p.as_str().eq_ignore_ascii_case(text))
    }
}

/// One address to listen on, or to tell others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Name, in upper case.
    pub name: String,
    /// Its protocol, by `listener.security.protocol.map`.
    pub protocol: SecurityProtocol,
    /// Host name or address; empty means every address of the machine.
    pub host: String,
    /// Port; 0 means any free one.
    pub port: u16,
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "{}://[{}]:{}", self.name, self.host, self.port)
        } else {
            write!(f, "{}://{}:{}", self.name, self.host, self.port)
        }
    }
}

/// Protocol by upper-case listener name.
pub(crate) type ProtocolMap = BTreeMap<String, SecurityProtocol>;

/// Reads `listener.security.protocol.map`.
pub(crate) fn protocol_map(text: &str) -> Result<ProtocolMap, Fault> {
    let key = "listener.security.protocol.map";
    let mut map = ProtocolMap::new();
    for item in list(text) {
        let (name, protocol) = item
            .split_once(':')
            .and_then(|(name, p)| Some((name.trim(), SecurityProtocol::parse(p.trim())?)))
            .ok_or_else(|| Fault::new(key, text, format!("{item:?} is not NAME:PROTOCOL with PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL")))?;
        if map.insert(name.to_ascii_uppercase(), protocol).is_some() {
            return Err(Fault::new(key, text, format!("{name} occurs twice")));
        }
    }
    Ok(map)
}

/// Whether two listeners may have one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ports {
    /// They are bound here: each needs its own.
    Distinct,
    /// They are what others connect to: a balancer may stand in front of both.
    MayRepeat,
}

/// Reads the value of `key`, a list of listeners.
pub(crate) fn listeners(
    key: &str,
    text: &str,
    protocols: &ProtocolMap,
    ports: Ports,
) -> Result<Vec<Listener>, Fault> {
    let mut found: Vec<Listener> = Vec::new();
    for item in list(text) {
        let (name, host, port) = split(item).ok_or_else(|| {
            Fault::new(
                key,
                text,
                format!("Unable to parse {item} to a broker endpoint"),
            )
        })?;
        let Some(&protocol) = protocols.get(&name) else {
            return Err(Fault::new(
                key,
                text,
                format!("No security protocol defined for listener {name}"),
            ));
        };
        if found.iter().any(|other| other.name == name) {
            return Err(Fault::new(
                key,
                text,
                "Each listener must have a different name",
            ));
        }
        if port != 0
            && ports == Ports::Distinct
            && found
                .iter()
                .any(|other| other.port == port && other.host == host)
        {
            return Err(Fault::new(
                key,
                text,
                "Each listener must have a different port",
            ));
        }
        found.push(Listener {
            name,
            protocol,
            host,
            port,
        });
    }
    if found.is_empty() {
        return Err(Fault::new(
            key,
            text,
            "At least one listener must be defined",
        ));
    }
    Ok(found)
}

/// `NAME://host:port`, the host in brackets if it is an IPv6 address.
fn split(item: &str) -> Option<(String, String, u16)> {
    let (name, address) = item.split_once("://")?;
    let (host, port) = address.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    if name.is_empty() {
        return None;
    }
    Some((
        name.to_ascii_uppercase(),
        host.to_owned(),
        port.parse().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Listener>, Fault> {
        let map = protocol_map("PLAINTEXT:PLAINTEXT,INSIDE:PLAINTEXT,SSL:SSL").expect("legal");
        listeners("listeners", text, &map, Ports::Distinct)
    }

    #[test]
    fn addresses_of_every_form() {
        let got = read("PLAINTEXT://:9092, inside://[::1]:0,SSL://h.example:9093").expect("legal");
        let shown: Vec<String> = got.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "PLAINTEXT://:9092",
                "INSIDE://[::1]:0",
                "SSL://h.example:9093"
            ]
        );
        assert_eq!(got[2].protocol, SecurityProtocol::Ssl);
    }

    #[test]
    fn what_is_no_listener_is_refused() {
        for bad in [
            "",
            "PLAINTEXT",
            "PLAINTEXT://",
            "PLAINTEXT://:x",
            "PLAINTEXT://:70000",
            "PLAINTEXT://::1:9092",
            "OTHER://:9092",
            "PLAINTEXT://:1,PLAINTEXT://:2",
            "PLAINTEXT://:1,INSIDE://:1",
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
