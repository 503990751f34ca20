//! Vast.ai's own command line (`pip install vastai`) against the simulated one: an independent witness of the wire.
//!
//! It is looked for on `PATH`, or where `TRAINYARD_VASTAI_CLI` says. Not there: said aloud. It ends with 0 even where it
//! failed, so what it prints is what counts.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use trainyard_simulator::{Account, Options, Vendor};

use crate::vastai::Vast;

const WITHIN: Duration = Duration::from_secs(60);

struct Cli {
    program: PathBuf,
    url: String,
    home: tempfile::TempDir,
}

impl Cli {
    /// What it prints for those arguments, as JSON where it is some.
    async fn run(&self, arguments: &[&str]) -> Value {
        // What follows `--args` is the container's.
        let end = arguments.iter().position(|word| *word == "--args").unwrap_or(arguments.len());
        let mut command = Command::new(&self.program);
        command
            .args(&arguments[..end])
            .arg("--raw")
            .args(&arguments[end..])
            .env("VAST_URL", &self.url)
            .env("VAST_API_KEY", Account::usual_key(Vendor::Vastai))
            .env("HOME", self.home.path())
            .env("XDG_CONFIG_HOME", self.home.path())
            .env("VASTAI_NO_UPDATE_CHECK", "1")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(WITHIN, command.output()).await.expect("it ends").expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let failed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !failed.contains("\"error\"") && !failed.contains("Traceback"),
            "{arguments:?}: {text}{failed}"
        );
        serde_json::from_str(&text).unwrap_or(Value::String(text))
    }

    async fn until(&self, arguments: &[&str], so: impl Fn(&Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + WITHIN;
        loop {
            let said = self.run(arguments).await;
            if so(&said) {
                return said;
            }
            assert!(tokio::time::Instant::now() < deadline, "{arguments:?} stays {said}");
        }
    }
}

fn program() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "a test asks where the program is")]
    let named = std::env::var("TRAINYARD_VASTAI_CLI").ok().map(PathBuf::from);
    #[expect(clippy::disallowed_methods, reason = "a test asks where programs are")]
    let path = std::env::var("PATH").unwrap_or_default();
    let found =
        named.or_else(|| std::env::split_paths(&path).map(|dir| dir.join("vastai")).find(|at| at.is_file()));
    let found = found.filter(|at| Path::new(at).is_file());
    if found.is_none() {
        println!(
            "NOT RUN: Vast.ai's own command line is not installed (pip install vastai, or TRAINYARD_VASTAI_CLI)"
        );
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vendors_own_command_line_works() {
    let Some(program) = program() else { return };
    let vast = Vast::start(Options::for_tests()).await;
    let url = vast.simulator.vendor_url(Vendor::Vastai);
    let cli = Cli { program, url, home: tempfile::tempdir().expect("a directory") };
    let offers = cli
        .run(&["search", "offers", "gpu_name=RTX_4090 num_gpus=1 geolocation=US", "-o", "dph_total"])
        .await;
    let offers = offers.as_array().expect("offers").clone();
    assert!(!offers.is_empty() && offers.iter().all(|offer| offer["gpu_name"] == "RTX 4090"));
    let ask = offers[0]["id"].to_string();
    let created = cli
        .run(&[
            "create",
            "instance",
            &ask,
            "--image",
            "img:1",
            "--disk",
            "20",
            "--label",
            "job-1",
            "--env",
            "-e A=b -p 23458:23458",
            "--cancel-unavail",
            "--entrypoint",
            "sh",
            "--args",
            "-c",
            "echo hello $A; sleep 300",
        ])
        .await;
    let id = created["new_contract"].to_string();
    assert!(id.parse::<u64>().is_ok(), "{created}");
    let running = |it: &Value| it["actual_status"] == "running";
    let instance = cli.until(&["show", "instance", &id], running).await;
    assert_eq!(instance["label"], "job-1");
    let listed = cli.run(&["show", "instances"]).await;
    assert!(listed.to_string().contains(&id), "{listed}");
    let listed = cli.run(&["show", "instances-v1", "--label", "job-1"]).await;
    assert!(listed.to_string().contains(&id), "{listed}");
    let log = cli.run(&["logs", &id]).await;
    assert!(log.to_string().contains("hello b"), "{log}");
    cli.run(&["label", "instance", &id, "job-2"]).await;
    cli.until(&["show", "instance", &id], |it| it["label"] == "job-2").await;
    cli.run(&["stop", "instance", &id]).await;
    cli.until(&["show", "instance", &id], |it| it["actual_status"] == "exited").await;
    cli.run(&["start", "instance", &id]).await;
    cli.until(&["show", "instance", &id], running).await;
    cli.run(&["reboot", "instance", &id]).await;
    let user = cli.run(&["show", "user"]).await;
    assert!(user["credit"].as_f64().is_some_and(|credit| credit > 99.0), "{user}");
    cli.run(&["destroy", "instance", &id, "-y"]).await;
    cli.until(&["show", "instance", &id], |it| {
        it.is_null() || it["instances"].is_null() && it.get("id").is_none()
    })
    .await;
    vast.simulator.stop().await;
}
