//! A warden as the agent sees it: what it is told to run, what it tells, and what is done where it dies.

use std::io;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::entry;
use crate::process::{descendants, exterminate};
use crate::warden::{Order, Plan, Report};

/// How long the descendants of a warden that was killed are killed for.
const KILL_WITHIN: Duration = Duration::from_secs(10);

/// The program to re-execute as ourselves, also after its file was replaced or removed.
pub(super) fn own_program() -> String {
    if cfg!(target_os = "linux") {
        return "/proc/self/exe".to_owned();
    }
    std::env::current_exe()
        .map_or_else(|_| "trainyard".to_owned(), |path| path.to_string_lossy().into_owned())
}

/// A warden that runs.
pub(super) struct Warden {
    pub(super) child: Child,
    orders: Option<ChildStdin>,
    reports: Lines<BufReader<ChildStdout>>,
    pub(super) output: Option<tokio::process::ChildStderr>,
}

impl Warden {
    pub(super) async fn spawn(plan: &Plan) -> io::Result<Warden> {
        let mut child = Command::new(own_program())
            .arg0("trainyard")
            .arg(entry::WARDEN)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let (orders, reports) = (child.stdin.take(), child.stdout.take());
        let (Some(mut orders), Some(reports)) = (orders, reports) else {
            return Err(io::Error::other("no pipes"));
        };
        let mut line = serde_json::to_vec(plan)?;
        line.push(b'\n');
        orders.write_all(&line).await?;
        let output = child.stderr.take();
        Ok(Warden { child, orders: Some(orders), reports: BufReader::new(reports).lines(), output })
    }

    /// What it says next; none when it is gone. May be dropped and called again.
    pub(super) async fn report(&mut self) -> Option<Report> {
        let line = self.reports.next_line().await.ok()??;
        serde_json::from_str(&line).ok()
    }

    pub(super) async fn tell(&mut self, order: Order) {
        let Ok(mut line) = serde_json::to_vec(&order) else { return };
        line.push(b'\n');
        // One that is gone has no training to stop either; `report` shows it.
        if let Some(orders) = &mut self.orders {
            let _ = orders.write_all(&line).await;
        }
    }
}

/// The warden was killed: what was below it is ours now, since we are a subreaper too.
pub(super) fn kill_what_is_left() {
    let until = Instant::now() + KILL_WITHIN;
    loop {
        let found = exterminate(descendants);
        while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status != WaitStatus::StillAlive)
        {
        }
        if found.is_empty() || Instant::now() > until {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
