//! The processes' clock: the scenario's true time, which may be set wrong.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta};
use tokio::time::Instant;
use trainyard_domain::Timestamp;
use trainyard_orchestrator::Clock;

use crate::dice::Dice;

/// The true time at the beginning of every scenario, in seconds since 1970.
const BEGINNING: i64 = 1_767_225_600;

/// True time, shared by the world and by all processes.
#[derive(Debug, Clone, Copy)]
pub struct TrueTime(Instant);

impl TrueTime {
    /// Begins now. Needs the runtime of the scenario.
    pub fn begin() -> TrueTime {
        TrueTime(Instant::now())
    }

    /// The moment as a date.
    pub fn date(self) -> Timestamp {
        self.date_of(Instant::now())
    }

    /// A moment as a date.
    pub fn date_of(self, at: Instant) -> Timestamp {
        let passed = at.saturating_duration_since(self.0);
        let passed = TimeDelta::from_std(passed).unwrap_or_default();
        DateTime::from_timestamp(BEGINNING, 0).unwrap_or_default() + passed
    }

    /// Seconds since the beginning.
    pub fn seconds(self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}

/// The clock that processes are given: true time and an error.
#[derive(Debug)]
pub struct SimulatedClock {
    time: TrueTime,
    /// Milliseconds that it goes wrong by.
    error_ms: AtomicI64,
    dice: Mutex<Dice>,
}

impl SimulatedClock {
    /// A clock that is right.
    pub fn new(time: TrueTime, seed: u64) -> Arc<SimulatedClock> {
        let dice = Mutex::new(Dice::of(seed, 11));
        Arc::new(SimulatedClock { time, error_ms: AtomicI64::new(0), dice })
    }

    /// Sets it wrong by so much.
    pub fn set_wrong(&self, ms: i64) {
        self.error_ms.store(ms, Ordering::Relaxed);
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        self.time.date() + TimeDelta::milliseconds(self.error_ms.load(Ordering::Relaxed))
    }

    fn random(&self) -> u128 {
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        u128::from(dice.next()) << 64 | u128::from(dice.next())
    }
}
