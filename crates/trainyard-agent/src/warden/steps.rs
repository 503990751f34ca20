//! Spawning and reaping, in one thread: whoever reaps everything must be who spawns, or it would reap what the
//! standard library waits for when a program cannot be executed.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use super::{Message, Outcome, Plan, Step};
use crate::system;

/// Characters of a program's name that are told where it cannot be started.
const PROGRAM_SHOWN: usize = 200;

/// Runs the steps and then reaps until nobody is left.
pub(super) fn run(plan: &Plan, stopping: &AtomicBool, tell: &Sender<Message>) {
    let outcome = run_steps(plan, stopping, tell);
    if !nobody_left() {
        let _ = tell.send(Message::Leftovers);
        while reap(None).is_some() {}
    }
    let _ = tell.send(Message::NobodyLeft(outcome));
}

fn run_steps(plan: &Plan, stopping: &AtomicBool, tell: &Sender<Message>) -> Outcome {
    let mut outcome = Outcome::default();
    for (step, what) in plan.steps.iter().enumerate() {
        if stopping.load(Ordering::SeqCst) {
            break;
        }
        outcome.step = Some(step);
        if let Some(title) = &what.title {
            // Through the same pipe as its output, so that it stands before it.
            let _ = writeln!(io::stderr(), "trainyard: {title}");
        }
        match spawn(what, &plan.environment) {
            Err(error) => {
                outcome.code = Some(if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 });
                let program: String = what.program.chars().take(PROGRAM_SHOWN).collect();
                outcome.error = Some(format!("`{program}`: {error}"));
                return outcome;
            }
            Ok(pid) => {
                let _ = tell.send(Message::Started { step, pid });
                (outcome.code, outcome.signal) = wait_for(pid);
            }
        }
        if outcome.code != Some(0) {
            return outcome;
        }
    }
    // Stopped before the training was begun: the code of an earlier step says nothing about it.
    if outcome.step.is_none_or(|step| step + 1 < plan.steps.len()) {
        (outcome.code, outcome.signal) = (None, None);
    }
    outcome
}

fn spawn(step: &Step, environment: &[(String, String)]) -> io::Result<i32> {
    let output = io::stderr().as_fd().try_clone_to_owned()?;
    let errors = output.try_clone()?;
    let child = Command::new(&step.program)
        .args(&step.arguments)
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .current_dir(&step.directory)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .process_group(0)
        .spawn()?;
    i32::try_from(child.id()).map_err(io::Error::other)
}

/// Reaps whoever ends until this one did.
fn wait_for(pid: i32) -> (Option<i32>, Option<i32>) {
    loop {
        match reap(Some(pid)) {
            Some((ended, code, signal)) if ended == pid => return (code, signal),
            Some(_) => {}
            None => return (None, None),
        }
    }
}

/// Waits for one child to end: its id, exit code, signal. `None` where there is no child at all.
fn reap(main: Option<i32>) -> Option<(i32, Option<i32>, Option<i32>)> {
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) => return Some((pid.as_raw(), Some(code), None)),
            Ok(WaitStatus::Signaled(pid, signal, _)) => {
                return Some((pid.as_raw(), None, Some(signal as i32)));
            }
            // Ended by a signal that has no name here (a real-time one); which child it was is not told.
            Err(Errno::EINVAL) => {
                if let Some(pid) = main.filter(|&pid| system::row(pid).is_none()) {
                    return Some((pid, None, None));
                }
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return None,
        }
    }
}

/// Reaps what has ended already; whether that was everybody.
fn nobody_left() -> bool {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return false,
            Ok(_) | Err(Errno::EINTR | Errno::EINVAL) => {}
            Err(_) => return true,
        }
    }
}
