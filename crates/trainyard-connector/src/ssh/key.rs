//! Ed25519 keys made of a seed: the same seed gives the same key, byte for byte, so nothing need be stored.

use std::fmt;
use std::sync::Arc;

use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::ssh_key::{HashAlg, LineEnding};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg};
use secrecy::SecretString;

use super::SshError;

/// A key pair for SSH, a user's or a machine's. Its private half cannot be printed by accident. Clones share it.
#[derive(Clone)]
pub struct SshKey {
    private: Arc<PrivateKey>,
    public: String,
}

impl SshKey {
    /// The key of that seed.
    ///
    /// # Errors
    /// [`SshError::Key`] where it cannot be written as text, which happens for no seed known.
    pub fn from_seed(seed: &[u8; 32]) -> Result<SshKey, SshError> {
        let private = PrivateKey::from(Ed25519Keypair::from_seed(seed));
        let public = private.public_key().to_openssh().map_err(SshError::Key)?;
        Ok(SshKey { private: Arc::new(private), public })
    }

    /// The public half as `authorized_keys` and `known_hosts` write it: `ssh-ed25519 AAAA…`, without a comment.
    pub fn public(&self) -> &str {
        &self.public
    }

    /// The digest of the public half as people compare it: `SHA256:…`.
    pub fn fingerprint(&self) -> String {
        self.private.fingerprint(HashAlg::Sha256).to_string()
    }

    /// The private half in OpenSSH's form, with line ends of `\n`.
    ///
    /// # Errors
    /// [`SshError::Key`] where it cannot be written.
    pub fn private(&self) -> Result<SecretString, SshError> {
        let text = self.private.to_openssh(LineEnding::LF).map_err(SshError::Key)?;
        Ok(SecretString::from(text.as_str()))
    }

    pub(super) fn to_log_in(&self) -> PrivateKeyWithHashAlg {
        PrivateKeyWithHashAlg::new(self.private.clone(), None)
    }
}

impl fmt::Debug for SshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SshKey({})", self.public)
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_seed_gives_the_same_key_every_time() {
        let (one, two) = (SshKey::from_seed(&[7; 32]).unwrap(), SshKey::from_seed(&[7; 32]).unwrap());
        assert_eq!(one.public(), two.public());
        let (one, two) = (one.private().unwrap(), two.private().unwrap());
        assert_eq!(one.expose_secret(), two.expose_secret());
        let other = SshKey::from_seed(&[8; 32]).unwrap();
        assert_ne!(other.private().unwrap().expose_secret(), one.expose_secret());
    }

    #[test]
    fn what_is_written_can_be_read_and_is_not_printed() {
        let key = SshKey::from_seed(&[7; 32]).unwrap();
        let private = key.private().unwrap();
        let read = PrivateKey::from_openssh(private.expose_secret()).unwrap();
        assert_eq!(read.public_key().to_openssh().unwrap(), key.public());
        assert!(key.public().starts_with("ssh-ed25519 AAAA"), "{}", key.public());
        assert!(!format!("{key:?} {private:?}").contains("PRIVATE"));
    }
}
