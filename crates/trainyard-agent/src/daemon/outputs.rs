//! Where programs that know nothing of `TRAINYARD_OUTPUT_DIR` write: links in the working directory that lead there.
//!
//! Promises: nothing that the code brings is replaced, and nothing is made but links. Such a program's checkpoints and
//! adapter are then watched, kept and brought home like those of one that knows.

use std::os::unix::fs::symlink;
use std::path::Path;

/// Where well-known trainers write unless told otherwise: axolotl's examples (`outputs/…`) and its default
/// (`model-out`), LLaMA-Factory (`saves/…`), Transformers and TRL (`trainer_output`), Unsloth's notebooks (`outputs`,
/// `lora_model`), and the name that most scripts choose (`output`).
const NAMES: &[&str] = &["outputs", "output", "saves", "trainer_output", "model-out", "lora_model"];

/// Links every name that is not there; tells those that are there as directories. One that cannot be made is left out:
/// the program may still be told where to write.
pub(super) fn link(directory: &Path, output: &Path) -> Vec<&'static str> {
    let mut there = Vec::new();
    for name in NAMES {
        let path = directory.join(name);
        match path.symlink_metadata() {
            Ok(found) if found.is_dir() => there.push(*name),
            Ok(_) => {}
            Err(_) => {
                let _ = symlink(output, path);
            }
        }
    }
    there
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_the_code_brings_is_left_alone_and_the_rest_leads_to_the_output() {
        let dir = tempfile::tempdir().unwrap();
        let (work, output) = (dir.path().join("work"), dir.path().join("output"));
        fs::create_dir_all(work.join("saves/old")).unwrap();
        fs::create_dir_all(&output).unwrap();
        fs::write(work.join("output"), "a file").unwrap();
        assert_eq!(link(&work, &output), ["saves"]);
        fs::create_dir_all(work.join("outputs/lora-out")).unwrap();
        fs::write(work.join("outputs/lora-out/adapter_model.safetensors"), "x").unwrap();
        assert!(output.join("lora-out/adapter_model.safetensors").is_file());
        assert_eq!(fs::read_to_string(work.join("output")).unwrap(), "a file");
        assert!(work.join("saves/old").is_dir() && !output.join("old").exists());
        assert_eq!(link(&work, &output), ["saves"], "twice is as good as once");
    }
}
