//! A training on a machine: events, log, end.

use std::time::Duration;

use trainyard_connector::{AgentEvent, AgentEventBody, StartOrder, TrainingState, Workload, WorkloadState};
use trainyard_domain::{AttemptNumber, Exit, JobSpec, TrainerKind};

use super::make::*;
use super::trial::{Can, Trial, cannot};

/// An order to run a shell script as the training.
pub(super) fn shell(script: &str) -> StartOrder {
    let mut spec = JobSpec::new("any/model");
    spec.trainer.kind = Some(TrainerKind::Command);
    spec.trainer.command = Some(["sh", "-c", script].map(str::to_owned).to_vec());
    StartOrder {
        job_id: "kit-job".parse().expect("a job's id"),
        attempt: AttemptNumber::FIRST,
        spec,
        secrets: Default::default(),
        inputs: Vec::new(),
        resume_from: None,
        deadline_s: None,
        machine_ends_s: None,
        gpus: None,
    }
}

async fn state(workload: &dyn Workload) -> WorkloadState {
    workload.state().await.expect("the training's state")
}

/// Waits until the training runs and has said something.
async fn runs(trial: &dyn Trial, workload: &dyn Workload) {
    until(trial, "it runs", async || {
        let now = state(workload).await;
        (matches!(now.training, TrainingState::Running { .. }) && now.log_bytes > 0).then_some(())
    })
    .await;
}

/// Waits for the end of the training.
pub(super) async fn exit(trial: &dyn Trial, workload: &dyn Workload) -> Exit {
    until(trial, "the training ends", async || match state(workload).await.training {
        TrainingState::Exited { exit, .. } => Some(exit),
        _ => None,
    })
    .await
}

/// Events from a cursor to the last one, a few at a time.
async fn events(workload: &dyn Workload, mut after: u64) -> Vec<AgentEvent> {
    let mut all = Vec::new();
    loop {
        let batch = workload.events(after, Duration::ZERO).await.expect("events");
        let Some(last) = batch.events.last() else { return all };
        after = last.n;
        all.extend(batch.events);
    }
}

pub(super) async fn attached_again(trial: &dyn Trial) -> Can<()> {
    let (name, placed) = place(trial).await;
    let one = attached(trial, &name, &placed).await;
    let greeting = one.greet().await.expect("a greeting");
    assert_eq!(greeting.order, name.as_str());
    let later = trial.reconnect().await;
    let other = attached_by(trial, &later, &name, &placed).await;
    assert_eq!(other.greet().await.expect("a greeting").boot_id, greeting.boot_id);
    assert_eq!(state(other.as_ref()).await.training, TrainingState::Idle);
    Ok(())
}

pub(super) async fn events_once(trial: &dyn Trial) -> Can<()> {
    let (name, placed) = place(trial).await;
    let workload = attached(trial, &name, &placed).await;
    let script = "for i in $(seq 1 40); do echo \"{\\\"step\\\": $i, \\\"loss\\\": 0.5}\" >> $TRAINYARD_METRICS_FILE; \
                  echo line $i; sleep 0.02; done";
    workload.start(&shell(script)).await.expect("started");
    let first = workload.events(0, Duration::from_secs(5)).await.expect("the first events");
    assert!(!first.events.is_empty());
    // Another connection goes on where the first one broke off, and once more with its old cursor.
    let later = trial.reconnect().await;
    let other = attached_by(trial, &later, &name, &placed).await;
    assert_eq!(exit(trial, other.as_ref()).await.code, 0);
    let cursor = first.events.last().expect("an event").n;
    let rest = events(other.as_ref(), cursor).await;
    assert_eq!(rest, events(other.as_ref(), cursor).await, "the same cursor gives the same");
    let all: Vec<AgentEvent> = first.events.into_iter().chain(rest).collect();
    assert_eq!(all, events(other.as_ref(), 0).await);
    let numbers: Vec<u64> = all.iter().map(|event| event.n).collect();
    assert_eq!(numbers, (1..=all.len() as u64).collect::<Vec<_>>());
    let steps: Vec<u64> = all
        .iter()
        .filter_map(|event| match &event.body {
            AgentEventBody::Metrics(point) => point.step,
            _ => None,
        })
        .collect();
    assert_eq!(steps, (1..=40).collect::<Vec<_>>());
    assert!(matches!(all.last().map(|event| &event.body), Some(AgentEventBody::Exited(_))));
    Ok(())
}

pub(super) async fn log_is_exact(trial: &dyn Trial) -> Can<()> {
    let (name, placed) = place(trial).await;
    let workload = attached(trial, &name, &placed).await;
    let script = "printf 'first \\377\\376 bad\\n'; head -c 1048576 /dev/zero | tr '\\0' x; echo; seq 1 5000; echo the end";
    workload.start(&shell(script)).await.expect("started");
    assert_eq!(exit(trial, workload.as_ref()).await.code, 0);
    let mut log = Vec::new();
    loop {
        let piece = workload.log(log.len() as u64, 10_007).await.expect("a piece of the log");
        if piece.is_empty() {
            break;
        }
        assert!(piece.len() <= 10_007);
        log.extend_from_slice(&piece);
    }
    let whole = workload.log(0, u32::MAX).await.expect("the log");
    assert!(log == whole[..], "in pieces it is the same");
    assert_eq!(state(workload.as_ref()).await.log_bytes, log.len() as u64);
    let told: u64 = events(workload.as_ref(), 0)
        .await
        .iter()
        .map(|event| match &event.body {
            AgentEventBody::Log(span) => u64::from(span.len),
            _ => 0,
        })
        .sum();
    assert_eq!(told, log.len() as u64, "its ranges are told once each");
    let text = String::from_utf8_lossy(&log);
    assert!(text.starts_with("first ") && text.contains(" bad\n"));
    let numbers: String = (1..=5000).map(|n| format!("{n}\n")).collect();
    assert!(text.ends_with(&format!("{numbers}the end\n")), "nothing is lost after the long line");
    assert_eq!(&workload.log(log.len() as u64 + 99, 10).await.expect("past the end")[..], b"");
    Ok(())
}

pub(super) async fn exit_code(trial: &dyn Trial) -> Can<()> {
    let (name, placed) = place(trial).await;
    let workload = attached(trial, &name, &placed).await;
    workload.start(&shell("echo broken >&2; exit 7")).await.expect("started");
    let exit = exit(trial, workload.as_ref()).await;
    assert_eq!((exit.code, exit.asked), (7, false));
    let log = workload.log(0, 1000).await.expect("the log");
    assert_eq!(&log[..], b"broken\n");
    Ok(())
}

pub(super) async fn started_once(trial: &dyn Trial) -> Can<()> {
    let (name, placed) = place(trial).await;
    let workload = attached(trial, &name, &placed).await;
    let order = shell("echo started; sleep 600");
    workload.start(&order).await.expect("started");
    workload.start(&order).await.expect("its state");
    let later = trial.reconnect().await;
    let other = attached_by(trial, &later, &name, &placed).await;
    let again = other.start(&order).await.expect("its state");
    assert_eq!(again.attempt, Some((order.job_id.clone(), order.attempt)));
    runs(trial, other.as_ref()).await;
    other.stop(Duration::ZERO).await.expect("asked to stop");
    exit(trial, other.as_ref()).await;
    assert_eq!(&other.log(0, 1000).await.expect("the log")[..], b"started\n");
    Ok(())
}

pub(super) async fn stopped(trial: &dyn Trial) -> Can<()> {
    let (name, placed) = place(trial).await;
    let workload = attached(trial, &name, &placed).await;
    // It does not listen, and it has children.
    workload
        .start(&shell("trap '' TERM; (trap '' TERM; sleep 600) & echo ready; sleep 600; wait"))
        .await
        .expect("started");
    runs(trial, workload.as_ref()).await;
    workload.stop(Duration::from_millis(200)).await.expect("asked to stop");
    let exit = exit(trial, workload.as_ref()).await;
    assert!(exit.asked, "{exit:?}");
    let events = events(workload.as_ref(), 0).await;
    assert!(matches!(events.last().map(|event| &event.body), Some(AgentEventBody::Exited(_))));
    Ok(())
}

pub(super) async fn paused(trial: &dyn Trial) -> Can<()> {
    if !trial.connector().info().capabilities.pause {
        return cannot("this provider does not pause");
    }
    let (name, placed) = place(trial).await;
    let workload = attached(trial, &name, &placed).await;
    workload.start(&shell("while true; do echo tick; sleep 0.01; done")).await.expect("started");
    runs(trial, workload.as_ref()).await;
    workload.pause().await.expect("paused");
    assert!(matches!(state(workload.as_ref()).await.training, TrainingState::Running { paused: true, .. }));
    // What it had written arrives; then nothing more comes.
    trial.pass(Duration::from_millis(300)).await;
    let before = state(workload.as_ref()).await.log_bytes;
    trial.pass(Duration::from_millis(300)).await;
    assert_eq!(state(workload.as_ref()).await.log_bytes, before, "it stands still");
    workload.resume().await.expect("resumed");
    until(trial, "it goes on", async || (state(workload.as_ref()).await.log_bytes > before).then_some(()))
        .await;
    Ok(())
}

pub(super) async fn no_agent_after_the_end(trial: &dyn Trial) -> Can<()> {
    let (name, placed) = place(trial).await;
    let workload = attached(trial, &name, &placed).await;
    workload.start(&shell("sleep 600")).await.expect("started");
    give_back(trial, &found(trial, &name).await).await;
    until(trial, "nobody answers", async || workload.greet().await.is_err().then_some(())).await;
    Ok(())
}
