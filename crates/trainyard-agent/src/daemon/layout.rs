//! Where things lie in an agent's directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use trainyard_domain::{JobId, Sha256};

use super::{keep, place};

/// The directories of one agent.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
    keep: Option<PathBuf>,
}

impl Layout {
    pub(crate) fn new(root: PathBuf, keep: Option<PathBuf>) -> Layout {
        Layout { root, keep }
    }

    pub(crate) fn record(&self) -> PathBuf {
        self.root.join(super::AgentRecord::FILE)
    }

    /// An input that is complete and has the digest of its name.
    pub(crate) fn input(&self, digest: &Sha256) -> PathBuf {
        self.root.join("inputs").join(digest.to_string())
    }

    /// The part of an input that is there so far.
    pub(crate) fn input_part(&self, digest: &Sha256) -> PathBuf {
        self.root.join("inputs").join(format!("{digest}.part"))
    }

    /// How the last attempt ended; outlives the agent.
    pub(crate) fn ended(&self) -> PathBuf {
        self.root.join("ended.json")
    }

    /// What it left, with digests; outlives the agent.
    pub(crate) fn manifest(&self) -> PathBuf {
        self.root.join("manifest.json")
    }

    /// When somebody who may command spoke last; outlives the agent and its attempts.
    pub(crate) fn last_word(&self) -> PathBuf {
        self.root.join("last-word")
    }

    /// When the machine has to be gone; outlives the agent and its attempts.
    pub(crate) fn machine_ends(&self) -> PathBuf {
        self.root.join("machine-ends")
    }

    pub(crate) fn spec(&self) -> PathBuf {
        self.root.join("spec.json")
    }

    /// The input directory of the training.
    pub(crate) fn input_dir(&self) -> PathBuf {
        self.root.join("input")
    }

    pub(crate) fn work_dir(&self) -> PathBuf {
        self.root.join("work")
    }

    pub(crate) fn output_dir(&self) -> PathBuf {
        self.root.join("output")
    }

    /// The virtual environment of the packages that a job asks for.
    pub(crate) fn venv_dir(&self) -> PathBuf {
        self.root.join("venv")
    }

    /// What makes and fills it.
    pub(crate) fn requirements_program(&self) -> PathBuf {
        self.root.join("requirements.py")
    }

    /// Caches of libraries and installers. Kept from one attempt to the next, whosever they are.
    pub(crate) fn cache_dir(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Scratch of what is fetched.
    pub(crate) fn fetch_dir(&self) -> PathBuf {
        self.root.join("fetch")
    }

    /// The files of the `peft` recipe.
    pub(crate) fn recipe_dir(&self) -> PathBuf {
        self.root.join("recipe")
    }

    /// Scratch of what watches the training.
    pub(crate) fn watch_dir(&self) -> PathBuf {
        self.root.join("watch")
    }

    pub(crate) fn metrics_file(&self) -> PathBuf {
        self.root.join("metrics.jsonl")
    }

    /// Where a training may say by itself why it failed.
    pub(crate) fn failure_file(&self) -> PathBuf {
        self.root.join("failure.json")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    pub(crate) fn events(&self) -> PathBuf {
        self.root.join("events.jsonl")
    }

    /// Checkpoints of a job. Kept between attempts: beside other jobs' where the agent was told to keep them, else
    /// as long as this directory serves the same job.
    pub(crate) fn checkpoint_dir(&self, job: &JobId) -> PathBuf {
        match &self.keep {
            Some(keep) => keep.join(job.as_str()).join("checkpoints"),
            None => self.root.join("checkpoints"),
        }
    }

    /// Checkpoints saved out of the output directory, beside that.
    pub(crate) fn saved_dir(&self, job: &JobId) -> PathBuf {
        self.checkpoint_dir(job).with_file_name("saved-checkpoints")
    }

    /// A checkpoint that is held while it is copied.
    pub(crate) fn hold_dir(&self) -> PathBuf {
        self.root.join("held")
    }

    /// Whose checkpoints lie inside the root.
    fn job_file(&self) -> PathBuf {
        self.root.join("job")
    }

    /// Removes what an earlier attempt left and makes the directories of a new one. Inputs stay, as they are known by
    /// their digests, and caches. Checkpoints stay with their job.
    pub(crate) fn begin(&self, job: &JobId) -> io::Result<()> {
        for old in [
            // First of all: whatever is left after a crash in between, it is no end.
            self.ended(),
            self.manifest(),
            self.spec(),
            self.input_dir(),
            self.work_dir(),
            self.output_dir(),
            self.watch_dir(),
            self.fetch_dir(),
            self.hold_dir(),
            self.venv_dir(),
            self.metrics_file(),
            self.failure_file(),
            self.log(),
            self.events(),
        ] {
            place::remove(&old)?;
        }
        let same_job = fs::read_to_string(self.job_file()).is_ok_and(|name| name == job.as_str());
        if !same_job && self.keep.is_none() {
            place::remove(&self.checkpoint_dir(job))?;
            place::remove(&self.saved_dir(job))?;
        }
        place::replace(&self.job_file(), job.as_str().as_bytes())?;
        for new in [self.input_dir(), self.work_dir(), self.output_dir(), self.checkpoint_dir(job)] {
            fs::create_dir_all(new)?;
        }
        keep::restore(&self.saved_dir(job), &self.checkpoint_dir(job))
    }

    /// Removes everything in the root, and the root itself if nobody holds it. What is kept elsewhere stays.
    pub(crate) fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.root)? {
            place::remove(&entry?.path())?;
        }
        // The directory may be a mount point or somebody's current one.
        let _ = fs::remove_dir(&self.root);
        Ok(())
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
}
