//! How far a training is, told from its events, and shown: a bar on a terminal, lines elsewhere.
//!
//! [`Training`] is what is known, with no clock but the events' own; [`Display`] is how it looks.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::client::{JobEvent, Status, value_f64};
use crate::out;

/// Points over which the rate is taken: enough to be calm, few enough to follow a change.
const RATE_POINTS: usize = 20;
/// Lines of metrics elsewhere than on a terminal come at most this often.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// What is known of a training.
#[derive(Debug, Clone, Default)]
pub(crate) struct Training {
    pub(crate) state: String,
    pub(crate) phase: Option<String>,
    reason: Option<String>,
    step: Option<u64>,
    total_steps: Option<u64>,
    fraction: Option<f64>,
    eta_s: Option<u64>,
    loss: Option<f64>,
    eval_loss: Option<f64>,
    learning_rate: Option<f64>,
    points: VecDeque<(DateTime<Utc>, u64)>,
}

/// What an event changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing that is shown.
    Nothing,
    /// State, phase or reason.
    State,
    /// A metric or the progress.
    Point,
}

impl Training {
    /// What a status tells.
    pub(crate) fn from_status(status: &Status) -> Training {
        let mut training = Training {
            state: status.state.clone(),
            phase: status.phase.clone(),
            reason: status.reason.as_ref().map(|reason| reason.message.clone()),
            fraction: status.progress,
            eta_s: status.eta_s,
            ..Training::default()
        };
        if let Some(metrics) = &status.current_metrics {
            training.take_metrics(&Value::Object(metrics.clone()), None);
        }
        training
    }

    /// Takes an event.
    pub(crate) fn take(&mut self, event: &JobEvent) -> Change {
        let at =
            event.ts.as_deref().and_then(|ts| DateTime::parse_from_rfc3339(ts).ok()).map(|at| at.to_utc());
        match event.kind.as_str() {
            "status" => self.take_status(&event.data),
            "metrics" => self.take_metrics(&event.data, at),
            "progress" => self.take_progress(&event.data, at),
            _ => Change::Nothing,
        }
    }

    fn take_status(&mut self, data: &Value) -> Change {
        let text = |field: &str| data.get(field).and_then(Value::as_str).map(str::to_owned);
        let before = (self.state.clone(), self.phase.clone(), self.reason.clone());
        self.state = text("state").unwrap_or_default();
        self.phase = text("phase");
        self.reason = data.pointer("/reason/message").and_then(Value::as_str).map(str::to_owned);
        let changed = before != (self.state.clone(), self.phase.clone(), self.reason.clone());
        if changed { Change::State } else { Change::Nothing }
    }

    fn take_metrics(&mut self, data: &Value, at: Option<DateTime<Utc>>) -> Change {
        let number = |field: &str| data.get(field).and_then(value_f64);
        let of_training =
            data.as_object().is_some_and(|all| all.keys().any(|name| !name.starts_with("system/")));
        if !of_training {
            return Change::Nothing;
        }
        self.loss = number("loss").or(self.loss);
        self.eval_loss = number("eval_loss").or(self.eval_loss);
        self.learning_rate = number("learning_rate").or(self.learning_rate);
        self.at_step(data.get("step").and_then(Value::as_u64), at);
        Change::Point
    }

    fn take_progress(&mut self, data: &Value, at: Option<DateTime<Utc>>) -> Change {
        let whole = |field: &str| data.get(field).and_then(Value::as_u64);
        self.fraction =
            data.get("fraction").or(data.get("progress")).and_then(Value::as_f64).or(self.fraction);
        self.total_steps = whole("total_steps").or(self.total_steps);
        self.eta_s = whole("eta_s");
        self.at_step(whole("step"), at);
        Change::Point
    }

    fn at_step(&mut self, step: Option<u64>, at: Option<DateTime<Utc>>) {
        let Some(step) = step else { return };
        // An attempt that goes on from a checkpoint begins again at a lower step.
        if self.points.back().is_some_and(|(_, last)| *last > step) {
            self.points.clear();
        }
        let new = self.points.back().is_none_or(|(_, last)| *last < step);
        if let Some(at) = at.filter(|_| new) {
            self.points.push_back((at, step));
        }
        while self.points.len() > RATE_POINTS {
            self.points.pop_front();
        }
        self.step = Some(step);
    }

    /// Steps per second over the last points.
    pub(crate) fn rate(&self) -> Option<f64> {
        let ((from, first), (until, last)) = (self.points.front()?, self.points.back()?);
        let seconds = (*until - *from).as_seconds_f64();
        (seconds > 0.0).then(|| (last - first) as f64 / seconds).filter(|rate| *rate > 0.0)
    }

    /// Seconds left: what the training says, else by the rate.
    pub(crate) fn left_s(&self) -> Option<u64> {
        self.eta_s.or_else(|| {
            let left = self.total_steps?.checked_sub(self.step?)?;
            Some((left as f64 / self.rate()?).ceil() as u64)
        })
    }

    /// How far a bar is: position and length, in steps where they are counted, else in thousandths.
    fn drawn(&self) -> Option<(u64, u64)> {
        match (self.step, self.total_steps, self.fraction) {
            (Some(step), Some(total), _) => Some((step, total)),
            (None, Some(total), Some(fraction)) => Some(((fraction * total as f64) as u64, total)),
            (_, None, Some(fraction)) => Some(((fraction * 1000.0) as u64, 1000)),
            (None, Some(_), None) | (_, None, None) => None,
        }
    }

    /// `running (training)`.
    pub(crate) fn state_words(&self) -> String {
        let mut words = self.state.clone();
        if let Some(phase) = self.phase.as_deref().filter(|phase| *phase != self.state) {
            words.push_str(&format!(" ({})", phase.replace('_', " ")));
        }
        if let Some(reason) = &self.reason {
            words.push_str(&format!(": {reason}"));
        }
        words
    }

    /// `loss 1.2345  lr 2.0e-4  4.1 steps/s  10 s left`.
    fn numbers(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.loss.map(|loss| format!("loss {loss:.4}")));
        parts.extend(self.eval_loss.map(|loss| format!("eval {loss:.4}")));
        parts.extend(self.learning_rate.map(|rate| format!("lr {rate:.1e}")));
        parts.extend(self.rate().map(|rate| match rate {
            rate if rate >= 1.0 => format!("{rate:.1} steps/s"),
            rate => format!("{:.1} s/step", 1.0 / rate),
        }));
        if self.state == "running" {
            parts.extend(
                self.left_s().filter(|left| *left > 0).map(|left| format!("{} left", out::duration(left))),
            );
        }
        parts.join("  ")
    }

    /// `step 40/80  loss …`.
    pub(crate) fn line(&self) -> String {
        let step = match (self.step, self.total_steps) {
            (Some(step), Some(total)) => format!("step {step}/{total}  "),
            (Some(step), None) => format!("step {step}  "),
            (None, _) => String::new(),
        };
        format!("{step}{}", self.numbers())
    }
}

/// How progress looks.
#[derive(Debug)]
pub(crate) enum Display {
    /// A bar that is drawn again and again, on a terminal.
    Bar(ProgressBar),
    /// A line now and then.
    Lines {
        /// When the last line of metrics was written.
        last: Option<Instant>,
        /// The newest line of metrics, where it was not written yet.
        held: Option<String>,
    },
}

impl Display {
    /// A bar on a terminal, lines elsewhere. Both on stderr: stdout is for results.
    pub(crate) fn new() -> Display {
        if out::stderr_is_terminal() {
            Display::Bar(bar())
        } else {
            Display::Lines { last: None, held: None }
        }
    }

    /// Shows what changed.
    pub(crate) fn show(&mut self, training: &Training, change: Change) {
        match (self, change) {
            (_, Change::Nothing) => {}
            (Display::Bar(bar), Change::State | Change::Point) => draw(bar, training),
            (Display::Lines { held, .. }, Change::State) => {
                if let Some(line) = held.take() {
                    out::note(line);
                }
                out::note(training.state_words());
            }
            // A point may say nothing that is shown, such as a progress before the first step.
            (Display::Lines { .. }, Change::Point) if training.line().is_empty() => {}
            (Display::Lines { last, held }, Change::Point) => {
                if last.is_some_and(|last| last.elapsed() < LINE_EVERY) {
                    *held = Some(training.line());
                } else {
                    *last = Some(Instant::now());
                    *held = None;
                    out::note(training.line());
                }
            }
        }
    }

    /// Writes something else (the log, a remark) without tearing the bar.
    pub(crate) fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        match self {
            Display::Bar(bar) => bar.suspend(write),
            Display::Lines { .. } => write(),
        }
    }

    /// The end: a bar goes, the last line of metrics stays.
    pub(crate) fn finish(self, training: &Training) {
        match self {
            Display::Bar(bar) => {
                bar.finish_and_clear();
                if training.step.is_some() {
                    out::note(training.line());
                }
            }
            Display::Lines { held: Some(line), .. } => out::note(line),
            Display::Lines { held: None, .. } => {}
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn draw(bar: &ProgressBar, training: &Training) {
    let drawn = training.drawn();
    let template = match drawn {
        Some(_) if training.total_steps.is_some() => "{spinner} {prefix} [{bar:30}] {pos}/{len}  {wide_msg}",
        Some(_) => "{spinner} {prefix} [{bar:30}] {percent} %  {wide_msg}",
        None => "{spinner} {prefix}  {wide_msg}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    if let Some((position, length)) = drawn {
        bar.set_length(length);
        bar.set_position(position);
    }
    bar.set_prefix(out::clean(&training.state_words()));
    bar.set_message(if training.total_steps.is_some() { training.numbers() } else { training.line() });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(kind: &str, second: u32, data: Value) -> JobEvent {
        JobEvent {
            kind: kind.to_owned(),
            data,
            seq: None,
            ts: Some(format!("2026-01-01T00:00:{second:02}Z")),
            attempt: Some(1),
        }
    }

    #[test]
    fn rate_and_time_left_come_from_the_events_own_times() {
        let mut training = Training::default();
        training.take(&event("status", 0, json!({"state": "running", "phase": "training"})));
        training.take(&event("progress", 0, json!({"step": 0, "total_steps": 100})));
        assert_eq!(training.left_s(), None, "one point has no rate");
        for second in 1..=10 {
            training.take(&event(
                "metrics",
                second,
                json!({"step": second * 2, "loss": 4.0 - 0.1 * f64::from(second)}),
            ));
        }
        assert_eq!(training.rate(), Some(2.0));
        assert_eq!(training.left_s(), Some(40));
        assert_eq!(training.line(), "step 20/100  loss 3.0000  2.0 steps/s  40 s left");
    }

    #[test]
    fn an_attempt_that_goes_on_from_a_checkpoint_does_not_spoil_the_rate() {
        let mut training = Training::default();
        for (second, step) in [(0, 50), (1, 51), (30, 40), (31, 41)] {
            training.take(&event("metrics", second, json!({"step": step, "loss": 1.0})));
        }
        assert_eq!(training.rate(), Some(1.0));
    }

    #[test]
    fn the_machines_metrics_are_not_shown_as_the_trainings() {
        let mut training = Training::default();
        assert_eq!(training.take(&event("metrics", 0, json!({"system/cpu": 12.5}))), Change::Nothing);
        assert_eq!(training.take(&event("notification", 0, json!({"title": "x"}))), Change::Nothing);
    }

    #[test]
    fn a_bar_is_drawn_from_steps_or_from_a_share() {
        let drawn = |data: Value| {
            let mut training = Training::default();
            training.take(&event("progress", 0, data));
            training.drawn()
        };
        assert_eq!(drawn(json!({"step": 4, "total_steps": 40, "progress": 0.5})), Some((4, 40)));
        assert_eq!(drawn(json!({"step": 4, "progress": 0.25})), Some((250, 1000)));
        assert_eq!(drawn(json!({"progress": 0.5, "total_steps": 40})), Some((20, 40)));
        assert_eq!(drawn(json!({"step": 4})), None);
    }

    #[test]
    fn a_status_is_told_once() {
        let mut training = Training::default();
        let status = json!({"state": "initializing", "phase": "waiting_for_capacity", "reason": {"message": "no A100 now"}});
        assert_eq!(training.take(&event("status", 0, status.clone())), Change::State);
        assert_eq!(training.state_words(), "initializing (waiting for capacity): no A100 now");
        assert_eq!(training.take(&event("status", 0, status)), Change::Nothing);
    }
}
