//! What comes out: the log and the manifest.

use std::time::{Duration, Instant};

use trainyard_connector::{ErrorKind, Manifest, Workload};

use crate::rig::{Rig, command, digest, shell, until};

trainyard_testkit::program_tests![
    secrets_are_masked_also_in_pieces,
    a_megabyte_line_is_cut,
    a_progress_bar_is_a_few_lines,
    a_log_is_read_by_offset,
    much_output_is_all_there,
    a_manifest_has_the_digests,
    a_manifest_waits_for_the_end,
];

async fn secrets_are_masked_also_in_pieces() {
    let rig = Rig::new();
    let script = "import os,time\nt=os.environ['HF_TOKEN']\nfor c in 'token '+t+'\\n':\n os.write(1,c.encode()); \
                  time.sleep(0.005)\nprint('again',t,t)";
    let mut order = command(&["python3", "-c", script]);
    order.secrets.insert("HF_TOKEN".parse().unwrap(), "hf_abcdefghij".to_owned().into());
    rig.client.start(&order).await.unwrap();
    assert_eq!(rig.exit().await.code, 0);
    assert_eq!(rig.log().await, "token ***\nagain *** ***\n");
    for file in ["spec.json", "events.jsonl", "log"] {
        let text = std::fs::read_to_string(rig.root().join(file)).unwrap();
        assert!(!text.contains("hf_abcdefghij"), "{file}");
    }
}

async fn a_megabyte_line_is_cut() {
    let rig = Rig::new();
    rig.client.start(&command(&["python3", "-c", "print('x'*(1<<20)); print('end')"])).await.unwrap();
    rig.exit().await;
    let log = rig.log().await;
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].len() < (64 << 10) + 40 && lines[0].ends_with(" more bytes]"));
    assert_eq!(lines[1], "end");
}

async fn a_progress_bar_is_a_few_lines() {
    let rig = Rig::new();
    let script = "import sys\nfor i in range(5001): sys.stderr.write('\\r%3d%%|###| %d/5000' % (i//50, i))\n\
                  sys.stderr.write('\\n')";
    rig.client.start(&command(&["python3", "-c", script])).await.unwrap();
    rig.exit().await;
    let log = rig.log().await;
    assert!(log.starts_with("  0%|###| 0/5000\n") && log.ends_with("100%|###| 5000/5000\n"), "{log}");
    assert!(log.lines().count() < 10, "{log}");
}

async fn a_log_is_read_by_offset() {
    let rig = Rig::new();
    rig.run("echo 0123456789").await;
    rig.exit().await;
    assert_eq!(&rig.client.log(3, 4).await.unwrap()[..], b"3456");
    assert_eq!(&rig.client.log(9, 100).await.unwrap()[..], b"9\n");
    assert_eq!(&rig.client.log(99, 100).await.unwrap()[..], b"");
}

async fn much_output_is_all_there() {
    let rig = Rig::new();
    let begin = Instant::now();
    rig.client.start(&command(&["seq", "1", "1000000"])).await.unwrap();
    rig.exit().await;
    println!("a million lines in {} ms", begin.elapsed().as_millis());
    let mut log = Vec::new();
    loop {
        let piece = rig.client.log(log.len() as u64, 1 << 20).await.unwrap();
        if piece.is_empty() {
            break;
        }
        log.extend_from_slice(&piece);
    }
    let expected: String = (1..=1_000_000).map(|i| format!("{i}\n")).collect();
    assert!(log == expected.as_bytes());
    assert!(rig.events().await.len() < 1000, "events about the log are few");
}

async fn manifest(rig: &Rig) -> Manifest {
    let mut found = None;
    until("the manifest", async || {
        found = rig.client.manifest(Duration::from_secs(5)).await.unwrap();
        found.is_some()
    })
    .await;
    found.unwrap()
}

async fn a_manifest_has_the_digests() {
    let rig = Rig::new();
    let mut order = shell(
        "cd $TRAINYARD_OUTPUT_DIR; mkdir -p checkpoint-5 'a b'; printf weights > adapter_model.safetensors; \
         printf x > checkpoint-5/y; printf c > 'a b/c&d=é'; ln -s /etc/passwd passwd; mkfifo pipe; printf t > note.tmp",
    );
    order.spec.outputs.exclude.push("*.tmp".to_owned());
    rig.client.start(&order).await.unwrap();
    assert_eq!(rig.exit().await.code, 0);
    let manifest = manifest(&rig).await;
    let files: Vec<(&str, u64)> =
        manifest.files.iter().map(|file| (file.path.as_str(), file.size_bytes)).collect();
    assert_eq!(files, [("a b/c&d=é", 1), ("adapter_model.safetensors", 7)]);
    assert_eq!(manifest.files[1].sha256, digest(b"weights"));
    assert_eq!(manifest.skipped.len(), 2, "{:?}", manifest.skipped);
    assert_eq!(&rig.client.file("adapter_model.safetensors", 2, 3).await.unwrap()[..], b"igh");
    assert_eq!(&rig.client.file("a b/c&d=é", 0, 100).await.unwrap()[..], b"c");
    for outside in ["passwd", "../spec.json", "checkpoint-5/y", "/etc/passwd"] {
        let error = rig.client.file(outside, 0, 100).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound, "{outside}");
    }
}

async fn a_manifest_waits_for_the_end() {
    let rig = Rig::new();
    rig.run("sleep 60").await;
    assert_eq!(rig.client.manifest(Duration::from_millis(10)).await.unwrap(), None);
    rig.client.stop(Duration::ZERO).await.unwrap();
    rig.exit().await;
    assert!(manifest(&rig).await.files.is_empty());
}
