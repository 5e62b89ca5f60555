//! Virtual functions: turned on and off in a physical function's SR-IOV capability (PCI Express Base 6.0, 9.3.3).

use crate::{pci::Pci, time};
use alloc::{format, string::String, vec::Vec};
use ioward::{
    pci::{Bdf, ConfigAccess as _, Ecam, FunctionSpace, caps, regs},
    types::{MmioPtr, Nanos},
};

/// How long nobody may ask virtual functions after they were turned on (9.3.3.3.1).
const SETTLE: Nanos = Nanos(100_000_000);
/// How long they may put the answer off from then on; how long nothing of the capability may be read or changed after they
/// were turned off (9.3.3.3.1).
const SECOND: Nanos = Nanos(1_000_000_000);

/// The virtual functions of one physical function, turned on until this is turned [`off`](Self::off).
pub struct VirtualFunctions<'a> {
    access: &'a Ecam<MmioPtr>,
    physical: Bdf,
    capability: u16,
    /// Where they are.
    pub functions: Vec<Bdf>,
}

impl<'a> VirtualFunctions<'a> {
    /// Turns `count` of them on. Their registers have been assigned, with all others or by
    /// [`assign_virtual_bars`](ioward::pci::enumerate::assign_virtual_bars); none of them may issue requests yet.
    pub fn on(pci: &'a Pci, physical: Bdf, count: u16) -> Result<Self, String> {
        let access = pci.access();
        let capability = caps::find_extended(&FunctionSpace { access, function: physical }, regs::EXT_SRIOV)
            .ok_or_else(|| format!("{physical} has no virtual functions"))?;
        let read = |offset| access.read32(physical, capability + offset);
        let total = (read(regs::SRIOV_TOTAL) >> 16) as u16;
        if !(1..=total).contains(&count) {
            return Err(format!("{physical} has {total} virtual functions, not {count}"));
        }
        if pci.virtual_registers(physical, 0, usize::from(count) - 1).is_none() {
            return Err(format!("the registers of {physical}'s virtual functions are not assigned"));
        }
        access.write32(physical, capability + regs::SRIOV_NUM, count.into());
        // Offset and stride hold for this count, and do not change any more (9.3.3.9, 9.3.3.10).
        let placement = read(regs::SRIOV_OFFSET);
        let (offset, stride) = (placement as u16, (placement >> 16) as u16);
        let nth =
            |index: u16| physical.requester().checked_add(offset)?.checked_add(stride.checked_mul(index)?);
        let functions: Option<Vec<Bdf>> =
            (0..count).map(|index| Some(Bdf::of_requester(physical.segment, nth(index)?))).collect();
        let functions =
            functions.ok_or_else(|| format!("{physical}'s virtual functions lie behind bus 255"))?;
        let control = read(regs::SRIOV_CONTROL) & 0xffff;
        let on = control | regs::SRIOV_VF_ENABLE | regs::SRIOV_VF_MEMORY;
        access.write32(physical, capability + regs::SRIOV_CONTROL, on);
        time::pause(SETTLE);
        let all = Self { access, physical, capability, functions };
        // Wired to zero in a virtual function, whose registers answer by the physical function's leave (9.3.4.1.3); QEMU's
        // want it.
        for function in &all.functions {
            access.write32(*function, regs::COMMAND, regs::COMMAND_MEMORY);
        }
        // Their vendor ID is all ones like an absent function's; their class is not.
        let answer = |function: &Bdf| access.read32(*function, regs::CLASS) != u32::MAX;
        for function in &all.functions {
            time::within(SECOND, "the first answer of a virtual function", || answer(function))
                .map_err(|why| format!("{function} of {physical}: {why}"))?;
        }
        Ok(all)
    }

    /// Whose they are.
    pub fn physical(&self) -> Bdf {
        self.physical
    }

    /// Turns them off. Nothing of theirs may be in use any more; what they still have under way is theirs to lose.
    pub fn off(self) -> Result<(), String> {
        let at = self.capability + regs::SRIOV_CONTROL;
        let control = self.access.read32(self.physical, at) & 0xffff;
        let on = regs::SRIOV_VF_ENABLE | regs::SRIOV_VF_MEMORY;
        self.access.write32(self.physical, at, control & !on);
        // There is nothing to poll: no register tells before that time is over.
        time::pause(SECOND);
        self.access.write32(self.physical, self.capability + regs::SRIOV_NUM, 0);
        match self.functions.iter().find(|function| self.access.read32(**function, regs::CLASS) != u32::MAX) {
            None => Ok(()),
            Some(left) => Err(format!("virtual function {left} still answers")),
        }
    }
}
