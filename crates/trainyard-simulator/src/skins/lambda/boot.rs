//! A machine's first boot: its host key, its files, its commands, and SSH to it from then on.
//!
//! A machine's root is a directory. What `user_data` writes below `/home/ubuntu` lies in its home, everything else below
//! its root; commands run with the home as working directory. There is no other user than the one that runs the simulator,
//! so `sudo -u ubuntu` is a script that just goes on.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use russh::keys::PrivateKey;
use secrecy::ExposeSecret;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use trainyard_connector::ssh::SshKey;

use super::cloud_init::CloudInit;
use super::ssh;
use crate::world::{Machine, Service, Source, World, span};

/// What was ordered of the boot.
#[derive(Debug)]
pub(super) struct Boot {
    pub(super) init: CloudInit,
    /// The public key that opens the machine.
    pub(super) public: String,
    pub(super) sshd_lag_s: f64,
}

/// Stands for `sudo`: takes its options and runs the rest.
const SUDO: &str = "#!/bin/sh\n\
    while [ $# -gt 0 ]; do\n\
    case $1 in\n\
    -u|-g|-C) shift 2;;\n\
    --) shift; break;;\n\
    -*) shift;;\n\
    *) break;;\n\
    esac\n\
    done\n\
    exec \"$@\"\n";

/// Where the machine's own programs are.
pub(super) fn bin(machine: &Machine) -> PathBuf {
    machine.root.join("bin")
}

/// Boots a machine and serves SSH to it until it stops or goes.
pub(super) fn service(boot: Arc<Boot>) -> Service {
    Service::new(move |world, machine| {
        let boot = Arc::clone(&boot);
        async move {
            if let Err(error) = prepare(&machine, &boot.init) {
                world.note(&machine, format!("the machine's disk could not be prepared: {error}"));
            }
            let Some(key) = host_key(&machine, &boot.init) else {
                world.note(&machine, "the machine has no SSH host key");
                return;
            };
            let serve = async {
                world.clock().sleep(span(boot.sshd_lag_s)).await;
                ssh::serve(&world, &machine, &boot.public, key).await;
            };
            tokio::join!(serve, first_boot(&world, &machine, &boot.init));
        }
    })
}

/// The disk before the first command.
fn prepare(machine: &Machine, init: &CloudInit) -> io::Result<()> {
    let bin = bin(machine);
    std::fs::create_dir_all(&bin)?;
    write(&bin.join("sudo"), SUDO.as_bytes(), 0o755)?;
    if machine.starts > 1 {
        return Ok(());
    }
    for (path, content, mode) in &init.files {
        let inside = match path.strip_prefix("/home/ubuntu/") {
            Some(rest) => machine.root.join("home").join(rest),
            None => machine.root.join(path.trim_start_matches('/')),
        };
        if let Some(directory) = inside.parent() {
            std::fs::create_dir_all(directory)?;
        }
        write(&inside, content, *mode)?;
    }
    Ok(())
}

fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    std::fs::write(path, content)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// The key that `user_data` brings, else one of the machine's own.
fn host_key(machine: &Machine, init: &CloudInit) -> Option<PrivateKey> {
    if let Some(key) = init.host_key.as_ref().and_then(|text| PrivateKey::from_openssh(text).ok()) {
        return Some(key);
    }
    let mut seed = [7; 32];
    seed.iter_mut().zip(machine.key.bytes()).for_each(|(to, from)| *to = from);
    let text = SshKey::from_seed(&seed).ok()?.private().ok()?;
    PrivateKey::from_openssh(text.expose_secret()).ok()
}

/// Runs what `user_data` says, once in a machine's life. Its output is the machine's log.
async fn first_boot(world: &World, machine: &Machine, init: &CloudInit) {
    if machine.starts > 1 {
        return;
    }
    for complaint in &init.complaints {
        world.note(machine, format!("cloud-init: {complaint}"));
    }
    let Some(script) = &init.script else { return };
    let program = ["sh".to_owned(), "-c".to_owned(), script.clone()];
    let started = world.commands(machine).and_then(|commands| {
        let mut command = commands.command(&program).ok_or(io::ErrorKind::NotFound)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        world.start_program(machine.uid, || command.spawn())
    });
    let mut child = match started {
        Ok(child) => child,
        Err(error) => return world.note(machine, format!("cloud-init: runcmd: {error}")),
    };
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let ended = child.wait();
    let (ended, ..) = tokio::join!(ended, listen(world, machine, output), listen(world, machine, errors));
    match ended {
        Ok(status) if status.success() => world.note(machine, "cloud-init: finished"),
        Ok(status) => world.note(machine, format!("cloud-init: runcmd failed: {status}")),
        Err(error) => world.note(machine, format!("cloud-init: runcmd: {error}")),
    }
}

async fn listen(world: &World, machine: &Machine, output: Option<impl AsyncRead + Unpin>) {
    let Some(output) = output else { return };
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        machine.log.write(world.now(), Source::Container, line);
    }
}
