//! A server that stands still for long, as a laptop does whose lid is closed, and goes on.

use std::time::Duration;

use nix::sys::signal::Signal;
use trainyard_tests::WebSocket;

use crate::judge::{self, Heard};
use crate::yard::{SOON, Yard, counting};

/// Longer than an agent of this machine may be silent.
const ASLEEP: Duration = Duration::from_secs(13);
/// Steps of each training. They end while it sleeps, and after.
const STEPS: [u64; 2] = [60, 320];

#[test]
fn a_server_that_slept_goes_on_where_it_was() {
    let yard = Yard::new();
    let mut jobs = Vec::new();
    for provider in ["local", "runpod", "vastai", "lambda"] {
        for steps in STEPS {
            let id = format!("{provider}-{steps}");
            yard.submit(&id, provider, &counting(&id, steps, 0));
            jobs.push((id, steps));
        }
    }
    for (id, _) in &jobs {
        trainyard_tests::until(SOON, "it to run", || {
            (yard.get(id, "/status")["state"] == "running").then_some(())
        });
    }
    let open = |(id, _): &(String, u64)| {
        let path = format!("/ws/training/jobs/{id}?log=true&after=0");
        (id.clone(), WebSocket::open(&yard.http(), &path, &[]).expect("open"))
    };
    let sockets: Vec<(String, WebSocket)> = jobs.iter().map(open).collect();
    yard.server.process().signal(Signal::SIGSTOP);
    // waits: for the time that it sleeps
    std::thread::sleep(ASLEEP);
    yard.server.process().signal(Signal::SIGCONT);
    let mut heard = Heard::default();
    for (id, mut socket) in sockets {
        let (messages, _) = socket.to_end(SOON);
        heard.take(&id, &messages);
    }
    heard.judge();
    for (id, steps) in &jobs {
        assert_eq!(yard.await_rest(id)["state"], "completed");
        judge::history(&yard, id);
        judge::whole_training(&yard, id, *steps);
        assert_eq!(judge::rented(&yard, id), 1, "{}", yard.get(id, ""));
    }
    yard.judge(&jobs.into_iter().map(|(id, _)| id).collect::<Vec<_>>());
}
