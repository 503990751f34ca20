//! What well-known trainers print and leave, as far as it is read: their curves, progress, checkpoints and artifacts.
//! The recordings are in `tests/fixtures`; each is played by a program that knows nothing of us.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use trainyard_connector::{AgentEvent, AgentEventBody, Workload};

use crate::rig::{Rig, shell};

trainyard_testkit::program_tests![axolotl, llamafactory, trl, unsloth];

/// What is to be read from a recording.
#[derive(Deserialize)]
struct Expected {
    /// Step and loss of every logged point.
    loss: Vec<(u64, f64)>,
    total_steps: u64,
    /// What every logged point tells beside `epoch`.
    names: BTreeSet<String>,
    checkpoints: Vec<String>,
    main: String,
    artifact: Vec<String>,
}

/// Lays the files where the trainer would, below its working directory, and prints its output.
const PLAY: &str = r#"for d in "$F"/files/*; do cp -r "$d/." "$(basename "$d")/"; done; cat "$F/log.txt""#;

async fn axolotl() {
    check("axolotl").await;
}

async fn llamafactory() {
    check("llamafactory").await;
}

async fn trl() {
    check("trl").await;
}

async fn unsloth() {
    check("unsloth").await;
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

async fn check(name: &str) {
    let place = fixture(name);
    let expected = std::fs::read_to_string(place.join("expected.json")).unwrap();
    let expected: Expected = serde_json::from_str(&expected).unwrap();
    let rig = Rig::new();
    let mut order = shell(PLAY);
    order.spec.environment.env.insert("F".to_owned(), place.display().to_string());
    rig.client.start(&order).await.unwrap();
    assert_eq!(rig.exit().await.code, 0);

    let events = rig.events().await;
    check_points(name, &events, &expected);
    let furthest = events.iter().rev().find_map(|event| match &event.body {
        AgentEventBody::Progress(progress) => Some((progress.step, progress.total_steps)),
        _ => None,
    });
    assert_eq!(furthest, Some((Some(expected.total_steps), Some(expected.total_steps))), "{name}");

    let checkpoints = rig.client.checkpoints().await.unwrap();
    let paths: Vec<&str> = checkpoints.iter().map(|info| info.path.as_str()).collect();
    assert_eq!(paths, expected.checkpoints, "{name}");
    assert_eq!(checkpoints.last().unwrap().step, Some(expected.total_steps), "{name}");

    let manifest = rig.client.manifest(Duration::from_secs(20)).await.unwrap().unwrap();
    let files: Vec<&str> = manifest.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(files, expected.artifact, "{name}");
    assert!(files.contains(&expected.main.as_str()), "{name}");
    assert_eq!(manifest.skipped, Vec::<String>::new(), "{name}");
}

/// Every name of every step once, whichever source told it; printed values have four digits.
fn check_points(name: &str, events: &[AgentEvent], expected: &Expected) {
    let mut told: Vec<(u64, String, f64)> = Vec::new();
    for event in events {
        let AgentEventBody::Metrics(point) = &event.body else { continue };
        // The summary at the end stands for all steps.
        if point.is_system() || point.get("train_runtime").is_some() {
            continue;
        }
        let wanted = point.values.iter().filter(|(name, _)| expected.names.contains(*name));
        let Some(step) = point.step else {
            assert_eq!(wanted.count(), 0, "{name}: a point without its step: {point:?}");
            continue;
        };
        told.extend(wanted.map(|(name, value)| (step, name.clone(), value.0)));
    }
    let mut seen = BTreeSet::new();
    for (step, value, _) in &told {
        assert!(seen.insert((*step, value.clone())), "{name}: `{value}` of step {step} is told twice");
    }
    let all = expected.loss.iter().flat_map(|(step, _)| expected.names.iter().map(|n| (*step, n.clone())));
    assert_eq!(seen, all.collect(), "{name}");
    for (step, loss) in &expected.loss {
        let found = told.iter().find(|(at, value, _)| at == step && value == "loss").unwrap().2;
        assert!((found - loss).abs() <= loss.abs() * 1e-3, "{name}: {found} at step {step}, not {loss}");
    }
}
