//! `trainyard watch`: a job's progress to its end.

use crate::client::{Api, ClientArgs, Status};
use crate::exit::Outcome;
use crate::follow::{FollowOptions, Followed, follow, say_detached, say_ended, server_flag};
use crate::out::note;

/// Watch a job to its end; Ctrl-C lets go of it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job
    job: String,
    /// From its first event on, not from now
    #[arg(long)]
    from_start: bool,
    /// Write its log too
    #[arg(long)]
    log: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Outcome {
    let api = Api::new(&args.client)?;
    let status: Status = api.get(&["jobs", &args.job, "status"], &[]).await?;
    let after = if args.from_start { 0 } else { status.seq.unwrap_or(0) };
    if status.state == "created" {
        let (job, server) = (&args.job, server_flag(&api));
        note(format!("{job} is not submitted: waiting until it is (`trainyard submit {job}{server}`)"));
    }
    let options = FollowOptions { after, log: args.log, notifications: true };
    match follow(&api, &args.job, options, args.client.out(), &mut |_| {}).await? {
        Followed::Ended(status) => Ok(say_ended(&status)),
        Followed::Detached => Ok(say_detached(&api, &args.job, false)),
    }
}
