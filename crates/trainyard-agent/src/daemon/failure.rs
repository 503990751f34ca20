//! Why a training was not begun, as the agent itself found it.

use trainyard_domain::Diagnosis;

/// A finding, with a word to branch on, and whether the machine is to blame.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) diagnosis: Diagnosis,
    /// Another machine may do.
    pub(crate) machine_fault: bool,
}

impl Failure {
    /// The job is at fault, or nobody.
    pub(crate) fn new(code: &str, cause: impl Into<String>, remedy: impl Into<String>) -> Failure {
        let diagnosis = Diagnosis { code: code.to_owned(), cause: cause.into(), remedy: remedy.into() };
        Failure { diagnosis, machine_fault: false }
    }

    /// The machine is at fault.
    pub(crate) fn of_machine(code: &str, cause: impl Into<String>) -> Failure {
        let remedy =
            "nothing to mend in the job: another machine is tried while `retry.max_attempts` allows it";
        Failure { machine_fault: true, ..Failure::new(code, cause, remedy) }
    }

    /// The agent is at fault.
    pub(crate) fn internal(error: impl std::fmt::Display) -> Failure {
        Failure::new("agent_failed", error.to_string(), "report it, with the log of the job")
    }
}
