//! A server in this process: the configuration handed to the orchestrator and to the HTTP skin.

use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use trainyard::orchestrator::Policy;
use trainyard::{Config, LocalOptions, Orchestrator};
use trainyard_server::{Bound, Server, ServerConfig};

use crate::config::Settings;
use crate::exit::Failure;

/// How long what is under way may take at shutdown.
pub(crate) const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
/// How often old samples of histograms are folded together.
const UPKEEP_EVERY: Duration = Duration::from_secs(30);
const DAY_S: u64 = 86_400;

/// Takes the address. Nothing is served yet.
pub(crate) fn bind(settings: &Settings, prometheus: Option<PrometheusHandle>) -> Result<Bound, Failure> {
    let mut config = ServerConfig::new(settings.listen);
    config.public_url.clone_from(&settings.server.public_url);
    config.allowed_hosts.clone_from(&settings.server.allowed_hosts);
    config.allowed_origins.clone_from(&settings.server.allowed_origins);
    if let Some(most) = settings.inputs.max_bytes {
        config.body.upload_bytes_max = most;
    }
    config.prometheus = prometheus;
    Server::bind(config).map_err(|error| Failure::of(&error).hint("`--listen 127.0.0.1:0` takes a free port"))
}

/// Opens the data directory and starts to work.
pub(crate) async fn open(settings: &Settings) -> Result<Orchestrator, Failure> {
    let mut config = Config::new(&settings.data);
    let local = &settings.local;
    config.local = local.enabled.unwrap_or(true).then(|| LocalOptions {
        cpu_slots: local.slots,
        use_gpus: local.use_gpus.unwrap_or(true),
        ..LocalOptions::default()
    });
    config.allowed_paths.clone_from(&settings.inputs.allowed_paths);
    config.policy = policy(settings);
    trainyard::open(config).await.map_err(|error| {
        Failure::failed(format!("the data directory `{}` cannot be used", settings.data.display()))
            .because(&error)
    })
}

fn policy(settings: &Settings) -> Policy {
    let mut policy = Policy::default();
    let days = |days: u64| Duration::from_secs(days.saturating_mul(DAY_S));
    let (inputs, retention, limits) = (&settings.inputs, &settings.retention, &settings.limits);
    policy.input_bytes_max = inputs.max_bytes.unwrap_or(policy.input_bytes_max);
    policy.telemetry_kept = retention.telemetry_days.map_or(policy.telemetry_kept, days);
    policy.jobs_kept = retention.jobs_days.map(days);
    policy.inputs_kept = retention.inputs_days.map_or(policy.inputs_kept, days);
    policy.max_duration_s = limits.max_duration_s;
    policy.artifact_bytes_max = limits.artifact_max_bytes.unwrap_or(policy.artifact_bytes_max);
    policy.log_bytes_max = limits.log_max_bytes.unwrap_or(policy.log_bytes_max);
    policy
}

/// Collects what is measured, for `/metrics`. Once per process, on its runtime.
pub(crate) fn prometheus() -> Result<PrometheusHandle, Failure> {
    let handle = PrometheusBuilder::new()
        .install_recorder()
        .map_err(|error| Failure::failed("nothing can be measured").because(&error))?;
    let kept = handle.clone();
    // Ends with the runtime.
    tokio::spawn(async move {
        let mut every = tokio::time::interval(UPKEEP_EVERY);
        loop {
            every.tick().await;
            kept.run_upkeep();
        }
    });
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigArgs, Environment};

    #[test]
    fn what_is_configured_reaches_the_policy() {
        let variables = [
            ("TRAINYARD_RETENTION_JOBS_DAYS", "2"),
            ("TRAINYARD_INPUTS_MAX_BYTES", "7"),
            ("TRAINYARD_LIMITS_MAX_DURATION_S", "60"),
        ];
        let settings = Settings::load(&ConfigArgs::default(), &Environment::of(&variables)).unwrap();
        let policy = policy(&settings);
        assert_eq!(policy.jobs_kept, Some(Duration::from_secs(172_800)));
        assert_eq!((policy.input_bytes_max, policy.max_duration_s), (7, Some(60)));
        assert_eq!(policy.telemetry_kept, Policy::default().telemetry_kept, "what is not said stays");
    }
}
