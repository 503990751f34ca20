//! Uploads that are cut and taken up again, with other bytes, from other places, after the part was damaged: what is
//! accepted under a digest has that digest.

use std::convert::Infallible;

use bytes::Bytes;
use sha2::{Digest, Sha256 as Hasher};
use trainyard_domain::Sha256;
use trainyard_storage::{InputError, InputFiles, Received};

use super::kinds::{Tally, turned};
use super::wanted;
use crate::dice::Dice;

/// Corruptions of the suite's share.
const SHARE: usize = 2000;

#[tokio::test]
async fn no_corruption_of_a_resume_is_accepted() {
    let (mut dice, mut tally) = (Dice::new("corrupted resumes"), Tally::default());
    let directory = tempfile::tempdir().expect("a directory");
    let inputs = InputFiles::open(directory.path(), 1 << 30).await.expect("inputs");
    let wanted = wanted(SHARE);
    while tally.total() < wanted {
        let truth: Vec<u8> =
            (0..2 + dice.below(4000)).map(|_| u8::try_from(dice.below(256)).unwrap_or(0)).collect();
        let sha = Sha256::from_bytes(Hasher::digest(&truth).into());
        // Cut somewhere, once or twice, then taken up in a wrong way.
        let cut = dice.below(truth.len() as u64) as usize;
        let begun = write(&inputs, sha, 0, truth.len(), &truth[..cut]).await;
        assert_eq!(begun.expect("a part"), Received::Partial { bytes: cut as u64 });
        let kind = corrupt(&mut dice, &inputs, sha, &truth, cut).await;
        tally.count(kind);
        // Whatever came of it: nothing wrong stands under the digest, and the truth is still taken.
        if let Ok(bytes) = std::fs::read(inputs.path(&sha)) {
            assert_eq!(bytes, truth, "{kind}: other bytes stand under the digest");
        }
        take(&inputs, sha, &truth).await;
        assert_eq!(std::fs::read(inputs.path(&sha)).expect("it is there"), truth, "{kind}");
        std::fs::remove_file(inputs.path(&sha)).expect("removed");
    }
    trainyard_tests::say(&format!(
        "{} corruptions of resumes, none accepted: {}",
        tally.total(),
        tally.tell()
    ));
}

/// Goes on in a wrong way; says which.
async fn corrupt(
    dice: &mut Dice,
    inputs: &InputFiles,
    sha: Sha256,
    truth: &[u8],
    cut: usize,
) -> &'static str {
    let (total, rest) = (truth.len(), truth[cut..].to_vec());
    let part = inputs.path(&sha).with_file_name(".part").join(sha.to_string());
    match dice.below(10) {
        0..=2 => {
            refused(write(inputs, sha, cut, total, &turned(dice, rest)).await);
            "one bit of the rest is turned"
        }
        3 => {
            let more = [rest, vec![0; 1 + dice.below(9) as usize]].concat();
            refused(write(inputs, sha, cut, total, &more).await);
            "the rest is too long"
        }
        4 => {
            let from = dice.below(total as u64) as usize;
            let taken = write(inputs, sha, from, total, &truth[from..]).await;
            assert!(from == cut || taken.is_err(), "taken from {from}, though {cut} bytes were there");
            "it goes on somewhere else"
        }
        5 if cut > 0 => {
            let damaged = turned(dice, std::fs::read(&part).expect("the part"));
            std::fs::write(&part, damaged).expect("written");
            refused(write(inputs, sha, cut, total, &rest).await);
            "the part on the disk is damaged"
        }
        6 if cut > 0 => {
            let shorter = std::fs::read(&part).expect("the part")[..cut - 1].to_vec();
            std::fs::write(&part, shorter).expect("written");
            refused(write(inputs, sha, cut, total, &rest).await);
            "the part on the disk lost its end"
        }
        7 => {
            let other: Vec<u8> = (0..rest.len()).map(|i| rest[i].wrapping_add(1)).collect();
            refused(write(inputs, sha, cut, total, &other).await);
            "the object changed in between"
        }
        8 => {
            refused(write(inputs, sha, cut, total + 1, &[rest, vec![0]].concat()).await);
            "it is announced longer"
        }
        _ => {
            let end = dice.below(rest.len() as u64) as usize;
            let taken = write(inputs, sha, cut, total, &rest[..end]).await.expect("a part");
            assert_eq!(taken, Received::Partial { bytes: (cut + end) as u64 });
            "cut once more"
        }
    }
}

#[track_caller]
fn refused(taken: Result<Received, InputError>) {
    assert!(taken.is_err(), "{taken:?}");
}

/// Takes the whole, from wherever it stands.
async fn take(inputs: &InputFiles, sha: Sha256, truth: &[u8]) {
    // What was begun wrongly is refused once, and begun anew.
    for _ in 0..2 {
        let at = match inputs.received(&sha).await.expect("looked") {
            Received::Complete { .. } => return,
            Received::Partial { bytes } => usize::try_from(bytes).expect("a small file").min(truth.len()),
        };
        let taken = write(inputs, sha, at, truth.len(), &truth[at..]).await;
        if matches!(taken, Ok(Received::Complete { .. })) {
            return;
        }
    }
    panic!("the truth is not taken");
}

async fn write(
    inputs: &InputFiles,
    sha: Sha256,
    offset: usize,
    total: usize,
    bytes: &[u8],
) -> Result<Received, InputError> {
    let half = bytes.len() / 2;
    let chunks =
        [&bytes[..half], &bytes[half..]].map(|part| Ok::<_, Infallible>(Bytes::copy_from_slice(part)));
    let chunks = futures_util::stream::iter(chunks);
    inputs.write(sha, offset as u64, total as u64, chunks).await
}
