//! A TCP proxy that can be cut, or lose what the server says: for clients that lose their server while both live on.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// What passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passes {
    Everything,
    /// What the client says.
    Requests,
    Nothing,
}

/// Passes connections on to one address while it is open.
#[derive(Debug)]
pub struct Proxy {
    /// `127.0.0.1:port`.
    pub address: String,
    passes: Arc<watch::Sender<Passes>>,
    _task: AbortOnDropHandle<()>,
}

impl Proxy {
    /// Starts, open, to `target`.
    pub async fn start(target: &str) -> Self {
        let target: SocketAddr = target.parse().expect("an address");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound").to_string();
        let passes = Arc::new(watch::channel(Passes::Everything).0);
        let gate = Arc::clone(&passes);
        let task = tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else {
                    continue;
                };
                tokio::spawn(pass(client, target, gate.subscribe()));
            }
        });
        Self {
            address,
            passes,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// Resets what is open and refuses what comes.
    pub fn cut(&self) {
        self.passes.send_replace(Passes::Nothing);
    }

    /// What the server says is lost from now on; it is to be cut then, for who misses a part understands no more.
    pub fn lose_answers(&self) {
        self.passes.send_replace(Passes::Requests);
    }

    /// Passes again.
    pub fn heal(&self) {
        self.passes.send_replace(Passes::Everything);
    }
}

async fn pass(mut client: TcpStream, target: SocketAddr, mut passes: watch::Receiver<Passes>) {
    if *passes.borrow_and_update() == Passes::Nothing {
        return;
    }
    let Ok(mut server) = TcpStream::connect(target).await else {
        return;
    };
    let (mut requests, to_client) = client.split();
    let (answers, mut to_server) = server.split();
    let gate = passes.clone();
    tokio::select! {
        // Any way both sockets are dropped, which is what a cut is.
        _ = copy(&mut requests, &mut to_server) => {}
        () = answer(answers, to_client, &gate) => {}
        _ = passes.wait_for(|passes| *passes == Passes::Nothing) => {}
    }
}

async fn answer(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, passes: &watch::Receiver<Passes>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(bytes @ 1..) = from.read(&mut buffer).await {
        let answers = *passes.borrow() == Passes::Everything;
        if answers && to.write_all(&buffer[..bytes]).await.is_err() {
            return;
        }
    }
}
