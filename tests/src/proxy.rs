//! A TCP proxy that can be cut: for clients that lose their server while both live on.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// Passes connections on to one address while it is open.
#[derive(Debug)]
pub struct Proxy {
    /// `127.0.0.1:port`.
    pub address: String,
    open: Arc<watch::Sender<bool>>,
    _task: AbortOnDropHandle<()>,
}

impl Proxy {
    /// Starts, open, to `target`.
    pub async fn start(target: &str) -> Self {
        let target: SocketAddr = target.parse().expect("an address");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound").to_string();
        let open = Arc::new(watch::channel(true).0);
        let gate = Arc::clone(&open);
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
            open,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// Resets what is open and refuses what comes.
    pub fn cut(&self) {
        self.open.send_replace(false);
    }

    /// Passes again.
    pub fn heal(&self) {
        self.open.send_replace(true);
    }
}

async fn pass(mut client: TcpStream, target: SocketAddr, mut open: watch::Receiver<bool>) {
    if !*open.borrow_and_update() {
        return;
    }
    let Ok(mut server) = TcpStream::connect(target).await else {
        return;
    };
    tokio::select! {
        // Either way both sockets are dropped, which is what a cut is.
        _ = copy_bidirectional(&mut client, &mut server) => {}
        _ = open.wait_for(|open| !open) => {}
    }
}
