//! What is shared, met and handed over: `cargo run -p nyala-coordinator --example shared -- HOST:PORT`.
//!
//! Each recipe in a few lines, on nodes below `/example`; several at once take part in each other's.

use std::error::Error;
use std::io::Write as _;
use std::time::Duration;

use nyala_coordinator::recipes::balance::{RoundRobin, Slot, assign};
use nyala_coordinator::recipes::barrier::Barrier;
use nyala_coordinator::recipes::config::{Config, Expect};
use nyala_coordinator::recipes::double_barrier::DoubleBarrier;
use nyala_coordinator::recipes::fanout::{Fanout, FanoutOptions, Subscribe};
use nyala_coordinator::recipes::membership::{Members, MembersOptions, Pick, Registration};
use nyala_coordinator::recipes::naming::{Names, Sequence};
use nyala_coordinator::recipes::progress::{Progress, Report};
use nyala_coordinator::recipes::queue::{Priority, Queue, QueueOptions};
use nyala_coordinator::recipes::sync_queue::SyncQueue;
use nyala_coordinator::recipes::transaction::Transaction;
use nyala_coordinator::session::{Session, SessionConfig};

type Outcome = Result<(), Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let connect = std::env::args().nth(1).ok_or("usage: shared HOST:PORT")?;
    let session = Session::connect(SessionConfig::new(connect)).await?;
    queues(&session).await?;
    members_and_shares(&session).await?;
    settings_and_names(&session).await?;
    meeting(&session).await?;
    session.close().await;
    Ok(())
}

fn say(what: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{what}")
}

async fn queues(session: &Session) -> Outcome {
    let queue = Queue::open(session.clone(), "/example/jobs", QueueOptions::default()).await?;
    queue.put(b"resize 17.png", Priority::default()).await?;
    if let Some(item) = queue.take(Some(Duration::from_secs(5))).await? {
        let job = String::from_utf8_lossy(item.data());
        say(&format!("{job} under token {}", item.fence()))?;
        item.ack().await?;
    }
    let news = Fanout::open(session.clone(), "/example/news", FanoutOptions::default()).await?;
    let reader = Names::unique("reader-");
    let mut mailer = news.subscribe(&reader, Subscribe::default()).await?;
    news.put(b"hello").await?;
    for item in mailer.next(10, None).await? {
        say(&format!(
            "item {}: {}",
            item.number,
            String::from_utf8_lossy(&item.data)
        ))?;
        mailer.ack(item.number).await?;
    }
    mailer.close().await?;
    news.remove(&reader).await?;
    Ok(())
}

async fn members_and_shares(session: &Session) -> Outcome {
    let id = Names::unique("a-");
    let here = Registration::register(session, "/example/api", &id, b"10.0.0.7:80", None).await?;
    let mut members = Members::watch(session, "/example/api", MembersOptions::default()).await?;
    say(&format!("{:?}", members.next().await))?;
    let target = members.pick(Pick::Key(b"customer 17"));
    say(&format!("customer 17 goes to {:?}", target.map(|m| m.id)))?;

    let topic = nyala_coordinator::ids::TopicName::new("orders")?;
    let all = members.snapshot().members.into_keys();
    let wishes = all.map(|id| (id, [topic.clone()].into())).collect();
    let partitions = (0..4).map(nyala_coordinator::ids::PartitionIndex);
    let shares = assign(&wishes, &[(topic, partitions.clone().collect())].into());
    say(&format!("{} partitions are shared out", shares.len()))?;
    let broker = nyala_coordinator::ids::BrokerId(0);
    let slots: Vec<Slot> = partitions
        .map(|partition| Slot { broker, partition })
        .collect();
    let mut round = RoundRobin::new(0);
    say(&format!(
        "the first to send to is {:?}",
        round.choose(&slots, |_| false)
    ))?;
    here.leave().await;

    let progress = Progress::start(session, "/example/import", &id, None).await?;
    progress.report(&Report::of(1, 3)).await?;
    progress.finish().await;
    Ok(())
}

async fn settings_and_names(session: &Session) -> Outcome {
    let config = Config::new(session.clone(), "/example/config")?;
    config.set("limits/rate", &100_u32, Expect::Any).await?;
    let double = |old: Option<u32>| old.unwrap_or(100) * 2;
    say(&format!(
        "{:?}",
        config.update("limits/rate", double).await?
    ))?;
    let mut rate = config.watch::<u32>("limits/rate").await?;
    say(&format!("{:?}", rate.next().await))?;

    let (name, hold) = Names::new(session.clone(), "/example/workers")?
        .claim("worker-")
        .await?;
    say(&format!("{name} under token {}", hold.fence()))?;
    hold.release().await?;
    let ids = Sequence::new(session.clone(), "/example/order-ids", 100)?;
    say(&format!("order {}", ids.next().await?))?;

    let mut transaction = Transaction::new(session);
    transaction.check_exists("/example/order-ids");
    let entry = transaction.create_sequential("/example/ledger-", b"a to b: 10");
    let done = transaction.commit_once("/example/ledger-writers").await?;
    say(&format!("booked as {:?}", done.path(entry)))?;
    Ok(())
}

async fn meeting(session: &Session) -> Outcome {
    let gate = Barrier::new(session.clone(), "/example/gate")?;
    gate.close().await?;
    gate.open().await?;
    gate.wait(Some(Duration::from_secs(5))).await?;
    let name = Names::unique("party-");
    let phase = DoubleBarrier::new(session.clone(), "/example/phase", 1)?;
    let inside = phase.enter(&name, Some(Duration::from_secs(5))).await?;
    inside.leave(Some(Duration::from_secs(5))).await?;
    let path = format!("/example/round-{name}");
    let round = SyncQueue::new(session.clone(), &path, 1)?;
    let all = round
        .arrive(&name, b"10.0.0.7:4000", Some(Duration::from_secs(5)))
        .await?;
    say(&format!("{} arrived", all.len()))?;
    round.reset().await?;
    Ok(())
}
