//! Requests and responses, one module an API, generated from the tables in `client/schema`.
//!
//! Field names are Kafka's. `decode` checks the whole message against its version and refuses
//! what follows it; a field that a version lacks reads as its default and is not written.

#![allow(
    unused_variables,
    clippy::needless_update,
    clippy::derivable_impls,
    clippy::struct_excessive_bools,
    reason = "generated code states every field the same way"
)]

/// Ties a generated message to its API; `decode` and `encode` come from `Message`.
macro_rules! message {
    ($name:ident, $key:ident, $low:literal, $high:literal, $flexible:literal) => {
        impl Message for $name {
            const KEY: ApiKey = ApiKey::$key;
            const MIN_VERSION: i16 = $low;
            const MAX_VERSION: i16 = $high;
            const FLEXIBLE_FROM: i16 = $flexible;
        }

        impl $name {
            /// Reads the rest of `reader` as this message in `version`.
            pub fn decode(reader: &mut Reader<'_>, version: i16) -> Result<Self, DecodeError> {
                <Self as Message>::decode_body(reader, version)
            }

            /// Appends this message in `version`; faults show in [`Writer::finish`].
            pub fn encode(&self, writer: &mut Writer, version: i16) {
                <Self as Message>::encode_body(self, writer, version);
            }
        }
    };
}

include!(concat!(env!("OUT_DIR"), "/messages.rs"));
