//! The verbs of [`Storage`] over the maps.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use trainyard_domain::{
    AttemptNumber, Event, EventBody, Job, JobId, Machine, MetricPoint, NewEvent, OrderName, ProviderName,
    SecretName, Seq, Timestamp,
};
use trainyard_storage::{
    Appended, Commit, CommitError, Committed, CreateError, EventPage, Fence, IdempotentAnswer, JobFilter,
    JobPage, JobRow, KeyMark, ListPage, MetricQuery, SealedSecret, Storage, StorageError, StoredJob,
    Telemetry, TelemetryItem, TokenRecord,
};

use super::{Disk, Memory, Row};

fn only_facts(events: &[NewEvent]) -> Result<(), StorageError> {
    match events.iter().any(|event| event.body.is_telemetry()) {
        true => Err(StorageError::Misuse("telemetry is appended, not committed")),
        false => Ok(()),
    }
}

fn only_telemetry(items: &[TelemetryItem]) -> Result<(), StorageError> {
    if items.iter().any(|item| !item.body.is_telemetry()) {
        return Err(StorageError::Misuse("a fact is committed, not appended"));
    }
    match items.len() > Telemetry::ITEMS_MAX {
        true => Err(StorageError::Misuse("a batch of telemetry has more than 4096 items")),
        false => Ok(()),
    }
}

impl Disk {
    fn create(
        &mut self,
        fence: u64,
        job: &Job,
        events: &[NewEvent],
        key: Option<&KeyMark>,
    ) -> Result<StoredJob, CreateError> {
        if self.jobs.contains_key(job.id()) {
            return Err(CreateError::Exists(job.id().clone()));
        }
        self.created += 1;
        let row = Row::new(self.created, job.clone(), fence, events);
        let stored = row.stored()?;
        self.jobs.insert(job.id().clone(), row);
        self.mark(key);
        Ok(stored)
    }

    fn mark(&mut self, key: Option<&KeyMark>) {
        if let Some(mark) = key {
            self.answers.insert(mark.key.clone(), mark.answer.clone());
        }
    }

    fn commit(&mut self, commit: &Commit) -> Result<Committed, CommitError> {
        let id = commit.job.id().clone();
        let Some(row) = self.jobs.get_mut(&id) else { return Err(CommitError::Missing(id)) };
        if row.fence > commit.fence.0 {
            return Err(CommitError::Fenced(id));
        }
        if row.version != commit.version || commit.reserves.is_some_and(|read| read != self.reservations) {
            return Err(CommitError::Stale(id));
        }
        self.reservations += u64::from(commit.reserves.is_some());
        row.job = commit.job.clone();
        row.version += 1;
        row.fence = commit.fence.0;
        row.due = commit.due;
        match (row.stands().0, row.submitted) {
            (true, None) => {
                self.submitted += 1;
                row.submitted = Some(self.submitted);
            }
            (false, _) => row.submitted = None,
            (true, Some(_)) => {}
        }
        row.add_facts(&commit.events);
        let committed = Committed { version: row.version, seq: Seq(row.seq) };
        for machine in &commit.machines {
            let n = self.machines.get(&machine.order).map_or(self.machines.len() as u64, |(n, _)| *n);
            self.machines.insert(machine.order.clone(), (n, machine.clone()));
        }
        self.mark(commit.key.as_ref());
        self.note_over(&commit.job);
        Ok(committed)
    }

    fn list(&self, filter: &JobFilter, page: ListPage) -> JobPage {
        let mut rows: Vec<&Row> = self.jobs.values().filter(|row| matches(row, filter)).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.n));
        let total = rows.len() as u64;
        rows.retain(|row| page.before.is_none_or(|before| row.n < before));
        let wanted = page.limit.clamp(1, 1000) as usize;
        let next = rows.get(wanted - 1).filter(|_| rows.len() > wanted).map(|row| row.n);
        rows.truncate(wanted);
        JobPage { jobs: rows.into_iter().map(shown).collect(), total, next }
    }

    fn expire(&mut self, before: Timestamp, limit: usize) -> u64 {
        let mut old: Vec<(Timestamp, JobId, u64)> = Vec::new();
        for (id, row) in self.jobs.iter().filter(|(_, row)| row.job.body().completed_at.is_some()) {
            let batches = row.telemetry.iter().filter(|(_, batch)| batch.at < before);
            old.extend(batches.map(|(last, batch)| (batch.at, id.clone(), *last)));
        }
        old.sort();
        old.truncate(limit.min(1000));
        for (_, id, last) in &old {
            if let Some(row) = self.jobs.get_mut(id) {
                row.telemetry.remove(last);
                row.whole_from = row.whole_from.max(last + 1);
            }
        }
        old.len() as u64
    }

    fn begin(
        &mut self,
        key: &str,
        answer: &IdempotentAnswer,
        expired_before: Timestamp,
    ) -> Option<IdempotentAnswer> {
        let left = |known: &IdempotentAnswer| known.status.is_none() && known.fence < answer.fence;
        let known = self
            .answers
            .get_mut(key)
            .filter(|known| known.created_at >= expired_before && !(left(known) && known.job.is_none()));
        let Some(known) = known else {
            self.answers.insert(key.to_owned(), answer.clone());
            return None;
        };
        let before = known.clone();
        if left(known) && known.request == answer.request {
            known.fence = answer.fence;
        }
        Some(before)
    }
}

fn matches(row: &Row, filter: &JobFilter) -> bool {
    let body = row.job.body();
    filter.provider.as_ref().is_none_or(|name| body.provider.as_ref() == Some(name))
        && filter.state.is_none_or(|state| row.job.state().name() == state)
        && filter.labels.iter().all(|(name, value)| body.labels.get(name) == Some(value))
}

fn shown(row: &Row) -> JobRow {
    let body = row.job.body();
    JobRow {
        id: row.job.id().clone(),
        state: row.job.state().name(),
        provider: body.provider.clone(),
        model_name: row.job.spec().model_name.clone(),
        labels: body.labels.clone(),
        created_at: body.created_at,
        started_at: body.started_at,
        completed_at: body.completed_at,
    }
}

fn asked_for(mut point: MetricPoint, query: &MetricQuery) -> Option<MetricPoint> {
    if query.after_step.is_some_and(|after| point.step.is_none_or(|step| step <= after)) {
        return None;
    }
    if !query.names.is_empty() {
        point.values.retain(|name, _| query.names.contains(name));
    }
    (query.names.is_empty() || !point.values.is_empty()).then_some(point)
}

#[async_trait]
impl Storage for Memory {
    fn fence(&self) -> Fence {
        self.fence
    }

    async fn create_under(
        &self,
        job: &Job,
        events: &[NewEvent],
        key: Option<&KeyMark>,
    ) -> Result<StoredJob, CreateError> {
        only_facts(events)?;
        self.write(|disk| disk.create(self.fence.0, job, events, key)).await?
    }

    async fn load(&self, id: &JobId) -> Result<Option<StoredJob>, StorageError> {
        self.read(|disk| disk.jobs.get(id).map(Row::stored).transpose()).await?
    }

    async fn list(&self, filter: &JobFilter, page: ListPage) -> Result<JobPage, StorageError> {
        self.read(|disk| disk.list(filter, page)).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        only_facts(&commit.events)?;
        self.write(|disk| disk.commit(&commit)).await?
    }

    async fn append(&self, telemetry: Telemetry) -> Result<Appended, StorageError> {
        only_telemetry(&telemetry.items)?;
        let taken = |disk: &mut Disk| {
            let row = disk.jobs.get_mut(&telemetry.job_id);
            row.map_or(Appended { seq: Seq(0), taken: 0 }, |row| row.append(&telemetry, false))
        };
        self.write(taken).await
    }

    async fn append_aside(
        &self,
        id: &JobId,
        attempt: AttemptNumber,
        items: Vec<TelemetryItem>,
    ) -> Result<Appended, StorageError> {
        only_telemetry(&items)?;
        let telemetry = Telemetry { job_id: id.clone(), attempt, after: 0, cursor: 0, items };
        let taken = |disk: &mut Disk| {
            let row = disk.jobs.get_mut(&telemetry.job_id);
            row.map_or(Appended { seq: Seq(0), taken: 0 }, |row| row.append(&telemetry, true))
        };
        self.write(taken).await
    }

    async fn events(&self, id: &JobId, after: Seq, limit: usize) -> Result<EventPage, StorageError> {
        let none = EventPage { events: Vec::new(), last: Seq(0), oldest: Seq(1) };
        self.read(|disk| disk.jobs.get(id).map_or(none, |row| row.page(after, limit))).await
    }

    async fn notifications(&self, id: &JobId) -> Result<Vec<Event>, StorageError> {
        let told = |row: &Row| {
            let all = row.facts.iter().filter(|event| matches!(event.body, EventBody::Notification(_)));
            all.cloned().collect()
        };
        self.read(|disk| disk.jobs.get(id).map(told).unwrap_or_default()).await
    }

    async fn metrics(
        &self,
        id: &JobId,
        query: &MetricQuery,
    ) -> Result<Vec<(Timestamp, MetricPoint)>, StorageError> {
        let series = |row: &Row| {
            let points = row.events(0).into_iter().filter_map(|event| match event.body {
                EventBody::Metrics(point) => asked_for(point, query).map(|point| (event.at, point)),
                _ => None,
            });
            points.take(query.limit).collect()
        };
        self.read(|disk| disk.jobs.get(id).map(series).unwrap_or_default()).await
    }

    async fn due(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<(Vec<JobId>, Option<Timestamp>), StorageError> {
        self.read(|disk| {
            let dues = disk.jobs.iter().filter_map(|(id, row)| Some((row.due?, row.n, id)));
            let (mut due, later): (Vec<_>, Vec<_>) = dues.partition(|(at, _, _)| *at <= now);
            due.sort();
            let ids = due.into_iter().take(limit).map(|(_, _, id)| id.clone()).collect();
            (ids, later.into_iter().map(|(at, _, _)| at).min())
        })
        .await
    }

    async fn waiting(&self, provider: &ProviderName, limit: usize) -> Result<Vec<JobId>, StorageError> {
        self.read(|disk| {
            let waits = |row: &&Row| row.job.provider() == Some(provider) && row.stands().1;
            let mut rows: Vec<&Row> = disk.jobs.values().filter(waits).collect();
            rows.sort_by_key(|row| row.submitted);
            rows.into_iter().take(limit).map(|row| row.job.id().clone()).collect()
        })
        .await
    }

    async fn delete(&self, id: &JobId, version: Option<u64>) -> Result<bool, StorageError> {
        self.write(|disk| {
            let there = disk.jobs.get(id).is_some_and(|row| version.is_none_or(|one| one == row.version));
            there && disk.jobs.remove(id).is_some()
        })
        .await
    }

    async fn machines(&self, open: bool, limit: usize) -> Result<Vec<Machine>, StorageError> {
        self.read(|disk| {
            let all = disk.machines.values().filter(|(_, machine)| !open || machine.gone_at.is_none());
            let mut all: Vec<&(u64, Machine)> = all.collect();
            all.sort_by_key(|(n, machine)| std::cmp::Reverse((machine.ordered_at, *n)));
            all.into_iter().take(limit).map(|(_, machine)| machine.clone()).collect()
        })
        .await
    }

    async fn machine(&self, order: &OrderName) -> Result<Option<Machine>, StorageError> {
        self.read(|disk| disk.machines.get(order).map(|(_, machine)| machine.clone())).await
    }

    async fn machines_since(&self, since: Timestamp, limit: usize) -> Result<Vec<Machine>, StorageError> {
        self.read(|disk| {
            let all = disk.machines.values().map(|(_, machine)| machine);
            let all: Vec<Machine> =
                all.filter(|machine| machine.gone_at.is_none_or(|at| at >= since)).cloned().collect();
            match all.len() > limit {
                true => Err(StorageError::TooMany { what: "entries of the ledger", max: limit }),
                false => Ok(all),
            }
        })
        .await?
    }

    async fn reservations(&self) -> Result<u64, StorageError> {
        self.read(|disk| disk.reservations).await
    }

    async fn highest_step(&self, id: &JobId, before: AttemptNumber) -> Result<Option<u64>, StorageError> {
        let step = |event: Event| match event.body {
            EventBody::Metrics(point) if event.attempt.is_some_and(|attempt| attempt < before) => point.step,
            _ => None,
        };
        self.read(|disk| disk.jobs.get(id).and_then(|row| row.events(0).into_iter().filter_map(step).max()))
            .await
    }

    async fn note(&self, name: &str) -> Result<Option<i64>, StorageError> {
        self.read(|disk| disk.notes.get(name).copied()).await
    }

    async fn put_note(&self, name: &str, value: i64) -> Result<(), StorageError> {
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if name.is_empty() || name.len() > 64 || !name.chars().all(word) {
            return Err(StorageError::Misuse("a note's name is 1 to 64 of [a-z0-9_]"));
        }
        self.write(|disk| {
            disk.notes.insert(name.to_owned(), value);
        })
        .await
    }

    async fn expire_telemetry(&self, before: Timestamp, limit: usize) -> Result<u64, StorageError> {
        self.write(|disk| disk.expire(before, limit)).await
    }

    async fn ended_before(&self, before: Timestamp, limit: usize) -> Result<Vec<JobId>, StorageError> {
        self.read(|disk| {
            let ended = |row: &Row| row.job.body().completed_at.filter(|at| *at < before);
            let rows = disk.jobs.values().filter_map(|row| Some((ended(row)?, row.n, row.job.id())));
            let mut rows: Vec<_> = rows.collect();
            rows.sort();
            rows.into_iter().take(limit).map(|(_, _, id)| id.clone()).collect()
        })
        .await
    }

    async fn put_secret(&self, secret: &SealedSecret) -> Result<(), StorageError> {
        self.write(|disk| drop(disk.secrets.insert(secret.name.clone(), secret.clone()))).await
    }

    async fn secret(&self, name: &SecretName) -> Result<Option<SealedSecret>, StorageError> {
        self.read(|disk| disk.secrets.get(name).cloned()).await
    }

    async fn secret_names(&self) -> Result<Vec<(SecretName, Timestamp)>, StorageError> {
        self.read(|disk| disk.secrets.values().map(|one| (one.name.clone(), one.updated_at)).collect()).await
    }

    async fn delete_secret(&self, name: &SecretName) -> Result<bool, StorageError> {
        self.write(|disk| disk.secrets.remove(name).is_some()).await
    }

    async fn put_token(&self, token: &TokenRecord) -> Result<(), StorageError> {
        self.write(|disk| {
            if disk.tokens.iter().any(|known| known.id == token.id || known.digest == token.digest) {
                return Err(StorageError::Misuse("that token is there already"));
            }
            disk.tokens.push(token.clone());
            disk.tokens.sort_by_key(|token| token.created_at);
            Ok(())
        })
        .await?
    }

    async fn tokens(&self) -> Result<Vec<TokenRecord>, StorageError> {
        self.read(|disk| disk.tokens.clone()).await
    }

    async fn delete_token(&self, id: &str) -> Result<bool, StorageError> {
        self.write(|disk| {
            let before = disk.tokens.len();
            disk.tokens.retain(|token| token.id != id);
            disk.tokens.len() < before
        })
        .await
    }

    async fn begin_idempotent(
        &self,
        key: &str,
        answer: &IdempotentAnswer,
        expired_before: Timestamp,
    ) -> Result<Option<IdempotentAnswer>, StorageError> {
        self.write(|disk| disk.begin(key, answer, expired_before)).await
    }

    async fn finish_idempotent(&self, key: &str, answer: &IdempotentAnswer) -> Result<(), StorageError> {
        self.write(|disk| {
            let changed = disk.answers.get_mut(key).filter(|known| known.job.is_some());
            match (answer.status, changed) {
                (Some(_), _) => drop(disk.answers.insert(key.to_owned(), answer.clone())),
                // As if an older process had taken it.
                (None, Some(known)) => known.fence = Fence(0),
                (None, None) => drop(disk.answers.remove(key)),
            }
        })
        .await
    }

    async fn probe(&self) -> Result<(), StorageError> {
        self.write(|_| ()).await
    }

    async fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }
}
