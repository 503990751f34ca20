//! From the environment to an exit code.
//!
//! Promises: SIGTERM ends the training after the step it is in, with a checkpoint and exit code 143.
//! 0 means finished, 2 that the job must be changed, 1 anything else; the reason is the last line of
//! stderr.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use crate::env::TrainEnv;
use crate::error::TrainError;
use crate::settings::Settings;
use crate::train::Training;

/// 128 and the number of SIGTERM, as a shell would say it.
const STOPPED: u8 = 143;

/// How many threads candle uses for everything but matrix products: one. More of them wait for each other by
/// spinning; two were measured to take up to five times as long on a machine with other work, and never
/// less than one alone.
const CANDLE_THREADS: &str = "CANDLE_NUM_THREADS";

/// How many threads share a large matrix product. Unset, it is looked up in `/proc/cpuinfo` for every single product.
const PRODUCT_THREADS: &str = "RAYON_NUM_THREADS";

/// More threads than this gain little on models that are small enough for a CPU.
const PRODUCT_THREADS_MAX: usize = 16;

/// How a training ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The adapter lies in the output directory.
    Finished,
    /// Asked to stop; a checkpoint holds every step that was made.
    Stopped,
}

/// Runs the training that the environment of this process describes. Blocks until it has ended.
///
/// To be called once, first thing, by a program that does nothing else: it takes over SIGTERM, and begins by
/// replacing the process with itself (same arguments, same pid) to set the number of threads.
pub fn main_from_env() -> ExitCode {
    ExitCode::from(exit_status_from_env())
}

/// [`main_from_env`] with the exit code as a number, for a caller that ends the process itself.
pub fn exit_status_from_env() -> u8 {
    begin_again_with_threads_set();
    let ended = TrainEnv::read().and_then(|env| {
        let stop = stop_on_sigterm()?;
        train(&env, &stop, &mut std::io::stdout())
    });
    match ended {
        Ok(Outcome::Finished) => 0,
        Ok(Outcome::Stopped) => STOPPED,
        Err(error) => {
            // Nobody is left to tell when stderr is closed.
            let _ = writeln!(std::io::stderr(), "error: {}", chain(&error));
            error.exit_code()
        }
    }
}

/// Runs one training in this thread, and ends it early once `stop` is set.
///
/// The number of threads is left as this process has it, unlike in [`main_from_env`]. Log lines go to `log`, whose faults are ignored: a reader that went away ends no training.
///
/// # Errors
/// Whatever [`TrainError`] tells. Checkpoints and metrics written before stay.
pub fn train(env: &TrainEnv, stop: &AtomicBool, log: &mut dyn Write) -> Result<Outcome, TrainError> {
    let settings = Settings::read(&env.spec)?;
    Training::prepare(env, settings, stop, log)?.run()
}

/// The numbers are read from the environment only, and changing one's own is not safe: so the process replaces
/// itself where they are not set. Returns where they are, and where that fails: then the training is slower.
fn begin_again_with_threads_set() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(PRODUCT_THREADS_MAX);
    let mut missing = vec![(CANDLE_THREADS, "1".to_owned()), (PRODUCT_THREADS, cores.to_string())];
    missing.retain(|(name, _)| std::env::var_os(name).is_none());
    let mut arguments = std::env::args_os();
    if let (false, Ok(program), Some(name)) = (missing.is_empty(), std::env::current_exe(), arguments.next())
    {
        let _failed = Command::new(program).arg0(name).args(arguments).envs(missing).exec();
    }
}

fn stop_on_sigterm() -> Result<Arc<AtomicBool>, TrainError> {
    let failed = |source| TrainError::Io { doing: "watch for", path: "SIGTERM".into(), source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
    // Registered before the thread starts, so that no signal falls between.
    let mut signals = {
        let _guard = runtime.enter();
        signal(SignalKind::terminate()).map_err(failed)?
    };
    let stop = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&stop);
    std::thread::Builder::new()
        .name("sigterm".into())
        .spawn(move || {
            runtime.block_on(signals.recv());
            set.store(true, Ordering::Relaxed);
        })
        .map_err(failed)?;
    Ok(stop)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}
