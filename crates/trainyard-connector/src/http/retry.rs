//! The one policy of repeating. Pure: what came of a try decides what is done next.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use chrono::DateTime;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use super::{Repeat, WAIT_MAX};

/// Most tries of one call. As many failures in a row open the breaker.
pub(super) const TRIES_MAX: u32 = 5;
/// Least and most time between two tries.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(15));
/// After a 429 that names no time: vendors count in seconds.
const TOO_MANY: Duration = Duration::from_secs(1);

/// What came of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// No answer, or half of one.
    Broken,
    /// The time on the line is used up.
    TimedOut,
    /// An answer with that status; how long it asked to be left alone.
    Answered(u16, Option<Duration>),
}

impl Outcome {
    /// Whether the vendor is there and works, as far as this try shows.
    pub(super) fn is_alive(self) -> bool {
        match self {
            Outcome::Broken | Outcome::TimedOut => false,
            Outcome::Answered(status, _) => status < 500,
        }
    }
}

/// How one call has been tried so far.
#[derive(Debug)]
pub(super) struct Tries {
    repeat: Repeat,
    too_many_is_refusal: bool,
    made: u32,
    last_wait: Duration,
}

impl Tries {
    pub(super) fn new(repeat: Repeat, too_many_is_refusal: bool) -> Tries {
        Tries { repeat, too_many_is_refusal, made: 0, last_wait: BACK_OFF.0 }
    }

    /// How long to wait before the next try; none where there is none. `every` is the vendor's pace for this operation.
    pub(super) fn after(&mut self, outcome: Outcome, every: Duration) -> Option<Duration> {
        self.made += 1;
        let again = match (outcome, self.repeat) {
            (Outcome::Answered(429, _), Repeat::Freely) => true,
            (Outcome::Answered(429, _), Repeat::Never) => self.too_many_is_refusal,
            (_, Repeat::Never) | (Outcome::TimedOut, Repeat::Freely) => false,
            (Outcome::Broken, Repeat::Freely) => true,
            (Outcome::Answered(status, _), Repeat::Freely) => {
                status == 408 || (status >= 500 && status != 501)
            }
        };
        if !again || self.made >= TRIES_MAX {
            return None;
        }
        let wait = match outcome {
            Outcome::Answered(_, Some(asked)) => asked,
            Outcome::Answered(429, None) => self.back_off().max(TOO_MANY).max(every),
            Outcome::Answered(..) | Outcome::Broken | Outcome::TimedOut => self.back_off(),
        };
        self.last_wait = wait.max(BACK_OFF.0);
        (wait <= WAIT_MAX).then_some(wait)
    }

    /// Somewhere between the least time and three times the wait before: callers that failed together come apart.
    fn back_off(&self) -> Duration {
        let span = (self.last_wait * 3).saturating_sub(BACK_OFF.0);
        (BACK_OFF.0 + span.mul_f64(chance())).min(BACK_OFF.1)
    }
}

/// A number from 0 to 1 that spreads callers; nothing depends on its quality.
fn chance() -> f64 {
    (RandomState::new().hash_one(()) >> 11) as f64 / (1u64 << 53) as f64
}

/// What `Retry-After` asks for: seconds, or a date, which is read against the answer's own `Date`: the vendor's clock may
/// be off by hours.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let asked = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = asked.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text: &str| DateTime::parse_from_rfc2822(text.trim()).ok();
    let until = date(asked)? - date(headers.get(DATE)?.to_str().ok()?)?;
    Some(until.to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(repeat: Repeat, refusal: bool, outcome: Outcome) -> Vec<Duration> {
        let mut tries = Tries::new(repeat, refusal);
        std::iter::from_fn(|| tries.after(outcome, Duration::ZERO)).collect()
    }

    #[test]
    fn an_order_is_repeated_after_no_outcome_but_a_429_that_refuses() {
        let outcomes = [Outcome::Broken, Outcome::TimedOut]
            .into_iter()
            .chain((100..600).filter(|status| *status != 429).map(|status| Outcome::Answered(status, None)));
        for outcome in outcomes {
            assert!(waits(Repeat::Never, true, outcome).is_empty(), "{outcome:?}");
        }
        assert!(waits(Repeat::Never, false, Outcome::Answered(429, None)).is_empty());
        assert_eq!(waits(Repeat::Never, true, Outcome::Answered(429, None)).len(), 4);
    }

    #[test]
    fn a_reading_is_repeated_after_what_may_pass() {
        for status in [408, 429, 500, 502, 503, 504, 520, 530] {
            assert_eq!(waits(Repeat::Freely, false, Outcome::Answered(status, None)).len(), 4, "{status}");
        }
        for status in [200, 201, 301, 400, 401, 402, 403, 404, 405, 409, 410, 413, 422, 501] {
            assert!(waits(Repeat::Freely, false, Outcome::Answered(status, None)).is_empty(), "{status}");
        }
        assert_eq!(waits(Repeat::Freely, false, Outcome::Broken).len(), 4);
        assert!(waits(Repeat::Freely, false, Outcome::TimedOut).is_empty(), "its time is used up");
    }

    #[test]
    fn waits_stay_within_their_limits_and_differ() {
        for _ in 0..200 {
            let waits = waits(Repeat::Freely, false, Outcome::Broken);
            assert!(waits.iter().all(|wait| (BACK_OFF.0..=BACK_OFF.1).contains(wait)), "{waits:?}");
        }
        let (one, other) =
            (waits(Repeat::Freely, false, Outcome::Broken), waits(Repeat::Freely, false, Outcome::Broken));
        assert_ne!(one, other);
    }

    #[test]
    fn what_the_vendor_asks_for_is_honoured_up_to_a_minute() {
        let asked = |seconds| Outcome::Answered(429, Some(Duration::from_secs(seconds)));
        assert_eq!(waits(Repeat::Freely, false, asked(7)), vec![Duration::from_secs(7); 4]);
        assert!(
            waits(Repeat::Freely, false, asked(61)).is_empty(),
            "later than it can wait: told, not tried early"
        );
        let mut tries = Tries::new(Repeat::Freely, false);
        let wait =
            tries.after(Outcome::Answered(429, None), Duration::from_millis(4500)).expect("another try");
        assert!(wait >= Duration::from_millis(4500), "not before the vendor's own pace: {wait:?}");
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let read = |pairs: &[(&str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                let name: reqwest::header::HeaderName = name.parse().expect("a name");
                headers.insert(name, value.parse().expect("a value"));
            }
            retry_after(&headers)
        };
        let (at, later) = ("Mon, 23 Nov 2026 18:00:00 GMT", "Mon, 23 Nov 2026 18:00:20 GMT");
        assert_eq!(read(&[("retry-after", "12")]), Some(Duration::from_secs(12)));
        assert_eq!(read(&[("retry-after", later), ("date", at)]), Some(Duration::from_secs(20)));
        assert_eq!(read(&[("retry-after", at), ("date", later)]), Some(Duration::ZERO));
        assert_eq!(read(&[("retry-after", later)]), None);
        assert_eq!(read(&[("retry-after", "soon"), ("date", at)]), None);
        assert_eq!(read(&[("retry-after", "-5")]), None);
        assert_eq!(read(&[]), None);
    }
}
