//! What a scripted training has told by some moment.

use std::collections::BTreeMap;

use trainyard_connector::{AgentEvent, AgentEventBody, TrainingState};
use trainyard_domain::{Exit, MetricPoint, MetricValue, Timestamp};

use super::Script;

/// SIGTERM: how a training that was stopped ends.
const STOPPED: i32 = 15;

/// One training: begun once, perhaps stopped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Story {
    pub(super) script: Script,
    pub(super) began: Timestamp,
    pub(super) stopped: Option<Timestamp>,
}

impl Story {
    /// When it ends, or was ended.
    pub(super) fn end(&self) -> Timestamp {
        let planned = self.at(self.script.points + 1);
        self.stopped.map_or(planned, |stopped| stopped.min(planned))
    }

    /// Events that have happened by then: the start, a point each, the exit.
    pub(super) fn last(&self, now: Timestamp) -> u64 {
        let told_until = now.min(self.end());
        let passed = (told_until - self.began).to_std().unwrap_or_default();
        let points = match self.script.every.as_nanos() {
            0 => self.script.points,
            every => u64::try_from(passed.as_nanos() / every).unwrap_or(u64::MAX).min(self.script.points),
        };
        1 + points + u64::from(now >= self.end())
    }

    /// When the next event comes; none where all have.
    pub(super) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        (now < self.end()).then(|| self.at(self.last(now)).min(self.end()))
    }

    /// Events after that number.
    pub(super) fn after(&self, number: u64, limit: usize, now: Timestamp) -> Vec<AgentEvent> {
        let last = self.last(now);
        (number + 1..=last).take(limit).map(|n| self.event(n, n == last && now >= self.end())).collect()
    }

    pub(super) fn state(&self, now: Timestamp) -> TrainingState {
        if now < self.end() {
            return TrainingState::Running { since: self.began, paused: false };
        }
        TrainingState::Exited { started_at: Some(self.began), exit: self.exit() }
    }

    fn event(&self, n: u64, is_exit: bool) -> AgentEvent {
        match n {
            _ if is_exit => AgentEvent { n, at: self.end(), body: AgentEventBody::Exited(self.exit()) },
            1 => AgentEvent { n, at: self.began, body: AgentEventBody::Started },
            n => AgentEvent { n, at: self.at(n - 1), body: AgentEventBody::Metrics(point(n - 1)) },
        }
    }

    fn exit(&self) -> Exit {
        let asked = self.stopped.is_some_and(|stopped| stopped <= self.end());
        let (code, signal) =
            if asked { (128 + STOPPED, Some(STOPPED)) } else { (self.script.exit_code, None) };
        Exit { signal, asked, ..Exit::with_code(code, self.end()) }
    }

    /// When the n-th point comes.
    fn at(&self, point: u64) -> Timestamp {
        let millis = u64::try_from(self.script.every.as_millis()).unwrap_or(u64::MAX);
        // A year at most: no sum overflows.
        self.began + std::time::Duration::from_millis(millis.saturating_mul(point).min(31_622_400_000))
    }
}

/// A loss that falls.
fn point(step: u64) -> MetricPoint {
    let values = [("loss", 4.0 / (1.0 + step as f64 / 20.0)), ("learning_rate", 1e-4)];
    let values = values.map(|(name, value)| (name.to_owned(), MetricValue(value)));
    MetricPoint { step: Some(step), values: BTreeMap::from(values), ..MetricPoint::default() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::UNIX_EPOCH + Duration::from_secs_f64(seconds)
    }

    fn story(stopped: Option<f64>) -> Story {
        let script = Script { points: 3, every: Duration::from_secs(1), exit_code: 0 };
        Story { script, began: at(0.0), stopped: stopped.map(at) }
    }

    #[test]
    fn a_story_is_told_as_time_goes() {
        let story = story(None);
        let told: Vec<u64> = [0.0, 0.5, 1.0, 2.9, 3.0, 4.0, 100.0].map(|now| story.last(at(now))).into();
        assert_eq!(told, [1, 1, 2, 3, 4, 5, 5]);
        assert_eq!(story.next(at(0.5)), Some(at(1.0)));
        assert_eq!(story.next(at(3.5)), Some(at(4.0)));
        assert_eq!(story.next(at(4.0)), None);
        let events = story.after(0, 100, at(9.0));
        assert_eq!(events.iter().map(|event| event.n).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert_eq!(events[0].body, AgentEventBody::Started);
        assert!(matches!(&events[3].body, AgentEventBody::Metrics(point) if point.step == Some(3)));
        assert!(matches!(&events[4].body, AgentEventBody::Exited(exit) if exit.code == 0 && !exit.asked));
        assert_eq!(story.after(3, 1, at(9.0))[0].n, 4);
        assert!(story.after(5, 10, at(9.0)).is_empty());
    }

    #[test]
    fn a_story_that_is_stopped_ends_there() {
        let story = story(Some(1.5));
        assert_eq!(story.last(at(1.4)), 2);
        let events = story.after(0, 100, at(9.0));
        assert_eq!(events.len(), 3);
        assert!(
            matches!(&events[2].body, AgentEventBody::Exited(exit) if exit.signal == Some(15) && exit.asked)
        );
        assert!(matches!(story.state(at(1.4)), TrainingState::Running { .. }));
        assert!(matches!(story.state(at(1.5)), TrainingState::Exited { .. }));
    }
}
