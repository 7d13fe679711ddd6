//! Typed requests over a socket: one connection, one request at a time, any version.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use nyala_client::wire::Request;
use nyala_client::wire::frame::{decode_response, encode_request};

use crate::wait::SOON;

/// A connection to a broker.
#[derive(Debug)]
pub struct Caller {
    stream: TcpStream,
    client_id: String,
    next: i32,
}

impl Caller {
    /// Connects; requests carry `client_id`.
    #[must_use]
    pub fn connect(address: &str, client_id: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the broker listens");
        stream.set_nodelay(true).expect("a socket");
        let caller = Self {
            stream,
            client_id: client_id.to_owned(),
            next: 1,
        };
        caller.set_patience(SOON);
        caller
    }

    /// How long an answer may take.
    pub fn set_patience(&self, limit: Duration) {
        self.stream
            .set_read_timeout(Some(limit))
            .expect("a socket with a time limit");
    }

    /// Sends a request without waiting for its answer; its number.
    pub fn send<R: Request>(&mut self, version: i16, request: &R) -> i32 {
        let correlation = self.next;
        self.next += 1;
        let frame = encode_request(version, correlation, Some(&self.client_id), request);
        let frame = frame.expect("the request can be said in this version");
        self.stream.write_all(&frame).expect("the broker reads");
        correlation
    }

    /// Waits for the answer to the oldest request without one; `None` if the broker closes.
    pub fn receive<R: Request>(&mut self, version: i16, correlation: i32) -> Option<R::Response> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).ok()?;
        let length = usize::try_from(i32::from_be_bytes(length)).expect("a length");
        let mut frame = vec![0; length];
        self.stream.read_exact(&mut frame).ok()?;
        let (echoed, response) =
            decode_response(&Bytes::from(frame), version).expect("a well-formed answer");
        assert_eq!(echoed, correlation);
        Some(response)
    }

    /// Sends a request and waits for its answer.
    pub fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let correlation = self.send(version, request);
        self.receive::<R>(version, correlation)
            .unwrap_or_else(|| panic!("no answer to {:?} version {version}", R::KEY))
    }
}
