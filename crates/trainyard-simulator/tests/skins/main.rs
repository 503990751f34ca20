//! The three skins on the wire: what a vendor's client would see, and whether the vendor's own document allows it.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test stops at the first thing that is not as it must be, and says what it did not run"
)]

mod lambda;
#[path = "../openapi/mod.rs"]
mod openapi;
mod rig;
mod runpod;
mod vastai;
mod vastai_cli;
#[path = "../openapi/yaml.rs"]
mod yaml;

use serde_json::json;

use openapi::{Exchange, Spec};

#[test]
fn a_document_refuses_what_it_does_not_know() {
    let Some(spec) = Spec::load("runpod", "runpod-openapi.json") else { return };
    let ask = |method: &str, path: &str, query: &[(&str, &str)], body: Option<serde_json::Value>| {
        let query = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let exchange = Exchange {
            method: method.to_owned(),
            path: path.to_owned(),
            query,
            body,
            status: 429,
            answer: None,
        };
        spec.check(&[exchange]).join("; ")
    };
    let gpu = json!({"id": "NVIDIA L4", "count": 1});
    assert_eq!(ask("POST", "/v2/pods", &[], Some(json!({"name": "x", "image": "y", "gpu": gpu}))), "");
    assert!(ask("POST", "/v2/pods", &[], Some(json!({"name": "x", "bogus": 1}))).contains("$.bogus"));
    assert!(ask("POST", "/v2/pods", &[], Some(json!({"name": "x", "gpu": {"count": 0}}))).contains("$.gpu"));
    assert!(ask("GET", "/v2/pods", &[("colour", "red")], None).contains("colour"));
    assert!(ask("PUT", "/v2/pods", &[], None).contains("no such method"));
    assert!(ask("GET", "/v2/nothing", &[], None).contains("no such path"));
    assert_eq!(ask("GET", "/v2/catalog/gpus", &[("count", "2"), ("product", "POD")], None), "");
}
