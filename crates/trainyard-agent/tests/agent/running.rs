//! A training that runs: events, environment, pause, steps before it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use trainyard_connector::{AgentEventBody, ErrorKind, TrainingState, Workload};
use trainyard_domain::AttemptNumber;

use crate::rig::{Rig, command, cpu_ticks, is_alive, shell, until};

trainyard_testkit::program_tests![
    events_come_in_order_and_end_with_the_exit,
    events_go_on_after_a_break,
    a_metric_is_told_within_milliseconds,
    a_second_start_starts_nothing,
    the_environment_is_the_contracts,
    setup_runs_first_and_its_failure_is_named,
    a_pause_stops_every_descendant_and_a_resume_goes_on,
    a_stop_ends_a_paused_training,
    a_checkpoint_is_told_and_resumed_from,
    a_checkpoint_among_the_outputs_outlives_the_attempt,
    a_trainer_that_knows_nothing_writes_where_it_always_does,
    the_trainers_hook_tells_and_hides_nothing,
    a_program_that_is_not_there_is_named,
];

const METRICS: &str = r#"for i in 1 2 3; do echo "{\"step\": $i, \"loss\": 0.$i}" >> $TRAINYARD_METRICS_FILE; echo "line $i"; done"#;

async fn events_come_in_order_and_end_with_the_exit() {
    let rig = Rig::new();
    rig.run(METRICS).await;
    let exit = rig.exit().await;
    assert_eq!((exit.code, exit.signal, exit.asked, exit.note), (0, None, false, None));
    let events = rig.events().await;
    let numbers: Vec<u64> = events.iter().map(|event| event.n).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
    assert!(matches!(events.last().unwrap().body, AgentEventBody::Exited(_)));
    assert!(events.iter().any(|event| matches!(event.body, AgentEventBody::Started)));
    let losses: Vec<f64> = events
        .iter()
        .filter_map(|event| match &event.body {
            AgentEventBody::Metrics(point) => point.get("loss"),
            _ => None,
        })
        .collect();
    assert_eq!(losses, [0.1, 0.2, 0.3]);
    // The ranges of the log are the log.
    let told: u64 = events
        .iter()
        .map(|event| match event.body {
            AgentEventBody::Log(span) => u64::from(span.len),
            _ => 0,
        })
        .sum();
    let log = rig.log().await;
    assert_eq!(log, "line 1\nline 2\nline 3\n");
    assert_eq!(told, log.len() as u64);
    assert_eq!(rig.client.state().await.unwrap().log_bytes, told);
}

async fn events_go_on_after_a_break() {
    let rig = Rig::new();
    let go = rig.own_text("go");
    rig.run(&format!("{METRICS}; while ! [ -e {go} ]; do sleep 0.02; done; {METRICS}")).await;
    let first = rig.client.events(0, Duration::from_secs(5)).await.unwrap();
    let seen = first.events.last().unwrap().n;
    std::fs::write(&go, "").unwrap();
    // Somebody else goes on where the first one broke off: nothing missing, nothing twice.
    let other = rig.client();
    rig.exit().await;
    let mut numbers: Vec<u64> = first.events.iter().map(|event| event.n).collect();
    let mut after = seen;
    loop {
        let batch = other.events(after, Duration::ZERO).await.unwrap();
        let Some(last) = batch.events.last() else { break };
        after = last.n;
        numbers.extend(batch.events.iter().map(|event| event.n));
    }
    assert_eq!(numbers, (1..=after).collect::<Vec<_>>());
}

async fn a_metric_is_told_within_milliseconds() {
    let rig = Rig::new();
    let script = "import os,time\nf=open(os.environ['TRAINYARD_METRICS_FILE'],'a')\nfor i in range(20):\n \
                  f.write('{\"step\":%d,\"wrote\":%f}\\n'%(i,time.time()*1000)); f.flush(); time.sleep(0.03)";
    rig.client.start(&command(&["python3", "-c", script])).await.unwrap();
    let mut late = Vec::new();
    let mut after = 0;
    loop {
        let batch = rig.client.events(after, Duration::from_secs(10)).await.unwrap();
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64() * 1000.0;
        for event in &batch.events {
            after = event.n;
            if let AgentEventBody::Metrics(point) = &event.body
                && let Some(wrote) = point.get("wrote")
            {
                late.push(now - wrote);
            }
        }
        if matches!(batch.events.last().map(|event| &event.body), Some(AgentEventBody::Exited(_))) {
            break;
        }
    }
    assert_eq!(late.len(), 20);
    late.sort_by(f64::total_cmp);
    println!("metric written → told: median {:.1} ms, worst {:.1} ms", late[10], late[19]);
    assert!(late[10] < 100.0, "{late:?}");
}

async fn a_second_start_starts_nothing() {
    let rig = Rig::new();
    let script = format!("echo x >> {}; sleep 60", rig.own_text("started"));
    let order = shell(&script);
    rig.client.start(&order).await.unwrap();
    rig.told("started").await;
    let state = rig.client.start(&order).await.unwrap();
    assert_eq!(state.attempt, Some((order.job_id.clone(), order.attempt)));
    rig.client.stop(Duration::ZERO).await.unwrap();
    rig.exit().await;
    let state = rig.client.start(&order).await.unwrap();
    assert!(matches!(state.training, TrainingState::Exited { .. }));
    assert_eq!(rig.told("started").await, "x\n");
}

async fn the_environment_is_the_contracts() {
    let rig = Rig::new();
    let mut order =
        shell("env; pwd; cat $TRAINYARD_SPEC > /dev/null && echo has-spec; ls -d $TRAINYARD_OUTPUT_DIR");
    order.spec.environment.env.insert("MINE".to_owned(), "here".to_owned());
    order.secrets.insert("HF_TOKEN".parse().unwrap(), "abc".to_owned().into());
    order.gpus = Some(vec![1, 2]);
    rig.client.start(&order).await.unwrap();
    rig.exit().await;
    let log = rig.log().await;
    let seen: BTreeMap<&str, &str> = log.lines().filter_map(|line| line.split_once('=')).collect();
    assert_eq!(seen["TRAINYARD_JOB_ID"], "job");
    assert_eq!(seen["TRAINYARD_ATTEMPT"], "1");
    assert_eq!(seen["TRAINYARD_ATTEMPT_NAME"], rig.order.as_str());
    assert_eq!(seen["TRAINYARD_GPU_COUNT"], "2");
    assert_eq!(seen["CUDA_VISIBLE_DEVICES"], "1,2");
    assert_eq!(seen["TRAINYARD_RESUME_FROM"], "");
    assert_eq!(seen["MINE"], "here");
    assert_eq!(seen["HF_TOKEN"], "abc");
    assert_eq!(seen["TRAINYARD_CHECKPOINT_DIR"], rig.own_text("keep/job/checkpoints"));
    for name in ["PATH", "MASTER_PORT", "TRAINYARD_INPUT_DIR", "TRAINYARD_METRICS_FILE"] {
        assert!(seen.contains_key(name), "{name} is missing in {log}");
    }
    assert!(!seen.contains_key("RUNPOD_API_KEY"));
    assert!(log.contains("has-spec\n"));
}

async fn setup_runs_first_and_its_failure_is_named() {
    let rig = Rig::new();
    let mut order = shell("echo training");
    order.spec.environment.setup = vec!["echo first".to_owned(), "echo second; exit 7".to_owned()];
    rig.client.start(&order).await.unwrap();
    let exit = rig.exit().await;
    assert_eq!(exit.code, 7);
    assert_eq!(exit.note.as_deref(), Some("setup command 2 of 2 failed"));
    let log = rig.log().await;
    assert!(log.contains("first\n") && log.contains("second\n") && !log.contains("training\n"), "{log}");
    // Another attempt, whose setup works.
    order.attempt = AttemptNumber::from(2);
    order.spec.environment.setup = vec!["echo first".to_owned()];
    rig.client.start(&order).await.unwrap();
    assert_eq!(rig.exit().await.code, 0);
    assert_eq!(rig.log().await, "trainyard: setup command 1 of 1\nfirst\ntraining\n");
}

/// Two processes that are busy, one in a session of its own.
fn busy(rig: &Rig) -> String {
    let (inner, outer) = (rig.own_text("inner"), rig.own_text("outer"));
    let spin = "while :; do :; done";
    format!("setsid sh -c 'echo $$ > {inner}; {spin}' & sh -c 'echo $$ > {outer}; {spin}' & wait")
}

async fn a_pause_stops_every_descendant_and_a_resume_goes_on() {
    let rig = Rig::new();
    rig.run(&busy(&rig)).await;
    let pids = [rig.told("inner").await, rig.told("outer").await];
    rig.running().await;
    let begin = Instant::now();
    rig.client.pause().await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(1), "the pause took {:?}", begin.elapsed());
    let paused = |state| matches!(state, TrainingState::Running { paused: true, .. });
    assert!(paused(rig.client.state().await.unwrap().training));
    let at_pause = pids.clone().map(|pid| cpu_ticks(&pid));
    // Something else uses the time that they would have used.
    let burn = Instant::now();
    while burn.elapsed() < Duration::from_millis(300) {}
    assert_eq!(pids.clone().map(|pid| cpu_ticks(&pid)), at_pause);
    rig.client.pause().await.unwrap();
    rig.client.resume().await.unwrap();
    assert!(!paused(rig.client.state().await.unwrap().training));
    for (pid, before) in pids.iter().zip(at_pause) {
        until("both go on", async || cpu_ticks(pid) > before).await;
    }
    rig.client.stop(Duration::from_millis(100)).await.unwrap();
    rig.exit().await;
    assert!(pids.iter().all(|pid| !is_alive(pid)));
    assert_eq!(rig.client.pause().await.unwrap_err().kind, ErrorKind::Invalid);
}

async fn a_stop_ends_a_paused_training() {
    let rig = Rig::new();
    rig.run(&format!(
        "trap 'echo asked; exit 3' TERM; echo $$ > {}; while :; do sleep 0.05; done",
        rig.own_text("pid")
    ))
    .await;
    rig.told("pid").await;
    rig.running().await;
    rig.client.pause().await.unwrap();
    rig.client.stop(Duration::from_secs(10)).await.unwrap();
    let exit = rig.exit().await;
    assert_eq!((exit.code, exit.asked), (3, true));
    // The shell may have to say that its `sleep` was ended, too.
    assert!(rig.log().await.ends_with("asked\n"));
}

async fn a_checkpoint_is_told_and_resumed_from() {
    let rig = Rig::new();
    let script = "echo from=$TRAINYARD_RESUME_FROM= $@; d=$TRAINYARD_CHECKPOINT_DIR/checkpoint-20; mkdir -p $d; \
                  echo weights > $d/model; echo '{\"global_step\": 20}' > $d/trainer_state.json";
    let mut order = command(&["sh", "-c", script, "train"]);
    order.spec.checkpoints.resume_args = Some(vec!["--resume".to_owned()]);
    rig.client.start(&order).await.unwrap();
    rig.exit().await;
    assert_eq!(rig.log().await, "from==\n");
    let checkpoints = rig.client.checkpoints().await.unwrap();
    assert_eq!((checkpoints.len(), checkpoints[0].step), (1, Some(20)));
    assert!(rig.events().await.iter().any(|event| matches!(event.body, AgentEventBody::Checkpoint(_))));
    order.attempt = AttemptNumber::from(2);
    rig.client.start(&order).await.unwrap();
    rig.exit().await;
    let kept = rig.own_text("keep/job/checkpoints/checkpoint-20");
    assert_eq!(rig.log().await, format!("from={kept}= --resume\n"));
    order.attempt = AttemptNumber::from(3);
    order.resume_from = Some("checkpoint-99".to_owned());
    rig.client.start(&order).await.unwrap();
    let note = rig.exit().await.note.unwrap();
    assert!(note.contains("checkpoint-99"), "{note}");
}

async fn a_checkpoint_among_the_outputs_outlives_the_attempt() {
    let mut rig = Rig::new();
    let script = "echo from=$TRAINYARD_RESUME_FROM=; d=$TRAINYARD_OUTPUT_DIR/checkpoint-7; mkdir -p $d; \
                  echo weights > $d/model; echo '{\"global_step\": 7}' > $d/trainer_state.json; exec sleep 60";
    let mut order = shell(script);
    rig.client.start(&order).await.unwrap();
    until("the checkpoint is told", async || {
        let batch = rig.client.events(0, Duration::ZERO).await.unwrap();
        batch.events.iter().any(|event| matches!(event.body, AgentEventBody::Checkpoint(_)))
    })
    .await;
    // The agent dies; another one, in another boot, takes the job up again.
    rig.restart();
    order.attempt = AttemptNumber::from(2);
    let client = rig.client();
    client.start(&order).await.unwrap();
    let kept = rig.own_text("keep/job/checkpoints/checkpoint-7");
    until("the second attempt begins", async || !client.log(0, 100).await.unwrap().is_empty()).await;
    assert_eq!(client.log(0, 1000).await.unwrap(), format!("from={kept}=\n"));
    assert_eq!(
        std::fs::read_to_string(rig.own("keep/job/checkpoints/checkpoint-7/model")).unwrap(),
        "weights\n"
    );
}

async fn a_trainer_that_knows_nothing_writes_where_it_always_does() {
    let rig = Rig::new();
    let script = "d=outputs/lora-out; mkdir -p $d/checkpoint-7; echo adapter > $d/adapter_model.safetensors; \
                  echo weights > $d/checkpoint-7/model; echo '{\"global_step\": 7}' > $d/checkpoint-7/trainer_state.json";
    rig.run(script).await;
    assert_eq!(rig.exit().await.code, 0);
    let manifest = rig.client.manifest(Duration::from_secs(20)).await.unwrap().unwrap();
    let paths: Vec<&str> = manifest.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["lora-out/adapter_model.safetensors"], "its checkpoints are no artifact");
    let checkpoints = rig.client.checkpoints().await.unwrap();
    assert_eq!(checkpoints[0].path, "@output/lora-out/checkpoint-7");
    let saved = rig.own("keep/job/saved-checkpoints/checkpoint-7/model");
    assert_eq!(std::fs::read_to_string(saved).unwrap(), "weights\n");
}

/// As much of Hugging Face's library as the hook touches.
const TRANSFORMERS: &str = "
class TrainerCallback: pass
class State:
    def __init__(self, step): self.global_step, self.max_steps, self.is_world_process_zero = step, 4, True
class Trainer:
    def __init__(self, name): self.name, self.callbacks = name, []
    def add_callback(self, callback): self.callbacks.append(callback)
    def train(self):
        for step in range(1, 5):
            for callback in self.callbacks:
                callback.on_log(None, State(step), None, logs={'loss': 1.0 / step, 'text': 'x', 'bad': float('nan')})
";

async fn the_trainers_hook_tells_and_hides_nothing() {
    let rig = Rig::new();
    let library = rig.own("library");
    std::fs::create_dir_all(library.join("transformers")).unwrap();
    std::fs::write(library.join("transformers/__init__.py"), "").unwrap();
    std::fs::write(library.join("transformers/trainer.py"), TRANSFORMERS).unwrap();
    std::fs::write(library.join("sitecustomize.py"), "import builtins; builtins.hidden = 'ran'").unwrap();
    let script =
        "from transformers.trainer import Trainer\nt = Trainer('mine')\nt.train()\nprint(hidden, t.name)";
    for (attempt, hook) in [(1, true), (2, false)] {
        let mut order = command(&["python3", "-c", script]);
        order.attempt = AttemptNumber::from(attempt);
        order.spec.trainer.hook = hook;
        let path = library.to_str().unwrap().to_owned();
        order.spec.environment.env.insert("PYTHONPATH".to_owned(), path);
        rig.client.start(&order).await.unwrap();
        assert_eq!(rig.exit().await.code, 0, "{}", rig.log().await);
        assert_eq!(rig.log().await, "ran mine\n");
        let events = rig.events().await;
        let points: Vec<(Option<u64>, f64)> = events
            .iter()
            .filter_map(|event| match &event.body {
                AgentEventBody::Metrics(point) => Some((point.step, point.get("loss")?)),
                _ => None,
            })
            .collect();
        let expected = [(Some(1), 1.0), (Some(2), 0.5), (Some(3), 1.0 / 3.0), (Some(4), 0.25)];
        assert_eq!(points, if hook { &expected[..] } else { &[] });
    }
}

async fn a_program_that_is_not_there_is_named() {
    let rig = Rig::new();
    rig.client.start(&command(&["/no/such/program"])).await.unwrap();
    let exit = rig.exit().await;
    assert_eq!(exit.code, 127);
    assert!(exit.note.unwrap().contains("could not be started"));
    assert_eq!(exit.diagnosis.unwrap().code, "program_not_found");
}
