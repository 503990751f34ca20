//! What a server is told: defaults < `trainyard.toml` < environment < flags.
//!
//! The only place that reads the environment (but for `--server` and `--token`, which clap reads). What is not known
//! or not right is an error that names the key and where it stands.

mod environment;
mod file;
mod keys;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::exit::Failure;

pub(crate) use environment::Environment;
#[cfg(feature = "lambda")]
pub(crate) use file::LambdaSection;
#[cfg(feature = "runpod")]
pub(crate) use file::RunPodSection;
#[cfg(feature = "vastai")]
pub(crate) use file::VastSection;
pub(crate) use file::{
    AgentSection, BudgetSection, FileConfig, InputsSection, LimitsSection, LocalSection, ProvidersSection,
    RetentionSection, ServerSection,
};
pub(crate) use keys::{Key, Keys};

/// The file that is read where none is named, if it is there.
const FILE_NAME: &str = "trainyard.toml";

/// Flags that set what a file or the environment can set too.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ConfigArgs {
    /// Address to listen on; port 0 takes a free one [default: 127.0.0.1:8000]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<String>,
    /// The data directory [default: trainyard-data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// The configuration file [default: trainyard.toml, where there is one]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Everything a server is told, from all four places.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Where to listen.
    pub(crate) listen: SocketAddr,
    /// The data directory.
    pub(crate) data: PathBuf,
    /// How it is reached, and by whom.
    pub(crate) server: ServerSection,
    /// This machine as a provider.
    pub(crate) local: LocalSection,
    /// What may be read and uploaded.
    pub(crate) inputs: InputsSection,
    /// How long what is kept.
    pub(crate) retention: RetentionSection,
    /// What a job may ask for at most.
    pub(crate) limits: LimitsSection,
    /// What jobs may cost in each month.
    pub(crate) budgets: Vec<BudgetSection>,
    /// How the agent reaches a rented machine.
    pub(crate) agent: AgentSection,
    /// Where machines are rented.
    pub(crate) providers: ProvidersSection,
    /// The keys of the clouds.
    pub(crate) keys: Keys,
}

impl Settings {
    /// Reads all four places.
    pub(crate) fn load(args: &ConfigArgs, environment: &Environment) -> Result<Settings, Failure> {
        let named = args.config.clone().or_else(|| environment.get("TRAINYARD_CONFIG").map(PathBuf::from));
        let mut config = match named {
            Some(path) => FileConfig::read(&path)?,
            None if Path::new(FILE_NAME).exists() => FileConfig::read(Path::new(FILE_NAME))?,
            None => FileConfig::default(),
        };
        environment.apply(&mut config)?;
        let keys = Keys::of(&config.providers, environment)?;
        let listen = args.listen.clone().or(config.listen).unwrap_or_else(|| "127.0.0.1:8000".to_owned());
        Ok(Settings {
            listen: address(&listen)?,
            data: data_directory(args.data.as_deref().or(config.data.as_deref())),
            server: config.server,
            local: config.local,
            inputs: config.inputs,
            retention: config.retention,
            limits: config.limits,
            budgets: config.budgets,
            agent: config.agent,
            providers: config.providers,
            keys,
        })
    }
}

/// The data directory: what was said, else one below the current directory.
pub(crate) fn data_directory(said: Option<&Path>) -> PathBuf {
    said.map_or_else(|| PathBuf::from(crate::DATA_DIR), Path::to_owned)
}

fn address(text: &str) -> Result<SocketAddr, Failure> {
    let numeric = text.replace("localhost:", "127.0.0.1:");
    numeric.parse().map_err(|_| {
        Failure::usage(format!("`{text}` is no address to listen on"))
            .hint("write an address with a port, such as 127.0.0.1:8000, [::1]:8000 or 0.0.0.0:8000")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn load(file: &str, variables: &[(&str, &str)], args: ConfigArgs) -> Result<Settings, Failure> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.toml");
        std::fs::write(&path, file).unwrap();
        let environment = Environment::of(variables);
        Settings::load(&ConfigArgs { config: Some(path), ..args }, &environment)
    }

    #[test]
    fn flags_win_over_the_environment_over_the_file_over_the_defaults() {
        let none = ConfigArgs::default;
        let port = |settings: Settings| settings.listen.port();
        assert_eq!(port(load("", &[], none()).unwrap()), 8000);
        let file = "listen = \"127.0.0.1:1\"\n[local]\nslots = 3\nuse_gpus = false\n";
        assert_eq!(port(load(file, &[], none()).unwrap()), 1);
        let variables = [("TRAINYARD_LISTEN", "127.0.0.1:2"), ("TRAINYARD_LOCAL_SLOTS", "5")];
        let settings = load(file, &variables, none()).unwrap();
        assert_eq!((settings.local.slots, settings.local.use_gpus), (Some(5), Some(false)));
        assert_eq!(port(settings), 2);
        let flag = ConfigArgs { listen: Some("localhost:3".to_owned()), ..none() };
        assert_eq!(port(load(file, &variables, flag).unwrap()), 3);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_place() {
        for (file, name) in [
            ("lsten = \"x\"", "lsten"),
            ("[server]\nalowed_hosts = []", "alowed_hosts"),
            ("[servr]\n", "servr"),
            ("[local]\nslots = \"many\"", "slots"),
        ] {
            let failure = load(file, &[], ConfigArgs::default()).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.to_string().contains(name), "{failure}");
        }
    }

    #[test]
    fn a_wrong_variable_is_named() {
        let wrong = [
            ("TRAINYARD_LOCAL_SLOTS", "many"),
            ("TRAINYARD_LOCAL_USE_GPUS", "perhaps"),
            ("TRAINYARD_LIMITS_MAX_DURATION_S", "-1"),
            ("TRAINYARD_LOCAL_SLTS", "1"),
        ];
        for (name, value) in wrong {
            let failure = load("", &[(name, value)], ConfigArgs::default()).unwrap_err();
            assert!(failure.to_string().contains(name), "{failure}");
        }
    }

    #[test]
    fn variables_that_are_not_the_servers_are_left_alone() {
        let others = [
            ("TRAINYARD_SERVER", "http://127.0.0.1:8000"),
            ("TRAINYARD_TOKEN", "x"),
            ("TRAINYARD_JOB_ID", "a"),
            ("TRAINYARD_LOG", "debug"),
            ("PATH", "/bin"),
        ];
        assert!(load("", &others, ConfigArgs::default()).is_ok());
    }

    #[test]
    fn the_page_about_it_shows_every_key_and_variable() {
        let page = include_str!("../../../../docs/configuration.md");
        let (_, block) = page.split_once("```toml\n").unwrap();
        let (block, _) = block.split_once("```").unwrap();
        let settings = load(block, &[], ConfigArgs::default()).unwrap();
        // Every key of the example differs from "not said", so a new key without a line on the page is found here.
        let shown = format!("{settings:?}");
        assert!(!shown.contains("None") && !shown.contains("[]"), "not shown on the page: {shown}");
        let failure = load("", &[("TRAINYARD_LOCAL_X", "1")], ConfigArgs::default()).unwrap_err();
        let known = failure.hint.unwrap();
        for name in known.trim_start_matches("known are ").split(", ") {
            assert!(page.contains(&format!("`{name}`")), "{name} is not on the page");
        }
    }

    #[test]
    fn what_is_no_address_is_wrong_usage() {
        for wrong in ["8000", "example.org:80", "127.0.0.1", "127.0.0.1:99999"] {
            let args = ConfigArgs { listen: Some(wrong.to_owned()), ..ConfigArgs::default() };
            assert_eq!(load("", &[], args).unwrap_err().exit, Exit::Usage, "{wrong}");
        }
    }
}
