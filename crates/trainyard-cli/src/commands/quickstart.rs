//! `trainyard quickstart`: from nothing to a verified adapter in a minute, with nothing but this binary.
//!
//! Everything goes the way it goes in earnest: a server on a free port, a data set uploaded over HTTP, a real
//! training as a process of its own, an artifact compared byte for byte.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use trainyard::trainer::{EXAMPLE_DATASET, quickstart_hyperparameters};

use super::submit::{create, submit};
use crate::client::{Api, Artifact, JobEvent, VERIFY_MAX, Verification, value_f64};
use crate::config::{ConfigArgs, Environment, Settings};
use crate::exit::{Exit, Failure, Outcome};
use crate::follow::{FollowOptions, Followed, follow, say_ended};
use crate::job_spec::upload_file;
use crate::out::{Out, note, size};
use crate::own_server::with_own_server;

/// Steps whose losses are averaged at the beginning and at the end.
const WINDOW: usize = 10;
/// Steps of `--quick`.
const QUICK_STEPS: u64 = 40;

/// Train a small adapter on this machine, verify it, and show where it lies
///
/// Needs nothing but this binary: the base model and the data set come with it, and nothing is downloaded. Takes well
/// under two minutes on two cores.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The data directory; a server started on it later shows the job too
    #[arg(long, default_value = crate::DATA_DIR, value_name = "DIR", alias = "data")]
    dir: PathBuf,
    /// Fewer steps, for a quick look
    #[arg(long)]
    quick: bool,
    /// The result as one JSON object on stdout
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(args: Args, environment: Environment) -> Outcome {
    let flags =
        ConfigArgs { listen: Some("127.0.0.1:0".to_owned()), data: Some(args.dir.clone()), config: None };
    let settings = Settings::load(&flags, &environment)?;
    with_own_server(&settings, "quickstart", async |api, _| train(api, &args, &settings.data).await).await
}

async fn train(api: &Api, args: &Args, data: &Path) -> Outcome {
    let job = make_job(api, args.quick).await?;
    note(format!("job {job}: a LoRA adapter of trainyard-tiny, 280 support tickets, on this machine"));
    submit(api, &job, Some("local"), None).await?;
    let mut curve = Curve::default();
    let options = FollowOptions { after: 0, log: false, notifications: false };
    let followed = follow(api, &job, options, Out { json: false }, &mut |event| curve.take(event)).await?;
    let status = match followed {
        Followed::Ended(status) => status,
        Followed::Detached => {
            note(format!(
                "detached: the training goes on; `trainyard serve --data {}` takes it up",
                data.display()
            ));
            return Ok(Exit::Detached);
        }
    };
    if status.state != "completed" {
        say_ended(&status);
        return Ok(Exit::Failed);
    }
    let artifact: Artifact = api.post(&["jobs", &job, "download-artifact"], &json!({}), VERIFY_MAX).await?;
    let verified: Verification = api.post(&["jobs", &job, "verify-artifact"], &json!({}), VERIFY_MAX).await?;
    let result = Summary { job: &job, curve: &curve, artifact: &artifact, valid: verified.valid };
    let out = Out { json: args.json };
    out.either(&result.json(), || result.words(data))?;
    result.judge()
}

/// Uploads the data set and makes the job.
async fn make_job(api: &Api, quick: bool) -> Result<String, Failure> {
    let local = |error: std::io::Error| Failure::failed("no temporary file").because(&error);
    let mut file = tempfile::NamedTempFile::new().map_err(local)?;
    std::io::Write::write_all(&mut file, EXAMPLE_DATASET.as_bytes()).map_err(local)?;
    let dataset = upload_file(api, file.path(), "the data set").await?;
    let mut hyperparameters = quickstart_hyperparameters();
    if quick {
        hyperparameters["max_steps"] = json!(QUICK_STEPS);
        hyperparameters["eval_steps"] = json!(QUICK_STEPS / 2);
    }
    let spec = json!({
        "model_name": "trainyard-tiny",
        "labels": {"from": "quickstart"},
        "dataset": {"source": dataset, "format": "prompt_completion"},
        "hyperparameters": hyperparameters,
        "trainer": {"kind": "builtin"},
    });
    let created = create(api, spec.as_object().cloned().unwrap_or_else(Map::new)).await?;
    Ok(super::cell(&created, "job_id"))
}

/// The losses of a training, in the order they came.
#[derive(Debug, Default)]
struct Curve {
    losses: Vec<f64>,
    held_out: Vec<f64>,
}

impl Curve {
    fn take(&mut self, event: &JobEvent) {
        if event.kind == "metrics" {
            let number = |name: &str| event.data.get(name).and_then(value_f64);
            self.losses.extend(number("loss"));
            self.held_out.extend(number("eval_loss"));
        }
    }

    /// Mean loss of the first and of the last steps.
    fn ends(&self) -> Option<(f64, f64)> {
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
        let n = WINDOW.min(self.losses.len() / 2);
        (n > 0).then(|| (mean(&self.losses[..n]), mean(&self.losses[self.losses.len() - n..])))
    }

    /// Held-out loss before and after.
    fn held_out_ends(&self) -> Option<(f64, f64)> {
        match self.held_out.as_slice() {
            [first, .., last] => Some((*first, *last)),
            [] | [_] => None,
        }
    }
}

/// What came of it.
struct Summary<'a> {
    job: &'a str,
    curve: &'a Curve,
    artifact: &'a Artifact,
    valid: bool,
}

impl Summary<'_> {
    fn json(&self) -> Value {
        let (ends, held_out) = (self.curve.ends(), self.curve.held_out_ends());
        json!({
            "job_id": self.job,
            "steps": self.curve.losses.len(),
            "loss_first": ends.map(|(first, _)| first),
            "loss_last": ends.map(|(_, last)| last),
            "held_out_before": held_out.map(|(before, _)| before),
            "held_out_after": held_out.map(|(_, after)| after),
            "artifact": self.artifact.path,
            "size_bytes": self.artifact.size_bytes,
            "hash_sha256": self.artifact.hash_sha256,
            "verified": self.valid,
        })
    }

    fn words(&self, data: &Path) -> String {
        let mut lines = vec![String::new()];
        if let Some((first, last)) = self.curve.ends() {
            lines
                .push(format!("loss       {first:.4} -> {last:.4}   (mean of the first and the last steps)"));
        }
        if let Some((before, after)) = self.curve.held_out_ends() {
            lines.push(format!("held out   {before:.4} -> {after:.4}   (records it was not trained on)"));
        }
        lines.push(format!("adapter    {}  ({})", self.artifact.path, size(self.artifact.size_bytes)));
        let verified = if self.valid { "verified" } else { "DAMAGED" };
        lines.push(format!("sha256     {}  ({verified})", self.artifact.hash_sha256));
        let (data, job) = (data.display(), self.job);
        lines.push(format!(
            "\nwhat to try next\n  \
             trainyard serve --data {data}\n      the server, with this job in it; then in another terminal\n  \
             trainyard artifact get {job}\n      the adapter, verified while it is copied\n  \
             trainyard submit --model trainyard-tiny --dataset my.jsonl --watch\n      your own records\n  \
             trainyard run -- python train.py\n      your own program, in a copy of the directory you are in"
        ));
        lines.join("\n")
    }

    fn judge(&self) -> Outcome {
        if !self.valid {
            return Err(Failure::failed(
                "the adapter does not have the digest that was made when it was trained",
            ));
        }
        match self.curve.ends() {
            Some((first, last)) if last < first => Ok(Exit::Done),
            Some((first, last)) => {
                Err(Failure::failed(format!("the loss did not fall: {first:.4} to {last:.4}")))
            }
            None => Err(Failure::failed("the training told no loss")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(losses: &[f64]) -> Curve {
        Curve { losses: losses.to_vec(), held_out: vec![3.0, 2.0, 1.0] }
    }

    fn judged(losses: &[f64], valid: bool) -> Exit {
        let artifact = Artifact::default();
        let curve = curve(losses);
        let summary = Summary { job: "j", curve: &curve, artifact: &artifact, valid };
        summary.judge().unwrap_or_else(|failure| failure.exit)
    }

    #[test]
    fn a_loss_that_does_not_fall_is_a_failure() {
        let falling: Vec<f64> = (0..40).rev().map(f64::from).collect();
        let rising: Vec<f64> = (0..40).map(f64::from).collect();
        assert_eq!(judged(&falling, true), Exit::Done);
        assert_eq!(judged(&rising, true), Exit::Failed);
        assert_eq!(judged(&[], true), Exit::Failed);
        assert_eq!(judged(&[f64::NAN; 20], true), Exit::Failed);
        assert_eq!(judged(&falling, false), Exit::Failed);
    }

    #[test]
    fn the_ends_of_a_curve_are_means() {
        let falling: Vec<f64> = (0..40).rev().map(f64::from).collect();
        assert_eq!(curve(&falling).ends(), Some((34.5, 4.5)));
        assert_eq!(curve(&falling).held_out_ends(), Some((3.0, 1.0)));
    }
}
