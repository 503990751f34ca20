//! `recover`: takes up what runs at the providers when the database is gone, or older than it.
//!
//! The installation's file names the machines and commands their agents; each agent that answers keeps its job's
//! specification. A job is rebuilt by the same facts as any other (an intent, a placement), so that from then on the
//! reconciler drives it as if nothing had happened: it notes the start, reads every event from the first, brings the
//! artifact home and gives the machine back. Twice is as good as once. What cannot be rebuilt is told, and stays.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};
use trainyard_connector::{KeptJob, MachineObservation, MachinePhase};
use trainyard_domain::{
    Command, EventBody, Fact, Job, Machine, NewEvent, NotificationKind, OrderName, Phase, ProviderName,
    Reason, Rental, Timestamp,
};
use trainyard_storage::{CreateError, StoredJob};

use crate::core::{Core, Provider};
use crate::reconcile::Draft;
use crate::{Error, ErrorKind, Orchestrator};

/// Between two tries to reach an agent.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// Tries to list a provider's machines.
const LISTINGS: u32 = 3;
/// What a rebuilt job's earlier attempts ended with: nothing more is known of them.
const FORGOTTEN: &str = "record_lost";

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Machines whose job was rebuilt.
    pub adopted: Vec<RecoveredMachine>,
    /// Machines that no job could be rebuilt from, each with why. They go on costing money.
    pub left: Vec<(RecoveredMachine, String)>,
    /// Machines of those that were asked to go.
    pub given_back: Vec<RecoveredMachine>,
    /// Providers that could not be read, each with why.
    pub unread: Vec<(ProviderName, String)>,
    /// Whether unknown machines are still only reported: something is left, or was not read.
    pub holds: bool,
}

/// A machine that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveredMachine {
    /// Who rents it out.
    pub provider: ProviderName,
    /// Its order.
    pub order: OrderName,
    /// The provider's id of it.
    pub machine: String,
    /// Its job, where its agent told one.
    pub job: Option<String>,
}

/// What becomes of machines that no job can be rebuilt from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GiveBack {
    /// They stay.
    None,
    /// Only that one goes.
    One(OrderName),
    /// All of them go.
    All,
}

impl Orchestrator {
    /// Rebuilds the jobs of machines that bear this installation's mark and that the database does not know, from the
    /// agents that answer within `patience`. Where nothing is left over, unknown machines are handed back again from
    /// then on.
    ///
    /// # Errors
    /// Where storage fails; what was rebuilt until then stays, and it can be run again.
    pub async fn recover(&self, give_back: &GiveBack, patience: Duration) -> Result<Recovered, Error> {
        let core = &self.core;
        core.guard.open(core).await?;
        // Nothing is swept meanwhile.
        let _turn = core.guard.turn.lock().await;
        let mut done = Recovered::default();
        let deadline = Instant::now() + patience;
        for (name, provider) in &core.providers {
            match unknown(core, provider).await? {
                Ok(machines) => of_provider(core, name, provider, machines, deadline, &mut done).await?,
                Err(error) => done.unread.push((name.clone(), error)),
            }
        }
        let goes = |machine: &RecoveredMachine| match give_back {
            GiveBack::None => false,
            GiveBack::One(order) => machine.order == *order,
            GiveBack::All => true,
        };
        let (going, staying) =
            std::mem::take(&mut done.left).into_iter().partition(|(machine, _)| goes(machine));
        done.left = staying;
        for (machine, why) in going {
            match terminate(core, &machine).await {
                Ok(()) => done.given_back.push(machine),
                Err(error) => done.left.push((machine, format!("{why}; giving it back failed: {error}"))),
            }
        }
        if done.left.is_empty() && done.unread.is_empty() {
            core.guard.lift(core).await?;
        }
        done.holds = core.guard.holds();
        Ok(done)
    }
}

/// The machines of a provider that the ledger does not know; or why its listing failed.
async fn unknown(
    core: &Arc<Core>,
    provider: &Provider,
) -> Result<Result<Vec<MachineObservation>, String>, Error> {
    let mut tried = 0;
    let listed = loop {
        match provider.connector.list_owned(core.installation.id()).await {
            Ok(listed) => break listed,
            Err(error) if tried + 1 >= LISTINGS => return Ok(Err(error.to_string())),
            Err(_) => tried += 1,
        }
        tokio::time::sleep(ASK_EVERY).await;
    };
    let mut unknown = Vec::new();
    for machine in listed.into_iter().filter(|machine| machine.phase != MachinePhase::Gone) {
        let ours = machine.order.installation() == core.installation.id().as_str();
        if ours && core.storage.machine(&machine.order).await?.is_none() {
            unknown.push(machine);
        }
    }
    Ok(Ok(unknown))
}

/// Asks the agents of one provider's unknown machines, all at once, and rebuilds what they tell: of several attempts of
/// one job the last.
async fn of_provider(
    core: &Arc<Core>,
    name: &ProviderName,
    provider: &Provider,
    machines: Vec<MachineObservation>,
    deadline: Instant,
    done: &mut Recovered,
) -> Result<(), Error> {
    let told = join_all(machines.iter().map(|machine| ask(provider, machine, deadline))).await;
    let mut last: BTreeMap<String, u32> = BTreeMap::new();
    for kept in told.iter().flatten() {
        let highest = last.entry(kept.job_id.to_string()).or_default();
        *highest = (*highest).max(kept.attempt.get());
    }
    for (machine, told) in machines.into_iter().zip(told) {
        let job = told.as_ref().ok().map(|kept| kept.job_id.to_string());
        let found = RecoveredMachine {
            provider: name.clone(),
            order: machine.order.clone(),
            machine: machine.id.to_string(),
            job,
        };
        let adopted = match told {
            Ok(kept) if last.get(kept.job_id.as_str()) == Some(&kept.attempt.get()) => {
                adopt(core, name, provider, &machine, kept).await?
            }
            Ok(kept) => Err(format!("a later attempt of `{}` runs", kept.job_id)),
            Err(why) => Err(why),
        };
        match adopted {
            Ok(()) => done.adopted.push(found),
            Err(why) => done.left.push((found, why)),
        }
    }
    Ok(())
}

/// What the agent of a machine keeps, asked for until it answers.
async fn ask(
    provider: &Provider,
    machine: &MachineObservation,
    deadline: Instant,
) -> Result<KeptJob, String> {
    let mut why = "its agent was not reached".to_owned();
    loop {
        let asked = async {
            let agent = provider.connector.attach(&machine.order, &machine.id).await?;
            agent.job().await
        };
        match timeout_at(deadline, asked).await {
            Ok(Ok(Some(kept))) => return Ok(kept),
            Ok(Ok(None)) => return Err("its agent was told of no job yet".to_owned()),
            Ok(Err(error)) => why = format!("its agent does not answer: {error}"),
            Err(_) => return Err(why),
        }
        if timeout_at(deadline, tokio::time::sleep(ASK_EVERY)).await.is_err() {
            return Err(why);
        }
    }
}

/// Rebuilds the job of a machine; or says why not. A crash between job and ledger is made good by the next run.
async fn adopt(
    core: &Arc<Core>,
    name: &ProviderName,
    provider: &Provider,
    machine: &MachineObservation,
    kept: KeptJob,
) -> Result<Result<(), String>, Error> {
    let id = kept.job_id.clone();
    let since = machine.order.made_at().unwrap_or(kept.accepted_at).min(kept.accepted_at);
    let stored = match core.storage.load(&id).await? {
        Some(stored) if stored.job.attempt().is_some_and(|last| last.order == machine.order) => stored,
        Some(_) => return Ok(Err(format!("the job `{id}` is in this database, without this machine"))),
        None => {
            let rental = Rental {
                attempt: kept.attempt,
                machine: machine.id.clone(),
                can_pause: provider.connector.info().capabilities.pause,
            };
            let job = match rebuilt(core, name, machine, kept, rental, since) {
                Ok(job) => job,
                Err(why) => return Ok(Err(why)),
            };
            let status = EventBody::Status(job.status());
            let event = NewEvent {
                at: core.clock.now(),
                attempt: job.attempt().map(|last| last.number),
                body: status,
            };
            match core.storage.create(&job, &[event]).await {
                Ok(stored) => stored,
                Err(CreateError::Exists(id)) => return Ok(Err(format!("the job `{id}` was made meanwhile"))),
                Err(CreateError::Storage(error)) => return Err(error.into()),
            }
        }
    };
    note(core, name, &stored, machine, since).await?;
    core.queue.ring(&id);
    Ok(Ok(()))
}

/// The ledger's entry, and the news of it.
async fn note(
    core: &Arc<Core>,
    name: &ProviderName,
    stored: &StoredJob,
    machine: &MachineObservation,
    since: Timestamp,
) -> Result<(), Error> {
    let Some(attempt) = stored.job.attempt().map(|last| last.number) else { return Ok(()) };
    let mut draft = Draft::of(stored, core.clock.now());
    let entry =
        Machine::intended(machine.order.clone(), name.clone(), (stored.job.id().clone(), attempt), since);
    draft.machine(Machine {
        provider_job_id: Some(machine.id.clone()),
        price_per_hour: machine.price_per_hour,
        placed_at: Some(since),
        labels: stored.job.body().labels.clone(),
        ..entry
    });
    let message =
        format!("The job was rebuilt from its machine at `{name}`; its record before that was lost.");
    draft.tell(NotificationKind::Submitted, "Job recovered", message);
    draft.commit(core).await?;
    Ok(())
}

/// The job as it came about, as far as its agent and the machine's name tell: by the facts of any other job.
fn rebuilt(
    core: &Core,
    name: &ProviderName,
    machine: &MachineObservation,
    kept: KeptJob,
    rental: Rental,
    since: Timestamp,
) -> Result<Job, String> {
    let mut job = Job::new(kept.job_id, kept.spec, None, since);
    job.command(&Command::Submit(name.clone())).map_err(|refusal| refusal.to_string())?;
    for _ in 1..kept.attempt.get() {
        // Attempts before it are known by their number alone.
        let order = OrderName::new(core.installation.id(), core.clock.ulid());
        let before = job.intend(order, name.clone(), since).map_err(|error| error.to_string())?;
        let refused = Fact::OrderRefused { attempt: before, round_over: false };
        job.apply(&refused, since).map_err(|error| error.to_string())?;
        job.set_attempt_end(before, Reason::new(FORGOTTEN, "the record of this attempt was lost"));
        job.set_gone(before, since, None);
    }
    let intended =
        job.intend(machine.order.clone(), name.clone(), since).map_err(|error| error.to_string())?;
    if intended != kept.attempt {
        return Err("its attempts cannot be counted".to_owned());
    }
    job.apply(&Fact::Placed(rental), since).map_err(|error| error.to_string())?;
    job.set_price(intended, machine.price_per_hour);
    job.set_phase(Some(Phase::Booting), since);
    Ok(job)
}

async fn terminate(core: &Core, machine: &RecoveredMachine) -> Result<(), Error> {
    let no_such =
        || Error::new(ErrorKind::Internal, "no_such_machine", "the machine's provider is not there");
    let provider = core.providers.get(&machine.provider).ok_or_else(no_such)?;
    let id = machine.machine.parse().map_err(|error| no_such().because(error))?;
    let asked = provider.connector.terminate(&machine.order, &id).await;
    asked.map(|_| ()).map_err(|error| {
        Error::new(ErrorKind::Provider, "release", "the machine could not be given back").because(error)
    })
}
