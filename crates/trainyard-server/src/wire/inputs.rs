//! What an upload answers.

use serde::Serialize;
use utoipa::ToSchema;

/// How much of an input is there.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InputAnswer {
    /// Its name: the digest that its bytes must have.
    pub(crate) sha256: String,
    /// Bytes received without a gap from the start; the next part begins there.
    pub(crate) received: u64,
    /// Whether it is whole and has the digest of its name.
    pub(crate) complete: bool,
    /// How jobs refer to it.
    #[schema(example = "input:0123…")]
    pub(crate) source: String,
}
