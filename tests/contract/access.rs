//! Who may speak to the server: `Host`, `Origin`, tokens; and where it may listen.

use std::process::Command;

use serde_json::{Value, json};
use trainyard_tests::{Heard, Server, WebSocket, until};

use crate::yard::{BINARY, JOBS, SOON, Yard, endless, program};

#[test]
fn a_foreign_host_or_origin_is_403() {
    let yard = Yard::new();
    let port = yard.http.address().rsplit(':').next().unwrap_or_default().to_owned();
    let host = |host: &str| yard.http.call("GET", JOBS).header("Host", host).send();
    for good in [
        format!("localhost:{port}"),
        format!("127.0.0.1:{port}"),
        "[::1]:8000".to_owned(),
        "localhost".to_owned(),
    ] {
        assert_eq!(host(&good).status, 200, "{good}");
    }
    for bad in ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "0.0.0.0", "192.168.0.7:8000"]
    {
        host(bad).error(403, "host_not_allowed");
    }
    let origin = |origin: &str| yard.http.call("GET", JOBS).header("Origin", origin).send();
    for good in [format!("http://localhost:{port}"), format!("http://127.0.0.1:{port}")] {
        assert_eq!(origin(&good).status, 200, "{good}");
    }
    for bad in ["http://evil.example", "http://localhost:1", "null", "https://127.0.0.1"] {
        origin(bad).error(403, "origin_not_allowed");
    }
    // A page of the web can make no job, open no stream, and read nothing.
    let call = yard.http.call("POST", JOBS).header("Origin", "http://evil.example");
    call.json(&json!({"model_name": "any"})).send().error(403, "origin_not_allowed");
    let refused = WebSocket::open(&yard.http, "/ws/training/jobs/x", &[("Origin", "http://evil.example")]);
    assert_eq!(refused.expect_err("refused").error(403, "origin_not_allowed")["job_id"], "x");
    assert_eq!(yard.http.get(JOBS).ok(200)["total"], 0);
}

#[test]
fn what_the_configuration_allows_is_let_in() {
    let yard = Yard::with(
        "[server]\nallowed_hosts = [\"box.lan\"]\nallowed_origins = [\"https://app.example.org\"]\n\
         public_url = \"https://train.example.org\"\n",
    );
    for host in ["box.lan", "box.lan:8000", "train.example.org"] {
        assert_eq!(yard.http.call("GET", JOBS).header("Host", host).send().status, 200, "{host}");
    }
    let allowed = yard.http.call("GET", JOBS).header("Origin", "https://app.example.org").send();
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://app.example.org"));
    let preflight = yard.http.call("OPTIONS", JOBS).header("Origin", "https://app.example.org");
    let preflight = preflight.header("Access-Control-Request-Method", "POST").send();
    assert_eq!(preflight.status, 204);
    assert!(preflight.header("access-control-allow-methods").is_some_and(|methods| methods.contains("POST")));
    let foreign = yard.http.call("OPTIONS", JOBS).header("Origin", "https://evil.example");
    let foreign = foreign.header("Access-Control-Request-Method", "POST").send();
    foreign.error(403, "origin_not_allowed");
}

fn make_token(yard: &Yard, name: &str) -> (String, String) {
    let data = yard.server.data().display().to_string();
    let made = yard.server.run(&["token", "create", name, "--data", &data, "--json"]);
    let made: Value = serde_json::from_str(&made).expect("JSON");
    let field =
        |field: &str| made[field].as_str().unwrap_or_else(|| panic!("`{field}` of {made}")).to_owned();
    (field("id"), field("token"))
}

#[test]
fn once_there_is_a_token_every_request_needs_one() {
    let yard = Yard::new();
    yard.run("job_1", &endless());
    let (id, token) = make_token(&yard, "mine");
    // A running server sees it within a second or so.
    until(SOON, "the token to be needed", || (yard.http.get(JOBS).status == 401).then_some(()));
    let missing = yard.http.get(&format!("{JOBS}/job_1/status"));
    assert_eq!(missing.error(401, "token_missing")["job_id"], "job_1");
    assert!(missing.header("www-authenticate").is_some_and(|scheme| scheme.starts_with("Bearer")));
    let wrong = yard.http.bearing("wrong").get(JOBS);
    assert!(!wrong.error(401, "token_wrong").to_string().contains(&token));
    let call = yard.http.call("GET", JOBS).header("Authorization", "Basic abc").send();
    assert_eq!(call.status, 401);
    yard.http.get(&format!("{JOBS}?token={token}")).error(401, "token_missing");
    for path in ["/metrics", "/api/training/secrets", "/api/training/resources", "/nothing"] {
        assert_eq!(yard.http.get(path).status, 401, "{path}");
    }
    for path in ["/healthz", "/readyz", "/openapi.json"] {
        assert_eq!(yard.http.get(path).status, 200, "{path} needs none");
    }
    let mine = yard.http.bearing(&token);
    assert_eq!(mine.get(&format!("{JOBS}/job_1/status")).ok(200)["state"], "running");

    // On a WebSocket: by header or by subprotocol, never in the URL.
    let path = "/ws/training/jobs/job_1";
    let protocols = format!("trainyard.v1, bearer.{token}");
    let mut socket =
        WebSocket::open(&yard.http, path, &[("Sec-WebSocket-Protocol", &protocols)]).expect("let in");
    assert_eq!(socket.protocol.as_deref(), Some("trainyard.v1"), "the token is not sent back");
    assert_eq!(socket.message_within(SOON)["type"], "connected");
    assert!(WebSocket::open(&mine, path, &[]).is_ok());
    let refusals = [
        WebSocket::open(&yard.http, path, &[]),
        WebSocket::open(&yard.http, path, &[("Sec-WebSocket-Protocol", "trainyard.v1, bearer.wrong")]),
        WebSocket::open(&yard.http, &format!("{path}?token={token}"), &[]),
    ];
    for refusal in refusals {
        assert_eq!(refusal.expect_err("refused").status, 401);
    }

    let data = yard.server.data().display().to_string();
    let listed = yard.server.run(&["token", "list", "--data", &data, "--json"]);
    assert!(listed.contains(&id) && !listed.contains(&token), "{listed}");
    make_token(&yard, "another");
    yard.server.run(&["token", "revoke", &id, "--data", &data]);
    until(SOON, "the token to be refused", || (mine.get(JOBS).status == 401).then_some(()));
    drop(socket);
}

#[test]
fn without_a_token_it_listens_on_loopback_only() {
    let directory = tempfile::tempdir().expect("a directory");
    let serve = |data: &str| {
        let mut command = Command::new(program());
        command.args(["serve", "--listen", "0.0.0.0:0", "--data", data]).current_dir(directory.path());
        command.output().expect("the program starts")
    };
    let refused = serve("data");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("token"), "it says what to do: {said}");
}

#[test]
fn a_second_server_on_the_same_directory_is_refused() {
    let yard = Yard::new();
    let mut command = Command::new(program());
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(yard.server.data());
    let refused = command.current_dir(yard.server.directory()).output().expect("the program starts");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("in use") && said.contains(&yard.server.pid().to_string()), "{said}");
    assert_eq!(yard.http.get("/readyz").status, 200, "the first one goes on");
}

#[test]
fn an_unknown_key_or_variable_is_named_at_the_start() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("bad.toml"), "[server]\nalowed_hosts = []\n").expect("a file");
    let mut command = Command::new(program());
    command.args(["serve", "--listen", "127.0.0.1:0", "--config", "bad.toml"]).current_dir(directory.path());
    let refused = command.output().expect("the program starts");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && said.contains("alowed_hosts"), "{said}");
}

#[test]
fn the_installation_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let yard = Yard::new();
    let installation = yard.server.data().join("installation");
    let mode = std::fs::metadata(installation).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "{mode:o}");
}

#[test]
fn a_sidecar_ends_with_its_parent_and_its_training_goes_on() {
    let mut parent = Command::new("sleep").arg("600").spawn().expect("a parent");
    let pid = parent.id().to_string();
    let server = Server::start(BINARY, &["--parent-pid", &pid]);
    let mut yard = Yard { http: server.http(), server, _config: None };
    yard.run("job_1", &endless());
    let mut socket = WebSocket::open(&yard.http, "/ws/training/jobs/job_1", &[]).expect("open");
    parent.kill().expect("the parent is killed");
    parent.wait().expect("it is gone");
    let (_, end) = socket.to_end(SOON);
    assert!(matches!(end, Heard::Closed(1001, _)), "{end:?}");
    assert_eq!(yard.server.ended().code(), Some(0));
    assert_eq!(yard.server.agents().len(), 1, "the training goes on");
}
