//! Lambda's skin: the facts about the real API one by one, and what a client of SSH sees.

use std::process::Stdio;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::HeaderMap;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use trainyard_connector::ssh::SshKey;
use trainyard_simulator::faults::{Fault, Rule};
use trainyard_simulator::world::Source;
use trainyard_simulator::{Account, Delays, Options, Phase, Simulator, Vendor, World, serve};

use crate::openapi::{Exchange, Spec};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);
const LAUNCH: &str = "/instance-operations/launch";
const TERMINATE: &str = "/instance-operations/terminate";

async fn start(options: Options) -> (Simulator, World) {
    let simulator = serve(options).await.expect("a simulator starts");
    let world = simulator.world();
    (simulator, world)
}

/// A client that is nobody's.
struct Client {
    http: reqwest::Client,
    base: String,
    authorization: Option<String>,
}

/// What came back; the JSON is null where it is none.
#[derive(Debug)]
struct Told {
    status: u16,
    headers: HeaderMap,
    text: String,
    json: Value,
}

impl Client {
    fn with(&self, authorization: Option<&str>) -> Client {
        let authorization = authorization.map(str::to_owned);
        Client { http: self.http.clone(), base: self.base.clone(), authorization }
    }

    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Told {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self.http.request(method, format!("{}{path}", self.base)).timeout(LONG);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("it is answered");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.expect("a body");
        Told { status, headers, json: serde_json::from_str(&text).unwrap_or_default(), text }
    }

    async fn get(&self, path: &str) -> Told {
        self.ask("GET", path, None).await
    }
}

fn client(simulator: &Simulator) -> Client {
    Client {
        http: reqwest::Client::builder().no_proxy().build().expect("a client"),
        base: format!("{}/api/v1", simulator.vendor_url(Vendor::Lambda)),
        authorization: Some(format!("Bearer {}", Account::usual_key(Vendor::Lambda))),
    }
}

/// Everything that was said, held against Lambda's document. What was refused was wrong on purpose: only its answer
/// counts.
fn assert_documented(world: &World) {
    let Some(spec) = Spec::load("lambda", "lambda-openapi.json") else { return };
    let json = |bytes: &[u8]| serde_json::from_slice(bytes).ok();
    let exchange = |said: trainyard_simulator::world::Exchange| Exchange {
        method: said.method,
        path: said.path,
        query: Vec::new(),
        body: json(&said.body),
        status: said.status.unwrap_or_default(),
        answer: said.answer.as_ref().and_then(|body| json(body)),
    };
    let (good, refused): (Vec<_>, Vec<_>) =
        world.tape().into_iter().map(exchange).partition(|it| it.status < 400);
    assert!(!good.is_empty());
    let mut problems = spec.check(&good);
    let on_purpose =
        |problem: &String| problem.contains(": request: ") || problem.contains("the document has no such");
    problems.extend(spec.check(&refused).into_iter().filter(|problem| !on_purpose(problem)));
    assert!(problems.is_empty(), "against Lambda's own document:\n{}", problems.join("\n"));
}

fn code(told: &Told) -> (u16, String) {
    (told.status, told.json["error"]["code"].as_str().unwrap_or_default().to_owned())
}

fn is(told: &Told, status: u16, code_is: &str) {
    assert_eq!(code(told), (status, code_is.to_owned()), "{}", told.text);
}

async fn with_key(client: &Client) -> SshKey {
    let key = SshKey::from_seed(&[3; 32]).expect("there is one");
    let told =
        client.ask("POST", "/ssh-keys", Some(json!({"name": "key-1", "public_key": key.public()}))).await;
    assert_eq!(told.status, 200, "{}", told.text);
    key
}

fn order(more: Value) -> Option<Value> {
    let mut body = json!({
        "region_name": "us-east-1", "instance_type_name": "gpu_1x_a10", "ssh_key_names": ["key-1"],
        "name": "ty-one", "hostname": "ty-one", "image": {"family": "lambda-stack-24-04"},
        "tags": [{"key": "run:one", "value": "X y"}],
    });
    let fields = body.as_object_mut().expect("there is one");
    fields.extend(more.as_object().expect("there is one").clone());
    fields.retain(|_, value| !value.is_null());
    Some(body)
}

async fn launch(client: &Client, more: Value) -> String {
    let told = client.ask("POST", LAUNCH, order(more)).await;
    assert_eq!(told.status, 200, "{}", told.text);
    told.json["data"]["instance_ids"][0].as_str().expect("there is one").to_owned()
}

async fn terminate(client: &Client, id: &str) -> Told {
    client.ask("POST", TERMINATE, Some(json!({"instance_ids": [id]}))).await
}

async fn status(client: &Client, id: &str) -> String {
    let told = client.get(&format!("/instances/{id}")).await;
    told.json["data"]["status"].as_str().unwrap_or_default().to_owned()
}

async fn gone(world: &World, client: &Client, id: &str) {
    assert_eq!(terminate(client, id).await.status, 200);
    let is_gone = |world: &World| world.machine(Vendor::Lambda, id).is_some_and(|it| it.phase == Phase::Gone);
    assert!(world.until(LONG, is_gone).await);
}

async fn ran(world: &World, id: &str) {
    let runs = |world: &World| world.machine(Vendor::Lambda, id).is_some_and(|it| it.phase == Phase::Running);
    assert!(world.until(LONG, runs).await);
}

#[tokio::test]
async fn a_key_opens_in_two_ways_and_refusals_have_two_texts() {
    let (simulator, world) = start(Options::for_tests()).await;
    let client = client(&simulator);
    assert_eq!(client.get("/instances").await.status, 200);
    // `Basic` of `simulated-lambda-key:`, as curl's `-u KEY:` sends it.
    let basic = client.with(Some("Basic c2ltdWxhdGVkLWxhbWJkYS1rZXk6"));
    assert_eq!(basic.get("/instances").await.status, 200);
    let none = client.with(None).get("/instances").await;
    is(&none, 401, "global/invalid-api-key");
    assert_eq!(none.json["error"]["message"], "No API key was provided.");
    let wrong = client.with(Some("Bearer secret_x")).get("/instances").await;
    is(&wrong, 401, "global/invalid-api-key");
    assert!(
        wrong.json["error"]["message"]
            .as_str()
            .expect("there is one")
            .contains("invalid, expired, or deleted")
    );
    assert!(wrong.json["error"]["suggestion"].is_string());
    assert_documented(&world);
    simulator.stop().await;
}

#[tokio::test]
async fn the_catalogue_is_a_map_with_what_is_sold_out() {
    let (simulator, world) = start(Options::for_tests()).await;
    let client = client(&simulator);
    let types = client.get("/instance-types").await.json["data"].clone();
    let a10 = &types["gpu_1x_a10"];
    assert_eq!(a10["instance_type"]["price_cents_per_hour"], 129);
    assert_eq!(a10["regions_with_capacity_available"].as_array().expect("there is one").len(), 2);
    assert_eq!(types["gpu_1x_b200_sxm6"]["regions_with_capacity_available"], json!([]));
    assert_eq!(types["gpu_1x_gh200"]["instance_type"]["architecture"], "arm64");
    assert!(client.get("/regions").await.json["data"].as_array().expect("there is one").len() >= 6);
    let images = client.get("/images").await.json["data"].clone();
    assert!(images.as_array().expect("there is one").iter().any(|row| row["family"] == "lambda-stack-24-04"));
    assert_eq!(client.get("/file-systems").await.json["data"], json!([]));
    assert_eq!(client.ask("POST", "/file-systems", Some(json!({}))).await.status, 405);
    let made = json!({"name": "models", "region": "us-east-1"});
    let made = client.ask("POST", "/filesystems", Some(made)).await;
    assert_eq!(made.json["data"]["mount_point"], "/lambda/nfs/models");
    let all = client.get("/file-systems").await;
    assert_eq!(all.json["data"][0], made.json["data"]);
    let path = format!("/filesystems/{}", made.json["data"]["id"].as_str().expect("an id"));
    assert_eq!(client.ask("DELETE", &path, None).await.status, 200);
    assert_eq!(client.ask("DELETE", &path, None).await.status, 404);
    assert_eq!(client.get("/firewall-rules").await.json["data"].as_array().expect("there is one").len(), 2);
    is(&client.get("/clusters").await, 404, "global/not-found");
    assert_documented(&world);
    simulator.stop().await;
}

#[tokio::test]
async fn an_order_is_checked_before_capacity() {
    let (simulator, world) = start(Options::for_tests()).await;
    let client = client(&simulator);
    with_key(&client).await;
    world.set_stock(Vendor::Lambda, 0);
    let long = |length: usize| "x".repeat(length);
    let table = [
        (json!({"region_name": "moon-1"}), 400, "global/invalid-parameters"),
        (json!({"instance_type_name": "gpu_9x_none"}), 400, "global/invalid-parameters"),
        (json!({"quantity": 2}), 400, "global/invalid-parameters"),
        (json!({"ssh_key_names": []}), 400, "global/invalid-parameters"),
        (json!({"ssh_key_names": ["key-1", "key-2"]}), 400, "global/invalid-parameters"),
        (json!({"name": long(65)}), 400, "global/invalid-parameters"),
        (json!({"hostname": "Upper"}), 400, "global/invalid-parameters"),
        (json!({"tags": [{"key": "with_low", "value": ""}]}), 400, "global/invalid-parameters"),
        (json!({"tags": [{"key": "with.dot", "value": ""}]}), 400, "global/invalid-parameters"),
        (json!({"tags": [{"key": "k", "value": ""}]}), 400, "global/invalid-parameters"),
        (json!({"tags": [{"key": "kk", "value": long(129)}]}), 400, "global/invalid-parameters"),
        (json!({"user_data": long(1_000_001)}), 400, "global/invalid-parameters"),
        (json!({"ssh_key_names": ["nobody"]}), 404, "global/object-does-not-exist"),
        (json!({"image": {"family": "windows"}}), 404, "global/object-does-not-exist"),
        (json!({}), 400, "instance-operations/launch/insufficient-capacity"),
    ];
    for (more, status, code) in table {
        let told = client.ask("POST", LAUNCH, order(more.clone())).await;
        assert_eq!((told.status, told.json["error"]["code"].as_str()), (status, Some(code)), "{more}");
    }
    let missing = Fault::Own { name: "missing_is_400".to_owned(), value: Value::Null };
    world.add_fault(Rule::once(Vendor::Lambda, "create", missing));
    let told = client.ask("POST", LAUNCH, order(json!({"ssh_key_names": ["nobody"]}))).await;
    is(&told, 400, "global/object-does-not-exist");
    assert!(world.alive().is_empty());
    simulator.stop().await;
}

#[tokio::test]
async fn a_machine_comes_and_goes_by_the_clock_and_minutes_are_billed() {
    let seconds = Duration::from_secs;
    let delays = Delays { boot: seconds(240), address: seconds(70), removal: seconds(30), ..Delays::NONE };
    let (simulator, world) = start(Options { speed: 0.0, delays, ..Options::for_tests() }).await;
    let client = client(&simulator);
    with_key(&client).await;
    for round in 0..2 {
        let id = launch(&client, json!({"user_data": "#cloud-config\n{}"})).await;
        let path = format!("/instances/{id}");
        let shown = client.get(&path).await.json["data"].clone();
        assert_eq!(shown["status"], "booting");
        // Missing for the one, null for the other.
        assert!(shown["ip"].is_null() && shown.get("ip").is_some() == (round == 1), "{shown}");
        assert_eq!(shown["actions"]["terminate"]["available"], true);
        world.clock().step(seconds(71));
        let shown = client.get(&path).await.json["data"].clone();
        assert!(
            shown["status"] == "booting" && shown["ip"].as_str().expect("there is one").starts_with("127.0."),
            "{shown}"
        );
        world.clock().step(seconds(170));
        ran(&world, &id).await;
        let shown = client.get(&path).await.json["data"].clone();
        assert_eq!((&shown["status"], &shown["is_reserved"]), (&json!("active"), &json!(false)));
        assert!(shown["workspace_id"].is_string() && shown["surprise"].is_object());
        assert!(shown["jupyter_token"].is_string(), "a secret, as on the real one");
        assert_eq!(shown["tags"], json!([{"key": "run:one", "value": "X y"}]));
        world.clock().step(seconds(121));
        let told = terminate(&client, &id).await;
        assert_eq!(told.json["data"]["terminated_instances"][0]["status"], "terminating");
        assert_eq!(terminate(&client, &id).await.status, 200, "asking twice");
        assert_eq!(
            world.invoice(Vendor::Lambda, &id).expect("there is one").gpu_seconds,
            180,
            "begun minutes from the first health"
        );
        world.clock().step(seconds(31));
        let is_gone = |world: &World| world.machine(Vendor::Lambda, &id).is_some_and(|it| !it.is_alive());
        assert!(world.until(LONG, is_gone).await);
        assert_eq!(status(&client, &id).await, "terminated");
        world.clock().step(seconds(61));
        is(&client.get(&path).await, 404, "global/object-does-not-exist");
        is(&terminate(&client, &id).await, 404, "global/object-does-not-exist");
    }
    assert_eq!(client.get("/instances").await.json["data"], json!([]));
    for bad in ["x", "0920582c", "not-hexadecimal-not-hexadecimal-0"] {
        is(&client.get(&format!("/instances/{bad}")).await, 400, "global/invalid-parameters");
    }
    is(&terminate(&client, &"0".repeat(32)).await, 404, "global/object-does-not-exist");
    assert_documented(&world);
    simulator.stop().await;
}

#[tokio::test]
async fn calls_and_launches_have_a_pace() {
    let options = Options { speed: 0.0, rate_limits: true, ..Options::for_tests() };
    let (simulator, world) = start(options).await;
    let client = client(&simulator);
    let second = Duration::from_millis(1001);
    assert_eq!(client.get("/instances").await.status, 200);
    let early = client.get("/instances").await;
    assert!(early.status == 429 && early.json.is_null() && early.text.contains("1015"), "{early:?}");
    assert!(early.headers.get("retry-after").is_none());
    world.clock().step(second);
    with_key(&client).await;
    world.clock().step(second);
    let id = launch(&client, json!({})).await;
    world.clock().step(Duration::from_secs(11));
    assert_eq!(client.ask("POST", LAUNCH, order(json!({}))).await.status, 429);
    world.clock().step(second);
    let other = launch(&client, json!({})).await;
    for (form, json, header) in [("json", true, false), ("page", false, false), ("retry_after", false, true)]
    {
        let own = Fault::Own { name: "too_many".to_owned(), value: json!(form) };
        world.add_fault(Rule::once(Vendor::Lambda, "list", own));
        world.clock().step(second);
        let told = client.get("/instances").await;
        assert_eq!((told.status, told.json.is_object()), (429, json), "{form}");
        assert_eq!(told.headers.contains_key("retry-after"), header, "{form}");
    }
    for id in [id, other] {
        world.clock().step(second);
        gone(&world, &client, &id).await;
    }
    simulator.stop().await;
}

#[tokio::test]
async fn keys_have_unique_names_and_stay_while_they_are_used() {
    let (simulator, world) = start(Options::for_tests()).await;
    let client = client(&simulator);
    let key = with_key(&client).await;
    let again =
        client.ask("POST", "/ssh-keys", Some(json!({"name": "key-1", "public_key": key.public()}))).await;
    is(&again, 400, "global/invalid-parameters");
    assert!(again.text.contains("name must be unique"));
    for bad in [json!({"name": ""}), json!({"name": "x", "public_key": "no key"}), json!({})] {
        is(&client.ask("POST", "/ssh-keys", Some(bad)).await, 400, "global/invalid-parameters");
    }
    let made = client.ask("POST", "/ssh-keys", Some(json!({"name": "made"}))).await.json["data"].clone();
    assert!(made["private_key"].as_str().expect("there is one").contains("OPENSSH PRIVATE KEY"));
    let keys = client.get("/ssh-keys").await.json["data"].clone();
    assert_eq!(keys.as_array().expect("there is one").len(), 2);
    assert!(keys.as_array().expect("there is one").iter().all(|key| key.get("private_key").is_none()));
    let id = launch(&client, json!({})).await;
    let path = format!("/ssh-keys/{}", keys[0]["id"].as_str().expect("there is one"));
    let used = client.ask("DELETE", &path, None).await;
    assert!(used.status == 400 && used.text.contains("currently in use"), "{}", used.text);
    gone(&world, &client, &id).await;
    assert_eq!(client.ask("DELETE", &path, None).await.json["data"], json!({}));
    is(&client.ask("DELETE", &path, None).await, 404, "global/not-found");
    assert_documented(&world);
    simulator.stop().await;
}

#[tokio::test]
async fn names_can_be_changed_and_are_not_unique() {
    let (simulator, world) = start(Options::for_tests()).await;
    let client = client(&simulator);
    with_key(&client).await;
    let (one, two) = (launch(&client, json!({})).await, launch(&client, json!({})).await);
    let listed = client.get("/instances").await.json["data"].clone();
    assert!(listed.as_array().expect("there is one").iter().all(|shown| shown["name"] == "ty-one"));
    let renamed = client.ask("POST", &format!("/instances/{one}"), Some(json!({"name": "other"}))).await;
    assert_eq!((&renamed.json["data"]["name"], &renamed.json["data"]["id"]), (&json!("other"), &json!(one)));
    gone(&world, &client, &one).await;
    gone(&world, &client, &two).await;
    assert_documented(&world);
    simulator.stop().await;
}

fn user_data(host: &SshKey, command: &str) -> String {
    let private = host.private().expect("there is one");
    let config = json!({
        "ssh_deletekeys": true,
        "ssh_keys": {"ed25519_private": private.expose_secret(), "ed25519_public": host.public()},
        "write_files": [{"path": "/home/ubuntu/notes/one", "content": "written\n", "permissions": "0600"}],
        "runcmd": [["sudo", "-u", "ubuntu", "-H", "env", "A=it's", "sh", "-c", command]],
    });
    format!("#cloud-config\n{config}\n")
}

#[tokio::test]
async fn the_first_boot_runs_what_user_data_says_and_a_reboot_does_not() {
    let (simulator, world) = start(Options::for_tests()).await;
    let client = client(&simulator);
    with_key(&client).await;
    let host = SshKey::from_seed(&[4; 32]).expect("there is one");
    let data = user_data(&host, "cat notes/one; echo \"$A $USER\"; echo x >>boots; wc -l <boots");
    let id = launch(&client, json!({"user_data": data})).await;
    let said = |world: &World, text: &str| {
        let machine = world.machine(Vendor::Lambda, &id).expect("there is one");
        machine.log.tail(100).iter().filter(|line| line.text.trim() == text).count()
    };
    // A machine's log rings no bell of the world; a request does.
    let log = world.machine(Vendor::Lambda, &id).expect("there is one").log;
    while said(&world, "cloud-init: finished") == 0 {
        log.beyond(log.last()).await;
    }
    for text in ["written", "it's ubuntu", "1"] {
        assert_eq!(said(&world, text), 1, "{text}: {:?}", log.tail(100));
    }
    assert!(log.tail(9).iter().any(|line| line.source == Source::Container));
    let told = client.ask("POST", "/instance-operations/restart", Some(json!({"instance_ids": [id]}))).await;
    assert_eq!(told.json["data"]["restarted_instances"][0]["id"], json!(id));
    let twice = |world: &World| {
        world.machine(Vendor::Lambda, &id).is_some_and(|it| it.starts == 2 && it.phase == Phase::Running)
    };
    assert!(world.until(LONG, twice).await);
    assert_eq!(said(&world, "cloud-init: finished"), 1);
    gone(&world, &client, &id).await;
    let strange = launch(&client, json!({"user_data": "#cloud-config\nruncmd: [\n"})).await;
    ran(&world, &strange).await;
    let log = world.machine(Vendor::Lambda, &strange).expect("there is one").log;
    log.beyond(0).await;
    assert!(log.tail(9).iter().any(|line| line.text.contains("Failed loading yaml")), "{:?}", log.tail(9));
    gone(&world, &client, &strange).await;
    assert_documented(&world);
    simulator.stop().await;
}

#[tokio::test]
async fn openssh_gets_in_and_sees_the_host_key_of_user_data() {
    let found = tokio::process::Command::new("ssh").arg("-V").stderr(Stdio::null()).status().await;
    if !found.is_ok_and(|status| status.success()) {
        println!("NOT RUN: openssh_gets_in_and_sees_the_host_key_of_user_data (there is no `ssh` here)");
        return;
    }
    let (simulator, world) = start(Options::for_tests()).await;
    let client = client(&simulator);
    let key = with_key(&client).await;
    let host = SshKey::from_seed(&[4; 32]).expect("there is one");
    let id = launch(&client, json!({"user_data": user_data(&host, "true")})).await;
    ran(&world, &id).await;
    let address = world.machine(Vendor::Lambda, &id).expect("there is one").address;
    let dir = tempfile::tempdir().expect("there is one");
    let (identity, hosts) = (dir.path().join("key"), dir.path().join("hosts"));
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(&identity, key.private().expect("there is one").expose_secret())
            .expect("there is one");
        std::fs::set_permissions(&identity, std::fs::Permissions::from_mode(0o600)).expect("there is one");
    }
    std::fs::write(&hosts, format!("[{address}]:{} {}\n", world.ssh_port(), host.public()))
        .expect("there is one");
    let run = |user: &str, command: &str| {
        let mut ssh = tokio::process::Command::new("ssh");
        ssh.args([
            "-F",
            "none",
            "-T",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=yes",
            "-o",
            "LogLevel=ERROR",
        ])
        .args(["-o", "IdentitiesOnly=yes", "-o", "ConnectionAttempts=20", "-o", "GlobalKnownHostsFile=none"])
        .arg("-o")
        .arg(format!("UserKnownHostsFile={}", hosts.display()))
        .arg("-i")
        .arg(&identity)
        .args(["-p", &world.ssh_port().to_string(), &format!("{user}@{address}"), command])
        .stdin(Stdio::null());
        ssh
    };
    let done = run("ubuntu", "cat notes/one; echo problem >&2; exit 7").output().await.expect("there is one");
    assert_eq!(done.stdout, b"written\n", "{done:?}");
    assert_eq!((done.status.code(), done.stderr.as_slice()), (Some(7), b"problem\n".as_slice()));
    assert!(!run("root", "true").output().await.expect("there is one").status.success());
    gone(&world, &client, &id).await;
    simulator.stop().await;
}
