//! `trainyard logs`: what a training printed, also after its machine is gone.

use std::time::Duration;

use reqwest::Method;
use reqwest::header::ACCEPT;

use crate::client::{Api, CALL_MAX, ClientArgs, LogPart, SseConnection};
use crate::exit::{Exit, Failure, Outcome};
use crate::out::Out;

/// Wait before a stream that ended early is opened again.
const PAUSE: Duration = Duration::from_secs(1);
/// Tries in a row that brought nothing, before the following ends.
const TRIES_MAX: u32 = 60;

/// Write a job's log to stdout
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job
    job: String,
    /// Only the last lines
    #[arg(long, value_name = "LINES", conflicts_with = "after")]
    tail: Option<u32>,
    /// From this byte on
    #[arg(long, value_name = "BYTES")]
    after: Option<u64>,
    /// Go on while the job runs
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Outcome {
    let api = Api::new(&args.client)?;
    let out = args.client.out();
    let mut query = args.tail.map_or_else(Vec::new, |lines| vec![("tail", lines.to_string())]);
    let mut after = args.after.unwrap_or(0);
    loop {
        if args.tail.is_none() || after > 0 {
            query = vec![("after", after.to_string())];
        }
        let part: LogPart = api.get(&["jobs", &args.job, "logs"], &query).await?;
        write(&part, out)?;
        let more = part.next_offset > after && part.next_offset < part.size;
        after = part.next_offset.max(after);
        if more {
            continue;
        }
        if !args.follow || part.complete {
            return Ok(Exit::Done);
        }
        return follow(&api, &args.job, after, out).await;
    }
}

fn write(part: &LogPart, out: Out) -> Result<(), Failure> {
    match (out.json, part.text.is_empty()) {
        (_, true) => Ok(()),
        (true, false) => out.json(&serde_json::json!({"text": part.text, "next_offset": part.next_offset})),
        (false, false) => out.bytes(part.text.as_bytes()),
    }
}

/// Goes on from a byte until the log is complete, across cut connections.
async fn follow(api: &Api, job: &str, mut after: u64, out: Out) -> Outcome {
    let mut tries = 0;
    loop {
        let request = api
            .request(Method::GET, &["jobs", job, "logs"])
            .query(&[("after", after.to_string()), ("follow", "true".to_owned())])
            .header(ACCEPT, "text/event-stream");
        let answer = tokio::time::timeout(CALL_MAX, api.send(request)).await;
        let mut complete = false;
        match answer {
            Ok(Ok(response)) => {
                let mut stream = SseConnection::new(response);
                while let Some(event) = stream.next().await {
                    let Ok(part) = serde_json::from_str::<LogPart>(&event.data) else { continue };
                    write(&part, out)?;
                    tries = 0;
                    after = part.next_offset.max(after);
                    complete = part.complete && after >= part.size;
                }
            }
            Ok(Err(failure))
                if tries < TRIES_MAX && (failure.exit == Exit::Unreachable || failure.passing) => {}
            Ok(Err(failure)) => return Err(failure),
            Err(_) => {}
        }
        // The stream of a job that has ended ends with it.
        if complete || tries >= TRIES_MAX || has_ended(api, job, after).await {
            return Ok(Exit::Done);
        }
        tries += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn has_ended(api: &Api, job: &str, after: u64) -> bool {
    let part: Result<LogPart, Failure> =
        api.get(&["jobs", job, "logs"], &[("after", after.to_string())]).await;
    part.is_ok_and(|part| part.complete && part.size <= after)
}
