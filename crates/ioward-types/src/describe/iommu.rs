//! IOMMUs as firmware describes them.

use super::NodeId;
use crate::{PhysAddr, Span};
use core::fmt;

/// An IOMMU instance.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Iommu<'a> {
    /// Names it to the scopes of the same table.
    pub id: NodeId,
    /// What it is.
    pub kind: IommuKind<'a>,
    /// What people call it: the node's name in a device tree, else empty.
    pub name: &'a str,
    /// Its registers, physical; none where it is reached only as a PCI function, or where the table does not say.
    pub registers: Option<Span<PhysAddr>>,
    /// The PCI function that it is, for those that are one.
    pub function: Option<PciFunction>,
    /// Its wired interrupts.
    pub interrupts: [Option<Interrupt>; 4],
    /// Firmware says that it may be used (`status` of a device tree). Devices behind a disabled one are unserved.
    pub enabled: bool,
}

/// One PCI function of a machine with several segments.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PciFunction {
    /// The segment, also called domain.
    pub segment: u16,
    /// Bus in bits 15:8, device in 7:3, function in 2:0.
    pub requester: u16,
}

impl fmt::Display for PciFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.requester;
        write!(f, "{:04x}:{:02x}:{:02x}.{}", self.segment, id >> 8, id >> 3 & 0x1f, id & 7)
    }
}

/// What an IOMMU is, with the facts that only its own driver understands.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub enum IommuKind<'a> {
    /// Arm SMMUv3.
    SmmuV3(SmmuV3),
    /// AMD I/O virtualization.
    AmdVi(AmdVi),
    /// Intel VT-d.
    VtD(VtD),
    /// RISC-V IOMMU.
    RiscV(RiscV),
    /// virtio-iommu.
    Virtio,
    /// A kind that nothing here drives, by the name that people know.
    Unsupported(&'a str),
}

impl fmt::Display for IommuKind<'_> {
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

/// What firmware adds to the ID registers of an SMMUv3.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SmmuV3 {
    /// Whether table walks and queues are coherent, where firmware overrides SMMU_IDR0.COHACC.
    pub coherent: Option<bool>,
    /// What replaces SMMU_IDR0.HTTU, where firmware overrides it.
    pub httu: Option<u8>,
    /// The implementation, for its errata: the IORT's model number; zero is a generic one.
    pub model: u32,
    /// Its second register page is unusable: all registers are in the first 64 KiB.
    pub page0_only: bool,
    /// CMD_PREFETCH_CONFIG must not be issued.
    pub broken_prefetch: bool,
    /// The device ID of its own message-signalled interrupts, where its IORT node maps one to an ITS group.
    pub msi_device: Option<u32>,
}

/// What an IVRS table says about one AMD IOMMU, merged over all blocks that describe it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AmdVi {
    /// Which blocks describe it.
    pub blocks: AmdBlocks,
    /// Where its capability block starts in its configuration space.
    pub capability: u16,
    /// The IVHD flags byte: HtTunEn, PassPW, ResPassPW, Isoc, IotlbSup, Coherent, PreFSup, PPRSup from bit 0 up.
    pub flags: u8,
    /// IOMMU info: MSI number in bits 4:0, unit ID in 12:8.
    pub info: u16,
    /// The feature reporting field of a 10h block.
    pub features: Option<u32>,
    /// The attributes field of an 11h or 40h block.
    pub attributes: Option<u32>,
    /// The image of the extended feature register, from an 11h or 40h block.
    pub efr: Option<u64>,
    /// The image of the second extended feature register, from an 11h or 40h block.
    pub efr2: Option<u64>,
    /// IVinfo of the whole table: address sizes and DMA protection.
    pub ivinfo: u32,
}

/// What a DMAR table says about one VT-d remapping unit (VT-d rev 4.1, 8.1 and 8.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VtD {
    /// The segment of its devices.
    pub segment: u16,
    /// INCLUDE_PCI_ALL: it serves whatever no other unit of the segment names.
    pub include_all: bool,
    /// Host address width of the table, in bits: the widest DMA address of the machine.
    pub host_bits: u8,
    /// INTR_REMAP of the table: the machine supports interrupt remapping.
    pub interrupt_remapping: bool,
    /// X2APIC_OPT_OUT of the table: firmware asks that x2APIC mode is not turned on.
    pub x2apic_opt_out: bool,
    /// DMA_CTRL_PLATFORM_OPT_IN of the table: firmware kept DMA out of memory until now, and wants it kept so.
    pub dma_opt_in: bool,
    /// The proximity domain of an RHSA structure, where there is one for this unit.
    pub proximity: Option<u32>,
}

/// What a RIMT table or a device tree says about one RISC-V IOMMU beyond its registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RiscV {
    /// `_HID` of the platform device, or the vendor and device ID as firmware spells it; zero where there is none.
    pub hid: [u8; 8],
    /// The number of its RIMT node, zero in a device tree.
    pub uid: u16,
    /// Whether walks and queues are coherent, where firmware says (`dma-noncoherent` of a device tree).
    pub coherent: Option<bool>,
    /// How many wired interrupts it has; zero where it sends messages.
    pub wires: u16,
    /// Its proximity domain, where firmware says.
    pub proximity: Option<u32>,
}

/// The IVHD block types that describe one IOMMU.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AmdBlocks {
    /// Type 10h, basic.
    pub basic: bool,
    /// Type 11h, with feature-register images.
    pub extended: bool,
    /// Type 40h, also with ACPI-named devices.
    pub mixed: bool,
}

impl fmt::Display for AmdBlocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for (seen, name) in [(self.basic, "10h"), (self.extended, "11h"), (self.mixed, "40h")] {
            if seen {
                write!(f, "{between}{name}")?;
                between = "+";
            }
        }
        Ok(())
    }
}

/// One wired interrupt of an IOMMU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interrupt {
    /// What it tells.
    pub role: InterruptRole,
    /// How it is wired.
    pub line: InterruptLine,
}

/// What an IOMMU's interrupt tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum InterruptRole {
    /// The event or fault queue has records.
    Event,
    /// The page-request queue has records.
    PageRequest,
    /// A global error.
    GlobalError,
    /// A command completed.
    Sync,
    /// One for everything.
    Combined,
    /// By its position in the table.
    Nth(u8),
}

/// How an interrupt is wired.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InterruptLine {
    /// ACPI's global system interrupt number.
    Gsiv(u32),
    /// ACPI's global system interrupt number, and how it is signalled.
    Gsi {
        /// The number.
        number: u32,
        /// Level-triggered; else edge-triggered.
        level: bool,
        /// Active high; else active low.
        active_high: bool,
    },
    /// An interrupt specifier of a device tree.
    DeviceTree {
        /// The interrupt controller's node, if it could be found.
        controller: Option<NodeId>,
        /// The specifier, in the controller's own encoding.
        cells: [u32; 4],
        /// How many cells count.
        count: u8,
    },
}
