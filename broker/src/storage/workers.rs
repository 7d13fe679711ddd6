//! The two threads of storage: one prepares windows ahead of the writers (and watches free space), one
//! syncs. Started and joined by `log_dirs.rs`.
//!
//! Queues are bounded by the number of logs: each log has at most one window being prepared and one sync
//! asked for at a time.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use super::flush::Syncer;
use super::mmap::Window;
use super::tail::Tail;

/// How often free space is looked up.
const SPACE_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Debug)]
enum Prepare {
    Window(Arc<Tail>),
    Drop(Window),
    Stop,
}

#[derive(Debug)]
enum Sync {
    Log(Arc<Syncer>),
    Stop,
}

/// Handle of the threads. Owner: the log dirs; every log has it too.
#[derive(Debug)]
pub(crate) struct Workers {
    prepare: Sender<Prepare>,
    sync: Sender<Sync>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Workers {
    /// Starts both threads; `look_at_space` is called twice a second.
    pub(crate) fn start(look_at_space: impl Fn() + Send + 'static) -> io::Result<Arc<Self>> {
        let (prepare, preparations) = channel();
        let (sync, syncs) = channel();
        let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let threads = vec![
            named("storage-prepare").spawn(move || run_prepare(&preparations, &look_at_space))?,
            named("storage-sync").spawn(move || run_sync(&syncs))?,
        ];
        Ok(Arc::new(Self {
            prepare,
            sync,
            threads: Mutex::new(threads),
        }))
    }

    /// Asks for the tail's next window. False: the thread is gone.
    pub(crate) fn prepare(&self, tail: &Arc<Tail>) -> bool {
        self.prepare.send(Prepare::Window(Arc::clone(tail))).is_ok()
    }

    /// Unmaps a window on the worker: on a large one that takes a while.
    pub(crate) fn drop_window(&self, window: Window) {
        // With the thread gone the window comes back in the error and is dropped here.
        let _ = self.prepare.send(Prepare::Drop(window));
    }

    /// Asks for a sync. False: the thread is gone.
    pub(crate) fn sync(&self, log: &Arc<Syncer>) -> bool {
        self.sync.send(Sync::Log(Arc::clone(log))).is_ok()
    }

    /// Ends both threads after what is queued.
    pub(crate) fn stop(&self) {
        let _ = self.prepare.send(Prepare::Stop);
        let _ = self.sync.send(Sync::Stop);
        for thread in std::mem::take(&mut *self.threads.lock()) {
            let _ = thread.join();
        }
    }
}

fn run_prepare(jobs: &Receiver<Prepare>, look_at_space: &dyn Fn()) {
    loop {
        match jobs.recv_timeout(SPACE_INTERVAL) {
            Ok(Prepare::Window(tail)) => tail.prepare(),
            Ok(Prepare::Drop(window)) => drop(window),
            Err(RecvTimeoutError::Timeout) => {}
            Ok(Prepare::Stop) | Err(RecvTimeoutError::Disconnected) => return,
        }
        // After every job: a busy queue must not keep it away. Where space is low, all jobs are drops.
        look_at_space();
    }
}

fn run_sync(jobs: &Receiver<Sync>) {
    while let Ok(Sync::Log(log)) = jobs.recv() {
        log.run();
    }
}
