//! Secrets: their names only.

use serde::Serialize;
use utoipa::ToSchema;

use super::Time;

/// The names of all secrets, sorted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SecretsAnswer {
    pub(crate) secrets: Vec<SecretWire>,
}

/// A secret's name.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SecretWire {
    pub(crate) name: String,
    pub(crate) updated_at: Time,
}
