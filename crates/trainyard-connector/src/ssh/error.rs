//! What can fail on the way to a machine.

use std::io;
use std::time::Duration;

use crate::{ConnectorError, Effect, ErrorKind};

/// A failure of SSH. `Display` holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// The machine has no address yet.
    #[error("the machine has no address yet")]
    NoAddress,
    /// Nothing answered there.
    #[error("the machine was not reached by SSH")]
    Connect(#[source] io::Error),
    /// It did not answer in time.
    #[error("{doing} took longer than {} s", within.as_secs_f32())]
    TimedOut {
        /// What was waited for.
        doing: &'static str,
        /// How long.
        within: Duration,
    },
    /// Another machine answers there than the one that was ordered.
    #[error("the machine shows the host key {shown}, which is not the one it was given")]
    HostKey {
        /// The fingerprint of the key that answered.
        shown: String,
    },
    /// The machine does not take our key.
    #[error("the machine does not take the installation's SSH key")]
    Login,
    /// The connection broke or speaks nonsense.
    #[error("the SSH connection broke")]
    Broken(#[source] russh::Error),
    /// Nothing listens on that port of the machine.
    #[error("nothing listens on port {port} of the machine")]
    PortClosed {
        /// The port.
        port: u16,
    },
    /// The local end of a tunnel could not be opened.
    #[error("the local end of the tunnel could not be opened")]
    Local(#[source] io::Error),
    /// What was to be sent could not be read.
    #[error("what was to be sent to the machine could not be read")]
    Input(#[source] io::Error),
    /// A key that cannot be used.
    #[error("the SSH key cannot be used")]
    Key(#[source] russh::keys::ssh_key::Error),
}

impl SshError {
    /// Whether it is certain that no command began to run.
    fn effect(&self) -> Effect {
        match self {
            SshError::NoAddress
            | SshError::Connect(_)
            | SshError::HostKey { .. }
            | SshError::Login
            | SshError::PortClosed { .. }
            | SshError::Local(_)
            | SshError::Key(_) => Effect::None,
            SshError::TimedOut { .. } | SshError::Broken(_) | SshError::Input(_) => Effect::Unknown,
        }
    }

    /// The same where nobody was logged in yet, so that no command can have begun.
    pub(super) fn before_login(self) -> SshError {
        match self {
            SshError::Broken(russh::Error::IO(error)) => SshError::Connect(error),
            other => other,
        }
    }

    fn kind(&self) -> ErrorKind {
        match self {
            SshError::NoAddress
            | SshError::Connect(_)
            | SshError::TimedOut { .. }
            | SshError::Broken(_)
            | SshError::PortClosed { .. } => ErrorKind::Unreachable,
            SshError::HostKey { .. } => ErrorKind::Mismatch,
            SshError::Login => ErrorKind::Unauthorized,
            SshError::Local(_) | SshError::Input(_) | SshError::Key(_) => ErrorKind::Internal,
        }
    }
}

impl From<russh::Error> for SshError {
    fn from(error: russh::Error) -> SshError {
        // A line that breaks tells nothing of what was done before it broke.
        SshError::Broken(error)
    }
}

impl From<SshError> for ConnectorError {
    fn from(error: SshError) -> ConnectorError {
        let (kind, effect, message) = (error.kind(), error.effect(), error.to_string());
        let source: Option<Box<dyn std::error::Error + Send + Sync>> = match error {
            SshError::Connect(error) | SshError::Local(error) | SshError::Input(error) => Some(error.into()),
            SshError::Broken(error) => Some(error.into()),
            SshError::Key(error) => Some(error.into()),
            SshError::NoAddress
            | SshError::TimedOut { .. }
            | SshError::HostKey { .. }
            | SshError::Login
            | SshError::PortClosed { .. } => None,
        };
        ConnectorError { kind, effect, message, source }
    }
}
