//! What outlives an agent once its training has ended: an agent that is started anew serves that end, and everything
//! that can still be fetched of it.
//!
//! It promises: the record is whole or not there; it is written before anybody is told of the end, and removed before
//! another attempt begins, so that nobody is ever served an end that is not the last attempt's. A machine whose kernel
//! was started anew may have lost what was written last: there only an end whose outputs have their digests is served,
//! which whoever fetches them compares.

use std::fs;
use std::io;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use trainyard_connector::{CheckpointInfo, KeptJob, Manifest, TrainingState};
use trainyard_domain::{Exit, Outputs};

use super::layout::Layout;
use super::place;
use crate::system;

/// The end of an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Ended {
    pub(super) kept: KeptJob,
    /// `Exited`.
    pub(super) training: TrainingState,
    /// Every complete checkpoint, newest last.
    pub(super) checkpoints: Vec<CheckpointInfo>,
    /// Which files are its outputs.
    pub(super) outputs: Outputs,
    /// In which boot of the machine's kernel it ended.
    machine_boot: Option<String>,
}

impl Ended {
    pub(super) fn new(
        kept: KeptJob,
        training: TrainingState,
        checkpoints: Vec<CheckpointInfo>,
        outputs: Outputs,
    ) -> Ended {
        Ended { kept, training, checkpoints, outputs, machine_boot: system::machine_boot() }
    }

    /// How it ended; none where the record is of something else.
    pub(super) fn exit(&self) -> Option<&Exit> {
        match &self.training {
            TrainingState::Exited { exit, .. } => Some(exit),
            TrainingState::Idle | TrainingState::Preparing | TrainingState::Running { .. } => None,
        }
    }

    /// Writes it down. Blocks.
    pub(super) fn write(&self, layout: &Layout) -> io::Result<()> {
        place::replace(&layout.ended(), &serde_json::to_vec(self)?)
    }

    /// What an agent before this one wrote down, with the manifest where it was made. None where nothing ended here, or
    /// it cannot be trusted.
    pub(super) fn read(layout: &Layout) -> Option<(Ended, Option<Manifest>)> {
        let ended: Ended = parse(&layout.ended())?;
        let number = ended.kept.attempt;
        let manifest = parse::<Manifest>(&layout.manifest()).filter(|made| made.attempt == number);
        let same_boot = ended.machine_boot == system::machine_boot();
        (ended.exit().is_some() && (same_boot || manifest.is_some())).then_some((ended, manifest))
    }
}

/// Writes the manifest down: its digests need not be made again. Blocks.
pub(super) fn write_manifest(layout: &Layout, manifest: &Manifest) -> io::Result<()> {
    place::replace(&layout.manifest(), &serde_json::to_vec(manifest)?)
}

fn parse<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            super::complain(&format!("{} could not be read: {error}", path.display()));
            return None;
        }
    };
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use trainyard_domain::{AttemptNumber, JobSpec};

    use super::*;

    fn ended(number: AttemptNumber) -> Ended {
        let now = crate::clock::now();
        let kept = KeptJob {
            job_id: "job".parse().unwrap(),
            attempt: number,
            spec: JobSpec::new("any/model"),
            accepted_at: now,
        };
        let training = TrainingState::Exited { started_at: Some(now), exit: Exit::with_code(0, now) };
        Ended::new(kept, training, Vec::new(), Outputs::default())
    }

    fn manifest(attempt: AttemptNumber) -> Manifest {
        Manifest { attempt, files: Vec::new(), skipped: Vec::new() }
    }

    #[test]
    fn an_end_is_found_again_with_its_own_manifest() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().to_owned(), None);
        assert!(Ended::read(&layout).is_none());
        let (first, second) = (AttemptNumber::FIRST, AttemptNumber::FIRST.next());
        ended(second).write(&layout).unwrap();
        assert_eq!(Ended::read(&layout), Some((ended_at(&layout), None)));
        write_manifest(&layout, &manifest(first)).unwrap();
        assert_eq!(Ended::read(&layout).unwrap().1, None, "the files of another attempt");
        write_manifest(&layout, &manifest(second)).unwrap();
        assert_eq!(Ended::read(&layout).unwrap().1, Some(manifest(second)));
        layout.begin(&"job".parse().unwrap()).unwrap();
        assert!(Ended::read(&layout).is_none(), "another attempt began");
    }

    fn ended_at(layout: &Layout) -> Ended {
        serde_json::from_slice(&fs::read(layout.ended()).unwrap()).unwrap()
    }

    #[test]
    fn after_a_boot_of_the_machine_outputs_without_digests_are_not_served() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().to_owned(), None);
        let other = Ended { machine_boot: Some("before".to_owned()), ..ended(AttemptNumber::FIRST) };
        other.write(&layout).unwrap();
        assert!(Ended::read(&layout).is_none());
        write_manifest(&layout, &manifest(AttemptNumber::FIRST)).unwrap();
        assert!(Ended::read(&layout).is_some());
    }

    #[test]
    fn a_torn_record_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().to_owned(), None);
        let whole = serde_json::to_vec(&ended(AttemptNumber::FIRST)).unwrap();
        for end in [0, 1, whole.len() / 2, whole.len() - 1] {
            fs::write(layout.ended(), &whole[..end]).unwrap();
            assert!(Ended::read(&layout).is_none(), "{end} bytes");
        }
        let running = Ended { training: TrainingState::Preparing, ..ended(AttemptNumber::FIRST) };
        running.write(&layout).unwrap();
        assert!(Ended::read(&layout).is_none(), "it did not end");
    }
}
