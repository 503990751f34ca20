//! Reading what happened: events, metrics, logs.

use std::sync::Arc;

use trainyard_domain::{Event, JobId, MetricPoint, Seq, Timestamp};
use trainyard_storage::{EventPage, MetricQuery, StoredJob};

use super::load;
use crate::feed::{self, EventStream};
use crate::{Error, ErrorKind, LogChunk, Orchestrator, SharedEvent};

/// Most bytes of a log in one answer.
const LOG_ANSWER_BYTES: u32 = 4 << 20;

impl Orchestrator {
    /// A job's events after a number, then live; without a number live from now. Nothing is missed, nothing twice.
    ///
    /// # Errors
    /// 404; 410 with the oldest number where `after` is older than what is kept.
    pub async fn events(&self, id: &JobId, after: Option<Seq>) -> Result<EventStream, Error> {
        let stored = load(&self.core, id).await?;
        let from = after.unwrap_or(stored.seq);
        self.check_kept(id, from).await?;
        // A number that is not there yet: the reader starts at what is.
        Ok(feed::stream(&self.core, id, from.min(stored.seq), stored.seq))
    }

    /// A page of events.
    ///
    /// # Errors
    /// As [`Orchestrator::events`].
    pub async fn event_page(&self, id: &JobId, after: Seq, limit: usize) -> Result<EventPage, Error> {
        load(&self.core, id).await?;
        self.check_kept(id, after).await?;
        Ok(self.core.storage.events(id, after, limit).await?)
    }

    /// A page of events with the text of logs.
    ///
    /// # Errors
    /// As [`Orchestrator::events`].
    pub async fn shared_events(
        &self,
        id: &JobId,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Arc<SharedEvent>>, Error> {
        load(&self.core, id).await?;
        self.check_kept(id, after).await?;
        feed::read(&self.core, id, after, limit).await
    }

    /// All milestones told.
    ///
    /// # Errors
    /// 404.
    pub async fn notifications(&self, id: &JobId) -> Result<Vec<Event>, Error> {
        load(&self.core, id).await?;
        Ok(self.core.storage.notifications(id).await?)
    }

    /// The series of metrics.
    ///
    /// # Errors
    /// 404.
    pub async fn metrics(
        &self,
        id: &JobId,
        query: &MetricQuery,
    ) -> Result<Vec<(Timestamp, MetricPoint)>, Error> {
        load(&self.core, id).await?;
        Ok(self.core.storage.metrics(id, query).await?)
    }

    /// A part of the log, from a byte.
    ///
    /// # Errors
    /// 404.
    pub async fn log(&self, id: &JobId, after: u64, limit: u32) -> Result<LogChunk, Error> {
        let stored = load(&self.core, id).await?;
        self.log_of(&stored, after, limit).await
    }

    /// The last lines of the log.
    ///
    /// # Errors
    /// 404.
    pub async fn log_tail(&self, id: &JobId, lines: u32) -> Result<LogChunk, Error> {
        let stored = load(&self.core, id).await?;
        let from = self.core.logs.tail_offset(id, lines as usize, stored.log_bytes).await?;
        self.log_of(&stored, from, LOG_ANSWER_BYTES).await
    }

    async fn log_of(&self, stored: &StoredJob, after: u64, limit: u32) -> Result<LogChunk, Error> {
        let end = stored.log_bytes;
        let offset = after.min(end);
        let wanted = u64::from(limit.min(LOG_ANSWER_BYTES)).min(end - offset) as usize;
        let bytes = self.core.logs.read(stored.job.id(), offset, wanted).await?;
        Ok(LogChunk { offset, bytes: bytes.into(), end, complete: stored.job.state().name().is_end() })
    }

    async fn check_kept(&self, id: &JobId, after: Seq) -> Result<(), Error> {
        let page = self.core.storage.events(id, after, 1).await?;
        if after.0 + 1 >= page.oldest.0 {
            return Ok(());
        }
        let mut gone = Error::new(ErrorKind::Gone, "events_gone", "events that old are not kept any more")
            .detail(format!("the oldest kept is {}", page.oldest.0))
            .about(id);
        gone.oldest_seq = Some(page.oldest.0);
        Err(gone)
    }
}
