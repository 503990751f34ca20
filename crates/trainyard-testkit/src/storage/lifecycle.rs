//! Dropped futures, restart, closing.

use std::task::Poll;

use futures_util::future::poll_fn;
use trainyard_domain::Seq;
use trainyard_storage::{CommitError, JobFilter, ListPage, StorageError};

use super::StorageHarness;
use super::make::*;

/// Polls a future so many times at most, then drops it.
async fn drop_after<F: Future + Unpin>(polls: usize, mut future: F) {
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        match std::pin::Pin::new(&mut future).poll(context) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    })
    .await;
}

pub(super) async fn dropped_futures(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let storage = storage.as_ref();
    create(storage, &job("one")).await;
    for polls in 0..40 {
        let before = load(storage, "one").await;
        let mut one = commit(&before, storage);
        one.events = vec![note("a"), note("b")];
        one.machines = vec![machine(polls as u128, "one")];
        drop_after(polls, storage.commit(one)).await;
        let items = vec![log(1, before.log_bytes, 1), log(1, before.log_bytes + 1, 1)];
        drop_after(polls, storage.append(batch("one", 1, polls as u64 + 1, items))).await;
        // A write that is queued behind them: what was queued is made by then.
        storage.probe().await.expect("a probe");
        let now = load(storage, "one").await;
        let committed = now.version - before.version;
        let appended = u64::from(now.cursor != before.cursor);
        assert!(committed <= 1);
        assert_eq!(now.seq.0 - before.seq.0, 2 * committed + 2 * appended, "whole or not at all");
        assert_eq!(now.log_bytes - before.log_bytes, 2 * appended);
        let ordered = storage.machine(&order(polls as u128)).await.expect("the ledger").is_some();
        assert_eq!(ordered, committed == 1);
        drop_after(polls, storage.events(&id("one"), Seq(0), 1000)).await;
        drop_after(polls, storage.list(&JobFilter::default(), ListPage { limit: 10, before: None })).await;
    }
    let page = storage.events(&id("one"), Seq(0), 1000).await.expect("events");
    assert_eq!(page.events.len() as u64, page.last.0);
}

pub(super) async fn restart(harness: &dyn StorageHarness) {
    let first = harness.open().await;
    let storage = first.as_ref();
    storage.create(&labelled("one", &[("a", "b")]), &[note("x")]).await.expect("created");
    change(storage, "one", |job| run(job, "local", 1)).await;
    let mut due = commit(&load(storage, "one").await, storage);
    due.due = Some(at(77));
    due.machines = vec![machine(1, "one")];
    storage.commit(due).await.expect("a commit");
    storage.append(batch("one", 1, 4, vec![metric(1, Some(1), &[("loss", 0.5)])])).await.expect("appending");
    let (before, fence) = (load(storage, "one").await, storage.fence());
    let events = storage.events(&id("one"), Seq(0), 10).await.expect("events");
    first.close().await;
    let Some(second) = harness.reopen(first).await else {
        println!("not run: this storage does not outlive its handle");
        return;
    };
    let storage = second.as_ref();
    assert!(storage.fence() > fence);
    assert_eq!(load(storage, "one").await, before);
    assert_eq!(storage.events(&id("one"), Seq(0), 10).await.expect("events"), events);
    assert_eq!(storage.due(at(77), 10).await.expect("due").0, [id("one")]);
    assert_eq!(storage.machines(true, 10).await.expect("machines").len(), 1);
    let page =
        storage.list(&JobFilter::default(), ListPage { limit: 10, before: None }).await.expect("a list");
    assert_eq!((page.jobs.len(), page.total), (1, 1));
    let mut newer = commit(&before, storage);
    newer.fence = storage.fence();
    storage.commit(newer).await.expect("the new holder");
    let mut late = commit(&load(storage, "one").await, storage);
    late.fence = fence;
    assert!(matches!(storage.commit(late).await, Err(CommitError::Fenced(_))), "the old holder is fenced");
}

pub(super) async fn close(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let storage = storage.as_ref();
    let stored = create(storage, &job("one")).await;
    storage.close().await;
    storage.close().await;
    assert!(matches!(storage.load(&id("one")).await, Err(StorageError::Closed)));
    assert!(matches!(storage.probe().await, Err(StorageError::Closed)));
    let refused = storage.commit(commit(&stored, storage)).await;
    assert!(matches!(refused, Err(CommitError::Storage(StorageError::Closed))));
    assert!(matches!(storage.tokens().await, Err(StorageError::Closed)));
}

pub(super) async fn probe(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    for _ in 0..3 {
        storage.probe().await.expect("a probe");
    }
}
