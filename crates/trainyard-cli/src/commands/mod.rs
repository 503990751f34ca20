//! One file per command: its arguments, and what it does. Client commands only speak HTTP.

mod artifact;
mod cancel;
mod clone;
mod completions;
mod delete;
mod doctor;
mod exec;
mod init;
mod jobs;
mod logs;
mod metrics;
mod offers;
mod pause;
mod providers;
mod quickstart;
mod recover;
mod resources;
mod resume;
mod run;
mod secret;
mod serve;
mod sim;
#[cfg(feature = "lambda")]
mod ssh;
mod status;
mod submit;
mod token;
mod validate;
mod watch;

use std::future::Future;

use clap::{Parser, Subcommand};

use crate::config::Environment;
use crate::exit::{EXIT_CODES, Failure, Outcome};

/// Runs training jobs on the machine at hand and on rented ones, and brings their adapters home verified
#[derive(Debug, Parser)]
#[command(name = "trainyard", version, after_help = EXIT_CODES, max_term_width = 100, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Quickstart(quickstart::Args),
    Serve(serve::Args),
    Sim(sim::Args),
    Doctor(doctor::Args),
    Recover(recover::Args),
    Run(run::Args),
    Init(init::Args),
    Submit(submit::Args),
    Jobs(jobs::Args),
    Status(status::Args),
    Watch(watch::Args),
    Logs(logs::Args),
    Metrics(metrics::Args),
    Cancel(cancel::Args),
    Pause(pause::Args),
    Resume(resume::Args),
    Clone(clone::Args),
    Delete(delete::Args),
    Validate(validate::Args),
    Exec(exec::Args),
    #[cfg(feature = "lambda")]
    Ssh(ssh::Args),
    Artifact(artifact::Args),
    Offers(offers::Args),
    Providers(providers::Args),
    Resources(resources::Args),
    Secret(secret::Args),
    Token(token::Args),
    Completions(completions::Args),
}

impl Cli {
    /// Does what was asked for.
    pub(crate) fn run(self) -> Outcome {
        match self.command {
            Command::Quickstart(args) => server(quickstart::run(args, Environment::read())),
            Command::Serve(args) => server(serve::run(args, Environment::read())),
            Command::Sim(args) => server(sim::run(args)),
            Command::Recover(args) => server(recover::run(args, Environment::read())),
            Command::Doctor(args) => server(doctor::run(args, Environment::read())),
            Command::Run(args) => client(run::run(args)),
            Command::Init(args) => init::run(&args),
            Command::Submit(args) => client(submit::run(args)),
            Command::Jobs(args) => client(jobs::run(args)),
            Command::Status(args) => client(status::run(args)),
            Command::Watch(args) => client(watch::run(args)),
            Command::Logs(args) => client(logs::run(args)),
            Command::Metrics(args) => client(metrics::run(args)),
            Command::Cancel(args) => client(cancel::run(args)),
            Command::Pause(args) => client(pause::run(args)),
            Command::Resume(args) => client(resume::run(args)),
            Command::Clone(args) => client(clone::run(args)),
            Command::Delete(args) => client(delete::run(args)),
            Command::Validate(args) => client(validate::run(args)),
            Command::Exec(args) => client(exec::run(args)),
            #[cfg(feature = "lambda")]
            Command::Ssh(args) => client(ssh::run(args)),
            Command::Artifact(args) => client(artifact::run(args)),
            Command::Offers(args) => client(offers::run(args)),
            Command::Providers(args) => client(providers::run(args)),
            Command::Resources(args) => client(resources::run(args)),
            Command::Secret(args) => client(secret::run(args)),
            Command::Token(args) => client(token::run(args)),
            Command::Completions(args) => completions::run(&args),
        }
    }
}

/// One thread is enough for a client, and it starts at once.
fn client(command: impl Future<Output = Outcome>) -> Outcome {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed("the runtime did not start").because(&error))?
        .block_on(command)
}

/// Most threads of a server's runtime: its work is waiting, the trainings are processes of their own.
const SERVER_THREADS_MAX: usize = 4;

/// A server works on several cores, and says in its log what it does.
fn server(command: impl Future<Output = Outcome>) -> Outcome {
    crate::log::start(&Environment::read());
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(SERVER_THREADS_MAX));
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(|error| Failure::failed("the runtime did not start").because(&error))?
        .block_on(command)
}

/// A field as a cell of a table: `-` where there is nothing, times without their fractions.
fn cell(row: &serde_json::Value, field: &str) -> String {
    use serde_json::Value;
    match row.get(field) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) if field.ends_with("_at") => match text.split_once('.') {
            Some((seconds, fraction)) if fraction.ends_with('Z') => format!("{seconds}Z"),
            _ => text.clone(),
        },
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(yes)) => if *yes { "yes" } else { "no" }.to_owned(),
        // Money.
        Some(Value::Object(money)) if money.contains_key("currency") => {
            let part = |name| money.get(name).and_then(Value::as_str).unwrap_or("?");
            format!("{} {}", part("amount"), part("currency"))
        }
        Some(other) => other.to_string(),
    }
}

/// The list under that name, or the answer itself where it is a list.
fn rows(answer: &serde_json::Value, field: &str) -> Vec<serde_json::Value> {
    answer.get(field).unwrap_or(answer).as_array().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// The whole command line as users see it: a change of it is a change of the contract.
    #[test]
    fn help_of_every_command() {
        let mut root = Cli::command().term_width(100);
        root.build();
        let mut text = root.render_help().to_string();
        let mut ways: Vec<clap::Command> = root.get_subcommands().cloned().collect();
        while !ways.is_empty() {
            let mut command = ways.remove(0);
            if command.get_name() == "help" {
                continue;
            }
            let (name, help) =
                (command.get_display_name().unwrap_or_default().to_owned(), command.render_help());
            text.push_str(&format!("\n==== {name}\n{help}"));
            ways.splice(0..0, command.get_subcommands().cloned().collect::<Vec<_>>());
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn the_command_line_does_not_contradict_itself() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_client_command_takes_json() {
        let without: Vec<String> = Cli::command()
            .get_subcommands()
            .filter(|command| {
                !command.has_subcommands() && command.get_arguments().all(|arg| arg.get_id() != "json")
            })
            .map(|command| command.get_name().to_owned())
            .collect();
        assert_eq!(without, ["serve", "sim", "completions"]);
    }
}
