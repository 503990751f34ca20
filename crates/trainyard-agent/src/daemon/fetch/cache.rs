//! The model of the `peft` recipe, put where Hugging Face's libraries look before they download: while packages are
//! being installed, so that the machine's time is not waited away twice.
//!
//! It is a help and no duty: what the libraries can still fetch by themselves is left to them. Only what they could not
//! mend either ends the job here: a model that is not there, or not for this token, or too large for the disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::super::attempt::Attempt;
use super::super::failure::Failure;
use super::get::Getter;
use super::hub::{self, Kind};

/// What is known to hold weights a second time, or nothing for training.
const LEFT_OUT: &[&str] =
    &[".onnx", ".gguf", ".h5", ".msgpack", ".ot", ".tflite", ".mlmodel", ".png", ".jpg", ".gif", ".mp4"];
/// Weights in Python's own form, of no use where the safe form is there.
const PICKLED: &[&str] = &[".bin", ".pt", ".pth", ".ckpt"];
/// Directories of the same kind.
const DIRECTORIES: &[&str] = &["original/", "onnx/", "openvino/", "coreml/", "flax/", "metal/"];
/// Failures that another try by the libraries would meet as well.
const FOR_GOOD: &[&str] = &["model_gated", "model_not_found", "disk_full"];

/// Fetches what a training needs of a model.
pub(super) async fn model(
    attempt: &Attempt,
    getter: &Getter,
    name: &str,
    bytes_max: u64,
) -> Result<(), Failure> {
    match fetch(attempt, getter, name, bytes_max).await {
        Err(failure) if FOR_GOOD.contains(&failure.diagnosis.code.as_str()) => Err(failure),
        Err(failure) => {
            let cause = failure.diagnosis.cause;
            attempt.output().note(&format!("the model was not fetched beforehand: {cause}"));
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

async fn fetch(attempt: &Attempt, getter: &Getter, name: &str, bytes_max: u64) -> Result<(), Failure> {
    let Some(cache) = cache_dir(&getter.environment) else { return Ok(()) };
    let scratch = getter.directory.join("model");
    let found = hub::look_up(getter, &getter.directory, Kind::Model, name, None).await?;
    let repository = cache.join(format!("models--{}", name.replace('/', "--")));
    let snapshot = repository.join("snapshots").join(found.commit());
    let wanted: Vec<&String> = needed(&found.files).filter(|path| !snapshot.join(path).exists()).collect();
    let gets: Vec<_> = wanted.iter().filter_map(|path| found.file(path, &scratch, bytes_max)).collect();
    let pairs: Vec<(PathBuf, PathBuf)> = gets
        .iter()
        .filter_map(|get| Some((get.to.clone(), snapshot.join(get.to.strip_prefix(&scratch).ok()?))))
        .collect();
    super::fetch_repository(attempt, getter, name, gets).await?;
    let commit = found.commit().to_owned();
    let placed = tokio::task::spawn_blocking(move || place(&pairs, &repository, &commit)).await;
    placed.map_err(Failure::internal)?.map_err(Failure::internal)?;
    attempt.output().note(&format!("the model {} is in the cache", found.shown()));
    Ok(())
}

/// Whole files only stand under their names; the reference last, since it makes them found.
fn place(pairs: &[(PathBuf, PathBuf)], repository: &Path, commit: &str) -> io::Result<()> {
    for (from, to) in pairs {
        if let Some(dir) = to.parent() {
            fs::create_dir_all(dir)?;
        }
        if fs::rename(from, to).is_err() {
            // Another file system.
            let aside = to.with_extension("part");
            fs::copy(from, &aside)?;
            fs::rename(&aside, to)?;
        }
    }
    fs::create_dir_all(repository.join("refs"))?;
    fs::write(repository.join("refs").join("main"), commit)
}

/// What of a model's repository a training reads.
fn needed(files: &[String]) -> impl Iterator<Item = &String> {
    let ends = |path: &str, endings: &[&str]| endings.iter().any(|ending| path.ends_with(ending));
    let safe = files.iter().any(|path| path.ends_with(".safetensors"));
    files.iter().filter(move |path| {
        let is_twice = safe && ends(path, PICKLED);
        let is_beside = DIRECTORIES.iter().any(|dir| path.starts_with(dir));
        !is_twice && !is_beside && !ends(path, LEFT_OUT)
    })
}

/// Where the libraries keep what they downloaded, by their own rules.
fn cache_dir(environment: &[(String, String)]) -> Option<PathBuf> {
    let of = |name: &str| {
        let found = environment.iter().rev().find(|(of, value)| of == name && !value.is_empty());
        found.map(|(_, value)| PathBuf::from(value))
    };
    of("HF_HUB_CACHE")
        .or_else(|| Some(of("HF_HOME")?.join("hub")))
        .or_else(|| Some(of("XDG_CACHE_HOME")?.join("huggingface").join("hub")))
        .or_else(|| Some(of("HOME")?.join(".cache").join("huggingface").join("hub")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_come_once() {
        let files = |all: &[&str]| all.iter().map(|&path| path.to_owned()).collect::<Vec<_>>();
        let check = |all: &[&str]| needed(&files(all)).cloned().collect::<Vec<_>>().join(" ");
        assert_eq!(
            check(&[
                "config.json",
                "model.safetensors",
                "pytorch_model.bin",
                "onnx/model.onnx",
                "original/x.pth"
            ]),
            "config.json model.safetensors"
        );
        assert_eq!(
            check(&["config.json", "pytorch_model.bin", "tf_model.h5"]),
            "config.json pytorch_model.bin"
        );
    }

    #[test]
    fn the_cache_is_where_the_libraries_have_it() {
        let of = |all: &[(&str, &str)]| {
            let all: Vec<_> = all.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
            cache_dir(&all).map(|path| path.to_string_lossy().into_owned())
        };
        assert_eq!(of(&[("HOME", "/h")]).as_deref(), Some("/h/.cache/huggingface/hub"));
        assert_eq!(of(&[("HOME", "/h"), ("HF_HOME", "/w")]).as_deref(), Some("/w/hub"));
        assert_eq!(of(&[("HF_HUB_CACHE", "/c"), ("HF_HOME", "/w")]).as_deref(), Some("/c"));
        assert_eq!(of(&[]), None);
    }
}
