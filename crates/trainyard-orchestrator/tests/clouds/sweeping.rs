//! The sweep: orphans of ours go, nothing else is ever touched, and a database that is not the one the machines were
//! ordered with hands nothing back.

use std::time::Duration;

use trainyard_connector::MachinePhase;
use trainyard_domain::{InstallationId, OrderName, StateName};
use trainyard_orchestrator::{GiveBack, Policy};
use ulid::Ulid;

use crate::cloud::{Cloud, now};
use crate::rig::{Rig, quick, rig_in, rig_with};

/// Sweeps that a foreign machine sits through; `TRAINYARD_SWEEPS` says another number.
const SWEEPS: usize = 2_000;

fn order_of(installation: &InstallationId, at_s: i64) -> OrderName {
    let made = now().timestamp_millis() + at_s * 1000;
    OrderName::new(installation, Ulid::from_parts(made.unsigned_abs(), u128::from(at_s.unsigned_abs())))
}

fn sweeps() -> Policy {
    let quickest = Duration::from_millis(1);
    Policy { sweep_every: quickest, listing_quick: quickest, ..quick() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orphan_goes_and_what_is_not_ours_is_never_touched() {
    let cloud = Cloud::new("runpod", &[("a", "1.00")]);
    let rig = rig_with(&[&cloud], sweeps()).await;
    let ours = rig.orchestrator.installation().clone();
    let foreign = order_of(&"somebody".parse().unwrap(), 0);
    cloud.add(&foreign);
    // Made by hand with our mark: now, before we were installed, and with no time at all in its name.
    let timeless: OrderName = format!("ty-{ours}-uuuuuuuuuuuuuuuuuuuuuuuuuu").parse().unwrap();
    let orphans = [order_of(&ours, 1), order_of(&ours, -3600), timeless];
    orphans.iter().for_each(|order| cloud.add(order));
    rig.awaits("every orphan gone", || {
        orphans.iter().all(|order| !cloud.world().machines.contains_key(order))
    })
    .await;
    #[expect(clippy::disallowed_methods, reason = "a test's own configuration")]
    let count = std::env::var("TRAINYARD_SWEEPS").ok().and_then(|text| text.parse().ok()).unwrap_or(SWEEPS);
    let before = cloud.world().listings;
    rig.awaits_long("so many sweeps", || cloud.world().listings >= before + count).await;
    assert!(cloud.world().machines.contains_key(&foreign));
    assert!(!cloud.world().terminated.contains(&foreign));
    assert!(!rig.orchestrator.needs_recover());
}

/// A job that trains until it is told to end, and its order.
async fn training(rig: &Rig, cloud: &Cloud, id: &str) -> OrderName {
    cloud.world().exit = None;
    let id = rig.create(id, |_| {}).await;
    assert_eq!(rig.submit(&id, "runpod").await, "ran");
    rig.job(&id).await.attempt().unwrap().order.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_database_is_lost_machines_are_reported_and_taken_up() {
    let cloud = Cloud::new("runpod", &[("a", "1.00")]);
    let directory = tempfile::tempdir().unwrap();
    let rig = rig_in(directory.path(), &[&cloud], sweeps()).await;
    let order = training(&rig, &cloud, "job").await;
    let silent = training(&rig, &cloud, "silent").await;
    rig.orchestrator.shutdown(Duration::from_secs(5)).await;
    std::fs::remove_file(directory.path().join("db/trainyard.db")).unwrap();
    cloud.world().machines.get_mut(&silent).unwrap().answers = false;

    let rig = rig_in(directory.path(), &[&cloud], sweeps()).await;
    let told = || {
        let providers = rig.orchestrator.providers();
        let runpod = providers.into_iter().find(|provider| provider.name == "runpod").unwrap();
        runpod.unclaimed.iter().filter(|text| text.contains("trainyard recover")).count()
    };
    rig.awaits("both reported", || told() == 2).await;
    let before = cloud.world().listings;
    rig.awaits("more sweeps", || cloud.world().listings >= before + 50).await;
    assert!(rig.orchestrator.needs_recover() && cloud.world().terminated.is_empty());

    let patience = Duration::from_secs(2);
    let done = rig.orchestrator.recover(&GiveBack::None, patience).await.unwrap();
    let adopted: Vec<_> =
        done.adopted.iter().map(|machine| (machine.order.clone(), machine.job.clone())).collect();
    assert_eq!(adopted, [(order.clone(), Some("job".to_owned()))]);
    assert_eq!((done.left.len(), done.holds), (1, true), "{done:?}");
    let again = rig.orchestrator.recover(&GiveBack::None, Duration::from_millis(50)).await.unwrap();
    assert_eq!((again.adopted.len(), again.left.len()), (0, 1), "twice is as good as once");

    cloud.world().exit = Some(0);
    let id = "job".parse().unwrap();
    let job = rig.rests(&id, StateName::Completed).await;
    assert_eq!((job.attempts().len(), &job.attempts()[0].order), (1, &order));
    assert!(cloud.world().machines.contains_key(&silent), "it waits for somebody to decide");
    let done =
        rig.orchestrator.recover(&GiveBack::One(silent.clone()), Duration::from_millis(50)).await.unwrap();
    assert_eq!((done.given_back.len(), done.left.len(), done.holds), (1, 0, false));
    rig.awaits("given back", || cloud.world().alive() == 0).await;
    assert!(!rig.orchestrator.needs_recover());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_old_backup_was_put_back_unknown_machines_are_only_reported_over_restarts_too() {
    let cloud = Cloud::new("runpod", &[("a", "1.00")]);
    let directory = tempfile::tempdir().unwrap();
    let (db, backup) = (directory.path().join("db/trainyard.db"), directory.path().join("backup"));
    let rig = rig_in(directory.path(), &[&cloud], sweeps()).await;
    rig.orchestrator.shutdown(Duration::from_secs(5)).await;
    std::fs::copy(&db, &backup).unwrap();
    let rig = rig_in(directory.path(), &[&cloud], sweeps()).await;
    let order = training(&rig, &cloud, "job").await;
    rig.orchestrator.shutdown(Duration::from_secs(5)).await;
    for left in ["db/trainyard.db-wal", "db/trainyard.db-shm"] {
        let _ = std::fs::remove_file(directory.path().join(left));
    }
    std::fs::copy(&backup, &db).unwrap();
    for _ in 0..3 {
        let rig = rig_in(directory.path(), &[&cloud], sweeps()).await;
        let before = cloud.world().listings;
        rig.awaits("some sweeps", || cloud.world().listings >= before + 20).await;
        assert!(rig.orchestrator.needs_recover() && cloud.world().terminated.is_empty());
        rig.orchestrator.shutdown(Duration::from_secs(5)).await;
    }
    let rig = rig_in(directory.path(), &[&cloud], sweeps()).await;
    let done = rig.orchestrator.recover(&GiveBack::None, Duration::from_secs(5)).await.unwrap();
    assert_eq!((done.adopted.len(), done.holds), (1, false));
    // And an orphan of now goes again.
    let orphan = order_of(rig.orchestrator.installation(), 1);
    cloud.add(&orphan);
    rig.awaits("the orphan gone", || !cloud.world().machines.contains_key(&orphan)).await;
    assert_eq!(cloud.world().machines[&order].phase, MachinePhase::Up);
}
