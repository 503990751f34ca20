//! Every check that needs nothing but the specification itself.
//!
//! All that is wrong is told at once, each with the field's path as in the JSON and what to write instead. Every
//! number has a range with a unit, every text and list a length. What needs the server's configuration, a
//! provider, a price or the bytes of an input is checked elsewhere.

mod findings;
mod hyperparameters;
mod machine;
mod outputs;
mod program;
mod recipe;
mod token;
mod webhooks;

use std::collections::BTreeMap;

use self::findings::shown;
use super::{Dataset, JobSpec, Limits, Source};

pub(super) use self::findings::Findings;
pub use self::findings::{FieldError, InvalidSpec};
pub use self::token::looks_like_token;

/// Methods of PEFT that a job can ask for.
const PEFT_METHODS: [&str; 4] = ["lora", "qlora", "dora", "rslora"];
/// 31 days in seconds: longer than any training that one machine finishes, short enough to end what was forgotten.
const MONTH_S: u64 = 31 * 86_400;

impl JobSpec {
    /// Most labels of a job.
    pub const LABELS_MAX: usize = 64;
    /// Longest key and longest value of a label, in characters.
    pub const LABEL_CHARS_MAX: usize = 256;
    /// Longest model name, in characters.
    pub const MODEL_NAME_CHARS_MAX: usize = 512;
    /// Most further input files.
    pub const INPUTS_MAX: usize = 1000;
    /// Most secrets handed to one training.
    pub const SECRETS_MAX: usize = 64;

    /// Checks every field and every pair of fields that can contradict each other.
    ///
    /// # Errors
    /// [`InvalidSpec`] with all that is wrong (the first 100), not only the first.
    pub fn validate(&self) -> Result<(), InvalidSpec> {
        let mut found = Findings::default();
        labels(&self.labels, &mut found);
        self.check_model(&mut found);
        self.check_data(&mut found);
        hyperparameters::check(&self.hyperparameters, &mut found);
        program::check(self, &mut found);
        machine::resources(&self.resources, &mut found);
        machine::limits(&self.limits, &mut found);
        machine::retry(&self.retry, &mut found);
        outputs::outputs(&self.outputs, &mut found);
        outputs::checkpoints(self, &mut found);
        webhooks::check(&self.webhooks, &mut found);
        found.into_result()
    }

    /// Checks labels alone, as when they are replaced later.
    ///
    /// # Errors
    /// [`InvalidSpec`] with all that is wrong.
    pub fn validate_labels(wanted: &BTreeMap<String, String>) -> Result<(), InvalidSpec> {
        let mut found = Findings::default();
        labels(wanted, &mut found);
        found.into_result()
    }

    fn check_model(&self, found: &mut Findings) {
        let name = self.model_name.as_str();
        if name.trim().is_empty() {
            found.wrong("model_name", "is empty: name a hub id, a model directory or `trainyard-tiny`");
        } else if name.trim() != name {
            found.wrong("model_name", "begins or ends with a space: leave it out");
        }
        found.text("model_name", name, Self::MODEL_NAME_CHARS_MAX);
        if !PEFT_METHODS.contains(&self.peft_method.as_str()) {
            found.wrong(
                "peft_method",
                format!("is `{}`: use one of {}", shown(&self.peft_method), PEFT_METHODS.join(", ")),
            );
        }
    }

    fn check_data(&self, found: &mut Findings) {
        for (field, dataset) in [("dataset", &self.dataset), ("eval_dataset", &self.eval_dataset)] {
            if let Some(Dataset { split: Some(split), .. }) = dataset {
                found.name(&format!("{field}.split"), split, 128);
            }
        }
        for (field, source) in self.sources() {
            if let Source::Https(url) = source {
                webhooks::no_credentials(&field, url, found);
            }
        }
        if let Some(Source::Hub { .. }) = &self.code {
            found.wrong(
                "code",
                "is a hub repository: name an archive (tar, tar.gz) by `input:`, `path:` or `https:`",
            );
        }
    }
}

impl Limits {
    /// Checks limits alone, as when they are raised or lowered later. Paths begin with `limits.`.
    ///
    /// # Errors
    /// [`InvalidSpec`] with all that is wrong.
    pub fn validate(&self) -> Result<(), InvalidSpec> {
        let mut found = Findings::default();
        machine::limits(self, &mut found);
        found.into_result()
    }
}

fn labels(labels: &BTreeMap<String, String>, found: &mut Findings) {
    found.count("labels", labels.len(), 0..=JobSpec::LABELS_MAX, "labels");
    for (key, value) in labels {
        let field = format!("labels.{}", shown(key));
        if key.is_empty() {
            found.wrong("labels", "has an empty key: name the label");
        }
        if key.contains(':') {
            found.wrong(
                &field,
                "has a `:` in its key, which separates key and value in a search: use `-` or `.`",
            );
        }
        found.text(&field, key, JobSpec::LABEL_CHARS_MAX);
        found.text(&field, value, JobSpec::LABEL_CHARS_MAX);
    }
}

#[cfg(test)]
mod tests;
