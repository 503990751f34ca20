//! The key is the vendor's and ours, and nobody else's.

use std::error::Error;

use secrecy::{ExposeSecret, SecretString};
use trainyard_connector::ConnectorError;

use super::make::*;
use super::trial::{Can, Fault, Operation, Trial};

/// Everything that may be printed of an error.
fn printed(error: &ConnectorError) -> String {
    let mut text = format!("{error} {error:?}");
    let mut below = error.source();
    while let Some(error) = below {
        text.push_str(&format!(" {error} {error:?}"));
        below = error.source();
    }
    text
}

pub(super) async fn key_is_nowhere(trial: &dyn Trial) -> Can<()> {
    let key = trial.key()?;
    let connector = trial.connector();
    let (name, placed) = place(trial).await;
    let mut text = format!("{connector:?} {:?} {placed:?} {:?}", connector.info(), list(trial).await);
    text.push_str(&format!("{:?}", connector.account().await));
    let faults = [
        Fault::StatusBefore { status: 401, retry_after_s: None },
        Fault::StatusBefore { status: 403, retry_after_s: None },
        Fault::Answer { body: format!("{{\"error\": \"bad key {}\"}}", key.expose_secret()) },
        Fault::DropBefore,
        Fault::Cut { bytes: 5 },
        Fault::Unreachable,
    ];
    for fault in faults {
        let connector = trial.reconnect().await;
        trial.inject(Operation::List, u32::MAX, fault).await?;
        if let Err(error) = connector.list_owned(&trial.installation()).await {
            text.push_str(&printed(&error));
        }
        trial.heal().await;
    }
    let other = SecretString::from("another-key-0000");
    let stranger = trial.with_key(other.clone()).await?;
    text.push_str(&format!("{stranger:?}"));
    if let Err(error) = stranger.observe(&name, &placed.id).await {
        text.push_str(&printed(&error));
    }
    for secret in [&key, &other] {
        assert!(!text.contains(secret.expose_secret()), "the key is in what can be printed");
    }
    Ok(())
}

pub(super) async fn nothing_on_the_machine(trial: &dyn Trial) -> Can<()> {
    let key = trial.key()?;
    let (name, _) = place(trial).await;
    found(trial, &name).await;
    let shown = trial.shown(name.as_str()).await?;
    assert!(shown.contains(name.as_str()), "the machine bears its mark: {shown}");
    assert!(!shown.contains(key.expose_secret()), "the key is on the machine");
    Ok(())
}
