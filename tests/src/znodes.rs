//! What the cluster's znodes say, read from whichever ZooKeeper answers: no panic when none does.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value as Json;

use crate::wait;
use crate::zookeeper_wire::{Acl, Body, Fields, Hello, Stat, op};

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// A reader of znodes with at most one session, opened anew when it is lost.
#[derive(Debug)]
pub struct Znodes {
    addresses: Vec<SocketAddr>,
    stream: Option<TcpStream>,
    next: usize,
}

/// State of a partition, as the controller wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Who leads; -1: nobody.
    pub leader: i32,
    /// Leader epoch.
    pub leader_epoch: i32,
    /// In-sync replicas.
    pub isr: Vec<i32>,
}

impl Znodes {
    /// For `host:port[,host:port...]`.
    #[must_use]
    pub fn new(connect: &str) -> Self {
        let addresses = connect.split(',');
        Self {
            addresses: addresses
                .map(|address| address.parse().expect("an address"))
                .collect(),
            stream: None,
            next: 0,
        }
    }

    /// Data and `Stat` of a node; `Ok(None)`: there is none.
    pub fn get(&mut self, path: &str) -> io::Result<Option<(Vec<u8>, Stat)>> {
        let fields = self.call(op::GET_DATA, &Body::path_if(path, false))?;
        Ok(fields.map(|mut f| (f.data().unwrap_or_default(), f.stat())))
    }

    /// Sets a node's data, whatever was there. False: there is no such node.
    pub fn set(&mut self, path: &str, data: &[u8]) -> io::Result<bool> {
        let body = Body::new().text(path).data(Some(data)).int(-1);
        Ok(self.call(op::SET_DATA, &body)?.is_some())
    }

    /// Makes a node by hand, with that ACL.
    pub fn create(&mut self, path: &str, data: &[u8], acl: &[Acl]) -> io::Result<()> {
        let body = Body::new().text(path).data(Some(data)).acl(acl).int(0);
        self.call(op::CREATE, &body).map(drop)
    }

    /// Sets a node's ACL, whatever was there.
    pub fn set_acl(&mut self, path: &str, acl: &[Acl]) -> io::Result<()> {
        let body = Body::new().text(path).acl(acl).int(-1);
        self.call(op::SET_ACL, &body).map(drop)
    }

    /// Names of a node's children; none: there is no such node.
    pub fn children(&mut self, path: &str) -> io::Result<Vec<String>> {
        let fields = self.call(op::GET_CHILDREN, &Body::path_if(path, false))?;
        Ok(fields.map(|mut f| f.texts()).unwrap_or_default())
    }

    /// The JSON of a node.
    pub fn json(&mut self, path: &str) -> Option<Json> {
        let (data, _) = self.get(path).ok()??;
        serde_json::from_slice(&data).ok()
    }

    /// The controller's broker id.
    pub fn controller(&mut self) -> Option<i32> {
        number(&self.json("/controller")?, "brokerid")
    }

    /// State of a partition.
    pub fn state(&mut self, topic: &str, partition: i32) -> Option<State> {
        let path = format!("/brokers/topics/{topic}/partitions/{partition}/state");
        let json = self.json(&path)?;
        Some(State {
            leader: number(&json, "leader")?,
            leader_epoch: number(&json, "leader_epoch")?,
            isr: numbers(json.get("isr")?),
        })
    }

    /// Replicas of a topic's partitions.
    pub fn replicas(&mut self, topic: &str) -> BTreeMap<i32, Vec<i32>> {
        let json = self.json(&format!("/brokers/topics/{topic}"));
        let partitions = json
            .as_ref()
            .and_then(|json| json["partitions"].as_object());
        let partitions = partitions.into_iter().flatten();
        partitions
            .filter_map(|(partition, replicas)| Some((partition.parse().ok()?, numbers(replicas))))
            .collect()
    }

    /// Waits until a partition's state is as wanted.
    pub fn wait_for_state(
        &mut self,
        topic: &str,
        partition: i32,
        what: &str,
        wanted: impl Fn(&State) -> bool,
    ) -> State {
        wait::until(what, || match self.state(topic, partition) {
            Some(state) if wanted(&state) => Ok(state),
            other => Err(other),
        })
    }

    /// Waits until all partitions of a topic have all their replicas in sync.
    pub fn wait_for_full_isr(&mut self, topic: &str) {
        wait::until(&format!("all replicas of {topic} in sync"), || {
            let replicas = self.replicas(topic);
            let states = replicas.iter().map(|(partition, replicas)| {
                let state = self.state(topic, *partition);
                let full = state
                    .as_ref()
                    .is_some_and(|state| state.leader >= 0 && state.isr.len() == replicas.len());
                (full, *partition, state)
            });
            let lacking: Vec<_> = states.filter(|(full, ..)| !full).collect();
            if replicas.is_empty() || !lacking.is_empty() {
                return Err(lacking);
            }
            Ok(())
        });
    }

    /// Ends the session by which broker `id` is registered, as if it had expired: a second client
    /// takes it over and closes it. Only a real ZooKeeper gives its passwords away like this.
    pub fn expire(&mut self, id: i32) -> io::Result<()> {
        let path = format!("/brokers/ids/{id}");
        let node = self.get(&path)?;
        let (_, stat) = node.ok_or(io::ErrorKind::NotFound)?;
        let mut last = Ok(());
        // Whom the session is taken from comes back for it at once, and may be quicker.
        for _ in 0..50 {
            last = self.take_and_close(stat.owner);
            let now = self.get(&path)?;
            if now.is_none_or(|(_, now)| now.owner != stat.owner) {
                return Ok(());
            }
        }
        last.and_then(|()| Err(io::Error::other("the session lives on")))
    }

    /// Says who it is and closes the session in one breath.
    fn take_and_close(&mut self, session: i64) -> io::Result<()> {
        let hello = Hello {
            session,
            password: password_of(session),
            ..Hello::default()
        };
        let mut stream = self.reach()?;
        let close = Body::new().int(1).int(op::CLOSE).0;
        let frames = [hello.body().0, close].map(framed).concat();
        stream.write_all(&frames)?;
        let mut fields = Fields::new(receive(&mut stream)?);
        let (_protocol, _timeout, taken) = (fields.int(), fields.int(), fields.long());
        if taken != session {
            return Err(io::Error::other("the session was not given away"));
        }
        receive(&mut stream).map(|_| ())
    }

    /// One request; `Ok(None)`: no such node.
    fn call(&mut self, op: i32, body: &Body) -> io::Result<Option<Fields>> {
        let mut last = io::Error::from(io::ErrorKind::NotConnected);
        for _ in 0..=self.addresses.len() {
            let mut stream = match self.stream.take() {
                Some(stream) => stream,
                None => match self.connect(&Hello::default()) {
                    Ok((stream, _)) => stream,
                    Err(e) => {
                        last = e;
                        continue;
                    }
                },
            };
            match exchange(&mut stream, op, body) {
                Ok(answer) => {
                    self.stream = Some(stream);
                    return Ok(answer);
                }
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    /// A connection to the next server.
    fn reach(&mut self) -> io::Result<TcpStream> {
        let address = self.addresses[self.next % self.addresses.len()];
        self.next += 1;
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    fn connect(&mut self, hello: &Hello) -> io::Result<(TcpStream, i64)> {
        let mut stream = self.reach()?;
        send(&mut stream, &hello.body().0)?;
        let mut fields = Fields::new(receive(&mut stream)?);
        let (_protocol, _timeout, session) = (fields.int(), fields.int(), fields.long());
        Ok((stream, session))
    }
}

fn number(json: &Json, key: &str) -> Option<i32> {
    json.get(key)?.as_i64().and_then(|n| i32::try_from(n).ok())
}

fn numbers(json: &Json) -> Vec<i32> {
    let all = json.as_array().into_iter().flatten();
    all.filter_map(|n| i32::try_from(n.as_i64()?).ok())
        .collect()
}

/// A body with its length in front.
fn framed(body: Vec<u8>) -> Vec<u8> {
    let length = i32::try_from(body.len()).expect("requests are small");
    [&length.to_be_bytes(), &body[..]].concat()
}

fn send(stream: &mut TcpStream, body: &[u8]) -> io::Result<()> {
    stream.write_all(&framed(body.to_vec()))
}

fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(i32::from_be_bytes(length)).map_err(io::Error::other)?;
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}

/// Sends one request and reads its answer; there are no watches, so nothing else comes.
fn exchange(stream: &mut TcpStream, op: i32, body: &Body) -> io::Result<Option<Fields>> {
    let frame = [&Body::new().int(1).int(op).0[..], &body.0].concat();
    send(stream, &frame)?;
    let mut fields = Fields::new(receive(stream)?);
    let (_xid, _zxid, error) = (fields.int(), fields.long(), fields.int());
    match error {
        0 => Ok(Some(fields)),
        crate::zookeeper_wire::code::NO_NODE => Ok(None),
        other => Err(io::Error::other(format!("ZooKeeper's error {other}"))),
    }
}

/// The password of a session of a real ZooKeeper: `java.util.Random` seeded with the id and a
/// constant of `SessionTrackerImpl`.
fn password_of(session: i64) -> Vec<u8> {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;
    let mut state = (session.cast_unsigned() ^ 0xB341_5C00 ^ MULTIPLIER) & MASK;
    let mut password = Vec::with_capacity(16);
    while password.len() < 16 {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        let int = u32::try_from(state >> 16 & 0xffff_ffff).expect("32 bits");
        password.extend(int.to_le_bytes());
    }
    password
}
