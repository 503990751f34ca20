//! Creating, loading, deleting.

use futures_util::future::join_all;
use trainyard_domain::Seq;
use trainyard_storage::{CreateError, JobFilter, ListPage};

use super::StorageHarness;
use super::make::*;

pub(super) async fn create_race(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let (storage, job) = (storage.as_ref(), job("one"));
    let events: Vec<_> = (0..50).map(|n| [note(&format!("writer {n}"))]).collect();
    let answers = join_all(events.iter().map(|events| storage.create(&job, events))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    let others = answers.into_iter().filter_map(Result::err);
    assert!(others.into_iter().all(|error| matches!(error, CreateError::Exists(name) if name == id("one"))));
    let page = storage.events(&id("one"), Seq(0), 100).await.expect("events");
    assert_eq!((page.events.len(), page.last), (1, Seq(1)), "only the winner's event is there");
}

pub(super) async fn load_gives_back(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let storage = storage.as_ref();
    assert_eq!(storage.load(&id("one")).await.expect("loading"), None);
    let mut new = labelled("one", &[("team", "a \"quoted\" name"), ("ü", "€")]);
    new.set_reason(Some(trainyard_domain::Reason::new("code", "line\nline\u{0}")));
    let created = storage.create(&new, &[status(&new), note("hello")]).await.expect("created");
    assert_eq!((created.version, created.seq), (1, Seq(2)));
    assert_eq!(load(storage, "one").await, created);
    assert_eq!(created.job, new);
    let page = storage.events(&id("one"), Seq(0), 10).await.expect("events");
    let told: Vec<_> =
        page.events.iter().map(|event| (event.at, event.attempt, event.body.clone())).collect();
    let given: Vec<_> =
        [status(&new), note("hello")].map(|event| (event.at, event.attempt, event.body)).to_vec();
    assert_eq!(told, given);
    let changed = change(storage, "one", |job| run(job, "local", 1)).await;
    assert_eq!(changed.version, 2);
    let mut expected = new;
    run(&mut expected, "local", 1);
    assert_eq!(changed.job, expected);
}

pub(super) async fn delete_forgets(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let storage = storage.as_ref();
    assert!(!storage.delete(&id("one"), None).await.expect("deleting"));
    let stored = storage.create(&labelled("one", &[("a", "b")]), &[note("x")]).await.expect("created");
    let mut ledger = commit(&stored, storage);
    ledger.machines = vec![machine(1, "one")];
    storage.commit(ledger).await.expect("a commit");
    storage.append(batch("one", 1, 1, vec![log(1, 0, 10)])).await.expect("appending");
    let version = load(storage, "one").await.version;
    assert!(!storage.delete(&id("one"), Some(version + 1)).await.expect("deleting"), "it moved meanwhile");
    assert!(storage.delete(&id("one"), Some(version)).await.expect("deleting"));
    assert!(!storage.delete(&id("one"), None).await.expect("deleting"));
    assert_eq!(storage.load(&id("one")).await.expect("loading"), None);
    let gone = storage.events(&id("one"), Seq(0), 10).await.expect("events");
    assert_eq!((gone.events.len(), gone.last), (0, Seq(0)));
    let listed =
        storage.list(&JobFilter::default(), ListPage { limit: 10, before: None }).await.expect("a list");
    assert_eq!((listed.jobs.len(), listed.total), (0, 0));
    assert_eq!(
        storage.machines(true, 10).await.expect("machines").len(),
        1,
        "its machine may still be billed"
    );
    let late = storage.append(batch("one", 1, 2, vec![log(1, 10, 10)])).await.expect("appending");
    assert_eq!((late.seq, late.taken), (Seq(0), 0), "telemetry of nobody is not taken");
    let again = create(storage, &job("one")).await;
    assert_eq!((again.version, again.seq, again.log_bytes), (1, Seq(0), 0));
    let fresh = storage.events(&id("one"), Seq(0), 10).await.expect("events");
    assert_eq!(fresh.events, [], "nothing of its predecessor");
}
