//! The least number of bytes that a struct can take on the wire, over all versions.
//!
//! A decoder divides what is left of the frame by it before it believes an element count.

use crate::codegen::table::{Field, Message, Struct};

/// Least size of `item`, at least 1.
pub(crate) fn least(message: &Message, item: &Struct) -> usize {
    let versions = message.versions.low..=message.versions.high;
    versions
        .map(|version| structure(message, item, version))
        .min()
        .unwrap_or(1)
        .max(1)
}

fn structure(message: &Message, item: &Struct, version: i16) -> usize {
    let present = |f: &&Field| (f.versions.low..=f.versions.high).contains(&version);
    let fields = item.fields.iter().filter(present);
    let tags = usize::from(version >= message.flexible);
    tags + fields.map(|f| field(message, f, version)).sum::<usize>()
}

fn field(message: &Message, field: &Field, version: i16) -> usize {
    let flexible = version >= message.flexible;
    if field.tag.is_some() {
        return 0;
    }
    match field.item.as_str() {
        _ if field.array => {
            if flexible {
                1
            } else {
                4
            }
        }
        "bool" | "int8" => 1,
        "int16" => 2,
        "int32" => 4,
        "int64" => 8,
        "uuid" | "topic_id" => 16,
        "string" => {
            if flexible {
                1
            } else {
                2
            }
        }
        "bytes" | "records" => {
            if flexible {
                1
            } else {
                4
            }
        }
        name => {
            let inner = message.structs.iter().find(|s| s.name == name);
            inner.map_or(0, |s| structure(message, s, version))
        }
    }
}
