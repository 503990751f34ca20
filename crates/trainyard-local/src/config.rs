//! Where agents live on this machine, and how many trainings run at once.

use std::path::PathBuf;

/// How `local` is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalConfig {
    /// The directory of agents (`machines/`) and of what is kept between attempts (`keep/`).
    pub directory: PathBuf,
    /// The program that is executed as agent; it calls `trainyard_agent::entry` at the top of its `main`. By default
    /// the running program itself.
    pub executable: PathBuf,
    /// The program that is executed with `__train` for the built-in trainer; none: `executable`.
    pub trainer: Option<PathBuf>,
    /// Trainings at once where the machine has no GPU that can be used.
    pub cpu_slots: u32,
    /// Whether GPUs are looked for at all.
    pub use_gpus: bool,
    /// Seconds of silence after which an agent counts as lost.
    pub agent_lost_after_s: u64,
}

impl LocalConfig {
    /// The usual set-up below a directory: one training for every two cores, GPUs where there are any.
    ///
    /// # Errors
    /// Where the running program's path cannot be told.
    pub fn below(directory: PathBuf) -> std::io::Result<LocalConfig> {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
        Ok(LocalConfig {
            directory,
            executable: std::env::current_exe()?,
            trainer: None,
            cpu_slots: (cores / 2).max(1),
            use_gpus: true,
            agent_lost_after_s: 10,
        })
    }
}
