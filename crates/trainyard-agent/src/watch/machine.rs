//! The machine's own metrics: `system/cpu` and `system/gpu_util` (percent), `system/ram_gb`, `system/gpu_memory_gb` and
//! `system/disk_free_gb` (GiB), `system/gpu_temp_c`.
//!
//! Promises: nothing before [`FIRST_AFTER`], so that a short job pays nothing; NVIDIA's library is loaded at run time,
//! once, off the async threads, and where it is missing there are no GPU metrics. With several GPUs the plain names are
//! the mean of the utilisations and the greatest memory and temperature; each has its own with its index at the end
//! (`system/gpu_util_0`). In a container with a memory limit, the memory is the container's.

use std::path::PathBuf;
use std::time::Duration;

use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use sysinfo::{MINIMUM_CPU_UPDATE_INTERVAL, System};
use tokio::sync::mpsc;
use trainyard_domain::MetricPoint;

use super::json;
use super::run::Input;
use super::source::Told;

/// When the first sample is taken.
const FIRST_AFTER: Duration = Duration::from_secs(2);
const GIB: f64 = (1_u64 << 30) as f64;
/// Most GPUs told of: more names than that would crowd out others.
const GPUS_MAX: u32 = 16;

/// What is sampled.
#[derive(Debug, Clone)]
pub(super) struct MachineConfig {
    /// Where the free disk space is measured.
    pub(super) disk: PathBuf,
    /// The GPUs of the training, by index; none: all.
    pub(super) gpus: Option<Vec<u32>>,
    /// How often.
    pub(super) every: Duration,
}

/// Samples until nobody listens any more or it is dropped.
pub(super) async fn run(config: MachineConfig, inputs: mpsc::Sender<Input>) {
    tokio::time::sleep(FIRST_AFTER.saturating_sub(MINIMUM_CPU_UPDATE_INTERVAL)).await;
    let every = config.every;
    // The processor's load is a difference of two readings.
    let Ok(mut machine) = tokio::task::spawn_blocking(move || Machine::begin(config)).await else { return };
    tokio::time::sleep(MINIMUM_CPU_UPDATE_INTERVAL).await;
    loop {
        let sampled = tokio::task::spawn_blocking(move || {
            let point = machine.sample();
            (machine, point)
        });
        let Ok((sampled, point)) = sampled.await else { return };
        machine = sampled;
        if inputs.send(Input::Told(Told::Machine(point))).await.is_err() {
            return;
        }
        tokio::time::sleep(every).await;
    }
}

struct Machine {
    config: MachineConfig,
    system: Option<System>,
    nvml: Option<Nvml>,
}

#[derive(Default)]
struct Gpu {
    util: Option<f64>,
    memory_gb: Option<f64>,
    temp_c: Option<f64>,
}

impl Machine {
    fn begin(config: MachineConfig) -> Self {
        let mut system = System::new().ok();
        if let Some(system) = &mut system {
            system.refresh_cpu_usage();
        }
        Machine { config, system, nvml: Nvml::init().ok() }
    }

    fn sample(&mut self) -> MetricPoint {
        let mut numbers = Vec::new();
        if let Some(system) = &mut self.system {
            system.refresh_cpu_usage();
            system.refresh_memory();
            numbers.push(("system/cpu".to_owned(), f64::from(system.global_cpu_usage())));
            numbers.push(("system/ram_gb".to_owned(), memory_used(system) as f64 / GIB));
        }
        if let Some(free) = self.disk_free() {
            numbers.push(("system/disk_free_gb".to_owned(), free / GIB));
        }
        let gpus = self.gpus();
        numbers.extend(gpu_numbers(&gpus));
        json::point_of(numbers)
    }

    #[cfg(unix)]
    fn disk_free(&self) -> Option<f64> {
        let disk = nix::sys::statvfs::statvfs(&self.config.disk).ok()?;
        Some(disk.blocks_available() as f64 * disk.fragment_size() as f64)
    }

    #[cfg(not(unix))]
    fn disk_free(&self) -> Option<f64> {
        let disks = sysinfo::Disks::new_with_refreshed_list();
        let on = disks.iter().filter(|disk| self.config.disk.starts_with(disk.mount_point()));
        on.max_by_key(|disk| disk.mount_point().as_os_str().len()).map(|disk| disk.available_space() as f64)
    }

    fn gpus(&self) -> Vec<(u32, Gpu)> {
        let Some(nvml) = &self.nvml else { return Vec::new() };
        let count = nvml.device_count().unwrap_or(0).min(GPUS_MAX);
        let wanted = |index: &u32| self.config.gpus.as_ref().is_none_or(|gpus| gpus.contains(index));
        (0..count).filter(wanted).map(|index| (index, gpu(nvml, index))).collect()
    }
}

fn memory_used(system: &System) -> u64 {
    match system.cgroup_limits() {
        Some(limits) if limits.total_memory < system.total_memory() => {
            limits.total_memory.saturating_sub(limits.free_memory)
        }
        Some(_) | None => system.used_memory(),
    }
}

fn gpu(nvml: &Nvml, index: u32) -> Gpu {
    let Ok(device) = nvml.device_by_index(index) else { return Gpu::default() };
    Gpu {
        util: device.utilization_rates().ok().map(|rates| f64::from(rates.gpu)),
        memory_gb: device.memory_info().ok().map(|memory| memory.used as f64 / GIB),
        temp_c: device.temperature(TemperatureSensor::Gpu).ok().map(f64::from),
    }
}

fn gpu_numbers(gpus: &[(u32, Gpu)]) -> Vec<(String, f64)> {
    let of = |value: fn(&Gpu) -> Option<f64>| -> Vec<(u32, f64)> {
        gpus.iter().filter_map(|(index, gpu)| Some((*index, value(gpu)?))).collect()
    };
    let mean =
        |values: &[(u32, f64)]| values.iter().map(|(_, value)| value).sum::<f64>() / values.len() as f64;
    let greatest = |values: &[(u32, f64)]| values.iter().map(|(_, value)| *value).fold(f64::MIN, f64::max);
    let utils = of(|gpu| gpu.util);
    let memories = of(|gpu| gpu.memory_gb);
    let temps = of(|gpu| gpu.temp_c);
    let mut numbers = Vec::new();
    for (name, values, whole) in [
        ("system/gpu_util", &utils, mean(&utils)),
        ("system/gpu_memory_gb", &memories, greatest(&memories)),
        ("system/gpu_temp_c", &temps, greatest(&temps)),
    ] {
        if !values.is_empty() {
            numbers.push((name.to_owned(), whole));
        }
        if values.len() > 1 {
            numbers.extend(values.iter().map(|(index, value)| (format!("{name}_{index}"), *value)));
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_gpu_has_plain_names_and_several_have_both() {
        let gpu = |util: f64| Gpu { util: Some(util), memory_gb: Some(util / 10.0), temp_c: None };
        let shown = |gpus: &[(u32, Gpu)]| -> Vec<String> {
            gpu_numbers(gpus).into_iter().map(|(name, value)| format!("{name}={value}")).collect()
        };
        assert_eq!(shown(&[]), Vec::<String>::new());
        assert_eq!(shown(&[(3, gpu(50.0))]), ["system/gpu_util=50", "system/gpu_memory_gb=5"]);
        assert_eq!(
            shown(&[(0, gpu(50.0)), (2, gpu(100.0))]),
            [
                "system/gpu_util=75",
                "system/gpu_util_0=50",
                "system/gpu_util_2=100",
                "system/gpu_memory_gb=10",
                "system/gpu_memory_gb_0=5",
                "system/gpu_memory_gb_2=10"
            ]
        );
    }

    #[test]
    fn this_machine_has_a_processor_memory_and_a_disk() {
        let dir = tempfile::tempdir().unwrap();
        let config = MachineConfig { disk: dir.path().to_owned(), gpus: None, every: Duration::from_secs(1) };
        let point = Machine::begin(config).sample();
        assert!(point.is_system());
        assert!((0.0..=100.0).contains(&point.get("system/cpu").unwrap()));
        assert!(point.get("system/ram_gb").unwrap() > 0.0);
        assert!(point.get("system/disk_free_gb").unwrap() > 0.0);
    }
}
