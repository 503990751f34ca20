//! A machine of the world and the training on it.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use trainyard_connector::{AgentEvent, AgentEventBody, SetupPhase, TrainingState};
use trainyard_domain::{
    AttemptNumber, Exit, JobId, LogSpan, MetricPoint, MetricValue, Money, OrderName, Progress, ProviderJobId,
    Sha256,
};

use super::checkpoint;
use crate::clock::TrueTime;

/// What a job's training does, whoever runs it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Steps.
    pub steps: u64,
    /// How long each takes.
    pub step: Duration,
    /// How it ends by itself.
    pub code: i32,
    /// How long before its first step.
    pub prepares: Duration,
    /// How long it takes to stop when it is asked.
    pub stops_in: Duration,
    /// Bytes of log at each step.
    pub log_bytes: u32,
    /// What it leaves.
    pub files: Vec<(String, Bytes)>,
    /// A checkpoint is written every so many steps; 0: never.
    pub checkpoint_every: u64,
}

/// What is to become of a machine, where that is not left to chance: each some time after it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fate {
    /// It comes up after that.
    pub boots_in: Option<Duration>,
    /// It is taken away.
    pub gone_after: Option<Duration>,
    /// Its agent dies.
    pub mute_after: Option<Duration>,
    /// Its agent starts anew.
    pub restarts_after: Option<Duration>,
    /// Its agent starts anew so long after its first training has ended.
    pub restarts_after_end: Option<Duration>,
    /// It never comes up.
    pub never_up: bool,
}

/// A machine, for ever: the world's books.
#[derive(Debug)]
pub struct Machine {
    /// Who rents it out.
    pub vendor: String,
    /// The name it bears.
    pub order: OrderName,
    /// The vendor's id.
    pub id: ProviderJobId,
    /// What it costs per hour.
    pub price: Money,
    /// Since when it is billed.
    pub born: Instant,
    /// Until when; none: it still is.
    pub gone: Option<Instant>,
    /// When a removal first reached the vendor.
    pub asked_to_go: Option<Instant>,
    /// When somebody first tried to have it removed, whatever the vendor made of that.
    pub wanted_gone: Option<Instant>,
    /// When its agent was lost with what it knew, though the machine stayed: it died, or started anew.
    pub lost_its_run: Option<Instant>,
    /// Made beside another one by the same order.
    pub twin: bool,
    pub(crate) shows_from: Instant,
    pub(crate) hidden_last: bool,
    /// None: never.
    pub(crate) up_from: Option<Instant>,
    pub(crate) agent_dies: Option<Instant>,
    pub(crate) agent_restarts: Option<Instant>,
    pub(crate) restarts_after_end: Option<Duration>,
    pub(crate) boot: u32,
    /// When it removes itself.
    pub(crate) ends: Option<Instant>,
    /// The training that it was told to start.
    pub run: Option<Run>,
    /// Those before it.
    pub past: Vec<Run>,
    /// What was handed over to it, by its digest.
    pub(crate) inputs: BTreeSet<Sha256>,
}

impl Machine {
    /// Whether it is billed at that moment.
    pub fn is_alive(&self, at: Instant) -> bool {
        self.born <= at && self.gone.is_none_or(|gone| gone > at) && self.ends.is_none_or(|ends| ends > at)
    }

    /// Whether its agent answers now.
    pub(crate) fn answers(&self, now: Instant) -> bool {
        self.is_alive(now)
            && self.up_from.is_some_and(|up| up <= now)
            && self.agent_dies.is_none_or(|dies| dies > now)
    }

    /// When it has to be gone, as its agent was told: it then removes itself.
    pub(crate) fn set_end(&mut self, left: Duration) {
        self.ends = Instant::now().checked_add(left);
    }

    /// When it was or will be gone.
    pub fn end(&self) -> Option<Instant> {
        [self.gone, self.ends].into_iter().flatten().min()
    }

    /// Since when it is billed, where that is at `now`: from its order on, or from when it is up.
    pub fn billed_from(&self, from_up: bool) -> Option<Instant> {
        if from_up { self.up_from } else { Some(self.born) }
    }

    /// Every training that it was told to start.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.past.iter().chain(&self.run)
    }

    /// Its agent starts anew: a training that had ended by then is served as before, one that had not is lost.
    fn restart(&mut self, at: Instant, time: TrueTime) {
        let at = self.end().map_or(at, |end| end.min(at));
        self.boot += 1;
        let Some(run) = &mut self.run else { return };
        run.advance(at, time);
        run.held = None;
        if run.exit.is_none() {
            self.lost_its_run = self.lost_its_run.or(Some(at));
            self.past.extend(self.run.take());
        }
    }

    /// What has happened on it by now.
    pub(crate) fn advance(&mut self, now: Instant, time: TrueTime) {
        self.restart_when_due(now, time);
        let until = self.gone.map_or(now, |gone| gone.min(now));
        let until = self.agent_dies.map_or(until, |dies| dies.min(until));
        let Some(run) = &mut self.run else { return };
        run.advance(until, time);
        if let (Some(ended), Some(after)) = (run.ended, self.restarts_after_end) {
            self.restarts_after_end = None;
            self.agent_restarts = Some(ended + after);
            self.restart_when_due(now, time);
        }
    }

    fn restart_when_due(&mut self, now: Instant, time: TrueTime) {
        if let Some(at) = self.agent_restarts.filter(|at| *at <= now) {
            self.agent_restarts = None;
            self.restart(at, time);
        }
    }
}

/// One run of a training.
#[derive(Debug)]
pub struct Run {
    /// Whose.
    pub job: JobId,
    /// Which attempt.
    pub attempt: AttemptNumber,
    /// What it does.
    pub plan: Plan,
    /// How it ended.
    pub exit: Option<Exit>,
    /// Since when it trains.
    pub since: Option<Instant>,
    /// When it ended.
    pub ended: Option<Instant>,
    /// The step that it began with; 0: anew.
    pub from_step: u64,
    /// The last step that it made.
    pub step: u64,
    pub(crate) events: Vec<AgentEvent>,
    /// The checkpoint that is held to be copied, by its step.
    pub(crate) held: Option<u64>,
    next_at: Instant,
    /// What was left until the next step when it was paused.
    paused: Option<Duration>,
    stops_at: Option<Instant>,
    deadline: Option<Instant>,
    log_bytes: u64,
}

impl Run {
    pub(crate) fn begin(
        job: JobId,
        attempt: AttemptNumber,
        plan: Plan,
        from_step: u64,
        deadline: Option<Duration>,
        time: TrueTime,
    ) -> Run {
        let now = Instant::now();
        let next_at = now + plan.prepares;
        let mut run = Run {
            job,
            attempt,
            plan,
            exit: None,
            since: None,
            ended: None,
            from_step,
            step: from_step,
            events: Vec::new(),
            held: None,
            next_at,
            paused: None,
            stops_at: None,
            deadline: deadline.map(|left| now + left),
            log_bytes: 0,
        };
        run.tell(now, time, AgentEventBody::Phase(SetupPhase::Installing));
        run
    }

    fn tell(&mut self, at: Instant, time: TrueTime, body: AgentEventBody) {
        let n = self.events.len() as u64 + 1;
        self.events.push(AgentEvent { n, at: time.date_of(at), body });
    }

    /// When something happens next, if nobody interferes.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        if self.exit.is_some() {
            return None;
        }
        let works = self.paused.is_none().then_some(self.next_at);
        [works, self.stops_at, self.deadline].into_iter().flatten().min()
    }

    fn advance(&mut self, until: Instant, time: TrueTime) {
        while let Some(at) = self.next_at().filter(|at| *at <= until) {
            let told = self.stops_at.or(self.deadline).is_some_and(|stop| stop <= at);
            match (told, self.since) {
                (true, _) => self.end(at, time, true),
                (false, None) => {
                    self.since = Some(at);
                    self.next_at = at + self.plan.step;
                    self.tell(at, time, AgentEventBody::Started);
                }
                (false, Some(_)) if self.step < self.plan.steps => self.make_step(at, time),
                (false, Some(_)) => self.end(at, time, false),
            }
        }
    }

    fn make_step(&mut self, at: Instant, time: TrueTime) {
        self.step += 1;
        self.next_at = at + self.plan.step;
        let step = Some(self.step);
        let values = [("loss".to_owned(), MetricValue(1.0 / self.step as f64))].into();
        self.tell(at, time, AgentEventBody::Metrics(MetricPoint { step, values, ..MetricPoint::default() }));
        let (total_steps, fraction) = (Some(self.plan.steps), self.step as f64 / self.plan.steps as f64);
        let progress = Progress { fraction: Some(fraction), eta_s: None, step, total_steps };
        self.tell(at, time, AgentEventBody::Progress(progress));
        if self.plan.log_bytes > 0 {
            let span = LogSpan { offset: self.log_bytes, len: self.plan.log_bytes };
            self.log_bytes += u64::from(span.len);
            self.tell(at, time, AgentEventBody::Log(span));
        }
        if self.plan.checkpoint_every > 0 && self.step.is_multiple_of(self.plan.checkpoint_every) {
            self.tell(at, time, AgentEventBody::Checkpoint(checkpoint::info(&self.job, self.step)));
        }
    }

    /// The steps of its complete checkpoints, newest last: as many as a training keeps.
    pub(crate) fn checkpoints(&self) -> Vec<u64> {
        const KEPT: u64 = 2;
        let every = self.plan.checkpoint_every;
        let Some(newest) = self.step.checked_div(every) else { return Vec::new() };
        let first = newest.saturating_sub(KEPT - 1).max(1);
        (first..=newest).map(|n| n * every).filter(|step| *step > 0).collect()
    }

    fn end(&mut self, at: Instant, time: TrueTime, asked: bool) {
        let date = time.date_of(at);
        let mut exit = Exit::with_code(if asked { 143 } else { self.plan.code }, date);
        exit.asked = asked;
        if asked && self.stops_at.is_none_or(|stop| stop > at) {
            exit.note = Some("stopped at its deadline".to_owned());
        }
        self.exit = Some(exit.clone());
        self.ended = Some(at);
        self.tell(at, time, AgentEventBody::Exited(exit));
    }

    pub(crate) fn stop(&mut self, grace: Duration) {
        let at = Instant::now() + self.plan.stops_in.min(grace);
        self.stops_at = Some(self.stops_at.map_or(at, |before| before.min(at)));
    }

    pub(crate) fn set_deadline(&mut self, left: Duration) {
        self.deadline = Some(Instant::now() + left);
    }

    pub(crate) fn pause(&mut self) {
        if self.paused.is_none() {
            self.paused = Some(self.next_at.saturating_duration_since(Instant::now()));
        }
    }

    pub(crate) fn resume(&mut self) {
        if let Some(left) = self.paused.take() {
            self.next_at = Instant::now() + left;
        }
    }

    pub(crate) fn log_len(&self) -> u64 {
        self.log_bytes
    }

    pub(crate) fn state(&self, time: TrueTime) -> TrainingState {
        match (&self.exit, self.since) {
            (Some(exit), since) => {
                TrainingState::Exited { started_at: since.map(|at| time.date_of(at)), exit: exit.clone() }
            }
            (None, Some(since)) => {
                TrainingState::Running { since: time.date_of(since), paused: self.paused.is_some() }
            }
            (None, None) => TrainingState::Preparing,
        }
    }
}
