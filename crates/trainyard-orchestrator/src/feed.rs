//! Following a job: one reader of new rows per job, shared by all who listen. What they miss they read from storage,
//! so a lagging or returning reader loses nothing and sees nothing twice.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use tokio::sync::broadcast::{self, error::RecvError};
use trainyard_domain::{Event, EventBody, JobId, Seq};

use crate::bells::lock;
use crate::core::Core;
use crate::{Error, SharedEvent, StreamEnd};

/// Events read from storage at once.
const PAGE_EVENTS: usize = 500;
/// Events kept for readers that are a little behind; those further behind read storage.
const SHARED_EVENTS: usize = 2048;
/// Storage is looked at this often even if no bell rings.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The live feeds, one per job that somebody follows.
#[derive(Debug, Default)]
pub(crate) struct Feeds(Mutex<HashMap<JobId, broadcast::Sender<Arc<SharedEvent>>>>);

impl Feeds {
    /// Listens to a job's new events, from some moment before this returns.
    fn listen(&self, core: &Arc<Core>, id: &JobId, after: Seq) -> broadcast::Receiver<Arc<SharedEvent>> {
        let mut feeds = lock(&self.0);
        if let Some(feed) = feeds.get(id) {
            return feed.subscribe();
        }
        let (feed, listener) = broadcast::channel(SHARED_EVENTS);
        feeds.insert(id.clone(), feed);
        tokio::spawn(share(core.clone(), id.clone(), after));
        listener
    }

    /// Whether somebody follows that job.
    pub(crate) fn has(&self, id: &JobId) -> bool {
        lock(&self.0).contains_key(id)
    }

    /// Gives events to all listeners. `false`: nobody listens any more, and the feed is gone.
    fn give(&self, id: &JobId, events: Vec<Arc<SharedEvent>>) -> bool {
        let mut feeds = lock(&self.0);
        let Some(feed) = feeds.get(id) else { return false };
        if feed.receiver_count() == 0 {
            feeds.remove(id);
            return false;
        }
        for event in events {
            // Fails only without listeners, which was just ruled out under the lock.
            let _ = feed.send(event);
        }
        true
    }

    /// Ends the feed: listeners get what was given, then its end.
    fn end(&self, id: &JobId) {
        lock(&self.0).remove(id);
    }
}

/// Reads a job's new rows and shares them, until nobody listens or nothing more can come.
async fn share(core: Arc<Core>, id: JobId, mut after: Seq) {
    let mut bell = core.bells.listen(&id);
    loop {
        bell.mark_unchanged();
        loop {
            match read(&core, &id, after, PAGE_EVENTS).await {
                Ok(events) if events.is_empty() => break,
                Ok(events) => {
                    after = events.last().map_or(after, |last| last.event.seq);
                    if !core.feeds.give(&id, events) {
                        return;
                    }
                }
                Err(_) => return core.feeds.end(&id),
            }
        }
        match is_over(&core, &id, after).await {
            Ok(false) => {}
            Ok(true) | Err(_) => return core.feeds.end(&id),
        }
        tokio::select! {
            _ = bell.changed() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {
                if !core.feeds.give(&id, Vec::new()) {
                    return;
                }
            }
            () = core.closed() => return core.feeds.end(&id),
        }
    }
}

/// Whether nothing more can come after that number: the job is over, or gone.
async fn is_over(core: &Core, id: &JobId, after: Seq) -> Result<bool, Error> {
    let Some(stored) = core.storage.load(id).await? else { return Ok(true) };
    if stored.seq > after || !stored.job.state().name().is_end() {
        return Ok(false);
    }
    if !stored.job.may_hold_machine() {
        return Ok(true);
    }
    let ended = stored.job.body().completed_at;
    let patience = core.policy.released_wait;
    Ok(ended.is_some_and(|at| (core.clock.now() - at).to_std().unwrap_or_default() > patience))
}

/// Events after a number, with the text of logs.
pub(crate) async fn read(
    core: &Core,
    id: &JobId,
    after: Seq,
    limit: usize,
) -> Result<Vec<Arc<SharedEvent>>, Error> {
    let page = core.storage.events(id, after, limit).await?;
    let mut shared = Vec::with_capacity(page.events.len());
    for event in page.events {
        shared.push(Arc::new(dress(core, id, event).await?));
    }
    Ok(shared)
}

async fn dress(core: &Core, id: &JobId, event: Event) -> Result<SharedEvent, Error> {
    let log_text = match &event.body {
        EventBody::Log(span) => {
            String::from_utf8_lossy(&core.logs.read(id, span.offset, span.len as usize).await?).into_owned()
        }
        _ => String::new(),
    };
    Ok(SharedEvent { event, log_text, wire: std::sync::OnceLock::new() })
}

/// A job's events in order, none missing, none twice: first what is stored, then live. It ends after an ended job's
/// final status, its notification and, where a machine was rented, the news that it is gone.
pub struct EventStream {
    started_at: Seq,
    inner: Pin<Box<dyn Stream<Item = Result<Arc<SharedEvent>, StreamEnd>> + Send>>,
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream").field("started_at", &self.started_at).finish_non_exhaustive()
    }
}

impl EventStream {
    /// The number of the job's last event when the stream was opened.
    pub fn last_seq_at_start(&self) -> Seq {
        self.started_at
    }

    /// The next event; `None` at the end. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<Arc<SharedEvent>, StreamEnd>> {
        std::future::poll_fn(|cx| self.inner.as_mut().poll_next(cx)).await
    }
}

impl Stream for EventStream {
    type Item = Result<Arc<SharedEvent>, StreamEnd>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.inner.as_mut().poll_next(cx)
    }
}

/// Opens a stream after that number.
pub(crate) fn stream(core: &Arc<Core>, id: &JobId, after: Seq, last: Seq) -> EventStream {
    let reader = Reader {
        live: core.feeds.listen(core, id, last),
        core: core.clone(),
        id: id.clone(),
        after,
        backlog: VecDeque::new(),
        caught_up: false,
        was_live: false,
        ended: false,
    };
    let inner = futures_util::stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        match reader.next().await {
            Some(Ok(event)) => Some((Ok(event), Some(reader))),
            Some(Err(end)) => Some((Err(end), None)),
            None => None,
        }
    });
    EventStream { started_at: last, inner: Box::pin(inner) }
}

struct Reader {
    core: Arc<Core>,
    id: JobId,
    after: Seq,
    live: broadcast::Receiver<Arc<SharedEvent>>,
    backlog: VecDeque<Arc<SharedEvent>>,
    /// Everything stored was read, so what is live follows on.
    caught_up: bool,
    was_live: bool,
    /// The feed has ended: what is stored is all there is.
    ended: bool,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<Arc<SharedEvent>, StreamEnd>> {
        loop {
            if let Some(event) = self.backlog.pop_front() {
                self.after = event.event.seq;
                return Some(Ok(event));
            }
            if !self.caught_up {
                match self.catch_up().await {
                    Ok(()) => continue,
                    Err(end) => return Some(Err(end)),
                }
            }
            if self.ended {
                return self.last_word().await;
            }
            self.was_live = true;
            match self.live.recv().await {
                Ok(event) if event.event.seq <= self.after => {}
                Ok(event) if event.event.seq.0 == self.after.0 + 1 => {
                    self.after = event.event.seq;
                    return Some(Ok(event));
                }
                // Something between was missed: storage has it.
                Ok(_) | Err(RecvError::Lagged(_)) => self.caught_up = false,
                Err(RecvError::Closed) => (self.caught_up, self.ended) = (false, true),
            }
        }
    }

    async fn catch_up(&mut self) -> Result<(), StreamEnd> {
        let page = self
            .core
            .storage
            .events(&self.id, self.after, PAGE_EVENTS)
            .await
            .map_err(|_| StreamEnd::Storage)?;
        // A replay may be long; a reader that was live and fell behind may not, or it never ends.
        let behind = page.last.0.saturating_sub(self.after.0) as usize;
        if self.was_live && behind > self.core.policy.reader_lag_events_max {
            return Err(StreamEnd::Lagged(self.after.0));
        }
        self.caught_up = page.events.is_empty();
        for event in page.events {
            let event = dress(&self.core, &self.id, event).await.map_err(|_| StreamEnd::Storage)?;
            self.backlog.push_back(Arc::new(event));
        }
        Ok(())
    }

    /// Why the feed ended.
    async fn last_word(&self) -> Option<Result<Arc<SharedEvent>, StreamEnd>> {
        if *self.core.closing.borrow() {
            return Some(Err(StreamEnd::ShuttingDown));
        }
        match self.core.storage.load(&self.id).await {
            Ok(Some(stored)) if stored.job.state().name().is_end() => None,
            Ok(Some(_)) | Err(_) => Some(Err(StreamEnd::Storage)),
            Ok(None) => Some(Err(StreamEnd::Deleted(self.id.clone()))),
        }
    }
}
