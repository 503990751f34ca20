//! The documented JSON, one file per subject. Fields without a value are null, never absent; times are RFC 3339 with
//! `Z`; money is a decimal string. Domain types are never serialized as they are, so that storage can change its forms
//! without changing ours.

mod artifact;
mod beside;
mod error;
mod event;
mod inputs;
mod job;
mod logs;
mod metrics;
mod offers;
mod providers;
mod requests;
mod resources;
mod secrets;
mod status;
mod time;
mod validation;

pub(crate) use artifact::{ArtifactAnswer, VerifyAnswer};
pub(crate) use beside::{ExecAnswer, ExecRequest, SshAnswer};
pub(crate) use error::ErrorBody;
pub(crate) use event::{EventsAnswer, Message, NotificationWire, NotificationsAnswer, encode};
pub(crate) use inputs::InputAnswer;
pub(crate) use job::{CostWire, JobAnswer, JobsAnswer, cursor_from};
pub(crate) use logs::LogAnswer;
pub(crate) use metrics::{MetricsAnswer, MetricsWire, SeriesPoint};
pub(crate) use offers::{OfferWire, OffersAnswer};
pub(crate) use providers::{ProviderWire, ProvidersAnswer};
pub(crate) use requests::{
    CloneRequest, PatchRequest, PauseModeWord, PauseRequest, SecretRequest, SubmitRequest, ValidateRequest,
};
pub(crate) use resources::{AlarmWire, BudgetWire, MachineWire, ResourcesAnswer};
pub(crate) use secrets::{SecretWire, SecretsAnswer};
pub(crate) use status::{CancelAnswer, ReasonWire, StatusAnswer, SubmitAnswer};
pub(crate) use time::Time;
pub(crate) use validation::{EstimatesAnswer, ValidateAnswer};

/// The word that serde has for a unit variant of a domain enum.
pub(crate) fn word(value: impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests;
