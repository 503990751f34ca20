//! The trainings' side: [`Workload`] over the world.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use sha2::Digest;
use tokio::time::Instant;
use trainyard_connector::{
    AgentGreeting, CheckpointInfo, CheckpointManifest, ConnectorError, ErrorKind, EventBatch,
    HandOverPurpose, InputSource, Manifest, ManifestFile, Renewal, SelfRemovalProof, StartOrder,
    TrainingState, Workload, WorkloadState,
};
use trainyard_domain::{AttemptNumber, JobId, OrderName, ProviderJobId, Sha256};

use super::{Machine, Run, World, checkpoint};
use crate::memory::locked;
use crate::process::Process;

/// One machine's agent, seen by one process.
#[derive(Debug)]
pub(super) struct Agent {
    world: Arc<World>,
    process: Arc<Process>,
    order: OrderName,
    id: ProviderJobId,
    /// The boot that answered last.
    boot: Mutex<Option<u32>>,
    /// The attempt that calls are meant for.
    serves: Option<(JobId, AttemptNumber)>,
}

fn silent() -> ConnectorError {
    ConnectorError::unknown(ErrorKind::Unreachable, "the agent does not answer")
}

fn not_found() -> ConnectorError {
    ConnectorError::refused(ErrorKind::NotFound, "there is no such attempt or file")
}

impl Agent {
    pub(super) fn new(
        world: Arc<World>,
        process: Arc<Process>,
        order: OrderName,
        id: ProviderJobId,
    ) -> Agent {
        Agent { world, process, order, id, boot: Mutex::default(), serves: None }
    }

    /// One question, where the agent answers.
    async fn ask<T>(
        &self,
        work: impl Fn(&World, &mut Machine) -> Result<T, ConnectorError> + Send,
    ) -> Result<T, ConnectorError> {
        let asked = async {
            let twice = self.process.makes_twice();
            self.world.takes(2).await;
            let answer = self.now(&work);
            if twice {
                let _ = self.now(&work);
            }
            self.world.takes(2).await;
            if self.world.with(|state| state.dice.hits(state.faults.agent_silent)) {
                return Err(silent());
            }
            answer
        };
        self.process.outside(asked).await
    }

    fn now<T>(
        &self,
        work: impl Fn(&World, &mut Machine) -> Result<T, ConnectorError>,
    ) -> Result<T, ConnectorError> {
        self.world.with(|state| {
            let now = Instant::now();
            let machine = state.find(&self.order, &self.id).ok_or_else(silent)?;
            machine.advance(now, self.world.time);
            self.world.keep(machine);
            if !machine.answers(now) {
                return Err(silent());
            }
            let mut boot = locked(&self.boot);
            let known = *boot.get_or_insert(machine.boot);
            if known != machine.boot {
                // The next question is put to the boot that answers then.
                *boot = None;
                return Err(ConnectorError::refused(ErrorKind::Restarted, "the agent was restarted"));
            }
            drop(boot);
            work(&self.world, machine)
        })
    }

    /// The same about the attempt that is meant: an agent that serves another one by then refuses.
    async fn ask_of<T>(
        &self,
        work: impl Fn(&World, &mut Machine) -> Result<T, ConnectorError> + Send + Sync,
    ) -> Result<T, ConnectorError> {
        self.ask(|world, machine| {
            let other =
                |run: &Run| self.serves.as_ref().is_some_and(|(job, n)| (&run.job, run.attempt) != (job, *n));
            if machine.run.as_ref().is_some_and(other) {
                let text = "another attempt runs on this machine by now";
                return Err(ConnectorError::refused(ErrorKind::Invalid, text));
            }
            work(world, machine)
        })
        .await
    }

    /// Whether bytes come wrong this time.
    fn torn(&self) -> bool {
        self.world.with(|state| state.dice.hits(state.faults.bytes_wrong))
    }

    fn state_of(&self, machine: &Machine) -> WorkloadState {
        let run = machine.run.as_ref();
        WorkloadState {
            boot_id: format!("boot-{}", machine.boot),
            attempt: run.map(|run| (run.job.clone(), run.attempt)),
            training: run.map_or(TrainingState::Idle, |run| run.state(self.world.time)),
            last_event: run.map_or(0, |run| run.events.len() as u64),
            log_bytes: run.map_or(0, Run::log_len),
            self_removal: SelfRemovalProof::Proven,
        }
    }
}

fn run(machine: &mut Machine) -> Result<&mut Run, ConnectorError> {
    let none = || ConnectorError::refused(ErrorKind::Invalid, "no training was started by this agent");
    machine.run.as_mut().ok_or_else(none)
}

/// A range of bytes, the first one turned where they come wrong.
fn part(bytes: &Bytes, offset: u64, limit: u64, wrong: bool) -> Bytes {
    let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    let to = from.saturating_add(usize::try_from(limit).unwrap_or(usize::MAX)).min(bytes.len());
    let part = bytes.slice(from..to);
    if !wrong || part.is_empty() {
        return part;
    }
    let mut other = BytesMut::from(part.as_ref());
    other[0] ^= 1;
    other.freeze()
}

/// The step that an attempt begins with: of the checkpoint that it is to go on from, or that its machine kept.
fn begins_at(world: &World, machine: &Machine, order: &StartOrder) -> u64 {
    let Some(name) = &order.resume_from else {
        return world.kept(&machine.vendor, &order.job_id).unwrap_or(0);
    };
    let step = checkpoint::step_of(name).unwrap_or(0);
    let handed = |digest: &Sha256| {
        let checkpoint = |to: &HandOverPurpose| matches!(to, HandOverPurpose::Checkpoint { .. });
        let told = order.inputs.iter().any(|input| input.sha256 == *digest && checkpoint(&input.purpose));
        told && machine.inputs.contains(digest)
    };
    if !checkpoint::digests(&order.job_id, step).iter().all(handed) {
        world.wrong(format!("{} goes on from `{name}`, which is not what it wrote there", order.job_id));
    }
    step
}

#[async_trait]
impl Workload for Agent {
    fn serve(&mut self, job: &JobId, attempt: AttemptNumber) {
        self.serves = Some((job.clone(), attempt));
    }

    async fn greet(&self) -> Result<AgentGreeting, ConnectorError> {
        self.ask(|world, machine| {
            Ok(AgentGreeting {
                boot_id: format!("boot-{}", machine.boot),
                time: world.time.date(),
                version: "simulated".to_owned(),
                order: machine.order.to_string(),
            })
        })
        .await
    }

    async fn state(&self) -> Result<WorkloadState, ConnectorError> {
        self.ask(|_, machine| Ok(self.state_of(machine))).await
    }

    async fn put_input(&self, input: &InputSource) -> Result<(), ConnectorError> {
        let sent = std::fs::read(&input.path).map(|bytes| digest(&bytes));
        let (sha256, good) = (input.sha256, sent.is_ok_and(|sent| sent == input.sha256));
        self.ask(|_, machine| {
            if !good {
                return Err(ConnectorError::refused(ErrorKind::Mismatch, "these are other bytes"));
            }
            machine.inputs.insert(sha256);
            Ok(())
        })
        .await
    }

    async fn start(&self, order: &StartOrder) -> Result<WorkloadState, ConnectorError> {
        let plan = self.world.with(|state| state.plans.get(&order.job_id).cloned()).ok_or_else(not_found)?;
        let number = self.process.number;
        self.ask(|world, machine| {
            let known = machine.run.as_ref();
            if !known.is_some_and(|run| run.job == order.job_id && run.attempt == order.attempt) {
                world.note(|| {
                    format!(
                        "process {number} starts {} attempt {} on {}",
                        order.job_id, order.attempt, machine.id
                    )
                });
                if let Some(other) = machine.run.take() {
                    if other.exit.is_none() {
                        world.wrong(format!("{} ends the training of {}", order.job_id, other.job));
                    }
                    machine.past.push(other);
                }
                let deadline = order.deadline_s.map(Duration::from_secs);
                let step = begins_at(world, machine, order);
                let job = order.job_id.clone();
                machine.run = Some(Run::begin(job, order.attempt, plan.clone(), step, deadline, world.time));
                machine.set_end(order.machine_ends_s.map_or(Duration::MAX, Duration::from_secs));
                world.changed.notify_waiters();
            }
            Ok(self.state_of(machine))
        })
        .await
    }

    async fn events(&self, after: u64, wait: Duration) -> Result<EventBatch, ConnectorError> {
        let until = Instant::now() + wait;
        loop {
            let changed = self.world.changed.notified();
            let (batch, next) = self
                .ask_of(|_, machine| {
                    let boot_id = format!("boot-{}", machine.boot);
                    let Some(run) = &machine.run else {
                        return Ok((EventBatch { boot_id, events: Vec::new(), last: 0 }, None));
                    };
                    let last = run.events.len() as u64;
                    let from = usize::try_from(after.min(last)).unwrap_or(0);
                    let events = run.events[from..].to_vec();
                    Ok((EventBatch { boot_id, events, last }, run.next_at()))
                })
                .await?;
            if !batch.events.is_empty() || Instant::now() >= until {
                return Ok(batch);
            }
            // In larger pieces, as an agent that has much to tell gives them.
            let next = next.map_or(until, |at| (at + Duration::from_secs(1)).min(until));
            tokio::select! {
                biased;
                () = self.process.died() => std::future::pending().await,
                () = changed => {}
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    async fn log(&self, offset: u64, limit: u32) -> Result<Bytes, ConnectorError> {
        self.ask_of(|_, machine| {
            let end = run(machine)?.log_len().min(offset + u64::from(limit));
            Ok((offset..end).map(|at| b'a' + (at % 26) as u8).collect())
        })
        .await
    }

    async fn stop(&self, grace: Duration) -> Result<(), ConnectorError> {
        self.ask_of(|world, machine| {
            run(machine)?.stop(grace);
            world.changed.notify_waiters();
            Ok(())
        })
        .await
    }

    async fn pause(&self) -> Result<(), ConnectorError> {
        self.ask_of(|_, machine| {
            run(machine)?.pause();
            Ok(())
        })
        .await
    }

    async fn resume(&self) -> Result<(), ConnectorError> {
        self.ask_of(|world, machine| {
            run(machine)?.resume();
            world.changed.notify_waiters();
            Ok(())
        })
        .await
    }

    async fn manifest(&self, _: Duration) -> Result<Option<Manifest>, ConnectorError> {
        self.ask_of(|_, machine| {
            let run = run(machine)?;
            if run.exit.is_none() {
                return Err(not_found());
            }
            let file = |(path, bytes): &(String, Bytes)| ManifestFile {
                path: path.clone(),
                size_bytes: bytes.len() as u64,
                sha256: digest(bytes),
            };
            let files = run.plan.files.iter().map(file).collect();
            Ok(Some(Manifest { attempt: run.attempt, files, skipped: Vec::new() }))
        })
        .await
    }

    async fn file(&self, path: &str, offset: u64, limit: u64) -> Result<Bytes, ConnectorError> {
        let wrong = self.torn();
        self.ask_of(|_, machine| {
            let run = run(machine)?;
            let found = run.plan.files.iter().find(|(known, _)| known == path);
            Ok(part(&found.ok_or_else(not_found)?.1, offset, limit, wrong))
        })
        .await
    }

    async fn checkpoints(&self) -> Result<Vec<CheckpointInfo>, ConnectorError> {
        self.ask_of(|_, machine| {
            let run = run(machine)?;
            Ok(run.checkpoints().into_iter().map(|step| checkpoint::info(&run.job, step)).collect())
        })
        .await
    }

    async fn hold_checkpoint(
        &self,
        path: &str,
        _: Duration,
    ) -> Result<Option<CheckpointManifest>, ConnectorError> {
        self.ask_of(|_, machine| {
            let run = run(machine)?;
            let step = checkpoint::step_of(path).ok_or_else(not_found)?;
            if run.held != Some(step) && !run.checkpoints().contains(&step) {
                return Err(not_found());
            }
            run.held = Some(step);
            Ok(Some(checkpoint::manifest(&run.job, step)))
        })
        .await
    }

    async fn checkpoint_file(
        &self,
        path: &str,
        file: &str,
        offset: u64,
        limit: u64,
    ) -> Result<Bytes, ConnectorError> {
        let wrong = self.torn();
        self.ask_of(|_, machine| {
            let run = run(machine)?;
            let step = run.held.filter(|step| checkpoint::name(*step) == path).ok_or_else(not_found)?;
            let files = checkpoint::files(&run.job, step);
            let found = files.iter().find(|(known, _)| known == file);
            Ok(part(&found.ok_or_else(not_found)?.1, offset, limit, wrong))
        })
        .await
    }

    async fn release_checkpoint(&self, path: &str) -> Result<(), ConnectorError> {
        self.ask_of(|_, machine| {
            let run = run(machine)?;
            run.held = run.held.filter(|step| checkpoint::name(*step) != path);
            Ok(())
        })
        .await
    }

    async fn renew(&self, renewal: &Renewal) -> Result<(), ConnectorError> {
        let renewal = *renewal;
        self.ask_of(move |world, machine| {
            if let Some(left) = renewal.deadline {
                run(machine)?.set_deadline(left);
                world.changed.notify_waiters();
            }
            if let Some(left) = renewal.machine_ends {
                machine.set_end(left);
            }
            Ok(())
        })
        .await
    }

    async fn release(&self) -> Result<(), ConnectorError> {
        self.ask(|_, machine| {
            machine.past.extend(machine.run.take());
            Ok(())
        })
        .await
    }
}

/// The digest of bytes.
pub fn digest(bytes: &[u8]) -> Sha256 {
    Sha256::from_bytes(sha2::Sha256::digest(bytes).into())
}
