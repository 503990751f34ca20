//! Checkpoints: held while they are copied by range, and handed over for a training to go on from.

use std::time::Duration;

use trainyard_connector::{ErrorKind, HandOver, HandOverPurpose, TrainingState, Workload};

use crate::rig::{Rig, digest, shell, until};

trainyard_testkit::program_tests![
    one_that_is_held_is_copied_by_range_though_the_training_removes_it,
    one_that_was_handed_over_is_gone_on_from,
    one_whose_files_did_not_all_come_is_not_gone_on_from,
];

/// A file's bytes, so many.
fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 % 251) as u8).collect()
}

async fn one_that_is_held_is_copied_by_range_though_the_training_removes_it() {
    let rig = Rig::new();
    let model = bytes(100_000);
    std::fs::write(rig.own("model"), &model).unwrap();
    let script = format!(
        "cd $TRAINYARD_CHECKPOINT_DIR; for n in 1 2; do mkdir -p new/sub; cp {} new/sub/model; echo $n > new/step; \
         mv new checkpoint-$n; done; while [ ! -e {} ]; do sleep 0.02; done; rm -r checkpoint-1; echo gone > {}; sleep 60",
        rig.own_text("model"),
        rig.own_text("remove"),
        rig.own_text("removed")
    );
    rig.run(&script).await;
    until("both are complete", async || rig.client.checkpoints().await.unwrap().len() == 2).await;
    let held = rig.client.hold_checkpoint("checkpoint-1", Duration::from_secs(20)).await.unwrap().unwrap();
    std::fs::write(rig.own("remove"), "").unwrap();
    rig.told("removed").await;
    let paths: Vec<&str> = held.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!((held.name.as_str(), paths), ("checkpoint-1", vec!["step", "sub/model"]));
    let mut copied = Vec::new();
    while copied.len() < model.len() {
        let part = rig.client.checkpoint_file("checkpoint-1", "sub/model", copied.len() as u64, 7_000).await;
        let part = part.unwrap();
        assert!(!part.is_empty() && part.len() <= 7_000);
        copied.extend_from_slice(&part);
    }
    assert_eq!((digest(&copied), copied == model), (held.files[1].sha256, true));
    let kind =
        async |path: &str, file: &str| rig.client.checkpoint_file(path, file, 0, 10).await.unwrap_err().kind;
    assert_eq!(kind("checkpoint-1", "other").await, ErrorKind::NotFound);
    assert_eq!(kind("checkpoint-1", "../../key").await, ErrorKind::NotFound);
    assert_eq!(kind("checkpoint-2", "step").await, ErrorKind::NotFound, "it is not held");
    // Holding another one lets go of the first, of which nothing is left then.
    rig.client.hold_checkpoint("checkpoint-2", Duration::from_secs(20)).await.unwrap().unwrap();
    assert_eq!(kind("checkpoint-1", "step").await, ErrorKind::NotFound);
    assert_eq!(rig.client.checkpoint_file("checkpoint-2", "step", 0, 10).await.unwrap(), "2\n");
    // It may be listed for a moment more, and cannot be held.
    rig.client.hold_checkpoint("checkpoint-1", Duration::from_secs(20)).await.unwrap_err();
    rig.client.hold_checkpoint("checkpoint-2", Duration::from_secs(20)).await.unwrap().unwrap();
    rig.client.release_checkpoint("checkpoint-2").await.unwrap();
    assert!(!rig.root().join("held").exists(), "links hold the disk");
}

fn part_of(checkpoint: &str, path: &str, content: &[u8]) -> HandOver {
    let purpose = HandOverPurpose::Checkpoint { checkpoint: checkpoint.to_owned(), path: path.to_owned() };
    HandOver { sha256: digest(content), purpose }
}

async fn one_that_was_handed_over_is_gone_on_from() {
    let rig = Rig::new();
    let model = bytes(50_000);
    for content in [&model[..], b"7\n"] {
        rig.client.put_input(&rig.input(content)).await.unwrap();
    }
    let script = "cat $TRAINYARD_RESUME_FROM/step; cp $TRAINYARD_RESUME_FROM/sub/model $TRAINYARD_OUTPUT_DIR/model; \
                  basename $TRAINYARD_RESUME_FROM";
    let mut order = shell(script);
    order.inputs =
        vec![part_of("checkpoint-7", "step", b"7\n"), part_of("checkpoint-7", "sub/model", &model)];
    order.resume_from = Some("checkpoint-7".to_owned());
    rig.client.start(&order).await.unwrap();
    assert_eq!((rig.exit().await.code, rig.log().await.as_str()), (0, "7\ncheckpoint-7\n"));
    let manifest = rig.client.manifest(Duration::from_secs(20)).await.unwrap().unwrap();
    assert_eq!(manifest.files[0].sha256, digest(&model));
}

async fn one_whose_files_did_not_all_come_is_not_gone_on_from() {
    let rig = Rig::new();
    rig.client.put_input(&rig.input(b"7\n")).await.unwrap();
    let mut order = shell("echo trained");
    order.inputs =
        vec![part_of("checkpoint-7", "step", b"7\n"), part_of("checkpoint-7", "model", b"missing")];
    order.resume_from = Some("checkpoint-7".to_owned());
    let error = rig.client.start(&order).await.unwrap_err();
    assert!(error.to_string().contains("not handed over"), "{error}");
    for leads_out in ["../checkpoint-7", "/tmp/x"] {
        order.inputs = vec![part_of(leads_out, "step", b"7\n")];
        assert_eq!(rig.client.start(&order).await.unwrap_err().kind, ErrorKind::Invalid);
    }
    assert_eq!(rig.client.state().await.unwrap().training, TrainingState::Idle);
}
