//! What every long-running command needs: messages on standard error, a runtime, the stop signals.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use rustix::process::Signal;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::tell::Log;

/// Longest wait at the end for tasks that block on a disk.
const RUNTIME_STOP_MAX: Duration = Duration::from_secs(5);

/// Sends diagnostics of a broker to standard error; `RUST_LOG` chooses which.
pub(super) fn start_messages() {
    start_messages_of("warn,nyala=info,nyala_coordinator=info", io::stderr);
}

/// The same for a command that comes and goes: only what a user should mind, and lost where nobody hears it.
pub(super) fn start_warnings() {
    start_messages_of("warn", || Log);
}

fn start_messages_of<W>(unless_told: &str, writer: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(unless_told));
    // A second start in one process (tests) keeps the first.
    let _ = tracing_subscriber::fmt()
        .with_ansi(io::stderr().is_terminal())
        .with_env_filter(filter)
        .with_writer(writer)
        // It would be told on standard error, which panics if that is what cannot be written to.
        .log_internal_errors(false)
        .try_init();
}

/// Runs `main` on a runtime of its own and ends that within a bounded time.
pub(super) fn block_on<F: Future>(main: F) -> io::Result<F::Output> {
    let runtime: Runtime = Builder::new_multi_thread()
        .thread_name("nyala")
        .enable_all()
        .build()?;
    // Ignored by who started us, it would have the kernel throw away what our children end with.
    let _children = runtime.block_on(async { signal(SignalKind::child()) })?;
    let output = runtime.block_on(main);
    runtime.shutdown_timeout(RUNTIME_STOP_MAX);
    Ok(output)
}

/// Ends with the first SIGINT or SIGTERM, and says which; the second one ends the process at once, for a
/// user who does not want to wait.
pub(super) async fn stop_signal() -> io::Result<Signal> {
    first_signal(true).await
}

/// As [`stop_signal`], for a broker: a second SIGTERM, as service managers and wrappers send, does not cut
/// its departure short; a second SIGINT does.
pub(super) async fn broker_stop_signal() -> io::Result<Signal> {
    first_signal(false).await
}

async fn first_signal(second_terminates: bool) -> io::Result<Signal> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let first = tokio::select! {
        _ = interrupt.recv() => Signal::INT,
        _ = terminate.recv() => Signal::TERM,
    };
    tokio::spawn(async move {
        let second = tokio::select! {
            _ = interrupt.recv() => Signal::INT,
            _ = terminate.recv(), if second_terminates => Signal::TERM,
        };
        die_by(second);
    });
    Ok(first)
}

/// Ends this process as `signal` would have without us. A shell goes on to its next command after any
/// exit code, 130 included; only a child that died by the signal tells it that the user wants to stop.
pub(super) fn die_by(signal: Signal) -> ! {
    // It returns only for signals that it does not know.
    let _ = signal_hook::low_level::emulate_default_handler(signal.as_raw());
    std::process::exit(128 + signal.as_raw())
}
