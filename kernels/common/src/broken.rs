//! Firmware's tables, broken on purpose before anybody reads them: `break=WHAT` on the command line.

use crate::{
    checks::Checks,
    edu::Edu,
    platform::Kernel,
    say,
    script::{PAGE, Page, Why},
    stage::Stage,
};
use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};
use core::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
};
use ioward::{
    core::{Policy, Status, UnservedKind},
    discover::UnitKind,
    types::{Mmio, MmioPtr, describe::Table},
};

/// Breaks a table; none where there was nothing to break.
type Break = fn(&mut [u8]) -> Option<()>;

/// What can be broken: its name, the table, and how.
const BREAKS: &[(&str, Table, Break)] = &[
    // The property has another name, so that nobody finds it.
    ("no-iommu-map", Table::DeviceTree, |tree| rename(tree, b"\0iommu-map\0", b"\0iommu-gap\0")),
    // It leads to a node that is not there: the second of each four cells (Linux,
    // Documentation/devicetree/bindings/pci/pci-iommu.yaml).
    ("iommu-map-to-nothing", Table::DeviceTree, |tree| {
        let value = property(tree, b"iommu-map")?;
        let entries = tree.get_mut(value)?.chunks_exact_mut(16);
        entries.for_each(|entry| entry[4..8].copy_from_slice(&[0, 0xab, 0xcd, 0xef]));
        Some(())
    }),
    // The unit serves one function that is not there: each of its scopes names 1e.7 (VT-d 4.1, 8.3.1), and no other device
    // is its (flags zero).
    ("scope-of-nothing", Table::Dmar, |table| {
        *table.get_mut(DRHD + 4)? = 0;
        let end = DRHD + usize::from(u16::from_le_bytes([*table.get(DRHD + 2)?, *table.get(DRHD + 3)?]));
        let mut scope = DRHD + 16;
        while scope + 8 <= end {
            *table.get_mut(scope)? = 1;
            table.get_mut(scope + 6..scope + 8)?.copy_from_slice(&[0x1e, 7]);
            scope += usize::from(*table.get(scope + 1)?).max(8);
        }
        Some(())
    }),
    // Its registers are where nothing answers.
    ("registers-of-nothing", Table::Dmar, |table| {
        table.get_mut(DRHD + 8..DRHD + 16)?.copy_from_slice(&0xfeb0_0000_u64.to_le_bytes());
        Some(())
    }),
    // The only device entry of each block names 1e.7 alone (AMD IOMMU 3.08, 5.2.2.1, type 2).
    ("scope-of-nothing", Table::Ivrs, |table| {
        let mut block = IVHD;
        while block < table.len() {
            let length = usize::from(u16::from_le_bytes([*table.get(block + 2)?, *table.get(block + 3)?]));
            let header = if *table.get(block)? == 0x10 { 24 } else { 40 };
            let entries = table.get_mut(block + header..block + length)?;
            entries.fill(0);
            entries.get_mut(..4)?.copy_from_slice(&[2, 0xf7, 0, 0]);
            block += length;
        }
        Some(())
    }),
    // It is cut short behind its header.
    ("cut", Table::Dmar, |table| {
        table.get_mut(4..8)?.copy_from_slice(&52_u32.to_le_bytes());
        Some(())
    }),
];
/// Where the first structure of a DMAR and the first block of an IVRS begin.
const DRHD: usize = 48;
const IVHD: usize = 48;

/// The word that breaks no table, but what IOMMUs are told: see [`Registers`].
pub const QUEUE_BASE: &str = "break=queue-base";
/// Where there is neither memory nor a register on any of these machines; a multiple of any queue's length.
const NOWHERE: u64 = 0x20_0000_0000;

/// The registers of an IOMMU. Astray, whatever is written to the base of its command queue leads nowhere.
pub struct Registers {
    block: MmioPtr,
    astray: Option<Base>,
    /// What was to be written there: it reads as if it had been.
    told: AtomicU64,
}

/// Where a register of 64 bits is that has a queue's base, which of its bits are the address, and what they are now.
struct Base {
    at: usize,
    address: u64,
    nowhere: u64,
}

impl Base {
    /// That of the queue by which an IOMMU takes commands.
    fn of(kind: &UnitKind) -> Option<Self> {
        let bits = |first: u32, last: u32| (u64::MAX >> (63 - last)) & (u64::MAX << first);
        let (at, address, nowhere) = match kind {
            // SMMU_CMDQ_BASE (IHI 0070, 6.3.26).
            UnitKind::SmmuV3(_) => (0x90, bits(5, 51), NOWHERE),
            // The command buffer base address register (48882, 3.4.1).
            UnitKind::AmdVi(_) => (0x08, bits(12, 51), NOWHERE),
            // IQA_REG (VT-d 4.1, 11.4.9.3).
            UnitKind::VtD(_) => (0x90, bits(12, 63), NOWHERE),
            // cqb, which has the number of the page (RISC-V IOMMU 1.0, 6.7).
            UnitKind::RiscV(_) => (0x18, bits(10, 53), NOWHERE >> 2),
            // queue_desc, of whichever queue is selected (virtio 1.3, 4.1.4.3).
            UnitKind::Virtio => (0x20, u64::MAX, NOWHERE),
            _ => return None,
        };
        Some(Self { at, address, nowhere })
    }

    fn broken(&self, value: u64) -> u64 {
        value & !self.address | self.nowhere
    }
}

impl Registers {
    /// Those of an IOMMU of this kind; `astray` breaks them.
    pub fn new(block: MmioPtr, kind: &UnitKind, astray: bool) -> Self {
        Self { block, astray: if astray { Base::of(kind) } else { None }, told: AtomicU64::new(0) }
    }
}

impl Mmio for Registers {
    fn read32(&self, at: usize) -> u32 {
        self.block.read32(at)
    }
    fn write32(&self, at: usize, value: u32) {
        let told = self.told.load(Ordering::Relaxed);
        let (told, value) = match &self.astray {
            Some(base) if at == base.at => {
                (told & !0xffff_ffff | u64::from(value), base.broken(value.into()) as u32)
            }
            Some(base) if at == base.at + 4 => {
                let high = u64::from(value) << 32;
                (told & 0xffff_ffff | high, (base.broken(high) >> 32) as u32)
            }
            _ => (told, value),
        };
        self.told.store(told, Ordering::Relaxed);
        self.block.write32(at, value);
    }
    fn read64(&self, at: usize) -> u64 {
        let is_base = self.astray.as_ref().is_some_and(|base| base.at == at);
        if is_base { self.told.load(Ordering::Relaxed) } else { self.block.read64(at) }
    }
    fn write64(&self, at: usize, value: u64) {
        let Some(base) = self.astray.as_ref().filter(|base| base.at == at) else {
            return self.block.write64(at, value);
        };
        self.told.store(value, Ordering::Relaxed);
        self.block.write64(at, base.broken(value));
    }
    fn read8(&self, at: usize) -> u8 {
        self.block.read8(at)
    }
    fn read16(&self, at: usize) -> u16 {
        self.block.read16(at)
    }
    fn write8(&self, at: usize, value: u8) {
        self.block.write8(at, value);
    }
    fn write16(&self, at: usize, value: u16) {
        self.block.write16(at, value);
    }
}

/// Breaks what the command line asks for, in a copy that stays for good.
pub fn tables(
    line: &str,
    tables: [(Table, &'static [u8]); 3],
) -> Result<[(Table, &'static [u8]); 3], String> {
    let mut tables = tables;
    let words = line.split(' ').filter(|word| *word != QUEUE_BASE);
    for word in words.filter_map(|word| word.strip_prefix("break=")) {
        let mut broken = 0;
        for (kind, bytes) in tables.iter_mut().filter(|(_, bytes)| !bytes.is_empty()) {
            let Some((_, _, how)) = BREAKS.iter().find(|(name, of, _)| *name == word && of == kind) else {
                continue;
            };
            let copy = Vec::from(*bytes).leak();
            how(copy).ok_or_else(|| format!("there is nothing to break in {kind} as `{word}` says"))?;
            if *kind != Table::DeviceTree {
                // What is wrong is to be what the word says, and not the checksum (ACPI 6.5, 5.2.6).
                copy[9] = 0;
                let length = u32::from_le_bytes([copy[4], copy[5], copy[6], copy[7]]) as usize;
                let sum = copy.iter().take(length).fold(0u8, |sum, byte| sum.wrapping_add(*byte));
                copy[9] = sum.wrapping_neg();
            }
            *bytes = copy;
            broken += 1;
        }
        if broken == 0 {
            return Err(format!("this machine has no table that can be broken as `{word}` says"));
        }
    }
    Ok(tables)
}

/// Writes another name over one, of the same length.
fn rename(bytes: &mut [u8], from: &[u8], to: &[u8]) -> Option<()> {
    let at = bytes.windows(from.len()).position(|window| window == from)?;
    bytes[at..at + to.len()].copy_from_slice(to);
    Some(())
}

/// Where the value of the first property of that name is in a device tree's blob (Devicetree 0.4, 5.4).
fn property(tree: &[u8], name: &[u8]) -> Option<Range<usize>> {
    let word = |at: usize| Some(u32::from_be_bytes(tree.get(at..at + 4)?.try_into().ok()?) as usize);
    let (structure, strings, bytes) = (word(8)?, word(12)?, word(36)?);
    let is_name = |at: usize| {
        let text = tree.get(strings + at..).unwrap_or_default();
        text.starts_with(name) && text.get(name.len()) == Some(&0)
    };
    // Whatever looks like the beginning of that property is it: the token 3, a length, the name.
    (structure..structure + bytes)
        .step_by(4)
        .find(|&at| word(at) == Some(3) && word(at + 8).is_some_and(is_name))
        .and_then(|at| Some(at + 12..at + 12 + word(at + 4)?))
}

/// The check of devices that nobody serves though there is an IOMMU: each is off, and no driver can bind. Where no IOMMU was
/// found, nothing but that keeps them from memory: they try, and with translation bypassed, where they are trusted, they
/// reach it.
pub fn run(stage: &Stage, checks: &mut Checks) -> Result<(), String> {
    // Who reads them wants all of them here, those that matter little too.
    stage.machine.reports.iter().for_each(|report| say!("report {report}"));
    // Firmware has left them on.
    Edu::all(stage.pci).for_each(|edu| stage.pci.bus_master(edu.function, true));
    let unserved = if stage.bypass { UnservedKind::Trust } else { UnservedKind::Refuse };
    let added = stage.add_all_under(Policy { unserved, ..Policy::default() })?;
    let mut devices = 0;
    for edu in Edu::all(stage.pci) {
        devices += 1;
        let name = |what: &str| format!("{what}@{}", edu.function);
        let why = match stage.served(edu.function) {
            Err(why) => {
                say!("off {why}");
                Ok(())
            }
            Ok(served) => Err(format!("it is served: {served:?}")),
        };
        checks.check(name("not-served"), why);
        let refused = match added.device(edu.function) {
            // What firmware contradicts itself about is not added at all.
            Err(_) => Ok(()),
            Ok(device) => match (device.status(), device.bind()) {
                (Status::Unserved, Err(why)) => {
                    say!("refused {why}");
                    Ok(())
                }
                (status, bound) => Err(format!("{status:?}: {bound:?}")),
            },
        };
        if !stage.bypass {
            checks.check(name("no-driver-binds"), refused);
            let on = stage.pci.is_bus_master(edu.function);
            checks.check(name("bus-master-is-off"), if on { Err("it is on") } else { Ok(()) });
        }
        if !stage.drivers.is_empty() {
            // An IOMMU blocks it, turned off or not: an attempt would tell nothing of what is checked here.
            continue;
        }
        let victim = Page::new(1);
        let stored = edu.store(&Kernel, victim.iova(), PAGE).map_err(Why::from);
        let kept = if victim.holds(1) { Ok(()) } else { Err(Why::Reached) };
        checks.check(name("rogue-while-off"), stored.and(kept));
    }
    if devices == 0 { Err("there is no DMA engine".to_string()) } else { Ok(()) }
}
