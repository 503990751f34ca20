//! The watcher as a whole: events awaited, never slept for.

use std::fs;
use std::io::Write;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout};
use trainyard_connector::AgentEventBody;
use trainyard_domain::{MetricPoint, Progress};

use super::*;

struct Place {
    dir: tempfile::TempDir,
    config: WatchConfig,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (output, checkpoints) = (dir.path().join("output"), dir.path().join("checkpoints"));
        fs::create_dir_all(&output).unwrap();
        fs::create_dir_all(&checkpoints).unwrap();
        let config = WatchConfig {
            machine_every: None,
            ..WatchConfig::new(dir.path().join("metrics.jsonl"), output, checkpoints)
        };
        Place { dir, config }
    }
}

async fn next(events: &mut Receiver<AgentEventBody>) -> AgentEventBody {
    timeout(Duration::from_secs(20), events.recv()).await.unwrap().unwrap()
}

async fn next_point(events: &mut Receiver<AgentEventBody>) -> MetricPoint {
    loop {
        if let AgentEventBody::Metrics(point) = next(events).await {
            return point;
        }
    }
}

/// Finishes and gives the rest.
async fn finish(
    handle: WatcherHandle,
    mut events: Receiver<AgentEventBody>,
) -> (Finished, Vec<AgentEventBody>) {
    let rest = async {
        let mut rest = Vec::new();
        while let Some(event) = events.recv().await {
            rest.push(event);
        }
        rest
    };
    timeout(Duration::from_secs(20), async { tokio::join!(handle.finish(Ending::Clean), rest) })
        .await
        .unwrap()
}

fn points(events: &[AgentEventBody]) -> Vec<(Option<u64>, Option<f64>)> {
    let point = |event: &AgentEventBody| match event {
        AgentEventBody::Metrics(point) => Some((point.step, point.get("loss"))),
        _ => None,
    };
    events.iter().filter_map(point).collect()
}

#[tokio::test]
async fn line_of_the_metrics_file_is_told_at_once() {
    let place = Place::new();
    let (handle, mut events) = Watcher::start(&place.config);
    let mut latencies = Vec::new();
    let mut file = None;
    for step in 0..50_u64 {
        let file = file.get_or_insert_with(|| fs::File::create(&place.config.metrics_file).unwrap());
        let written = Instant::now();
        writeln!(file, "{{\"step\":{step},\"loss\":1.5}}").unwrap();
        assert_eq!(next_point(&mut events).await.step, Some(step));
        latencies.push(written.elapsed());
    }
    latencies.sort();
    // The median, as the machine may be busy; polling would make it 100 ms.
    #[cfg(target_os = "linux")]
    assert!(latencies[25] < Duration::from_millis(50), "{latencies:?}");
    let (finished, rest) = finish(handle, events).await;
    assert_eq!(points(&rest), []);
    assert_eq!(finished.problems, Problems::default());
}

#[tokio::test]
async fn last_lines_are_told_once_before_the_end() {
    let place = Place::new();
    let (handle, mut events) = Watcher::start(&place.config);
    fs::write(&place.config.metrics_file, "{\"step\":1,\"loss\":1}\n").unwrap();
    assert_eq!(next_point(&mut events).await.step, Some(1));
    let mut file = fs::OpenOptions::new().append(true).open(&place.config.metrics_file).unwrap();
    let more: String = (2..2000).map(|step| format!("{{\"step\":{step},\"loss\":1}}\n")).collect();
    write!(file, "{more}oops\n{{\"step\":2000,\"loss\":1}}").unwrap();
    let (finished, rest) = finish(handle, events).await;
    let steps: Vec<_> = points(&rest).into_iter().filter_map(|(step, _)| step).collect();
    assert_eq!(steps, (2..=2000).collect::<Vec<_>>());
    assert_eq!(finished.problems, Problems { bad_lines: 1, lines_lost: 0 });
}

#[tokio::test]
async fn trainer_that_knows_nothing_of_us_is_told_once_with_steps() {
    let place = Place::new();
    let (handle, mut events) = Watcher::start(&place.config);
    let mut feed = handle.sink().feed();
    feed.push("\r  0%|          | 0/50 [00:00<?, ?it/s]".as_bytes());
    let AgentEventBody::Progress(progress) = next(&mut events).await else { panic!() };
    assert_eq!((progress.step, progress.total_steps), (Some(0), Some(50)));
    feed.push(
        "\r \r{'loss': '2.346', 'epoch': '0.2'}\n\r 20%|██        | 10/50 [00:01<00:05,  8.00it/s]"
            .as_bytes(),
    );
    let point = next_point(&mut events).await;
    assert_eq!((point.step, point.get("loss")), (Some(10), Some(2.346)));

    let checkpoint = place.config.output_dir.join("checkpoint-20");
    fs::create_dir_all(&checkpoint).unwrap();
    fs::write(
        checkpoint.join("trainer_state.json"),
        r#"{"global_step": 20, "max_steps": 50, "log_history": [
            {"step": 10, "loss": 2.345678, "epoch": 0.2}, {"step": 20, "loss": 2.25, "epoch": 0.4}]}"#,
    )
    .unwrap();
    let point = next_point(&mut events).await;
    assert_eq!((point.step, point.get("loss")), (Some(20), Some(2.25)), "step 10 is not told twice");
    let checkpoint = loop {
        if let AgentEventBody::Checkpoint(info) = next(&mut events).await {
            break info;
        }
    };
    assert_eq!((checkpoint.path.as_str(), checkpoint.step), ("@output/checkpoint-20", Some(20)));
    assert_eq!(handle.checkpoints(), [checkpoint]);
    feed.push(b"{'loss': '2.25', 'epoch': '0.4'}\n{'train_runtime': '3', 'train_loss': '2.3', 'epoch': '1'}");
    feed.end();
    let (_, rest) = finish(handle, events).await;
    assert_eq!(points(&rest), [(None, None)], "only the summary, from a buffer: {rest:?}");
}

#[tokio::test]
async fn trainer_log_is_found_and_followed() {
    let place = Place::new();
    let (handle, mut events) = Watcher::start(&place.config);
    let dir = place.config.output_dir.join("lora/sft");
    fs::create_dir_all(&dir).unwrap();
    let mut log = fs::File::create(dir.join("trainer_log.jsonl")).unwrap();
    for step in [10, 20] {
        writeln!(
            log,
            r#"{{"current_steps": {step}, "total_steps": 90, "loss": 1.5, "lr": 4.5e-05, "epoch": 0.{step}}}"#
        )
        .unwrap();
        assert_eq!(next_point(&mut events).await.step, Some(step));
    }
    handle.line("{'loss': 1.5, 'epoch': 0.3}");
    writeln!(log, r#"{{"current_steps": 30, "total_steps": 90, "loss": 1.25, "epoch": 0.3}}"#).unwrap();
    drop(log);
    let (_, rest) = finish(handle, events).await;
    assert_eq!(points(&rest), [(Some(30), Some(1.25))]);
    let progress = rest.iter().rev().find_map(|event| match event {
        AgentEventBody::Progress(progress) => Some(*progress),
        _ => None,
    });
    assert_eq!(
        progress.and_then(|Progress { step, .. }| step),
        Some(30),
        "the last progress is not left out"
    );
}

#[tokio::test]
async fn machine_is_sampled_after_a_while() {
    let mut place = Place::new();
    place.config.machine_every = Some(Duration::from_secs(10));
    let started = Instant::now();
    let (handle, mut events) = Watcher::start(&place.config);
    let point = next_point(&mut events).await;
    assert!(started.elapsed() >= Duration::from_millis(1900));
    assert!(point.is_system() && point.get("system/cpu").is_some());
    finish(handle, events).await;
}

#[tokio::test]
async fn starting_and_ending_is_cheap() {
    let mut place = Place::new();
    place.config.token_file = Some(place.dir.path().join("token"));
    let mut times = Vec::new();
    for _ in 0..20 {
        let begin = Instant::now();
        let (handle, events) = Watcher::start(&place.config);
        let started = begin.elapsed();
        assert_eq!(handle.env().len(), 3);
        let (_, rest) = finish(handle, events).await;
        assert_eq!(rest, []);
        times.push((started, begin.elapsed()));
    }
    times.sort();
    assert!(times[10].0 < Duration::from_millis(5), "{times:?}");
}

#[tokio::test]
async fn reader_that_goes_away_ends_the_watching() {
    let place = Place::new();
    let (handle, events) = Watcher::start(&place.config);
    drop(events);
    fs::write(&place.config.metrics_file, "{\"loss\":1}\n").unwrap();
    timeout(Duration::from_secs(20), handle.finish(Ending::Broken)).await.unwrap();
}
