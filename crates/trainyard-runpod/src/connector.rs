//! RunPod as a connector: its calls joined.

use std::collections::HashSet;

use async_trait::async_trait;
use tokio::sync::OnceCell;
use trainyard_agent::{BootOrder, Bootstrap, Stay};
use trainyard_connector::{
    Account, Arch, Capabilities, Connector, ConnectorError, ConnectorInfo, Effect, ErrorKind, Leftover,
    LeftoverKind, MachineLog, MachineObservation, OFFERS_MAX, Offer, Placement, ProvisionOrder, Termination,
    Workload,
};
use trainyard_domain::{InstallationId, JobId, Money, OrderName, ProviderJobId, ProviderName, Resources};

use crate::api::{self, Api};
use crate::config::{CloudTier, RunPodConfig};
use crate::logins::Logins;
use crate::map::{self, Cursor, OfferId};
use crate::wire::{CreateGpu, CreatePod, Mounts, NetworkMount, Pod};

/// Makers whose cards have no CUDA: their hosts report no version of it.
const WITHOUT_CUDA: &str = "AMD ";

/// Where a network volume is mounted, and where on it caches lie.
const VOLUME: &str = "/trainyard-volume";
const CACHES: &str = "/trainyard-volume/trainyard-cache";

/// RunPod as a provider.
#[derive(Debug)]
pub struct RunPodConnector {
    info: ConnectorInfo,
    config: RunPodConfig,
    api: Api,
    logins: Logins,
    /// The data centre of the network volume, once it was asked for. A volume never moves.
    volume_center: OnceCell<String>,
}

impl RunPodConnector {
    /// Sets RunPod up. Nothing is sent yet.
    ///
    /// # Errors
    /// `Invalid` for an address that is none, a template without its places, or a key that no header can hold.
    pub fn new(config: RunPodConfig) -> Result<RunPodConnector, ConnectorError> {
        if !config.proxy_url.contains("{pod}") || !config.proxy_url.contains("{port}") {
            let text = "the address of RunPod's proxy must hold `{pod}` and `{port}`";
            return Err(ConnectorError::refused(ErrorKind::Invalid, text));
        }
        let info = info(&config)?;
        let url = config.url.trim_end_matches('/');
        let url = url.strip_suffix("/v2").unwrap_or(url);
        let api = Api::new(info.name.clone(), url, config.key.clone(), config.paces.clone())?;
        let logins = Logins::new(config.installation.clone());
        Ok(RunPodConnector { info, api, logins, config, volume_center: OnceCell::new() })
    }

    fn bootstrap(&self, order: &OrderName) -> Result<(u16, Bootstrap), ConnectorError> {
        let port = self.config.supply.port_of(order);
        let removal = map::self_removal(&self.config.url)?;
        let boot = BootOrder {
            order,
            arch: Arch::X86_64,
            port,
            tls: None,
            stay: Stay::Container,
            removal: Some(&removal),
            cache: self.config.network_volume.as_ref().map(|_| CACHES),
        };
        let bootstrap = self.config.supply.bootstrap(&boot).map_err(|error| {
            ConnectorError::refused(ErrorKind::Invalid, "the agent cannot be brought to a pod").because(error)
        })?;
        Ok((port, bootstrap))
    }

    async fn place(&self, order: &ProvisionOrder, offer: &OfferId) -> Result<Placement, ConnectorError> {
        let login = match &order.registry {
            Some(login) => Some(self.logins.make(&self.api, &order.name, login).await?),
            None => None,
        };
        let pod = self.order(order, offer, login.as_deref()).await?;
        self.accept(order, offer, &pod).await
    }

    /// Orders the pod, once.
    async fn order(
        &self,
        order: &ProvisionOrder,
        offer: &OfferId,
        login: Option<&str>,
    ) -> Result<Pod, ConnectorError> {
        let (port, bootstrap) = self.bootstrap(&order.name)?;
        let cuda = !offer.gpu.starts_with(WITHOUT_CUDA);
        let pod = CreatePod {
            name: order.name.as_str(),
            image: order.image.as_deref().unwrap_or(&self.config.image),
            // The image's own entrypoint may wait for a driver it likes, or start what nobody asked for.
            entrypoint: ["sh", "-c"],
            cmd: [bootstrap.script],
            gpu: CreateGpu {
                id: &offer.gpu,
                count: order.resources.gpu_count.max(1),
                min_cuda_version: self.config.min_cuda.as_deref().filter(|_| cuda),
            },
            cloud: map::cloud_word(offer.cloud),
            data_center_ids: offer.data_center.as_deref().map(|center| [center]),
            disk: order.resources.disk_gb.max(1),
            ports: [format!("{port}/http")],
            env: &bootstrap.env,
            registry: login,
            mounts: self
                .config
                .network_volume
                .as_deref()
                .map(|volume_id| Mounts { network: [NetworkMount { volume_id, path: VOLUME }] }),
        };
        self.api.create_pod(&pod).await
    }

    /// The one data centre that machines can stand in; none: any.
    async fn center(&self) -> Result<Option<&str>, ConnectorError> {
        let Some(id) = &self.config.network_volume else { return Ok(None) };
        let center = self.volume_center.get_or_try_init(async || {
            let volume = self.api.network_volume(id).await?.map(|volume| volume.data_center.0);
            volume.filter(|center| !center.is_empty()).ok_or_else(|| {
                let text = format!(
                    "the RunPod account has no network volume `{id}`: set providers.runpod.network_volume to one that it \
                     lists, or leave it out"
                );
                ConnectorError::refused(ErrorKind::Invalid, text)
            })
        });
        Ok(Some(center.await?.as_str()))
    }

    /// Looks at what was placed; another or a dearer machine than ordered is given back.
    async fn accept(
        &self,
        order: &ProvisionOrder,
        offer: &OfferId,
        pod: &Pod,
    ) -> Result<Placement, ConnectorError> {
        let id = map::id_of(pod)?;
        let price = map::hourly(pod.cost, order.resources.disk_gb);
        if let Some(why) = map::differs(pod, &order.name, &offer.gpu, order.resources.gpu_count.max(1)) {
            let text = format!("RunPod placed another machine than was ordered: {why}");
            return Err(self.give_back(&id, ErrorKind::NoCapacity, text).await);
        }
        if let Some((price, most)) = price.and_then(|price| too_dear(price, &order.resources)) {
            let text = format!("the machine costs ${price} an hour, and at most ${most} is to be paid");
            return Err(self.give_back(&id, ErrorKind::PriceChanged, text).await);
        }
        Ok(Placement { id, price_per_hour: price.or(order.offer.as_ref().map(|offer| offer.price_per_hour)) })
    }

    /// Deletes what must not be kept. Where that is not certain to have happened, the error says so, and the machine is
    /// found by its name.
    async fn give_back(&self, id: &ProviderJobId, kind: ErrorKind, why: String) -> ConnectorError {
        match self.api.delete_pod(id).await {
            Ok(true) => ConnectorError::refused(kind, format!("{why}; it was given back")),
            Ok(false) => ConnectorError::unknown(kind, format!("{why}; RunPod does not know it any more")),
            Err(error) => {
                ConnectorError::unknown(kind, format!("{why}; giving it back failed")).because(error)
            }
        }
    }
}

fn info(config: &RunPodConfig) -> Result<ConnectorInfo, ConnectorError> {
    let name: ProviderName = "runpod".parse().map_err(|error| {
        ConnectorError::refused(ErrorKind::Internal, "`runpod` is no provider's name").because(error)
    })?;
    let clouds: Vec<&str> = config.clouds.iter().map(|cloud| map::cloud_word(*cloud)).collect();
    let pace = |pace: &trainyard_connector::http::Pace| {
        (
            format!("pace of {}", pace.op),
            format!("one call in {} ms, {} at once", pace.every.as_millis(), pace.burst),
        )
    };
    let mut limits = vec![
        ("clouds".to_owned(), clouds.join(", ")),
        ("request_bytes_max".to_owned(), api::REQUEST_BYTES_MAX.to_string()),
    ];
    limits.extend(config.network_volume.iter().map(|id| ("network_volume".to_owned(), id.clone())));
    limits.extend(config.paces.iter().map(pace));
    Ok(ConnectorInfo {
        name,
        capabilities: Capabilities {
            costs: true,
            offers: true,
            machine_log: true,
            bill: true,
            ..Capabilities::default()
        },
        proven: "simulator".to_owned(),
        limits,
        agent_lost_after_s: config.agent_lost_after_s,
        settle_s: config.settle_s,
        boot_deadline_s: config.boot_deadline_s,
    })
}

/// The price and the limit that it is over.
fn too_dear(price: Money, resources: &Resources) -> Option<(Money, Money)> {
    resources.max_price_per_hour.filter(|most| price > *most).map(|most| (price, most))
}

fn chosen(order: &ProvisionOrder) -> Result<(&Offer, OfferId), ConnectorError> {
    let offer = order.offer.as_ref().and_then(|offer| Some((offer, offer.id.parse().ok()?)));
    offer.ok_or_else(|| {
        ConnectorError::refused(ErrorKind::Invalid, "an order at RunPod names one of RunPod's offers")
    })
}

#[async_trait]
impl Connector for RunPodConnector {
    fn info(&self) -> &ConnectorInfo {
        &self.info
    }

    async fn offers(&self, need: &Resources) -> Result<Vec<Offer>, ConnectorError> {
        let mut offers = Vec::new();
        if !self.config.supply.arches().contains(&Arch::X86_64) {
            // RunPod's machines are all of that kind.
            return Ok(offers);
        }
        let center = self.center().await?;
        // Only there are network volumes.
        let with_volumes = |cloud: &&CloudTier| center.is_none() || **cloud == CloudTier::Secure;
        for cloud in self.config.clouds.iter().filter(with_volumes) {
            let list = self.api.gpus(*cloud, need.gpu_count, self.config.min_cuda.as_deref()).await?;
            offers.extend(map::offers_of(&list, *cloud, need, center));
        }
        offers.sort_by(|one, other| (one.price_per_hour, &one.id).cmp(&(other.price_per_hour, &other.id)));
        offers.truncate(OFFERS_MAX);
        Ok(offers)
    }

    async fn provision(&self, order: &ProvisionOrder) -> Result<Placement, ConnectorError> {
        let (offer, id) = chosen(order)?;
        if let Some((price, most)) = too_dear(offer.price_per_hour, &order.resources) {
            let text = format!("the offer costs ${price} an hour, and at most ${most} is to be paid");
            return Err(ConnectorError::refused(ErrorKind::PriceChanged, text));
        }
        let placed = self.place(order, &id).await;
        let in_vain = placed.as_ref().is_err_and(|error| error.effect == Effect::None);
        if in_vain && order.registry.is_some() {
            self.logins.drop_of(&self.api, &order.name).await;
        }
        placed
    }

    async fn list_owned(&self, owner: &InstallationId) -> Result<Vec<MachineObservation>, ConnectorError> {
        let pods = self.api.pods().await?;
        let at = (self.config.now)();
        let mut seen = HashSet::new();
        // A pod that moved between two pages while they were read is one pod.
        let pods: Vec<&Pod> = pods.iter().filter(|pod| seen.insert(&pod.id.0)).collect();
        let ours =
            trainyard_connector::owned(owner, &pods, |pod| pod.name.0.parse().ok(), |pod| pod.env.clone());
        ours.into_iter().map(|(order, pod)| map::observation(&order, pod, at)).collect()
    }

    async fn observe(
        &self,
        order: &OrderName,
        id: &ProviderJobId,
    ) -> Result<MachineObservation, ConnectorError> {
        let pod = self.api.pod(id).await?;
        let at = (self.config.now)();
        match pod {
            Some(pod) => map::observation(order, &pod, at),
            None => Ok(map::vanished(order, id, at)),
        }
    }

    async fn terminate(&self, order: &OrderName, id: &ProviderJobId) -> Result<Termination, ConnectorError> {
        // Neither answer proves that it is gone: right after an order even a 404 may be too early.
        self.api.delete_pod(id).await?;
        self.logins.drop_of(&self.api, order).await;
        Ok(Termination::Underway)
    }

    async fn list_leftovers(&self, owner: &InstallationId) -> Result<Vec<Leftover>, ConnectorError> {
        let ours = |order: &OrderName| order.installation() == owner.as_str();
        let logins = self.api.registries().await?.into_iter().filter_map(|login| {
            let order = login.name.0.parse::<OrderName>().ok().filter(ours)?;
            let (kind, id, name) = (LeftoverKind::RegistryLogin, login.id.0, login.name.0);
            Some(Leftover { kind, id, name, order: Some(order) })
        });
        Ok(logins.collect())
    }

    async fn remove_leftover(&self, leftover: &Leftover) -> Result<(), ConnectorError> {
        self.api.delete_registry(&leftover.id).await?;
        if let Some(order) = &leftover.order {
            self.logins.forget(order);
        }
        Ok(())
    }

    async fn attach(
        &self,
        order: &OrderName,
        id: &ProviderJobId,
    ) -> Result<Box<dyn Workload>, ConnectorError> {
        let port = self.config.supply.port_of(order).to_string();
        let url = self.config.proxy_url.replace("{pod}", id.as_str()).replace("{port}", &port);
        Ok(Box::new(self.config.supply.client(&url, order.clone(), Arch::X86_64)?))
    }

    async fn forget(&self, _job: &JobId) -> Result<(), ConnectorError> {
        // A pod's disk goes with it.
        Ok(())
    }

    async fn machine_log(
        &self,
        _order: &OrderName,
        id: &ProviderJobId,
        after: Option<&str>,
    ) -> Result<MachineLog, ConnectorError> {
        let after = after.and_then(Cursor::parse);
        let stream = self.api.log(id, after.as_ref().map(Cursor::since).as_deref()).await?;
        Ok(map::log_of(&stream.body, after.as_ref()))
    }

    async fn bill(&self, _order: &OrderName, id: &ProviderJobId) -> Result<Option<Money>, ConnectorError> {
        Ok(map::billed(&self.api.billing(id).await?, id.as_str()))
    }

    async fn account(&self) -> Result<Account, ConnectorError> {
        let answer = self.api.probe().await?;
        Ok(Account {
            credit: None,
            rights: vec![
                ("read pods".to_owned(), "allowed".to_owned()),
                ("order and delete pods".to_owned(), "only an order shows it".to_owned()),
                ("balance".to_owned(), "RunPod's API does not tell it".to_owned()),
            ],
            limits: api::limits(&answer),
        })
    }
}
