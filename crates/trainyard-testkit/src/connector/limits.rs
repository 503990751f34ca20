//! Too many, too slow, too long, not allowed.

use std::time::{Duration, Instant};

use secrecy::SecretString;
use trainyard_connector::{Effect, ErrorKind};

use super::make::*;
use super::trial::{Can, Fault, Operation, Trial};

/// No single call takes longer than this, whatever the provider does.
const CALL_WITHIN: Duration = Duration::from_secs(100);

pub(super) async fn waited_out(trial: &dyn Trial) -> Can<()> {
    let (name, _) = place(trial).await;
    found(trial, &name).await;
    let fault = Fault::StatusBefore { status: 429, retry_after_s: Some(2) };
    trial.inject(Operation::List, 1, fault).await?;
    let begun = Instant::now();
    assert_eq!(listed(trial, &name).await.len(), 1);
    assert!(begun.elapsed() >= Duration::from_secs(2), "not before the time: {:?}", begun.elapsed());
    Ok(())
}

pub(super) async fn refused_key(trial: &dyn Trial) -> Can<()> {
    let (name, placed) = place(trial).await;
    found(trial, &name).await;
    let before = trial.asked(Operation::List).await;
    trial.inject(Operation::List, u32::MAX, Fault::StatusBefore { status: 401, retry_after_s: None }).await?;
    let error = trial.connector().list_owned(&trial.installation()).await.expect_err("the key is refused");
    assert_eq!((error.kind, error.effect), (ErrorKind::Unauthorized, Effect::None), "{error:?}");
    if let (Ok(before), Ok(after)) = (before, trial.asked(Operation::List).await) {
        assert_eq!(after, before + 1, "shown once");
    }
    trial.heal().await;
    let seen = found(trial, &name).await;
    assert_eq!(seen.id, placed.id, "the machine was not forgotten");
    Ok(())
}

pub(super) async fn wrong_key(trial: &dyn Trial) -> Can<()> {
    let order = new_order(trial).await;
    let stranger = trial.with_key(SecretString::from("wrong-key-0000")).await?;
    let error = stranger.provision(&order).await.expect_err("the key is wrong");
    assert_eq!((error.kind, error.effect), (ErrorKind::Unauthorized, Effect::None), "{error:?}");
    let error = stranger.list_owned(&trial.installation()).await.expect_err("the key is wrong");
    assert_eq!(error.kind, ErrorKind::Unauthorized, "{error:?}");
    let error = stranger.account().await.expect_err("the key is wrong");
    assert_eq!(error.kind, ErrorKind::Unauthorized, "{error:?}");
    assert_eq!(alive(trial, &order.name).await?, 0);
    Ok(())
}

pub(super) async fn slow(trial: &dyn Trial) -> Can<()> {
    let (name, _) = place(trial).await;
    found(trial, &name).await;
    trial.inject(Operation::List, u32::MAX, Fault::Slow).await?;
    let begun = Instant::now();
    let read = trial.connector().list_owned(&trial.installation()).await;
    assert!(begun.elapsed() < CALL_WITHIN, "{:?}", begun.elapsed());
    if let Ok(seen) = read {
        assert!(seen.iter().any(|it| it.order == name), "whole, if slow");
    }
    Ok(())
}

pub(super) async fn huge(trial: &dyn Trial) -> Can<()> {
    trial.inject(Operation::List, u32::MAX, Fault::Huge).await?;
    let begun = Instant::now();
    let error = trial.connector().list_owned(&trial.installation()).await.expect_err("it is far too long");
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error:?}");
    assert!(begun.elapsed() < CALL_WITHIN, "{:?}", begun.elapsed());
    Ok(())
}

pub(super) async fn others_go_on(trial: &dyn Trial) -> Can<()> {
    let (name, placed) = place(trial).await;
    found(trial, &name).await;
    trial
        .inject(Operation::Create, u32::MAX, Fault::StatusBefore { status: 503, retry_after_s: None })
        .await?;
    for _ in 0..6 {
        let order = trainyard_connector::ProvisionOrder { name: new_name(trial), ..new_order(trial).await };
        trial.connector().provision(&order).await.expect_err("it fails");
    }
    assert_eq!(listed(trial, &name).await.len(), 1);
    trial.connector().observe(&name, &placed.id).await.expect("an observation");
    give_back(trial, &found(trial, &name).await).await;
    Ok(())
}
