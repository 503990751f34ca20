//! One process: everything it does outside of itself passes here, so that it can be stalled, and ended between any two
//! calls. What it has sent by then still has its effect; it only never hears of it.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;
use trainyard_storage::StorageError;

use crate::world::World;

/// How a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It works.
    Runs,
    /// It stands still, and goes on later as if nothing had been.
    Stalls,
    /// It is gone.
    Dead,
}

/// What happens to a process at one of its calls, counted over its writes and its calls to others, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// Which call.
    pub call: u64,
    /// What happens there.
    pub what: What,
}

/// What happens at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The process ends before it.
    EndsBefore,
    /// The process ends after its effect, before it hears of it.
    EndsAfter,
    /// It is made twice; the first answer counts.
    Twice,
}

/// A process.
#[derive(Debug)]
pub struct Process {
    /// Its number, from 1.
    pub number: u32,
    life: watch::Sender<Life>,
    calls: AtomicU64,
    at: Option<At>,
    world: Arc<World>,
}

impl Process {
    /// A process that runs.
    pub fn new(number: u32, at: Option<At>, world: Arc<World>) -> Arc<Process> {
        let life = watch::channel(Life::Runs).0;
        Arc::new(Process { number, life, calls: AtomicU64::new(0), at, world })
    }

    /// How it is.
    pub fn life(&self) -> Life {
        *self.life.borrow()
    }

    /// Stalls it, lets it go on, or ends it. The dead stay dead.
    pub fn set(&self, life: Life) {
        let changed = self.life.send_if_modified(|now| {
            let changes = *now != Life::Dead && *now != life;
            if changes {
                *now = life;
            }
            changes
        });
        if changed {
            self.world.note(|| format!("process {} {life:?}", self.number));
        }
    }

    /// Resolves when it is dead.
    pub async fn died(&self) {
        let mut life = self.life.subscribe();
        // The sender lives as long as this does.
        let _ = life.wait_for(|life| *life == Life::Dead).await;
    }

    /// How many calls it has made.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Goes on where the process runs; waits while it is stalled, for ever where it is dead.
    async fn pass(&self) {
        if self.life() == Life::Runs {
            return;
        }
        let mut life = self.life.subscribe();
        let _ = life.wait_for(|life| *life != Life::Stalls).await;
        if self.life() == Life::Dead {
            pending::<()>().await;
        }
    }

    /// A call to somebody else.
    pub async fn outside<T>(&self, call: impl Future<Output = T>) -> T {
        let number = self.begins().await;
        let answer = tokio::select! {
            biased;
            () = self.died() => pending().await,
            answer = call => answer,
        };
        self.end(number, What::EndsAfter).await;
        self.pass().await;
        answer
    }

    /// A call begins: it has the next number.
    async fn begins(&self) -> u64 {
        self.pass().await;
        let number = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        self.end(number, What::EndsBefore).await;
        number
    }

    /// Whether the call that was begun last is made twice.
    pub(crate) fn makes_twice(&self) -> bool {
        self.at == Some(At { call: self.calls(), what: What::Twice })
    }

    async fn end(&self, call: u64, what: What) {
        if self.at == Some(At { call, what }) {
            self.set(Life::Dead);
            pending::<()>().await;
        }
    }

    pub(crate) async fn reads_storage(&self) -> Result<(), StorageError> {
        self.pass().await;
        self.storage_takes_time().await;
        self.storage_fails()
    }

    /// A write begins; it has a number, and may be made twice.
    pub(crate) async fn before_write(&self) -> Result<(u64, bool), StorageError> {
        let number = self.begins().await;
        let twice = self.makes_twice();
        self.storage_takes_time().await;
        self.pass().await;
        self.storage_fails().map(|()| (number, twice))
    }

    pub(crate) async fn after_write(&self, number: u64) {
        self.end(number, What::EndsAfter).await;
        self.pass().await;
    }

    async fn storage_takes_time(&self) {
        let takes = self.world.with(|state| {
            let most = state.faults.storage_ms;
            (most > 0).then(|| state.dice.millis(0, most))
        });
        if let Some(takes) = takes {
            // waits: in simulated time, which jumps
            tokio::time::sleep(takes).await;
        }
    }

    fn storage_fails(&self) -> Result<(), StorageError> {
        match self.world.with(|state| state.dice.hits(state.faults.storage_fails)) {
            false => Ok(()),
            true => {
                Err(StorageError::Database { doing: "simulating", source: "the disk did not take it".into() })
            }
        }
    }
}
