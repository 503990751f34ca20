//! An attempt from its beginning to its end: prepared, run under the warden, its output and metrics followed, its
//! end told only when no process of it is left.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use secrecy::SecretString;
use tokio::sync::{mpsc, oneshot};
use trainyard_connector::{AgentEventBody, HandOverPurpose, SetupPhase, TrainingState};
use trainyard_domain::{Diagnosis, Exit, Outputs, Timestamp};

use super::agent::Agent;
use super::attempt::{Ask, Attempt, Desk, Start, Why};
use super::check;
use super::ended::{self, Ended};
use super::failure::Failure;
use super::held::{Warden, kill_what_is_left};
use super::layout::Layout;
use super::manifest;
use super::prepare::prepare;
use super::refusal::Refusal;
use super::side::Side;
use crate::diagnose::explain;
use crate::warden::{Order, Outcome, Plan, Report};
use crate::{clock, system};

/// The exit code where the agent could not bring the training to its start.
const CODE_UNPREPARED: i32 = 125;
/// The exit code of a training that was stopped before it began: as if SIGTERM had ended it.
const CODE_STOPPED: i32 = 128 + 15;
/// The exit code of a training that somebody killed together with its warden.
const CODE_KILLED: i32 = 128 + 9;
/// After the last process is gone the rest of its output is in the pipe; only a stranger who was handed the pipe
/// can hold it open longer.
const REST_WITHIN: Duration = Duration::from_secs(2);
/// What an installation that failed is called where its last lines tell nothing more.
const INSTALL_FAILED: (&str, &str) =
    ("install_failed", "read the last lines of the log, mend `environment`, and clone the job");

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
        installs: false,
        failure: None,
        waiting: Vec::new(),
    };
    let mut outputs = start.spec.outputs.clone();
    let exit = run.train(&agent, start, &mut asked).await;
    let told = attempt.sources().finish(exit.code == 0).await;
    if let Some(note) = told.note {
        attempt.output().note(&note);
    }
    let (log, last_word) = (agent.layout().log(), agent.layout().failure_file());
    let plain = exit.clone();
    let explained = tokio::task::spawn_blocking(move || explain(plain, &log, &last_word, told.loss)).await;
    let mut exit = explained.unwrap_or(exit);
    if run.installs && exit.code != 0 && !exit.asked && exit.diagnosis.is_none() {
        let cause = exit.last_lines.last().cloned().unwrap_or_default();
        let (code, remedy) = INSTALL_FAILED;
        exit.diagnosis =
            Some(Box::new(Diagnosis { code: code.to_owned(), cause, remedy: remedy.to_owned() }));
    }
    if outputs.exclude == Outputs::default().exclude {
        // Whoever leaves checkpoints out means those in a directory of the trainer's own too.
        outputs.exclude.extend(attempt.sources().nested_in_output());
    }
    let ended = TrainingState::Exited { started_at: run.started_at, exit: exit.clone() };
    keep_end(agent.layout(), &attempt, &ended, &outputs).await;
    attempt.journal().append(AgentEventBody::Exited(exit));
    attempt.set_state(ended);
    // Whoever still waits for a pause or a resume hears that it ended.
    drop(asked);
    run.waiting.clear();
    make_manifest(agent.layout().clone(), attempt, outputs).await;
}

/// Writes the end down for an agent after this one. Without the record that one knows of nothing.
async fn keep_end(layout: &Layout, attempt: &Attempt, training: &TrainingState, outputs: &Outputs) {
    let checkpoints = attempt.sources().checkpoints();
    let ended = Ended::new(attempt.kept().clone(), training.clone(), checkpoints, outputs.clone());
    let layout = layout.clone();
    let written = tokio::task::spawn_blocking(move || ended.write(&layout)).await;
    if let Ok(Err(error)) = written {
        super::complain(&format!("the end of the training could not be written down: {error}"));
    }
}

/// Makes the digests of what an ended attempt left, and tells and keeps them.
pub(super) async fn make_manifest(layout: Layout, attempt: Arc<Attempt>, outputs: Outputs) {
    let (dir, number) = (layout.output_dir(), attempt.number());
    let of = Arc::clone(&attempt);
    let make = move || {
        let made = manifest::make(number, &dir, &outputs, of.abandoned())?;
        if let Err(error) = ended::write_manifest(&layout, &made) {
            // They are made again then, by an agent after this one.
            super::complain(&format!("the outputs' digests could not be written down: {error}"));
        }
        Ok::<_, std::io::Error>(made)
    };
    let made = tokio::task::spawn_blocking(make).await;
    attempt.set_manifest(match made {
        Ok(made) => made.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    });
}

struct Run {
    attempt: Arc<Attempt>,
    started_at: Option<Timestamp>,
    /// The first reason it was told to stop.
    why: Option<Why>,
    deadline: Option<Instant>,
    paused_since: Option<Instant>,
    grace: Duration,
    /// Whether what runs now is the installation and not the training.
    installs: bool,
    /// What went wrong beside the installation.
    failure: Option<Failure>,
    /// Who waits to hear that all are stopped, or go on.
    waiting: Vec<oneshot::Sender<Result<(), Refusal>>>,
}

impl Run {
    async fn train(&mut self, agent: &Arc<Agent>, start: Start, asked: &mut mpsc::Receiver<Ask>) -> Exit {
        let start = Arc::new(start);
        let mut side = Side::begin(agent, &self.attempt, &start);
        let ready = self.get_ready(agent, &start, &mut side, asked).await;
        side.cancel().await;
        match ready {
            Ok(plan) => self.run(&plan, &mut Side::none(), asked).await,
            Err(exit) => exit,
        }
    }

    /// Everything that comes before the training. What needs no program of the job goes on beside the installation.
    async fn get_ready(
        &mut self,
        agent: &Arc<Agent>,
        start: &Arc<Start>,
        side: &mut Side,
        asked: &mut mpsc::Receiver<Ask>,
    ) -> Result<Plan, Exit> {
        check::disk(agent, start).map_err(|failure| self.unprepared(failure))?;
        let mut first = Side::code(agent, &self.attempt, start);
        let fetched = self.wait(&mut first, asked).await;
        first.cancel().await;
        fetched?;
        let mut plan = self.prepared(agent, start, asked).await?;
        let training =
            plan.steps.pop().ok_or_else(|| self.unprepared(Failure::internal("no step to run")))?;
        let secrets: Vec<SecretString> = start.secrets.values().cloned().collect();
        let desk = |environment: &[(String, String)]| Desk {
            directory: training.directory.clone(),
            environment: environment.to_vec(),
            secrets: secrets.clone(),
        };
        self.attempt.set_desk(desk(&plan.environment));
        let mut handed = Side::inputs(agent, start);
        if !start.spec.environment.setup.is_empty() {
            // Commands of the job may read what was handed over; packages are installed while it comes.
            plan.environment.extend(self.wait(&mut handed, asked).await?);
        }
        if !plan.steps.is_empty() {
            self.attempt.journal().append(AgentEventBody::Phase(SetupPhase::Installing));
            self.installs = true;
            let exit = self.run(&plan, side, asked).await;
            if exit.code != 0 || exit.asked || exit.machine_fault {
                return Err(exit);
            }
            self.installs = false;
        }
        for side in [side, &mut handed] {
            let found = self.wait(side, asked).await?;
            plan.environment.extend(found);
        }
        self.attempt.set_desk(desk(&plan.environment));
        Ok(Plan { environment: plan.environment, steps: vec![training] })
    }

    async fn prepared(
        &mut self,
        agent: &Arc<Agent>,
        start: &Arc<Start>,
        asked: &mut mpsc::Receiver<Ask>,
    ) -> Result<Plan, Exit> {
        if start.inputs.iter().any(|input| input.purpose == HandOverPurpose::Code) {
            self.attempt.journal().append(AgentEventBody::Phase(SetupPhase::Unpacking));
        }
        let (to_prepare, attempt, start) = (Arc::clone(agent), Arc::clone(&self.attempt), Arc::clone(start));
        let prepared = tokio::task::spawn_blocking(move || prepare(&to_prepare, &attempt, &start)).await;
        if self.attempt.stopping().load(Ordering::SeqCst) {
            while let Ok(ask) = asked.try_recv() {
                if let Ask::Stop { why, .. } = ask {
                    self.why.get_or_insert(why);
                }
            }
            return Err(self.stopped());
        }
        match prepared {
            Ok(Ok(plan)) => Ok(plan),
            Ok(Err(error)) => Err(self.exit(CODE_UNPREPARED, None, Some(error.to_string()))),
            Err(error) => Err(self.exit(CODE_UNPREPARED, None, Some(error.to_string()))),
        }
    }

    /// Waits for what goes on beside, and gives the variables that it found.
    async fn wait(
        &mut self,
        side: &mut Side,
        asked: &mut mpsc::Receiver<Ask>,
    ) -> Result<Vec<(String, String)>, Exit> {
        loop {
            let over = until(self.deadline);
            tokio::select! {
                ended = side.ended() => return ended.map_err(|failure| self.unprepared(failure)),
                Some(ask) = asked.recv() => match ask {
                    Ask::Stop { why, .. } => {
                        self.why.get_or_insert(why);
                        return Err(self.stopped());
                    }
                    Ask::Extend(deadline) => self.deadline = Instant::now().checked_add(deadline),
                    Ask::Pause(reply) | Ask::Resume(reply) => {
                        let _ = reply.send(Err(Refusal::state("the training does not run")));
                    }
                },
                () = over => {
                    self.why.get_or_insert(Why::Deadline);
                    return Err(self.stopped());
                }
            }
        }
    }

    /// Runs the steps of a plan under a warden of their own.
    async fn run(&mut self, plan: &Plan, side: &mut Side, asked: &mut mpsc::Receiver<Ask>) -> Exit {
        let titles: Vec<Option<String>> = plan.steps.iter().map(|step| step.title.clone()).collect();
        let killed_before = system::out_of_memory_kills();
        let outcome = match Warden::spawn(plan).await {
            Ok(warden) => self.follow(warden, titles.len(), side, asked).await,
            Err(error) => {
                let note = format!("the warden could not be started: {error}");
                return self.exit(CODE_UNPREPARED, None, Some(note));
            }
        };
        if let Some(failure) = self.failure.take() {
            return self.unprepared(failure);
        }
        if self.installs && self.attempt.stopping().load(Ordering::SeqCst) {
            return self.stopped();
        }
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
        side: &mut Side,
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
            let time_is_over = until(self.deadline.filter(|_| self.paused_since.is_none()));
            tokio::select! {
                report = warden.report() => match report {
                    Some(Report::Gone(outcome)) => break Some(outcome),
                    Some(report) => self.hear(report, steps),
                    None => break None,
                },
                Some(ask) = asked.recv() => self.obey(ask, &mut warden).await,
                failure = side.fails() => {
                    self.failure = Some(failure);
                    warden.tell(Order::Terminate { grace_ms: 0 }).await;
                }
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
            Report::Started { step } if step + 1 == steps && !self.installs => {
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

    fn stopped(&self) -> Exit {
        self.exit(CODE_STOPPED, None, Some("stopped before it began".to_owned()))
    }

    /// Something before the training failed, and the agent knows what.
    fn unprepared(&self, failure: Failure) -> Exit {
        let exit = self.exit(CODE_UNPREPARED, None, Some(failure.diagnosis.cause.clone()));
        Exit { machine_fault: failure.machine_fault, diagnosis: Some(Box::new(failure.diagnosis)), ..exit }
    }

    fn exit(&self, code: i32, signal: Option<i32>, note: Option<String>) -> Exit {
        let notes: Vec<String> =
            self.why.and_then(Why::note).map(str::to_owned).into_iter().chain(note).collect();
        let note = Some(notes.join("; ")).filter(|note| !note.is_empty());
        Exit { signal, asked: self.why.is_some(), note, ..Exit::with_code(code, clock::now()) }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
