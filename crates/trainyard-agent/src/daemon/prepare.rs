//! From what was handed over to what is run: code unpacked, the plan for the warden, files in place.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;
use trainyard_connector::HandOverPurpose;
use trainyard_domain::{Sha256, TrainerKind};

use super::agent::Agent;
use super::attempt::{Attempt, Start};
use super::environment;
use super::keep;
use super::outputs;
use super::place;
use super::recipe;
use super::requirements::{self, InstallStep};
use super::unpack::{UnpackError, unpack};
use crate::warden::{Plan, Step};

/// Why a training could not be begun.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrepareError {
    #[error("{0} could not be put in place: {1}")]
    Place(String, io::Error),
    #[error("the code could not be unpacked: {}", chain(.0))]
    Unpack(#[from] UnpackError),
    #[error("there is no directory `{0}` in the code")]
    NoDirectory(String),
    #[error("there is no checkpoint `{0}` on this machine")]
    NoCheckpoint(String),
    #[error("the path `{0}` leads outside")]
    Outside(String),
    #[error("there is no command to run")]
    NoCommand,
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(below) => format!("{error}: {}", chain(below)),
        None => error.to_string(),
    }
}

/// Everything that the training needs, on disk; blocks. The last step of the plan is the training.
pub(crate) fn prepare(agent: &Agent, attempt: &Attempt, start: &Start) -> Result<Plan, PrepareError> {
    let layout = agent.layout();
    let spec = serde_json::to_vec_pretty(&start.spec).map_err(io::Error::from);
    let write = spec.and_then(|spec| place::replace(&layout.spec(), &spec));
    write.map_err(|error| PrepareError::Place("the specification".to_owned(), error))?;
    unpack_code(agent, attempt, start)?;
    let directory = match &start.spec.trainer.workdir {
        Some(path) => {
            let inside = place::inside(path).ok_or_else(|| PrepareError::Outside(path.clone()))?;
            let directory = layout.work_dir().join(inside);
            if !directory.is_dir() {
                return Err(PrepareError::NoDirectory(path.clone()));
            }
            directory
        }
        None => layout.work_dir(),
    };
    if start.spec.trainer_kind() == TrainerKind::Command {
        for name in outputs::link(&directory, &layout.output_dir()) {
            attempt.output().note(&format!(
                "the code brings its own `{name}`: what is written there stays on the machine; the artifact is what \
                 lies in $TRAINYARD_OUTPUT_DIR"
            ));
        }
    }
    place_checkpoints(agent, start)?;
    let resume_from = resume_from(agent, attempt, start)?;
    let environment = environment(agent, attempt, start, resume_from.as_deref());
    let steps = steps(agent, start, &directory, resume_from.is_some())?;
    Ok(Plan { environment, steps })
}

fn unpack_code(agent: &Agent, attempt: &Attempt, start: &Start) -> Result<(), PrepareError> {
    let layout = agent.layout();
    for input in start.inputs.iter().filter(|input| input.purpose == HandOverPurpose::Code) {
        unpack(&layout.input(&input.sha256), &layout.work_dir(), attempt.stopping())?;
    }
    Ok(())
}

/// Puts what was handed over beside the code in place, all of which is there; blocks. Gives the variables that name
/// datasets.
pub(super) fn place_inputs(agent: &Agent, start: &Start) -> Result<Vec<(String, String)>, PrepareError> {
    let layout = agent.layout();
    let mut variables = Vec::new();
    for input in &start.inputs {
        let from = layout.input(&input.sha256);
        let (name, variable) = match &input.purpose {
            HandOverPurpose::Code => continue,
            HandOverPurpose::Dataset => (dataset_name("dataset", &from), Some("TRAINYARD_DATASET")),
            HandOverPurpose::EvalDataset => {
                (dataset_name("eval_dataset", &from), Some("TRAINYARD_EVAL_DATASET"))
            }
            HandOverPurpose::File(path) => (path.clone(), None),
            HandOverPurpose::Checkpoint { .. } => continue,
        };
        let inside = place::inside(&name).ok_or_else(|| PrepareError::Outside(name.clone()))?;
        let to = layout.input_dir().join(inside);
        put(&from, &to).map_err(|error| PrepareError::Place(shown(&input.sha256, &name), error))?;
        if let Some(variable) = variable {
            variables.push((variable.to_owned(), text(&to)));
        }
    }
    Ok(variables)
}

/// Checkpoints that were handed over.
fn place_checkpoints(agent: &Agent, start: &Start) -> Result<(), PrepareError> {
    let mut all: BTreeMap<&str, Vec<(PathBuf, PathBuf)>> = BTreeMap::new();
    for input in &start.inputs {
        let HandOverPurpose::Checkpoint { checkpoint, path } = &input.purpose else { continue };
        let inside = place::inside(path).ok_or_else(|| PrepareError::Outside(path.clone()))?;
        all.entry(checkpoint).or_default().push((agent.layout().input(&input.sha256), inside));
    }
    let dir = agent.layout().checkpoint_dir(&start.job_id);
    for (name, files) in all {
        let inside = place::inside(name).ok_or_else(|| PrepareError::Outside(name.to_owned()))?;
        keep::place(&dir, &inside, &files)
            .map_err(|error| PrepareError::Place(format!("the checkpoint `{name}`"), error))?;
    }
    Ok(())
}

fn shown(digest: &Sha256, name: &str) -> String {
    format!("the input {digest} as `{name}`")
}

/// The same bytes under another name, without taking their space again where the file system allows it.
fn put(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(drop))
}

/// A name with the ending that libraries expect, told by the first bytes.
pub(super) fn dataset_name(stem: &str, file: &Path) -> String {
    let mut magic = [0; 4];
    let read = fs::File::open(file).and_then(|mut file| file.read(&mut magic)).unwrap_or(0);
    let ending = match &magic[..read] {
        b"PAR1" => "parquet",
        [0x1f, 0x8b, ..] => "jsonl.gz",
        _ => "jsonl",
    };
    format!("{stem}.{ending}")
}

/// The checkpoint that was asked for; else the newest one that this machine kept for the job.
fn resume_from(agent: &Agent, attempt: &Attempt, start: &Start) -> Result<Option<PathBuf>, PrepareError> {
    let dir = agent.layout().checkpoint_dir(&start.job_id);
    match &start.resume_from {
        Some(path) => {
            let inside = place::inside(path).ok_or_else(|| PrepareError::Outside(path.clone()))?;
            let found = dir.join(inside);
            if found.exists() { Ok(Some(found)) } else { Err(PrepareError::NoCheckpoint(path.clone())) }
        }
        None => Ok(attempt.sources().newest_checkpoint().map(|path| dir.join(path))),
    }
}

fn environment(
    agent: &Agent,
    attempt: &Attempt,
    start: &Start,
    resume_from: Option<&Path>,
) -> Vec<(String, String)> {
    let layout = agent.layout();
    let mut all = agent.environment().to_vec();
    // Else what Python prints into a pipe comes in blocks of 8 KiB, minutes late.
    all.push(("PYTHONUNBUFFERED".to_owned(), "1".to_owned()));
    all.extend(start.spec.environment.env.iter().map(|(name, value)| (name.clone(), value.clone())));
    for (name, value) in &start.secrets {
        all.push((name.as_str().to_owned(), value.expose_secret().to_owned()));
    }
    if !start.spec.environment.requirements.is_empty() {
        let first = requirements::environment(layout, &all);
        all.extend(first);
    }
    let hooks = attempt.sources().environment(&all);
    all.extend(hooks);
    let job = start.job_id.as_str();
    let order = agent.order();
    all.extend(environment::of_attempt(order, job, start.attempt.get(), start.gpus.as_deref()));
    let paths = [
        ("TRAINYARD_SPEC", layout.spec()),
        ("TRAINYARD_INPUT_DIR", layout.input_dir()),
        ("TRAINYARD_OUTPUT_DIR", layout.output_dir()),
        ("TRAINYARD_CHECKPOINT_DIR", layout.checkpoint_dir(&start.job_id)),
        ("TRAINYARD_METRICS_FILE", layout.metrics_file()),
        ("TRAINYARD_FAILURE_FILE", layout.failure_file()),
    ];
    all.extend(paths.map(|(name, path)| (name.to_owned(), text(&path))));
    all.push(("TRAINYARD_RESUME_FROM".to_owned(), resume_from.map(text).unwrap_or_default()));
    all
}

fn steps(agent: &Agent, start: &Start, directory: &Path, resumes: bool) -> Result<Vec<Step>, PrepareError> {
    let directory = text(directory);
    let step = |title: Option<String>, program: &str, arguments: Vec<String>| Step {
        program: program.to_owned(),
        arguments,
        directory: directory.clone(),
        title,
    };
    let environment = &start.spec.environment;
    let mut steps: Vec<Step> = Vec::new();
    let packages = match environment.requirements.as_slice() {
        [] => None,
        [..] => {
            let written = requirements::steps(agent.layout());
            Some(written.map_err(|error| PrepareError::Place("the installer".to_owned(), error))?)
        }
    };
    let titled = |(title, program, arguments): &InstallStep| {
        step(Some((*title).to_owned()), program, arguments.clone())
    };
    steps.extend(packages.iter().map(|[make, _]| titled(make)));
    let setups = environment.setup.len();
    for (i, command) in environment.setup.iter().enumerate() {
        let title = format!("setup command {} of {setups}", i + 1);
        steps.push(step(Some(title), "sh", vec!["-c".to_owned(), command.clone()]));
    }
    steps.extend(packages.iter().map(|[_, install]| titled(install)));
    match start.spec.trainer_kind() {
        TrainerKind::Builtin => {
            let program = agent.trainer().map_or_else(super::held::own_program, |path| text(path));
            steps.push(step(None, &program, vec![crate::entry::TRAIN.to_owned()]));
        }
        TrainerKind::Peft => {
            let placed = recipe::place(&agent.layout().recipe_dir());
            let all = placed.map_err(|error| PrepareError::Place("the recipe".to_owned(), error))?;
            steps.extend(all.map(|(title, program, arguments)| step(title, program, arguments)));
        }
        TrainerKind::Command => {
            let mut words = start.spec.trainer.command.clone().unwrap_or_default();
            if resumes {
                words.extend(start.spec.checkpoints.resume_args.clone().unwrap_or_default());
            }
            let mut words = words.into_iter();
            let program = words.next().ok_or(PrepareError::NoCommand)?;
            steps.push(step(None, &program, words.collect()));
        }
    }
    Ok(steps)
}

/// A path in an environment variable; what is no UTF-8 is shown as well as can be.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
