//! Everything that went over the wire against RunPod's own document.

use serde_json::Value;
use trainyard_connector::{Connector, ProvisionOrder, RegistryLogin};
use trainyard_domain::Resources;

use crate::openapi::{Exchange, Spec};
use crate::rig::{Rig, any, new_order};

trainyard_testkit::program_tests![requests_and_answers_are_in_runpods_document];

async fn requests_and_answers_are_in_runpods_document() {
    let Some(spec) = Spec::load("runpod", "runpod-openapi.json") else { return };
    let rig = Rig::usual().await;
    let resources = Resources { regions: vec!["US".to_owned()], ..any() };
    let offer = rig.connector.offers(&resources).await.unwrap().into_iter().next();
    let login = RegistryLogin { username: "me".to_owned(), password: "hush".to_owned().into() };
    let order = ProvisionOrder { name: new_order(), resources, offer, image: None, registry: Some(login) };
    let placed = rig.provision(&order).await.unwrap();
    rig.until_up(&order).await;
    rig.connector.observe(&order.name, &placed.id).await.unwrap();
    rig.connector.machine_log(&order.name, &placed.id, None).await.unwrap();
    rig.connector.account().await.unwrap();
    rig.connector.terminate(&order.name, &placed.id).await.unwrap();
    rig.until_phase(&order, |phase| phase.is_none()).await;
    rig.connector.terminate(&order.name, &placed.id).await.unwrap();
    rig.connector.observe(&order.name, &placed.id).await.unwrap();
    rig.connector.bill(&order.name, &placed.id).await.unwrap();
    let exchanges: Vec<Exchange> = rig.world.tape().into_iter().filter_map(exchange).collect();
    assert!(exchanges.len() > 10, "{}", exchanges.len());
    let problems = spec.check(&exchanges);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    println!("  {} exchanges", exchanges.len());
    rig.end().await;
}

fn exchange(kept: trainyard_simulator::world::Exchange) -> Option<Exchange> {
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
    let url = reqwest::Url::parse(&format!("http://sim/?{}", kept.query)).ok()?;
    Some(Exchange {
        method: kept.method,
        path: kept.path,
        query: url.query_pairs().into_owned().collect(),
        body: json(&kept.body),
        status: kept.status?,
        answer: kept.answer.as_ref().and_then(|answer| json(answer)),
    })
}
