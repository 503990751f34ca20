//! The machine lease with real agents: what they do when nobody speaks to them, and what they ask of a vendor.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use trainyard_connector::{HttpCall, Renewal, SelfRemoval, SelfRemovalProof, TrainingState, Workload};

use crate::rig::{Rig, is_alive, shell, until};

trainyard_testkit::program_tests![
    a_machine_is_removed_after_the_hold,
    a_word_puts_the_removal_off,
    the_end_of_the_money_stops_the_training_and_removes_the_machine,
    an_end_that_was_moved_holds,
    an_agent_that_crashed_keeps_the_end_of_its_machine,
    an_agent_that_crashed_knows_how_long_nobody_spoke,
    a_machine_that_is_never_started_is_removed,
    a_removal_that_is_refused_is_asked_for_again,
    whether_a_machine_can_remove_itself_is_told,
    a_machine_without_means_holds_what_it_has,
];

/// What a vendor puts into a machine.
pub(crate) const VARIABLES: [(&str, &str); 2] = [("MACHINE_ID", "m1"), ("MACHINE_KEY", "machine-key")];

/// A vendor that answers every request with the same status, and what it was asked.
pub(crate) struct FakeVendor {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl FakeVendor {
    pub(crate) fn answering(status: u16) -> FakeVendor {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let tape = Arc::clone(&asked);
        // Ends with the program.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let head: Vec<String> = BufReader::new(&stream)
                    .lines()
                    .map_while(Result::ok)
                    .take_while(|line| !line.is_empty())
                    .collect();
                let header = |name: &str| {
                    let found = head.iter().filter_map(|line| line.split_once(": "));
                    let mut found = found.filter(|(of, _)| of.eq_ignore_ascii_case(name));
                    found.next().map(|(_, value)| value.to_owned()).unwrap_or_default()
                };
                let request = head.first().map(|line| line.trim_end_matches(" HTTP/1.1").to_owned());
                let told = [request.unwrap_or_default(), header("authorization"), header("user-agent")];
                tape.lock().unwrap().push(told.join(" "));
                let _ =
                    write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        });
        FakeVendor { address, asked }
    }

    pub(crate) fn removal(&self) -> SelfRemoval {
        let url = format!("http://{}/pods/%MACHINE_ID%", self.address);
        let call = |method| HttpCall::new(method, &url, "MACHINE_KEY").unwrap();
        SelfRemoval { probe: call("GET"), remove: call("DELETE") }
    }

    fn asked(&self, method: &str) -> Vec<String> {
        self.asked.lock().unwrap().iter().filter(|told| told.starts_with(method)).cloned().collect()
    }

    /// Waits for a request of that method and gives the first.
    pub(crate) async fn awaits(&self, method: &str) -> String {
        until(&format!("a {method}"), async || !self.asked(method).is_empty()).await;
        self.asked(method)[0].clone()
    }
}

/// An agent on a machine that this vendor rents out.
fn rented(vendor: &FakeVendor, more: &[(&str, &str)]) -> Rig {
    let removal = vendor.removal();
    let (probe, remove) = (removal.probe.to_string(), removal.remove.to_string());
    let own =
        [("TRAINYARD_BOOT_ORDER", "x"), ("TRAINYARD_BOOT_PROBE", &probe), ("TRAINYARD_BOOT_REMOVE", &remove)];
    Rig::with(&[&own[..], &VARIABLES, more].concat())
}

async fn a_machine_is_removed_after_the_hold() {
    let vendor = FakeVendor::answering(204);
    let rig = rented(&vendor, &[]);
    let mut order = shell("echo model > $TRAINYARD_OUTPUT_DIR/model");
    order.spec.limits.hold_s = 2;
    rig.client.start(&order).await.unwrap();
    rig.exit().await;
    let ended = Instant::now();
    let told = vendor.awaits("DELETE").await;
    assert!(told.starts_with("DELETE /pods/m1 Bearer machine-key trainyard-agent/"), "{told}");
    assert!(ended.elapsed() >= Duration::from_secs(2), "held for {:?}", ended.elapsed());
    // Until the vendor takes it, what it has can still be fetched.
    assert_eq!(rig.client.file("model", 0, 100).await.unwrap(), "model\n");
}

async fn a_word_puts_the_removal_off() {
    let vendor = FakeVendor::answering(204);
    let rig = rented(&vendor, &[]);
    let mut order = shell("true");
    order.spec.limits.hold_s = 1;
    rig.client.start(&order).await.unwrap();
    rig.exit().await;
    rig.client.renew(&Renewal { lease: Duration::from_secs(4), ..Renewal::default() }).await.unwrap();
    let renewed = Instant::now();
    vendor.awaits("DELETE").await;
    assert!(renewed.elapsed() >= Duration::from_secs(5), "removed after {:?}", renewed.elapsed());
}

async fn the_end_of_the_money_stops_the_training_and_removes_the_machine() {
    let vendor = FakeVendor::answering(204);
    let rig = rented(&vendor, &[]);
    let mut order = shell("trap 'exit 7' TERM; while :; do sleep 0.05; done");
    order.spec.limits.grace_period_s = 2;
    order.machine_ends_s = Some(5);
    let began = Instant::now();
    rig.client.start(&order).await.unwrap();
    let exit = rig.exit().await;
    assert!(began.elapsed() < Duration::from_secs(5), "too late for its grace");
    assert_eq!((exit.code, exit.asked), (7, true));
    assert_eq!(exit.note.as_deref(), Some("stopped by the agent before the end of its budget"));
    assert!(vendor.asked("DELETE").is_empty(), "outputs are held until the end");
    vendor.awaits("DELETE").await;
    assert!(began.elapsed() >= Duration::from_secs(5), "removed after {:?}", began.elapsed());
}

async fn an_end_that_was_moved_holds() {
    let vendor = FakeVendor::answering(204);
    let rig = rented(&vendor, &[]);
    let mut order = shell("while :; do sleep 0.05; done");
    order.spec.limits.grace_period_s = 1;
    order.machine_ends_s = Some(6);
    rig.client.start(&order).await.unwrap();
    rig.running().await;
    let never = Renewal { machine_ends: Some(Duration::MAX), ..Renewal::default() };
    rig.client.renew(&never).await.unwrap();
    let began = Instant::now();
    until("the old end is over", async || began.elapsed() > Duration::from_secs(7)).await;
    assert!(matches!(rig.client.state().await.unwrap().training, TrainingState::Running { .. }));
    let soon = Renewal { machine_ends: Some(Duration::from_secs(1)), ..Renewal::default() };
    rig.client.renew(&soon).await.unwrap();
    assert!(rig.exit().await.asked);
    vendor.awaits("DELETE").await;
}

async fn an_agent_that_crashed_keeps_the_end_of_its_machine() {
    let vendor = FakeVendor::answering(204);
    let mut rig = rented(&vendor, &[]);
    let mut order = shell("while :; do sleep 0.05; done");
    order.machine_ends_s = Some(400);
    rig.client.start(&order).await.unwrap();
    let ends = Renewal { machine_ends: Some(Duration::from_secs(3)), ..Renewal::default() };
    rig.client.renew(&ends).await.unwrap();
    rig.restart();
    vendor.awaits("DELETE").await;
    assert_eq!(rig.client().state().await.unwrap().training, TrainingState::Idle);
}

async fn an_agent_that_crashed_knows_how_long_nobody_spoke() {
    let vendor = FakeVendor::answering(204);
    let mut rig = rented(&vendor, &[]);
    let file = rig.root().join("last-word");
    let word = || std::fs::read_to_string(&file).ok()?.parse::<chrono::DateTime<chrono::Utc>>().ok();
    until("it is written down", async || word().is_some()).await;
    let (before, began) = (word().unwrap(), Instant::now());
    until("some silence", async || began.elapsed() > Duration::from_secs(3)).await;
    rig.kill();
    // Written anew by the next agent, with what it read: seen by the file's time, which is an old one until then.
    std::fs::File::options().write(true).open(&file).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    rig.restart();
    until("it is written again", async || {
        std::fs::metadata(&file).and_then(|file| file.modified()).is_ok_and(|at| at > SystemTime::UNIX_EPOCH)
    })
    .await;
    let apart = (word().unwrap() - before).abs();
    assert!(apart < chrono::TimeDelta::seconds(2), "{apart}");
}

async fn a_machine_that_is_never_started_is_removed() {
    let vendor = FakeVendor::answering(204);
    let rig = rented(&vendor, &[("TRAINYARD_BOOT_LEASE", "1")]);
    vendor.awaits("DELETE").await;
    assert_eq!(rig.client.state().await.unwrap().training, TrainingState::Idle);
}

async fn a_removal_that_is_refused_is_asked_for_again() {
    let vendor = FakeVendor::answering(503);
    let _rig = rented(&vendor, &[("TRAINYARD_BOOT_LEASE", "1")]);
    until("it is asked for twice", async || vendor.asked("DELETE").len() >= 2).await;
}

async fn whether_a_machine_can_remove_itself_is_told() {
    let proof = async |rig: &Rig| {
        let mut proof = SelfRemovalProof::None;
        until("it was tried", async || {
            proof = rig.client.state().await.unwrap().self_removal;
            proof != SelfRemovalProof::None
        })
        .await;
        proof
    };
    let good = FakeVendor::answering(200);
    assert_eq!(proof(&rented(&good, &[])).await, SelfRemovalProof::Proven);
    assert!(good.awaits("GET").await.starts_with("GET /pods/m1 Bearer machine-key "));
    let bad = FakeVendor::answering(403);
    let (refused, keyless) = (rented(&bad, &[]), rented(&good, &[("MACHINE_KEY", "")]));
    let told = |why: &str| SelfRemovalProof::Failed(why.to_owned());
    assert_eq!(proof(&refused).await, told("its reading of itself was answered with 403"));
    assert_eq!(proof(&keyless).await, told("the machine has no MACHINE_KEY"));
}

async fn a_machine_without_means_holds_what_it_has() {
    let rig = Rig::with(&[("TRAINYARD_BOOT_ORDER", "x")]);
    let pid = rig.own_text("pid");
    let mut order = shell(&format!("echo $$ > {pid}; while :; do sleep 0.05; done"));
    order.spec.limits.hold_s = 0;
    order.spec.limits.grace_period_s = 0;
    order.machine_ends_s = Some(2);
    rig.client.start(&order).await.unwrap();
    let pid = rig.told("pid").await;
    until("the training is stopped at the end of its budget", async || !is_alive(&pid)).await;
    let ended = Instant::now();
    until("its hold and its budget are over", async || ended.elapsed() > Duration::from_secs(4)).await;
    assert!(rig.exit().await.asked, "nothing is won by leaving a machine that is paid for");
}
