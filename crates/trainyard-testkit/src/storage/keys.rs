//! Secrets, tokens, idempotency keys.

use futures_util::future::join_all;
use trainyard_domain::{SecretName, Sha256};
use trainyard_storage::{IdempotentAnswer, SealedSecret, TokenRecord};

use super::StorageHarness;
use super::make::at;

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
    IdempotentAnswer { request, status: None, body: None, location: None, created_at: at(seconds) }
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
