//! virtio-iommu over MMIO, and its model.

use ioward_conformance::{
    Bench, ColdOverRunning, Facts, FaultFacts, NotUp, Registers, TakeOver, Watched, Why,
};
use ioward_core::driver::Driver;
use ioward_drivers::virtio::{BringUpError, Config, VirtioIommu, VirtioMmio};
use ioward_models::{
    IommuModel, Memory, SimPlatform, Visibility,
    virtio::{Order, VirtioIommuConfig, VirtioIommuModel},
};
use ioward_types::{IommuId, Mmio, Nanos, PhysAddr};
use std::sync::Arc;

pub struct Bed {
    memory: Memory,
    platform: SimPlatform,
    model: Arc<VirtioIommuModel>,
    identity: bool,
}

impl Bed {
    pub fn new(config: VirtioIommuConfig) -> Self {
        let memory = super::memory();
        memory.set_incoherent(!config.coherent);
        memory.set_visibility(Visibility::Held);
        let identity = config.features & ioward_spec::virtio::features::BYPASS_CONFIG != 0;
        let model = Arc::new(VirtioIommuModel::new(config, memory.clone()));
        let platform = SimPlatform::new(memory.clone());
        Self { memory, platform, model, identity }
    }

    /// Requests that wait together are carried out in any order, and answered late.
    pub fn in_any_order(config: VirtioIommuConfig) -> Self {
        let bed = Self::new(config);
        bed.model.set_order(Order::Random(7));
        bed.model.set_latency(5);
        bed
    }
}

impl Bench for Bed {
    type Platform = SimPlatform;

    fn platform(&self) -> &SimPlatform {
        &self.platform
    }

    fn model(&self) -> Arc<dyn IommuModel> {
        self.model.clone()
    }

    fn facts(&self) -> Facts {
        Facts {
            iommu: IommuId(1),
            sources: [0x18, 0x19, 0x3005],
            outside: None,
            pasid_bits: 0,
            ats: false,
            coherent: true,
            plan_for_pasids: 0,
            plain: None,
            with_pasids: None,
            stores_are_seen: false,
            flush_after_map: false,
            identity: self.identity,
            foreign: false,
            interrupts: false,
            cold_over_running: ColdOverRunning::Aborts,
            adopts: false,
            // 5.13.6.9: a report that finds no buffer is dropped, and nobody is told.
            faults: FaultFacts { lost: false, permission: false, ..FaultFacts::default() },
        }
    }

    fn bring_up(
        &self,
        registers: Registers,
        platform: &Watched<SimPlatform>,
        _: TakeOver<'_>,
    ) -> Result<Arc<dyn Driver>, NotUp> {
        if registers.read32(0) == u32::MAX {
            return Err(NotUp::new(Why::Absent, &"the transport reads all ones"));
        }
        let transport = VirtioMmio::new(registers).map_err(|error| NotUp::new(Why::Unfit, &error))?;
        let config = Config {
            coherent: self.model.config().coherent,
            patience: Nanos(10_000_000),
            ..Config::default()
        };
        match VirtioIommu::bring_up(IommuId(1), transport, config, platform) {
            Ok(driver) => Ok(Arc::new(driver)),
            Err(error) => {
                let why = match error {
                    BringUpError::Absent => Why::Absent,
                    BringUpError::NoMemory(_) => Why::NoMemory,
                    BringUpError::Hung(_) => Why::Hung,
                    _ => Why::Unfit,
                };
                Err(NotUp::new(why, &error))
            }
        }
    }

    fn hang(&self, on: bool) {
        self.model.set_hung(on);
    }

    /// It caches nothing.
    fn evict(&self) {}

    fn audit(&self) {
        self.model.audit();
    }

    fn violations(&self) -> Vec<String> {
        super::violations(&self.memory)
    }

    fn peek(&self, at: PhysAddr) -> Option<u64> {
        self.memory.read64("the next owner", at, true).ok()
    }
}
