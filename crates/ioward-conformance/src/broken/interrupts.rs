//! Interrupt remapping, with a mistake.

use super::Mistake;
use ioward_core::driver::{
    Driver, Hung, InterruptCapabilities, InterruptEntries, InterruptFrom, InterruptMessage, InterruptTo,
    Refused, RemapInterrupts,
};
use ioward_types::SourceId;
use std::sync::{Arc, Mutex, PoisonError};

pub(super) struct BrokenInterrupts {
    under: Arc<dyn Driver>,
    mistake: Mistake,
    sources: [u32; 3],
    /// Entries of others beside those that were asked for.
    beside: Mutex<Vec<InterruptEntries>>,
}

impl BrokenInterrupts {
    /// Over a driver that remaps interrupts.
    pub fn new(under: Arc<dyn Driver>, mistake: Mistake, sources: [u32; 3]) -> Self {
        Self { under, mistake, sources, beside: Mutex::default() }
    }

    fn remapping(&self) -> &dyn RemapInterrupts {
        self.under.interrupts().expect("checked when it was made")
    }
}

impl RemapInterrupts for BrokenInterrupts {
    fn interrupt_capabilities(&self) -> InterruptCapabilities {
        self.remapping().interrupt_capabilities()
    }

    fn reserve(&self, from: InterruptFrom, count: u16) -> Result<InterruptEntries, Refused> {
        let mut entries = self.remapping().reserve(from, count)?;
        match self.mistake {
            Mistake::MisplacesEntries => entries.first += 1,
            Mistake::ChecksNoSource => {
                for source in self.sources {
                    let other = self.remapping().reserve(InterruptFrom::Source(SourceId(source)), count)?;
                    self.beside.lock().unwrap_or_else(PoisonError::into_inner).push(other);
                }
            }
            _ => {}
        }
        Ok(entries)
    }

    fn remap(
        &self,
        entries: &InterruptEntries,
        nth: u16,
        to: &InterruptTo,
    ) -> Result<InterruptMessage, Refused> {
        let other = match *to {
            InterruptTo::Apic(mut target) => {
                target.vector = target.vector.wrapping_add(1);
                InterruptTo::Apic(target)
            }
            other => other,
        };
        match self.mistake {
            Mistake::RaisesTheNext => return self.remapping().remap(entries, nth, &other),
            Mistake::RemapsThroughAnother => {
                self.remapping().remap(entries, nth, &other)?;
            }
            Mistake::ChecksNoSource => {
                for beside in self.beside.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                    self.remapping().remap(beside, nth, to)?;
                }
            }
            _ => {}
        }
        self.remapping().remap(entries, nth, to)
    }

    fn mask(&self, entries: &InterruptEntries, nth: u16) -> Result<(), Hung> {
        let masked = self.remapping().mask(entries, nth);
        if self.mistake == Mistake::ConfirmsFalsely { Ok(()) } else { masked }
    }

    fn release(&self, entries: InterruptEntries) -> Result<(), Hung> {
        match self.mistake {
            Mistake::ReleasesNoEntries => Ok(()),
            Mistake::ConfirmsFalsely => {
                let _ = self.remapping().release(entries);
                Ok(())
            }
            _ => self.remapping().release(entries),
        }
    }

    fn isolates(&self, source: SourceId) -> bool {
        self.remapping().isolates(source)
    }
}
