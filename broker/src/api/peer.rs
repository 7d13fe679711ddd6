//! The other end of a connection: who it is, through which listener, and what it may do.

use std::net::IpAddr;
use std::sync::Arc;

use nyala_client::wire::frame::RequestHeader;

use super::context::authorize;
use super::{Context, Operation, Principal, Resource, Services};

/// The other end of one connection, as handlers see it.
#[derive(Debug)]
pub(crate) struct Peer {
    services: Arc<Services>,
    principal: Principal,
    host: IpAddr,
    listener_name: Arc<str>,
    through_brokers_listener: bool,
}

impl Peer {
    /// A peer that has not authenticated.
    pub(crate) fn new(services: Arc<Services>, host: IpAddr, listener_name: Arc<str>) -> Self {
        Self {
            through_brokers_listener: services.of_brokers(&listener_name),
            services,
            principal: Principal::anonymous(),
            host,
            listener_name,
        }
    }

    /// What all requests share.
    pub(super) fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// Name of the listener that it came through.
    pub(super) fn listener_name(&self) -> &Arc<str> {
        &self.listener_name
    }

    /// Who is at the other end.
    pub(super) fn principal(&self) -> &Principal {
        &self.principal
    }

    /// As [`Context::authorize`], for the two hot requests, which make no [`Context`].
    pub(super) fn authorize(&self, operation: Operation, resource: Resource<'_>) -> bool {
        let through = self.through_brokers_listener;
        authorize(&self.principal, through, operation, resource)
    }

    /// What a handler is told of a request beside its body.
    pub(super) fn context(&self, header: &RequestHeader<'_>) -> Context {
        Context {
            services: Arc::clone(&self.services),
            key: header.key,
            version: header.version,
            principal: self.principal.clone(),
            client_id: header.client_id.map(str::to_owned),
            client_host: self.host,
            listener_name: Arc::clone(&self.listener_name),
        }
    }
}
