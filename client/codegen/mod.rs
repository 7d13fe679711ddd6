//! Writes the wire messages, the API keys and the error codes as Rust, at build time.
//!
//! Input are the tables in `client/schema`, output are three files that `src/wire` includes. Only
//! calls into `wire::codec` are written: all the care about lengths and nulls lives there, once,
//! which also keeps the generated code small and quick to compile.

mod emit;
mod errors;
mod size;
mod table;

use std::fs;
use std::path::Path;

/// Reads every table of `schema` and writes `messages.rs`, `api.rs` and `errors.rs` into `out`.
pub(crate) fn run(schema: &Path, out: &Path) -> Result<(), String> {
    let mut apis = Vec::new();
    let entries = fs::read_dir(schema).map_err(|error| format!("{}: {error}", schema.display()))?;
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        let text = read(&path)?;
        if path.file_name().is_some_and(|name| name == "errors.txt") {
            write(&out.join("errors.rs"), &errors::emit(&text)?)?;
        } else {
            let api = table::parse(&text).map_err(|e| format!("{}: {e}", path.display()))?;
            apis.push(api);
        }
    }
    apis.sort_by_key(|api| api.key);
    write(&out.join("messages.rs"), &emit::messages(&apis)?)?;
    write(&out.join("api.rs"), &emit::keys(&apis))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
