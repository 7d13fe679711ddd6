//! Who waits for the socket of a connection, and moves its bytes.
//!
//! At *home*, on the runtime of those who call: the thread that reads an answer is then the one that goes on with
//! its caller. A home may be given up, or be too busy to read, and the session must not hang on that: the session's
//! thread reads before it is known that the connection is of use, and again, to its end, when the home's task has
//! gone, or leaves what has come where it is.

use std::future::pending;
use std::io;
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::wire::{Ended, Wire};

/// A home that leaves bytes where they are from one look to the next, this long after, is not waited for any more.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The runtime of those who call, if it reads while none of them waits: one of a single thread does not.
pub(in super::super) fn home() -> Option<Handle> {
    let here = Handle::try_current().ok()?;
    matches!(here.runtime_flavor(), RuntimeFlavor::MultiThread).then_some(here)
}

/// Reads as long as it is kept. Then the connection ends, without a word about the session.
#[derive(Debug)]
pub(in super::super) struct Reading {
    wire: Arc<Wire>,
    task: JoinHandle<()>,
    at_home: bool,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.wire.end(Ended::Lost("given up"));
        self.task.abort();
    }
}

impl Reading {
    /// Begins to read, on the runtime that this is called on.
    pub(super) fn start(wire: Arc<Wire>) -> Self {
        let task = tokio::spawn(move_bytes(Arc::clone(&wire)));
        Self {
            wire,
            task,
            at_home: false,
        }
    }

    /// Reads at `home` from now on.
    pub(in super::super) fn go_home(&mut self, home: &Handle) {
        self.task.abort();
        self.task = home.spawn(move_bytes(Arc::clone(&self.wire)));
        self.at_home = true;
    }

    /// Reads on the runtime that this is called on from now on.
    pub(in super::super) fn take_over(&mut self) {
        self.task.abort();
        self.task = tokio::spawn(move_bytes(Arc::clone(&self.wire)));
        self.at_home = false;
    }

    /// Resolves when the home has gone.
    pub(in super::super) async fn left(&mut self) {
        match self.at_home {
            // However it ended.
            true => drop((&mut self.task).await),
            false => pending().await,
        }
    }

    /// Resolves when the home has gone, or leaves bytes where they are. To be asked while an answer is waited for.
    pub(in super::super) async fn neglected(&mut self) {
        let wire = Arc::clone(&self.wire);
        let looks = async {
            let mut was_idle = false;
            loop {
                sleep(LOOK_EVERY).await;
                let is_idle = wire.is_idle();
                if std::mem::replace(&mut was_idle, is_idle) && is_idle {
                    return;
                }
            }
        };
        match self.at_home {
            true => tokio::select! {
                () = self.left() => {}
                () = looks => {}
            },
            false => pending().await,
        }
    }
}

/// Moves bytes whenever the socket is ready, until the connection ends, or the runtime.
async fn move_bytes(wire: Arc<Wire>) {
    // Without it nobody reads here, and the heartbeats find out.
    let Ok(socket) = wire.socket().and_then(TcpStream::from_std) else {
        return;
    };
    tokio::select! {
        () = read(&wire, &socket) => {}
        () = write(&wire, &socket) => {}
    }
}

async fn read(wire: &Wire, socket: &TcpStream) {
    while socket.readable().await.is_ok() {
        // A server may send faster than this takes: others have their turn, and this can be ended.
        tokio::task::consume_budget().await;
        let read = socket.try_io(Interest::READABLE, || wire.read_some());
        if matches!(read, Ok(ControlFlow::Break(()))) {
            return;
        }
    }
}

async fn write(wire: &Wire, socket: &TcpStream) {
    loop {
        let mut more = pin!(wire.more());
        more.as_mut().enable();
        while would_block(wire.write_unsent()) {
            if socket.writable().await.is_err() {
                return;
            }
            // Whatever comes of it: the socket is not to be waited for again before it is full.
            let _ = socket.try_io(Interest::WRITABLE, || wire.write_unsent());
        }
        more.await;
    }
}

fn would_block(written: io::Result<()>) -> bool {
    written.is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
}
