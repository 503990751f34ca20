//! Complete checkpoints under the checkpoint directory and the output directory.
//!
//! A directory that matches the pattern is complete when
//! - its name is not that of something half made (`tmp-…`, `.…`, `….tmp`), there is no `checkpoint-is-incomplete.txt` in
//!   it, and it holds at least one file;
//! - its `trainer_state.json` is there, or no checkpoint beside it has one (the trainer writes none);
//! - its files have the same sizes and times at two looks. Where the training has ended well, nobody writes any more
//!   and one look is enough; where it broke off, a `trainer_state.json` that is whole takes the place of the second.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use trainyard_connector::CheckpointInfo;

use super::trainer_state::global_step;
use super::{Ending, WatchConfig};

/// What the path of a checkpoint begins with when it lies in the output directory and not in the checkpoint directory.
pub const OUTPUT_PREFIX: &str = "@output/";
/// Most checkpoints looked at.
const CHECKPOINTS_MAX: usize = 256;
/// Most files of a checkpoint, and how deep: sharded optimizer states are a level below.
const FILES_MAX: u64 = 10_000;
const DEPTH_MAX: u32 = 4;
/// How far below the two directories a checkpoint may lie: LLaMA-Factory's `saves/MODEL/lora/sft/checkpoint-10`, with
/// room for one more. One look takes at most so many entries of a directory and all below it.
const NESTED_MAX: u32 = 4;
const ENTRIES_MAX: usize = 5000;

/// The directory of a checkpoint, by the path that its [`CheckpointInfo`] tells. The path is not checked: take only
/// paths that came from here.
pub fn checkpoint_dir(config: &WatchConfig, path: &str) -> PathBuf {
    match path.strip_prefix(OUTPUT_PREFIX) {
        Some(path) => config.output_dir.join(path),
        None => config.checkpoint_dir.join(path),
    }
}

/// Bytes of the files of a checkpoint, counted as its [`CheckpointInfo`] counts them.
pub fn checkpoint_bytes(dir: &Path) -> u64 {
    sign(dir).bytes
}

/// The checkpoints known so far.
#[derive(Debug)]
pub(super) struct Checkpoints {
    roots: Vec<(&'static str, PathBuf)>,
    pattern: Vec<String>,
    known: BTreeMap<String, Known>,
}

#[derive(Debug)]
struct Known {
    signature: Signature,
    /// Set once it was complete.
    info: Option<CheckpointInfo>,
}

/// What changes while a checkpoint is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Signature {
    files: u64,
    bytes: u64,
    newest: SystemTime,
}

struct Candidate {
    path: String,
    dir: PathBuf,
    signature: Signature,
    has_state: bool,
}

impl Checkpoints {
    /// Knows what lies there before the training begins: that is listed, and not told as new.
    pub(super) fn new(config: &WatchConfig) -> Self {
        let mut roots = vec![("", config.checkpoint_dir.clone())];
        if config.output_dir != config.checkpoint_dir {
            roots.push((OUTPUT_PREFIX, config.output_dir.clone()));
        }
        let pattern =
            config.pattern.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned);
        let mut checkpoints = Checkpoints { roots, pattern: pattern.collect(), known: BTreeMap::new() };
        checkpoints.look(Some(Ending::Clean));
        checkpoints
    }

    /// Tells the checkpoints that became complete since the last look, newest last.
    pub(super) fn look(&mut self, ending: Option<Ending>) -> Vec<CheckpointInfo> {
        let candidates = self.candidates();
        self.known.retain(|path, _| candidates.iter().any(|candidate| candidate.path == *path));
        let any_has_state = candidates.iter().any(|candidate| candidate.has_state);
        let mut fresh = Vec::new();
        for candidate in candidates {
            if any_has_state && !candidate.has_state {
                self.known.remove(&candidate.path);
                continue;
            }
            let before = self.known.get(&candidate.path);
            let settled = before.is_some_and(|known| known.signature == candidate.signature);
            if settled && before.is_some_and(|known| known.info.is_some()) {
                continue;
            }
            let info = is_complete(&candidate, settled, ending).then(|| info(&candidate));
            fresh.extend(info.clone().map(|info| (candidate.signature.newest, info)));
            self.known.insert(candidate.path, Known { signature: candidate.signature, info });
        }
        fresh.sort_by_key(|(newest, info)| (info.step, *newest));
        fresh.into_iter().map(|(_, info)| info).collect()
    }

    /// Every complete checkpoint, newest last.
    pub(super) fn complete(&self) -> Vec<CheckpointInfo> {
        let mut complete: Vec<_> = self
            .known
            .values()
            .filter_map(|known| Some((known.signature.newest, known.info.clone()?)))
            .collect();
        complete.sort_by_key(|(newest, info)| (info.step, *newest));
        complete.into_iter().map(|(_, info)| info).collect()
    }

    fn candidates(&self) -> Vec<Candidate> {
        let mut out = Vec::new();
        for (prefix, root) in &self.roots {
            let mut matching = Vec::new();
            let mut search = Search { left: ENTRIES_MAX, found: &mut matching };
            search.descend(root, "", &self.pattern, NESTED_MAX);
            for (relative, dir) in matching {
                let is_root = self.roots.iter().any(|(_, root)| *root == dir);
                if is_root || dir.join("checkpoint-is-incomplete.txt").exists() {
                    continue;
                }
                let signature = sign(&dir);
                if signature.files > 0 {
                    let has_state = dir.join("trainer_state.json").is_file();
                    out.push(Candidate { path: format!("{prefix}{relative}"), dir, signature, has_state });
                }
            }
        }
        out
    }
}

fn is_complete(candidate: &Candidate, settled: bool, ending: Option<Ending>) -> bool {
    settled
        || match ending {
            None => false,
            Some(Ending::Clean) => true,
            Some(Ending::Broken) => candidate.has_state && global_step(&candidate.dir).is_some(),
        }
}

fn info(candidate: &Candidate) -> CheckpointInfo {
    let step = global_step(&candidate.dir).or_else(|| step_in(&candidate.path));
    CheckpointInfo { path: candidate.path.clone(), step, size_bytes: candidate.signature.bytes }
}

/// The number at the end of a name, as in `checkpoint-500` or `step_000500`.
fn step_in(path: &str) -> Option<u64> {
    let digits = path.len() - path.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    path[path.len() - digits..].parse().ok()
}

/// A search for directories that match a pattern.
struct Search<'a> {
    /// Entries that are still looked at.
    left: usize,
    found: &'a mut Vec<(String, PathBuf)>,
}

impl Search<'_> {
    /// Those below `dir`, component by component. Where a name does not match the first component, it is looked into
    /// for the whole pattern, as deep as is left: trainers make a directory of their own.
    fn descend(&mut self, dir: &Path, relative: &str, pattern: &[String], nested: u32) {
        let Some((first, rest)) = pattern.split_first() else { return };
        let Ok(entries) = fs::read_dir(dir) else { return };
        for entry in entries.flatten() {
            if self.left == 0 || self.found.len() >= CHECKPOINTS_MAX {
                return;
            }
            self.left -= 1;
            let name = entry.file_name();
            let (Some(name), Ok(kind)) = (name.to_str(), entry.file_type()) else { continue };
            if !kind.is_dir() || is_half_made(name) {
                continue;
            }
            let relative = if relative.is_empty() { name.to_owned() } else { format!("{relative}/{name}") };
            match (matches(first, name), rest.is_empty()) {
                (true, true) => self.found.push((relative, entry.path())),
                (true, false) => self.descend(&entry.path(), &relative, rest, 0),
                (false, _) if nested > 0 => self.descend(&entry.path(), &relative, pattern, nested - 1),
                (false, _) => {}
            }
        }
    }
}

fn is_half_made(name: &str) -> bool {
    name.starts_with("tmp-") || name.starts_with('.') || name.ends_with(".tmp") || name.ends_with(".partial")
}

/// Whether a name matches a pattern in which `*` stands for any text. Linear but for the last star tried.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = name.find(part) else { return false };
        name = &name[at + part.len()..];
    }
    name.ends_with(last)
}

fn sign(dir: &Path) -> Signature {
    let mut signature = Signature { files: 0, bytes: 0, newest: SystemTime::UNIX_EPOCH };
    add_up(dir, DEPTH_MAX, &mut signature);
    signature
}

fn add_up(dir: &Path, depth: u32, signature: &mut Signature) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        if signature.files >= FILES_MAX {
            return;
        } else if metadata.is_dir() && depth > 0 {
            add_up(&entry.path(), depth - 1, signature);
        } else if metadata.is_file() {
            signature.files += 1;
            signature.bytes += metadata.len();
            signature.newest = signature.newest.max(metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        dir: tempfile::TempDir,
        config: WatchConfig,
    }

    impl Place {
        fn new(pattern: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let (output, checkpoints) = (dir.path().join("output"), dir.path().join("checkpoints"));
            fs::create_dir_all(&output).unwrap();
            fs::create_dir_all(&checkpoints).unwrap();
            let config = WatchConfig {
                pattern: pattern.to_owned(),
                ..WatchConfig::new(dir.path().join("metrics.jsonl"), output, checkpoints)
            };
            Place { dir, config }
        }

        fn write(&self, path: &str, content: &str) {
            let path = self.dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }

    fn paths(infos: &[CheckpointInfo]) -> Vec<&str> {
        infos.iter().map(|info| info.path.as_str()).collect()
    }

    #[test]
    fn complete_when_its_state_is_there_and_sizes_settled() {
        let place = Place::new("checkpoint-*");
        let mut checkpoints = Checkpoints::new(&place.config);
        place.write("output/checkpoint-9/model.bin", "12345");
        place.write("output/checkpoint-9/trainer_state.json", r#"{"global_step": 9}"#);
        place.write("output/checkpoint-10/model.bin", "123");
        place.write("output/other/model.bin", "123");
        assert_eq!(checkpoints.look(None), []);
        let expected =
            CheckpointInfo { path: "@output/checkpoint-9".to_owned(), step: Some(9), size_bytes: 23 };
        assert_eq!(checkpoints.look(None), [expected]);
        assert_eq!(checkpoints.look(None), [], "told once");
        place.write("output/checkpoint-10/trainer_state.json", "{\"glob");
        assert_eq!(checkpoints.look(None), []);
        place.write("output/checkpoint-10/trainer_state.json", r#"{"global_step": 10}"#);
        assert_eq!(checkpoints.look(None), [], "its size changed");
        assert_eq!(paths(&checkpoints.look(None)), ["@output/checkpoint-10"]);
        assert_eq!(paths(&checkpoints.complete()), ["@output/checkpoint-9", "@output/checkpoint-10"]);
        assert_eq!(
            checkpoint_dir(&place.config, "@output/checkpoint-9"),
            place.dir.path().join("output/checkpoint-9")
        );
        fs::remove_dir_all(place.dir.path().join("output/checkpoint-9")).unwrap();
        checkpoints.look(None);
        assert_eq!(paths(&checkpoints.complete()), ["@output/checkpoint-10"]);
    }

    #[test]
    fn trainers_may_make_a_directory_of_their_own() {
        let place = Place::new("checkpoint-*");
        let mut checkpoints = Checkpoints::new(&place.config);
        place.write("output/llama/lora/sft/checkpoint-5/trainer_state.json", r#"{"global_step": 5}"#);
        place.write("output/lora-out/checkpoint-6/trainer_state.json", r#"{"global_step": 6}"#);
        place.write("output/a/b/c/d/e/checkpoint-7/trainer_state.json", r#"{"global_step": 7}"#);
        place.write("output/lora-out/checkpoint-6/checkpoint-8/trainer_state.json", r#"{"global_step": 8}"#);
        let told = checkpoints.look(Some(Ending::Clean));
        assert_eq!(paths(&told), ["@output/llama/lora/sft/checkpoint-5", "@output/lora-out/checkpoint-6"]);
    }

    #[test]
    fn half_made_ones_are_not_seen() {
        let place = Place::new("*");
        let mut checkpoints = Checkpoints::new(&place.config);
        for name in ["tmp-checkpoint-1", ".checkpoint-1", "checkpoint-1.tmp", "checkpoint-2"] {
            place.write(&format!("checkpoints/{name}/model.bin"), "1");
        }
        place.write("checkpoints/checkpoint-3/model.bin", "1");
        place.write("checkpoints/checkpoint-2/checkpoint-is-incomplete.txt", "");
        fs::create_dir_all(place.dir.path().join("checkpoints/empty")).unwrap();
        assert_eq!(checkpoints.look(None), []);
        assert_eq!(paths(&checkpoints.look(None)), ["checkpoint-3"]);
    }

    #[test]
    fn at_the_end_nobody_writes_any_more() {
        for (ending, expected) in [(Ending::Clean, &["checkpoint-1"][..]), (Ending::Broken, &[])] {
            let place = Place::new("checkpoint-*");
            let mut checkpoints = Checkpoints::new(&place.config);
            place.write("checkpoints/checkpoint-1/model.bin", "1");
            assert_eq!(paths(&checkpoints.look(Some(ending))), expected, "{ending:?}");
        }
        let place = Place::new("checkpoint-*");
        let mut checkpoints = Checkpoints::new(&place.config);
        place.write("checkpoints/checkpoint-1/trainer_state.json", r#"{"global_step": 7}"#);
        place.write("checkpoints/checkpoint-2/trainer_state.json", r#"{"global_"#);
        let told = checkpoints.look(Some(Ending::Broken));
        assert_eq!((paths(&told), told[0].step), (vec!["checkpoint-1"], Some(7)));
    }

    #[test]
    fn what_lay_there_before_is_listed_and_not_new() {
        let place = Place::new("run-*/checkpoint-*");
        place.write("checkpoints/run-a/checkpoint-5/model.bin", "1");
        let mut checkpoints = Checkpoints::new(&place.config);
        assert_eq!(checkpoints.look(None), []);
        assert_eq!(paths(&checkpoints.complete()), ["run-a/checkpoint-5"]);
    }

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("checkpoint-*", "checkpoint-5", true),
            ("checkpoint-*", "checkpoint", false),
            ("*", "anything", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
            ("a*a", "a", false),
            ("exact", "exact", true),
            ("*-5", "step-5", true),
            ("*-5", "step-55", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
        assert_eq!(step_in("checkpoint-500"), Some(500));
        assert_eq!(step_in("last"), None);
    }
}
