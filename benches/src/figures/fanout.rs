//! From the line that a training writes to a thousand clients that watch it.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::Fault;
use crate::bench::Bench;
use crate::clock::now_us;
use crate::product::Server;
use crate::socket::{Socket, text_frame};
use crate::stats::Sample;
use crate::table::{Amount, Figure, Target};
use crate::training;

const CLIENTS: usize = 1000;
/// Clients that connect at once.
const CONNECTING: usize = 50;
const EVERY_MS: u64 = 50;
const EVENTS: u64 = 200;
const JOB: &str = "watched";

/// When the event of this message was written, in microseconds since 1970.
fn written_us(text: &str) -> Option<u64> {
    let (_, after) = text.split_once("\"written_us\":")?;
    let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    after[..end].parse().ok()
}

/// Reads every event and says how late each was, in seconds.
async fn watch(mut socket: Socket) -> Result<Vec<f64>, Fault> {
    let mut late = Vec::new();
    while late.len() < EVENTS as usize {
        let Some(message) = socket.next().await? else { break };
        // `status` repeats the newest metrics in some answers; an event is only what says so.
        if message.text.contains("\"type\":\"metrics\"")
            && let Some(written) = written_us(&message.text)
        {
            late.push(message.at_us.saturating_sub(written) as f64 / 1e6);
        }
    }
    Ok(late)
}

async fn gather(mut clients: JoinSet<Result<Vec<f64>, Fault>>) -> Result<Sample, Fault> {
    let mut sample = Sample::default();
    while let Some(client) = clients.join_next().await {
        let late = client??;
        if late.len() != EVENTS as usize {
            return Err(format!("a client saw {} of {EVENTS} events", late.len()).into());
        }
        sample.extend(late);
    }
    Ok(sample)
}

async fn ours(server: &Server, bench: &Bench, clients: usize, job: &str) -> Result<Sample, Fault> {
    let gate = server.dir().join(format!("gate-{job}"));
    server.create_command(job, &training::emit(&bench.training, &gate, EVERY_MS, EVENTS)).await?;
    server.submit(job).await?;
    let path = format!("/ws/training/jobs/{job}");
    let mut watching = JoinSet::new();
    for from in (0..clients).step_by(CONNECTING) {
        let mut connecting = JoinSet::new();
        for _ in from..clients.min(from + CONNECTING) {
            let (address, path) = (server.address().to_owned(), path.clone());
            connecting.spawn(async move { Socket::connect(&address, &path).await });
        }
        while let Some(socket) = connecting.join_next().await {
            watching.spawn(watch(socket??));
        }
    }
    std::fs::write(&gate, "")?;
    let sample = gather(watching).await?;
    server.completed(job).await?;
    Ok(sample)
}

/// The same bytes at the same pace from one task of this process to as many sockets.
async fn floor(address: &str) -> Result<Sample, Fault> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (to, mut watching, mut senders) = (listener.local_addr()?, JoinSet::new(), Vec::new());
    for _ in 0..CLIENTS {
        let accepted = async {
            let (mut stream, _) = listener.accept().await?;
            // Its request is never read: it fits into the socket's buffer.
            stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").await?;
            Ok::<TcpStream, Fault>(stream)
        };
        let to = to.to_string();
        let (sender, socket) = tokio::try_join!(accepted, Socket::connect(&to, "/"))?;
        sender.set_nodelay(true)?;
        senders.push(sender);
        watching.spawn(watch(socket));
    }
    let begun = Instant::now();
    for step in 0..EVENTS {
        sleep_until(begun + Duration::from_millis(EVERY_MS * step)).await;
        let data = format!("{{\"step\":{step},\"loss\":0.5,\"written_us\":{}}}", now_us());
        let around = format!(
            "\"seq\":{step},\"ts\":\"2026-01-15T10:30:00.000000Z\",\"attempt\":1,\"from\":\"{address}\""
        );
        let frame = text_frame(&format!("{{\"type\":\"metrics\",\"data\":{data},{around}}}"));
        for sender in &mut senders {
            sender.write_all(&frame).await?;
        }
    }
    gather(watching).await
}

pub(super) async fn measure(bench: &Bench) -> Result<Vec<Figure>, Fault> {
    let server = Server::start(bench)?;
    let one = ours(&server, bench, 1, "alone").await?;
    let all = ours(&server, bench, CLIENTS, JOB).await?;
    let bare = floor(server.address()).await?;
    let shown =
        |sample: &Sample| format!("p50 {:.1} ms, all {:.1} ms", sample.p50() * 1e3, sample.max() * 1e3);
    Ok(vec![
        Figure::new(
            "event-1000",
            "line written → 1000 WebSocket clients, 20 events/s, p99",
            Amount::ms(all.p99()),
        )
        .target(Target::AtMost(50.0))
        .floor("the same bytes from one task to 1000 sockets, p99", Amount::ms(bare.p99()))
        .note(format!("{}; floor {}", shown(&all), shown(&bare))),
        Figure::new("event-1", "the same with one client, p99", Amount::ms(one.p99())).note(shown(&one)),
    ])
}
