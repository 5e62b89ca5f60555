//! What was discovered: owned, so that the tables' memory can go.

use super::report::Report;
use alloc::{string::String, sync::Arc, vec::Vec};
use core::fmt;
use ioward_core::device::{DeviceDesc, PasidOffer, Region, Source};
use ioward_types::{
    DeviceControl, IommuId, PhysAddr, Span,
    describe::{
        AmdVi, Interrupt, IommuKind, NodeId, PciFunction, PciHost, RiscV, SmmuV3, Table, Traits, VtD,
    },
};

/// A machine, as far as DMA is concerned.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Every IOMMU that firmware describes; [`IommuId`] is the place in this list.
    pub iommus: Vec<Unit>,
    /// Every device that is on the bus, and every other that firmware names.
    pub devices: Vec<Device>,
    /// Interrupt controllers and timers that write messages through an IOMMU.
    pub specials: Vec<Special>,
    /// PCI host bridges, where firmware describes them.
    pub hosts: Vec<Host>,
    /// What whoever owns the machine should hear, parsers' problems first.
    pub reports: Vec<Report>,
}

impl Machine {
    /// An IOMMU by its number.
    pub fn iommu(&self, id: IommuId) -> Option<&Unit> {
        self.iommus.get(id.0 as usize)
    }
    /// The SMMUv3s that may be used.
    pub fn smmuv3(&self) -> impl Iterator<Item = (&Unit, &SmmuV3)> {
        self.iommus.iter().filter(|unit| unit.enabled).filter_map(|unit| match &unit.kind {
            UnitKind::SmmuV3(smmu) => Some((unit, smmu)),
            _ => None,
        })
    }
    /// The AMD-Vi IOMMUs that may be used.
    pub fn amdvi(&self) -> impl Iterator<Item = (&Unit, &AmdVi)> {
        self.iommus.iter().filter(|unit| unit.enabled).filter_map(|unit| match &unit.kind {
            UnitKind::AmdVi(amd) => Some((unit, amd)),
            _ => None,
        })
    }
    /// The VT-d units that may be used.
    pub fn vtd(&self) -> impl Iterator<Item = (&Unit, &VtD)> {
        self.iommus.iter().filter(|unit| unit.enabled).filter_map(|unit| match &unit.kind {
            UnitKind::VtD(vtd) => Some((unit, vtd)),
            _ => None,
        })
    }
    /// The RISC-V IOMMUs that may be used.
    pub fn riscv(&self) -> impl Iterator<Item = (&Unit, &RiscV)> {
        self.iommus.iter().filter(|unit| unit.enabled).filter_map(|unit| match &unit.kind {
            UnitKind::RiscV(riscv) => Some((unit, riscv)),
            _ => None,
        })
    }
    /// The virtio-iommus that may be used.
    pub fn virtio(&self) -> impl Iterator<Item = &Unit> {
        self.iommus.iter().filter(|unit| unit.enabled && unit.kind == UnitKind::Virtio)
    }
    /// The devices that may be used: those that are not refused.
    pub fn usable(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter().filter(|device| device.serving != Serving::Refused)
    }
}

/// An IOMMU.
#[derive(Clone, PartialEq, Debug)]
pub struct Unit {
    /// Its number.
    pub id: IommuId,
    /// Which table describes it, and where.
    pub described: (Table, NodeId),
    /// What it is.
    pub kind: UnitKind,
    /// A name for reports: `smmu@9050000`, `AMD-Vi 0000:00:00.2`.
    pub name: String,
    /// Its registers, physical.
    pub registers: Option<Span<PhysAddr>>,
    /// The PCI function that it is, if it is one.
    pub function: Option<PciFunction>,
    /// Where that function was found, by index in [`Bus::functions`](super::Bus::functions).
    pub on_bus: Option<usize>,
    /// Its wired interrupts.
    pub interrupts: [Option<Interrupt>; 4],
    /// Firmware says that it may be used.
    pub enabled: bool,
}

/// What an IOMMU is.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum UnitKind {
    /// Arm SMMUv3.
    SmmuV3(SmmuV3),
    /// AMD-Vi.
    AmdVi(AmdVi),
    /// VT-d.
    VtD(VtD),
    /// RISC-V IOMMU.
    RiscV(RiscV),
    /// virtio-iommu.
    Virtio,
    /// A kind that nothing here drives, by the name that people know.
    Unsupported(String),
}

impl UnitKind {
    pub(super) fn of(kind: &IommuKind<'_>) -> Self {
        match kind {
            IommuKind::SmmuV3(smmu) => Self::SmmuV3(*smmu),
            IommuKind::AmdVi(amd) => Self::AmdVi(*amd),
            IommuKind::VtD(vtd) => Self::VtD(*vtd),
            IommuKind::RiscV(riscv) => Self::RiscV(*riscv),
            IommuKind::Virtio => Self::Virtio,
            IommuKind::Unsupported(name) => Self::Unsupported((*name).into()),
            _ => Self::Unsupported("unknown".into()),
        }
    }
    /// Whether something here can drive it.
    pub fn is_supported(&self) -> bool {
        !matches!(self, Self::Unsupported(_))
    }
}

impl fmt::Display for UnitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::SmmuV3(_) => "SMMUv3",
            Self::AmdVi(_) => "AMD-Vi",
            Self::VtD(_) => "VT-d",
            Self::RiscV(_) => "RISC-V IOMMU",
            Self::Virtio => "virtio-iommu",
            Self::Unsupported(name) => name,
        })
    }
}

/// Where a device was found.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Place {
    /// On the bus, by index in [`Bus::functions`](super::Bus::functions).
    Bus(usize),
    /// Only in firmware's words: a platform device.
    Platform,
}

/// A device.
#[derive(Clone, PartialEq, Debug)]
pub struct Device {
    /// A name for reports.
    pub name: String,
    /// Where it was found.
    pub place: Place,
    /// By whom it is served.
    pub serving: Serving,
    /// What its requests carry, each with the IOMMU that translates it; empty unless it is served.
    pub sources: Vec<Source>,
    /// Sources of the other devices in its group.
    pub joins: Vec<Source>,
    /// Its PASIDs.
    pub pasid: PasidOffer,
    /// It caches translations, the smallest of `1 << shift` bytes, and may use them.
    pub ats: Option<u8>,
    /// The addresses that it can issue stay below `1 << addr_bits`.
    pub addr_bits: u8,
    /// Its requests snoop CPU caches, and software relies on it.
    pub coherent: bool,
    /// It is built into the machine.
    pub trusted: bool,
    /// It is a bridge, whose driver does no DMA.
    pub bridge: bool,
    /// What firmware says of it beside where it is, the narrowest where tables differ: whether it needs ATS or page
    /// requests to work, and what only its IOMMU's driver understands.
    pub traits: Traits,
    /// What is special about addresses for it, in whole pages, ascending.
    pub regions: Vec<Region>,
    /// Where its message-signalled interrupts go, as far as firmware tells.
    pub doorbells: Vec<Span<PhysAddr>>,
    /// The controllers behind them tell devices apart.
    pub isolated_doorbells: bool,
}

impl Device {
    /// Whether its accesses see what CPUs have in their caches, so that its buffers need no cache maintenance. Of a device
    /// that no table speaks of, that is what buses do unless somebody says otherwise.
    pub fn snoops(&self) -> bool {
        match self.serving {
            Serving::Served => self.coherent,
            _ => self.traits.coherent != Some(false),
        }
    }

    /// What the subsystem takes; the bus tells how the device is controlled. A refused device is not to be added: its
    /// bus mastering stays off.
    pub fn desc(&self, control: Arc<dyn DeviceControl>) -> Option<DeviceDesc<'_>> {
        (self.serving != Serving::Refused).then(|| DeviceDesc {
            joins: &self.joins,
            pasid: self.pasid,
            ats: self.ats,
            addr_bits: self.addr_bits,
            coherent: self.coherent,
            snoops: self.snoops(),
            trusted: self.trusted,
            regions: &self.regions,
            bridge: self.bridge,
            isolated_doorbells: self.isolated_doorbells,
            ..DeviceDesc::new(&self.name, &self.sources, control)
        })
    }
}

/// By whom a device is served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Serving {
    /// By the IOMMUs of its sources.
    Served,
    /// By nobody: nothing can block it.
    Unserved(Unserved),
    /// Firmware contradicts itself about it: it is not to be used.
    Refused,
}

/// Why a device is unserved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unserved {
    /// No scope names it.
    NoScope,
    /// Firmware says that no IOMMU is in the way.
    Direct,
    /// Its IOMMU is disabled.
    Disabled(IommuId),
    /// Its IOMMU is of a kind that is not supported.
    Unsupported(IommuId),
}

impl fmt::Display for Unserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoScope => f.write_str("no table names an IOMMU for it"),
            Self::Direct => f.write_str("firmware says that no IOMMU is in the way"),
            Self::Disabled(id) => write!(f, "firmware disabled IOMMU {id}"),
            Self::Unsupported(id) => write!(f, "IOMMU {id} is of a kind that is not supported"),
        }
    }
}

/// Something that is no device to the subsystem, but whose interrupt messages pass an IOMMU.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Special {
    /// A name for reports.
    pub name: String,
    /// What it is.
    pub kind: SpecialKind,
    /// What its messages carry.
    pub source: Source,
    /// What firmware says of it beside.
    pub traits: Traits,
}

/// What writes messages without being a device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SpecialKind {
    /// An interrupt controller, by its APIC ID.
    IoApic(u8),
    /// A timer, by its number.
    Hpet(u8),
}

/// A PCI host bridge.
#[derive(Clone, PartialEq, Debug)]
pub struct Host {
    /// The node's name.
    pub name: String,
    /// The segment.
    pub segment: u16,
    /// The configuration space as ECAM, physical.
    pub ecam: Option<Span<PhysAddr>>,
    /// The first bus.
    pub first_bus: u8,
    /// The last bus, included.
    pub last_bus: u8,
    /// Firmware says that it may be used.
    pub enabled: bool,
}

impl Host {
    pub(super) fn of(host: &PciHost<'_>) -> Self {
        let PciHost { segment, ecam, first_bus, last_bus, enabled, .. } = *host;
        Self { name: host.name.into(), segment, ecam, first_bus, last_bus, enabled }
    }
}
