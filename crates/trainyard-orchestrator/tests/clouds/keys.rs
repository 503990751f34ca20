//! Commands under an `Idempotency-Key`, with a crash between a change and its answer.

use std::time::Duration;

use futures_util::future::join_all;
use trainyard_domain::{JobSpec, Sha256, StateName};
use trainyard_orchestrator::{KeyTaken, Keyed};
use trainyard_storage::{JobFilter, ListPage};

use crate::cloud::Cloud;
use crate::rig::{Rig, quick, rig, rig_in};

async fn take(rig: &Rig, key: &str) -> KeyTaken {
    rig.orchestrator.take_key(key, Sha256::from_bytes([7; 32])).await.unwrap()
}

async fn ours(rig: &Rig, key: &str) -> Keyed {
    match take(rig, key).await {
        KeyTaken::Ours(keyed) => keyed,
        KeyTaken::Used(answer) => panic!("{key} is in use: {answer:?}"),
    }
}

fn spec() -> JobSpec {
    let mut spec = JobSpec::new("gpt2");
    spec.trainer.command = Some(vec!["true".to_owned()]);
    spec
}

#[tokio::test]
async fn a_change_whose_answer_was_lost_is_answered_and_not_made_again() {
    let cloud = Cloud::new("runpod", &[("a", "1.00")]);
    let directory = tempfile::tempdir().unwrap();
    let rig = rig_in(directory.path(), &[&cloud], quick()).await;
    let made = rig.orchestrator.under(ours(&rig, "create").await).create_job(None, spec()).await.unwrap();
    let id = made.job.id().clone();
    let copy = rig.orchestrator.under(ours(&rig, "clone").await).clone_job(&id, None, false).await.unwrap();
    assert!(matches!(take(&rig, "create").await, KeyTaken::Used(used) if used.status.is_none()), "at work");
    let untouched = ours(&rig, "untouched").await;
    let wait = Duration::from_secs(20);
    let submit = rig.orchestrator.under(ours(&rig, "submit").await);
    submit.submit(&id, "runpod", None, wait).await.unwrap();
    rig.rests(&id, StateName::Completed).await;
    // No answer is stored: it crashes here.
    rig.orchestrator.shutdown(Duration::from_secs(5)).await;

    let rig = rig_in(directory.path(), &[&cloud], quick()).await;
    let again = rig.orchestrator.under(ours(&rig, "create").await).create_job(None, spec()).await.unwrap();
    assert_eq!(again.job.id(), &id);
    let again = rig.orchestrator.under(ours(&rig, "clone").await).clone_job(&id, None, false).await.unwrap();
    assert_eq!(again.job.id(), copy.job.id());
    let submit = rig.orchestrator.under(ours(&rig, "submit").await);
    let answer = submit.submit(&id, "runpod", None, wait).await.unwrap();
    assert_eq!(answer.view.job.state().name(), StateName::Completed);
    assert_eq!(ours(&rig, "untouched").await, untouched, "nothing was done under it");
    let page = ListPage { limit: 10, before: None };
    assert_eq!(rig.orchestrator.list(&JobFilter::default(), page).await.unwrap().total, 2);
    assert_eq!(cloud.world().ordered.len(), 1);
}

#[tokio::test]
async fn a_key_that_is_given_back_makes_nothing_twice() {
    let cloud = Cloud::new("runpod", &[("a", "1.00")]);
    let rig = rig(&[&cloud]).await;
    let keyed = ours(&rig, "create").await;
    let made = rig.orchestrator.under(keyed.clone()).create_job(None, spec()).await.unwrap();
    rig.orchestrator.give_back_key(&keyed).await.unwrap();
    let again = rig.orchestrator.under(ours(&rig, "create").await).create_job(None, spec()).await.unwrap();
    assert_eq!(again.job.id(), made.job.id());
    assert!(matches!(take(&rig, "create").await, KeyTaken::Used(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_submits_of_one_job_at_once_make_one_machine() {
    let cloud = Cloud::new("runpod", &[("a", "1.00")]);
    let rig = rig(&[&cloud]).await;
    let id = rig.create("job", |_| {}).await;
    let answers = join_all((0..50).map(|_| rig.submit(&id, "runpod"))).await;
    assert!(answers.iter().all(|answer| answer == "ran"), "{answers:?}");
    rig.rests(&id, StateName::Completed).await;
    let ledger = rig.ledger().await.len();
    assert_eq!((cloud.world().ordered.len(), ledger), (1, 1));
}
