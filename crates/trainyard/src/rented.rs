//! The wiring of the clouds: the agents at hand, and a connector for every cloud that has a key.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use trainyard_agent::{AgentSupply, KeyError, SigningKey, SupplyConfig, SupplyError};
use trainyard_connector::{Arch, Connector, ConnectorError};
use trainyard_domain::{Sha256, Timestamp};
use trainyard_orchestrator::{Clock, Installation, SystemClock};

use crate::{AgentOptions, Clouds};

/// Why the clouds could not be set up. Nothing was asked of any.
#[derive(Debug, thiserror::Error)]
pub enum CloudError {
    /// The agent's binaries.
    #[error(transparent)]
    Agent(#[from] SupplyError),
    /// The key towards agents.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// `agent.url` without the digest of what lies there.
    #[error("the SHA-256 of what lies at the agent's URL is not one: 64 hexadecimal digits")]
    Digest,
    /// The running program's own path is not known, so it cannot be sent as the agent.
    #[error("the running program's path cannot be told, so it cannot be sent to machines: set `agent.path`")]
    Executable(#[source] std::io::Error),
    /// The installation's file.
    #[error(transparent)]
    Installation(#[from] trainyard_orchestrator::InstallationError),
    /// What was said of a provider.
    #[error(transparent)]
    Connector(#[from] ConnectorError),
}

/// The connectors of all clouds that have a key. Reads the agent's binaries where there is one.
#[cfg_attr(
    not(any(feature = "runpod", feature = "lambda", feature = "vastai")),
    expect(unused_variables, unused_mut, reason = "no cloud is built in")
)]
pub(crate) fn connectors(
    clouds: &Clouds,
    installation: &Installation,
) -> Result<Vec<Arc<dyn Connector>>, CloudError> {
    if !clouds.any() {
        return Ok(Vec::new());
    }
    let supply = supply(&clouds.agent, installation)?;
    let mut connectors: Vec<Arc<dyn Connector>> = Vec::new();
    #[cfg(feature = "runpod")]
    connectors.extend(runpod(clouds, &supply, installation)?);
    #[cfg(feature = "lambda")]
    connectors.extend(lambda(clouds, &supply, installation)?);
    #[cfg(feature = "vastai")]
    connectors.extend(vastai(clouds, &supply)?);
    Ok(connectors)
}

/// The private key that opens the machines which the installation of that data directory rented at Lambda, in OpenSSH's
/// form. It needs the file `DIR/installation` and nothing else.
///
/// # Errors
/// [`CloudError`] where the file is not there or not what it should be.
#[cfg(feature = "lambda")]
pub fn machine_ssh_key(data: &std::path::Path) -> Result<secrecy::SecretString, CloudError> {
    let clock: &dyn Clock = &SystemClock;
    let installation = Installation::open(data, clock)?;
    Ok(trainyard_lambda::user_key(&installation.ssh_seed())?)
}

#[cfg_attr(
    not(any(feature = "runpod", feature = "lambda", feature = "vastai")),
    expect(dead_code, reason = "no cloud is built in")
)]
fn now() -> Timestamp {
    SystemClock.now()
}

/// The agents that a server at `public_url` serves under `/agent/{sha256}`: each with its digest. Reads them.
///
/// # Errors
/// [`CloudError`] where a binary cannot be read.
pub fn agents_to_serve(options: &AgentOptions) -> Result<BTreeMap<String, PathBuf>, CloudError> {
    let key = SigningKey::from_seed([0; 32])?;
    let config = SupplyConfig { fetch: None, served_at: None, binaries: binaries(options)?, key };
    Ok(AgentSupply::new(config)?
        .binaries()
        .map(|(sha256, path)| (sha256.to_string(), path.to_owned()))
        .collect())
}

/// What was named, else the running program for its own processor.
fn binaries(options: &AgentOptions) -> Result<BTreeMap<Arch, PathBuf>, CloudError> {
    let mut binaries = options.binaries.clone();
    if binaries.is_empty() && cfg!(target_os = "linux") {
        let own = std::env::current_exe().map_err(CloudError::Executable)?;
        binaries.extend(Arch::parse(std::env::consts::ARCH).map(|arch| (arch, own)));
    }
    Ok(binaries)
}

fn supply(options: &AgentOptions, installation: &Installation) -> Result<AgentSupply, CloudError> {
    let binaries = binaries(options)?;
    let fetch = match &options.fetch {
        Some((url, digest)) => Some((url.clone(), digest.parse::<Sha256>().map_err(|_| CloudError::Digest)?)),
        None => None,
    };
    let served_at = options.public_url.as_ref().map(|url| format!("{}/agent", url.trim_end_matches('/')));
    let key = SigningKey::from_seed(installation.agent_seed())?;
    let supply = AgentSupply::new(SupplyConfig { fetch, served_at, binaries, key })?;
    Ok(match options.lease_s {
        Some(seconds) => supply.with_lease(std::time::Duration::from_secs(seconds)),
        None => supply,
    })
}

#[cfg(feature = "runpod")]
fn runpod(
    clouds: &Clouds,
    supply: &AgentSupply,
    installation: &Installation,
) -> Result<Option<Arc<dyn Connector>>, CloudError> {
    use trainyard_runpod::{CloudTier, RunPodConfig, RunPodConnector};

    let Some(options) = &clouds.runpod else { return Ok(None) };
    let id = installation.id().clone();
    let mut config = RunPodConfig::new(options.key.clone(), supply.clone(), id, now);
    set(&mut config.url, options.url.as_ref());
    set(&mut config.proxy_url, options.proxy_url.as_ref());
    set(&mut config.image, options.image.as_ref());
    config.network_volume.clone_from(&options.network_volume);
    if is_here(&config.url) {
        config.paces.clear();
    }
    if options.community {
        config.clouds = vec![CloudTier::Secure, CloudTier::Community];
    }
    config.settle_s = options.settle_s.unwrap_or(config.settle_s);
    Ok(Some(Arc::new(RunPodConnector::new(config)?)))
}

#[cfg(feature = "lambda")]
fn lambda(
    clouds: &Clouds,
    supply: &AgentSupply,
    installation: &Installation,
) -> Result<Option<Arc<dyn Connector>>, CloudError> {
    use trainyard_lambda::{LambdaConfig, LambdaLabsConnector};

    let Some(options) = &clouds.lambda else { return Ok(None) };
    let (id, seed) = (installation.id().clone(), installation.ssh_seed());
    let mut config = LambdaConfig::new(options.key.clone(), supply.clone(), id, seed, now);
    set(&mut config.url, options.url.as_ref());
    set(&mut config.image_family, options.image_family.as_ref());
    config.file_system.clone_from(&options.file_system);
    if is_here(&config.url) {
        config.paces.clear();
    }
    config.ssh_port = options.ssh_port.unwrap_or(config.ssh_port);
    config.strict_host_keys = options.strict_host_keys;
    config.settle_s = options.settle_s.unwrap_or(config.settle_s);
    Ok(Some(Arc::new(LambdaLabsConnector::new(config)?)))
}

#[cfg(feature = "vastai")]
fn vastai(clouds: &Clouds, supply: &AgentSupply) -> Result<Option<Arc<dyn Connector>>, CloudError> {
    use trainyard_vastai::{VASTAI_URL, VastAIConfig, VastAIConnector};

    let Some(options) = &clouds.vastai else { return Ok(None) };
    let url = options.url.as_deref().unwrap_or(VASTAI_URL);
    let mut config = VastAIConfig::new(options.key.clone(), url, supply.clone(), now);
    set(&mut config.default_image, options.image.as_ref());
    config.market.reliability_min = options.min_reliability.unwrap_or(config.market.reliability_min);
    config.settle_s = options.settle_s.unwrap_or(config.settle_s);
    Ok(Some(Arc::new(VastAIConnector::new(config)?)))
}

/// Whether a URL leads to this machine: simulated clouds, which keep no vendor's pace.
#[cfg(any(feature = "runpod", feature = "lambda"))]
fn is_here(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    ["127.", "localhost", "[::1]"].iter().any(|host| rest.starts_with(host))
}

#[cfg(any(feature = "runpod", feature = "lambda", feature = "vastai"))]
fn set(slot: &mut String, said: Option<&String>) {
    if let Some(said) = said {
        slot.clone_from(said);
    }
}
