//! The body of every error.

use serde::Serialize;
use utoipa::ToSchema;

/// An error.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    /// What happened, in one sentence.
    pub(crate) error: String,
    /// More about it.
    pub(crate) detail: String,
    /// The job it is about; null where there is none.
    pub(crate) job_id: Option<String>,
    /// A stable word to branch on.
    pub(crate) code: String,
    /// The oldest event number still kept; only in a 410.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) oldest_seq: Option<u64>,
}
