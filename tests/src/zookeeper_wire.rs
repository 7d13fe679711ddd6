//! A ZooKeeper client that hides nothing: every field of every answer, and what no client would send.
//!
//! Blocking, one connection, its own codec: it shares no line with the server that it judges.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::wait;

/// Operation codes, under the names of `ZooDefs.OpCode`.
pub mod op {
    pub const CREATE: i32 = 1;
    pub const DELETE: i32 = 2;
    pub const EXISTS: i32 = 3;
    pub const GET_DATA: i32 = 4;
    pub const SET_DATA: i32 = 5;
    pub const GET_ACL: i32 = 6;
    pub const SET_ACL: i32 = 7;
    pub const GET_CHILDREN: i32 = 8;
    pub const SYNC: i32 = 9;
    pub const PING: i32 = 11;
    pub const GET_CHILDREN2: i32 = 12;
    pub const CHECK: i32 = 13;
    pub const MULTI: i32 = 14;
    pub const CREATE2: i32 = 15;
    pub const RECONFIG: i32 = 16;
    pub const CHECK_WATCHES: i32 = 17;
    pub const REMOVE_WATCHES: i32 = 18;
    pub const CREATE_CONTAINER: i32 = 19;
    pub const CREATE_TTL: i32 = 21;
    pub const MULTI_READ: i32 = 22;
    pub const AUTH: i32 = 100;
    pub const SET_WATCHES: i32 = 101;
    pub const SASL: i32 = 102;
    pub const GET_EPHEMERALS: i32 = 103;
    pub const GET_ALL_CHILDREN_NUMBER: i32 = 104;
    pub const SET_WATCHES2: i32 = 105;
    pub const ADD_WATCH: i32 = 106;
    pub const WHO_AM_I: i32 = 107;
    pub const CLOSE: i32 = -11;
}

/// Error codes, under the names of `KeeperException.Code`.
pub mod code {
    pub const RUNTIME_INCONSISTENCY: i32 = -2;
    pub const MARSHALLING_ERROR: i32 = -5;
    pub const UNIMPLEMENTED: i32 = -6;
    pub const BAD_ARGUMENTS: i32 = -8;
    pub const NO_NODE: i32 = -101;
    pub const NO_AUTH: i32 = -102;
    pub const BAD_VERSION: i32 = -103;
    pub const NO_CHILDREN_FOR_EPHEMERALS: i32 = -108;
    pub const NODE_EXISTS: i32 = -110;
    pub const NOT_EMPTY: i32 = -111;
    pub const INVALID_ACL: i32 = -114;
    pub const AUTH_FAILED: i32 = -115;
    pub const NO_WATCHER: i32 = -121;
}

/// One entry of an ACL: permissions, scheme, id.
pub type Acl = (i32, String, String);

/// Everyone may do everything.
#[must_use]
pub fn open() -> Vec<Acl> {
    vec![(31, "world".to_owned(), "anyone".to_owned())]
}

/// The fields of a request, written one after the other.
#[derive(Clone, Debug, Default)]
pub struct Body(pub Vec<u8>);

impl Body {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A number of four bytes.
    #[must_use]
    pub fn int(mut self, value: i32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    /// A number of eight bytes.
    #[must_use]
    pub fn long(mut self, value: i64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    /// One byte.
    #[must_use]
    pub fn bool(mut self, value: bool) -> Self {
        self.0.push(u8::from(value));
        self
    }

    /// A buffer, `None` being null.
    #[must_use]
    pub fn data(self, value: Option<&[u8]>) -> Self {
        match value {
            None => self.int(-1),
            Some(bytes) => {
                let mut body = self.int(i32::try_from(bytes.len()).expect("a test's data"));
                body.0.extend(bytes);
                body
            }
        }
    }

    /// A string.
    #[must_use]
    pub fn text(self, value: &str) -> Self {
        self.data(Some(value.as_bytes()))
    }

    /// A vector of strings.
    #[must_use]
    pub fn texts(self, values: &[&str]) -> Self {
        let count = i32::try_from(values.len()).expect("a test's list");
        values.iter().fold(self.int(count), |body, v| body.text(v))
    }

    /// An ACL.
    #[must_use]
    pub fn acl(self, acl: &[Acl]) -> Self {
        let count = i32::try_from(acl.len()).expect("a test's list");
        acl.iter()
            .fold(self.int(count), |body, (perms, scheme, id)| {
                body.int(*perms).text(scheme).text(id)
            })
    }

    /// One operation of a multi.
    #[must_use]
    pub fn op(self, op: i32, body: Self) -> Self {
        let mut multi = self.int(op).bool(false).int(-1);
        multi.0.extend(body.0);
        multi
    }

    /// The end of a multi.
    #[must_use]
    pub fn end(self) -> Self {
        self.int(-1).bool(true).int(-1)
    }

    /// The body of a create.
    #[must_use]
    pub fn create(path: &str, data: &[u8], flags: i32) -> Self {
        Self::new()
            .text(path)
            .data(Some(data))
            .acl(&open())
            .int(flags)
    }

    /// A path and a number: delete, check, addWatch and others.
    #[must_use]
    pub fn path_and(path: &str, number: i32) -> Self {
        Self::new().text(path).int(number)
    }

    /// A path and a flag: reads with or without a watch.
    #[must_use]
    pub fn path_if(path: &str, watch: bool) -> Self {
        Self::new().text(path).bool(watch)
    }
}

/// The fields of an answer, read one after the other; panics where there are none.
#[derive(Debug)]
pub struct Fields {
    bytes: Vec<u8>,
    at: usize,
}

impl Fields {
    /// Reads `bytes` from the start.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, at: 0 }
    }

    /// The rest.
    pub fn rest(&mut self) -> Vec<u8> {
        self.take(self.bytes.len() - self.at)
    }

    /// A number of four bytes.
    pub fn int(&mut self) -> i32 {
        i32::from_be_bytes(self.take(4).try_into().expect("four bytes"))
    }

    /// A number of eight bytes.
    pub fn long(&mut self) -> i64 {
        i64::from_be_bytes(self.take(8).try_into().expect("eight bytes"))
    }

    /// One byte.
    pub fn bool(&mut self) -> bool {
        self.take(1) == [1]
    }

    /// A buffer, `None` being null.
    pub fn data(&mut self) -> Option<Vec<u8>> {
        let length = usize::try_from(self.int()).ok()?;
        Some(self.take(length))
    }

    /// A string.
    pub fn text(&mut self) -> String {
        String::from_utf8(self.data().unwrap_or_default()).expect("UTF-8")
    }

    /// A vector of strings, sorted: ZooKeeper promises no order.
    pub fn texts(&mut self) -> Vec<String> {
        let count = self.int();
        let mut texts: Vec<String> = (0..count).map(|_| self.text()).collect();
        texts.sort();
        texts
    }

    /// An ACL.
    pub fn acl(&mut self) -> Vec<Acl> {
        let count = self.int();
        (0..count)
            .map(|_| (self.int(), self.text(), self.text()))
            .collect()
    }

    /// A `Stat`.
    pub fn stat(&mut self) -> Stat {
        Stat {
            czxid: self.long(),
            mzxid: self.long(),
            ctime: self.long(),
            mtime: self.long(),
            version: self.int(),
            cversion: self.int(),
            aversion: self.int(),
            owner: self.long(),
            data_length: self.int(),
            num_children: self.int(),
            pzxid: self.long(),
        }
    }

    /// The header of one result of a multi: its kind, and its error.
    pub fn result(&mut self) -> (i32, i32) {
        let (kind, done, error) = (self.int(), self.bool(), self.int());
        assert!(!done || (kind, error) == (-1, -1), "an odd end of a multi");
        (if done { 0 } else { kind }, error)
    }

    /// The errors of a multi that failed, one for each operation.
    pub fn errors(&mut self) -> Vec<i32> {
        let mut errors = Vec::new();
        loop {
            match self.result() {
                (0, _) => return errors,
                (kind, error) => {
                    assert_eq!((kind, self.int()), (-1, error), "not an error result");
                    errors.push(error);
                }
            }
        }
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let end = self.at + count;
        let taken = self.bytes.get(self.at..end);
        let taken = taken.unwrap_or_else(|| panic!("{count} bytes at {} of {self:?}", self.at));
        self.at = end;
        taken.to_vec()
    }
}

/// What ZooKeeper tells of a node, under its own names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub czxid: i64,
    pub mzxid: i64,
    pub ctime: i64,
    pub mtime: i64,
    pub version: i32,
    pub cversion: i32,
    pub aversion: i32,
    pub owner: i64,
    pub data_length: i32,
    pub num_children: i32,
    pub pzxid: i64,
}

/// What a client says first.
#[derive(Clone, Debug)]
pub struct Hello {
    /// Newest zxid that it has seen.
    pub zxid: i64,
    /// Timeout that it would like.
    pub timeout_ms: i32,
    /// Session to come back to, or 0.
    pub session: i64,
    /// The session's password.
    pub password: Vec<u8>,
    /// The flag, which old clients do not send.
    pub read_only: Option<bool>,
}

impl Default for Hello {
    fn default() -> Self {
        Self {
            zxid: 0,
            timeout_ms: 6000,
            session: 0,
            password: vec![0; 16],
            read_only: Some(false),
        }
    }
}

impl Hello {
    /// Its bytes.
    #[must_use]
    pub fn body(&self) -> Body {
        let body = Body::new()
            .int(0)
            .long(self.zxid)
            .int(self.timeout_ms)
            .long(self.session)
            .data(Some(&self.password));
        match self.read_only {
            Some(flag) => body.bool(flag),
            None => body,
        }
    }
}

/// Kinds of events, under the names of `Watcher.Event.EventType`.
pub mod event {
    pub const CREATED: i32 = 1;
    pub const DELETED: i32 = 2;
    pub const CHANGED: i32 = 3;
    pub const CHILDREN: i32 = 4;
}

/// A watch event: kind and path.
pub type Event = (i32, String);

/// One connection with its session.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    /// Session id.
    pub session: i64,
    /// Its password.
    pub password: Vec<u8>,
    /// The timeout that was granted.
    pub timeout_ms: i32,
    /// The zxid of the last answer.
    pub zxid: i64,
    xid: i32,
    events: VecDeque<Event>,
}

/// Sends one frame.
pub fn send_frame(stream: &mut TcpStream, body: &[u8]) -> io::Result<()> {
    let length = i32::try_from(body.len()).expect("a test's frame");
    stream.write_all(&[&length.to_be_bytes(), body].concat())
}

/// The next frame; `None` when the peer closed, panics when it says nothing for long.
pub fn receive_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    stream
        .set_read_timeout(Some(wait::SOON))
        .expect("a limit above zero");
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => panic!("no answer"),
        Err(_) => return None,
    }
    let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).expect("a length")];
    stream.read_exact(&mut frame).ok().map(|()| frame)
}

impl Client {
    /// A new session.
    #[must_use]
    pub fn connect(address: &str) -> Self {
        Self::hello(address, &Hello::default()).expect("a new session")
    }

    /// A session by `hello`; `None` when the server grants none.
    #[must_use]
    pub fn hello(address: &str, hello: &Hello) -> Option<Self> {
        let mut stream = TcpStream::connect(address).unwrap_or_else(|e| panic!("{address}: {e}"));
        stream.set_nodelay(true).expect("a TCP option");
        send_frame(&mut stream, &hello.body().0).expect("an open connection");
        let mut fields = Fields::new(receive_frame(&mut stream)?);
        assert_eq!(fields.int(), 0, "protocol version");
        let client = Self {
            stream,
            timeout_ms: fields.int(),
            session: fields.long(),
            password: fields.data().expect("a password"),
            zxid: 0,
            xid: 0,
            events: VecDeque::new(),
        };
        assert_eq!(fields.rest().len(), usize::from(hello.read_only.is_some()));
        assert_eq!(client.password.len(), 16);
        (client.session != 0).then_some(client)
    }

    /// What brings this session back on another connection.
    #[must_use]
    pub fn again(&self) -> Hello {
        Hello {
            zxid: self.zxid,
            timeout_ms: self.timeout_ms,
            session: self.session,
            password: self.password.clone(),
            read_only: Some(false),
        }
    }

    /// The socket.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Sends a request and returns its xid.
    pub fn send(&mut self, op: i32, body: &Body) -> i32 {
        self.xid += 1;
        let xid = match op {
            op::PING => -2,
            op::AUTH => -4,
            op::SET_WATCHES | op::SET_WATCHES2 => -8,
            _ => self.xid,
        };
        let frame = [&Body::new().int(xid).int(op).0[..], &body.0].concat();
        // A server that has closed already shows in what is received.
        let _sent = send_frame(&mut self.stream, &frame);
        xid
    }

    /// Receives the next answer, keeping events that come before it; `None` at the end.
    pub fn receive(&mut self) -> Option<(i32, i32, Fields)> {
        loop {
            let mut fields = Fields::new(receive_frame(&mut self.stream)?);
            let (xid, zxid, error) = (fields.int(), fields.long(), fields.int());
            if xid != -1 {
                if zxid > 0 {
                    self.zxid = zxid;
                }
                return Some((xid, error, fields));
            }
            assert_eq!((zxid, error), (-1, 0), "header of an event");
            let (kind, state, path) = (fields.int(), fields.int(), fields.text());
            assert_eq!(state, 3, "an event says that the client is connected");
            self.events.push_back((kind, path));
        }
    }

    /// Sends a request and waits for its answer: its fields, or its error code.
    pub fn call(&mut self, op: i32, body: &Body) -> Result<Fields, i32> {
        let xid = self.send(op, body);
        let (answered, error, fields) = self.receive().expect("an answer");
        assert_eq!(answered, xid, "answers come in order");
        if error == 0 { Ok(fields) } else { Err(error) }
    }

    /// The events that have happened so far: those before the answer to a ping.
    pub fn events(&mut self) -> Vec<Event> {
        self.call(op::PING, &Body::new()).expect("a ping");
        self.events.drain(..).collect()
    }

    /// Events that come by themselves: asks until there are any.
    pub fn wait_for_events(&mut self) -> Vec<Event> {
        wait::until("watch events", || match self.events() {
            events if events.is_empty() => Err("none"),
            events => Ok(events),
        })
    }

    /// Creates an open node; its path.
    pub fn create(&mut self, path: &str, data: &[u8], flags: i32) -> Result<String, i32> {
        let body = Body::create(path, data, flags);
        self.call(op::CREATE, &body).map(|mut f| f.text())
    }

    /// Creates an open node; its path and `Stat`.
    pub fn create2(&mut self, path: &str, flags: i32) -> Result<(String, Stat), i32> {
        let body = Body::create(path, b"", flags);
        let fields = self.call(op::CREATE2, &body);
        fields.map(|mut f| (f.text(), f.stat()))
    }

    /// Deletes a node.
    pub fn delete(&mut self, path: &str, version: i32) -> Result<(), i32> {
        let body = Body::path_and(path, version);
        self.call(op::DELETE, &body)
            .map(|mut f| assert!(f.rest().is_empty()))
    }

    /// The `Stat` of a node.
    pub fn exists(&mut self, path: &str, watch: bool) -> Result<Stat, i32> {
        let body = Body::path_if(path, watch);
        self.call(op::EXISTS, &body).map(|mut f| f.stat())
    }

    /// Data and `Stat` of a node.
    pub fn get(&mut self, path: &str, watch: bool) -> Result<(Option<Vec<u8>>, Stat), i32> {
        let body = Body::path_if(path, watch);
        let fields = self.call(op::GET_DATA, &body);
        fields.map(|mut f| (f.data(), f.stat()))
    }

    /// Sets a node's data.
    pub fn set(&mut self, path: &str, data: &[u8], version: i32) -> Result<Stat, i32> {
        let body = Body::new().text(path).data(Some(data)).int(version);
        self.call(op::SET_DATA, &body).map(|mut f| f.stat())
    }

    /// Names of a node's children.
    pub fn children(&mut self, path: &str, watch: bool) -> Result<Vec<String>, i32> {
        let body = Body::path_if(path, watch);
        self.call(op::GET_CHILDREN, &body).map(|mut f| f.texts())
    }

    /// ACL and `Stat` of a node.
    pub fn acl(&mut self, path: &str) -> Result<(Vec<Acl>, Stat), i32> {
        let fields = self.call(op::GET_ACL, &Body::new().text(path));
        fields.map(|mut f| (f.acl(), f.stat()))
    }

    /// Sets a node's ACL.
    pub fn set_acl(&mut self, path: &str, acl: &[Acl], version: i32) -> Result<Stat, i32> {
        let body = Body::new().text(path).acl(acl).int(version);
        self.call(op::SET_ACL, &body).map(|mut f| f.stat())
    }

    /// Adds a persistent (0) or recursive (1) watch.
    pub fn add_watch(&mut self, path: &str, mode: i32) -> Result<(), i32> {
        let fields = self.call(op::ADD_WATCH, &Body::path_and(path, mode));
        fields.map(|mut f| assert_eq!(f.int(), 0))
    }

    /// Adds an identity.
    pub fn auth(&mut self, scheme: &str, secret: &str) -> Result<(), i32> {
        let body = Body::new().int(0).text(scheme).text(secret);
        self.call(op::AUTH, &body)
            .map(|mut f| assert!(f.rest().is_empty()))
    }

    /// Ends the session.
    pub fn close(mut self) {
        self.call(op::CLOSE, &Body::new()).expect("a last answer");
        assert!(self.is_closed(), "the connection ends with its session");
    }

    /// Whether the server closes the connection (soon); what it still says is passed over.
    pub fn is_closed(&mut self) -> bool {
        while self.receive().is_some() {}
        true
    }

    /// Whether anything comes within `limit`.
    pub fn is_silent(&mut self, limit: Duration) -> bool {
        self.stream
            .set_read_timeout(Some(limit))
            .expect("a limit above zero");
        let mut byte = [0];
        matches!(self.stream.peek(&mut byte), Err(e) if e.kind() == io::ErrorKind::WouldBlock)
    }
}

/// Says a four-letter word and returns all of the answer.
pub fn four_letters(address: &str, word: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    // A real ZooKeeper that is asked while it starts may never answer that connection.
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(word.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
