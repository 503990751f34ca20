//! Waking up when a followed file may have changed: by inotify on Linux, within a millisecond, else every 200 ms.
//!
//! Promises: no change is missed for longer than a poll, whatever becomes of the watches; while nothing changes and all
//! watches stand, nothing runs. A wake-up may be for nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often files are looked at where the system does not tell of changes.
const POLL: Duration = Duration::from_millis(200);

/// The followed files.
#[derive(Debug)]
pub(super) struct Changes {
    files: Vec<PathBuf>,
    notify: Option<notify::Notify>,
    /// Whether every directory is watched, so that polling is needless.
    complete: bool,
}

impl Changes {
    /// Follows nothing yet. To be called within a tokio runtime.
    pub(super) fn new() -> Self {
        Changes { files: Vec::new(), notify: notify::Notify::new(), complete: true }
    }

    /// Follows a file, whether it exists or not; again is no harm.
    pub(super) fn follow(&mut self, file: &Path) {
        if !self.files.iter().any(|known| known == file) {
            self.files.push(file.to_owned());
        }
        self.watch_all();
    }

    /// Waits until a followed file may have changed. May be dropped at any time.
    pub(super) async fn changed(&mut self) {
        match &self.notify {
            Some(notify) if self.complete => notify.changed().await,
            Some(notify) => {
                tokio::select! {
                    () = notify.changed() => {}
                    () = tokio::time::sleep(POLL) => {}
                }
            }
            None => tokio::time::sleep(POLL).await,
        }
        self.watch_all();
    }

    /// Puts every watch in place: a file that appeared has none yet, a watch again on the same file changes nothing.
    fn watch_all(&mut self) {
        if let Some(notify) = &self.notify {
            // Every one is tried, also after one that failed.
            let failed = self.files.iter().filter(|file| !notify.watch(file)).count();
            self.complete = failed == 0;
        }
    }
}

#[cfg(target_os = "linux")]
mod notify {
    use std::os::fd::{AsFd, AsRawFd, RawFd};
    use std::path::Path;

    use nix::errno::Errno;
    use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    #[derive(Debug)]
    struct Fd(Inotify);

    impl AsRawFd for Fd {
        fn as_raw_fd(&self) -> RawFd {
            self.0.as_fd().as_raw_fd()
        }
    }

    #[derive(Debug)]
    pub(super) struct Notify(AsyncFd<Fd>);

    impl Notify {
        pub(super) fn new() -> Option<Self> {
            let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok()?;
            #[expect(
                deprecated,
                reason = "its successor is unsafe code; what makes this one unsound, a descriptor that changes or is \
                          closed while registered, cannot happen: `Fd` owns it and gives it to nobody"
            )]
            let fd = AsyncFd::with_interest(Fd(inotify), Interest::READABLE);
            fd.ok().map(Notify)
        }

        /// Watches the file, if it is there, and its directory for the file to appear. False where the directory is
        /// not there or the system's limit of watches is reached.
        pub(super) fn watch(&self, file: &Path) -> bool {
            let inotify = &self.0.get_ref().0;
            let appears = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ONLYDIR;
            let parent = file.parent().is_some_and(|parent| inotify.add_watch(parent, appears).is_ok());
            match inotify.add_watch(file, AddWatchFlags::IN_MODIFY) {
                Ok(_) | Err(Errno::ENOENT) => parent,
                Err(_) => false,
            }
        }

        /// Waits for something to happen and takes it off the queue.
        pub(super) async fn changed(&self) {
            let read = self.0.async_io(Interest::READABLE, |fd| Ok(fd.0.read_events()?)).await;
            if read.is_err() {
                tokio::time::sleep(super::POLL).await;
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod notify {
    use std::path::Path;

    #[derive(Debug)]
    pub(super) enum Notify {}

    impl Notify {
        pub(super) fn new() -> Option<Self> {
            None
        }

        pub(super) fn watch(&self, _: &Path) -> bool {
            match *self {}
        }

        pub(super) async fn changed(&self) {
            match *self {}
        }
    }
}
