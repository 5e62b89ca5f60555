//! The models of a rig, whatever their kind, and their registers as drivers see them.

use ioward::types::{Mmio, Platform};
use ioward_models::{
    IommuModel, SimPlatform,
    amdvi::AmdViModel,
    riscv::RiscvIommu,
    smmuv3::Smmu,
    virtio::{Verdict, VirtioIommuModel},
    vtd::VtdModel,
};
use std::{fmt, sync::Arc};

/// An IOMMU's model, with the switches of its kind.
#[derive(Clone)]
#[non_exhaustive]
pub enum Model {
    /// Arm SMMUv3.
    Smmu(Arc<Smmu>),
    /// AMD-Vi.
    Amd(Arc<AmdViModel>),
    /// VT-d.
    Vtd(Arc<VtdModel>),
    /// RISC-V IOMMU.
    RiscV(Arc<RiscvIommu>),
    /// virtio-iommu.
    Virtio(Arc<VirtioIommuModel>),
}

impl Model {
    /// What requests see.
    pub fn iommu(&self) -> Arc<dyn IommuModel> {
        match self {
            Self::Smmu(model) => model.clone(),
            Self::Amd(model) => model.clone(),
            Self::Vtd(model) => model.clone(),
            Self::RiscV(model) => model.clone(),
            Self::Virtio(model) => model.clone(),
        }
    }

    /// It stops consuming commands, or goes on.
    pub fn set_hung(&self, hung: bool) {
        match self {
            Self::Smmu(model) => model.set_hung(hung),
            Self::Amd(model) => model.set_hung(hung),
            Self::Vtd(model) => model.set_hung(hung),
            Self::RiscV(model) => model.set_hung(hung),
            Self::Virtio(model) => model.set_hung(hung),
        }
    }

    /// From now on each command that comes to its queue is executed only where `keep` says so; the others are lost. A
    /// command is given as its 64-bit words, a request of a virtio-iommu as as many as its first 16 bytes have.
    pub fn filter(&self, mut keep: impl FnMut(&[u64]) -> bool + Send + 'static) {
        match self {
            Self::Smmu(model) => model.set_command_filter(Box::new(move |command| keep(command))),
            Self::Amd(model) => {
                model.set_command_filter(Some(Box::new(move |_, command| keep(command))));
            }
            Self::Vtd(model) => {
                model.set_command_filter(Some(Box::new(move |_, command| keep(command))));
            }
            Self::RiscV(model) => model.set_command_filter(Box::new(move |command| keep(command))),
            Self::Virtio(model) => model.set_request_filter(Some(Box::new(move |_, bytes| {
                let word =
                    |bytes: &[u8]| bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
                let words: Vec<u64> = bytes.chunks(8).take(2).map(word).collect();
                if keep(&words) { Verdict::Process } else { Verdict::Pretend }
            }))),
        }
    }

    /// Looks for violations that no request has met yet.
    pub fn audit(&self) {
        match self {
            Self::Smmu(model) => model.audit(),
            Self::Amd(model) => model.audit(true),
            Self::Vtd(model) => model.audit(true),
            Self::RiscV(model) => model.audit(),
            Self::Virtio(model) => model.audit(),
        }
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Smmu(_) => "Model(SMMUv3)",
            Self::Amd(_) => "Model(AMD-Vi)",
            Self::Vtd(_) => "Model(VT-d)",
            Self::RiscV(_) => "Model(RISC-V IOMMU)",
            Self::Virtio(_) => "Model(virtio-iommu)",
        })
    }
}

/// A model's registers, for a driver. Every write is a barrier first, as a register write is (see [`Mmio`]).
pub struct Registers {
    /// Whose.
    pub model: Arc<dyn IommuModel>,
    /// Who orders.
    pub platform: SimPlatform,
    /// An SMMUv3 that has the registers of its second page in the first one, as some implementations do.
    pub page0_only: bool,
}

impl Registers {
    /// Where the model has a register.
    fn place(&self, at: usize) -> usize {
        // SMMU_EVENTQ_PROD, _CONS, SMMU_PRIQ_PROD, _CONS (IHI 0070, 6.2).
        let moved = self.page0_only && matches!(at, 0xa8 | 0xac | 0xc8 | 0xcc);
        if moved { at + 0x1_0000 } else { at }
    }
}

impl Mmio for Registers {
    fn read32(&self, at: usize) -> u32 {
        self.model.read32(self.place(at))
    }
    fn write32(&self, at: usize, value: u32) {
        self.platform.publish();
        self.model.write32(self.place(at), value)
    }
    fn read64(&self, at: usize) -> u64 {
        self.model.read64(self.place(at))
    }
    fn write64(&self, at: usize, value: u64) {
        self.platform.publish();
        self.model.write64(self.place(at), value)
    }
    fn read8(&self, at: usize) -> u8 {
        self.model.read8(at)
    }
    fn write8(&self, at: usize, value: u8) {
        self.platform.publish();
        self.model.write8(at, value)
    }
    fn read16(&self, at: usize) -> u16 {
        self.model.read16(at)
    }
    fn write16(&self, at: usize, value: u16) {
        self.platform.publish();
        self.model.write16(at, value)
    }
}
