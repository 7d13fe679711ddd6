//! One connection: cuts frames off the socket for the engine, sends what its outbox holds.
//!
//! Memory is bounded by the frame limit on the way in and by the outbox on the way out; a frame
//! takes memory only for the bytes that have arrived.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::Notify;
use tokio::sync::watch;

use parking_lot::Mutex;

use super::config::ServerConfig;
use super::engine::{Engine, Next, Now, Refusal};
use super::journal::Progress;
use super::outbox::Outbox;
use super::watches::ConnectionId;
use super::words;

/// Bytes that may wait for the disk before requests do.
const JOURNAL_PAUSE_BYTES: usize = 8 << 20;
/// How long the last answers of a connection may take to leave.
const LINGER: Duration = Duration::from_secs(1);
/// Requests that are served before others get a turn.
const TURN: usize = 64;

/// What every connection needs.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: ServerConfig,
    pub(super) engine: Mutex<Engine>,
    pub(super) progress: watch::Receiver<Progress>,
    /// A session or a node came that may need looking after earlier than planned.
    pub(super) changed: Notify,
}

/// Why reading ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the peer is gone: {0}")]
    Gone(#[from] io::Error),
    #[error("a frame of {length} bytes, the limit is {limit}")]
    Oversize { length: i64, limit: usize },
    #[error("no session within {0:?}")]
    Silent(Duration),
    #[error("{0}")]
    Refused(#[from] Refusal),
}

/// Serves one connection until its end.
pub(super) async fn run(shared: Arc<Shared>, stream: TcpStream, address: IpAddr) {
    // Only a hint to the kernel: without it answers are late, not wrong.
    let _nodelay = stream.set_nodelay(true);
    let (mut reader, writer) = stream.into_split();
    let outbox = Arc::new(Outbox::new(shared.config.outbox_bytes_max));
    let id = shared.engine.lock().open(outbox.clone(), address);
    let sent = |messages: usize, asked: &[_]| {
        let now = crate::clock::now();
        shared.engine.lock().stats.note_sent(messages, asked, now);
    };
    let pump = outbox.pump(writer, shared.progress.clone(), sent);
    tokio::pin!(pump);
    let read = async {
        let end = serve(&shared, &outbox, id, &mut reader).await;
        match &end {
            Ok(()) | Err(End::Gone(_)) => tracing::debug!(?end, "connection ends"),
            Err(end) => tracing::info!(%address, reason = %end, "closing a connection"),
        }
        // What was refused gets no further answers; who left may still want the last ones.
        match end {
            Ok(()) | Err(End::Gone(_)) => outbox.finish(),
            Err(_) => outbox.close(),
        }
    };
    tokio::select! {
        () = outbox.closed() => {}
        _ = &mut pump => {}
        () = read => {
            let flush = tokio::time::timeout(LINGER, &mut pump);
            tokio::select! {
                () = outbox.closed() => {}
                _ = flush => {}
            }
        }
    }
    shared.engine.lock().close(id);
}

async fn serve(
    shared: &Shared,
    outbox: &Outbox,
    id: ConnectionId,
    socket: &mut OwnedReadHalf,
) -> Result<(), End> {
    let limit = shared.config.frame_bytes_max;
    let mut input = BytesMut::with_capacity(4096);
    let patience = shared.config.connect_timeout;
    let first = async {
        fill(socket, &mut input, 4).await?;
        let word = input.first_chunk().copied().and_then(words::known);
        match word {
            Some(word) => Ok(Err(word)),
            None => frame(socket, &mut input, limit).await.map(Ok),
        }
    };
    let first = tokio::time::timeout(patience, first);
    match first.await.map_err(|_| End::Silent(patience))?? {
        Ok(connect) => {
            let next = shared.engine.lock().connect(id, &connect, Now::read())?;
            if next == Next::Finish {
                return Ok(());
            }
        }
        Err(word) => {
            let text = words::answer(word, &shared.engine.lock());
            outbox.reply(0, Bytes::from(text), None);
            return Ok(());
        }
    }
    shared.changed.notify_one();
    let mut served = 0;
    loop {
        let request = frame(socket, &mut input, limit).await?;
        let (next, zxid, waiting) = {
            let mut engine = shared.engine.lock();
            let had = engine.tree.has_reapable_kinds();
            let next = engine.request(id, &request, Now::read())?;
            if !had && engine.tree.has_reapable_kinds() {
                shared.changed.notify_one();
            }
            (next, engine.zxid, engine.journal.waiting_bytes())
        };
        if next == Next::Finish {
            return Ok(());
        }
        outbox.room().await;
        if waiting > JOURNAL_PAUSE_BYTES {
            let reached = |p: &Progress| p.zxid >= zxid || p.broken.is_some();
            let mut progress = shared.progress.clone();
            // A journal that ended has ended its connections, too.
            let _ended = progress.wait_for(reached).await;
        }
        served += 1;
        if served % TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
}

/// One frame, without its length.
async fn frame(
    socket: &mut (impl AsyncRead + Unpin),
    input: &mut BytesMut,
    limit: usize,
) -> Result<Bytes, End> {
    fill(socket, input, 4).await?;
    let length = input
        .first_chunk()
        .map_or(0, |head| i32::from_be_bytes(*head));
    let length = match usize::try_from(length) {
        Ok(length) if length <= limit => length,
        _ => {
            let length = i64::from(length);
            return Err(End::Oversize { length, limit });
        }
    };
    fill(socket, input, 4 + length).await?;
    input.advance(4);
    let frame = input.split_to(length).freeze();
    if input.is_empty() {
        // Gives the memory of a large frame back once it is served.
        *input = BytesMut::with_capacity(4096);
    }
    Ok(frame)
}

/// Reads until `input` holds at least `length` bytes.
async fn fill(
    socket: &mut (impl AsyncRead + Unpin),
    input: &mut BytesMut,
    length: usize,
) -> io::Result<()> {
    while input.len() < length {
        if socket.read_buf(input).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// Turns a connection away that is one too many.
pub(super) async fn refuse(mut stream: TcpStream) {
    // Whether the peer hears of it or not, the connection is gone.
    let _closed = stream.shutdown().await;
}
