//! Turns parsed tables into Rust: structs with a `Wire` implementation, and the API keys.

use std::fmt::Write as _;

use crate::codegen::size;
use crate::codegen::table::{Api, Field, Message, Struct, Versions};

/// One module an API, with its request, its response and the structs inside.
pub(crate) fn messages(apis: &[Api]) -> Result<String, String> {
    let mut out = String::new();
    for api in apis {
        let Api { key, name, .. } = api;
        let _ = writeln!(
            out,
            "/// {name}, API key {key}.\npub mod {} {{\nuse crate::wire::codec::prelude::*;",
            snake(name)
        );
        for (message, kind) in [(&api.request, "Request"), (&api.response, "Response")] {
            for item in &message.structs {
                structure(&mut out, message, item)?;
            }
            let Versions { low, high } = message.versions;
            let flexible = message.flexible;
            let _ = writeln!(
                out,
                "message!({name}{kind}, {name}, {low}, {high}, {flexible});"
            );
        }
        let _ = writeln!(
            out,
            "impl Request for {name}Request {{ type Response = {name}Response; }}\n}}\n"
        );
    }
    Ok(out)
}

/// The `ApiKey` enum and the facts of each key.
pub(crate) fn keys(apis: &[Api]) -> String {
    let mut variants = String::new();
    let mut list = String::new();
    let mut facts = String::new();
    for Api {
        key, name, request, ..
    } in apis
    {
        let Versions { low, high } = request.versions;
        let flexible = request.flexible;
        let _ = writeln!(
            variants,
            "    /// {name}, versions {low} to {high}.\n    {name} = {key},"
        );
        let _ = writeln!(list, "    Self::{name},");
        let _ = writeln!(
            facts,
            "    Self::{name} => Facts {{ name: {name:?}, low: {low}, high: {high}, flexible: {flexible} }},"
        );
    }
    format!(
        "/// Key of an API whose messages this crate can read and write.\n\
         #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]\n\
         #[repr(i16)]\n\
         pub enum ApiKey {{\n{variants}}}\n\n\
         impl ApiKey {{\n\
         /// Every key, ascending.\n\
         pub const ALL: [Self; {}] = [\n{list}];\n\
         const fn facts(self) -> Facts {{\nmatch self {{\n{facts}}}\n}}\n}}\n",
        apis.len()
    )
}

fn structure(out: &mut String, message: &Message, item: &Struct) -> Result<(), String> {
    let name = &item.name;
    let plain = item
        .fields
        .iter()
        .all(|f| default(f) == "Default::default()");
    let derived = if plain { ", Default" } else { "" };
    let _ = writeln!(
        out,
        "/// `{name}`.\n#[derive(Clone, Debug, PartialEq{derived})]\npub struct {name} {{"
    );
    for field in &item.fields {
        let Versions { low, high } = field.versions;
        let null = if field.null.is_some() {
            ", may be null"
        } else {
            ""
        };
        let _ = writeln!(
            out,
            "    /// Versions {low} to {high}{null}.\n    pub {}: {},",
            ident(field),
            rust_type(field)?
        );
    }
    out.push_str("}\n");
    if !plain {
        let _ = writeln!(
            out,
            "impl Default for {name} {{\nfn default() -> Self {{ Self {{"
        );
        for field in &item.fields {
            let _ = writeln!(out, "{}: {},", ident(field), default(field));
        }
        out.push_str("} }\n}\n");
    }
    let least = size::least(message, item);
    let _ = writeln!(out, "impl Wire for {name} {{\nconst MIN: usize = {least};");
    read(out, message, item);
    write(out, message, item);
    out.push_str("}\n");
    Ok(())
}

fn read(out: &mut String, message: &Message, item: &Struct) {
    let tagged: Vec<_> = item.fields.iter().filter(|f| f.tag.is_some()).collect();
    let bind = if tagged.is_empty() {
        "let m"
    } else {
        "let mut m"
    };
    let _ = writeln!(
        out,
        "fn read(r: &mut Reader<'_>, v: i16) -> Self {{\n{bind} = Self {{"
    );
    for field in &item.fields {
        let (name, or) = (ident(field), default(field));
        let value = read_one(message, field);
        let _ = match condition(field.versions, message.versions) {
            _ if field.tag.is_some() => writeln!(out, "{name}: {or},"),
            Some(when) => writeln!(out, "{name}: if {when} {{ {value} }} else {{ {or} }},"),
            None => writeln!(out, "{name}: {value},"),
        };
    }
    out.push_str("};\n");
    if tagged.is_empty() {
        out.push_str("r.skip_tags();\nm\n}\n");
        return;
    }
    out.push_str(
        "let mut tags = r.tags();\nwhile let Some(tag) = r.next_tag(&mut tags) {\nmatch tag {\n",
    );
    for field in tagged {
        let guard = match condition(field.versions, message.versions) {
            Some(when) => format!(" if {when}"),
            None => String::new(),
        };
        let _ = writeln!(
            out,
            "{}{guard} => m.{} = {},",
            field.tag.unwrap_or_default(),
            ident(field),
            read_one(message, field)
        );
    }
    out.push_str("_ => r.skip_tag(),\n}\nr.end_tag(&tags);\n}\nm\n}\n");
}

fn write(out: &mut String, message: &Message, item: &Struct) {
    out.push_str("fn write(&self, w: &mut Writer, v: i16) {\n");
    for field in item.fields.iter().filter(|f| f.tag.is_none()) {
        let value = write_one(message, field);
        let _ = match condition(field.versions, message.versions) {
            Some(when) => writeln!(out, "if {when} {{ {value}; }}"),
            None => writeln!(out, "{value};"),
        };
    }
    let mut tagged: Vec<_> = item.fields.iter().filter(|f| f.tag.is_some()).collect();
    tagged.sort_by_key(|f| f.tag);
    if tagged.is_empty() {
        out.push_str("w.no_tags();\n}\n");
        return;
    }
    out.push_str("let tags = [\n");
    for field in &tagged {
        let when = condition(field.versions, message.versions).unwrap_or_else(|| "true".to_owned());
        let _ = writeln!(
            out,
            "{when} && self.{} != {},",
            ident(field),
            default_typed(field)
        );
    }
    out.push_str("];\nw.tag_count(&tags);\n");
    for (at, field) in tagged.iter().enumerate() {
        let _ = writeln!(
            out,
            "if tags[{at}] {{ w.tagged({}, |w| {}); }}",
            field.tag.unwrap_or_default(),
            write_one(message, field)
        );
    }
    out.push_str("}\n");
}

fn read_one(message: &Message, field: &Field) -> String {
    let null = null_condition(message, field);
    match (method(field), null) {
        ("array", None) => "r.array(v)".to_owned(),
        ("array", Some(null)) => format!("r.array_or_null(v, {null})"),
        ("", _) => "Wire::read(r, v)".to_owned(),
        (method, None) => format!("r.{method}()"),
        (method, Some(null)) => format!("r.{method}_or_null({null})"),
    }
}

fn write_one(message: &Message, field: &Field) -> String {
    let name = ident(field);
    let by_reference = matches!(field.item.as_str(), "string" | "bytes" | "records");
    match (method(field), null_condition(message, field)) {
        ("array", None) => format!("w.array(&self.{name}, v)"),
        ("array", Some(null)) => format!("w.array_or_null(self.{name}.as_deref(), v, {null})"),
        ("", _) => format!("self.{name}.write(w, v)"),
        (method, Some(null)) => format!("w.{method}_or_null(self.{name}.as_deref(), {null})"),
        (method, None) if by_reference => format!("w.{method}(&self.{name})"),
        (method, None) => format!("w.{method}(self.{name})"),
    }
}

/// Name of the method of `Reader` and `Writer`; empty for a struct.
fn method(field: &Field) -> &'static str {
    match field.item.as_str() {
        _ if field.array => "array",
        "bool" => "bool",
        "int8" => "i8",
        "int16" => "i16",
        "int32" => "i32",
        "int64" => "i64",
        "uuid" => "uuid",
        "topic_id" => "topic_id",
        "string" => "string",
        "bytes" => "bytes",
        "records" => "records",
        _ => "",
    }
}

fn rust_type(field: &Field) -> Result<String, String> {
    let item = match field.item.as_str() {
        "bool" => "bool",
        "int8" => "i8",
        "int16" => "i16",
        "int32" => "i32",
        "int64" => "i64",
        "uuid" => "[u8; 16]",
        "topic_id" => "TopicId",
        "string" => "String",
        "bytes" | "records" => "Bytes",
        name if name.starts_with(|c: char| c.is_ascii_uppercase()) => name,
        name => return Err(format!("unknown type {name} of field {}", field.name)),
    };
    let item = if field.array {
        format!("Vec<{item}>")
    } else {
        item.to_owned()
    };
    let null = field.null.is_some();
    Ok(if null {
        format!("Option<{item}>")
    } else {
        item
    })
}

/// The default as an expression: null where null is legal, else zero or empty, unless told.
fn default(field: &Field) -> String {
    match field.default.as_deref() {
        None | Some("null") => "Default::default()".to_owned(),
        Some(value) => value.to_owned(),
    }
}

/// The default where the compiler cannot infer its type: in a comparison.
fn default_typed(field: &Field) -> String {
    let kind = rust_type(field).unwrap_or_default();
    default(field).replace("Default::default()", &format!("<{kind}>::default()"))
}

fn null_condition(message: &Message, field: &Field) -> Option<String> {
    let null = field.null?;
    Some(condition(null, field_versions(message, field)).unwrap_or_else(|| "true".to_owned()))
}

fn field_versions(message: &Message, field: &Field) -> Versions {
    Versions {
        low: field.versions.low.max(message.versions.low),
        high: field.versions.high.min(message.versions.high),
    }
}

/// The test of `v` that says `inner` among the versions of `outer`; `None` when it always holds.
fn condition(inner: Versions, outer: Versions) -> Option<String> {
    match (inner.low > outer.low, inner.high < outer.high) {
        (false, false) => None,
        (true, false) => Some(format!("v >= {}", inner.low)),
        (false, true) => Some(format!("v <= {}", inner.high)),
        (true, true) => Some(format!("({}..={}).contains(&v)", inner.low, inner.high)),
    }
}

fn ident(field: &Field) -> String {
    match field.name.as_str() {
        "type" => "r#type".to_owned(),
        name => name.to_owned(),
    }
}

fn snake(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}
