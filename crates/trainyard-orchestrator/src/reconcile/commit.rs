//! A draft: the changes of one step, written in one transaction or not at all.

use std::sync::Arc;
use std::time::Duration;

use trainyard_domain::{
    AttemptNumber, EventBody, Fact, IllegalTransition, Job, JobState, Machine, NewEvent, Notification,
    NotificationKind, Phase, Status, Timestamp, Wish,
};
use trainyard_storage::{Commit, KeyMark, StoredJob};

use crate::core::Core;
use crate::{Error, ErrorKind};

/// What a step changes. A status event is added by itself where the status changed.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) job: Job,
    version: u64,
    before: Status,
    pub(crate) now: Timestamp,
    notifications: Vec<(Option<AttemptNumber>, Notification)>,
    machines: Vec<Machine>,
    /// The key of the request that asks for it, where one does.
    pub(crate) key: Option<KeyMark>,
    reserves: Option<u64>,
}

/// A job that is not at rest is looked at again after this even if every bell and the queue itself were lost.
const DUE_AFTER: Duration = Duration::from_secs(30);

impl Draft {
    /// Changes of that job, from now on.
    pub(crate) fn of(stored: &StoredJob, now: Timestamp) -> Draft {
        Draft::from(&stored.job, stored.version, now)
    }

    fn from(job: &Job, version: u64, now: Timestamp) -> Draft {
        let (notifications, machines) = (Vec::new(), Vec::new());
        Draft {
            before: job.status(),
            job: job.clone(),
            version,
            now,
            notifications,
            machines,
            key: None,
            reserves: None,
        }
    }

    pub(crate) fn apply(&mut self, fact: &Fact) -> Result<(), Error> {
        self.job.apply(fact, self.now).map_err(|error| illegal(&self.job, error))
    }

    /// A fact that became true at another moment than this one.
    pub(crate) fn apply_at(&mut self, fact: &Fact, at: Timestamp) -> Result<(), Error> {
        self.job.apply(fact, at).map_err(|error| illegal(&self.job, error))
    }

    pub(crate) fn phase(&mut self, phase: Phase) {
        self.job.set_phase(Some(phase), self.now);
    }

    /// Tells a milestone, once in a job's life.
    pub(crate) fn tell(&mut self, kind: NotificationKind, title: &str, message: impl Into<String>) {
        if self.job.tell(kind) {
            self.tell_again(kind, title, message);
        }
    }

    /// Tells it as often as it happens.
    pub(crate) fn tell_again(&mut self, kind: NotificationKind, title: &str, message: impl Into<String>) {
        let attempt = self.job.attempt().map(|attempt| attempt.number);
        self.push(attempt, kind, title, message.into());
    }

    /// Tells it of an attempt that need not be the last.
    pub(crate) fn tell_about(
        &mut self,
        attempt: AttemptNumber,
        kind: NotificationKind,
        title: &str,
        message: impl Into<String>,
    ) {
        self.push(Some(attempt), kind, title, message.into());
    }

    fn push(&mut self, attempt: Option<AttemptNumber>, kind: NotificationKind, title: &str, message: String) {
        self.notifications.push((attempt, Notification { kind, title: title.to_owned(), message }));
    }

    pub(crate) fn machine(&mut self, machine: Machine) {
        self.machines.push(machine);
    }

    /// The change sets money aside, and rests on that number of reservations.
    pub(crate) fn reserves(&mut self, read: Option<u64>) {
        self.reserves = read;
    }

    /// Writes it all, then rings for those who follow the job.
    pub(crate) async fn commit(self, core: &Arc<Core>) -> Result<StoredJobLite, Error> {
        let status = self.job.status();
        let attempt = self.job.attempt().map(|attempt| attempt.number);
        let mut events = Vec::with_capacity(1 + self.notifications.len());
        if status != self.before {
            events.push(NewEvent { at: self.now, attempt, body: EventBody::Status(status) });
        }
        events.extend(self.notifications.into_iter().map(|(attempt, notification)| NewEvent {
            at: self.now,
            attempt,
            body: EventBody::Notification(notification),
        }));
        let due = (!is_at_rest(&self.job)).then(|| self.now + DUE_AFTER);
        let on_the_ledger = !self.machines.is_empty();
        let commit = Commit {
            job: self.job.clone(),
            version: self.version,
            fence: core.storage.fence(),
            events,
            machines: self.machines,
            due,
            key: self.key,
            reserves: self.reserves,
        };
        let committed = core.storage.commit(commit).await?;
        if on_the_ledger {
            core.books.was_written();
        }
        core.bells.ring(self.job.id());
        Ok(StoredJobLite { job: self.job, version: committed.version })
    }
}

/// A job right after a commit, enough for another draft.
#[derive(Debug)]
pub(crate) struct StoredJobLite {
    pub(crate) job: Job,
    pub(crate) version: u64,
}

impl StoredJobLite {
    /// More changes of the same job, within the same look.
    pub(crate) fn draft(&self, now: Timestamp) -> Draft {
        Draft::from(&self.job, self.version, now)
    }
}

/// Whether nothing is to be done until somebody asks: a job leaves the queue only when nothing of it is rented.
fn is_at_rest(job: &Job) -> bool {
    let is_parked = matches!(job.state(), JobState::Paused { rental: None, .. }) && job.wish() == Wish::Park;
    let wants_nothing = job.state().name().is_end() || job.wish() == Wish::Rest || is_parked;
    wants_nothing && job.state().claim().is_none()
}

fn illegal(job: &Job, error: IllegalTransition) -> Error {
    Error::new(ErrorKind::Internal, "illegal_transition", "the job cannot take that fact")
        .about(job.id())
        .because(error)
}
