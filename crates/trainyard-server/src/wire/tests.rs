//! The answers about jobs, as they go out. A change of these snapshots is a change of the documented API.

use std::collections::BTreeMap;

use trainyard_domain::{
    ArtifactFile, ArtifactRecord, AttemptNumber, Command, Exit, Fact, Job, JobSpec, Machine, MetricPoint,
    MetricValue, OrderName, Phase, Progress, Rental, Seq, Sha256, Timestamp,
};
use trainyard_orchestrator::{ArtifactView, Cancelled, FileCheck, JobView};
use trainyard_storage::{JobPage, JobRow};

use super::*;

fn at(minute: u32) -> Timestamp {
    format!("2024-01-15T10:{minute:02}:00Z").parse().unwrap()
}

fn order() -> OrderName {
    "ty-abcd1234-01hm00000000000000000000zz".parse().unwrap()
}

fn created() -> Job {
    let mut spec = JobSpec::new("llama-2-7b");
    spec.labels = BTreeMap::from([("team".to_owned(), "search".to_owned())]);
    Job::new("job_123".parse().unwrap(), spec, None, at(0))
}

fn running() -> Job {
    let mut job = created();
    job.command(&Command::Submit("local".parse().unwrap())).unwrap();
    let attempt = job.intend(order(), "local".parse().unwrap(), at(10)).unwrap();
    let rental = Rental { attempt, machine: "local-1".parse().unwrap(), can_pause: true };
    job.apply(&Fact::Placed(rental), at(20)).unwrap();
    job.apply(&Fact::Started { attempt, at: at(30) }, at(30)).unwrap();
    job.set_phase(Some(Phase::Training), at(30));
    job
}

fn completed() -> Job {
    let mut job = running();
    let attempt = AttemptNumber::FIRST;
    job.set_exit(attempt, Exit::with_code(0, at(40)));
    job.set_artifact(Some(record()));
    job.apply(&Fact::Completed { at: at(45) }, at(45)).unwrap();
    job.apply(&Fact::Returned { attempt }, at(46)).unwrap();
    job
}

fn record() -> ArtifactRecord {
    let file = |path: &str, size_bytes, byte| ArtifactFile {
        path: path.to_owned(),
        size_bytes,
        hash_sha256: Sha256::from_bytes([byte; 32]),
    };
    ArtifactRecord {
        files: vec![
            file("adapter_config.json", 300, 0xab),
            file("adapter_model.safetensors", 1_048_576, 0xcd),
        ],
        main: 1,
        created_at: at(45),
        attempt: AttemptNumber::FIRST,
        provider: "local".parse().unwrap(),
        provider_job_id: Some("local-1".parse().unwrap()),
    }
}

fn view(job: Job) -> JobView {
    JobView {
        job,
        version: 3,
        seq: Seq(17),
        current_metrics: None,
        progress: None,
        useful_share: None,
        cost: "0.25".parse().unwrap(),
    }
}

fn artifact(job: Job) -> ArtifactView {
    let record = record();
    let main = record.files[1].clone();
    ArtifactView { record, main, path: "/data/artifacts/job_123/adapter_model.safetensors".into(), job }
}

#[test]
fn a_job_that_was_never_submitted_shows_nulls() {
    let view = view(created());
    insta::assert_json_snapshot!("created", (StatusAnswer::new(&view, None), SubmitAnswer::from(&view)));
}

#[test]
fn a_running_job_shows_its_metrics() {
    let mut view = view(running());
    let values = [("epoch", 1.0), ("loss", 0.5), ("learning_rate", 0.0002)];
    let values = values.map(|(name, value)| (name.to_owned(), MetricValue(value)));
    view.current_metrics =
        Some(MetricPoint { step: Some(1000), values: BTreeMap::from(values), ..MetricPoint::default() });
    view.progress =
        Some(Progress { fraction: Some(0.5), eta_s: Some(60), step: Some(1000), total_steps: Some(2000) });
    insta::assert_json_snapshot!("running", (StatusAnswer::new(&view, None), SubmitAnswer::from(&view)));
}

#[test]
fn a_completed_job_shows_everything() {
    let view = view(completed());
    let artifact = artifact(view.job.clone());
    insta::assert_json_snapshot!("completed_status", StatusAnswer::new(&view, Some(&artifact)));
    insta::assert_json_snapshot!("completed_job", JobAnswer::new(&view, Some(&artifact)));
}

#[test]
fn a_cancelled_job_says_so() {
    let mut job = running();
    job.command(&Command::Cancel).unwrap();
    job.apply(&Fact::Stopped { at: at(50) }, at(50)).unwrap();
    let cancelled = Cancelled { view: view(job), message: "Job cancelled successfully".to_owned() };
    insta::assert_json_snapshot!("cancelled", CancelAnswer::from(cancelled));
}

#[test]
fn a_list_shows_rows_and_a_cursor() {
    let job = completed();
    let row = JobRow {
        id: job.id().clone(),
        state: job.state().name(),
        provider: job.provider().cloned(),
        model_name: "llama-2-7b".to_owned(),
        labels: BTreeMap::new(),
        created_at: at(0),
        started_at: Some(at(30)),
        completed_at: Some(at(45)),
    };
    let page = JobPage { jobs: vec![row], total: 2, next: Some(41) };
    let wire = serde_json::to_value(JobsAnswer::from(page)).unwrap();
    insta::assert_json_snapshot!("list", wire);
    assert_eq!(cursor_from(wire["next_cursor"].as_str().unwrap()), Some(41));
    for bad in ["", "41", "AAAA", "%%%"] {
        assert_eq!(cursor_from(bad), None, "{bad}");
    }
}

#[test]
fn a_check_names_what_differs() {
    let digest = |byte| Sha256::from_bytes([byte; 32]);
    let check = |path: &str, actual| FileCheck { path: path.to_owned(), expected: digest(1), actual };
    let checks = vec![check("good", Some(digest(1))), check("bad", Some(digest(2))), check("gone", None)];
    insta::assert_json_snapshot!("verify", VerifyAnswer::from(checks));
}

#[test]
fn a_machine_shows_what_it_cost() {
    let machine = Machine {
        order: order(),
        provider: "runpod".parse().unwrap(),
        provider_job_id: Some("pod_1".parse().unwrap()),
        attempts: vec![("job_123".parse().unwrap(), AttemptNumber::FIRST)],
        price_per_hour: Some("2.50".parse().unwrap()),
        ordered_at: at(0),
        placed_at: Some(at(1)),
        release_asked_at: None,
        gone_at: None,
        gone_proof: None,
        billed_until: None,
        billed_from: None,
        labels: std::collections::BTreeMap::new(),
        reserved: None,
        unneeded_since: None,
        warm_until: None,
        bill: None,
    };
    insta::assert_json_snapshot!("machine", MachineWire::new(&machine, &[], at(31)));
}
