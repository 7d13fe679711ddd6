//! From texts to `Settings`: layers, all faults at once, checks across keys, derived values.
//!
//! A dynamic value of this broker wins over one of all brokers, that over the file, that over the
//! default; among synonyms of one layer the finest unit wins, as in Kafka.

use super::key::{Bound, Change, Fault, Faults, Key, Setting, list};
use super::release::Release;
use super::{KEYS, Properties, Settings, Values, refused};

/// The explicit values of a broker, weakest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layers {
    /// From the file and the command line.
    pub fixed: Values,
    /// Dynamic values of all brokers: `/config/brokers/<default>`.
    pub dynamic_default: Values,
    /// Dynamic values of this broker: `/config/brokers/ID`.
    pub dynamic: Values,
}

impl Layers {
    fn get(&self, name: &str) -> Option<&str> {
        let layers = [&self.dynamic, &self.dynamic_default, &self.fixed];
        layers
            .iter()
            .find_map(|layer| layer.get(name))
            .map(String::as_str)
    }
}

/// One pass over the table: values in, faults out.
pub(super) struct Reading<'a> {
    layers: &'a Layers,
    faults: Vec<Fault>,
}

impl Reading<'_> {
    /// The value of one key; a fault is noted and the default taken, so that the pass goes on.
    pub(super) fn take<T: Setting>(&mut self, name: &'static str) -> Option<T> {
        let key = KEYS.iter().find(|key| key.name == name)?;
        if let Some(text) = self.layers.get(name) {
            match checked(key.name, text, key.bound) {
                Ok(value) => return Some(value),
                Err(fault) => self.faults.push(fault),
            }
        }
        match key.default {
            Some(text) => T::parse(text).ok(),
            None => T::unset(),
        }
    }
}

/// Reads one value and checks its bound.
pub(super) fn checked<T: Setting>(name: &str, text: &str, bound: Bound) -> Result<T, Fault> {
    let text = text.trim();
    let fault = |reason| Fault::new(name, text, reason);
    let value = T::parse(text).map_err(fault)?;
    bound.check(text, T::KIND).map_err(fault)?;
    Ok(value)
}

impl Settings {
    /// Settings of a file; with them the keys that this broker does not know, for a warning each.
    pub fn load(properties: &Properties) -> Result<(Self, Vec<String>), Faults> {
        let mut fixed = properties.values.clone();
        // A synonym in Kafka (`KafkaConfig.populateSynonyms`); that both say the same is seen to in `refused.rs`.
        if let Some(id) = fixed.get("node.id").cloned() {
            fixed.entry("broker.id".to_owned()).or_insert(id);
        }
        let unknown = fixed
            .keys()
            .filter(|name| Self::key(name).is_none() && *name != "node.id")
            .cloned()
            .collect();
        let settings = Self::from_layers(Layers {
            fixed,
            ..Layers::default()
        })?;
        Ok((settings, unknown))
    }

    /// The row of a key.
    #[must_use]
    pub fn key(name: &str) -> Option<&'static Key> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// The same file with other dynamic values. Keys that are not dynamic are ignored here, as a
    /// znode may hold what an older or newer broker wrote; requests are refused by [`Self::check_dynamic`].
    pub fn with_dynamic(&self, dynamic_default: Values, dynamic: Values) -> Result<Self, Faults> {
        let known = |values: Values| -> Values {
            let keep = |name: &str| Self::key(name).is_some_and(|k| k.change == Change::Dynamic);
            values.into_iter().filter(|(name, _)| keep(name)).collect()
        };
        Self::from_layers(Layers {
            fixed: self.layers.fixed.clone(),
            dynamic_default: known(dynamic_default),
            dynamic: known(dynamic),
        })
    }

    /// Whether `values` may be set by a request, for one broker or for all.
    pub fn check_dynamic(&self, values: &Values) -> Result<(), Faults> {
        let fixed = |(name, value): (&String, &String)| match Self::key(name) {
            Some(key) if key.change == Change::Dynamic => None,
            Some(_) => Some(Fault::new(
                name,
                value,
                "Cannot update these configs dynamically",
            )),
            None => Some(Fault::new(name, value, "Unknown broker config")),
        };
        let faults: Vec<Fault> = values.iter().filter_map(fixed).collect();
        if !faults.is_empty() {
            return Err(Faults(faults));
        }
        self.with_dynamic(Values::new(), values.clone()).map(|_| ())
    }

    /// What was set explicitly, and where.
    #[must_use]
    pub fn layers(&self) -> &Layers {
        &self.layers
    }

    /// What is legal, and yet stands in the way or means nothing here: a warning each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let release = Release::parse(&self.inter_broker_protocol_version);
        if release.is_ok_and(Release::is_old) {
            warnings.push(format!(
                "inter.broker.protocol.version is {}: brokers speak to each other as of that release; unset it, or set 3.9, once all of them are of 3.9",
                self.inter_broker_protocol_version
            ));
        }
        let format = Release::parse(&self.log_message_format_version);
        if format.is_ok_and(Release::has_old_format) {
            warnings.push(format!(
                "log.message.format.version is {}, which has no effect: records are always in the format of Kafka 0.11 and later",
                self.log_message_format_version
            ));
        }
        warnings
    }

    fn from_layers(layers: Layers) -> Result<Self, Faults> {
        let mut reading = Reading {
            layers: &layers,
            faults: Vec::new(),
        };
        let settings = Self::read(&mut reading, layers.clone());
        let mut faults = reading.faults;
        faults.extend(refused::faults(&layers.fixed));
        if let Some(settings) = &settings {
            faults.extend(settings.cross_faults());
        }
        match settings {
            Some(settings) if faults.is_empty() => Ok(settings),
            _ => Err(Faults(faults)),
        }
    }

    /// Checks that concern several keys, or the inner form of one.
    fn cross_faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut check = |ok: bool, key: &str, reason: String| {
            if !ok {
                faults.push(Fault::new(key, &self.show(key).unwrap_or_default(), reason));
            }
        };
        check(
            !self.broker_id_generation_enable || self.broker_id <= self.reserved_broker_max_id,
            "broker.id",
            format!(
                "broker.id must be greater than or equal to -1 and not greater than reserved.broker.max.id ({})",
                self.reserved_broker_max_id
            ),
        );
        check(
            self.broker_id_generation_enable || self.broker_id >= 0,
            "broker.id",
            "broker.id must be greater than or equal to 0 when broker.id.generation.enable is false".to_owned(),
        );
        check(
            self.queued_max_request_bytes < 0
                || self.queued_max_request_bytes >= i64::from(self.socket_request_max_bytes),
            "queued.max.request.bytes",
            format!(
                "queued.max.request.bytes must be larger or equal to socket.request.max.bytes ({})",
                self.socket_request_max_bytes
            ),
        );
        check(
            self.group_min_session_timeout_ms <= self.group_max_session_timeout_ms,
            "group.min.session.timeout.ms",
            format!(
                "must not be greater than group.max.session.timeout.ms ({})",
                self.group_max_session_timeout_ms
            ),
        );
        check(
            i64::from(self.replica_fetch_wait_max_ms) <= self.replica_lag_time_max_ms,
            "replica.fetch.wait.max.ms",
            format!(
                "replica.fetch.wait.max.ms should always be less than or equal to replica.lag.time.max.ms ({})",
                self.replica_lag_time_max_ms
            ),
        );
        check(
            self.replica_fetch_wait_max_ms <= self.replica_socket_timeout_ms,
            "replica.socket.timeout.ms",
            format!(
                "replica.socket.timeout.ms should always be at least replica.fetch.wait.max.ms ({}) to prevent unnecessary socket timeouts",
                self.replica_fetch_wait_max_ms
            ),
        );
        faults.extend(self.log_faults());
        faults.extend(self.connection_overrides().err());
        faults.extend(self.address_faults());
        faults
    }

    fn log_faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (key, zero) in [
            ("log.retention.ms", self.log_retention_ms == Some(0)),
            (
                "log.retention.minutes",
                self.log_retention_minutes == Some(0),
            ),
            ("log.retention.hours", self.log_retention_hours == 0),
        ] {
            if zero {
                let reason = format!("{key} must be unlimited (-1) or, equal or greater than 1");
                faults.push(Fault::new(key, "0", reason));
            }
        }
        if self.log_folders().is_empty() {
            let reason = "At least one log directory must be defined via log.dirs or log.dir";
            faults.push(Fault::new("log.dirs", "", reason));
        }
        faults
    }

    /// `max.connections.per.ip.overrides` as pairs of host and number.
    pub fn connection_overrides(&self) -> Result<Vec<(String, usize)>, Fault> {
        let text = &self.max_connections_per_ip_overrides;
        let pair = |item: &str| {
            let (host, count) = item.rsplit_once(':')?;
            Some((host.trim().to_owned(), count.trim().parse().ok()?))
        };
        list(text)
            .map(|item| {
                pair(item).ok_or_else(|| {
                    Fault::new(
                        "max.connections.per.ip.overrides",
                        text,
                        format!("{item:?} is not host:number"),
                    )
                })
            })
            .collect()
    }

    /// `log.dirs`, or else `log.dir`.
    #[must_use]
    pub fn log_folders(&self) -> Vec<String> {
        match &self.log_dirs {
            Some(folders) => folders.clone(),
            None => list(&self.log_dir).map(str::to_owned).collect(),
        }
    }

    /// Age at which a segment is closed.
    #[must_use]
    pub fn roll_ms(&self) -> i64 {
        self.log_roll_ms
            .unwrap_or_else(|| i64::from(self.log_roll_hours) * 3_600_000)
    }

    /// Most that chance takes off that age.
    #[must_use]
    pub fn roll_jitter_ms(&self) -> i64 {
        self.log_roll_jitter_ms
            .unwrap_or_else(|| i64::from(self.log_roll_jitter_hours) * 3_600_000)
    }

    /// Age at which records may go; -1: never.
    #[must_use]
    pub fn retention_ms(&self) -> i64 {
        let ms = match (self.log_retention_ms, self.log_retention_minutes) {
            (Some(ms), _) => ms,
            (None, Some(minutes)) => i64::from(minutes) * 60_000,
            (None, None) => i64::from(self.log_retention_hours) * 3_600_000,
        };
        ms.max(-1)
    }

    /// Age of an unflushed record at which its partition is flushed.
    #[must_use]
    pub fn flush_ms(&self) -> i64 {
        self.log_flush_interval_ms
            .unwrap_or(self.log_flush_scheduler_interval_ms)
    }

    /// Longest wait for ZooKeeper at start.
    #[must_use]
    pub fn connection_timeout_ms(&self) -> i32 {
        self.zookeeper_connection_timeout_ms
            .unwrap_or(self.zookeeper_session_timeout_ms)
    }

    /// Free bytes below which produce is refused on a file system of `total` bytes.
    #[must_use]
    pub fn min_free_bytes_of(&self, total: u64) -> u64 {
        u64::try_from(self.min_free_bytes)
            .unwrap_or_else(|_| (total / 50).max(256 << 20).min(total / 10))
    }
}

#[cfg(test)]
mod tests;
