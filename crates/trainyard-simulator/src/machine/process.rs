//! A machine's program: started, listened to, awaited.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::{io, iter};

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;

use crate::clock::Clock;
use crate::world::{LINE_BYTES_MAX, Log, Machine, Source, World};

/// The program of a machine.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
}

impl Running {
    /// Starts it, with its output into the machine's log.
    pub(crate) fn start(world: &World, machine: &Machine) -> io::Result<Running> {
        let commands = world.commands(machine)?;
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let mut command = commands.command(&machine.order.program).ok_or_else(missing)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = world.start_program(machine.uid, || command.spawn())?;
        // These end when every process that holds the pipe has ended, at the latest with the machine.
        if let Some(stdout) = child.stdout.take() {
            world.spawn(listen(stdout, Arc::clone(&machine.log), world.clock().clone()));
        }
        if let Some(stderr) = child.stderr.take() {
            world.spawn(listen(stderr, Arc::clone(&machine.log), world.clock().clone()));
        }
        Ok(Running { child })
    }

    /// Waits for its end: the exit code, or 128 and the signal. May be dropped at any time; it runs on then.
    pub(crate) async fn wait(&mut self) -> i32 {
        self.child.wait().await.map_or(-1, code)
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

async fn listen(mut output: impl AsyncRead + Unpin, log: Arc<Log>, clock: Clock) {
    let mut buffer = vec![0; 8 << 10];
    let mut begun = Vec::new();
    while let Ok(read @ 1..) = output.read(&mut buffer).await {
        for byte in buffer.iter().take(read) {
            if *byte == b'\n' || begun.len() == LINE_BYTES_MAX {
                write(&log, &clock, &mut begun);
            }
            begun.extend(iter::once(*byte).filter(|byte| *byte != b'\n'));
        }
    }
    if !begun.is_empty() {
        write(&log, &clock, &mut begun);
    }
}

fn write(log: &Log, clock: &Clock, line: &mut Vec<u8>) {
    log.write(clock.now(), Source::Container, String::from_utf8_lossy(line).into_owned());
    line.clear();
}
