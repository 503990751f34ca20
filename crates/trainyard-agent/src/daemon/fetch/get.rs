//! One file over HTTPS, by a program of the machine: Python, which most images for training have, or `curl`.
//!
//! The agent itself speaks to nobody. No shell is between. The address, which opens what it names where it is signed, and a
//! token go by the environment or a file, never by an argument, which every process could read.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::sync::watch;

use super::super::aside::{self, Aside};
use crate::warden::Step;

const FETCH: &str = include_str!("fetch.py");
/// One file may take this long: a hundred gigabytes over a slow line.
const WITHIN: Duration = Duration::from_secs(6 * 3600);
/// Bytes of output that are kept.
const OUTPUT_BYTES: usize = 16 << 10;

/// How files are fetched on this machine.
#[derive(Clone)]
pub(super) struct Getter {
    pub(super) environment: Vec<(String, String)>,
    /// Where programs run that need no directory.
    pub(super) directory: PathBuf,
    /// The token of the hub.
    pub(super) token: Option<SecretString>,
    pub(super) stop: watch::Receiver<bool>,
}

/// One file.
#[derive(Debug, Clone)]
pub(super) struct Get {
    pub(super) url: String,
    pub(super) to: PathBuf,
    /// Of the hub: its token goes along.
    pub(super) of_hub: bool,
    pub(super) bytes_max: u64,
}

/// Why a file is not there.
#[derive(Debug, Clone)]
pub(super) enum Ungot {
    /// The answer's status; 0 where there was none, 413 where it is too large.
    Status(u16, String),
    /// The machine has no program to fetch with, or it cannot be run.
    NoProgram(String),
    /// It was told to stop.
    Stopped,
}

/// What the program says.
#[derive(Debug, Deserialize)]
struct Told {
    status: u16,
    text: String,
}

impl Getter {
    /// Fetches it under its name.
    pub(super) async fn get(&self, get: &Get) -> Result<(), Ungot> {
        let broken = |error: io::Error| Ungot::NoProgram(error.to_string());
        if let Some(dir) = get.to.parent() {
            fs::create_dir_all(dir).map_err(broken)?;
        }
        let token = self.token.as_ref().filter(|_| get.of_hub);
        if self.has("python3") {
            return self.by_python(get, token).await;
        }
        if !self.has("curl") {
            return Err(Ungot::NoProgram("the machine has neither python3 nor curl".to_owned()));
        }
        let config = get.to.with_extension("curl");
        write_config(&config, &get.url, token).map_err(broken)?;
        let got = self.by_curl(get, &config).await;
        let _ = fs::remove_file(&config);
        got
    }

    async fn by_python(&self, get: &Get, token: Option<&SecretString>) -> Result<(), Ungot> {
        let mut environment = self.environment.clone();
        let token = token.map(|token| token.expose_secret().to_owned());
        environment.extend(token.map(|token| ("TRAINYARD_FETCH_TOKEN".to_owned(), token)));
        environment.push(("TRAINYARD_FETCH_URL".to_owned(), get.url.clone()));
        let mut arguments = vec!["-c".to_owned(), FETCH.to_owned()];
        arguments.extend([text(&get.to), get.bytes_max.to_string()]);
        let done = self.run("python3", arguments, environment).await?;
        let output = String::from_utf8_lossy(&done.output);
        match output.lines().rev().find_map(|line| serde_json::from_str::<Told>(line).ok()) {
            Some(told) if told.status == 200 => Ok(()),
            Some(told) => Err(Ungot::Status(told.status, told.text)),
            None => Err(Ungot::Status(0, done.last_line())),
        }
    }

    async fn by_curl(&self, get: &Get, config: &Path) -> Result<(), Ungot> {
        let fixed = "--fail --silent --show-error --location --retry 5 --connect-timeout 30 --speed-time 120 \
                     --speed-limit 1 --write-out %{http_code}";
        let mut arguments: Vec<String> = fixed.split_whitespace().map(str::to_owned).collect();
        if get.url.starts_with("https:") {
            arguments.extend(["--proto-redir".to_owned(), "=https".to_owned()]);
        }
        arguments.extend(["--max-filesize".to_owned(), get.bytes_max.to_string()]);
        arguments.extend(["--config".to_owned(), text(config), "--output".to_owned(), text(&get.to)]);
        let done = self.run("curl", arguments, self.environment.clone()).await?;
        if done.is_good() {
            return Ok(());
        }
        let output = String::from_utf8_lossy(&done.output).into_owned();
        let digits = output.trim().rsplit(|c: char| !c.is_ascii_digit()).next();
        // Its code for a file that is too large.
        let too_large = done.outcome.as_ref().is_some_and(|outcome| outcome.code == Some(63));
        let status = if too_large { 413 } else { digits.and_then(|digits| digits.parse().ok()).unwrap_or(0) };
        Err(Ungot::Status(status, done.last_line()))
    }

    async fn run(
        &self,
        program: &str,
        arguments: Vec<String>,
        environment: Vec<(String, String)>,
    ) -> Result<aside::Done, Ungot> {
        let directory = text(&self.directory);
        let step = Step { program: program.to_owned(), arguments, directory, title: None };
        let aside = Aside { environment, step, within: WITHIN, keep: OUTPUT_BYTES };
        let done = aside::run(aside, self.stop.clone()).await;
        match done {
            Ok(done) if done.stopped => Err(Ungot::Stopped),
            Ok(done) => match done.outcome.as_ref().and_then(|outcome| outcome.error.clone()) {
                Some(error) => Err(Ungot::NoProgram(error)),
                None => Ok(done),
            },
            Err(error) => Err(Ungot::NoProgram(error.to_string())),
        }
    }

    fn has(&self, program: &str) -> bool {
        let path = self.environment.iter().rev().find(|(name, _)| name == "PATH");
        path.is_some_and(|(_, path)| std::env::split_paths(path).any(|dir| dir.join(program).is_file()))
    }
}

fn write_config(path: &Path, url: &str, token: Option<&SecretString>) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(path)?;
    // An address or a token with a quote, a backslash or a line's end in it is none.
    let plain = |text: &str| -> String {
        text.chars().filter(|c| !c.is_control() && !c.is_whitespace() && !matches!(c, '"' | '\\')).collect()
    };
    let mut config = format!("url = \"{}\"\n", plain(url));
    if let Some(token) = token {
        config.push_str(&format!("header = \"Authorization: Bearer {}\"\n", plain(token.expose_secret())));
    }
    io::Write::write_all(&mut file, config.as_bytes())
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
