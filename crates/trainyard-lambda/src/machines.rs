//! The way to each machine: one tunnel an order, kept while the machine is listed.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use trainyard_connector::ssh::{HostKeyRule, Tunnel, TunnelConfig};
use trainyard_connector::{Arch, ConnectorError};
use trainyard_domain::{InstallationId, OrderName};

use crate::keys::Keys;
use crate::map;
use crate::user_data::USER;
use crate::wire::Instance;

/// A connection by SSH that is not there after this will not come. Shorter than the greeting of an agent waits.
const CONNECT_WITHIN: Duration = Duration::from_secs(8);
/// A machine that no listing shows for so long is forgotten. Long, since a listing may lag while a training is followed
/// through the tunnel, and short enough that ways to machines that are gone do not gather.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(900);

/// The machines that are known.
#[derive(Debug)]
pub(crate) struct Machines {
    keys: Keys,
    ssh_port: u16,
    strict: bool,
    settle: Duration,
    known: Mutex<HashMap<OrderName, Known>>,
    listed: Mutex<Option<Instant>>,
}

#[derive(Debug, Clone)]
struct Known {
    tunnel: Tunnel,
    arch: Arch,
    since: Instant,
    shown: Instant,
}

/// How one machine is spoken to.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    pub(crate) tunnel: Tunnel,
    pub(crate) arch: Arch,
}

impl Machines {
    pub(crate) fn new(keys: Keys, ssh_port: u16, strict: bool, settle: Duration) -> Machines {
        Machines { keys, ssh_port, strict, settle, known: Mutex::default(), listed: Mutex::default() }
    }

    /// The way to an order's machine, whether or not its address is known yet.
    pub(crate) fn way(&self, order: &OrderName) -> Result<Way, ConnectorError> {
        let host = self.keys.host(order)?;
        let mut known = self.known();
        let machine = known.entry(order.clone()).or_insert_with(|| {
            let rule =
                HostKeyRule { given: Some(host.public().to_owned()), strict: self.strict, accepted: None };
            let config = TunnelConfig {
                user: USER.to_owned(),
                key: self.keys.user().clone(),
                host: rule,
                connect_within: CONNECT_WITHIN,
            };
            let now = Instant::now();
            Known { tunnel: Tunnel::new(None, config), arch: Arch::X86_64, since: now, shown: now }
        });
        Ok(Way { tunnel: machine.tunnel.clone(), arch: machine.arch })
    }

    /// The way to a machine that was spoken of before; none where it was not.
    pub(crate) fn known_way(&self, order: &OrderName) -> Option<Way> {
        let known = self.known();
        let machine = known.get(order)?;
        Some(Way { tunnel: machine.tunnel.clone(), arch: machine.arch })
    }

    /// A machine of that processor was ordered.
    pub(crate) fn ordered(&self, order: &OrderName, arch: Arch) -> Result<(), ConnectorError> {
        self.way(order)?;
        if let Some(machine) = self.known().get_mut(order) {
            machine.arch = arch;
        }
        Ok(())
    }

    /// Takes over what a reading tells of one machine.
    pub(crate) fn seen(&self, instance: &Instance, owner: &InstallationId) -> Result<(), ConnectorError> {
        let Some(order) = map::order_of(instance, owner) else { return Ok(()) };
        self.way(&order)?;
        let mut known = self.known();
        let Some(machine) = known.get_mut(&order) else { return Ok(()) };
        machine.shown = Instant::now();
        // An address that is left out once is not forgotten: it does not change while a machine lives.
        if let Some(ip) = map::address(instance) {
            machine.tunnel.set_address(Some(self.at(ip)));
        }
        if let Some(arch) = instance.instance_type.as_ref().and_then(map::arch) {
            machine.arch = arch;
        }
        Ok(())
    }

    /// A whole listing was good, and [`Machines::seen`] took it over: what none has shown for long is forgotten.
    pub(crate) fn listed(&self) {
        self.known().retain(|_, machine| machine.shown.elapsed() < FORGOTTEN_AFTER);
        *self.listed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether the last good listing is younger than that, and younger than what is known of the machine.
    pub(crate) fn was_listed_within(&self, order: &OrderName, time: Duration) -> bool {
        let listed = *self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        let since = self.known().get(order).map(|machine| machine.since);
        listed.is_some_and(|then| then.elapsed() < time && since.is_none_or(|since| since < then))
    }

    /// Whether a machine is younger, to this process, than a listing may lag.
    pub(crate) fn is_new(&self, order: &OrderName) -> bool {
        self.known().get(order).is_some_and(|machine| machine.since.elapsed() < self.settle)
    }

    /// A machine is gone.
    pub(crate) fn forget(&self, order: &OrderName) {
        self.known().remove(order);
    }

    fn at(&self, ip: IpAddr) -> SocketAddr {
        SocketAddr::new(ip, self.ssh_port)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<OrderName, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
