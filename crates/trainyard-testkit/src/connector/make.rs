//! What the cases are made of: orders, machines, states to wait for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use trainyard_connector::{
    Connector, ConnectorError, Effect, MachineObservation, MachinePhase, Placement, ProvisionOrder,
    Termination, Workload,
};
use trainyard_domain::OrderName;

use super::trial::{Can, Operation, Trial};

/// A state is waited for this long in real time, on a loaded machine.
const WITHIN: Duration = Duration::from_secs(60);
/// Between two looks, by the provider's time.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A name that was never used.
pub(super) fn new_name(trial: &dyn Trial) -> OrderName {
    // Not sorted by time: nothing depends on that.
    OrderName::new(&trial.installation(), ulid::Ulid::generate())
}

/// An order for what the harness wants, of the cheapest offer where there are offers.
pub(super) async fn new_order(trial: &dyn Trial) -> ProvisionOrder {
    let connector = trial.connector();
    let resources = trial.resources();
    let offer = if connector.info().capabilities.offers {
        let offers = connector.offers(&resources).await.expect("offers");
        Some(offers.into_iter().next().expect("something is for rent"))
    } else {
        None
    };
    trial.adjust(ProvisionOrder { name: new_name(trial), resources, offer, image: None, registry: None })
}

/// A machine that was placed.
pub(super) async fn place(trial: &dyn Trial) -> (OrderName, Placement) {
    let order = new_order(trial).await;
    let placement = trial.connector().provision(&order).await.expect("a machine");
    (order.name, placement)
}

/// The list of ours.
pub(super) async fn list(trial: &dyn Trial) -> Vec<MachineObservation> {
    trial.connector().list_owned(&trial.installation()).await.expect("the list of ours")
}

/// What the list shows of an order that is not gone.
pub(super) async fn listed(trial: &dyn Trial, name: &OrderName) -> Vec<MachineObservation> {
    let all = list(trial).await;
    all.into_iter().filter(|it| it.order == *name && it.phase != MachinePhase::Gone).collect()
}

/// Waits until there is something to return, letting the provider's time pass.
pub(super) async fn until<T>(trial: &dyn Trial, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + WITHIN;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "still waiting: {what}");
        trial.pass(LOOK_EVERY).await;
    }
}

/// Waits until an order's machine is listed.
pub(super) async fn found(trial: &dyn Trial, name: &OrderName) -> MachineObservation {
    until(trial, "the machine is listed", async || listed(trial, name).await.into_iter().next()).await
}

/// Gives a machine back until the provider and the list agree that it is gone.
pub(super) async fn give_back(trial: &dyn Trial, seen: &MachineObservation) {
    let connector = trial.connector();
    until(trial, "the machine is gone", async || {
        let asked = connector.terminate(&seen.order, &seen.id).await;
        let gone = matches!(asked, Ok(Termination::Gone(_))) || listed(trial, &seen.order).await.is_empty();
        (gone && alive(trial, &seen.order).await.unwrap_or(0) == 0).then_some(())
    })
    .await;
}

/// Gives back whatever is listed as ours.
pub(super) async fn clear(trial: &dyn Trial) {
    until(trial, "everything is given back", async || {
        let connector = trial.connector();
        let Ok(all) = connector.list_owned(&trial.installation()).await else { return None };
        let left: Vec<_> = all.iter().filter(|it| it.phase != MachinePhase::Gone).collect();
        for seen in &left {
            // Asked again as long as it is listed.
            let _ = connector.terminate(&seen.order, &seen.id).await;
        }
        left.is_empty().then_some(())
    })
    .await;
}

/// How many machines of that name there really are.
pub(super) async fn alive(trial: &dyn Trial, name: &OrderName) -> Can<usize> {
    let truth = trial.truth().await?;
    Ok(truth.iter().filter(|machine| machine.alive && machine.name == name.as_str()).count())
}

/// The oracle of every order that met a fault: it went out at most once, what was said of its effect is true, and the
/// list settles what was left open. Gives the number of machines that there are.
pub(super) async fn settle(
    trial: &dyn Trial,
    name: &OrderName,
    asked_before: Can<u64>,
    result: &Result<Placement, ConnectorError>,
) -> Can<usize> {
    if let (Ok(before), Ok(after)) = (asked_before, trial.asked(Operation::Create).await) {
        assert!(after <= before + 1, "the order went out {} times", after - before);
    }
    let there = alive(trial, name).await?;
    assert!(there <= 1, "{there} machines for one order");
    match result {
        Ok(placement) => assert_eq!(there, 1, "{placement:?} was promised"),
        Err(error) if error.effect == Effect::None => {
            assert_eq!(there, 0, "no effect was claimed: {error:?}")
        }
        Err(_) => {}
    }
    trial.heal().await;
    if there == 1 {
        let seen = found(trial, name).await;
        if let Ok(placement) = result {
            assert_eq!(seen.id, placement.id);
        }
    } else {
        assert_eq!(listed(trial, name).await, [], "nothing is there");
    }
    Ok(there)
}

/// The training on a machine, as soon as its agent answers.
pub(super) async fn attached(trial: &dyn Trial, name: &OrderName, placed: &Placement) -> Box<dyn Workload> {
    attached_by(trial, &trial.connector(), name, placed).await
}

/// The same through a connector of one's own.
pub(super) async fn attached_by(
    trial: &dyn Trial,
    connector: &Arc<dyn Connector>,
    name: &OrderName,
    placed: &Placement,
) -> Box<dyn Workload> {
    until(trial, "the agent answers", async || {
        let workload = connector.attach(name, &placed.id).await.ok()?;
        workload.greet().await.is_ok().then_some(workload)
    })
    .await
}
