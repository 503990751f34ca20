//! What an agent does by itself before a training: it looks at a rented machine and fetches what it fetches by itself.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use secrecy::SecretString;
use trainyard_connector::{AgentEventBody, HandOver, HandOverPurpose, SetupPhase, StartOrder, Workload};
use trainyard_domain::{Dataset, Source, TrainerKind};

use crate::rig::{Rig, shell};

trainyard_testkit::program_tests![
    a_rented_gpu_that_does_not_compute_is_the_machines_fault,
    a_machine_of_ones_own_is_not_looked_at,
    a_file_is_fetched_over_https,
    a_certificate_nobody_vouches_for_is_refused,
    a_repository_is_fetched_with_its_token,
    a_gated_repository_without_a_token_is_named,
    a_broken_connection_is_gone_on_with,
    what_is_not_there_is_named,
    a_stop_ends_a_fetch,
    a_failing_fetch_ends_the_installation,
];

/// What a test's server answers: by target, a status line and a body.
type Pages = BTreeMap<&'static str, (u16, Vec<u8>)>;

/// A server of the test's own, until the test ends.
struct Server {
    base: String,
    /// The targets asked for, with `+token` where a token came along.
    asked: Arc<Mutex<Vec<String>>>,
    /// The certificate, where it speaks TLS.
    pem: String,
}

fn serve(pages: Pages, tls: bool) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let pair = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&pair).unwrap();
    let text = base64::prelude::BASE64_STANDARD.encode(certificate.der());
    let lines: Vec<&str> =
        (0..text.len()).step_by(64).map(|at| &text[at..(at + 64).min(text.len())]).collect();
    let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"));
    let key = PrivateKeyDer::try_from(pair.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let (config, asked) = (Arc::new(config), Arc::new(Mutex::new(Vec::new())));
    let notes = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (pages, config, notes) = (pages.clone(), Arc::clone(&config), Arc::clone(&notes));
            std::thread::spawn(move || {
                if tls {
                    let connection = rustls::ServerConnection::new(config).unwrap();
                    answer(rustls::StreamOwned::new(connection, stream), &pages, &notes);
                } else {
                    answer(stream, &pages, &notes);
                }
            });
        }
    });
    let base = if tls { format!("https://localhost:{port}") } else { format!("http://127.0.0.1:{port}") };
    Server { base, asked, pem }
}

/// One answer. A page at `/half…` breaks off in the middle the first time; one at `/never` never comes.
fn answer(mut stream: impl Read + Write, pages: &Pages, asked: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let again = {
        let mut asked = asked.lock().unwrap();
        let again = asked.contains(&target);
        let token = if head.contains("authorization: bearer tok-en-1") { "+token" } else { "" };
        asked.push(format!("{target}{token}"));
        again
    };
    if target == "/never" {
        // waits: for the peer to go away
        let _ = stream.read(&mut byte);
        return;
    }
    let missing = (404, b"none".to_vec());
    let (status, body) =
        pages.iter().find(|(page, _)| page.to_lowercase() == target).map_or(&missing, |(_, page)| page);
    let from =
        head.split("range: bytes=").nth(1).and_then(|rest| rest.split('-').next()?.parse().ok()).unwrap_or(0);
    let status = if from > 0 { 206 } else { *status };
    let length = body.len() - from;
    let _ = write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    let breaks = target.starts_with("/half") && !again;
    let until = if breaks { body.len() / 2 } else { body.len() };
    let _ = stream.write_all(&body[from..until]).and_then(|()| stream.flush());
}

fn pages(all: &[(&'static str, u16, &[u8])]) -> Pages {
    all.iter().map(|(target, status, body)| (*target, (*status, body.to_vec()))).collect()
}

fn with_input(mut order: StartOrder, source: &str, path: &str) -> StartOrder {
    let input = serde_json::json!({"source": source, "path": path});
    order.spec.inputs.push(serde_json::from_value(input).unwrap());
    order
}

async fn phases(rig: &Rig) -> Vec<SetupPhase> {
    let of = |body| if let AgentEventBody::Phase(phase) = body { Some(phase) } else { None };
    rig.events().await.into_iter().filter_map(|event| of(event.body)).collect()
}

async fn a_rented_gpu_that_does_not_compute_is_the_machines_fault() {
    let rig = Rig::with(&[("TRAINYARD_BOOT_ORDER", "x"), ("NVIDIA_VISIBLE_DEVICES", "all")]);
    if std::path::Path::new("/proc/driver/nvidia").exists() {
        println!("not run: there is a GPU here, and it may well compute");
        return;
    }
    rig.run(&format!("echo trained >{}", rig.own_text("trained"))).await;
    let exit = rig.exit().await;
    let why = exit.diagnosis.unwrap();
    assert_eq!((exit.code, exit.machine_fault, why.code.as_str()), (125, true, "cuda_broken"), "{why:?}");
    assert!(!rig.own("trained").exists());
    assert_eq!(phases(&rig).await, [SetupPhase::Checking]);
}

async fn a_machine_of_ones_own_is_not_looked_at() {
    let rig = Rig::with(&[("NVIDIA_VISIBLE_DEVICES", "all")]);
    rig.run("true").await;
    assert_eq!(rig.exit().await.code, 0);
    assert!(phases(&rig).await.is_empty());
}

async fn a_file_is_fetched_over_https() {
    let server = serve(pages(&[("/data.jsonl?key=secret", 200, b"{\"a\":1}\n")]), true);
    let dir = tempfile::tempdir().unwrap();
    let pem = dir.path().join("ca.pem");
    std::fs::write(&pem, &server.pem).unwrap();
    let rig = Rig::with(&[("SSL_CERT_FILE", pem.to_str().unwrap())]);
    let mut order = shell("cat $TRAINYARD_DATASET $TRAINYARD_INPUT_DIR/more/x.jsonl");
    let address = format!("{}/data.jsonl?key=secret", server.base);
    let source: Source = address.parse().unwrap();
    order.spec.dataset = Some(Dataset { source, format: None, split: None });
    rig.client.start(&with_input(order, &address, "more/x.jsonl")).await.unwrap();
    let (exit, log) = (rig.exit().await, rig.log().await);
    assert_eq!(exit.code, 0, "{exit:?}\n{log}");
    assert_eq!(log.matches("{\"a\":1}").count(), 2, "{log}");
    assert!(log.contains("sha256 ") && !log.contains("key=secret"), "{log}");
    assert_eq!(phases(&rig).await, [SetupPhase::Fetching]);
}

async fn a_certificate_nobody_vouches_for_is_refused() {
    let server = serve(pages(&[("/x", 200, b"x")]), true);
    let rig = Rig::new();
    rig.client.start(&with_input(shell("true"), &format!("{}/x", server.base), "x")).await.unwrap();
    assert_eq!(rig.exit().await.diagnosis.unwrap().code, "input_unreachable");
}

const ABOUT: &[u8] = br#"{"sha":"abc123","gated":"manual","siblings":[{"rfilename":"config.json"},{"rfilename":"sub/w.bin"},{"rfilename":"../out"}]}"#;

async fn a_repository_is_fetched_with_its_token() {
    let server = serve(
        pages(&[
            ("/api/models/owner/name/revision/v1", 200, ABOUT),
            ("/owner/name/resolve/abc123/config.json", 200, b"{}"),
            ("/owner/name/resolve/abc123/sub/w.bin", 200, b"weights"),
        ]),
        false,
    );
    let rig = Rig::with(&[("HF_ENDPOINT", &server.base)]);
    let mut order =
        with_input(shell("cat $TRAINYARD_INPUT_DIR/model/sub/w.bin"), "hf:owner/name@v1", "model");
    order.secrets.insert("HF_TOKEN".parse().unwrap(), SecretString::from("tok-en-1"));
    rig.client.start(&order).await.unwrap();
    let (exit, log) = (rig.exit().await, rig.log().await);
    assert_eq!(exit.code, 0, "{exit:?}\n{log}");
    assert!(log.contains("weights") && log.contains("owner/name@abc123"), "{log}");
    let asked = server.asked.lock().unwrap();
    assert!(asked.iter().all(|target| target.ends_with("+token")), "{asked:?}");
    assert!(!rig.root().join("input/out").exists());
}

async fn a_gated_repository_without_a_token_is_named() {
    let server = serve(pages(&[("/api/models/owner/name/revision/main", 200, ABOUT)]), false);
    let rig = Rig::with(&[("HF_ENDPOINT", &server.base)]);
    rig.client.start(&with_input(shell("true"), "hf:owner/name", "model")).await.unwrap();
    let exit = rig.exit().await;
    assert_eq!((exit.machine_fault, exit.diagnosis.unwrap().code.as_str()), (false, "model_gated"));
}

async fn a_broken_connection_is_gone_on_with() {
    let body: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let target = "/owner/name/resolve/abc123/half";
    let about = br#"{"sha":"abc123","siblings":[{"rfilename":"half"}]}"#;
    let mut all = pages(&[("/api/models/owner/name/revision/main", 200, about)]);
    all.insert(target, (200, body.clone()));
    let server = serve(all, false);
    let rig = Rig::with(&[("HF_ENDPOINT", &server.base)]);
    rig.client.start(&with_input(shell("true"), "hf:owner/name", "m")).await.unwrap();
    let exit = rig.exit().await;
    assert_eq!(exit.code, 0, "{exit:?}");
    assert_eq!(std::fs::read(rig.root().join("input/m/half")).unwrap(), body);
}

async fn what_is_not_there_is_named() {
    let server = serve(pages(&[]), false);
    let rig = Rig::with(&[("HF_ENDPOINT", &server.base)]);
    rig.client.start(&with_input(shell("true"), "hf:owner/name", "m")).await.unwrap();
    let why = rig.exit().await.diagnosis.unwrap();
    assert_eq!(why.code, "model_not_found");
    assert!(why.cause.contains("owner/name") && why.remedy.contains("HF_TOKEN"), "{why:?}");
}

async fn a_stop_ends_a_fetch() {
    let server = serve(pages(&[]), false);
    let base = format!("{}/never?", server.base);
    let rig = Rig::with(&[("HF_ENDPOINT", &base)]);
    rig.client.start(&with_input(shell("true"), "hf:owner/name", "m")).await.unwrap();
    crate::rig::until("it is asked for", async || !server.asked.lock().unwrap().is_empty()).await;
    rig.client.stop(std::time::Duration::ZERO).await.unwrap();
    let exit = rig.exit().await;
    assert!(exit.asked, "{exit:?}");
    assert!(!std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        std::fs::read_to_string(entry.path().join("cmdline")).is_ok_and(|line| line.contains(&base))
    }));
}

async fn a_failing_fetch_ends_the_installation() {
    let server = serve(pages(&[]), false);
    let rig = Rig::with(&[("HF_ENDPOINT", &server.base)]);
    let mut order = with_input(shell("true"), "hf:owner/name", "m");
    order.spec.environment.setup.push("while :; do sleep 0.1; done".to_owned());
    let code = rig.input(&crate::inputs::archive(&[("a", "x")]));
    rig.client.put_input(&code).await.unwrap();
    order.inputs.push(HandOver { sha256: code.sha256, purpose: HandOverPurpose::Code });
    rig.client.start(&order).await.unwrap();
    let exit = rig.exit().await;
    assert_eq!(exit.diagnosis.unwrap().code, "model_not_found");
    assert_eq!(order.spec.trainer_kind(), TrainerKind::Command);
    let told = phases(&rig).await;
    assert!(
        [SetupPhase::Fetching, SetupPhase::Unpacking, SetupPhase::Installing]
            .iter()
            .all(|word| told.contains(word))
    );
}
