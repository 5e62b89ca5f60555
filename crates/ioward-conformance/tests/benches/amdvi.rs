//! AMD-Vi and its model.

use ioward_conformance::{
    Bench, ColdOverRunning, Facts, FaultFacts, NotUp, Registers, TakeOver, Watched, Why,
};
use ioward_core::driver::{Driver, FaultCause};
use ioward_drivers::amdvi::{AmdVi, BringUp, BringUpError, Config};
use ioward_models::{
    IommuModel, Memory, SimPlatform, Visibility,
    amdvi::{AmdViConfig, AmdViModel},
};
use ioward_types::{Format, IommuId, Nanos, PhysAddr, describe};
use std::sync::Arc;

pub struct Bed {
    memory: Memory,
    platform: SimPlatform,
    model: Arc<AmdViModel>,
    plan_for_pasids: u8,
}

impl Bed {
    pub fn new(config: AmdViConfig) -> Self {
        let memory = super::memory();
        memory.set_incoherent(!config.coherent);
        memory.set_visibility(Visibility::Held);
        let model = Arc::new(AmdViModel::new(config, memory.clone()));
        model.poison();
        Self { platform: SimPlatform::new(memory.clone()), memory, model, plan_for_pasids: 0 }
    }

    /// With v2 tables where v1 tables would do.
    pub fn v2(config: AmdViConfig) -> Self {
        Self { plan_for_pasids: 1, ..Self::new(config) }
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
        let guest = config.guest_translation && config.guest_io;
        Facts {
            iommu: IommuId(1),
            sources: [0x18, 0x19, 0x80],
            outside: Some(0x100),
            pasid_bits: if guest { config.pasid_bits } else { 0 },
            ats: config.iotlb,
            coherent: config.coherent,
            plan_for_pasids: self.plan_for_pasids,
            plain: Some(if self.plan_for_pasids == 0 { Format::AmdV1 } else { Format::AmdV2 }),
            with_pasids: guest.then_some(Format::AmdV2),
            stores_are_seen: true,
            flush_after_map: config.np_cache,
            identity: true,
            foreign: true,
            interrupts: true,
            cold_over_running: ColdOverRunning::Refused,
            adopts: true,
            // 48882, 2.2.6: guest CR3 entries and those of guest tables are not told apart.
            faults: FaultFacts { pasid: Some(FaultCause::NotMapped), ..FaultFacts::default() },
        }
    }

    fn bring_up(
        &self,
        registers: Registers,
        platform: &Watched<SimPlatform>,
        how: TakeOver<'_>,
    ) -> Result<Arc<dyn Driver>, NotUp> {
        let has = self.model.config();
        let described = describe::AmdVi { efr: Some(has.efr()), ..describe::AmdVi::default() };
        let mut config = Config::new(described, 0xff);
        config.capability_header = Some(has.capability()[0]);
        config.coherent = has.coherent;
        config.interrupts = true;
        config.x2apic = has.x2apic;
        config.patience = Nanos(10_000_000);
        let state = match how {
            TakeOver::Cold => BringUp::Cold,
            TakeOver::Abort => BringUp::Abort,
            TakeOver::Adopt(memory) => BringUp::Adopt(memory),
        };
        match AmdVi::bring_up(IommuId(1), registers, config, platform, state) {
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
