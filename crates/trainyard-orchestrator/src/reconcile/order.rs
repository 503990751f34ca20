//! Ordering a machine: the choice, the intent, the order, and its acceptance. What is refused is in `refuse.rs`, what
//! is not known in `settle.rs`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use secrecy::{ExposeSecret, SecretString};
use trainyard_connector::{ConnectorError, Effect, Placement, ProvisionOrder, RegistryLogin};
use trainyard_domain::{
    AttemptNumber, Claim, Fact, Job, JobState, Machine, OrderName, Phase, ProviderName, Reason, Rental,
    Resources, Timestamp,
};
use trainyard_storage::StoredJob;

use super::commit::{Draft, StoredJobLite};
use super::refuse::{self, refused};
use super::{adopt, is_contention, settle, train};
use crate::choice::{self, Candidate, Shelf};
use crate::core::{Core, Provider};
use crate::line::Turn;
use crate::money::{Planned, SetAside};
use crate::{Error, ErrorKind, money};

/// The next in line looks again after this, should the end of the order before it not wake it.
const SOON: Duration = Duration::from_millis(20);

/// Orders the next attempt's machine.
pub(super) async fn order(core: &Arc<Core>, stored: StoredJob) -> Result<Option<Duration>, Error> {
    let Some(own) = core.provider_of(&stored.job) else {
        return settle::unknown_provider(core, stored).await;
    };
    if let Some(order) = stored.job.wants_machine().cloned() {
        return adopt::adopt(core, stored, order).await;
    }
    let candidate = match pick(core, &stored.job).await {
        Ok(candidate) => candidate,
        Err(reason) => return refuse::nothing_to_order(core, stored, reason).await,
    };
    let provider = core.providers.get(&candidate.provider).unwrap_or(own);
    let wants = stored.job.spec().resources.gpu_count.max(1);
    let mut going = None;
    if provider.connector.info().capabilities.queue {
        match provider.line.may_order(stored.job.id(), wants, || provider.vacancy(&stored.job)) {
            Turn::Go(order) => going = Some(order),
            Turn::Soon => return Ok(Some(SOON)),
            Turn::Wait => return queued(core, stored).await,
        }
        // Several slots may have come free with one bell.
        provider.line.first().iter().for_each(|next| core.queue.ring(next));
    }
    let registry = registry(core, &stored.job).await?;
    let aside = match set_aside(core, &stored.job, &candidate).await? {
        Ok(aside) => aside,
        Err(reason) => return refuse::nothing_to_order(core, stored, reason).await,
    };
    let (name, intended) = match intend(core, &stored, &candidate, aside).await {
        Ok(intended) => intended,
        Err(error) => {
            if going.is_some() {
                // A command came in between: the place in line is kept.
                provider.line.step_back(stored.job.id());
            }
            return Err(error);
        }
    };
    let order = ProvisionOrder {
        name,
        resources: choice::need_of(&stored.job, &core.policy, core.clock.now()),
        offer: candidate.offer,
        image: stored.job.spec().environment.image.clone(),
        registry,
    };
    let outcome = tokio::select! {
        outcome = provider.connector.provision(&order) => outcome,
        // A vendor's pace or a slow answer does not hold up a cancel; what was sent is found by its name.
        () = train::until_unwanted(core, stored.job.id()), if provider.costs() => {
            Err(ConnectorError::unknown(trainyard_connector::ErrorKind::Unreachable, "the order was broken off, since the job is to stop"))
        }
    };
    if going.take().is_some() {
        // How full it is has one answer again.
        provider.line.first().iter().for_each(|next| core.queue.ring(next));
    }
    outcome_of(core, intended, provider, outcome).await
}

/// What to order now, read fresh; or why nothing can be.
async fn pick(core: &Arc<Core>, job: &Job) -> Result<Candidate, Reason> {
    let own = job.provider().into_iter();
    let names: Vec<&ProviderName> = if job.body().auto { auto_providers(core, job) } else { own.collect() };
    let now = core.clock.now();
    let need = choice::need_of(job, &core.policy, now);
    let read = join_all(names.iter().map(|name| shelf(core, name, &need))).await;
    let (mut shelves, mut failed) = (Vec::new(), None);
    for one in read {
        match one {
            Ok(shelf) => shelves.push(shelf),
            Err(reason) => failed = Some(reason),
        }
    }
    match choice::candidates(job, &need, &shelves, &core.policy, now).into_iter().next() {
        Some(candidate) => Ok(candidate),
        // A provider that could not be read may have what the others have not.
        None => Err(failed.unwrap_or_else(|| choice::why_none(job, &need, &shelves))),
    }
}

/// One provider's offers, at most so old that an order may rest on them.
async fn shelf(core: &Core, name: &ProviderName, need: &Resources) -> Result<Shelf, Reason> {
    let gone = || Reason::new("provider_not_configured", format!("the provider `{name}` is not configured"));
    let provider = core.providers.get(name).ok_or_else(gone)?;
    let capabilities = provider.connector.info().capabilities;
    let offers = match capabilities.offers {
        true => {
            let read = provider.offers.read(core, provider, need, core.policy.order_offers_age).await?;
            Some(read.offers.as_ref().clone())
        }
        false => None,
    };
    Ok(Shelf { provider: name.clone(), offers, queues: capabilities.queue })
}

/// Where a job for any provider may go. What costs nothing takes it where it needs no GPU and there is room, or where
/// nothing else is configured; else it goes to what costs money, so that it does not wait in line for a card.
pub(crate) fn auto_providers<'a>(core: &'a Core, job: &Job) -> Vec<&'a ProviderName> {
    let (paid, free): (Vec<_>, Vec<_>) = core.providers.iter().partition(|(_, provider)| provider.costs());
    let roomy = free.iter().filter(|(_, provider)| provider.vacancy(job).free).map(|(name, _)| *name);
    let roomy: Vec<&ProviderName> = roomy.collect();
    if paid.is_empty() {
        return free.into_iter().map(|(name, _)| name).collect();
    }
    if choice::needs_no_gpu(job.spec()) && !roomy.is_empty() {
        return roomy;
    }
    paid.into_iter().map(|(name, _)| name).collect()
}

/// Who may pull the job's image: the secret is `USER:PASSWORD`.
async fn registry(core: &Core, job: &Job) -> Result<Option<RegistryLogin>, Error> {
    let environment = &job.spec().environment;
    let Some(name) = environment.registry_auth.as_ref().filter(|_| environment.image.is_some()) else {
        return Ok(None);
    };
    let Some(sealed) = core.storage.secret(name).await? else { return Ok(None) };
    let opened = core.vault.open(name, &sealed.sealed)?;
    let Some((user, password)) = opened.expose_secret().split_once(':') else { return Ok(None) };
    Ok(Some(RegistryLogin { username: user.to_owned(), password: SecretString::from(password) }))
}

/// Writes down the next attempt's intent: once this is stored the order may go out.
async fn intend(
    core: &Arc<Core>,
    stored: &StoredJob,
    candidate: &Candidate,
    aside: SetAside,
) -> Result<(OrderName, StoredJobLite), Error> {
    let name = OrderName::new(core.installation.id(), core.clock.ulid());
    let mut draft = Draft::of(stored, core.clock.now());
    let attempt = draft.job.intend(name.clone(), candidate.provider.clone(), draft.now).map_err(|error| {
        Error::new(ErrorKind::Internal, "illegal_transition", "no order may go out").because(error)
    })?;
    let price = candidate.offer.as_ref().map(|offer| offer.price_per_hour);
    draft.job.set_offer(attempt, candidate.offer.as_ref().map(choice::taken));
    draft.job.set_price(attempt, price);
    match (stored.job.body().started_at, stored.job.body().capacity_since) {
        (Some(_), _) => draft.phase(Phase::Recovering),
        // One phase however many tries it takes, so that its wait is one event.
        (None, Some(since)) => draft.job.wait_for_capacity(since),
        (None, None) => draft.phase(Phase::Ordering),
    }
    let of = (stored.job.id().clone(), attempt);
    draft.machine(Machine {
        price_per_hour: price,
        labels: stored.job.body().labels.clone(),
        reserved: aside.amount,
        ..Machine::intended(name.clone(), candidate.provider.clone(), of, draft.now)
    });
    draft.reserves(aside.read);
    let intended = draft.commit(core).await?;
    drop(aside);
    Ok((name, intended))
}

/// Sets money aside for the machine that is to be ordered.
async fn set_aside(
    core: &Arc<Core>,
    job: &Job,
    candidate: &Candidate,
) -> Result<Result<SetAside, Reason>, Error> {
    let offer = candidate.offer.as_ref();
    let planned = Planned {
        price_per_hour: offer.map(|offer| offer.price_per_hour),
        traffic_per_gb: offer.map(|offer| offer.traffic_per_gb).unwrap_or_default(),
        there: None,
        limits: job.limits(),
    };
    let aside = money::set_aside(core, job, planned).await?;
    // A job that ran before is not turned down; it fails because its money is used up.
    Ok(aside.map_err(|reason| match job.attempts().iter().any(|attempt| attempt.was_rented()) {
        true => Reason { code: "budget_exceeded".to_owned(), ..reason },
        false => reason,
    }))
}

/// Records what became of an order, also where a command came in between.
async fn outcome_of(
    core: &Arc<Core>,
    intended: StoredJobLite,
    provider: &Provider,
    outcome: Result<Placement, ConnectorError>,
) -> Result<Option<Duration>, Error> {
    let Some(attempt) = intended.job.attempt().map(|attempt| attempt.number) else { return Ok(None) };
    let mut at = intended;
    loop {
        let recorded = match &outcome {
            Ok(placement) => placed(core, &at, provider, attempt, placement.clone(), core.clock.now()).await,
            Err(error) if error.effect == Effect::None => refused(core, &at, provider, attempt, error).await,
            Err(error) => {
                tracing::warn!(job_id = %at.job.id(), error = %error, "the outcome of an order is not known");
                may_have_been_accepted(core, &at, provider).await
            }
        };
        match recorded {
            Err(error) if is_contention(&error) => {}
            other => return other,
        }
        let Some(now) = core.storage.load(at.job.id()).await? else { return Ok(Some(Duration::ZERO)) };
        if now.job.state().claim() != Some(Claim::Asked { attempt }) {
            return Ok(Some(Duration::ZERO));
        }
        at = StoredJobLite { job: now.job, version: now.version };
    }
}

/// It may have happened: there is no way back to `created`. What became of it is found out by its name, never by asking
/// again.
async fn may_have_been_accepted(
    core: &Arc<Core>,
    at: &StoredJobLite,
    provider: &Provider,
) -> Result<Option<Duration>, Error> {
    if matches!(at.job.state(), JobState::Created { .. }) {
        let mut draft = at.draft(core.clock.now());
        draft.apply(&Fact::Admitted)?;
        draft.commit(core).await?;
    }
    provider.sightings.want(at.job.id());
    Ok(Some(Duration::from_millis(200)))
}

/// Every slot is taken: the job waits in line, which answers its submit.
async fn queued(core: &Arc<Core>, stored: StoredJob) -> Result<Option<Duration>, Error> {
    if stored.job.body().phase != Some(Phase::Queued) {
        let mut draft = Draft::of(&stored, core.clock.now());
        if matches!(stored.job.state(), JobState::Created { .. }) {
            draft.apply(&Fact::Admitted)?;
        }
        draft.phase(Phase::Queued);
        draft.commit(core).await?;
    }
    // The bell of a free slot wakes the head of the line; this is only for a bell that was lost.
    Ok(Some(core.policy.look_every * 5))
}

/// Records that the machine is ours, billed since that moment.
pub(super) async fn placed(
    core: &Arc<Core>,
    intended: &StoredJobLite,
    provider: &Provider,
    attempt: AttemptNumber,
    placement: Placement,
    since: Timestamp,
) -> Result<Option<Duration>, Error> {
    let mut draft = intended.draft(core.clock.now());
    let rental = Rental {
        attempt,
        machine: placement.id.clone(),
        can_pause: provider.connector.info().capabilities.pause,
    };
    draft.apply_at(&Fact::Placed(rental), since)?;
    draft.job.set_price(attempt, placement.price_per_hour);
    let over = draft.job.state().name().is_end();
    if !over {
        draft.job.set_reason(None);
    }
    if !over && draft.job.body().started_at.is_none() {
        draft.phase(Phase::Booting);
    }
    if let Some(machine) = core.machine_of(&draft.job, attempt).await? {
        draft.machine(Machine {
            provider_job_id: Some(placement.id),
            price_per_hour: placement.price_per_hour,
            placed_at: Some(since),
            ..machine
        });
    }
    let placed = draft.commit(core).await?;
    if provider.costs() {
        provider.sightings.want(placed.job.id());
    }
    Ok(Some(Duration::ZERO))
}
