//! The end of machines on the ledger: what proves one gone, until when it was billed, and the closing of entries whose
//! job has gone on without them.

use std::sync::Arc;

use trainyard_domain::{Machine, NotificationKind, Timestamp};

use crate::core::{Core, Provider};
use crate::reconcile::Draft;
use crate::sightings::Proof;
use crate::{Error, money};

/// What proves a machine gone whose removal was asked for: good listings begun after that which do not show it; of one
/// that never showed only such as were begun when it would have for certain.
pub(crate) fn proof(core: &Core, provider: &Provider, entry: &Machine) -> Option<Proof> {
    let asked = entry.release_asked_at?;
    let after = if provider.sightings.was_shown(&entry.order, None) {
        asked
    } else {
        asked.max(entry.ordered_at + provider.settle())
    };
    provider.sightings.absent(&entry.order, None, after, core.policy.gone_readings)
}

/// The entry of a machine that was proven gone.
pub(crate) fn closed(entry: Machine, proof: &Proof, now: Timestamp) -> Machine {
    let billed_until = proof.last_shown.max(entry.release_asked_at).filter(|until| *until < now);
    Machine { gone_at: Some(now), gone_proof: Some(proof.text.clone()), billed_until, ..entry }
}

/// Closes the entries of lost attempts whose machines are proven gone by now. Their jobs have gone on; those that
/// still wait for it see to it themselves.
pub(crate) async fn close(core: &Arc<Core>, provider: &Provider, open: &[Machine]) {
    for entry in open.iter().filter(|entry| entry.release_asked_at.is_some()) {
        let Some(proof) = proof(core, provider, entry) else { continue };
        if let Err(error) = close_one(core, entry, &proof).await {
            tracing::debug!(order = %entry.order, error = %error, "an entry was not closed; it is tried again");
        }
    }
}

async fn close_one(core: &Arc<Core>, entry: &Machine, proof: &Proof) -> Result<(), Error> {
    let Some((id, attempt)) = entry.attempts.last() else { return Ok(()) };
    let Some(stored) = core.storage.load(id).await? else { return Ok(()) };
    let is_last = stored.job.attempt().is_some_and(|last| last.number == *attempt);
    if is_last && stored.job.state().claim().is_some_and(|claim| claim != trainyard_domain::Claim::Waiting) {
        core.queue.ring(id);
        return Ok(());
    }
    let mut draft = Draft::of(&stored, core.clock.now());
    let entry = closed(entry.clone(), proof, draft.now);
    draft.job.set_gone(*attempt, draft.now, entry.billed_until);
    draft.tell_about(
        *attempt,
        NotificationKind::MachineReleased,
        "Machine released",
        format!("The machine of attempt {attempt} is gone: {}.", proof.text),
    );
    core.unlink(&entry.order);
    let entry = money::at_end(core, &mut draft.job, *attempt, entry);
    money::learn(core, &draft.job, *attempt);
    draft.machine(entry);
    draft.commit(core).await?;
    Ok(())
}
