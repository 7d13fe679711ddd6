//! What the recipes' tests share: an embedded server that can be restarted, and a proxy in front of it
//! that loses answers or requests, cuts, and writes down what was asked.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::RngExt as _;
use rand::rngs::SmallRng;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::clock;
use crate::embedded::{Server, ServerConfig, SyncPolicy};
use crate::session::{Session, SessionConfig};

/// Of all sessions here: long enough for a loaded machine.
pub(super) const TIMEOUT: Duration = Duration::from_secs(3);
/// Longest wait for anything.
const SOON: Duration = Duration::from_secs(60);

/// A server, and a proxy to it.
pub(super) struct Place {
    folder: TempDir,
    server: Option<Server>,
    address: SocketAddr,
    pub(super) proxy: Proxy,
}

impl Place {
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let server = Server::start(config(&folder, None))
            .await
            .expect("a server");
        let address = server.address();
        Self {
            folder,
            server: Some(server),
            address,
            proxy: Proxy::start(address).await,
        }
    }

    /// A session past the proxy.
    pub(super) async fn session(&self) -> Session {
        connect(self.address).await
    }

    /// A session through the proxy.
    pub(super) async fn proxied(&self) -> Session {
        connect(self.proxy.address).await
    }

    /// Ends a session as if it had been silent for too long.
    pub(super) fn expire(&self, session: &Session) {
        let id = session.session_id().expect("it is alive");
        assert!(self.server().expire_session(id), "{id:#x} was alive");
    }

    pub(super) fn server(&self) -> &Server {
        self.server.as_ref().expect("it runs")
    }

    /// Stops the server; nobody gets a word out of it.
    pub(super) async fn stop(&mut self) {
        self.server.take().expect("it runs").shutdown().await;
    }

    /// Starts it again, on the same data and port.
    pub(super) async fn start_again(&mut self) {
        let config = config(&self.folder, Some(self.address));
        self.server = Some(Server::start(config).await.expect("the port is ours"));
    }
}

fn config(folder: &TempDir, address: Option<SocketAddr>) -> ServerConfig {
    let fresh = ServerConfig::new(folder.path().join("zookeeper"));
    ServerConfig {
        tick_time: Duration::from_millis(500),
        sync: SyncPolicy::WriteOnly,
        address: address.unwrap_or(fresh.address),
        ..fresh
    }
}

async fn connect(address: SocketAddr) -> Session {
    let config = SessionConfig {
        session_timeout: TIMEOUT,
        op_timeout: Duration::from_secs(5),
        ..SessionConfig::new(address.to_string())
    };
    Session::connect(config).await.expect("a server is there")
}

/// Looks until the answer is yes.
pub(super) async fn until<F: Future<Output = bool>>(what: &str, mut look: impl FnMut() -> F) {
    until_ok(what, || {
        let look = look();
        async { look.await.then_some(()).ok_or("no") }
    })
    .await;
}

/// Looks until `path` has so many children.
pub(super) async fn until_children(session: &Session, path: &str, count: usize) {
    until_ok(&format!("{count} children of {path}"), || async {
        let names = session.children(path).await.unwrap_or_default();
        (names.len() == count).then_some(()).ok_or(names)
    })
    .await;
}

/// Looks until all is well; says what it saw last if that does not come.
async fn until_ok<E: Debug, F: Future<Output = Result<(), E>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) {
    let end = clock::now() + SOON;
    while let Err(seen) = look().await {
        assert!(clock::now() < end, "{what}: not within {SOON:?}: {seen:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// `wait`, but not for ever.
pub(super) async fn soon<T>(what: &str, wait: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(SOON, wait).await;
    waited.unwrap_or_else(|_| panic!("{what}: not within {SOON:?}"))
}

/// One fault, and a moment of peace.
pub(super) async fn harm(place: &mut Place, sessions: &[Session], random: &mut SmallRng) {
    let moment = Duration::from_millis(random.random_range(5..120));
    match random.random_range(0..10) {
        0..4 => {
            place.proxy.lose_answers();
            tokio::time::sleep(moment).await;
            place.proxy.cut();
        }
        4..6 => {
            place.proxy.lose_requests();
            tokio::time::sleep(moment).await;
            place.proxy.cut();
        }
        6..9 => {
            let session = &sessions[random.random_range(0..sessions.len())];
            if let Some(id) = session.session_id() {
                // It may be between two sessions.
                let _ = place.server().expire_session(id);
            }
        }
        _ => {
            place.stop().await;
            place.start_again().await;
        }
    }
    place.proxy.heal();
    tokio::time::sleep(moment * 3).await;
}

/// What the proxy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Pass,
    /// Requests arrive, answers do not.
    LoseAnswers,
    /// Requests do not arrive.
    LoseRequests,
    /// Connections are closed, and none is let in.
    Cut,
}

/// What the proxy does now, and how often it has cut: who looks later still learns of a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    mode: Mode,
    cuts: u64,
}

/// A request, as the proxy saw it: its operation code, and the path that it, or its first operation,
/// starts with.
pub(super) type Request = (i32, String);

pub(super) use crate::protocol::op::{CREATE2 as CREATE, DELETE, GET_CHILDREN2 as CHILDREN, MULTI};

/// A proxy that can be told to misbehave.
pub(super) struct Proxy {
    address: SocketAddr,
    rule: Arc<watch::Sender<Rule>>,
    seen: Arc<Mutex<Vec<Request>>>,
    _task: AbortOnDropHandle<()>,
}

impl Proxy {
    async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let rule = Rule {
            mode: Mode::Pass,
            cuts: 0,
        };
        let rule = Arc::new(watch::channel(rule).0);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (rules, sees) = (Arc::clone(&rule), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else {
                    continue;
                };
                tokio::spawn(pass(client, target, rules.subscribe(), Arc::clone(&sees)));
            }
        });
        Self {
            address,
            rule,
            seen,
            _task: AbortOnDropHandle::new(task),
        }
    }

    pub(super) fn lose_answers(&self) {
        self.set(Mode::LoseAnswers);
    }

    pub(super) fn lose_requests(&self) {
        self.set(Mode::LoseRequests);
    }

    pub(super) fn cut(&self) {
        self.set(Mode::Cut);
    }

    pub(super) fn heal(&self) {
        self.set(Mode::Pass);
    }

    fn set(&self, mode: Mode) {
        self.rule.send_modify(|rule| {
            rule.mode = mode;
            rule.cuts += u64::from(mode == Mode::Cut);
        });
    }

    /// What was asked below `path` since the last call. Heartbeats ask for the root.
    pub(super) fn seen_below(&self, path: &str) -> Vec<Request> {
        let mut seen = std::mem::take(&mut *self.seen.lock());
        seen.retain(|(_, p)| p.starts_with(path));
        seen
    }
}

async fn pass(
    client: TcpStream,
    target: SocketAddr,
    mut rules: watch::Receiver<Rule>,
    seen: Arc<Mutex<Vec<Request>>>,
) {
    let begun = *rules.borrow();
    if begun.mode == Mode::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (requests, answers) = (rules.clone(), rules.clone());
    let up = async move {
        let mut first = true;
        loop {
            let Ok(length) = from_client.read_u32().await else {
                return;
            };
            let mut frame = vec![0; length as usize];
            if from_client.read_exact(&mut frame).await.is_err() {
                return;
            }
            let now = *requests.borrow();
            if now.mode == Mode::LoseRequests || now.cuts != begun.cuts {
                continue;
            }
            // The first frame of a connection asks for a session.
            if !std::mem::take(&mut first) {
                seen.lock().extend(request(&frame));
            }
            let mut whole = length.to_be_bytes().to_vec();
            whole.extend(frame);
            if to_server.write_all(&whole).await.is_err() {
                return;
            }
        }
    };
    let down = async move {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from_server.read(&mut buffer).await {
            let now = *answers.borrow();
            if now.mode == Mode::LoseAnswers || now.cuts != begun.cuts {
                continue;
            }
            if to_client.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
        // That the server has closed the connection is an answer, too.
        if answers.borrow().mode == Mode::LoseAnswers {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
        _ = rules.wait_for(|now| now.cuts != begun.cuts) => {}
    }
}

fn request(frame: &[u8]) -> Option<Request> {
    let number = |at: usize| Some(i32::from_be_bytes(frame.get(at..at + 4)?.try_into().ok()?));
    let code = number(4)?;
    // Each operation of a multi has a head of nine bytes.
    let at = match code {
        MULTI => 8 + 9,
        _ => 8,
    };
    let length = usize::try_from(number(at)?).ok()?;
    let path = String::from_utf8_lossy(frame.get(at + 4..at + 4 + length)?).into_owned();
    Some((code, path))
}
