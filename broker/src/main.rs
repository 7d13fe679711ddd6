//! The `nyala` binary.
fn main() {}
