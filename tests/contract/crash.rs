//! Crashes: of the server, of the agent. What was begun goes on, and is told once.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trainyard_tests::{Heard, Process, WebSocket, until};

use crate::sockets::seqs;
use crate::yard::{JOBS, SOON, Yard, builtin, endless, list, sh};

/// Within this an agent that was killed is found out.
const LOST_WITHIN: Duration = Duration::from_secs(15);

fn steps(yard: &Yard, id: &str) -> Vec<u64> {
    let series = yard.get(id, "/metrics?names=loss").ok(200);
    list(&series["points"]).iter().filter_map(|point| point["step"].as_u64()).collect()
}

/// Logs a point and a line for each step, until a file is there; at the end the number of steps.
fn counting(end: &str) -> Value {
    sh(&format!(
        "i=0; until [ -e '{end}' ]; do i=$((i+1)); \
         echo \"{{\\\"step\\\":$i,\\\"loss\\\":$i}}\" >> \"$TRAINYARD_METRICS_FILE\"; \
         echo \"line $i\"; sleep 0.03; done; printf $i > \"$TRAINYARD_OUTPUT_DIR/steps\""
    ))
}

#[test]
fn five_crashes_of_the_server_lose_nothing_and_double_nothing() {
    let mut yard = Yard::new();
    let end_file = yard.file("end");
    yard.run("job_1", &counting(&end_file));
    let (mut seen, mut after) = (Vec::new(), 0);
    for _ in 0..5 {
        let path = format!("/ws/training/jobs/job_1?log=true&after={after}");
        let mut socket = WebSocket::open(&yard.http, &path, &[]).expect("open");
        let mut heard = Vec::new();
        // Some way into the training, in the middle of what it tells.
        while heard.len() < 40 {
            heard.push(socket.message_within(SOON));
        }
        yard.server.crash();
        let (rest, end) = socket.to_end(SOON);
        assert_eq!(end, Heard::Lost);
        heard.extend(rest);
        seen.extend(seqs(&heard));
        after = seen.last().copied().unwrap_or(0);
        yard.start_again();
        assert_eq!(yard.status("job_1")["state"], "running");
    }
    std::fs::write(&end_file, "").expect("it may end");
    let path = format!("/ws/training/jobs/job_1?log=true&after={after}");
    let (rest, end) = WebSocket::open(&yard.http, &path, &[]).expect("open").to_end(SOON);
    assert!(matches!(end, Heard::Closed(1000, _)), "{end:?}");
    seen.extend(seqs(&rest));
    let completed = yard.await_state("job_1", "completed");
    let last = completed["seq"].as_u64().expect("a number");
    assert_eq!(seen, (1..=last).collect::<Vec<u64>>(), "every event once");
    let counted = yard.get("job_1", "/artifact/steps").text().parse::<u64>().expect("a number");
    assert!(counted > 100, "{counted}");
    assert_eq!(steps(&yard, "job_1"), (1..=counted).collect::<Vec<u64>>(), "no step missing, none doubled");
    let lines: String = (1..=counted).map(|i| format!("line {i}\n")).collect();
    assert_eq!(yard.log("job_1"), lines);
    assert_eq!(list(&yard.get("job_1", "").ok(200)["attempts"]).len(), 1, "it was started once");
    yard.poke("job_1", "/download-artifact").ok(200);
}

#[test]
fn whenever_the_server_crashes_every_training_is_started_once() {
    let mut yard = Yard::with("[local]\nslots = 2\nuse_gpus = false\n");
    let started = yard.file("started");
    let script = format!(
        "echo $TRAINYARD_JOB_ID >> '{started}'; sleep 0.1; head -c 100000 /dev/zero > \"$TRAINYARD_OUTPUT_DIR/x\""
    );
    let names: Vec<String> = (0..12).map(|i| format!("job_{i}")).collect();
    for name in &names {
        yard.create(name, &sh(&script));
        let call = yard.http.call("POST", &format!("{JOBS}/{name}/submit")).header("Prefer", "respond-async");
        call.json(&json!({"provider": "local"})).send().ok(202);
    }
    // Moments that fall into ordering, booting, training, collecting and giving back, as chance has it.
    for after in [35, 90, 140, 20, 65, 110, 50] {
        // waits: for any moment of the work
        std::thread::sleep(Duration::from_millis(after));
        yard.server.crash();
        yard.start_again();
    }
    for name in &names {
        let completed = yard.await_state(name, "completed");
        assert_eq!(completed["artifact_info"]["size_bytes"], 100_000, "{completed}");
        yard.await_released(name);
        let (messages, end) = crate::sockets::open(&yard, name, "?after=0&log=true").to_end(SOON);
        assert!(matches!(end, Heard::Closed(1000, _)), "{end:?}");
        assert_eq!(
            seqs(&messages),
            (1..=completed["seq"].as_u64().expect("a number").max(messages.len() as u64 - 1))
                .collect::<Vec<u64>>()
        );
    }
    let mut started: Vec<String> =
        std::fs::read_to_string(started).expect("they started").lines().map(str::to_owned).collect();
    started.sort_unstable();
    let mut expected = names.clone();
    expected.sort_unstable();
    assert_eq!(started, expected);
    assert!(yard.server.agents().is_empty());
    let ledger = yard.http.get("/api/training/resources").ok(200);
    for machine in list(&ledger["machines"]) {
        assert_eq!(machine["may_be_billed"], false, "{machine}");
    }
}

#[test]
fn what_ended_while_no_server_ran_is_taken_home_at_the_next_start() {
    let mut yard = Yard::new();
    let (a, b) = (yard.file("a"), yard.file("b"));
    let gated = |file: &str, code: u8| {
        sh(&format!(
            "until [ -e '{file}' ]; do sleep 0.05; done; echo end; \
        printf x > \"$TRAINYARD_OUTPUT_DIR/x\"; exit {code}"
        ))
    };
    yard.run("good", &gated(&a, 0));
    yard.run("bad", &gated(&b, 9));
    let processes = [yard.processes("good"), yard.processes("bad")].concat();
    yard.server.crash();
    std::fs::write(&a, "").expect("the gate opens");
    std::fs::write(&b, "").expect("the gate opens");
    until(SOON, "the trainings to end", || processes.iter().all(|process| !process.is_alive()).then_some(()));
    yard.start_again();
    yard.await_state("good", "completed");
    assert_eq!(yard.await_state("bad", "failed")["exit_code"], 9);
    assert_eq!(yard.log("good"), "end\n");
    yard.poke("good", "/download-artifact").ok(200);
}

#[test]
fn a_paused_job_stays_paused_over_a_crash() {
    let mut yard = Yard::new();
    yard.run("job_1", &endless());
    yard.poke("job_1", "/pause").ok(200);
    yard.server.crash();
    yard.start_again();
    assert_eq!(yard.status("job_1")["state"], "paused");
    assert!(yard.processes("job_1").iter().all(Process::is_stopped));
    assert_eq!(yard.poke("job_1", "/resume").ok(200)["state"], "running");
    yard.server.crash();
    yard.start_again();
    assert_eq!(yard.poke("job_1", "/cancel").ok(200)["state"], "stopped");
    assert_eq!(yard.processes("job_1"), []);
}

/// Counts to `steps`, a checkpoint every ten, and goes on from the last; a child of it has left its session.
fn resumable(steps: u32) -> Value {
    sh(&format!(
        "i=0; [ -n \"$TRAINYARD_RESUME_FROM\" ] && i=$(cat \"$TRAINYARD_RESUME_FROM/step\"); echo \"from $i as $0\"; \
         (setsid sh -c 'while :; do sleep 0.2; done' > /dev/null 2>&1 &); \
         while [ $i -lt {steps} ]; do i=$((i+1)); \
         echo \"{{\\\"step\\\":$i,\\\"loss\\\":$i}}\" >> \"$TRAINYARD_METRICS_FILE\"; \
         if [ $((i % 10)) = 0 ]; then d=\"$TRAINYARD_CHECKPOINT_DIR/checkpoint-$i\"; mkdir -p \"$d.tmp\"; \
         echo $i > \"$d.tmp/step\"; mv \"$d.tmp\" \"$d\"; fi; sleep 0.1; done; \
         echo $i > \"$TRAINYARD_OUTPUT_DIR/steps\""
    ))
}

#[test]
fn an_agent_that_is_killed_is_lost_with_all_of_it_and_the_next_attempt_goes_on_from_the_checkpoint() {
    let yard = Yard::new();
    let mut spec = resumable(80);
    spec["checkpoints"] = json!({"resume_args": ["resumed"]});
    yard.run("job_1", &spec);
    yard.await_status("job_1", "step 35", |status| status["current_metrics"]["step"].as_u64() >= Some(35));
    let first = yard.order("job_1");
    let agent = yard.server.agents().pop().expect("its agent");
    assert!(Process::with_variable("TRAINYARD_ATTEMPT_NAME", &first).len() >= 2);
    let killed = Instant::now();
    agent.kill();
    let running = until(LOST_WITHIN, "the second attempt", || {
        let status = yard.status("job_1");
        assert_eq!(status["state"], "running", "another attempt is no other state");
        (status["attempt"] == 2).then_some(status)
    });
    assert!(killed.elapsed() < LOST_WITHIN);
    assert_eq!(Process::with_variable("TRAINYARD_ATTEMPT_NAME", &first), [], "nothing of the first is left");
    assert!(running["completed_at"].is_null());
    let completed = yard.await_state("job_1", "completed");
    let log = yard.log("job_1");
    let said: Vec<&str> = log.lines().filter_map(|line| line.strip_prefix("from ")).collect();
    assert!(said[0] == "0 as sh" && said[1].ends_with(" as resumed"), "`resume_args` are added: {said:?}");
    let from: Vec<u64> = said.iter().filter_map(|line| line.split(' ').next()?.parse().ok()).collect();
    assert!(from.len() == 2 && from[0] == 0 && from[1] >= 30 && from[1].is_multiple_of(10), "{log}");
    let job = yard.get("job_1", "").ok(200);
    let [lost, second] = list(&job["attempts"]).as_slice() else { panic!("{job}") };
    assert!(lost["reason"]["code"].is_string() && lost["gone_at"].is_string(), "{lost}");
    assert_eq!(second["exit_code"], 0);
    assert_eq!(completed["artifact_info"]["metadata"]["provider_job_id"], second["provider_job_id"]);
    let told = yard.get("job_1", "/notifications").ok(200);
    let lost = list(&told["notifications"]).iter().filter(|one| one["kind"] == "machine_lost").count();
    assert_eq!(lost, 1, "{told}");
}

#[test]
fn with_no_attempt_left_a_lost_agent_fails_the_job() {
    let yard = Yard::new();
    let mut spec = sh("(setsid sh -c 'while :; do sleep 0.2; done' &); while :; do sleep 0.2; done");
    spec["retry"] = json!({"max_attempts": 1});
    yard.run("job_1", &spec);
    let order = yard.order("job_1");
    yard.server.agents().pop().expect("its agent").kill();
    let failed = until(LOST_WITHIN, "the job to fail", || {
        let status = yard.status("job_1");
        (status["state"] == "failed").then_some(status)
    });
    assert!(failed["reason"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{failed}");
    assert_eq!(Process::with_variable("TRAINYARD_ATTEMPT_NAME", &order), []);
}

#[test]
fn an_agent_that_hangs_is_lost_too() {
    let yard = Yard::new();
    let mut spec = endless();
    spec["retry"] = json!({"max_attempts": 1});
    yard.run("job_1", &spec);
    let order = yard.order("job_1");
    yard.server.agents().pop().expect("its agent").signal(nix::sys::signal::Signal::SIGSTOP);
    let failed = until(Duration::from_secs(45), "the job to fail", || {
        let status = yard.status("job_1");
        (status["state"] == "failed").then_some(status)
    });
    assert_eq!(failed["reason"]["code"], "agent_lost", "{failed}");
    yard.await_released("job_1");
    assert_eq!(Process::with_variable("TRAINYARD_ATTEMPT_NAME", &order), []);
    assert!(yard.server.agents().is_empty());
}

#[test]
fn server_and_agent_killed_together_is_an_attempt_lost() {
    let mut yard = Yard::new();
    yard.run("job_1", &resumable(40));
    yard.await_status("job_1", "step 15", |status| status["current_metrics"]["step"].as_u64() >= Some(15));
    let agent = yard.server.agents().pop().expect("its agent");
    yard.server.crash();
    agent.kill();
    yard.start_again();
    let completed = yard.await_state("job_1", "completed");
    assert_eq!(completed["attempt"], 2);
    assert!(yard.log("job_1").contains("from 10 as sh\n"), "{}", yard.log("job_1"));
}

#[test]
fn the_built_in_trainer_ends_with_the_same_adapter_bit_for_bit() {
    let yard = Yard::new();
    let spec = builtin(60);
    let whole = yard.complete("whole", &spec);
    yard.run("broken", &spec);
    yard.await_status("broken", "step 25", |status| status["current_metrics"]["step"].as_u64() >= Some(25));
    assert_eq!(yard.status("broken")["state"], "running", "it is not over before it is broken off");
    yard.server.agents().pop().expect("its agent").kill();
    let broken = yard.await_state("broken", "completed");
    assert_eq!(broken["attempt"], 2);
    let files = |status: &Value| status["artifact_info"]["files"].clone();
    assert_eq!(files(&broken), files(&whole));
    let events = yard.events("broken");
    let second = events.iter().filter(|event| event["type"] == "metrics" && event["attempt"] == 2);
    let went_on = second
        .filter(|event| !event["data"]["loss"].is_null())
        .find_map(|event| event["data"]["step"].as_u64());
    let went_on = went_on.expect("a second attempt");
    assert!(went_on > 1 && went_on % 10 == 1, "from a checkpoint, not from the start: {went_on}");
    let mut seen = steps(&yard, "broken");
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, (1..=60).collect::<Vec<u64>>());
}
