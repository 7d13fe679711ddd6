//! The listeners of a broker by their purpose: to bind, to publish, between brokers, for control.
//!
//! Kafka's rules and words. A broker that publishes several listeners answers each client with the
//! addresses of the listener that the client came in through; the names here say which of them
//! brokers use among themselves.

use super::key::Fault;
use super::listener::{Listener, Ports, SecurityProtocol, listeners, protocol_map};
use super::table::Settings;

const ADVERTISED: &str = "advertised.listeners";
const INTER_BROKER: &str = "inter.broker.listener.name";
const CONTROL_PLANE: &str = "control.plane.listener.name";

impl Settings {
    /// Listeners to bind.
    pub fn listen_on(&self) -> Result<Vec<Listener>, Fault> {
        let protocols = protocol_map(&self.listener_security_protocol_map)?;
        let found = listeners("listeners", &self.listeners, &protocols, Ports::Distinct)?;
        let secured = |l: &&Listener| l.protocol != SecurityProtocol::Plaintext;
        if let Some(listener) = found.iter().find(secured) {
            return Err(Fault::new(
                "listeners",
                &self.listeners,
                format!(
                    "{} is not supported yet, only PLAINTEXT is: clients would talk in the clear and without login; give {} an address that only trusted hosts reach and the protocol PLAINTEXT, or leave this broker to Kafka",
                    listener.protocol.as_str(),
                    listener.name
                ),
            ));
        }
        Ok(found)
    }

    /// Listeners to publish: `advertised.listeners`, or else those to bind.
    pub fn advertise(&self) -> Result<Vec<Listener>, Fault> {
        let Some(text) = &self.advertised_listeners else {
            return routable("listeners", &self.listeners, self.listen_on()?);
        };
        let protocols = protocol_map(&self.listener_security_protocol_map)?;
        let found = listeners(ADVERTISED, text, &protocols, Ports::MayRepeat)?;
        let found = routable(ADVERTISED, text, found)?;
        let bound = self.listen_on()?;
        if let Some(extra) = found
            .iter()
            .find(|l| !bound.iter().any(|b| b.name == l.name))
        {
            return Err(Fault::new(
                ADVERTISED,
                text,
                format!(
                    "advertised.listeners listener names must be equal to or a subset of the ones defined in listeners; {} is not",
                    extra.name
                ),
            ));
        }
        Ok(found)
    }

    /// Name of the listener that brokers reach each other through, in upper case:
    /// `inter.broker.listener.name`, or else the protocol's own name.
    pub fn inter_broker_listener(&self) -> Result<String, Fault> {
        let Some(text) = &self.inter_broker_listener_name else {
            return Ok(self.security_inter_broker_protocol.to_ascii_uppercase());
        };
        let name = text.to_ascii_uppercase();
        if self
            .layers()
            .fixed
            .contains_key("security.inter.broker.protocol")
        {
            return Err(Fault::new(
                INTER_BROKER,
                text,
                "Only one of inter.broker.listener.name and security.inter.broker.protocol should be set.",
            ));
        }
        let protocols = protocol_map(&self.listener_security_protocol_map)?;
        if !protocols.contains_key(&name) {
            return Err(Fault::new(
                INTER_BROKER,
                text,
                format!(
                    "Listener with name {name} defined in inter.broker.listener.name not found in listener.security.protocol.map."
                ),
            ));
        }
        Ok(name)
    }

    /// Name of the listener that the controller reaches brokers through, in upper case:
    /// `control.plane.listener.name` (KIP-291), or else the one between brokers.
    pub fn control_listener(&self) -> Result<String, Fault> {
        match &self.control_plane_listener_name {
            Some(name) => Ok(name.to_ascii_uppercase()),
            None => self.inter_broker_listener(),
        }
    }

    /// All that is wrong with listeners, each thing once.
    pub(super) fn address_faults(&self) -> Vec<Fault> {
        if let Err(fault) = self.listen_on() {
            return vec![fault];
        }
        let published = match self.advertise() {
            Ok(published) => published,
            Err(fault) => return vec![fault],
        };
        let inter_broker = match self.inter_broker_listener() {
            Ok(name) => name,
            Err(fault) => return vec![fault],
        };
        let names: Vec<&str> = published.iter().map(|l| l.name.as_str()).collect();
        let absent = |key: &str, name: &str| {
            let reason = format!(
                "{key} must be a listener name defined in advertised.listeners. The valid options based on currently configured listeners are {}",
                names.join(",")
            );
            Fault::new(key, name, reason)
        };
        let mut faults = Vec::new();
        if !names.contains(&inter_broker.as_str()) {
            faults.push(absent(INTER_BROKER, &inter_broker));
        }
        if let Some(text) = &self.control_plane_listener_name {
            let control = text.to_ascii_uppercase();
            if !names.contains(&control.as_str()) {
                faults.push(absent(CONTROL_PLANE, text));
            } else if control == inter_broker {
                faults.push(Fault::new(
                    CONTROL_PLANE,
                    text,
                    format!("control.plane.listener.name, when defined, should have a different value from the inter broker listener name. Currently they both have the value {control}"),
                ));
            }
        }
        faults
    }
}

/// What is published has to lead somewhere; `key` and `text` are where it is written. As in Kafka, `::` passes.
fn routable(key: &str, text: &str, found: Vec<Listener>) -> Result<Vec<Listener>, Fault> {
    if found.iter().any(|l| l.host == "0.0.0.0") {
        return Err(Fault::new(
            key,
            text,
            "advertised.listeners cannot use the nonroutable meta-address 0.0.0.0. Use a routable IP address.",
        ));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::{Faults, Properties};
    use super::*;

    const TWO: &str =
        "listeners=A://:1,B://:2\nlistener.security.protocol.map=A:PLAINTEXT,B:PLAINTEXT\n";

    fn load(text: &str) -> Result<Settings, Faults> {
        let properties = Properties::parse(text.as_bytes()).expect("syntax is right");
        Settings::load(&properties).map(|(settings, _)| settings)
    }

    fn refused(lines: &str) -> String {
        load(&format!("{TWO}{lines}")).expect_err(lines).to_string()
    }

    #[test]
    fn the_listener_between_brokers_has_the_protocols_name_unless_told() {
        let settings = load("").expect("defaults");
        assert_eq!(settings.inter_broker_listener().as_deref(), Ok("PLAINTEXT"));
        assert_eq!(settings.control_listener().as_deref(), Ok("PLAINTEXT"));
        let lines = format!("{TWO}inter.broker.listener.name=b\ncontrol.plane.listener.name=a");
        let settings = load(&lines).expect("legal");
        assert_eq!(settings.inter_broker_listener().as_deref(), Ok("B"));
        assert_eq!(settings.control_listener().as_deref(), Ok("A"));
    }

    #[test]
    fn names_must_be_published_and_differ() {
        assert!(refused("").contains("options based on currently configured listeners are A,B"));
        assert!(refused("inter.broker.listener.name=C").contains("not found in listener.security"));
        let both = "inter.broker.listener.name=A\nsecurity.inter.broker.protocol=PLAINTEXT";
        assert!(refused(both).contains("Only one of"));
        let same = "inter.broker.listener.name=A\ncontrol.plane.listener.name=A";
        assert!(refused(same).contains("should have a different value"));
        let hidden = "inter.broker.listener.name=A\nadvertised.listeners=B://h:2";
        assert!(refused(hidden).contains("must be a listener name defined in advertised"));
    }

    #[test]
    fn published_listeners_are_a_subset_and_routable_and_may_share_a_port() {
        let inter = format!("{TWO}inter.broker.listener.name=A\n");
        let of = |text: &str| load(&format!("{inter}advertised.listeners={text}"));
        assert!(of("A://host:1").is_ok());
        assert!(
            of("A://lb:9092,B://lb:9092").is_ok(),
            "one balancer for both"
        );
        assert!(of("A://host:1,C://host:1").is_err());
        assert!(of("A://0.0.0.0:1").is_err());
    }

    #[test]
    fn what_is_bound_is_published_only_if_it_is_routable() {
        let bound = "listeners=PLAINTEXT://0.0.0.0:9092\n";
        let faults = load(bound).expect_err("nobody can connect to that");
        let told = faults.to_string();
        assert!(told.contains("for configuration listeners: "), "{told}");
        assert!(told.contains("nonroutable meta-address"), "{told}");
        let published = format!("{bound}advertised.listeners=PLAINTEXT://broker:9092");
        let settings = load(&published).expect("legal");
        assert_eq!(settings.advertise().expect("legal")[0].host, "broker");
        assert!(
            load("listeners=PLAINTEXT://[::]:9092").is_ok(),
            "as in Kafka"
        );
        assert!(
            load("listeners=PLAINTEXT://:9092").is_ok(),
            "the host's own name"
        );
    }

    #[test]
    fn the_three_hosts_of_the_example_can_be_started() {
        let files = [
            include_str!("../../deploy/three-hosts/nyala-1.properties"),
            include_str!("../../deploy/three-hosts/nyala-2.properties"),
            include_str!("../../deploy/three-hosts/nyala-3.properties"),
        ];
        for (file, id) in files.iter().zip(1..) {
            let properties = Properties::parse(file.as_bytes()).expect("syntax is right");
            let (settings, unknown) = Settings::load(&properties).expect("legal");
            assert_eq!(unknown, [""; 0]);
            assert_eq!(settings.broker_id, id);
            assert_eq!(settings.inter_broker_listener().as_deref(), Ok("BROKERS"));
            let published = settings.advertise().expect("legal");
            assert!(published.iter().all(|l| !l.host.is_empty()));
        }
    }
}
