//! Volumes of a vendor: what one machine cached, the next one has.

use serde_json::{Value, json};
use trainyard_simulator::Options;
use trainyard_tests::Http;

use crate::yard::{Clouds, Yard, list, placed, sh};

/// What a vendor's key makes there.
fn make(clouds: &Clouds, vendor: &str, path: &str, body: &Value) -> Value {
    let environment = clouds.environment();
    let value = |name: &str| {
        let found = environment.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.clone()).expect("the simulator tells it")
    };
    let url = value(&format!("TRAINYARD_{vendor}_URL"));
    let (host, below) = url.trim_start_matches("http://").split_once('/').unwrap_or((&url, ""));
    let http = Http::to(host.trim_start_matches("http://")).bearing(&value(&format!("{vendor}_API_KEY")));
    let at = if below.is_empty() { path.to_owned() } else { format!("/{below}{path}") };
    // RunPod's network lets nobody in who does not say what it is.
    let answer = http.call("POST", &at).header("user-agent", "tests").json(body).send();
    assert!(answer.status == 200 || answer.status == 201, "{} {}", answer.status, answer.text());
    answer.json()
}

/// Two jobs on two machines, one after the other; the second reads what the first cached, and stands where the volume is.
fn the_second_machine_has_it(yard: &Yard, provider: &str, region: &str) {
    yard.create("first", &sh("mkdir -p \"$HF_HOME\" && echo from-before > \"$HF_HOME/model\""));
    yard.submit("first", provider).ok(200);
    yard.await_state("first", "completed");
    yard.await_gone("first");
    yard.create("second", &sh("cat \"$HF_HOME/model\"; echo \"$UV_CACHE_DIR $PIP_CACHE_DIR\""));
    yard.submit("second", provider).ok(200);
    yard.await_state("second", "completed");
    assert!(yard.log("second").contains("from-before"), "{}", yard.log("second"));
    for job in ["first", "second"] {
        let job = yard.await_gone(job);
        let attempts = placed(&job);
        assert_eq!(attempts.len(), 1, "{job}");
        assert_eq!(attempts[0]["offer"]["region"], region, "{job}");
    }
}

#[test]
fn a_network_volume_of_runpod_outlives_its_pods() {
    let clouds = Clouds::with(Options::for_tests());
    let volume = json!({"name": "caches", "size": 50, "dataCenter": "EU-RO-1"});
    let volume = make(&clouds, "RUNPOD", "/v2/network-volumes", &volume);
    let id = volume["id"].as_str().expect("an id");
    // The community's hosts have no volumes: their offers are left out.
    let variables =
        [("TRAINYARD_RUNPOD_NETWORK_VOLUME", Some(id)), ("TRAINYARD_RUNPOD_COMMUNITY", Some("true"))];
    let yard = Yard::over(clouds, &variables);
    let offers = yard.http.get("/api/training/offers").ok(200);
    let ours = list(&offers["offers"]).iter().filter(|offer| offer["provider"] == "runpod");
    let regions: Vec<&Value> = ours.map(|offer| &offer["region"]).collect();
    assert!(!regions.is_empty() && regions.iter().all(|region| *region == "EU-RO-1"), "{offers}");
    the_second_machine_has_it(&yard, "runpod", "EU-RO-1");
}

#[test]
fn a_file_system_of_lambda_outlives_its_machines() {
    let clouds = Clouds::with(Options::for_tests());
    let wanted = json!({"name": "models", "region": "us-west-1"});
    make(&clouds, "LAMBDA", "/filesystems", &wanted);
    let yard = Yard::over(clouds, &[("TRAINYARD_LAMBDA_FILE_SYSTEM", Some("models"))]);
    the_second_machine_has_it(&yard, "lambda", "us-west-1");
}

#[test]
fn a_volume_that_is_not_there_is_told_and_nothing_is_rented() {
    let variables = [
        ("TRAINYARD_RUNPOD_NETWORK_VOLUME", Some("nowhere")),
        ("TRAINYARD_LAMBDA_FILE_SYSTEM", Some("nowhere")),
    ];
    let yard = Yard::with(Options::for_tests(), &variables);
    for (provider, key) in [("runpod", "network_volume"), ("lambda", "file_system")] {
        yard.create(provider, &sh("true"));
        let refused = yard.submit(provider, provider);
        assert_eq!(refused.status, 400, "{}", refused.text());
        let error = refused.json();
        let detail = error["detail"].to_string();
        assert!(detail.contains(&format!("providers.{provider}.{key}")), "{detail}");
    }
    yard.world().assert_empty();
}
