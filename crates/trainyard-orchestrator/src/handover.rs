//! What a job's machine is handed: uploaded inputs and files of this machine, each with its digest.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256 as Hasher};
use trainyard_connector::{HandOver, HandOverPurpose, InputSource};
use trainyard_domain::{Job, Sha256, Source};
use trainyard_storage::Received;

use crate::core::Core;
use crate::{Error, ErrorKind};

/// Every input with its use, in the order of the specification.
pub(crate) async fn hand_over(core: &Arc<Core>, job: &Job) -> Result<Vec<(InputSource, HandOver)>, Error> {
    let spec = job.spec();
    let mut wanted: Vec<(&Source, HandOverPurpose)> = Vec::new();
    if let Some(dataset) = &spec.dataset {
        wanted.push((&dataset.source, HandOverPurpose::Dataset));
    }
    if let Some(dataset) = &spec.eval_dataset {
        wanted.push((&dataset.source, HandOverPurpose::EvalDataset));
    }
    if let Some(code) = &spec.code {
        wanted.push((code, HandOverPurpose::Code));
    }
    wanted.extend(spec.inputs.iter().map(|input| (&input.source, HandOverPurpose::File(input.path.clone()))));
    let mut all = Vec::with_capacity(wanted.len());
    for (source, purpose) in wanted {
        // The machine fetches these by itself, or the program that it runs.
        if matches!(source, Source::Https(_) | Source::Hub { .. }) {
            continue;
        }
        let input = resolve(core, source).await?;
        let sha256 = input.sha256;
        all.push((input, HandOver { sha256, purpose }));
    }
    Ok(all)
}

/// Finds the file behind a source, with its size and digest.
pub(crate) async fn resolve(core: &Arc<Core>, source: &Source) -> Result<InputSource, Error> {
    match source {
        Source::Input(sha256) => {
            let Received::Complete { bytes } = core.inputs.received(sha256).await? else {
                let message = format!("the input `{sha256}` was not uploaded (completely)");
                return Err(Error::bad_request("input_missing", message)
                    .detail("upload it with PUT /api/training/inputs/SHA256 first"));
            };
            core.inputs.touch(sha256, core.clock.now().into()).await?;
            Ok(InputSource { sha256: *sha256, size_bytes: bytes, path: core.inputs.path(sha256) })
        }
        Source::Path(text) => {
            let path = allowed(core, text)?;
            let of = path.clone();
            let hashed = tokio::task::spawn_blocking(move || hash_file(&of)).await;
            let (sha256, size_bytes) = hashed
                .map_err(|error| {
                    Error::new(ErrorKind::Internal, "hashing", "a file could not be hashed").because(error)
                })?
                .map_err(unreadable(&path))?;
            Ok(InputSource { sha256, size_bytes, path })
        }
        Source::Https(_) | Source::Hub { .. } => Err(not_here(source)),
    }
}

/// What a machine fetches by itself is not to be handed over.
fn not_here(source: &Source) -> Error {
    Error::new(ErrorKind::Internal, "not_here", format!("the source `{source}` is fetched by the machine"))
}

/// The real path behind `path:`, where the configuration allows it. Links are followed before the question is asked.
pub(crate) fn allowed(core: &Core, text: &str) -> Result<PathBuf, Error> {
    let refused = |why: &str| {
        Error::bad_request("path_not_allowed", format!("`path:{text}` cannot be used: {why}"))
            .detail("allow its directory with `inputs.allowed_paths` in the server's configuration, or upload the file")
    };
    let path = Path::new(text);
    if !path.is_absolute() {
        return Err(refused("the path is not absolute"));
    }
    if core.allowed_paths.is_empty() {
        return Err(refused("the configuration allows no directory"));
    }
    // What is not there and what is not allowed get one answer, so that nobody can ask which files exist.
    let outside = || refused("it is not a file under an allowed directory");
    let real = path.canonicalize().map_err(|_| outside())?;
    let inside =
        core.allowed_paths.iter().filter_map(|dir| dir.canonicalize().ok()).any(|dir| real.starts_with(dir));
    if inside && real.is_file() { Ok(real) } else { Err(outside()) }
}

fn hash_file(path: &Path) -> std::io::Result<(Sha256, u64)> {
    let mut file = std::fs::File::open(path)?;
    let (mut hasher, mut buffer, mut size) = (Hasher::new(), vec![0; 256 << 10], 0);
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok((Sha256::from_bytes(hasher.finalize().into()), size));
        }
        hasher.update(&buffer[..n]);
        size += n as u64;
    }
}

fn unreadable(path: &Path) -> impl FnOnce(std::io::Error) -> Error + use<> {
    let shown = path.display().to_string();
    move |error| {
        Error::bad_request("input_unreadable", format!("the file `{shown}` cannot be read")).because(error)
    }
}
