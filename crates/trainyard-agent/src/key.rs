//! The key that commands an agent. The agent itself only ever has the public half.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

/// Signs requests to agents. Made from a seed that only the orchestrator has; its content is never printed. Clones
/// share it.
#[derive(Clone)]
pub struct SigningKey {
    pair: Arc<Ed25519KeyPair>,
}

/// A key that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key is not an Ed25519 key")]
pub struct KeyError;

impl SigningKey {
    /// The key of that seed.
    ///
    /// # Errors
    /// [`KeyError`] where the cryptography library refuses it, which it does for no seed known.
    pub fn from_seed(seed: [u8; 32]) -> Result<SigningKey, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| KeyError)?;
        Ok(SigningKey { pair: Arc::new(pair) })
    }

    /// The public half in hexadecimal digits, as an agent is given it.
    pub fn public_hex(&self) -> String {
        hex::encode(self.pair.public_key().as_ref())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

/// The public half, which checks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PublicKey([u8; 32]);

impl PublicKey {
    pub(crate) fn from_hex(text: &str) -> Result<PublicKey, KeyError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| KeyError)?;
        Ok(PublicKey(bytes))
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_checked_by_the_public_half_alone() {
        let key = SigningKey::from_seed([7; 32]).unwrap();
        let public = PublicKey::from_hex(&key.public_hex()).unwrap();
        let signature = key.sign(b"stop");
        assert!(public.verifies(b"stop", &signature));
        assert!(!public.verifies(b"stip", &signature));
        let other = SigningKey::from_seed([8; 32]).unwrap();
        assert!(!public.verifies(b"stop", &other.sign(b"stop")));
    }

    #[test]
    fn a_key_is_not_printed() {
        let key = SigningKey::from_seed([7; 32]).unwrap();
        assert_eq!(format!("{key:?}"), "SigningKey(…)");
    }
}
