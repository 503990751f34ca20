//! Bringing an artifact home: every file resumed where it broke off, and compared with its digest before it gets its
//! name.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::header::RANGE;
use reqwest::{Method, StatusCode};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use super::wire::ArtifactFile;
use super::{Api, Artifact, SILENCE_MAX};
use crate::exit::{Exit, Failure};

/// Longest time in which the server hashes an artifact again before it answers: 100 GB at 300 MB/s.
pub(crate) const VERIFY_MAX: Duration = Duration::from_secs(330);
/// Tries of one file; each goes on where the one before broke off.
const TRIES_MAX: u32 = 5;

/// A file that is home and has the right digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FetchedFile {
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// Its size in bytes.
    pub(crate) bytes: u64,
    /// Its digest in hex.
    pub(crate) sha256: String,
    /// Whether it is the main one.
    pub(crate) main: bool,
}

/// Downloads every file of a job's artifact below `into`. A file that is there with the right digest is not fetched
/// again. `told` hears name, bytes there and bytes in all.
pub(crate) async fn fetch_artifact(
    api: &Api,
    job: &str,
    into: &Path,
    mut told: impl FnMut(&str, u64, u64),
) -> Result<Vec<FetchedFile>, Failure> {
    let artifact: Artifact = api.post(&["jobs", job, "download-artifact"], &json!({}), VERIFY_MAX).await?;
    let mut fetched = Vec::new();
    for file in &artifact.files {
        let path = inside(into, &file.path)?;
        fetch_file(api, job, file, &path, &mut told).await?;
        fetched.push(FetchedFile {
            path,
            bytes: file.size_bytes,
            sha256: file.hash_sha256.clone(),
            main: is_main(&artifact, file),
        });
    }
    Ok(fetched)
}

fn is_main(artifact: &Artifact, file: &ArtifactFile) -> bool {
    file.hash_sha256 == artifact.hash_sha256 && Path::new(&artifact.path).ends_with(&file.path)
}

/// The place of a file below a directory. A name that leads outside is refused, whoever sent it.
fn inside(directory: &Path, name: &str) -> Result<PathBuf, Failure> {
    let relative = Path::new(name);
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
    if !plain || name.is_empty() || name.contains('\\') {
        return Err(Failure::failed(format!(
            "the server names a file `{name}` that would lie outside; nothing of it was written"
        )));
    }
    Ok(directory.join(relative))
}

async fn fetch_file(
    api: &Api,
    job: &str,
    file: &ArtifactFile,
    path: &Path,
    told: &mut impl FnMut(&str, u64, u64),
) -> Result<(), Failure> {
    let local = |error: std::io::Error| {
        Failure::failed(format!("`{}` cannot be written", path.display())).because(&error)
    };
    if digest_of(path).await.is_some_and(|(digest, _)| digest.finish() == file.hash_sha256) {
        told(&file.path, file.size_bytes, file.size_bytes);
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        tokio::fs::create_dir_all(parent).await.map_err(local)?;
    }
    let part = part_path(path);
    let mut tries = 0;
    loop {
        match fetch_part(api, job, file, &part, told).await {
            Ok(actual) if actual == file.hash_sha256 => break,
            Ok(actual) => {
                // Never stored under its name, nor gone on from.
                tokio::fs::remove_file(&part).await.map_err(local)?;
                tries += 1;
                if tries >= TRIES_MAX {
                    return Err(mismatch(&file.path, &file.hash_sha256, &actual));
                }
            }
            Err(failure) if failure.exit == Exit::Unreachable && tries + 1 < TRIES_MAX => {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(200 << tries)).await;
            }
            Err(failure) => return Err(failure),
        }
    }
    tokio::fs::rename(&part, path).await.map_err(local)
}

/// Why a file was not taken.
pub(crate) fn mismatch(file: &str, expected: &str, actual: &str) -> Failure {
    Failure::failed(format!("`{file}` does not have its digest; it was not stored"))
        .detail(format!("expected {expected}, actual {actual}"))
        .hint("`trainyard artifact verify JOB` tells whether the server's own copy is damaged")
}

fn part_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

/// Goes on with a part, to the end; gives the digest of the whole.
async fn fetch_part(
    api: &Api,
    job: &str,
    file: &ArtifactFile,
    part: &Path,
    told: &mut impl FnMut(&str, u64, u64),
) -> Result<String, Failure> {
    let local = |error: std::io::Error| {
        Failure::failed(format!("`{}` cannot be written", part.display())).because(&error)
    };
    let (mut digest, mut have) = match digest_of(part).await {
        Some((digest, have)) if have < file.size_bytes => (digest, have),
        Some(_) | None => (Running::default(), 0),
    };
    let segments: Vec<&str> = ["jobs", job, "artifact"].into_iter().chain(file.path.split('/')).collect();
    let mut request = api.request(Method::GET, &segments);
    if have > 0 {
        request = request.header(RANGE, format!("bytes={have}-"));
    }
    let response = api.send(request).await?;
    if response.status() != StatusCode::PARTIAL_CONTENT {
        (digest, have) = (Running::default(), 0);
    }
    let mut out = tokio::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .append(have > 0)
        .truncate(have == 0)
        .open(part)
        .await
        .map_err(local)?;
    let mut body = response.bytes_stream();
    loop {
        let piece = match tokio::time::timeout(SILENCE_MAX, body.next()).await {
            Ok(Some(Ok(piece))) => piece,
            Ok(None) => break,
            Ok(Some(Err(error))) => {
                out.flush().await.map_err(local)?;
                return Err(api.not_reached(&error));
            }
            Err(_) => {
                return Err(Failure::new(
                    Exit::Unreachable,
                    "the server fell silent in the middle of a file",
                ));
            }
        };
        have += piece.len() as u64;
        if have > file.size_bytes {
            break;
        }
        digest.0.update(&piece);
        out.write_all(&piece).await.map_err(local)?;
        told(&file.path, have, file.size_bytes);
    }
    out.flush().await.map_err(local)?;
    out.sync_all().await.map_err(local)?;
    if have < file.size_bytes {
        return Err(Failure::new(Exit::Unreachable, format!("`{}` broke off at {have} bytes", file.path)));
    }
    Ok(digest.finish())
}

/// A digest on its way.
#[derive(Debug, Default)]
struct Running(Sha256);

impl Running {
    fn finish(self) -> String {
        hex::encode(self.0.finalize())
    }
}

/// The digest and size of a file that is there.
async fn digest_of(path: &Path) -> Option<(Running, u64)> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || {
        let mut file = std::fs::File::open(path).ok()?;
        let mut running = Running::default();
        let mut buffer = vec![0; 1 << 20];
        let mut bytes = 0;
        loop {
            match std::io::Read::read(&mut file, &mut buffer).ok()? {
                0 => return Some((running, bytes)),
                n => {
                    running.0.update(&buffer[..n]);
                    bytes += n as u64;
                }
            }
        }
    })
    .await
    .ok()?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_the_directory() {
        let home = Path::new("/home/x");
        assert_eq!(inside(home, "a/b.bin").unwrap(), Path::new("/home/x/a/b.bin"));
        for wrong in ["../a", "/etc/passwd", "a/../../b", "", ".", "a\\..\\b"] {
            assert!(inside(home, wrong).is_err(), "{wrong}");
        }
    }
}
