//! What a user may ask of a job in which state. Asking sets the wish and nothing else.

use serde::{Deserialize, Serialize};

use super::{Job, JobState, StateName};
use crate::ProviderName;

/// What the user wants to be true of the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// Nothing: it was not submitted, or its submission was refused.
    Rest,
    /// It trains to its end.
    Run,
    /// It stands still and keeps its machine.
    Pause,
    /// It stops with a checkpoint, gives its machine back, and waits to go on from there.
    Park,
    /// It stops, for that cause.
    Stop(StopCause),
}

/// Why a job is being stopped; decides whether it ends as `stopped` or as `failed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopCause {
    /// The user cancelled: `stopped`.
    Cancel,
    /// `limits.max_duration_s` is over: `failed`, `deadline_exceeded`.
    Deadline,
    /// `limits.max_cost_usd`, or a budget of the installation, is used up: `failed`, `budget_exceeded`.
    Budget,
}

/// What a user can ask of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Train it at that provider.
    Submit(ProviderName),
    /// Stop it.
    Cancel,
    /// Hold it for a while.
    Pause,
    /// Hold it for a while without its machine: it goes on from its last checkpoint.
    Park,
    /// Go on.
    Resume,
    /// Forget it.
    Delete,
}

/// Why a command is refused; a 400. `Display` says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It was submitted before.
    #[error("the job is {state} and was submitted to `{provider}` already; clone it to train it again")]
    AlreadySubmitted {
        /// Its state.
        state: StateName,
        /// Where it went.
        provider: ProviderName,
    },
    /// It was never submitted.
    #[error("the job is created: nothing runs; submit it first, or delete it")]
    NotSubmitted,
    /// It is over.
    #[error("the job is {0}: it has ended and stays so; clone it to train it again")]
    HasEnded(StateName),
    /// It is being stopped.
    #[error("the job is being stopped")]
    Stopping,
    /// It cannot be done in this state.
    #[error("a job that is {state} cannot be {asked}; that needs a job that is {needs}")]
    WrongState {
        /// Its state.
        state: StateName,
        /// What was asked, as a participle.
        asked: &'static str,
        /// The state it needs.
        needs: &'static str,
    },
    /// The machine cannot pause.
    #[error("pause and resume work for provider `local` only")]
    CannotPause,
    /// It may still hold a machine.
    #[error("the job is {0} and may still hold a machine; cancel it and wait until the machine is gone")]
    MayHoldMachine(StateName),
}

impl Refusal {
    /// The stable word of it.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::AlreadySubmitted { .. } => "already_submitted",
            Refusal::NotSubmitted => "not_submitted",
            Refusal::HasEnded(_) => "already_ended",
            Refusal::Stopping => "stopping",
            Refusal::WrongState { .. } => "wrong_state",
            Refusal::CannotPause => "cannot_pause",
            Refusal::MayHoldMachine(_) => "holds_machine",
        }
    }
}

impl Job {
    /// What the wish becomes when the user asks that. The only code that says what may be asked in which state.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is changed by a refused command.
    pub fn ask(&self, command: &Command) -> Result<Wish, Refusal> {
        let wish = self.wish();
        match command {
            Command::Submit(provider) => self.ask_submit(provider),
            Command::Delete => self.ask_delete(),
            Command::Cancel | Command::Pause | Command::Park | Command::Resume => {
                let state = self.state().name();
                if state.is_end() {
                    return Err(Refusal::HasEnded(state));
                }
                if state == StateName::Created && wish == Wish::Rest {
                    return Err(Refusal::NotSubmitted);
                }
                match (command, wish) {
                    (Command::Cancel, _) => Ok(Wish::Stop(StopCause::Cancel)),
                    (_, Wish::Stop(_)) => Err(Refusal::Stopping),
                    (Command::Pause, _) => self.ask_pause(Wish::Pause),
                    (Command::Park, _) => self.ask_pause(Wish::Park),
                    _ => self.ask_resume(),
                }
            }
        }
    }

    fn ask_submit(&self, provider: &ProviderName) -> Result<Wish, Refusal> {
        let state = self.state().name();
        match (self.wish(), self.provider()) {
            (Wish::Rest, _) if state == StateName::Created => Ok(Wish::Run),
            (Wish::Stop(_), _) if !state.is_end() => Err(Refusal::Stopping),
            // Asked twice, started once.
            (wish, Some(same)) if !state.is_end() && same == provider => Ok(wish),
            (_, Some(other)) => Err(Refusal::AlreadySubmitted { state, provider: other.clone() }),
            (_, None) => Err(Refusal::HasEnded(state)),
        }
    }

    fn ask_pause(&self, wanted: Wish) -> Result<Wish, Refusal> {
        let state = self.state();
        match (state, state.rental()) {
            // Its training was told to stop, or has stopped: there is nothing that could only stand still.
            (JobState::Running { .. }, _) if self.wish() == Wish::Park => Ok(Wish::Park),
            (JobState::Paused { .. }, None) => Ok(Wish::Park),
            (JobState::Running { .. } | JobState::Paused { .. }, Some(rental)) if rental.can_pause => {
                Ok(wanted)
            }
            (JobState::Running { .. } | JobState::Paused { .. }, Some(_)) => Err(Refusal::CannotPause),
            // Asked before its machine was lost; whether the next one can pause is not known yet.
            (JobState::Running { .. }, None) if self.wish() == Wish::Pause => Ok(Wish::Pause),
            (JobState::Running { .. }, None) => Err(Refusal::WrongState {
                state: state.name(),
                asked: "paused while its machine is replaced",
                needs: "running on a machine",
            }),
            (other, _) => Err(Refusal::WrongState { state: other.name(), asked: "paused", needs: "running" }),
        }
    }

    fn ask_resume(&self) -> Result<Wish, Refusal> {
        match (self.state(), self.wish()) {
            (JobState::Paused { .. }, _) | (JobState::Running { .. }, Wish::Pause) => Ok(Wish::Run),
            (other, _) => Err(Refusal::WrongState { state: other.name(), asked: "resumed", needs: "paused" }),
        }
    }

    fn ask_delete(&self) -> Result<Wish, Refusal> {
        let state = self.state().name();
        let idle = state.is_end() || (state == StateName::Created && self.wish() == Wish::Rest);
        // The machine of a lost attempt may outlive its job by a moment.
        if idle && !self.may_hold_machine() { Ok(self.wish()) } else { Err(Refusal::MayHoldMachine(state)) }
    }
}
