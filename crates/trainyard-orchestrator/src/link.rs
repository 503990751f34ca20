//! The link to one machine's agent: the workload, when it was last heard, and the task that follows its events.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use trainyard_connector::{ConnectorError, Workload};
use trainyard_domain::{AttemptNumber, Job, JobId, Rental, Timestamp};

use crate::bells::lock;
use crate::checkpoints::Resume;
use crate::core::Core;

/// The longest time between two judgements that counts as having been awake: more than the slowest pace of looks.
const AWAKE_MAX: Duration = Duration::from_secs(30);

/// How long somebody has been silent, as far as that is their silence and not ours.
#[derive(Debug)]
pub(crate) struct Silence {
    counted: Duration,
    judged: Instant,
    heard: bool,
}

impl Default for Silence {
    fn default() -> Self {
        Silence { counted: Duration::ZERO, judged: Instant::now(), heard: false }
    }
}

impl Silence {
    /// The silence by now. What has passed since the last judgement is added where it counts, but never more than a
    /// few looks' worth: whoever did not judge for longer slept, and that was not the agent's silence.
    pub(crate) fn judge(&mut self, counts: bool) -> Duration {
        self.judge_at(Instant::now(), counts)
    }

    fn judge_at(&mut self, now: Instant, counts: bool) -> Duration {
        if counts {
            self.counted += (now - self.judged).min(AWAKE_MAX);
        }
        self.judged = now;
        self.counted
    }
}

/// One agent as this process knows it. Lost with the process, found again through the connector.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) workload: Box<dyn Workload>,
    /// Whose attempt it is for: a machine serves several, one after another.
    of: (JobId, AttemptNumber),
    /// Silence before the link was made was ours, not the agent's.
    silence: Mutex<Silence>,
    tail: Mutex<Option<JoinHandle<()>>>,
    /// Who brings its checkpoints home.
    keeper: Mutex<Option<JoinHandle<()>>>,
    /// Who brings the last one home.
    last: Mutex<Option<(Instant, JoinHandle<()>)>>,
    checkpoint_told: Arc<Notify>,
    /// What the attempt continues from, once that was found out: that reads every byte of it.
    resume: Mutex<Option<Resume>>,
    /// The `max_duration_s` that the agent knows; none: not told by this process.
    told_limit: Mutex<Option<u64>>,
    /// When the machine's money is used up, as the agent knows it; none: not told by this process.
    told_end: Mutex<Option<Option<Timestamp>>>,
    /// Every input is on the machine.
    handed_over: AtomicBool,
    /// When handing over broke off first, and last, of tries that followed each other.
    broke_off: Mutex<Option<(Instant, Instant)>>,
}

/// A try that broke off so long after the one before got on meanwhile.
const GOT_ON: Duration = Duration::from_secs(60);
/// Ends that lie no further apart are the same: what a machine has cost is known to the second only.
const END_NEARLY: chrono::TimeDelta = chrono::TimeDelta::seconds(5);

impl Link {
    /// The link of a job's machine, made where there is none.
    pub(crate) async fn of(
        core: &Arc<Core>,
        job: &Job,
        rental: &Rental,
    ) -> Result<Option<Arc<Link>>, ConnectorError> {
        let (Some(provider), Some(attempt)) = (core.provider_of(job), job.attempt()) else { return Ok(None) };
        let of = (job.id().clone(), rental.attempt);
        if let Some(link) = lock(&core.links).get(&attempt.order).filter(|link| link.of == of) {
            return Ok(Some(link.clone()));
        }
        if let Some(memory) = &attempt.memory {
            provider.connector.recall(&attempt.order, memory);
        }
        let mut workload = provider.connector.attach(&attempt.order, &rental.machine).await?;
        workload.serve(&of.0, of.1);
        let link = Arc::new(Link {
            workload,
            of: of.clone(),
            silence: Mutex::new(Silence::default()),
            tail: Mutex::new(None),
            keeper: Mutex::new(None),
            last: Mutex::new(None),
            checkpoint_told: Arc::default(),
            resume: Mutex::new(None),
            told_limit: Mutex::new(None),
            told_end: Mutex::new(None),
            handed_over: AtomicBool::new(false),
            broke_off: Mutex::new(None),
        });
        let mut links = lock(&core.links);
        if let Some(known) = links.get(&attempt.order).filter(|known| known.of == of) {
            return Ok(Some(known.clone()));
        }
        // What followed an attempt before this one on the same machine is over.
        if let Some(old) = links.insert(attempt.order.clone(), link.clone()) {
            old.unfollow();
        }
        Ok(Some(link))
    }

    /// The link of a job's machine, where there is one: nobody is asked.
    pub(crate) fn known(core: &Core, job: &Job) -> Option<Arc<Link>> {
        let attempt = job.attempt()?;
        let of = (job.id().clone(), attempt.number);
        lock(&core.links).get(&attempt.order).filter(|link| link.of == of).cloned()
    }

    /// The agent answered just now.
    pub(crate) fn hear(&self) {
        *lock(&self.silence) = Silence { heard: true, ..Silence::default() };
    }

    /// How long it has been silent while we listened. The clock stands still while the machine sleeps; with `counts`
    /// off the time since the last judgement does not count.
    pub(crate) fn silent_for(&self, counts: bool) -> Duration {
        lock(&self.silence).judge(counts)
    }

    /// Whether it ever answered this process.
    pub(crate) fn was_heard(&self) -> bool {
        lock(&self.silence).heard
    }

    /// Makes sure that somebody follows the agent's events.
    pub(crate) fn follow(&self, spawn: impl FnOnce() -> JoinHandle<()>) {
        let mut tail = lock(&self.tail);
        if tail.as_ref().is_none_or(JoinHandle::is_finished) {
            *tail = Some(spawn());
        }
    }

    /// Nobody follows the agent's events any more.
    pub(crate) fn unfollow(&self) {
        for task in [&self.tail, &self.keeper] {
            if let Some(task) = lock(task).take() {
                task.abort();
            }
        }
        if let Some((_, last)) = lock(&self.last).take() {
            last.abort();
        }
    }

    /// Makes sure that somebody brings its checkpoints home.
    pub(crate) fn keep_checkpoints(&self, spawn: impl FnOnce() -> JoinHandle<()>) {
        let mut keeper = lock(&self.keeper);
        if keeper.is_none() {
            *keeper = Some(spawn());
        }
    }

    /// The agent told of a new checkpoint.
    pub(crate) fn tell_checkpoint(&self) {
        self.checkpoint_told.notify_one();
    }

    /// Rung when the agent told of one.
    pub(crate) fn checkpoints_told(&self) -> Arc<Notify> {
        self.checkpoint_told.clone()
    }

    /// Makes sure that somebody brings the last checkpoint home, and nobody another one. Says whether that is
    /// over, or has taken longer than `within`.
    pub(crate) fn last_checkpoint(&self, within: Duration, spawn: impl FnOnce() -> JoinHandle<()>) -> bool {
        if let Some(keeper) = lock(&self.keeper).as_ref() {
            keeper.abort();
        }
        let mut last = lock(&self.last);
        let (since, task) = last.get_or_insert_with(|| (Instant::now(), spawn()));
        task.is_finished() || since.elapsed() > within
    }

    /// What the attempt continues from, where that is known.
    pub(crate) fn resume(&self) -> Option<Resume> {
        lock(&self.resume).clone()
    }

    /// Notes what the attempt continues from.
    pub(crate) fn set_resume(&self, resume: Resume) {
        *lock(&self.resume) = Some(resume);
    }

    /// Whether everything is on the machine, as far as this process knows.
    pub(crate) fn is_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Relaxed)
    }

    /// Everything is on the machine.
    pub(crate) fn was_handed_over(&self) {
        self.handed_over.store(true, Ordering::Relaxed);
    }

    /// Handing over broke off once more. For how long it has been doing nothing else.
    pub(crate) fn breaks_off(&self) -> Duration {
        let (mut broke_off, now) = (lock(&self.broke_off), Instant::now());
        let first = broke_off.filter(|(_, last)| now - *last < GOT_ON).map_or(now, |(first, _)| first);
        *broke_off = Some((first, now));
        now - first
    }

    /// Whether the agent knows that limit.
    pub(crate) fn knows_limit(&self, max_duration_s: u64) -> bool {
        *lock(&self.told_limit) == Some(max_duration_s)
    }

    /// Whether the agent knows that end of the money, as nearly as it is worth telling.
    pub(crate) fn knows_end(&self, end: Option<Timestamp>) -> bool {
        match (*lock(&self.told_end), end) {
            (Some(Some(told)), Some(end)) => (told - end).abs() <= END_NEARLY,
            (Some(None), None) => true,
            (Some(_) | None, _) => false,
        }
    }

    /// The agent was told that end.
    pub(crate) fn told_end(&self, end: Option<Timestamp>) {
        *lock(&self.told_end) = Some(end);
    }

    /// The agent was told that limit.
    pub(crate) fn told_limit(&self, max_duration_s: u64) {
        *lock(&self.told_limit) = Some(max_duration_s);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.unfollow();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_in_which_nobody_looked_are_not_the_agents_silence() {
        let mut silence = Silence::default();
        let (looked, second) = (silence.judged + Duration::from_secs(8 * 3600), Duration::from_secs(1));
        assert_eq!(silence.judge_at(looked, true), AWAKE_MAX);
        assert_eq!(silence.judge_at(looked + second, false), AWAKE_MAX);
        assert_eq!(silence.judge_at(looked + 2 * second, true), AWAKE_MAX + second);
    }
}
