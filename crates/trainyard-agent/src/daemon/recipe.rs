//! The `peft` recipe: Python files that come with this program, written out for a training, and how they are run.
//!
//! The first step looks what the machine's Python has and installs what is missing; the second becomes the training,
//! or its launcher where there are several GPUs. Neither is pasted anything of the job: they read `TRAINYARD_SPEC`.

use std::fs;
use std::io;
use std::path::Path;

/// The files of the recipe, by their paths below its directory.
const FILES: &[(&str, &str)] = &[
    ("requirements.txt", include_str!("../../recipe/requirements.txt")),
    ("install.py", include_str!("../../recipe/install.py")),
    ("launch.py", include_str!("../../recipe/launch.py")),
    ("trainyard_recipe/__init__.py", include_str!("../../recipe/trainyard_recipe/__init__.py")),
    ("trainyard_recipe/__main__.py", include_str!("../../recipe/trainyard_recipe/__main__.py")),
    ("trainyard_recipe/settings.py", include_str!("../../recipe/trainyard_recipe/settings.py")),
    ("trainyard_recipe/data.py", include_str!("../../recipe/trainyard_recipe/data.py")),
    ("trainyard_recipe/model.py", include_str!("../../recipe/trainyard_recipe/model.py")),
    ("trainyard_recipe/train.py", include_str!("../../recipe/trainyard_recipe/train.py")),
    ("trainyard_recipe/failure.py", include_str!("../../recipe/trainyard_recipe/failure.py")),
];
/// The Python of the machine: the first one on the training's `PATH`.
const PYTHON: &str = "python3";
/// What the log calls the first step.
const INSTALLING: &str = "installing what the recipe needs";

/// One step of the recipe: its title, where it is not the training itself, its program and arguments.
pub(super) type RecipeStep = (Option<String>, &'static str, Vec<String>);

/// Writes the recipe into a directory of its own and tells its steps, the training last.
pub(super) fn place(dir: &Path) -> io::Result<[RecipeStep; 2]> {
    super::place::remove(dir)?;
    for (path, text) in FILES {
        let to = dir.join(path);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(to, text)?;
    }
    let script = |name: &str| vec![dir.join(name).to_string_lossy().into_owned()];
    Ok([(Some(INSTALLING.to_owned()), PYTHON, script("install.py")), (None, PYTHON, script("launch.py"))])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every file beside the recipe is shipped: one that is forgotten would be missed on the machine only.
    #[test]
    fn every_file_of_the_recipe_is_written_out() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipe");
        let mut expected = Vec::new();
        for dir in ["", "trainyard_recipe"] {
            for entry in fs::read_dir(source.join(dir)).unwrap().flatten() {
                let name = entry.file_name().into_string().unwrap();
                if entry.file_type().unwrap().is_file() && (name.ends_with(".py") || name.ends_with(".txt")) {
                    expected.push(Path::new(dir).join(name));
                }
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let steps = place(&dir.path().join("recipe")).unwrap();
        assert!(!expected.is_empty() && expected.len() == FILES.len());
        for path in expected {
            let written = fs::read(dir.path().join("recipe").join(&path)).unwrap();
            assert_eq!(written, fs::read(source.join(&path)).unwrap(), "{}", path.display());
        }
        assert!(steps.iter().all(|(_, _, arguments)| Path::new(&arguments[0]).is_file()));
    }
}
