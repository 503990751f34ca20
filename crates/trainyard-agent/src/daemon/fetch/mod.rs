//! What a machine fetches by itself: `https:` and `hf:` sources of a job, while packages are being installed.
//!
//! A dataset on the hub that the job's own program loads is that program's affair. The digest of what came is written
//! into the job's log; nobody promised one beforehand.

mod cache;
mod get;
mod hub;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::watch;
use tokio::task::JoinSet;
use trainyard_domain::{Source, TrainerKind};

use self::get::{Get, Getter, Ungot};
use self::hub::Kind;
use super::agent::Agent;
use super::attempt::{Attempt, Start};
use super::failure::Failure;
use super::layout::Layout;
use super::prepare::dataset_name;
use super::unpack::unpack;
use super::{check, inputs, place};

/// Files fetched at once.
const AT_ONCE: usize = 4;
/// Disk that is left free.
const RESERVE_BYTES: u64 = 512 << 20;

/// Something to fetch.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    source: Source,
    purpose: Purpose,
}

#[derive(Debug, Clone)]
enum Purpose {
    /// An archive, or a repository, as the working directory.
    Code,
    /// A dataset: the stem of its name, the variable that names it, and which part of a repository.
    Dataset(&'static str, &'static str, String),
    /// A file, or the files of a repository, at that path of the input directory.
    Input(String),
    /// The model of the `peft` recipe, where its libraries look for it.
    Model,
}

/// Everything but the code.
pub(super) fn wanted(agent: &Agent, start: &Start) -> Vec<Wanted> {
    let spec = &start.spec;
    let own = spec.trainer_kind() != TrainerKind::Builtin;
    let mut all = Vec::new();
    let datasets = [
        (&spec.dataset, "dataset", "TRAINYARD_DATASET", "train"),
        (&spec.eval_dataset, "eval_dataset", "TRAINYARD_EVAL_DATASET", "validation"),
    ];
    for (dataset, stem, variable, usual) in datasets {
        let Some(dataset) = dataset else { continue };
        let is_program_s = own && matches!(dataset.source, Source::Hub { .. });
        if is_fetched(&dataset.source) && !is_program_s {
            let purpose =
                Purpose::Dataset(stem, variable, dataset.split.clone().unwrap_or_else(|| usual.to_owned()));
            all.push(Wanted { source: dataset.source.clone(), purpose });
        }
    }
    let inputs = spec.inputs.iter().filter(|input| is_fetched(&input.source));
    all.extend(
        inputs.map(|input| Wanted {
            source: input.source.clone(),
            purpose: Purpose::Input(input.path.clone()),
        }),
    );
    // On a machine of one's own the model may well be in the cache, whose affair it is then.
    if agent.is_rented() && spec.trainer_kind() == TrainerKind::Peft && is_hub_name(&spec.model_name) {
        let source = Source::Hub { repo: spec.model_name.clone(), revision: None };
        all.push(Wanted { source, purpose: Purpose::Model });
    }
    all
}

/// The code.
pub(super) fn code(start: &Start) -> Option<Wanted> {
    let source = start.spec.code.as_ref().filter(|source| is_fetched(source))?;
    Some(Wanted { source: source.clone(), purpose: Purpose::Code })
}

/// `owner/name`, and not a directory of the machine.
fn is_hub_name(name: &str) -> bool {
    let mut parts = name.split('/');
    let word = |part: Option<&str>| part.is_some_and(|part| !part.is_empty() && !part.starts_with('.'));
    word(parts.next()) && word(parts.next()) && parts.next().is_none()
}

fn is_fetched(source: &Source) -> bool {
    match source {
        Source::Https(_) | Source::Hub { .. } => true,
        Source::Input(_) | Source::Path(_) => false,
    }
}

/// Fetches all of it, and gives the variables that name it.
pub(super) async fn all(
    agent: &Arc<Agent>,
    attempt: &Arc<Attempt>,
    start: &Arc<Start>,
    wanted: Vec<Wanted>,
    stop: watch::Receiver<bool>,
) -> Result<Vec<(String, String)>, Failure> {
    let scratch = agent.layout().fetch_dir();
    fs::create_dir_all(&scratch).map_err(Failure::internal)?;
    let mut environment = agent.environment().to_vec();
    environment.extend(start.spec.environment.env.iter().map(|(name, value)| (name.clone(), value.clone())));
    let token =
        |name: &str| start.secrets.iter().find(|(of, _)| of.as_str() == name).map(|(_, value)| value.clone());
    let token = token("HF_TOKEN").or_else(|| token("HUGGING_FACE_HUB_TOKEN"));
    let getter = Getter { environment, directory: scratch, token, stop };
    let mut variables = Vec::new();
    for wanted in wanted {
        variables.extend(one(agent.layout(), attempt, &getter, wanted).await?);
    }
    Ok(variables)
}

async fn one(
    layout: &Layout,
    attempt: &Arc<Attempt>,
    getter: &Getter,
    wanted: Wanted,
) -> Result<Option<(String, String)>, Failure> {
    let bytes_max = check::free_bytes(layout.root()).unwrap_or(u64::MAX).saturating_sub(RESERVE_BYTES);
    let scratch = &getter.directory;
    match (&wanted.source, wanted.purpose) {
        (Source::Https(url), Purpose::Code) => {
            let to = scratch.join("code");
            fetch(attempt, getter, url, &to, bytes_max).await?;
            let (work, of) = (layout.work_dir(), Arc::clone(attempt));
            let unpacked = tokio::task::spawn_blocking(move || unpack(&to, &work, of.stopping())).await;
            let failed = |error: super::unpack::UnpackError| {
                Failure::new("code_invalid", error.to_string(), "`code` is a .tar, .tar.gz or .zip archive")
            };
            unpacked.map_err(Failure::internal)?.map_err(failed)?;
            Ok(None)
        }
        (Source::Https(url), Purpose::Dataset(stem, variable, _)) => {
            let aside = scratch.join(stem);
            fetch(attempt, getter, url, &aside, bytes_max).await?;
            placed_dataset(layout, stem, variable, &aside).map(Some)
        }
        (Source::Https(url), Purpose::Input(path)) => {
            let to = layout.input_dir().join(place::inside(&path).ok_or_else(|| outside(&path))?);
            fetch(attempt, getter, url, &to, bytes_max).await?;
            Ok(None)
        }
        (Source::Hub { repo, revision }, Purpose::Dataset(stem, variable, split)) => {
            let found = hub::look_up(getter, scratch, Kind::Dataset, repo, revision.as_deref()).await?;
            let file = dataset_file(&found.files, &split).ok_or_else(|| no_dataset_file(repo, &split))?;
            let get = found.file(file, &scratch.join(stem), bytes_max).ok_or_else(|| outside(file))?;
            let to = get.to.clone();
            fetch_repository(attempt, getter, repo, vec![get]).await?;
            attempt.output().note(&format!("the dataset is `{file}` of {}", found.shown()));
            placed_dataset(layout, stem, variable, &to).map(Some)
        }
        (Source::Hub { repo, .. }, Purpose::Model) => {
            cache::model(attempt, getter, repo, bytes_max).await?;
            Ok(None)
        }
        (Source::Hub { repo, revision }, purpose) => {
            let dir = match &purpose {
                Purpose::Input(path) => {
                    layout.input_dir().join(place::inside(path).ok_or_else(|| outside(path))?)
                }
                Purpose::Code | Purpose::Dataset(..) | Purpose::Model => layout.work_dir(),
            };
            let revision = revision.as_deref();
            let found = match hub::look_up(getter, scratch, Kind::Model, repo, revision).await {
                Err(failure) if failure.diagnosis.code == "model_not_found" => {
                    hub::look_up(getter, scratch, Kind::Dataset, repo, revision).await?
                }
                found => found?,
            };
            let gets = found.files.iter().filter_map(|path| found.file(path, &dir, bytes_max)).collect();
            fetch_repository(attempt, getter, repo, gets).await?;
            attempt.output().note(&format!("fetched {} files of {}", found.files.len(), found.shown()));
            Ok(None)
        }
        (Source::Input(_) | Source::Path(_), _) | (Source::Https(_), Purpose::Model) => Ok(None),
    }
}

async fn fetch(
    attempt: &Attempt,
    getter: &Getter,
    url: &str,
    to: &Path,
    bytes_max: u64,
) -> Result<(), Failure> {
    place::remove(to).map_err(Failure::internal)?;
    let get = Get { url: url.to_owned(), to: to.to_owned(), of_hub: false, bytes_max };
    getter.get(&get).await.map_err(|ungot| refused(url, &ungot))?;
    let of = to.to_owned();
    let hashed =
        tokio::task::spawn_blocking(move || inputs::hash(File::open(of)?, &AtomicBool::new(false))).await;
    let (sha256, bytes) = hashed.map_err(Failure::internal)?.map_err(Failure::internal)?;
    attempt.output().note(&format!("fetched {} ({bytes} bytes, sha256 {sha256})", shown(url)));
    Ok(())
}

/// Several files at once, and none any more after the first that fails.
async fn fetch_repository(
    attempt: &Attempt,
    getter: &Getter,
    name: &str,
    gets: Vec<Get>,
) -> Result<(), Failure> {
    attempt.output().note(&format!("fetching {} file(s) of {name}", gets.len()));
    let mut waiting = gets.into_iter();
    let mut running = JoinSet::new();
    let mut failed = None;
    loop {
        while running.len() < AT_ONCE && failed.is_none() {
            let Some(get) = waiting.next() else { break };
            let getter = getter.clone();
            running.spawn(async move { getter.get(&get).await });
        }
        match running.join_next().await {
            None => return failed.map_or(Ok(()), Err),
            Some(Ok(Ok(()))) => {}
            Some(Ok(Err(ungot))) => {
                // A file of what the hub shows: refused is gated.
                let ungot = match ungot {
                    Ungot::Status(401, text) => Ungot::Status(403, text),
                    other => other,
                };
                failed.get_or_insert(hub::refused(name, getter.token.is_some(), &ungot));
            }
            Some(Err(error)) => drop(failed.get_or_insert(Failure::internal(error))),
        }
    }
}

/// The file of a dataset's repository that the built-in trainer can read: of that part, or the only one.
fn dataset_file<'a>(files: &'a [String], split: &str) -> Option<&'a String> {
    let readable =
        |path: &&String| [".jsonl", ".jsonl.gz", ".json"].iter().any(|ending| path.ends_with(ending));
    let all: Vec<&String> = files.iter().filter(readable).collect();
    let of_split = all.iter().find(|path| path.rsplit('/').next().is_some_and(|name| name.contains(split)));
    match (of_split, all.as_slice()) {
        (Some(found), _) => Some(found),
        (None, [only]) => Some(only),
        (None, _) => None,
    }
}

fn placed_dataset(
    layout: &Layout,
    stem: &str,
    variable: &str,
    from: &Path,
) -> Result<(String, String), Failure> {
    let to: PathBuf = layout.input_dir().join(dataset_name(stem, from));
    fs::rename(from, &to).map_err(Failure::internal)?;
    Ok((variable.to_owned(), to.to_string_lossy().into_owned()))
}

fn refused(url: &str, ungot: &Ungot) -> Failure {
    let url = shown(url);
    match ungot {
        Ungot::Status(404 | 410, _) => {
            let remedy = "check the address, or upload the file instead";
            Failure::new("input_not_found", format!("there is nothing at {url}"), remedy)
        }
        Ungot::Status(401 | 403, _) => {
            let remedy =
                "the machine sends no login: use an address that needs none, or upload the file instead";
            Failure::new("input_forbidden", format!("{url} is not given to everybody"), remedy)
        }
        Ungot::Status(413, text) => too_large(&url, text),
        Ungot::Status(0, text) => {
            let remedy = "check the address, or upload the file instead";
            Failure::new("input_unreachable", format!("{url} could not be fetched: {text}"), remedy)
        }
        Ungot::Status(status, text) => {
            let remedy = "try again later, or upload the file instead";
            Failure::new("input_unreachable", format!("{url} was answered with {status}: {text}"), remedy)
        }
        Ungot::NoProgram(text) => no_program(text),
        Ungot::Stopped => Failure::new("stopped", "stopped", ""),
    }
}

fn too_large(what: &str, text: &str) -> Failure {
    let remedy = "ask for more with `resources.disk_gb` and clone the job";
    Failure::new("disk_full", format!("{what} does not fit on the disk: {text}"), remedy)
}

fn no_program(text: &str) -> Failure {
    let remedy = "use an image with python3 or curl, or upload the file instead";
    Failure::new("fetch_impossible", format!("nothing can be fetched on this machine: {text}"), remedy)
}

fn outside(path: &str) -> Failure {
    Failure::new(
        "input_invalid",
        format!("the path `{path}` leads outside"),
        "use a relative path without `..`",
    )
}

fn no_dataset_file(repo: &str, split: &str) -> Failure {
    let cause = format!(
        "`{repo}` has no JSON lines file for the split `{split}`, which the built-in trainer could read"
    );
    Failure::new("dataset_invalid", cause, "use the `peft` trainer, or upload a JSON lines file")
}

/// An address without its query, which may hold a key.
fn shown(url: &str) -> String {
    url.split(['?', '#']).next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_repository_the_right_file_is_taken() {
        let files = |all: &[&str]| all.iter().map(|&path| path.to_owned()).collect::<Vec<_>>();
        let check = |all: &[&str], split: &str| dataset_file(&files(all), split).cloned().unwrap_or_default();
        assert_eq!(check(&["README.md", "data/test.jsonl", "data/train.jsonl"], "train"), "data/train.jsonl");
        assert_eq!(check(&["README.md", "all.jsonl"], "train"), "all.jsonl");
        assert_eq!(check(&["a.jsonl", "b.jsonl"], "train"), "");
        assert_eq!(check(&["train.parquet"], "train"), "");
    }

    #[test]
    fn an_address_is_shown_without_its_query() {
        assert_eq!(shown("https://a.example/x?key=secret#y"), "https://a.example/x");
    }
}
