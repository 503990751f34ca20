//! Following a job to its end: its progress is shown, its log written, and Ctrl-C lets go of it without harm.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Api, EventFeed, JobEvent, Status};
use crate::exit::{Exit, Failure};
use crate::out::{self, Out, note};
use crate::progress::{Display, Training};

/// How long what comes after the final status (its notification, the machine's release) is waited for.
const AFTERMATH_MAX: Duration = Duration::from_secs(2);

/// How a job is followed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FollowOptions {
    /// From which event on; 0 is all of them.
    pub(crate) after: u64,
    /// Whether its log is written to stdout.
    pub(crate) log: bool,
    /// Whether its notifications are shown.
    pub(crate) notifications: bool,
}

/// How the following ended.
#[derive(Debug, Clone)]
pub(crate) enum Followed {
    /// The job ended; with its last status.
    Ended(Box<Status>),
    /// The user let go of it.
    Detached,
}

/// Follows a job to its end, or until Ctrl-C.
pub(crate) async fn follow(
    api: &Api,
    job: &str,
    options: FollowOptions,
    out: Out,
    seen: &mut (dyn FnMut(&JobEvent) + Send),
) -> Result<Followed, Failure> {
    let status: Status = api.get(&["jobs", job, "status"], &[]).await?;
    let mut feed = EventFeed::after(api, job, options.after, options.log);
    let mut screen = Screen::new(&status, options, out);
    let interrupt = tokio::signal::ctrl_c();
    tokio::pin!(interrupt);
    let mut over = status.has_ended() && options.after >= status.seq.unwrap_or(0);
    while !over {
        let event = tokio::select! {
            event = feed.next() => event?,
            _ = &mut interrupt => {
                screen.finish();
                return Ok(Followed::Detached);
            }
        };
        let Some(event) = event else { break };
        seen(&event);
        screen.show(&event)?;
        over = event.ends();
    }
    // What comes after the end is shown as far as it comes at once.
    while let Ok(Ok(Some(event))) = tokio::time::timeout(AFTERMATH_MAX, feed.next()).await {
        seen(&event);
        screen.show(&event)?;
    }
    screen.finish();
    Ok(Followed::Ended(Box::new(api.get(&["jobs", job, "status"], &[]).await?)))
}

/// What is shown while a job is followed.
struct Screen {
    training: Training,
    display: Option<Display>,
    options: FollowOptions,
    out: Out,
}

impl Screen {
    fn new(status: &Status, options: FollowOptions, out: Out) -> Screen {
        let training = if options.after == 0 { Training::default() } else { Training::from_status(status) };
        let mut display = (!out.json).then(Display::new);
        if let Some(display) = display.as_mut().filter(|_| options.after > 0) {
            display.show(&training, crate::progress::Change::State);
        }
        Screen { training, display, options, out }
    }

    fn show(&mut self, event: &JobEvent) -> Result<(), Failure> {
        let Some(display) = &mut self.display else {
            return self.out.json(&as_json(event));
        };
        match event.kind.as_str() {
            "log" => {
                let text = event.data.get("text").and_then(Value::as_str).unwrap_or_default();
                if self.options.log {
                    display.aside(|| self.out.bytes(text.as_bytes()))?;
                }
            }
            "notification" if self.options.notifications => {
                let text = |field: &str| event.data.get(field).and_then(Value::as_str).unwrap_or_default();
                display.aside(|| {
                    note(format!("* {}: {}", text("title").trim_end_matches('!'), text("message")))
                });
            }
            _ => {
                let change = self.training.take(event);
                display.show(&self.training, change);
            }
        }
        Ok(())
    }

    fn finish(&mut self) {
        if let Some(display) = self.display.take() {
            display.finish(&self.training);
        }
    }
}

fn as_json(event: &JobEvent) -> Value {
    json!({"type": event.kind, "data": event.data, "seq": event.seq, "ts": event.ts, "attempt": event.attempt})
}

/// The flag that names the server in a command to type; nothing for the usual one.
pub(crate) fn server_flag(api: &Api) -> String {
    match api.address() {
        "http://127.0.0.1:8000" => String::new(),
        other => format!(" --server {other}"),
    }
}

/// Says how to come back to a job that goes on.
pub(crate) fn say_detached(api: &Api, job: &str, fetches: bool) -> Exit {
    let server = server_flag(api);
    note(format!("\ndetached: the job {job} goes on. Come back with\n  trainyard watch {job}{server}"));
    if fetches {
        note(format!("and bring its artifact home with\n  trainyard artifact get {job}{server}"));
    }
    note(format!("or end it with\n  trainyard cancel {job}{server}"));
    Exit::Detached
}

/// Says how a job ended; the exit code that follows from it.
pub(crate) fn say_ended(status: &Status) -> Exit {
    let mut words = format!("{} {}", status.job_id, status.state);
    if let Some(reason) = &status.reason {
        words.push_str(&format!(": {}", reason.message));
    }
    if let Some(code) = status.exit_code.filter(|code| *code != 0 && !words.contains("exit code")) {
        words.push_str(&format!(" (exit code {code})"));
    }
    note(words);
    if let Some(artifact) = &status.artifact_info {
        note(format!(
            "artifact: {}  {}  sha256 {}",
            artifact.path,
            out::size(artifact.size_bytes),
            artifact.hash_sha256
        ));
    }
    if status.state == "completed" {
        return Exit::Done;
    }
    match status.reason.as_ref().and_then(|reason| reason.suggestion.as_deref()) {
        Some(suggestion) => note(format!("what to do: {suggestion}")),
        None => note(format!("its log: trainyard logs {}", status.job_id)),
    }
    Exit::JobFailed
}
