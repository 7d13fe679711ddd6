//! The task queue through real processes: submitters, workers that are killed, paused and stopped, brokers
//! and ZooKeepers that go away. What a task's command did is written to a file, a line a run.
//!
//! `NYALA_TASKS=100000` sets the size of the acceptance run, which is small otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::cluster::{Dev, nyala, nyala_binary};
use harness::folder::in_memory;
use harness::kafka::KafkaBroker;
use harness::ports::free_port;
use harness::process::{Ended, Process, run_reading};
use harness::wait;
use harness::zookeeper::{EmbeddedZooKeeper, RealZooKeeper};
use nyala_client::Producer;
use nyala_client::producer::Record;
use nyala_client::tasks::{
    QueueConfig, Task, TaskError, TaskQueue, TaskState, Worker, WorkerConfig,
};
use nyala_coordinator::clock;
use nyala_coordinator::embedded::ServerConfig;
use nyala_coordinator::ids::{PartitionIndex, TopicName};
use nyala_coordinator::session::{Acl, CreateMode, Session, SessionConfig};
use rustix::process::Signal;
use serde_json::Value;

/// Short, so that a dead worker is soon missed.
const SHORT: [&str; 2] = ["--session-timeout", "2"];
/// Long: no worker is to be missed because the machine is busy.
const LONG: [&str; 2] = ["--session-timeout", "15"];

/// How often a worker is killed in the acceptance run.
const KILL_EVERY: Duration = Duration::from_secs(3);

/// A queue named `q` somewhere.
struct Queue {
    zookeeper: String,
    folder: PathBuf,
}

impl Queue {
    fn of(dev: &Dev) -> Self {
        Self {
            zookeeper: dev.zookeeper().to_owned(),
            folder: dev.folder().to_owned(),
        }
    }

    fn task(&self, words: &[&str]) -> Ended {
        let at = ["--zookeeper", &self.zookeeper];
        nyala(&self.folder, &[&["task"], words, &at].concat())
    }

    /// Submits lines; gives their ids.
    fn submit(&self, lines: &str, flags: &[&str]) -> Vec<String> {
        let mut command = Command::new(nyala_binary());
        command.args(["task", "submit", "q", "--zookeeper", &self.zookeeper]);
        command.args(flags);
        let name = format!("submit-{}", clock::wall_ms());
        let ended = run_reading(&name, &self.folder, &mut command, lines);
        let out = ended.expect_success("submit");
        out.lines().map(str::to_owned).collect()
    }

    fn worker_with(&self, name: &str, flags: &[&str], script: &str) -> Process {
        let mut command = Command::new(nyala_binary());
        command.current_dir(&self.folder);
        command.args(["task", "work", "q", "--zookeeper", &self.zookeeper]);
        command.args(flags).args(["--", "sh", "-c", script]);
        Process::start(name, &self.folder, &mut command)
    }

    fn worker(&self, name: &str, script: &str) -> Process {
        self.worker_with(name, &LONG, script)
    }

    fn list(&self) -> BTreeMap<String, Value> {
        let out = self
            .task(&["list", "q", "--json"])
            .expect_success("task list");
        let mut tasks = BTreeMap::new();
        for line in out.lines() {
            let task: Value = serde_json::from_str(line).expect("an object a line");
            let id = task["id"].as_str().expect("an id").to_owned();
            assert!(tasks.insert(id, task).is_none(), "listed twice: {line}");
        }
        tasks
    }

    fn states(&self) -> BTreeMap<String, usize> {
        let mut states = BTreeMap::new();
        for task in self.list().values() {
            let state = task["state"].as_str().expect("a state");
            *states.entry(state.to_owned()).or_default() += 1;
        }
        states
    }

    fn wait_for_states(&self, expected: &[(&str, usize)]) {
        let expected: BTreeMap<String, usize> = expected
            .iter()
            .map(|(s, n)| ((*s).to_owned(), *n))
            .collect();
        wait::until(&format!("{expected:?}"), || {
            let states = self.states();
            (states == expected).then_some(()).ok_or(states)
        });
    }

    fn status(&self, id: &str) -> Value {
        let out = self.task(&["status", "q", id, "--json"]);
        serde_json::from_str(&out.expect_success("status")).expect("JSON")
    }

    fn wait_for(&self, id: &str, state: &str) -> Value {
        wait::until(&format!("{id} {state}"), || {
            let status = self.status(id);
            (status["state"] == state)
                .then_some(status.clone())
                .ok_or(status)
        })
    }

    fn result(&self, id: &str) -> String {
        self.task(&["result", "q", id, "--wait", "60"])
            .expect_success("result")
    }

    /// Lines of a file that commands write to.
    fn lines(&self, file: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.join(file)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

fn shell(folder: &Path, script: &str) -> Ended {
    let mut command = Command::new("sh");
    command.current_dir(folder).args(["-c", script]);
    command.env("NYALA", nyala_binary());
    Process::start("shell", folder, &mut command).wait(wait::SOON)
}

#[test]
fn lines_go_in_and_results_come_out_byte_for_byte() {
    let dev = Dev::start();
    let queue = Queue::of(&dev);
    let ids = queue.submit("one\ntwo\n\nlast", &[]);
    assert_eq!(ids.len(), 4);
    let mut worker = queue.worker("worker", "printf '<'; cat; printf '>\\n\\377'");
    for (id, line) in ids.iter().zip(["one", "two", "", "last"]) {
        let script = format!(
            "$NYALA task result q {id} --wait 60 --zookeeper {} > out && \
             printf '<%s>\\n\\377' '{line}' | cmp - out",
            queue.zookeeper
        );
        shell(dev.folder(), &script).expect_success(&script);
        let status = queue.task(&["status", "q", id]).expect_success("status");
        assert_eq!(status, "done\n");
    }
    // Large ones go by reference, both ways.
    let large = "x".repeat(200_000);
    let ids = queue.submit(&format!("{large}\n"), &[]);
    let (id, zookeeper) = (&ids[0], &queue.zookeeper);
    let script = format!("$NYALA task result q {id} --wait 60 --zookeeper {zookeeper} | wc -c");
    let bytes = shell(dev.folder(), &script).expect_success(&script);
    assert_eq!(bytes.trim(), (200_000 + 4).to_string());
    let ended = worker.terminate();
    assert!(ended.status.success(), "{ended:?}");
    let table = queue.task(&["list", "q"]).expect_success("list");
    assert_eq!(table.lines().filter(|l| l.contains("done")).count(), 5);
    let none = queue
        .task(&["list", "q", "--state", "dead", "--json"])
        .expect_success("list");
    assert_eq!(none, "");
}

#[test]
fn failures_are_retried_then_dead_and_can_be_redriven() {
    let dev = Dev::start();
    let queue = Queue::of(&dev);
    let flags = ["--retries", "2", "--backoff", "0.1"];
    let ids = queue.submit("flaky\nbroken\nwrong\n", &flags);
    // Runs are counted by task; `flaky` works the third time.
    let script = "read t; echo $t $NYALA_TASK_ATTEMPT $NYALA_TASK_QUEUE >> runs
        case $t in
          flaky) [ $NYALA_TASK_ATTEMPT = 3 ];;
          broken) [ -e mended ] || { echo first >&2; echo no tools >&2; exit 7; };;
          wrong) [ -e mended ] || exit 65;;
        esac";
    let _worker = queue.worker("worker", script);
    let flaky = queue.wait_for(&ids[0], "done");
    assert_eq!(flaky["attempts"], 3);
    let broken = queue.wait_for(&ids[1], "dead");
    assert_eq!(broken["attempts"], 3);
    assert_eq!(broken["error"], "exit status: 7: no tools");
    let wrong = queue.wait_for(&ids[2], "dead");
    assert_eq!(wrong["attempts"], 1, "65 is final");
    let runs = queue.lines("runs");
    let count = |line: &str| runs.iter().filter(|r| r.starts_with(line)).count();
    assert_eq!((count("flaky"), count("broken"), count("wrong")), (3, 3, 1));
    assert!(runs.iter().all(|run| run.ends_with(" q")), "{runs:?}");

    // The dead letters are records that any consumer reads.
    let at = ["--zookeeper", &queue.zookeeper];
    let consume = [
        "consume",
        "q.dead",
        "--from-beginning",
        "--max-messages",
        "2",
    ];
    let letters = nyala(dev.folder(), &[&consume[..], &at].concat()).expect_success("consume");
    let letters: BTreeSet<&str> = letters.lines().collect();
    assert_eq!(letters, BTreeSet::from(["broken", "wrong"]));
    let no = queue.task(&["result", "q", &ids[1]]);
    assert!(!no.status.success() && no.stderr.contains("dead"), "{no:?}");

    std::fs::write(dev.folder().join("mended"), "").expect("writable");
    let again = queue
        .task(&["redrive", "q", &ids[1]])
        .expect_success("redrive");
    assert_eq!(again.trim(), ids[1]);
    queue.wait_for(&ids[1], "done");
    let rest = queue.task(&["redrive", "q"]).expect_success("redrive");
    assert_eq!(
        rest.trim(),
        ids[2],
        "what is not dead any more is not redriven"
    );
    queue.wait_for(&ids[2], "done");
    assert_eq!(queue.task(&["redrive", "q"]).expect_success("redrive"), "");
    let unknown = queue.task(&["redrive", "q", &ids[0], "nobody"]);
    assert!(!unknown.status.success(), "{unknown:?}");
    let words = format!("queue q: task {} is not dead, it is done", ids[0]);
    assert!(unknown.stderr.contains(&words), "{}", unknown.stderr);
    assert!(
        unknown.stderr.contains("queue q has no task nobody"),
        "{}",
        unknown.stderr
    );
    let dead = queue.task(&["list", "q", "--state", "dead"]);
    assert!(dead.stderr.contains("3 done"), "{}", dead.stderr);
    queue.wait_for_states(&[("done", 3)]);
}

#[test]
fn priorities_go_first_and_later_ones_wait_for_their_time() {
    let dev = Dev::start();
    let queue = Queue::of(&dev);
    let begun = clock::wall_ms();
    let later = queue.submit("later\n", &["--delay", "3", "--priority", "9"]);
    queue.submit("low 1\nlow 2\n", &["--priority", "1"]);
    queue.submit("high\n", &["--priority", "9"]);
    queue.submit("usual\n", &[]);
    assert!(queue.status(&later[0])["due_ms"].is_i64());
    let script = "read t; echo $t >> runs; date +%s%3N";
    let _worker = queue.worker_with("worker", &["--prefetch", "1"], script);
    let ran_ms: i64 = queue.result(&later[0]).trim().parse().expect("a time");
    assert!(ran_ms >= begun + 3000, "{ran_ms} {begun}");
    let runs = queue.lines("runs");
    assert_eq!(runs, ["high", "usual", "low 1", "low 2", "later"]);
}

#[test]
fn a_task_of_the_same_id_is_a_duplicate() {
    let dev = Dev::start();
    let queue = Queue::of(&dev);
    let key = ["--key-separator", "="];
    assert_eq!(queue.submit("a=1\nb=2\na=3\n", &key), ["a", "b", "a"]);
    let _worker = queue.worker("worker", "cat | tee -a runs; echo >> runs");
    assert_eq!(queue.result("a"), "1");
    assert_eq!(queue.result("b"), "2");
    queue.submit("a=4\nc=5\n", &key);
    assert_eq!(queue.result("c"), "5");
    queue.wait_for_states(&[("done", 3)]);
    assert_eq!(queue.lines("runs"), ["1", "2", "5"]);
    assert_eq!(queue.result("a"), "1");
    let mut command = Command::new(nyala_binary());
    command.args(["task", "submit", "q", "--zookeeper", &queue.zookeeper]);
    command.args(key);
    let refused = run_reading(
        "refused",
        dev.folder(),
        &mut command,
        "x=1\nno id\na=6\nx=7\n",
    );
    assert!(!refused.status.success(), "{refused:?}");
    assert_eq!(refused.stdout, "x\na\nx\n");
    assert!(refused.stderr.contains("line 2"), "{}", refused.stderr);
    for words in ["line 3: task a was there", "line 4: task x was there"] {
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    }
    assert!(!refused.stderr.contains("line 1"), "{}", refused.stderr);
}

#[test]
fn only_free_workers_get_tasks() {
    let dev = Dev::start();
    let queue = Queue::of(&dev);
    queue.submit(&"t\n".repeat(10), &[]);
    let stuck = "echo >> runs; while [ ! -e go ]; do sleep 0.05; done";
    let _first = queue.worker_with("first", &["--prefetch", "3", "--jobs", "2"], stuck);
    queue.wait_for_states(&[("queued", 7), ("running", 3)]);
    let _second = queue.worker_with("second", &["--prefetch", "2"], stuck);
    queue.wait_for_states(&[("queued", 5), ("running", 5)]);
    // Who says nothing of it takes what it can run.
    let _third = queue.worker_with("third", &[], stuck);
    queue.wait_for_states(&[("queued", 4), ("running", 6)]);
    wait::until("four that run", || {
        let runs = queue.lines("runs").len();
        (runs == 4).then_some(()).ok_or(runs)
    });
    let mut shares: BTreeMap<String, usize> = BTreeMap::new();
    for task in queue.list().values().filter(|t| t["state"] == "running") {
        let worker = task["worker"].as_str().expect("a worker").to_owned();
        *shares.entry(worker).or_default() += 1;
    }
    let mut shares: Vec<usize> = shares.into_values().collect();
    shares.sort_unstable();
    assert_eq!(shares, [1, 2, 3]);
    std::fs::write(dev.folder().join("go"), "").expect("writable");
    queue.wait_for_states(&[("done", 10)]);
    assert_eq!(queue.lines("runs").len(), 10, "each ran once");
}

#[test]
fn a_killed_workers_tasks_run_elsewhere() {
    let dev = Dev::start();
    let queue = Queue::of(&dev);
    let ids = queue.submit("a\nb\nc\n", &[]);
    let holds = [&SHORT[..], &["--prefetch", "3"]].concat();
    let mut first = queue.worker_with("first", &holds, "sleep 1000");
    queue.wait_for_states(&[("running", 3)]);
    first.kill();
    let _second = queue.worker("second", "cat");
    for (id, line) in ids.iter().zip(["a", "b", "c"]) {
        assert_eq!(queue.result(id), line);
        assert_eq!(queue.status(id)["attempts"], 2);
    }
}

#[test]
fn a_paused_worker_that_wakes_changes_nothing() {
    let dev = Dev::start();
    let queue = Queue::of(&dev);
    let ids = queue.submit("t\n", &[]);
    // It is the scheduler too: what it decides when it wakes is void.
    let first = queue.worker_with(
        "first",
        &SHORT,
        "echo first >> runs; while [ ! -e go ]; do sleep 0.05; done; echo first",
    );
    queue.wait_for(&ids[0], "running");
    first.pause();
    let _second = queue.worker("second", "echo second >> runs; echo second");
    assert_eq!(queue.result(&ids[0]), "second\n");
    std::fs::write(dev.folder().join("go"), "").expect("writable");
    first.signal(Signal::CONT);
    // Both work on after that; the woken one under a new name.
    let more = queue.submit(&"t\n".repeat(50), &[]);
    for id in &more {
        queue.result(id);
    }
    assert_eq!(queue.result(&ids[0]), "second\n");
    assert_eq!(queue.status(&ids[0])["attempts"], 2);
    queue.wait_for_states(&[("done", 51)]);
}

#[test]
fn a_lease_ends_unless_there_is_progress() {
    let dev = Dev::start();
    let queue = Queue::of(&dev);
    let lease = ["--lease", "1.5", "--backoff", "0.1"];
    let ids = queue.submit("hangs\nmoves\n", &lease);
    let script = "read t; echo $t >> runs
        case $t$NYALA_TASK_ATTEMPT in
          hangs1) sleep 1000;;
          moves1) for i in 1 2 3 4 5 6 7 8; do echo progress $i of 8 >&2; sleep 0.5; done;;
        esac; echo $t";
    let _worker = queue.worker_with("worker", &["--jobs", "2"], script);
    let seen = wait::until("progress", || {
        let status = queue.status(&ids[1]);
        status["progress"].as_str().map(str::to_owned).ok_or(status)
    });
    assert!(seen.ends_with("of 8"), "{seen}");
    assert_eq!(queue.result(&ids[1]), "moves\n");
    assert_eq!(queue.status(&ids[1])["attempts"], 1);
    assert_eq!(queue.result(&ids[0]), "hangs\n");
    let hangs = queue.status(&ids[0]);
    assert_eq!(hangs["attempts"], 2);
    assert_eq!(hangs["error"], "no progress within its lease");
}

#[test]
fn a_worker_that_is_asked_to_end_finishes_and_hands_the_rest_back() {
    let dev = Dev::start();
    let queue = Queue::of(&dev);
    queue.submit("a\nb\nc\n", &[]);
    let holds = [&LONG[..], &["--prefetch", "3"]].concat();
    let stuck = "while [ ! -e go ]; do sleep 0.05; done; cat";
    let mut first = queue.worker_with("first", &holds, stuck);
    queue.wait_for_states(&[("running", 3)]);
    first.signal(Signal::TERM);
    queue.wait_for_states(&[("queued", 2), ("running", 1)]);
    std::fs::write(dev.folder().join("go"), "").expect("writable");
    let ended = first.wait(wait::SOON);
    assert!(ended.status.success(), "{ended:?}");
    assert!(
        ended.stderr.contains("1 done, 0 failed"),
        "{}",
        ended.stderr
    );
    // Nobody waits for a session to end: the second one schedules at once.
    let mut second = queue.worker_with("second", &["--max", "2"], "cat");
    assert!(second.wait(wait::SOON).status.success());
    queue.wait_for_states(&[("done", 3)]);
    let third = queue.worker_with("third", &["--idle", "0.2"], "cat");
    let ended = { third }.wait(wait::SOON);
    assert!(ended.stderr.contains("0 done"), "{}", ended.stderr);
}

#[test]
fn a_worker_ends_when_it_is_asked_to_although_the_cluster_is_away() {
    let mut dev = Dev::start();
    let queue = Queue::of(&dev);
    queue.submit("a\nb\n", &[]);
    let holds = [&LONG[..], &["--prefetch", "2"]].concat();
    let stuck = "while [ ! -e go ]; do sleep 0.05; done; cat";
    let mut worker = queue.worker_with("worker", &holds, stuck);
    queue.wait_for_states(&[("running", 2)]);
    dev.kill();
    worker.signal(Signal::TERM);
    // One ends in its hands, the other was not begun: it can say neither.
    std::fs::write(dev.folder().join("go"), "").expect("writable");
    let ended = worker.wait(wait::SOON);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let words = "what it holds may run again elsewhere";
    assert!(ended.stderr.contains(words), "{}", ended.stderr);
    dev.restart();
    let mut next = queue.worker_with("next", &["--max", "2"], "cat");
    assert!(next.wait(wait::SOON).status.success());
    queue.wait_for_states(&[("done", 2)]);
}

#[test]
fn errors_say_what_happened() {
    let dev = Dev::start();
    let queue = Queue::of(&dev);
    let none = queue.task(&["list", "q"]);
    assert!(!none.status.success(), "{none:?}");
    assert!(none.stderr.contains("no queue q"), "{}", none.stderr);
    assert!(none.stderr.contains("nyala task submit"), "{}", none.stderr);
    let ids = queue.submit("t\n", &[]);
    let early = queue.task(&["result", "q", &ids[0]]);
    assert!(!early.status.success(), "{early:?}");
    assert_eq!(early.status.code(), Some(1));
    assert!(early.stderr.contains("queued"), "{}", early.stderr);
    let wait = ["q", ids[0].as_str(), "--wait", "0.1"];
    let over = queue.task(&[&["status"], &wait[..]].concat());
    assert_eq!(over.status.code(), Some(124), "{over:?}");
    assert_eq!(over.stdout, "queued\n");
    let over = queue.task(&[&["result"], &wait[..]].concat());
    assert_eq!(over.status.code(), Some(124), "{over:?}");
    let unknown = queue.task(&["status", "q", "nobody"]);
    assert!(
        unknown.stderr.contains("no task nobody"),
        "{}",
        unknown.stderr
    );
    let bad = queue.task(&["status", "a/b", "t"]);
    assert!(bad.stderr.contains("a/b"), "{}", bad.stderr);
    let nobody = format!("127.0.0.1:{}", free_port());
    let away = nyala(dev.folder(), &["task", "list", "q", "--zookeeper", &nobody]);
    assert!(away.stderr.contains("nyala dev"), "{}", away.stderr);
    // A worker whose command cannot be run is at fault, not the task.
    let mut command = Command::new(nyala_binary());
    command.args(["task", "work", "q", "--zookeeper", &queue.zookeeper]);
    command.args(["--", "/no/such/command"]);
    let ended = Process::start("broken", dev.folder(), &mut command).wait(wait::SOON);
    assert!(!ended.status.success(), "{ended:?}");
    assert!(
        ended.stderr.contains("/no/such/command"),
        "{}",
        ended.stderr
    );
    queue.wait_for_states(&[("queued", 1)]);
}

#[test]
fn what_other_programs_write_is_a_task_or_nothing() {
    let dev = Dev::start();
    let queue = Queue::of(&dev);
    let ids = queue.submit("t\n", &[]);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let topic = |name: &str| TopicName::new(name).expect("legal");
    runtime.block_on(async {
        let producer = Producer::builder().zookeeper(&queue.zookeeper);
        let producer = producer.build().await.expect("a cluster");
        let far = "f=1 p=5/9000000000000000000 n=4294967295 w=x lease=1";
        let garbage = [
            ("done", far),
            ("assigned", far),
            ("dead", "f=9 p=11/0 n=1"),
            ("checkpoint", "f=1 from=-5 seq=0 of=4294967295 pos=1,2"),
            ("elected", "f=x"),
            ("elected", "f=9223372036854775807"),
            // Above what any ZooKeeper gives: the owner has to outgrow it.
            ("elected", "f=4611686018427387000"),
            ("\u{0}", "\u{0}"),
        ];
        for (name, fields) in garbage {
            let record = Record::new(topic("q.events"), &b"\xff"[..]).with_key("t");
            let record = record
                .with_header(name, fields)
                .with_partition(PartitionIndex(0));
            producer
                .send(record)
                .await
                .expect("room")
                .await
                .expect("taken");
        }
        let foreign = Record::new(topic("q.tasks"), "foreign").with_partition(PartitionIndex(7));
        producer
            .send(foreign)
            .await
            .expect("room")
            .await
            .expect("taken");
        producer.close().await.expect("closed");
    });
    let mut first = queue.worker_with("first", &["--max", "2"], "cat");
    assert!(first.wait(wait::SOON).status.success());
    assert_eq!(queue.result(&ids[0]), "t");
    assert_eq!(queue.result("7/0"), "foreign");
    let at = ["--zookeeper", queue.zookeeper.as_str()];
    let listed = nyala(
        dev.folder(),
        &[&["group", "describe", "tasks.q"][..], &at].concat(),
    );
    listed.expect_success("group describe");
    // An operator sets the group's offset to where no checkpoint is.
    let path = "/consumers/tasks.q/offsets/q.events";
    runtime.block_on(async {
        let session = Session::connect(SessionConfig::new(queue.zookeeper.as_str())).await;
        let session = session.expect("a session");
        session.ensure_path(path).await.expect("made");
        let path = format!("{path}/0");
        let mode = CreateMode::Persistent;
        let made = session.create(&path, b"999999", mode, Acl::Default).await;
        made.expect("made");
        session.close().await;
    });
    let ids = queue.submit("u\n", &[]);
    let _second = queue.worker("second", "cat");
    assert_eq!(queue.result(&ids[0]), "u");
}

/// Appends a record to `Q.events` or another topic of the queue, as some other program might.
fn append(queue: &Queue, record: Record) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let producer = Producer::builder().zookeeper(&queue.zookeeper);
        let producer = producer.build().await.expect("a cluster");
        let sent = producer.send(record).await.expect("room");
        sent.await.expect("taken");
        producer.close().await.expect("closed");
    });
}

#[test]
fn a_scheduler_that_reads_of_a_later_one_goes_on_above_it() {
    let dev = Dev::start();
    let queue = Queue::of(&dev);
    let _worker = queue.worker("worker", "cat");
    let ids = queue.submit("before\n", &[]);
    assert_eq!(queue.result(&ids[0]), "before");
    let events = TopicName::new("q.events").expect("legal");
    let elected = Record::new(events, "").with_header("elected", "f=1000000000000");
    append(&queue, elected.with_partition(PartitionIndex(0)));
    let ids = queue.submit("after\n", &[]);
    assert_eq!(queue.result(&ids[0]), "after");
    let _second = queue.worker("second", "cat");
    let ids = queue.submit("again\n", &[]);
    assert_eq!(queue.result(&ids[0]), "again");
}

#[test]
fn a_task_that_fills_a_record_is_given_up_and_others_go_on() {
    let dev = Dev::start();
    let queue = Queue::of(&dev);
    let line = "x".repeat(1_048_300);
    let mut command = Command::new(nyala_binary());
    command.args(["task", "submit", "q", "--zookeeper", &queue.zookeeper]);
    let refused = run_reading("large", &queue.folder, &mut command, &format!("{line}\n"));
    assert!(!refused.status.success(), "its letter could not hold it");
    let tasks = TopicName::new("q.tasks").expect("legal");
    let foreign = Record::new(tasks, line.clone()).with_header("task", "retries=0");
    append(&queue, foreign.with_partition(PartitionIndex(5)));
    let script = r#"read -r l; case "$l" in good) echo fine;; *) yes why | head -c 4000 >&2; exit 65;; esac"#;
    let _worker = queue.worker("worker", script);
    queue.wait_for("5/0", "dead");
    let ids = queue.submit("good\n", &[]);
    assert_eq!(queue.result(&ids[0]).trim(), "fine");
}

#[test]
fn a_topic_of_tasks_that_is_deleted_begins_again() {
    let dev = Dev::start();
    let queue = Queue::of(&dev);
    let _worker = queue.worker("worker", "cat");
    let ids = queue.submit("1\n2\n3\n", &[]);
    for (id, text) in ids.iter().zip(["1", "2", "3"]) {
        assert_eq!(queue.result(id), text);
    }
    let at = ["--zookeeper", queue.zookeeper.as_str()];
    let deleted = nyala(
        dev.folder(),
        &[&["topic", "delete", "q.tasks"][..], &at].concat(),
    );
    deleted.expect_success("topic delete");
    let ids = queue.submit("4\n5\n", &[]);
    for (id, text) in ids.iter().zip(["4", "5"]) {
        assert_eq!(queue.result(id), text);
    }
    queue.wait_for_states(&[("done", 2)]);
}

#[test]
fn broker_and_zookeeper_may_be_killed_meanwhile() {
    let mut dev = Dev::start();
    let queue = Queue::of(&dev);
    let ids = queue.submit(&(0..300).map(|n| format!("{n}\n")).collect::<String>(), &[]);
    let _workers: Vec<Process> = (0..2)
        .map(|n| queue.worker(&format!("worker{n}"), "sleep 0.01; cat"))
        .collect();
    for _ in 0..2 {
        let done = queue.states().get("done").copied().unwrap_or(0);
        wait::until("some more are done", || {
            let states = queue.states();
            let now = states.get("done").copied().unwrap_or(0);
            (now > done + 20).then_some(()).ok_or(states)
        });
        dev.kill();
        dev.restart();
    }
    queue.wait_for_states(&[("done", 300)]);
    for (n, id) in ids.iter().enumerate().step_by(50) {
        assert_eq!(queue.result(id), n.to_string());
    }
}

#[test]
fn checkpoints_bound_what_a_scheduler_reads_and_old_history_is_trimmed() {
    let dev = Dev::start();
    let queue = Queue::of(&dev);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let config = || QueueConfig {
        checkpoint_events: 100,
        history: Duration::ZERO,
        ..QueueConfig::default()
    };
    let begin = |topic: &str| -> i64 {
        let consume = ["consume", topic, "--from-beginning", "--max-messages", "1"];
        let flags = [
            "--print-offset",
            "--print-partition",
            "--zookeeper",
            &queue.zookeeper,
        ];
        let line = nyala(dev.folder(), &[&consume[..], &flags].concat()).expect_success("consume");
        let offset = line.split('\t').nth(1).expect("an offset");
        offset.parse().expect("a number")
    };
    // Open all the time, from before everything else: it must outlive all trimming.
    let later = queue.submit("later\n", &["--delay", "1000000"]);
    for round in 0..2 {
        runtime.block_on(async {
            let tasks = TaskQueue::open(&queue.zookeeper, "q", config()).await;
            let tasks = tasks.expect("a queue");
            let mut worker = tasks
                .worker(WorkerConfig::default())
                .await
                .expect("a worker");
            for n in 0..600 {
                let task = Task::new(format!("{round} {n}"));
                let submitted = tasks.submit(task).await.expect("room");
                let job = worker.next().await.expect("a job");
                let payload = job.payload().clone();
                assert_eq!(payload, format!("{round} {n}"));
                let id = job.id().clone();
                job.ack(payload).await.expect("acknowledged");
                assert_eq!(submitted.wait().await.expect("safe"), id);
            }
            worker.close().await.expect("left");
            tasks.close().await.expect("closed");
        });
    }
    assert!(begin("q.events") > 1000, "events are trimmed");
    let listed = queue.list();
    assert!(listed.len() < 800, "{} are listed", listed.len());
    assert_eq!(listed[&later[0]]["state"], "queued");
    let others = listed.iter().filter(|(id, _)| **id != later[0]);
    assert!(others.into_iter().all(|(_, task)| task["state"] == "done"));
    // The next scheduler knows what is open from a checkpoint alone, and finds one even if nothing
    // points at it any more.
    let delete = [
        "group",
        "delete",
        "tasks.q",
        "--zookeeper",
        &queue.zookeeper,
    ];
    nyala(dev.folder(), &delete).expect_success("group delete");
    // Or if what should point at it is no number.
    for (name, overwritten) in [("first", false), ("second", true)] {
        if overwritten {
            let pointer = "/consumers/tasks.q/offsets/q.events/0";
            runtime.block_on(async {
                let operator = crate::session::connect(&queue.zookeeper).await;
                operator.ensure_path(pointer).await.expect("connected");
                let set = operator.set(pointer, b"seven", None).await;
                set.expect("it is there");
            });
        }
        let ids = queue.submit("t\n", &[]);
        let mut worker = queue.worker(name, "cat");
        assert_eq!(queue.result(&ids[0]), "t");
        assert_eq!(queue.status(&later[0])["state"], "queued");
        worker.terminate();
    }
}

#[test]
fn jobs_in_rust_are_acknowledged_one_by_one() {
    let dev = Dev::start();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let queue = TaskQueue::open(dev.zookeeper(), "rust", QueueConfig::default()).await;
        let queue = queue.expect("a queue");
        let mut worker = queue
            .worker(WorkerConfig::default())
            .await
            .expect("a worker");
        let task = Task::new("t").with_backoff(Duration::from_millis(10));
        let submission = queue.submit(task).await.expect("room");
        let id = submission.wait().await.expect("safe");
        let job = worker.next().await.expect("a job");
        assert_eq!((job.id(), job.attempt()), (&id, 1));
        // A job that is dropped is handed back, and that is no failure.
        drop(job);
        let job = worker.next().await.expect("a job");
        assert_eq!(job.attempt(), 2);
        job.progress("half").await.expect("said");
        // Before the retry: the next attempt may begin at once, without progress.
        let running = queue.status(&id).await.expect("known");
        assert_eq!(running.progress.as_deref(), Some(&b"half"[..]));
        job.retry("not yet").await.expect("said");
        let job = worker.next().await.expect("a job");
        assert_eq!(job.attempt(), 3);
        job.ack("result").await.expect("said");
        let (status, result) = queue.result(&id).await.expect("known");
        assert_eq!(status.state, TaskState::Done);
        assert_eq!(result.as_deref(), Some(&b"result"[..]));
        // A wait that is given up loses nothing, not even while a large payload is read.
        let payload = vec![b'x'; 100_000];
        let large = queue.submit(Task::new(payload)).await.expect("room");
        let mut soon = Duration::from_micros(100);
        let job = loop {
            if let Ok(job) = tokio::time::timeout(soon, worker.next()).await {
                break job.expect("a job");
            }
            soon = soon.mul_f32(1.5);
        };
        assert_eq!((job.id(), job.attempt()), (large.id(), 1));
        assert_eq!(job.payload().len(), 100_000);
        job.ack("").await.expect("said");
        // A result that fits no request is refused, and the task with it.
        let large = queue.submit(Task::new("large")).await.expect("room");
        let large = large.wait().await.expect("safe");
        let job = worker.next().await.expect("a job");
        job.ack(vec![0; 2 << 20]).await.expect_err("too large");
        let status = queue.wait(&large, wait::SOON).await.expect("known");
        assert_eq!(status.state, TaskState::Dead);
        worker.close().await.expect("left");
        queue.close().await.expect("closed");
    });
}

/// A broker as a process, on a ZooKeeper of the test's own.
fn start_broker(folder: &Path, zookeeper: &str) -> Process {
    let bootstrap = format!("127.0.0.1:{}", free_port());
    let text = format!(
        "broker.id=0\nlisteners=PLAINTEXT://{bootstrap}\nlog.dirs={}\nzookeeper.connect={zookeeper}\n\
         zookeeper.session.timeout.ms=6000\n",
        folder.join("logs").display(),
    );
    std::fs::write(folder.join("server.properties"), text).expect("writable");
    let mut command = Command::new(nyala_binary());
    command
        .current_dir(folder)
        .args(["broker", "--config", "server.properties"]);
    let mut process = Process::start("broker", folder, &mut command);
    process.wait_for_line("ready line", |line| line.starts_with("ready").then_some(()));
    process
}

#[test]
fn a_worker_that_closes_without_its_brokers_leaves_no_task_behind() {
    let folder = in_memory();
    let zookeeper = RealZooKeeper::start(folder.path());
    let mut broker = start_broker(folder.path(), &zookeeper.address);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let queue = TaskQueue::open(&zookeeper.address, "q", QueueConfig::default()).await;
        let queue = queue.expect("a queue");
        let start = || queue.worker(WorkerConfig::default());
        let mut worker = start().await.expect("a worker");
        let mut ids = Vec::new();
        for payload in ["a", "b"] {
            let task = queue.submit(Task::new(payload)).await.expect("room");
            ids.push(task.wait().await.expect("safe"));
        }
        let job = worker.next().await.expect("a job");
        broker.kill();
        let closing = tokio::spawn(worker.close());
        let unheard = job.ack("").await;
        assert!(matches!(unheard, Err(TaskError::Unheard)), "{unheard:?}");
        let unheard = closing.await.expect("no panic");
        assert!(matches!(unheard, Err(TaskError::Unheard)), "{unheard:?}");
        // The session goes on, and with it whatever was not taken off the list.
        let _broker = start_broker(folder.path(), &zookeeper.address);
        let mut next = start().await.expect("a worker");
        let working = async {
            loop {
                let job = next.next().await.expect("a job");
                job.ack("").await.expect("said");
            }
        };
        // What nobody has heard may be heard late: then only the other one runs again.
        let done = async {
            for id in &ids {
                let status = queue.wait(id, wait::SOON).await.expect("known");
                assert_eq!(status.state, TaskState::Done, "{id}");
            }
        };
        tokio::select! {
            () = done => {}
            () = working => {}
        }
        next.close().await.expect("left");
        queue.close().await.expect("closed");
    });
}

/// A worker dies, another one does its work.
fn survives_a_worker(queue: &Queue) {
    let ids = queue.submit("a\nb\n", &[]);
    let holds = [&SHORT[..], &["--prefetch", "2"]].concat();
    let mut first = queue.worker_with("first", &holds, "sleep 1000");
    queue.wait_for_states(&[("running", 2)]);
    first.kill();
    let _second = queue.worker("second", "cat");
    assert_eq!(queue.result(&ids[0]), "a");
    assert_eq!(queue.result(&ids[1]), "b");
}

#[test]
fn the_queue_works_on_a_real_zookeeper() {
    let folder = in_memory();
    let zookeeper = RealZooKeeper::start(folder.path());
    let queue = Queue {
        zookeeper: format!("{}/chroot", zookeeper.address),
        folder: folder.path().to_owned(),
    };
    let _broker = start_broker(folder.path(), &queue.zookeeper);
    survives_a_worker(&queue);
}

#[test]
fn the_queue_works_on_a_real_kafka() {
    let folder = in_memory();
    let zookeeper = RealZooKeeper::start(folder.path());
    let queue = Queue {
        zookeeper: zookeeper.address.clone(),
        folder: folder.path().to_owned(),
    };
    let _kafka = KafkaBroker::start(folder.path(), 0, &zookeeper.address, &[]);
    survives_a_worker(&queue);
}

#[test]
fn a_session_that_ends_and_a_zookeeper_that_is_away_lose_nothing() {
    let folder = in_memory();
    let mut zookeeper = EmbeddedZooKeeper::start(folder.path());
    let queue = Queue {
        zookeeper: zookeeper.address.clone(),
        folder: folder.path().to_owned(),
    };
    let _broker = start_broker(folder.path(), &queue.zookeeper);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let open = async {
        let opened = TaskQueue::open(&queue.zookeeper, "q", QueueConfig::default()).await;
        let tasks = opened.expect("a queue");
        let worker = tasks.worker(WorkerConfig::default()).await;
        (tasks, worker.expect("a worker"))
    };
    let (tasks, mut worker) = runtime.block_on(open);
    let ids = queue.submit("a\nb\nc\n", &[]);
    let soon = |worker: &mut Worker| {
        let next = async { tokio::time::timeout(wait::SOON, worker.next()).await };
        runtime.block_on(next).expect("soon").expect("a job")
    };
    // Scheduler and worker lose their session with one job begun and two that wait.
    let held = soon(&mut worker);
    let session = tasks.cluster().session().expect("by ZooKeeper");
    let ended = session.session_id().expect("connected");
    assert!(zookeeper.server().expire_session(ended));
    let mut again = BTreeMap::new();
    while again.len() < 3 {
        let job = soon(&mut worker);
        again.insert(job.id().to_string(), job);
    }
    assert_eq!(
        again.keys().collect::<BTreeSet<_>>(),
        ids.iter().collect::<BTreeSet<_>>()
    );
    // The first result counts, be it the one of the session that ended.
    let first = held.id().to_string();
    runtime.block_on(held.ack("first")).expect("said");
    // Results are taken while ZooKeeper is away.
    let address = zookeeper.address.parse().expect("an address");
    drop(zookeeper);
    for (id, job) in again {
        let result = format!("second {id}");
        runtime.block_on(job.ack(result)).expect("said");
    }
    zookeeper = EmbeddedZooKeeper::start_with(ServerConfig {
        address,
        ..EmbeddedZooKeeper::config(folder.path())
    });
    for id in &ids {
        let expected = match *id == first {
            true => "first".to_owned(),
            false => format!("second {id}"),
        };
        assert_eq!(queue.result(id), expected);
    }
    // And all goes on.
    let more = queue.submit("d\n", &[]);
    let job = loop {
        let job = soon(&mut worker);
        if job.id().as_str() == more[0] {
            break job;
        }
        // Begun just before the end of the session was seen, and given once more since: at least once.
        runtime.block_on(job.ack("too late")).expect("said");
    };
    // What a dropped worker had waits for another.
    {
        let _inside = runtime.enter();
        drop(worker);
    }
    queue.wait_for_states(&[("done", 3), ("queued", 1)]);
    {
        let _inside = runtime.enter();
        drop(job);
    }
    runtime.block_on(tasks.close()).expect("closed");
    drop(zookeeper);
}

/// The acceptance run: `count` tasks over eight workers, of which one is killed every three seconds.
#[test]
fn every_task_has_exactly_one_result_while_workers_are_killed() {
    let count: usize = std::env::var("NYALA_TASKS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(3000);
    let dev = Dev::start();
    let queue = Queue::of(&dev);
    let lines: String = (0..count).map(|n| format!("{n}\n")).collect();
    let ids = queue.submit(&lines, &[]);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), count);
    let flags = [&SHORT[..], &["--prefetch", "10"]].concat();
    let script = "read n; echo result of $n";
    let start = |n: usize| queue.worker_with(&format!("worker{n}"), &flags, script);
    let mut workers: Vec<Process> = (0..8).map(start).collect();
    let limit =
        Duration::from_secs(120) + Duration::from_millis(20) * u32::try_from(count).expect("few");
    let (began, mut killed) = (clock::now(), 0);
    let mut kill_at = began + KILL_EVERY;
    // Asking takes long when there is much to tell: it runs beside the killing.
    let mut asked: Option<Process> = None;
    loop {
        let now = clock::now();
        assert!(
            now < began + limit,
            "{:?} after {killed} kills",
            queue.states()
        );
        if now >= kill_at {
            kill_at = now + KILL_EVERY;
            // In turn: the scheduler is among them.
            let next = killed % workers.len();
            workers[next].kill();
            workers[next] = start(next);
            killed += 1;
        }
        if asked.as_mut().is_some_and(Process::is_running) {
            std::thread::sleep(Duration::from_millis(100));
            continue;
        }
        match &mut asked {
            Some(list) => {
                let done = list.wait(wait::SOON).expect_success("list").lines().count();
                if killed >= 3 && done == count {
                    break;
                }
                asked = None;
            }
            None => {
                let mut command = Command::new(nyala_binary());
                command.args(["task", "list", "q", "--json", "--state", "done"]);
                command.args(["--zookeeper", &queue.zookeeper]);
                asked = Some(Process::start("asked", &queue.folder, &mut command));
            }
        }
    }
    println!(
        "{count} tasks in {:?}, {killed} workers killed",
        began.elapsed()
    );
    // From the events alone: one done that counts for each, and it is the right one.
    let at = ["--zookeeper", &queue.zookeeper];
    let consume = [
        "consume",
        "q.events",
        "--from-beginning",
        "--json",
        "--timeout-ms",
        "2000",
    ];
    let events = nyala(dev.folder(), &[&consume[..], &at].concat()).expect_success("consume");
    let mut results: BTreeMap<String, String> = BTreeMap::new();
    for line in events.lines() {
        let event: Value = serde_json::from_str(line).expect("JSON");
        if event["headers"][0][0] == "done" {
            let id = event["key"].as_str().expect("an id").to_owned();
            let result = event["value"].as_str().expect("text").to_owned();
            results.entry(id).or_insert(result);
        }
    }
    for (n, id) in ids.iter().enumerate() {
        let expected = format!("result of {n}\n");
        assert_eq!(results.get(id), Some(&expected), "{id}");
    }
    assert_eq!(queue.list().len(), count);
    for n in [0, count / 2, count - 1] {
        assert_eq!(queue.result(&ids[n]), format!("result of {n}\n"));
    }
}
