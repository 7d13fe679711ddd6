//! Submits tasks, works on them, and says how fast that went.
//!
//! ```text
//! cargo run -p nyala-client --example tasks -- [COUNT [WORKERS [HOST:PORT of ZooKeeper]]]
//! ```
//! All workers run in this process here; `nyala task work` runs each in its own.

use std::io::Write;
use std::time::Duration;

use nyala_client::TaskQueue;
use nyala_client::tasks::{QueueConfig, Task, WorkerConfig};
use nyala_coordinator::clock;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let mut number = |usual: usize| args.next().map_or(Ok(usual), |n| n.parse());
    let (count, workers) = (number(10_000)?, number(4)?);
    let zookeeper = args.next().unwrap_or_else(|| "127.0.0.1:2181".to_owned());
    let queue = TaskQueue::open(&zookeeper, "examples", QueueConfig::default()).await?;
    let mut out = std::io::stdout();

    let began = clock::now();
    let mut submissions = Vec::with_capacity(count);
    for n in 0..count {
        submissions.push(queue.submit(Task::new(n.to_string())).await?);
    }
    let mut last = None;
    for submission in submissions {
        last = Some(submission.wait().await?);
    }
    writeln!(out, "{count} tasks submitted in {:?}", began.elapsed())?;

    let began = clock::now();
    let mut running = Vec::new();
    for n in 0..workers {
        let config = WorkerConfig {
            prefetch: 200,
            name: format!("example-{n}"),
        };
        let mut worker = queue.worker(config).await?;
        running.push(tokio::spawn(async move {
            let mut done = 0;
            // Whoever has had nothing for a while sees that the queue is empty.
            while let Ok(job) = tokio::time::timeout(Duration::from_secs(2), worker.next()).await {
                let job = job?;
                let number: u64 = String::from_utf8_lossy(job.payload()).parse()?;
                // The next one begins while this result is on its way into the log.
                tokio::spawn(job.ack((number * number).to_string()));
                done += 1;
            }
            worker.close().await?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>((done, clock::now()))
        }));
    }
    let mut finished = began;
    for worker in running {
        let (done, at) = worker.await?.map_err(|e| e.to_string())?;
        writeln!(out, "a worker did {done}")?;
        finished = finished.max(at);
    }
    let took = (finished - began).saturating_sub(Duration::from_secs(2));
    writeln!(out, "{count} tasks done in {took:?}")?;

    if let Some(id) = last {
        let (status, result) = queue.result(&id).await?;
        let result = String::from_utf8_lossy(&result.unwrap_or_default()).into_owned();
        writeln!(out, "{id}: {} {result}", status.state.as_str())?;
    }
    queue.close().await?;
    Ok(())
}
