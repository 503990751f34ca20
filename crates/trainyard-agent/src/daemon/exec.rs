//! A command that a person runs beside a training.

use std::time::Duration;

use hyper::StatusCode;
use secrecy::ExposeSecret;
use tokio::sync::watch;
use trainyard_connector::{EXEC_WITHIN_MAX, ExecOrder, ExecOutput, TrainingState};

use super::agent::Agent;
use super::aside::{self, Aside};
use super::output::Masker;
use super::refusal::Refusal;
use crate::warden::Step;

/// Most bytes of output that are given.
const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// Commands at once.
pub(super) const AT_ONCE: usize = 4;

/// Runs it and gives what it printed, secrets masked.
pub(super) async fn exec(agent: &Agent, order: ExecOrder) -> Result<ExecOutput, Refusal> {
    let mut words = order.argv.into_iter();
    let program = words.next().ok_or_else(|| Refusal::invalid("there is no command to run"))?;
    let attempt = agent.attempt()?;
    let Some(desk) = attempt.desk() else {
        let ended = matches!(attempt.state(), TrainingState::Exited { .. });
        return Err(Refusal::state(match ended {
            // Its secrets were in memory only.
            true => "the training ended and its environment is not known any more",
            false => "the training's directory is not ready yet",
        }));
    };
    let Ok(_place) = agent.execs().try_acquire() else {
        let text = format!("{AT_ONCE} commands run already");
        return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too_many", text));
    };
    let step = Step { program, arguments: words.collect(), directory: desk.directory.clone(), title: None };
    let within = Duration::from_millis(order.within_ms).min(EXEC_WITHIN_MAX);
    let aside = Aside { environment: desk.environment.clone(), step, within, keep: OUTPUT_BYTES_MAX };
    // Nobody stops it but its time: whoever asked and went away left it bounded.
    let (_stop, never) = watch::channel(false);
    let done = aside::run(aside, never).await.map_err(|error| Refusal::broken("the command", &error))?;
    let outcome = done.outcome.unwrap_or_default();
    if let Some(error) = outcome.error {
        return Err(Refusal::not_found(format!("the program could not be started: {error}")));
    }
    let mut masker = Masker::new(desk.secrets.iter().map(ExposeSecret::expose_secret));
    let mut clear = Vec::new();
    // A line that was cut may begin inside a secret.
    let begin =
        if done.cut { done.output.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1) } else { 0 };
    masker.feed(&done.output[begin..], &mut clear);
    masker.finish(&mut clear);
    let ended = outcome.code.or(outcome.signal.map(|signal| 128 + signal));
    Ok(ExecOutput {
        output: String::from_utf8_lossy(&clear).into_owned(),
        cut: done.cut,
        code: ended.filter(|_| !done.late),
    })
}
