//! Creates as clients make them, over HTTP.

use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use tokio::task::JoinSet;

use super::creates::{CLIENTS, bare_texts};
use crate::Fault;
use crate::bench::Bench;
use crate::floor::BareSqlite;
use crate::product::Server;
use crate::stats::{Sample, rate};
use crate::table::{Amount, Figure};

const ROUNDS: usize = 5;
const ALONE: usize = 100;
const EACH: usize = 20;

pub(super) async fn measure(bench: &Bench) -> Result<Vec<Figure>, Fault> {
    let server = Arc::new(Server::start(bench)?);
    let mut bare = BareSqlite::open(&server.dir().join("bare.db")).await?;
    let (body, spec) = bare_texts()?;
    let [mut alone, mut many, mut floor_alone, mut floor_many] = std::array::from_fn(|_| Sample::default());
    for _ in 0..ROUNDS {
        let from = Instant::now();
        for _ in 0..ALONE {
            bare.insert(1, &body, &spec).await?;
        }
        floor_alone.push(rate(ALONE, from.elapsed()));

        let from = Instant::now();
        for _ in 0..ALONE {
            server.create(&json!({"model_name": "trainyard-tiny"})).await?;
        }
        alone.push(rate(ALONE, from.elapsed()));

        let from = Instant::now();
        for _ in 0..EACH {
            bare.insert(CLIENTS, &body, &spec).await?;
        }
        floor_many.push(rate(EACH * CLIENTS, from.elapsed()));

        let from = Instant::now();
        at_once(&server).await?;
        many.push(rate(EACH * CLIENTS, from.elapsed()));
    }
    Ok(vec![
        Figure::new(
            "http-create-1",
            "jobs created by one client, POST /jobs",
            Amount::per_second(alone.p50()),
        )
        .floor("bare SQLite, as for create-1", Amount::per_second(floor_alone.p50())),
        Figure::new("http-create-64", "the same by 64 clients at once", Amount::per_second(many.p50()))
            .floor("bare SQLite, as for create-64", Amount::per_second(floor_many.p50())),
    ])
}

async fn at_once(server: &Arc<Server>) -> Result<(), Fault> {
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let server = Arc::clone(server);
        clients.spawn(async move {
            for _ in 0..EACH {
                server.create(&json!({"model_name": "trainyard-tiny"})).await?;
            }
            Ok::<(), Fault>(())
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    Ok(())
}
