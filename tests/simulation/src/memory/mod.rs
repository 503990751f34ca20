//! Storage in memory: what a crash of a process leaves is there for the next one, as on a disk.
//!
//! It is held to the test kit's cases like every storage (`tests/memory.rs`). What it adds to them is what the
//! simulation needs: every call may fail or take its time, and every write is a moment at which the process can end.

mod rows;
mod verbs;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use trainyard_domain::{AttemptNumber, Job, JobId, Machine, OrderName, SecretName, StateName};
use trainyard_storage::{Fence, IdempotentAnswer, SealedSecret, StorageError, TokenRecord};

use crate::process::Process;
pub use rows::Row;

/// What survives a process.
#[derive(Debug, Default)]
pub struct Disk {
    pub(crate) jobs: BTreeMap<JobId, Row>,
    /// How many jobs were ever created: the order of the list.
    pub(crate) created: u64,
    /// The last place in the line of submissions.
    pub(crate) submitted: u64,
    pub(crate) machines: BTreeMap<OrderName, (u64, Machine)>,
    secrets: BTreeMap<SecretName, SealedSecret>,
    tokens: Vec<TokenRecord>,
    answers: BTreeMap<String, IdempotentAnswer>,
    notes: BTreeMap<String, i64>,
    /// Commits that have set money aside.
    reservations: u64,
    fence: u64,
    /// When each attempt was over, and how, by true time: what a machine was needed for is judged by it.
    pub(crate) over: BTreeMap<(JobId, AttemptNumber), Over>,
}

/// An attempt that is over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Over {
    /// When that was written down.
    pub(crate) at: Instant,
    /// How.
    pub(crate) how: How,
}

/// How an attempt was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// Its training ended, what it left is home, and its machine is asked for that long more.
    Ended(Duration),
    /// It was asked to stop.
    Stopped,
    /// It was given up.
    Lost,
}

impl Disk {
    /// Notes what of a job is over by what was just written of it.
    fn note_over(&mut self, job: &Job) {
        let last = job.attempt().map(|attempt| attempt.number);
        for attempt in job.attempts() {
            let how = match job.state().name() {
                StateName::Stopped if Some(attempt.number) == last => How::Stopped,
                StateName::Completed | StateName::Failed
                    if Some(attempt.number) == last && attempt.exit.is_some() =>
                {
                    How::Ended(asked_more(job))
                }
                state if attempt.end.is_some() || state.is_end() => How::Lost,
                _ => continue,
            };
            let key = (job.id().clone(), attempt.number);
            let over = self.over.entry(key).or_insert_with(|| Over { at: Instant::now(), how });
            if let (How::Ended(_), How::Ended(_)) = (over.how, how) {
                over.how = how;
            }
        }
    }
}

/// For how long an ended job asks for its machine: to keep it warm, or to look at what failed.
fn asked_more(job: &Job) -> Duration {
    let Some(ended) = job.body().completed_at else { return Duration::ZERO };
    let warm = job.warm_until().and_then(|until| (until - ended).to_std().ok()).unwrap_or_default();
    let warm = warm.min(Duration::from_secs(job.spec().resources.keep_warm_s));
    let exit = job.attempt().and_then(|attempt| attempt.exit.as_ref());
    let looks = job.state().name() == StateName::Failed && exit.is_some_and(|e| e.code != 0 && !e.asked);
    warm.max(Duration::from_secs(if looks { job.limits().hold_on_failure_s } else { 0 }))
}

/// One process's hold on a disk.
#[derive(Debug)]
pub struct Memory {
    disk: Arc<Mutex<Disk>>,
    fence: Fence,
    closed: AtomicBool,
    /// Whose calls these are; none in the kit's cases.
    process: Option<Arc<Process>>,
}

impl Memory {
    /// Opens a disk under the next fence.
    pub fn open(disk: &Arc<Mutex<Disk>>, process: Option<Arc<Process>>) -> Memory {
        let mut held = locked(disk);
        held.fence += 1;
        let fence = Fence(held.fence);
        drop(held);
        Memory { disk: disk.clone(), fence, closed: AtomicBool::new(false), process }
    }

    /// The disk that it was opened on.
    pub fn disk(&self) -> Arc<Mutex<Disk>> {
        self.disk.clone()
    }

    /// A reading: the process may be stalled, and it may fail.
    async fn read<T>(&self, read: impl FnOnce(&Disk) -> T + Send) -> Result<T, StorageError> {
        self.check()?;
        if let Some(process) = &self.process {
            process.reads_storage().await?;
        }
        Ok(read(&locked(&self.disk)))
    }

    /// A write: the process may end before it, or after it and before it knows.
    async fn write<T: Send>(&self, write: impl Fn(&mut Disk) -> T + Send) -> Result<T, StorageError> {
        self.check()?;
        let Some(process) = &self.process else { return Ok(write(&mut locked(&self.disk))) };
        let (number, twice) = process.before_write().await?;
        let written = write(&mut locked(&self.disk));
        if twice {
            write(&mut locked(&self.disk));
        }
        process.after_write(number).await;
        Ok(written)
    }

    fn check(&self) -> Result<(), StorageError> {
        if self.closed.load(Ordering::Relaxed) { Err(StorageError::Closed) } else { Ok(()) }
    }
}

/// Nobody panics while holding it, and if so the test fails by that.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
