//! One machine as it is now.

use trainyard_connector::{ErrorKind, MachinePhase};

use super::make::*;
use super::trial::{Can, Fault, Operation, Trial};

pub(super) async fn comes_up(trial: &dyn Trial) -> Can<()> {
    let (name, placed) = place(trial).await;
    let connector = trial.connector();
    until(trial, "the machine is up", async || {
        // A vendor may take a moment to show what it has placed.
        let seen = match connector.observe(&name, &placed.id).await {
            Ok(seen) => seen,
            Err(error) if error.kind == ErrorKind::NotFound => return None,
            Err(error) => panic!("{error:?}"),
        };
        assert_eq!((&seen.order, &seen.id), (&name, &placed.id));
        assert!(!matches!(seen.phase, MachinePhase::Gone | MachinePhase::Broken { .. }), "{seen:?}");
        (seen.phase == MachinePhase::Up).then_some(())
    })
    .await;
    let seen = found(trial, &name).await;
    assert_eq!((seen.id, seen.phase), (placed.id, MachinePhase::Up), "the list agrees");
    Ok(())
}

pub(super) async fn vanished(trial: &dyn Trial) -> Can<()> {
    let (name, placed) = place(trial).await;
    found(trial, &name).await;
    trial.take_away(name.as_str()).await?;
    let connector = trial.connector();
    let lives = |phase: &MachinePhase| matches!(phase, MachinePhase::Up | MachinePhase::Booting);
    until(trial, "it is not listed as alive any more", async || {
        let seen = listed(trial, &name).await;
        (!seen.iter().any(|it| lives(&it.phase))).then_some(())
    })
    .await;
    until(trial, "it is observed as gone", async || match connector.observe(&name, &placed.id).await {
        Ok(seen) => {
            assert!(!lives(&seen.phase), "{seen:?}");
            matches!(seen.phase, MachinePhase::Gone | MachinePhase::Unknown(_)).then_some(())
        }
        Err(error) => {
            assert_eq!(error.kind, ErrorKind::NotFound, "{error:?}");
            Some(())
        }
    })
    .await;
    Ok(())
}

pub(super) async fn unknown_word(trial: &dyn Trial) -> Can<()> {
    let (name, placed) = place(trial).await;
    found(trial, &name).await;
    for operation in [Operation::Get, Operation::List] {
        trial.inject(operation, u32::MAX, Fault::StateWord("hibernating".to_owned())).await?;
    }
    let shown = listed(trial, &name).await;
    let [seen] = shown.as_slice() else { panic!("it is still listed: {shown:?}") };
    let is_kept = |phase: &MachinePhase| matches!(phase, MachinePhase::Unknown(word) if word.to_lowercase().contains("hibernating"));
    assert!(is_kept(&seen.phase), "{seen:?}");
    let seen = trial.connector().observe(&name, &placed.id).await.expect("an observation");
    assert!(is_kept(&seen.phase), "{seen:?}");
    Ok(())
}

pub(super) async fn tolerant(trial: &dyn Trial) -> Can<()> {
    for fault in [Fault::ExtraFields, Fault::NumbersAsStrings] {
        for operation in
            [Operation::Create, Operation::List, Operation::Get, Operation::Offers, Operation::Terminate]
        {
            trial.inject(operation, u32::MAX, fault.clone()).await?;
        }
        let (name, placed) = place(trial).await;
        let seen = found(trial, &name).await;
        assert_eq!(seen.id, placed.id, "{fault:?}");
        trial.connector().observe(&name, &placed.id).await.expect("an observation");
        give_back(trial, &seen).await;
        trial.heal().await;
    }
    Ok(())
}
