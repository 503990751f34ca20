//! Who may command an agent. That time, boot and body are covered is tested beside the check itself.

use std::io::{Read, Write};
use std::net::TcpStream;

use trainyard_agent::{AgentClient, SigningKey};
use trainyard_connector::{Effect, ErrorKind, Workload};

use crate::rig::{Rig, key, new_order};

trainyard_testkit::program_tests![
    only_the_greeting_is_unsigned,
    another_key_is_refused,
    a_client_of_another_order_is_told,
    an_agent_that_is_not_there_has_no_effect,
    a_large_body_without_a_signature_is_not_read,
];

fn ask(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

async fn only_the_greeting_is_unsigned() {
    let rig = Rig::new();
    let head = "HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert!(ask(rig.port, &format!("GET /v1/hello {head}")).starts_with("HTTP/1.1 200"));
    for target in ["GET /v1/state", "POST /v1/release", "GET /v1/log", "GET /", "PUT /v1/hello"] {
        let answer = ask(rig.port, &format!("{target} {head}"));
        assert!(answer.starts_with("HTTP/1.1 401") && answer.contains(r#""code":"unsigned""#), "{answer}");
    }
}

async fn another_key_is_refused() {
    let rig = Rig::new();
    let other = SigningKey::from_seed([4; 32]).unwrap();
    let client =
        AgentClient::new(&format!("http://127.0.0.1:{}", rig.port), other, rig.order.clone()).unwrap();
    let error = client.release().await.unwrap_err();
    assert_eq!((error.kind, error.effect), (ErrorKind::Unauthorized, Effect::None));
    assert!(rig.root().exists());
}

async fn a_client_of_another_order_is_told() {
    let rig = Rig::new();
    let client = AgentClient::new(&format!("http://127.0.0.1:{}", rig.port), key(), new_order()).unwrap();
    assert_eq!(client.state().await.unwrap_err().kind, ErrorKind::NotFound);
}

async fn an_agent_that_is_not_there_has_no_effect() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let client = AgentClient::new(&format!("http://127.0.0.1:{port}"), key(), new_order()).unwrap();
    let error = client.state().await.unwrap_err();
    assert_eq!((error.kind, error.effect), (ErrorKind::Unreachable, Effect::None));
}

async fn a_large_body_without_a_signature_is_not_read() {
    let rig = Rig::new();
    let mut stream = TcpStream::connect(("127.0.0.1", rig.port)).unwrap();
    write!(stream, "PUT /v1/inputs/x HTTP/1.1\r\nHost: x\r\nContent-Length: 30000000\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 401");
}
