//! What can go wrong in a training, said so that the reader knows what to change.
//!
//! Promises: every variant maps to one exit code, and a fault of the job's specification, of its
//! data or of its model names the field or the line, and the remedy. Leaves printing the chain to
//! [`crate::main_from_env`].

use std::path::{Path, PathBuf};

/// Why a training did not end well.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A field of the specification, or a variable of the environment, cannot be followed.
    #[error("{field}: {problem}; {remedy}")]
    Setting {
        /// The field as the job's JSON names it.
        field: String,
        /// What is wrong with its value.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// A record of a data set cannot be used.
    #[error("{}, line {line}: {problem}", file.display())]
    Record {
        /// The data set's file.
        file: PathBuf,
        /// Counted from one.
        line: usize,
        /// Why the line is refused.
        problem: String,
    },
    /// A model directory cannot be trained on.
    #[error("{}: {problem}; {remedy}", path.display())]
    Model {
        /// The file at fault.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// A checkpoint cannot be continued from.
    #[error("{}: {problem}", path.display())]
    Checkpoint {
        /// The checkpoint, or the file of it that is at fault.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A file could not be read or written.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// The step that failed, as a verb.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's word on it.
        #[source]
        source: std::io::Error,
    },
    /// Arithmetic that the library refused; a fault of this crate or of a tensor's shape.
    #[error("cannot compute")]
    Compute(#[from] candle_core::Error),
    /// The loss is no longer a number.
    #[error("the loss is not finite at step {step}; lower hyperparameters.learning_rate or max_grad_norm")]
    Diverged {
        /// The step whose loss it was.
        step: u64,
    },
    /// Something that this crate writes itself could not be put into words.
    #[error("cannot encode {what}")]
    Encode {
        /// The file's kind.
        what: &'static str,
        /// The encoder's word on it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl TrainError {
    /// 2 where the job must be changed before a repetition makes sense, 1 for everything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Setting { .. } | Self::Record { .. } | Self::Model { .. } | Self::Checkpoint { .. } => 2,
            Self::Io { .. } | Self::Compute(_) | Self::Diverged { .. } | Self::Encode { .. } => 1,
        }
    }

    pub(crate) fn setting(
        field: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Setting { field: field.into(), problem: problem.into(), remedy: remedy.into() }
    }

    pub(crate) fn model(path: &Path, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Model { path: path.to_owned(), problem: problem.into(), remedy: remedy.into() }
    }

    pub(crate) fn checkpoint(path: &Path, problem: impl Into<String>) -> Self {
        Self::Checkpoint { path: path.to_owned(), problem: problem.into() }
    }

    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }

    pub(crate) fn encode<S>(what: &'static str) -> impl FnOnce(S) -> Self
    where
        S: std::error::Error + Send + Sync + 'static,
    {
        move |source| Self::Encode { what, source: Box::new(source) }
    }
}
