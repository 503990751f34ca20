//! The agent's own state: who it is, the attempt it serves, when it was last spoken to, whether it leaves.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};
use trainyard_connector::{AgentGreeting, SelfRemovalProof, TrainingState, WorkloadState};
use trainyard_domain::WhenOrchestratorLost;

use super::attempt::{Attempt, Start, Why};
use super::auth::Guard;
use super::environment;
use super::exec;
use super::layout::Layout;
use super::refusal::Refusal;
use super::{Options, place};
use crate::clock;

/// The variable by which an agent knows that a bootstrap script started it.
const RENTED: &str = "TRAINYARD_BOOT_ORDER";
/// An agent that was never told to start anything leaves after this silence.
const IDLE_LEAVES_AFTER: Duration = Duration::from_secs(24 * 3600);
/// How often silence is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Grace of a training that ends because the agent was told to end by a signal.
const SIGNAL_GRACE: Duration = Duration::from_secs(10);
/// How long the end of a training is waited for that was told to end at once: killing takes milliseconds, a
/// process that hangs in the kernel for ever.
const KILL_WITHIN: Duration = Duration::from_secs(25);

/// The agent.
#[derive(Debug)]
pub(crate) struct Agent {
    guard: Guard,
    layout: Layout,
    trainer: Option<PathBuf>,
    rented: bool,
    environment: Vec<(String, String)>,
    /// One part of an input at a time: two of the same would mix.
    taking_inputs: tokio::sync::Mutex<()>,
    /// Places for commands beside the training.
    execs: Semaphore,
    /// One `start` or `release` at a time.
    changing: tokio::sync::Mutex<()>,
    attempt: watch::Sender<Option<Arc<Attempt>>>,
    /// Until when nobody need worry: the last call, or the lease that a renewal gave.
    quiet_from: Mutex<Instant>,
    /// When the machine has to be gone.
    machine_ends: Mutex<Option<Instant>>,
    leaving: watch::Sender<bool>,
}

impl Agent {
    pub(super) fn new(options: Options) -> io::Result<Agent> {
        let boot = crate::random::bytes::<16>()?;
        let keep = options.keep.map(std::path::absolute).transpose()?;
        let layout = Layout::new(std::path::absolute(options.root)?, keep);
        // An agent of before is dead: what it began is not gone on with.
        place::remove(&layout.record())?;
        Ok(Agent {
            guard: Guard::new(options.public_key, options.order, hex::encode(boot)),
            layout,
            trainer: options.trainer,
            rented: options.environment.iter().any(|(name, _)| name == RENTED),
            environment: environment::inherited(&options.environment).into_iter().collect(),
            taking_inputs: tokio::sync::Mutex::new(()),
            execs: Semaphore::new(exec::AT_ONCE),
            changing: tokio::sync::Mutex::new(()),
            attempt: watch::Sender::new(None),
            quiet_from: Mutex::new(Instant::now()),
            machine_ends: Mutex::new(None),
            leaving: watch::Sender::new(false),
        })
    }

    pub(crate) fn guard(&self) -> &Guard {
        &self.guard
    }

    pub(crate) fn order(&self) -> &str {
        self.guard.order()
    }

    pub(crate) fn boot_id(&self) -> &str {
        self.guard.boot_id()
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) fn trainer(&self) -> Option<&PathBuf> {
        self.trainer.as_ref()
    }

    /// What a training sees of the agent's environment.
    pub(crate) fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    /// Held while a part of an input is stored.
    pub(crate) async fn taking_inputs(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.taking_inputs.lock().await
    }

    pub(super) fn execs(&self) -> &Semaphore {
        &self.execs
    }

    /// Whether the machine was rented for this agent: its script tells so in the environment.
    pub(crate) fn is_rented(&self) -> bool {
        self.rented
    }

    /// Whether the container's own environment promises GPUs.
    pub(crate) fn is_told_of_gpus(&self) -> bool {
        let told = self.environment.iter().find(|(name, _)| name == "NVIDIA_VISIBLE_DEVICES");
        told.is_some_and(|(_, list)| !["", "void", "none"].contains(&list.as_str()))
    }

    /// Becomes true when the agent leaves.
    pub(crate) fn leaving(&self) -> watch::Receiver<bool> {
        self.leaving.subscribe()
    }

    pub(crate) fn greeting(&self) -> AgentGreeting {
        AgentGreeting {
            boot_id: self.boot_id().to_owned(),
            time: clock::now(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            order: self.order().to_owned(),
        }
    }

    pub(crate) fn state(&self) -> WorkloadState {
        let attempt = self.current();
        WorkloadState {
            boot_id: self.boot_id().to_owned(),
            attempt: attempt.as_ref().map(|attempt| (attempt.job().clone(), attempt.number())),
            training: attempt.as_ref().map_or(TrainingState::Idle, |attempt| attempt.state()),
            last_event: attempt.as_ref().map_or(0, |attempt| attempt.journal().last()),
            log_bytes: attempt.as_ref().map_or(0, |attempt| attempt.output().bytes()),
            self_removal: SelfRemovalProof::None,
        }
    }

    /// The attempt it was told to start.
    pub(crate) fn current(&self) -> Option<Arc<Attempt>> {
        self.attempt.borrow().clone()
    }

    /// The same, waited for; none where there is none after that time.
    pub(crate) async fn current_within(&self, wait: Duration) -> Option<Arc<Attempt>> {
        let mut attempt = self.attempt.subscribe();
        let _ = tokio::time::timeout(wait, attempt.wait_for(Option::is_some)).await;
        self.current()
    }

    /// The same, or that there is none.
    pub(crate) fn attempt(&self) -> Result<Arc<Attempt>, Refusal> {
        self.current().ok_or_else(|| Refusal::state("no training was started by this agent"))
    }

    /// Starts an attempt unless it was started before. Everything of another one is gone first.
    pub(crate) async fn start(self: &Arc<Self>, start: Start) -> Result<WorkloadState, Refusal> {
        let _changing = self.changing.lock().await;
        if *self.leaving.borrow() {
            return Err(Refusal::state("the agent was released"));
        }
        let current = self.current();
        if current.as_ref().is_some_and(|now| *now.job() == start.job_id && now.number() == start.attempt) {
            return Ok(self.state());
        }
        if let Some(old) = current {
            self.end(&old, Duration::ZERO, Why::Replaced).await?;
            old.abandon().await;
        }
        start.check(&self.layout)?;
        self.machine_ends_in(start.machine_ends_s.map_or(Duration::MAX, Duration::from_secs));
        let attempt = Attempt::begin(self, start)?;
        self.attempt.send_replace(Some(attempt));
        Ok(self.state())
    }

    /// Ends everything, clears the directory and leaves.
    pub(crate) async fn release(&self) -> Result<(), Refusal> {
        let _changing = self.changing.lock().await;
        if let Some(attempt) = self.current() {
            self.end(&attempt, Duration::ZERO, Why::Released).await?;
            attempt.abandon().await;
        }
        let layout = self.layout.clone();
        let cleared = tokio::task::spawn_blocking(move || layout.clear()).await;
        if let Ok(Err(error)) = cleared {
            super::complain(&format!("{} could not be cleared: {error}", self.layout.root().display()));
        }
        self.leaving.send_replace(true);
        Ok(())
    }

    /// Ends the training with some grace, keeps what it left, and leaves.
    pub(super) async fn leave_in_order(&self) {
        let _changing = self.changing.lock().await;
        if let Some(attempt) = self.current()
            && let Err(error) = self.end(&attempt, SIGNAL_GRACE, Why::AgentEnds).await
        {
            super::complain(&error.text);
        }
        self.leaving.send_replace(true);
    }

    async fn end(&self, attempt: &Attempt, grace: Duration, why: Why) -> Result<(), Refusal> {
        attempt.stop(grace, why);
        tokio::time::timeout(grace + KILL_WITHIN, attempt.exited())
            .await
            .map_err(|error| Refusal::broken("processes of the training cannot be killed", &error))
    }

    /// Somebody who may command called.
    pub(super) fn was_called(&self) {
        self.renew(Duration::ZERO);
    }

    /// Nobody need worry for that long.
    pub(crate) fn renew(&self, lease: Duration) {
        let mut from = lock(&self.quiet_from);
        if let Some(until) = Instant::now().checked_add(lease) {
            *from = (*from).max(until);
        }
    }

    /// The machine has to be gone that long from now; a time that no clock reaches: never.
    pub(crate) fn machine_ends_in(&self, ends: Duration) {
        *lock(&self.machine_ends) = Instant::now().checked_add(ends);
    }

    /// What follows from silence. Runs until the agent leaves.
    pub(super) async fn mind_limits(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let silence = lock(&self.quiet_from).elapsed();
            if lock(&self.machine_ends).is_some_and(|at| at <= Instant::now()) {
                self.leaving.send_replace(true);
            }
            let Some(attempt) = self.current() else {
                if silence > IDLE_LEAVES_AFTER {
                    self.leaving.send_replace(true);
                }
                continue;
            };
            let limits = attempt.limits();
            let is_over = matches!(attempt.state(), TrainingState::Exited { .. });
            let hold_s = match attempt.state() {
                TrainingState::Exited { exit, .. } if exit.code != 0 => {
                    limits.hold_s.max(limits.hold_on_failure_s)
                }
                _ => limits.hold_s,
            };
            if is_over && silence > Duration::from_secs(hold_s) {
                self.leaving.send_replace(true);
            }
            let stops = limits.when_orchestrator_lost == WhenOrchestratorLost::Stop;
            if !is_over && stops && silence > Duration::from_secs(limits.max_silence_s) {
                attempt.stop(Duration::from_secs(limits.grace_period_s), Why::Silence);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
