//! What goes on beside the installation: the machine is looked at, and what it fetches by itself comes.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use trainyard_connector::{AgentEventBody, SetupPhase};

use super::agent::Agent;
use super::attempt::{Attempt, Start};
use super::check;
use super::failure::Failure;
use super::fetch;
use super::prepare::place_inputs;

/// Longest time between two parts of inputs: far beyond a slow line's, and a restart of whoever sends them.
const NOTHING_CAME: Duration = Duration::from_secs(1800);
/// What helps where an input could not be put in place.
const UNPLACED: &str = "look at the paths of `inputs` and at `resources.disk_gb`, and clone the job";

/// Variables for the training's environment, or what went wrong.
type Ended = Result<Vec<(String, String)>, Failure>;

/// A task beside the installation. Its programs end with it.
pub(super) struct Side {
    task: Option<JoinHandle<Ended>>,
    stop: watch::Sender<bool>,
    found: Vec<(String, String)>,
}

impl Side {
    /// Nothing goes on.
    pub(super) fn none() -> Side {
        Side { task: None, stop: watch::Sender::new(false), found: Vec::new() }
    }

    /// The check of the GPUs, and everything that is fetched but the code.
    pub(super) fn begin(agent: &Arc<Agent>, attempt: &Arc<Attempt>, start: &Arc<Start>) -> Side {
        let gpus = check::gpus_to_check(agent, start);
        let wanted = fetch::wanted(agent, start);
        if gpus.is_none() && wanted.is_empty() {
            return Side::none();
        }
        let (agent, attempt, start) = (Arc::clone(agent), Arc::clone(attempt), Arc::clone(start));
        Side::spawn(|outer| async move {
            let (stop, stopped) = watch::channel(false);
            let checked = async {
                let Some(count) = gpus else { return Ok(()) };
                attempt.journal().append(AgentEventBody::Phase(SetupPhase::Checking));
                check::gpus(&agent, &attempt, &start, count, stopped.clone()).await
            };
            let fetched = async {
                if wanted.is_empty() {
                    return Ok(Vec::new());
                }
                attempt.journal().append(AgentEventBody::Phase(SetupPhase::Fetching));
                fetch::all(&agent, &attempt, &start, wanted, stopped.clone()).await
            };
            both(checked, fetched, outer, &stop).await
        })
    }

    /// The code, where the machine fetches that by itself: nothing can be installed before it is there.
    pub(super) fn code(agent: &Arc<Agent>, attempt: &Arc<Attempt>, start: &Arc<Start>) -> Side {
        let Some(wanted) = fetch::code(start) else { return Side::none() };
        let (agent, attempt, start) = (Arc::clone(agent), Arc::clone(attempt), Arc::clone(start));
        Side::spawn(|stop| async move {
            attempt.journal().append(AgentEventBody::Phase(SetupPhase::Fetching));
            fetch::all(&agent, &attempt, &start, vec![wanted], stop).await
        })
    }

    /// What is handed over beside the code: awaited, then put in place.
    pub(super) fn inputs(agent: &Arc<Agent>, start: &Arc<Start>) -> Side {
        if start.inputs.iter().all(|input| input.purpose.is_needed_to_start()) {
            return Side::none();
        }
        let (agent, start) = (Arc::clone(agent), Arc::clone(start));
        Side::spawn(|mut stop| async move {
            tokio::select! {
                come = handed_over(&agent, &start) => come?,
                _ = stop.wait_for(|stop| *stop) => return Ok(Vec::new()),
            }
            let placed = tokio::task::spawn_blocking(move || place_inputs(&agent, &start)).await;
            let failed =
                |error: &dyn std::fmt::Display| Failure::new("unprepared", error.to_string(), UNPLACED);
            match placed {
                Ok(placed) => placed.map_err(|error| failed(&error)),
                Err(error) => Err(failed(&error)),
            }
        })
    }

    fn spawn<F: Future<Output = Ended> + Send + 'static>(
        make: impl FnOnce(watch::Receiver<bool>) -> F,
    ) -> Side {
        let stop = watch::Sender::new(false);
        let task = tokio::spawn(make(stop.subscribe()));
        Side { task: Some(task), stop, found: Vec::new() }
    }

    /// Its end; at once where nothing goes on. May be dropped and called again.
    pub(super) async fn ended(&mut self) -> Ended {
        if let Some(task) = &mut self.task {
            let ended = task.await;
            self.task = None;
            self.found = ended.unwrap_or_else(|error| Err(Failure::internal(error)))?;
        }
        Ok(std::mem::take(&mut self.found))
    }

    /// Resolves only where it fails. May be dropped and called again.
    pub(super) async fn fails(&mut self) -> Failure {
        match self.ended().await {
            Err(failure) => failure,
            Ok(found) => {
                self.found = found;
                std::future::pending().await
            }
        }
    }

    /// Ends it and every program of it.
    pub(super) async fn cancel(mut self) {
        self.stop.send_replace(true);
        if let Some(task) = self.task.take() {
            let _ = task.await;
        }
    }
}

/// Resolves when every input is there. They come from the orchestrator, which begins anew where it broke off; one that
/// sends nothing for a long time has gone.
async fn handed_over(agent: &Agent, start: &Start) -> Result<(), Failure> {
    let mut coming = agent.inputs_coming();
    loop {
        coming.borrow_and_update();
        if start.inputs.iter().all(|input| agent.layout().input(&input.sha256).is_file()) {
            return Ok(());
        }
        if tokio::time::timeout(NOTHING_CAME, coming.changed()).await.is_err() {
            let cause = format!("nothing of its inputs came for {} minutes", NOTHING_CAME.as_secs() / 60);
            return Err(Failure::of_machine("inputs_missing", cause));
        }
    }
}

/// Both to their ends; the failure of one, and whoever stops all of it, ends the programs of the other. The first
/// failure is the one that counts.
async fn both(
    checked: impl Future<Output = Result<(), Failure>>,
    fetched: impl Future<Output = Ended>,
    mut outer: watch::Receiver<bool>,
    stop: &watch::Sender<bool>,
) -> Ended {
    let (mut checked, mut fetched) = (pin!(checked), pin!(fetched));
    let (mut is_good, mut found, mut failure) = (None, None, None);
    while is_good.is_none() || found.is_none() {
        let ended = tokio::select! {
            ended = &mut checked, if is_good.is_none() => {
                is_good = Some(());
                ended
            }
            ended = &mut fetched, if found.is_none() => {
                let (variables, ended) = match ended {
                    Ok(variables) => (variables, Ok(())),
                    Err(failure) => (Vec::new(), Err(failure)),
                };
                found = Some(variables);
                ended
            }
            () = async { let _ = outer.wait_for(|stop| *stop).await; }, if !*stop.borrow() => {
                stop.send_replace(true);
                Ok(())
            }
        };
        if let Err(ended) = ended {
            stop.send_replace(true);
            failure.get_or_insert(ended);
        }
    }
    failure.map_or_else(|| Ok(found.unwrap_or_default()), Err)
}
