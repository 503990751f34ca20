//! What of ours lies in an account beside machines: logins at image registries, SSH keys, secrets, volumes.
//!
//! Each is made for one order and goes with it; this finds what a crash left. It goes when the ledger's entry of its
//! order is closed, or there is none, and several readings over the settling time show it. What is made for the
//! installation for good is never listed.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;
use trainyard_connector::Leftover;
use trainyard_domain::ProviderName;

use crate::core::{Core, Provider};
use crate::{Error, ErrorKind};

/// How often each was seen unclaimed, and since when.
type Seen = HashMap<Leftover, (Instant, usize)>;

/// Looks through one account for as long as the orchestrator lives: often while something lies there, else seldom.
pub(crate) async fn keep_swept(core: Arc<Core>, name: ProviderName) {
    let Some(provider) = core.providers.get(&name) else { return };
    let mut seen = Seen::new();
    loop {
        let swept = tokio::select! {
            swept = sweep(&core, provider, &mut seen) => swept,
            () = core.closed() => return,
        };
        let again = match swept {
            Ok(0) => core.policy.leftovers_every,
            Ok(_) => core.policy.sweep_every,
            Err(error) => {
                let detail = error.detail_text();
                tracing::warn!(provider = %name, error = %error, %detail, "an account was not looked through");
                core.policy.leftovers_every
            }
        };
        tokio::select! {
            () = tokio::time::sleep(again) => {}
            () = core.closed() => return,
        }
    }
}

/// One look. Says how many lie there, those in use included.
async fn sweep(core: &Core, provider: &Provider, seen: &mut Seen) -> Result<usize, Error> {
    let listed = provider.connector.list_leftovers(core.installation.id()).await.map_err(|error| {
        Error::new(ErrorKind::Provider, "listing", "what lies in the account could not be listed")
            .because(error)
    })?;
    let _turn = core.guard.turn.lock().await;
    let mut unclaimed = Vec::new();
    for leftover in &listed {
        if is_unclaimed(core, leftover).await? {
            unclaimed.push(leftover.clone());
        }
    }
    seen.retain(|leftover, _| unclaimed.contains(leftover));
    for leftover in unclaimed {
        let (since, times) = seen.entry(leftover.clone()).or_insert_with(|| (Instant::now(), 0));
        *times += 1;
        if *times < core.policy.gone_readings || since.elapsed() < provider.settle() {
            continue;
        }
        let (what, name) = (leftover.kind.as_str(), &leftover.name);
        match provider.connector.remove_leftover(&leftover).await {
            Ok(()) => tracing::info!(%name, "{what} that nobody needs was removed from the account"),
            Err(error) => tracing::warn!(%name, %error, "{what} could not be removed; it is tried again"),
        }
    }
    Ok(listed.len())
}

async fn is_unclaimed(core: &Core, leftover: &Leftover) -> Result<bool, Error> {
    let Some(order) = &leftover.order else { return Ok(true) };
    if order.installation() != core.installation.id().as_str() {
        return Ok(false);
    }
    match core.storage.machine(order).await? {
        Some(entry) => Ok(!entry.may_be_billed()),
        None => Ok(!core.guard.spares(core, order).await?),
    }
}
