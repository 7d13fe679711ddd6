//! Which broker coordinates a group of Kafka's protocol: FindCoordinator, asked of any.

use nyala_coordinator::ids::BrokerId;
use tokio::time::Instant;

use super::Cluster;
use crate::connection::Connection;
use crate::error::ClusterError;
use crate::wire::ErrorCode;
use crate::wire::messages::find_coordinator::FindCoordinatorRequest;

/// Newer versions add nothing that is used.
const FIND_COORDINATOR_VERSION_MAX: i16 = 2;

impl Cluster {
    /// A connection to the broker that coordinates `group`, once there is one.
    pub async fn group_coordinator(&self, group: &str) -> Result<Connection, ClusterError> {
        let deadline = Instant::now() + self.config().connection.request_timeout;
        loop {
            let found = match self.find_coordinator(group).await {
                Ok(broker) => self.connection(broker).await,
                Err(error) => Err(error),
            };
            match found {
                // The offsets topic is made by the first who asks: that takes a moment.
                Err(ClusterError::Refused { code, .. })
                    if code.retriable() && Instant::now() < deadline => {}
                other => return other,
            }
            tokio::time::sleep(self.config().retry_backoff).await;
        }
    }

    /// The broker that coordinates `group`, by the word of any.
    pub(crate) async fn find_coordinator(&self, group: &str) -> Result<BrokerId, ClusterError> {
        let request = FindCoordinatorRequest {
            key: group.to_owned(),
            ..FindCoordinatorRequest::default()
        };
        let cap = FIND_COORDINATOR_VERSION_MAX;
        let found = self.ask_around(&request, cap).await?;
        let code = ErrorCode::from(found.error_code);
        if code.is_error() {
            return Err(ClusterError::refused(code, found.error_message));
        }
        Ok(BrokerId(found.node_id))
    }
}
