//! Submitting: the checks that cost nothing, the wish, and a bounded wait for what comes of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use trainyard_domain::{
    Command, Fact, JobId, JobState, Machine, NotificationKind, OrderName, Phase, ProviderName, Wish,
};
use trainyard_storage::{KeyMark, StoredJob};

use super::validate::check;
use super::{load, view};
use crate::core::Core;
use crate::reconcile::{Draft, auto_providers};
use crate::{Error, ErrorKind, JobView, Orchestrator, Submitted, warm};

/// The word for any provider.
pub(super) const AUTO: &str = "auto";
/// Codes of refusals that are the caller's to mend: 400. All others are a provider's fault: 500.
const CALLERS_FAULT: [&str; 4] = ["order_invalid", "price_ceiling", "budget", warm::NOT_WARM];

impl Orchestrator {
    /// Starts a job, as the specification's `orchestrator.start_training("job_1", provider="local")`.
    ///
    /// # Errors
    /// As [`Orchestrator::submit`].
    pub async fn start_training(&self, id: &str, provider: &str) -> Result<JobView, Error> {
        let id: JobId = id.parse().map_err(|error| {
            Error::bad_request("invalid_job_id", "the job's id is not valid").because(error)
        })?;
        Ok(self.submit(&id, provider, None, self.core.policy.submit_wait).await?.view)
    }

    /// Submits a job and waits up to `wait` (at most a minute) until it runs, has ended, or waits in line. A second
    /// submit to the same provider answers the same and starts nothing twice.
    ///
    /// # Errors
    /// 400: wrong state, unknown provider, a machine that is not warm, a check that failed. 500: refused by the provider, or failed before it ran.
    pub async fn submit(
        &self,
        id: &JobId,
        provider: &str,
        machine: Option<&str>,
        wait: Duration,
    ) -> Result<Submitted, Error> {
        let core = &self.core;
        let stored = load(core, id).await?;
        let on = match machine {
            Some(text) => Some(warm_machine(core, &stored, provider, text).await.map_err(|e| e.about(id))?),
            None => None,
        };
        let auto = provider == AUTO && on.is_none();
        let name = match &on {
            Some(machine) => Ok(machine.provider.clone()),
            None if auto => any_provider(core, &stored.job),
            None => provider_named(core, provider),
        };
        let name = name.map_err(|error| error.about(id))?;
        let wait = wait.min(core.policy.submit_wait_max);
        if self.done().is_some() && stored.job.wish() != Wish::Rest {
            // It was submitted under this key before: what is left is the answer.
            let bell = core.bells.listen(id);
            return follow(core, id, bell, wait).await;
        }
        stored.job.ask(&Command::Submit(name.clone())).map_err(|refusal| refused(id, &refusal))?;
        if stored.job.wish() == Wish::Rest {
            let found = check(core, &stored.job, Some(&name), auto, on.as_ref())
                .await
                .map_err(|error| error.about(id))?;
            if let Some(first) = found.errors.first() {
                let all: Vec<String> =
                    found.errors.iter().map(|e| format!("`{}` {}", e.field, e.message)).collect();
                let code = found.code.unwrap_or("invalid_spec");
                return Err(Error::bad_request(code, format!("`{}` {}", first.field, first.message))
                    .detail(all.join("; "))
                    .about(id));
            }
        }
        let bell = core.bells.listen(id);
        let to = Destination { name: &name, auto, machine: on.map(|machine| machine.order) };
        wish_to_run(core, stored, &to, wait.is_zero(), self.mark(id)).await?;
        core.queue.ring(id);
        follow(core, id, bell, wait).await
    }
}

/// Where a job is submitted to.
struct Destination<'a> {
    name: &'a ProviderName,
    auto: bool,
    /// A warm machine of that provider.
    machine: Option<OrderName>,
}

/// The warm machine that a submit names, at the provider that it names.
async fn warm_machine(
    core: &Arc<Core>,
    stored: &StoredJob,
    provider: &str,
    text: &str,
) -> Result<Machine, Error> {
    let machine = warm::find(core, Some(&stored.job), text).await?;
    if provider != AUTO && provider != machine.provider.as_str() {
        let message = format!("the machine `{}` is one of `{}`", machine.order, machine.provider);
        return Err(
            Error::bad_request("wrong_provider", message).detail("submit to that provider, or to `auto`")
        );
    }
    if stored.job.wish() != Wish::Rest && stored.job.body().on_machine.as_ref() != Some(&machine.order) {
        let message = "the job was submitted elsewhere already; clone it to train it on that machine";
        return Err(Error::bad_request("already_submitted", message));
    }
    provider_named(core, machine.provider.as_str())?;
    Ok(machine)
}

/// Records the wish, and the news of it. A job that is under way already is left as it is.
async fn wish_to_run(
    core: &Arc<Core>,
    stored: StoredJob,
    to: &Destination<'_>,
    at_once: bool,
    key: Option<KeyMark>,
) -> Result<(), Error> {
    let Destination { name, auto, machine } = to;
    let id = stored.job.id().clone();
    let mut stored = stored;
    loop {
        let mut draft = Draft::of(&stored, core.clock.now());
        let command = Command::Submit((*name).clone());
        let changed = draft.job.command(&command).map_err(|refusal| refused(&id, &refusal))?;
        if changed && *auto {
            draft.job.set_auto();
        }
        if let (true, Some(order)) = (changed, machine) {
            draft.job.set_machine(order.clone());
        }
        let admits = at_once && matches!(draft.job.state(), JobState::Created { .. });
        if !changed && !admits {
            return Ok(());
        }
        if admits {
            draft.apply(&Fact::Admitted)?;
        }
        draft.tell(
            NotificationKind::Submitted,
            "Job submitted",
            match (machine, auto) {
                (Some(order), _) => {
                    format!("The job was submitted to the warm machine `{order}` of `{name}`.")
                }
                (None, true) => "The job was submitted to whichever provider is cheapest.".to_owned(),
                (None, false) => format!("The job was submitted to `{name}`."),
            },
        );
        draft.key = key.clone();
        match draft.commit(core).await {
            Ok(_) => return Ok(()),
            Err(error) if error.code == "contention" => stored = load(core, &id).await?,
            Err(error) => return Err(error),
        }
    }
}

/// Waits for what comes of it.
async fn follow(
    core: &Arc<Core>,
    id: &JobId,
    mut bell: tokio::sync::watch::Receiver<()>,
    wait: Duration,
) -> Result<Submitted, Error> {
    let deadline = Instant::now() + wait;
    loop {
        bell.mark_unchanged();
        let stored = load(core, id).await?;
        if let Some(answer) = answer(core, &stored) {
            return answer;
        }
        let over = tokio::time::timeout_at(deadline, bell.changed()).await.is_err();
        if over {
            return under_way(core, id).await;
        }
    }
}

/// What is true now, where it answers the submit.
fn answer(core: &Core, stored: &StoredJob) -> Option<Result<Submitted, Error>> {
    let job = &stored.job;
    let said = |under_way| Ok(Submitted { view: view(core, stored.clone()), under_way });
    match job.state() {
        JobState::Running { .. } | JobState::Paused { .. } | JobState::Completed(_) => Some(said(false)),
        JobState::Failed(_) | JobState::Stopped(_) if job.body().started_at.is_some() => Some(said(false)),
        JobState::Stopped(_) => {
            Some(Err(Error::bad_request("cancelled", "the job was cancelled before it ran").about(job.id())))
        }
        JobState::Failed(_) => {
            let reason = job.body().reason.clone();
            let message =
                reason.as_ref().map_or_else(|| "it failed".to_owned(), |reason| reason.message.clone());
            let code = reason.map_or_else(|| "submission_failed".to_owned(), |reason| reason.code);
            Some(Err(Error::new(ErrorKind::Provider, code, "the submission failed")
                .detail(message)
                .about(job.id())))
        }
        JobState::Created { .. } if job.wish() == Wish::Rest => Some(Err(turned_down(stored))),
        JobState::Initializing(_)
            if matches!(job.body().phase, Some(Phase::Queued | Phase::WaitingForCapacity)) =>
        {
            Some(said(true))
        }
        JobState::Created { .. } | JobState::Initializing(_) => None,
    }
}

/// A submission that was refused with nothing rented; the job is `created` again.
fn turned_down(stored: &StoredJob) -> Error {
    let reason = stored.job.attempt().and_then(|attempt| attempt.end.clone());
    let (code, message) = reason.map_or_else(
        || ("submission_failed".to_owned(), "the provider refused".to_owned()),
        |reason| (reason.code, reason.message),
    );
    let kind =
        if CALLERS_FAULT.contains(&code.as_str()) { ErrorKind::BadRequest } else { ErrorKind::Provider };
    Error::new(kind, code, "the provider refused the submission; the job can be submitted again")
        .detail(message)
        .about(stored.job.id())
}

/// The wait is over: answering 2xx means that there is no way back to `created`.
async fn under_way(core: &Arc<Core>, id: &JobId) -> Result<Submitted, Error> {
    loop {
        let stored = load(core, id).await?;
        if let Some(answer) = answer(core, &stored) {
            return answer;
        }
        if !matches!(stored.job.state(), JobState::Created { .. }) {
            return Ok(Submitted { view: view(core, stored), under_way: true });
        }
        let mut draft = Draft::of(&stored, core.clock.now());
        draft.apply(&Fact::Admitted)?;
        match draft.commit(core).await {
            Err(error) if error.code != "contention" => return Err(error),
            _ => {}
        }
    }
}

/// Where a job for any provider is said to be until it is ordered somewhere: where it was first, else the first of
/// those it may go to.
fn any_provider(core: &Core, job: &trainyard_domain::Job) -> Result<ProviderName, Error> {
    if job.body().auto
        && job.wish() != Wish::Rest
        && let Some(name) = job.provider()
    {
        return Ok(name.clone());
    }
    auto_providers(core, job).first().map_or_else(|| first_provider(core), |name| Ok((*name).clone()))
}

fn first_provider(core: &Core) -> Result<ProviderName, Error> {
    let none = || Error::bad_request("provider_not_configured", "no provider is configured");
    core.providers.keys().next().cloned().ok_or_else(none)
}

/// The configured provider of that name.
pub(super) fn provider_named(core: &Core, provider: &str) -> Result<ProviderName, Error> {
    let known = || core.providers.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if provider == AUTO {
        return first_provider(core);
    }
    let name: Result<ProviderName, _> = provider.parse();
    if let Ok(name) = name
        && core.providers.contains_key(&name)
    {
        return Ok(name);
    }
    if let Some((_, how)) = core.unconfigured.iter().find(|(name, _)| name == provider) {
        return Err(Error::bad_request(
            "provider_not_configured",
            format!("the provider `{provider}` is not configured"),
        )
        .detail(how));
    }
    let shown: String = provider.chars().take(40).flat_map(char::escape_default).collect();
    Err(Error::bad_request("unknown_provider", format!("there is no provider `{shown}`"))
        .detail(format!("use one of {}", known())))
}

/// A refused command as a 400.
pub(super) fn refused(id: &JobId, refusal: &trainyard_domain::Refusal) -> Error {
    Error::bad_request(refusal.code(), refusal.to_string()).about(id)
}
