//! The process between agent and training.
//!
//! It promises that nothing of the training outlives it and that it does not outlive the agent: it is the subreaper
//! of everything below it, so that orphans stay its descendants wherever they went (another process group, another
//! session), it leaves only when it has no descendant left, and the end of its standard input, which is how the
//! death of the agent shows, makes it kill everything at once.
//!
//! Standard input: the [`Plan`] on the first line, then one [`Order`] a line. Standard output: one [`Report`] a
//! line. Standard error: the training's output, both streams. One thread spawns and reaps, one reads orders, the
//! main one decides.

mod steps;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::process::{descendants, exterminate, signal_all, stop_all};
use crate::system;

/// Most bytes of a plan: environment and arguments, which the kernel limits to a few MiB anyway.
const PLAN_BYTES_MAX: u64 = 16 << 20;
/// What is left after the main process ended has this long between SIGTERM and SIGKILL.
const LEFTOVER_GRACE: Duration = Duration::from_secs(2);
/// Between two rounds of killing.
const KILL_EVERY: Duration = Duration::from_millis(20);

/// What to run: one step after another, as long as each ends with 0.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// The whole environment of every step.
    pub(crate) environment: Vec<(String, String)>,
    /// The steps; the last one is the training.
    pub(crate) steps: Vec<Step>,
}

/// One program to run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Step {
    /// The program, looked up in the environment's `PATH` unless it is a path.
    pub(crate) program: String,
    /// Its arguments.
    pub(crate) arguments: Vec<String>,
    /// Where it runs.
    pub(crate) directory: String,
    /// What the log says before it begins; nothing for the training itself.
    pub(crate) title: Option<String>,
}

/// What the agent tells the warden.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// SIGTERM now; everything is killed after the grace.
    Terminate {
        /// Milliseconds.
        grace_ms: u64,
    },
    /// Everything is stopped (SIGSTOP); answered when it is.
    Pause,
    /// Everything goes on; answered.
    Resume,
}

/// What the warden tells the agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    /// A step's process runs.
    Started {
        /// Which, from 0.
        step: usize,
    },
    /// Everything is stopped.
    Paused,
    /// Everything goes on.
    Resumed,
    /// No process is left. The last report.
    Gone(Outcome),
}

/// How it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// The step that ended last, from 0; none where none was begun.
    pub(crate) step: Option<usize>,
    /// Its exit code, where it exited.
    pub(crate) code: Option<i32>,
    /// The signal that ended it, where one did.
    pub(crate) signal: Option<i32>,
    /// Why it could not be started.
    pub(crate) error: Option<String>,
    /// Whether something had to be killed after the grace.
    pub(crate) killed: bool,
}

/// What reaches the deciding thread.
enum Message {
    Order(Order),
    AgentGone,
    Started {
        step: usize,
        pid: i32,
    },
    /// The main process of the last step ended and something of it is left.
    Leftovers,
    NobodyLeft(Outcome),
}

/// Runs the warden. Returns when no process is left below it.
pub(crate) fn run() -> ExitCode {
    if let Err(error) = system::become_subreaper() {
        let _ = writeln!(io::stderr(), "trainyard: cannot keep hold of descendants: {error}");
        return ExitCode::FAILURE;
    }
    let mut input = BufReader::new(io::stdin());
    let Some(plan) = read_plan(&mut input) else { return ExitCode::FAILURE };
    let stopping = Arc::new(AtomicBool::new(false));
    let (tell, told) = mpsc::channel();
    let (to_main, flag) = (tell.clone(), Arc::clone(&stopping));
    thread::spawn(move || steps::run(&plan, &flag, &to_main));
    thread::spawn(move || read_orders(input, &tell));
    Warden { stopping, group: None, kill_at: None, paused: false, killed: false }.decide(&told);
    ExitCode::SUCCESS
}

fn read_plan(input: &mut impl BufRead) -> Option<Plan> {
    let mut line = Vec::new();
    input.by_ref().take(PLAN_BYTES_MAX).read_until(b'\n', &mut line).ok()?;
    serde_json::from_slice(&line).ok()
}

fn read_orders(input: impl BufRead, tell: &Sender<Message>) {
    for line in input.lines().map_while(Result::ok) {
        // The agent is the same program: what cannot be read is not from it.
        if let Ok(order) = serde_json::from_str(&line) {
            let _ = tell.send(Message::Order(order));
        }
    }
    let _ = tell.send(Message::AgentGone);
}

/// The deciding thread's knowledge.
struct Warden {
    /// Seen by the thread that spawns: no further step is begun.
    stopping: Arc<AtomicBool>,
    /// The process group of the step that runs.
    group: Option<Pid>,
    /// When killing begins, or its next round.
    kill_at: Option<Instant>,
    paused: bool,
    killed: bool,
}

impl Warden {
    fn decide(mut self, told: &Receiver<Message>) {
        loop {
            match self.next(told) {
                Ok(Message::Order(order)) => self.obey(order),
                Ok(Message::AgentGone) => {
                    self.stopping.store(true, Ordering::SeqCst);
                    self.kill_after(Duration::ZERO);
                }
                Ok(Message::Started { step, pid }) => {
                    self.group = Some(Pid::from_raw(pid));
                    report(&Report::Started { step });
                    if self.stopping.load(Ordering::SeqCst) {
                        self.terminate_group();
                    }
                }
                Ok(Message::Leftovers) => {
                    let rest = descendants(&system::table());
                    signal_all(&rest, Signal::SIGTERM);
                    signal_all(&rest, Signal::SIGCONT);
                    self.kill_after(LEFTOVER_GRACE);
                }
                Ok(Message::NobodyLeft(outcome)) => {
                    report(&Report::Gone(Outcome { killed: self.killed, ..outcome }));
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.killed |= !exterminate(descendants).is_empty();
                    self.kill_at = Some(Instant::now() + KILL_EVERY);
                }
                // Both other threads are gone without a last word: there is nothing below any more.
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn next(&self, told: &Receiver<Message>) -> Result<Message, RecvTimeoutError> {
        match self.kill_at {
            Some(at) => told.recv_timeout(at.saturating_duration_since(Instant::now())),
            None => told.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Terminate { grace_ms } => {
                self.stopping.store(true, Ordering::SeqCst);
                self.terminate_group();
                self.kill_after(Duration::from_millis(grace_ms));
            }
            Order::Pause => {
                self.paused = true;
                stop_all(descendants);
                report(&Report::Paused);
            }
            Order::Resume => {
                self.go_on();
                report(&Report::Resumed);
            }
        }
    }

    /// A stopped process takes SIGTERM only once it goes on.
    fn terminate_group(&mut self) {
        if let Some(group) = self.group {
            let _ = killpg(group, Signal::SIGTERM);
        }
        if self.paused {
            self.go_on();
        }
    }

    fn go_on(&mut self) {
        self.paused = false;
        signal_all(&descendants(&system::table()), Signal::SIGCONT);
    }

    /// The earlier of what was said before and now.
    fn kill_after(&mut self, grace: Duration) {
        let at = Instant::now().checked_add(grace);
        self.kill_at = match (self.kill_at, at) {
            (Some(before), Some(at)) => Some(before.min(at)),
            (before, at) => before.or(at),
        };
    }
}

fn report(report: &Report) {
    let Ok(mut line) = serde_json::to_vec(report) else { return };
    line.push(b'\n');
    // The agent may be dead: then nobody asks any more.
    let mut out = io::stdout().lock();
    let _ = out.write_all(&line).and_then(|()| out.flush());
}
