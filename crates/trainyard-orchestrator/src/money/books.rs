//! The books: what the machines of this month have cost, what is set aside for others, and what costs against our
//! will. Read from the ledger every few seconds while something is rented; whoever sets money aside reads it anew.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use trainyard_domain::{
    Budget, Machine, Money, Month, NotificationKind, OrderName, ProviderJobId, ProviderName, Timestamp,
};

use super::{alarm, settle};
use crate::bells::lock;
use crate::core::Core;
use crate::reconcile::Draft;
use crate::view::{AccountsView, AlarmView, BudgetView};
use crate::{Error, ErrorKind};

/// Entries of the ledger of one month. A part of them would say nothing, so more are an error.
const ENTRIES_MAX: usize = 200_000;
/// Machines that are gone are looked at for so long at least: bills come late.
const LOOKED_BACK: TimeDelta = TimeDelta::days(3);

/// What was read of the ledger last.
#[derive(Debug, Default)]
pub(crate) struct Books {
    page: Mutex<Arc<Vec<Machine>>>,
    /// Whether it was read since this process last wrote an entry.
    was_read: AtomicBool,
    /// Only one at a time sets money aside.
    pub(super) one: Arc<tokio::sync::Mutex<()>>,
    strays: Mutex<HashMap<(OrderName, ProviderJobId), Stray>>,
}

/// A machine that bears our mark though the ledger has no open entry for it.
#[derive(Debug, Clone)]
struct Stray {
    provider: ProviderName,
    price_per_hour: Option<Money>,
    since: Timestamp,
}

impl Books {
    /// What was read last.
    pub(crate) fn page(&self) -> Arc<Vec<Machine>> {
        lock(&self.page).clone()
    }

    /// An entry was written: a machine may come and go between two looks.
    pub(crate) fn was_written(&self) {
        self.was_read.store(false, Ordering::SeqCst);
    }

    /// Reads it anew.
    pub(crate) async fn read(&self, core: &Core) -> Result<Arc<Vec<Machine>>, Error> {
        let now = core.clock.now();
        let since = Month::of(now).begins().min(now - LOOKED_BACK);
        // Before it is read: what is written meanwhile may not be in it.
        self.was_read.store(true, Ordering::SeqCst);
        let read = core.storage.machines_since(since, ENTRIES_MAX).await;
        let page = Arc::new(read.inspect_err(|_| self.was_written())?);
        *lock(&self.page) = page.clone();
        Ok(page)
    }
}

/// What is to be counted against a budget this month: what was spent, and what is set aside for machines that may be
/// billed, one of them left out.
pub(super) fn committed(page: &[Machine], budget: &Budget, now: Timestamp, but: Option<&OrderName>) -> Money {
    let from = Month::of(now).begins();
    let paid = page.iter().filter(|entry| budget.pays_for(&entry.labels) && Some(&entry.order) != but);
    paid.fold(Money::ZERO, |sum, entry| sum.plus(entry.committed(from, now)))
}

/// What was spent of a budget this month.
pub(super) fn spent(page: &[Machine], budget: &Budget, now: Timestamp) -> Money {
    let from = Month::of(now).begins();
    let paid = page.iter().filter(|entry| budget.pays_for(&entry.labels));
    paid.fold(Money::ZERO, |sum, entry| sum.plus(entry.cost_since(from, now)))
}

/// Keeps the books for as long as the orchestrator lives.
pub(crate) async fn keep_books(core: Arc<Core>) {
    loop {
        tokio::select! {
            kept = round(&core) => if let Err(error) = kept {
                tracing::warn!(error = %error, detail = %error.detail_text(), "the books could not be kept");
            },
            () = core.closed() => return,
        }
        tokio::select! {
            () = tokio::time::sleep(core.policy.books_every) => {}
            () = core.closed() => return,
        }
    }
}

async fn round(core: &Arc<Core>) -> Result<(), Error> {
    let listed = listed(core);
    let quiet = |entry: &Machine| !entry.may_be_billed() && !settle::is_due(core, entry);
    let was_read = core.books.was_read.load(Ordering::SeqCst);
    let idle = was_read && listed.is_empty() && core.books.page().iter().all(quiet);
    if idle && core.storage.machines(true, 1).await?.is_empty() {
        note(core, &[]);
        return Ok(());
    }
    // After the listings: an intent is written before its order goes out, so what a listing shows is in here.
    let page = core.books.read(core).await?;
    strays(core, listed, &page);
    for entry in page.iter() {
        if let Some(alarm) = alarm(entry, core.clock.now(), &core.policy) {
            if let Err(error) = sound(core, entry, &alarm).await {
                tracing::debug!(order = %entry.order, error = %error, "an alarm was not told; it is told again");
            }
        } else if settle::is_due(core, entry)
            && let Err(error) = settle::settle(core, entry).await
        {
            tracing::debug!(order = %entry.order, error = %error, "a bill was not noted; it is read again");
        }
    }
    note(core, &page);
    Ok(())
}

type Listed = Vec<(ProviderName, OrderName, ProviderJobId, Option<Money>)>;

/// What the newest good listings show that is not gone.
fn listed(core: &Core) -> Listed {
    let paid = core.providers.iter().filter(|(_, provider)| provider.costs());
    paid.flat_map(|(name, provider)| {
        let alive = provider.sightings.alive().into_iter();
        alive.map(|machine| (name.clone(), machine.order, machine.id, machine.price_per_hour))
    })
    .collect()
}

/// Notes what is listed and has no open entry, since when.
fn strays(core: &Core, listed: Listed, page: &[Machine]) {
    let open: HashSet<&OrderName> =
        page.iter().filter(|entry| entry.may_be_billed()).map(|entry| &entry.order).collect();
    let mut strays = lock(&core.books.strays);
    let now = core.clock.now();
    let known = std::mem::take(&mut *strays);
    for (provider, order, id, price_per_hour) in listed {
        if !open.contains(&order) {
            let key = (order, id);
            let since = known.get(&key).map_or(now, |stray| stray.since);
            strays.insert(key, Stray { provider, price_per_hour, since });
        }
    }
}

/// Tells the alarm of a machine to its job, once.
async fn sound(core: &Arc<Core>, entry: &Machine, alarm: &AlarmView) -> Result<(), Error> {
    let Some((id, attempt)) = entry.attempts.last() else { return Ok(()) };
    let Some(stored) = core.storage.load(id).await? else { return Ok(()) };
    let mark = format!("cost_alarm {}", entry.order);
    if stored.job.was_told_of(&mark) {
        return Ok(());
    }
    tracing::error!(order = %entry.order, provider = %entry.provider, "{}", alarm.message);
    let mut draft = Draft::of(&stored, core.clock.now());
    draft.job.tell_of(&mark);
    draft.tell_about(
        *attempt,
        NotificationKind::CostAlarm,
        "A machine goes on costing",
        alarm.message.clone(),
    );
    draft.commit(core).await?;
    Ok(())
}

/// For Prometheus.
fn note(core: &Core, page: &[Machine]) {
    let view = accounts_of(core, page);
    metrics::gauge!("trainyard_cost_alarms").set(view.alarms.len() as f64);
    metrics::gauge!("trainyard_machines_that_may_be_billed")
        .set(page.iter().filter(|entry| entry.may_be_billed() && entry.price_per_hour.is_some()).count()
            as f64);
    for budget in view.budgets {
        let float = |amount: Money| amount.to_string().parse::<f64>().unwrap_or(f64::NAN);
        metrics::gauge!("trainyard_budget_spent_usd", "budget" => budget.name.clone())
            .set(float(budget.spent));
        metrics::gauge!("trainyard_budget_usd", "budget" => budget.name).set(float(budget.per_month));
    }
}

/// The accounts as they are now.
///
/// # Errors
/// Where the ledger cannot be read whole.
pub(crate) async fn accounts(core: &Core) -> Result<AccountsView, Error> {
    let page = core.books.read(core).await.map_err(|error| {
        Error::new(ErrorKind::Unavailable, "ledger_unread", "the ledger could not be read").because(error)
    })?;
    Ok(accounts_of(core, &page))
}

fn accounts_of(core: &Core, page: &[Machine]) -> AccountsView {
    let now = core.clock.now();
    let budgets = core.policy.budgets.iter().map(|budget| BudgetView {
        name: budget.name(),
        label: budget.label.clone(),
        month: Month::of(now).to_string(),
        per_month: budget.per_month,
        spent: spent(page, budget, now),
        committed: committed(page, budget, now, None),
    });
    let mut alarms: Vec<AlarmView> =
        page.iter().filter_map(|entry| alarm(entry, now, &core.policy)).collect();
    alarms.extend(stray_alarms(core, now));
    AccountsView { budgets: budgets.collect(), alarms }
}

fn stray_alarms(core: &Core, now: Timestamp) -> Vec<AlarmView> {
    let strays = lock(&core.books.strays);
    let long = strays
        .iter()
        .filter(|(_, stray)| (now - stray.since).to_std().unwrap_or_default() >= core.policy.alarm_after);
    long.map(|((order, id), stray)| AlarmView {
        order: order.clone(),
        provider: stray.provider.clone(),
        provider_job_id: Some(id.clone()),
        price_per_hour: stray.price_per_hour,
        code: "unclaimed",
        since: stray.since,
        over: None,
        message: format!(
            "`{}` shows the machine {id} under our name {order}, and no job needs it. It is given back again and again; if this lasts, remove it in the provider's console.",
            stray.provider
        ),
    })
    .collect()
}
