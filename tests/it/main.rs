//! The one integration test binary: every behaviour that needs more than one file of code.

/// `nyala dev` as a process.
mod dev;
/// Rules of style and layering, checked on the sources.
mod tidy;
/// What a ZooKeeper does, against the embedded server and a real one.
mod zookeeper_conformance;
