//! How a command ends: an exit code, and after a failure a message that says what to do.
//!
//! The codes are part of the contract; scripts branch on them.

use std::fmt;
use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// What was asked for is done.
    Done,
    /// It was not.
    Failed,
    /// The command line, a file it names or the configuration is wrong.
    Usage,
    /// The command worked, but the job failed or was stopped (`run`, `watch`, `submit --watch`).
    JobFailed,
    /// There is no such job, artifact, secret or token.
    NotFound,
    /// No server answered.
    Unreachable,
    /// The command that was run on a job's machine ended with this code (`ssh`), as `ssh` itself tells it.
    #[cfg(feature = "lambda")]
    Command(u8),
    /// Ctrl-C ended the watching; the job goes on. The shells' number for it, so that `run && use` stops there.
    Detached,
}

impl Exit {
    /// The number the shell sees.
    pub(crate) fn number(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::JobFailed => 3,
            Exit::NotFound => 4,
            Exit::Unreachable => 5,
            #[cfg(feature = "lambda")]
            Exit::Command(code) => code,
            Exit::Detached => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.number())
    }
}

/// The codes as `--help` shows them.
pub(crate) const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the job failed or was stopped (run, watch, submit --watch), \
4 not found, 5 server not reached, 130 detached by Ctrl-C (the job goes on); `ssh` ends with its command's code";

/// Why a command did not do what was asked, and what to do.
#[derive(Debug)]
pub(crate) struct Failure {
    /// How the program ends.
    pub(crate) exit: Exit,
    /// What happened.
    pub(crate) message: String,
    /// More about it: the server's detail, or the chain of causes.
    pub(crate) detail: Option<String>,
    /// What to do.
    pub(crate) hint: Option<String>,
    /// The server's stable word for it, where a server answered.
    pub(crate) code: Option<String>,
    /// The server said that it will be able to soon (503, 429).
    pub(crate) passing: bool,
    /// The oldest event that is still kept, where older ones were asked for.
    pub(crate) oldest_seq: Option<u64>,
    /// The reader of our output went away: nobody is left to tell.
    pub(crate) quiet: bool,
}

/// What every command returns.
pub(crate) type Outcome = Result<Exit, Failure>;

impl Failure {
    /// A failure with that exit code.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure {
            exit,
            message: message.into(),
            detail: None,
            hint: None,
            code: None,
            passing: false,
            oldest_seq: None,
            quiet: false,
        }
    }

    /// A plain failure: exit code 1.
    pub(crate) fn failed(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Failed, message)
    }

    /// A failure that an error tells whole: its words are the message, what lies below it the detail.
    pub(crate) fn of(error: &dyn std::error::Error) -> Failure {
        let failure = Failure::failed(error.to_string());
        match error.source() {
            Some(cause) => failure.because(cause),
            None => failure,
        }
    }

    /// Wrong usage: exit code 2.
    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, message)
    }

    /// The same, with what to do about it.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// The same, with more about it.
    #[must_use]
    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Failure {
        self.detail = Some(detail.into());
        self
    }

    /// The same, with an error and everything below it as the detail.
    #[must_use]
    pub(crate) fn because(self, error: &dyn std::error::Error) -> Failure {
        self.detail(chain(error))
    }
}

/// An error and everything below it, outermost first, nothing twice.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        if let Some(detail) = self.detail.as_deref().filter(|detail| !self.message.contains(*detail)) {
            write!(f, "\n  {detail}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  what to do: {hint}")?;
        }
        Ok(())
    }
}

/// Writing to our own output failed. A reader that left (`trainyard logs | head`) is no failure.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            let mut quiet = Failure::new(Exit::Done, "the reader of the output went away");
            quiet.quiet = true;
            return quiet;
        }
        Failure::failed("the output could not be written").because(&error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_contract() {
        let all = [
            Exit::Done,
            Exit::Failed,
            Exit::Usage,
            Exit::JobFailed,
            Exit::NotFound,
            Exit::Unreachable,
            Exit::Detached,
        ];
        assert_eq!(all.map(Exit::number), [0, 1, 2, 3, 4, 5, 130]);
    }

    #[test]
    fn a_message_says_what_happened_why_and_what_to_do() {
        let failure = Failure::failed("no").detail("because").hint("do this");
        assert_eq!(failure.to_string(), "error: no\n  because\n  what to do: do this");
        let same = Failure::failed("no").detail("no");
        assert_eq!(same.to_string(), "error: no", "a detail that repeats the message is left out");
    }

    #[test]
    fn a_reader_that_left_is_no_failure() {
        let failure = Failure::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert!(failure.quiet);
        assert_eq!(failure.exit, Exit::Done);
    }
}
