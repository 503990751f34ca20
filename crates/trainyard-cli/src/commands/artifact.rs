//! `trainyard artifact get|verify`: what a training left, brought home and compared.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use crate::client::{Api, ClientArgs, FetchedFile, VERIFY_MAX, Verification, fetch_artifact};
use crate::exit::{Exit, Failure, Outcome};
use crate::out::{self, note};

/// Bring a job's artifact home, or verify the server's copy of it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Download every file, resumed where it broke off, each compared with its SHA-256
    Get {
        /// The job
        job: String,
        /// Where to; `trainyard-output/JOB` where it is left out
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Hash the server's copy again; exit code 1 where a byte differs
    Verify {
        /// The job
        job: String,
        #[command(flatten)]
        client: ClientArgs,
    },
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Outcome {
    match args.what {
        What::Get { job, out, client } => {
            let api = Api::new(&client)?;
            let into = out.unwrap_or_else(|| home_of(&job));
            let files = bring_home(&api, &job, &into).await?;
            let listed: Vec<_> = files
                .iter()
                .map(|file| json!({"path": file.path, "size_bytes": file.bytes, "hash_sha256": file.sha256, "main": file.main}))
                .collect();
            client.out().either(&json!({"job_id": job, "directory": into, "files": listed}), || {
                let lines: Vec<String> = files.iter().map(line).collect();
                lines.join("\n")
            })?;
            Ok(Exit::Done)
        }
        What::Verify { job, client } => verify(&job, &client).await,
    }
}

/// Where a job's artifact goes where nothing else is said.
pub(crate) fn home_of(job: &str) -> PathBuf {
    PathBuf::from(crate::OUTPUT_DIR).join(job)
}

/// Downloads and compares every file, telling of large ones how far they are.
pub(crate) async fn bring_home(
    api: &Api,
    job: &str,
    into: &std::path::Path,
) -> Result<Vec<FetchedFile>, Failure> {
    let mut last = (String::new(), 0);
    fetch_artifact(api, job, into, |name, have, total| {
        let now = (name.to_owned(), (have * 10).checked_div(total).unwrap_or(10));
        if total > 64 << 20 && now != last {
            note(format!("{name}: {} of {}", out::size(have), out::size(total)));
            last = now;
        }
    })
    .await
}

/// One file that is home.
pub(crate) fn line(file: &FetchedFile) -> String {
    format!("{}  {}  sha256 {}", file.path.display(), out::size(file.bytes), file.sha256)
}

async fn verify(job: &str, client: &ClientArgs) -> Outcome {
    let api = Api::new(client)?;
    let answer: serde_json::Value =
        api.post(&["jobs", job, "verify-artifact"], &json!({}), VERIFY_MAX).await?;
    let found: Verification = serde_json::from_value(answer.clone())
        .map_err(|error| Failure::failed("the server's answer is not what was expected").because(&error))?;
    client.out().either(&answer, || {
        let lines: Vec<String> = found
            .files
            .iter()
            .map(|file| match file.actual.as_deref() {
                Some(actual) if actual == file.expected => format!("ok       {}  {actual}", file.path),
                actual => format!(
                    "DAMAGED  {}\n  expected {}\n  actual   {}",
                    file.path,
                    file.expected,
                    actual.unwrap_or("missing or unreadable")
                ),
            })
            .collect();
        lines.join("\n")
    })?;
    if found.valid {
        return Ok(Exit::Done);
    }
    note("the server's copy is damaged: restore it from a backup, or train again with `trainyard clone`");
    Ok(Exit::Failed)
}
