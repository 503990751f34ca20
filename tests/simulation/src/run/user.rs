//! What users ask, and what they are told.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};
use trainyard_domain::{JobId, JobSpec, LimitsPatch};
use trainyard_orchestrator::{Error, ErrorKind, JobPatch, Orchestrator, PauseMode};

use super::{Stage, Told};
use crate::memory::locked;
use crate::scenario::{Act, Asks, Script};

impl Stage {
    /// One question of a user; none: no answer came.
    async fn ask<T, F: Future<Output = Result<T, Error>>>(
        &self,
        call: impl FnOnce(Orchestrator) -> F,
    ) -> Option<Result<T, Error>> {
        let mut present = self.present.subscribe();
        let (process, orchestrator) = present.wait_for(Option::is_some).await.ok()?.clone()?;
        tokio::select! {
            biased;
            () = process.died() => None,
            answer = timeout(Duration::from_secs(120), call(orchestrator)) => answer.ok(),
        }
    }

    fn tell(&self, id: &JobId, what: impl FnOnce(&mut Told)) {
        what(locked(&self.told).entry(id.clone()).or_default());
    }

    fn judge_error(&self, id: &JobId, doing: &str, error: &Error) {
        self.world.note(|| format!("{doing} {id}: {:?} {} {error}", error.kind, error.code));
        if error.kind == ErrorKind::Internal {
            let text = format!("{doing}: {} {error} {}", error.code, error.detail_text());
            self.tell(id, |told| told.broken = Some(text));
        }
    }

    /// What one user does with one job.
    pub(super) async fn user(self: Arc<Self>, script: Script) {
        let text = format!("job-{}", script.number);
        let Ok(id) = text.parse::<JobId>() else { return };
        self.world.with(|state| state.plans.insert(id.clone(), script.plan.clone()));
        sleep_until(self.began + script.created).await;
        if !self.create(&id, &script).await {
            return;
        }
        // waits: in simulated time, which jumps
        sleep(script.submitted_after).await;
        let acts = async {
            let began = Instant::now();
            for (at, act) in &script.acts {
                sleep_until(began + *at).await;
                self.act(&id, &script, *act).await;
            }
        };
        let submit = async {
            if self.take_over(&id, &script).await != Some(true) {
                self.submit(&id, &script).await;
            }
        };
        tokio::join!(submit, acts);
    }

    /// Submits to the machine of another job, again and again while that is turned down. Says whether it was
    /// accepted; none where there is no such wish.
    async fn take_over(&self, id: &JobId, script: &Script) -> Option<bool> {
        const TRIES: u32 = 60;
        let (number, asks) = script.onto?;
        let keeper = format!("job-{number}").parse::<JobId>().ok()?;
        for _ in 0..TRIES {
            if let Some(order) = self.machine_of(&keeper, asks == Asks::Warm) {
                let (machine, wait) = (order.to_string(), script.wait);
                let asked = self.ask(|it| async move { it.submit(id, "auto", Some(&machine), wait).await });
                match asked.await {
                    Some(Ok(_)) => {
                        self.tell(id, |told| told.accepted = true);
                        return Some(true);
                    }
                    Some(Err(error)) => self.judge_error(id, "submit to a machine", &error),
                    None => {}
                }
            }
            let over = locked(&self.disk).jobs.get(id).is_none_or(|row| row.job.state().name().is_end());
            if over {
                return Some(false);
            }
            // waits: in simulated time, which jumps
            sleep(Duration::from_secs(2)).await;
        }
        Some(false)
    }

    async fn create(&self, id: &JobId, script: &Script) -> bool {
        for _ in 0..10 {
            let spec = spec(script);
            let answer = self.ask(|it| async move { it.create_job(Some(id.clone()), spec).await }).await;
            let there = match answer {
                Some(Ok(_)) => true,
                Some(Err(error)) if error.code == "job_exists" => true,
                Some(Err(error)) => {
                    self.judge_error(id, "create", &error);
                    false
                }
                None => false,
            };
            if there {
                self.tell(id, |told| told.created = true);
                return true;
            }
            // waits: in simulated time, which jumps
            sleep(Duration::from_secs(5)).await;
        }
        false
    }

    /// Submits until an answer comes, and once more where it is turned down.
    async fn submit(&self, id: &JobId, script: &Script) {
        let mut turned_down = 0;
        for _ in 0..10 {
            let (provider, wait) = (script.provider, script.wait);
            let answer = self.ask(|it| async move { it.submit(id, provider, None, wait).await }).await;
            match answer {
                Some(Ok(_)) => {
                    self.tell(id, |told| told.accepted = true);
                    return;
                }
                Some(Err(error)) => {
                    self.judge_error(id, "submit", &error);
                    turned_down += u32::from(error.kind != ErrorKind::Unavailable);
                    if turned_down > 1 || error.kind == ErrorKind::NotFound {
                        return;
                    }
                }
                None => {}
            }
            // waits: in simulated time, which jumps
            sleep(Duration::from_secs(3)).await;
        }
    }

    pub(super) async fn act(&self, id: &JobId, script: &Script, act: Act) {
        match act {
            Act::Cancel => self.tell(id, |told| {
                told.cancelled = true;
                told.cancelled_at.get_or_insert_with(Instant::now);
            }),
            Act::Delete => self.tell(id, |told| told.deleted = true),
            Act::Pause | Act::Resume | Act::Submit | Act::Patch(_) | Act::Release => {}
        }
        let provider = script.provider;
        let machine = self.machine_of(id, false).map_or_else(|| "none".to_owned(), |order| order.to_string());
        let asked = self.ask(|it| async move {
            match act {
                Act::Cancel => it.cancel(id).await.map(drop),
                Act::Pause => it.pause(id, PauseMode::Signal).await.map(drop),
                Act::Resume => it.resume(id).await.map(drop),
                Act::Submit => it.submit(id, provider, None, Duration::ZERO).await.map(drop),
                Act::Patch(seconds) => {
                    let limits = LimitsPatch { max_duration_s: Some(seconds), ..LimitsPatch::default() };
                    let patch = JobPatch { limits: Some(limits), ..JobPatch::default() };
                    it.patch_job(id, patch).await.map(drop)
                }
                Act::Delete => it.delete_job(id, false).await,
                Act::Release => it.release_machine(&machine).await.map(drop),
            }
        });
        match asked.await {
            Some(Err(error)) => self.judge_error(id, &format!("{act:?}"), &error),
            Some(Ok(())) => self.world.note(|| format!("{act:?} {id}: done")),
            None => self.world.note(|| format!("{act:?} {id}: no answer")),
        }
    }
}

fn spec(script: &Script) -> JobSpec {
    let mut spec = JobSpec::new("gpt2");
    spec.trainer.command = Some(vec!["true".to_owned()]);
    spec.retry.max_attempts = script.max_attempts;
    spec.retry.wait_for_capacity_s = script.wait_for_capacity_s;
    spec.limits.max_duration_s = script.max_duration_s;
    spec.limits.max_cost_usd = script.max_cost;
    spec.limits.grace_period_s = 2;
    spec.limits.hold_on_failure_s = script.hold_s;
    spec.resources.keep_warm_s = script.keep_warm_s;
    spec.checkpoints.every_s = script.checkpoints_s;
    spec
}
