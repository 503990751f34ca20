//! The storage in memory, held to what every storage is held to.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use trainyard_simulation::memory::{Disk, Memory};
use trainyard_storage::Storage;
use trainyard_testkit::storage::StorageHarness;

/// Disks by the handle that was opened on them last.
#[derive(Default)]
struct Disks(Mutex<Vec<(Arc<dyn Storage>, Arc<Mutex<Disk>>)>>);

impl Disks {
    fn open_on(&self, disk: Arc<Mutex<Disk>>) -> Arc<dyn Storage> {
        let opened: Arc<dyn Storage> = Arc::new(Memory::open(&disk, None));
        self.0.lock().unwrap().push((opened.clone(), disk));
        opened
    }
}

#[async_trait]
impl StorageHarness for Disks {
    async fn open(&self) -> Arc<dyn Storage> {
        self.open_on(Arc::default())
    }

    async fn reopen(&self, closed: Arc<dyn Storage>) -> Option<Arc<dyn Storage>> {
        let known = self.0.lock().unwrap();
        let disk = known.iter().find(|(opened, _)| Arc::ptr_eq(opened, &closed))?.1.clone();
        drop(known);
        Some(self.open_on(disk))
    }
}

trainyard_testkit::storage_conformance!(Disks::default());
