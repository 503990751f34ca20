//! SQLite: every case of the kit on disk and in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tempfile::TempDir;
use trainyard_storage::{SqliteOptions, SqliteStorage, Storage};
use trainyard_testkit::storage::StorageHarness;

/// Databases on disk, each in a directory of its own that is kept until the test ends.
#[derive(Default)]
struct OnDisk {
    directories: Mutex<HashMap<usize, TempDir>>,
}

fn key(storage: &Arc<dyn Storage>) -> usize {
    Arc::as_ptr(storage).cast::<()>() as usize
}

async fn open_in(directory: &TempDir) -> Arc<dyn Storage> {
    Arc::new(SqliteStorage::open(SqliteOptions::new(directory.path())).await.expect("opening"))
}

#[async_trait]
impl StorageHarness for OnDisk {
    async fn open(&self) -> Arc<dyn Storage> {
        let directory = tempfile::tempdir().expect("a directory");
        let storage = open_in(&directory).await;
        self.directories.lock().expect("no panic before").insert(key(&storage), directory);
        storage
    }

    async fn reopen(&self, closed: Arc<dyn Storage>) -> Option<Arc<dyn Storage>> {
        let directory = self.directories.lock().expect("no panic before").remove(&key(&closed))?;
        let storage = open_in(&directory).await;
        self.directories.lock().expect("no panic before").insert(key(&storage), directory);
        Some(storage)
    }
}

struct InMemory;

#[async_trait]
impl StorageHarness for InMemory {
    async fn open(&self) -> Arc<dyn Storage> {
        Arc::new(SqliteStorage::open_in_memory().await.expect("opening"))
    }

    async fn reopen(&self, _: Arc<dyn Storage>) -> Option<Arc<dyn Storage>> {
        None
    }
}

mod on_disk {
    trainyard_testkit::storage_conformance!(super::OnDisk::default());
}

mod in_memory {
    trainyard_testkit::storage_conformance!(super::InMemory);
}
