//! The GPUs of this machine, through NVIDIA's library, which is loaded when the program runs.

use nvml_wrapper::Nvml;

/// Memory of a card that may be in use without somebody computing on it: a desktop, a driver's own. In bytes.
const IDLE_BYTES_MAX: u64 = 1 << 30;

/// The cards, as the library numbers them (by PCI bus).
#[derive(Debug)]
pub(crate) struct Gpus {
    library: Option<Nvml>,
    count: u32,
}

impl Gpus {
    /// Loads the library. None there, or none that works: no cards.
    pub(crate) fn load(wanted: bool) -> Gpus {
        let library = if wanted { Nvml::init().ok() } else { None };
        let count = library.as_ref().and_then(|nvml| nvml.device_count().ok()).unwrap_or(0);
        Gpus { library: library.filter(|_| count > 0), count }
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Whether nobody computes on that card. A card that cannot be asked counts as taken.
    pub(crate) fn is_idle(&self, index: u32) -> bool {
        let Some(nvml) = &self.library else { return false };
        let Ok(device) = nvml.device_by_index(index) else { return false };
        let computed_on = device.running_compute_processes().map_or(true, |processes| !processes.is_empty());
        let filled = device.memory_info().map_or(true, |memory| memory.used > IDLE_BYTES_MAX);
        !computed_on && !filled
    }
}
