//! DescribeCluster (key 60): id, controller and brokers of the cluster.

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};

use super::{Context, Resource, endpoints, operations};

/// Asks a broker about brokers, the only kind of endpoint that there is with ZooKeeper.
const ENDPOINT_BROKERS: i8 = 1;
const ENDPOINT_CONTROLLERS: i8 = 2;

/// Answers one request.
pub(super) async fn handle(
    cx: &Context,
    request: DescribeClusterRequest,
) -> DescribeClusterResponse {
    let refused = |error: ErrorCode, message: &str| DescribeClusterResponse {
        error_code: error.code(),
        error_message: Some(message.to_owned()),
        ..DescribeClusterResponse::default()
    };
    match request.endpoint_type {
        ENDPOINT_BROKERS => {}
        ENDPOINT_CONTROLLERS => {
            return refused(
                ErrorCode::MismatchedEndpointType,
                "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER",
            );
        }
        _ => {
            let message = format!("Unsupported endpoint type {}", request.endpoint_type);
            return refused(ErrorCode::UnsupportedEndpointType, &message);
        }
    }
    let snapshot = cx.services.cluster.snapshot();
    let asked = request.include_cluster_authorized_operations;
    DescribeClusterResponse {
        endpoint_type: ENDPOINT_BROKERS,
        cluster_id: snapshot.cluster_id.clone().unwrap_or_default(),
        controller_id: snapshot.controller.map_or(-1, |id| id.0),
        brokers: endpoints::reachable(&snapshot, &cx.listener_name)
            .map(|(broker, endpoint)| DescribeClusterBroker {
                broker_id: broker.id.0,
                host: endpoint.host.clone(),
                port: endpoint.port.into(),
                rack: broker.rack.clone(),
            })
            .collect(),
        cluster_authorized_operations: operations::authorized(cx, Resource::Cluster, asked),
        ..DescribeClusterResponse::default()
    }
}
