//! A disk that is full, or takes no writes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use trainyard_tests::{say, until};

use crate::dice::Dice;
use crate::judge;
use crate::kills_wanted;
use crate::yard::{SOON, Yard, counting};

/// How often the disk is filled.
const MOMENTS: usize = 20;
/// Bytes of the small disk, in MB.
const SMALL_MB: u32 = 48;
/// Steps of each training.
const STEPS: u64 = 12;

/// A small disk of its own, over a directory.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None where this system does not let us.
    fn over(directory: &Path) -> Option<SmallDisk> {
        let size = format!("size={SMALL_MB}m");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(directory);
        let mounted = command.output().is_ok_and(|output| output.status.success());
        if !mounted {
            say("SKIPPED: no disk can be mounted here, so none was filled");
        }
        mounted.then(|| SmallDisk(directory.to_path_buf()))
    }

    fn remount(&self, options: &str) {
        let done = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.0).status();
        assert!(done.is_ok_and(|status| status.success()), "remounted {options}");
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// To the last byte.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.filler()).expect("a file");
        for block in [1 << 20, 4096, 1] {
            while file.write_all(&vec![0; block]).is_ok() {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.filler()).expect("removed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A server whose data is on a small disk.
fn yard() -> Option<(Yard, SmallDisk)> {
    let mut yard = Yard::new();
    yard.server.end();
    let disk = SmallDisk::over(&yard.server.data())?;
    yard.start_again();
    Some((yard, disk))
}

#[test]
fn a_full_disk_is_told_and_harms_nothing() {
    let Some((mut yard, disk)) = yard() else { return };
    let mut dice = Dice::new("full disks");
    let moments = kills_wanted().map_or(MOMENTS, |wanted| (wanted / 10).max(MOMENTS));
    let (mut ids, mut refused) = (Vec::new(), 0);
    for n in 0..moments {
        let id = format!("full-{n}");
        yard.submit(&id, if n % 2 == 0 { "runpod" } else { "vastai" }, &counting(&id, STEPS, 0));
        // waits: for any moment of the work
        std::thread::sleep(dice.millis(700));
        disk.fill();
        let why = yard.await_red();
        assert!(why.contains("space") || why.contains("full"), "{why}");
        yard.reads(&id);
        refused += usize::from(!yard.creates_or_says_why(&format!("more-{n}")));
        // waits: for the work to meet the full disk
        std::thread::sleep(dice.millis(300));
        disk.free();
        yard.await_green();
        ids.push(id);
    }
    for id in &ids {
        let status = yard.await_rest(id);
        assert_eq!(status["state"], "completed", "{status}\n{}", yard.server.log());
        judge::history(&yard, id);
        judge::whole_training(&yard, id, STEPS);
        assert_eq!(judge::rented(&yard, id), 1, "{id} trained once: {}", yard.get(id, ""));
    }
    yard.judge(&ids);
    say(&format!(
        "the disk was full {moments} times; {refused} jobs were refused, none that was accepted was harmed"
    ));
    yard.server.end();
    drop(disk);
}

#[test]
fn a_start_on_a_disk_that_takes_nothing_is_refused_with_the_reason() {
    let Some((mut yard, disk)) = yard() else { return };
    yard.server.end();
    disk.fill();
    let said = yard.tries_to_start().expect_err("it cannot write");
    assert!(said.contains("space") || said.contains("full") || said.contains("disk I/O error"), "{said}");
    disk.free();
    disk.remount("ro");
    let said = yard.tries_to_start().expect_err("it cannot write");
    assert!(said.contains("ead-only") || said.contains("readonly"), "{said}");
    disk.remount("rw");
    yard.start_again();
    yard.await_green();
    yard.server.end();
    drop(disk);
}

#[test]
fn a_directory_that_takes_no_files_is_told_and_filled_once_it_does() {
    let yard = Yard::new();
    let Some(shut) = Shut::directory(yard.server.data().join("artifacts/.part")) else { return };
    yard.submit("job", "runpod", &counting("job", STEPS, 0));
    let why = yard.await_red();
    let reason = ["permit", "denied", "ead-only"].iter().any(|word| why.contains(word));
    assert!(reason, "{why}");
    until(SOON, "the artifact to wait for room", || {
        let status = yard.get("job", "/status");
        assert_eq!(status["reason"]["code"].as_str().unwrap_or("none"), "none", "{status}");
        (status["phase"] == "collecting").then_some(())
    });
    yard.reads("job");
    drop(shut);
    yard.await_green();
    assert_eq!(yard.await_rest("job")["state"], "completed");
    judge::whole_training(&yard, "job", STEPS);
    assert_eq!(judge::rented(&yard, "job"), 1);
}

/// A directory in which nothing can be made, whoever asks, until this is dropped.
struct Shut(PathBuf);

impl Shut {
    /// None where this system does not let us.
    fn directory(place: PathBuf) -> Option<Shut> {
        let done = attribute("+i", &place);
        if !done {
            say("SKIPPED: no directory can be made immutable here");
        }
        done.then_some(Shut(place))
    }
}

impl Drop for Shut {
    fn drop(&mut self) {
        attribute("-i", &self.0);
    }
}

fn attribute(change: &str, place: &Path) -> bool {
    let changed = Command::new("chattr").arg(change).arg(place).output();
    changed.is_ok_and(|output| output.status.success())
}
