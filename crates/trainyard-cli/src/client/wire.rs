//! What the server answers, as far as this program looks at it. Tolerant: unknown fields are passed over, and what a
//! field should be but is not counts as unknown where nothing depends on it.

use serde::Deserialize;
use serde_json::{Map, Value};

/// A job's status.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    /// The job.
    pub(crate) job_id: String,
    /// One of the seven.
    pub(crate) state: String,
    /// Finer progress.
    pub(crate) phase: Option<String>,
    /// Why it is so.
    pub(crate) reason: Option<Reason>,
    /// Where it was submitted.
    pub(crate) provider: Option<String>,
    /// The provider's id of the machine.
    pub(crate) provider_job_id: Option<String>,
    /// The newest training metrics.
    pub(crate) current_metrics: Option<Map<String, Value>>,
    /// When it first ran.
    pub(crate) started_at: Option<String>,
    /// When it ended.
    pub(crate) completed_at: Option<String>,
    /// 0 to 1.
    pub(crate) progress: Option<f64>,
    /// Seconds left.
    pub(crate) eta_s: Option<u64>,
    /// Which attempt.
    pub(crate) attempt: Option<u32>,
    /// The training's exit code.
    pub(crate) exit_code: Option<i32>,
    /// What it has cost.
    pub(crate) cost_usd: Option<String>,
    /// The number of its last event.
    pub(crate) seq: Option<u64>,
    /// Its artifact.
    pub(crate) artifact_info: Option<Artifact>,
}

impl Status {
    /// Whether it stays as it is for ever.
    pub(crate) fn has_ended(&self) -> bool {
        is_end(&self.state)
    }
}

/// Whether a job in that state stays so for ever.
pub(crate) fn is_end(state: &str) -> bool {
    matches!(state, "completed" | "failed" | "stopped")
}

/// Why something is so.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Reason {
    /// A stable word.
    pub(crate) code: String,
    /// What happened.
    pub(crate) message: String,
    /// What to do.
    pub(crate) suggestion: Option<String>,
}

/// An artifact with every file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Artifact {
    /// The main file's path on the server's machine.
    pub(crate) path: String,
    /// The main file's size in bytes.
    pub(crate) size_bytes: u64,
    /// The main file's digest.
    pub(crate) hash_sha256: String,
    /// Every file.
    pub(crate) files: Vec<ArtifactFile>,
}

/// One file of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct ArtifactFile {
    /// Relative path with `/`.
    pub(crate) path: String,
    /// Size in bytes.
    pub(crate) size_bytes: u64,
    /// Its digest, in hex.
    pub(crate) hash_sha256: String,
}

/// What verifying an artifact found.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Verification {
    /// Whether every file is as it was.
    pub(crate) valid: bool,
    /// Every file.
    #[serde(default)]
    pub(crate) files: Vec<VerifiedFile>,
}

/// One file, hashed again.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct VerifiedFile {
    /// Relative path.
    pub(crate) path: String,
    /// The digest on record.
    pub(crate) expected: String,
    /// The digest of the stored bytes; none where they are gone.
    #[serde(default)]
    pub(crate) actual: Option<String>,
}

/// A part of a log.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LogPart {
    /// Its text.
    pub(crate) text: String,
    /// Where the next part begins, in bytes.
    pub(crate) next_offset: u64,
    /// Bytes stored in all.
    pub(crate) size: u64,
    /// Whether nothing will follow after them.
    pub(crate) complete: bool,
}

/// A page of jobs.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct JobList {
    /// The jobs, as they came.
    pub(crate) jobs: Vec<Value>,
    /// How many match.
    pub(crate) total: u64,
    /// Where the next page begins.
    pub(crate) next_cursor: Option<String>,
}

/// One event of a job.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct JobEvent {
    /// `status`, `metrics`, `progress`, `log`, `notification`, `connected` or something newer.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// What it tells.
    pub(crate) data: Value,
    /// Its number.
    pub(crate) seq: Option<u64>,
    /// When.
    pub(crate) ts: Option<String>,
    /// Which attempt.
    pub(crate) attempt: Option<u32>,
}

impl JobEvent {
    /// Whether it says that the job has ended.
    pub(crate) fn ends(&self) -> bool {
        self.kind == "status" && self.data.get("state").and_then(Value::as_str).is_some_and(is_end)
    }
}

/// A number of a metric: also the strings for what is not finite.
pub(crate) fn value_f64(value: &Value) -> Option<f64> {
    match value.as_str() {
        Some("NaN") => Some(f64::NAN),
        Some("Infinity") => Some(f64::INFINITY),
        Some("-Infinity") => Some(f64::NEG_INFINITY),
        Some(_) => None,
        None => value.as_f64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_status_reads_and_newer_fields_do_not_disturb() {
        let status: Status = serde_json::from_str(
            r#"{"job_id":"job_123","state":"running","provider":"runpod","provider_job_id":"r_4",
                "current_metrics":{"step":1000,"epoch":1,"loss":0.5,"learning_rate":0.0002},
                "started_at":"2024-01-15T10:30:00Z","artifact_info":null,"of_tomorrow":{"x":1}}"#,
        )
        .unwrap();
        assert_eq!((status.job_id.as_str(), status.has_ended()), ("job_123", false));
        assert_eq!(value_f64(&status.current_metrics.unwrap()["loss"]), Some(0.5));
    }

    #[test]
    fn numbers_that_are_not_finite() {
        assert!(value_f64(&Value::from("NaN")).unwrap().is_nan());
        assert_eq!(value_f64(&Value::from("-Infinity")), Some(f64::NEG_INFINITY));
        assert_eq!(value_f64(&Value::from("seven")), None);
    }
}
