//! The installation: its id and its key, in a file of its own beside the database ("back this up").
//!
//! The keys towards agents and the key that seals secrets derive from it (HMAC-SHA-256 as in RFC 5869's expand
//! step, one label each), so nothing else needs to be kept to command what was rented.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};
use trainyard_domain::{InstallationId, Timestamp};

use crate::Clock;

/// Who this installation is. `Debug` shows the id only.
#[derive(Clone)]
pub struct Installation {
    id: InstallationId,
    key: [u8; 32],
    made_at: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    note: String,
    id: InstallationId,
    key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    made_at: Option<Timestamp>,
}

/// Why an installation's file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum InstallationError {
    /// The file could not be read or written.
    #[error("the installation's file `{path}` could not be read or written")]
    File {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error(
        "the installation's file `{path}` is damaged: restore it from your backup; without it running machines cannot be commanded and secrets cannot be read"
    )]
    Damaged {
        /// Which file.
        path: String,
    },
}

impl Installation {
    /// Reads `directory/installation`, or makes it (mode 0600) where there is none.
    ///
    /// # Errors
    /// [`InstallationError`]; a damaged file is never replaced.
    pub fn open(directory: &Path, clock: &dyn Clock) -> Result<Installation, InstallationError> {
        let path = directory.join("installation");
        let file = |source| InstallationError::File { path: path.display().to_string(), source };
        match fs::read(&path) {
            Ok(bytes) => Self::parse(&bytes)
                .ok_or_else(|| InstallationError::Damaged { path: path.display().to_string() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = Self::make(clock);
                made.write(directory).map_err(file)?;
                Ok(made)
            }
            Err(error) => Err(file(error)),
        }
    }

    fn parse(bytes: &[u8]) -> Option<Installation> {
        let stored: Stored = serde_json::from_slice(bytes).ok()?;
        let mut key = [0; 32];
        hex::decode_to_slice(&stored.key, &mut key).ok()?;
        Some(Installation { id: stored.id, key, made_at: stored.made_at })
    }

    fn make(clock: &dyn Clock) -> Installation {
        const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut dice = clock.random();
        let mut id = String::with_capacity(8);
        for _ in 0..8 {
            id.push(char::from(LETTERS[(dice & 31) as usize]));
            dice >>= 5;
        }
        let mut key = [0; 32];
        key[..16].copy_from_slice(&clock.random().to_le_bytes());
        key[16..].copy_from_slice(&clock.random().to_le_bytes());
        #[expect(clippy::expect_used, reason = "eight letters of the alphabet above are a valid id")]
        let id = id.parse().expect("eight lower-case letters or digits");
        Installation { id, key, made_at: Some(clock.now()) }
    }

    fn write(&self, directory: &Path) -> io::Result<()> {
        let stored = Stored {
            note: "Back this up. It opens your stored secrets and commands your rented machines.".to_owned(),
            id: self.id.clone(),
            key: hex::encode(self.key),
            made_at: self.made_at,
        };
        let part = directory.join("installation.part");
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(&serde_json::to_vec_pretty(&stored)?)?;
        file.sync_all()?;
        fs::rename(&part, directory.join("installation"))?;
        fs::File::open(directory)?.sync_all()
    }

    /// Its id, part of every order's name.
    pub fn id(&self) -> &InstallationId {
        &self.id
    }

    /// When it was made; none where its file does not tell.
    pub(crate) fn made_at(&self) -> Option<Timestamp> {
        self.made_at
    }

    /// The seed of the Ed25519 key that signs requests to agents.
    pub fn agent_seed(&self) -> [u8; 32] {
        self.derive(b"trainyard agent signing key v1")
    }

    /// What the SSH keys are made from that open rented machines and that those machines show.
    pub fn ssh_seed(&self) -> [u8; 32] {
        self.derive(b"trainyard machine SSH keys v1")
    }

    /// The key that seals secrets at rest.
    pub(crate) fn sealing_key(&self) -> [u8; 32] {
        self.derive(b"trainyard secret sealing key v1")
    }

    fn derive(&self, label: &[u8]) -> [u8; 32] {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.key), label);
        let mut key = [0; 32];
        key.copy_from_slice(tag.as_ref());
        key
    }
}

impl std::fmt::Debug for Installation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Installation").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemClock;

    #[test]
    fn is_made_once_and_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let first = Installation::open(directory.path(), &SystemClock).unwrap();
        let again = Installation::open(directory.path(), &SystemClock).unwrap();
        assert_eq!(first.id(), again.id());
        assert_eq!(first.agent_seed(), again.agent_seed());
        assert_ne!(first.agent_seed(), first.sealing_key());
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(directory.path().join("installation")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_file_is_named_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("installation"), "{").unwrap();
        let error = Installation::open(directory.path(), &SystemClock).unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");
        assert_eq!(fs::read(directory.path().join("installation")).unwrap(), b"{");
    }
}
