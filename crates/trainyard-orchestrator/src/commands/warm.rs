//! Giving a warm machine back before its time.

use trainyard_domain::Machine;

use crate::reconcile::Draft;
use crate::{Error, Orchestrator, warm};

impl Orchestrator {
    /// Gives a machine back that an ended job keeps for another one, before its time is over. It is named by its order
    /// or the provider's id. The answer is its entry; the ledger tells when it is proven gone.
    ///
    /// # Errors
    /// `unknown_machine`; `machine_not_warm` where no ended job keeps it (any more).
    pub async fn release_machine(&self, machine: &str) -> Result<Machine, Error> {
        let core = &self.core;
        loop {
            let entry = warm::find(core, None, machine).await?;
            let Some(keeper) = warm::keeper(core, &entry).await? else { return Err(warm::not_kept(&entry)) };
            let mut draft = Draft::of(&keeper, core.clock.now());
            let entry = Machine { warm_until: Some(draft.now), ..entry };
            draft.job.keep_warm_until(draft.now);
            draft.machine(entry.clone());
            match draft.commit(core).await {
                Ok(_) => {
                    core.queue.ring(keeper.job.id());
                    return Ok(entry);
                }
                // It was given back or taken over meanwhile, or something else of its job changed.
                Err(error) if error.code == "contention" => {}
                Err(error) => return Err(error),
            }
        }
    }
}
