//! An attempt from its beginning to its end: prepared, run under the warden, its output and metrics followed, its
//! end told only when no process of it is left.

use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot};
use trainyard_connector::{AgentEventBody, TrainingState};
use trainyard_domain::{Exit, Timestamp};

use super::agent::Agent;
use super::attempt::{Ask, Attempt, Start, Why};
use super::manifest;
use super::prepare::prepare;
use super::refusal::Refusal;
use crate::diagnose::explain;
use crate::process::{descendants, exterminate};
use crate::warden::{Order, Outcome, Plan, Report};
use crate::{clock, entry, system};

/// The exit code where the agent could not bring the training to its start.
const CODE_UNPREPARED: i32 = 125;
/// The exit code of a training that was stopped before it began: as if SIGTERM had ended it.
const CODE_STOPPED: i32 = 128 + 15;
/// The exit code of a training that somebody killed together with its warden.
const CODE_KILLED: i32 = 128 + 9;
/// After the last process is gone the rest of its output is in the pipe; only a stranger who was handed the pipe
/// can hold it open longer.
const REST_WITHIN: Duration = Duration::from_secs(2);
/// How long the descendants of a warden that was killed are killed for.
const KILL_WITHIN: Duration = Duration::from_secs(10);

/// Runs an attempt to its end.
pub(super) async fn run(
    agent: Arc<Agent>,
    attempt: Arc<Attempt>,
    start: Start,
    mut asked: mpsc::Receiver<Ask>,
) {
    let mut run = Run {
        attempt: Arc::clone(&attempt),
        started_at: None,
        why: None,
        deadline: start.deadline_s.and_then(|s| Instant::now().checked_add(Duration::from_secs(s))),
        paused_since: None,
        grace: Duration::from_secs(start.spec.limits.grace_period_s),
        waiting: Vec::new(),
    };
    let outputs = start.spec.outputs.clone();
    let exit = run.train(&agent, start, &mut asked).await;
    if let Some(note) = attempt.sources().finish(exit.code == 0).await {
        attempt.output().note(&note);
    }
    let (log, last_word) = (agent.layout().log(), agent.layout().failure_file());
    let plain = exit.clone();
    let explained = tokio::task::spawn_blocking(move || explain(plain, &log, &last_word)).await;
    let exit = explained.unwrap_or(exit);
    attempt.journal().append(AgentEventBody::Exited(exit.clone()));
    attempt.set_state(TrainingState::Exited { started_at: run.started_at, exit });
    // Whoever still waits for a pause or a resume hears that it ended.
    drop(asked);
    run.waiting.clear();
    let (dir, number) = (agent.layout().output_dir(), attempt.number());
    let of = Arc::clone(&attempt);
    let make = move || manifest::make(number, &dir, &outputs, of.abandoned());
    let made = tokio::task::spawn_blocking(make).await;
    attempt.set_manifest(match made {
        Ok(made) => made.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    });
}

/// The program to re-execute as ourselves, also after its file was replaced or removed.
pub(super) fn own_program() -> String {
    if cfg!(target_os = "linux") {
        return "/proc/self/exe".to_owned();
    }
    std::env::current_exe()
        .map_or_else(|_| "trainyard".to_owned(), |path| path.to_string_lossy().into_owned())
}

struct Run {
    attempt: Arc<Attempt>,
    started_at: Option<Timestamp>,
    /// The first reason it was told to stop.
    why: Option<Why>,
    deadline: Option<Instant>,
    paused_since: Option<Instant>,
    grace: Duration,
    /// Who waits to hear that all are stopped, or go on.
    waiting: Vec<oneshot::Sender<Result<(), Refusal>>>,
}

impl Run {
    async fn train(&mut self, agent: &Arc<Agent>, start: Start, asked: &mut mpsc::Receiver<Ask>) -> Exit {
        let (to_prepare, attempt) = (Arc::clone(agent), Arc::clone(&self.attempt));
        let prepared = tokio::task::spawn_blocking(move || prepare(&to_prepare, &attempt, &start)).await;
        if self.attempt.stopping().load(Ordering::SeqCst) {
            while let Ok(ask) = asked.try_recv() {
                if let Ask::Stop { why, .. } = ask {
                    self.why.get_or_insert(why);
                }
            }
            return self.exit(CODE_STOPPED, None, Some("stopped before it began".to_owned()));
        }
        let plan = match prepared {
            Ok(Ok(plan)) => plan,
            Ok(Err(error)) => return self.exit(CODE_UNPREPARED, None, Some(error.to_string())),
            Err(error) => return self.exit(CODE_UNPREPARED, None, Some(error.to_string())),
        };
        let titles: Vec<Option<String>> = plan.steps.iter().map(|step| step.title.clone()).collect();
        let killed_before = system::out_of_memory_kills();
        let outcome = match Warden::spawn(&plan).await {
            Ok(warden) => self.follow(warden, titles.len(), asked).await,
            Err(error) => {
                let note = format!("the warden could not be started: {error}");
                return self.exit(CODE_UNPREPARED, None, Some(note));
            }
        };
        let starved = outcome.as_ref().is_some_and(|outcome| outcome.signal == Some(9))
            && self.why.is_none()
            && system::out_of_memory_kills() > killed_before;
        self.judge(outcome, &titles, starved)
    }

    /// Follows the warden to its end. None where it ended without its last word.
    async fn follow(
        &mut self,
        mut warden: Warden,
        steps: usize,
        asked: &mut mpsc::Receiver<Ask>,
    ) -> Option<Outcome> {
        let attempt = Arc::clone(&self.attempt);
        let sources = Arc::clone(attempt.sources());
        let stream = warden.output.take();
        let pump = {
            let (output, mut feed) = (Arc::clone(attempt.output()), sources.feed());
            tokio::spawn(async move {
                if let Some(stream) = stream {
                    output.pump(stream, |bytes| feed.push(bytes)).await;
                }
                output.finish(|bytes| feed.push(bytes));
                feed.end();
            })
        };
        let outcome = loop {
            let deadline = self.deadline.filter(|_| self.paused_since.is_none());
            let time_is_over = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                report = warden.report() => match report {
                    Some(Report::Gone(outcome)) => break Some(outcome),
                    Some(report) => self.hear(report, steps),
                    None => break None,
                },
                Some(ask) = asked.recv() => self.obey(ask, &mut warden).await,
                () = time_is_over => {
                    self.deadline = None;
                    self.stop(self.grace, Why::Deadline, &mut warden).await;
                }
            }
        };
        let _ = warden.child.wait().await;
        if outcome.is_none() {
            let _ = tokio::task::spawn_blocking(kill_what_is_left).await;
        }
        let abort = pump.abort_handle();
        if tokio::time::timeout(REST_WITHIN, pump).await.is_err() {
            abort.abort();
            attempt.output().finish(|_| {});
        }
        outcome
    }

    fn hear(&mut self, report: Report, steps: usize) {
        match report {
            Report::Started { step } if step + 1 == steps => {
                let since = clock::now();
                self.started_at = Some(since);
                self.attempt.journal().append(AgentEventBody::Started);
                self.attempt.set_state(TrainingState::Running { since, paused: false });
            }
            // A step before the training: the log has its title.
            Report::Started { .. } => {}
            Report::Paused => self.paused(true),
            Report::Resumed => self.paused(false),
            // Taken by the caller.
            Report::Gone(_) => {}
        }
    }

    fn paused(&mut self, paused: bool) {
        if paused {
            self.paused_since.get_or_insert_with(Instant::now);
        } else if let Some(since) = self.paused_since.take() {
            // Pauses do not count.
            self.deadline = self.deadline.and_then(|at| at.checked_add(since.elapsed()));
        }
        if let Some(since) = self.started_at {
            self.attempt.set_state(TrainingState::Running { since, paused });
        }
        for waiting in self.waiting.drain(..) {
            let _ = waiting.send(Ok(()));
        }
    }

    async fn obey(&mut self, ask: Ask, warden: &mut Warden) {
        match ask {
            Ask::Stop { grace, why } => self.stop(grace, why, warden).await,
            Ask::Extend(deadline) => self.deadline = Instant::now().checked_add(deadline),
            Ask::Pause(reply) => self.ask(reply, Order::Pause, warden).await,
            Ask::Resume(reply) => self.ask(reply, Order::Resume, warden).await,
        }
    }

    async fn ask(&mut self, reply: oneshot::Sender<Result<(), Refusal>>, order: Order, warden: &mut Warden) {
        if self.why.is_some() {
            let _ = reply.send(Err(Refusal::state("the training is being stopped")));
            return;
        }
        self.waiting.push(reply);
        warden.tell(order).await;
    }

    async fn stop(&mut self, grace: Duration, why: Why, warden: &mut Warden) {
        self.why.get_or_insert(why);
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        warden.tell(Order::Terminate { grace_ms }).await;
    }

    fn judge(&self, outcome: Option<Outcome>, titles: &[Option<String>], starved: bool) -> Exit {
        let Some(outcome) = outcome else {
            let note = "the process that holds the training was killed from outside";
            return self.exit(CODE_KILLED, Some(9), Some(note.to_owned()));
        };
        let mut notes: Vec<String> = Vec::new();
        let title = outcome.step.and_then(|step| titles.get(step)?.as_deref());
        if let (Some(title), Some(_)) = (title, outcome.code.or(outcome.signal)) {
            notes.push(format!("{title} failed"));
        }
        if let Some(error) = &outcome.error {
            notes.push(format!("the program could not be started: {error}"));
        }
        if starved {
            notes.push("killed by the system because memory ran out".to_owned());
        }
        if outcome.killed && self.why.is_some() {
            notes.push("killed after the grace period".to_owned());
        } else if outcome.killed {
            notes.push("processes that the training left behind were killed".to_owned());
        }
        let code = match (outcome.code, outcome.signal) {
            (Some(code), _) => code,
            (None, Some(signal)) => 128 + signal,
            (None, None) => CODE_STOPPED,
        };
        self.exit(code, outcome.signal, Some(notes.join("; ")).filter(|notes| !notes.is_empty()))
    }

    fn exit(&self, code: i32, signal: Option<i32>, note: Option<String>) -> Exit {
        let notes: Vec<String> =
            self.why.and_then(Why::note).map(str::to_owned).into_iter().chain(note).collect();
        let note = Some(notes.join("; ")).filter(|note| !note.is_empty());
        Exit { signal, asked: self.why.is_some(), note, ..Exit::with_code(code, clock::now()) }
    }
}

/// A warden that runs.
struct Warden {
    child: Child,
    orders: Option<ChildStdin>,
    reports: Lines<BufReader<ChildStdout>>,
    output: Option<tokio::process::ChildStderr>,
}

impl Warden {
    async fn spawn(plan: &Plan) -> io::Result<Warden> {
        let mut child = Command::new(own_program())
            .arg0("trainyard")
            .arg(entry::WARDEN)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let (orders, reports) = (child.stdin.take(), child.stdout.take());
        let (Some(mut orders), Some(reports)) = (orders, reports) else {
            return Err(io::Error::other("no pipes"));
        };
        let mut line = serde_json::to_vec(plan)?;
        line.push(b'\n');
        orders.write_all(&line).await?;
        let output = child.stderr.take();
        Ok(Warden { child, orders: Some(orders), reports: BufReader::new(reports).lines(), output })
    }

    /// What it says next; none when it is gone. May be dropped and called again.
    async fn report(&mut self) -> Option<Report> {
        let line = self.reports.next_line().await.ok()??;
        serde_json::from_str(&line).ok()
    }

    async fn tell(&mut self, order: Order) {
        let Ok(mut line) = serde_json::to_vec(&order) else { return };
        line.push(b'\n');
        // One that is gone has no training to stop either; `report` shows it.
        if let Some(orders) = &mut self.orders {
            let _ = orders.write_all(&line).await;
        }
    }
}

/// The warden was killed: what was below it is ours now, since we are a subreaper too.
fn kill_what_is_left() {
    let until = Instant::now() + KILL_WITHIN;
    loop {
        let found = exterminate(descendants);
        while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status != WaitStatus::StillAlive)
        {
        }
        if found.is_empty() || Instant::now() > until {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
