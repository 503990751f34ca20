//! The queue of jobs to look at. It keeps keys, not jobs: duplicates merge, one look per key at a time, at most N at
//! once. Due times also live in storage, so a restart needs no memory of this.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use trainyard_domain::JobId;

use crate::bells::lock;

/// Keys of jobs that want a look.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<JobId>,
    /// Keys in `ready`.
    queued: HashSet<JobId>,
    /// Keys being looked at, and whether they were rung for meanwhile.
    looking: HashMap<JobId, bool>,
    /// Keys to be looked at later; each key once.
    later: BTreeMap<(Instant, u64), JobId>,
    later_of: HashMap<JobId, (Instant, u64)>,
    tie: u64,
    closed: bool,
}

impl Queue {
    /// Asks for a look now.
    pub(crate) fn ring(&self, id: &JobId) {
        let mut state = lock(&self.state);
        state.ring(id);
        drop(state);
        self.wake.notify_one();
    }

    /// Asks for a look after `delay`, unless an earlier one is asked for.
    pub(crate) fn ring_after(&self, id: &JobId, delay: Duration) {
        let mut state = lock(&self.state);
        let at = Instant::now() + delay;
        if state.queued.contains(id) || state.later_of.get(id).is_some_and(|(earlier, _)| *earlier <= at) {
            return;
        }
        state.forget_later(id);
        state.tie += 1;
        let key = (at, state.tie);
        state.later.insert(key, id.clone());
        state.later_of.insert(id.clone(), key);
        drop(state);
        self.wake.notify_one();
    }

    /// The next key, marked as being looked at until [`Queue::done`]. `None` once closed. Cancel safe.
    pub(crate) async fn next(&self) -> Option<JobId> {
        loop {
            let until = {
                let mut state = lock(&self.state);
                if state.closed {
                    return None;
                }
                state.ripen(Instant::now());
                if let Some(id) = state.ready.pop_front() {
                    state.queued.remove(&id);
                    state.looking.insert(id.clone(), false);
                    return Some(id);
                }
                state.later.first_key_value().map(|((at, _), _)| *at)
            };
            match until {
                Some(at) => tokio::select! {
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => self.wake.notified().await,
            }
        }
    }

    /// The look is over. A key that was rung for meanwhile is looked at again.
    pub(crate) fn done(&self, id: &JobId) {
        let mut state = lock(&self.state);
        if state.looking.remove(id) == Some(true) {
            state.ring(id);
            drop(state);
            self.wake.notify_one();
        }
    }

    /// No more looks are handed out.
    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        self.wake.notify_one();
    }
}

impl State {
    fn ring(&mut self, id: &JobId) {
        if let Some(again) = self.looking.get_mut(id) {
            *again = true;
            return;
        }
        self.forget_later(id);
        if self.queued.insert(id.clone()) {
            self.ready.push_back(id.clone());
        }
    }

    fn forget_later(&mut self, id: &JobId) {
        if let Some(key) = self.later_of.remove(id) {
            self.later.remove(&key);
        }
    }

    fn ripen(&mut self, now: Instant) {
        while let Some(entry) = self.later.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let id = entry.remove();
            self.later_of.remove(&id);
            self.ring(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> JobId {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn duplicates_merge_and_a_ring_during_a_look_means_another() {
        let queue = Queue::default();
        queue.ring(&id("a"));
        queue.ring(&id("a"));
        queue.ring(&id("b"));
        assert_eq!(queue.next().await, Some(id("a")));
        queue.ring(&id("a"));
        assert_eq!(queue.next().await, Some(id("b")));
        queue.done(&id("a"));
        queue.done(&id("b"));
        assert_eq!(queue.next().await, Some(id("a")));
        queue.done(&id("a"));
        queue.close();
        assert_eq!(queue.next().await, None);
    }

    #[tokio::test]
    async fn a_later_look_comes_at_its_time_and_an_earlier_ring_replaces_it() {
        let queue = Queue::default();
        let began = Instant::now();
        queue.ring_after(&id("a"), Duration::from_secs(3600));
        queue.ring_after(&id("b"), Duration::from_millis(30));
        queue.ring_after(&id("b"), Duration::from_secs(3600));
        assert_eq!(queue.next().await, Some(id("b")));
        assert!(began.elapsed() >= Duration::from_millis(30));
        queue.done(&id("b"));
        queue.ring(&id("a"));
        assert_eq!(queue.next().await, Some(id("a")));
    }
}
