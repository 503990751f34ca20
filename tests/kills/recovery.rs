//! How soon after a kill the first useful step is done.

use std::time::{Duration, Instant};

use trainyard_tests::{WebSocket, say};

use crate::kills_wanted;
use crate::yard::{JOBS, SOON, Yard, sh};

/// How soon it is promised.
const PROMISED: Duration = Duration::from_secs(2);

#[test]
fn a_kill_is_over_within_two_seconds() {
    let mut yard = Yard::new();
    let steps = "i=0; while :; do i=$((i+1)); echo \"{\\\"step\\\":$i,\\\"loss\\\":1}\" >> \"$TRAINYARD_METRICS_FILE\"; \
                 sleep 0.02; done";
    let jobs = [("here", "local"), ("pod", "runpod"), ("container", "vastai")];
    for (id, provider) in jobs {
        yard.submit(id, provider, &sh(steps));
    }
    for (id, _) in jobs {
        trainyard_tests::until(SOON, "its first steps", || {
            (yard.get(id, "/status")["current_metrics"]["step"].as_u64() > Some(3)).then_some(())
        });
    }
    let mut measured = Vec::new();
    for _ in 0..kills_wanted().map_or(3, |wanted| (wanted / 50).max(3)) {
        for (id, _) in jobs {
            measured.push(first_step(&mut yard, id));
        }
    }
    measured.sort_unstable();
    let middle = measured[measured.len() / 2];
    say(&format!(
        "from a kill to the first new step of a training: median {middle:?}, longest {:?}, of {}",
        measured.last(),
        measured.len()
    ));
    assert!(middle <= PROMISED, "{measured:?}");
    for (id, _) in jobs {
        yard.http().poke(&format!("{JOBS}/{id}/cancel")).ok(200);
        assert_eq!(yard.await_rest(id)["state"], "stopped");
    }
    yard.judge(&jobs.map(|(id, _)| id.to_owned()));
}

/// Kills the server, starts it again, and takes the time until it tells what the training did since.
fn first_step(yard: &mut Yard, id: &str) -> Duration {
    let after = yard.get(id, "/status")["seq"].as_u64().expect("`seq`");
    let killed = Instant::now();
    yard.server.crash();
    yard.kills += 1;
    yard.start_again();
    let path = format!("/ws/training/jobs/{id}?after={after}");
    let mut socket = WebSocket::open(&yard.http(), &path, &[]).expect("open");
    let connected = socket.message_within(SOON);
    let last = connected["seq"].as_u64().expect("the last number that was stored before");
    loop {
        let message = socket.message_within(SOON);
        if message["type"] != "connected" && message["seq"].as_u64() > Some(last) {
            return killed.elapsed();
        }
    }
}
