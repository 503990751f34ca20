//! Packages that a job asks for, installed for real by the machine's Python, from files of the test's own.

use std::io::Write;
use std::path::PathBuf;

use trainyard_connector::{
    AgentEventBody, HandOver, HandOverPurpose, SetupPhase, StartOrder, TrainingState, Workload,
};

use crate::rig::{Rig, shell, until};

trainyard_testkit::program_tests![
    a_package_is_installed_beside_the_machines_own,
    packages_are_installed_while_the_inputs_come,
    a_package_that_does_not_exist_is_named,
    a_setup_command_fills_the_same_environment,
    a_machine_without_python_is_named,
];

/// A wheel with one module, as pip wants it: a zip archive without compression.
fn wheel(rig: &Rig) -> PathBuf {
    let path = rig.own("trainyard_probe-1.0-py3-none-any.whl");
    let script = r#"
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    wheel.writestr("trainyard_probe.py", "WORD = 'probe is here'\n")
    info = "trainyard_probe-1.0.dist-info/"
    wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: trainyard-probe\nVersion: 1.0\n")
    wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(info + "RECORD", "trainyard_probe.py,,\n" + info + "METADATA,,\n" + info + "WHEEL,,\n" + info + "RECORD,,\n")
"#;
    let mut child = std::process::Command::new("python3")
        .arg("-")
        .arg(&path)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    path
}

/// One whose packages come from no index.
fn offline(mut order: StartOrder) -> StartOrder {
    order.spec.environment.env.insert("PIP_NO_INDEX".to_owned(), "1".to_owned());
    order.spec.environment.env.insert("UV_OFFLINE".to_owned(), "1".to_owned());
    order
}

const SHOW: &str = "python -c 'import trainyard_probe, sys; print(trainyard_probe.WORD, sys.prefix)'; \
                    python3 -c 'import sysconfig; print(sysconfig.get_paths()[\"stdlib\"])'";

async fn a_package_is_installed_beside_the_machines_own() {
    let rig = Rig::new();
    let mut order = offline(shell(SHOW));
    order.spec.environment.requirements.push(wheel(&rig).to_str().unwrap().to_owned());
    rig.client.start(&order).await.unwrap();
    let (exit, log) = (rig.exit().await, rig.log().await);
    assert_eq!(exit.code, 0, "{exit:?}\n{log}");
    assert!(log.contains("installing the requirements") && log.contains("probe is here"), "{log}");
    assert!(log.contains(rig.root().join("venv").to_str().unwrap()), "{log}");
    let events = rig.events().await;
    assert!(events.iter().any(|event| event.body == AgentEventBody::Phase(SetupPhase::Installing)));
    let of_machine =
        std::process::Command::new("python3").args(["-c", "import trainyard_probe"]).output().unwrap();
    assert!(!of_machine.status.success(), "the machine's own Python is as it was");
}

async fn packages_are_installed_while_the_inputs_come() {
    let rig = Rig::new();
    let input = rig.input(b"the data\n");
    let script = "python -c 'import trainyard_probe; print(trainyard_probe.WORD)'; cat $TRAINYARD_DATASET";
    let mut order = offline(shell(script));
    order.spec.environment.requirements.push(wheel(&rig).to_str().unwrap().to_owned());
    order.inputs.push(HandOver { sha256: input.sha256, purpose: HandOverPurpose::Dataset });
    rig.client.start(&order).await.unwrap();
    until("the package is installed before the data is there", async || {
        let lib = rig.root().join("venv/lib");
        let pythons = std::fs::read_dir(lib).into_iter().flatten().flatten();
        pythons.map(|of| of.path().join("site-packages/trainyard_probe.py")).any(|module| module.is_file())
    })
    .await;
    assert_eq!(rig.client.state().await.unwrap().training, TrainingState::Preparing);
    rig.client.put_input(&input).await.unwrap();
    let (exit, log) = (rig.exit().await, rig.log().await);
    assert_eq!(exit.code, 0, "{exit:?}\n{log}");
    assert!(log.ends_with("probe is here\nthe data\n"), "{log}");
}

async fn a_package_that_does_not_exist_is_named() {
    let rig = Rig::new();
    let mut order = offline(shell("echo trained"));
    order.spec.environment.requirements.push("no-such-package-of-trainyard".to_owned());
    rig.client.start(&order).await.unwrap();
    let (exit, log) = (rig.exit().await, rig.log().await);
    assert_eq!(exit.diagnosis.as_ref().unwrap().code, "package_not_found", "{exit:?}\n{log}");
    assert!(
        exit.note.as_deref().is_some_and(|note| note.contains("installing the requirements failed")),
        "{exit:?}"
    );
    assert!(exit.last_lines.iter().any(|line| line.contains("no-such-package-of-trainyard")), "{exit:?}");
    assert!(!log.contains("trained"));
}

async fn a_setup_command_fills_the_same_environment() {
    let rig = Rig::new();
    let wheel = wheel(&rig);
    let mut order = offline(shell(SHOW));
    order.spec.environment.requirements.push("--no-deps".to_owned());
    order.spec.environment.requirements.push(wheel.to_str().unwrap().to_owned());
    let setup = format!("pip install --disable-pip-version-check {} && which pip", wheel.display());
    order.spec.environment.setup.push(setup);
    rig.client.start(&order).await.unwrap();
    let (exit, log) = (rig.exit().await, rig.log().await);
    assert_eq!(exit.code, 0, "{exit:?}\n{log}");
    assert!(log.contains(rig.root().join("venv/bin/pip").to_str().unwrap()), "{log}");
    assert!(log.contains("probe is here"), "{log}");
}

async fn a_machine_without_python_is_named() {
    let rig = Rig::new();
    let mut order = shell("true");
    order.spec.environment.requirements.push("x".to_owned());
    order.spec.environment.env.insert("PATH".to_owned(), rig.own_text("nothing"));
    rig.client.start(&order).await.unwrap();
    let exit = rig.exit().await;
    assert_eq!(exit.code, 127, "{exit:?}");
    let note = exit.note.unwrap_or_default();
    assert!(note.contains("making a virtual environment failed") && note.contains("`python3`"), "{note}");
}
