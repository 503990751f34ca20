//! How trainings end: nothing of them is left, whoever dies first.

use std::time::{Duration, Instant};

use trainyard_agent::{AgentRecord, sweep};
use trainyard_connector::{Effect, ErrorKind, TrainingState, Workload, WorkloadState};
use trainyard_domain::{AttemptNumber, WhenOrchestratorLost};

use crate::rig::{Rig, is_alive, shell, until};

trainyard_testkit::program_tests![
    a_stop_leaves_no_descendant,
    a_training_that_obeys_is_not_killed,
    what_a_training_leaves_behind_ends_with_it,
    a_killed_agent_takes_everything_with_it,
    a_killed_warden_is_told_and_nothing_is_left,
    another_attempt_ends_the_one_before,
    exit_codes_and_signals_are_told,
    the_deadline_stops,
    silence_stops_where_that_was_asked_for,
    a_restarted_agent_is_another_one_and_idle,
    an_end_outlives_its_agent,
    an_end_is_forgotten_once_another_attempt_began,
    an_agent_told_to_end_ends_the_training_in_order,
    a_release_clears_and_leaves,
    a_sweep_finds_what_lost_both,
];

/// Processes that do all they can to stay: other sessions, orphans, deaf to SIGTERM. Each writes its pid.
fn stubborn(rig: &Rig) -> String {
    let file = |name: &str| rig.own_text(name);
    format!(
        "trap '' TERM\n\
         setsid sh -c \"trap '' TERM; echo \\$\\$ > {}; while :; do sleep 1; done\" &\n\
         sh -c \"(setsid sh -c 'trap \\\"\\\" TERM HUP; echo \\$\\$ > {}; while :; do sleep 1; done' &) ; exit 0\"\n\
         (sh -c \"trap '' TERM; echo \\$\\$ > {}; while :; do sleep 1; done\" &)\n\
         echo $$ > {}\n\
         while :; do sleep 1; done",
        file("session"),
        file("orphan"),
        file("child"),
        file("main")
    )
}

async fn pids(rig: &Rig) -> Vec<String> {
    let mut pids = Vec::new();
    for name in ["session", "orphan", "child", "main"] {
        pids.push(rig.told(name).await);
    }
    assert!(pids.iter().all(|pid| is_alive(pid)));
    pids
}

async fn a_stop_leaves_no_descendant() {
    let rig = Rig::new();
    rig.run(&stubborn(&rig)).await;
    let pids = pids(&rig).await;
    let begin = Instant::now();
    rig.client.stop(Duration::from_millis(300)).await.unwrap();
    let exit = rig.exit().await;
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    assert!(pids.iter().all(|pid| !is_alive(pid)), "{pids:?}");
    assert_eq!((exit.code, exit.signal, exit.asked), (137, Some(9), true));
    assert_eq!(exit.note.as_deref(), Some("killed after the grace period"));
}

async fn a_training_that_obeys_is_not_killed() {
    let rig = Rig::new();
    rig.run(&format!("trap 'exit 0' TERM; echo $$ > {}; while :; do sleep 0.02; done", rig.own_text("pid")))
        .await;
    rig.told("pid").await;
    rig.client.stop(Duration::from_secs(20)).await.unwrap();
    let exit = rig.exit().await;
    assert_eq!((exit.code, exit.asked, exit.note), (0, true, None));
}

async fn what_a_training_leaves_behind_ends_with_it() {
    let rig = Rig::new();
    let pid = rig.own_text("pid");
    rig.run(&format!(
        "setsid sh -c 'echo $$ > {pid}; exec sleep 300' & while ! [ -s {pid} ]; do sleep 0.01; done"
    ))
    .await;
    let begin = Instant::now();
    let exit = rig.exit().await;
    assert!(begin.elapsed() < Duration::from_secs(2), "SIGTERM was enough for it");
    assert_eq!(exit.code, 0);
    assert!(!is_alive(&rig.told("pid").await));
}

async fn a_killed_agent_takes_everything_with_it() {
    let mut rig = Rig::new();
    rig.run(&stubborn(&rig)).await;
    let pids = pids(&rig).await;
    let begin = Instant::now();
    rig.kill();
    until("nobody is left", async || pids.iter().all(|pid| !is_alive(pid))).await;
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
}

async fn a_killed_warden_is_told_and_nothing_is_left() {
    let rig = Rig::new();
    rig.run(&stubborn(&rig)).await;
    let pids = pids(&rig).await;
    let agent = rig.child.id().to_string();
    let warden = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .find(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let after = stat.rfind(')').map_or("", |at| &stat[at..]);
            after.split_ascii_whitespace().nth(2) == Some(agent.as_str())
        })
        .unwrap();
    assert!(trainyard_agent::ProcessId::of(warden).unwrap().kill());
    let exit = rig.exit().await;
    assert_eq!((exit.code, exit.signal, exit.asked), (137, Some(9), false));
    assert!(exit.note.unwrap().contains("killed from outside"));
    assert!(pids.iter().all(|pid| !is_alive(pid)));
}

async fn another_attempt_ends_the_one_before() {
    let rig = Rig::new();
    rig.run(&stubborn(&rig)).await;
    let pids = pids(&rig).await;
    let mut order = shell("echo second");
    order.attempt = AttemptNumber::from(2);
    let state = rig.client.start(&order).await.unwrap();
    assert!(pids.iter().all(|pid| !is_alive(pid)));
    assert_eq!(state.attempt.unwrap().1, order.attempt);
    assert_eq!(rig.exit().await.code, 0);
    assert_eq!(rig.log().await, "second\n");
    assert_eq!(rig.events().await[0].n, 1);
}

async fn exit_codes_and_signals_are_told() {
    let rig = Rig::new();
    for (attempt, script, code, signal) in
        [(1, "exit 0", 0, None), (2, "exit 42", 42, None), (3, "kill -SEGV $$", 139, Some(11))]
    {
        let mut order = shell(script);
        order.attempt = AttemptNumber::from(attempt);
        rig.client.start(&order).await.unwrap();
        let exit = rig.exit().await;
        assert_eq!((exit.code, exit.signal, exit.asked), (code, signal, false), "{script}");
    }
}

async fn the_deadline_stops() {
    let rig = Rig::new();
    let mut order = shell("while :; do sleep 0.05; done");
    order.deadline_s = Some(1);
    rig.client.start(&order).await.unwrap();
    let exit = rig.exit().await;
    assert_eq!((exit.code, exit.signal, exit.asked), (143, Some(15), true));
    assert_eq!(exit.note.as_deref(), Some("stopped by the agent at the deadline"));
}

async fn silence_stops_where_that_was_asked_for() {
    let rig = Rig::new();
    let pid = rig.own_text("pid");
    let mut order = shell(&format!("echo $$ > {pid}; while :; do sleep 0.05; done"));
    order.spec.limits.when_orchestrator_lost = WhenOrchestratorLost::Stop;
    order.spec.limits.max_silence_s = 1;
    rig.client.start(&order).await.unwrap();
    let pid = rig.told("pid").await;
    // Nobody calls the agent here.
    until("the training ends", async || !is_alive(&pid)).await;
    let exit = rig.exit().await;
    assert!(exit.asked && exit.note.unwrap().contains("silent"));
}

async fn a_restarted_agent_is_another_one_and_idle() {
    let mut rig = Rig::new();
    rig.run("sleep 60").await;
    rig.running().await;
    let before = rig.client.greet().await.unwrap();
    rig.restart();
    let error = rig.client.stop(Duration::ZERO).await.unwrap_err();
    assert_eq!((error.kind, error.effect), (ErrorKind::Restarted, Effect::None));
    // Whoever was told may go on with the new one.
    let state = rig.client.state().await.unwrap();
    assert_ne!(before.boot_id, state.boot_id);
    assert_eq!((state.training, state.attempt, state.last_event), (TrainingState::Idle, None, 0));
}

/// Everything that can be asked about an ended attempt, but for who answers.
async fn told(rig: &Rig) -> String {
    let client = rig.client();
    let WorkloadState { boot_id: _, attempt, training, last_event, log_bytes, self_removal: _ } =
        client.state().await.unwrap();
    let events = client.events(0, Duration::ZERO).await.unwrap().events;
    let manifest = client.manifest(Duration::from_secs(20)).await.unwrap();
    let (log, model) = (client.log(0, 1000).await.unwrap(), client.file("model", 0, 100).await.unwrap());
    let checkpoints = client.checkpoints().await.unwrap();
    let held = client.hold_checkpoint(&checkpoints[0].path, Duration::from_secs(20)).await.unwrap().unwrap();
    let state = client.checkpoint_file(&held.path, "state", 0, 100).await.unwrap();
    let job = client.job().await.unwrap();
    format!(
        "{attempt:?}\n{training:?}\n{last_event} {log_bytes}\n{events:?}\n{manifest:?}\n{log:?} {model:?}\n{checkpoints:?}\n{held:?} {state:?}\n{job:?}"
    )
}

/// Another boot of the agent, that answers: connections to the one before break.
async fn started_anew(rig: &mut Rig) {
    rig.restart();
    until("it answers", async || rig.client().state().await.is_ok()).await;
}

async fn an_end_outlives_its_agent() {
    let mut rig = Rig::new();
    let script = format!(
        "echo once >> {}; echo line; echo '{{\"step\": 1, \"loss\": 2}}' >> $TRAINYARD_METRICS_FILE; \
         mkdir $TRAINYARD_CHECKPOINT_DIR/checkpoint-1; echo s > $TRAINYARD_CHECKPOINT_DIR/checkpoint-1/state; \
         echo model > $TRAINYARD_OUTPUT_DIR/model",
        rig.own_text("ran")
    );
    rig.run(&script).await;
    assert_eq!(rig.exit().await.code, 0);
    let before = told(&rig).await;
    assert!(before.contains("line") && before.contains("model"), "{before}");
    started_anew(&mut rig).await;
    assert_eq!(told(&rig).await, before);
    // A crash between the end and its digests: they are made again.
    rig.kill();
    std::fs::remove_file(rig.root().join("manifest.json")).unwrap();
    started_anew(&mut rig).await;
    assert_eq!(told(&rig).await, before);
    let state = rig.client().start(&shell(&script)).await.unwrap();
    assert!(matches!(state.training, TrainingState::Exited { .. }), "it was started before: {state:?}");
    assert_eq!(rig.told("ran").await, "once\n");
}

async fn an_end_is_forgotten_once_another_attempt_began() {
    let mut rig = Rig::new();
    rig.run("echo model > $TRAINYARD_OUTPUT_DIR/model").await;
    rig.exit().await;
    started_anew(&mut rig).await;
    let mut next = shell("sleep 60");
    next.attempt = AttemptNumber::FIRST.next();
    rig.client().start(&next).await.unwrap();
    until("it runs", async || {
        matches!(rig.client().state().await.unwrap().training, TrainingState::Running { .. })
    })
    .await;
    started_anew(&mut rig).await;
    let state = rig.client().state().await.unwrap();
    assert_eq!((state.training, state.attempt, state.last_event), (TrainingState::Idle, None, 0));
}

async fn an_agent_told_to_end_ends_the_training_in_order() {
    let mut rig = Rig::new();
    let script = format!(
        "trap 'echo saved > $TRAINYARD_OUTPUT_DIR/model; exit 0' TERM; echo $$ > {}; while :; do sleep 0.02; done",
        rig.own_text("pid")
    );
    rig.run(&script).await;
    let pid = rig.told("pid").await;
    let agent = rig.child.id().to_string();
    let signal = |name: &str| std::process::Command::new("kill").args([name, &agent]).status().unwrap();
    // The hang-up and the interrupt of a terminal are not for it.
    assert!(signal("-HUP").success() && signal("-INT").success());
    rig.client.state().await.unwrap();
    assert!(is_alive(&pid));
    assert!(signal("-TERM").success());
    let mut status = None;
    until("the agent leaves", async || {
        status = rig.child.try_wait().unwrap();
        status.is_some()
    })
    .await;
    assert!(status.unwrap().success() && !is_alive(&pid));
    assert_eq!(std::fs::read_to_string(rig.root().join("output/model")).unwrap(), "saved\n");
}

async fn a_release_clears_and_leaves() {
    let mut rig = Rig::new();
    let record = rig.root().join(AgentRecord::FILE);
    rig.run(&stubborn(&rig)).await;
    let pids = pids(&rig).await;
    let told: AgentRecord = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    assert_eq!((told.port, told.order.as_str()), (rig.port, rig.order.as_str()));
    assert!(told.process.is_alive());
    rig.client.release().await.unwrap();
    assert!(pids.iter().all(|pid| !is_alive(pid)));
    let mut status = None;
    until("the agent leaves", async || {
        status = rig.child.try_wait().unwrap();
        status.is_some()
    })
    .await;
    assert!(status.unwrap().success());
    assert!(!rig.root().exists());
    assert!(rig.own("keep/job/checkpoints").exists());
}

async fn a_sweep_finds_what_lost_both() {
    let rig = Rig::new();
    // As if agent and warden had been killed in one moment.
    let pid = rig.own_text("pid");
    let mut child = std::process::Command::new("sh")
        .args(["-c", &format!("trap '' TERM; (env -i sh -c 'echo $$ > {pid}; exec /bin/sleep 300') & wait")])
        .env(trainyard_agent::MARK, rig.order.as_str())
        .spawn()
        .unwrap();
    let pid = rig.told("pid").await;
    let order = rig.order.to_string();
    let killed = tokio::task::spawn_blocking(move || sweep(&order)).await.unwrap();
    assert!(killed >= 2, "the one with the mark and the one that shed it");
    assert!(!is_alive(&pid));
    child.wait().unwrap();
}
