//! Secrets, tokens, idempotency keys.

use futures_util::future::join_all;
use trainyard_domain::{SecretName, Sha256};
use trainyard_storage::{CreateError, Fence, IdempotentAnswer, KeyMark, SealedSecret, TokenRecord};

use super::StorageHarness;
use super::make::{at, commit, id, job, load};

fn secret(name: &str, sealed: &[u8], seconds: i64) -> SealedSecret {
    SealedSecret { name: name.parse().expect("a name"), sealed: sealed.to_vec(), updated_at: at(seconds) }
}

pub(super) async fn secrets(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let name: SecretName = "HF_TOKEN".parse().expect("a name");
    assert_eq!(storage.secret(&name).await.expect("reading"), None);
    storage.put_secret(&secret("HF_TOKEN", &[0, 255, 7], 1)).await.expect("setting");
    storage.put_secret(&secret("AWS", &[], 2)).await.expect("setting");
    assert_eq!(storage.secret(&name).await.expect("reading"), Some(secret("HF_TOKEN", &[0, 255, 7], 1)));
    storage.put_secret(&secret("HF_TOKEN", &[1], 3)).await.expect("replacing");
    assert_eq!(storage.secret(&name).await.expect("reading"), Some(secret("HF_TOKEN", &[1], 3)));
    let names = storage.secret_names().await.expect("names");
    assert_eq!(names, [("AWS".parse().expect("a name"), at(2)), (name.clone(), at(3))]);
    assert!(storage.delete_secret(&name).await.expect("deleting"));
    assert!(!storage.delete_secret(&name).await.expect("deleting"));
    assert_eq!(storage.secret(&name).await.expect("reading"), None);
}

fn token(id: &str, byte: u8, seconds: i64) -> TokenRecord {
    let digest = Sha256::from_bytes([byte; 32]);
    TokenRecord { id: id.to_owned(), name: format!("of {id}"), digest, created_at: at(seconds) }
}

pub(super) async fn tokens(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    assert_eq!(storage.tokens().await.expect("tokens"), []);
    storage.put_token(&token("b", 2, 20)).await.expect("adding");
    storage.put_token(&token("a", 1, 10)).await.expect("adding");
    assert_eq!(storage.tokens().await.expect("tokens"), [token("a", 1, 10), token("b", 2, 20)]);
    assert!(storage.put_token(&token("a", 3, 30)).await.is_err(), "an id is given once");
    assert!(storage.delete_token("a").await.expect("revoking"));
    assert!(!storage.delete_token("a").await.expect("revoking"));
    assert_eq!(storage.tokens().await.expect("tokens"), [token("b", 2, 20)]);
}

fn request(byte: u8, seconds: i64) -> IdempotentAnswer {
    let request = Sha256::from_bytes([byte; 32]);
    IdempotentAnswer {
        request,
        status: None,
        body: None,
        location: None,
        created_at: at(seconds),
        job: None,
        fence: Fence(1),
    }
}

pub(super) async fn idempotency_race(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let requests: Vec<_> = (0..40).map(|n| request(n, 100)).collect();
    let begun = requests.iter().map(|request| storage.begin_idempotent("key", request, at(0)));
    let answers = join_all(begun).await;
    let winners = answers.iter().filter(|answer| matches!(answer, Ok(None))).count();
    assert_eq!(winners, 1);
    assert!(answers.iter().all(Result::is_ok));
    assert!(answers.into_iter().flatten().flatten().all(|used| used.status.is_none()));
}

pub(super) async fn idempotency_answer(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let begin = async |request: &IdempotentAnswer, expired: i64| {
        storage.begin_idempotent("key", request, at(expired)).await.expect("a key")
    };
    assert_eq!(begin(&request(1, 100), 0).await, None);
    let done = IdempotentAnswer {
        status: Some(201),
        body: Some("{\"job_id\":\"x\"}".to_owned()),
        location: Some("/jobs/x".to_owned()),
        ..request(1, 100)
    };
    storage.finish_idempotent("key", &done).await.expect("finishing");
    assert_eq!(
        begin(&request(2, 150), 0).await,
        Some(done.clone()),
        "also for another request, to compare with"
    );
    assert_eq!(begin(&request(2, 150), 100).await, Some(done), "not yet expired");
    assert_eq!(begin(&request(2, 200), 101).await, None, "expired");
    storage.finish_idempotent("key", &request(2, 200)).await.expect("giving back");
    assert_eq!(begin(&request(3, 300), 101).await, None, "given back");
    assert_eq!(begin(&request(4, 300), 101).await, Some(request(3, 300)), "at work");
    assert_eq!(storage.begin_idempotent("other", &request(5, 300), at(101)).await.expect("a key"), None);
}

/// The key's row as it is noted with a change of that job.
fn mark(request: &IdempotentAnswer, job: &str) -> KeyMark {
    KeyMark { key: "key".to_owned(), answer: IdempotentAnswer { job: Some(id(job)), ..request.clone() } }
}

pub(super) async fn key_with_change(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let request = IdempotentAnswer { fence: storage.fence(), ..request(1, 100) };
    let later = |fences: u64| IdempotentAnswer { fence: Fence(request.fence.0 + fences), ..request.clone() };
    let begin = async |request: &IdempotentAnswer| {
        storage.begin_idempotent("key", request, at(0)).await.expect("a key")
    };
    assert_eq!(begin(&request).await, None);
    assert_eq!(begin(&request).await, Some(request.clone()), "this process is at work on it");
    assert_eq!(begin(&later(1)).await, None, "a process that is gone did nothing under it");

    storage.create(&job("other"), &[]).await.expect("a new job");
    let other = storage.create_under(&job("other"), &[], Some(&mark(&later(1), "other"))).await;
    assert!(matches!(other, Err(CreateError::Exists(_))));
    assert_eq!(begin(&later(1)).await, Some(later(1)), "a creation that was refused notes nothing");
    let made = mark(&later(1), "made");
    storage.create_under(&job("made"), &[], Some(&made)).await.expect("a new job");
    assert_eq!(begin(&later(1)).await, Some(made.answer.clone()), "noted with the job");

    assert_eq!(begin(&later(2)).await, Some(made.answer.clone()), "taken over, once");
    let held = IdempotentAnswer { fence: later(2).fence, ..made.answer.clone() };
    assert_eq!(begin(&later(2)).await, Some(held), "by the newer process");

    let stored = load(storage.as_ref(), "other").await;
    let (mut stale, mut good) = (commit(&stored, storage.as_ref()), commit(&stored, storage.as_ref()));
    (stale.version, stale.key) = (stored.version + 1, Some(mark(&later(2), "stale")));
    assert!(storage.commit(stale).await.is_err());
    let kept = begin(&later(2)).await.and_then(|answer| answer.job);
    assert_eq!(kept, Some(id("made")), "a commit that was refused notes nothing");
    good.key = Some(mark(&later(2), "other"));
    storage.commit(good).await.expect("a commit");
    assert_eq!(begin(&later(2)).await.and_then(|answer| answer.job), Some(id("other")));
    storage.finish_idempotent("key", &later(2)).await.expect("giving back");
    let back = begin(&later(2)).await.expect("what was done stays known");
    assert_eq!((back.job, back.fence), (Some(id("other")), Fence(0)), "for the next to take over");
    assert_eq!(begin(&later(2)).await.map(|answer| answer.fence), Some(later(2).fence), "once");
}

pub(super) async fn notes(harness: &dyn StorageHarness) {
    let storage = harness.open().await;
    let note = async |name: &str| storage.note(name).await.expect("a note");
    assert_eq!(note("a").await, None);
    storage.put_note("a", i64::MAX).await.expect("remembering");
    storage.put_note("b_2", -1).await.expect("remembering");
    storage.put_note("a", 7).await.expect("replacing");
    assert_eq!((note("a").await, note("b_2").await, note("c").await), (Some(7), Some(-1), None));
    assert!(storage.put_note("", 1).await.is_err() && storage.put_note("A b", 1).await.is_err());
}
