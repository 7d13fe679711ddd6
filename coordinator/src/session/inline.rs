//! Runs the client library's task on whichever thread wakes it.
//!
//! The library keeps a connection in one task, between a queue of requests and a socket. On an executor each
//! request waits for that executor's thread, and each answer for it once more. Run by who wakes it, a request
//! goes to the socket on its caller's thread, unless the task is at work elsewhere just then, and the thread
//! that watches the sockets reads the answer and wakes the caller. A poll of that task reads and writes a
//! socket that never blocks, and wakes others; it takes no lock of a waker's.
//!
//! A connection that is lost ends the task in the same poll: the library would connect again by itself, with
//! a backoff that grows without a cap, and would fight `attach.rs` for the session. And the task keeps a
//! client of its own: the library ends the session when it finds that no client is left, which the task
//! must never find by chance, when it runs while others let go.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use async_task::{Runnable, ScheduleInfo, WithInfo};
use parking_lot::Mutex;
use spawns_core::{Spawn, Task};
use tokio::runtime::Handle;
use tokio_util::sync::{CancellationToken, DropGuard};
use zookeeper_client as zk;

/// The tasks of one connection. Dropping it aborts them without a word to the server.
#[derive(Debug)]
pub(super) struct Inline {
    /// Runs what is woken while it runs: the thread it is on has its own work to go back to.
    runtime: Handle,
    over: CancellationToken,
    kept: Arc<Kept>,
    tasks: Mutex<Vec<async_task::Task<()>>>,
}

impl Inline {
    /// With `runtime`, that of the session's own thread.
    pub(super) fn new(runtime: Handle) -> Self {
        Self {
            runtime,
            over: CancellationToken::new(),
            kept: Arc::default(),
            tasks: Mutex::default(),
        }
    }

    /// Cancelled when a task ends, before what others wait for is dropped, unless the library panics.
    pub(super) fn over(&self) -> &CancellationToken {
        &self.over
    }

    /// From now on the tasks live as long as `client`'s connection does, unless they are dropped.
    pub(super) fn keep(&self, client: &zk::Client) {
        // It is told once.
        let _ = self.kept.states.set(client.state_watcher());
        *self.kept.client.lock() = Some(client.clone());
    }

    /// Lets the library end the session when the last client goes.
    pub(super) fn let_go(&self) {
        // Not under the lock: it may be the last, and wake the task.
        let client = self.kept.client.lock().take();
        drop(client);
    }

    /// Runs `future` itself as any other; the tasks that the library spawns in it are kept here.
    pub(super) async fn scope<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|cx| {
            let _scope = spawns_core::enter(self);
            future.as_mut().poll(cx)
        })
        .await
    }
}

impl Spawn for Inline {
    fn spawn(&self, task: Task) {
        let runtime = self.runtime.clone();
        let schedule = WithInfo(move |runnable: Runnable, info: ScheduleInfo| {
            if info.woken_while_running {
                runtime.spawn(async move { runnable.run() });
            } else {
                runnable.run();
            }
        });
        let future = Guarded {
            _over: self.over.clone().drop_guard(),
            future: Box::into_pin(task.future),
            kept: Arc::clone(&self.kept),
        };
        let (runnable, task) = async_task::spawn(future, schedule);
        self.tasks.lock().push(task);
        runnable.run();
    }
}

/// The connection, as its task knows it.
#[derive(Debug, Default)]
struct Kept {
    states: OnceLock<zk::StateWatcher>,
    client: Mutex<Option<zk::Client>>,
}

impl Kept {
    fn is_lost(&self) -> bool {
        use zk::SessionState::{ConnectedReadOnly, SyncConnected};
        let state = self.states.get().map(zk::StateWatcher::peek_state);
        state.is_some_and(|state| !matches!(state, SyncConnected | ConnectedReadOnly))
    }
}

/// Cancels `over` before it drops what others wait for, and its client last: fields are dropped in this order.
/// A panic of the library is caught below, by `spawns-core`; it drops what others wait for first.
struct Guarded {
    _over: DropGuard,
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    kept: Arc<Kept>,
}

impl Future for Guarded {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let polled = self.future.as_mut().poll(cx);
        match self.kept.is_lost() {
            true => Poll::Ready(()),
            false => polled,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use tokio::sync::{mpsc, oneshot};

    use super::*;

    /// As the library does: spawned while it is polled.
    async fn spawn(inline: &Inline, future: impl Future<Output = ()> + Send + 'static) {
        inline
            .scope(async { drop(spawns_core::spawn(future)) })
            .await;
    }

    #[tokio::test]
    async fn a_task_runs_where_it_is_woken() {
        let inline = Inline::new(Handle::current());
        let (ask, mut asked) = mpsc::unbounded_channel::<()>();
        let (answer, mut answers) = mpsc::unbounded_channel();
        spawn(&inline, async move {
            while asked.recv().await.is_some() {
                // Nobody listens any more: the test is over.
                let _ = answer.send(thread::current().id());
            }
        })
        .await;
        ask.send(()).expect("it lives");
        assert_eq!(answers.try_recv(), Ok(thread::current().id()));
        let again = ask.clone();
        let other = thread::spawn(move || {
            again.send(()).expect("it lives");
            thread::current().id()
        });
        let other = other.join().expect("no panic");
        assert_eq!(answers.try_recv(), Ok(other));
        assert!(!inline.over().is_cancelled());
    }

    #[tokio::test]
    async fn what_is_woken_while_it_runs_goes_on_at_home() {
        let inline = Inline::new(Handle::current());
        let (done, is_done) = oneshot::channel();
        let home = thread::current().id();
        let (go, begin) = oneshot::channel();
        spawn(&inline, async move {
            begin.await.expect("it is sent");
            let begun = thread::current().id();
            tokio::task::yield_now().await;
            done.send((begun, thread::current().id()))
                .expect("it is heard");
        })
        .await;
        let other = thread::spawn(move || {
            go.send(()).expect("it lives");
            thread::current().id()
        });
        let ran = is_done.await.expect("it ends");
        assert_eq!(ran, (other.join().expect("no panic"), home));
    }

    #[tokio::test]
    async fn who_waits_for_a_task_that_has_gone_sees_that_it_is_over() {
        async fn ends(inline: Inline, end: impl FnOnce(Inline, oneshot::Sender<()>)) {
            let over = inline.over().clone();
            let (go, begin) = oneshot::channel();
            let (kept, waited) = oneshot::channel::<()>();
            spawn(&inline, async move {
                let _kept = kept;
                begin.await.expect("a panic when nothing is sent");
            })
            .await;
            let waiting = tokio::spawn(async move {
                assert!(waited.await.is_err());
                over.is_cancelled()
            });
            tokio::task::yield_now().await;
            end(inline, go);
            assert!(waiting.await.expect("no panic"));
        }
        let inline = || Inline::new(Handle::current());
        ends(inline(), |inline, _go| drop(inline)).await;
        ends(inline(), |inline, go| {
            // It panics on this thread, which does not mind.
            drop(go);
            assert!(inline.over().is_cancelled());
        })
        .await;
        ends(inline(), |inline, go| {
            go.send(()).expect("it lives");
            assert!(inline.over().is_cancelled());
        })
        .await;
    }
}
