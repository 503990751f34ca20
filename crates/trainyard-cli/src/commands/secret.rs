//! `trainyard secret`: values that a training gets and nobody reads back.
//!
//! A value comes from stdin, a prompt or a file, never from the command line, where every process of the machine
//! could read it.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::client::{Api, CALL_MAX, ClientArgs};
use crate::exit::{Exit, Failure, Outcome};
use crate::out::{self, note};

/// Longest value, in bytes.
const VALUE_BYTES_MAX: u64 = 64 << 10;

/// Keep values that trainings get under their names; they are never read back
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Set or replace a value, from stdin, a prompt or a file
    Set {
        /// The name, which is that of the environment variable
        name: String,
        /// Take the value from this file
        #[arg(long, value_name = "FILE")]
        from_file: Option<PathBuf>,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// List the names
    List {
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Forget a value
    Delete {
        /// The name
        name: String,
        #[command(flatten)]
        client: ClientArgs,
    },
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Outcome {
    match args.what {
        What::Set { name, from_file, client } => set(&name, from_file.as_deref(), &client).await,
        What::List { client } => list(&client).await,
        What::Delete { name, client } => {
            Api::new(&client)?.delete(&["secrets", &name], &[]).await?;
            client.out().either(&json!({"name": name, "deleted": true}), || format!("{name} deleted"))?;
            Ok(Exit::Done)
        }
    }
}

async fn set(name: &str, from_file: Option<&Path>, client: &ClientArgs) -> Outcome {
    let api = Api::new(client)?;
    let value = read_value(name, from_file)?;
    let request = api.request(Method::PUT, &["secrets", name]).timeout(CALL_MAX);
    api.send(request.json(&json!({"value": value.expose_secret()}))).await?;
    client.out().either(&json!({"name": name, "set": true}), || format!("{name} set"))?;
    Ok(Exit::Done)
}

async fn list(client: &ClientArgs) -> Outcome {
    let answer: Value = Api::new(client)?.get(&["secrets"], &[]).await?;
    let out = client.out();
    let secrets = super::rows(&answer, "secrets");
    if out.json {
        out.json(&answer)?;
    } else if secrets.is_empty() {
        note("no secrets; set one with `trainyard secret set NAME`");
    } else {
        let rows = secrets.iter().map(|secret| match secret.as_str() {
            Some(name) => vec![name.to_owned(), "-".to_owned()],
            None => vec![super::cell(secret, "name"), super::cell(secret, "updated_at")],
        });
        out.line(out::table(&["NAME", "SET"], rows))?;
    }
    Ok(Exit::Done)
}

/// Reads a value. One line end at its end is the shell's, not the value's.
fn read_value(name: &str, from_file: Option<&Path>) -> Result<SecretString, Failure> {
    let read = |from: &mut dyn Read| -> std::io::Result<String> {
        let mut text = String::new();
        from.take(VALUE_BYTES_MAX + 1).read_to_string(&mut text)?;
        Ok(text)
    };
    let text = match from_file {
        Some(path) => std::fs::File::open(path).and_then(|mut file| read(&mut file)).map_err(|error| {
            Failure::usage(format!("`{}` cannot be read", path.display())).because(&error)
        })?,
        None if std::io::stdin().is_terminal() => prompt(name)?,
        None => read(&mut std::io::stdin())
            .map_err(|error| Failure::usage("stdin cannot be read").because(&error))?,
    };
    let text = text.strip_suffix('\n').map_or(text.as_str(), |t| t.strip_suffix('\r').unwrap_or(t));
    if text.is_empty() || text.len() as u64 > VALUE_BYTES_MAX {
        return Err(Failure::usage("the value is empty or longer than 64 KiB")
            .hint(format!("pipe it in: printf %s \"$VALUE\" | trainyard secret set {name}")));
    }
    Ok(SecretString::from(text.to_owned()))
}

/// One line from the terminal, not shown while it is typed.
#[cfg(unix)]
fn prompt(name: &str) -> Result<String, Failure> {
    use nix::sys::termios::{self, LocalFlags, SetArg};
    let stdin = std::io::stdin();
    let failed = |error: nix::Error| Failure::failed("the terminal does not do as asked").because(&error);
    note(format!("value of {name} (not shown):"));
    let before = termios::tcgetattr(&stdin).map_err(failed)?;
    let mut silent = before.clone();
    silent.local_flags.remove(LocalFlags::ECHO);
    termios::tcsetattr(&stdin, SetArg::TCSAFLUSH, &silent).map_err(failed)?;
    let mut line = String::new();
    let read = stdin.read_line(&mut line);
    termios::tcsetattr(&stdin, SetArg::TCSAFLUSH, &before).map_err(failed)?;
    read.map_err(|error| Failure::failed("the terminal cannot be read").because(&error))?;
    Ok(line)
}

#[cfg(not(unix))]
fn prompt(name: &str) -> Result<String, Failure> {
    Err(Failure::usage("the value is not read from a terminal here")
        .hint(format!("pipe it in, or use `trainyard secret set {name} --from-file FILE`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_the_shells() {
        let check = |text: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            read_value("X", Some(file.path())).map(|value| value.expose_secret().to_owned()).ok()
        };
        assert_eq!(check("a\nb\n").as_deref(), Some("a\nb"));
        assert_eq!(check("a\r\n").as_deref(), Some("a"));
        assert_eq!(check("\n"), None);
        assert_eq!(check(&"x".repeat(65_537)), None);
    }

    #[test]
    fn the_command_line_takes_no_value() {
        use clap::Parser;
        let parsed =
            super::super::Cli::try_parse_from(["trainyard", "secret", "set", "HF_TOKEN", "hf_value"]);
        assert_eq!(parsed.unwrap_err().kind(), clap::error::ErrorKind::UnknownArgument);
    }
}
