//! Who may speak.

use crate::client::{WebSocket, ask};
use crate::rig::{rig, rig_with};

#[tokio::test(flavor = "multi_thread")]
async fn foreign_hosts_and_origins_are_turned_away() {
    let rig = rig_with(|config| config.allowed_origins = vec!["https://app.example.org".to_owned()]).await;
    let with_host = |host: &str| {
        format!("GET /api/training/jobs/job_1 HTTP/1.1\r\n{host}Connection: close\r\n\r\n").into_bytes()
    };
    let body =
        ask(&rig.address, &with_host("Host: evil.example\r\n"), false).await.refused(403, "host_not_allowed");
    assert_eq!(body["job_id"], "job_1");
    // Without any, actix-http itself refuses.
    assert_eq!(ask(&rig.address, &with_host(""), false).await.status, 400);
    let path = "/api/training/jobs";
    rig.send("GET", path, "Origin: https://evil.example\r\n", b"").await.refused(403, "origin_not_allowed");
    let same = format!("Origin: http://{}\r\n", rig.address);
    assert_eq!(rig.send("GET", path, &same, b"").await.status, 200);
    let allowed = "Origin: https://app.example.org\r\n";
    let answer = rig.send("GET", path, allowed, b"").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example.org"));
    let preflight = format!("{allowed}Access-Control-Request-Method: POST\r\n");
    assert_eq!(rig.send("OPTIONS", path, &preflight, b"").await.status, 204);
    assert!(
        WebSocket::open(&rig.address, "/ws/training/jobs/job_1", "Origin: http://evil.example\r\n")
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn once_a_token_exists_every_request_needs_one() {
    use secrecy::ExposeSecret;
    let rig = rig().await;
    rig.create("job_1").await;
    let token = rig.orchestrator.create_token("test").await.unwrap();
    let token = token.token.expose_secret();
    // A token counts after at most a second.
    let path = "/api/training/jobs/job_1/status";
    let refused = loop {
        let answer = rig.call("GET", path, "").await;
        if answer.status != 200 {
            break answer;
        }
    };
    assert_eq!(refused.refused(401, "token_missing")["job_id"], "job_1");
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    rig.send("GET", path, "Authorization: Bearer nonsense\r\n", b"").await.refused(401, "token_wrong");
    let good = format!("Authorization: Bearer {token}\r\n");
    assert_eq!(rig.send("GET", path, &good, b"").await.status, 200);
    rig.call("GET", &format!("{path}?token={token}"), "").await.refused(401, "token_missing");
    for open in ["/healthz", "/readyz", "/openapi.json", "/docs/"] {
        assert_eq!(rig.call("GET", open, "").await.status, 200, "{open}");
    }
    rig.call("GET", "/metrics", "").await.refused(401, "token_missing");
    let offer = format!("Sec-WebSocket-Protocol: trainyard.v1, bearer.{token}\r\n");
    let socket = WebSocket::open(&rig.address, "/ws/training/jobs/job_1", &offer).await.unwrap();
    assert!(
        socket.head.to_lowercase().contains("sec-websocket-protocol: trainyard.v1\r\n"),
        "{}",
        socket.head
    );
    let refused = WebSocket::open(&rig.address, "/ws/training/jobs/job_1", "").await.err().unwrap();
    refused.refused(401, "token_missing");
}
