//! `trainyard run`: the whole way in one line. The current directory is packed and uploaded, the job is made, checked
//! and submitted, its log and metrics are streamed, and its artifact is brought home.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::artifact::{bring_home, home_of, line};
use super::submit::{create, submit};
use crate::client::{Api, ClientArgs, Status};
use crate::exit::{Exit, Failure, Outcome};
use crate::follow::{FollowOptions, Followed, follow, say_detached, say_ended};
use crate::job_spec::{JOB_FILE, SpecArgs, upload_directory, upload_local};
use crate::out::note;
use crate::pack;

/// Pack this directory, train with a command in it, and bring the artifact home
///
/// The command runs in a copy of this directory, less what .gitignore names. What it leaves in
/// $TRAINYARD_OUTPUT_DIR, or in ./outputs, ./output, ./saves or ./trainer_output, is the artifact. Without a command
/// it runs the job of trainyard.job.json. Ctrl-C lets go of the job without stopping it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The program that trains, and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
    #[command(flatten)]
    spec: SpecArgs,
    /// Where to train [default: local, or the machine's own]
    #[arg(long, value_name = "PROVIDER")]
    provider: Option<String>,
    /// A warm machine of the ledger, by its order or the provider's id
    #[arg(long, value_name = "ID")]
    machine: Option<String>,
    /// The directory to pack
    #[arg(long, default_value = ".", value_name = "DIR")]
    dir: PathBuf,
    /// Most to pack, in MB
    #[arg(long, default_value_t = pack::BYTES_MAX >> 20, value_name = "MB")]
    pack_max_mb: u64,
    /// Where the artifact goes; `trainyard-output/JOB` where it is left out
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    client: ClientArgs,
}

impl Args {
    /// The job of the directory, where no other file and no command says what to run. Flags win over it.
    fn find_job_file(&mut self) {
        let file = self.dir.join(JOB_FILE);
        if self.spec.file.is_none() && self.command.is_empty() && file.is_file() {
            note(format!("the job is {}", file.display()));
            self.spec.file = Some(file);
        }
    }
}

/// Whether the job runs a program in the packed directory.
fn runs_a_command(spec: &Map<String, Value>) -> bool {
    spec.get("trainer").is_some_and(|trainer| trainer.get("command").is_some_and(|words| !words.is_null()))
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Outcome {
    let api = Api::new(&args.client)?;
    let out = args.client.out();
    let mut args = args;
    args.find_job_file();
    let (mut spec, base) = args.spec.spec()?;
    if !args.command.is_empty() {
        put_command(&mut spec, &args.command, &args.dir)?;
    } else if !spec.contains_key("model_name") {
        return Err(Failure::usage("nothing says what to run").hint(
            "write it after `--`, as in `trainyard run -- python train.py`, or give --model or --file; `trainyard init` \
             writes a starting point",
        ));
    }
    // Found out before anything is packed.
    let _: Value = api.get(&["providers"], &[]).await?;
    if runs_a_command(&spec) && !spec.contains_key("code") {
        let code = upload_directory(&api, &args.dir, args.pack_max_mb << 20).await?;
        spec.insert("code".to_owned(), json!(code));
    }
    upload_local(&api, &mut spec, &base).await?;
    let created = create(&api, spec).await?;
    let job = super::cell(&created, "job_id");
    note(format!("job {job}"));
    submit(&api, &job, args.provider.as_deref(), args.machine.as_deref()).await?;
    let options = FollowOptions { after: 0, log: true, notifications: false };
    let status = match follow(&api, &job, options, out, &mut |_| {}).await? {
        Followed::Ended(status) => status,
        Followed::Detached => return Ok(say_detached(&api, &job, true)),
    };
    let exit = say_ended(&status);
    let files = match exit {
        Exit::Done if status.artifact_info.is_some() => {
            let into = args.out.unwrap_or_else(|| home_of(&job));
            fetch_or_detach(&api, &job, &into).await?
        }
        _ => Some(Vec::new()),
    };
    let Some(files) = files else { return Ok(say_detached(&api, &job, true)) };
    if out.json {
        out.json(&result(&job, &status, &files))?;
    } else {
        files.iter().try_for_each(|file| out.line(line(file)))?;
    }
    if exit == Exit::Done && files.is_empty() {
        note(
            "it left nothing in $TRAINYARD_OUTPUT_DIR: there is no artifact. Tell the program to write there \
             (`sh -c 'python train.py --output_dir \"$TRAINYARD_OUTPUT_DIR\"'`) or below ./outputs",
        );
    }
    Ok(exit)
}

type Files = Vec<crate::client::FetchedFile>;

/// Brings the artifact home; none where Ctrl-C came first.
async fn fetch_or_detach(api: &Api, job: &str, into: &Path) -> Result<Option<Files>, Failure> {
    tokio::select! {
        files = bring_home(api, job, into) => files.map(Some),
        _ = tokio::signal::ctrl_c() => Ok(None),
    }
}

/// The last line of `--json`.
fn result(job: &str, status: &Status, files: &[crate::client::FetchedFile]) -> Value {
    let files: Vec<Value> = files
        .iter()
        .map(|file| json!({"path": file.path, "size_bytes": file.bytes, "hash_sha256": file.sha256, "main": file.main}))
        .collect();
    json!({"type": "result", "data": {"job_id": job, "state": status.state, "files": files}})
}

/// Makes the job one that runs a command in the packed directory.
fn put_command(spec: &mut Map<String, Value>, command: &[String], directory: &Path) -> Result<(), Failure> {
    let trainer = spec.entry("trainer").or_insert_with(|| json!({}));
    let Some(trainer) = trainer.as_object_mut() else {
        return Err(Failure::usage("`trainer` of the job file is no object"));
    };
    trainer.insert("kind".to_owned(), json!("command"));
    trainer.insert("command".to_owned(), json!(command));
    if !spec.contains_key("model_name") {
        // A command brings its own model; the directory's name tells jobs apart in a list.
        let name =
            std::path::absolute(directory).ok().and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
        spec.insert("model_name".to_owned(), json!(name.unwrap_or_else(|| "command".to_owned())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_named_after_its_directory_and_keeps_the_rest_of_the_file() {
        let mut spec = json!({"trainer": {"hook": false}}).as_object().unwrap().clone();
        put_command(&mut spec, &["python".to_owned(), "t.py".to_owned()], Path::new("/x/my-code")).unwrap();
        assert_eq!(
            Value::Object(spec),
            json!({
                "model_name": "my-code",
                "trainer": {"hook": false, "kind": "command", "command": ["python", "t.py"]},
            })
        );
    }

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn flags_win_over_the_directorys_job_and_a_command_takes_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let job = json!({"model_name": "theirs", "peft_method": "dora"});
        std::fs::write(directory.path().join(JOB_FILE), job.to_string()).unwrap();
        let run = |words: &[&str]| {
            let start = ["run", "--dir", directory.path().to_str().unwrap()];
            let mut args = <Line as clap::Parser>::parse_from(start.iter().chain(words)).args;
            args.find_job_file();
            Value::Object(args.spec.spec().unwrap().0)
        };
        assert_eq!(run(&[]), job);
        assert_eq!(run(&["--model", "mine"]), json!({"model_name": "mine", "peft_method": "dora"}));
        assert_eq!(run(&["--", "true"]), json!({}));
    }
}
