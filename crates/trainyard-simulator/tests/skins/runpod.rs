//! RunPod's wire: the list of its oddities, point by point.

use std::time::Duration;

use serde_json::{Value, json};
use trainyard_simulator::faults::{Fault, Rule};
use trainyard_simulator::world::{AccountOrder, KeyState};
use trainyard_simulator::{Options, Phase, Simulator, Vendor, World};

use crate::rig::{Client, LONG, Told, assert_documented, start};

const SPEC: &str = "runpod-openapi.json";
const GPU: &str = "NVIDIA GeForce RTX 4090";

async fn runpod(options: Options) -> (Simulator, World, Client) {
    let (simulator, world) = start(options).await;
    let client = Client::new(&simulator, Vendor::Runpod);
    (simulator, world, client)
}

/// An order that runs that script.
fn order(name: &str, script: &str) -> Value {
    json!({"name": name, "image": "an/image:1", "gpu": {"id": GPU, "count": 1}, "cloud": "SECURE", "disk": 30,
        "entrypoint": ["sh", "-c"], "cmd": [script], "env": {"WORD": "hello"}})
}

async fn create(client: &Client, name: &str, script: &str) -> String {
    let told = client.ask("POST", "/v2/pods", Some(order(name, script))).await;
    assert_eq!(told.status, 201, "{told:?}");
    told.json["id"].as_str().unwrap().to_owned()
}

async fn delete(client: &Client, id: &str) {
    assert_eq!(client.ask("DELETE", &format!("/v2/pods/{id}"), None).await.status, 204);
}

/// Waits until the newest machine of that id is so.
async fn until(world: &World, id: &str, phase: Phase) {
    let so = |world: &World| world.machine(Vendor::Runpod, id).is_some_and(|machine| machine.phase == phase);
    assert!(
        world.until(LONG, so).await,
        "{:?}",
        world.machine(Vendor::Runpod, id).map(|machine| machine.phase)
    );
}

fn own(name: &str, value: Value) -> Fault {
    Fault::Own { name: name.to_owned(), value }
}

fn told_is(told: &Told, status: u16, detail: &str) {
    assert_eq!(told.status, status, "{told:?}");
    assert_eq!(told.json["status"], status, "{told:?}");
    assert!(told.json["detail"].as_str().is_some_and(|text| text.contains(detail)), "{told:?}");
    assert_eq!(told.headers["content-type"], "application/problem+json");
}

#[tokio::test]
async fn who_is_let_in() {
    let (simulator, world, client) = runpod(Options::for_tests()).await;
    for agent in ["", "python-urllib/3.12"] {
        let blocked = client.with_agent(agent).get("/v2/pods").await;
        assert_eq!((blocked.status, blocked.text.as_str()), (403, "error code: 1010"), "`{agent}`");
    }
    told_is(&client.with_key("").get("/v2/pods").await, 401, "missing bearer token");
    told_is(&client.with_key("rpa_wrong").get("/v2/pods").await, 401, "invalid");
    let large = json!({"name": "x".repeat(110_000)});
    told_is(&client.with_key("").ask("POST", "/v2/pods", Some(large)).await, 413, "102400");
    let keys =
        Some([("reader".to_owned(), KeyState::ReadOnly), ("old".to_owned(), KeyState::Revoked)].into());
    world.set_account(Vendor::Runpod, AccountOrder { keys, ..AccountOrder::default() });
    assert_eq!(client.with_key("reader").get("/v2/pods").await.status, 200);
    told_is(
        &client.with_key("reader").ask("POST", "/v2/pods", Some(order("a", "true"))).await,
        403,
        "access denied",
    );
    told_is(&client.with_key("old").get("/v2/pods").await, 401, "invalid");
    told_is(&client.get("/v2/nothing").await, 404, "path was not found");
    let wrong = client.ask("PUT", "/v2/pods", None).await;
    told_is(&wrong, 405, "not allowed");
    assert_eq!(wrong.headers["allow"], "GET, POST");
    let told = client.get("/v2/pods?colour=red").await;
    assert_eq!(told.status, 200, "what is not known in a query is ignored");
    assert!(told.headers["ratelimit"].to_str().unwrap().starts_with("\"minute\";r="), "{told:?}");
    simulator.stop().await;
}

#[tokio::test]
async fn orders_are_looked_at_strictly() {
    let (simulator, world, client) = runpod(Options::for_tests()).await;
    let table: &[(Value, u16, &str)] = &[
        (json!({"bogus": 1}), 422, "$: additional properties 'bogus' not allowed"),
        (json!({"name": ""}), 422, "$.name: length must be >= 1"),
        (json!({"gpu": {"count": 1}}), 422, "$.gpu: missing property 'id'"),
        (json!({"gpu": {"id": GPU, "count": 0}}), 422, "$.gpu.count: must be >= 1"),
        (json!({"cloud": "ALL"}), 422, "$.cloud: value must be one of"),
        (json!({"env": {"A": 1}}), 422, "$.env: value must be an object of strings"),
        (json!({"gpu": {"id": GPU}}), 400, "no longer any instances available"),
        (json!({"gpu": {"id": "NVIDIA NOTHING", "count": 1}}), 400, "no longer any instances available"),
        (json!({"dataCenterIds": ["XX-YY-1"]}), 400, "no longer any instances available"),
        (json!({"gpu": {"id": GPU, "count": 1, "minCudaVersion": "99.1"}}), 400, "no longer any instances"),
        (json!({"disk": 1_000_000}), 400, "no longer any instances available"),
        (json!({"gpu": null}), 422, "$.gpu: value must be an object"),
        (json!({"cpu": {"id": "cpu3c", "vcpuCount": 2}}), 400, "exactly one of gpu or cpu"),
        (json!({"ports": ["80"]}), 400, "port/http"),
        (json!({"registry": "nobody"}), 400, "registry credential not found"),
        (json!({"templateId": "nobody"}), 404, "resource not found"),
    ];
    for (change, status, text) in table {
        let mut body = order("a", "true");
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        let told = client.ask("POST", "/v2/pods", Some(body)).await;
        assert_eq!(told.status, *status, "{change}: {told:?}");
        assert!(told.text.contains(text), "{change}: {told:?}");
    }
    for (fault, status, text) in [
        (Fault::NoCapacity, 400, "refresh and try again"),
        (Fault::NoCredit, 402, "balance"),
        (own("forbidden_pool", Value::Null), 403, "access denied"),
        (own("unknown_image", Value::Null), 422, "image"),
    ] {
        world.add_fault(Rule::once(Vendor::Runpod, "create", fault));
        told_is(&client.ask("POST", "/v2/pods", Some(order("a", "true"))).await, status, text);
    }
    assert!(world.machines_of(Vendor::Runpod).is_empty(), "nothing was rented");
    assert_documented(&world, Vendor::Runpod, SPEC);
    simulator.stop().await;
}

#[tokio::test]
async fn a_pod_is_running_before_it_runs_and_gone_when_deleted() {
    let (simulator, world, client) = runpod(Options::for_tests()).await;
    world.clock().set(trainyard_simulator::clock::ClockOrder { speed: Some(0.0), step_s: None });
    let mut body = order("a-pod", "echo $WORD $RUNPOD_POD_ID $RUNPOD_GPU_COUNT; exec sleep 60");
    body["ports"] = json!(["22/tcp", "19999/http"]);
    let told = client.ask("POST", "/v2/pods", Some(body)).await;
    assert_eq!((told.status, &told.json["status"]), (201, &json!("RUNNING")), "{told:?}");
    assert_eq!((&told.json["runtime"], &told.json["ssh"]["direct"]), (&Value::Null, &Value::Null));
    assert_eq!((&told.json["cost"], &told.json["name"]), (&json!(0.74), &json!("a-pod")));
    let id = told.json["id"].as_str().unwrap();
    until(&world, id, Phase::Running).await;
    let pod = client.get(&format!("/v2/pods/{id}")).await.json;
    assert_eq!(pod["runtime"]["uptime"], 0);
    let ports = pod["runtime"]["ports"].as_array().unwrap();
    assert!(ports.iter().any(|port| port["private"] == 19_123 && port["ip"] == "100.65.14.155"), "{ports:?}");
    world.clock().step(Duration::from_secs(7));
    let pod = client.get(&format!("/v2/pods/{id}")).await.json;
    assert_eq!((&pod["runtime"]["uptime"], &pod["env"]["WORD"]), (&json!(7), &json!("hello")));
    let act = async |action: &str| {
        client.ask("POST", &format!("/v2/pods/{id}/action"), Some(json!({"action": action}))).await
    };
    told_is(&act("start").await, 409, "not valid");
    assert_eq!(
        act("dance").await.json["errors"][0],
        "$.action: value must be one of 'start', 'stop', 'restart', 'terminate'"
    );
    assert_eq!(act("stop").await.status, 200);
    until(&world, id, Phase::Stopped).await;
    let pod = client.get(&format!("/v2/pods/{id}")).await.json;
    assert_eq!(
        (&pod["status"], &pod["runtime"], &pod["cost"]),
        (&json!("EXITED"), &Value::Null, &json!(0.74))
    );
    assert_eq!(act("start").await.status, 200);
    until(&world, id, Phase::Running).await;
    delete(&client, id).await;
    until(&world, id, Phase::Gone).await;
    told_is(&client.get(&format!("/v2/pods/{id}")).await, 404, "not found");
    told_is(&client.ask("DELETE", &format!("/v2/pods/{id}"), None).await, 404, "pod not found");
    assert_documented(&world, Vendor::Runpod, SPEC);
    simulator.stop().await;
}

#[tokio::test]
async fn a_container_that_ends_is_started_again_and_nothing_tells_its_code() {
    let (simulator, world, client) = runpod(Options::for_tests()).await;
    let id = create(&client, "loop", "echo started; exit 3").await;
    let thrice =
        |world: &World| world.machine(Vendor::Runpod, &id).is_some_and(|machine| machine.exits.len() >= 3);
    assert!(world.until(LONG, thrice).await, "three ends");
    let told = client.get(&format!("/v2/pods/{id}")).await;
    assert_eq!(told.json["status"], "RUNNING");
    assert!(!told.text.contains("exit") || told.text.contains("exit 3"), "{told:?}");
    let log = snapshot(&client, &id, "?source=container", &[]).await;
    assert!(log.iter().filter(|line| line["line"] == "started").count() >= 2, "{log:?}");
    delete(&client, &id).await;
    assert!(world.until(LONG, |world| world.alive().is_empty()).await);
    simulator.stop().await;
}

/// What a log's stream gives until it falls silent.
async fn snapshot(client: &Client, id: &str, query: &str, headers: &[(&'static str, &str)]) -> Vec<Value> {
    let mut answer = client.begin("GET", &format!("/v2/pods/{id}/logs{query}"), None, headers).await;
    assert_eq!(answer.status(), 200);
    let mut text = String::new();
    // waits: the stream never ends by itself, so silence is its end
    while let Ok(Ok(Some(piece))) = tokio::time::timeout(Duration::from_millis(400), answer.chunk()).await {
        text.push_str(std::str::from_utf8(&piece).unwrap());
    }
    let events = text.split("\n\n").filter(|event| !event.is_empty());
    events
        .map(|event| {
            let (id, data) = event.split_once('\n').unwrap();
            let mut line: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            line["id"] = json!(id.strip_prefix("id: ").unwrap());
            line
        })
        .collect()
}

#[tokio::test]
async fn a_log_is_an_endless_stream_that_goes_on_where_it_was_left() {
    let (simulator, world, client) = runpod(Options::for_tests()).await;
    let id = create(&client, "talks", "echo one; echo two; exec sleep 60").await;
    until(&world, &id, Phase::Running).await;
    let machine = world.machine(Vendor::Runpod, &id).unwrap();
    let all = async { machine.log.beyond(machine.log.last().max(4)).await };
    // waits: both lines may be there already
    let _ = tokio::time::timeout(Duration::from_millis(500), all).await;
    let lines = snapshot(&client, &id, "", &[]).await;
    let said: Vec<&str> = lines.iter().filter_map(|line| line["line"].as_str()).collect();
    assert!(said[0].starts_with("create container an/image:1"), "{said:?}");
    assert_eq!(said[said.len() - 2..], ["one", "two"]);
    assert_eq!(lines[0]["source"], "system");
    let before_last = lines[lines.len() - 2]["id"].as_str().unwrap();
    let rest = snapshot(&client, &id, "?tail=1000", &[("last-event-id", before_last)]).await;
    assert_eq!(rest.len(), 1, "the id wins over the number of lines: {rest:?}");
    assert_eq!(snapshot(&client, &id, "?tail=1", &[]).await[0]["line"], "two");
    let since = lines[0]["ts"].as_str().unwrap();
    assert_eq!(snapshot(&client, &id, &format!("?tail=1&since={since}"), &[]).await.len(), lines.len());
    for (query, header) in
        [("?tail=5001", None), ("?source=both", None), ("?since=today", None), ("", Some("nobody"))]
    {
        let headers: Vec<_> = header.into_iter().map(|id| ("last-event-id", id)).collect();
        let told = client.begin("GET", &format!("/v2/pods/{id}/logs{query}"), None, &headers).await;
        assert_eq!(told.status(), 422, "{query}");
    }
    world.add_fault(Rule::once(Vendor::Runpod, "logs", own("cut_log", json!(1))));
    let cut = client.begin("GET", &format!("/v2/pods/{id}/logs"), None, &[]).await.text().await.unwrap();
    assert_eq!(cut.matches("data: ").count(), 1);
    delete(&client, &id).await;
    until(&world, &id, Phase::Gone).await;
    told_is(&client.get(&format!("/v2/pods/{id}/logs")).await, 404, "not found");
    simulator.stop().await;
}

#[tokio::test]
async fn a_list_comes_in_pages_that_hold_fewer_than_asked_for() {
    let (simulator, world, client) = runpod(Options::for_tests()).await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(create(&client, &format!("pod-{n}"), "exec sleep 60").await);
    }
    ids.reverse();
    world.add_fault(Rule::always(Vendor::Runpod, "list", own("page_size", json!(2))));
    let (mut seen, mut query) = (Vec::new(), "?limit=1000".to_owned());
    let mut pages = 0;
    loop {
        let page = client.get(&format!("/v2/pods{query}")).await.json;
        seen.extend(
            page["pods"].as_array().unwrap().iter().map(|pod| pod["id"].as_str().unwrap().to_owned()),
        );
        pages += 1;
        if page["pagination"]["hasNextPage"] == false {
            assert_eq!(page["pagination"]["nextCursor"], Value::Null);
            break;
        }
        query = format!("?limit=1000&cursor={}", page["pagination"]["nextCursor"].as_str().unwrap());
    }
    assert_eq!((seen, pages), (ids.clone(), 3), "newest first, each once");
    for query in ["?limit=0", "?limit=1001", "?cursor=somebodys"] {
        assert_eq!(client.get(&format!("/v2/pods{query}")).await.status, 422, "{query}");
    }
    world.set_faults(Default::default());
    world.add_fault(Rule::once(Vendor::Runpod, "list", own("no_pagination", Value::Null)));
    assert_eq!(client.get("/v2/pods").await.json.get("pagination"), None);
    for id in ids {
        delete(&client, &id).await;
    }
    assert!(world.until(LONG, |world| world.alive().is_empty()).await);
    assert_documented(&world, Vendor::Runpod, SPEC);
    simulator.stop().await;
}

#[tokio::test]
async fn a_pods_own_key_opens_that_pod_only() {
    let (simulator, world, client) = runpod(Options::for_tests()).await;
    let (one, other) =
        (create(&client, "a", "exec sleep 60").await, create(&client, "b", "exec sleep 60").await);
    let key = world.machine(Vendor::Runpod, &one).unwrap().key;
    let own = client.with_key(&key);
    assert_eq!(own.get(&format!("/v2/pods/{one}")).await.status, 200);
    for path in ["/v2/pods", &format!("/v2/pods/{other}"), &format!("/v2/pods/{one}/logs"), "/v2/registries"]
    {
        told_is(&own.get(path).await, 403, "access denied");
    }
    delete(&own, &one).await;
    until(&world, &one, Phase::Gone).await;
    told_is(&own.get(&format!("/v2/pods/{one}")).await, 401, "invalid");
    delete(&client, &other).await;
    assert!(world.until(LONG, |world| world.alive().is_empty()).await);
    simulator.stop().await;
}

#[tokio::test]
async fn the_catalogue_tells_stock_only_where_it_is_asked_for() {
    let (simulator, world, client) = runpod(Options::for_tests()).await;
    let plain = client.get("/v2/catalog/gpus").await.json;
    let find =
        |all: &Value, id: &str| all["gpus"].as_array().unwrap().iter().find(|gpu| gpu["id"] == id).cloned();
    let card = find(&plain, GPU).unwrap();
    assert_eq!(
        (&card["price"]["secure"], &card["memory"], card.get("availability")),
        (&json!(0.74), &json!(24), None)
    );
    assert!(find(&plain, "unknown").is_some(), "an entry that RunPod itself does not know");
    let query = "include=AVAILABILITY&product=POD";
    let stocked = client.get(&format!("/v2/catalog/gpus?{query}&count=1")).await.json;
    assert_eq!(find(&stocked, GPU).unwrap()["availability"], "HIGH");
    assert_eq!(find(&stocked, GPU).unwrap()["dataCenters"].as_array().unwrap().len(), 3);
    let community = client.get(&format!("/v2/catalog/gpus?{query}&cloud=COMMUNITY")).await.json;
    let lone = find(&community, "NVIDIA L4").unwrap();
    assert_eq!((&lone["availability"], lone.get("dataCenters")), (&json!("NONE"), None));
    let amd = find(&stocked, "AMD Instinct MI300X OAM").unwrap();
    assert_eq!(amd.get("cudaVersions"), None);
    let one = client.get("/v2/catalog/gpus/NVIDIA%20GeForce%20RTX%204090").await;
    assert_eq!((one.status, &one.json["id"]), (200, &json!(GPU)));
    assert_eq!(client.get("/v2/catalog/gpus/nobody").await.status, 404);
    for query in ["include=AVAILABILITY", "product=POD", "cudaVersions=12.8&minCudaVersion=12"] {
        assert_eq!(client.get(&format!("/v2/catalog/gpus?{query}")).await.status, 400, "{query}");
    }
    assert_eq!(client.get(&format!("/v2/catalog/gpus?{query}&countryCodes=us")).await.status, 422);
    assert_eq!(client.get("/v2/catalog/datacenters").await.json["dataCenters"][0]["name"], "EU-RO-1");
    world.set_stock(Vendor::Runpod, 0);
    let none = client.get(&format!("/v2/catalog/gpus?{query}")).await.json;
    assert_eq!(find(&none, GPU).unwrap()["availability"], "NONE");
    assert_documented(&world, Vendor::Runpod, SPEC);
    simulator.stop().await;
}

#[tokio::test]
async fn too_many_requests_are_told_to_wait_and_do_nothing() {
    let (simulator, world, client) = runpod(Options::for_tests()).await;
    world.clock().set(trainyard_simulator::clock::ClockOrder { speed: Some(0.0), step_s: None });
    world.add_fault(Rule::always(Vendor::Runpod, "list", own("minute_quota", json!(2))));
    world.add_fault(Rule::always(Vendor::Runpod, "create", own("minute_quota", json!(2))));
    assert_eq!(client.get("/v2/pods").await.status, 200);
    let last = client.get("/v2/pods").await;
    assert!(last.headers["ratelimit"].to_str().unwrap().starts_with("\"minute\";r=0;t="), "{last:?}");
    let refused = client.ask("POST", "/v2/pods", Some(order("a", "true"))).await;
    told_is(&refused, 429, "rate limit exceeded for the minute window");
    let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait) && world.machines().is_empty());
    world.clock().step(Duration::from_secs(wait));
    assert_eq!(client.get("/v2/pods").await.status, 200);
    simulator.stop().await;
}

#[tokio::test]
async fn the_books_and_the_logins() {
    let (simulator, world, client) = runpod(Options::for_tests()).await;
    world.clock().set(trainyard_simulator::clock::ClockOrder { speed: Some(0.0), step_s: None });
    let id = create(&client, "a", "exec sleep 60").await;
    world.clock().step(Duration::from_secs(3600));
    delete(&client, &id).await;
    until(&world, &id, Phase::Gone).await;
    let books = client.get(&format!("/v2/billing/pods?podId={id}&bucketSize=day")).await.json;
    assert_eq!(books["records"][0]["gpuAmount"], json!(0.74), "{books}");
    assert_eq!(books["metadata"]["totals"], without_time(&books["records"][0]));
    assert_eq!(client.get("/v2/billing/pods?lastN=2&startTime=2026-01-01T00:00:00Z").await.status, 400);
    world.add_fault(Rule::once(Vendor::Runpod, "other", own("billing_lag", Value::Null)));
    assert_eq!(client.get("/v2/billing/pods").await.json["records"], json!([]));

    let login = json!({"name": "mine", "username": "u", "password": "p4ssw0rd"});
    let made = client.ask("POST", "/v2/registries", Some(login)).await;
    assert_eq!((made.status, &made.json["name"]), (201, &json!("mine")));
    let all = client.get("/v2/registries").await;
    assert!(all.text.contains("mine") && !all.text.contains("p4ssw0rd"));
    let path = format!("/v2/registries/{}", made.json["id"].as_str().unwrap());
    assert_eq!(client.get(&path).await.status, 200);
    assert_eq!(client.ask("DELETE", &path, None).await.status, 204);
    told_is(&client.ask("DELETE", &path, None).await, 404, "not found");
    assert_eq!(
        client.ask("PUT", "/v2/account/ssh-keys", Some(json!({"keys": ["ssh-ed25519 A"]}))).await.status,
        200
    );
    assert_eq!(client.get("/v2/account/ssh-keys").await.json["keys"][0], "ssh-ed25519 A");
    assert_documented(&world, Vendor::Runpod, SPEC);
    simulator.stop().await;
}

fn without_time(record: &Value) -> Value {
    let fields = record.as_object().unwrap().iter().filter(|(name, _)| name.ends_with("Amount"));
    fields.map(|(name, value)| (name.clone(), value.clone())).collect::<serde_json::Map<_, _>>().into()
}

#[tokio::test]
async fn the_proxy_answers_for_pods_that_do_not() {
    let (simulator, world, client) = runpod(Options::for_tests()).await;
    let proxy = |pod: &str, port: u16| client.at(&format!("{}/proxy/{pod}/{port}", simulator.url()));
    assert_eq!(proxy("nobody", 18_431).get("/").await.status, 404);
    let mut body = order("a", "exec sleep 60");
    body["ports"] = json!(["18431/http"]);
    let told = client.ask("POST", "/v2/pods", Some(body)).await;
    let id = told.json["id"].as_str().unwrap();
    until(&world, id, Phase::Running).await;
    let page = proxy(id, 18_431).get("/").await;
    assert_eq!((page.status, page.text.starts_with("<html>")), (502, true), "nothing listens");
    assert_eq!(proxy(id, 1).get("/").await.status, 502, "not among its ports");
    assert_eq!(proxy(id, 18_431).with_agent("").get("/").await.text, "error code: 1010");
    delete(&client, id).await;
    assert!(world.until(LONG, |world| world.alive().is_empty()).await);
    simulator.stop().await;
}
