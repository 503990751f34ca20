//! LLaMA-Factory's `trainer_log.jsonl`: a line per logged point, with its step, and how far the training is.
//!
//! Its fields: `current_steps`, `total_steps`, `loss`, `eval_loss`, `lr` (older: `learning_rate`), `epoch`,
//! `percentage`, `elapsed_time`, `remaining_time` (`0:01:23`). `lr` is told as `learning_rate`, as everyone else does.

use serde_json::{Map, Value};
use trainyard_domain::{MetricPoint, Progress};

use super::json;
use super::printed::clock;
use super::source::{Source, Told};
use super::tail::Tail;

/// Fields that tell the progress and are no metrics.
const NO_METRICS: [&str; 4] = ["total_steps", "percentage", "elapsed_time", "remaining_time"];

/// A trainer log being followed.
#[derive(Debug)]
pub(super) struct TrainerLog {
    tail: Tail,
    /// A line with values was read. After it, lines without any come from a prediction and tell nothing.
    trained: bool,
}

impl TrainerLog {
    /// Follows a log.
    pub(super) fn new(tail: Tail) -> Self {
        TrainerLog { tail, trained: false }
    }

    /// Reads on; true where there may be more at once.
    pub(super) fn read(&mut self, told: &mut Vec<Told>) -> bool {
        let read = self.tail.read();
        for line in &read.lines {
            self.line(line, told);
        }
        read.more
    }

    /// Reads to the end: the writer is gone.
    pub(super) fn read_last(&mut self, told: &mut Vec<Told>) {
        while self.read(told) {}
        if let Some(line) = self.tail.take_torn() {
            self.line(&line, told);
        }
    }

    fn line(&mut self, line: &str, told: &mut Vec<Told>) {
        let Some(map) = json::parse_object(line) else { return };
        let point = point(&map);
        let has_values = !point.values.is_empty();
        if !has_values && self.trained {
            return;
        }
        self.trained |= has_values;
        let progress = Progress {
            fraction: None,
            eta_s: map.get("remaining_time").and_then(Value::as_str).and_then(clock),
            step: point.step,
            total_steps: map
                .get("total_steps")
                .and_then(json::number)
                .and_then(json::step)
                .filter(|n| *n > 0),
        };
        if has_values {
            told.push(Told::Point(Source::TrainerLog, point));
        }
        if progress.step.is_some() {
            told.push(Told::Progress(Source::TrainerLog, progress));
        }
    }
}

fn point(map: &Map<String, Value>) -> MetricPoint {
    let renamed = |name: &String| match name.as_str() {
        "current_steps" => "step".to_owned(),
        "lr" => "learning_rate".to_owned(),
        _ => name.clone(),
    };
    let numbers = map.iter().filter(|(name, _)| !NO_METRICS.contains(&name.as_str()));
    json::point_of(numbers.filter_map(|(name, value)| Some((renamed(name), json::number(value)?))))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn lines_as_llama_factory_writes_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trainer_log.jsonl");
        let line = r#"{"current_steps": 10, "total_steps": 90, "loss": 1.3206, "lr": 4.5e-05, "epoch": 0.33, "percentage": 11.11, "elapsed_time": "0:01:23", "remaining_time": "0:11:04"}"#;
        let prediction = r#"{"current_steps": 5, "total_steps": 7, "percentage": 71.43, "elapsed_time": "0:00:03", "remaining_time": "0:00:01"}"#;
        fs::write(&path, format!("{line}\n{prediction}\nbad\n")).unwrap();
        let mut told = Vec::new();
        TrainerLog::new(Tail::new(&path, 0)).read_last(&mut told);
        let [Told::Point(Source::TrainerLog, point), Told::Progress(Source::TrainerLog, progress)] =
            told.as_slice()
        else {
            panic!("{told:?}")
        };
        assert_eq!(point.step, Some(10));
        assert_eq!(point.values.keys().collect::<Vec<_>>(), ["epoch", "learning_rate", "loss"]);
        assert_eq!(
            *progress,
            Progress { fraction: None, eta_s: Some(664), step: Some(10), total_steps: Some(90) }
        );
    }
}
