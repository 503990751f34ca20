//! `trainyard token`: who may speak to a server. Works on its data directory, with the server running or not.

use std::path::PathBuf;

use clap::Subcommand;
use secrecy::ExposeSecret;
use serde_json::json;
use trainyard::TokenFile;

use crate::config::{ConfigArgs, Environment, Settings};
use crate::exit::{Exit, Failure, Outcome};
use crate::out::{self, Out, note};

/// Make, list and revoke API tokens of a data directory, server running or not
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a token; it is shown once. From the first one on every request needs one
    Create {
        /// What it is for
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// List the tokens; never the tokens themselves
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Revoke a token; a running server sees it within a second
    Revoke {
        /// Its id, as `list` shows it
        id: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Which data directory.
#[derive(Debug, clap::Args)]
struct Place {
    /// The data directory [default: trainyard-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The configuration file [default: trainyard.toml, where there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Outcome {
    match args.what {
        What::Create { name, place } => create(&name, place).await,
        What::List { place } => list(place).await,
        What::Revoke { id, place } => revoke(&id, place).await,
    }
}

async fn open(place: Place) -> Result<TokenFile, Failure> {
    let args = ConfigArgs { listen: None, data: place.data, config: place.config };
    let data = Settings::load(&args, &Environment::read())?.data;
    TokenFile::open(&data).await.map_err(|error| {
        Failure::failed(format!("the data directory `{}` cannot be used", data.display())).because(&error)
    })
}

async fn create(name: &str, place: Place) -> Outcome {
    let out = Out { json: place.json };
    let tokens = open(place).await?;
    let made = tokens.create(name).await;
    tokens.close().await;
    let made = made.map_err(|error| Failure::failed("no token was made").because(&error))?;
    let token = made.token.expose_secret();
    out.either(&json!({"id": made.id, "name": name, "token": token}), || token.to_owned())?;
    note("keep it: it is not shown again. Clients take it from TRAINYARD_TOKEN");
    Ok(Exit::Done)
}

async fn list(place: Place) -> Outcome {
    let out = Out { json: place.json };
    let tokens = open(place).await?;
    let all = tokens.list().await;
    tokens.close().await;
    let all = all.map_err(|error| Failure::failed("the tokens cannot be read").because(&error))?;
    let shown = |at: &chrono::DateTime<chrono::Utc>| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    if out.json {
        let rows: Vec<_> = all
            .iter()
            .map(|token| json!({"id": token.id, "name": token.name, "created_at": shown(&token.created_at)}))
            .collect();
        out.json(&json!({"tokens": rows}))?;
    } else if all.is_empty() {
        note("no tokens: every request is let in, and only loopback is listened on");
    } else {
        let rows =
            all.iter().map(|token| vec![token.id.clone(), shown(&token.created_at), token.name.clone()]);
        out.line(out::table(&["ID", "CREATED", "NAME"], rows))?;
    }
    Ok(Exit::Done)
}

async fn revoke(id: &str, place: Place) -> Outcome {
    let out = Out { json: place.json };
    let tokens = open(place).await?;
    let found = tokens.revoke(id).await;
    tokens.close().await;
    if !found.map_err(|error| Failure::failed("the token was not revoked").because(&error))? {
        return Err(Failure::new(Exit::NotFound, format!("there is no token `{id}`"))
            .hint("`trainyard token list` shows them"));
    }
    out.either(&json!({"id": id, "revoked": true}), || format!("{id} revoked"))?;
    Ok(Exit::Done)
}
