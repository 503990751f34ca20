//! A machine's directory, and how a program is started on it.

use std::io;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::world::{Machine, World};

/// In the environment of every process of a world.
const WORLD_MARK: &str = "TRAINYARD_SIM_WORLD";
/// In the environment of every process of a machine.
const MACHINE_MARK: &str = "TRAINYARD_SIM_MACHINE";

/// Starts programs on a machine, as its vendor would start the machine's own (Lambda's SSH server needs that).
#[derive(Debug, Clone)]
pub struct Commands {
    home: PathBuf,
    variables: Vec<(String, String)>,
    path: std::ffi::OsString,
}

impl World {
    /// Makes the machine's directory where it is not there yet.
    pub fn commands(&self, machine: &Machine) -> io::Result<Commands> {
        let (home, tmp) = (machine.root.join("home"), machine.root.join("tmp"));
        std::fs::create_dir_all(&home)?;
        std::fs::create_dir_all(&tmp)?;
        let mut variables: Vec<(String, String)> = vec![
            ("HOME".to_owned(), text(&home)),
            ("TMPDIR".to_owned(), text(&tmp)),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ];
        variables.extend(self.options().image_environment.clone());
        variables.extend(machine.order.environment.of(machine));
        variables.push((WORLD_MARK.to_owned(), self.mark().to_owned()));
        variables.push((MACHINE_MARK.to_owned(), format!("{}-{}", self.mark(), machine.uid.0)));
        Ok(Commands { home, variables, path: self.options().path.clone() })
    }
}

impl Commands {
    /// A program with its arguments; none where there is no program. Its output goes where the caller says. It leads a
    /// process group of its own and is killed with the machine.
    pub fn command(&self, program: &[String]) -> Option<Command> {
        let (first, rest) = program.split_first()?;
        let mut command = Command::new(first);
        command
            .args(rest)
            .env_clear()
            .env("PATH", &self.path)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.home)
            .process_group(0);
        Some(command)
    }

    /// The working directory and home of its programs.
    pub fn home(&self) -> &Path {
        &self.home
    }
}

/// What every process of that machine bears.
pub(super) fn machine_mark(world: &World, machine: &Machine) -> String {
    format!("{MACHINE_MARK}={}-{}", world.mark(), machine.uid.0)
}

/// What every process of every machine bears.
pub(super) fn world_mark(world: &World) -> String {
    format!("{WORLD_MARK}={}", world.mark())
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
