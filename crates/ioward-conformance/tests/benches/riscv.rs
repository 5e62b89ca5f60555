//! The RISC-V IOMMU and its model.

use ioward_conformance::{
    Bench, ColdOverRunning, Facts, FaultFacts, NotUp, Registers, TakeOver, Watched, Why,
};
use ioward_core::driver::Driver;
use ioward_drivers::riscv::{BringUp, BringUpError, Config, RiscVIommu};
use ioward_models::{
    IommuModel, Memory, SimPlatform, Visibility,
    riscv::{Features, RiscvIommu},
};
use ioward_types::{Format, IommuId, Nanos, PhysAddr};
use std::sync::Arc;

pub struct Bed {
    memory: Memory,
    platform: SimPlatform,
    model: Arc<RiscvIommu>,
    last_source: u32,
    plan_for_pasids: u8,
}

impl Bed {
    pub fn new(features: Features) -> Self {
        let memory = super::memory();
        memory.set_incoherent(!features.coherent);
        memory.set_visibility(Visibility::Held);
        let model = RiscvIommu::new("iommu", features, memory.clone());
        model.poison();
        let platform = SimPlatform::new(memory.clone());
        Self { memory, platform, model, last_source: 0xff_ffff, plan_for_pasids: 0 }
    }

    /// With first stages where second stages would do.
    pub fn first(features: Features) -> Self {
        Self { plan_for_pasids: 1, ..Self::new(features) }
    }

    /// With a directory that reaches no further than it must.
    pub fn up_to(last_source: u32, features: Features) -> Self {
        Self { last_source, ..Self::new(features) }
    }

    /// Bits of device_id that the directory covers (2.2): the last level has 6 where contexts are of extended format.
    fn source_bits(&self) -> u32 {
        let features = self.model.features();
        let base = if features.msi_flat { [6, 15, 24] } else { [7, 16, 24] };
        let there = |n: &usize| features.levels[*n];
        let reaches = |n: &usize| self.last_source >> base[*n] == 0;
        base[(0..3).filter(there).find(reaches).or((0..3).rev().find(there)).unwrap_or(0)]
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
        let bits = self.source_bits();
        let pasid_bits =
            [8, 17, 20].iter().zip(features.pd).filter(|(_, there)| *there).map(|(bits, _)| *bits).max();
        let pasid_bits = pasid_bits.filter(|_| features.first_bits > 0).unwrap_or(0);
        let second = features.second_bits > 0 && self.plan_for_pasids == 0;
        Facts {
            iommu: IommuId(3),
            sources: if bits < 14 { [0x18, 0x19, 0x3f] } else { [0x18, 0x19, 0x3005] },
            outside: Some(1 << bits),
            pasid_bits,
            ats: features.ats,
            coherent: features.coherent,
            plan_for_pasids: self.plan_for_pasids,
            plain: Some(if second { Format::RiscvSecond } else { Format::RiscvFirst }),
            with_pasids: (pasid_bits > 0).then_some(Format::RiscvFirst),
            stores_are_seen: true,
            flush_after_map: false,
            identity: true,
            foreign: true,
            interrupts: false,
            cold_over_running: ColdOverRunning::Refused,
            adopts: true,
            // 3.2: a page fault does not say whether the entry is missing or a right of its.
            faults: FaultFacts { permission: false, ..FaultFacts::default() },
        }
    }

    fn bring_up(
        &self,
        registers: Registers,
        platform: &Watched<SimPlatform>,
        how: TakeOver<'_>,
    ) -> Result<Arc<dyn Driver>, NotUp> {
        let mut config =
            Config { bound: Nanos(10_000_000), last_source: self.last_source, ..Config::default() };
        config.firmware.coherent = Some(self.model.features().coherent);
        let state = match how {
            TakeOver::Cold => BringUp::Cold,
            TakeOver::Abort => BringUp::Abort,
            TakeOver::Adopt(memory) => BringUp::Adopt(memory),
        };
        match RiscVIommu::bring_up(IommuId(3), registers, &config, platform, state) {
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
