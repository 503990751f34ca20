//! The API tokens of a data directory, with a server running over it or not.

use std::path::PathBuf;

use trainyard_orchestrator::{Clock, NewToken, SystemClock};
use trainyard_storage::{SqliteStorage, Storage, StorageError, TokenRecord};

/// The tokens of a data directory. A running server sees a change within a second.
#[derive(Debug)]
pub struct TokenFile {
    storage: SqliteStorage,
}

impl TokenFile {
    /// Opens the directory beside a server that may be running; it is made where it is missing.
    ///
    /// # Errors
    /// What the storage said.
    pub async fn open(data: impl Into<PathBuf>) -> Result<TokenFile, StorageError> {
        Ok(TokenFile { storage: SqliteStorage::open_shared(data).await? })
    }

    /// Makes a token. From the first one on every request needs one.
    ///
    /// # Errors
    /// A name that is none, or what the storage said.
    pub async fn create(&self, name: &str) -> Result<NewToken, trainyard_orchestrator::Error> {
        let clock: &dyn Clock = &SystemClock;
        trainyard_orchestrator::create_token(&self.storage, clock, name).await
    }

    /// All tokens, the oldest first; never the token itself.
    ///
    /// # Errors
    /// What the storage said.
    pub async fn list(&self) -> Result<Vec<TokenRecord>, StorageError> {
        self.storage.tokens().await
    }

    /// Revokes a token by id; says whether there was one.
    ///
    /// # Errors
    /// What the storage said.
    pub async fn revoke(&self, id: &str) -> Result<bool, StorageError> {
        self.storage.delete_token(id).await
    }

    /// Finishes what is under way.
    pub async fn close(self) {
        self.storage.close().await;
    }
}
