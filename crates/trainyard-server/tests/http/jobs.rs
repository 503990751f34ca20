//! Jobs from creation to deletion, as far as they go without a provider.

use crate::rig::rig;

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_created_shown_listed_and_deleted() {
    let rig = rig().await;
    let body = r#"{"job_id": "job_1", "model_name": "trainyard-tiny", "labels": {"team": "search"}}"#;
    let created = rig.call("POST", "/api/training/jobs", body).await;
    assert_eq!(created.status, 201, "{}", created.text());
    assert_eq!(created.header("location"), Some("/api/training/jobs/job_1"));
    assert_eq!(created.json()["state"], "created");
    let body = rig.call("POST", "/api/training/jobs", body).await.refused(409, "job_exists");
    assert_eq!(body["job_id"], "job_1");

    let shown = rig.call("GET", "/api/training/jobs/job_1", "").await;
    let etag = shown.header("etag").unwrap().to_owned();
    let same = rig.send("GET", "/api/training/jobs/job_1", &format!("If-None-Match: {etag}\r\n"), b"").await;
    assert_eq!(same.status, 304);
    assert_eq!(same.header("etag"), Some(etag.as_str()));
    let changed = rig.call("PATCH", "/api/training/jobs/job_1", r#"{"labels": {"a": "b"}}"#).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    let other = rig.send("GET", "/api/training/jobs/job_1", &format!("If-None-Match: {etag}\r\n"), b"").await;
    assert_eq!(other.status, 200);
    assert_eq!(other.json()["labels"]["a"], "b");
    let listed = rig.call("PATCH", "/api/training/jobs/job_1", r#"{"limits": [60]}"#).await;
    listed.refused(400, "invalid_body");

    rig.create("job_2").await;
    let page = rig.call("GET", "/api/training/jobs?limit=1", "").await.json();
    assert_eq!((&page["total"], &page["jobs"][0]["job_id"]), (&2.into(), &"job_2".into()));
    let cursor = page["next_cursor"].as_str().unwrap();
    let page = rig.call("GET", &format!("/api/training/jobs?limit=1&cursor={cursor}"), "").await.json();
    assert_eq!(page["jobs"][0]["job_id"], "job_1");
    assert!(page["next_cursor"].is_null());
    let labelled = rig.call("GET", "/api/training/jobs?label=a:b&state=created", "").await.json();
    assert_eq!(labelled["total"], 1);

    rig.call("POST", "/api/training/jobs/job_1/cancel", "").await.refused(400, "not_submitted");
    let refused = rig.call("POST", "/api/training/jobs/job_1/submit", r#"{"provider": "nowhere"}"#).await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    rig.call("POST", "/api/training/jobs/job_1/download-artifact", "").await.refused(400, "not_submitted");
    let cloned = rig.call("POST", "/api/training/jobs/job_1/clone", "").await;
    assert_eq!(cloned.status, 201, "{}", cloned.text());
    assert_eq!(cloned.json()["origin"]["job_id"], "job_1");
    assert_eq!(rig.call("DELETE", "/api/training/jobs/job_1", "").await.status, 204);
    rig.call("GET", "/api/training/jobs/job_1", "").await.refused(404, "job_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_never_read_back() {
    let rig = rig().await;
    let put = rig.call("PUT", "/api/training/secrets/HF_TOKEN", r#"{"value": "hf_very_secret"}"#).await;
    assert_eq!(put.status, 204, "{}", put.text());
    let listed = rig.call("GET", "/api/training/secrets", "").await;
    assert_eq!(listed.json()["secrets"][0]["name"], "HF_TOKEN");
    assert!(!listed.text().contains("very_secret"));
    rig.call("PUT", "/api/training/secrets/1BAD", r#"{"value": "x"}"#)
        .await
        .refused(400, "invalid_secret_name");
    assert_eq!(rig.call("DELETE", "/api/training/secrets/HF_TOKEN", "").await.status, 204);
    assert_eq!(rig.call("DELETE", "/api/training/secrets/HF_TOKEN", "").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_tells_about_itself() {
    let rig = rig().await;
    assert_eq!(rig.call("GET", "/healthz", "").await.json()["status"], "ok");
    assert_eq!(rig.call("GET", "/readyz", "").await.status, 200);
    assert_eq!(rig.call("GET", "/api/training/providers", "").await.status, 200);
    assert_eq!(
        rig.call("GET", "/api/training/offers?gpu=H100&spot=true", "").await.json()["offers"],
        serde_json::json!([])
    );
    assert_eq!(rig.call("GET", "/api/training/offers?max_price=cheap", "").await.status, 400);
    assert_eq!(
        rig.call("GET", "/api/training/resources", "").await.json()["machines"],
        serde_json::json!([])
    );
    assert_eq!(rig.call("GET", "/openapi.json", "").await.json()["openapi"], "3.1.0");
    let page = rig.call("GET", "/", "").await;
    assert!(page.text().contains("/assets/dashboard.js"), "{}", page.text());
    assert!(
        page.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'"))
    );
    assert!(rig.call("GET", "/assets/dashboard.js", "").await.text().contains("/resources"));
    assert_eq!(rig.call("GET", "/assets/dashboard.css", "").await.status, 200);
    rig.call("GET", "/assets/nothing.js", "").await.refused(404, "not_found");
    let page = rig.call("GET", "/docs/", "").await;
    assert!(page.text().contains("swagger-ui"), "{}", page.text());
    let script = rig.call("GET", "/docs/swagger-initializer.js", "").await;
    assert!(script.text().contains("/openapi.json"), "{}", script.text());
    assert_eq!(rig.call("GET", "/docs/swagger-ui-bundle.js", "").await.status, 200);
    rig.call("GET", "/docs/nothing.js", "").await.refused(404, "not_found");
    rig.call("GET", "/metrics", "").await.refused(404, "no_metrics");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_thinned_out_and_logs_are_cut() {
    let rig = rig().await;
    rig.running("job_1").await;
    let losses: Vec<f64> =
        (0..1000).map(|i| if i == 500 { f64::NAN } else { 1.0 / f64::from(i + 1) }).collect();
    rig.points("job_1", 1, &losses).await;
    let all = rig.call("GET", "/api/training/jobs/job_1/metrics", "").await.json();
    assert_eq!((all["points"].as_array().unwrap().len(), &all["total"]), (1000, &1000.into()));
    let few = rig.call("GET", "/api/training/jobs/job_1/metrics?points=10&names=loss", "").await.json();
    let steps: Vec<u64> =
        few["points"].as_array().unwrap().iter().map(|p| p["step"].as_u64().unwrap()).collect();
    assert!(
        steps.len() <= 10 && steps.contains(&1) && steps.contains(&1000) && steps.contains(&501),
        "{steps:?}"
    );
    let after = rig.call("GET", "/api/training/jobs/job_1/metrics?after=998", "").await.json();
    assert_eq!(after["points"].as_array().unwrap().len(), 2);
    let status = rig.call("GET", "/api/training/jobs/job_1/status", "").await.json();
    assert_eq!(status["current_metrics"]["step"], 1000);
}
