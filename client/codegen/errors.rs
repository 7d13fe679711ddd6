//! Writes `ErrorCode` from `client/schema/errors.txt`: a code a line, with name, kind, message.

use std::fmt::Write as _;

/// The enum, its list and its facts as Rust.
pub(crate) fn emit(text: &str) -> Result<String, String> {
    let mut variants = String::new();
    let mut list = String::new();
    let mut facts = String::new();
    let mut count = 0;
    for line in text.lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut words = line.splitn(4, ' ');
        let (Some(code), Some(name), Some(kind), Some(message)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(format!("errors.txt: not a code: {line:?}"));
        };
        let message = if message == "-" { "" } else { message };
        let variant = camel(name);
        let retriable = kind == "retriable";
        let doc = if message.is_empty() {
            "No error."
        } else {
            message
        };
        let default = if code == "0" { "    #[default]\n" } else { "" };
        let _ = writeln!(variants, "    /// {doc}\n{default}    {variant} = {code},");
        let _ = writeln!(list, "    Self::{variant},");
        let _ = writeln!(
            facts,
            "    Self::{variant} => ({name:?}, {retriable}, {message:?}),"
        );
        count += 1;
    }
    Ok(format!(
        "/// An error as Kafka sends it: sixteen bits.\n\
         #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]\n\
         #[repr(i16)]\n\
         pub enum ErrorCode {{\n{variants}}}\n\n\
         impl ErrorCode {{\n\
         /// Every error, by code.\n\
         pub const ALL: [Self; {count}] = [\n{list}];\n\
         const fn facts(self) -> (&'static str, bool, &'static str) {{\n\
         match self {{\n{facts}}}\n}}\n}}\n"
    ))
}

/// `SCREAMING_SNAKE` to `CamelCase`.
fn camel(name: &str) -> String {
    let mut out = String::new();
    for word in name.split('_') {
        let (first, rest) = word.split_at(word.len().min(1));
        out.push_str(first);
        out.push_str(&rest.to_ascii_lowercase());
    }
    out
}
