//! What the cases are made of: jobs, events, points, moments.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use trainyard_domain::{
    AttemptNumber, EventBody, Fact, InstallationId, Job, JobId, JobSpec, LogSpan, Machine, MetricPoint,
    MetricValue, NewEvent, Notification, NotificationKind, OrderName, Progress, ProviderName, Rental,
    Timestamp,
};
use trainyard_storage::{Commit, Storage, StoredJob, Telemetry, TelemetryItem};

/// A fixed moment and some seconds, with nanoseconds that a coarse storage would lose.
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp_nanos(1_732_374_433_123_456_789) + TimeDelta::seconds(seconds)
}

pub(super) fn id(name: &str) -> JobId {
    name.parse().expect("a job's id")
}

pub(super) fn provider(name: &str) -> ProviderName {
    name.parse().expect("a provider's name")
}

pub(super) fn attempt(number: u32) -> AttemptNumber {
    AttemptNumber::from(number)
}

/// A created job.
pub(super) fn job(name: &str) -> Job {
    labelled(name, &[])
}

pub(super) fn labelled(name: &str, labels: &[(&str, &str)]) -> Job {
    let mut spec = JobSpec::new("trainyard-tiny");
    spec.labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Job::new(id(name), spec, None, at(0))
}

/// A notification: a fact that says who wrote it.
pub(super) fn note(title: &str) -> NewEvent {
    let (kind, title) = (NotificationKind::Running, title.to_owned());
    let body = EventBody::Notification(Notification { kind, title, message: "…".to_owned() });
    NewEvent { at: at(1), attempt: None, body }
}

pub(super) fn status(job: &Job) -> NewEvent {
    NewEvent { at: at(1), attempt: Some(attempt(1)), body: EventBody::Status(job.status()) }
}

/// A commit of a job as it is, with nothing beside it.
pub(super) fn commit(stored: &StoredJob, storage: &dyn Storage) -> Commit {
    Commit {
        job: stored.job.clone(),
        version: stored.version,
        fence: storage.fence(),
        events: Vec::new(),
        machines: Vec::new(),
        due: None,
        key: None,
        reserves: None,
    }
}

pub(super) async fn create(storage: &dyn Storage, job: &Job) -> StoredJob {
    storage.create(job, &[]).await.expect("a new job")
}

pub(super) async fn load(storage: &dyn Storage, name: &str) -> StoredJob {
    storage.load(&id(name)).await.expect("loading").expect("the job is there")
}

/// Loads, changes and commits a job.
pub(super) async fn change(storage: &dyn Storage, name: &str, change: impl FnOnce(&mut Job)) -> StoredJob {
    let stored = load(storage, name).await;
    let mut commit = commit(&stored, storage);
    change(&mut commit.job);
    storage.commit(commit).await.expect("a commit");
    load(storage, name).await
}

pub(super) fn order(n: u128) -> OrderName {
    let installation: InstallationId = "abcd1234".parse().expect("an installation");
    OrderName::new(&installation, ulid::Ulid::from(n))
}

/// Submits, orders, places and starts: the job runs.
pub(super) fn run(job: &mut Job, provider_name: &str, n: u128) {
    submit(job, provider_name);
    place(job, provider_name, n);
}

pub(super) fn submit(job: &mut Job, provider_name: &str) {
    job.command(&trainyard_domain::Command::Submit(provider(provider_name))).expect("a submit");
}

pub(super) fn place(job: &mut Job, provider_name: &str, n: u128) {
    let attempt = job.intend(order(n), provider(provider_name), at(2)).expect("an intent");
    let rental = Rental { attempt, machine: "m-1".parse().expect("a machine"), can_pause: true };
    job.apply(&Fact::Placed(rental), at(3)).expect("placed");
    job.apply(&Fact::Started { attempt, at: at(4) }, at(4)).expect("started");
}

pub(super) fn finish(job: &mut Job, seconds: i64) {
    job.apply(&Fact::Failed { at: at(seconds) }, at(seconds)).expect("failed");
}

pub(super) fn machine(n: u128, name: &str) -> Machine {
    Machine {
        order: order(n),
        provider: provider("local"),
        provider_job_id: None,
        attempts: vec![(id(name), attempt(1))],
        price_per_hour: Some("2.50".parse().expect("money")),
        ordered_at: at(i64::try_from(n).expect("a small number")),
        placed_at: None,
        release_asked_at: None,
        gone_at: None,
        gone_proof: None,
        billed_until: None,
        billed_from: None,
        labels: BTreeMap::new(),
        reserved: None,
        unneeded_since: None,
        warm_until: None,
        bill: None,
    }
}

pub(super) fn point(step: Option<u64>, values: &[(&str, f64)]) -> MetricPoint {
    let values: BTreeMap<String, MetricValue> =
        values.iter().map(|(name, value)| ((*name).to_owned(), MetricValue(*value))).collect();
    MetricPoint { step, values, ..MetricPoint::default() }
}

pub(super) fn metric(seconds: i64, step: Option<u64>, values: &[(&str, f64)]) -> TelemetryItem {
    TelemetryItem { at: at(seconds), body: EventBody::Metrics(point(step, values)) }
}

pub(super) fn progress(seconds: i64, step: u64) -> TelemetryItem {
    let seen = Progress { fraction: Some(0.5), eta_s: None, step: Some(step), total_steps: Some(100) };
    TelemetryItem { at: at(seconds), body: EventBody::Progress(seen) }
}

pub(super) fn log(seconds: i64, offset: u64, len: u32) -> TelemetryItem {
    TelemetryItem { at: at(seconds), body: EventBody::Log(LogSpan { offset, len }) }
}

pub(super) fn batch(name: &str, number: u32, cursor: u64, items: Vec<TelemetryItem>) -> Telemetry {
    let after = cursor.saturating_sub(1);
    Telemetry { job_id: id(name), attempt: attempt(number), after, cursor, items }
}
