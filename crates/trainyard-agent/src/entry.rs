//! The hook at the top of `main`: this program re-executed as agent or warden.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::daemon::{self, Listen, Options};
use crate::key::PublicKey;
use crate::protocol::VERSION_LINE;
use crate::warden;

/// The word that makes this program an agent.
pub(crate) const AGENT: &str = "__agent";
/// The word that makes this program a warden.
pub(crate) const WARDEN: &str = "__warden";
/// The word that makes this program the built-in trainer; its owner answers to it, not we.
pub(crate) const TRAIN: &str = "__train";
/// The exit code of a command line that cannot be read.
const WRONG_USAGE: u8 = 2;

/// Call this first in `main`, with the process's arguments, program name included. Where the program was re-executed
/// as an agent or a warden it runs as that to its end and the exit code is given; otherwise none, and `main` goes on.
///
/// The agent's command line, for whoever starts one:
/// `PROGRAM __agent --root DIR --order NAME --public-key HEX (--listen ADDR | --listen-fd0) [--keep DIR]
/// [--trainer-exe PATH] [--tls FILE]`. With `--listen-fd0` its standard input is a listening TCP socket that the caller has bound.
/// With `--tls` it speaks TLS only, with the private key and certificate of that PEM file. `PROGRAM __agent --version`
/// prints one line and ends: so it is told whether this program runs on that machine at all. `PROGRAM __agent --remove`
/// has the machine removed by the means that its vendor left in it and that the order names.
/// It leaves its session, so that it outlives whoever started it, and as soon as it listens it writes an
/// [`AgentRecord`](crate::AgentRecord) into `DIR`.
pub fn entry(arguments: &[OsString]) -> Option<ExitCode> {
    match arguments.get(1)?.to_str()? {
        AGENT if arguments.get(2).is_some_and(|word| word == "--version") => {
            let told = writeln!(io::stdout(), "{VERSION_LINE}");
            Some(if told.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        AGENT if arguments.get(2).is_some_and(|word| word == "--remove") => {
            Some(daemon::remove_machine(&std::env::vars_os().collect::<Vec<_>>()))
        }
        AGENT => Some(match options(&arguments[2..]) {
            Ok(options) => daemon::run(options),
            Err(error) => {
                let _ = writeln!(io::stderr(), "trainyard: {error}");
                ExitCode::from(WRONG_USAGE)
            }
        }),
        WARDEN => Some(warden::run()),
        _ => None,
    }
}

fn options(arguments: &[OsString]) -> Result<Options, String> {
    let (mut root, mut order, mut key, mut listen) = (None, None, None, None);
    let (mut keep, mut trainer, mut tls) = (None, None, None);
    let mut rest = arguments.iter();
    while let Some(flag) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("{} needs a value", flag.display()));
        match flag.to_str() {
            Some("--root") => root = Some(PathBuf::from(value()?)),
            Some("--order") => order = Some(text(value()?)?),
            Some("--public-key") => {
                key = Some(PublicKey::from_hex(&text(value()?)?).map_err(|error| error.to_string())?);
            }
            Some("--listen") => {
                let address = text(value()?)?.parse().map_err(|error| format!("--listen: {error}"))?;
                listen = Some(Listen::At(address));
            }
            Some("--listen-fd0") => listen = Some(Listen::StandardInput),
            Some("--keep") => keep = Some(PathBuf::from(value()?)),
            Some("--trainer-exe") => trainer = Some(PathBuf::from(value()?)),
            Some("--tls") => tls = Some(PathBuf::from(value()?)),
            _ => return Err(format!("unknown argument {}", flag.display())),
        }
    }
    let missing = |flag: &str| format!("{flag} is missing");
    Ok(Options {
        root: root.ok_or_else(|| missing("--root"))?,
        order: order.ok_or_else(|| missing("--order"))?,
        public_key: key.ok_or_else(|| missing("--public-key"))?,
        listen: listen.ok_or_else(|| missing("--listen or --listen-fd0"))?,
        keep,
        trainer,
        tls,
        environment: std::env::vars_os().collect(),
    })
}

fn text(value: &OsStr) -> Result<String, String> {
    value.to_str().map(str::to_owned).ok_or_else(|| format!("{} is not UTF-8", value.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn other_command_lines_are_left_to_main() {
        assert!(entry(&of(&["trainyard"])).is_none());
        assert!(entry(&of(&["trainyard", "serve", "__agent"])).is_none());
    }

    #[test]
    fn an_agents_command_line_is_read_strictly() {
        let key = "00".repeat(32);
        let good = ["--root", "/r", "--order", "o", "--public-key", &key, "--listen", "127.0.0.1:0"];
        let options = options(&of(&good)).unwrap();
        assert_eq!(options.order, "o");
        assert!(matches!(options.listen, Listen::At(_)));
        for bad in [&good[..6], &["--root"], &["--what"], &["--public-key", "xyz"]] {
            assert!(super::options(&of(bad)).is_err(), "{bad:?}");
        }
    }
}
