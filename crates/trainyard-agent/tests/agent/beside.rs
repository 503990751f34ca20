//! Commands beside a training.

use std::time::Duration;

use secrecy::SecretString;
use trainyard_connector::{ErrorKind, ExecOrder, ExecOutput, Workload};

use crate::rig::{Rig, shell, until};

trainyard_testkit::program_tests![
    a_command_runs_where_the_training_works,
    a_command_over_its_time_is_killed_with_its_descendants,
    a_command_that_is_not_there_is_told,
    a_failed_training_is_kept_until_it_is_released,
    nothing_runs_before_a_training_was_started,
];

async fn exec(rig: &Rig, words: &[&str], within_ms: u64) -> Result<ExecOutput, ErrorKind> {
    let argv = words.iter().map(|&word| word.to_owned()).collect();
    rig.client.exec(&ExecOrder { argv, within_ms }).await.map_err(|error| error.kind)
}

async fn a_command_runs_where_the_training_works() {
    let rig = Rig::new();
    let mut order = shell("echo here >file; while :; do sleep 1; done");
    order.secrets.insert("API_TOKEN".parse().unwrap(), SecretString::from("very-secret"));
    rig.client.start(&order).await.unwrap();
    rig.running().await;
    until("the training wrote", async || rig.root().join("work/file").exists()).await;
    let script =
        "cat file; echo $API_TOKEN $TRAINYARD_ATTEMPT ${RUNPOD_API_KEY:-none}; echo to stderr >&2; exit 3";
    let done = exec(&rig, &["sh", "-c", script], 5_000).await.unwrap();
    assert_eq!(
        done,
        ExecOutput { output: "here\n*** 1 none\nto stderr\n".to_owned(), cut: false, code: Some(3) }
    );
    let much = exec(&rig, &["sh", "-c", "yes | head -c 5000000; echo end"], 20_000).await.unwrap();
    assert!(much.cut && much.output.len() <= 1 << 20 && much.output.ends_with("end\n"));
    rig.client.stop(Duration::ZERO).await.unwrap();
}

async fn a_command_over_its_time_is_killed_with_its_descendants() {
    let rig = Rig::new();
    rig.run("while :; do sleep 1; done").await;
    rig.running().await;
    let script = format!("sh -c 'echo $$ >{}; while :; do sleep 1; done' & wait", rig.own_text("pid"));
    let done = exec(&rig, &["sh", "-c", &script], 500).await.unwrap();
    assert_eq!(done.code, None);
    assert!(!crate::rig::is_alive(&rig.told("pid").await));
}

async fn a_command_that_is_not_there_is_told() {
    let rig = Rig::new();
    rig.run("while :; do sleep 1; done").await;
    rig.running().await;
    assert_eq!(exec(&rig, &["no-such-program"], 1_000).await.unwrap_err(), ErrorKind::NotFound);
    assert_eq!(exec(&rig, &[], 1_000).await.unwrap_err(), ErrorKind::Invalid);
}

async fn a_failed_training_is_kept_until_it_is_released() {
    let rig = Rig::new();
    let mut order = shell("echo found >file; echo half >$TRAINYARD_OUTPUT_DIR/model; exit 1");
    order.spec.limits.hold_s = 0;
    order.spec.limits.hold_on_failure_s = 600;
    rig.client.start(&order).await.unwrap();
    assert_eq!(rig.exit().await.code, 1);
    // waits: longer than `hold_s`, and nobody calls meanwhile
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let done = exec(&rig, &["sh", "-c", "cat file $TRAINYARD_OUTPUT_DIR/model"], 5_000).await.unwrap();
    assert_eq!(done.output, "found\nhalf\n");
    rig.client.release().await.unwrap();
    until("it is gone", async || !rig.root().join("work").exists()).await;
}

async fn nothing_runs_before_a_training_was_started() {
    let rig = Rig::new();
    assert!(exec(&rig, &["true"], 1_000).await.is_err());
}
