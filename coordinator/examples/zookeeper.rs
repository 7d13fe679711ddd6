//! The embedded ZooKeeper alone: `cargo run -p nyala-coordinator --example zookeeper -- DIR [PORT]`.
//!
//! Prints its address, then serves until its standard input ends.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

use nyala_coordinator::embedded::{Server, ServerConfig};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().ok_or("usage: zookeeper DIR [PORT]")?;
    let port = args.next().unwrap_or_default().parse().unwrap_or(0);
    let mut config = ServerConfig::new(dir);
    config.address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let server = Server::start(config).await?;
    writeln!(std::io::stdout(), "{}", server.address())?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    server.shutdown().await;
    Ok(())
}
