//! The world's clock: real time, faster time, or time that is moved by hand.
//!
//! Every delay of the world (boot, pull, restart, removal) and every bill goes by this clock. The processes on the
//! machines live in real time all the same: at speed 60 a training of one minute is billed as one hour.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use trainyard_domain::Timestamp;

/// Fastest clock: an hour in under four seconds.
pub const SPEED_MAX: f64 = 1000.0;
/// Longest step or delay, in seconds: ten years, so that no sum overflows.
const SECONDS_MAX: f64 = 10.0 * 366.0 * 86_400.0;

/// A shared clock; clones are the same clock.
#[derive(Debug, Clone)]
pub struct Clock {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    bell: watch::Sender<u64>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    /// The world's time at `real`.
    world: Timestamp,
    real: Instant,
    /// Seconds of the world in a real second; 0: it stands and is stepped.
    speed: f64,
    /// Over: nobody waits any more.
    ended: bool,
}

/// What `PUT /world/clock` says. What is left out stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockOrder {
    /// Seconds of the world in a real second, 0 to [`SPEED_MAX`]; 0 stops it, so that it is only stepped.
    pub speed: Option<f64>,
    /// Moves it forward at once by that many seconds.
    pub step_s: Option<f64>,
}

impl Clock {
    /// A clock that shows `start` now and goes at `speed` (0 to [`SPEED_MAX`]).
    pub fn new(start: Timestamp, speed: f64) -> Clock {
        let state = State { world: start, real: Instant::now(), speed: sane(speed, SPEED_MAX), ended: false };
        Clock { inner: Arc::new(Inner { state: Mutex::new(state), bell: watch::Sender::new(0) }) }
    }

    /// The world's time.
    pub fn now(&self) -> Timestamp {
        self.state().now()
    }

    /// Seconds of the world in a real second; 0 where it is stepped.
    pub fn speed(&self) -> f64 {
        self.state().speed
    }

    /// Sets the speed and steps, in this order.
    pub fn set(&self, order: ClockOrder) {
        let mut state = self.state();
        state.world = state.now();
        state.real = Instant::now();
        if let Some(speed) = order.speed {
            state.speed = sane(speed, SPEED_MAX);
        }
        if let Some(step) = order.step_s {
            state.world += Duration::from_secs_f64(sane(step, SECONDS_MAX));
        }
        drop(state);
        self.ring();
    }

    /// Moves it forward.
    pub fn step(&self, by: Duration) {
        self.set(ClockOrder { speed: None, step_s: Some(by.as_secs_f64()) });
    }

    /// Waits until that much of the world's time has passed. May be dropped at any time.
    pub async fn sleep(&self, time: Duration) {
        if !time.is_zero() {
            self.sleep_until(self.now() + time.min(Duration::from_secs_f64(SECONDS_MAX))).await;
        }
    }

    /// Waits until the world's clock shows that time. May be dropped at any time.
    pub async fn sleep_until(&self, until: Timestamp) {
        let mut bell = self.inner.bell.subscribe();
        loop {
            bell.borrow_and_update();
            let state = *self.state();
            let left = (until - state.now()).to_std().unwrap_or_default();
            if left.is_zero() || state.ended {
                return;
            }
            let real = if state.speed > 0.0 { left.as_secs_f64() / state.speed } else { SECONDS_MAX };
            let real = Duration::from_secs_f64(real.clamp(0.001, SECONDS_MAX));
            tokio::select! {
                () = tokio::time::sleep(real) => {}
                _ = bell.changed() => {}
            }
        }
    }

    /// Ends every wait, now and later: the world is taken down.
    pub(crate) fn end(&self) {
        self.state().ended = true;
        self.ring();
    }

    fn ring(&self) {
        self.inner.bell.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn now(&self) -> Timestamp {
        let passed = (self.real.elapsed().as_secs_f64() * self.speed).min(SECONDS_MAX);
        self.world + Duration::from_secs_f64(passed)
    }
}

fn sane(number: f64, max: f64) -> f64 {
    if number.is_finite() { number.clamp(0.0, max) } else { 0.0 }
}

/// The real time now: where the world's clock begins.
#[expect(clippy::disallowed_methods, reason = "the one look at the real clock; everything else asks `Clock`")]
pub(crate) fn real_now() -> Timestamp {
    chrono::Utc::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[tokio::test]
    async fn a_stepped_clock_moves_by_hand_only() {
        let clock = Clock::new(Timestamp::UNIX_EPOCH, 0.0);
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep_until(Timestamp::UNIX_EPOCH + DAY).await }
        });
        clock.step(DAY / 2);
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        assert_eq!(clock.now(), Timestamp::UNIX_EPOCH + DAY / 2);
        clock.step(DAY / 2);
        sleeper.await.unwrap();
    }

    #[tokio::test]
    async fn a_fast_clock_shortens_waits() {
        let clock = Clock::new(Timestamp::UNIX_EPOCH, SPEED_MAX);
        let begun = Instant::now();
        // waits: for the clock that is tested
        clock.sleep(Duration::from_secs(100)).await;
        assert!(clock.now() >= Timestamp::UNIX_EPOCH + Duration::from_secs(100));
        assert!(begun.elapsed() < Duration::from_secs(20));
    }

    #[tokio::test]
    async fn a_change_of_speed_reaches_who_sleeps() {
        let clock = Clock::new(Timestamp::UNIX_EPOCH, 0.0);
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            // waits: for the clock that is tested
            async move { clock.sleep(Duration::from_secs(50)).await }
        });
        tokio::task::yield_now().await;
        clock.set(ClockOrder { speed: Some(SPEED_MAX), step_s: None });
        sleeper.await.unwrap();
        clock.set(ClockOrder { speed: Some(0.0), step_s: None });
        let rest = tokio::spawn({
            let clock = clock.clone();
            // waits: for the clock that is tested
            async move { clock.sleep(DAY * 3000).await }
        });
        clock.end();
        rest.await.unwrap();
    }

    #[test]
    fn nonsense_is_read_as_standing() {
        for speed in [f64::NAN, f64::NEG_INFINITY, -3.0] {
            assert_eq!(Clock::new(Timestamp::UNIX_EPOCH, speed).speed(), 0.0);
        }
    }
}
