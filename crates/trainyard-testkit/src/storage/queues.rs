//! What is due, what waits, what ended.

use trainyard_domain::{Fact, JobId};
use trainyard_storage::Storage;

use super::StorageHarness;
use super::make::*;

async fn set_due(storage: &dyn Storage, name: &str, seconds: Option<i64>) {
    let mut one = commit(&load(storage, name).await, storage);
    one.due = seconds.map(at);
    storage.commit(one).await.expect("a commit");
}

fn ids(names: &[&str]) -> Vec<JobId> {
    names.iter().map(|name| id(name)).collect()
}

pub(super) async fn due_order(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let storage = storage.as_ref();
    assert_eq!(storage.due(at(0), 10).await.expect("due"), (vec![], None));
    for (name, seconds) in [("a", Some(30)), ("b", Some(10)), ("c", None), ("d", Some(20)), ("e", Some(50))] {
        create(storage, &job(name)).await;
        set_due(storage, name, seconds).await;
    }
    assert_eq!(storage.due(at(9), 10).await.expect("due"), (vec![], Some(at(10))));
    assert_eq!(storage.due(at(10), 10).await.expect("due"), (ids(&["b"]), Some(at(20))));
    assert_eq!(storage.due(at(30), 10).await.expect("due"), (ids(&["b", "d", "a"]), Some(at(50))));
    assert_eq!(storage.due(at(30), 2).await.expect("due").0, ids(&["b", "d"]));
    assert_eq!(storage.due(at(99), 10).await.expect("due"), (ids(&["b", "d", "a", "e"]), None));
    set_due(storage, "b", None).await;
    set_due(storage, "d", Some(40)).await;
    assert_eq!(storage.due(at(40), 10).await.expect("due"), (ids(&["a", "d"]), Some(at(50))));
}

pub(super) async fn waiting_order(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let storage = storage.as_ref();
    for name in ["a", "b", "c", "d", "e"] {
        create(storage, &job(name)).await;
    }
    for name in ["c", "a", "d", "b"] {
        change(storage, name, |job| submit(job, "local")).await;
    }
    change(storage, "e", |job| submit(job, "runpod")).await;
    let waiting = async |limit| storage.waiting(&provider("local"), limit).await.expect("waiting");
    assert_eq!(waiting(10).await, ids(&["c", "a", "d", "b"]));
    assert_eq!(waiting(2).await, ids(&["c", "a"]));
    assert_eq!(storage.waiting(&provider("runpod"), 9).await.expect("waiting"), ids(&["e"]));
    // Queued, and changed once more for another reason: the place is kept.
    change(storage, "a", |job| job.apply(&Fact::Admitted, at(5)).expect("admitted")).await;
    change(storage, "c", |job| place(job, "local", 1)).await;
    assert_eq!(waiting(10).await, ids(&["a", "d", "b"]), "one that holds a machine does not wait");
    change(storage, "c", |job| job.apply(&Fact::Lost { attempt: attempt(1) }, at(9)).expect("lost")).await;
    assert_eq!(waiting(10).await, ids(&["c", "a", "d", "b"]), "one that lost it waits at its old place");
    change(storage, "a", |job| {
        job.command(&trainyard_domain::Command::Cancel).expect("a cancel");
    })
    .await;
    storage.delete(&id("d"), None).await.expect("deleting");
    assert_eq!(waiting(10).await, ids(&["c", "b"]));
}

pub(super) async fn ended_before(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let storage = storage.as_ref();
    for (n, (name, seconds)) in
        [("a", Some(300)), ("b", Some(100)), ("c", None), ("d", Some(200))].iter().enumerate()
    {
        create(storage, &job(name)).await;
        change(storage, name, |job| run(job, "local", n as u128)).await;
        if let Some(seconds) = seconds {
            change(storage, name, |job| finish(job, *seconds)).await;
        }
    }
    assert_eq!(storage.ended_before(at(100), 10).await.expect("ended"), []);
    assert_eq!(storage.ended_before(at(201), 10).await.expect("ended"), ids(&["b", "d"]));
    assert_eq!(storage.ended_before(at(999), 10).await.expect("ended"), ids(&["b", "d", "a"]));
    assert_eq!(storage.ended_before(at(999), 1).await.expect("ended"), ids(&["b"]));
}
