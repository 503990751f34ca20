//! Providers, offers, the ledger, and what the server says of itself.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::yard::{Yard, endless, keys, list, moment, quick};

#[test]
fn providers_are_listed_configured_or_not() {
    let yard = Yard::new();
    let answer = yard.http.get("/api/training/providers").ok(200);
    let providers = list(&answer["providers"]);
    let names: BTreeSet<&str> = providers.iter().filter_map(|provider| provider["name"].as_str()).collect();
    assert_eq!(names, BTreeSet::from(["lambda", "local", "runpod", "vastai"]));
    for provider in providers {
        let documented = [
            "capabilities",
            "checked_at",
            "configured",
            "error",
            "how_to_configure",
            "limits",
            "name",
            "proven",
            "reachable",
            "slots",
            "unclaimed",
        ];
        assert_eq!(keys(provider), documented);
        let is_local = provider["name"] == "local";
        assert_eq!(
            (&provider["configured"], provider["how_to_configure"].is_null()),
            (&json!(is_local), is_local)
        );
    }
    let local = providers.iter().find(|provider| provider["name"] == "local").expect("`local`");
    assert_eq!(
        (&local["capabilities"]["pause"], &local["capabilities"]["costs"]),
        (&json!(true), &json!(false))
    );
    assert_eq!((&local["slots"], &local["reachable"]), (&json!({"used": 0, "total": 8}), &json!(true)));
    yard.run("job_1", &endless());
    let answer = yard.http.get("/api/training/providers").ok(200);
    let local =
        list(&answer["providers"]).iter().find(|provider| provider["name"] == "local").expect("`local`");
    assert_eq!(local["slots"]["used"], 1);
}

#[test]
fn there_are_no_offers_of_a_machine_that_costs_nothing() {
    let yard = Yard::new();
    let answer = yard.http.get(
        "/api/training/offers?gpu=H100&gpu_memory_gb=80&gpu_count=1&max_price=2.50&region=EU&spot=false",
    );
    let answer = answer.ok(200);
    assert_eq!((keys(&answer), &answer["offers"]), (vec!["offers", "providers"], &json!([])));
    assert_eq!(answer["providers"], json!([]), "`local` rents nothing out");
    for wrong in ["gpu_count=0", "gpu_count=x", "max_price=cheap", "spot=maybe", "gpu_memory_gb=-1"] {
        yard.http.get(&format!("/api/training/offers?{wrong}")).error(400, "invalid_parameter");
    }
}

#[test]
fn the_ledger_names_every_machine_and_what_proved_it_gone() {
    let yard = Yard::new();
    yard.complete("job_1", &quick());
    yard.await_released("job_1");
    yard.run("job_2", &endless());
    let answer = yard.http.get("/api/training/resources").ok(200);
    assert_eq!(keys(&answer), ["alarms", "budgets", "installation", "machines"]);
    let [live, gone] = list(&answer["machines"]).as_slice() else { panic!("{answer}") };
    assert_eq!(live["attempts"], json!([{"job_id": "job_2", "attempt": 1}]));
    assert_eq!(gone["attempts"], json!([{"job_id": "job_1", "attempt": 1}]));
    for machine in [live, gone] {
        assert_eq!(
            (&machine["provider"], &machine["installation"]),
            (&json!("local"), &answer["installation"])
        );
        assert_eq!(machine["cost"], json!({"amount": "0", "currency": "USD"}));
        let order = machine["order"].as_str().expect("an order");
        let begin = format!("ty-{}-", answer["installation"].as_str().expect("an installation"));
        assert!(order.starts_with(&begin) && order.len() <= 40, "{order}");
        moment(&machine["ordered_at"]);
    }
    assert!(live["gone_at"].is_null() && live["gone_proof"].is_null());
    moment(&gone["gone_at"]);
    assert!(gone["gone_proof"].as_str().is_some_and(|text| !text.is_empty()));
}

#[test]
fn the_server_says_how_it_is() {
    let yard = Yard::new();
    for path in ["/healthz", "/readyz"] {
        assert_eq!(yard.http.get(path).status, 200);
        assert_eq!(yard.http.call("HEAD", path).send().status, 200);
    }
    yard.complete("job_1", &quick());
    let metrics = yard.http.get("/metrics");
    assert_eq!(metrics.status, 200);
    assert!(metrics.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")));
    let text = metrics.text();
    assert!(text.contains("trainyard_http_requests_total{"), "{text}");
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let value = line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
        assert!(value.is_some(), "{line}");
    }
}

#[test]
fn dashboard_and_documentation_need_no_network() {
    let yard = Yard::new();
    let root = yard.http.get("/");
    assert_eq!(root.status, 200);
    assert!(root.header("content-type").is_some_and(|kind| kind.starts_with("text/html")));
    let mut page = yard.http.get("/docs");
    if (300..400).contains(&page.status) {
        page = yard.http.get(page.header("location").expect("a place"));
    }
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")));
    let html = root.text() + &page.text();
    for attribute in ["src=\"", "href=\""] {
        for link in html.split(attribute).skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(!link.starts_with("http") && !link.starts_with("//"), "{link} is not of this server");
            if link.starts_with("data:") {
                continue;
            }
            let path = match link.strip_prefix("./") {
                Some(rest) => format!("/docs/{rest}"),
                None if link.starts_with('/') => link.to_owned(),
                None => format!("/docs/{link}"),
            };
            assert_eq!(yard.http.get(&path).status, 200, "{link}");
        }
    }
}

/// Every call of the specification and of the contract's section 2.
const CALLS: [&str; 36] = [
    "get /api/training/jobs",
    "post /api/training/jobs",
    "get /api/training/jobs/{job_id}",
    "patch /api/training/jobs/{job_id}",
    "delete /api/training/jobs/{job_id}",
    "post /api/training/jobs/{job_id}/submit",
    "get /api/training/jobs/{job_id}/status",
    "post /api/training/jobs/{job_id}/cancel",
    "post /api/training/jobs/{job_id}/download-artifact",
    "post /api/training/jobs/{job_id}/verify-artifact",
    "get /api/training/jobs/{job_id}/artifact/{file}",
    "post /api/training/jobs/{job_id}/pause",
    "post /api/training/jobs/{job_id}/resume",
    "post /api/training/jobs/{job_id}/clone",
    "post /api/training/jobs/{job_id}/validate",
    "get /api/training/jobs/{job_id}/metrics",
    "get /api/training/jobs/{job_id}/logs",
    "get /api/training/jobs/{job_id}/events",
    "get /api/training/jobs/{job_id}/notifications",
    "post /api/training/estimates",
    "put /api/training/inputs/{sha256}",
    "head /api/training/inputs/{sha256}",
    "put /api/training/secrets/{name}",
    "delete /api/training/secrets/{name}",
    "get /api/training/secrets",
    "get /api/training/providers",
    "get /api/training/offers",
    "get /api/training/resources",
    "get /ws/training/jobs/{job_id}",
    "get /healthz",
    "get /readyz",
    "get /metrics",
    "get /openapi.json",
    "get /docs",
    "get /",
    "get /api/training/jobs/{job_id}/status",
];

#[test]
fn the_openapi_document_has_every_call_and_holds_together() {
    let yard = Yard::new();
    let document = yard.http.get("/openapi.json").ok(200);
    assert!(
        document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")),
        "{}",
        document["openapi"]
    );
    let mut called = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("`paths`") {
        for (method, operation) in item.as_object().expect("a path") {
            called.insert(format!("{method} {path}"));
            assert!(operation["responses"].as_object().is_some_and(|all| !all.is_empty()), "{method} {path}");
        }
    }
    for call in CALLS {
        let about_itself = ["get /openapi.json", "get /docs", "get /"].contains(&call);
        assert!(about_itself || called.contains(call), "{call} is missing");
    }
    for reference in references(&document) {
        let pointer = reference.strip_prefix('#').expect("a place in this document");
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            let own = fields.get("$ref").and_then(Value::as_str).map(str::to_owned);
            own.into_iter().chain(fields.values().flat_map(references)).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}
