//! Beside a training: a command on its machine, and where a person reaches it.

use std::sync::Arc;
use std::time::Duration;

use trainyard_connector::{
    ConnectorError, EXEC_WITHIN_MAX, ErrorKind as Kind, ExecOrder, ExecOutput, SshTarget,
};
use trainyard_domain::{Job, JobId, Rental};

use super::load;
use crate::core::Core;
use crate::link::Link;
use crate::reconcile::Draft;
use crate::{Error, ErrorKind, Orchestrator};

/// Most words of a command, and most bytes of all of them.
const WORDS_MAX: usize = 1000;
const BYTES_MAX: usize = 64 << 10;

impl Orchestrator {
    /// Runs a command on the machine of a job, in its training's working directory, and answers when it has ended or
    /// its time is over. It is sent once: after an unknown outcome it may have run.
    ///
    /// # Errors
    /// `no_machine` where the job holds none; `invalid_command`; what the agent refused.
    pub async fn exec(&self, id: &JobId, argv: Vec<String>, within: Duration) -> Result<ExecOutput, Error> {
        let bytes: usize = argv.iter().map(String::len).sum();
        if argv.first().is_none_or(String::is_empty) || argv.len() > WORDS_MAX || bytes > BYTES_MAX {
            let error = Error::bad_request("invalid_command", "the command is empty or too long");
            return Err(error.detail(format!("1 to {WORDS_MAX} words, {BYTES_MAX} bytes in all")).about(id));
        }
        if self.done().is_some() {
            let error = "what became of the command under this `Idempotency-Key` is not known";
            return Err(Error::bad_request("outcome_unknown", error)
                .detail("it may have run; look at the machine, and use another key")
                .about(id));
        }
        let (job, _) = held(&self.core, id).await?;
        // The way is one that the reconciler has made: to make one may need the provider, which no caller asks.
        let link = Link::known(&self.core, &job).ok_or_else(|| unreached(id))?;
        self.note_key(id).await?;
        let within = within.min(EXEC_WITHIN_MAX);
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        link.workload.exec(&ExecOrder { argv, within_ms }).await.map_err(|error| failed(id, error))
    }

    /// Where a person reaches the machine of a job by SSH; none while it has no address. The way is the one that is
    /// open already; nothing is asked of the provider.
    ///
    /// # Errors
    /// `no_machine` where the job holds none; `no_ssh` where its provider has none.
    pub async fn ssh(&self, id: &JobId) -> Result<Option<SshTarget>, Error> {
        let (job, rental) = held(&self.core, id).await?;
        let attempt = job.attempts().iter().find(|attempt| attempt.number == rental.attempt);
        let (Some(provider), Some(attempt)) = (self.core.provider_of(&job), attempt) else {
            return Err(no_machine(id));
        };
        if !provider.connector.info().capabilities.ssh {
            let error = Error::bad_request("no_ssh", format!("`{}` has no SSH", attempt.provider));
            return Err(error.detail("`trainyard exec JOB -- COMMAND` works everywhere").about(id));
        }
        provider.connector.ssh(&attempt.order, &rental.machine).await.map_err(|error| failed(id, error))
    }
}

impl Orchestrator {
    /// Notes the key of a command before it is sent, beside no other change.
    async fn note_key(&self, id: &JobId) -> Result<(), Error> {
        let Some(key) = self.mark(id) else { return Ok(()) };
        loop {
            let stored = load(&self.core, id).await?;
            let mut draft = Draft::of(&stored, self.core.clock.now());
            draft.key = Some(key.clone());
            match draft.commit(&self.core).await {
                Err(error) if error.code == "contention" => {}
                other => return other.map(drop),
            }
        }
    }
}

/// The job and the machine it holds.
async fn held(core: &Arc<Core>, id: &JobId) -> Result<(Job, Rental), Error> {
    let job = load(core, id).await?.job;
    let rental = job.state().rental().cloned().ok_or_else(|| no_machine(id))?;
    Ok((job, rental))
}

fn no_machine(id: &JobId) -> Error {
    Error::bad_request("no_machine", "the job holds no machine now").about(id)
}

fn unreached(id: &JobId) -> Error {
    Error::new(ErrorKind::Provider, "machine_unreachable", "the machine is not reached yet")
        .detail("it is asked again in a moment; so may you")
        .about(id)
}

fn failed(id: &JobId, error: ConnectorError) -> Error {
    match error.kind {
        Kind::NotFound | Kind::Invalid | Kind::Unsupported => {
            Error::bad_request("refused_by_agent", error.to_string()).about(id)
        }
        _ => Error::new(ErrorKind::Provider, "machine_unreachable", "the machine could not be asked")
            .detail(error.to_string())
            .because(error)
            .about(id),
    }
}
