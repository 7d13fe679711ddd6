//! One connection to one server: requests out, answers and events in.
//!
//! ```text
//! callers   --[sending]--> socket          a request is written by who makes it, in the order of xids
//! readers   <-[received]-- socket          whoever finds the socket readable (`reading.rs`); wakes who asked
//! readers   --[unsent]---> socket          what the socket did not take at once
//! ```
//!
//! The socket does not block, and belongs to no runtime: any thread may move its bytes.
//! Answers come in the order of requests (ZooKeeper's promise), so the oldest request that waits is
//! the one that is answered; but for an identity, which is told before anything is asked.
//!
//! *Invariant*: requests wait in the order in which they are sent: who adds one holds `sending`.
//! *Invariant*: answers are taken in the order in which they come: who takes one holds `received`.
//! *Invariant*: when the end is told, everybody who waits learns it; nobody is added after that.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::net::TcpStream;
use std::ops::ControlFlow;

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown, recv, shutdown};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::super::error::ZkError;
use super::answers::{Answer, Event};
use super::requests::{Request, set_xid};
use super::watchers::{Asked, Watchers};
use crate::protocol::jute::Malformed;
use crate::protocol::{error, xids};

/// Longest answer taken, in bytes: some million names of children.
const ANSWER_BYTES_MAX: usize = 128 << 20;

/// Most that waits for a server that takes nothing, in bytes.
const UNSENT_BYTES_MAX: usize = 64 << 20;

/// A buffer that has grown beyond this is not kept, in bytes.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// Longest request that a server takes (`jute.maxbuffer`), in bytes.
const REQUEST_BYTES_MAX: usize = 0xf_ffff;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Ended {
    /// The session may live.
    Lost(&'static str),
    /// The server says that the session is gone.
    Expired,
}

/// An answer, as far as it has come: what the server says of the request as a whole, and the rest.
#[derive(Debug)]
pub(super) struct Reply {
    /// 0: it was done.
    pub(super) error: i32,
    pub(super) body: Bytes,
}

/// The watches that a request sets.
#[derive(Debug)]
enum Sets {
    Nothing,
    /// If the answer says so.
    AtAnswer(Asked),
    Now([Asked; 2]),
}

/// A request that has been sent.
#[derive(Debug)]
struct Waiting {
    xid: i32,
    wakes: oneshot::Sender<Reply>,
    watch: Option<Asked>,
}

#[derive(Debug, Default)]
struct Sending {
    last_xid: i32,
    /// What the socket has not taken.
    unsent: VecDeque<u8>,
}

#[derive(Debug, Default)]
struct Pending {
    requests: VecDeque<Waiting>,
    watchers: Watchers,
    ended: Option<Ended>,
}

/// The connection. Shared by callers and readers.
#[derive(Debug)]
pub(super) struct Wire {
    socket: TcpStream,
    sending: Mutex<Sending>,
    /// What has come, up to the first byte of an answer that has not come whole.
    received: Mutex<Vec<u8>>,
    pending: Mutex<Pending>,
    /// Something is unsent.
    more: Notify,
    over: CancellationToken,
}

impl Wire {
    /// Takes a connection over, after its first packets. `socket` does not block.
    pub(super) fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            sending: Mutex::default(),
            received: Mutex::default(),
            pending: Mutex::default(),
            more: Notify::new(),
            over: CancellationToken::new(),
        }
    }

    /// The same socket once more, for a runtime to wait for.
    pub(super) fn socket(&self) -> io::Result<TcpStream> {
        self.socket.try_clone()
    }

    /// Sends a request; its watch is kept as soon as the server says that it has it. The receiver fails when the connection
    /// ends before the answer.
    pub(super) fn ask(
        &self,
        request: &Request<'_>,
        watch: Option<Asked>,
    ) -> Result<oneshot::Receiver<Reply>, ZkError> {
        let (wakes, reply) = oneshot::channel();
        let frame = framed(request)?;
        let sets = watch.map_or(Sets::Nothing, Sets::AtAnswer);
        self.send(&mut self.sending.lock(), request, frame, wakes, sets)?;
        Ok(reply)
    }

    /// Sends a request whose answer says nothing of the watches that it sets: they are kept at once.
    pub(super) fn watch_for(
        &self,
        request: &Request<'_>,
        watches: [Asked; 2],
    ) -> Result<(), ZkError> {
        let (wakes, _) = oneshot::channel();
        let frame = framed(request)?;
        let sets = Sets::Now(watches);
        self.send(&mut self.sending.lock(), request, frame, wakes, sets)
    }

    /// Takes back what the server watches for nobody.
    pub(super) fn sweep(&self) {
        // Held throughout: a watch that is asked for again comes after.
        let mut sending = self.sending.lock();
        let unwanted = {
            let mut pending = self.pending.lock();
            let Pending {
                requests, watchers, ..
            } = &mut *pending;
            watchers.sweep(requests.iter().filter_map(|waiting| waiting.watch.as_ref()))
        };
        for (path, selector) in unwanted {
            let path = path.as_str();
            let request = Request::RemoveWatches { path, selector };
            // Nobody waits for the answer: it may have fired by now.
            let (wakes, _) = oneshot::channel();
            if let Ok(frame) = framed(&request) {
                let _ = self.send(&mut sending, &request, frame, wakes, Sets::Nothing);
            }
        }
    }

    /// Resolves when the connection has ended.
    pub(super) async fn ended(&self) -> Ended {
        self.over.cancelled().await;
        let ended = self.pending.lock().ended;
        ended.unwrap_or(Ended::Lost("it has ended"))
    }

    /// Ends the connection, the first time that it is called.
    pub(super) fn end(&self, why: Ended) {
        let left = {
            let mut pending = self.pending.lock();
            if pending.ended.is_some() {
                return;
            }
            pending.ended = Some(why);
            let Pending {
                requests, watchers, ..
            } = &mut *pending;
            (std::mem::take(requests), std::mem::take(watchers))
        };
        // The peer may have closed it already.
        let _ = shutdown(&self.socket, Shutdown::Both);
        self.over.cancel();
        drop(left);
    }

    fn send(
        &self,
        sending: &mut Sending,
        request: &Request<'_>,
        mut frame: Vec<u8>,
        wakes: oneshot::Sender<Reply>,
        sets: Sets,
    ) -> Result<(), ZkError> {
        if sending.unsent.len() > UNSENT_BYTES_MAX {
            self.end(Ended::Lost("the server takes no more"));
        }
        {
            let mut pending = self.pending.lock();
            if pending.ended.is_some() {
                return Err(ZkError::Unknown);
            }
            let watch = match sets {
                Sets::Nothing => None,
                Sets::AtAnswer(watch) => Some(watch),
                Sets::Now(watches) => {
                    for watch in watches {
                        pending.watchers.add(watch);
                    }
                    None
                }
            };
            let xid = request.reserved_xid().unwrap_or_else(|| {
                // After the last one the first comes again; 0 is that of no request.
                sending.last_xid = sending.last_xid.checked_add(1).unwrap_or(1);
                set_xid(&mut frame, sending.last_xid);
                sending.last_xid
            });
            pending.requests.push_back(Waiting { xid, wakes, watch });
        }
        let taken = match sending.unsent.is_empty() {
            // An error is met again by who reads.
            true => (&self.socket).write(&frame).unwrap_or(0),
            false => 0,
        };
        let rest = frame.get(taken..).unwrap_or_default();
        if !rest.is_empty() {
            sending.unsent.extend(rest);
            self.more.notify_waiters();
        }
        Ok(())
    }

    /// What resolves when there is something to [write](Self::write_unsent), from the moment that it is enabled.
    pub(super) fn more(&self) -> Notified<'_> {
        self.more.notified()
    }

    /// Writes what was left, all of it or until the socket takes no more (`WouldBlock`). What is wrong with the
    /// socket who reads finds out, too, after what is there to read.
    pub(super) fn write_unsent(&self) -> io::Result<()> {
        let mut sending = self.sending.lock();
        while !sending.unsent.is_empty() {
            let (next, _) = sending.unsent.as_slices();
            let taken = (&self.socket).write(next)?;
            drop(sending.unsent.drain(..taken));
        }
        sending.unsent.shrink_to(KEPT_BYTES_MAX);
        Ok(())
    }

    /// Reads what is there, once, and hands out what has come whole; `WouldBlock` if nothing is there. Breaks off
    /// when the connection has ended.
    pub(super) fn read_some(&self) -> io::Result<ControlFlow<()>> {
        const READ_BYTES: usize = 16 << 10;
        let mut received = self.received.lock();
        if received.is_empty() && received.capacity() > KEPT_BYTES_MAX {
            *received = Vec::new();
        }
        received.reserve(READ_BYTES);
        let into = spare_capacity(&mut received);
        let read = recv(&self.socket, into, RecvFlags::DONTWAIT);
        let why = match read.map(|(bytes, _)| bytes) {
            Ok(0) => Ended::Lost("closed by the server"),
            Ok(_) => match self.take_all(&mut received) {
                Ok(None) => return Ok(ControlFlow::Continue(())),
                Ok(Some(ended)) => ended,
                Err(Malformed) => Ended::Lost("the server sent what is no answer"),
            },
            Err(Errno::AGAIN) => return Err(Errno::AGAIN.into()),
            Err(Errno::INTR) => return Ok(ControlFlow::Continue(())),
            Err(_) => Ended::Lost("reset"),
        };
        self.end(why);
        Ok(ControlFlow::Break(()))
    }

    /// Whether something has come that nobody has read, or could go that nobody has written.
    pub(super) fn is_idle(&self) -> bool {
        let mut events = PollFlags::IN;
        if !self.sending.lock().unsent.is_empty() {
            events |= PollFlags::OUT;
        }
        let mut socket = [PollFd::new(&self.socket, events)];
        let at_once = Timespec::default();
        poll(&mut socket, Some(&at_once)).is_ok_and(|ready| ready > 0)
    }

    /// Takes what has come whole.
    fn take_all(&self, received: &mut Vec<u8>) -> Result<Option<Ended>, Malformed> {
        let mut rest = received.as_slice();
        while let Some(frame) = next_frame(&mut rest)? {
            if let Some(ended) = self.take(frame)? {
                return Ok(Some(ended));
            }
        }
        let taken = received.len() - rest.len();
        drop(received.drain(..taken));
        Ok(None)
    }

    /// Hands one answer or event to who waits for it. Says how the connection ends if it was the last.
    fn take(&self, frame: &[u8]) -> Result<Option<Ended>, Malformed> {
        const IDENTITY_REFUSED: [i32; 2] =
            [error::AUTH_FAILED, error::SESSION_CLOSED_REQUIRE_SASL_AUTH];
        let Answer {
            xid,
            error: code,
            body,
        } = Answer::decode(frame)?;
        match xid {
            xids::NOTIFICATION => {
                if let Some(event) = Event::decode(&body)? {
                    let fired = self.pending.lock().watchers.fire(&event);
                    for wakes in fired {
                        // Who has given it up does not hear of it.
                        let _ = wakes.send(event.kind);
                    }
                }
            }
            xid => {
                let mut pending = self.pending.lock();
                let waiting = pending.requests.pop_front().ok_or(Malformed)?;
                if waiting.xid != xid {
                    return Err(Malformed);
                }
                if let Some(watch) = waiting.watch.filter(|watch| is_set(watch, code)) {
                    pending.watchers.add(watch);
                }
                drop(pending);
                answer(waiting.wakes, code, body);
            }
        }
        Ok(match ZkError::of(code) {
            None => None,
            Some(ZkError::SessionExpired) => Some(Ended::Expired),
            Some(_) if IDENTITY_REFUSED.contains(&code) => Some(Ended::Lost("identity refused")),
            // The server has lost its own, or the session is with another one.
            Some(ZkError::Unknown) => Some(Ended::Lost("not served any more")),
            // Who waits for them would never hear of it.
            Some(_) if xid == xids::SET_WATCHES => Some(Ended::Lost("watches refused")),
            Some(_) => None,
        })
    }
}

/// The request's frame, if a server would take it: it would close the connection otherwise.
fn framed(request: &Request<'_>) -> Result<Vec<u8>, ZkError> {
    const LENGTH: usize = 4;
    let frame = request.frame();
    let bytes = frame.len().saturating_sub(LENGTH);
    let max = REQUEST_BYTES_MAX;
    match bytes > max {
        true => Err(ZkError::TooLarge { bytes, max }),
        false => Ok(frame),
    }
}

/// Cuts the next whole frame off, without its length.
fn next_frame<'a>(received: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Malformed> {
    let Some((length, rest)) = received.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| Malformed)?;
    if length > ANSWER_BYTES_MAX {
        return Err(Malformed);
    }
    Ok(rest.split_at_checked(length).map(|(frame, rest)| {
        *received = rest;
        frame
    }))
}

fn answer(waits: oneshot::Sender<Reply>, error: i32, body: Bytes) {
    // Who has given up does not hear of it.
    let _ = waits.send(Reply { error, body });
}

/// Whether the server watches, having answered so.
fn is_set(watch: &Asked, code: i32) -> bool {
    match watch {
        Asked::Node { if_missing, .. } => code == 0 || *if_missing && code == error::NO_NODE,
        Asked::Children { .. } | Asked::Tree { .. } => code == 0,
    }
}

#[cfg(test)]
mod tests;
