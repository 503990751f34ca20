//! Kills at named points: at requests to each vendor, at what the job tells of itself, at files that appear.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use trainyard_simulator::Vendor;
use trainyard_simulator::faults::{Fault, Rule};
use trainyard_tests::{Heard as End, WebSocket};

use crate::dice::Dice;
use crate::judge::{self, Heard};
use crate::kills_wanted;
use crate::yard::{CLOUDS, SOON, Yard, counting};

/// Kills of the suite's share.
const SHARE: usize = 10;
/// Steps of each training.
const STEPS: u64 = 8;
/// How long a vendor holds back its answer; far longer than it takes to be killed.
const HELD_S: f64 = 20.0;

/// When the server is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// The vendor got that request and did nothing yet.
    Asked(&'static str),
    /// It did it, and the answer is not out.
    Done(&'static str),
    /// The answer is out.
    Answered(&'static str),
    /// The job told that phase.
    Phase(&'static str),
    /// The job told that state.
    State(&'static str),
    /// So many steps were told.
    Step(u64),
    /// Something new lies there, below the data directory.
    File(&'static str),
}

/// Every point at a cloud.
const AT_CLOUDS: [Moment; 22] = [
    Moment::Asked("offers"),
    Moment::Answered("offers"),
    Moment::Asked("create"),
    Moment::Done("create"),
    Moment::Answered("create"),
    Moment::Asked("list"),
    Moment::Done("list"),
    Moment::Answered("list"),
    Moment::Asked("terminate"),
    Moment::Done("terminate"),
    Moment::Answered("terminate"),
    Moment::Phase("ordering"),
    Moment::Phase("booting"),
    Moment::State("running"),
    Moment::Step(1),
    Moment::Step(STEPS),
    Moment::File("logs"),
    Moment::Phase("collecting"),
    Moment::File("artifacts/.part"),
    Moment::File("artifacts"),
    Moment::State("completed"),
    Moment::Phase("releasing"),
];

/// Through RunPod's proxy the agent's own requests are seen too.
const AT_RUNPOD: [Moment; 8] = [
    Moment::Asked("proxy"),
    Moment::Done("proxy"),
    Moment::Asked("proxy_events"),
    Moment::Done("proxy_events"),
    Moment::Asked("proxy_manifest"),
    Moment::Done("proxy_manifest"),
    Moment::Asked("proxy_file"),
    Moment::Done("proxy_file"),
];

/// Every point on this machine.
const HERE: [Moment; 9] = [
    Moment::File("local/machines"),
    Moment::State("running"),
    Moment::Step(1),
    Moment::Step(STEPS),
    Moment::File("logs"),
    Moment::File("artifacts/.part"),
    Moment::File("artifacts"),
    Moment::State("completed"),
    Moment::Phase("releasing"),
];

fn all_points() -> Vec<(&'static str, Moment)> {
    let clouds = AT_CLOUDS.iter().flat_map(|moment| CLOUDS.map(|provider| (provider, *moment)));
    let runpod = AT_RUNPOD.iter().map(|moment| ("runpod", *moment));
    let here = HERE.iter().map(|moment| ("local", *moment));
    clouds.chain(runpod).chain(here).collect()
}

#[test]
fn kills_at_named_points_lose_nothing_and_leak_nothing() {
    let mut dice = Dice::new("kills at named points");
    let points = all_points();
    let wanted = kills_wanted().map_or(SHARE, |wanted| wanted / 3);
    // Another share each time, spread over all of them.
    let from = dice.below(points.len() as u64) as usize;
    let by = (points.len() / wanted.max(1)).max(1);
    let mut yard = Yard::new();
    let (mut heard, mut ids) = (Heard::default(), Vec::new());
    for n in 0..wanted {
        let (provider, moment) = points[(from + n * by) % points.len()];
        let id = format!("{provider}-{n}");
        // Said before: should it fail, it is the last one said.
        tracing(&id, moment);
        at(&mut yard, provider, &id, moment, &mut heard);
        ids.push(id);
    }
    for id in &ids {
        let status = yard.await_rest(id);
        assert_eq!(status["state"], "completed", "{status}\n{}", yard.server.log());
        judge::history(&yard, id);
        judge::whole_training(&yard, id, STEPS);
        assert_eq!(judge::trained(&yard, id), 1, "{id} trained once: {}", yard.get(id, ""));
        assert_eq!(judge::rented(&yard, id), 1, "one machine was rented for {id}: {}", yard.get(id, ""));
    }
    heard.judge();
    yard.judge(&ids);
    yard.tell(&format!("kills at {} of {} named points", wanted.min(points.len()), points.len()));
}

fn tracing(id: &str, moment: Moment) {
    trainyard_tests::say(&format!("  {id}: {moment:?}"));
}

/// Submits a job, kills the server at that moment, starts it again, and listens to the job's end.
fn at(yard: &mut Yard, provider: &str, id: &str, moment: Moment, heard: &mut Heard) {
    let vendor = Vendor::ALL.into_iter().find(|vendor| vendor.to_string() == provider);
    let operation = match moment {
        Moment::Asked(operation) | Moment::Done(operation) | Moment::Answered(operation) => operation,
        Moment::Phase(_) | Moment::State(_) | Moment::Step(_) | Moment::File(_) => "",
    };
    let asked = |yard: &Yard| vendor.map_or(0, |vendor| yard.world().count(vendor, operation).asked);
    let before = asked(yard);
    if let Some(vendor) = vendor {
        let held = match moment {
            Moment::Asked(_) => Some(Fault::StallBefore { seconds: HELD_S }),
            Moment::Done(_) => Some(Fault::StallAfter { seconds: HELD_S }),
            _ => None,
        };
        held.into_iter().for_each(|fault| yard.world().add_fault(Rule::once(vendor, operation, fault)));
    }
    let stood = match moment {
        Moment::File(place) => names_in(&yard.server.data().join(place)),
        _ => Vec::new(),
    };
    yard.submit(id, provider, &counting(id, STEPS, 0));
    let mut socket = WebSocket::open(&yard.http(), &format!("/ws/training/jobs/{id}?log=true&after=0"), &[])
        .expect("open");
    let mut messages = Vec::new();
    match moment {
        Moment::Asked(_) | Moment::Done(_) | Moment::Answered(_) => {
            let vendor = vendor.expect("a vendor");
            let come = yard.world_until(SOON, |world| world.count(vendor, operation).asked > before);
            assert!(come, "{id}: `{operation}` was never asked\n{}", yard.server.log());
        }
        Moment::Phase(phase) => listen(&mut socket, &mut messages, |data| data["phase"] == phase),
        Moment::State(state) => listen(&mut socket, &mut messages, |data| data["state"] == state),
        Moment::Step(step) => listen(&mut socket, &mut messages, |data| data["step"] == step),
        Moment::File(place) => await_file(yard, id, place, &stood),
    }
    yard.kill_and_start(|_| {
        let (rest, _) = socket.to_end(SOON);
        messages.extend(rest);
    });
    heard.take(id, &messages);
    let path = format!("/ws/training/jobs/{id}?log=true&after={}", heard.last(id));
    let (rest, end) = WebSocket::open(&yard.http(), &path, &[]).expect("open").to_end(SOON);
    assert!(matches!(end, End::Closed(1000, _)), "{id}: {end:?}");
    heard.take(id, &rest);
}

/// Listens until such a message came.
fn listen(socket: &mut WebSocket, messages: &mut Vec<Value>, is: impl Fn(&Value) -> bool) {
    loop {
        let message = socket.message_within(SOON);
        let found = message["type"] != "connected" && is(&message["data"]);
        messages.push(message);
        if found {
            return;
        }
    }
}

/// Waits until something new lies there. What lies there for a moment only may be missed: then the moment after it.
fn await_file(yard: &Yard, id: &str, place: &str, stood: &[String]) {
    let (data, deadline) = (yard.server.data(), Instant::now() + SOON);
    while !names_in(&data.join(place)).iter().any(|name| !stood.contains(name))
        && !data.join("artifacts").join(id).exists()
    {
        assert!(Instant::now() < deadline, "nothing of {id} in {place}\n{}", yard.server.log());
        // waits: for the file, which may be there for a few milliseconds
        std::thread::sleep(Duration::from_micros(300));
    }
}

/// What lies in a directory.
fn names_in(place: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
