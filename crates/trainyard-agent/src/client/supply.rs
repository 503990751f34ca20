//! How the agent gets to a machine: what an order carries, and what is sent after it.
//!
//! An order carries one constant script and a few variables, none of them secret but a machine's own TLS key. On the
//! machine the script takes the agent that the image brings, else fetches one and checks its digest, else receives it
//! on the agent's own port: then [`AgentSupply::client`] sends it, as soon as something asks the machine anything.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256 as Hasher};
use tokio::sync::OnceCell;
use trainyard_connector::{Arch, ConnectorError, ErrorKind, SelfRemoval};
use trainyard_domain::{OrderName, Sha256};

use super::push::Pushes;
use super::{AgentClient, TlsIdentity};
use crate::SigningKey;
use crate::protocol::{AGENT_BYTES_MAX, MARK, PACKED_BYTES_MAX, VERSION_LINE};

/// The script that every order carries, for `sh -c`. What it needs stands in the environment.
const SCRIPT: &str = include_str!("boot.sh");
/// The lowest port an agent listens on, and how many there are from it.
const PORTS: (u16, u16) = (10_000, 20_000);
/// How long a machine waits for a first word: an orchestrator that lives brings an agent within minutes.
const UNSTARTED: Duration = Duration::from_secs(3600);

/// Where agents come from.
#[derive(Debug, Clone)]
pub struct SupplyConfig {
    /// An address that the machines fetch the agent from, and its digest: a static `x86_64` binary.
    pub fetch: Option<(String, Sha256)>,
    /// Where the binaries below are served to the machines: the digest in hexadecimal digits is appended after a `/`.
    pub served_at: Option<String>,
    /// The Linux binaries at hand, by architecture.
    pub binaries: BTreeMap<Arch, PathBuf>,
    /// The key that commands the agents.
    pub key: SigningKey,
}

/// Why the agent cannot be brought.
#[derive(Debug, thiserror::Error)]
pub enum SupplyError {
    /// A binary cannot be read.
    #[error("the agent at {path} cannot be read")]
    Binary {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no agent for that architecture.
    #[error("there is no agent for {}: name one under `agent.path`, or its address under `agent.url`", .0.as_str())]
    NoArch(Arch),
    /// A certificate could not be made.
    #[error("no certificate can be made: {0}")]
    Certificate(String),
    /// No HTTP client could be made.
    #[error("no HTTP client can be made")]
    Client(#[source] reqwest::Error),
}

/// The agents at hand. Cheap to clone; clones share what was read and packed.
#[derive(Debug, Clone)]
pub struct AgentSupply {
    inner: Arc<Inner>,
    unstarted_for: Duration,
}

#[derive(Debug)]
struct Inner {
    key: SigningKey,
    agents: BTreeMap<Arch, Supplied>,
    pushes: Pushes,
}

#[derive(Debug)]
struct Supplied {
    sha256: Sha256,
    url: Option<String>,
    path: Option<PathBuf>,
    packed: OnceCell<Bytes>,
}

/// What an order's machine is to do.
#[derive(Debug)]
pub struct BootOrder<'a> {
    /// The order.
    pub order: &'a OrderName,
    /// The machine's processor.
    pub arch: Arch,
    /// The agent's port: [`AgentSupply::port_of`] the order.
    pub port: u16,
    /// The certificate, where nobody else brings TLS.
    pub tls: Option<&'a TlsIdentity>,
    /// What kind of machine it is.
    pub stay: Stay,
    /// How it removes itself where nobody speaks to it; none: it cannot.
    pub removal: Option<&'a SelfRemoval>,
    /// A directory that outlives the machine (a network volume, a shared file system), for the caches of libraries and
    /// installers; none: they lie on the machine's disk. Where it cannot be written, the disk is used all the same.
    pub cache: Option<&'a str>,
}

/// What kind of machine the script runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stay {
    /// A container: the agent listens on every address, and the script never ends, since its vendor would start the
    /// container anew.
    Container,
    /// A whole machine that is reached through SSH: the agent listens on loopback only, and the script ends with it.
    Machine,
}

/// What the order carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bootstrap {
    /// One constant POSIX shell text of at most 3,950 characters, to be run by `sh -c`. Nothing of an order is in it.
    pub script: &'static str,
    /// Its variables.
    pub env: BTreeMap<String, String>,
}

impl AgentSupply {
    /// Reads the binaries and makes their digests; blocks for about a second.
    ///
    /// # Errors
    /// [`SupplyError::Binary`] where one cannot be read.
    pub fn new(config: SupplyConfig) -> Result<AgentSupply, SupplyError> {
        let mut agents = BTreeMap::new();
        for (arch, path) in config.binaries {
            let sha256 =
                digest(&path).map_err(|source| SupplyError::Binary { path: path.clone(), source })?;
            let url =
                config.served_at.as_ref().map(|base| format!("{}/{sha256}", base.trim_end_matches('/')));
            agents.insert(arch, Supplied { sha256, url, path: Some(path), packed: OnceCell::new() });
        }
        if let Some((url, sha256)) = config.fetch {
            let named = agents.entry(Arch::X86_64).or_insert_with(|| Supplied {
                sha256,
                url: None,
                path: None,
                packed: OnceCell::new(),
            });
            // The digest in the order is that of what is fetched. Another binary here cannot be sent instead of it.
            if named.sha256 != sha256 {
                (named.sha256, named.path) = (sha256, None);
            }
            named.url = Some(url);
        }
        let inner = Inner { key: config.key, agents, pushes: Pushes::default() };
        Ok(AgentSupply { inner: Arc::new(inner), unstarted_for: UNSTARTED })
    }

    /// The same with another time, in whole seconds, that a machine waits for a first word and for a first training
    /// before it removes itself; an hour if nothing is said.
    #[must_use]
    pub fn with_lease(self, unstarted_for: Duration) -> AgentSupply {
        AgentSupply { unstarted_for, ..self }
    }

    /// The architectures there is an agent for. A machine of another one must not be chosen.
    pub fn arches(&self) -> Vec<Arch> {
        self.inner.agents.keys().copied().collect()
    }

    /// The binary of that digest, to serve it to machines that fetch it.
    pub fn binary(&self, sha256: &Sha256) -> Option<&Path> {
        self.inner.agents.values().find(|agent| agent.sha256 == *sha256)?.path.as_deref()
    }

    /// Every binary that is at hand here, with its digest.
    pub fn binaries(&self) -> impl Iterator<Item = (Sha256, &Path)> {
        self.inner.agents.values().filter_map(|agent| Some((agent.sha256, agent.path.as_deref()?)))
    }

    /// The key that commands the agents.
    pub fn key(&self) -> &SigningKey {
        &self.inner.key
    }

    /// The port of an order's agent: 10000 to 29999, told by the order's name alone.
    pub fn port_of(&self, order: &OrderName) -> u16 {
        let hash = Hasher::digest(order.as_str());
        PORTS.0 + u16::from_be_bytes([hash[0], hash[1]]) % PORTS.1
    }

    /// What the order carries.
    ///
    /// # Errors
    /// [`SupplyError::NoArch`] where there is no agent for that machine.
    pub fn bootstrap(&self, boot: &BootOrder<'_>) -> Result<Bootstrap, SupplyError> {
        let agent = self.inner.agents.get(&boot.arch).ok_or(SupplyError::NoArch(boot.arch))?;
        let (listen, stay) = match boot.stay {
            Stay::Container => ("0.0.0.0", "container"),
            Stay::Machine => ("127.0.0.1", "machine"),
        };
        let env = [
            ("ROOT", format!("trainyard/{}", boot.order)),
            ("ORDER", boot.order.to_string()),
            ("LISTEN", listen.to_owned()),
            ("PORT", boot.port.to_string()),
            ("KEY", self.inner.key.public_hex()),
            ("SHA256", agent.sha256.to_string()),
            ("VERSION", VERSION_LINE.to_owned()),
            ("URL", agent.url.clone().unwrap_or_default()),
            ("TLS", boot.tls.map(TlsIdentity::one_line).unwrap_or_default()),
            ("STAY", stay.to_owned()),
            ("LEASE", self.unstarted_for.as_secs().to_string()),
            ("PROBE", boot.removal.map(|how| how.probe.to_string()).unwrap_or_default()),
            ("CACHE", boot.cache.unwrap_or_default().to_owned()),
            ("REMOVE", boot.removal.map(|how| how.remove.to_string()).unwrap_or_default()),
        ];
        let env = env.into_iter().filter(|(_, value)| !value.is_empty());
        let mut env: BTreeMap<String, String> =
            env.map(|(name, value)| (format!("TRAINYARD_BOOT_{name}"), value)).collect();
        env.insert(MARK.to_owned(), boot.order.to_string());
        Ok(Bootstrap { script: SCRIPT, env })
    }

    /// The agent of an order at that base URL. It sends the agent by itself where the machine still waits for it.
    ///
    /// # Errors
    /// `Invalid` for a URL that is none; `Internal` where no HTTP client can be made.
    pub fn client(
        &self,
        base_url: &str,
        order: OrderName,
        arch: Arch,
    ) -> Result<AgentClient, ConnectorError> {
        let client = AgentClient::new(base_url, self.inner.key.clone(), order)?;
        Ok(client.supplied(self.clone(), arch))
    }

    /// The same over an HTTP client of the caller's own: a tunnel, a proxy, a pinned certificate.
    ///
    /// # Errors
    /// `Invalid` for a URL that is none.
    pub fn client_with(
        &self,
        base_url: &str,
        http: reqwest::Client,
        order: OrderName,
        arch: Arch,
    ) -> Result<AgentClient, ConnectorError> {
        let client = AgentClient::with_http(base_url, http, self.inner.key.clone(), order)?;
        Ok(client.supplied(self.clone(), arch))
    }

    pub(super) fn pushes(&self) -> &Pushes {
        &self.inner.pushes
    }

    /// The agent of that digest as it is sent. Packed once, then kept: some megabytes an architecture.
    pub(super) async fn packed(&self, arch: Arch, awaited: &str) -> Result<Bytes, ConnectorError> {
        let refused = |text: String| ConnectorError::refused(ErrorKind::Invalid, text);
        let agent = self.inner.agents.get(&arch).filter(|agent| agent.sha256.to_string() == awaited);
        let Some(agent) = agent else {
            let text =
                format!("the machine awaits an agent with the digest {awaited}, which is not at hand here");
            return Err(ConnectorError::refused(ErrorKind::Mismatch, text));
        };
        let Some(path) = agent.path.clone() else {
            return Err(refused(
                "the machine could not fetch the agent from `agent.url`, and there is none here to send it"
                    .to_owned(),
            ));
        };
        let sha256 = agent.sha256;
        let pack = || async move {
            let packed = tokio::task::spawn_blocking(move || pack(&path, &sha256)).await;
            packed
                .map_err(|error| refused(error.to_string()))?
                .map_err(|error| refused("the agent cannot be sent".to_owned()).because(error))
        };
        agent.packed.get_or_try_init(pack).await.cloned()
    }
}

/// Where a line of a machine's log is the script's word that it gave up: why, for a person, and whether another machine
/// could help; where the image is at fault none could.
pub fn boot_failure(line: &str) -> Option<(String, bool)> {
    let told = line.trim().strip_prefix("trainyard-boot: failed ")?;
    let (word, text) = told.split_once(' ').unwrap_or((told, told));
    Some((format!("the agent could not be started: {text}"), !["libc", "no_delivery"].contains(&word)))
}

fn digest(path: &Path) -> io::Result<Sha256> {
    let mut hasher = Hasher::new();
    read(path, |piece| {
        hasher.update(piece);
        Ok(())
    })?;
    Ok(Sha256::from_bytes(hasher.finalize().into()))
}

fn pack(path: &Path, expected: &Sha256) -> io::Result<Bytes> {
    let mut hasher = Hasher::new();
    // Sending a little more costs less than packing longer.
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    read(path, |piece| {
        hasher.update(piece);
        packer.write_all(piece)?;
        if packer.get_ref().len() > PACKED_BYTES_MAX {
            let text = "it is larger than 64 MiB when packed: use a release build, or `agent.url`";
            return Err(io::Error::other(text));
        }
        Ok(())
    })?;
    if hasher.finalize()[..] != expected.as_bytes()[..] {
        return Err(io::Error::other(format!("{} was changed since the start", path.display())));
    }
    Ok(packer.finish()?.into())
}

fn read(path: &Path, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut file = File::open(path)?.take(AGENT_BYTES_MAX);
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            count => take(&buffer[..count])?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supply(config: impl FnOnce(&mut SupplyConfig)) -> AgentSupply {
        let key = SigningKey::from_seed([5; 32]).unwrap();
        let mut bare = SupplyConfig { fetch: None, served_at: None, binaries: BTreeMap::new(), key };
        config(&mut bare);
        AgentSupply::new(bare).unwrap()
    }

    fn order() -> OrderName {
        format!("ty-tests000-{}", "a".repeat(26)).parse().unwrap()
    }

    #[test]
    fn the_script_is_short_and_names_no_place() {
        assert!(SCRIPT.len() <= 3_950, "{} characters", SCRIPT.len());
        let fixed = ["/tmp", "/root", "/opt", "/usr", "/workspace", "/home", "/bin"];
        assert!(!fixed.iter().any(|place| SCRIPT.contains(place)));
    }

    #[test]
    fn every_way_the_script_gives_up_is_read() {
        let words: Vec<&str> = SCRIPT
            .match_indices("fail \"")
            .filter_map(|(at, _)| SCRIPT[at + 6..].split(' ').next())
            .collect();
        assert_eq!(words, ["disk", "no_delivery", "receive", "libc"]);
        for word in words {
            let (text, elsewhere) = boot_failure(&format!("trainyard-boot: failed {word} so it is")).unwrap();
            assert!(text.ends_with("so it is"));
            assert_eq!(elsewhere, matches!(word, "disk" | "receive"), "{word}");
        }
        assert_eq!(boot_failure("trainyard-boot: fetching"), None);
        assert_eq!(boot_failure("it said trainyard-boot: failed x y"), None);
    }

    #[test]
    fn an_order_carries_the_digest_and_the_address_of_its_architectures_agent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent");
        std::fs::write(&path, b"agent").unwrap();
        let supply = supply(|config| {
            config.binaries.insert(Arch::Aarch64, path.clone());
            config.served_at = Some("https://yard.example/agent/".to_owned());
        });
        assert_eq!(supply.arches(), [Arch::Aarch64]);
        let (order, port) = (order(), supply.port_of(&order()));
        assert!((10_000..30_000).contains(&port));
        let boot = |arch| BootOrder {
            order: &order,
            arch,
            port,
            tls: None,
            stay: Stay::Container,
            removal: None,
            cache: None,
        };
        assert!(matches!(supply.bootstrap(&boot(Arch::X86_64)), Err(SupplyError::NoArch(_))));
        let env = supply.bootstrap(&boot(Arch::Aarch64)).unwrap().env;
        let sha256 = &env["TRAINYARD_BOOT_SHA256"];
        assert_eq!(env["TRAINYARD_BOOT_URL"], format!("https://yard.example/agent/{sha256}"));
        assert_eq!(supply.binary(&sha256.parse().unwrap()), Some(path.as_path()));
        assert!(!env.contains_key("TRAINYARD_BOOT_TLS"));
    }

    #[test]
    fn what_is_fetched_is_what_the_order_names() {
        let sha256 = Sha256::from_bytes([9; 32]);
        let supply = supply(|config| config.fetch = Some(("https://a.example/x".to_owned(), sha256)));
        let order = order();
        let boot = BootOrder {
            cache: None,
            order: &order,
            arch: Arch::X86_64,
            port: 1,
            tls: None,
            stay: Stay::Machine,
            removal: None,
        };
        let env = supply.bootstrap(&boot).unwrap().env;
        assert_eq!(env["TRAINYARD_BOOT_SHA256"], sha256.to_string());
        assert_eq!(env["TRAINYARD_BOOT_LISTEN"], "127.0.0.1");
    }
}
