//! The vendors' side: [`Connector`] over the world.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use trainyard_connector::{
    Arch, Billing, Capabilities, Connector, ConnectorError, ConnectorInfo, ErrorKind, MachineObservation,
    MachinePhase, Offer, Placement, ProvisionOrder, Stock, Termination, Vacancy, Workload,
};
use trainyard_domain::{InstallationId, JobId, Money, OrderName, ProviderJobId, Resources};

use super::agent::Agent;
use super::{Machine, World};
use crate::process::Process;

/// Seconds from an order after which its machine shows for certain: longer than an order takes to have its effect and
/// a new machine to show.
pub const SETTLE_S: u64 = 60;
/// The name of this machine as a provider.
pub const LOCAL: &str = "local";

/// A vendor.
#[derive(Debug, Clone, Copy)]
pub struct Vendor {
    /// Its name.
    pub name: &'static str,
    /// Whether its machines cost money.
    pub costs: bool,
    /// Slots, where it has a line.
    pub slots: usize,
    /// Offers, with their prices.
    pub offers: &'static [(&'static str, &'static str)],
    /// Whether its bills can be read.
    pub bills: bool,
    /// How it bills: begun units of so many seconds, and whether only from when a machine is up.
    pub billing: Billing,
}

/// Three clouds that bill as the vendors do whose names they bear, and this machine.
pub const VENDORS: [Vendor; 4] = [
    Vendor {
        name: "runpod",
        costs: true,
        slots: 0,
        offers: &[("a", "0.50"), ("b", "0.70"), ("c", "0.90")],
        bills: true,
        billing: Billing { unit_s: 1, from_up: false },
    },
    Vendor {
        name: "vastai",
        costs: true,
        slots: 0,
        offers: &[("d", "0.40"), ("e", "0.80")],
        bills: true,
        billing: Billing { unit_s: 1, from_up: true },
    },
    Vendor {
        name: "lambda",
        costs: true,
        slots: 0,
        offers: &[("f", "0.45"), ("g", "0.75")],
        bills: false,
        billing: Billing { unit_s: 60, from_up: true },
    },
    Vendor {
        name: LOCAL,
        costs: false,
        slots: 2,
        offers: &[],
        bills: false,
        billing: Billing { unit_s: 1, from_up: false },
    },
];

impl Vendor {
    /// The vendor of that name.
    pub fn named(name: &str) -> Option<&'static Vendor> {
        VENDORS.iter().find(|vendor| vendor.name == name)
    }

    /// Seconds that it bills for a machine until `until`, begun units whole.
    pub fn billed_s(&self, machine: &Machine, until: Instant) -> u64 {
        let until = machine.end().map_or(until, |end| end.min(until));
        let from = machine.billed_from(self.billing.from_up);
        let seconds = from.map_or(0.0, |from| until.saturating_duration_since(from).as_secs_f64());
        let units = (seconds / self.billing.unit_s as f64).ceil();
        units as u64 * self.billing.unit_s
    }
}

/// Every vendor, as one process sees it.
pub fn connectors(world: &Arc<World>, process: &Arc<Process>) -> Vec<Arc<dyn Connector>> {
    let connect = |vendor: &Vendor| {
        let (world, process) = (world.clone(), process.clone());
        Arc::new(Cloud { vendor: *vendor, info: info(vendor), world, process }) as Arc<dyn Connector>
    };
    VENDORS.iter().map(connect).collect()
}

fn info(vendor: &Vendor) -> ConnectorInfo {
    #[expect(clippy::expect_used, reason = "the names above are names")]
    let name = vendor.name.parse().expect("a name");
    ConnectorInfo {
        name,
        capabilities: Capabilities {
            pause: !vendor.costs,
            queue: !vendor.costs,
            costs: vendor.costs,
            offers: vendor.costs,
            bill: vendor.bills,
            billing: vendor.billing,
            ..Capabilities::default()
        },
        proven: "simulator".to_owned(),
        limits: Vec::new(),
        agent_lost_after_s: 90,
        settle_s: if vendor.costs { SETTLE_S } else { 2 },
        boot_deadline_s: 600,
    }
}

/// One vendor, seen by one process.
#[derive(Debug)]
struct Cloud {
    vendor: Vendor,
    info: ConnectorInfo,
    world: Arc<World>,
    process: Arc<Process>,
}

fn unreachable() -> ConnectorError {
    ConnectorError::refused(ErrorKind::Unreachable, "the provider cannot be reached")
}

fn unheard() -> ConnectorError {
    ConnectorError::unknown(ErrorKind::Unreachable, "the answer was lost")
}

/// What becomes of an order.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Accepted,
    Refused(ErrorKind),
    LostBefore,
    LostAfter,
    Doubled,
}

impl Cloud {
    /// Does something at the vendor that goes on whether or not the one who asked still lives.
    async fn effect<T: Send + 'static>(
        &self,
        wait: Duration,
        work: impl Fn(&World) -> T + Send + 'static,
    ) -> Result<T, ConnectorError> {
        let asked = async {
            let (world, twice) = (self.world.clone(), self.process.makes_twice());
            let done = tokio::spawn(async move {
                // waits: in simulated time, which jumps
                tokio::time::sleep(wait / 2).await;
                let made = work(&world);
                if twice {
                    work(&world);
                }
                // waits: in simulated time, which jumps
                tokio::time::sleep(wait / 2).await;
                made
            });
            done.await.map_err(|error| unheard().because(error))
        };
        self.process.outside(asked).await
    }

    fn fate(&self) -> (Fate, Duration) {
        self.world.with(|state| {
            let (faults, dice) = (state.faults.clone(), &mut state.dice);
            let takes = if self.vendor.costs { faults.order_takes_s * 1000 } else { 0 };
            let wait = dice.millis(1, faults.call_ms.max(1) + takes);
            let kinds = [
                ErrorKind::NoCapacity,
                ErrorKind::NoCapacity,
                ErrorKind::PriceChanged,
                ErrorKind::RateLimited,
                ErrorKind::Unreachable,
                ErrorKind::Unauthorized,
                ErrorKind::NoCredit,
            ];
            let fate = if dice.hits(faults.refused) {
                Fate::Refused(dice.one_of(&kinds).unwrap_or(ErrorKind::NoCapacity))
            } else if dice.hits(faults.lost_before) {
                Fate::LostBefore
            } else if dice.hits(faults.lost_after) {
                Fate::LostAfter
            } else if self.vendor.costs && dice.hits(faults.doubled) {
                Fate::Doubled
            } else {
                Fate::Accepted
            };
            (fate, wait)
        })
    }

    fn placed(&self, order: &ProvisionOrder) -> Result<Placement, ConnectorError> {
        let price = order.offer.as_ref().map(|offer| offer.price_per_hour);
        let full = self.vendor.slots > 0 && self.taken() >= self.vendor.slots;
        if full {
            return Err(ConnectorError::refused(ErrorKind::NoCapacity, "every slot is taken"));
        }
        let (vendor, name) = (self.vendor, order.name.clone());
        let id = self.world.with(|state| state.rent(&vendor, name, price.unwrap_or(Money::ZERO)));
        Ok(Placement { id, price_per_hour: price })
    }

    async fn listed(&self) -> Result<Vec<MachineObservation>, ConnectorError> {
        self.world.takes(2).await;
        if self.world.with(|state| state.dice.hits(state.faults.listing_fails)) {
            return Err(unreachable());
        }
        let listed = self.world.with(|state| {
            let now = Instant::now();
            let (short, costs) = (state.faults.listing_short, self.vendor.costs);
            let mut listed = Vec::new();
            for at in 0..state.machines.len() {
                let hides = costs && state.dice.hits(short);
                let machine = &mut state.machines[at];
                if machine.vendor != self.vendor.name || !machine.is_alive(now) || machine.shows_from > now {
                    continue;
                }
                machine.hidden_last = hides && !machine.hidden_last;
                if !machine.hidden_last {
                    listed.push(observed(machine, now, self.world.time.date()));
                }
            }
            listed
        });
        self.world.takes(2).await;
        Ok(listed)
    }

    fn taken(&self) -> usize {
        self.world.with(|state| state.taken(self.vendor.name))
    }
}

#[async_trait]
impl Connector for Cloud {
    fn info(&self) -> &ConnectorInfo {
        &self.info
    }

    async fn offers(&self, _: &Resources) -> Result<Vec<Offer>, ConnectorError> {
        self.process.outside(self.world.takes(1)).await;
        if self.world.with(|state| state.dice.hits(state.faults.offers_fail)) {
            return Err(unreachable());
        }
        Ok(self.vendor.offers.iter().filter_map(|(id, price)| offer(id, price)).collect())
    }

    async fn provision(&self, order: &ProvisionOrder) -> Result<Placement, ConnectorError> {
        let (fate, wait) = self.fate();
        let (asked, seen) = (order.clone(), self.world.clone());
        let number = self.process.number;
        self.world
            .note(|| format!("process {number} orders {} at {}: {fate:?}", order.name, self.vendor.name));
        let me = Cloud {
            vendor: self.vendor,
            info: self.info.clone(),
            world: self.world.clone(),
            process: self.process.clone(),
        };
        self.effect(wait, move |_| {
            let made = match fate {
                Fate::Refused(kind) => return Err(ConnectorError::refused(kind, "the provider refused")),
                Fate::LostBefore => return Err(unheard()),
                Fate::Accepted | Fate::LostAfter => me.placed(&asked),
                Fate::Doubled => me.placed(&asked).and_then(|_| me.placed(&asked)),
            };
            seen.note(|| format!("{} makes {made:?}", asked.name));
            if matches!(fate, Fate::LostAfter) { Err(unheard()) } else { made }
        })
        .await?
    }

    async fn list_owned(&self, _: &InstallationId) -> Result<Vec<MachineObservation>, ConnectorError> {
        self.process.outside(self.listed()).await
    }

    async fn observe(
        &self,
        order: &OrderName,
        id: &ProviderJobId,
    ) -> Result<MachineObservation, ConnectorError> {
        self.process.outside(self.world.takes(1)).await;
        let (now, date) = (Instant::now(), self.world.time.date());
        self.world.with(|state| match state.find(order, id) {
            Some(machine) => Ok(observed(machine, now, date)),
            None => Err(ConnectorError::refused(ErrorKind::NotFound, "there is no such machine")),
        })
    }

    async fn terminate(&self, order: &OrderName, id: &ProviderJobId) -> Result<Termination, ConnectorError> {
        let costs = self.vendor.costs;
        let (refused, denied, lost, ignored, wait, takes) = self.world.with(|state| {
            let (faults, dice) = (state.faults.clone(), &mut state.dice);
            let takes = if costs { dice.millis(0, faults.removal_takes_s * 1000) } else { Duration::ZERO };
            (
                dice.hits(faults.removal_refused),
                costs && dice.hits(faults.removal_denied),
                dice.hits(faults.removal_lost).then(|| dice.hits(500)),
                costs && dice.hits(faults.removal_ignored),
                dice.millis(1, faults.call_ms.max(1)),
                takes,
            )
        });
        self.world.with(|state| {
            if let Some(machine) = state.find(order, id) {
                machine.wanted_gone.get_or_insert(Instant::now());
            }
        });
        let number = self.process.number;
        self.world.note(|| format!("process {number} removes {order} {id}: refused {refused}, denied {denied}, lost {lost:?}, ignored {ignored}, takes {takes:?}"));
        let (order, id) = (order.clone(), id.clone());
        self.effect(wait, move |world| {
            if refused || lost == Some(false) {
                return Err(if refused { unreachable() } else { unheard() });
            }
            world.with(|state| {
                let Some(machine) = state.find(&order, &id) else { return };
                let (now, gone) = (Instant::now(), Instant::now() + takes);
                machine.asked_to_go.get_or_insert(now);
                if !ignored && !denied {
                    machine.gone = Some(machine.gone.map_or(gone, |before| before.min(gone)));
                }
            });
            if denied {
                return Err(ConnectorError::refused(ErrorKind::NotFound, "there is no such machine"));
            }
            if !costs {
                world.free.notify_one();
            }
            match (lost, costs) {
                (Some(_), _) => Err(unheard()),
                (None, true) => Ok(Termination::Underway),
                (None, false) => Ok(Termination::Gone("its processes are gone".to_owned())),
            }
        })
        .await?
    }

    async fn attach(
        &self,
        order: &OrderName,
        id: &ProviderJobId,
    ) -> Result<Box<dyn Workload>, ConnectorError> {
        self.process.outside(std::future::ready(())).await;
        let up = self.world.with(|state| state.find(order, id).is_some());
        if !up {
            return Err(ConnectorError::refused(ErrorKind::NotFound, "there is no such machine"));
        }
        Ok(Box::new(Agent::new(self.world.clone(), self.process.clone(), order.clone(), id.clone())))
    }

    async fn forget(&self, job: &JobId) -> Result<(), ConnectorError> {
        let forgotten = async {
            if self.vendor.name == LOCAL {
                self.world.forget(job);
            }
        };
        self.process.outside(forgotten).await;
        Ok(())
    }

    async fn bill(&self, order: &OrderName, id: &ProviderJobId) -> Result<Option<Money>, ConnectorError> {
        self.process.outside(self.world.takes(1)).await;
        let (lag, now) =
            (Duration::from_secs(self.world.with(|state| state.faults.books_lag_s)), Instant::now());
        self.world.with(|state| {
            let unknown = || ConnectorError::refused(ErrorKind::NotFound, "there is no such machine");
            let machine = state.find(order, id).ok_or_else(unknown)?;
            let shown = now.checked_sub(lag).unwrap_or(machine.born).max(machine.born);
            Ok(Some(machine.price.per_hour_for(self.vendor.billed_s(machine, shown))))
        })
    }

    fn vacancy(&self, _: &Resources) -> Vacancy {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let taken = self.taken();
        let free = self.vendor.slots == 0 || taken < self.vendor.slots;
        Vacancy { free, taken: number(taken), slots: number(self.vendor.slots) }
    }

    async fn capacity_bell(&self) {
        if self.vendor.slots == 0 {
            std::future::pending::<()>().await;
        }
        self.world.free.notified().await;
    }
}

fn offer(id: &str, price: &str) -> Option<Offer> {
    Some(Offer {
        id: id.to_owned(),
        gpu: "RTX4090".to_owned(),
        gpu_memory_gb: 24,
        gpu_count: 1,
        price_per_hour: price.parse().ok()?,
        traffic_per_gb: Money::ZERO,
        region: "EU".to_owned(),
        spot: false,
        stock: Stock::High,
        arch: Arch::X86_64,
        disk_gb_max: None,
    })
}

fn observed(machine: &Machine, now: Instant, at: trainyard_domain::Timestamp) -> MachineObservation {
    let phase = match machine.up_from {
        _ if !machine.is_alive(now) => MachinePhase::Gone,
        Some(up) if up <= now => MachinePhase::Up,
        Some(_) | None => MachinePhase::Booting,
    };
    MachineObservation {
        order: machine.order.clone(),
        id: machine.id.clone(),
        phase,
        price_per_hour: Some(machine.price),
        note: None,
        at,
    }
}
