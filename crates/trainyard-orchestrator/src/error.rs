//! What a command answers when it does not do what was asked.

use trainyard_domain::JobId;
use trainyard_storage::{CommitError, CreateError, StorageError};

/// What kind of answer an error is; an HTTP skin maps each to one status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Bad input or wrong state: 400.
    BadRequest,
    /// No such job, artifact, file, secret: 404.
    NotFound,
    /// It exists already: 409.
    Conflict,
    /// What was asked for is older than what is kept: 410.
    Gone,
    /// Too large: 413.
    TooLarge,
    /// The range lies outside: 416.
    Range,
    /// A fault of a provider: 500.
    Provider,
    /// A fault of ours: 500.
    Internal,
    /// Going down, or the disk refuses: 503.
    Unavailable,
}

/// A command's error. `Display` is the outermost sentence; the chain below it is the detail. It holds no secret.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// Which kind.
    pub kind: ErrorKind,
    /// A stable snake_case word.
    pub code: String,
    /// What happened and what to do.
    pub message: String,
    /// More, where there is more to say than the chain below.
    pub detail: Option<Box<str>>,
    /// The job it is about.
    pub job_id: Option<JobId>,
    /// The oldest event number still kept, for [`ErrorKind::Gone`].
    pub oldest_seq: Option<u64>,
    /// What failed below.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of that kind.
    pub fn new(kind: ErrorKind, code: impl Into<String>, message: impl Into<String>) -> Error {
        Error {
            kind,
            code: code.into(),
            message: message.into(),
            detail: None,
            job_id: None,
            oldest_seq: None,
            source: None,
        }
    }

    /// A 400.
    pub fn bad_request(code: impl Into<String>, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::BadRequest, code, message)
    }

    /// The 404 of a job.
    pub fn no_job(id: &JobId) -> Error {
        Error::new(ErrorKind::NotFound, "job_not_found", format!("there is no job `{id}`")).about(id)
    }

    /// The same, about that job.
    #[must_use]
    pub fn about(mut self, id: &JobId) -> Error {
        self.job_id = Some(id.clone());
        self
    }

    /// The same with more to say.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Error {
        self.detail = Some(detail.into().into_boxed_str());
        self
    }

    /// The same with what failed below.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        self.source = Some(source.into());
        self
    }

    /// The detail in words: what there is to say, else the chain of what failed below, else the message itself.
    pub fn detail_text(&self) -> String {
        let mut parts: Vec<String> = self.detail.iter().map(|detail| detail.to_string()).collect();
        let mut cause = self.source.as_deref().map(|e| e as &dyn std::error::Error);
        while let Some(error) = cause {
            parts.push(error.to_string());
            cause = error.source();
        }
        if parts.is_empty() { self.message.clone() } else { parts.join(": ") }
    }
}

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Error {
        Error::new(ErrorKind::Unavailable, "storage", "the storage failed; nothing was changed")
            .because(error)
    }
}

impl From<CreateError> for Error {
    fn from(error: CreateError) -> Error {
        match error {
            CreateError::Exists(id) => Error::new(
                ErrorKind::Conflict,
                "job_exists",
                format!("a job `{id}` exists already: choose another `job_id`, or leave it out"),
            )
            .about(&id),
            CreateError::Storage(error) => error.into(),
        }
    }
}

impl From<CommitError> for Error {
    fn from(error: CommitError) -> Error {
        match error {
            CommitError::Missing(id) => Error::no_job(&id),
            CommitError::Storage(error) => error.into(),
            // No use in trying again: whoever took the job over goes on with it.
            CommitError::Fenced(ref id) => {
                let id = id.clone();
                let message = "another process has taken over this job; ask it";
                Error::new(ErrorKind::Unavailable, "taken_over", message).about(&id).because(error)
            }
            CommitError::Stale(ref id) => {
                let id = id.clone();
                Error::new(ErrorKind::Internal, "contention", "the job changed meanwhile; try again")
                    .about(&id)
                    .because(error)
            }
        }
    }
}
