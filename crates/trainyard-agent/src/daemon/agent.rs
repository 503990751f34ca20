//! The agent's own state: who it is, the attempt it serves, when it was last spoken to, whether it leaves.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};
use trainyard_connector::{AgentGreeting, SelfRemovalProof, TrainingState, WorkloadState};
use trainyard_domain::Timestamp;

use super::attempt::{Attempt, Start, Why};
use super::auth::Guard;
use super::environment;
use super::exec;
use super::layout::Layout;
use super::lease::{Stage, Standing, Verdict, decide};
use super::refusal::Refusal;
use super::vendor::{Vendor, unstarted_for};
use super::{Options, place};
use crate::clock;

/// The variable by which an agent knows that a bootstrap script started it.
const RENTED: &str = "TRAINYARD_BOOT_ORDER";
/// How long a rented machine waits for a first word where its order does not say.
const UNSTARTED: Duration = Duration::from_secs(3600);
/// When a machine reads itself to prove that it can: its network may need a moment.
const PROBE_AFTER: [Duration; 4] =
    [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(60)];
/// So many tries before it is told that it cannot.
const PROBE_TRIES: usize = 3;
/// When its removal is asked for again, first; then twice as long each time.
const REMOVE_AGAIN: Duration = Duration::from_secs(5);
const REMOVE_AGAIN_MAX: Duration = Duration::from_secs(300);
/// An agent on a machine of one's own that was never told to start anything leaves after this silence.
const IDLE_LEAVES_AFTER: Duration = Duration::from_secs(24 * 3600);
/// How long an agent that was started anew waits in any case for whoever spoke to the one before: the slowest pace of
/// looks, and time to reach it.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is written down at most that somebody spoke.
const LAST_WORD_EVERY: Duration = Duration::from_secs(10);
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
    /// Rings when a part of an input came.
    input_came: watch::Sender<u64>,
    /// Places for commands beside the training.
    execs: Semaphore,
    /// One `start` or `release` at a time.
    changing: tokio::sync::Mutex<()>,
    attempt: watch::Sender<Option<Arc<Attempt>>>,
    /// Until when nobody need worry: the last call, or the lease that a renewal gave.
    quiet_from: Mutex<Instant>,
    /// Until when silence is borne in any case: whoever spoke to an agent before this one has to find this one first.
    patient_until: Option<Instant>,
    /// When the machine has to be gone.
    machine_ends: Mutex<Option<Instant>>,
    /// How long a first word is waited for.
    unstarted_for: Duration,
    /// How the machine is removed from within; none where it cannot be, or is nobody's to remove.
    vendor: Option<Vendor>,
    proof: Mutex<SelfRemovalProof>,
    leaving: watch::Sender<bool>,
}

impl Agent {
    pub(super) fn new(options: Options) -> io::Result<Agent> {
        let boot = crate::random::bytes::<16>()?;
        let keep = options.keep.map(std::path::absolute).transpose()?;
        let layout = Layout::new(std::path::absolute(options.root)?, keep);
        let rented = options.environment.iter().any(|(name, _)| name == RENTED);
        let mut environment = environment::inherited(&options.environment);
        if rented {
            let caches = environment::lasting_caches(&options.environment);
            environment::add_caches(&mut environment, &caches.unwrap_or_else(|| layout.cache_dir()));
        }
        // An agent of before is dead: what it began is not gone on with. What ended under it is still served.
        place::remove(&layout.record())?;
        let attempt = Attempt::restore(&layout);
        let ends = read_time(&layout.machine_ends());
        let (now, last_word) = (Instant::now(), read_time(&layout.last_word()));
        let patient_until = last_word.and_then(|_| now.checked_add(PATIENCE));
        let usual = if rented { UNSTARTED } else { IDLE_LEAVES_AFTER };
        let unstarted_for = unstarted_for(&options.environment, usual);
        Ok(Agent {
            guard: Guard::new(options.public_key, options.order, hex::encode(boot)),
            layout,
            trainer: options.trainer,
            rented,
            environment: environment.into_iter().collect(),
            taking_inputs: tokio::sync::Mutex::new(()),
            input_came: watch::Sender::new(0),
            execs: Semaphore::new(exec::AT_ONCE),
            changing: tokio::sync::Mutex::new(()),
            attempt: watch::Sender::new(attempt),
            quiet_from: Mutex::new(last_word.unwrap_or(now)),
            patient_until,
            machine_ends: Mutex::new(ends),
            unstarted_for,
            vendor: Vendor::of(&options.environment),
            proof: Mutex::new(SelfRemovalProof::None),
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

    /// A part of an input is on the disk.
    pub(crate) fn input_came(&self) {
        self.input_came.send_modify(|count| *count += 1);
    }

    /// Changes whenever a part of an input came.
    pub(crate) fn inputs_coming(&self) -> watch::Receiver<u64> {
        self.input_came.subscribe()
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
            self_removal: lock(&self.proof).clone(),
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
        // An agent that is started anew after a crash keeps to it. Without the file it waits for a first word at most.
        let at =
            chrono::TimeDelta::from_std(ends).ok().and_then(|ends| clock::now().checked_add_signed(ends));
        let _ = write_time(&self.layout.machine_ends(), at);
    }

    /// What follows from silence and from money used up. Runs until the agent leaves.
    pub(super) async fn mind_lease(self: Arc<Self>) {
        let mut removal = Removal::default();
        let mut told = None;
        loop {
            self.keep_last_word(&mut told);
            tokio::time::sleep(LOOK_EVERY).await;
            let attempt = self.current();
            match self.verdict(attempt.as_deref()) {
                Verdict::Wait => removal = Removal::default(),
                Verdict::Stop { grace, why } => {
                    if let Some(attempt) = attempt {
                        attempt.stop(grace, why);
                    }
                }
                Verdict::Go(why) => {
                    if let Some(attempt) = &attempt {
                        // Only at the end of the budget does it still run.
                        attempt.stop(Duration::ZERO, Why::Budget);
                    }
                    self.go(&mut removal, why).await;
                }
            }
        }
    }

    /// Writes down now and then when it was last spoken to: an agent that ends again and again does not make a machine
    /// wait for ever.
    fn keep_last_word(&self, told: &mut Option<(Instant, Instant)>) {
        let (now, from) = (Instant::now(), *lock(&self.quiet_from));
        let is_new = told.is_none_or(|(at, word)| word != from && now >= at + LAST_WORD_EVERY);
        if self.rented && is_new {
            *told = Some((now, from));
            let ahead =
                from.checked_duration_since(now).and_then(|ahead| chrono::TimeDelta::from_std(ahead).ok());
            let ago = now.checked_duration_since(from).and_then(|ago| chrono::TimeDelta::from_std(ago).ok());
            let apart = ahead.unwrap_or_default() - ago.unwrap_or_default();
            // One that cannot be written is written at the next word.
            let _ = write_time(&self.layout.last_word(), clock::now().checked_add_signed(apart));
        }
    }

    /// The machine is of no more use.
    async fn go(&self, removal: &mut Removal, why: &str) {
        match &self.vendor {
            Some(vendor) => removal.go_on(vendor, why).await,
            // A machine that cannot remove itself is paid for either way: it goes on holding what it has.
            None if self.rented => {}
            None => drop(self.leaving.send_replace(true)),
        }
    }

    fn verdict(&self, attempt: Option<&Attempt>) -> Verdict {
        let machine_left = lock(&self.machine_ends).map(|at| at.saturating_duration_since(Instant::now()));
        let stage = match attempt.map(|attempt| (attempt, attempt.state())) {
            None => Stage::Idle,
            Some((attempt, TrainingState::Exited { exit, .. })) => {
                Stage::Ended { limits: attempt.limits(), code: exit.code, ago: attempt.ended_ago() }
            }
            Some((attempt, state)) => Stage::Working {
                limits: attempt.limits(),
                paused: matches!(state, TrainingState::Running { paused: true, .. }),
                stopping: attempt.stopping().load(Ordering::SeqCst),
            },
        };
        let is_patient = self.patient_until.is_some_and(|until| Instant::now() < until);
        let silence = if is_patient { Duration::ZERO } else { lock(&self.quiet_from).elapsed() };
        decide(&Standing { stage, silence, machine_left, unstarted_for: self.unstarted_for })
    }

    /// Finds out once whether this machine can remove itself.
    pub(super) async fn prove_removal(self: Arc<Self>) {
        let Some(vendor) = &self.vendor else { return };
        for (before, wait) in PROBE_AFTER.into_iter().enumerate() {
            tokio::time::sleep(wait).await;
            match vendor.probe().await {
                Ok(()) => {
                    *lock(&self.proof) = SelfRemovalProof::Proven;
                    return;
                }
                Err(why) if before + 1 >= PROBE_TRIES => *lock(&self.proof) = SelfRemovalProof::Failed(why),
                Err(_) => {}
            }
        }
    }
}

/// The machine's removal, asked for again until the machine is gone or somebody speaks to the agent.
#[derive(Debug, Default)]
struct Removal {
    tries: u32,
    next: Option<Instant>,
}

impl Removal {
    async fn go_on(&mut self, vendor: &Vendor, why: &str) {
        if self.next.is_some_and(|at| Instant::now() < at) {
            return;
        }
        super::complain(&format!("{why}: this machine has itself removed"));
        if let Err(error) = vendor.remove().await {
            super::complain(&error);
        }
        // A vendor takes a minute or so even where it has accepted.
        let wait = REMOVE_AGAIN.saturating_mul(1 << self.tries.min(6));
        self.tries = self.tries.saturating_add(1);
        self.next = Instant::now().checked_add(wait.min(REMOVE_AGAIN_MAX));
    }
}

/// Writes a time down by the clock on the wall, which outlives the agent; none removes it.
fn write_time(path: &Path, at: Option<Timestamp>) -> io::Result<()> {
    match at {
        Some(at) => place::replace(path, at.to_rfc3339().as_bytes()),
        None => place::remove(path),
    }
}

/// The time that an agent before this one wrote down there.
fn read_time(path: &Path) -> Option<Instant> {
    let text = std::fs::read_to_string(path).ok()?;
    let at = chrono::DateTime::parse_from_rfc3339(&text).ok()?.to_utc();
    let now = Instant::now();
    match (at - clock::now()).to_std() {
        Ok(left) => now.checked_add(left),
        Err(_) => now.checked_sub((clock::now() - at).to_std().ok()?),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
