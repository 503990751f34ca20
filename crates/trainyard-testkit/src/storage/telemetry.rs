//! Telemetry: exactly once, and what it leaves on the job.

use trainyard_domain::{EventBody, MetricPoint, Seq};
use trainyard_storage::{MetricQuery, StorageError, Telemetry};

use super::StorageHarness;
use super::make::*;

pub(super) async fn cursor_exactly_once(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let storage = storage.as_ref();
    create(storage, &job("one")).await;
    let items = vec![log(1, 0, 3), metric(1, Some(1), &[("loss", 2.5)])];
    let first = storage.append(batch("one", 1, 2, items.clone())).await.expect("appending");
    assert_eq!((first.seq, first.taken), (Seq(2), 2));
    for cursor in [2, 1, 0] {
        let again = storage.append(batch("one", 1, cursor, items.clone())).await.expect("appending");
        assert_eq!((again.seq, again.taken), (Seq(2), 0));
    }
    let next = storage.append(batch("one", 1, 3, vec![log(2, 3, 4)])).await.expect("appending");
    assert_eq!((next.seq, next.taken), (Seq(3), 1));
    let over = Telemetry { after: 2, ..batch("one", 1, 5, items.clone()) };
    let over = storage.append(over).await.expect("appending");
    assert_eq!((over.seq, over.taken), (Seq(3), 0), "a part of it was taken before");
    let empty = storage.append(batch("one", 1, 9, vec![])).await.expect("appending");
    assert_eq!((empty.seq, empty.taken), (Seq(3), 0));
    let stored = load(storage, "one").await;
    assert_eq!((stored.cursor, stored.seq, stored.log_bytes), (Some((attempt(1), 9)), Seq(3), 7));
    let page = storage.events(&id("one"), Seq(0), 100).await.expect("events");
    let kinds: Vec<_> = page.events.iter().map(|event| (event.seq.0, event.body.kind())).collect();
    assert_eq!(kinds, [(1, "log"), (2, "metrics"), (3, "log")]);
    assert!(page.events.iter().all(|event| event.attempt == Some(attempt(1))));
    let large = vec![log(1, 0, 1); Telemetry::ITEMS_MAX + 1];
    assert!(matches!(storage.append(batch("one", 1, 10, large)).await, Err(StorageError::Misuse(_))));
}

pub(super) async fn older_attempt(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let storage = storage.as_ref();
    create(storage, &job("one")).await;
    storage.append(batch("one", 1, 100, vec![log(1, 0, 3)])).await.expect("appending");
    let newer = storage.append(batch("one", 2, 1, vec![log(2, 3, 3)])).await.expect("appending");
    assert_eq!((newer.seq, newer.taken), (Seq(2), 1));
    let older = storage.append(batch("one", 1, 200, vec![log(3, 6, 3)])).await.expect("appending");
    assert_eq!((older.seq, older.taken), (Seq(2), 0));
    assert_eq!(load(storage, "one").await.cursor, Some((attempt(2), 1)));
}

pub(super) async fn highest_step(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let storage = storage.as_ref();
    create(storage, &job("one")).await;
    create(storage, &job("other")).await;
    let before = async |n| storage.highest_step(&id("one"), attempt(n)).await.expect("the highest step");
    let told = |n, steps: &[u64]| {
        batch("one", n, 1, steps.iter().map(|step| metric(1, Some(*step), &[("loss", 1.0)])).collect())
    };
    assert_eq!(before(2).await, None, "nothing was told");
    storage.append(told(1, &[10, 40, 30])).await.expect("appending");
    storage
        .append(batch("other", 1, 1, vec![metric(1, Some(99), &[("loss", 1.0)])]))
        .await
        .expect("appending");
    storage.append(told(2, &[20, 60])).await.expect("appending");
    assert_eq!([before(1).await, before(2).await, before(3).await], [None, Some(40), Some(60)]);
    assert_eq!(storage.highest_step(&id("none"), attempt(2)).await.expect("the highest step"), None);
}

pub(super) async fn aside(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let storage = storage.as_ref();
    create(storage, &job("one")).await;
    let one = id("one");
    for n in 1..=2u64 {
        let told =
            storage.append_aside(&one, attempt(1), vec![log(1, 3 * (n - 1), 3)]).await.expect("appending");
        assert_eq!((told.seq, told.taken), (Seq(n), 1), "the same again is taken again");
    }
    assert_eq!((load(storage, "one").await.cursor, load(storage, "one").await.log_bytes), (None, 6));
    let agent = storage.append(batch("one", 1, 1, vec![log(2, 6, 3)])).await.expect("appending");
    assert_eq!(agent.taken, 1, "the agent's own numbers begin as ever");
    storage.append_aside(&one, attempt(1), vec![log(3, 9, 3)]).await.expect("appending");
    assert_eq!(load(storage, "one").await.cursor, Some((attempt(1), 1)));
    storage.append(batch("one", 2, 1, vec![log(4, 12, 3)])).await.expect("appending");
    let late = storage.append_aside(&one, attempt(1), vec![log(5, 15, 3)]).await.expect("appending");
    assert_eq!((late.seq, late.taken), (Seq(5), 0), "an older attempt is over");
    let missing = storage.append_aside(&id("none"), attempt(1), vec![log(1, 0, 1)]).await.expect("appending");
    assert_eq!(missing.taken, 0);
}

pub(super) async fn current_metrics(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let storage = storage.as_ref();
    create(storage, &job("one")).await;
    let newest = async || load(storage, "one").await.current_metrics;
    storage.append(batch("one", 1, 1, vec![metric(1, Some(99), &[("system/gpu", 1.0)])])).await.expect("one");
    assert_eq!(newest().await, None, "the machine's points are not the training's");
    let items = vec![
        metric(1, Some(1), &[("loss", 2.5), ("learning_rate", 0.1), ("system/gpu", 0.5)]),
        metric(2, Some(2), &[("loss", 2.25)]),
        metric(3, None, &[("system/gpu", 0.75)]),
    ];
    storage.append(batch("one", 1, 2, items)).await.expect("two");
    assert_eq!(newest().await, Some(point(Some(2), &[("learning_rate", 0.1), ("loss", 2.25)])));
    let items = vec![metric(4, None, &[("eval_loss", 1.5)]), progress(4, 7), progress(5, 8)];
    storage.append(batch("one", 1, 3, items)).await.expect("three");
    let all = point(Some(2), &[("eval_loss", 1.5), ("learning_rate", 0.1), ("loss", 2.25)]);
    assert_eq!(newest().await, Some(all), "a point without a step keeps the step");
    assert_eq!(load(storage, "one").await.progress.and_then(|progress| progress.step), Some(8));
}

pub(super) async fn version_stays(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let storage = storage.as_ref();
    let stored = create(storage, &job("one")).await;
    storage.append(batch("one", 1, 5, vec![metric(1, Some(1), &[("loss", 2.5)])])).await.expect("appending");
    let mut decided = commit(&stored, storage);
    decided.events = vec![note("decided before, committed after")];
    let committed = storage.commit(decided).await.expect("not stale");
    assert_eq!((committed.version, committed.seq), (2, Seq(2)));
    let now = load(storage, "one").await;
    assert_eq!(now.cursor, Some((attempt(1), 5)), "and the commit keeps what telemetry moved");
    assert!(now.current_metrics.is_some());
}

pub(super) async fn log_bytes(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let storage = storage.as_ref();
    create(storage, &job("one")).await;
    storage.append(batch("one", 1, 1, vec![log(1, 0, 100), log(1, 100, 20)])).await.expect("appending");
    assert_eq!(load(storage, "one").await.log_bytes, 120);
    storage.append(batch("one", 1, 2, vec![metric(1, None, &[("loss", 1.0)])])).await.expect("appending");
    assert_eq!(load(storage, "one").await.log_bytes, 120);
    storage.append(batch("one", 2, 1, vec![log(1, 120, 5)])).await.expect("appending");
    assert_eq!(load(storage, "one").await.log_bytes, 125, "attempts share one log");
}

pub(super) async fn series(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let storage = storage.as_ref();
    create(storage, &job("one")).await;
    let mut expected = Vec::new();
    for number in 0..7u64 {
        let items: Vec<_> = (0..300u64)
            .flat_map(|n| {
                let step = number * 300 + n;
                let training = metric(1, Some(step), &[("loss", step as f64 + 0.5), ("lr", 0.25)]);
                [training, log(1, 0, 1), metric(1, None, &[("system/gpu", n as f64)])]
            })
            .collect();
        expected.extend(items.iter().filter_map(|item| match &item.body {
            EventBody::Metrics(point) => Some((item.at, point.clone())),
            _ => None,
        }));
        storage.append(batch("one", 1, number + 1, items)).await.expect("appending");
    }
    let read = async |after_step: Option<u64>, names: &[&str], limit: usize| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let query = MetricQuery { after_step, names, limit };
        storage.metrics(&id("one"), &query).await.expect("metrics")
    };
    assert_eq!(read(None, &[], 100_000).await, expected);
    assert_eq!(read(None, &[], 1000).await, expected[..1000]);
    let steps =
        |points: Vec<(_, MetricPoint)>| points.into_iter().map(|(_, point)| point.step).collect::<Vec<_>>();
    let after: Vec<_> = (1998..2100).map(Some).collect();
    assert_eq!(steps(read(Some(1997), &[], 100_000).await), after, "points without a step are left out");
    let loss = read(None, &["loss"], 100_000).await;
    assert!(loss.len() == 2100 && loss.iter().all(|(_, point)| point.values.len() == 1));
    assert_eq!(read(None, &["unknown"], 10).await, []);
    assert_eq!(read(Some(5000), &[], 10).await, []);
}

pub(super) async fn not_finite(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let storage = storage.as_ref();
    create(storage, &job("one")).await;
    let values = [("a", f64::NAN), ("b", f64::INFINITY), ("c", f64::NEG_INFINITY), ("d", 1e300), ("e", -0.5)];
    storage.append(batch("one", 1, 1, vec![metric(1, Some(1), &values)])).await.expect("appending");
    let query = MetricQuery { limit: 10, ..MetricQuery::default() };
    let read = storage.metrics(&id("one"), &query).await.expect("metrics");
    let newest = load(storage, "one").await.current_metrics.expect("metrics");
    for point in [&read[0].1, &newest] {
        assert!(point.get("a").is_some_and(f64::is_nan));
        assert_eq!(point.get("b"), Some(f64::INFINITY));
        assert_eq!(point.get("c"), Some(f64::NEG_INFINITY));
        assert_eq!((point.get("d"), point.get("e")), (Some(1e300), Some(-0.5)));
    }
}
