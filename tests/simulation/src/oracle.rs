//! The judges. All of them read from outside: the world's books, the stored history, the stored bytes.

mod books;
mod spent;

use std::collections::BTreeMap;

use tokio::time::Instant;
use trainyard_domain::{EventBody, JobId, Money, NotificationKind, OrderName, StateName};

use crate::memory::{Row, locked};
use crate::run::{Ended, Told};
use crate::world::{Faults, Machine, digest};
pub use spent::{IDLE_PERCENT_MAX, Use};

/// Figures of a scenario that was in order.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Verdict {
    /// Scenarios that this is the sum of.
    pub scenarios: u64,
    /// Jobs that completed, failed, were stopped, never ran or were deleted.
    pub completed: u32,
    /// See `completed`.
    pub failed: u32,
    /// See `completed`.
    pub stopped: u32,
    /// See `completed`.
    pub never_ran: u32,
    /// Machines that were rented.
    pub machines: u32,
    /// Processes.
    pub processes: u32,
    /// Calls of the first process until all of its scenario had come to rest.
    pub first_calls: u64,
    /// What machines were billed for, and what of it no job needed.
    pub use_of_time: Use,
    /// Entries of the ledger that were compared with the invoice, and by how many seconds the worst one was off, where its vendor's
    /// books can be read and where they cannot.
    pub compared: u32,
    /// See `compared`.
    pub off_with_books_s: f64,
    /// See `compared`.
    pub off_without_books_s: f64,
    /// Simulated seconds.
    pub simulated_s: f64,
}

impl Verdict {
    /// Adds another scenario's.
    pub fn add(&mut self, other: &Verdict) {
        self.scenarios += other.scenarios;
        self.completed += other.completed;
        self.failed += other.failed;
        self.stopped += other.stopped;
        self.never_ran += other.never_ran;
        self.machines += other.machines;
        self.processes += other.processes;
        self.first_calls += other.first_calls;
        self.use_of_time.add(&other.use_of_time);
        self.compared += other.compared;
        self.off_with_books_s = self.off_with_books_s.max(other.off_with_books_s);
        self.off_without_books_s = self.off_without_books_s.max(other.off_without_books_s);
        self.simulated_s += other.simulated_s;
    }
}

/// Judges a scenario.
///
/// # Errors
/// Everything that is wrong.
pub fn judge(ended: &Ended) -> Result<Verdict, Vec<String>> {
    let mut wrong = Vec::new();
    if !ended.rests {
        wrong.push(restless(ended));
    }
    let rows: BTreeMap<JobId, Row> = locked(&ended.disk).jobs.clone();
    for (id, told) in &ended.told {
        let found = rows.get(id);
        wrong.extend(promise(ended, id, told, found).into_iter().map(|what| format!("{id}: {what}")));
    }
    for (id, row) in &rows {
        wrong.extend(history(ended, row).into_iter().map(|what| format!("{id}: {what}")));
        wrong.extend(artifact(ended, row).into_iter().map(|what| format!("{id}: {what}")));
    }
    wrong.extend(doubled(ended));
    wrong.extend(overspent(ended));
    wrong.extend(repeated(ended));
    let books = books::compare(ended);
    wrong.extend(books.wrong.iter().cloned());
    // A process that stalled may start what was taken from it meanwhile.
    if !ended.scenario.overlaps() {
        wrong.extend(ended.world.wrongs());
    }
    if !wrong.is_empty() && ended.scenario.overlaps() {
        wrong.push("(two processes worked at the same time)".to_owned());
    }
    if wrong.is_empty() { Ok(figures(ended, &rows, &books)) } else { Err(wrong) }
}

fn restless(ended: &Ended) -> String {
    let disk = locked(&ended.disk);
    let open: Vec<String> = disk
        .machines
        .values()
        .filter(|(_, machine)| machine.may_be_billed())
        .map(|(_, machine)| format!("{} of {:?}", machine.order, machine.attempts))
        .collect();
    let jobs: Vec<String> = disk
        .jobs
        .values()
        .map(|row| {
            format!("{}: {:?} {:?} {:?}", row.job.id(), row.job.state(), row.job.wish(), row.job.body().phase)
        })
        .collect();
    format!("no rest: alive {:?}, open {open:?}, jobs {jobs:#?}", ended.world.alive())
}

/// What was promised of a job, by what its user was told.
fn promise(ended: &Ended, id: &JobId, told: &Told, row: Option<&Row>) -> Vec<String> {
    let mut wrong = Vec::new();
    if let Some(broken) = &told.broken {
        wrong.push(format!("an error of ours: {broken}"));
    }
    let Some(row) = row else {
        if told.created && !told.deleted {
            wrong.push("it was created and is lost".to_owned());
        }
        return wrong;
    };
    let state = row.job.state().name();
    if told.accepted && !state.is_end() {
        wrong.push(format!("it was accepted and is {state}"));
    }
    if state == StateName::Stopped && !told.cancelled {
        wrong.push("it is stopped, and nobody asked for that".to_owned());
    }
    let script = ended.scenario.jobs.iter().find(|script| format!("job-{}", script.number) == id.as_str());
    let Some(script) = script else { return wrong };
    match (state, script.plan.code) {
        (StateName::Completed, code) if code != 0 => {
            wrong.push(format!("it is completed, and its training ends with {code}"));
        }
        (StateName::Completed, _)
            if row.job.body().artifact.as_ref().is_none() && !script.plan.files.is_empty() =>
        {
            wrong.push("it is completed without what it made".to_owned());
        }
        _ => {}
    }
    let code = row.job.body().reason.as_ref().map_or("", |reason| reason.code.as_str());
    if state == StateName::Failed && code == "training_failed" && script.plan.code == 0 {
        wrong.push("it failed as by its training, which does not fail".to_owned());
    }
    wrong
}

fn may_follow(before: StateName, after: StateName) -> bool {
    use StateName::{Completed, Created, Failed, Initializing, Paused, Running, Stopped};
    before == after
        || match before {
            Created => matches!(after, Initializing | Stopped | Failed),
            Initializing => matches!(after, Running | Failed | Stopped),
            Running => matches!(after, Paused | Completed | Failed | Stopped),
            Paused => matches!(after, Running | Failed | Stopped),
            Completed | Failed | Stopped => false,
        }
}

/// The steps that the trainings of a job began with, as their machines know it, by attempt.
fn beginnings(ended: &Ended, id: &JobId) -> BTreeMap<u32, u64> {
    ended.world.with(|state| {
        let runs = state.machines.iter().flat_map(Machine::runs).filter(|run| run.job == *id);
        runs.map(|run| (run.attempt.get(), run.from_step)).collect()
    })
}

/// The history: dense numbers, a path in the table of transitions, each end told once, each point once, what is
/// repeated marked.
fn history(ended: &Ended, row: &Row) -> Vec<String> {
    let mut wrong = Vec::new();
    let (mut state, mut told) = (StateName::Created, Vec::new());
    let mut steps = beginnings(ended, row.job.id());
    for attempt in row.job.attempts() {
        let (noted, began) = (attempt.resumed_from.as_ref(), steps.get(&attempt.number.get()));
        if let (Some(noted), Some(began)) = (noted, began)
            && noted.step != Some(*began)
        {
            wrong.push(format!("attempt {} went on from {began}, and {noted:?} is noted", attempt.number));
        }
    }
    let mut highest: BTreeMap<u32, u64> = BTreeMap::new();
    let mut log_end = 0;
    for (at, event) in (1..).zip(row.events(0)) {
        if event.seq.0 != at {
            wrong.push(format!("number {at} is missing"));
            break;
        }
        match &event.body {
            EventBody::Status(status) => {
                if !may_follow(state, status.state) {
                    wrong.push(format!("{} follows on {state}", status.state));
                }
                state = status.state;
            }
            EventBody::Notification(notification) => told.push(notification.kind),
            EventBody::Metrics(point) => {
                let number = event.attempt.map_or(0, |attempt| attempt.get());
                let before = highest.range(..number).map(|(_, step)| *step).max();
                let step = point.step.unwrap_or_default();
                if point.repeated != before.is_some_and(|before| step <= before) {
                    wrong.push(format!("step {step} of attempt {number} is marked as {}", point.repeated));
                }
                highest.entry(number).and_modify(|top| *top = step.max(*top)).or_insert(step);
                let last = steps.entry(number).or_default();
                if point.step != Some(*last + 1) {
                    wrong.push(format!(
                        "step {:?} of attempt {:?} follows on {last}",
                        point.step, event.attempt
                    ));
                }
                *last = point.step.unwrap_or(*last);
            }
            EventBody::Log(span) => {
                if span.offset != log_end {
                    wrong.push(format!("the log goes on at {} and not at {log_end}", span.offset));
                }
                log_end = span.offset + u64::from(span.len);
            }
            EventBody::Progress(_) => {}
        }
    }
    if state != row.job.state().name() {
        wrong.push(format!("its history ends with {state}, and it is {}", row.job.state().name()));
    }
    wrong.extend(ends(row, &told));
    wrong
}

fn ends(row: &Row, told: &[NotificationKind]) -> Vec<String> {
    let expected = match row.job.state().name() {
        StateName::Completed => vec![NotificationKind::Completed],
        StateName::Failed => vec![NotificationKind::Failed],
        StateName::Stopped => vec![NotificationKind::Cancelled],
        _ => Vec::new(),
    };
    let ends = [NotificationKind::Completed, NotificationKind::Failed, NotificationKind::Cancelled];
    let found: Vec<NotificationKind> = told.iter().copied().filter(|kind| ends.contains(kind)).collect();
    match found == expected {
        true => Vec::new(),
        false => vec![format!("it is {} and its ends told are {found:?}", row.job.state().name())],
    }
}

/// What is published has the bytes that were made.
fn artifact(ended: &Ended, row: &Row) -> Vec<String> {
    let Some(record) = row.job.body().artifact.as_ref() else { return Vec::new() };
    let mut wrong = Vec::new();
    let made = ended.world.with(|state| state.plans.get(row.job.id()).map(|plan| plan.files.clone()));
    let made = made.unwrap_or_default();
    if made.len() != record.files.len() {
        wrong.push(format!("{} files were made and {} are recorded", made.len(), record.files.len()));
    }
    for (path, bytes) in &made {
        let recorded = record.files.iter().find(|file| file.path == *path);
        if recorded.is_none_or(|file| file.hash_sha256 != digest(bytes)) {
            wrong.push(format!("`{path}` is recorded with another digest"));
        }
        let stored = ended.directory.join("artifacts").join(row.job.id().as_str()).join(path);
        if std::fs::read(&stored).is_ok_and(|stored| stored == *bytes) {
            continue;
        }
        wrong.push(format!("`{path}` is not what was made, or not there"));
    }
    wrong
}

/// Two machines of one job at a time, neither asked to go.
fn doubled(ended: &Ended) -> Vec<String> {
    let owners: BTreeMap<OrderName, JobId> = locked(&ended.disk)
        .machines
        .values()
        .filter_map(|(_, entry)| Some((entry.order.clone(), entry.attempts.first()?.0.clone())))
        .collect();
    // Two processes at a time may each send an order; a clock that jumps makes a machine look settled that is not.
    if ended.scenario.overlaps() || !ended.scenario.clock.is_empty() {
        return Vec::new();
    }
    ended.world.with(|state| {
        let mut wrong = Vec::new();
        // Where a vendor made two of one order, either may be the one that is used.
        let twins: Vec<&OrderName> =
            state.machines.iter().filter(|machine| machine.twin).map(|machine| &machine.order).collect();
        let machines = state.machines.iter().filter(|machine| !twins.contains(&&machine.order));
        let machines: Vec<&Machine> = machines.collect();
        for (at, one) in machines.iter().enumerate() {
            for other in &machines[at + 1..] {
                let job = owners.get(&one.order);
                if job.is_some() && job == owners.get(&other.order) && wanted_together(one, other) {
                    wrong.push(format!(
                        "{} and {} of {:?} are rented at the same time",
                        one.order, other.order, job
                    ));
                }
            }
        }
        wrong
    })
}

fn wanted_together(one: &Machine, other: &Machine) -> bool {
    let end = |machine: &Machine| [machine.asked_to_go, machine.gone].into_iter().flatten().min();
    let before = |end: Option<Instant>, born: Instant| end.is_some_and(|end| end <= born);
    !before(end(one), other.born) && !before(end(other), one.born)
}

/// Where nothing but the process fails, no job costs more than it may and what passes in the seconds that the process is
/// away: until its machines are asked to go.
fn overspent(ended: &Ended) -> Vec<String> {
    const AWAY_S: f64 = 10.0;
    let faultless = Faults { call_ms: ended.scenario.faults.call_ms, ..Faults::default() };
    if ended.scenario.faults != faultless || ended.scenario.fates.is_empty() {
        return Vec::new();
    }
    let Some(most) = ended.scenario.jobs.first().and_then(|script| script.max_cost) else {
        return Vec::new();
    };
    let number = |money: Money| money.to_string().parse::<f64>().unwrap_or(f64::MAX);
    let (spent, dearest) = ended.world.with(|state| {
        let cost = |machine: &Machine| {
            let end = [machine.asked_to_go, machine.gone, machine.ends].into_iter().flatten().min();
            let billed = end.map_or(0.0, |end| end.saturating_duration_since(machine.born).as_secs_f64());
            number(machine.price) * billed / 3600.0
        };
        let dearest = state.machines.iter().map(|machine| number(machine.price)).fold(0.0, f64::max);
        // A second machine that a vendor made of one order is the sweep's to find.
        let ours = state.machines.iter().filter(|machine| !machine.twin);
        (ours.map(cost).sum::<f64>(), dearest)
    });
    match spent > number(most) + dearest * AWAY_S / 3600.0 {
        true => vec![format!("it cost {spent:.5} and may cost {most}")],
        false => Vec::new(),
    }
}

/// Where it is known, no attempt repeats more of the one before it than may be, and no more machines are ordered.
fn repeated(ended: &Ended) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut runs: BTreeMap<(JobId, u32), (u64, u64)> = BTreeMap::new();
    let orders = ended.world.with(|state| {
        let all = state.machines.iter().flat_map(Machine::runs);
        runs.extend(all.map(|run| ((run.job.clone(), run.attempt.get()), (run.from_step, run.step))));
        state.machines.iter().filter(|machine| !machine.twin).count()
    });
    let mut last: Option<(&JobId, u64)> = None;
    for ((job, number), (from, reached)) in &runs {
        if let (Some((_, before)), Some(most)) =
            (last.filter(|(same, _)| *same == job), ended.scenario.repeats_at_most)
            && before > from + most
        {
            wrong.push(format!("attempt {number} of {job} begins at {from}, and {before} steps were made"));
        }
        last = Some((job, *reached));
    }
    if ended.scenario.orders.is_some_and(|most| orders > most) {
        wrong.push(format!("{orders} machines were rented where {:?} would do", ended.scenario.orders));
    }
    wrong
}

fn figures(ended: &Ended, rows: &BTreeMap<JobId, Row>, books: &books::Books) -> Verdict {
    let count = |state| {
        let such = rows.values().filter(|row| row.job.state().name() == state);
        u32::try_from(such.count()).unwrap_or(u32::MAX)
    };
    let machines = ended.world.with(|state| u32::try_from(state.machines.len()).unwrap_or(u32::MAX));
    Verdict {
        scenarios: 1,
        completed: count(StateName::Completed),
        failed: count(StateName::Failed),
        stopped: count(StateName::Stopped),
        never_ran: count(StateName::Created),
        machines,
        processes: ended.processes,
        first_calls: ended.first_calls,
        use_of_time: spent::use_of_time(ended),
        compared: books.compared,
        off_with_books_s: books.off_with_books_s,
        off_without_books_s: books.off_without_books_s,
        simulated_s: ended.took_s,
    }
}
