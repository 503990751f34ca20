//! Storage held to the cases of the test kit, and to what only files and a database on disk can promise.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "test code; the helpers of tests too")]

mod artifacts;
mod checkpoints;
mod corruption;
mod directory;
mod inputs;
mod killed;
mod logs;
mod sqlite;
mod writer;

use trainyard_domain::{Job, JobId, JobSpec, Sha256, Timestamp};

fn id(name: &str) -> JobId {
    name.parse().expect("a job's id")
}

fn job(name: &str) -> Job {
    Job::new(id(name), JobSpec::new("trainyard-tiny"), None, Timestamp::UNIX_EPOCH)
}

fn digest(bytes: &[u8]) -> Sha256 {
    use sha2::Digest;
    Sha256::from_bytes(sha2::Sha256::digest(bytes).into())
}

/// Numbers that look random and are the same on every run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).expect("a small number")
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}
