//! A clock that jumps an hour ahead and back again: nothing is lost by it, nothing is ordered twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use trainyard_domain::{Seq, StateName, Timestamp};
use trainyard_orchestrator::{Clock, SystemClock};

use crate::cloud::Cloud;
use crate::rig::{ends, quick, rig_at};

/// The machine's clock, so many seconds off.
#[derive(Debug, Clone, Default)]
struct Jumping(Arc<AtomicI64>);

impl Jumping {
    fn jump_to(&self, seconds: i64) {
        self.0.store(seconds, Ordering::Relaxed);
    }
}

impl Clock for Jumping {
    fn now(&self) -> Timestamp {
        SystemClock.now() + chrono::TimeDelta::seconds(self.0.load(Ordering::Relaxed))
    }

    fn random(&self) -> u128 {
        SystemClock.random()
    }
}

/// Orders that were ever made, and machines that are there.
fn counts(cloud: &Cloud) -> (usize, usize) {
    let world = cloud.world();
    (world.ordered.len(), world.alive())
}

#[tokio::test]
async fn a_clock_that_jumps_an_hour_loses_nothing_and_orders_nothing_twice() {
    let (clock, cloud) = (Jumping::default(), Cloud::new("runpod", &[("cheap", "1.00"), ("dear", "2.00")]));
    cloud.world().exit = None;
    let rig = rig_at(&[&cloud], quick(), Arc::new(clock.clone())).await;
    let mut ids = Vec::new();
    for (n, jump) in [3600, -3600, 0, 7200, -7200, 3600].into_iter().enumerate() {
        // In the middle of an order, then of a training.
        let id = rig.create(&format!("job-{n}"), |_| {}).await;
        rig.orchestrator.submit(&id, "runpod", None, Duration::ZERO).await.unwrap();
        clock.jump_to(jump);
        rig.until(&id, "running", |job| job.state().name() == StateName::Running).await;
        ids.push(id);
        clock.jump_to(-jump);
        // waits: longer than a silent agent would be borne, and several sweeps
        tokio::time::sleep(Duration::from_millis(1500)).await;
        for id in &ids {
            let job = rig.job(id).await;
            assert_eq!(
                (job.state().name(), ends(&job).as_slice()),
                (StateName::Running, &["-".to_owned()][..])
            );
        }
    }
    assert_eq!(counts(&cloud), (ids.len(), ids.len()));
    cloud.world().exit = Some(0);
    for id in &ids {
        rig.rests(id, StateName::Completed).await;
        let page = rig.orchestrator.event_page(id, Seq(0), 1000).await.unwrap();
        let numbers: Vec<u64> = page.events.iter().map(|event| event.seq.0).collect();
        assert_eq!(numbers, (1..=page.events.len() as u64).collect::<Vec<u64>>());
    }
    assert_eq!(counts(&cloud), (ids.len(), 0));
}

#[tokio::test]
async fn a_machine_is_proven_gone_over_a_clock_that_jumps_back() {
    let (clock, cloud) = (Jumping::default(), Cloud::new("runpod", &[("cheap", "1.00")]));
    cloud.world().immortal = true;
    let rig = rig_at(&[&cloud], quick(), Arc::new(clock.clone())).await;
    clock.jump_to(3600);
    let id = rig.create("job", |_| {}).await;
    rig.orchestrator.submit(&id, "runpod", None, Duration::ZERO).await.unwrap();
    rig.until(&id, "given back", |_| !cloud.world().terminated.is_empty()).await;
    clock.jump_to(0);
    cloud.world().immortal = false;
    rig.rests(&id, StateName::Completed).await;
    assert_eq!(cloud.world().alive(), 0);
}
