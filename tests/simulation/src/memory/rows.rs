//! A job's row with its history.

use std::collections::BTreeMap;

use trainyard_domain::{
    AttemptNumber, Claim, Event, EventBody, Job, MetricPoint, NewEvent, Progress, Seq, Timestamp, Wish,
};
use trainyard_storage::{Appended, EventPage, StorageError, StoredJob, Telemetry, TelemetryItem};

/// A job as it lies on the disk.
#[derive(Debug, Clone)]
pub struct Row {
    pub(crate) n: u64,
    pub(crate) job: Job,
    pub(crate) version: u64,
    pub(crate) fence: u64,
    pub(crate) seq: u64,
    pub(crate) log_bytes: u64,
    pub(crate) metrics: Option<MetricPoint>,
    pub(crate) progress: Option<Progress>,
    pub(crate) cursor: Option<(AttemptNumber, u64)>,
    pub(crate) due: Option<Timestamp>,
    pub(crate) submitted: Option<u64>,
    pub(crate) whole_from: u64,
    pub(crate) facts: Vec<Event>,
    /// Batches of telemetry by their last number.
    pub(crate) telemetry: BTreeMap<u64, Batch>,
}

/// One batch as it was appended.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) at: Timestamp,
    pub(crate) events: Vec<Event>,
}

impl Row {
    pub(crate) fn new(n: u64, job: Job, fence: u64, events: &[NewEvent]) -> Row {
        let mut row = Row {
            n,
            job,
            version: 1,
            fence,
            seq: 0,
            log_bytes: 0,
            metrics: None,
            progress: None,
            cursor: None,
            due: None,
            submitted: None,
            whole_from: 1,
            facts: Vec::new(),
            telemetry: BTreeMap::new(),
        };
        row.add_facts(events);
        row
    }

    pub(crate) fn add_facts(&mut self, events: &[NewEvent]) {
        for event in events {
            self.seq += 1;
            let seq = Seq(self.seq);
            self.facts.push(Event { seq, at: event.at, attempt: event.attempt, body: event.body.clone() });
        }
    }

    /// Whether it stands in a line, and whether it waits there.
    pub(crate) fn stands(&self) -> (bool, bool) {
        let (job, body) = (&self.job, self.job.body());
        let nothing = matches!(job.state().claim(), None | Some(Claim::Waiting));
        let ended = job.state().name().is_end();
        let waits = body.provider.is_some() && job.wish() == Wish::Run && !ended && nothing;
        (body.provider.is_some() && job.wish() != Wish::Rest, waits)
    }

    pub(crate) fn stored(&self) -> Result<StoredJob, StorageError> {
        // The one way back from storage, as from any other.
        let job = Job::restore(self.job.spec().clone(), self.job.body().clone())
            .map_err(|error| StorageError::Corrupt(error.to_string()))?;
        Ok(StoredJob {
            job,
            version: self.version,
            seq: Seq(self.seq),
            log_bytes: self.log_bytes,
            current_metrics: self.metrics.clone(),
            progress: self.progress,
            cursor: self.cursor,
        })
    }

    /// Takes telemetry, or not: the rule of [`trainyard_storage::Storage::append`].
    pub(crate) fn append(&mut self, telemetry: &Telemetry, aside: bool) -> Appended {
        let refused = Appended { seq: Seq(self.seq), taken: 0 };
        if self.cursor.is_some_and(|(attempt, _)| attempt > telemetry.attempt) {
            return refused;
        }
        if !aside {
            let known = self.cursor.filter(|(attempt, _)| *attempt == telemetry.attempt);
            if known.is_some_and(|(_, n)| n >= telemetry.cursor || n > telemetry.after) {
                return refused;
            }
            self.cursor = Some((telemetry.attempt, telemetry.cursor));
        }
        self.take_newest(&telemetry.items);
        let mut events = Vec::with_capacity(telemetry.items.len());
        for item in &telemetry.items {
            self.seq += 1;
            let (seq, attempt) = (Seq(self.seq), Some(telemetry.attempt));
            events.push(Event { seq, at: item.at, attempt, body: item.body.clone() });
        }
        if let Some(at) = events.iter().map(|event| event.at).max() {
            self.telemetry.insert(self.seq, Batch { at, events });
        }
        Appended { seq: Seq(self.seq), taken: telemetry.items.len() }
    }

    fn take_newest(&mut self, items: &[TelemetryItem]) {
        for item in items {
            match &item.body {
                EventBody::Metrics(point) if point.is_system() => {}
                EventBody::Metrics(point) => {
                    let newest = self.metrics.get_or_insert_with(MetricPoint::default);
                    newest.step = point.step.or(newest.step);
                    let ours = point.values.iter().filter(|(name, _)| !name.starts_with("system/"));
                    newest.values.extend(ours.map(|(name, value)| (name.clone(), *value)));
                    while newest.values.len() > MetricPoint::NAMES_MAX {
                        newest.values.pop_last();
                    }
                }
                EventBody::Progress(progress) => self.progress = Some(*progress),
                EventBody::Log(span) => {
                    self.log_bytes = self.log_bytes.max(span.offset + u64::from(span.len));
                }
                EventBody::Status(_) | EventBody::Notification(_) => {}
            }
        }
    }

    /// Every event after a number.
    pub(crate) fn events(&self, after: u64) -> Vec<Event> {
        let facts = self.facts.iter().filter(|event| event.seq.0 > after);
        let told = self.telemetry.range(after.saturating_add(1)..).flat_map(|(_, batch)| &batch.events);
        let mut all: Vec<Event> = facts.chain(told.filter(|event| event.seq.0 > after)).cloned().collect();
        all.sort_by_key(|event| event.seq);
        all
    }

    pub(crate) fn page(&self, after: Seq, limit: usize) -> EventPage {
        let mut events = self.events(after.0);
        events.truncate(limit);
        EventPage { events, last: Seq(self.seq), oldest: Seq(self.whole_from) }
    }
}
