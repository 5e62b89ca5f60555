//! Base address registers: their sizes and what is written into them.

use super::{buses::Numbering, layout};
use crate::{Bdf, ConfigAccess, Finding, FunctionSpace, Problem, caps, regs};
use alloc::{collections::BTreeMap, vec::Vec};
use ioward_types::PhysAddr;

/// Which of the two address spaces of a bus.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Space {
    /// I/O ports.
    Io,
    /// Memory.
    Memory,
}

/// A range of addresses that the host bridge passes on to the bus, as a device tree's `ranges` or ACPI's `_CRS` has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Which space of the bus it leads to.
    pub space: Space,
    /// Its first address as the bus sees it.
    pub bus: u64,
    /// Its first address as the CPU sees it.
    pub cpu: PhysAddr,
    /// How many bytes.
    pub bytes: u64,
}

/// A base address register that was assigned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bar {
    /// Whose.
    pub function: Bdf,
    /// Which register, from 0; a 64-bit one counts as its lower half.
    pub index: u8,
    /// Which space it decodes.
    pub space: Space,
    /// Its first address as the bus sees it.
    pub bus: u64,
    /// Its first address as the CPU sees it.
    pub cpu: PhysAddr,
    /// How many bytes: of one virtual function, if it is theirs.
    pub bytes: u64,
    /// It is the virtual functions' register of this index, and so many of them share it out; zero otherwise.
    pub virtual_functions: u16,
}

/// What [`assign_bars`] did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Assigned {
    /// Every register that was assigned, by function and index.
    pub bars: Vec<Bar>,
    /// What was not, and why.
    pub findings: Vec<Finding>,
}

impl Assigned {
    /// A function's register (not that of its virtual functions).
    pub fn bar(&self, function: Bdf, index: u8) -> Option<&Bar> {
        self.bars.iter().find(|bar| (bar.function, bar.index, bar.virtual_functions) == (function, index, 0))
    }
}

/// A register as it was sized.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub function: Bdf,
    pub index: u8,
    /// Where the register is in configuration space.
    pub offset: u16,
    pub space: Space,
    pub wide: bool,
    pub prefetchable: bool,
    pub bytes: u64,
    pub virtual_functions: u16,
}

/// Sizes every base address register of the functions in `numbering`, lays them out in `windows` (those of this root
/// bus), writes them, opens the bridges and lets functions answer. Whatever was assigned before is overwritten.
///
/// Bus mastering is turned on in bridges, so that they forward what comes from below; endpoints get it from whoever
/// owns them. Expansion ROMs and the registers of host bridges are left alone. What finds no room stays off.
pub fn assign_bars<A: ConfigAccess + ?Sized>(
    access: &A,
    numbering: &Numbering,
    windows: &[Window],
) -> Assigned {
    let mut done = Assigned::default();
    let mut wishes = Vec::new();
    for &function in &numbering.functions {
        size(access, function, &mut wishes, &mut done.findings);
    }
    let plan = layout::plan(access, numbering, &wishes, windows);
    let mut answers: BTreeMap<Bdf, u32> = BTreeMap::new();
    for (wish, place) in wishes.iter().zip(&plan.places) {
        let Some((bus, cpu)) = *place else {
            let problem = Problem::BarNoRoom { index: wish.index, bytes: wish.bytes };
            done.findings.push(Finding { function: wish.function, problem });
            continue;
        };
        access.write32(wish.function, wish.offset, bus as u32);
        if wish.wide {
            access.write32(wish.function, wish.offset + 4, (bus >> 32) as u32);
        }
        if wish.virtual_functions == 0 {
            let answer = if wish.space == Space::Io { regs::COMMAND_IO } else { regs::COMMAND_MEMORY };
            *answers.entry(wish.function).or_default() |= answer;
        }
        let Wish { function, index, space, bytes, virtual_functions, .. } = *wish;
        done.bars.push(Bar { function, index, space, bus, cpu, bytes, virtual_functions });
    }
    for bus in &numbering.buses {
        let Some(bridge) = bus.bridge else { continue };
        plan.open(access, bus.number, bridge);
        let forwards = regs::COMMAND_IO | regs::COMMAND_MEMORY | regs::COMMAND_MASTER;
        *answers.entry(bridge).or_default() |= forwards;
    }
    // A function with one register that found no room must not answer at whatever that register holds.
    for (wish, place) in wishes.iter().zip(&plan.places) {
        if place.is_none() && wish.virtual_functions == 0 {
            let off = if wish.space == Space::Io { regs::COMMAND_IO } else { regs::COMMAND_MEMORY };
            if let Some(bits) = answers.get_mut(&wish.function) {
                *bits &= !off;
            }
        }
    }
    for (function, bits) in answers {
        let command = access.read32(function, regs::COMMAND) & 0xffff;
        // The upper half is status: zeros leave it alone.
        access.write32(function, regs::COMMAND, command | bits);
    }
    done
}

/// Turns decoding off and sizes a function's registers.
fn size<A: ConfigAccess + ?Sized>(
    access: &A,
    function: Bdf,
    wishes: &mut Vec<Wish>,
    findings: &mut Vec<Finding>,
) {
    let registers = match access.read32(function, regs::HEADER) >> 16 & 0x7f {
        0 => 6,
        1 => 2,
        _ => return,
    };
    // A host bridge's own registers may be what the CPU reaches the bus or its memory through.
    if access.read32(function, regs::CLASS) >> 16 == 0x0600 {
        return;
    }
    let command = access.read32(function, regs::COMMAND) & 0xffff;
    access.write32(function, regs::COMMAND, command & !(regs::COMMAND_IO | regs::COMMAND_MEMORY));
    size_block(access, function, regs::BAR, registers, 0, wishes, findings);

    let Some(sriov) = caps::find_extended(&FunctionSpace { access, function }, regs::EXT_SRIOV) else {
        return;
    };
    let total = access.read32(function, sriov.saturating_add(regs::SRIOV_TOTAL)) >> 16;
    let control = access.read32(function, sriov.saturating_add(regs::SRIOV_CONTROL));
    let first = sriov.saturating_add(regs::SRIOV_BAR);
    let fits = first <= regs::EXTENDED_BYTES - 24;
    if fits && total != 0 && total != 0xffff && control & (regs::SRIOV_VF_ENABLE | regs::SRIOV_VF_MEMORY) == 0
    {
        size_block(access, function, first, 6, total as u16, wishes, findings);
    }
}

/// Sizes `registers` registers from `first` on (7.5.1.2.1).
pub(super) fn size_block<A: ConfigAccess + ?Sized>(
    access: &A,
    function: Bdf,
    first: u16,
    registers: u8,
    virtual_functions: u16,
    wishes: &mut Vec<Wish>,
    findings: &mut Vec<Finding>,
) {
    let ask = |offset: u16| {
        access.write32(function, offset, u32::MAX);
        let answer = access.read32(function, offset);
        access.write32(function, offset, 0);
        answer
    };
    let mut index = 0;
    while index < registers {
        let (this, offset) = (index, first + u16::from(index) * 4);
        index += 1;
        let low = ask(offset);
        if low == 0 {
            continue;
        }
        let mut wrong = || {
            findings.push(Finding { function, problem: Problem::BarShape { index: this } });
        };
        let (space, wide, prefetchable, mask) = if low & 1 != 0 {
            // The upper half may be wired to zero: I/O addresses have 16 bits on most machines.
            let upper = if low & 0xffff_0000 == 0 { 0xffff_0000 } else { 0 };
            (Space::Io, false, false, u64::from(low & !3 | upper) | !0xffff_ffff)
        } else {
            let prefetchable = low & 8 != 0;
            match low >> 1 & 3 {
                // 1 was "below 1 MiB" and is reserved today; no such register matters any more.
                0 | 1 => (Space::Memory, false, prefetchable, u64::from(low & !0xf) | !0xffff_ffff),
                2 if index < registers => {
                    index += 1;
                    let high = ask(offset + 4);
                    (Space::Memory, true, prefetchable, u64::from(high) << 32 | u64::from(low & !0xf))
                }
                _ => {
                    wrong();
                    continue;
                }
            }
        };
        let bytes = mask & mask.wrapping_neg();
        // Every bit from the size up must be settable, and a register that takes no bit decodes nothing.
        if bytes == 0 || mask != bytes.wrapping_neg() || (!wide && bytes > u64::from(u32::MAX)) {
            wrong();
            continue;
        }
        wishes.push(Wish {
            function,
            index: this,
            offset,
            space,
            wide,
            prefetchable,
            bytes,
            virtual_functions,
        });
    }
}
