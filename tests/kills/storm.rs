//! Kills at random, of the server and of agents, while clients go on submitting.

use std::time::Duration;

use trainyard_tests::{Heard as End, Process, WebSocket, say};

use crate::crowd::{Crowd, Crowded, Fate};
use crate::dice::Dice;
use crate::judge::{self, Heard};
use crate::kills_wanted;
use crate::yard::{SOON, Yard};

/// Kills of the suite's share.
const SHARE: usize = 20;
/// Kills of one world; then another one begins.
const WORLD_KILLS: usize = 150;
/// Jobs that are kept under way.
const UNDER_WAY: usize = 30;
/// Jobs that are listened to at once.
const LISTENED: usize = 6;

#[test]
fn kills_at_random_under_load_lose_nothing_and_leak_nothing() {
    let mut dice = Dice::new("kills at random");
    let mut left = kills_wanted().map_or(SHARE, |wanted| wanted - wanted / 3);
    while left > 0 {
        let kills = left.min(WORLD_KILLS);
        storm(kills, &mut dice);
        left -= kills;
    }
}

fn storm(kills: usize, dice: &mut Dice) {
    let mut yard = Yard::scripted(20, Duration::from_millis(100));
    let crowd = Crowd::start(&yard.address, UNDER_WAY);
    let (mut heard, mut agents) = (Heard::default(), 0);
    for _ in 0..kills {
        let mut sockets = listen(&yard, &crowd, &heard, dice);
        // waits: for any moment of the work; sometimes for the very first ones
        std::thread::sleep(if dice.below(4) == 0 { dice.millis(15) } else { dice.millis(500) });
        if dice.below(5) == 0 {
            agents += usize::from(kill_an_agent(&yard, dice));
        }
        yard.kill_and_start(|_| {
            for (id, socket) in &mut sockets {
                let (messages, end) = socket.to_end(SOON);
                assert!(matches!(end, End::Lost | End::Closed(1000, _)), "{id}: {end:?}");
                heard.take(id, &messages);
            }
        });
    }
    let crowded = crowd.end();
    judge_all(&yard, &crowded);
    heard.judge();
    yard.tell("kills at random");
    say(&format!(
        "  {} jobs accepted, {} requests unanswered, {} submissions refused, {agents} agents killed, {} jobs listened to",
        crowded.accepted.len(),
        crowded.unanswered,
        crowded.refused.len(),
        heard.jobs()
    ));
}

/// Opens sockets of some jobs, each after the last number that was heard.
fn listen(yard: &Yard, crowd: &Crowd, heard: &Heard, dice: &mut Dice) -> Vec<(String, WebSocket)> {
    let open = crowd.open();
    let mut chosen: Vec<String> = (0..LISTENED).filter_map(|_| dice.pick(&open).cloned()).collect();
    chosen.sort_unstable();
    chosen.dedup();
    let socket = |id: String| {
        let path = format!("/ws/training/jobs/{id}?log=true&after={}", heard.last(&id));
        let socket = WebSocket::open(&yard.http(), &path, &[]).expect("open");
        (id, socket)
    };
    chosen.into_iter().map(socket).collect()
}

/// Kills an agent of this machine's, or one in a container; says whether there was one.
fn kill_an_agent(yard: &Yard, dice: &mut Dice) -> bool {
    let seen = agents(yard);
    // waits: a child that has just been forked still looks like its agent, and is the training's warden a moment later
    std::thread::sleep(Duration::from_millis(20));
    let agents: Vec<Process> = agents(yard).into_iter().filter(|agent| seen.contains(agent)).collect();
    let chosen = dice.pick(&agents);
    chosen.iter().for_each(|agent| agent.kill());
    chosen.is_some()
}

fn agents(yard: &Yard) -> Vec<Process> {
    let mut agents = yard.server.agents();
    let rented = yard.world().alive().into_iter().filter(|machine| machine.vendor.to_string() == "vastai");
    for machine in rented {
        let of_it = Process::with_variable("TRAINYARD_BOOT_ORDER", &machine.name);
        agents.extend(of_it.into_iter().filter(|it| it.command_line().iter().any(|word| word == "__agent")));
    }
    agents
}

fn judge_all(yard: &Yard, crowded: &Crowded) {
    assert!(crowded.refused.is_empty(), "{:#?}", crowded.refused);
    let ids: Vec<String> = crowded.accepted.iter().map(|job| job.id.clone()).collect();
    for job in &crowded.accepted {
        let status = yard.await_rest(&job.id);
        let expected = match job.fate {
            Fate::Counts(_) | Fate::Scripted => "completed",
            Fate::Fails => "failed",
            Fate::Cancelled => "stopped",
        };
        assert_eq!(status["state"], expected, "{}: {status}\n{}", job.id, yard.server.log());
        judge::history(yard, &job.id);
        match job.fate {
            Fate::Counts(steps) => judge::whole_training(yard, &job.id, steps),
            Fate::Fails => assert_eq!(status["exit_code"], 3, "{status}"),
            Fate::Cancelled | Fate::Scripted => {}
        }
    }
    yard.judge(&ids);
}
