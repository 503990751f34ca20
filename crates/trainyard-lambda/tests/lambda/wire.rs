//! Everything that went over the wire against Lambda's own document.

use serde_json::Value;
use trainyard_connector::Connector;
use trainyard_simulator::Vendor;

use crate::openapi::{Exchange, Spec};
use crate::rig::Rig;

trainyard_testkit::program_tests![requests_and_answers_are_in_lambdas_document];

async fn requests_and_answers_are_in_lambdas_document() {
    let Some(spec) = Spec::load("lambda", "lambda-openapi.json") else { return };
    let rig = Rig::usual().await;
    // Two: what may be left out is now missing and now null.
    for _ in 0..2 {
        let order = rig.order().await;
        let placed = rig.provision(&order).await.unwrap();
        rig.until_up(&order).await;
        rig.connector.observe(&order.name, &placed.id).await.unwrap();
        rig.connector.terminate(&order.name, &placed.id).await.unwrap();
        rig.until_phase(&order, |phase| phase == Some(trainyard_connector::MachinePhase::Gone)).await;
        rig.connector.terminate(&order.name, &placed.id).await.unwrap();
    }
    rig.connector.account().await.unwrap();
    for switch in ["account_inactive", "invalid_address", "quota"] {
        let order = rig.order().await;
        rig.switch("create", switch, Value::Null);
        assert!(rig.provision(&order).await.is_err());
    }
    let exchanges: Vec<Exchange> = rig.world.tape().iter().map(exchange).collect();
    assert!(exchanges.len() > 20 && exchanges.iter().all(|one| one.status < 500));
    let problems = spec.check(&exchanges);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    println!("  {} exchanges", exchanges.len());
    rig.end().await;
}

fn exchange(kept: &trainyard_simulator::world::Exchange) -> Exchange {
    assert_eq!(kept.vendor, Vendor::Lambda);
    let json = |bytes: &[u8]| serde_json::from_slice(bytes).ok();
    Exchange {
        method: kept.method.clone(),
        path: format!("/api/v1{}", kept.path),
        query: Vec::new(),
        body: json(&kept.body),
        status: kept.status.unwrap_or(599),
        answer: kept.answer.as_ref().and_then(|answer| json(answer)),
    }
}
