//! Everything that went over the wire against Vast.ai's own document.

use serde_json::Value;
use trainyard_connector::Connector;

use crate::openapi::{Exchange, Spec};
use crate::rig::Rig;
use crate::yaml;

trainyard_testkit::program_tests![requests_and_answers_are_in_vasts_document];

async fn requests_and_answers_are_in_vasts_document() {
    let Some(spec) = Spec::load_by("vastai", "vastai-openapi.yaml", yaml::read) else { return };
    let rig = Rig::usual().await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    rig.until_up(&order).await;
    rig.connector.observe(&order.name, &placed.id).await.unwrap();
    rig.connector.machine_log(&order.name, &placed.id, None).await.unwrap();
    rig.connector.account().await.unwrap();
    assert!(rig.provision(&order).await.is_err(), "somebody has that offer: it is us");
    rig.connector.terminate(&order.name, &placed.id).await.unwrap();
    rig.until_phase(&order, |phase| phase.is_none()).await;
    rig.connector.terminate(&order.name, &placed.id).await.unwrap();
    rig.connector.observe(&order.name, &placed.id).await.unwrap();
    rig.connector.bill(&order.name, &placed.id).await.unwrap();
    let exchanges: Vec<Exchange> = rig.world.tape().iter().filter_map(exchange).collect();
    assert!(exchanges.len() > 12, "{}", exchanges.len());
    let problems = spec.check(&exchanges);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    println!("  {} exchanges", exchanges.len());
    rig.end().await;
}

/// As the document has it: without the slash at the end of paths. Logs are fetched from elsewhere, and the names of cards
/// are in no document.
fn exchange(kept: &trainyard_simulator::world::Exchange) -> Option<Exchange> {
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
    let known = kept.path.starts_with("/api/") && !kept.path.contains("gpu_names");
    let url = reqwest::Url::parse(&format!("http://sim/?{}", kept.query)).ok()?;
    known.then(|| Exchange {
        method: kept.method.clone(),
        path: kept.path.trim_end_matches('/').to_owned(),
        query: url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect(),
        body: json(&kept.body),
        status: kept.status.unwrap_or(599),
        answer: kept.answer.as_ref().and_then(|answer| json(answer)),
    })
}
