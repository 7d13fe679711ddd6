//! Brokers as a client may reach them: at the listener through which it came.

use nyala_coordinator::cluster::{BrokerInfo, ClusterSnapshot, Endpoint};
use nyala_coordinator::ids::BrokerId;

/// Brokers with an endpoint of this listener's name, by id.
pub(super) fn reachable<'a>(
    snapshot: &'a ClusterSnapshot,
    listener: &'a str,
) -> impl Iterator<Item = (&'a BrokerInfo, &'a Endpoint)> {
    let brokers = snapshot.brokers.values();
    brokers.filter_map(move |broker| Some((broker, endpoint(broker, listener)?)))
}

/// Whether the broker is there and reachable through the listener.
pub(super) fn is_reachable(snapshot: &ClusterSnapshot, id: BrokerId, listener: &str) -> bool {
    let broker = snapshot.brokers.get(&id);
    broker.is_some_and(|broker| endpoint(broker, listener).is_some())
}

fn endpoint<'a>(broker: &'a BrokerInfo, listener: &str) -> Option<&'a Endpoint> {
    let mut endpoints = broker.endpoints.iter();
    endpoints.find(|endpoint| endpoint.listener_name == listener)
}
