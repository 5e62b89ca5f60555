//! VT-d and its model.

use ioward_conformance::{
    Bench, ColdOverRunning, Facts, FaultFacts, NotUp, Registers, TakeOver, Watched, Why,
};
use ioward_core::driver::Driver;
use ioward_drivers::vtd::{BringUp, BringUpError, Config, Interrupts, Mode, VtD};
use ioward_models::{
    IommuModel, Memory, SimPlatform, Visibility,
    vtd::{VtdConfig, VtdModel},
};
use ioward_types::{Format, IommuId, Nanos, PhysAddr, describe};
use std::sync::Arc;

pub struct Bed {
    memory: Memory,
    platform: SimPlatform,
    model: Arc<VtdModel>,
    mode: Mode,
    plan_for_pasids: u8,
}

impl Bed {
    /// In the best mode that there is.
    pub fn new(config: VtdConfig) -> Self {
        let memory = super::memory();
        memory.set_incoherent(!config.coherent || config.scalable && !config.scalable_coherent);
        memory.set_visibility(Visibility::Held);
        let model = Arc::new(VtdModel::new(config, memory.clone()));
        model.poison();
        let platform = SimPlatform::new(memory.clone());
        Self { memory, platform, model, mode: Mode::Best, plan_for_pasids: 0 }
    }

    /// In legacy mode, whatever there is.
    pub fn legacy(config: VtdConfig) -> Self {
        Self { mode: Mode::Legacy, ..Self::new(config) }
    }

    /// With first-stage tables where second-stage tables would do.
    pub fn first(config: VtdConfig) -> Self {
        Self { plan_for_pasids: 1, ..Self::new(config) }
    }

    fn scalable(&self) -> bool {
        let config = self.model.config();
        self.mode == Mode::Best && config.scalable && (config.first_stage || config.second_stage)
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
        let config = self.model.config();
        let scalable = self.scalable();
        let second = !scalable || config.second_stage && self.plan_for_pasids == 0;
        let pasid_bits = if scalable && config.pasid { config.pasid_bits } else { 0 };
        let first = if config.first_stage { Format::VtdFirst } else { Format::VtdSecond };
        Facts {
            iommu: IommuId(1),
            sources: [0x18, 0x19, 0x3e0],
            outside: Some(0x1_0000),
            pasid_bits,
            ats: config.device_tlb,
            coherent: if scalable { config.coherent && config.scalable_coherent } else { config.coherent },
            plan_for_pasids: self.plan_for_pasids,
            plain: Some(if second { Format::VtdSecond } else { Format::VtdFirst }),
            with_pasids: (pasid_bits > 0).then_some(first),
            stores_are_seen: !config.write_buffer,
            flush_after_map: config.caching_mode || config.write_buffer,
            identity: scalable || config.pass_through,
            foreign: true,
            interrupts: config.interrupt_remapping && config.queued,
            cold_over_running: ColdOverRunning::Refused,
            adopts: true,
            // 9.8: a second-stage entry without any right is one that is not present.
            faults: FaultFacts { permission: !second, ..FaultFacts::default() },
        }
    }

    fn bring_up(
        &self,
        registers: Registers,
        platform: &Watched<SimPlatform>,
        how: TakeOver<'_>,
    ) -> Result<Arc<dyn Driver>, NotUp> {
        let has = self.model.config();
        let described =
            describe::VtD { host_bits: has.host_bits, interrupt_remapping: true, ..describe::VtD::default() };
        let config = Config {
            mode: self.mode,
            patience: Nanos(10_000_000),
            interrupts: Interrupts::Remap { entries_log2: 8, x2apic: has.x2apic },
            ..Config::new(described)
        };
        let state = match how {
            TakeOver::Cold => BringUp::Cold,
            TakeOver::Abort => BringUp::Abort,
            TakeOver::Adopt(memory) => BringUp::Adopt(memory),
        };
        match VtD::bring_up(IommuId(1), registers, config, platform, state) {
            Ok(driver) => Ok(Arc::new(driver)),
            Err(error) => {
                let why = match error {
                    BringUpError::Absent => Why::Absent,
                    BringUpError::Translating { .. } => Why::Translating,
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

    fn evict(&self) {
        self.model.evict();
    }

    fn audit(&self) {
        self.model.audit(true);
    }

    fn violations(&self) -> Vec<String> {
        super::violations(&self.memory)
    }

    fn peek(&self, at: PhysAddr) -> Option<u64> {
        self.memory.read64("the next owner", at, true).ok()
    }
}
