//! The line before the slots of this machine.

use serde_json::json;

use crate::yard::{JOBS, Yard, gated, list, moment, quick};

#[test]
fn with_one_slot_the_others_wait_in_order() {
    let yard = Yard::with("[local]\nslots = 1\nuse_gpus = false\n");
    let names = ["a", "b", "c"];
    for name in names {
        yard.create(name, &gated(&yard.file(name)));
        yard.submit(name).ok(200);
    }
    yard.await_state("a", "running");
    for (done, next) in [("a", "b"), ("b", "c")] {
        let waiting = yard.await_status("c", "c waits", |status| next == "c" || status["phase"] == "queued");
        assert_eq!(waiting["state"], "initializing");
        let before = yard.status(next);
        assert_eq!((&before["state"], &before["phase"]), (&json!("initializing"), &json!("queued")));
        assert!(before["started_at"].is_null() && before["provider_job_id"].is_null());
        assert_eq!(yard.server.agents().len(), 1);
        std::fs::write(yard.file(done), "").expect("the gate opens");
        yard.await_state(next, "running");
    }
    std::fs::write(yard.file("c"), "").expect("the gate opens");
    yard.await_state("c", "completed");
    let started = names.map(|name| moment(&yard.status(name)["started_at"]));
    let ended = names.map(|name| moment(&yard.status(name)["completed_at"]));
    assert!(ended[0] <= started[1] && ended[1] <= started[2], "one after another: {started:?} {ended:?}");
    let providers = yard.http.get("/api/training/providers").ok(200);
    assert_eq!(list(&providers["providers"])[0]["slots"]["total"], 1);
}

#[test]
fn the_line_outlives_the_server() {
    let mut yard = Yard::with("[local]\nslots = 1\nuse_gpus = false\n");
    yard.run("a", &gated(&yard.file("a")));
    for name in ["b", "c"] {
        yard.create(name, &quick());
        yard.submit(name).ok(200);
    }
    yard.server.crash();
    yard.start_again();
    assert_eq!(yard.status("a")["state"], "running");
    assert_eq!(yard.status("b")["state"], "initializing");
    std::fs::write(yard.file("a"), "").expect("the gate opens");
    for name in names_of(&yard) {
        yard.await_state(&name, "completed");
    }
    assert!(moment(&yard.status("b")["started_at"]) <= moment(&yard.status("c")["started_at"]));
}

fn names_of(yard: &Yard) -> Vec<String> {
    let jobs = yard.http.get(JOBS).ok(200);
    list(&jobs["jobs"]).iter().filter_map(|job| Some(job["job_id"].as_str()?.to_owned())).collect()
}
