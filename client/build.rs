//! Generates the wire messages from the tables in `schema/`.

#[path = "codegen/mod.rs"]
mod codegen;

use std::path::Path;

fn main() -> Result<(), String> {
    println!("cargo::rerun-if-changed=schema");
    println!("cargo::rerun-if-changed=codegen");
    let out = std::env::var("OUT_DIR").map_err(|error| error.to_string())?;
    codegen::run(Path::new("schema"), Path::new(&out))
}
