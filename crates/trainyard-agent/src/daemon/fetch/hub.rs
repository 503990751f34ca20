//! Repositories of the Hugging Face hub: what is in one, and where each file lies.

use std::path::Path;

use serde::Deserialize;

use super::get::{Get, Getter, Ungot};
use crate::daemon::failure::Failure;
use crate::daemon::place;

/// Where the hub is, unless `HF_ENDPOINT` says otherwise.
const ENDPOINT: &str = "https://huggingface.co";
/// Most bytes of the description of a repository.
const ABOUT_BYTES_MAX: u64 = 16 << 20;
/// Most files of one.
const FILES_MAX: usize = 10_000;

/// What kind of repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Model,
    Dataset,
}

impl Kind {
    fn api(self) -> &'static str {
        match self {
            Kind::Model => "models",
            Kind::Dataset => "datasets",
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Kind::Model => "",
            Kind::Dataset => "datasets/",
        }
    }
}

/// A repository at one commit.
#[derive(Debug)]
pub(super) struct Repository {
    endpoint: String,
    kind: Kind,
    name: String,
    commit: String,
    /// The paths of its files.
    pub(super) files: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct About {
    sha: String,
    #[serde(default)]
    gated: serde_json::Value,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Debug, Deserialize)]
struct Sibling {
    rfilename: String,
}

/// Asks the hub for a repository.
pub(super) async fn look_up(
    getter: &Getter,
    scratch: &Path,
    kind: Kind,
    name: &str,
    revision: Option<&str>,
) -> Result<Repository, Failure> {
    let told = getter.environment.iter().rev().find(|(name, _)| name == "HF_ENDPOINT");
    let endpoint = told.map_or(ENDPOINT, |(_, value)| value.as_str()).trim_end_matches('/').to_owned();
    let revision = encode(revision.unwrap_or("main"));
    let url = format!("{endpoint}/api/{}/{name}/revision/{revision}", kind.api());
    let to = scratch.join(format!("{}-{}.json", kind.api(), name.replace('/', "-")));
    place::remove(&to).map_err(Failure::internal)?;
    let get = Get { url, to: to.clone(), of_hub: true, bytes_max: ABOUT_BYTES_MAX };
    getter.get(&get).await.map_err(|ungot| refused(name, getter.token.is_some(), &ungot))?;
    let about = std::fs::read(&to).map_err(Failure::internal)?;
    let unread =
        |_| Failure::new("hub_unreachable", format!("the hub's answer about `{name}` cannot be read"), RETRY);
    let about: About = serde_json::from_slice(&about).map_err(unread)?;
    let is_gated = !matches!(about.gated, serde_json::Value::Bool(false) | serde_json::Value::Null);
    if is_gated && getter.token.is_none() {
        return Err(gated(name));
    }
    let files: Vec<String> =
        about.siblings.into_iter().map(|file| file.rfilename).take(FILES_MAX + 1).collect();
    if files.len() > FILES_MAX {
        let cause = format!("`{name}` has more than {FILES_MAX} files");
        return Err(Failure::new("input_too_large", cause, "pack what is needed into one archive"));
    }
    Ok(Repository { endpoint, kind, name: name.to_owned(), commit: about.sha, files })
}

/// What to do where the hub did not answer.
const RETRY: &str = "try again later, or name a mirror by `HF_ENDPOINT` in `environment.env`";

impl Repository {
    /// One of its files, to that directory under its own path. None where the path leads outside.
    pub(super) fn file(&self, path: &str, dir: &Path, bytes_max: u64) -> Option<Get> {
        let to = dir.join(place::inside(path)?);
        let Repository { endpoint, kind, name, commit, .. } = self;
        let url = format!("{endpoint}/{}{name}/resolve/{commit}/{}", kind.prefix(), encode(path));
        Some(Get { url, to, of_hub: true, bytes_max })
    }

    /// The commit that was asked for.
    pub(super) fn commit(&self) -> &str {
        &self.commit
    }

    /// Its name and commit.
    pub(super) fn shown(&self) -> String {
        format!("{}@{}", self.name, self.commit)
    }
}

/// What a refusal of the hub means.
pub(super) fn refused(name: &str, with_token: bool, ungot: &Ungot) -> Failure {
    match ungot {
        // The hub's answer to a token that it does not know; what a good one may not see is a 403 or a 404.
        Ungot::Status(401, _) if with_token => {
            let remedy = "store one that is valid (`trainyard secret set HF_TOKEN`); the hub lists yours at \
                          https://huggingface.co/settings/tokens";
            Failure::new("hub_unauthorized", format!("the hub did not accept the token (`{name}`)"), remedy)
        }
        Ungot::Status(401 | 404, _) => {
            let cause =
                format!("the hub shows no `{name}`{}", if with_token { " to this token" } else { "" });
            let remedy =
                "check its name and revision; a private one needs `HF_TOKEN` among the job's `secrets`";
            Failure::new("model_not_found", cause, remedy)
        }
        Ungot::Status(403, _) => gated(name),
        Ungot::Status(429, _) => {
            let remedy = "try again later, with `HF_TOKEN` among the job's `secrets`";
            Failure::new("hub_rate_limited", format!("the hub refuses so many requests (`{name}`)"), remedy)
        }
        Ungot::Status(413, text) => super::too_large(name, text),
        Ungot::Status(0, text) => Failure::of_machine(
            "hub_unreachable",
            format!("the hub was not reached from the machine: {text}"),
        ),
        Ungot::Status(status, text) => {
            Failure::new("hub_unreachable", format!("the hub answered {status} for `{name}`: {text}"), RETRY)
        }
        Ungot::NoProgram(text) => super::no_program(text),
        Ungot::Stopped => Failure::new("stopped", "stopped", ""),
    }
}

fn gated(name: &str) -> Failure {
    let remedy = "accept its conditions on its page at the hub, store a token (`trainyard secret set HF_TOKEN`), and \
                  name `HF_TOKEN` in the job's `secrets`";
    Failure::new(
        "model_gated",
        format!("`{name}` is gated: the hub gives it to those who accepted its conditions"),
        remedy,
    )
}

/// Percent-encodes everything but what a path may hold.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
