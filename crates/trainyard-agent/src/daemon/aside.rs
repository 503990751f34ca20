//! A program that runs beside a training, or before it: held by a warden of its own, so that nothing of it outlives
//! its time or the agent.

use std::io;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::sync::watch;

use super::held::Warden;
use crate::warden::{Order, Outcome, Plan, Report, Step};

/// After its last process is gone the rest of its output is in the pipe.
const REST_WITHIN: Duration = Duration::from_secs(2);
/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;

/// What came of it.
#[derive(Debug)]
pub(super) struct Done {
    /// How it ended; none where somebody killed its warden.
    pub(super) outcome: Option<Outcome>,
    /// What it printed, both streams: of more than was to be kept the end.
    pub(super) output: Vec<u8>,
    /// Whether the beginning is left out.
    pub(super) cut: bool,
    /// Whether its time was over.
    pub(super) late: bool,
    /// Whether it was told to stop.
    pub(super) stopped: bool,
}

impl Done {
    /// Whether it ended with 0 by itself.
    pub(super) fn is_good(&self) -> bool {
        !self.late && !self.stopped && self.outcome.as_ref().is_some_and(|outcome| outcome.code == Some(0))
    }

    /// The last line that says something.
    pub(super) fn last_line(&self) -> String {
        let text = String::from_utf8_lossy(&self.output);
        text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
    }
}

/// What to run, and its bounds.
#[derive(Debug)]
pub(super) struct Aside {
    pub(super) environment: Vec<(String, String)>,
    pub(super) step: Step,
    pub(super) within: Duration,
    /// Most bytes of output that are kept.
    pub(super) keep: usize,
}

/// Runs it to its end. It is killed with its descendants when its time is over or `stop` becomes true.
pub(super) async fn run(aside: Aside, mut stop: watch::Receiver<bool>) -> io::Result<Done> {
    let plan = Plan { environment: aside.environment, steps: vec![aside.step] };
    let mut warden = Warden::spawn(&plan).await?;
    let mut stream = warden.output.take();
    let mut done = Done { outcome: None, output: Vec::new(), cut: false, late: false, stopped: false };
    let mut buffer = vec![0; READ_BYTES];
    let over = tokio::time::sleep(aside.within);
    tokio::pin!(over);
    loop {
        let ended = done.late || done.stopped;
        tokio::select! {
            report = warden.report() => match report {
                Some(Report::Gone(outcome)) => {
                    done.outcome = Some(outcome);
                    break;
                }
                Some(Report::Started { .. } | Report::Paused | Report::Resumed) => {}
                None => break,
            },
            read = read(&mut stream, &mut buffer) => done.take(read, &buffer, aside.keep, &mut stream),
            () = &mut over, if !ended => {
                done.late = true;
                warden.tell(Order::Terminate { grace_ms: 0 }).await;
            }
            () = async { let _ = stop.wait_for(|stop| *stop).await; }, if !ended => {
                done.stopped = true;
                warden.tell(Order::Terminate { grace_ms: 0 }).await;
            }
        }
    }
    let _ = warden.child.wait().await;
    let rest = async {
        while stream.is_some() {
            let count = read(&mut stream, &mut buffer).await;
            done.take(count, &buffer, aside.keep, &mut stream);
        }
    };
    let _ = tokio::time::timeout(REST_WITHIN, rest).await;
    let too_much = done.output.len().saturating_sub(aside.keep);
    done.output.drain(..too_much);
    done.cut |= too_much > 0;
    Ok(done)
}

type Stream = Option<tokio::process::ChildStderr>;

async fn read(stream: &mut Stream, buffer: &mut [u8]) -> usize {
    match stream {
        Some(stream) => stream.read(buffer).await.unwrap_or(0),
        None => std::future::pending().await,
    }
}

impl Done {
    fn take(&mut self, count: usize, buffer: &[u8], keep: usize, stream: &mut Stream) {
        if count == 0 {
            *stream = None;
        }
        self.output.extend_from_slice(&buffer[..count]);
        // Cut seldom, so that much output is not moved at every piece.
        if self.output.len() > keep.saturating_mul(2) {
            let too_much = self.output.len() - keep;
            self.output.drain(..too_much);
            self.cut = true;
        }
    }
}
