//! `trainyard init`: starting points for well-known trainers, as a small directory that `trainyard run` takes.
//!
//! Each is pinned to the versions it was written for, and none is written over a file that is there.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::exit::{Exit, Failure, Outcome};
use crate::job_spec::JOB_FILE;
use crate::out::{Out, note};

/// Write a starting point for a trainer into a directory
///
/// Without a name it lists them. `trainyard run` in that directory trains with it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which starting point
    name: Option<String>,
    /// Where to write it; a directory of its name where it is left out
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
    /// JSON instead of words
    #[arg(long)]
    json: bool,
}

/// A starting point.
struct Start {
    name: &'static str,
    about: &'static str,
    files: &'static [(&'static str, &'static str)],
}

/// A file of a starting point, by its path.
macro_rules! files {
    ($name:literal: $($file:literal),+) => {
        &[$(($file, include_str!(concat!("../../templates/", $name, "/", $file)))),+]
    };
}

const STARTS: &[Start] = &[
    Start {
        name: "peft",
        about: "Trainyard's own recipe on PEFT: LoRA, QLoRA, DoRA, rsLoRA from one JSON file",
        files: files!("peft": "README.md", "trainyard.job.json"),
    },
    Start {
        name: "trl",
        about: "TRL 1.16.0: SFTTrainer with LoRA",
        files: files!("trl": "README.md", "trainyard.job.json", "train.sh", "train.py", "config.yaml"),
    },
    Start {
        name: "axolotl",
        about: "Axolotl 0.19.0: LoRA from a YAML file",
        files: files!("axolotl": "README.md", "trainyard.job.json", "train.sh", "config.yml"),
    },
    Start {
        name: "llamafactory",
        about: "LLaMA-Factory 0.9.5: LoRA from a YAML file",
        files: files!("llamafactory": "README.md", "trainyard.job.json", "train.sh", "config.yaml", "dataset_info.json"),
    },
    Start {
        name: "unsloth",
        about: "Unsloth 2026.10.9: 4-bit LoRA on one NVIDIA GPU",
        files: files!("unsloth": "README.md", "trainyard.job.json", "train.sh", "train.py"),
    },
];
/// Every starting point has these records.
const DATA: (&str, &str) = ("data.jsonl", include_str!("../../templates/data.jsonl"));

/// Runs the command.
pub(crate) fn run(args: &Args) -> Outcome {
    let out = Out { json: args.json };
    let Some(name) = &args.name else { return list(out) };
    let start = STARTS.iter().find(|start| start.name == name).ok_or_else(|| {
        let names: Vec<&str> = STARTS.iter().map(|start| start.name).collect();
        Failure::usage(format!("there is no starting point `{name}`"))
            .hint(format!("write one of {}", names.join(", ")))
    })?;
    let directory = args.directory.clone().unwrap_or_else(|| PathBuf::from(start.name));
    let files = write(start, &directory)?;
    let told = json!({"name": start.name, "directory": directory, "files": files});
    out.either(&told, || {
        files.iter().map(|file| directory.join(file).display().to_string()).collect::<Vec<_>>().join("\n")
    })?;
    note(format!("next: cd {} && trainyard run (README.md says what to change)", directory.display()));
    Ok(Exit::Done)
}

fn list(out: Out) -> Outcome {
    let all: Vec<_> = STARTS.iter().map(|start| json!({"name": start.name, "about": start.about})).collect();
    out.either(&json!({"starting_points": all}), || {
        STARTS.iter().map(|start| format!("{:<14}{}", start.name, start.about)).collect::<Vec<_>>().join("\n")
    })?;
    Ok(Exit::Done)
}

/// Writes every file, or none where one of them is there already.
fn write(start: &Start, directory: &Path) -> Result<Vec<&'static str>, Failure> {
    let all: Vec<_> = start.files.iter().chain([&DATA]).collect();
    if let Some((file, _)) = all.iter().find(|(file, _)| directory.join(file).symlink_metadata().is_ok()) {
        let text = format!("`{}` is there already", directory.join(file).display());
        return Err(Failure::usage(text).hint("name another directory: nothing is written over"));
    }
    let failed = |path: &Path, error: &std::io::Error| {
        Failure::failed(format!("`{}` could not be written", path.display())).because(error)
    };
    fs::create_dir_all(directory).map_err(|error| failed(directory, &error))?;
    for (file, text) in &all {
        let path = directory.join(file);
        let opened = OpenOptions::new().write(true).create_new(true).open(&path);
        let written = opened.and_then(|mut new| new.write_all(text.as_bytes()));
        written.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => Failure::usage(format!("`{}` is there already", path.display())),
            _ => failed(&path, &error),
        })?;
    }
    debug_assert!(all.iter().any(|(file, _)| *file == JOB_FILE));
    Ok(all.iter().map(|(file, _)| *file).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_starting_point_is_a_job_that_names_what_is_there() {
        for start in STARTS {
            let directory = tempfile::tempdir().unwrap();
            let place = directory.path().join("new/place");
            let files = write(start, &place).unwrap();
            let job = fs::read_to_string(place.join(JOB_FILE)).unwrap();
            let job: serde_json::Value = serde_json::from_str(&job).unwrap();
            if job["trainer"]["kind"] == "command" {
                assert_eq!(job["trainer"]["command"], json!(["sh", "train.sh"]), "{}", start.name);
                assert!(files.contains(&"train.sh"));
                let pinned = job["environment"]["requirements"].as_array().unwrap();
                assert!(
                    !pinned.is_empty()
                        && pinned.iter().all(|package| package.as_str().unwrap().contains("=="))
                );
                let version = pinned[0].as_str().unwrap().split_once("==").unwrap().1;
                assert!(start.about.contains(version), "{}: {version}", start.name);
                assert!(fs::read_to_string(place.join("README.md")).unwrap().contains(version));
            } else {
                assert_eq!(job["dataset"]["source"], "data.jsonl");
            }
            assert!(job["limits"]["max_cost_usd"].is_string(), "{}: what it may cost is named", start.name);
        }
    }

    #[test]
    fn nothing_is_written_over() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("train.py"), "mine").unwrap();
        let error = write(&STARTS[1], directory.path()).unwrap_err();
        assert_eq!(error.exit, Exit::Usage);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "then nothing is written at all");
        assert_eq!(fs::read_to_string(directory.path().join("train.py")).unwrap(), "mine");
    }
}
