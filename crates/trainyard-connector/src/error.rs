//! What failed, and whether it may have happened all the same.

/// Whether a failed call may have had its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Not sent, or refused: nothing happened.
    None,
    /// A timeout, a cut connection, a 5xx, an unreadable answer: it may have happened. Nobody repeats an order
    /// after this; it is searched for by its name.
    Unknown,
}

/// What kind of failure, to branch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Not reached, or no usable answer.
    Unreachable,
    /// The provider has no such machine now; for `local`: every slot is taken.
    NoCapacity,
    /// The key is missing, wrong or lacks a right.
    Unauthorized,
    /// The account has no money left, or its quota is used up: no other offer of this provider helps.
    NoCredit,
    /// The machine would cost more than the order allows.
    PriceChanged,
    /// The request is at fault; repeating it cannot help.
    Invalid,
    /// There is no such machine, attempt or file.
    NotFound,
    /// Too many requests.
    RateLimited,
    /// The provider cannot do that at all.
    Unsupported,
    /// The agent answered but another one than expected: a new boot id.
    Restarted,
    /// What came does not have the digest it should have.
    Mismatch,
    /// Anything else.
    Internal,
}

/// A failure of a connector or a workload. `Display` is one sentence for a person and holds no secret.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ConnectorError {
    /// What kind.
    pub kind: ErrorKind,
    /// Whether it may have happened.
    pub effect: Effect,
    /// What was being done and what came of it.
    pub message: String,
    /// Why, where something below failed.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl ConnectorError {
    /// A failure without effect.
    pub fn refused(kind: ErrorKind, message: impl Into<String>) -> ConnectorError {
        ConnectorError { kind, effect: Effect::None, message: message.into(), source: None }
    }

    /// A failure that may have had its effect.
    pub fn unknown(kind: ErrorKind, message: impl Into<String>) -> ConnectorError {
        ConnectorError { kind, effect: Effect::Unknown, message: message.into(), source: None }
    }

    /// The same of a call that only read, whatever its method: a failed reading has no effect.
    #[must_use]
    pub fn of_a_reading(mut self) -> ConnectorError {
        self.effect = Effect::None;
        self
    }

    /// The same with what failed below.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ConnectorError {
        self.source = Some(source.into());
        self
    }
}
