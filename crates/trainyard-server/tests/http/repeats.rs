//! `Idempotency-Key`: asked twice, done once.

use crate::rig::rig;

const HEAD: &str = "Content-Type: application/json\r\nIdempotency-Key: key-1\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_gets_the_first_answer() {
    let rig = rig().await;
    let body = br#"{"model_name": "trainyard-tiny"}"#;
    let first = rig.send("POST", "/api/training/jobs", HEAD, body).await;
    let again = rig.send("POST", "/api/training/jobs", HEAD, body).await;
    assert_eq!((first.status, again.status), (201, 201), "{}", first.text());
    assert_eq!(first.text(), again.text());
    assert_eq!(first.header("location"), again.header("location"));
    assert_eq!(first.header("idempotency-replayed"), None);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(rig.call("GET", "/api/training/jobs", "").await.json()["total"], 1);
    let other = rig.send("POST", "/api/training/jobs", HEAD, br#"{"model_name": "other"}"#).await;
    other.refused(409, "idempotency_key_reused");
    rig.send("POST", "/api/training/jobs", "Idempotency-Key: \r\n", body)
        .await
        .refused(400, "invalid_idempotency_key");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_repeated_too_with_its_job() {
    let rig = rig().await;
    let path = "/api/training/jobs/job_1/cancel";
    let first = rig.send("POST", path, HEAD, b"").await;
    assert_eq!(first.refused(404, "job_not_found")["job_id"], "job_1");
    let again = rig.send("POST", path, HEAD, b"").await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(first.text(), again.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_one_is_done() {
    let rig = rig().await;
    let body = br#"{"model_name": "trainyard-tiny"}"#;
    let calls = (0..20).map(|_| rig.send("POST", "/api/training/jobs", HEAD, body));
    for answer in futures_util::future::join_all(calls).await {
        match answer.status {
            201 => {}
            _ => {
                answer.refused(409, "idempotency_key_in_progress");
            }
        }
    }
    assert_eq!(rig.call("GET", "/api/training/jobs", "").await.json()["total"], 1);
}
