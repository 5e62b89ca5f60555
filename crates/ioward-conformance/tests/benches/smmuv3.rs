//! SMMUv3 and its model.

use ioward_conformance::{
    Bench, ColdOverRunning, Facts, FaultFacts, NotUp, Registers, TakeOver, Watched, Why,
};
use ioward_core::driver::Driver;
use ioward_drivers::smmuv3::{BringUp, BringUpError, Config, SmmuV3};
use ioward_models::{
    IommuModel, Memory, SimPlatform, Visibility,
    smmuv3::{Features, Smmu},
};
use ioward_types::{Format, IommuId, Nanos, PhysAddr};
use std::sync::Arc;

pub struct Bed {
    memory: Memory,
    platform: SimPlatform,
    model: Arc<Smmu>,
    plan_for_pasids: u8,
}

impl Bed {
    pub fn new(features: Features) -> Self {
        let memory = super::memory();
        memory.set_incoherent(!features.coherent);
        memory.set_visibility(Visibility::Held);
        let model = Smmu::new("smmu", features, memory.clone());
        model.poison();
        Self { platform: SimPlatform::new(memory.clone()), memory, model, plan_for_pasids: 0 }
    }

    /// With stage 1 tables where stage 2 tables would do.
    pub fn stage1(features: Features) -> Self {
        Self { plan_for_pasids: 1, ..Self::new(features) }
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
        let features = self.model.features();
        let small = features.sid_bits < 16;
        let plain =
            if features.stage2 && self.plan_for_pasids == 0 { Format::ArmStage2 } else { Format::ArmStage1 };
        Facts {
            iommu: IommuId(3),
            sources: if small { [0x18, 0x19, 0xc0] } else { [0x18, 0x19, 0x3005] },
            outside: Some(1 << features.sid_bits),
            pasid_bits: if features.stage1 { features.ssid_bits } else { 0 },
            ats: features.ats,
            coherent: features.coherent,
            plan_for_pasids: self.plan_for_pasids,
            plain: Some(plain),
            with_pasids: (features.stage1 && features.ssid_bits > 0).then_some(Format::ArmStage1),
            stores_are_seen: true,
            flush_after_map: false,
            identity: true,
            foreign: true,
            interrupts: false,
            cold_over_running: ColdOverRunning::Refused,
            adopts: true,
            // 5.2, STE.Config: an entry that aborts leaves no record. A source that nobody claimed has an entry in a linear
            // table, and none in a table of two levels as long as it has no neighbour.
            faults: FaultFacts {
                blocked: false,
                unclaimed: features.two_level_streams,
                ..FaultFacts::default()
            },
        }
    }

    fn bring_up(
        &self,
        registers: Registers,
        platform: &Watched<SimPlatform>,
        how: TakeOver<'_>,
    ) -> Result<Arc<dyn Driver>, NotUp> {
        let config = Config { bound: Nanos(10_000_000), ..Config::default() };
        let state = match how {
            TakeOver::Cold => BringUp::Cold,
            TakeOver::Abort => BringUp::Abort,
            TakeOver::Adopt(memory) => BringUp::Adopt(memory),
        };
        match SmmuV3::bring_up(IommuId(3), registers, &config, platform, state) {
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
        self.model.audit();
    }

    fn violations(&self) -> Vec<String> {
        super::violations(&self.memory)
    }

    fn peek(&self, at: PhysAddr) -> Option<u64> {
        self.memory.read64("the next owner", at, true).ok()
    }
}
