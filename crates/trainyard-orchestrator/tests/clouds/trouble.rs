//! Answers that are lost, machines that break or vanish, providers in trouble.

use trainyard_connector::{ErrorKind, MachinePhase};
use trainyard_domain::{Job, Phase, StateName};
use trainyard_orchestrator::Policy;

use crate::cloud::{Cloud, Order};
use crate::rig::{ends, quick, rig, rig_with};

fn cloud() -> Cloud {
    Cloud::new("runpod", &[("cheap", "1.00"), ("dear", "2.00")])
}

#[tokio::test]
async fn an_order_whose_answer_was_lost_is_adopted() {
    let cloud = cloud();
    cloud.world().orders = [Order::AcceptedUnheard].into();
    let rig = rig(&[&cloud]).await;
    let id = rig.create("job", |_| {}).await;
    assert_eq!(rig.submit(&id, "runpod").await, "ran");
    rig.rests(&id, StateName::Completed).await;
    assert_eq!(cloud.world().ordered.len(), 1);
    assert_eq!(cloud.world().terminated.len(), 1);
}

#[tokio::test]
async fn an_order_that_never_arrived_is_made_again_once_that_is_proven() {
    let cloud = cloud();
    cloud.world().orders = [Order::Swallowed].into();
    let rig = rig(&[&cloud]).await;
    let id = rig.create("job", |_| {}).await;
    assert_eq!(rig.submit(&id, "runpod").await, "ran");
    let job = rig.rests(&id, StateName::Completed).await;
    assert_eq!(ends(&job), ["order_lost", "-"]);
    assert_eq!(cloud.world().ordered, ["cheap", "cheap"]);
}

#[tokio::test]
async fn a_machine_that_vanishes_is_replaced() {
    let cloud = cloud();
    cloud.world().exit = None;
    let rig = rig(&[&cloud]).await;
    let id = rig.create("job", |_| {}).await;
    assert_eq!(rig.submit(&id, "runpod").await, "ran");
    cloud.world().machines.clear();
    rig.until(&id, "replaced", |job| ends(job).first().is_some_and(|end| end == "machine_lost")).await;
    cloud.world().exit = Some(0);
    let job = rig.rests(&id, StateName::Completed).await;
    assert_eq!(job.attempts().len(), 2);
    assert!(rig.ledger().await.iter().all(|machine| machine.gone_proof.is_some()));
}

#[tokio::test]
async fn a_machine_that_cannot_come_up_is_left_for_another_unless_none_could() {
    let cloud = cloud();
    let broken = |elsewhere| MachinePhase::Broken { what: "no such image".to_owned(), elsewhere };
    cloud.world().born = Some(broken(true));
    cloud.world().mute = true;
    let rig = rig(&[&cloud]).await;
    let id = rig.create("job", |_| {}).await;
    rig.orchestrator.submit(&id, "runpod", None, std::time::Duration::ZERO).await.unwrap();
    rig.until(&id, "replaced", |job| ends(job).first().is_some_and(|end| end == "boot_failed")).await;
    (cloud.world().born, cloud.world().mute) = (None, false);
    rig.rests(&id, StateName::Completed).await;
    cloud.world().born = Some(broken(false));
    cloud.world().mute = true;
    cloud.world().log = vec!["pulling".to_owned(), "manifest unknown".to_owned()];
    let id = rig.create("image", |_| {}).await;
    assert_eq!(rig.submit(&id, "runpod").await, "Provider boot_failed");
    let job = rig.rests(&id, StateName::Failed).await;
    assert_eq!(job.attempts().len(), 1, "no other machine could help");
    assert_eq!(cloud.world().alive(), 0);
}

#[tokio::test]
async fn silence_counts_only_while_the_provider_answers() {
    let cloud = cloud();
    cloud.world().exit = None;
    let rig = rig(&[&cloud]).await;
    let id = rig.create("job", |_| {}).await;
    assert_eq!(rig.submit(&id, "runpod").await, "ran");
    cloud.world().down = Some(ErrorKind::Unauthorized);
    for machine in cloud.world().machines.values_mut() {
        machine.answers = false;
    }
    let waits = |job: &trainyard_domain::Job| {
        job.body().reason.as_ref().is_some_and(|reason| reason.code == "provider_unauthorized")
    };
    let job = rig.until(&id, "waiting for the provider", waits).await;
    assert_eq!((job.state().name(), job.attempts().len()), (StateName::Running, 1));
    // waits: longer than an agent may be silent.
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert_eq!(ends(&rig.job(&id).await), ["-"], "without a network nothing is lost");
    cloud.world().down = None;
    rig.until(&id, "told that it goes on", |job| job.body().reason.is_none()).await;
    rig.until(&id, "lost", |job| ends(job)[0] == "agent_lost").await;
}

#[tokio::test]
async fn a_cancel_is_answered_when_the_machine_is_gone() {
    let cloud = cloud();
    cloud.world().mute = true;
    let rig = rig(&[&cloud]).await;
    let id = rig.create("job", |_| {}).await;
    rig.orchestrator.submit(&id, "runpod", None, std::time::Duration::ZERO).await.unwrap();
    rig.until(&id, "booting", |job| job.body().phase == Some(Phase::Booting)).await;
    let cancelled = rig.orchestrator.cancel(&id).await.unwrap();
    assert_eq!(cancelled.message, "Job cancelled successfully");
    assert_eq!(cloud.world().alive(), 0);
    assert!(!rig.ledger().await[0].may_be_billed());
}

#[tokio::test]
async fn a_removal_that_does_not_come_true_is_asked_for_again() {
    let cloud = cloud();
    cloud.world().immortal = true;
    let rig = rig(&[&cloud]).await;
    let id = rig.create("job", |_| {}).await;
    assert_eq!(rig.submit(&id, "runpod").await, "ran");
    let rig = &rig;
    rig.until(&id, "asked twice", |_| cloud.world().terminated.len() >= 2).await;
    assert!(rig.job(&id).await.may_hold_machine(), "it is on the ledger until it is proven gone");
    cloud.world().immortal = false;
    rig.rests(&id, StateName::Completed).await;
}

#[tokio::test]
async fn a_provider_may_allow_fewer_attempts_than_a_job() {
    let cloud = cloud();
    cloud.world().exit = None;
    let attempts_max = [("runpod".parse().unwrap(), 2)].into();
    let rig = rig_with(&[&cloud], Policy { attempts_max, ..quick() }).await;
    let id = rig.create("job", |spec| spec.retry.max_attempts = 5).await;
    assert_eq!(rig.submit(&id, "runpod").await, "ran");
    for attempt in 1..=2 {
        let trains = |job: &Job| {
            job.attempts().len() == attempt && job.attempt().is_some_and(|at| at.started_at.is_some())
        };
        rig.until(&id, "the attempt trains", trains).await;
        cloud.world().machines.clear();
    }
    let job = rig.rests(&id, StateName::Failed).await;
    assert_eq!(ends(&job), ["machine_lost", "machine_lost"]);
    assert_eq!(job.body().reason.as_ref().map(|reason| reason.code.as_str()), Some("machine_lost"));
}
