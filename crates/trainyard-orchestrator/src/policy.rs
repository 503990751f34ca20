//! Every limit of the core, each with its unit, in one place.

use std::collections::BTreeMap;
use std::time::Duration;

use trainyard_domain::{Budget, Money, ProviderName};

use crate::Keep;

/// The limits. `Default` is what the product ships with.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Jobs worked on at the same time. Work on a job is mostly waiting for disks and sockets.
    pub reconcile_jobs_max: usize,
    /// How often storage is asked for jobs that are due. Bells are faster; this is what catches a lost one.
    pub due_every: Duration,
    /// How long a running job goes unlooked at when no bell rings.
    pub look_every: Duration,
    /// Between two tries to reach an agent that comes up. Short at first, then doubling up to `look_every`.
    pub boot_poll: Duration,
    /// Longest wait of one question to an agent for events.
    pub events_wait: Duration,
    /// How long a submit waits by default, and at most.
    pub submit_wait: Duration,
    /// Most a caller may ask a submit to wait.
    pub submit_wait_max: Duration,
    /// A cancel answers within this.
    pub cancel_answer: Duration,
    /// Most grace a training gets on a cancel.
    pub cancel_grace_max: Duration,
    /// Tries to bring an artifact home before it counts as lost.
    pub artifact_tries_max: u32,
    /// Bytes asked of an agent at once. Twice as many are in memory: one part comes while the other is written.
    pub artifact_chunk_bytes: u64,
    /// Largest artifact, all files together.
    pub artifact_bytes_max: u64,
    /// Checkpoints that are brought home at the same time.
    pub checkpoint_copies_max: usize,
    /// How long the machine of a training that failed, or was paused with a checkpoint, is kept for its last checkpoint.
    pub checkpoint_last_within: Duration,
    /// Largest input.
    pub input_bytes_max: u64,
    /// A job's log ends, saying so, once it has this many bytes; it may pass them by one batch of an agent's events.
    pub log_bytes_max: u64,
    /// Events a live reader may lag behind before it is closed.
    pub reader_lag_events_max: usize,
    /// How long a stream waits after an end for the news that the machine is gone.
    pub released_wait: Duration,
    /// Telemetry of ended jobs is dropped after this.
    pub telemetry_kept: Duration,
    /// Ended jobs are forgotten after this; none keeps them.
    pub jobs_kept: Option<Duration>,
    /// Artifacts of ended jobs.
    pub artifacts_kept: Keep,
    /// Logs of ended jobs.
    pub logs_kept: Keep,
    /// Checkpoints that were brought home, of ended jobs.
    pub checkpoints_kept: Keep,
    /// Uploaded inputs that no job wanted for this long are dropped. Longer than any job may run.
    pub inputs_kept: Duration,
    /// How often house is kept: what is old is dropped.
    pub housekeeping_every: Duration,
    /// How often each provider is swept of machines that nobody claims.
    pub sweep_every: Duration,
    /// How often an account is looked through for what of ours lies in it beside machines, while nothing does.
    pub leftovers_every: Duration,
    /// Attempts that may rent a machine, by provider, where it allows fewer than a job asks for.
    pub attempts_max: BTreeMap<ProviderName, u32>,
    /// How long an `Idempotency-Key` is remembered.
    pub idempotency_kept: Duration,
    /// Longest `limits.max_duration_s` that a job may ask for, where the installation sets one.
    pub max_duration_s: Option<u64>,
    /// Most bytes of a dataset that are read for its check. A larger one is checked up to there.
    pub dataset_check_bytes_max: u64,
    /// Longest `limits.max_duration_s` of a job on a machine that costs money.
    pub cloud_max_duration_s: u64,
    /// Most that a rented machine may cost per hour, whatever a job allows; none: as the job says.
    pub max_price_per_hour: Option<Money>,
    /// How long a job that trains on a rented machine goes unlooked at when no bell rings. Its agent's events ring.
    pub cloud_look_every: Duration,
    /// Between two listings of a provider while something boots, ends or is being found out.
    pub listing_quick: Duration,
    /// Between two listings while all that is rented trains.
    pub listing_slow: Duration,
    /// A provider whose last good listing is older than this does not answer, and silence of its machines proves
    /// nothing. More than two slow listings.
    pub listing_patience: Duration,
    /// Good listings in a row that must not show a machine before it is proven gone.
    pub gone_readings: usize,
    /// A removal that was accepted and did not come true is asked for again after this.
    pub release_again: Duration,
    /// Between two readings of a vendor's log of a machine whose agent does not answer yet.
    pub machine_log_every: Duration,
    /// Offers older than this are read again before they are shown.
    pub offers_age: Duration,
    /// Offers older than this are read again before an order.
    pub order_offers_age: Duration,
    /// How long a caller waits for offers that are being read.
    pub offers_wait: Duration,
    /// An offer that was refused is not ordered again by the same job for this long; twice as long each time.
    pub offer_avoided: Duration,
    /// Orders of one submission that may be refused before it is turned down.
    pub order_tries_max: usize,
    /// Between two looks for a machine while a job waits for one to be had.
    pub capacity_poll: Duration,
    /// How long a job that lost its machine waits for a provider that refuses or does not answer.
    pub provider_wait: Duration,
    /// What the jobs of a label may cost in each calendar month.
    pub budgets: Vec<Budget>,
    /// What is set aside for a machine of a budget beside the time that its training may take: for it to come up, and
    /// for its artifact to be brought home.
    pub reserve_around: Duration,
    /// A machine whose money is used up is given back so long before: asking for it takes its time.
    pub budget_margin: Duration,
    /// How often the month's accounts are read while something is rented.
    pub books_every: Duration,
    /// A machine that goes on costing so long against our will is an alarm.
    pub alarm_after: Duration,
    /// How long after a machine's end its vendor's bill is read for the first time; ten times as long, sixty, 360 and
    /// 1440 times for the others.
    pub bill_after: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            reconcile_jobs_max: 64,
            due_every: Duration::from_secs(30),
            look_every: Duration::from_secs(2),
            boot_poll: Duration::from_millis(2),
            events_wait: Duration::from_secs(20),
            submit_wait: Duration::from_secs(10),
            submit_wait_max: Duration::from_secs(60),
            cancel_answer: Duration::from_secs(28),
            cancel_grace_max: Duration::from_secs(20),
            artifact_tries_max: 3,
            artifact_chunk_bytes: 2 << 20,
            artifact_bytes_max: 512 << 30,
            checkpoint_copies_max: 4,
            checkpoint_last_within: Duration::from_secs(120),
            input_bytes_max: 64 << 30,
            log_bytes_max: 1 << 30,
            reader_lag_events_max: 100_000,
            released_wait: Duration::from_secs(60),
            telemetry_kept: Duration::from_secs(90 * 86_400),
            jobs_kept: None,
            artifacts_kept: Keep::default(),
            logs_kept: Keep::default(),
            checkpoints_kept: Keep { age: Some(Duration::from_secs(30 * 86_400)), bytes: None },
            inputs_kept: Duration::from_secs(60 * 86_400),
            housekeeping_every: Duration::from_secs(60),
            sweep_every: Duration::from_secs(30),
            leftovers_every: Duration::from_secs(600),
            attempts_max: BTreeMap::new(),
            idempotency_kept: Duration::from_secs(86_400),
            max_duration_s: None,
            dataset_check_bytes_max: 4 << 30,
            cloud_max_duration_s: 7 * 86_400,
            max_price_per_hour: "20.00".parse().ok(),
            cloud_look_every: Duration::from_secs(12),
            listing_quick: Duration::from_secs(1),
            listing_slow: Duration::from_secs(12),
            listing_patience: Duration::from_secs(45),
            gone_readings: 2,
            release_again: Duration::from_secs(15),
            machine_log_every: Duration::from_secs(10),
            offers_age: Duration::from_secs(60),
            order_offers_age: Duration::from_secs(10),
            offers_wait: Duration::from_secs(5),
            offer_avoided: Duration::from_secs(600),
            order_tries_max: 15,
            capacity_poll: Duration::from_secs(30),
            provider_wait: Duration::from_secs(6 * 3600),
            budgets: Vec::new(),
            reserve_around: Duration::from_secs(600),
            budget_margin: Duration::from_secs(5),
            books_every: Duration::from_secs(5),
            alarm_after: Duration::from_secs(300),
            bill_after: Duration::from_secs(60),
        }
    }
}
