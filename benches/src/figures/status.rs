//! `trainyard status` against a running server, from the start of the process to its end.

use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::Fault;
use crate::bench::Bench;
use crate::product::Server;
use crate::stats::Sample;
use crate::table::{Amount, Figure, Target};

const RUNS: usize = 60;

/// Runs a command to its end and adds how long it took.
pub(super) fn run(command: &mut Command, sample: &mut Sample) -> Result<(), Fault> {
    let from = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    sample.time(from);
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}

/// One request and one answer of a kilobyte on a new connection, between two tasks of this process.
async fn loopback() -> Result<Sample, Fault> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move {
        let mut request = [0; 1024];
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n{}", " ".repeat(1024));
        while let Ok((mut stream, _)) = listener.accept().await {
            if stream.read(&mut request).await.is_ok() {
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        }
    });
    let mut sample = Sample::default();
    for _ in 0..RUNS {
        let from = Instant::now();
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        sample.time(from);
    }
    server.abort();
    Ok(sample)
}

pub(super) async fn measure(bench: &Bench) -> Result<Vec<Figure>, Fault> {
    let server = Server::start(bench)?;
    server.create(&json!({"job_id": "first", "model_name": "trainyard-tiny"})).await?;
    let [mut status, mut version] = std::array::from_fn(|_| Sample::default());
    for _ in 0..RUNS {
        run(Command::new(&bench.product).arg("--version"), &mut version)?;
        run(Command::new(&bench.product).args(["status", "first", "--server", server.url()]), &mut status)?;
    }
    let loopback = loopback().await?;
    let figure =
        Figure::new("status", "`trainyard status` of a running server, p50", Amount::ms(status.p50()));
    let figure = figure.target(Target::AtMost(15.0)).floor(
        "`trainyard --version` and a bare HTTP round trip, p50",
        Amount::ms(version.p50() + loopback.p50()),
    );
    Ok(vec![figure.note(format!("p99 {:.1} ms", status.p99() * 1e3))])
}
