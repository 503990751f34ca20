//! Commands under an `Idempotency-Key`: the key is noted in the transaction of the change it asks for, so that a request
//! that comes again, also after a crash, finds either nothing done or what was done.

use std::sync::Arc;

use trainyard_domain::{JobId, Sha256};
use trainyard_storage::{IdempotentAnswer, KeyMark};

use crate::{Error, Orchestrator};

/// A key that was taken, and the request it was taken for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyed {
    key: String,
    request: Sha256,
    /// The job that was made or changed under it before, by a process that gave no answer.
    done: Option<JobId>,
}

/// What taking a key gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyTaken {
    /// It is this request's. What was changed under it before is not changed again.
    Ours(Keyed),
    /// It was used, or is in use: with the answer that was given, where it has a status.
    Used(IdempotentAnswer),
}

impl Orchestrator {
    /// Takes an `Idempotency-Key` for a request of that digest.
    ///
    /// # Errors
    /// Where storage fails.
    pub async fn take_key(&self, key: &str, request: Sha256) -> Result<KeyTaken, Error> {
        let mut keyed = Keyed { key: key.to_owned(), request, done: None };
        let expired = self.now() - self.core.policy.idempotency_kept;
        let answer = self.answer_of(&keyed);
        Ok(match self.core.storage.begin_idempotent(key, &answer, expired).await? {
            None => KeyTaken::Ours(keyed),
            // Whoever changed the job is gone: what is left to do is the answer.
            Some(before) if self.is_left(&before, &request) => {
                keyed.done = before.job;
                KeyTaken::Ours(keyed)
            }
            Some(before) => KeyTaken::Used(before),
        })
    }

    /// Stores the answer that a request got: status, body as JSON text, `Location`.
    ///
    /// # Errors
    /// Where storage fails.
    pub async fn answer_key(
        &self,
        keyed: &Keyed,
        status: u16,
        body: Option<String>,
        location: Option<String>,
    ) -> Result<(), Error> {
        let answer = IdempotentAnswer { status: Some(status), body, location, ..self.answer_of(keyed) };
        Ok(self.core.storage.finish_idempotent(&keyed.key, &answer).await?)
    }

    /// Gives a key back that got no answer worth keeping. What was changed under it is not changed again by a request
    /// that comes with it later.
    ///
    /// # Errors
    /// Where storage fails.
    pub async fn give_back_key(&self, keyed: &Keyed) -> Result<(), Error> {
        Ok(self.core.storage.finish_idempotent(&keyed.key, &self.answer_of(keyed)).await?)
    }

    /// The same orchestrator, whose next command is given under that key.
    #[must_use]
    pub fn under(&self, keyed: Keyed) -> Orchestrator {
        Orchestrator { under: Some(Arc::new(keyed)), ..self.clone() }
    }

    /// What is to be noted with a change of that job.
    pub(crate) fn mark(&self, job: &JobId) -> Option<KeyMark> {
        let keyed = self.under.as_ref()?;
        let answer = IdempotentAnswer { job: Some(job.clone()), ..self.answer_of(keyed) };
        Some(KeyMark { key: keyed.key.clone(), answer })
    }

    /// The job that was made or changed under this key before.
    pub(crate) fn done(&self) -> Option<&JobId> {
        self.under.as_ref()?.done.as_ref()
    }

    fn is_left(&self, before: &IdempotentAnswer, request: &Sha256) -> bool {
        let unanswered = before.status.is_none() && before.job.is_some();
        unanswered && before.request == *request && before.fence < self.core.storage.fence()
    }

    fn answer_of(&self, keyed: &Keyed) -> IdempotentAnswer {
        IdempotentAnswer {
            request: keyed.request,
            status: None,
            body: None,
            location: None,
            created_at: self.now(),
            job: None,
            fence: self.core.storage.fence(),
        }
    }
}
