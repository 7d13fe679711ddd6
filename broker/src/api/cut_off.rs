//! What a broker that has lost touch with the cluster does not answer.
//!
//! Clients ask any broker to find their way, and some ask one that they are connected to for as long as it
//! answers. So one that is cut off must not: without it they go to another. A session that has ended leaves a
//! broker so until the controller has told it what it is now, some tenths of a second. Who asks meanwhile waits,
//! because a connection that is closed takes its other requests along.

use std::time::Duration;

use nyala_client::wire::ApiKey;
use tokio::time::{Instant, sleep};

use super::Services;
use super::reply::CloseReason;

/// How long a question waits for this broker to be in touch again.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(20);

/// Whether `key` is not to be answered now: any broker may be asked it, and this one's picture of the cluster is
/// of the past.
pub(super) fn concerns(key: ApiKey, services: &Services) -> bool {
    let about_the_cluster = matches!(
        key,
        ApiKey::Metadata
            | ApiKey::FindCoordinator
            | ApiKey::InitProducerId
            | ApiKey::DescribeCluster
    );
    about_the_cluster && services.partitions.is_cut_off()
}

/// Waits until the broker is in touch; `Err` when that takes too long.
pub(super) async fn over(api: &'static str, services: &Services) -> Result<(), CloseReason> {
    let end = Instant::now() + PATIENCE;
    while services.partitions.is_cut_off() {
        if Instant::now() >= end {
            return Err(CloseReason::CutOff { api });
        }
        sleep(LOOK).await;
    }
    Ok(())
}
