//! The wiring: what lies where in the data directory, and what is handed to whom.
//!
//! Below the data directory: `trainyard.db` and `lock` (storage), `installation` (id and key), `artifacts/`, `logs/`,
//! `inputs/`, `local/` (agents and what they keep).

use std::path::Path;
use std::sync::Arc;

use trainyard_connector::Connector;
use trainyard_orchestrator::{Installation, InstallationError, Orchestrator, Parts};
use trainyard_storage::{
    DiskArtifacts, DiskCheckpoints, InputFiles, LogFiles, SqliteOptions, SqliteStorage, StorageError,
};

use crate::Config;
use crate::clouds::HOW_TO_CONFIGURE;

/// Why it could not be opened. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The storage: another server holds the directory, a newer version wrote it, the disk refuses.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The installation's file.
    #[error(transparent)]
    Installation(#[from] InstallationError),
    /// This machine as a provider.
    #[cfg(feature = "local")]
    #[error(transparent)]
    Local(#[from] trainyard_local::LocalError),
    /// The running program's own path is not known, so it cannot be executed as an agent.
    #[cfg(feature = "local")]
    #[error("the running program's path cannot be told, so it cannot be executed as an agent")]
    Executable(#[source] std::io::Error),
    /// A cloud.
    #[cfg(feature = "rented")]
    #[error(transparent)]
    Cloud(#[from] crate::CloudError),
    /// The orchestrator.
    #[error(transparent)]
    Orchestrator(#[from] trainyard_orchestrator::Error),
}

/// Opens a data directory and starts to work: what ran before is taken up. Needs a running tokio runtime.
///
/// # Errors
/// [`OpenError`]; nothing was started then.
pub async fn open(config: Config) -> Result<Orchestrator, OpenError> {
    let data = std::path::absolute(&config.data).unwrap_or_else(|_| config.data.clone());
    // The lock comes first: the rest of the directory is touched by its holder only.
    let storage = SqliteStorage::open(SqliteOptions::new(&data)).await?;
    let installation = Installation::open(&data, config.clock.as_ref())?;
    let mut connectors = config.connectors.clone();
    connectors.extend(local(&config, &data, &installation)?);
    connectors.extend(rented(&config, &installation)?);
    let parts = Parts {
        storage: Arc::new(storage),
        artifacts: DiskArtifacts::open(data.join("artifacts")).await?,
        checkpoints: DiskCheckpoints::open(data.join("checkpoints")).await?,
        logs: LogFiles::open(data.join("logs")).await?,
        inputs: InputFiles::open(data.join("inputs"), config.policy.input_bytes_max).await?,
        installation,
        connectors,
        unconfigured: HOW_TO_CONFIGURE
            .iter()
            .map(|(name, how)| ((*name).to_owned(), (*how).to_owned()))
            .collect(),
        allowed_paths: config.allowed_paths,
        policy: config.policy,
        clock: config.clock,
    };
    Ok(Orchestrator::start(parts)?)
}

#[cfg(feature = "local")]
fn local(
    config: &Config,
    data: &Path,
    installation: &Installation,
) -> Result<Option<Arc<dyn Connector>>, OpenError> {
    use trainyard_local::{LocalConfig, LocalConnector};
    use trainyard_orchestrator::{Clock, SystemClock};

    let Some(options) = &config.local else { return Ok(None) };
    let mut local = LocalConfig::below(data.join("local")).map_err(OpenError::Executable)?;
    local.cpu_slots = options.cpu_slots.unwrap_or(local.cpu_slots);
    local.use_gpus = options.use_gpus;
    local.executable = options.executable.clone().unwrap_or(local.executable);
    local.trainer = options.trainer.clone();
    let connector = LocalConnector::open(local, installation.agent_seed(), || SystemClock.now())?;
    Ok(Some(Arc::new(connector)))
}

#[cfg(not(feature = "local"))]
fn local(_: &Config, _: &Path, _: &Installation) -> Result<Option<Arc<dyn Connector>>, OpenError> {
    Ok(None)
}

#[cfg(feature = "rented")]
fn rented(config: &Config, installation: &Installation) -> Result<Vec<Arc<dyn Connector>>, OpenError> {
    Ok(crate::rented::connectors(&config.clouds, installation)?)
}

#[cfg(not(feature = "rented"))]
fn rented(_: &Config, _: &Installation) -> Result<Vec<Arc<dyn Connector>>, OpenError> {
    Ok(Vec::new())
}
