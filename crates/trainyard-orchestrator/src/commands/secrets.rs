//! Secrets: write-only.

use secrecy::{ExposeSecret, SecretString};
use trainyard_domain::{SecretName, Timestamp};
use trainyard_storage::SealedSecret;

use crate::{Error, ErrorKind, Orchestrator};

/// Longest secret, in bytes.
const SECRET_BYTES_MAX: usize = 64 << 10;

impl Orchestrator {
    /// Sets or replaces a secret. Only its name is ever read back.
    ///
    /// # Errors
    /// `invalid_secret` where it is empty or too long.
    pub async fn set_secret(&self, name: &SecretName, value: SecretString) -> Result<(), Error> {
        let length = value.expose_secret().len();
        if length == 0 || length > SECRET_BYTES_MAX || value.expose_secret().contains('\0') {
            return Err(Error::bad_request(
                "invalid_secret",
                format!("`value` must have 1 to {SECRET_BYTES_MAX} bytes, none of them zero"),
            ));
        }
        let sealed = self.core.vault.seal(name, &value)?;
        let secret = SealedSecret { name: name.clone(), sealed, updated_at: self.core.clock.now() };
        Ok(self.core.storage.put_secret(&secret).await?)
    }

    /// Names of all secrets and when they were set.
    ///
    /// # Errors
    /// Where storage fails.
    pub async fn secrets(&self) -> Result<Vec<(SecretName, Timestamp)>, Error> {
        Ok(self.core.storage.secret_names().await?)
    }

    /// Deletes a secret.
    ///
    /// # Errors
    /// `secret_not_found`.
    pub async fn delete_secret(&self, name: &SecretName) -> Result<(), Error> {
        if self.core.storage.delete_secret(name).await? {
            return Ok(());
        }
        Err(Error::new(ErrorKind::NotFound, "secret_not_found", format!("there is no secret `{name}`")))
    }
}
