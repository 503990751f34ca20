//! The list of ours: the only proof of absence, so nothing that is not the whole list may pass for it.

use trainyard_connector::MachinePhase;
use trainyard_domain::OrderName;

use super::make::*;
use super::trial::{Can, Fault, Operation, Trial};

/// Reads the list under a fault that hits every try: it fails, or it shows the machine.
async fn read_under(trial: &dyn Trial, name: &OrderName, fault: Fault) -> Can<()> {
    trial.inject(Operation::List, u32::MAX, fault.clone()).await?;
    let read = trial.connector().list_owned(&trial.installation()).await;
    trial.heal().await;
    if let Ok(seen) = read {
        let there = seen.iter().any(|it| it.order == *name && it.phase != MachinePhase::Gone);
        assert!(there, "{fault:?} made a machine disappear: {seen:?}");
    }
    // A good one between, so that the operation is not left alone.
    let connector = trial.reconnect().await;
    let seen = connector.list_owned(&trial.installation()).await.expect("a list");
    assert!(seen.iter().any(|it| it.order == *name));
    Ok(())
}

pub(super) async fn cut(trial: &dyn Trial) -> Can<()> {
    let (name, _) = place(trial).await;
    found(trial, &name).await;
    for bytes in [0, 9] {
        read_with_new(trial, &name, Fault::Cut { bytes }).await?;
    }
    for bytes in (0..40).step_by(3).chain([100, 200]) {
        read_with_new(trial, &name, Fault::Truncate { bytes }).await?;
    }
    Ok(())
}

/// The same with a connector that nothing has happened to yet.
async fn read_with_new(trial: &dyn Trial, name: &OrderName, fault: Fault) -> Can<()> {
    let connector = trial.reconnect().await;
    trial.inject(Operation::List, u32::MAX, fault.clone()).await?;
    let read = connector.list_owned(&trial.installation()).await;
    trial.heal().await;
    if let Ok(seen) = read {
        let there = seen.iter().any(|it| it.order == *name && it.phase != MachinePhase::Gone);
        assert!(there, "{fault:?} made a machine disappear: {seen:?}");
    }
    Ok(())
}

pub(super) async fn no_list(trial: &dyn Trial) -> Can<()> {
    let (name, _) = place(trial).await;
    found(trial, &name).await;
    let bodies = [
        "",
        " ",
        "<html>Service</html>",
        "null",
        "{}",
        "7",
        r#"{"error": "internal"}"#,
        r#"{"success": false}"#,
    ];
    for body in bodies {
        read_under(trial, &name, Fault::Answer { body: body.to_owned() }).await?;
    }
    Ok(())
}

pub(super) async fn failed(trial: &dyn Trial) -> Can<()> {
    let (name, _) = place(trial).await;
    found(trial, &name).await;
    for status in [500, 503] {
        let before = trial.asked(Operation::List).await;
        trial.inject(Operation::List, 1, Fault::StatusBefore { status, retry_after_s: None }).await?;
        assert_eq!(listed(trial, &name).await.len(), 1);
        if let (Ok(before), Ok(after)) = (before, trial.asked(Operation::List).await) {
            assert!(after >= before + 2, "it was asked for again");
        }
        trial.heal().await;
    }
    Ok(())
}
