//! Reading the history in pages, and what retention leaves of it.

use trainyard_domain::{Event, Seq};
use trainyard_storage::{EventPage, Storage, StoredJob};

use super::StorageHarness;
use super::make::*;

async fn page(storage: &dyn Storage, after: u64, limit: usize) -> EventPage {
    storage.events(&id("one"), Seq(after), limit).await.expect("events")
}

/// The whole history, read in pages of that size.
async fn whole(storage: &dyn Storage, limit: usize) -> Vec<Event> {
    let mut all: Vec<Event> = Vec::new();
    loop {
        let after = all.last().map_or(0, |event| event.seq.0);
        let next = page(storage, after, limit).await;
        assert!(next.events.len() <= limit);
        if next.events.is_empty() {
            assert!(after == next.last.0, "an empty page before the end");
            return all;
        }
        all.extend(next.events);
    }
}

/// Facts and telemetry in turns, 41 numbers a round.
async fn write_history(storage: &dyn Storage, rounds: u64) -> StoredJob {
    create(storage, &job("one")).await;
    for round in 0..rounds {
        let mut one = commit(&load(storage, "one").await, storage);
        one.events = vec![note(&format!("round {round}"))];
        storage.commit(one).await.expect("a commit");
        let seconds = i64::try_from(round).expect("small") * 100;
        let items = (0..40).map(|n| match n % 3 {
            0 => log(seconds, n, 1),
            1 => metric(seconds, Some(round * 40 + n), &[("loss", n as f64)]),
            _ => progress(seconds, n),
        });
        storage.append(batch("one", 1, round + 1, items.collect())).await.expect("appending");
    }
    load(storage, "one").await
}

pub(super) async fn paging(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let storage = storage.as_ref();
    let none = storage.events(&id("nobody"), Seq(0), 10).await.expect("events");
    assert_eq!((none.events.len(), none.last, none.oldest), (0, Seq(0), Seq(1)));
    let stored = write_history(storage, 5).await;
    let all = whole(storage, 10_000).await;
    let numbers: Vec<u64> = all.iter().map(|event| event.seq.0).collect();
    assert_eq!(numbers, (1..=205).collect::<Vec<_>>());
    assert_eq!(stored.seq, Seq(205));
    for limit in [1, 2, 7, 40, 41, 42, 204, 205] {
        assert_eq!(whole(storage, limit).await, all, "in pages of {limit}");
    }
    for after in [0, 1, 20, 41, 42, 100, 204, 205, 206, u64::MAX] {
        let rest: Vec<&Event> = all.iter().filter(|event| event.seq.0 > after).take(50).collect();
        let read = page(storage, after, 50).await;
        assert_eq!(read.events.iter().collect::<Vec<_>>(), rest, "after {after}");
        assert_eq!((read.last, read.oldest), (Seq(205), Seq(1)));
    }
    assert_eq!(page(storage, 0, 0).await.events, []);
}

pub(super) async fn expiry(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let storage = storage.as_ref();
    write_history(storage, 5).await;
    change(storage, "one", |job| run(job, "local", 1)).await;
    assert_eq!(storage.expire_telemetry(at(10_000), 100).await.expect("expiring"), 0, "it has not ended");
    change(storage, "one", |job| finish(job, 500)).await;
    assert_eq!(storage.expire_telemetry(at(0), 100).await.expect("expiring"), 0, "nothing is that old");
    assert_eq!(page(storage, 0, 1).await.oldest, Seq(1));
    // Telemetry of the rounds at 0, 100 and 200 seconds goes, one row at a time and then all.
    assert_eq!(storage.expire_telemetry(at(201), 1).await.expect("expiring"), 1);
    let oldest = page(storage, 0, 1).await.oldest;
    assert_eq!(oldest, Seq(42), "the oldest goes first");
    assert_eq!(storage.expire_telemetry(at(201), 100).await.expect("expiring"), 2);
    assert_eq!(storage.expire_telemetry(at(201), 100).await.expect("expiring"), 0);
    let read = page(storage, 0, 10_000).await;
    assert_eq!((read.oldest, read.last), (Seq(124), Seq(205)));
    let numbers: Vec<u64> = read.events.iter().map(|event| event.seq.0).collect();
    let expected: Vec<u64> = [1, 42, 83].into_iter().chain(124..=205).collect();
    assert_eq!(numbers, expected, "facts stay, and from `oldest` on nothing is missing");
    for limit in [1, 2, 3, 4, 5, 41] {
        assert_eq!(whole(storage, limit).await, read.events, "in pages of {limit}");
    }
    assert_eq!(load(storage, "one").await.seq, Seq(205));
}

pub(super) async fn notifications(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let storage = storage.as_ref();
    let stored = write_history(storage, 3).await;
    let mut one = commit(&stored, storage);
    one.events = vec![status(&stored.job), note("last")];
    storage.commit(one).await.expect("a commit");
    let told = storage.notifications(&id("one")).await.expect("notifications");
    let numbers: Vec<u64> = told.iter().map(|event| event.seq.0).collect();
    assert_eq!(numbers, [1, 42, 83, 125]);
    assert!(told.iter().all(|event| event.body.kind() == "notification"));
    assert_eq!(storage.notifications(&id("nobody")).await.expect("notifications"), []);
}
