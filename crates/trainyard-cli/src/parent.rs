//! The end of another process, for a server that shall not outlive the program it serves.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

/// How often it is looked. Nothing tells of the end of a process that is no child.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Resolves when the process is gone. A zombie is, and a new process under the same number counts as gone too.
pub(crate) async fn gone(pid: u32) {
    let since = alive_since(pid);
    while since.is_some() && alive_since(pid) == since {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// When a living process began, as far as the system tells; none where it is gone.
fn alive_since(pid: u32) -> Option<String> {
    let number = i32::try_from(pid).ok().filter(|number| *number > 0)?;
    if kill(Pid::from_raw(number), None) == Err(Errno::ESRCH) {
        return None;
    }
    since(pid)
}

#[cfg(target_os = "linux")]
fn since(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let living = !matches!(fields.next()?, "Z" | "X");
    fields.nth(18).filter(|_| living).map(str::to_owned)
}

#[cfg(not(target_os = "linux"))]
fn since(_: u32) -> Option<String> {
    Some(String::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_a_process_is_seen_while_it_is_a_zombie_too() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id();
        let watched = tokio::spawn(gone(pid));
        assert!(alive_since(pid).is_some());
        tokio::task::yield_now().await;
        child.kill().unwrap();
        // Not waited for: it stays a zombie.
        tokio::time::timeout(Duration::from_secs(10), watched).await.unwrap().unwrap();
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn what_never_was_is_gone() {
        tokio::time::timeout(Duration::from_secs(10), gone(u32::MAX)).await.unwrap();
    }
}
