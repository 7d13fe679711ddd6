//! Ports for programs that cannot choose one themselves, or that keep theirs over a restart.
//!
//! They lie below those that the kernel gives to outgoing connections: there one that was free a moment ago, or whose
//! broker is down for a moment, can be taken by any client on this machine.

use std::net::TcpListener;
use std::sync::Mutex;

/// Above the ports that services are usually installed on.
const FIRST: u16 = 10_000;

/// The first port that the kernel gives to outgoing connections where nobody has changed that.
const EPHEMERAL: u16 = 32_768;

/// The next port to look at. Each is given once by this process.
static NEXT: Mutex<Option<u16>> = Mutex::new(None);

/// A port that was free a moment ago.
#[must_use]
pub fn free_port() -> u16 {
    free_ports(1)
}

/// The first of `count` consecutive ports that were free a moment ago.
///
/// # Panics
/// If there are none.
#[must_use]
pub fn free_ports(count: u16) -> u16 {
    let end = ephemeral();
    let mut next = NEXT.lock().expect("no panic while it is held");
    // Processes that run at the same time begin at different places.
    let mut first = next.unwrap_or_else(|| {
        let places = u32::from(end - FIRST) / 64;
        let place = (std::process::id() % places) * 64;
        FIRST + u16::try_from(place).expect("below the end")
    });
    for _ in FIRST..end {
        if first + count > end {
            first = FIRST;
        }
        let bound = (first..first + count).map(|port| TcpListener::bind(("127.0.0.1", port)));
        if bound.collect::<Result<Vec<_>, _>>().is_ok() {
            *next = Some(first + count);
            return first;
        }
        first += 1;
    }
    panic!("no {count} free ports between {FIRST} and {end}");
}

/// Where the kernel's own ports begin.
fn ephemeral() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let first = range.unwrap_or_default();
    let first = first.split_whitespace().next().map(str::parse);
    match first {
        Some(Ok(first)) if first > FIRST + 1_000 => first,
        _ => EPHEMERAL,
    }
}
