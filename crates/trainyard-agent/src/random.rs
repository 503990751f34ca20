//! Random bytes, from the system. The cryptography library's own generator takes 30 ms of processor time to gather
//! its seed, which is several times what an agent's whole start may cost.

use std::fs::File;
use std::io::{self, Read};

/// Bytes that nobody can guess.
pub(crate) fn bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
