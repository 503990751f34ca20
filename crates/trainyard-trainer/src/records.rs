//! Which records a training learns from, and which it is measured by.
//!
//! Promises: the same job holds out the same records; nothing is held out where nothing is evaluated.

use std::io::Write;
use std::path::Path;

use crate::base::Base;
use crate::batch;
use crate::data::{Dataset, Format, Sample};
use crate::env::TrainEnv;
use crate::error::TrainError;
use crate::settings::{EvalWhen, Settings};
use crate::tiny;
use crate::train::say;

/// The records of one training.
#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) train: Vec<Sample>,
    pub(crate) held_out: Vec<Sample>,
}

/// Reads what the environment points to, or the bundled example where the job names no data.
pub(crate) fn read(
    env: &TrainEnv,
    settings: &Settings,
    base: &Base,
    log: &mut dyn Write,
) -> Result<Records, TrainError> {
    let length = settings.max_seq_length.min(base.config.max_positions);
    if length < settings.max_seq_length {
        say(
            log,
            &format!(
                "max_seq_length {} is more than the model takes, using {length}",
                settings.max_seq_length
            ),
        );
    }
    let dataset = match &env.dataset {
        Some(path) => Dataset::read(path, settings.format, &base.encoder, length)?,
        None => bundled_records(settings, base, length)?,
    };
    tell(log, "dataset", &dataset, length);
    let evaluated = settings.eval != EvalWhen::Never;
    let (mut train, held_out) = match &env.eval_dataset {
        Some(path) if evaluated => {
            let held_out = Dataset::read(path, settings.eval_format, &base.encoder, length)?;
            tell(log, "eval_dataset", &held_out, length);
            (dataset.samples, held_out.samples)
        }
        None if evaluated => batch::hold_out(dataset.samples, settings.holdout, settings.seed),
        Some(_) | None => (dataset.samples, Vec::new()),
    };
    if settings.packing {
        train = batch::pack(&train, length);
        if train.is_empty() {
            let field = "hyperparameters.packing";
            return Err(TrainError::setting(field, "leaves no token to learn", "set it to false"));
        }
    }
    Ok(Records { train, held_out })
}

fn bundled_records(settings: &Settings, base: &Base, length: usize) -> Result<Dataset, TrainError> {
    if settings.wants_dataset {
        let remedy = "the agent sets it to the file it fetched; set it to run by hand";
        return Err(TrainError::setting(
            "TRAINYARD_DATASET",
            "is not set though the job has a dataset",
            remedy,
        ));
    }
    if settings.model_name != tiny::TINY_MODEL_NAME {
        let remedy = format!("give a file of JSON lines; only {} has one of its own", tiny::TINY_MODEL_NAME);
        return Err(TrainError::setting("dataset", "is missing", remedy));
    }
    let path = Path::new("the bundled example");
    Dataset::parse(
        tiny::EXAMPLE_DATASET.as_bytes(),
        path,
        Some(Format::PromptCompletion),
        &base.encoder,
        length,
    )
}

fn tell(log: &mut dyn Write, name: &str, dataset: &Dataset, length: usize) {
    let (count, format) = (dataset.samples.len(), dataset.format.name());
    say(log, &format!("{name}: {count} records of format {format}"));
    if dataset.cut + dataset.left_out > 0 {
        let (cut, out) = (dataset.cut, dataset.left_out);
        say(
            log,
            &format!(
                "{name}: {cut} records cut to {length} tokens, {out} left out with nothing to learn in that"
            ),
        );
    }
}
