//! What can be held, one after the other: `cargo run -p nyala-coordinator --example held -- HOST:PORT`.
//!
//! Several at once contend with each other; stop ZooKeeper or pause one of them to see it lose its hold.

use std::error::Error;
use std::io::Write as _;
use std::time::Duration;

use nyala_coordinator::recipes::{Election, Fence, Lock, MultiLock, RwLock, Semaphore};
use nyala_coordinator::session::{Session, SessionConfig};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let connect = std::env::args().nth(1).ok_or("usage: held HOST:PORT")?;
    let session = Session::connect(SessionConfig::new(connect)).await?;
    lock(&session).await?;
    read_write_lock(&session).await?;
    semaphore(&session).await?;
    multi_lock(&session).await?;
    election(&session).await?;
    session.close().await;
    Ok(())
}

/// Work that takes a while and says under which token it is done.
async fn work(what: &str, fence: Fence) -> std::io::Result<()> {
    tokio::time::sleep(Duration::from_millis(500)).await;
    writeln!(std::io::stdout(), "{what} done with token {fence}")
}

async fn lock(session: &Session) -> Result<(), Box<dyn Error>> {
    let lock = Lock::new(session, "/example/report")?.with_data("this example");
    let hold = lock.acquire().await?;
    tokio::select! {
        done = work("report", hold.fence()) => done?,
        why = hold.lost() => return Err(why.into()),
    }
    Ok(hold.release().await?)
}

async fn read_write_lock(session: &Session) -> Result<(), Box<dyn Error>> {
    let table = RwLock::new(session, "/example/table")?;
    let reading = table.read().await?;
    work("reading", reading.fence()).await?;
    reading.release().await?;
    let writing = table.write_within(Duration::from_secs(30)).await?;
    work("writing", writing.fence()).await?;
    Ok(writing.release().await?)
}

async fn semaphore(session: &Session) -> Result<(), Box<dyn Error>> {
    let slots = Semaphore::new(session, "/example/slots", 2)?;
    let slot = slots.acquire().await?;
    work("one of two slots", slot.fence()).await?;
    Ok(slot.release().await?)
}

async fn multi_lock(session: &Session) -> Result<(), Box<dyn Error>> {
    let both = MultiLock::new(session, ["/example/account-7", "/example/account-12"])?;
    let hold = both.acquire().await?;
    for (path, fence) in hold.fences() {
        work(path, fence).await?;
    }
    Ok(hold.release().await?)
}

async fn election(session: &Session) -> Result<(), Box<dyn Error>> {
    let election = Election::new(session, "/example/election")?;
    let candidate = election.stand("this example");
    let term = candidate.elected().await?;
    work("leading", term.fence()).await?;
    writeln!(std::io::stdout(), "{:?}", election.leader().await?)?;
    Ok(candidate.resign().await?)
}
