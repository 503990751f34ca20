//! Cases for storage: each promise of `trainyard_storage::Storage`, in one sentence and one function.

mod commits;
mod events;
mod jobs;
mod keys;
mod lifecycle;
mod lists;
mod make;
mod queues;
mod telemetry;

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use trainyard_storage::Storage;

/// Makes storages to test. What one case writes must not be seen by another.
#[async_trait]
pub trait StorageHarness: Send + Sync {
    /// Opens an empty storage.
    async fn open(&self) -> Arc<dyn Storage>;

    /// Opens what `closed` held once more, as after a restart; `None` where it cannot outlive its handle.
    async fn reopen(&self, closed: Arc<dyn Storage>) -> Option<Arc<dyn Storage>>;
}

/// One promise and how it is checked.
pub struct Case {
    /// The case's name, which is the test's.
    pub name: &'static str,
    /// What is promised, in one sentence.
    pub promise: &'static str,
    run: for<'a> fn(&'a dyn StorageHarness) -> BoxFuture<'a, ()>,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.name, self.promise)
    }
}

macro_rules! case {
    ($module:ident :: $name:ident, $promise:literal) => {
        Case { name: stringify!($name), promise: $promise, run: |harness| Box::pin($module::$name(harness)) }
    };
}

/// Every case.
pub fn cases() -> Vec<Case> {
    vec![
        case!(jobs::create_race, "of fifty creations of one id at once exactly one succeeds"),
        case!(jobs::load_gives_back, "a job is loaded as it was stored, down to the nanosecond"),
        case!(
            jobs::delete_forgets,
            "a deleted job leaves nothing but its machines, and its id is free again"
        ),
        case!(commits::stale, "a commit with another version than the stored one writes nothing"),
        case!(commits::commit_race, "of many commits of one version exactly one succeeds"),
        case!(commits::fenced, "a commit of an older fence writes nothing, whatever its version"),
        case!(commits::missing, "a commit of an unknown job says so"),
        case!(commits::refused_beside_good, "a refused change does not spoil those written at the same time"),
        case!(commits::seq_dense, "numbers are dense under 32 writers mixing commits and telemetry"),
        case!(commits::machines_ledger, "the ledger is written with the commit, and outlives the job"),
        case!(
            commits::reservations,
            "of two commits that set money aside by the same reading one is refused"
        ),
        case!(commits::machines_since, "what a month's accounts rest on is given whole or not at all"),
        case!(commits::only_facts, "telemetry cannot be committed, nor a fact appended"),
        case!(telemetry::cursor_exactly_once, "a batch sent again, whole or late, is taken once"),
        case!(
            telemetry::older_attempt,
            "a batch of an older attempt is not taken, one of a newer counts anew"
        ),
        case!(telemetry::aside, "what is not the agent's is taken each time, and moves no cursor"),
        case!(telemetry::current_metrics, "the newest training metrics are kept, the machine's are not"),
        case!(telemetry::version_stays, "telemetry never makes a decision stale"),
        case!(telemetry::log_bytes, "the log's length follows its spans"),
        case!(telemetry::series, "metrics are read in order, by step, by name and up to a limit"),
        case!(
            telemetry::highest_step,
            "the highest step that earlier attempts told is known, and no other job's"
        ),
        case!(telemetry::not_finite, "values that are not finite come back as they were"),
        case!(events::paging, "pages of any size give the same history, facts and telemetry in order"),
        case!(
            events::expiry,
            "old telemetry of ended jobs goes, facts stay, and `oldest` says from where all is there"
        ),
        case!(events::notifications, "all notifications of a job are given in order"),
        case!(
            lists::stable_while_creating,
            "a page never repeats a job of the page before, nor leaves one out"
        ),
        case!(lists::totals, "the total counts what matches each filter, through every change of state"),
        case!(lists::labels, "jobs are found by all of the labels asked for, also after a change"),
        case!(queues::due_order, "the longest due comes first, and the next time is told"),
        case!(queues::waiting_order, "jobs wait in the order they were submitted"),
        case!(queues::ended_before, "ended jobs are told by their end, the oldest first"),
        case!(keys::secrets, "secrets are set, replaced, named and deleted"),
        case!(keys::tokens, "tokens are added, listed oldest first and revoked"),
        case!(keys::idempotency_race, "of many requests with one key exactly one does the work"),
        case!(keys::idempotency_answer, "a key gives its answer again until it expires or is given back"),
        case!(
            keys::key_with_change,
            "a key is noted with the change that was asked for under it, or not at all"
        ),
        case!(keys::notes, "numbers are remembered by name"),
        case!(lifecycle::dropped_futures, "a dropped future leaves its change whole or not made"),
        case!(lifecycle::restart, "everything is there after a restart, under a larger fence"),
        case!(lifecycle::close, "after closing every call says that storage is closed"),
        case!(lifecycle::probe, "a probe goes through"),
    ]
}

/// Runs the case of that name.
///
/// # Panics
/// Where the promise is broken, or there is no such case.
pub async fn run(name: &str, harness: &dyn StorageHarness) {
    let all = cases();
    let Some(case) = all.iter().find(|case| case.name == name) else { panic!("no case is named `{name}`") };
    println!("{}", case.promise);
    (case.run)(harness).await;
}

/// One test for each case, on the harness that the expression makes; `covers_every_case` fails where this list and
/// [`cases`](crate::storage::cases) differ.
#[macro_export]
macro_rules! storage_conformance {
    ($harness:expr) => {
        $crate::storage_conformance!(@each $harness;
            create_race, load_gives_back, delete_forgets,
            stale, commit_race, fenced, missing, refused_beside_good, seq_dense, machines_ledger, reservations, machines_since,
            only_facts,
            cursor_exactly_once, older_attempt, aside, current_metrics, version_stays, log_bytes, series, highest_step, not_finite,
            paging, expiry, notifications,
            stable_while_creating, totals, labels,
            due_order, waiting_order, ended_before,
            secrets, tokens, idempotency_race, idempotency_answer, key_with_change, notes,
            dropped_futures, restart, close, probe);
    };
    (@each $harness:expr; $($name:ident),*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::storage::run(stringify!($name), &$harness).await;
            }
        )*

        #[test]
        fn covers_every_case() {
            let here = [$(stringify!($name)),*];
            let all: Vec<&str> = $crate::storage::cases().iter().map(|case| case.name).collect();
            assert_eq!(here.as_slice(), all.as_slice());
        }
    };
}
