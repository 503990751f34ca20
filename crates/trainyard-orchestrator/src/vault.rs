//! Secrets at rest: AES-256-GCM under the installation's key, a fresh nonce each, the name as associated data, so
//! that a sealed value moved under another name does not open.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use secrecy::{ExposeSecret, SecretString};
use trainyard_domain::SecretName;

use crate::{Error, ErrorKind, Installation};

/// Seals and opens secrets.
pub(crate) struct Vault(LessSafeKey);

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault(…)")
    }
}

impl Vault {
    pub(crate) fn new(installation: &Installation) -> Result<Vault, Error> {
        let key =
            UnboundKey::new(&AES_256_GCM, &installation.sealing_key()).map_err(|_| broken("no cipher"))?;
        Ok(Vault(LessSafeKey::new(key)))
    }

    /// Nonce and ciphertext.
    pub(crate) fn seal(&self, name: &SecretName, value: &SecretString) -> Result<Vec<u8>, Error> {
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| broken("the system gives no random numbers"))?;
        let mut sealed = value.expose_secret().as_bytes().to_vec();
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad(name), &mut sealed)
            .map_err(|_| broken("it could not be sealed"))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    pub(crate) fn open(&self, name: &SecretName, sealed: &[u8]) -> Result<SecretString, Error> {
        let damaged = || broken("it does not open with this installation's key: set it again");
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>().ok_or_else(damaged)?;
        let mut text = text.to_vec();
        let opened = self
            .0
            .open_in_place(Nonce::assume_unique_for_key(*nonce), aad(name), &mut text)
            .map_err(|_| damaged())?;
        let value = std::str::from_utf8(opened).map_err(|_| damaged())?;
        Ok(SecretString::from(value.to_owned()))
    }
}

fn aad(name: &SecretName) -> Aad<&[u8]> {
    Aad::from(name.as_str().as_bytes())
}

fn broken(why: &str) -> Error {
    Error::new(ErrorKind::Internal, "secret_unreadable", "the secret cannot be used").detail(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemClock;

    #[test]
    fn opens_under_its_own_name_and_key_only() {
        let directory = tempfile::tempdir().unwrap();
        let vault = Vault::new(&Installation::open(directory.path(), &SystemClock).unwrap()).unwrap();
        let (name, other): (SecretName, SecretName) = ("HF_TOKEN".parse().unwrap(), "OTHER".parse().unwrap());
        let sealed = vault.seal(&name, &SecretString::from("planted-value".to_owned())).unwrap();
        assert_eq!(vault.open(&name, &sealed).unwrap().expose_secret(), "planted-value");
        assert!(!String::from_utf8_lossy(&sealed).contains("planted"));
        assert!(vault.open(&other, &sealed).is_err());
        for i in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[i] ^= 1;
            assert!(vault.open(&name, &flipped).is_err(), "byte {i}");
        }
        let elsewhere = tempfile::tempdir().unwrap();
        let stranger = Vault::new(&Installation::open(elsewhere.path(), &SystemClock).unwrap()).unwrap();
        assert!(stranger.open(&name, &sealed).is_err());
    }
}
