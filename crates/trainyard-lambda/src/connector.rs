//! Lambda as a connector: the API, the keys and the ways to the machines joined.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::sync::OnceCell;
use tokio::time::timeout;
use trainyard_agent::{BootOrder, Stay};
use trainyard_connector::{
    Account, Arch, Billing, Capabilities, Connector, ConnectorError, ConnectorInfo, Effect, ErrorKind,
    Leftover, LeftoverKind, MachineLog, MachineObservation, MachinePhase, OFFERS_MAX, Offer, Placement,
    ProvisionOrder, SshTarget, Termination, Workload, gpu,
};
use trainyard_domain::{
    FieldError, InstallationId, JobId, JobSpec, Money, OrderName, ProviderJobId, ProviderName, Resources,
};

use crate::api::Api;
use crate::config::LambdaConfig;
use crate::error::{is_no_such, names_missing_key};
use crate::keys::{Keys, is_same_key};
use crate::machine_log;
use crate::machines::{Machines, Way};
use crate::map::{self, Choice, LaunchOf};
use crate::user_data::{USER, user_data};
use crate::wire::{Instance, Launched};

/// Where a machine's address is not known, a listing older than this is made anew.
const LISTING_GOOD_FOR: Duration = Duration::from_secs(5);
/// How long a machine is waited for that may not answer by SSH yet, where something else is to be told.
const PROBE_WITHIN: Duration = Duration::from_secs(3);

/// Where Lambda mounts file systems, by their names.
const FILE_SYSTEMS: &str = "/lambda/nfs";

/// Lambda's On-Demand Cloud as a provider.
#[derive(Debug)]
pub struct LambdaLabsConnector {
    info: ConnectorInfo,
    config: LambdaConfig,
    api: Api,
    keys: Keys,
    machines: Machines,
    /// The installation's SSH key was seen in the account's list.
    key_is_there: AtomicBool,
    /// The region of the file system, once it was asked for. One never moves.
    file_system_region: OnceCell<String>,
}

impl LambdaLabsConnector {
    /// Sets Lambda up. Nothing is sent.
    ///
    /// # Errors
    /// `Invalid` for an address that is none or a key that no header can hold; `Internal` where no HTTP client or SSH key
    /// can be made.
    pub fn new(config: LambdaConfig) -> Result<LambdaLabsConnector, ConnectorError> {
        let info = info(&config);
        let keys = Keys::new(config.ssh_seed, &config.installation)?;
        let settle = Duration::from_secs(config.settle_s);
        Ok(LambdaLabsConnector {
            api: Api::new(info.name.clone(), &config)?,
            machines: Machines::new(keys.clone(), config.ssh_port, config.strict_host_keys, settle),
            keys,
            info,
            config,
            key_is_there: AtomicBool::new(false),
            file_system_region: OnceCell::new(),
        })
    }

    /// Makes sure that the account knows the installation's key. Only ever adds one.
    async fn ensure_key(&self) -> Result<(), ConnectorError> {
        if self.key_is_there.load(Ordering::Relaxed) || self.find_key().await? {
            return Ok(());
        }
        let added = self.api.add_ssh_key(self.keys.name(), self.keys.user().public()).await;
        // Somebody else may have added it meanwhile, or its answer was lost.
        if let Err(error) = added
            && !self.find_key().await?
        {
            return Err(error.of_a_reading());
        }
        self.key_is_there.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn find_key(&self) -> Result<bool, ConnectorError> {
        let keys = self.api.ssh_keys().await?;
        let Some(key) = keys.iter().find(|key| key.name == self.keys.name()) else { return Ok(false) };
        if !is_same_key(&key.public_key, self.keys.user().public()) {
            let text = format!("the SSH key `{}` at Lambda is not this installation's", key.name);
            return Err(ConnectorError::refused(ErrorKind::Invalid, text));
        }
        self.key_is_there.store(true, Ordering::Relaxed);
        Ok(true)
    }

    async fn launch(
        &self,
        order: &OrderName,
        choice: &Choice,
        arch: Arch,
    ) -> Result<Launched, ConnectorError> {
        let supply = &self.config.supply;
        let port = supply.port_of(order);
        let file_system = self.config.file_system.as_deref();
        let cache = file_system.map(|name| format!("{FILE_SYSTEMS}/{name}/trainyard-cache"));
        let cache = cache.as_deref();
        let boot = BootOrder { order, arch, port, tls: None, stay: Stay::Machine, removal: None, cache };
        let boot = supply.bootstrap(&boot).map_err(|error| {
            ConnectorError::refused(ErrorKind::Invalid, "the agent cannot be brought there").because(error)
        })?;
        let body = map::launch(LaunchOf {
            order,
            owner: &self.config.installation,
            choice,
            ssh_key: self.keys.name(),
            image_family: &self.config.image_family,
            file_system,
            user_data: user_data(&boot, &self.keys.host(order)?)?,
            now: (self.config.now)(),
        });
        let launched = self.api.launch(&body).await;
        match launched {
            // Refused for certain. Somebody deleted the key in the console: it is added once more.
            Err(error) if error.effect == Effect::None && names_missing_key(&error) => {
                self.key_is_there.store(false, Ordering::Relaxed);
                self.ensure_key().await?;
                self.api.launch(&body).await
            }
            other => other,
        }
    }

    /// The one region that machines can stand in; none: any.
    async fn region(&self) -> Result<Option<&str>, ConnectorError> {
        let Some(name) = &self.config.file_system else { return Ok(None) };
        let region = self.file_system_region.get_or_try_init(async || {
            let all = self.api.file_systems().await?;
            let found = all.into_iter().find(|one| one.name == *name);
            found.map(|one| one.region.name).ok_or_else(|| {
                let text = format!(
                    "the Lambda account has no file system `{name}`: set providers.lambda.file_system to one that it lists, or \
                     leave it out"
                );
                ConnectorError::refused(ErrorKind::Invalid, text)
            })
        });
        Ok(Some(region.await?.as_str()))
    }

    /// The way to a machine, with its address as far as Lambda tells one.
    async fn way(&self, order: &OrderName) -> Result<Way, ConnectorError> {
        let way = self.machines.way(order)?;
        if way.tunnel.address().is_some() || self.machines.was_listed_within(order, LISTING_GOOD_FOR) {
            return Ok(way);
        }
        self.list().await?;
        self.machines.way(order)
    }

    /// Every machine of the account, after what it tells was taken over.
    async fn list(&self) -> Result<Vec<Instance>, ConnectorError> {
        let instances = self.api.instances().await?;
        let owner = &self.config.installation;
        for instance in &instances {
            self.machines.seen(instance, owner)?;
        }
        self.machines.listed();
        Ok(instances)
    }

    async fn observation(&self, instance: &Instance, owner: &InstallationId) -> Option<MachineObservation> {
        let order = map::order_of(instance, owner)?;
        let unhealthy = instance.status.as_deref() == Some("unhealthy");
        let reached = match self.machines.known_way(&order) {
            // Some that are called so work: the machine itself is asked.
            Some(way) if unhealthy => answers_quickly(&way).await,
            Some(way) => way.tunnel.was_reached(),
            None => false,
        };
        map::observation(instance, owner, reached, (self.config.now)())
    }

    /// What a failed termination means, as far as a reading tells.
    async fn after_refusal(
        &self,
        order: &OrderName,
        id: &ProviderJobId,
        error: ConnectorError,
    ) -> Result<Termination, ConnectorError> {
        if is_no_such(&error) && !self.machines.is_new(order) {
            self.machines.forget(order);
            return Ok(Termination::Gone(error.message));
        }
        if matches!(error.kind, ErrorKind::Unauthorized | ErrorKind::RateLimited) {
            return Err(error);
        }
        let instance = match self.api.instance(id.as_str()).await {
            Ok(instance) => instance,
            Err(gone) if is_no_such(&gone) && !self.machines.is_new(order) => {
                self.machines.forget(order);
                return Ok(Termination::Gone(gone.message));
            }
            Err(_) => return Err(error),
        };
        match instance.status.as_deref() {
            Some("terminated") => {
                self.machines.forget(order);
                Ok(Termination::Gone("Lambda shows the machine as terminated".to_owned()))
            }
            // Asking once more for what is under way was answered with an error.
            Some("terminating") => Ok(Termination::Underway),
            _ if !map::can_be_terminated(&instance) => {
                let text =
                    "Lambda does not let the machine be terminated in its first seconds; it is tried again";
                Err(ConnectorError::refused(ErrorKind::Unreachable, text).because(error))
            }
            _ => Err(error),
        }
    }
}

/// Whether a machine was reached by SSH before, or is now, without waiting long for one that does not answer.
async fn answers_quickly(way: &Way) -> bool {
    let connected = || timeout(PROBE_WITHIN, way.tunnel.connect());
    way.tunnel.was_reached() || connected().await.is_ok_and(|done| done.is_ok())
}

fn info(config: &LambdaConfig) -> ConnectorInfo {
    #[expect(clippy::expect_used, reason = "the word is a valid name")]
    let name: ProviderName = "lambda".parse().expect("`lambda` is a provider's name");
    let pace = |pace: &trainyard_connector::http::Pace| {
        let op = if pace.op == "*" { "calls" } else { pace.op };
        (format!("{op} at most every"), format!("{} s", pace.every.as_secs_f32()))
    };
    let mut limits: Vec<_> = config.paces.iter().map(pace).collect();
    limits.push(("system image".to_owned(), config.image_family.clone()));
    limits.extend(config.file_system.iter().map(|name| ("file system".to_owned(), name.clone())));
    ConnectorInfo {
        name,
        capabilities: Capabilities {
            costs: true,
            offers: true,
            machine_log: true,
            ssh: true,
            billing: Billing { unit_s: 60, from_up: true },
            ..Capabilities::default()
        },
        proven: "simulator".to_owned(),
        limits,
        agent_lost_after_s: config.agent_lost_after_s,
        settle_s: config.settle_s,
        boot_deadline_s: config.boot_deadline_s,
    }
}

#[async_trait]
impl Connector for LambdaLabsConnector {
    fn info(&self) -> &ConnectorInfo {
        &self.info
    }

    async fn offers(&self, need: &Resources) -> Result<Vec<Offer>, ConnectorError> {
        let region = self.region().await?;
        let types = self.api.instance_types().await?;
        let mut offers = map::offers(&types, &self.config.supply.arches());
        offers.retain(|offer| gpu::meets(need, offer) && region.is_none_or(|region| offer.region == region));
        offers.truncate(OFFERS_MAX);
        Ok(offers)
    }

    async fn provision(&self, order: &ProvisionOrder) -> Result<Placement, ConnectorError> {
        let choice = Choice::of(order)?;
        let types = self.api.instance_types().await.map_err(ConnectorError::of_a_reading)?;
        let price: Money = map::price_now(&types, &choice, order.resources.max_price_per_hour)?;
        let arch = types.0.get(&choice.instance_type).and_then(|entry| map::arch(&entry.instance_type));
        let arch = arch.ok_or_else(|| {
            let text = format!("the processor of {} is none that is known", choice.instance_type);
            ConnectorError::refused(ErrorKind::Invalid, text)
        })?;
        self.ensure_key().await?;
        let launched = self.launch(&order.name, &choice, arch).await?;
        self.machines.ordered(&order.name, arch)?;
        let id = launched.instance_ids.first().and_then(|id| id.parse().ok());
        let id = id.ok_or_else(|| {
            let text = "Lambda accepted the order and told no machine";
            ConnectorError::unknown(ErrorKind::Unreachable, text)
        })?;
        Ok(Placement { id, price_per_hour: Some(price) })
    }

    async fn list_owned(&self, owner: &InstallationId) -> Result<Vec<MachineObservation>, ConnectorError> {
        let instances = self.list().await?;
        let observations = join_all(instances.iter().map(|instance| self.observation(instance, owner))).await;
        Ok(observations.into_iter().flatten().collect())
    }

    async fn observe(
        &self,
        order: &OrderName,
        id: &ProviderJobId,
    ) -> Result<MachineObservation, ConnectorError> {
        let gone = |note: String| MachineObservation {
            order: order.clone(),
            id: id.clone(),
            phase: MachinePhase::Gone,
            price_per_hour: None,
            note: Some(note),
            at: (self.config.now)(),
        };
        let instance = match self.api.instance(id.as_str()).await {
            Ok(instance) => instance,
            Err(error) if is_no_such(&error) && !self.machines.is_new(order) => {
                return Ok(gone(error.message));
            }
            Err(error) => return Err(error),
        };
        self.machines.seen(&instance, &self.config.installation)?;
        let seen = self.observation(&instance, &self.config.installation).await;
        let seen = seen.filter(|seen| seen.order == *order && seen.id == *id);
        seen.ok_or_else(|| {
            let text = format!("the machine {id} at Lambda does not bear the mark {order}");
            ConnectorError::refused(ErrorKind::NotFound, text)
        })
    }

    async fn terminate(&self, order: &OrderName, id: &ProviderJobId) -> Result<Termination, ConnectorError> {
        let terminated = match self.api.terminate(id.as_str()).await {
            Ok(terminated) => terminated,
            Err(error) => return self.after_refusal(order, id, error).await,
        };
        let ours = terminated.terminated_instances.iter().find(|instance| instance.id == id.as_str());
        match ours {
            Some(_) => Ok(Termination::Underway),
            None => {
                let text = "Lambda accepted the termination but does not name the machine";
                Err(ConnectorError::unknown(ErrorKind::Unreachable, text))
            }
        }
    }

    async fn list_leftovers(&self, owner: &InstallationId) -> Result<Vec<Leftover>, ConnectorError> {
        // Only what is called as no person calls a key, and is not the one in use.
        let of_before = |name: &str| name != self.keys.name() && Keys::is_named_for(name, owner);
        let keys = self.api.ssh_keys().await?.into_iter();
        let keys = keys.filter(|key| of_before(&key.name) && !key.id.is_empty());
        let kind = LeftoverKind::SshKey;
        Ok(keys.map(|key| Leftover { kind, id: key.id, name: key.name, order: None }).collect())
    }

    async fn remove_leftover(&self, leftover: &Leftover) -> Result<(), ConnectorError> {
        if leftover.name == self.keys.name() {
            let text = "the installation's own SSH key stays";
            return Err(ConnectorError::refused(ErrorKind::Invalid, text));
        }
        self.api.delete_ssh_key(&leftover.id).await
    }

    async fn attach(
        &self,
        order: &OrderName,
        _id: &ProviderJobId,
    ) -> Result<Box<dyn Workload>, ConnectorError> {
        let Way { tunnel, arch } = self.way(order).await?;
        let local = tunnel.forward(self.config.supply.port_of(order)).await?;
        let client = self.config.supply.client(&format!("http://{local}"), order.clone(), arch)?;
        Ok(Box::new(client))
    }

    async fn forget(&self, _job: &JobId) -> Result<(), ConnectorError> {
        // A machine's disk is erased when it is terminated; nothing is kept beside it.
        Ok(())
    }

    async fn machine_log(
        &self,
        order: &OrderName,
        _id: &ProviderJobId,
        after: Option<&str>,
    ) -> Result<MachineLog, ConnectorError> {
        let way = self.way(order).await?;
        if !answers_quickly(&way).await {
            let cursor = after.map(str::to_owned);
            return Ok(MachineLog { cursor, ..MachineLog::default() });
        }
        machine_log::read(&way.tunnel, after).await
    }

    async fn account(&self) -> Result<Account, ConnectorError> {
        let machines = self.api.instances().await?;
        let right = |what: &str, finding: Result<String, ConnectorError>| {
            (what.to_owned(), finding.unwrap_or_else(|error| format!("no: {error}")))
        };
        let types = self.api.instance_types().await;
        let now = types.map(|types| {
            let there = types.0.values().filter(|entry| !entry.regions_with_capacity_available.is_empty());
            format!("{} of {} types can be had now", there.count(), types.0.len())
        });
        let keys = self.api.ssh_keys().await.map(|keys| format!("{} registered", keys.len()));
        let rights = vec![
            ("machines".to_owned(), format!("{} in the account", machines.len())),
            right("catalogue", now),
            right("SSH keys", keys),
        ];
        // Lambda tells neither balance nor quota.
        Ok(Account { credit: None, rights, limits: self.info.limits.clone() })
    }

    async fn ssh(&self, order: &OrderName, _id: &ProviderJobId) -> Result<Option<SshTarget>, ConnectorError> {
        // Nothing is asked of the vendor: a person waits for the answer.
        let Some(Way { tunnel, .. }) = self.machines.known_way(order) else { return Ok(None) };
        let Some(address) = tunnel.address() else { return Ok(None) };
        Ok(Some(SshTarget {
            host: address.ip().to_string(),
            port: address.port(),
            user: USER.to_owned(),
            key: Some(self.keys.user().private()?),
            host_keys: tunnel.host_keys(),
        }))
    }

    fn memory(&self, order: &OrderName) -> Option<String> {
        self.machines.known_way(order)?.tunnel.accepted_host_key()
    }

    fn recall(&self, order: &OrderName, memory: &str) {
        if let Ok(way) = self.machines.way(order) {
            way.tunnel.recall_host_key(memory);
        }
    }

    fn surprises(&self, spec: &JobSpec) -> Vec<FieldError> {
        let image = spec.environment.image.as_ref().map(|_| FieldError {
            field: "environment.image".to_owned(),
            message: "is not looked at by `lambda`: it rents whole machines with its own image".to_owned(),
        });
        image.into_iter().collect()
    }

    fn remarks(&self, order: &OrderName) -> Vec<String> {
        self.machines.known_way(order).map(|way| way.tunnel.take_remarks()).unwrap_or_default()
    }
}
