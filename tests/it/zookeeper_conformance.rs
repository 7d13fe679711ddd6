//! What a ZooKeeper does, field by field: one suite, run against the embedded server and against a
//! real ZooKeeper 3.8.4, so that neither the server nor the suite can be wrong alone.
//!
//! Each case has a node of its own to work under. All cases run, then all failures are told.

use std::panic::{AssertUnwindSafe, catch_unwind};

use harness::folder::in_memory;
use harness::zookeeper::{EmbeddedZooKeeper, RealZooKeeper};
use harness::zookeeper_wire::Client;

mod acls;
mod multis;
mod nodes;
mod sessions;
mod watches;

/// One server, and where in it a case works.
struct Place<'a> {
    address: &'a str,
    root: String,
}

impl Place<'_> {
    fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// A path of this case.
    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.root)
    }
}

type Case = (&'static str, fn(&Place<'_>));

macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        pub(super) const CASES: &[super::Case] = &[$((stringify!($name), $name)),*];
    };
}
use cases;

fn run_all(address: &str) {
    let suites = [
        nodes::CASES,
        watches::CASES,
        multis::CASES,
        acls::CASES,
        sessions::CASES,
    ];
    let mut failed = Vec::new();
    for (name, case) in suites.concat() {
        let place = Place {
            address,
            root: format!("/{name}"),
        };
        place
            .client()
            .create(&place.root, b"", 0)
            .expect("a fresh root");
        if catch_unwind(AssertUnwindSafe(|| case(&place))).is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "failed against {address}: {failed:?}");
}

#[test]
fn the_embedded_zookeeper_conforms() {
    let folder = in_memory();
    let zookeeper = EmbeddedZooKeeper::start(folder.path());
    run_all(&zookeeper.address);
}

#[test]
fn a_real_zookeeper_conforms() {
    let folder = in_memory();
    let zookeeper = RealZooKeeper::start(folder.path());
    run_all(&zookeeper.address);
}
