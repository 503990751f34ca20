//! Bringing a file to the server: named by its digest, resumed where an earlier try broke off.

use std::io::SeekFrom;
use std::path::Path;
use std::time::Duration;

use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::Api;
use crate::exit::{Exit, Failure};

/// Bytes per request: small enough that a broken one costs little, large enough that round trips do not count.
const PIECE_BYTES: u64 = 8 << 20;
/// Longest time for one piece: 8 MiB over 100 kB/s.
const PIECE_MAX: Duration = Duration::from_secs(90);
/// Tries in a row without a byte more on the server.
const TRIES_MAX: u32 = 5;

/// A file that the server has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upload {
    /// Its digest in hex; the job names it `input:` and this.
    pub(crate) sha256: String,
    /// Its size in bytes.
    pub(crate) bytes: u64,
    /// How many of them had to be sent now.
    pub(crate) sent: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Received {
    received: u64,
    complete: bool,
}

/// Hashes a file, then sends what the server does not have yet. `told` hears how many bytes are there.
///
/// Dropped at any point it can be called again and goes on from there.
pub(crate) async fn upload(
    api: &Api,
    path: &Path,
    mut told: impl FnMut(u64, u64),
) -> Result<Upload, Failure> {
    let unreadable = |error: &std::io::Error| {
        Failure::usage(format!("the file `{}` cannot be read", path.display())).because(error)
    };
    let (sha256, bytes) = digest(path).await.map_err(|error| unreadable(&error))?;
    let mut there = have(api, &sha256).await?;
    let mut sent = 0;
    let mut tries = 0;
    while !there.complete {
        let from = there.received.min(bytes);
        if from == bytes && bytes > 0 {
            // Somebody else sent the last piece, and the server is looking at the digest.
            tries += 1;
            there = look_again(api, &sha256, tries).await?;
            if tries < TRIES_MAX {
                continue;
            }
        }
        let piece = read_piece(path, from, bytes).await.map_err(|error| unreadable(&error))?;
        let length = piece.len() as u64;
        match put(api, &sha256, from, bytes, piece).await {
            Ok(now) => {
                sent += length;
                tries = if now.complete || now.received > from { 0 } else { tries + 1 };
                there = now;
            }
            Err(failure) if may_pass(&failure) && tries < TRIES_MAX => {
                tries += 1;
                let now = look_again(api, &sha256, tries).await?;
                // Somebody else gets on with it.
                tries = if now.complete || now.received > from { 0 } else { tries };
                there = now;
            }
            Err(failure) => return Err(failure),
        }
        if tries >= TRIES_MAX {
            return Err(Failure::failed(format!("the server does not take `{}`", path.display()))
                .hint("is its disk full? Try again: what it has is kept"));
        }
        told(there.received, bytes);
    }
    Ok(Upload { sha256, bytes, sent })
}

/// Whether the next try may go well: nobody answered, or somebody else uploads the same file, so that a piece comes at the
/// wrong time or begins at the wrong place.
fn may_pass(failure: &Failure) -> bool {
    let codes = ["input_busy", "input_offset"];
    failure.exit == Exit::Unreachable || failure.code.as_deref().is_some_and(|code| codes.contains(&code))
}

/// SHA-256 and size of a file, read in pieces off the runtime's threads.
async fn digest(path: &Path) -> std::io::Result<(String, u64)> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || {
        let mut file = std::fs::File::open(path)?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        let mut bytes = 0;
        loop {
            match std::io::Read::read(&mut file, &mut buffer)? {
                0 => return Ok((hex::encode(hasher.finalize()), bytes)),
                n => {
                    hasher.update(&buffer[..n]);
                    bytes += n as u64;
                }
            }
        }
    })
    .await
    .map_err(std::io::Error::other)?
}

async fn read_piece(path: &Path, from: u64, total: u64) -> std::io::Result<Vec<u8>> {
    let mut file = tokio::fs::File::open(path).await?;
    file.seek(SeekFrom::Start(from)).await?;
    let wanted = PIECE_BYTES.min(total - from);
    let mut piece = Vec::new();
    file.take(wanted).read_to_end(&mut piece).await?;
    if (piece.len() as u64) < wanted {
        return Err(std::io::Error::other("it became shorter while it was uploaded"));
    }
    Ok(piece)
}

/// After a while: longer at each try.
async fn look_again(api: &Api, sha256: &str, tries: u32) -> Result<Received, Failure> {
    tokio::time::sleep(Duration::from_millis(200 << tries)).await;
    have(api, sha256).await
}

/// How much of a file is there. `HEAD` answers with the number of bytes.
async fn have(api: &Api, sha256: &str) -> Result<Received, Failure> {
    let request = api.request(Method::HEAD, &["inputs", sha256]).timeout(super::CALL_MAX);
    let response = request.send().await.map_err(|error| api.not_reached(&error))?;
    if response.status() == StatusCode::NOT_FOUND {
        return Ok(Received::default());
    }
    if !response.status().is_success() {
        return Err(api.refused(response).await);
    }
    let text = |name: &str| response.headers().get(name)?.to_str().ok();
    let received = text("upload-offset").and_then(|offset| offset.parse().ok()).unwrap_or(0);
    Ok(Received { received, complete: text("upload-complete") == Some("?1") })
}

async fn put(api: &Api, sha256: &str, from: u64, total: u64, piece: Vec<u8>) -> Result<Received, Failure> {
    let mut request = api.request(Method::PUT, &["inputs", sha256]).timeout(PIECE_MAX);
    if piece.len() as u64 != total {
        let last = from + piece.len() as u64 - 1;
        request = request.header(CONTENT_RANGE, format!("bytes {from}-{last}/{total}"));
    }
    api.call(request.header(CONTENT_TYPE, "application/octet-stream").body(piece)).await
}
