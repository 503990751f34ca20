//! What is seen of machines: one listing for all jobs, the vendor's log, strays, and a machine that is kept.

use std::time::Duration;

use trainyard_domain::{LimitsPatch, Phase, StateName};
use trainyard_orchestrator::{JobPatch, Policy};

use crate::cloud::{Cloud, now};
use crate::rig::{ends, quick, rig, rig_with};

#[tokio::test]
async fn one_listing_serves_every_job() {
    let cloud = Cloud::new("runpod", &[("a", "1.00")]);
    cloud.world().mute = true;
    let policy = Policy { listing_quick: Duration::from_millis(100), ..quick() };
    let rig = rig_with(&[&cloud], policy).await;
    let began = tokio::time::Instant::now();
    let mut all = Vec::new();
    for n in 0..20 {
        let id = rig.create(&format!("job{n}"), |_| {}).await;
        rig.orchestrator.submit(&id, "runpod", None, Duration::ZERO).await.unwrap();
        all.push(id);
    }
    for id in &all {
        rig.until(id, "booting", |job| job.body().phase == Some(Phase::Booting)).await;
    }
    cloud.world().mute = false;
    cloud.world().machines.values_mut().for_each(|machine| machine.answers = true);
    for id in &all {
        rig.rests(id, StateName::Completed).await;
    }
    let ticks = began.elapsed().as_millis() as usize / 100;
    let listings = cloud.world().listings;
    assert!(listings <= ticks + 2, "{listings} listings in {ticks} ticks");
}

#[tokio::test]
async fn the_vendors_log_is_shown_until_the_agent_answers_and_told_where_it_never_does() {
    let cloud = Cloud::new("runpod", &[("a", "1.00")]);
    cloud.world().mute = true;
    cloud.world().log = vec!["pulling the image".to_owned()];
    let rig = rig(&[&cloud]).await;
    let id = rig.create("job", |spec| spec.retry.max_attempts = 1).await;
    rig.orchestrator.submit(&id, "runpod", None, Duration::ZERO).await.unwrap();
    rig.until(&id, "told", |job| job.attempt().is_some_and(|a| a.log_cursor.as_deref() == Some("1"))).await;
    cloud.world().log.push("exec format error".to_owned());
    let job = rig.rests(&id, StateName::Failed).await;
    let log = rig.orchestrator.log(&id, 0, 10_000).await.unwrap().bytes;
    assert_eq!(
        String::from_utf8_lossy(&log),
        "[machine] pulling the image\n[machine] exec format error\n",
        "each line once"
    );
    let reason = job.body().reason.clone().unwrap();
    assert_eq!((reason.code.as_str(), ends(&job).len()), ("boot_failed", 1));
    assert!(reason.message.ends_with("pulling the image / exec format error"), "{}", reason.message);
}

#[tokio::test]
async fn a_machine_that_no_job_claims_is_handed_back() {
    let cloud = Cloud::new("runpod", &[("a", "1.00")]);
    let rig = rig(&[&cloud]).await;
    let id = rig.create("job", |_| {}).await;
    assert_eq!(rig.submit(&id, "runpod").await, "ran");
    rig.rests(&id, StateName::Completed).await;
    // The vendor acts on the order once more, long after.
    let order = rig.ledger().await[0].order.clone();
    cloud.world().immortal = true;
    let again = rig.create("other", |_| {}).await;
    assert_eq!(rig.submit(&again, "runpod").await, "ran");
    let other = rig.ledger().await[0].order.clone();
    let machine = cloud.world().machines[&other].clone();
    cloud.world().machines.insert(order.clone(), machine);
    rig.until(&again, "swept", |_| cloud.world().terminated.iter().filter(|o| **o == order).count() >= 2)
        .await;
    cloud.world().immortal = false;
    rig.until(&again, "gone", |_| cloud.world().alive() == 0).await;
}

#[tokio::test]
async fn the_machine_of_a_failed_training_is_kept_until_the_limit_is_lowered() {
    let cloud = Cloud::new("runpod", &[("a", "1.00")]);
    cloud.world().exit = Some(1);
    let rig = rig(&[&cloud]).await;
    let id = rig.create("job", |spec| spec.limits.hold_on_failure_s = 600).await;
    assert_eq!(rig.submit(&id, "runpod").await, "ran");
    let failed = |job: &trainyard_domain::Job| job.state().name() == StateName::Failed;
    let job = rig.until(&id, "failed", failed).await;
    assert!(job.may_hold_machine() && job.body().phase == Some(Phase::Releasing));
    // waits: several looks, none of which may give it back.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(cloud.world().alive(), 1);
    assert!(cloud.world().terminated.is_empty());
    let limits = LimitsPatch { hold_on_failure_s: Some(0), ..LimitsPatch::default() };
    rig.orchestrator.patch_job(&id, JobPatch { limits: Some(limits), ..JobPatch::default() }).await.unwrap();
    rig.rests(&id, StateName::Failed).await;
    assert_eq!(cloud.world().alive(), 0);
}

#[tokio::test]
async fn phases_costs_and_the_useful_share_are_kept() {
    let cloud = Cloud::new("runpod", &[("a", "3600.00")]);
    let policy = Policy { max_price_per_hour: None, ..quick() };
    let rig = rig_with(&[&cloud], policy).await;
    let id = rig.create("job", |_| {}).await;
    assert_eq!(rig.submit(&id, "runpod").await, "ran");
    let job = rig.rests(&id, StateName::Completed).await;
    let phases: Vec<Phase> = job.attempts()[0].phases.iter().map(|(phase, _)| *phase).collect();
    assert_eq!(phases, [Phase::Ordering, Phase::Booting, Phase::Training, Phase::Releasing]);
    let view = rig.orchestrator.job(&id).await.unwrap();
    let ledger = &rig.ledger().await[0];
    assert_eq!(view.cost, ledger.cost(now()), "the job's cost is its machine's");
    let provider = rig.orchestrator.providers().into_iter().find(|p| p.name == "runpod").unwrap();
    assert_eq!((provider.reachable, provider.error), (Some(true), None));
}
