//! The clock and the dice. Both are injected, so that a test can move the one and throw the other.

use trainyard_domain::Timestamp;
use ulid::Ulid;

/// Where time and chance come from.
pub trait Clock: std::fmt::Debug + Send + Sync + 'static {
    /// The moment.
    fn now(&self) -> Timestamp;

    /// A number nobody can guess.
    fn random(&self) -> u128;

    /// A name that sorts by time.
    fn ulid(&self) -> Ulid {
        let millis = self.now().timestamp_millis().max(0).unsigned_abs();
        Ulid::from_parts(millis, self.random())
    }
}

/// The machine's own clock and the system's random numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn now(&self) -> Timestamp {
        chrono::Utc::now()
    }

    fn random(&self) -> u128 {
        let mut bytes = [0; 16];
        // The system's generator fails only where the kernel has none; the time then still makes names differ.
        if aws_lc_rs::rand::fill(&mut bytes).is_err() {
            return self.now().timestamp_nanos_opt().unwrap_or_default().unsigned_abs().into();
        }
        u128::from_le_bytes(bytes)
    }
}
