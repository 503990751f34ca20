//! What each machine costs, as its vendor bills: the invoice is the judge of every test about money.
//!
//! | vendor | GPU | disk | traffic | unit |
//! | --- | --- | --- | --- | --- |
//! | RunPod | from the placement, crash loops and image pulls included; not while stopped | the same | free | second |
//! | Lambda | from the first time it is healthy (or from the launch, by option) until the removal is asked | – | free | minute |
//! | Vast.ai | while it runs, restart loops included; not while it loads | from the order until the removal, stopped or not | per byte, both ways | second |

use std::time::Duration;

use rust_decimal::Decimal;
use serde::Serialize;
use trainyard_domain::{Money, Timestamp};

use crate::vendor::Vendor;
use crate::world::Phase;

/// Hours in a month, as Vast.ai counts them for disk.
const HOURS_A_MONTH: u32 = 730;
/// Bytes in a GB of traffic.
const GB: u64 = 1_000_000_000;

/// The clockwork of one machine's bill.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    vendor: Vendor,
    from_healthy: bool,
    gpu_per_hour: Money,
    disk_per_hour: Money,
    traffic_per_gb: Money,
    gpu: Stretches,
    disk: Stretches,
    bytes: u64,
    healthy: bool,
}

/// When something was on.
#[derive(Debug, Clone, Default)]
struct Stretches {
    done: Duration,
    since: Option<Timestamp>,
}

/// What a machine is bought at. All for the whole machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rates {
    pub(crate) gpu_per_hour: Money,
    pub(crate) disk_per_gb_month: Money,
    pub(crate) disk_gb: u32,
    pub(crate) traffic_per_gb: Money,
}

/// What one machine has cost so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Invoice {
    /// Seconds of GPU billed, in the vendor's units.
    pub gpu_seconds: u64,
    /// What they cost.
    pub gpu: Money,
    /// Seconds of disk billed.
    pub disk_seconds: u64,
    /// What the disk cost.
    pub disk: Money,
    /// Bytes in and out.
    pub traffic_bytes: u64,
    /// What they cost.
    pub traffic: Money,
    /// All together.
    pub total: Money,
}

impl Meter {
    pub(crate) fn new(vendor: Vendor, rates: Rates, from_healthy: bool) -> Meter {
        let month = rates.disk_per_gb_month.decimal() * Decimal::from(rates.disk_gb);
        Meter {
            vendor,
            from_healthy,
            gpu_per_hour: rates.gpu_per_hour,
            disk_per_hour: money(month / Decimal::from(HOURS_A_MONTH)),
            traffic_per_gb: rates.traffic_per_gb,
            gpu: Stretches::default(),
            disk: Stretches::default(),
            bytes: 0,
            healthy: false,
        }
    }

    /// What the disk costs per hour.
    pub(crate) fn disk_per_hour(&self) -> Money {
        self.disk_per_hour
    }

    /// The machine entered a phase.
    pub(crate) fn phase(&mut self, phase: &Phase, reachable: bool, now: Timestamp) {
        self.healthy |= matches!(phase, Phase::Running);
        let (gpu, disk) = self.on(phase, reachable);
        self.gpu.switch(gpu, now);
        self.disk.switch(disk, now);
    }

    pub(crate) fn traffic(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn on(&self, phase: &Phase, reachable: bool) -> (bool, bool) {
        let over = matches!(phase, Phase::Terminating | Phase::Gone);
        let stopped = matches!(phase, Phase::Stopped);
        match self.vendor {
            Vendor::Runpod => (!over && !stopped && reachable, !over && !stopped && reachable),
            Vendor::Lambda => (!over && !stopped && (self.healthy || !self.from_healthy), false),
            Vendor::Vastai => {
                let runs = matches!(phase, Phase::Running | Phase::Exited);
                (runs && reachable, !over && reachable)
            }
        }
    }

    /// The bill so far.
    pub(crate) fn invoice(&self, now: Timestamp) -> Invoice {
        let unit = match self.vendor {
            Vendor::Runpod | Vendor::Vastai => 1,
            Vendor::Lambda => 60,
        };
        let (gpu_seconds, disk_seconds) = (self.gpu.seconds(now, unit), self.disk.seconds(now, unit));
        let gpu = self.gpu_per_hour.per_hour_for(gpu_seconds);
        let disk = self.disk_per_hour.per_hour_for(disk_seconds);
        let traffic = money(self.traffic_per_gb.decimal() * Decimal::from(self.bytes) / Decimal::from(GB));
        Invoice {
            gpu_seconds,
            gpu,
            disk_seconds,
            disk,
            traffic_bytes: self.bytes,
            traffic,
            total: gpu.plus(disk).plus(traffic),
        }
    }
}

impl Stretches {
    fn switch(&mut self, on: bool, now: Timestamp) {
        match (self.since, on) {
            (None, true) => self.since = Some(now),
            (Some(_), false) => {
                self.done = self.lasted(now);
                self.since = None;
            }
            (None, false) | (Some(_), true) => {}
        }
    }

    fn lasted(&self, now: Timestamp) -> Duration {
        let open = self.since.map(|since| (now - since).to_std().unwrap_or_default());
        self.done + open.unwrap_or_default()
    }

    /// Begun units count whole.
    fn seconds(&self, now: Timestamp, unit: u64) -> u64 {
        let millis = u64::try_from(self.lasted(now).as_millis()).unwrap_or(u64::MAX);
        millis.div_ceil(unit * 1000) * unit
    }
}

/// An amount that came out of a calculation; twelve places are far below what anybody is billed.
pub(crate) fn money(amount: Decimal) -> Money {
    amount.round_dp(12).to_string().parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dollars(text: &str) -> Money {
        text.parse().unwrap()
    }

    fn at(seconds: f64) -> Timestamp {
        Timestamp::UNIX_EPOCH + Duration::from_secs_f64(seconds)
    }

    /// One dollar an hour, 73 GB at ten cents a month (a cent an hour), five cents a GB of traffic.
    fn bill(vendor: Vendor, from_healthy: bool, story: &[(f64, Phase)], now: f64) -> Invoice {
        let rates = Rates {
            gpu_per_hour: dollars("1"),
            disk_per_gb_month: dollars("0.1"),
            disk_gb: 73,
            traffic_per_gb: dollars("0.05"),
        };
        let mut meter = Meter::new(vendor, rates, from_healthy);
        for (when, phase) in story {
            meter.phase(phase, true, at(*when));
        }
        meter.traffic(2 * GB);
        meter.invoice(at(now))
    }

    const LIFE: &[(f64, Phase)] = &[
        (0.0, Phase::Placed),
        (10.0, Phase::Pulling),
        (70.0, Phase::Running),
        (100.0, Phase::Exited),
        (110.0, Phase::Running),
        (190.0, Phase::Stopped),
        (1000.0, Phase::Terminating),
        (1010.0, Phase::Gone),
    ];

    #[test]
    fn runpod_bills_from_the_placement_and_not_while_stopped() {
        let bill = bill(Vendor::Runpod, true, LIFE, 5000.0);
        assert_eq!((bill.gpu_seconds, bill.disk_seconds), (190, 190));
        assert_eq!(bill.gpu, dollars("1").per_hour_for(190));
        assert_eq!(bill.disk, dollars("0.01").per_hour_for(190));
    }

    #[test]
    fn lambda_bills_minutes_from_the_first_health() {
        let story = [(0.0, Phase::Placed), (70.0, Phase::Running), (191.0, Phase::Terminating)];
        assert_eq!(bill(Vendor::Lambda, true, &story, 5000.0).gpu_seconds, 180);
        assert_eq!(bill(Vendor::Lambda, false, &story, 5000.0).gpu_seconds, 240);
        let never = [(0.0, Phase::Placed)];
        assert_eq!(bill(Vendor::Lambda, true, &never, 5000.0).gpu_seconds, 0);
        assert_eq!(bill(Vendor::Lambda, true, &story, 5000.0).disk, Money::ZERO);
    }

    #[test]
    fn vastai_bills_disk_until_the_end_and_traffic() {
        let bill = bill(Vendor::Vastai, true, LIFE, 5000.0);
        assert_eq!((bill.gpu_seconds, bill.disk_seconds), (120, 1000));
        assert_eq!(bill.traffic, dollars("0.1"));
        assert_eq!(bill.total, bill.gpu.plus(bill.disk).plus(dollars("0.1")));
    }

    #[test]
    fn a_begun_second_is_a_second_and_a_running_meter_shows_now() {
        let story = [(0.0, Phase::Placed)];
        assert_eq!(bill(Vendor::Runpod, true, &story, 0.5).gpu_seconds, 1);
        assert_eq!(bill(Vendor::Runpod, true, &story, 7.0).gpu_seconds, 7);
    }
}
