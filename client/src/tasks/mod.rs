//! A task queue on topics: durable tasks, workers that acknowledge, one result for each task.
//!
//! ```text
//! submit --> Q.tasks (a partition a priority, one for later) --.
//!                                                              v
//! workers -- done, failed, progress --> Q.events <-- assigned, retry, dead -- the scheduler --> Q.dead
//!    ^                                     |                                      ^
//!    '------------- assigned --------------+------------- all of it --------------'
//! ```
//! *Truth* is the order of `Q.events`: state is what its replay gives (`state.rs`), the first `done` or
//! `dead` of a task is its end. So a task has one result however often it ran, and whoever asks
//! (`view.rs`) needs no server. Large payloads and results are referred to (`Q.tasks`, `Q.results`).
//! *Scheduler*: every process with a worker stands by; one owns `/consumers/tasks.Q/owners/Q.events/0`, an
//! ephemeral whose czxid is the fence. It writes `elected` with it, reads the log up to there, and goes
//! on; what a replaced scheduler still writes has a lower fence and is void for every reader. If the log
//! has as great a fence before, the owner writes a greater one (`takeover.rs`).
//! *Workers* are members of the group `tasks.Q`, with the number of tasks that they take as subscription.
//! A task goes to a worker with room only. A worker's end is the end of its ephemeral: its tasks are given
//! anew. Once a task has begun it also has a lease, which progress renews.
//! *Bounds*: of each lane 10,000 tasks wait in memory, the rest in the log; what waits for a time or a
//! retry costs some 200 bytes each. A checkpoint among the events bounds what a scheduler reads at its
//! start; events, tasks and results older than the history are trimmed, open tasks never.
//!
//! *Crashes.* Submitter before its ack: the task is there or not; repeat it with an id. Worker holding
//! tasks: they run again after the session timeout. Worker after `done` was appended: it counts; before:
//! the task runs again, so handlers ought to be idempotent by id. Worker paused beyond its session: its
//! tasks run elsewhere, it takes a new name, the first result counts. Scheduler anywhere: the next one
//! replays; a decision is an event or was never made. Between dead letter and `dead`: the letter may be
//! there twice, redrive takes one. ZooKeeper away: nothing new is given out, results are still taken.
//! Broker away: reports are repeated until they are in the log. Examples: [`TaskQueue`],
//! `client/examples/tasks.rs`.

mod checkpoint;
mod error;
mod event;
mod fields;
mod history;
mod queue;
mod scheduler;
mod state;
mod tail;
mod task;
mod topics;
mod view;
mod worker;

pub use error::TaskError;
pub use queue::{QueueConfig, Submission, TaskQueue};
pub use task::{PRIORITY_MAX, Task, TaskId};
pub use view::{TaskState, TaskStatus};
pub use worker::{Job, Worker, WorkerConfig};
