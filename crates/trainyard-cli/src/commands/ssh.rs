//! `trainyard ssh`: a shell on the machine of a job, where its provider has SSH.
//!
//! The key that opens the machine is never asked of a server: it derives from `DIR/installation`, so this works where
//! that file is.

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use secrecy::ExposeSecret;
use serde_json::Value;

use crate::client::{Api, ClientArgs};
use crate::exit::{Exit, Failure, Outcome};

/// Open a shell on the machine of a job, where its provider has SSH
///
/// Needs `ssh`, and the data directory of the server: the key derives from DIR/installation. Elsewhere
/// `trainyard exec JOB -- COMMAND` works.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job
    job: String,
    /// The data directory of the server
    #[arg(long, default_value = crate::DATA_DIR, value_name = "DIR")]
    data: PathBuf,
    #[command(flatten)]
    client: ClientArgs,
    /// A command instead of a shell
    #[arg(last = true)]
    command: Vec<String>,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Outcome {
    let api = Api::new(&args.client)?;
    let target: Value = api.get(&["jobs", &args.job, "ssh"], &[]).await?;
    let out = args.client.out();
    if out.json {
        out.json(&target)?;
        return Ok(Exit::Done);
    }
    if !args.data.join("installation").is_file() {
        return Err(Failure::usage(format!("`{}` is not the server's data directory", args.data.display()))
            .hint("name it with --data DIR; the key that opens the machine derives from DIR/installation"));
    }
    let (host, user) = (super::cell(&target, "host"), super::cell(&target, "user"));
    let place =
        tempfile::tempdir().map_err(|error| Failure::failed("no temporary directory").because(&error))?;
    let key = place.path().join("key");
    let known = place.path().join("known_hosts");
    let port = super::cell(&target, "port");
    let secret = trainyard::machine_ssh_key(&args.data).map_err(|error| Failure::of(&error))?;
    write(&key, secret.expose_secret())?;
    let hosts: Vec<String> = super::rows(&target, "host_keys")
        .iter()
        .filter_map(|key| key.as_str().map(|key| format!("[{host}]:{port} {key}\n{host} {key}\n")))
        .collect();
    write(&known, &hosts.concat())?;
    let mut ssh = Command::new("ssh");
    ssh.arg("-i").arg(&key).args([
        "-p",
        &port,
        "-o",
        "IdentitiesOnly=yes",
        "-o",
        "StrictHostKeyChecking=yes",
    ]);
    ssh.arg("-o").arg(format!("UserKnownHostsFile={}", known.display()));
    ssh.arg(format!("{user}@{host}")).args(&args.command).stdin(Stdio::inherit());
    let ended = ssh
        .status()
        .map_err(|error| Failure::failed("`ssh` cannot be started: is it installed?").because(&error))?;
    Ok(match ended.code() {
        Some(0) => Exit::Done,
        // Its command's code; 255 is its own word for a connection that failed.
        Some(code) => u8::try_from(code).map_or(Exit::Failed, Exit::Command),
        None => Exit::Failed,
    })
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    use std::io::Write;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| Failure::failed("a temporary file cannot be written").because(&error))
}
