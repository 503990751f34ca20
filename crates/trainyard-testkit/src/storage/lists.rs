//! Lists: stable pages, totals, labels.

use trainyard_domain::{JobId, StateName};
use trainyard_storage::{JobFilter, JobPage, ListPage, Storage};

use super::StorageHarness;
use super::make::*;

async fn list(storage: &dyn Storage, filter: &JobFilter, limit: u32, before: Option<u64>) -> JobPage {
    storage.list(filter, ListPage { limit, before }).await.expect("a list")
}

fn names(page: &JobPage) -> Vec<&str> {
    page.jobs.iter().map(|row| row.id.as_str()).collect()
}

pub(super) async fn stable_while_creating(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let storage = storage.as_ref();
    let all = JobFilter::default();
    let empty = list(storage, &all, 10, None).await;
    assert_eq!((empty.jobs.len(), empty.total, empty.next), (0, 0, None));
    for n in 0..50 {
        create(storage, &job(&format!("job-{n}"))).await;
    }
    let mut seen: Vec<JobId> = Vec::new();
    let (mut before, mut created) = (None, 50);
    loop {
        let page = list(storage, &all, 7, before).await;
        assert_eq!(page.total, created);
        seen.extend(page.jobs.into_iter().map(|row| row.id));
        create(storage, &job(&format!("job-{created}"))).await;
        created += 1;
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    let expected: Vec<JobId> = (0..50).rev().map(|n| id(&format!("job-{n}"))).collect();
    assert_eq!(seen, expected, "newest first, each once");
    let exact = list(storage, &all, u32::try_from(created).expect("small"), None).await;
    assert_eq!(exact.next, None, "no page after the last");
}

pub(super) async fn totals(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let storage = storage.as_ref();
    for n in 0..12u32 {
        let name = format!("job-{n}");
        create(storage, &job(&name)).await;
        let at_provider = if n % 2 == 0 { "local" } else { "runpod" };
        if n >= 3 {
            change(storage, &name, |job| run(job, at_provider, u128::from(n))).await;
        }
        if n >= 8 {
            change(storage, &name, |job| finish(job, 100)).await;
        }
    }
    storage.delete(&id("job-11"), None).await.expect("deleting");
    let check = async |provider_name: Option<&str>, state: Option<StateName>, expected: &[u32]| {
        let filter = JobFilter { provider: provider_name.map(provider), state, labels: vec![] };
        let wanted: Vec<String> = expected.iter().map(|n| format!("job-{n}")).collect();
        let page = list(storage, &filter, 100, None).await;
        assert_eq!(names(&page), wanted);
        assert_eq!(page.total, expected.len() as u64);
        let first = list(storage, &filter, 1, None).await;
        assert_eq!(first.total, expected.len() as u64, "the total is not the page's");
        assert!(page.jobs.iter().all(|row| state.is_none_or(|state| row.state == state)));
    };
    check(None, None, &[10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]).await;
    check(None, Some(StateName::Created), &[2, 1, 0]).await;
    check(None, Some(StateName::Running), &[7, 6, 5, 4, 3]).await;
    check(None, Some(StateName::Failed), &[10, 9, 8]).await;
    check(None, Some(StateName::Paused), &[]).await;
    check(Some("local"), None, &[10, 8, 6, 4]).await;
    check(Some("runpod"), Some(StateName::Running), &[7, 5, 3]).await;
    check(Some("lambda"), None, &[]).await;
    let row = list(storage, &JobFilter::default(), 1, None).await.jobs.remove(0);
    assert_eq!(row.provider, Some(provider("local")));
    assert_eq!((row.created_at, row.started_at, row.completed_at), (at(0), Some(at(4)), Some(at(100))));
    assert_eq!(row.model_name, "trainyard-tiny");
}

pub(super) async fn labels(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let storage = storage.as_ref();
    create(storage, &labelled("a", &[("team", "red"), ("run", "1")])).await;
    create(storage, &labelled("b", &[("team", "red"), ("run", "2")])).await;
    create(storage, &labelled("c", &[("team", "blue"), ("run", "1")])).await;
    create(storage, &job("d")).await;
    let check = async |labels: &[(&str, &str)], expected: &[&str]| {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let filter = JobFilter { labels, ..JobFilter::default() };
        let page = list(storage, &filter, 10, None).await;
        assert_eq!(names(&page), expected);
        assert_eq!(page.total, expected.len() as u64);
        let mut paged = Vec::new();
        let mut before = None;
        loop {
            let one = list(storage, &filter, 1, before).await;
            paged.extend(one.jobs.iter().map(|row| row.id.to_string()));
            before = one.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(paged, expected);
    };
    check(&[("team", "red")], &["b", "a"]).await;
    check(&[("run", "1")], &["c", "a"]).await;
    check(&[("team", "red"), ("run", "1")], &["a"]).await;
    check(&[("team", "1")], &[]).await;
    check(&[("team", "%")], &[]).await;
    check(&[("team' OR '1' = '1", "x")], &[]).await;
    change(storage, "a", |job| job.set_labels([("team".to_owned(), "blue".to_owned())].into())).await;
    check(&[("team", "red")], &["b"]).await;
    check(&[("team", "blue")], &["c", "a"]).await;
    check(&[("run", "1")], &["c"]).await;
    storage.delete(&id("c"), None).await.expect("deleting");
    check(&[("team", "blue")], &["a"]).await;
    change(storage, "a", |job| submit(job, "local")).await;
    let local = JobFilter {
        provider: Some(provider("local")),
        state: Some(StateName::Created),
        labels: vec![("team".to_owned(), "blue".to_owned())],
    };
    assert_eq!(names(&list(storage, &local, 10, None).await), ["a"]);
}
