//! What is ordered, in which order, and what a submission comes to.

use std::time::Duration;

use trainyard_connector::ErrorKind;
use trainyard_domain::{Phase, StateName};
use trainyard_orchestrator::OfferFilter;

use crate::cloud::{Cloud, Order, offer};
use crate::rig::{ends, rig};

const THREE: [(&str, &str); 3] = [("dear", "3.00"), ("cheap", "1.00"), ("middle", "2.00")];

#[tokio::test]
async fn a_job_goes_to_the_cheapest_machine_which_is_proven_gone() {
    let cloud = Cloud::new("runpod", &THREE);
    let rig = rig(&[&cloud]).await;
    let id = rig.create("job", |_| {}).await;
    assert_eq!(rig.submit(&id, "runpod").await, "ran");
    let job = rig.rests(&id, StateName::Completed).await;
    assert_eq!(cloud.world().ordered, ["cheap"]);
    assert_eq!(cloud.world().alive(), 0);
    let attempt = &job.attempts()[0];
    assert_eq!(attempt.price_per_hour, Some("1.00".parse().unwrap()));
    assert_eq!(attempt.offer.as_ref().map(|taken| taken.id.as_str()), Some("cheap"));
    let ledger = rig.ledger().await;
    let proof = ledger[0].gone_proof.as_deref().unwrap();
    assert!(proof.starts_with("2 listings of the provider do not show it"), "{proof}");
    assert!(ledger[0].billed_until <= ledger[0].gone_at && attempt.billed_until == ledger[0].billed_until);
}

#[tokio::test]
async fn refused_offers_are_tried_in_order_each_as_an_attempt() {
    let cloud = Cloud::new("runpod", &THREE);
    cloud.world().orders = [ErrorKind::NoCapacity, ErrorKind::PriceChanged].map(Order::Refused).into();
    let rig = rig(&[&cloud]).await;
    let id = rig.create("job", |_| {}).await;
    assert_eq!(rig.submit(&id, "runpod").await, "ran");
    assert_eq!(cloud.world().ordered, ["cheap", "middle", "dear"]);
    assert_eq!(ends(&rig.job(&id).await), ["no_capacity", "price_changed", "-"]);
}

#[tokio::test]
async fn a_round_that_rented_nothing_leaves_the_job_created() {
    let cloud = Cloud::new("runpod", &THREE);
    cloud.world().orders = [Order::Refused(ErrorKind::NoCapacity); 3].into();
    let rig = rig(&[&cloud]).await;
    let id = rig.create("job", |_| {}).await;
    assert_eq!(rig.submit(&id, "runpod").await, "Provider no_capacity");
    let job = rig.job(&id).await;
    assert_eq!((job.state().name(), job.attempts().len()), (StateName::Created, 3));
    assert_eq!(rig.submit(&id, "runpod").await, "ran", "it can be submitted again, and nothing is avoided");
}

#[tokio::test]
async fn no_credit_ends_the_round_at_once() {
    let cloud = Cloud::new("runpod", &THREE);
    cloud.world().orders = [Order::Refused(ErrorKind::NoCredit)].into();
    let rig = rig(&[&cloud]).await;
    let id = rig.create("job", |_| {}).await;
    assert_eq!(rig.submit(&id, "runpod").await, "Provider no_credit");
    assert_eq!(cloud.world().ordered, ["cheap"]);
}

#[tokio::test]
async fn what_cannot_be_had_is_said_before_anything_is_ordered() {
    let cloud = Cloud::new("runpod", &THREE);
    let rig = rig(&[&cloud]).await;
    let cheap =
        rig.create("ceiling", |s| s.resources.max_price_per_hour = Some("0.50".parse().unwrap())).await;
    assert_eq!(rig.submit(&cheap, "runpod").await, "BadRequest price_ceiling");
    let poor = rig.create("budget", |s| s.limits.max_cost_usd = Some("3.99".parse().unwrap())).await;
    assert_eq!(rig.submit(&poor, "runpod").await, "BadRequest budget");
    let typo = rig.create("typo", |s| s.resources.gpu = vec!["RTX4900".to_owned()]).await;
    assert_eq!(rig.submit(&typo, "runpod").await, "BadRequest unknown_gpu");
    let other = rig.create("none", |s| s.resources.gpu = vec!["H100".to_owned()]).await;
    assert_eq!(rig.submit(&other, "runpod").await, "Provider no_capacity");
    assert_eq!(ends(&rig.job(&other).await), ["no_capacity"], "the refusal is in the history");
    assert_eq!(rig.submit(&other, "elsewhere").await, "BadRequest provider_not_configured");
    assert!(cloud.world().ordered.is_empty());
}

#[tokio::test]
async fn auto_takes_the_cheapest_of_all_and_may_change_provider() {
    let (one, two) = (Cloud::new("runpod", &[("a", "2.00")]), Cloud::new("vastai", &[("b", "1.00")]));
    two.world().orders = [Order::Refused(ErrorKind::NoCredit)].into();
    let rig = rig(&[&one, &two]).await;
    let id = rig.create("job", |_| {}).await;
    assert_eq!(rig.submit(&id, "auto").await, "ran");
    let job = rig.rests(&id, StateName::Completed).await;
    assert_eq!((two.world().ordered.len(), one.world().ordered.len()), (1, 1));
    assert_eq!(job.provider().map(|name| name.as_str()), Some("runpod"));
    let named = rig.create("named", |_| {}).await;
    two.world().orders = [Order::Refused(ErrorKind::NoCredit)].into();
    assert_eq!(rig.submit(&named, "vastai").await, "Provider no_credit", "no other job changes provider");
}

#[tokio::test]
async fn waiting_for_capacity_is_one_quiet_phase() {
    let cloud = Cloud::new("runpod", &[]);
    let rig = rig(&[&cloud]).await;
    let id = rig.create("job", |spec| spec.retry.wait_for_capacity_s = 60).await;
    assert_eq!(rig.submit(&id, "runpod").await, "initializing");
    rig.until(&id, "waiting", |job| job.body().phase == Some(Phase::WaitingForCapacity)).await;
    let seq = rig.orchestrator.job(&id).await.unwrap().seq;
    // waits: several polls, none of which may leave a trace.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(rig.orchestrator.job(&id).await.unwrap().seq, seq);
    cloud.world().orders = [Order::Refused(ErrorKind::NoCapacity)].into();
    cloud.world().offers = vec![offer("a", "1.00")];
    rig.until(&id, "refused", |job| ends(job) == ["no_capacity"]).await;
    cloud.world().offers.push(offer("b", "1.50"));
    rig.rests(&id, StateName::Completed).await;
    let phases = rig.phases(&id).await;
    let waits = phases.iter().filter(|phase| *phase == "waiting_for_capacity").count();
    assert_eq!(waits, 1, "{phases:?}");
}

#[tokio::test]
async fn waiting_for_capacity_ends() {
    let cloud = Cloud::new("runpod", &[]);
    let rig = rig(&[&cloud]).await;
    let id = rig.create("job", |spec| spec.retry.wait_for_capacity_s = 1).await;
    assert_eq!(rig.submit(&id, "runpod").await, "initializing");
    let job = rig.rests(&id, StateName::Failed).await;
    assert_eq!(job.body().reason.as_ref().map(|reason| reason.code.as_str()), Some("no_capacity"));
}

#[tokio::test]
async fn offers_and_estimates_come_side_by_side() {
    let (one, two) = (Cloud::new("runpod", &THREE), Cloud::new("vastai", &[("b", "1.50")]));
    let rig = rig(&[&one, &two]).await;
    let view = rig.orchestrator.offers(&OfferFilter::default()).await;
    let prices: Vec<String> =
        view.offers.iter().map(|o| format!("{} {}", o.provider, o.price_per_hour)).collect();
    assert_eq!(prices, ["runpod 1.00", "vastai 1.50", "runpod 2.00", "runpod 3.00"]);
    let filter = OfferFilter { max_price: Some("1.20".parse().unwrap()), ..OfferFilter::default() };
    assert_eq!(rig.orchestrator.offers(&filter).await.offers.len(), 1);
    let filter = OfferFilter { gpu: Some("H100, rtx 4090".to_owned()), ..OfferFilter::default() };
    assert_eq!(rig.orchestrator.offers(&filter).await.offers.len(), 4);
    two.world().down = Some(ErrorKind::Unauthorized);
    // waits: what was read grows older than what may be shown.
    tokio::time::sleep(Duration::from_millis(80)).await;
    let view = rig.orchestrator.offers(&OfferFilter::default()).await;
    assert!(view.providers.iter().any(|of| of.provider == "vastai" && of.error.is_some()), "{view:?}");
    let estimates =
        rig.orchestrator.estimate(&trainyard_domain::JobSpec::new("trainyard-tiny"), None).await.unwrap();
    let told: Vec<String> = estimates.iter().map(|e| format!("{} {}", e.provider, e.max_cost)).collect();
    assert_eq!(told[0], "runpod 4");
}
