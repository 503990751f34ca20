//! Bells: they say "look", and carry nothing else. Storage says what is true.

use std::collections::HashMap;
use std::sync::Mutex;

use tokio::sync::watch;
use trainyard_domain::JobId;

/// One bell per job that somebody listens to.
#[derive(Debug, Default)]
pub(crate) struct Bells(Mutex<HashMap<JobId, watch::Sender<()>>>);

impl Bells {
    /// Rings for everybody who listens to that job.
    pub(crate) fn ring(&self, id: &JobId) {
        let mut bells = lock(&self.0);
        if let Some(bell) = bells.get(id)
            && bell.send(()).is_err()
        {
            bells.remove(id);
        }
    }

    /// Listens. Rings from now on are noticed, also those before the first `changed().await`.
    pub(crate) fn listen(&self, id: &JobId) -> watch::Receiver<()> {
        let mut bells = lock(&self.0);
        // Bells nobody listens to any more go when a new one is hung up, so the map stays as large as its readers.
        if bells.len() > 64 && bells.len().is_power_of_two() {
            bells.retain(|_, bell| bell.receiver_count() > 0);
        }
        bells.entry(id.clone()).or_insert_with(|| watch::channel(()).0).subscribe()
    }
}

/// Locks; a panic elsewhere leaves maps that are whole, since each change of them is one call.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
