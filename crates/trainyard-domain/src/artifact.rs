//! What a training leaves behind, as it is recorded once it is home and verified.

use serde::{Deserialize, Serialize};

use crate::{AttemptNumber, ProviderJobId, ProviderName, Sha256, Timestamp};

/// One file of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactFile {
    /// Relative path with `/`, as the training wrote it; checked to stay inside.
    pub path: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// The digest that the machine made after training, and that the stored bytes have.
    pub hash_sha256: Sha256,
}

/// A job's artifact: every file compared with the machine's digest before any stood under its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactRecord {
    /// Every file, sorted by path; never empty.
    pub files: Vec<ArtifactFile>,
    /// Which of `files` is the main one: `outputs.main`, else `adapter_model.safetensors`, else the largest.
    pub main: usize,
    /// When the last file was verified.
    pub created_at: Timestamp,
    /// The attempt that made it.
    pub attempt: AttemptNumber,
    /// Where it was trained.
    pub provider: ProviderName,
    /// The provider's id of that machine.
    pub provider_job_id: Option<ProviderJobId>,
}

impl ArtifactRecord {
    /// The main file.
    pub fn main_file(&self) -> Option<&ArtifactFile> {
        self.files.get(self.main)
    }

    /// Which file is the main one, by the contract's rule. `None` where there is no file. An adapter in a directory of
    /// the trainer's own counts where it is the only one.
    pub fn choose_main(files: &[ArtifactFile], wanted: Option<&str>) -> Option<usize> {
        let named = |name: &str| files.iter().position(|file| file.path == name);
        let nested = || {
            let inside = |file: &ArtifactFile| file.path.ends_with("/adapter_model.safetensors");
            let mut all = (0..files.len()).filter(|&i| inside(&files[i]));
            all.next().filter(|_| all.next().is_none())
        };
        wanted
            .and_then(named)
            .or_else(|| named("adapter_model.safetensors"))
            .or_else(nested)
            .or_else(|| (0..files.len()).max_by_key(|&i| (files[i].size_bytes, std::cmp::Reverse(i))))
    }
}

#[cfg(test)]
mod tests {
    use super::{ArtifactFile, ArtifactRecord};
    use crate::Sha256;

    fn main_of<'a>(files: &[(&'a str, u64)], wanted: Option<&str>) -> Option<&'a str> {
        let hash_sha256 = Sha256::from_bytes([0; 32]);
        let all: Vec<ArtifactFile> = files
            .iter()
            .map(|(path, size_bytes)| ArtifactFile {
                path: (*path).to_owned(),
                size_bytes: *size_bytes,
                hash_sha256,
            })
            .collect();
        ArtifactRecord::choose_main(&all, wanted).map(|i| files[i].0)
    }

    #[test]
    fn the_main_file_is_the_wanted_one_else_the_adapter_else_the_largest() {
        let adapter = [("README.md", 9), ("adapter_model.safetensors", 5), ("big.bin", 7)];
        assert_eq!(main_of(&adapter, Some("README.md")), Some("README.md"));
        assert_eq!(main_of(&adapter, Some("missing.bin")), Some("adapter_model.safetensors"));
        assert_eq!(main_of(&adapter, None), Some("adapter_model.safetensors"));
        let nested = [("a/adapter_model.safetensors", 5), ("b", 7)];
        assert_eq!(main_of(&nested, None), Some("a/adapter_model.safetensors"));
        let two = [("a/adapter_model.safetensors", 5), ("b/adapter_model.safetensors", 6), ("c", 7)];
        assert_eq!(main_of(&two, None), Some("c"), "nobody can tell which of the two is meant");
        assert_eq!(main_of(&[("a", 3), ("b", 3)], None), Some("a"), "of equals the first");
        assert_eq!(main_of(&[("empty", 0)], None), Some("empty"));
        assert_eq!(main_of(&[], Some("a")), None);
    }
}
