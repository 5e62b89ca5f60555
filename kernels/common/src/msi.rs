//! A device's message-signalled interrupt by way of its IOMMU: what a kernel's MSI code does where interrupts are remapped.
//!
//! The message that the device is programmed with names an entry of the IOMMU's table, and the entry says which vector is
//! raised on which CPU. Whoever moves an interrupt to another CPU changes the entry and leaves the device alone.

use crate::pci::Pci;
use alloc::{
    format,
    string::{String, ToString as _},
};
use ioward::{
    core::driver::{
        ApicTarget, InterruptEntries, InterruptFrom, InterruptMessage, InterruptTo, RemapInterrupts,
    },
    pci::{Bdf, FunctionSpace, caps},
    types::SourceId,
};

/// The MSI capability (PCI 3.0, 6.8.1): its number, and bits of its first 32.
const MSI: u8 = 0x05;
const ENABLE: u32 = 1 << 16;
const WIDE: u32 = 1 << 23;
/// How many of its messages are in use, as a power of two: one.
const MESSAGES: u32 = 7 << 20;

/// A function's one message.
pub struct Msi<'a> {
    pci: &'a Pci,
    function: Bdf,
    capability: u16,
}

impl<'a> Msi<'a> {
    /// That of `function`; an error where it has none.
    pub fn of(pci: &'a Pci, function: Bdf) -> Result<Self, String> {
        let capability = caps::find(&FunctionSpace { access: pci.access(), function }, MSI);
        let capability = capability.ok_or_else(|| format!("{function} has no MSI"))?;
        Ok(Self { pci, function, capability })
    }

    /// Has the function send this message from now on.
    pub fn send(&self, message: &InterruptMessage) {
        let write = |offset, value| self.pci.write(self.function, self.capability + offset, value);
        let control = self.pci.read(self.function, self.capability) & !(ENABLE | MESSAGES);
        write(0, control);
        write(4, message.address as u32);
        if control & WIDE != 0 {
            write(8, (message.address >> 32) as u32);
            write(12, message.data);
        } else {
            write(8, message.data);
        }
        write(0, control | ENABLE);
    }
}

/// An interrupt of a device: its entry in the IOMMU's table.
pub struct Interrupt<'a> {
    remap: &'a dyn RemapInterrupts,
    entries: InterruptEntries,
}

impl<'a> Interrupt<'a> {
    /// An entry that only messages of `source` get through; none does before [`aim`](Self::aim).
    pub fn reserve(remap: &'a dyn RemapInterrupts, source: SourceId) -> Result<Self, String> {
        let entries = remap.reserve(InterruptFrom::Source(source), 1).map_err(|why| why.to_string())?;
        Ok(Self { remap, entries })
    }

    /// Has it raise `vector` on the CPU with this APIC ID, whatever it did before. The device is to send what is returned.
    pub fn aim(&self, vector: u8, destination: u32) -> Result<InterruptMessage, String> {
        let to = InterruptTo::Apic(ApicTarget { vector, destination, ..ApicTarget::default() });
        self.remap.remap(&self.entries, 0, &to).map_err(|why| why.to_string())
    }

    /// Lets none of its messages through, until it is aimed again.
    pub fn mask(&self) -> Result<(), String> {
        self.remap.mask(&self.entries, 0).map_err(|hung| hung.to_string())
    }

    /// Gives the entry back; it is masked.
    pub fn release(self) -> Result<(), String> {
        self.remap.release(self.entries).map_err(|hung| hung.to_string())
    }
}
