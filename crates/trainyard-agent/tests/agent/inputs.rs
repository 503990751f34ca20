//! What is handed over.

use std::io::Write;

use trainyard_connector::{ErrorKind, HandOver, HandOverPurpose, InputSource, TrainingState, Workload};

use crate::rig::{Rig, digest, shell};

trainyard_testkit::program_tests![
    an_input_goes_on_where_it_broke_off,
    an_input_with_another_digest_is_refused,
    inputs_and_code_are_in_place,
    code_that_leads_outside_is_refused,
    a_start_without_its_code_is_refused,
    a_setup_command_waits_for_what_is_handed_over,
    an_empty_input_is_one,
];

async fn an_input_goes_on_where_it_broke_off() {
    let rig = Rig::new();
    let bytes: Vec<u8> = (0..40_000_000_u32).map(|i| (i * 31 % 251) as u8).collect();
    let input = rig.input(&bytes);
    // What an earlier try left: the agent has the first part of it.
    let dir = rig.root().join("inputs");
    rig.client.greet().await.unwrap();
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join(format!("{}.part", input.sha256)), &bytes[..12_345_678]).unwrap();
    rig.client.put_input(&input).await.unwrap();
    assert_eq!(std::fs::read(dir.join(input.sha256.to_string())).unwrap(), bytes);
    // Known by its digest: the file here is not needed any more.
    std::fs::remove_file(&input.path).unwrap();
    rig.client.put_input(&input).await.unwrap();
}

async fn an_input_with_another_digest_is_refused() {
    let rig = Rig::new();
    let input = InputSource { sha256: digest(b"other"), ..rig.input(b"bytes") };
    assert_eq!(rig.client.put_input(&input).await.unwrap_err().kind, ErrorKind::Mismatch);
}

pub(crate) fn archive(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_mode(0o755);
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content.as_bytes()).unwrap();
    }
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&builder.into_inner().unwrap()).unwrap();
    gz.finish().unwrap()
}

async fn inputs_and_code_are_in_place() {
    let rig = Rig::new();
    let mut order =
        shell("sh main.sh; cat $TRAINYARD_DATASET $TRAINYARD_EVAL_DATASET $TRAINYARD_INPUT_DIR/sub/file");
    order.spec.trainer.workdir = Some("src".to_owned());
    let parts = [
        (archive(&[("src/main.sh", "echo from the code")]), HandOverPurpose::Code),
        (b"data\n".to_vec(), HandOverPurpose::Dataset),
        (b"held out\n".to_vec(), HandOverPurpose::EvalDataset),
        (b"file\n".to_vec(), HandOverPurpose::File("sub/file".to_owned())),
    ];
    for (bytes, purpose) in parts {
        let input = rig.input(&bytes);
        rig.client.put_input(&input).await.unwrap();
        order.inputs.push(HandOver { sha256: input.sha256, purpose });
    }
    rig.client.start(&order).await.unwrap();
    rig.exit().await;
    assert_eq!(rig.log().await, "from the code\ndata\nheld out\nfile\n");
}

async fn code_that_leads_outside_is_refused() {
    let rig = Rig::new();
    let input = rig.input(&archive(&[("../evil", "x")]));
    rig.client.put_input(&input).await.unwrap();
    let mut order = shell("echo ran");
    order.inputs.push(HandOver { sha256: input.sha256, purpose: HandOverPurpose::Code });
    rig.client.start(&order).await.unwrap();
    let exit = rig.exit().await;
    assert_eq!(exit.code, 125);
    assert!(exit.note.unwrap().contains("leads outside"));
    assert!(!rig.root().join("evil").exists());
    assert_eq!(rig.log().await, "");
}

async fn a_start_without_its_code_is_refused() {
    let rig = Rig::new();
    let mut order = shell("echo ran");
    order.inputs.push(HandOver { sha256: digest(b"not there"), purpose: HandOverPurpose::Code });
    assert_eq!(rig.client.start(&order).await.unwrap_err().kind, ErrorKind::Invalid);
    assert_eq!(rig.client.state().await.unwrap().attempt, None);
    order.inputs[0].purpose = HandOverPurpose::File("../outside".to_owned());
    let input = rig.input(b"not there");
    rig.client.put_input(&input).await.unwrap();
    assert_eq!(rig.client.start(&order).await.unwrap_err().kind, ErrorKind::Invalid);
}

async fn a_setup_command_waits_for_what_is_handed_over() {
    let rig = Rig::new();
    let input = rig.input(b"data\n");
    let mut order = shell("cat $TRAINYARD_DATASET");
    order.spec.environment.setup.push("cat $TRAINYARD_DATASET; echo prepared".to_owned());
    order.inputs.push(HandOver { sha256: input.sha256, purpose: HandOverPurpose::Dataset });
    assert_eq!(rig.client.start(&order).await.unwrap().training, TrainingState::Preparing);
    rig.client.put_input(&input).await.unwrap();
    assert_eq!(rig.exit().await.code, 0);
    let log = rig.log().await;
    assert!(log.contains("data\nprepared\n") && log.ends_with("data\n"), "{log}");
}

async fn an_empty_input_is_one() {
    let rig = Rig::new();
    let input = rig.input(b"");
    rig.client.put_input(&input).await.unwrap();
    let mut order = shell("wc -c < $TRAINYARD_DATASET");
    order.inputs.push(HandOver { sha256: input.sha256, purpose: HandOverPurpose::Dataset });
    rig.client.start(&order).await.unwrap();
    rig.exit().await;
    assert_eq!(rig.log().await.trim(), "0");
}
