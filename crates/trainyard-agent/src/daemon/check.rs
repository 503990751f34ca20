//! Whether a rented machine is what was ordered, before anything is trained on it: disk, and GPUs that compute.
//!
//! A machine that is not is told by a word of its own, so that another one is rented instead. A machine of one's own is
//! not looked at: nobody could replace it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nvml_wrapper::Nvml;
use serde::Deserialize;
use tokio::sync::watch;
use trainyard_connector::HandOverPurpose;
use trainyard_domain::TrainerKind;

use super::agent::Agent;
use super::aside::{self, Aside};
use super::attempt::{Attempt, Start};
use super::failure::Failure;
use crate::system;
use crate::warden::Step;

/// The check of the GPUs by PyTorch.
const CHECK_GPUS: &str = include_str!("check_gpus.py");
/// It may take this long: importing PyTorch from a cold disk is most of it.
const GPUS_WITHIN: Duration = Duration::from_secs(180);
/// Bytes of its output that are kept.
const OUTPUT_BYTES: usize = 16 << 10;
/// Of the disk that was ordered at least one tenth must be free: some vendors count the image's layers too.
const FREE_PARTS_OF_TEN: u64 = 1;
/// What a training needs at the very least beside its inputs.
const RESERVE_BYTES: u64 = 512 << 20;
const GB: u64 = 1_000_000_000;

/// Whether there is room: for what is unpacked, and of what was ordered.
pub(super) fn disk(agent: &Agent, start: &Start) -> Result<(), Failure> {
    if !agent.is_rented() {
        return Ok(());
    }
    let Some(free) = free_bytes(agent.layout().root()) else { return Ok(()) };
    let code = start.inputs.iter().filter(|input| input.purpose == HandOverPurpose::Code);
    let packed: u64 = code
        .filter_map(|input| std::fs::metadata(agent.layout().input(&input.sha256)).ok())
        .map(|file| file.len())
        .sum();
    judge_disk(free, packed, u64::from(start.spec.resources.disk_gb))
}

/// Bytes that may still be written where that path lies.
pub(super) fn free_bytes(path: &Path) -> Option<u64> {
    let file_system = nix::sys::statvfs::statvfs(path).ok()?;
    Some(file_system.blocks_available() as u64 * file_system.fragment_size() as u64)
}

fn judge_disk(free: u64, packed: u64, ordered_gb: u64) -> Result<(), Failure> {
    let needed = RESERVE_BYTES + 3 * packed;
    let shown = |bytes: u64| format!("{:.1} GB", bytes as f64 / GB as f64);
    if free < ordered_gb * GB / 10 * FREE_PARTS_OF_TEN {
        let cause = format!("{} GB of disk were ordered, and only {} are free", ordered_gb, shown(free));
        return Err(Failure::of_machine("disk_full", cause));
    }
    if free < needed {
        let cause = format!("{} of disk are free, and at least {} are needed", shown(free), shown(needed));
        return Err(Failure::new(
            "disk_full",
            cause,
            "ask for more with `resources.disk_gb` and clone the job",
        ));
    }
    Ok(())
}

/// How many GPUs are to be checked; none where there is nothing to check: a machine of one's own, a trainer that needs
/// no GPU, a machine on which nothing tells of one.
pub(super) fn gpus_to_check(agent: &Agent, start: &Start) -> Option<u32> {
    let needs = start.spec.trainer_kind() != TrainerKind::Builtin;
    let count = start.gpus.as_ref().map_or(start.spec.resources.gpu_count, |gpus| gpus.len() as u32);
    (agent.is_rented() && needs && count > 0 && (agent.is_told_of_gpus() || system::has_nvidia()))
        .then_some(count)
}

/// What the program says.
#[derive(Debug, Deserialize)]
struct Told {
    word: String,
    text: String,
}

/// One second of work on the GPUs by the training's PyTorch; where it has none, the driver is asked whether it sees
/// them.
pub(super) async fn gpus(
    agent: &Arc<Agent>,
    attempt: &Attempt,
    start: &Start,
    count: u32,
    stop: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let mut environment = agent.environment().to_vec();
    environment.extend(start.spec.environment.env.iter().map(|(name, value)| (name.clone(), value.clone())));
    let step = Step {
        program: "python3".to_owned(),
        arguments: vec!["-c".to_owned(), CHECK_GPUS.to_owned(), count.to_string()],
        directory: agent.layout().root().to_string_lossy().into_owned(),
        title: None,
    };
    let aside = Aside { environment, step, within: GPUS_WITHIN, keep: OUTPUT_BYTES };
    let done = aside::run(aside, stop).await.map_err(Failure::internal)?;
    if done.stopped {
        return Ok(());
    }
    if done.late {
        let cause = format!("the GPUs did not compute within {} s", GPUS_WITHIN.as_secs());
        return Err(Failure::of_machine("cuda_broken", cause));
    }
    let output = String::from_utf8_lossy(&done.output);
    match output.lines().rev().find_map(|line| serde_json::from_str::<Told>(line).ok()) {
        Some(told) if told.word == "ok" => {
            attempt.output().note(&format!("{count} GPU(s) checked: {}", told.text));
            Ok(())
        }
        Some(told) if told.word == "broken" => Err(broken(&told.text)),
        // No Python, no PyTorch, or one that crashed while it was imported: the driver itself is asked.
        Some(_) | None => {
            let seen = tokio::task::spawn_blocking(gpus_of_driver).await.map_err(Failure::internal)?;
            match seen {
                Ok(seen) if seen >= count => Ok(()),
                Ok(seen) => Err(broken(&format!("the driver sees {seen} of {count} GPUs"))),
                Err(error) => Err(broken(&format!("the driver does not answer: {error}"))),
            }
        }
    }
}

/// A GPU that the image's PyTorch was not built for is no fault of the machine.
fn broken(text: &str) -> Failure {
    let cause = format!("the check of the GPUs failed: {text}");
    if text.contains("no kernel image") {
        let remedy =
            "use an image whose PyTorch knows this GPU (`environment.image`), or another `resources.gpu`";
        return Failure::new("cuda_unsupported", cause, remedy);
    }
    Failure::of_machine("cuda_broken", cause)
}

fn gpus_of_driver() -> Result<u32, nvml_wrapper::error::NvmlError> {
    let nvml = Nvml::init()?;
    let count = nvml.device_count()?;
    for index in 0..count {
        nvml.device_by_index(index)?.memory_info()?;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_not_what_was_ordered_is_the_machines_fault() {
        assert!(judge_disk(50 * GB, GB, 80).is_ok());
        assert!(judge_disk(7 * GB, 0, 80).unwrap_err().machine_fault);
        let ours = judge_disk(9 * GB, 3 * GB, 80).unwrap_err();
        assert_eq!((ours.machine_fault, ours.diagnosis.code.as_str()), (false, "disk_full"));
    }

    #[test]
    fn a_card_that_pytorch_does_not_know_is_not_the_machines_fault() {
        assert!(broken("CUDA error: unspecified launch failure").machine_fault);
        assert!(
            !broken("CUDA error: no kernel image is available for execution on the device").machine_fault
        );
    }
}
