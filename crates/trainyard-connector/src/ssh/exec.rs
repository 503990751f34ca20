//! One command over a connection.

use std::time::Duration;

use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelWriteHalf};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::SshError;

/// Bytes read and sent at once.
const PIECE_BYTES: usize = 256 << 10;
/// Number of the stream that SSH sends standard error on (RFC 4254, section 5.2).
const STDERR: u32 = 1;

/// Limits of one command.
#[derive(Debug, Clone, Copy)]
pub struct ExecLimits {
    /// How long it may take, with a connection where one must be made first.
    pub within: Duration,
    /// Most bytes of its output that are kept, and as many of its error output; what is beyond is dropped.
    pub output_bytes_max: usize,
}

/// What a command did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Executed {
    /// Its exit status; none where a signal ended it or the other side does not tell.
    pub status: Option<u32>,
    /// Its output.
    pub output: Vec<u8>,
    /// Its error output.
    pub errors: Vec<u8>,
    /// Whether something was dropped.
    pub cut: bool,
}

impl Executed {
    /// Whether it ended with status 0.
    pub fn is_success(&self) -> bool {
        self.status == Some(0)
    }

    fn keep(&mut self, data: &[u8], max: usize, errors: bool) {
        let kept = if errors { &mut self.errors } else { &mut self.output };
        let room = max.saturating_sub(kept.len());
        kept.extend_from_slice(&data[..data.len().min(room)]);
        self.cut |= data.len() > room;
    }
}

/// Runs a command in a channel that was opened for it.
pub(super) async fn run(
    channel: Channel<Msg>,
    command: &str,
    input: impl AsyncRead + Send + Unpin,
    output_bytes_max: usize,
) -> Result<Executed, SshError> {
    channel.exec(true, command).await?;
    let (mut reader, writer) = channel.split();
    let mut executed = Executed::default();
    let mut feeding = std::pin::pin!(feed(&writer, input));
    let mut fed = false;
    loop {
        // A command that ends before it read everything is done all the same: the rest is not sent.
        let message = tokio::select! {
            message = reader.wait() => message,
            done = &mut feeding, if !fed => {
                fed = true;
                match done {
                    Err(SshError::Input(error)) => return Err(SshError::Input(error)),
                    // What came of it shows in what is read.
                    Ok(()) | Err(_) => continue,
                }
            }
        };
        match message {
            Some(ChannelMsg::Data { data }) => executed.keep(&data, output_bytes_max, false),
            Some(ChannelMsg::ExtendedData { data, ext: STDERR }) => {
                executed.keep(&data, output_bytes_max, true)
            }
            Some(ChannelMsg::ExitStatus { exit_status }) => executed.status = Some(exit_status),
            Some(ChannelMsg::ExitSignal { .. }) => executed.status = None,
            Some(ChannelMsg::Failure) => return Err(SshError::Broken(russh::Error::RequestDenied)),
            Some(ChannelMsg::Close) => return Ok(executed),
            // The connection ended before the command did.
            None => return Err(SshError::Broken(russh::Error::Disconnect)),
            Some(_) => {}
        }
    }
}

async fn feed(
    writer: &ChannelWriteHalf<Msg>,
    mut input: impl AsyncRead + Send + Unpin,
) -> Result<(), SshError> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match input.read(&mut piece).await.map_err(SshError::Input)? {
            0 => return Ok(writer.eof().await?),
            read => writer.data_bytes(piece[..read].to_vec()).await?,
        }
    }
}
