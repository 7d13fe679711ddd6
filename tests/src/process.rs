//! A child process with its output in files: started, signalled, waited for, and ended with its owner.
//!
//! Output goes to files and not to pipes, so that no child ever blocks on a reader that is busy.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// A running child. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Its end was seen: from then on its process id may be anybody's.
    reaped: bool,
    name: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// What a child that ended left behind.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Ended {
    /// Its standard output, if it ended well; panics with everything it said otherwise.
    pub fn expect_success(self, what: &str) -> String {
        assert!(
            self.status.success(),
            "{what}: {}\nstdout:\n{}\nstderr:\n{}",
            self.status,
            self.stdout,
            self.stderr
        );
        self.stdout
    }
}

impl Process {
    /// Starts `command` with its output in `folder/name.out` and `folder/name.err`, appended to.
    #[must_use]
    pub fn start(name: &str, folder: &Path, command: &mut Command) -> Self {
        Self::start_reading(name, folder, command, Stdio::null())
    }

    /// As [`Self::start`], with a standard input.
    #[must_use]
    pub fn start_reading(name: &str, folder: &Path, command: &mut Command, input: Stdio) -> Self {
        let open = |suffix: &str| {
            let path = folder.join(format!("{name}.{suffix}"));
            let file = File::options()
                .create(true)
                .append(true)
                .open(&path)
                .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            (path, file)
        };
        let (stdout, out) = open("out");
        let (stderr, err) = open("err");
        // A restarted process appends; what an earlier one printed must not be taken for its own.
        out.set_len(0).expect("fresh output file");
        let child = command
            .stdin(input)
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap_or_else(|e| panic!("{name}: cannot start {command:?}: {e}"));
        Self {
            child,
            reaped: false,
            name: name.to_owned(),
            stdout,
            stderr,
        }
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it printed so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap_or_default()
    }

    /// What it complained about so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stderr).unwrap_or_default()).into_owned()
    }

    /// Waits for a line of its standard output for which `found` has an answer.
    pub fn wait_for_line<T>(&mut self, what: &str, found: impl Fn(&str) -> Option<T>) -> T {
        wait::until(what, || {
            let out = self.stdout();
            if let Some(answer) = out.lines().find_map(&found) {
                return Ok(answer);
            }
            if let Some(status) = ended(&mut self.child, &mut self.reaped) {
                panic!(
                    "{} ended with {status} before {what}:\n{out}\n{}",
                    self.name,
                    self.stderr()
                );
            }
            Err(format!("{out}\n{}", self.stderr()))
        })
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        ended(&mut self.child, &mut self.reaped).is_none()
    }

    /// Sends a signal, unless it was seen to have ended.
    pub fn signal(&self, signal: Signal) {
        if self.reaped {
            return;
        }
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let _ = kill_process(pid.expect("a child has a process id"), signal);
    }

    /// Stops its clock: returns when all its threads stand still. SIGSTOP alone only asks for that: on a busy
    /// machine a broker went on to answer for some milliseconds.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        let tasks = format!("/proc/{}/task", self.child.id());
        wait::until(&format!("{} standing still", self.name), || {
            let mut threads = std::fs::read_dir(&tasks).map_err(|e| e.to_string())?;
            let stands = |task: std::fs::DirEntry| {
                let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
                // The state follows the name, which stands in brackets. A thread that ended has none.
                let state = stat
                    .rsplit(") ")
                    .next()
                    .and_then(|rest| rest.chars().next());
                state.is_none_or(|state| state == 'T')
            };
            match threads.all(|task| task.is_ok_and(stands)) {
                true => Ok(()),
                false => Err("some thread still runs".to_owned()),
            }
        });
    }

    /// Waits for its end.
    pub fn wait(&mut self, limit: Duration) -> Ended {
        let what = format!("end of {}", self.name);
        let status = wait::until_within(limit, &what, || {
            match ended(&mut self.child, &mut self.reaped) {
                Some(status) => Ok(status),
                None => Err(format!("it runs\n{}", self.stderr())),
            }
        });
        Ended {
            status,
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }

    /// kill -9, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.reaped = true;
    }

    /// Asks it to end (SIGTERM) and waits.
    pub fn terminate(&mut self) -> Ended {
        self.signal(Signal::TERM);
        self.wait(wait::SOON)
    }
}

/// How it ended, once it has.
fn ended(child: &mut Child, reaped: &mut bool) -> Option<ExitStatus> {
    let status = child.try_wait().expect("it is our child");
    *reaped |= status.is_some();
    status
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let stderr = self.stderr();
            let tail: Vec<&str> = stderr.lines().rev().take(40).collect();
            eprintln!("--- end of what {} said:", self.name);
            for line in tail.iter().rev() {
                eprintln!("{line}");
            }
        }
    }
}

/// Runs `command` to its end with `input` as its standard input.
#[must_use]
pub fn run_reading(name: &str, folder: &Path, command: &mut Command, input: &str) -> Ended {
    let path = folder.join(format!("{name}.in"));
    fs::write(&path, input).expect("input file");
    let file = File::open(&path).expect("input file");
    Process::start_reading(name, folder, command, file.into()).wait(2 * wait::SOON)
}

/// Runs `command` to its end, at most `limit`.
#[must_use]
pub fn run(name: &str, folder: &Path, command: &mut Command, limit: Duration) -> Ended {
    Process::start(name, folder, command).wait(limit)
}
