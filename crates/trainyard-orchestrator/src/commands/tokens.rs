//! API tokens: 32 random bytes, shown once, stored as their digest, compared in constant time.

use std::sync::Mutex;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use secrecy::SecretString;
use sha2::{Digest, Sha256 as Hasher};
use tokio::time::Instant;
use trainyard_domain::Sha256;
use trainyard_storage::{Storage, TokenRecord};

use crate::bells::lock;
use crate::{Clock, Error, ErrorKind, NewToken, Orchestrator};

/// How long a change of the tokens by another process may go unnoticed.
const CACHE: Duration = Duration::from_secs(1);

/// The tokens as last read.
#[derive(Debug, Default)]
pub(crate) struct TokenCache(Mutex<Option<(Instant, Vec<Sha256>)>>);

/// What a token is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenCheck {
    /// There are no tokens, so none is needed.
    NotNeeded,
    /// It is one of ours.
    Good,
    /// One is needed and none was sent.
    Missing,
    /// It is none of ours.
    Wrong,
}

/// Makes a token in a storage that no orchestrator need run over.
///
/// # Errors
/// `invalid_token_name`; where storage fails.
pub async fn create_token(storage: &dyn Storage, clock: &dyn Clock, name: &str) -> Result<NewToken, Error> {
    if name.is_empty() || name.len() > 100 || name.chars().any(char::is_control) {
        return Err(Error::bad_request(
            "invalid_token_name",
            "a token's name has 1 to 100 printable characters",
        ));
    }
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| Error::new(ErrorKind::Internal, "no_random", "the system gives no random numbers"))?;
    let token = format!("ty_{}", hex::encode(bytes));
    let id = clock.ulid().to_string().to_ascii_lowercase();
    let record = TokenRecord {
        id: id.clone(),
        name: name.to_owned(),
        digest: digest(&token),
        created_at: clock.now(),
    };
    storage.put_token(&record).await?;
    Ok(NewToken { id, token: SecretString::from(token) })
}

impl Orchestrator {
    /// Makes a token. From the first one on every request needs one.
    ///
    /// # Errors
    /// `invalid_token_name`.
    pub async fn create_token(&self, name: &str) -> Result<NewToken, Error> {
        let made = create_token(self.core.storage.as_ref(), self.core.clock.as_ref(), name).await?;
        *lock(&self.core.tokens.0) = None;
        Ok(made)
    }

    /// All tokens, by id and name.
    ///
    /// # Errors
    /// Where storage fails.
    pub async fn tokens(&self) -> Result<Vec<TokenRecord>, Error> {
        Ok(self.core.storage.tokens().await?)
    }

    /// Revokes a token.
    ///
    /// # Errors
    /// `token_not_found`.
    pub async fn revoke_token(&self, id: &str) -> Result<(), Error> {
        let found = self.core.storage.delete_token(id).await?;
        *lock(&self.core.tokens.0) = None;
        if found {
            return Ok(());
        }
        Err(Error::new(ErrorKind::NotFound, "token_not_found", "there is no such token"))
    }

    /// What a token is worth. Tokens made or revoked by another process count after at most a second.
    ///
    /// # Errors
    /// Where storage fails: nobody is let in then.
    pub async fn check_token(&self, token: Option<&str>) -> Result<TokenCheck, Error> {
        let fresh = lock(&self.core.tokens.0)
            .as_ref()
            .filter(|(at, _)| at.elapsed() < CACHE)
            .map(|(_, all)| all.clone());
        let known = match fresh {
            Some(known) => known,
            None => {
                let known: Vec<Sha256> = self.tokens().await?.into_iter().map(|token| token.digest).collect();
                *lock(&self.core.tokens.0) = Some((Instant::now(), known.clone()));
                known
            }
        };
        if known.is_empty() {
            return Ok(TokenCheck::NotNeeded);
        }
        let Some(token) = token else { return Ok(TokenCheck::Missing) };
        let sent = digest(token);
        // Every token is compared, whichever matches.
        let good = known
            .iter()
            .fold(false, |good, one| verify_slices_are_equal(one.as_bytes(), sent.as_bytes()).is_ok() | good);
        Ok(if good { TokenCheck::Good } else { TokenCheck::Wrong })
    }
}

fn digest(token: &str) -> Sha256 {
    Sha256::from_bytes(Hasher::digest(token.as_bytes()).into())
}
