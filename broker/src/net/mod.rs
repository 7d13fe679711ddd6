//! Sockets: accept, cut frames, send answers in request order, and bound all of it.
//!
//! `listener` accepts, `connection` runs one connection in one task, `send` brings payloads out, `cold` keeps
//! the disk's waits off the threads, `gate` counts connections. Records are never looked at here: frames go
//! to `api`, payloads come back.

mod cold;
mod connection;
mod gate;
mod input;
mod limits;
mod listener;
mod send;

pub use limits::Limits;
pub use listener::{Listener, Shared};
