//! Whether a failed order may have happened: told truthfully, and the order goes out once.

use trainyard_connector::{ConnectorError, Effect, ErrorKind, MachinePhase, Placement, ProvisionOrder};

use super::make::*;
use super::trial::{Can, Fault, Operation, Trial, cannot};

type Ordered = Result<Placement, ConnectorError>;

/// Orders under a fault; gives what came of it and how many machines there are then.
async fn order_under(trial: &dyn Trial, fault: Fault) -> Can<(Ordered, usize)> {
    let order = new_order(trial).await;
    let before = trial.asked(Operation::Create).await;
    trial.inject(Operation::Create, 1, fault).await?;
    let result = trial.connector().provision(&order).await;
    let there = settle(trial, &order.name, before, &result).await?;
    if there == 1 {
        give_back(trial, &found(trial, &order.name).await).await;
    }
    Ok((result, there))
}

fn is_open(result: &Ordered) {
    if let Err(error) = result {
        assert_eq!(error.effect, Effect::Unknown, "{error:?}");
    }
}

pub(super) async fn unreachable(trial: &dyn Trial) -> Can<()> {
    let order = new_order(trial).await;
    trial.inject(Operation::Create, u32::MAX, Fault::Unreachable).await?;
    let result = trial.connector().provision(&order).await;
    let error = result.as_ref().expect_err("nobody listens");
    assert_eq!((error.kind, error.effect), (ErrorKind::Unreachable, Effect::None), "{error:?}");
    assert_eq!(settle(trial, &order.name, cannot(""), &result).await?, 0);
    Ok(())
}

pub(super) async fn lost_before(trial: &dyn Trial) -> Can<()> {
    for fault in
        [Fault::DropBefore, Fault::StallBefore, Fault::StatusBefore { status: 503, retry_after_s: None }]
    {
        let (result, there) = order_under(trial, fault).await?;
        assert_eq!(there, 0);
        result.expect_err("nothing was done");
    }
    Ok(())
}

pub(super) async fn lost_after(trial: &dyn Trial) -> Can<()> {
    let (result, there) = order_under(trial, Fault::DropAfter).await?;
    assert_eq!(there, 1);
    is_open(&result);
    Ok(())
}

pub(super) async fn stalled_after(trial: &dyn Trial) -> Can<()> {
    let (result, there) = order_under(trial, Fault::StallAfter).await?;
    assert_eq!(there, 1);
    is_open(&result);
    Ok(())
}

pub(super) async fn failed_after(trial: &dyn Trial) -> Can<()> {
    for status in [500, 502, 503] {
        let (result, there) = order_under(trial, Fault::StatusAfter { status }).await?;
        assert_eq!(there, 1, "{status}");
        is_open(&result);
    }
    Ok(())
}

pub(super) async fn cut_answer(trial: &dyn Trial) -> Can<()> {
    for bytes in [0, 1, 17] {
        let (result, there) = order_under(trial, Fault::Cut { bytes }).await?;
        assert_eq!(there, 1, "cut at {bytes}");
        is_open(&result);
        // A good one between, so that the operation is not left alone.
        let (name, _) = place(trial).await;
        give_back(trial, &found(trial, &name).await).await;
        let (result, there) = order_under(trial, Fault::Truncate { bytes }).await?;
        assert_eq!(there, 1, "truncated at {bytes}");
        is_open(&result);
    }
    Ok(())
}

pub(super) async fn other_answer(trial: &dyn Trial) -> Can<()> {
    for body in
        ["", "<html>Service</html>", "null", "[]", "{}", r#"{"id": 7, "data": []}"#, r#"{"success": true}"#]
    {
        let (result, there) = order_under(trial, Fault::Answer { body: body.to_owned() }).await?;
        assert_eq!(there, 1, "{body}");
        is_open(&result);
    }
    Ok(())
}

pub(super) async fn too_many(trial: &dyn Trial) -> Can<()> {
    let fault = Fault::StatusBefore { status: 429, retry_after_s: Some(1) };
    let order = new_order(trial).await;
    trial.inject(Operation::Create, 1, fault).await?;
    let result = trial.connector().provision(&order).await;
    settle(trial, &order.name, cannot("another try may follow where the vendor's 429 is a refusal"), &result)
        .await?;
    if let Err(error) = &result {
        assert_eq!(error.kind, ErrorKind::RateLimited, "{error:?}");
    }
    Ok(())
}

pub(super) async fn no_capacity(trial: &dyn Trial) -> Can<()> {
    let (result, there) = order_under(trial, Fault::NoCapacity).await?;
    let error = result.expect_err("there is none");
    assert_eq!((error.kind, error.effect, there), (ErrorKind::NoCapacity, Effect::None, 0), "{error:?}");
    let (name, _) = place(trial).await;
    found(trial, &name).await;
    Ok(())
}

pub(super) async fn no_credit(trial: &dyn Trial) -> Can<()> {
    let (result, there) = order_under(trial, Fault::NoCredit).await?;
    let error = result.expect_err("there is no money");
    assert_eq!((error.kind, error.effect, there), (ErrorKind::NoCredit, Effect::None, 0), "{error:?}");
    Ok(())
}

pub(super) async fn price_jump(trial: &dyn Trial) -> Can<()> {
    let mut order = new_order(trial).await;
    let Some(offer) = &order.offer else { return cannot("nothing is paid") };
    order.resources.max_price_per_hour = Some(offer.price_per_hour);
    trial.inject(Operation::Create, 1, Fault::PriceJump).await?;
    not_kept(trial, &order).await
}

pub(super) async fn other_size(trial: &dyn Trial) -> Can<()> {
    if !trial.connector().info().capabilities.offers {
        return cannot("there are no sizes to choose from");
    }
    let mut resources = trial.resources();
    resources.gpu_count = 2;
    let offers = trial.connector().offers(&resources).await.expect("offers");
    let Some(offer) = offers.into_iter().next() else {
        return cannot("no machine with two cards is for rent");
    };
    let name = new_name(trial);
    let order =
        trial.adjust(ProvisionOrder { name, resources, offer: Some(offer), image: None, registry: None });
    trial.inject(Operation::Create, 1, Fault::OtherSize).await?;
    not_kept(trial, &order).await
}

/// A machine that is not what was ordered: refused and given back at once, or shown as broken or too dear as soon as it is
/// looked at.
async fn not_kept(trial: &dyn Trial, order: &ProvisionOrder) -> Can<()> {
    let result = trial.connector().provision(order).await;
    let limit = order.resources.max_price_per_hour;
    match &result {
        Ok(placed) => {
            let seen = found(trial, &order.name).await;
            let dear = limit.is_some() && (placed.price_per_hour > limit || seen.price_per_hour > limit);
            let shows = dear || matches!(seen.phase, MachinePhase::Broken { .. });
            assert!(shows, "nobody can tell that it is another machine: {placed:?} {seen:?}");
        }
        Err(error) if error.effect == Effect::None => {
            until(trial, "nothing is left of it", async || {
                matches!(alive(trial, &order.name).await, Ok(0) | Err(_)).then_some(())
            })
            .await;
        }
        // Searched for by its name by whoever ordered, and looked at there.
        Err(_) => {}
    }
    Ok(())
}
