//! A hot-plug slot below a port (PCI Express Base 6.0, 6.7), as a kernel without interrupts drives it.

use crate::{pci::Pci, time::within};
use alloc::string::String;
use ioward::{
    pci::{Bdf, ConfigAccess as _, Ecam, FunctionSpace, caps, regs},
    types::{MmioPtr, Nanos},
};

/// Slot capabilities (7.5.3.9), from the PCI Express capability on.
const CAPABILITIES: u16 = 0x14;
const POWER_CONTROLLER: u32 = 1 << 1;
const HOT_PLUG: u32 = 1 << 6;
const NEVER_COMPLETES: u32 = 1 << 18;
/// Slot control in the lower half (7.5.3.10), slot status in the upper (7.5.3.11).
const CONTROL: u16 = 0x18;
const INDICATOR_ON: u32 = 1 << 8;
const INDICATOR_OFF: u32 = 3 << 8;
const POWER_OFF: u32 = 1 << 10;
const PRESSED: u32 = 1 << 16;
const COMPLETED: u32 = 1 << 20;
const OCCUPIED: u32 = 1 << 22;
/// How long a command may take (6.7.3.2).
const LIMIT: Nanos = Nanos(1_000_000_000);

/// One of them.
pub struct Slot<'a> {
    access: &'a Ecam<MmioPtr>,
    /// The port that it is below.
    pub port: Bdf,
    express: u16,
}

impl<'a> Slot<'a> {
    /// The slot below `port`, if it has one whose power can be turned off.
    pub fn of(pci: &'a Pci, port: Bdf) -> Option<Self> {
        let access = pci.access();
        let express = caps::find(&FunctionSpace { access, function: port }, regs::CAP_PCIE)?;
        let slot = Self { access, port, express };
        // Bit 24 of the first doubleword: a slot is implemented (7.5.3.2).
        let implemented = access.read32(port, express) >> 24 & 1 != 0;
        let needs = POWER_CONTROLLER | HOT_PLUG;
        (implemented && slot.read(CAPABILITIES) & needs == needs).then_some(slot)
    }

    fn read(&self, offset: u16) -> u32 {
        self.access.read32(self.port, self.express + offset)
    }

    /// Whether something is in it.
    pub fn occupied(&self) -> bool {
        self.read(CONTROL) & OCCUPIED != 0
    }

    /// Whether somebody has pressed its button since this was asked last: what is in it shall go.
    pub fn pressed(&self) -> bool {
        let value = self.read(CONTROL);
        // A port that is gone reads as all ones, and nobody has pressed anything there.
        if value == u32::MAX {
            return false;
        }
        if value & PRESSED != 0 {
            // Status is cleared by writing ones; zeros leave the rest of it alone.
            self.access.write32(self.port, self.express + CONTROL, value & 0xffff | PRESSED);
        }
        value & PRESSED != 0
    }

    /// Turns its power on or off. What is in it is gone from the bus when the power is off.
    pub fn power(&self, on: bool) -> Result<(), String> {
        let kept = self.read(CONTROL) & 0xffff & !(INDICATOR_OFF | POWER_OFF);
        let bits = if on { INDICATOR_ON } else { INDICATOR_OFF | POWER_OFF };
        self.access.write32(self.port, self.express + CONTROL, kept | bits | COMPLETED);
        if self.read(CAPABILITIES) & NEVER_COMPLETES != 0 {
            return Ok(());
        }
        within(LIMIT, "the slot's answer", || self.read(CONTROL) & COMPLETED != 0)
    }
}
