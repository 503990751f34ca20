//! The HTTP client against a server that misbehaves byte by byte: what was sent, how often, and what is told of it.

#![expect(clippy::expect_used, reason = "a test stops at the first thing that is not as it must be")]

mod faults;
mod limits;
mod secrets;
mod server;

use std::time::Duration;

use secrecy::SecretString;
use serde_json::json;
use server::Server;
use trainyard_connector::ConnectorError;
use trainyard_connector::http::{Answer, Auth, Call, HttpClient, HttpConfig, Method, Repeat};

/// Long enough that no call of a healthy test comes near it.
const AMPLE: Duration = Duration::from_secs(20);

/// A key of its own for every server, so that no test waits for another's turn.
fn config(url: &str) -> HttpConfig {
    let auth = Auth::Bearer(SecretString::from("key-that-nobody-may-see"));
    HttpConfig { within: AMPLE, ..HttpConfig::new("a-cloud".parse().expect("a name"), url, auth) }
}

fn client(server: &Server) -> HttpClient {
    HttpClient::new(config(&server.url)).expect("a client")
}

/// Answers everything within that time or not at all.
fn hasty(server: &Server, within: Duration) -> HttpClient {
    HttpClient::new(HttpConfig { within, ..config(&server.url) }).expect("a client")
}

fn order() -> Call {
    let call = Call::new("order", Method::POST, "/pods", Repeat::Never);
    Call { body: Some(json!({"name": "one"})), ..call }
}

fn list() -> Call {
    Call::get("list", "/pods")
}

fn remove() -> Call {
    Call::new("remove", Method::DELETE, "/pods/1", Repeat::Freely)
}

fn failed(result: Result<Answer, ConnectorError>) -> ConnectorError {
    result.expect_err("a failure")
}
