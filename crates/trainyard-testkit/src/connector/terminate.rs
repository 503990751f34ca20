//! Giving machines back.

use trainyard_connector::{ErrorKind, MachinePhase, Termination};

use super::make::*;
use super::trial::{Can, Fault, Operation, Trial};

pub(super) async fn twice(trial: &dyn Trial) -> Can<()> {
    let (name, placed) = place(trial).await;
    let seen = found(trial, &name).await;
    let connector = trial.connector();
    connector.terminate(&name, &placed.id).await.expect("accepted");
    connector.terminate(&name, &placed.id).await.expect("accepted again");
    give_back(trial, &seen).await;
    connector.terminate(&name, &placed.id).await.expect("accepted when it is gone");
    Ok(())
}

pub(super) async fn unknown(trial: &dyn Trial) -> Can<()> {
    let (name, placed) = place(trial).await;
    let seen = found(trial, &name).await;
    give_back(trial, &seen).await;
    // Of the form that this provider's ids have, and of nobody.
    let never = new_name(trial);
    let asked = trial.connector().terminate(&never, &placed.id).await;
    assert!(asked.as_ref().err().is_none_or(|error| error.kind == ErrorKind::NotFound), "{asked:?}");
    assert_eq!(listed(trial, &never).await, []);
    Ok(())
}

pub(super) async fn while_booting(trial: &dyn Trial) -> Can<()> {
    // Where a machine cannot be kept from coming up, it is given back as early as possible.
    if trial.inject(Operation::Create, 1, Fault::NeverBoots).await.is_ok() {
        let (name, placed) = place(trial).await;
        let seen = found(trial, &name).await;
        assert_eq!(seen.id, placed.id);
        assert_ne!(seen.phase, MachinePhase::Up);
        give_back(trial, &seen).await;
        trial.heal().await;
    }
    let (name, placed) = place(trial).await;
    trial.connector().terminate(&name, &placed.id).await.expect("accepted");
    let seen = trainyard_connector::MachineObservation {
        order: name,
        id: placed.id,
        phase: MachinePhase::Booting,
        price_per_hour: None,
        note: None,
        at: trainyard_domain::Timestamp::UNIX_EPOCH,
    };
    give_back(trial, &seen).await;
    Ok(())
}

/// Asks once more and looks behind: what is called gone is gone.
async fn said_gone(trial: &dyn Trial, seen: &trainyard_connector::MachineObservation) -> Can<bool> {
    let said = trial.connector().terminate(&seen.order, &seen.id).await;
    let gone = matches!(said, Ok(Termination::Gone(_)));
    if gone {
        assert_eq!(alive(trial, &seen.order).await?, 0, "{said:?}, and it lives");
    }
    Ok(gone)
}

pub(super) async fn gone_is_true(trial: &dyn Trial) -> Can<()> {
    let (name, _) = place(trial).await;
    let seen = found(trial, &name).await;
    for _ in 0..20 {
        if said_gone(trial, &seen).await? || listed(trial, &name).await.is_empty() {
            break;
        }
        trial.pass(std::time::Duration::from_millis(50)).await;
    }
    give_back(trial, &seen).await;
    assert_eq!(alive(trial, &name).await?, 0);
    Ok(())
}

pub(super) async fn ignored(trial: &dyn Trial) -> Can<()> {
    let (name, _) = place(trial).await;
    let seen = found(trial, &name).await;
    trial.inject(Operation::Terminate, 3, Fault::TerminateIgnored).await?;
    for _ in 0..3 {
        assert!(!said_gone(trial, &seen).await?, "it was accepted and not done");
        assert_eq!(listed(trial, &name).await.len(), 1, "it is still listed");
    }
    trial.heal().await;
    give_back(trial, &seen).await;
    Ok(())
}

pub(super) async fn already_removed(trial: &dyn Trial) -> Can<()> {
    let (name, _) = place(trial).await;
    let seen = found(trial, &name).await;
    trial.take_away(name.as_str()).await?;
    let asked = trial.connector().terminate(&seen.order, &seen.id).await;
    assert!(asked.as_ref().err().is_none_or(|error| error.kind == ErrorKind::NotFound), "{asked:?}");
    give_back(trial, &seen).await;
    Ok(())
}

pub(super) async fn answer_lost(trial: &dyn Trial) -> Can<()> {
    for fault in [Fault::DropAfter, Fault::StatusAfter { status: 502 }, Fault::DropBefore, Fault::StallAfter]
    {
        let (name, placed) = place(trial).await;
        let seen = found(trial, &name).await;
        trial.inject(Operation::Terminate, 1, fault.clone()).await?;
        if let Err(error) = trial.connector().terminate(&name, &placed.id).await {
            assert_eq!(error.kind, ErrorKind::Unreachable, "{fault:?}: {error:?}");
        }
        trial.heal().await;
        give_back(trial, &seen).await;
    }
    Ok(())
}

pub(super) async fn answered_not_found(trial: &dyn Trial) -> Can<()> {
    let (name, placed) = place(trial).await;
    let seen = found(trial, &name).await;
    trial.inject(Operation::Terminate, 1, Fault::TerminateNotFound).await?;
    let asked = trial.connector().terminate(&name, &placed.id).await;
    assert!(asked.as_ref().err().is_none_or(|error| error.kind == ErrorKind::NotFound), "{asked:?}");
    give_back(trial, &seen).await;
    Ok(())
}
