//! One connection in one task: bytes in, frames to `api`, answers out in request order.
//!
//! There is no channel between reading and writing: all frames that one read brought are handled
//! in a row and their answers leave in one write. The task stops reading when the peer takes no
//! answers, when a request must be finished first, or when the broker's memory for large requests
//! is spent; it closes when nothing moves for too long.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nyala_client::low_water::LowWater;
use nyala_coordinator::clock;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;
use tokio_util::sync::CancellationToken;

use super::input::{GRANT_FREE_BYTES, Input};
use super::limits::{Limits, RECEIVE_BYTES_PER_SECOND};
use super::send::{Broken, Outbox, Sent};
use crate::api::{CloseReason, Direct, Frame, Peer, Reply, RequestMemory};

/// Unsent bytes, file ranges included, above which no further request is handled.
const UNSENT_BYTES_MAX: u64 = 1024 * 1024;
/// Answers that wait for one another, above which no further request is handled.
const QUEUED_MAX: usize = 1000;
/// Bytes of a large batch that are received at once: other connections share this thread, and the cache.
const DIRECT_BYTES_MAX: usize = 512 * 1024;
/// Bytes that are read ahead while requests wait: enough to notice that the peer has gone.
const AHEAD_BYTES_MAX: usize = 64 * 1024;

/// A large request that stands still for this part of [`Limits::receive`] is given up when others wait for its
/// share of memory: 5 s, and up to [`Connection::check_interval`] more.
const STALLED_PART: u32 = 12;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// The peer closed it and got all its answers.
    #[error("closed by the peer")]
    ByPeer,
    /// The broker stops.
    #[error("the broker stops")]
    Shutdown,
    /// Nothing moved for `connections.max.idle.ms`.
    #[error("idle for {0:?}")]
    Idle(Duration),
    /// A request did not arrive in full in time.
    #[error("request still not whole after {0:?}")]
    HalfRead(Duration),
    /// A large request stood still, and others waited for the memory that was kept for it.
    #[error(
        "nothing came of a large request for {0:?}, and others wait for its memory (queued.max.request.bytes)"
    )]
    Stalled(Duration),
    /// We closed it.
    #[error(transparent)]
    Refused(#[from] CloseReason),
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<Broken> for Ended {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Io(error) => Self::Io(error),
            Broken::Close(reason) => Self::Refused(reason),
        }
    }
}

/// One accepted connection.
pub(crate) struct Connection {
    pub(crate) peer: Peer,
    pub(crate) limits: Arc<Limits>,
    pub(crate) memory: Arc<RequestMemory>,
}

/// What one connection is in the middle of.
struct State {
    input: Input,
    outbox: Outbox,
    /// The peer sends no more, or we listen no more: leave once all answers are out.
    ending: Option<Ended>,
    /// Last time that bytes moved in either direction.
    moved: Instant,
    /// Whole frames may be waiting in `input`.
    unhandled: bool,
    /// The frame that is being received for a log, and its length.
    direct: Option<(Direct, usize)>,
    mark: LowWater,
    /// The frame that is coming comes slowly: all of it is read as it comes.
    slow: bool,
}

impl State {
    /// Makes room for what is wanted, and wakes for as much as is worth it of what is missing.
    fn expect(&mut self, wants: Wants, stream: &TcpStream) {
        if wants == Wants::Bytes {
            self.input.make_room();
        }
        let missing = match (wants, &self.direct) {
            (Wants::Direct, Some((direct, _))) => direct.remaining(),
            (Wants::Bytes, None) => self.input.missing(),
            _ => 0,
        };
        self.slow &= missing > 0;
        let missing = if self.slow { 0 } else { missing };
        self.mark.expect(stream, missing);
    }

    /// Before somebody is found to stand still: what has come without a wake counts, and the rest will wake.
    fn look_closer(&mut self, stream: &TcpStream) {
        if self.mark.lower(stream) {
            return;
        }
        self.slow = true;
        if rustix::io::ioctl_fionread(stream).is_ok_and(|unread| unread > 0) {
            self.moved = clock::now();
        }
    }
}

impl Connection {
    /// Runs until the connection ends and says why.
    pub(crate) async fn run(mut self, mut stream: TcpStream, stop: CancellationToken) -> Ended {
        let mut state = State {
            input: Input::new(self.limits.request_bytes_max),
            outbox: Outbox::default(),
            ending: None,
            moved: clock::now(),
            unhandled: false,
            direct: None,
            mark: LowWater::default(),
            slow: false,
        };
        let ended = self.drive(&mut stream, &mut state, stop).await;
        drop(stream);
        for unfinished in state.outbox.into_unfinished() {
            // The answer has no reader any more; the effects must still be complete.
            unfinished.answer.await.ok();
        }
        ended
    }

    async fn drive(
        &mut self,
        stream: &mut TcpStream,
        state: &mut State,
        stop: CancellationToken,
    ) -> Ended {
        let (mut reader, writer) = stream.split();
        let check = self.check_interval();
        let mut timer = pin!(tokio::time::sleep(check));
        let mut stopped = pin!(stop.cancelled());
        loop {
            let blocked = match self.turn(state, writer.as_ref()).await {
                Ok(blocked) => blocked,
                Err(ended) => return ended,
            };
            if state.outbox.is_empty()
                && let Some(ended) = state.ending.take()
            {
                return ended;
            }
            let wants = self.wants(state);
            state.expect(wants, writer.as_ref());
            tokio::select! {
                biased;
                progress = poll_fn(|cx| state.outbox.poll_progress(cx)), if state.outbox.waits() => {
                    if let Err(broken) = progress {
                        return broken.into();
                    }
                    state.moved = clock::now();
                }
                read = read(&mut reader, wants, &mut state.input, &mut state.direct), if wants.reads() => match read {
                    Ok(0) => {
                        state.ending.get_or_insert(Ended::ByPeer);
                    }
                    Ok(bytes) => {
                        state.moved = clock::now();
                        if wants == Wants::Bytes {
                            state.input.received(bytes, state.moved);
                            state.unhandled = true;
                        }
                    }
                    Err(error) => return error.into(),
                },
                grant = self.memory.take(wants.grant_bytes()), if wants.grant_bytes() > 0 => {
                    state.input.grant = Some(grant);
                    state.moved = clock::now();
                }
                ready = writer.writable(), if blocked => {
                    if let Err(error) = ready {
                        return error.into();
                    }
                }
                () = timer.as_mut() => {
                    if let Some(ended) = self.overdue(state, writer.as_ref()) {
                        return ended;
                    }
                    timer.as_mut().reset(tokio::time::Instant::now() + check);
                }
                () = stopped.as_mut(), if state.ending.is_none() => {
                    state.ending = Some(Ended::Shutdown);
                    state.outbox.drop_reading();
                }
            }
        }
    }

    /// Handles what is there and sends what may leave; says whether the socket takes no more.
    async fn turn(&mut self, state: &mut State, stream: &TcpStream) -> Result<bool, Ended> {
        loop {
            if state.direct.is_some() {
                end_direct(state);
            }
            if state.unhandled && state.direct.is_none() {
                self.handle_frames(state);
            }
            if state.outbox.is_empty() {
                return Ok(false);
            }
            let (sent, bytes) = state.outbox.send(stream)?;
            if bytes > 0 {
                state.moved = clock::now();
            }
            match sent {
                Sent::Turn => tokio::task::yield_now().await,
                Sent::All if state.unhandled && may_handle(state) => {}
                Sent::All | Sent::Warming => return Ok(false),
                Sent::Blocked => return Ok(true),
            }
        }
    }

    /// Hands whole frames to `api`, as long as that is allowed.
    fn handle_frames(&mut self, state: &mut State) {
        let now_ms = clock::wall_ms();
        let mut at = 0;
        while may_handle(state) {
            let frame = match state.input.next(at) {
                Ok(Some(frame)) => frame,
                Ok(None) => {
                    state.unhandled = false;
                    break;
                }
                Err(reason) => {
                    state.ending = Some(reason.into());
                    break;
                }
            };
            if let Frame::Lent(frame) = &frame {
                at += 4 + frame.len();
            }
            match self.peer.handle(frame, now_ms, state.outbox.tail()) {
                Reply::Now | Reply::None => {}
                Reply::Later(later) => state.outbox.push_later(later),
                Reply::Close(reason) => state.ending = Some(reason.into()),
            }
        }
        state.input.consume(at);
    }

    /// What to read next; begins to receive a large batch where that is possible.
    fn wants(&self, state: &mut State) -> Wants {
        let wants = wants(state);
        let may_begin = wants == Wants::Bytes && state.direct.is_none() && may_handle(state);
        if may_begin
            && state.input.grant.is_some()
            && let Ok(Some(bytes)) = state.input.frame_bytes(0)
            && let Some(received) = state.input.bytes.get(4..)
            && let Some(direct) = self.peer.begin_direct(bytes, received)
        {
            state.direct = Some((direct, bytes));
            state.input.take_front();
            return Wants::Direct;
        }
        wants
    }

    /// How often deadlines are looked at: precise to a quarter of the shortest one.
    fn check_interval(&self) -> Duration {
        let shortest = self.limits.idle.min(self.limits.receive);
        (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(10))
    }

    fn overdue(&self, state: &mut State, stream: &TcpStream) -> Option<Ended> {
        state.look_closer(stream);
        let now = clock::now();
        let still = now.saturating_duration_since(state.moved);
        if wants(state).grant_bytes() > 0 {
            // It is us who do not read on.
            state.input.begin_again(now);
        }
        if state.input.grant.is_some()
            && still > self.limits.receive / STALLED_PART
            && self.memory.is_short()
        {
            return Some(Ended::Stalled(still));
        }
        if let Some(begun) = state.input.begun()
            && !state.unhandled
        {
            let frame = match &state.direct {
                Some((_, bytes)) => *bytes,
                None => state.input.frame_bytes(0).ok().flatten().unwrap_or(0),
            };
            let extra = Duration::from_secs(frame as u64 / RECEIVE_BYTES_PER_SECOND);
            let age = now.saturating_duration_since(begun);
            if age > self.limits.receive + extra {
                return Some(Ended::HalfRead(age));
            }
        }
        // A request in work is not idleness: it has a deadline of its own.
        let waits = state.outbox.waits();
        if still > self.limits.idle && !waits {
            return Some(Ended::Idle(still));
        }
        if still > Duration::from_secs(10) {
            state.input.shrink();
        }
        None
    }
}

/// What a connection would read next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wants {
    /// Nothing.
    Nothing,
    /// More bytes.
    Bytes,
    /// More records of a large batch.
    Direct,
    /// Leave to receive a large frame of so many bytes.
    Grant(usize),
}

impl Wants {
    fn reads(self) -> bool {
        matches!(self, Self::Bytes | Self::Direct)
    }

    fn grant_bytes(self) -> usize {
        match self {
            Self::Grant(bytes) => bytes,
            Self::Nothing | Self::Bytes | Self::Direct => 0,
        }
    }
}

fn wants(state: &State) -> Wants {
    if state.ending.is_some() {
        return Wants::Nothing;
    }
    if let Some((direct, _)) = &state.direct {
        return if direct.remaining() > 0 {
            Wants::Direct
        } else {
            Wants::Bytes
        };
    }
    if state.unhandled {
        // Handling waits for something else: read on only to notice that the peer has gone.
        let ahead = state.input.bytes.len() < AHEAD_BYTES_MAX;
        return if ahead { Wants::Bytes } else { Wants::Nothing };
    }
    match state.input.frame_bytes(0) {
        Ok(Some(bytes)) if bytes > GRANT_FREE_BYTES && state.input.grant.is_none() => {
            Wants::Grant(bytes)
        }
        _ => Wants::Bytes,
    }
}

/// Reads more of what is wanted. `read_buf` takes what it reads off this task's budget, so that others on this
/// thread get their turn, and does not ask again after it has emptied the socket.
async fn read(
    reader: &mut ReadHalf<'_>,
    wants: Wants,
    input: &mut Input,
    direct: &mut Option<(Direct, usize)>,
) -> io::Result<usize> {
    match (wants, direct) {
        (Wants::Direct, Some((direct, _))) => {
            reader.read_buf(&mut direct.room(DIRECT_BYTES_MAX)).await
        }
        _ => reader.read_buf(&mut input.bytes).await,
    }
}

/// Ends the frame of a large batch, once all of it is here.
fn end_direct(state: &mut State) {
    let here = state.input.bytes.len();
    let done =
        |(direct, _): &mut (Direct, usize)| direct.remaining() == 0 && here >= direct.tail_bytes();
    let Some((direct, _)) = state.direct.take_if(done) else {
        return;
    };
    let tail_bytes = direct.tail_bytes();
    let tail = state.input.bytes.get(..tail_bytes).unwrap_or_default();
    match direct.finish(tail, clock::wall_ms(), state.outbox.tail()) {
        Reply::Now | Reply::None => {}
        Reply::Later(later) => state.outbox.push_later(later),
        Reply::Close(reason) => state.ending = Some(reason.into()),
    }
    state.input.end_front(tail_bytes);
    state.unhandled = true;
}

fn may_handle(state: &State) -> bool {
    state.ending.is_none()
        && !state.outbox.holds_requests()
        && state.outbox.queued() < QUEUED_MAX
        && state.outbox.unsent_bytes() < UNSENT_BYTES_MAX
}

#[cfg(test)]
mod tests;
