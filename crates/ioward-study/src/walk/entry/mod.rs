//! From where a walk begins to the tables that it walks.

mod amdvi;
mod riscv;
mod smmuv3;
mod vtd;

use super::report::{Behind, End, Lookup};
use ioward_pgtable::ReadMemory;
use ioward_types::{Attributes, Format, Iova, PhysAddr, Root, TableConfig};

/// Where a walk begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// At the root of a table.
    Table(TableConfig, Root),
    /// At a device's entry.
    Entry {
        /// Of which IOMMU.
        kind: Kind,
        /// Where it lies.
        at: PhysAddr,
        /// Who asks.
        device: Device,
    },
    /// At an IOMMU's registers.
    Registers {
        /// Which IOMMU.
        kind: Kind,
        /// SMMUv3: STRTAB_BASE; AMD-Vi: device table base; VT-d: RTADDR; RISC-V: ddtp.
        base: u64,
        /// SMMUv3: STRTAB_BASE_CFG. Of others nothing.
        config: u64,
        /// Who asks.
        device: Device,
    },
}

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Device {
    /// The requester, stream, device ID. An entry knows it already.
    pub source: u32,
    /// The PASID of the request, if it has one.
    pub pasid: Option<u32>,
}

/// A kind of IOMMU, by what its devices' entries look like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// SMMUv3: a stream table entry.
    SmmuV3,
    /// AMD-Vi: a device table entry.
    AmdVi,
    /// VT-d in legacy mode: a context entry. Registers tell the mode themselves.
    VtdLegacy,
    /// VT-d in scalable mode: a scalable-mode context entry.
    VtdScalable,
    /// RISC-V IOMMU with device contexts of 32 bytes.
    RiscV,
    /// RISC-V IOMMU with device contexts of 64 bytes (capabilities.MSI_FLAT).
    RiscVExtended,
}

/// A table to walk.
#[derive(Clone, Copy, Debug)]
pub struct Stage {
    pub config: TableConfig,
    pub root: Root,
    /// The bits of the input that count.
    pub mask: u64,
}

/// What is to be walked.
pub enum Plan {
    /// Nothing: this is where the way ends.
    Ends(End),
    /// A first stage, a second one, or both; and what is allowed at most.
    Tables { first: Option<Stage>, second: Option<Stage>, allowed: Attributes },
}

/// Everything is allowed.
pub const ALL: Attributes = Attributes { read: true, write: true, execute: true, ..Attributes::READ_WRITE };

impl Stage {
    /// A table whose whole input counts.
    fn new(format: Format, granule_shift: u32, in_bits: u8, out_bits: u8, at: u64, levels: u8) -> Self {
        let config = TableConfig {
            format,
            in_bits,
            out_bits,
            page_sizes: 1 << granule_shift,
            coherent: true,
            dirty: false,
            snoop: true,
        };
        Self { config, root: Root { at: PhysAddr(at), levels }, mask: u64::MAX }
    }
}

/// A fault.
fn fault(why: impl Into<String>) -> Plan {
    Plan::Ends(End::Fault { why: why.into() })
}

/// Something that this program does not know.
fn unknown(why: impl Into<String>) -> Plan {
    Plan::Ends(End::Unknown { why: why.into() })
}

/// The tables of one stage.
fn one_stage(first: Option<Stage>, second: Option<Stage>) -> Plan {
    Plan::Tables { first, second, allowed: ALL }
}

/// No tables.
fn passes() -> Plan {
    Plan::Ends(End::Passes { read: true, write: true })
}

/// Reads a structure of `N` words and notes it; none where there is no memory.
fn read<const N: usize>(
    memory: &dyn ReadMemory,
    what: impl Into<String>,
    at: u64,
    lookups: &mut Vec<Lookup>,
) -> Option<[u64; N]> {
    let mut words = [0; N];
    let mut there = at.is_multiple_of(8);
    for (word, index) in words.iter_mut().zip(0u64..) {
        let place = at.checked_add(index * 8).filter(|_| there);
        match place.and_then(|place| memory.read64(PhysAddr(place))) {
            Some(read) => *word = read,
            None => there = false,
        }
    }
    let shown = if there { words.to_vec() } else { Vec::new() };
    let says = if there { Vec::new() } else { vec!["there is no memory".to_owned()] };
    lookups.push(Lookup { what: what.into(), at, words: shown, says });
    there.then_some(words)
}

/// Adds what the structure that was read last says.
fn say(lookups: &mut [Lookup], what: impl Into<String>) {
    if let Some(lookup) = lookups.last_mut() {
        lookup.says.push(what.into());
    }
}

/// What is to be walked from an origin. What is read on the way is noted.
pub fn plan(memory: &dyn ReadMemory, origin: &Origin, iova: Iova, lookups: &mut Vec<Lookup>) -> Plan {
    match *origin {
        Origin::Table(config, root) => {
            let stage = Stage { config, root, mask: u64::MAX };
            one_stage(Some(stage), None)
        }
        Origin::Entry { kind, at, device } => entry(memory, kind, at.0, device, iova, lookups),
        Origin::Registers { kind, base, config, device } => match kind {
            Kind::SmmuV3 => smmuv3::from_registers(memory, base, config, device, iova, lookups),
            Kind::AmdVi => amdvi::from_registers(memory, base, device, lookups),
            Kind::VtdLegacy | Kind::VtdScalable => vtd::from_registers(memory, base, device, lookups),
            Kind::RiscV => riscv::from_registers(memory, base, false, device, lookups),
            Kind::RiscVExtended => riscv::from_registers(memory, base, true, device, lookups),
        },
    }
}

fn entry(
    memory: &dyn ReadMemory,
    kind: Kind,
    at: u64,
    device: Device,
    iova: Iova,
    lookups: &mut Vec<Lookup>,
) -> Plan {
    match kind {
        Kind::SmmuV3 => smmuv3::stream(memory, at, device, iova, lookups),
        Kind::AmdVi => amdvi::device(memory, at, device, lookups),
        Kind::VtdLegacy => vtd::legacy(memory, at, device, lookups),
        Kind::VtdScalable => vtd::scalable(memory, at, device, lookups),
        Kind::RiscV | Kind::RiscVExtended => riscv::device(memory, at, device, lookups),
    }
}

/// Memory behind a second stage.
fn behind(memory: &dyn ReadMemory, second: Option<Stage>) -> Behind<'_> {
    Behind { memory, second }
}
