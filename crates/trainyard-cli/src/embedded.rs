//! A server in this process: the configuration handed to the orchestrator and to the HTTP skin.

use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
#[cfg(any(feature = "runpod", feature = "lambda", feature = "vastai"))]
use secrecy::SecretString;
#[cfg(feature = "lambda")]
use trainyard::LambdaOptions;
#[cfg(feature = "runpod")]
use trainyard::RunPodOptions;
#[cfg(feature = "vastai")]
use trainyard::VastOptions;
use trainyard::connector::Arch;
use trainyard::domain::Budget;
use trainyard::orchestrator::{Keep, Policy};
use trainyard::{AgentOptions, Clouds, Config, LocalOptions, Orchestrator};
use trainyard_server::{Bound, Server, ServerConfig};

#[cfg(feature = "lambda")]
use crate::config::LambdaSection;
#[cfg(feature = "runpod")]
use crate::config::RunPodSection;
#[cfg(feature = "vastai")]
use crate::config::VastSection;
use crate::config::{BudgetSection, Key, Settings};
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
    if settings.server.public_url.is_some() {
        config.agents = trainyard::agents_to_serve(&agent(settings)?)
            .map_err(|error| Failure::failed("the agent cannot be served to machines").because(&error))?;
    }
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
    config.policy = policy(settings)?;
    config.clouds = clouds(settings)?;
    trainyard::open(config).await.map_err(|error| {
        Failure::failed(format!("the data directory `{}` cannot be used", settings.data.display()))
            .because(&error)
    })
}

/// The clouds that have a key.
fn clouds(settings: &Settings) -> Result<Clouds, Failure> {
    let keys = &settings.keys;
    #[cfg(not(feature = "runpod"))]
    not_built_in("runpod", keys.runpod.as_ref());
    #[cfg(not(feature = "lambda"))]
    not_built_in("lambda", keys.lambda.as_ref());
    #[cfg(not(feature = "vastai"))]
    not_built_in("vastai", keys.vastai.as_ref());
    Ok(Clouds {
        agent: agent(settings)?,
        #[cfg(feature = "runpod")]
        runpod: read(keys.runpod.as_ref())?.map(|key| runpod(key, &settings.providers.runpod)),
        #[cfg(feature = "lambda")]
        lambda: read(keys.lambda.as_ref())?.map(|key| lambda(key, &settings.providers.lambda)),
        #[cfg(feature = "vastai")]
        vastai: read(keys.vastai.as_ref())?.map(|key| vastai(key, &settings.providers.vastai)),
    })
}

#[cfg(feature = "runpod")]
fn runpod(key: SecretString, said: &RunPodSection) -> RunPodOptions {
    RunPodOptions {
        key,
        url: said.url.clone(),
        proxy_url: said.proxy_url.clone(),
        image: said.image.clone(),
        community: said.community.unwrap_or(false),
        network_volume: said.network_volume.clone(),
        settle_s: said.settle_s,
    }
}

#[cfg(feature = "lambda")]
fn lambda(key: SecretString, said: &LambdaSection) -> LambdaOptions {
    LambdaOptions {
        key,
        url: said.url.clone(),
        ssh_port: said.ssh_port,
        strict_host_keys: said.strict_host_keys.unwrap_or(false),
        image_family: said.image_family.clone(),
        file_system: said.file_system.clone(),
        settle_s: said.settle_s,
    }
}

#[cfg(feature = "vastai")]
fn vastai(key: SecretString, said: &VastSection) -> VastOptions {
    VastOptions {
        key,
        url: said.url.clone(),
        image: said.image.clone(),
        min_reliability: said.min_reliability,
        settle_s: said.settle_s,
    }
}

#[cfg(any(feature = "runpod", feature = "lambda", feature = "vastai"))]
fn read(key: Option<&Key>) -> Result<Option<SecretString>, Failure> {
    key.map(Key::read).transpose()
}

/// A key that this program has no use for is no error: it may stand in the environment for others.
#[cfg(not(all(feature = "runpod", feature = "lambda", feature = "vastai")))]
fn not_built_in(provider: &str, key: Option<&Key>) {
    if key.is_some() {
        crate::out::note(format!(
            "there is a key for `{provider}`, and this program was built without that provider"
        ));
    }
}

/// How the agent reaches a machine.
fn agent(settings: &Settings) -> Result<AgentOptions, Failure> {
    let said = &settings.agent;
    let fetch = match (&said.url, &said.sha256) {
        (Some(url), Some(sha256)) => Some((url.clone(), sha256.clone())),
        (None, None) => None,
        _ => {
            return Err(Failure::usage("`agent.url` and `agent.sha256` go together")
                .hint("`sha256sum FILE` prints the digest of what lies at the URL"));
        }
    };
    let mut binaries = std::collections::BTreeMap::new();
    for (word, path) in &said.path {
        let arch = Arch::parse(word).ok_or_else(|| {
            Failure::usage(format!("`{word}` under `agent.path` is no processor we know"))
                .hint("write x86_64 or aarch64")
        })?;
        binaries.insert(arch, path.clone());
    }
    let public_url = settings.server.public_url.clone();
    Ok(AgentOptions { fetch, public_url, binaries, lease_s: settings.agent.lease_s })
}

fn policy(settings: &Settings) -> Result<Policy, Failure> {
    let mut policy = Policy::default();
    let days = |days: u64| Duration::from_secs(days.saturating_mul(DAY_S));
    let (inputs, retention, limits) = (&settings.inputs, &settings.retention, &settings.limits);
    policy.input_bytes_max = inputs.max_bytes.unwrap_or(policy.input_bytes_max);
    policy.telemetry_kept = retention.telemetry_days.map_or(policy.telemetry_kept, days);
    policy.jobs_kept = retention.jobs_days.map(days);
    policy.inputs_kept = retention.inputs_days.map_or(policy.inputs_kept, days);
    let keep = |age: Option<u64>, bytes, usual: Keep| Keep { age: age.map(days).or(usual.age), bytes };
    policy.artifacts_kept =
        keep(retention.artifacts_days, retention.artifacts_max_bytes, policy.artifacts_kept);
    policy.logs_kept = keep(retention.logs_days, retention.logs_max_bytes, policy.logs_kept);
    policy.checkpoints_kept =
        keep(retention.checkpoints_days, retention.checkpoints_max_bytes, policy.checkpoints_kept);
    policy.max_duration_s = limits.max_duration_s;
    policy.artifact_bytes_max = limits.artifact_max_bytes.unwrap_or(policy.artifact_bytes_max);
    policy.log_bytes_max = limits.log_max_bytes.unwrap_or(policy.log_bytes_max);
    let providers = &settings.providers;
    for (name, most) in [
        ("runpod", providers.runpod.max_attempts),
        ("lambda", providers.lambda.max_attempts),
        ("vastai", providers.vastai.max_attempts),
    ] {
        if let (Ok(name), Some(most)) = (name.parse(), most) {
            policy.attempts_max.insert(name, most);
        }
    }
    if let Some(price) = &limits.max_price_per_hour {
        let price = price.parse().map_err(|error| {
            Failure::usage("`limits.max_price_per_hour` is no amount of money").because(&error)
        })?;
        policy.max_price_per_hour = Some(price);
    }
    policy.alarm_after = limits.alarm_after_s.map_or(policy.alarm_after, Duration::from_secs);
    policy.bill_after = limits.bill_after_s.map_or(policy.bill_after, Duration::from_secs);
    policy.budgets = settings.budgets.iter().map(budget).collect::<Result<_, _>>()?;
    Ok(policy)
}

/// One of `[[budgets]]`.
fn budget(said: &BudgetSection) -> Result<Budget, Failure> {
    let label = match said.label.as_deref().map(|label| (label, label.split_once(':'))) {
        None => None,
        Some((_, Some((name, value)))) if !name.is_empty() && !value.is_empty() => {
            Some((name.to_owned(), value.to_owned()))
        }
        Some((label, _)) => {
            return Err(Failure::usage(format!("`{label}` under `[[budgets]]` is no label")).hint(
                "write NAME:VALUE, such as team:search, or leave `label` out for a budget of all jobs",
            ));
        }
    };
    let per_month = said.per_month_usd.parse().map_err(|error| {
        Failure::usage("`per_month_usd` under `[[budgets]]` is no amount of money").because(&error)
    })?;
    Ok(Budget { label, per_month })
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
        let policy = policy(&settings).unwrap();
        assert_eq!(policy.jobs_kept, Some(Duration::from_secs(172_800)));
        assert_eq!((policy.input_bytes_max, policy.max_duration_s), (7, Some(60)));
        assert_eq!(policy.telemetry_kept, Policy::default().telemetry_kept, "what is not said stays");
    }
}
