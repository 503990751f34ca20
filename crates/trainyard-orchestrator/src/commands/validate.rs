//! Every check that costs nothing, before any is paid.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use trainyard_domain::{
    DatasetFormat, FieldError, Job, JobId, JobSpec, Machine, ProviderName, Source, TINY_MODEL, TrainerKind,
};

use super::submit::{AUTO, provider_named};
use super::{fit, load};
use crate::core::{Core, Provider};
use crate::handover::resolve;
use crate::reconcile::auto_providers;
use crate::{Error, ErrorKind, Orchestrator, Validation, records};

/// What the checks found, with the code of the first error where it has one of its own.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) errors: Vec<FieldError>,
    pub(super) warnings: Vec<FieldError>,
    pub(super) checked: Vec<String>,
    pub(super) code: Option<&'static str>,
}

impl Found {
    pub(super) fn warn(&mut self, field: &str, message: impl Into<String>) {
        self.warnings.push(FieldError { field: field.to_owned(), message: message.into() });
    }

    pub(super) fn wrong(&mut self, code: &'static str, field: &str, message: impl Into<String>) {
        self.code.get_or_insert(code);
        self.errors.push(FieldError { field: field.to_owned(), message: message.into() });
    }
}

impl Orchestrator {
    /// Every check that costs nothing; `submit` makes the same.
    ///
    /// # Errors
    /// 404; 400 for an unknown provider. What the checks find is in the answer.
    pub async fn validate(&self, id: &JobId, provider: Option<&str>) -> Result<Validation, Error> {
        let stored = load(&self.core, id).await?;
        let auto = provider.map_or(stored.job.body().auto, |name| name == AUTO);
        let name =
            provider.map(|name| provider_named(&self.core, name)).transpose().map_err(|e| e.about(id))?;
        let found = check(&self.core, &stored.job, name.as_ref(), auto, None).await;
        let found = found.map_err(|error| error.about(id))?;
        Ok(Validation { errors: found.errors, warnings: found.warnings, checked: found.checked })
    }
}

/// Checks a job against a provider (the one given, else its own, else the first; for `auto` all it may go to) and its
/// inputs against the disk. With a warm machine that it is to train on, against that machine.
pub(super) async fn check(
    core: &Arc<Core>,
    job: &Job,
    name: Option<&ProviderName>,
    auto: bool,
    on: Option<&Machine>,
) -> Result<Found, Error> {
    let spec = job.spec();
    let mut found = Found::default();
    let provider = name.or(job.provider()).and_then(|name| core.providers.get(name));
    if let Some(provider) = provider.or_else(|| core.providers.values().next()) {
        if let Some((field, message)) = unavailable(spec) {
            found.wrong("not_yet_available", field, message);
        }
        found.warnings.extend(surprises(spec, provider));
    }
    check_model(spec, &mut found);
    check_recipe(spec, provider, &mut found);
    for name in &spec.secrets {
        if core.storage.secret(name).await?.is_none() {
            let message =
                format!("names `{name}`, which is not stored: set it with `trainyard secret set {name}`");
            found.wrong("secret_missing", "secrets", message);
        }
    }
    for (field, source) in spec.sources() {
        check_source(core, spec, &field, source, &mut found).await?;
    }
    let own = name.or(job.provider()).into_iter();
    let names: Vec<&ProviderName> = if auto { auto_providers(core, job) } else { own.collect() };
    fit::check(core, job, &names, on, &mut found).await?;
    Ok(found)
}

/// What a specification asks for that cannot be done yet, or not there.
pub(super) fn unavailable(spec: &JobSpec) -> Option<(&'static str, String)> {
    if !spec.webhooks.is_empty() {
        return Some(("webhooks", "are not delivered yet: leave them out".to_owned()));
    }
    None
}

/// What is accepted and may not do what was meant.
fn surprises(spec: &JobSpec, provider: &Provider) -> Option<FieldError> {
    let info = provider.connector.info();
    let asks = !spec.resources.gpu.is_empty() || spec.resources.gpu_memory_gb.is_some();
    (asks && !info.capabilities.costs).then(|| FieldError {
        field: "resources.gpu".to_owned(),
        message: format!("is not looked at by `{}`: it trains on what its machine has", info.name),
    })
}

/// The built-in trainer reads its model from the disk: that it is there costs nothing to see.
fn check_model(spec: &JobSpec, found: &mut Found) {
    if spec.trainer_kind() != TrainerKind::Builtin || spec.model_name == TINY_MODEL {
        return;
    }
    if spec.dataset.is_none() {
        found.wrong("dataset_missing", "dataset", "is missing: name what to train on");
    }
    let directory = Path::new(&spec.model_name);
    if !directory.is_absolute() {
        found.wrong("model_not_found", "model_name", "must be an absolute path for the built-in trainer");
    } else if !directory.join("config.json").is_file() {
        found.wrong("model_not_found", "model_name", "is no model directory here: it has no `config.json`");
    } else if let Err(why) = has_weights(directory) {
        found.wrong("model_not_found", "model_name", why);
    }
}

/// What the `peft` recipe would find out on the machine, as far as it can be seen from here.
fn check_recipe(spec: &JobSpec, provider: Option<&Provider>, found: &mut Found) {
    if spec.trainer_kind() != TrainerKind::Peft {
        return;
    }
    if spec.dataset.is_none() {
        found.wrong("dataset_missing", "dataset", "is missing: name what to train on");
    }
    let here = provider.is_some_and(|provider| !provider.connector.info().capabilities.costs);
    let path = Path::new(&spec.model_name);
    if here && path.is_absolute() && !path.join("config.json").is_file() {
        found.wrong("model_not_found", "model_name", "is no model directory here: it has no `config.json`");
    }
}

fn has_weights(directory: &Path) -> Result<(), String> {
    let known = ["model.safetensors", "model.safetensors.index.json"];
    let found = known.iter().any(|name| directory.join(name).is_file());
    found
        .then_some(())
        .ok_or_else(|| format!("is a model directory without `{}` or `{}`", known[0], known[1]))
}

async fn check_source(
    core: &Arc<Core>,
    spec: &JobSpec,
    field: &str,
    source: &Source,
    found: &mut Found,
) -> Result<(), Error> {
    let of_dataset = field.starts_with("dataset") || field.starts_with("eval_dataset");
    if let Source::Https(_) | Source::Hub { .. } = source {
        found.checked.push(format!("{field}: the machine fetches it, and whether it is there shows then"));
        return Ok(());
    }
    let path = match locate(core, source).await {
        Ok(path) => path,
        Err(error) if error.kind == ErrorKind::BadRequest => {
            let code = if error.code == "input_missing" { "input_missing" } else { "input_refused" };
            found.wrong(code, field, format!("cannot be used: {error}; {}", error.detail_text()));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    if of_dataset && spec.trainer_kind() != TrainerKind::Command && is_lines(spec, &path) {
        let format = if field.starts_with("eval") { &spec.eval_dataset } else { &spec.dataset };
        let format = format.as_ref().and_then(|dataset| dataset.format);
        check_records(core, field, path, format, found).await?;
    } else {
        found.checked.push(format!("{field}: is there"));
    }
    Ok(())
}

/// Whether the records are JSON lines. The recipe reads Parquet and compressed files too, which nobody reads here.
fn is_lines(spec: &JobSpec, path: &Path) -> bool {
    let mut magic = [0; 4];
    let read = File::open(path).and_then(|mut file| std::io::Read::read(&mut file, &mut magic)).unwrap_or(0);
    let other = magic[..read].starts_with(b"PAR1") || magic[..read].starts_with(&[0x1f, 0x8b]);
    spec.trainer_kind() == TrainerKind::Builtin || !other
}

/// Where the bytes lie, without hashing them.
async fn locate(core: &Arc<Core>, source: &Source) -> Result<std::path::PathBuf, Error> {
    match source {
        Source::Path(text) => crate::handover::allowed(core, text),
        other => Ok(resolve(core, other).await?.path),
    }
}

async fn check_records(
    core: &Arc<Core>,
    field: &str,
    path: std::path::PathBuf,
    format: Option<DatasetFormat>,
    found: &mut Found,
) -> Result<(), Error> {
    let bytes_max = core.policy.dataset_check_bytes_max;
    let checked = tokio::task::spawn_blocking(move || read_records(&path, format, bytes_max)).await;
    let checked = checked.map_err(|error| {
        Error::new(ErrorKind::Internal, "dataset_check", "the dataset could not be checked").because(error)
    })?;
    match checked {
        Ok((records, format)) => {
            found.checked.push(format!("{field}: {records} records of format {}", records::word(format)));
        }
        Err(message) => found.wrong("dataset_invalid", field, message),
    }
    Ok(())
}

/// Reads every line; the first bad one is named.
fn read_records(
    path: &Path,
    format: Option<DatasetFormat>,
    bytes_max: u64,
) -> Result<(u64, DatasetFormat), String> {
    let file = File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mut check = records::Check::new(format);
    let mut reader = BufReader::with_capacity(1 << 20, std::io::Read::take(file, bytes_max));
    let mut line = Vec::new();
    loop {
        line.clear();
        let n = std::io::Read::take(&mut reader, records::LINE_BYTES_MAX as u64 + 1)
            .read_until(b'\n', &mut line)
            .map_err(|error| format!("cannot be read: {error}"))?;
        if n == 0 {
            return check.finish();
        }
        check.line(&line)?;
    }
}
