//! Registers of virtual functions where firmware assigned all others.

use super::{
    bars::{Assigned, Bar, Space, Wish, size_block},
    scan::{functions_on, link_below},
};
use crate::{Bdf, BusId, ConfigAccess, Finding, FunctionSpace, Problem, caps, regs};
use alloc::vec::Vec;
use ioward_types::PhysAddr;

/// Finds room for the registers of a physical function's virtual functions in the memory windows that the bridge above
/// it has open, beside what the functions behind the bridge decode already, and writes them.
///
/// PC firmware assigns base addresses but as a rule none of virtual functions. `bridge` is the one that leads to
/// `physical`. Addresses on the bus and the CPU's are taken for equal, as they are on a PC. For a moment each function
/// behind the bridge decodes nothing: none of them may be in use yet. Virtual functions that are enabled already are left
/// alone.
pub fn assign_virtual_bars<A: ConfigAccess + ?Sized>(access: &A, bridge: Bdf, physical: Bdf) -> Assigned {
    let mut done = Assigned::default();
    if virtual_registers(access, physical).is_none_or(|(_, _, on)| on) {
        return done;
    }
    let bus = BusId { segment: bridge.segment, number: (access.read32(bridge, regs::BUSES) >> 8) as u8 };
    let (mut taken, mut wishes) = (Vec::new(), Vec::new());
    for function in functions_on(access, bus, link_below(access, bridge)) {
        taken.extend(decoded(access, function));
        if function == physical {
            wishes = virtual_wishes(access, function, &mut done.findings);
        }
    }
    // The largest first, so that alignment leaves no gaps.
    wishes.sort_by_key(|wish| core::cmp::Reverse(wish.bytes));
    let windows = open_windows(access, bridge);
    for wish in wishes {
        let bytes = u128::from(wish.bytes) * u128::from(wish.virtual_functions);
        let fits = |&(first, last): &(u64, u64)| room(first, last, wish.bytes, bytes, wish.wide, &taken);
        let Some(at) = windows.iter().find_map(fits) else {
            let problem = Problem::BarNoRoom { index: wish.index, bytes: wish.bytes };
            done.findings.push(Finding { function: physical, problem });
            continue;
        };
        access.write32(physical, wish.offset, at as u32);
        if wish.wide {
            access.write32(physical, wish.offset + 4, (at >> 32) as u32);
        }
        taken.push((at, (u128::from(at) + bytes - 1) as u64));
        let Wish { function, index, space, bytes, virtual_functions, .. } = wish;
        done.bars.push(Bar { function, index, space, bus: at, cpu: PhysAddr(at), bytes, virtual_functions });
    }
    done
}

/// The lowest place for `bytes` bytes, aligned to `align`, between `first` and `last` that overlaps nothing taken.
fn room(first: u64, last: u64, align: u64, bytes: u128, wide: bool, taken: &[(u64, u64)]) -> Option<u64> {
    let last = if wide { last } else { last.min(u32::MAX.into()) };
    let mut at = first.checked_next_multiple_of(align)?;
    // Each round passes one that is taken for good.
    for _ in 0..=taken.len() {
        let end = u128::from(at) + bytes - 1;
        if end > u128::from(last) {
            return None;
        }
        let Some((_, over)) = taken.iter().find(|(from, to)| u128::from(*from) <= end && *to >= at) else {
            return Some(at);
        };
        at = over.checked_add(1)?.checked_next_multiple_of(align)?;
    }
    None
}

/// The memory windows of a bridge (7.5.1.3.8 to 7.5.1.3.10), first and last address.
fn open_windows<A: ConfigAccess + ?Sized>(access: &A, bridge: Bdf) -> Vec<(u64, u64)> {
    let read = |offset| u64::from(access.read32(bridge, offset));
    let halves = |word: u64| ((word & 0xfff0) << 16, word & 0xfff0_0000 | 0xf_ffff);
    let low = halves(read(regs::MEMORY_WINDOW));
    let word = read(regs::PREFETCH_WINDOW);
    let (mut first, mut last) = halves(word);
    if word & 0xf == 1 {
        first |= read(regs::PREFETCH_BASE_UPPER) << 32;
        last |= read(regs::PREFETCH_LIMIT_UPPER) << 32;
    }
    // A window whose base is zero was never opened: nothing is assigned at address zero.
    [(first, last), low].into_iter().filter(|(first, last)| *first != 0 && first < last).collect()
}

/// What a function's memory registers decode now, first and last address; for a bridge, what it forwards.
fn decoded<A: ConfigAccess + ?Sized>(access: &A, function: Bdf) -> Vec<(u64, u64)> {
    let mut spans = Vec::new();
    let registers = match access.read32(function, regs::HEADER) >> 16 & 0x7f {
        0 => 6,
        1 => {
            spans = open_windows(access, function);
            2
        }
        _ => return spans,
    };
    let command = access.read32(function, regs::COMMAND) & 0xffff;
    access.write32(function, regs::COMMAND, command & !(regs::COMMAND_IO | regs::COMMAND_MEMORY));
    spans.extend(held(access, function, regs::BAR, registers, 1));
    access.write32(function, regs::COMMAND, command);
    if let Some((first, total, _)) = virtual_registers(access, function) {
        spans.extend(held(access, function, first, 6, total));
    }
    spans
}

/// Sizes registers, puts back what they held, and tells where each of them that holds something is. Each stands for
/// `count` pieces, one after the other.
fn held<A: ConfigAccess + ?Sized>(
    access: &A,
    function: Bdf,
    first: u16,
    registers: u8,
    count: u16,
) -> Vec<(u64, u64)> {
    let offsets = || (0..registers).map(|index| first + u16::from(index) * 4);
    let before: Vec<u32> = offsets().map(|offset| access.read32(function, offset)).collect();
    let (mut wishes, mut findings) = (Vec::new(), Vec::new());
    size_block(access, function, first, registers, count, &mut wishes, &mut findings);
    offsets().zip(&before).for_each(|(offset, value)| access.write32(function, offset, *value));
    let value = |wish: &Wish| {
        let at = usize::from(wish.index);
        let high = if wish.wide { before.get(at + 1).copied().unwrap_or(0) } else { 0 };
        u64::from(high) << 32 | u64::from(before[at] & !0xf)
    };
    wishes
        .iter()
        .filter(|wish| wish.space == Space::Memory && value(wish) != 0)
        .filter_map(|wish| {
            let bytes = wish.bytes.checked_mul(count.into())?;
            Some((value(wish), value(wish).checked_add(bytes - 1)?))
        })
        .collect()
}

/// Where the registers of a function's virtual functions begin, how many share each, and whether they are in use.
fn virtual_registers<A: ConfigAccess + ?Sized>(access: &A, function: Bdf) -> Option<(u16, u16, bool)> {
    let sriov = caps::find_extended(&FunctionSpace { access, function }, regs::EXT_SRIOV)?;
    let first = sriov.checked_add(regs::SRIOV_BAR).filter(|first| *first <= regs::EXTENDED_BYTES - 24)?;
    let total = access.read32(function, sriov + regs::SRIOV_TOTAL) >> 16;
    let control = access.read32(function, sriov + regs::SRIOV_CONTROL);
    let on = control & (regs::SRIOV_VF_ENABLE | regs::SRIOV_VF_MEMORY) != 0;
    (total != 0 && total != 0xffff).then_some((first, total as u16, on))
}

/// The registers of virtual functions that hold nothing yet.
fn virtual_wishes<A: ConfigAccess + ?Sized>(
    access: &A,
    function: Bdf,
    findings: &mut Vec<Finding>,
) -> Vec<Wish> {
    let mut wishes = Vec::new();
    if let Some((first, total, false)) = virtual_registers(access, function) {
        let empty = (0..6).all(|index| access.read32(function, first + index * 4) & !0xf == 0);
        if empty {
            size_block(access, function, first, 6, total, &mut wishes, findings);
            wishes.retain(|wish| wish.space == Space::Memory);
        }
    }
    wishes
}
