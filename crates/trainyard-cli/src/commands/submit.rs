//! `trainyard submit`: a job is made, its local files uploaded, and it is sent to a provider.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::client::{Api, CALL_MAX, ClientArgs};
use crate::exit::{Exit, Failure, Outcome};
use crate::follow::{FollowOptions, Followed, follow, say_detached, say_ended};
use crate::job_spec::{SpecArgs, upload_local};
use crate::out::note;

/// The server answers a submit within its wait, 10 s; a first check of inputs comes before that.
const SUBMIT_MAX: Duration = Duration::from_secs(120);

/// Make a job from flags or a file, upload its local files, and submit it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A job that was created before, to be submitted as it is
    #[arg(conflicts_with_all = ["file", "id", "model", "dataset"])]
    job: Option<String>,
    #[command(flatten)]
    spec: SpecArgs,
    /// Where to train [default: local, or the machine's own]
    #[arg(long, value_name = "PROVIDER")]
    provider: Option<String>,
    /// A warm machine of the ledger, by its order or the provider's id
    #[arg(long, value_name = "ID")]
    machine: Option<String>,
    /// Only make the job
    #[arg(long, conflicts_with = "watch")]
    no_submit: bool,
    /// Watch it to its end
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Outcome {
    let api = Api::new(&args.client)?;
    let out = args.client.out();
    let job = match args.job {
        Some(job) => job,
        None => {
            let (mut spec, base) = args.spec.spec()?;
            if !spec.contains_key("model_name") {
                return Err(Failure::usage("no model was named")
                    .hint("give --model NAME, a job with --file JOB.json, or the id of a created job"));
            }
            upload_local(&api, &mut spec, &base).await?;
            let created = create(&api, spec).await?;
            if args.no_submit {
                out.either(&created, || super::cell(&created, "job_id"))?;
                return Ok(Exit::Done);
            }
            super::cell(&created, "job_id")
        }
    };
    let submitted = submit(&api, &job, args.provider.as_deref(), args.machine.as_deref()).await?;
    if !args.watch {
        out.either(&submitted, || format!("{job} {}", super::cell(&submitted, "state")))?;
        note(format!("watch it with `trainyard watch {job}`"));
        return Ok(Exit::Done);
    }
    let options = FollowOptions { after: 0, log: false, notifications: true };
    match follow(&api, &job, options, out, &mut |_| {}).await? {
        Followed::Ended(status) => Ok(say_ended(&status)),
        Followed::Detached => Ok(say_detached(&api, &job, false)),
    }
}

/// Makes a job. A cut connection is no second job: the request carries a key of its own.
pub(crate) async fn create(api: &Api, spec: Map<String, Value>) -> Result<Value, Failure> {
    let spec = Value::Object(spec);
    let key = ulid::Ulid::generate().to_string();
    let once = || {
        let request = api.request(reqwest::Method::POST, &["jobs"]).timeout(CALL_MAX);
        api.call(request.header("idempotency-key", &key).json(&spec))
    };
    match once().await {
        Err(failure) if failure.exit == Exit::Unreachable => once().await,
        answer => answer,
    }
}

/// Sends a job to a provider. Where that is refused, says that the job is there and how to try again.
pub(crate) async fn submit(
    api: &Api,
    job: &str,
    provider: Option<&str>,
    machine: Option<&str>,
) -> Result<Value, Failure> {
    // A machine has one provider, which `auto` is met by.
    let provider = provider.unwrap_or(if machine.is_some() { "auto" } else { "local" });
    let mut body = json!({"provider": provider});
    if let Some(machine) = machine {
        body["machine"] = json!(machine);
    }
    api.post(&["jobs", job, "submit"], &body, SUBMIT_MAX).await.map_err(|failure| {
        if failure.exit == Exit::NotFound {
            return failure;
        }
        let kept = format!("the job {job} is kept: `trainyard status {job}` tells how it is");
        let hint = failure.hint.clone().unwrap_or(kept);
        failure.hint(hint)
    })
}
