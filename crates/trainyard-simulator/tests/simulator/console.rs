//! `/world`, and RunPod's proxy, over HTTP.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use trainyard_simulator::faults::{Canned, Fault, Rule};
use trainyard_simulator::world::OfferOrder;
use trainyard_simulator::{Options, Order, Phase, Vendor};

use super::rig::{create, json as ask, line, options, order, place, raw, running, start, until};

#[tokio::test]
async fn the_truth_is_told_and_a_machine_deleted() {
    let (simulator, world) = start(Options { speed: 0.0, ..options() }).await;
    let machine = place(&world, Vendor::Runpod, "echo printed; sleep 1030");
    line(&machine, "printed").await;
    world.clock().step(Duration::from_secs(36));
    let (status, truth) = ask(&simulator, "GET", "/world", "").await;
    assert_eq!(status, 200);
    let shown = &truth["machines"][0];
    assert_eq!(shown["id"], json!(machine.id));
    assert_eq!((&shown["alive"], &shown["phase"]), (&json!(true), &json!("running")));
    assert_eq!(shown["invoice"]["gpu"], json!("0.01"));
    assert_eq!(truth["bills"]["vastai"], json!("0"));
    let (_, log) = ask(&simulator, "GET", &format!("/world/machines/{}/log", machine.id), "").await;
    assert!(log.as_array().unwrap().iter().any(|line| line["text"] == "printed"));
    let (status, _) = ask(&simulator, "DELETE", &format!("/world/machines/{}", machine.id), "").await;
    assert_eq!(status, 200);
    until(&world, &machine, |it| it.phase == Phase::Gone).await;
    let (status, _) = ask(&simulator, "DELETE", &format!("/world/machines/{}", machine.id), "").await;
    assert_eq!(status, 404);
    simulator.stop().await;
}

#[tokio::test]
async fn faults_clock_stock_and_accounts_are_set() {
    let (simulator, world) = start(options()).await;
    let plan = r#"{"seed": 3, "rules": [{"vendor": "runpod", "fault": "drop_before"}]}"#;
    assert_eq!(ask(&simulator, "PUT", "/world/faults", plan).await.0, 200);
    assert_eq!(raw(&simulator, "GET", "/runpod/v2/x", "").await, "");
    let (_, shown) = ask(&simulator, "GET", "/world/faults", "").await;
    assert_eq!((&shown["seed"], &shown["struck"]), (&json!(3), &json!([1])));
    assert_eq!(ask(&simulator, "DELETE", "/world/faults", "").await.0, 200);
    assert_ne!(raw(&simulator, "GET", "/runpod/v2/x", "").await, "");
    assert_eq!(ask(&simulator, "PUT", "/world/faults", r#"{"rules": [{"fault": "x"}]}"#).await.0, 400);
    let (_, clock) = ask(&simulator, "PUT", "/world/clock", r#"{"speed": 0, "step_s": 1000000}"#).await;
    assert_eq!(clock["speed"], json!(0.0));
    let (status, _) = ask(&simulator, "PUT", "/world/offers/lambda/the-offer", r#"{"left": 0}"#).await;
    assert_eq!((status, world.offers(Vendor::Lambda)[0].left), (200, 0));
    assert!(world.set_offer(
        Vendor::Lambda,
        "the-offer",
        OfferOrder { left: Some(1), ..OfferOrder::default() }
    ));
    let (_, offers) = ask(&simulator, "GET", "/world/offers/lambda", "").await;
    assert_eq!(offers[0]["left"], json!(1));
    assert_eq!(ask(&simulator, "PUT", "/world/accounts/vastai", r#"{"credit": "0"}"#).await.0, 200);
    assert_eq!(world.account(Vendor::Vastai).credit, "0".parse().ok());
    for path in ["/", "/world/nothing", "/world/offers/nobody", "/nobody/x"] {
        assert!(raw(&simulator, "GET", path, "").await.starts_with("HTTP/1.1 404"), "{path}");
    }
    let lines = simulator.environment_lines();
    assert!(
        lines.contains(&format!("export TRAINYARD_LAMBDA_URL='{}/lambda'", simulator.url())),
        "{lines:?}"
    );
    simulator.stop().await;
}

#[tokio::test]
async fn the_proxy_leads_to_a_port_of_a_pod() {
    let (simulator, world) = start(options()).await;
    let inside = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = inside.local_addr().unwrap().port();
    drop(inside);
    let ordered = Order { ports: vec![port], ..order(Vendor::Runpod, "sleep 1031") };
    let machine = world.place(&create(Vendor::Runpod, &[]), ordered).unwrap();
    running(&world, &machine).await;
    let path = format!("/proxy/{}/{port}/v1/hello?a=b%20c", machine.id);
    assert!(raw(&simulator, "GET", &path, "").await.starts_with("HTTP/1.1 502"), "nothing listens yet");
    let inside = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = inside.accept().await.unwrap();
        let mut bytes = vec![0; 4096];
        let mut read = 0;
        while !bytes[..read].ends_with(b"BODY") {
            read += stream.read(&mut bytes[read..]).await.unwrap();
        }
        stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nOK").await.unwrap();
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    });
    let answer = raw(&simulator, "PUT", &path, "BODY").await;
    assert!(answer.starts_with("HTTP/1.1 201") && answer.ends_with("OK"), "{answer}");
    assert!(serving.await.unwrap().starts_with("PUT /v1/hello?a=b%20c HTTP/1.1\r\n"));
    world.add_fault(Rule::once(Vendor::Runpod, "proxy_file", Fault::StatusBefore(Canned::status(520))));
    let file = format!("/proxy/{}/{port}/v1/file?path=x", machine.id);
    assert!(raw(&simulator, "GET", &file, "").await.starts_with("HTTP/1.1 520"));
    assert_eq!(world.count(Vendor::Runpod, "proxy_file").refused, 1);
    for path in ["/proxy/nopod/1/x", &format!("/proxy/{}/x/y", machine.id)] {
        assert!(raw(&simulator, "GET", path, "").await.starts_with("HTTP/1.1 404"), "{path}");
    }
    let other = format!("/proxy/{}/{}/x", machine.id, port - 1);
    assert!(raw(&simulator, "GET", &other, "").await.starts_with("HTTP/1.1 502"), "a port it does not have");
    world.explain(Vendor::Runpod, &machine.id).unwrap();
    simulator.stop().await;
}

#[tokio::test]
async fn a_download_takes_its_time() {
    let (simulator, world) = start(Options { speed: 1000.0, ..options() }).await;
    let begun = world.now();
    let answer = raw(&simulator, "GET", "/world/download?bytes=1000000&megabits=1", "").await;
    assert_eq!(answer.split_once("\r\n\r\n").unwrap().1.len(), 1_000_000);
    assert!((world.now() - begun).num_milliseconds() >= 8000, "eight megabits at one a second");
    assert!(raw(&simulator, "GET", "/world/download", "").await.starts_with("HTTP/1.1 400"));
    simulator.stop().await;
}

#[tokio::test]
async fn a_simulator_that_is_unplugged_refuses_connections() {
    let (mut simulator, world) = start(options()).await;
    let machine = place(&world, Vendor::Runpod, "sleep 1032");
    simulator.unplug().await;
    assert!(tokio::net::TcpStream::connect(simulator.addr()).await.is_err());
    simulator.plug().await.unwrap();
    assert_eq!(ask(&simulator, "GET", "/world", "").await.0, 200);
    world.explain(Vendor::Runpod, &machine.id).unwrap();
    simulator.stop().await;
}
