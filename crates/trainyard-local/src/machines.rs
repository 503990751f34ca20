//! One machine of `local`: an agent in a directory of its own.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};
use trainyard_agent::{AgentRecord, ProcessId, agent_of};
use trainyard_domain::OrderName;

use crate::config::LocalConfig;
use crate::slots::Slot;

/// What the connector itself notes beside an agent.
const SLOT_FILE: &str = "slot.json";

/// The directories of agents.
#[derive(Debug)]
pub(crate) struct Machines {
    root: PathBuf,
    keep: PathBuf,
}

impl Machines {
    /// Opens (and makes) the directories, which nobody else may read: a specification lies there.
    pub(crate) fn open(config: &LocalConfig) -> io::Result<Machines> {
        use std::os::unix::fs::DirBuilderExt;
        let (root, keep) = (config.directory.join("machines"), config.directory.join("keep"));
        for directory in [&root, &keep] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        Ok(Machines { root: root.canonicalize()?, keep: keep.canonicalize()? })
    }

    pub(crate) fn directory(&self, order: &OrderName) -> PathBuf {
        self.root.join(order.as_str())
    }

    /// What is kept for a job between its attempts.
    pub(crate) fn kept(&self, job: &trainyard_domain::JobId) -> PathBuf {
        self.keep.join(job.as_str())
    }

    /// Starts an agent. Its socket is bound here and handed over, so the port is known and connections wait for it.
    pub(crate) fn start(
        &self,
        config: &LocalConfig,
        order: &OrderName,
        public_key: &str,
        slot: &Slot,
    ) -> io::Result<(Child, u16)> {
        let directory = self.directory(order);
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(SLOT_FILE), serde_json::to_vec(slot)?)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let complaints = fs::File::create(directory.join("agent.err"))?;
        let mut command = Command::new(&config.executable);
        command
            .arg("__agent")
            .args(["--order", order.as_str(), "--public-key", public_key, "--listen-fd0"])
            .arg("--root")
            .arg(&directory)
            .arg("--keep")
            .arg(&self.keep);
        if let Some(trainer) = &config.trainer {
            command.arg("--trainer-exe").arg(trainer);
        }
        command.stdin(Stdio::from(OwnedFd::from(listener))).stdout(Stdio::null()).stderr(complaints);
        Ok((command.spawn()?, port))
    }

    /// The agent's own record, where it has written one.
    pub(crate) fn record(&self, order: &OrderName) -> Option<AgentRecord> {
        let bytes = fs::read(self.directory(order).join(AgentRecord::FILE)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// The slot that was noted for an order.
    pub(crate) fn slot(&self, order: &OrderName) -> Option<Slot> {
        serde_json::from_slice(&fs::read(self.directory(order).join(SLOT_FILE)).ok()?).ok()
    }

    /// The agent's process, where it lives: by its record, or by its command line while it has written none. A pid of
    /// another boot of the machine is nobody's.
    pub(crate) fn alive(&self, order: &OrderName) -> Option<ProcessId> {
        let Some(record) = self.record(order) else { return agent_of(order.as_str()) };
        (record.order == order.as_str() && record.process.is_alive()).then_some(record.process)
    }

    /// Removes every directory whose agent was never started, as where whoever was about to start it crashed: nothing
    /// ran there, so the order never arrived. To be called before this process starts any.
    pub(crate) fn clear_unstarted(&self) -> io::Result<()> {
        for order in self.orders()? {
            if self.record(&order).is_none() && self.alive(&order).is_none() {
                tracing::info!(%order, "a directory whose agent was never started is removed");
                self.remove(&order)?;
            }
        }
        Ok(())
    }

    /// Every order that has a directory.
    pub(crate) fn orders(&self) -> io::Result<Vec<OrderName>> {
        let mut orders = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            if let Some(order) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
                orders.push(order);
            }
        }
        Ok(orders)
    }

    /// Removes what is left of an agent.
    pub(crate) fn remove(&self, order: &OrderName) -> io::Result<()> {
        remove_tree(&self.directory(order))
    }
}

/// Removes a directory; none there is fine. Directories that a training made read-only are removed too.
pub(crate) fn remove_tree(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(directory)?;
            fs::remove_dir_all(directory)
        }
        other => other,
    }
}

/// Lets the owner change every directory below one. Links are not followed.
fn open_up(top: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut left = vec![top.to_path_buf()];
    while let Some(directory) = left.pop() {
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                left.push(entry.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn read_only_directories_of_a_training_are_removed() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().join("machine");
        fs::create_dir_all(top.join("cache/module")).unwrap();
        fs::write(top.join("cache/module/file"), b"x").unwrap();
        for directory in ["cache/module", "cache"] {
            fs::set_permissions(top.join(directory), fs::Permissions::from_mode(0o500)).unwrap();
        }
        remove_tree(&top).unwrap();
        assert!(!top.exists());
        remove_tree(&top).unwrap();
    }
}
