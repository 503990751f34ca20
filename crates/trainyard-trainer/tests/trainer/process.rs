//! The trainer as the agent sees it: a child process, its signals and its exit codes.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::support::Job;

/// What the tests below start: this binary again, with only this case, as the trainer. Without a job
/// in its environment it has nothing to do.
#[test]
fn as_child() {
    if std::env::var_os("TRAINYARD_SPEC").is_some() {
        std::process::exit(trainyard_trainer::exit_status_from_env().into());
    }
}

fn start(job: &Job) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "process::as_child", "--nocapture", "--quiet"]);
    // Without them the trainer begins again with them set, as it does where nobody set them.
    command.env_remove("CANDLE_NUM_THREADS").env_remove("RAYON_NUM_THREADS");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env("TRAINYARD_SPEC", &job.env.spec).env("TRAINYARD_OUTPUT_DIR", &job.env.output_dir);
    command.env("TRAINYARD_CHECKPOINT_DIR", &job.env.checkpoint_dir);
    let optional = [
        ("TRAINYARD_METRICS_FILE", &job.env.metrics_file),
        ("TRAINYARD_RESUME_FROM", &job.env.resume_from),
        ("TRAINYARD_DATASET", &job.env.dataset),
        ("TRAINYARD_MODEL_DIR", &job.env.model_dir),
    ];
    for (name, value) in optional {
        command.env(name, value.as_deref().unwrap_or("".as_ref()));
    }
    command.spawn().unwrap()
}

/// Long enough that the signal always comes before the end.
fn long() -> Job {
    Job::small(
        json!({"learning_rate": 0.01, "max_steps": 150, "batch_size": 4, "gradient_accumulation_steps": 1,
        "max_seq_length": 32, "save_steps": 1000, "eval_strategy": "no"}),
    )
}

#[test]
fn sigterm_ends_after_the_step_with_a_checkpoint_and_143() {
    let mut job = long();
    let mut child = start(&job);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.starts_with("step 5/150 loss ")));
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    let last = lines.last().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    let step: u64 = last.strip_prefix("stopped after step ").unwrap().parse().unwrap();
    assert_eq!(job.checkpoints(), [format!("checkpoint-{step}")]);
    assert!(!job.env.output_dir.exists(), "what was stopped is no artifact");

    job.resume_from(&format!("checkpoint-{step}"));
    let output = start(&job).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let whole = long();
    whole.run().unwrap();
    assert!(job.adapter() == whole.adapter(), "the adapters differ");
    let steps: Vec<_> = job.metrics().iter().map(|point| point["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, (1..=150).collect::<Vec<_>>());
}

#[test]
fn a_job_at_fault_ends_with_2_and_says_why_on_stderr() {
    let mut job = long();
    job.dataset("{\"text\": \"a\"}\n{\"text\": 1}\n");
    let output = start(&job).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.starts_with("error: ") && told.contains("data.jsonl, line 2: text is not a string"),
        "{told}"
    );
}

#[test]
fn a_full_disk_or_a_lost_directory_ends_with_1() {
    let mut job = long();
    job.env.checkpoint_dir = job.path("spec.json/below-a-file");
    let output = start(&job).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
}
