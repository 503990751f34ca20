//! Kills between the making of a directory on this machine and the start of the agent in it: no attempt is used up.

use std::time::Instant;

use crate::judge;
use crate::kills_wanted;
use crate::yard::{SOON, Yard, counting};

/// Kills of the suite's share.
const SHARE: usize = 4;
/// Steps of each training.
const STEPS: u64 = 4;

#[test]
fn a_kill_before_the_agent_here_is_started_uses_up_no_attempt() {
    let mut yard = Yard::new();
    let (mut ids, mut unstarted) = (Vec::new(), 0);
    for n in 0..kills_wanted().map_or(SHARE, |wanted| wanted / 20) {
        let id = format!("here-{n}");
        let mut spec = counting(&id, STEPS, 0);
        spec["retry"]["max_attempts"] = 1.into();
        let machines = yard.server.data().join("local/machines");
        let made = || std::fs::read_dir(&machines).ok().and_then(|mut found| found.next()?.ok());
        assert!(made().is_none(), "the one before is gone");
        yard.submit(&id, "local", &spec);
        let deadline = Instant::now() + SOON;
        // No sleep between two looks: the moment is shorter than one.
        let directory = loop {
            if let Some(made) = made() {
                break made.path();
            }
            assert!(Instant::now() < deadline, "{id} was never ordered\n{}", yard.server.log());
        };
        yard.server.crash();
        yard.kills += 1;
        let order = directory.file_name().and_then(|name| name.to_str()).expect("an order");
        unstarted += usize::from(trainyard_agent::agent_of(order).is_none());
        yard.start_again();
        let status = yard.await_rest(&id);
        assert_eq!(status["state"], "completed", "{status}\n{}", yard.server.log());
        judge::history(&yard, &id);
        judge::whole_training(&yard, &id, STEPS);
        assert_eq!((judge::rented(&yard, &id), judge::trained(&yard, &id)), (1, 1), "{}", yard.get(&id, ""));
        ids.push(id);
    }
    yard.judge(&ids);
    yard.tell(&format!("kills as a directory here appeared, {unstarted} of them before its agent ran"));
}
