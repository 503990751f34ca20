//! Orders whose outcome is not known: found by their name, or proven never to have arrived. Never asked again.

use std::sync::Arc;
use std::time::Duration;

use trainyard_connector::Placement;
use trainyard_domain::{Attempt, Claim, Reason};
use trainyard_storage::StoredJob;

use super::commit::{Draft, StoredJobLite};
use super::order::placed;
use super::refuse::never_arrived;
use super::{adopt, boot};
use crate::Error;
use crate::core::{Core, Provider};

/// What became of an order whose answer was lost, or whose asker crashed.
pub(super) async fn settle(core: &Arc<Core>, stored: StoredJob) -> Result<Option<Duration>, Error> {
    let Some(provider) = core.provider_of(&stored.job) else { return unknown_provider(core, stored).await };
    let Some(Claim::Asked { attempt }) = stored.job.state().claim() else { return Ok(Some(Duration::ZERO)) };
    let Some(asked) = stored.job.attempts().iter().find(|a| a.number == attempt).cloned() else {
        return Ok(None);
    };
    if asked.adopted {
        return adopt::settle(core, stored, &asked).await;
    }
    let found = if provider.costs() {
        provider.sightings.want(stored.job.id());
        if boot::note(core, &stored).await? {
            return Ok(Some(Duration::ZERO));
        }
        sighted(core, provider, &asked)
    } else {
        match listed(core, provider, &asked).await {
            Some(found) => found,
            None => return Ok(Some(core.policy.look_every)),
        }
    };
    let at = StoredJobLite { job: stored.job, version: stored.version };
    match found {
        // Billed since it was asked for, as far as we can tell.
        Found::There(placement) => placed(core, &at, provider, attempt, placement, asked.ordered_at).await,
        Found::NotYet => Ok(Some(core.policy.look_every)),
        Found::Nowhere => never_arrived(core, &at, attempt).await,
    }
}

/// What the readings tell of an order.
enum Found {
    There(Placement),
    /// It may still show.
    NotYet,
    Nowhere,
}

/// By the one shared listing.
fn sighted(core: &Core, provider: &Provider, asked: &Attempt) -> Found {
    if let Some(machine) = provider.sightings.latest(&asked.order, None) {
        let price_per_hour = machine.price_per_hour.or(asked.price_per_hour);
        return Found::There(Placement { id: machine.id, price_per_hour });
    }
    let settled = asked.ordered_at + provider.settle();
    match provider.sightings.absent(&asked.order, None, settled, core.policy.gone_readings) {
        Some(_) => Found::Nowhere,
        None => Found::NotYet,
    }
}

/// By a listing of its own, where looking costs nothing. None: it failed, and proves nothing.
async fn listed(core: &Core, provider: &Provider, asked: &Attempt) -> Option<Found> {
    let owned = match provider.connector.list_owned(core.installation.id()).await {
        Ok(owned) => owned,
        Err(error) => {
            tracing::warn!(order = %asked.order, error = %error, "a listing failed; it proves nothing");
            return None;
        }
    };
    if let Some(found) = owned.into_iter().find(|machine| machine.order == asked.order) {
        let placement = Placement { id: found.id, price_per_hour: asked.price_per_hour };
        return Some(Found::There(placement));
    }
    let settled = asked.ordered_at + provider.settle();
    Some(if core.clock.now() < settled { Found::NotYet } else { Found::Nowhere })
}

/// The job's provider is not configured any more: what it may hold cannot be reached, so nothing is decided.
pub(super) async fn unknown_provider(core: &Arc<Core>, stored: StoredJob) -> Result<Option<Duration>, Error> {
    let name = stored.job.provider().map_or("none", |name| name.as_str());
    let reason =
        Reason::new("provider_not_configured", format!("the provider `{name}` is not configured any more"))
            .suggest("configure it again; the job goes on then");
    if stored.job.body().reason.as_ref() != Some(&reason) {
        let mut draft = Draft::of(&stored, core.clock.now());
        draft.job.set_reason(Some(reason));
        draft.commit(core).await?;
    }
    Ok(Some(core.policy.look_every * 15))
}
