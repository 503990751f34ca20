//! Vast.ai as a connector: calls, map and memory joined.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use secrecy::ExposeSecret;
use tokio::time::{Instant, timeout};
use trainyard_agent::{BootOrder, Stay, TlsIdentity};
use trainyard_connector::{
    Account, Billing, Capabilities, Connector, ConnectorError, ConnectorInfo, Effect, ErrorKind, MachineLog,
    MachineObservation, MachinePhase, Offer, Placement, ProvisionOrder, Termination, Workload, owned,
};
use trainyard_domain::{InstallationId, JobId, Money, OrderName, ProviderJobId, Resources};

use crate::api::Api;
use crate::config::VastAIConfig;
use crate::error::{OrderOutcome, short};
use crate::listing::all_instances;
use crate::logs::{Cursor, at_most, broken_by};
use crate::map::{
    Ask, address_of, arch_of, charged, charges_query, create_body, credit, labelled, names_like, offers_of,
    price_of, reading_of, search_body, self_removal,
};
use crate::reach::{MappedWorkload, not_made};
use crate::seen::{Place, Seen};
use crate::wire::Instance;

/// How long the names of cards are kept: a new model comes a few times a year.
const NAMES_KEPT: Duration = Duration::from_secs(3600);
/// How long a purchase may be looked at before the order's answer is passed on.
const PURCHASE_WITHIN: Duration = Duration::from_secs(10);
/// Most pages of charges that are looked through for a machine; the newest come first.
const CHARGE_PAGES_MAX: usize = 5;

/// Containers at Vast.ai.
#[derive(Debug)]
pub struct VastAIConnector {
    info: ConnectorInfo,
    shared: Arc<Shared>,
    names: Mutex<Option<(Instant, Vec<String>)>>,
}

/// What the connector has in common with the workloads that it gave out.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: VastAIConfig,
    pub(crate) api: Api,
    pub(crate) seen: Seen,
}

impl Shared {
    /// Reads one instance and notes what it showed.
    pub(crate) async fn read_one(
        &self,
        order: &OrderName,
        id: u64,
    ) -> Result<Option<MachineObservation>, ConnectorError> {
        match self.api.instance(id).await? {
            Some(instance) => self.observation(order.clone(), &instance).map(Some),
            None => Ok(None),
        }
    }

    fn observation(
        &self,
        order: OrderName,
        instance: &Instance,
    ) -> Result<MachineObservation, ConnectorError> {
        let id = instance.id.whole().ok_or_else(unreadable_id)?;
        let address = address_of(instance, self.config.supply.port_of(&order));
        let place = Place { address, arch: arch_of(instance) };
        let word = instance.actual_status.as_deref().map_or_else(|| "none".to_owned(), short);
        let phase = self.seen.note(id, place, reading_of(instance), &word, Instant::now());
        let said = instance.status_msg.as_deref().map(short).filter(|text| !text.is_empty());
        let note = match (instance.actual_status.as_deref(), said) {
            // What the text says is of before.
            (Some("exited"), _) => Some("its process ended; Vast.ai starts the container again".to_owned()),
            (_, said) => said,
        };
        Ok(MachineObservation {
            order,
            id: machine_id(id)?,
            phase,
            price_per_hour: price_of(instance),
            note,
            at: (self.config.now)(),
        })
    }
}

impl VastAIConnector {
    /// Vast.ai as configured. Sends nothing.
    ///
    /// # Errors
    /// `Invalid` where the address or the key cannot be used.
    pub fn new(config: VastAIConfig) -> Result<VastAIConnector, ConnectorError> {
        let info = info(&config);
        let api = Api::new(&config)?;
        let shared = Arc::new(Shared { config, api, seen: Seen::default() });
        Ok(VastAIConnector { info, shared, names: Mutex::new(None) })
    }

    /// The market's names of cards; none where they cannot be had, and then the search is not narrowed by them.
    async fn names(&self) -> Vec<String> {
        let kept = self.names.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, names)) = kept
            && at.elapsed() < NAMES_KEPT
        {
            return names;
        }
        match self.shared.api.gpu_names().await {
            Ok(names) => {
                let kept = Some((Instant::now(), names.clone()));
                *self.names.lock().unwrap_or_else(PoisonError::into_inner) = kept;
                names
            }
            Err(error) => {
                tracing::debug!(%error, "Vast.ai's names of cards could not be read");
                Vec::new()
            }
        }
    }

    /// What was bought is looked at once: an instance that costs more or has fewer cards than ordered is given back.
    async fn checked(
        &self,
        order: &ProvisionOrder,
        offer: &Offer,
        id: u64,
    ) -> Result<Placement, ConnectorError> {
        let read = timeout(PURCHASE_WITHIN, self.shared.api.instance(id)).await;
        let bought = match read {
            Ok(Ok(Some(instance))) => instance,
            // Not to be seen yet: the listing tells its price to everybody.
            _ => return Ok(Placement { id: machine_id(id)?, price_per_hour: Some(offer.price_per_hour) }),
        };
        let price = price_of(&bought);
        let max = order.resources.max_price_per_hour;
        let dearer = price.zip(max).filter(|(price, max)| price > max);
        let fewer = bought.num_gpus.is_some_and(|cards| cards.0 < f64::from(order.resources.gpu_count));
        let what = match dearer {
            Some((price, max)) => format!("the machine costs {price} dollars an hour, more than {max}"),
            None if fewer => "the machine has fewer cards than were ordered".to_owned(),
            None => {
                let price_per_hour = price.or(Some(offer.price_per_hour));
                return Ok(Placement { id: machine_id(id)?, price_per_hour });
            }
        };
        let kind = if dearer.is_some() { ErrorKind::PriceChanged } else { ErrorKind::NoCapacity };
        Err(self.give_back(id, ConnectorError::refused(kind, what)).await)
    }

    /// Gives back what an order made but must not have, and says whether that is certain.
    async fn give_back(&self, id: u64, why: ConnectorError) -> ConnectorError {
        let (effect, outcome) = match self.shared.api.delete(id).await {
            Ok(true) => (Effect::None, "was given back"),
            // Right after an order a machine may not be known yet: only listings tell that it is not there.
            Ok(false) => (Effect::Unknown, "is not known to Vast.ai yet, or any more"),
            Err(error) => {
                tracing::warn!(instance = id, %error, "an unwanted machine could not be given back at once");
                (Effect::Unknown, "could not be given back yet")
            }
        };
        let message = format!("{}; the machine {id} that came of it {outcome}", why.message);
        ConnectorError { effect, message, ..why }
    }
}

#[async_trait]
impl Connector for VastAIConnector {
    fn info(&self) -> &ConnectorInfo {
        &self.info
    }

    async fn offers(&self, need: &Resources) -> Result<Vec<Offer>, ConnectorError> {
        let names = if need.gpu.is_empty() { Vec::new() } else { names_like(&need.gpu, &self.names().await) };
        let rules = &self.shared.config.market;
        let rows = self.shared.api.offers(search_body(need, &names, rules)).await?;
        let arches = self.shared.config.supply.arches();
        let offers = offers_of(&rows, need, rules).into_iter();
        Ok(offers.filter(|offer| arches.contains(&offer.arch)).collect())
    }

    async fn provision(&self, order: &ProvisionOrder) -> Result<Placement, ConnectorError> {
        let refuse = |kind, text: String| Err(ConnectorError::refused(kind, text));
        let Some(offer) = &order.offer else {
            return refuse(ErrorKind::Invalid, "an order at Vast.ai names an offer".to_owned());
        };
        if let Some(max) = order.resources.max_price_per_hour.filter(|max| offer.price_per_hour > *max) {
            let text = format!("the offer costs {} dollars an hour, more than {max}", offer.price_per_hour);
            return refuse(ErrorKind::PriceChanged, text);
        }
        let ask = Ask::of(&offer.id)?;
        let supply = &self.shared.config.supply;
        let port = supply.port_of(&order.name);
        let tls = TlsIdentity::of(supply.key(), &order.name).map_err(not_made)?;
        let removal = self_removal(&self.shared.config.url)?;
        let boot = supply.bootstrap(&BootOrder {
            // Its volumes are bound to one host.
            cache: None,
            order: &order.name,
            arch: offer.arch,
            port,
            tls: Some(&tls),
            stay: Stay::Container,
            removal: Some(&removal),
        });
        let boot = boot.map_err(not_made)?;
        let image = &self.shared.config.default_image;
        let body = create_body(order, offer, image, port, boot.script, &boot.env)?;
        match self.shared.api.order(ask.ask, body).await {
            OrderOutcome::Placed(id) => self.checked(order, offer, id).await,
            OrderOutcome::Failed(error) => Err(without_secrets(error, order)),
            OrderOutcome::RefusedButCreated(id, error) => {
                // Vast's words for a bid that is too low vary; another offer may do.
                let kind = match error.kind {
                    ErrorKind::Unreachable | ErrorKind::Invalid => ErrorKind::NoCapacity,
                    kind => kind,
                };
                Err(self.give_back(id, ConnectorError { kind, ..without_secrets(error, order) }).await)
            }
        }
    }

    async fn list_owned(&self, owner: &InstallationId) -> Result<Vec<MachineObservation>, ConnectorError> {
        let began = Instant::now();
        let instances = all_instances(&self.shared.api).await?;
        let ours = owned(owner, &instances, labelled, |instance| instance.mark.clone());
        let ids: Vec<u64> = ours.iter().filter_map(|(_, instance)| instance.id.whole()).collect();
        let observed = ours.into_iter().map(|(order, instance)| self.shared.observation(order, instance));
        let observed = observed.collect::<Result<Vec<_>, _>>()?;
        self.shared.seen.listed(&ids, began, Instant::now());
        Ok(observed)
    }

    async fn observe(
        &self,
        order: &OrderName,
        id: &ProviderJobId,
    ) -> Result<MachineObservation, ConnectorError> {
        let observed = self.shared.read_one(order, contract(id)?).await?;
        // A null may pass, so it is not absence: listings decide that.
        Ok(observed.unwrap_or_else(|| MachineObservation {
            order: order.clone(),
            id: id.clone(),
            phase: MachinePhase::Unknown("not shown".to_owned()),
            price_per_hour: None,
            note: None,
            at: (self.shared.config.now)(),
        }))
    }

    async fn terminate(&self, _order: &OrderName, id: &ProviderJobId) -> Result<Termination, ConnectorError> {
        self.shared.api.delete(contract(id)?).await?;
        Ok(Termination::Underway)
    }

    async fn attach(
        &self,
        order: &OrderName,
        id: &ProviderJobId,
    ) -> Result<Box<dyn Workload>, ConnectorError> {
        Ok(Box::new(MappedWorkload::new(self.shared.clone(), order.clone(), contract(id)?)))
    }

    async fn forget(&self, _job: &JobId) -> Result<(), ConnectorError> {
        // A machine's disk goes with it.
        Ok(())
    }

    async fn machine_log(
        &self,
        _order: &OrderName,
        id: &ProviderJobId,
        after: Option<&str>,
    ) -> Result<MachineLog, ConnectorError> {
        let (id, mut cursor) = (contract(id)?, Cursor::read(after));
        let api = &self.shared.api;
        // Once the container speaks, what Vast's own program does beside it is no news.
        let (container, daemon) = if cursor.container.is_new() {
            tokio::join!(api.log(id, false), api.log(id, true))
        } else {
            (api.log(id, false).await, Ok(None))
        };
        let mut lines = Vec::new();
        if let Some(text) = daemon? {
            let (new, mark) = cursor.daemon.advance(&text);
            lines.extend(new.into_iter().map(|line| format!("[vast] {line}")));
            cursor.daemon = mark;
        }
        if let Some(text) = container? {
            let (new, mark) = cursor.container.advance(&text);
            lines.extend(new);
            cursor.container = mark;
        }
        let broken = broken_by(&lines);
        Ok(MachineLog { lines: at_most(lines), cursor: Some(cursor.write()), broken })
    }

    async fn bill(&self, order: &OrderName, id: &ProviderJobId) -> Result<Option<Money>, ConnectorError> {
        let query = charges_query(order, (self.shared.config.now)().timestamp());
        let mut after: Option<String> = None;
        for _ in 0..CHARGE_PAGES_MAX {
            let page = self.shared.api.charges(query.clone(), after.as_deref()).await?;
            if let Some(money) = charged(&page.results, id.as_str()) {
                return Ok(Some(money));
            }
            match page.next_token {
                Some(token) if after.as_ref() != Some(&token) => after = Some(token),
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    async fn account(&self) -> Result<Account, ConnectorError> {
        let right = |name: &str, finding: String| (name.to_owned(), finding);
        let user = self.shared.api.user().await;
        let listing = self.shared.api.instances(None).await;
        let user = match (user, &listing) {
            (Ok(user), _) => user,
            // A narrow key may lack this right and still rent; a wrong one lacks both.
            (Err(error), Ok(_)) if error.kind == ErrorKind::Unauthorized => {
                let rights =
                    vec![right("read the account", error.message), right("list machines", "yes".to_owned())];
                return Ok(Account { credit: None, rights, limits: Vec::new() });
            }
            (Err(error), _) => return Err(error),
        };
        let lists = listing.map_or_else(|error| error.message, |_| "yes".to_owned());
        let rights = vec![right("read the account", "yes".to_owned()), right("list machines", lists)];
        Ok(Account { credit: user.credit.and_then(credit), rights, limits: Vec::new() })
    }
}

/// Vast might quote the order in a refusal.
fn without_secrets(mut error: ConnectorError, order: &ProvisionOrder) -> ConnectorError {
    let password = order.registry.as_ref().map(|login| login.password.expose_secret());
    if let Some(password) = password.filter(|password| !password.is_empty()) {
        error.message = error.message.replace(password, "[hidden]");
    }
    if error.message.contains("PRIVATE KEY") {
        error.message = "ordering a machine at Vast.ai failed, and its text quotes the order".to_owned();
    }
    error
}

fn info(config: &VastAIConfig) -> ConnectorInfo {
    let paces = config.paces.iter();
    let limits =
        paces.map(|pace| (format!("seconds between `{}`", pace.op), pace.every.as_secs_f64().to_string()));
    ConnectorInfo {
        name: crate::provider_name(),
        capabilities: Capabilities {
            costs: true,
            offers: true,
            spot: true,
            machine_log: true,
            bill: true,
            // GPUs from the first run of the container on; the disk alone before.
            billing: Billing { unit_s: 1, from_up: true },
            ..Capabilities::default()
        },
        proven: "simulator".to_owned(),
        limits: limits.collect(),
        agent_lost_after_s: config.agent_lost_after_s,
        settle_s: config.settle_s,
        boot_deadline_s: config.boot_deadline_s,
    }
}

/// The number of an instance, from the id that was stored.
fn contract(id: &ProviderJobId) -> Result<u64, ConnectorError> {
    let number = id.as_str().parse();
    number.map_err(|_| {
        ConnectorError::refused(ErrorKind::Invalid, format!("`{id}` is no machine of Vast.ai's"))
    })
}

fn machine_id(id: u64) -> Result<ProviderJobId, ConnectorError> {
    id.to_string().parse().map_err(|error| unreadable_id().because(error))
}

fn unreadable_id() -> ConnectorError {
    ConnectorError::unknown(ErrorKind::Unreachable, "Vast.ai gave a machine an id that is no number")
}
