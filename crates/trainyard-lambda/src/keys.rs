//! The SSH keys: the installation's own, and each machine's host key.
//!
//! All are made from one secret of the installation and a label, so the same ones come out after a restart and nothing
//! need be stored. The installation's key opens its machines; it never leaves this process but for the vendor's list
//! of public keys. A machine's host key travels in its order and opens nothing.

use aws_lc_rs::hmac;
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use trainyard_connector::ConnectorError;
use trainyard_connector::ssh::SshKey;
use trainyard_domain::{InstallationId, OrderName};

/// What the installation's key is made with.
const USER_LABEL: &str = "trainyard lambda ssh user key v1";
/// What a machine's host key is made with; the order's name follows.
const HOST_LABEL: &str = "trainyard lambda ssh host key v1 ";
/// Digits of the digest in the key's name: enough that another key has another name.
const DIGEST_DIGITS: usize = 12;

/// The private key that opens an installation's machines at Lambda, in OpenSSH's form, for a person who logs in.
///
/// # Errors
/// Where the cryptography library refuses the seed, which it does for none known.
pub fn user_key(seed: &[u8; 32]) -> Result<SecretString, ConnectorError> {
    Ok(SshKey::from_seed(&derive(seed, USER_LABEL))?.private()?)
}

/// The installation's SSH keys.
#[derive(Clone)]
pub(crate) struct Keys {
    seed: [u8; 32],
    user: SshKey,
    name: String,
}

impl Keys {
    pub(crate) fn new(seed: [u8; 32], installation: &InstallationId) -> Result<Keys, ConnectorError> {
        let user = SshKey::from_seed(&derive(&seed, USER_LABEL))?;
        let digest = hex::encode(Sha256::digest(user.public()));
        let name = format!("trainyard-{installation}-{}", &digest[..DIGEST_DIGITS]);
        Ok(Keys { seed, user, name })
    }

    /// The key that opens the installation's machines.
    pub(crate) fn user(&self) -> &SshKey {
        &self.user
    }

    /// The name under which it is registered. It holds a digest of the key: another key has another name, so nothing
    /// is ever overwritten.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether a key at Lambda is called as this program calls that installation's keys.
    pub(crate) fn is_named_for(name: &str, installation: &InstallationId) -> bool {
        let digest = name.strip_prefix(&format!("trainyard-{installation}-"));
        digest.is_some_and(|digest| {
            digest.len() == DIGEST_DIGITS && digest.bytes().all(|b| b.is_ascii_hexdigit())
        })
    }

    /// The host key of an order's machine.
    pub(crate) fn host(&self, order: &OrderName) -> Result<SshKey, ConnectorError> {
        Ok(SshKey::from_seed(&derive(&self.seed, &format!("{HOST_LABEL}{order}")))?)
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("name", &self.name).finish_non_exhaustive()
    }
}

fn derive(seed: &[u8; 32], label: &str) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, seed), label.as_bytes());
    let mut key = [0; 32];
    key.copy_from_slice(tag.as_ref());
    key
}

/// Whether two texts are the same public key, whatever their comments.
pub(crate) fn is_same_key(one: &str, other: &str) -> bool {
    let parts = |text: &str| {
        let mut words = text.split_whitespace().map(str::to_owned);
        (words.next(), words.next())
    };
    parts(one) == parts(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(seed: u8, installation: &str) -> Keys {
        Keys::new([seed; 32], &installation.parse().unwrap()).unwrap()
    }

    #[test]
    fn every_machine_has_a_host_key_of_its_own() {
        let keys = keys(1, "abcd1234");
        let order = |last: char| format!("ty-abcd1234-{}{last}", "0".repeat(25)).parse().unwrap();
        let (one, two) = (keys.host(&order('1')).unwrap(), keys.host(&order('2')).unwrap());
        assert_ne!(one.public(), two.public());
        assert_ne!(one.public(), keys.user().public());
        assert_eq!(one.public(), keys.host(&order('1')).unwrap().public());
    }

    #[test]
    fn another_key_has_another_name() {
        assert_eq!(keys(1, "abcd1234").name(), keys(1, "abcd1234").name());
        assert_ne!(keys(1, "abcd1234").name(), keys(2, "abcd1234").name());
        let name = keys(1, "abcd1234").name().to_owned();
        assert!(name.starts_with("trainyard-abcd1234-") && name.len() <= 64, "{name}");
    }

    #[test]
    fn keys_are_compared_without_their_comments() {
        assert!(is_same_key("ssh-ed25519 AAAA me@here", " ssh-ed25519  AAAA\n"));
        assert!(!is_same_key("ssh-ed25519 AAAA", "ssh-ed25519 AAAB"));
        assert!(!is_same_key("ssh-rsa AAAA", "ssh-ed25519 AAAA"));
    }

    #[test]
    fn nothing_secret_is_printed() {
        let keys = keys(1, "abcd1234");
        assert!(!format!("{keys:?}").contains("[1, 1"));
    }
}
