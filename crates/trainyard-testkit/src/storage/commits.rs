//! Commits: conditional, numbered, with the ledger.

use std::sync::Arc;

use futures_util::future::join_all;
use trainyard_domain::{EventBody, Machine, Seq};
use trainyard_storage::{CommitError, CreateError, Fence, Storage, StorageError, StoredJob, TelemetryItem};

use super::StorageHarness;
use super::make::*;

pub(super) async fn stale(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let storage = storage.as_ref();
    let stored = create(storage, &job("one")).await;
    let mut first = commit(&stored, storage);
    first.events = vec![note("first")];
    let committed = storage.commit(first).await.expect("the first");
    assert_eq!((committed.version, committed.seq), (2, Seq(1)));
    let mut second = commit(&stored, storage);
    second.events = vec![note("second")];
    second.machines = vec![machine(1, "one")];
    second.due = Some(at(1));
    submit(&mut second.job, "local");
    for version in [0, 1, 3, u64::MAX] {
        second.version = version;
        let refused = storage.commit(second.clone()).await;
        assert!(matches!(refused, Err(CommitError::Stale(name)) if name == id("one")));
    }
    let now = load(storage, "one").await;
    assert_eq!((now.version, now.seq, now.job), (2, Seq(1), stored.job));
    assert_eq!(storage.events(&id("one"), Seq(0), 9).await.expect("events").events.len(), 1);
    assert_eq!(storage.machines(false, 9).await.expect("machines"), []);
    assert_eq!(storage.due(at(100), 9).await.expect("due"), (vec![], None));
}

pub(super) async fn commit_race(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let storage = storage.as_ref();
    let stored = create(storage, &job("one")).await;
    let answers = join_all((0..40).map(|n| {
        let mut one = commit(&stored, storage);
        one.events = vec![note(&format!("writer {n}"))];
        storage.commit(one)
    }))
    .await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert_eq!(load(storage, "one").await.seq, Seq(1));
}

pub(super) async fn fenced(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let storage = storage.as_ref();
    let stored = create(storage, &job("one")).await;
    let mut taken_over = commit(&stored, storage);
    taken_over.fence = Fence(storage.fence().0 + 1);
    let committed = storage.commit(taken_over).await.expect("the new holder");
    for version in [stored.version, committed.version] {
        let mut late = commit(&stored, storage);
        late.version = version;
        late.events = vec![note("late")];
        assert!(matches!(storage.commit(late).await, Err(CommitError::Fenced(name)) if name == id("one")));
    }
    assert_eq!(load(storage, "one").await.seq, Seq(0));
}

pub(super) async fn missing(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let storage = storage.as_ref();
    let stored = create(storage, &job("one")).await;
    storage.delete(&id("one"), None).await.expect("deleting");
    let refused = storage.commit(commit(&stored, storage)).await;
    assert!(matches!(refused, Err(CommitError::Missing(name)) if name == id("one")));
}

pub(super) async fn refused_beside_good(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let storage = storage.as_ref();
    let stored = create(storage, &job("old")).await;
    let fresh: Vec<_> = (0..30).map(|n| job(&format!("new-{n}"))).collect();
    let taken = job("old");
    let mut stale = commit(&stored, storage);
    stale.version = 7;
    let good = join_all(fresh.iter().map(|job| storage.create(job, &[])));
    let exists = join_all((0..30).map(|_| storage.create(&taken, &[])));
    let stale = join_all((0..30).map(|_| storage.commit(stale.clone())));
    let (good, exists, stale) = tokio::join!(good, exists, stale);
    assert!(good.iter().all(Result::is_ok));
    assert!(exists.iter().all(|answer| matches!(answer, Err(CreateError::Exists(_)))));
    assert!(stale.iter().all(|answer| matches!(answer, Err(CommitError::Stale(_)))));
    for job in &fresh {
        assert!(storage.load(job.id()).await.expect("loading").is_some());
    }
}

/// Commits until it was not too late.
async fn commit_note(storage: &dyn Storage, title: &str) -> Seq {
    loop {
        let stored = load(storage, "one").await;
        let mut one = commit(&stored, storage);
        one.events = vec![note(title), note(title)];
        match storage.commit(one).await {
            Ok(committed) => return committed.seq,
            Err(CommitError::Stale(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

pub(super) async fn seq_dense(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    create(storage.as_ref(), &job("one")).await;
    let writers = (0..32u64).map(|n| {
        let storage = Arc::clone(&storage);
        tokio::spawn(async move {
            for round in 0..6 {
                if n % 2 == 0 {
                    commit_note(storage.as_ref(), &format!("{n}.{round}")).await;
                } else {
                    // Cursors of several senders race: a batch below the stored one is rightly not taken.
                    let items = vec![metric(1, Some(n), &[("loss", 1.5)]), log(1, 0, 5), progress(1, n)];
                    storage.append(batch("one", 1, round * 100 + n, items)).await.expect("appending");
                }
            }
        })
    });
    for writer in join_all(writers).await {
        writer.expect("a writer");
    }
    let page = storage.events(&id("one"), Seq(0), 10_000).await.expect("events");
    let numbers: Vec<u64> = page.events.iter().map(|event| event.seq.0).collect();
    let expected: Vec<u64> = (1..=page.last.0).collect();
    assert_eq!(numbers, expected);
    let facts = page.events.iter().filter(|event| !event.body.is_telemetry()).count();
    assert_eq!(facts, 16 * 6 * 2, "every fact is there once");
    assert!(page.events.len() > facts, "and telemetry among them");
}

pub(super) async fn machines_ledger(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let storage = storage.as_ref();
    let stored = create(storage, &job("one")).await;
    let mut ordered = commit(&stored, storage);
    ordered.machines = vec![machine(1, "one"), machine(3, "one"), machine(2, "one")];
    storage.commit(ordered).await.expect("a commit");
    let names = |machines: Vec<trainyard_domain::Machine>| {
        machines.into_iter().map(|machine| machine.order).collect::<Vec<_>>()
    };
    assert_eq!(names(storage.machines(true, 9).await.expect("open")), [order(3), order(2), order(1)]);
    assert_eq!(names(storage.machines(true, 2).await.expect("open")), [order(3), order(2)]);
    let mut gone = machine(2, "one");
    gone.gone_at = Some(at(50));
    gone.gone_proof = Some("the listing without it".to_owned());
    let mut returned = commit(&load(storage, "one").await, storage);
    returned.machines = vec![gone.clone()];
    storage.commit(returned).await.expect("a commit");
    storage.delete(&id("one"), None).await.expect("deleting");
    assert_eq!(names(storage.machines(true, 9).await.expect("open")), [order(3), order(1)]);
    assert_eq!(names(storage.machines(false, 9).await.expect("all")), [order(3), order(2), order(1)]);
    assert_eq!(storage.machine(&order(2)).await.expect("one"), Some(gone));
    assert_eq!(storage.machine(&order(9)).await.expect("none"), None);
}

pub(super) async fn reservations(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let storage = storage.as_ref();
    let (one, two) = (create(storage, &job("one")).await, create(storage, &job("two")).await);
    let read = storage.reservations().await.expect("a number");
    let reserving = |stored: &StoredJob, n: u128, name: &str| {
        let mut order = commit(stored, storage);
        order.machines = vec![machine(n, name)];
        order.reserves = Some(read);
        order
    };
    let answers =
        join_all([storage.commit(reserving(&one, 1, "one")), storage.commit(reserving(&two, 2, "two"))])
            .await;
    let refused: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert!(matches!(refused.as_slice(), [CommitError::Stale(_)]), "{answers:?}");
    assert_eq!(storage.reservations().await.expect("a number"), read + 1);
    assert_eq!(storage.machines(true, 9).await.expect("machines").len(), 1, "the refused one wrote nothing");
    // Who sets nothing aside is not held up, and a refused commit does not count.
    let late = if answers[0].is_ok() { two } else { one };
    let mut stale = reserving(&late, 3, "late");
    (stale.version, stale.reserves) = (late.version + 1, Some(read + 1));
    storage.commit(stale).await.expect_err("another version");
    storage.commit(commit(&late, storage)).await.expect("without a reservation");
    assert_eq!(storage.reservations().await.expect("a number"), read + 1);
}

pub(super) async fn machines_since(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let storage = storage.as_ref();
    let stored = create(storage, &job("one")).await;
    let mut ledger = commit(&stored, storage);
    let gone = |n: u128, seconds: i64| Machine { gone_at: Some(at(seconds)), ..machine(n, "one") };
    ledger.machines = vec![gone(1, 10), gone(2, 20), machine(3, "one"), gone(4, 30)];
    storage.commit(ledger).await.expect("a commit");
    let since = async |seconds| {
        let machines = storage.machines_since(at(seconds), 9).await.expect("machines");
        let mut orders: Vec<_> = machines.into_iter().map(|machine| machine.order).collect();
        orders.sort();
        orders
    };
    let mut expected = vec![order(2), order(3), order(4)];
    expected.sort();
    assert_eq!(since(20).await, expected);
    assert_eq!(since(31).await, [order(3)]);
    assert_eq!(storage.machines_since(at(0), 4).await.expect("machines").len(), 4);
    let refused = storage.machines_since(at(0), 3).await;
    assert!(matches!(refused, Err(StorageError::TooMany { max: 3, .. })), "{refused:?}");
}

pub(super) async fn only_facts(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let storage = storage.as_ref();
    let stored = create(storage, &job("one")).await;
    let TelemetryItem { at, body } = metric(1, Some(1), &[("loss", 1.0)]);
    let mut wrong = commit(&stored, storage);
    wrong.events = vec![trainyard_domain::NewEvent { at, attempt: None, body }];
    let refused = storage.commit(wrong).await;
    assert!(matches!(refused, Err(CommitError::Storage(StorageError::Misuse(_)))));
    let fact = TelemetryItem { at, body: EventBody::Status(stored.job.status()) };
    let refused = storage.append(batch("one", 1, 1, vec![fact])).await;
    assert!(matches!(refused, Err(StorageError::Misuse(_))));
    assert_eq!(load(storage, "one").await.seq, Seq(0));
}
