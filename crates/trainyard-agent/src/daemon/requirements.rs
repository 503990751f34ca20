//! How the packages that a job asks for come: in a virtual environment of the attempt, so that the machine's own Python
//! is never changed, which some refuse and others would not survive.
//!
//! It is made first, so that setup commands that call `pip` fill it too. It stands first on `PATH` for everything after
//! it, the training included; what the machine's Python has is seen from inside.

use std::io;
use std::path::Path;

use super::layout::Layout;
use super::place;

const PROGRAM: &str = include_str!("requirements.py");
/// The Python of the machine: the first one on the training's `PATH`.
const PYTHON: &str = "python3";

/// One step: its title, program and arguments.
pub(super) type InstallStep = (&'static str, &'static str, Vec<String>);

/// Writes the program down, and gives the step before the setup commands and the one after them.
pub(super) fn steps(layout: &Layout) -> io::Result<[InstallStep; 2]> {
    let program = layout.requirements_program();
    place::replace(&program, PROGRAM.as_bytes())?;
    let arguments = |what: &str| vec![text(&program), what.to_owned(), text(&layout.venv_dir())];
    Ok([
        ("making a virtual environment", PYTHON, arguments("make")),
        ("installing the requirements", PYTHON, arguments("install")),
    ])
}

/// The variables that put the virtual environment first.
pub(super) fn environment(layout: &Layout, given: &[(String, String)]) -> Vec<(String, String)> {
    let venv = layout.venv_dir();
    let mut path = text(&venv.join("bin"));
    if let Some((_, more)) = given.iter().rev().find(|(name, _)| name == "PATH") {
        path.push(':');
        path.push_str(more);
    }
    vec![("PATH".to_owned(), path), ("VIRTUAL_ENV".to_owned(), text(&venv))]
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
