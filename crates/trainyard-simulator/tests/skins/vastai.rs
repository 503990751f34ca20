//! Vast.ai on the wire, as a client of its own sees it.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use trainyard_simulator::faults::{Fault, Rule};
use trainyard_simulator::world::{Exchange as Taped, KeyState};
use trainyard_simulator::{Account, Delays, Options, Simulator, Vendor, serve};

use crate::openapi::{Exchange, Spec};
use crate::yaml;

const WITHIN: Duration = Duration::from_secs(20);

/// A simulator and a client with the usual key.
pub(crate) struct Vast {
    pub(crate) simulator: Simulator,
    http: reqwest::Client,
    key: String,
}

impl Vast {
    pub(crate) async fn start(options: Options) -> Vast {
        let simulator = serve(options).await.expect("a simulator starts");
        let http = reqwest::Client::builder().no_proxy().timeout(WITHIN).build().expect("a client");
        Vast { simulator, http, key: Account::usual_key(Vendor::Vastai) }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("{}{path}", self.simulator.vendor_url(Vendor::Vastai));
        let request = self.http.request(method, url).bearer_auth(&self.key);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let answer = request.send().await.expect("it is answered");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or_else(|_| json!(text)))
    }

    async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.ask(Method::GET, path, None).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    async fn put(&self, path: &str, body: Value) -> (u16, Value) {
        self.ask(Method::PUT, path, Some(body)).await
    }

    async fn search(&self, body: Value) -> Vec<Value> {
        let (status, answer) = self.ask(Method::POST, "/api/v0/bundles/", Some(body)).await;
        assert_eq!(status, 200, "{answer}");
        answer["offers"].as_array().expect("rows").clone()
    }

    /// The cheapest verified offer of a single card.
    async fn ask_id(&self) -> u64 {
        let body =
            json!({"verified": {"eq": true}, "num_gpus": {"eq": "1"}, "order": [["dph_total", "asc"]]});
        self.search(body).await[0]["id"].as_u64().expect("an id")
    }

    /// Rents the cheapest machine; the instance's id.
    async fn rent(&self, more: Value) -> u64 {
        let mut body = json!({
            "client_id": "me", "image": "img:1", "disk": 10, "label": "job-1", "runtype": "args",
            "onstart": "sh", "args": ["-c", "echo hello; sleep 300"], "env": {"A": "b"}, "cancel_unavail": true,
        });
        for (name, value) in more.as_object().expect("an object") {
            body[name] = value.clone();
        }
        let (status, answer) = self.put(&format!("/api/v0/asks/{}/", self.ask_id().await), body).await;
        assert_eq!((status, &answer["success"]), (200, &json!(true)), "{answer}");
        answer["new_contract"].as_u64().expect("an id")
    }

    async fn instance(&self, id: u64) -> Value {
        self.get(&format!("/api/v0/instances/{id}/")).await["instances"].clone()
    }

    /// Waits until the instance is so.
    async fn until(&self, id: u64, mut so: impl FnMut(&Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + WITHIN;
        loop {
            let instance = self.instance(id).await;
            if so(&instance) {
                return instance;
            }
            assert!(tokio::time::Instant::now() < deadline, "it stays {instance}");
            // waits: the API has no other way than to ask again
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn log(&self, id: u64, more: Value) -> String {
        let (status, answer) = self.put(&format!("/api/v0/instances/request_logs/{id}/"), more).await;
        assert_eq!((status, &answer["success"]), (200, &json!(true)), "{answer}");
        let url = answer["result_url"].as_str().expect("an address");
        let answer = self.http.get(url).send().await.expect("it is answered");
        assert_eq!(answer.status().as_u16(), 200);
        answer.text().await.expect("a log")
    }
}

fn has(instance: &Value, field: &str, word: &str) -> bool {
    instance[field] == word
}

/// Exchanges of the tape as the document has them: without the slash at the end of paths.
pub(crate) fn exchanges(tape: &[Taped]) -> Vec<Exchange> {
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
    let of_api = tape.iter().filter(|taped| taped.path.starts_with("/api/"));
    of_api
        .filter_map(|taped| {
            let url = reqwest::Url::parse(&format!("http://sim/?{}", taped.query)).ok()?;
            Some(Exchange {
                method: taped.method.clone(),
                path: taped.path.trim_end_matches('/').to_owned(),
                query: url
                    .query_pairs()
                    .map(|(name, value)| (name.into_owned(), value.into_owned()))
                    .collect(),
                body: Some(&taped.body).filter(|body| !body.is_empty()).and_then(|body| json(body)),
                status: taped.status?,
                answer: taped.answer.as_ref().and_then(|answer| json(answer)),
            })
        })
        .collect()
}

/// Holds what was said against the vendor's document.
fn check(vast: &Vast) {
    let Some(spec) = Spec::load_by("vastai", "vastai-openapi.yaml", yaml::read) else { return };
    let problems = spec.check(&exchanges(&vast.simulator.world().tape()));
    assert!(problems.is_empty(), "{problems:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_lives_and_goes() {
    let vast = Vast::start(Options::for_tests()).await;
    let id = vast.rent(json!({"env": {"A": "b", "-p 23456:23456": "1"}})).await;
    let instance = vast.until(id, |it| has(it, "actual_status", "running")).await;
    assert_eq!(instance["extra_env"], json!([["-p 23456:23456", "1"], ["A", "b"]]));
    let port = instance["ports"]["23456/tcp"][0]["HostPort"].as_str().expect("a text");
    assert!(port.parse::<u16>().is_ok() && instance["public_ipaddr"] == "127.0.0.1 \n");
    assert!(instance["dph_total"].as_f64() > instance["dph_base"].as_f64(), "the disk is in the price");
    let deadline = tokio::time::Instant::now() + WITHIN;
    while vast.log(id, json!({"tail": "1000"})).await != "hello\n" {
        assert!(tokio::time::Instant::now() < deadline, "its output does not come");
    }
    assert!(vast.log(id, json!({"tail": "5", "daemon_logs": "true"})).await.contains("img:1"));
    let page = vast
        .get("/api/v1/instances/?limit=25&select_filters=%7B%22label%22%3A%7B%22eq%22%3A%22job-1%22%7D%7D")
        .await;
    assert_eq!((&page["total_instances"], &page["instances"][0]["id"]), (&json!(1), &json!(id)));
    assert_eq!(vast.put(&format!("/api/v0/instances/{id}/"), json!({"label": "job-2"})).await.0, 200);
    let (status, answer) =
        vast.ask(Method::DELETE, &format!("/api/v0/instances/{id}/"), Some(json!({}))).await;
    assert_eq!((status, &answer["success"]), (200, &json!(true)));
    vast.until(id, Value::is_null).await;
    let (status, answer) = vast.ask(Method::DELETE, &format!("/api/v0/instances/{id}/"), None).await;
    assert_eq!((status, &answer["error"]), (404, &json!("not_found")));
    let charges = vast
        .get("/api/v0/charges/?select_filters=%7B%22day%22%3A%7B%22gte%22%3A0%2C%22lte%22%3A9999999999%7D%7D")
        .await;
    assert_eq!(charges["results"][0]["source"], format!("instance-{id}"));
    check(&vast);
    vast.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_ends_is_started_again() {
    let delays = Delays { restart_vastai: Duration::from_millis(50), ..Delays::NONE };
    let vast = Vast::start(Options { delays, ..Options::for_tests() }).await;
    let id = vast.rent(json!({"args": ["-c", "echo $CONTAINER_ID >> starts; cat starts; exit 1"]})).await;
    let world = vast.simulator.world();
    let starts = |times| move |world: &trainyard_simulator::World| world.machines()[0].starts >= times;
    assert!(world.until(WITHIN, starts(3)).await, "it is not started again");
    let log = vast.log(id, json!({"tail": "1000"})).await;
    assert!(log.matches(&id.to_string()).count() >= 3, "the disk is not the same: {log}");
    let (status, _) = vast.ask(Method::DELETE, &format!("/api/v0/instances/{id}/"), None).await;
    assert_eq!(status, 200);
    assert!(world.until(WITHIN, |world| world.alive().is_empty()).await);
    check(&vast);
    vast.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_keeps_the_disk_and_a_start_changes_the_ports() {
    let vast = Vast::start(Options::for_tests()).await;
    let id = vast.rent(json!({"env": {"-p 23457:23457": "1"}})).await;
    let port = |it: &Value| it["ports"]["23457/tcp"][0]["HostPort"].as_str().map(str::to_owned);
    let before = port(&vast.until(id, |it| port(it).is_some()).await);
    assert_eq!(vast.put(&format!("/api/v0/instances/{id}/"), json!({"state": "stopped"})).await.0, 200);
    let stopped = vast.until(id, |it| has(it, "actual_status", "exited")).await;
    for field in ["intended_status", "cur_state", "next_state"] {
        assert_eq!(stopped[field], "stopped", "{field}");
    }
    assert_eq!(vast.put(&format!("/api/v0/instances/{id}/"), json!({"state": "running"})).await.0, 200);
    let again = vast.until(id, |it| port(it).is_some()).await;
    assert_ne!(port(&again), before);
    let _ = vast.ask(Method::DELETE, &format!("/api/v0/instances/{id}/"), None).await;
    vast.until(id, Value::is_null).await;
    vast.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_refused_in_the_words_of_vast() {
    let vast = Vast::start(Options::for_tests()).await;
    let ask = vast.ask_id().await;
    let order = json!({"image": "i", "disk": 10, "label": "x", "runtype": "args", "onstart": "sh", "args": ["-c", "true"]});
    let with = |name: &str, value: Value| {
        let mut order = order.clone();
        order[name] = value;
        order
    };
    for (body, says) in [
        (with("env", json!("-e A=b")), "env must be a dict"),
        (with("runtype", json!("vm")), "runtype"),
        (with("disk", json!(4)), "disk"),
        (with("label", json!("x".repeat(257))), "len(label) > 256"),
        (with("args", json!(["-c", "x".repeat(16_400)])), "len(args) > 16384"),
        (with("id", json!(7)), "duplicated"),
        (with("price", json!(900)), "price"),
    ] {
        let (status, answer) = vast.put(&format!("/api/v0/asks/{ask}/"), body).await;
        assert!(status == 400 && answer["msg"].as_str().is_some_and(|msg| msg.contains(says)), "{answer}");
    }
    let (status, answer) = vast.put("/api/v0/asks/1/", order.clone()).await;
    assert!(
        status == 400 && answer["msg"].as_str().is_some_and(|msg| msg.contains("no_such_ask")),
        "{answer}"
    );
    let world = vast.simulator.world();
    world.add_fault(Rule::once(Vendor::Vastai, "create", Fault::NoCredit));
    let (status, answer) = vast.put(&format!("/api/v0/asks/{ask}/"), order.clone()).await;
    assert_eq!((status, &answer["error"]), (400, &json!("insufficient_credit")));
    // A bid below the lowest is refused, and yet there is an instance.
    let (status, answer) = vast.put(&format!("/api/v0/asks/{ask}/"), with("price", json!(0.001))).await;
    let id = answer["new_contract"].as_u64().expect("an id");
    assert_eq!(status, 400);
    assert_eq!(vast.instance(id).await["intended_status"], "stopped");
    let _ = vast.ask(Method::DELETE, &format!("/api/v0/instances/{id}/"), None).await;
    vast.until(id, Value::is_null).await;
    // Without its slash an address is redirected, and the body is lost.
    let (status, answer) = vast.put(&format!("/api/v0/asks/{ask}"), order).await;
    assert!(
        status == 400 && answer["msg"].as_str().is_some_and(|msg| msg.contains("valid JSON")),
        "{answer}"
    );
    vast.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_market_keeps_to_its_filters() {
    let vast = Vast::start(Options::for_tests()).await;
    let rows = vast
        .search(json!({
            "gpu_name": {"in": ["RTX_4090"]}, "num_gpus": {"eq": "1"}, "verified": {"eq": true},
            "reliability": {"gte": 0.9}, "geolocation": {"in": ["US"]}, "direct_port_count": {"gte": 1},
            "dph_total": {"lte": 0.5}, "order": [["dph_total", "asc"]], "type": "on-demand", "limit": 5,
            "allocated_storage": 100,
        }))
        .await;
    assert!((1..=5).contains(&rows.len()), "{}", rows.len());
    let prices: Vec<f64> = rows.iter().filter_map(|row| row["dph_total"].as_f64()).collect();
    assert!(prices.is_sorted() && prices.iter().all(|price| *price <= 0.5), "{prices:?}");
    assert!(rows.iter().all(|row| row["gpu_name"] == "RTX 4090" && row["verification"] == "verified"));
    assert!(vast.search(json!({"id": {"eq": rows[0]["id"]}})).await.is_empty(), "the id finds nothing");
    assert_eq!(vast.search(json!({})).await.len(), 64, "never more than 64 rows");
    check(&vast);
    let (status, answer) =
        vast.ask(Method::POST, "/api/v0/bundles/", Some(json!({"gpu_name": "RTX 4090"}))).await;
    assert!(
        status == 400 && answer["msg"].as_str().is_some_and(|msg| msg.starts_with("q.gpu_name")),
        "{answer}"
    );
    vast.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages_of_25_and_the_old_one_is_gone() {
    let vast = Vast::start(Options::for_tests()).await;
    vast.simulator.world().set_stock(Vendor::Vastai, 100);
    let mut ids = Vec::new();
    for _ in 0..27 {
        ids.push(vast.rent(json!({"args": ["-c", "sleep 300"]})).await);
    }
    let first = vast.get("/api/v1/instances/?limit=100").await;
    assert_eq!((&first["instances_found"], &first["total_instances"]), (&json!(25), &json!(27)));
    let token = first["next_token"].as_str().expect("a token").replace('+', "%2B").replace('=', "%3D");
    let second = vast.get(&format!("/api/v1/instances/?after_token={token}")).await;
    assert_eq!((&second["instances_found"], &second["next_token"]), (&json!(2), &Value::Null));
    let listed = [&first, &second].into_iter().flat_map(|page| page["instances"].as_array().expect("rows"));
    let listed: Vec<u64> = listed.filter_map(|row| row["id"].as_u64()).collect();
    assert_eq!(listed, ids);
    let (status, answer) = vast.ask(Method::GET, "/api/v1/instances/?after_token=nonsense", None).await;
    assert_eq!((status, &answer["error"]), (400, &json!("invalid_token")));
    let (status, answer) = vast.ask(Method::GET, "/api/v0/instances/", None).await;
    assert_eq!((status, &answer["error"]), (410, &json!("deprecated_endpoint")));
    for id in ids {
        let _ = vast.ask(Method::DELETE, &format!("/api/v0/instances/{id}/"), None).await;
    }
    assert!(vast.simulator.world().until(WITHIN, |world| world.alive().is_empty()).await);
    vast.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_open_what_they_should() {
    let mut vast = Vast::start(Options::for_tests()).await;
    let world = vast.simulator.world();
    let id = vast.rent(json!({})).await;
    let own = world.machines()[0].key.clone();
    world.set_key(Vendor::Vastai, "old", KeyState::Revoked);
    world.set_key(Vendor::Vastai, "reader", KeyState::ReadOnly);
    let instance = format!("/api/v0/instances/{id}/");
    let list = "/api/v1/instances/";
    for (key, method, path, status) in [
        ("nobody's", Method::GET, list, 404),
        ("old", Method::GET, list, 401),
        ("reader", Method::GET, list, 200),
        ("reader", Method::DELETE, instance.as_str(), 401),
        (own.as_str(), Method::GET, instance.as_str(), 200),
        (own.as_str(), Method::GET, list, 401),
        (own.as_str(), Method::GET, "/api/v0/users/current/", 401),
        (own.as_str(), Method::DELETE, instance.as_str(), 200),
    ] {
        key.clone_into(&mut vast.key);
        let (said, answer) = vast.ask(method.clone(), path, None).await;
        assert_eq!(said, status, "{method} {path}: {answer}");
        if status >= 400 {
            assert_eq!(answer["error"], "auth_error");
        }
    }
    assert!(world.until(WITHIN, |world| world.alive().is_empty()).await, "it cannot remove itself");
    vast.simulator.stop().await;
}
