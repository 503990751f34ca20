//! The environment: `TRAINYARD_` and the key's place in the file in capitals, `TRAINYARD_LOCAL_SLOTS`. Lists are
//! separated by commas.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use super::{AgentSection, FileConfig, ProvidersSection};
use crate::exit::Failure;

/// The beginnings of variables that belong to the sections of the file: a typo after them is named.
const SECTIONS: [&str; 9] = [
    "TRAINYARD_SERVER_",
    "TRAINYARD_LOCAL_",
    "TRAINYARD_INPUTS_",
    "TRAINYARD_RETENTION_",
    "TRAINYARD_LIMITS_",
    "TRAINYARD_AGENT_",
    "TRAINYARD_RUNPOD_",
    "TRAINYARD_LAMBDA_",
    "TRAINYARD_VASTAI_",
];

/// The environment as it was when the program started.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Of this process. Variables that are not UTF-8 are none of ours.
    pub(crate) fn read() -> Environment {
        Environment(
            std::env::vars_os()
                .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
                .collect(),
        )
    }

    /// Of a test.
    #[cfg(test)]
    pub(crate) fn of(variables: &[(&str, &str)]) -> Environment {
        Environment(variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    /// A variable that is set to something.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Puts what is set over what the file says.
    pub(crate) fn apply(&self, config: &mut FileConfig) -> Result<(), Failure> {
        let mut reader = Reader { environment: self, known: Vec::new() };
        reader.put("TRAINYARD_LISTEN", &mut config.listen)?;
        reader.put("TRAINYARD_DATA", &mut config.data)?;
        reader.put("TRAINYARD_SERVER_PUBLIC_URL", &mut config.server.public_url)?;
        reader.put_list("TRAINYARD_SERVER_ALLOWED_HOSTS", &mut config.server.allowed_hosts);
        reader.put_list("TRAINYARD_SERVER_ALLOWED_ORIGINS", &mut config.server.allowed_origins);
        reader.put("TRAINYARD_LOCAL_ENABLED", &mut config.local.enabled)?;
        reader.put("TRAINYARD_LOCAL_SLOTS", &mut config.local.slots)?;
        reader.put("TRAINYARD_LOCAL_USE_GPUS", &mut config.local.use_gpus)?;
        let mut paths = Vec::new();
        reader.put_list("TRAINYARD_INPUTS_ALLOWED_PATHS", &mut paths);
        if !paths.is_empty() {
            config.inputs.allowed_paths = paths.into_iter().map(PathBuf::from).collect();
        }
        reader.put("TRAINYARD_INPUTS_MAX_BYTES", &mut config.inputs.max_bytes)?;
        reader.put("TRAINYARD_RETENTION_TELEMETRY_DAYS", &mut config.retention.telemetry_days)?;
        reader.put("TRAINYARD_RETENTION_JOBS_DAYS", &mut config.retention.jobs_days)?;
        reader.put("TRAINYARD_RETENTION_INPUTS_DAYS", &mut config.retention.inputs_days)?;
        reader.put("TRAINYARD_RETENTION_ARTIFACTS_DAYS", &mut config.retention.artifacts_days)?;
        reader.put("TRAINYARD_RETENTION_ARTIFACTS_MAX_BYTES", &mut config.retention.artifacts_max_bytes)?;
        reader.put("TRAINYARD_RETENTION_LOGS_DAYS", &mut config.retention.logs_days)?;
        reader.put("TRAINYARD_RETENTION_LOGS_MAX_BYTES", &mut config.retention.logs_max_bytes)?;
        reader.put("TRAINYARD_RETENTION_CHECKPOINTS_DAYS", &mut config.retention.checkpoints_days)?;
        reader
            .put("TRAINYARD_RETENTION_CHECKPOINTS_MAX_BYTES", &mut config.retention.checkpoints_max_bytes)?;
        reader.put("TRAINYARD_LIMITS_MAX_DURATION_S", &mut config.limits.max_duration_s)?;
        reader.put("TRAINYARD_LIMITS_ARTIFACT_MAX_BYTES", &mut config.limits.artifact_max_bytes)?;
        reader.put("TRAINYARD_LIMITS_LOG_MAX_BYTES", &mut config.limits.log_max_bytes)?;
        reader.put("TRAINYARD_LIMITS_MAX_PRICE_PER_HOUR", &mut config.limits.max_price_per_hour)?;
        reader.put("TRAINYARD_LIMITS_ALARM_AFTER_S", &mut config.limits.alarm_after_s)?;
        reader.put("TRAINYARD_LIMITS_BILL_AFTER_S", &mut config.limits.bill_after_s)?;
        reader.agent(&mut config.agent)?;
        reader.providers(&mut config.providers)?;
        reader.name_the_unknown()
    }
}

struct Reader<'a> {
    environment: &'a Environment,
    known: Vec<&'static str>,
}

impl Reader<'_> {
    fn put<T>(&mut self, name: &'static str, slot: &mut Option<T>) -> Result<(), Failure>
    where
        T: FromStr,
        T::Err: std::error::Error + 'static,
    {
        self.known.push(name);
        let Some(text) = self.environment.get(name) else { return Ok(()) };
        let value = text.parse().map_err(|error: T::Err| {
            Failure::usage(format!("the environment variable {name} cannot be used: `{text}`"))
                .because(&error)
        })?;
        *slot = Some(value);
        Ok(())
    }

    fn put_list(&mut self, name: &'static str, slot: &mut Vec<String>) {
        self.known.push(name);
        if let Some(text) = self.environment.get(name) {
            *slot =
                text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect();
        }
    }

    fn agent(&mut self, agent: &mut AgentSection) -> Result<(), Failure> {
        self.put("TRAINYARD_AGENT_URL", &mut agent.url)?;
        self.put("TRAINYARD_AGENT_SHA256", &mut agent.sha256)?;
        self.put("TRAINYARD_AGENT_LEASE_S", &mut agent.lease_s)?;
        let mut paths = Vec::new();
        self.put_list("TRAINYARD_AGENT_PATH", &mut paths);
        for pair in paths {
            let (arch, path) = pair.split_once('=').ok_or_else(|| {
                Failure::usage(format!(
                    "the environment variable TRAINYARD_AGENT_PATH cannot be used: `{pair}`"
                ))
                .hint("write ARCHITECTURE=PATH, such as x86_64=/opt/trainyard")
            })?;
            agent.path.insert(arch.to_owned(), PathBuf::from(path));
        }
        Ok(())
    }

    fn providers(&mut self, providers: &mut ProvidersSection) -> Result<(), Failure> {
        let ProvidersSection { runpod, lambda, vastai } = providers;
        self.put("TRAINYARD_RUNPOD_URL", &mut runpod.url)?;
        self.put("TRAINYARD_RUNPOD_SETTLE_S", &mut runpod.settle_s)?;
        self.put("TRAINYARD_RUNPOD_MAX_ATTEMPTS", &mut runpod.max_attempts)?;
        self.put("TRAINYARD_RUNPOD_PROXY_URL", &mut runpod.proxy_url)?;
        self.put("TRAINYARD_RUNPOD_KEY_FILE", &mut runpod.key_file)?;
        self.put("TRAINYARD_RUNPOD_IMAGE", &mut runpod.image)?;
        self.put("TRAINYARD_RUNPOD_COMMUNITY", &mut runpod.community)?;
        self.put("TRAINYARD_RUNPOD_NETWORK_VOLUME", &mut runpod.network_volume)?;
        self.put("TRAINYARD_LAMBDA_URL", &mut lambda.url)?;
        self.put("TRAINYARD_LAMBDA_SETTLE_S", &mut lambda.settle_s)?;
        self.put("TRAINYARD_LAMBDA_MAX_ATTEMPTS", &mut lambda.max_attempts)?;
        self.put("TRAINYARD_LAMBDA_KEY_FILE", &mut lambda.key_file)?;
        self.put("TRAINYARD_LAMBDA_SSH_PORT", &mut lambda.ssh_port)?;
        self.put("TRAINYARD_LAMBDA_STRICT_HOST_KEYS", &mut lambda.strict_host_keys)?;
        self.put("TRAINYARD_LAMBDA_IMAGE_FAMILY", &mut lambda.image_family)?;
        self.put("TRAINYARD_LAMBDA_FILE_SYSTEM", &mut lambda.file_system)?;
        self.put("TRAINYARD_VASTAI_URL", &mut vastai.url)?;
        self.put("TRAINYARD_VASTAI_SETTLE_S", &mut vastai.settle_s)?;
        self.put("TRAINYARD_VASTAI_MAX_ATTEMPTS", &mut vastai.max_attempts)?;
        self.put("TRAINYARD_VASTAI_KEY_FILE", &mut vastai.key_file)?;
        self.put("TRAINYARD_VASTAI_IMAGE", &mut vastai.image)?;
        self.put("TRAINYARD_VASTAI_MIN_RELIABILITY", &mut vastai.min_reliability)
    }

    fn name_the_unknown(&self) -> Result<(), Failure> {
        let unknown = self.environment.0.keys().find(|name| {
            SECTIONS.iter().any(|section| name.starts_with(section)) && !self.known.contains(&name.as_str())
        });
        match unknown {
            Some(name) => Err(Failure::usage(format!("the environment variable {name} is not known"))
                .hint(format!("known are {}", self.known.join(", ")))),
            None => Ok(()),
        }
    }
}
