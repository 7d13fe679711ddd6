//! Kafka's wire, as pure bytes: frames, messages, record batches, checksums and compression.
//!
//! Everything here is a function of its input: no socket, no clock, no tokio. Bytes from a peer
//! never panic, and never take more memory than a small multiple of their own length. The broker
//! and the clients of this workspace are the users.
//!
//! Way in: [`frame`] cuts a frame and reads its header, [`api`] names the API and its versions,
//! [`messages`] decodes the body by [`codec`]; [`produce`] and [`fetch`] walk the two bodies that
//! matter for speed in place; [`batch`] looks into the records.

pub mod api;
pub mod batch;
pub mod codec;
pub mod compression;
mod crc;
pub mod error_code;
pub mod fetch;
pub mod frame;
pub mod messages;
pub mod produce;
mod reply;

pub use api::ApiKey;
pub use codec::{DecodeError, EncodeError, Message, Reader, Request, Writer};
pub use crc::crc32c;
pub use error_code::ErrorCode;
pub use reply::{LeaderHint, NodeEndpoint};
