//! Every check that needs nothing but the specification itself.

use super::{JobSpec, TrainerKind};

/// One field that is not right, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The field's path as in the JSON, `hyperparameters.lora_r`.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// A specification with at least one wrong field. `Display` names the first and counts the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidSpec {
    /// Every wrong field, in the order of the specification; never empty.
    pub errors: Vec<FieldError>,
}

impl std::fmt::Display for InvalidSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, error) in self.errors.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            write!(f, "`{}` {}", error.field, error.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for InvalidSpec {}

impl JobSpec {
    /// Checks every field and every pair of fields that can contradict each other.
    ///
    /// # Errors
    /// [`InvalidSpec`] with all that is wrong, not only the first.
    pub fn validate(&self) -> Result<(), InvalidSpec> {
        let mut errors = Vec::new();
        let mut wrong = |field: &str, message: &str| {
            errors.push(FieldError { field: field.to_owned(), message: message.to_owned() });
        };
        if self.model_name.is_empty() {
            wrong("model_name", "is empty: name a hub id, a model directory or `trainyard-tiny`");
        }
        if self.trainer_kind() == TrainerKind::Command
            && self.trainer.command.as_ref().is_none_or(Vec::is_empty)
        {
            wrong("trainer.command", "is missing: a `command` trainer needs the program and its arguments");
        }
        if errors.is_empty() { Ok(()) } else { Err(InvalidSpec { errors }) }
    }
}
