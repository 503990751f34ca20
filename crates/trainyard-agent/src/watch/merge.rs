//! Which source is believed, so that no value of a step is told twice.
//!
//! The rules:
//! 1. **Silence.** Once a live exact source (the metrics file, the hook, `trainer_log.jsonl`) has told a name, less
//!    exact sources no longer tell that name. Names that it never tells (an `eval_loss`, say) still come from them.
//! 2. **Once.** A name of a step that one source told is not told again by another.
//! 3. **Twins.** A printed value has four digits and maybe no step: it is the same as a value of
//!    `trainer_state.json` or `trainer_log.jsonl` of the same name, epoch and first four digits.
//! 4. **Status.** The status callback repeats old values: it is heard only while nothing else told a point.
//! 5. `epoch` says where a point is: alone it is not worth a point.
//!
//! One source may tell a step again: a program may train twice, and each counts.
//!
//! Progress: the metrics file or the hook, once one has told any, is the only one heard. Among the others, one that
//! did not speak last is heard only where it is ahead, so that a late file does not turn the bar back.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{Hash, Hasher};

use trainyard_domain::{MetricPoint, MetricValue, Progress};

use super::json::digits;
use super::source::Source;

/// Steps remembered. What is older counts as told.
const STEPS_MAX: usize = 20_000;
/// Values remembered by their first four digits.
const TWINS_MAX: usize = 100_000;
/// Names remembered.
const NAMES_MAX: usize = 4096;

/// A name, an epoch and a value by their first four digits, hashed: 64 bits do not meet by chance in 100 000.
type Twin = u64;

/// What was told so far.
#[derive(Debug, Default)]
pub(super) struct Merge {
    names: HashMap<String, Name>,
    told: BTreeMap<u64, Vec<(u16, Source)>>,
    /// Every step up to here was forgotten.
    forgotten: Option<u64>,
    twins: HashMap<Twin, Source>,
    twins_in_order: VecDeque<Twin>,
    /// The most exact source of points so far.
    best: Option<Source>,
    progress: Option<(Source, Progress)>,
}

#[derive(Debug)]
struct Name {
    id: u16,
    /// The most exact live source that tells it.
    live: Option<Source>,
}

impl Merge {
    /// What is new in a point; `None` where nothing is.
    pub(super) fn point(&mut self, source: Source, mut point: MetricPoint) -> Option<MetricPoint> {
        if source == Source::Status && self.best.is_some_and(|best| best < source) {
            return None;
        }
        let before = point.values.len();
        let epoch = point.get("epoch").map(digits);
        let step = point.step;
        point.values.retain(|name, value| {
            name == "epoch" || !self.is_known(source, step, epoch.as_deref(), name, *value)
        });
        let has_news = point.values.keys().any(|name| name != "epoch");
        if point.values.is_empty() || (!has_news && (before > point.values.len() || !source.is_live())) {
            return None;
        }
        self.remember(source, step, epoch.as_deref(), &point);
        Some(point)
    }

    /// The progress to tell; `None` where it is none, or another source is ahead.
    pub(super) fn progress(&mut self, source: Source, progress: Progress) -> Option<Progress> {
        let progress = tidy(progress);
        if let Some((last, told)) = &self.progress {
            let speaks_alone = *last <= Source::Hook && source > *last;
            let behind = *last != source && source > Source::Hook && position(&progress) <= position(told);
            if speaks_alone || behind || *told == progress {
                return None;
            }
        }
        self.progress = Some((source, progress));
        (progress != Progress::default()).then_some(progress)
    }

    fn is_known(
        &self,
        source: Source,
        step: Option<u64>,
        epoch: Option<&str>,
        name: &str,
        value: MetricValue,
    ) -> bool {
        let Some(known) = self.names.get(name) else { return false };
        if known.live.is_some_and(|live| live < source) {
            return true;
        }
        let told_by_another = |step: u64| match self.told.get(&step) {
            Some(told) => told.iter().any(|(id, by)| *id == known.id && *by != source),
            None => {
                !source.is_live()
                    && source != Source::Printed
                    && self.forgotten.is_some_and(|last| step <= last)
            }
        };
        if step.is_some_and(told_by_another) {
            return true;
        }
        let Some(epoch) = epoch else { return false };
        let twin = twin(known.id, epoch, value.0);
        self.twins
            .get(&twin)
            .is_some_and(|by| *by != source && (*by == Source::Printed || source == Source::Printed))
    }

    fn remember(&mut self, source: Source, step: Option<u64>, epoch: Option<&str>, point: &MetricPoint) {
        self.best = Some(self.best.map_or(source, |best| best.min(source)));
        for (name, value) in point.values.iter().filter(|(name, _)| *name != "epoch") {
            let Some(id) = self.name(name, source) else { continue };
            if let Some(step) = step {
                let told = self.told.entry(step).or_default();
                if !told.contains(&(id, source)) {
                    told.push((id, source));
                }
            }
            if let (Some(epoch), Source::Printed | Source::TrainerState | Source::TrainerLog) =
                (epoch, source)
            {
                self.remember_twin(twin(id, epoch, value.0), source);
            }
        }
        while self.told.len() > STEPS_MAX {
            self.forgotten = self.told.pop_first().map(|(step, _)| step).max(self.forgotten);
        }
    }

    fn name(&mut self, name: &str, source: Source) -> Option<u16> {
        let next = u16::try_from(self.names.len()).ok().filter(|next| usize::from(*next) < NAMES_MAX);
        if !self.names.contains_key(name) {
            self.names.insert(name.to_owned(), Name { id: next?, live: None });
        }
        let known = self.names.get_mut(name)?;
        if source.is_live() {
            known.live = Some(known.live.map_or(source, |live| live.min(source)));
        }
        Some(known.id)
    }

    fn remember_twin(&mut self, twin: Twin, source: Source) {
        if self.twins.insert(twin, source).is_none() {
            self.twins_in_order.push_back(twin);
        }
        if self.twins_in_order.len() > TWINS_MAX
            && let Some(oldest) = self.twins_in_order.pop_front()
        {
            self.twins.remove(&oldest);
        }
    }
}

fn twin(name: u16, epoch: &str, value: f64) -> Twin {
    let mut hasher = std::hash::DefaultHasher::new();
    (name, epoch, digits(value)).hash(&mut hasher);
    hasher.finish()
}

/// Fills in the fraction from the steps, and leaves out what is none.
fn tidy(mut progress: Progress) -> Progress {
    if let (None, Some(step), Some(total)) = (progress.fraction, progress.step, progress.total_steps)
        && total > 0
    {
        progress.fraction = Some(step as f64 / total as f64);
    }
    progress.fraction = progress.fraction.filter(|fraction| fraction.is_finite()).map(|f| f.clamp(0.0, 1.0));
    progress
}

/// How far a progress is, to compare sources: by fraction, as steps may be counted differently.
fn position(progress: &Progress) -> f64 {
    progress.fraction.unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(step: Option<u64>, values: &[(&str, f64)]) -> MetricPoint {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), MetricValue(*value))).collect();
        MetricPoint { step, values, ..MetricPoint::default() }
    }

    type Line<'a> = (Source, Option<u64>, &'a [(&'a str, f64)], &'a [&'a str]);

    /// Each line is told by a source; what comes out has these names.
    fn check(told: &[Line<'_>]) {
        let mut merge = Merge::default();
        for (n, (source, step, values, expected)) in told.iter().enumerate() {
            let out = merge.point(*source, point(*step, values));
            let names: Vec<String> = out.map(|point| point.values.into_keys().collect()).unwrap_or_default();
            assert_eq!(names, *expected, "line {n}: {source:?}");
        }
    }

    #[test]
    fn live_exact_source_silences_the_names_it_tells() {
        check(&[
            (Source::Printed, Some(1), &[("loss", 2.0)], &["loss"]),
            (Source::MetricsFile, Some(2), &[("loss", 2.0)], &["loss"]),
            (Source::Printed, Some(2), &[("loss", 2.0)], &[]),
            (
                Source::Printed,
                Some(3),
                &[("loss", 2.0), ("eval_loss", 3.0), ("epoch", 0.1)],
                &["epoch", "eval_loss"],
            ),
            (Source::TrainerState, Some(3), &[("loss", 2.0), ("eval_loss", 3.0)], &[]),
            (Source::TrainerState, Some(4), &[("loss", 2.0), ("eval_loss", 3.0)], &["eval_loss"]),
            (Source::MetricsFile, Some(3), &[("loss", 2.0)], &["loss"]),
            (Source::Status, Some(9), &[("reward", 2.0)], &[]),
        ]);
    }

    #[test]
    fn state_fills_in_what_was_not_printed() {
        check(&[
            (Source::Printed, Some(10), &[("loss", 2.0), ("epoch", 0.1)], &["epoch", "loss"]),
            (Source::TrainerState, Some(10), &[("loss", 2.0), ("epoch", 0.1)], &[]),
            (Source::TrainerState, Some(11), &[("loss", 2.0), ("epoch", 0.2)], &["epoch", "loss"]),
            (Source::Printed, Some(11), &[("loss", 2.0), ("epoch", 0.2)], &[]),
            (Source::Printed, Some(12), &[("loss", 2.0), ("epoch", 0.3)], &["epoch", "loss"]),
        ]);
    }

    #[test]
    fn printed_without_a_step_is_known_by_epoch_and_digits() {
        check(&[
            (Source::Printed, None, &[("loss", 2.346), ("epoch", 0.0909)], &["epoch", "loss"]),
            (Source::TrainerState, Some(5), &[("loss", 2.345_678), ("epoch", 0.090_9)], &[]),
            (Source::TrainerState, Some(6), &[("loss", 2.345_678), ("epoch", 0.2)], &["epoch", "loss"]),
            (Source::Printed, Some(9), &[("loss", 2.346), ("epoch", 0.2)], &[]),
            (Source::Printed, None, &[("loss", f64::NAN), ("epoch", 0.3)], &["epoch", "loss"]),
            (Source::TrainerState, Some(7), &[("loss", f64::NAN), ("epoch", 0.3)], &[]),
        ]);
    }

    #[test]
    fn one_source_may_train_twice() {
        check(&[
            (Source::Printed, Some(1), &[("loss", 2.0), ("epoch", 1.0)], &["epoch", "loss"]),
            (Source::Printed, Some(1), &[("loss", 2.0), ("epoch", 1.0)], &["epoch", "loss"]),
            (Source::MetricsFile, Some(1), &[("epoch", 1.0)], &["epoch"]),
        ]);
    }

    #[test]
    fn memory_is_bounded_and_old_steps_count_as_told() {
        let mut merge = Merge::default();
        for step in 0..(STEPS_MAX as u64 + 10) {
            assert!(merge.point(Source::Printed, point(Some(step), &[("loss", 1.0)])).is_some());
        }
        assert_eq!(merge.told.len(), STEPS_MAX);
        assert_eq!(merge.point(Source::TrainerState, point(Some(3), &[("loss", 1.0)])), None);
        for n in 0..(NAMES_MAX + 10) {
            merge.point(Source::Printed, point(None, &[(&format!("n{n}"), 1.0)]));
        }
        assert!(merge.names.len() <= NAMES_MAX);
    }

    #[test]
    fn progress_is_not_turned_back_by_another_source() {
        let at = |step| Progress { step: Some(step), total_steps: Some(100), ..Progress::default() };
        let mut merge = Merge::default();
        let mut told = |source, step| merge.progress(source, at(step)).and_then(|progress| progress.fraction);
        assert_eq!(told(Source::Printed, 50), Some(0.5));
        assert_eq!(told(Source::Printed, 50), None);
        assert_eq!(told(Source::TrainerState, 40), None);
        assert_eq!(told(Source::Status, 51), Some(0.51));
        assert_eq!(told(Source::Printed, 52), Some(0.52));
        assert_eq!(told(Source::Printed, 0), Some(0.0));
        assert_eq!(told(Source::MetricsFile, 10), Some(0.1));
        assert_eq!(told(Source::Printed, 60), None);
        assert_eq!(told(Source::MetricsFile, 9), Some(0.09));
        let odd = Progress { fraction: Some(f64::NAN), ..Progress::default() };
        assert_eq!(merge.progress(Source::MetricsFile, odd), None);
    }
}
