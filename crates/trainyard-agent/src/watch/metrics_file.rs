//! The metrics file of the contract, and the file of the `Trainer` hook, which has the same form.
//!
//! One JSON object a line. Every numeric field is a metric; `step` orders; nested and other fields are ignored. The
//! fields `progress` (0–1), `eta_s` and `total_steps` tell the progress as well.

use serde_json::{Map, Value};
use trainyard_domain::Progress;

use super::json;
use super::source::{Source, Told};
use super::tail::Tail;

/// A metrics file being followed.
#[derive(Debug)]
pub(super) struct MetricsFile {
    source: Source,
    tail: Tail,
    total_steps: Option<u64>,
    bad: u64,
}

impl MetricsFile {
    /// Follows a file from its beginning.
    pub(super) fn new(source: Source, tail: Tail) -> Self {
        MetricsFile { source, tail, total_steps: None, bad: 0 }
    }

    /// The file.
    pub(super) fn path(&self) -> &std::path::Path {
        self.tail.path()
    }

    /// Reads on; true where there may be more at once.
    pub(super) fn read(&mut self, told: &mut Vec<Told>) -> bool {
        let read = self.tail.read();
        for line in &read.lines {
            self.line(line, told);
        }
        self.bad += self.tail.take_bad();
        read.more
    }

    /// Reads to the end, a last line without its end included: the writer is gone.
    pub(super) fn read_last(&mut self, told: &mut Vec<Told>) {
        while self.read(told) {}
        if let Some(line) = self.tail.take_torn() {
            self.line(&line, told);
        }
    }

    /// Lines that were no JSON object, too long or no UTF-8, since the last time this was asked.
    pub(super) fn take_bad(&mut self) -> u64 {
        std::mem::take(&mut self.bad)
    }

    fn line(&mut self, line: &str, told: &mut Vec<Told>) {
        if line.trim().is_empty() {
            return;
        }
        let Some(map) = json::parse_object(line) else {
            self.bad += 1;
            return;
        };
        let point = json::point(&map, &[]);
        let progress = self.progress(&map, point.step);
        if !point.values.is_empty() {
            told.push(Told::Point(self.source, point));
        }
        if let Some(progress) = progress {
            told.push(Told::Progress(self.source, progress));
        }
    }

    fn progress(&mut self, map: &Map<String, Value>, step: Option<u64>) -> Option<Progress> {
        let field = |name| map.get(name).and_then(json::number);
        if let Some(total) = field("total_steps").and_then(json::step) {
            self.total_steps = Some(total);
        }
        let fraction = field("progress");
        let eta_s = field("eta_s").and_then(json::seconds);
        let known = fraction.is_some() || eta_s.is_some() || (self.total_steps.is_some() && step.is_some());
        known.then_some(Progress { fraction, eta_s, step, total_steps: self.total_steps })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn told(text: &str) -> (Vec<Told>, u64) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.jsonl");
        fs::write(&path, text).unwrap();
        let mut file = MetricsFile::new(Source::MetricsFile, Tail::new(&path, 0));
        let mut told = Vec::new();
        file.read_last(&mut told);
        (told, file.take_bad())
    }

    #[test]
    fn numbers_are_metrics_and_the_rest_is_not() {
        let (told, bad) = told(concat!(
            r#"{"step": 7, "loss": 2.5, "lr": "1e-4", "note": "hot", "nested": {"x": 1}, "list": [1], "ok": true, "none": null}"#,
            "\nnot json\n[1]\n",
            r#"{"loss": NaN, "grad_norm": Infinity}"#,
            "\n\n",
            r#"{"step": 8, "loss": 1}"#,
        ));
        assert_eq!(bad, 2);
        let points: Vec<_> = told
            .iter()
            .map(|told| match told {
                Told::Point(Source::MetricsFile, point) => point,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(points.len(), 3);
        assert_eq!((points[0].step, points[0].values.len()), (Some(7), 2));
        assert_eq!((points[0].get("loss"), points[0].get("lr")), (Some(2.5), Some(1e-4)));
        assert!(points[1].step.is_none() && points[1].get("loss").unwrap().is_nan());
        assert_eq!(
            (points[2].step, points[2].get("loss")),
            (Some(8), Some(1.0)),
            "a last line without its end"
        );
    }

    #[test]
    fn progress_is_told_beside() {
        let (told, _) = told(
            "{\"step\":5,\"total_steps\":20,\"loss\":1}\n{\"step\":10,\"loss\":1}\n{\"progress\":0.75,\"eta_s\":12.4}\n",
        );
        let progress: Vec<_> = told
            .into_iter()
            .filter_map(|told| if let Told::Progress(_, progress) = told { Some(progress) } else { None })
            .collect();
        let of = |fraction, eta_s, step| Progress { fraction, eta_s, step, total_steps: Some(20) };
        assert_eq!(
            progress,
            [of(None, None, Some(5)), of(None, None, Some(10)), of(Some(0.75), Some(12), None)]
        );
    }
}
