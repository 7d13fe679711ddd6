//! How values become bytes and back: the only code that touches lengths, counts, nulls and tags.
//!
//! [`Reader`] and [`Writer`] keep the first fault and go on with zeros, so that generated code is a
//! plain list of fields; the fault comes out at the end of the message. A reader believes no count
//! before it has compared it with the bytes that are left.

pub(crate) mod elements;
mod reader;
mod writer;

pub use elements::Elements;
pub use reader::{DecodeError, Reader, Tags};
pub use writer::{EncodeError, Writer};

use bytes::Bytes;
use nyala_coordinator::ids::TopicId;

use crate::wire::api::ApiKey;

/// What every generated module needs.
pub(crate) mod prelude {
    pub(crate) use super::{DecodeError, Message, Reader, Request, Wire, Writer};
    pub(crate) use crate::wire::api::ApiKey;
    pub(crate) use bytes::Bytes;
    pub(crate) use nyala_coordinator::ids::TopicId;
}

/// A value with a form on the wire that may depend on the version of the message around it.
pub trait Wire: Sized {
    /// Least number of bytes that any version of it takes.
    const MIN: usize;

    /// Reads one; after a fault the value is of no meaning and the reader says so.
    fn read(reader: &mut Reader<'_>, version: i16) -> Self;

    /// Appends it.
    fn write(&self, writer: &mut Writer, version: i16);
}

/// A request or response body.
pub trait Message: Wire {
    /// API that it belongs to.
    const KEY: ApiKey;
    /// Lowest version that can be read and written.
    const MIN_VERSION: i16;
    /// Highest version that can be read and written.
    const MAX_VERSION: i16;
    /// First version with compact lengths and tagged fields.
    const FLEXIBLE_FROM: i16;

    /// Reads the rest of `reader` as this message.
    fn decode_body(reader: &mut Reader<'_>, version: i16) -> Result<Self, DecodeError> {
        let message = Self::decode_front(reader, version)?;
        reader.end()?;
        Ok(message)
    }

    /// Reads this message off the front of `reader`. For requests: Kafka ignores what follows one,
    /// and librdkafka relies on it (its question for all topics, in Metadata 9 and later, ends in
    /// three bytes too many).
    fn decode_front(reader: &mut Reader<'_>, version: i16) -> Result<Self, DecodeError> {
        if !(Self::MIN_VERSION..=Self::MAX_VERSION).contains(&version) {
            return Err(DecodeError::Version {
                key: Self::KEY,
                version,
            });
        }
        reader.set_flexible(version >= Self::FLEXIBLE_FROM);
        let message = Self::read(reader, version);
        reader.check()?;
        Ok(message)
    }

    /// Appends this message; faults show in [`Writer::finish`].
    fn encode_body(&self, writer: &mut Writer, version: i16) {
        if !(Self::MIN_VERSION..=Self::MAX_VERSION).contains(&version) {
            writer.fail(EncodeError::Version {
                key: Self::KEY,
                version,
            });
            return;
        }
        writer.set_flexible(version >= Self::FLEXIBLE_FROM);
        self.write(writer, version);
    }
}

/// A request, which knows what answers it.
pub trait Request: Message {
    /// The answer to this request.
    type Response: Message;
}

macro_rules! wire_number {
    ($($kind:ident $bytes:literal),*) => {$(
        impl Wire for $kind {
            const MIN: usize = $bytes;

            fn read(reader: &mut Reader<'_>, _: i16) -> Self {
                reader.$kind()
            }

            fn write(&self, writer: &mut Writer, _: i16) {
                writer.$kind(*self);
            }
        }
    )*};
}
wire_number!(i8 1, i16 2, i32 4, i64 8);

impl Wire for String {
    const MIN: usize = 1;

    fn read(reader: &mut Reader<'_>, _: i16) -> Self {
        reader.string()
    }

    fn write(&self, writer: &mut Writer, _: i16) {
        writer.string(self);
    }
}

impl Wire for Bytes {
    const MIN: usize = 1;

    fn read(reader: &mut Reader<'_>, _: i16) -> Self {
        reader.bytes()
    }

    fn write(&self, writer: &mut Writer, _: i16) {
        writer.bytes(self);
    }
}

impl Wire for TopicId {
    const MIN: usize = 16;

    fn read(reader: &mut Reader<'_>, _: i16) -> Self {
        reader.topic_id()
    }

    fn write(&self, writer: &mut Writer, _: i16) {
        writer.topic_id(*self);
    }
}
