//! Storage in memory: what a crash of a process leaves is there for the next one, as on a disk.
//!
//! It is held to the test kit's cases like every storage (`tests/memory.rs`). What it adds to them is what the
//! simulation needs: every call may fail or take its time, and every write is a moment at which the process can end.

mod rows;
mod verbs;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trainyard_domain::{JobId, Machine, OrderName, SecretName};
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
