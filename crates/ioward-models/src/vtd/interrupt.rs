//! Interrupt remapping (5.1).

use super::{
    cache::InterruptEntry,
    fault::{Fault, Stop},
    unit::Unit,
};
use crate::MessageOutcome;
use ioward_spec::vtd::{
    fault::reason,
    interrupts::{self, address, data, delivery, irte},
    registers::{gsts, irta},
};
use ioward_types::{Iova, PhysAddr, SourceId};

impl Unit {
    /// A write of `data` to the interrupt range.
    pub fn message(&mut self, source: SourceId, at: Iova, data: u32) -> MessageOutcome {
        if !self.registers.is(gsts::IRES) {
            return MessageOutcome::Unremapped;
        }
        if address::FORMAT.in_place(at.0) == 0 {
            let extended = irta::EIME.in_place(self.registers.interrupt_table) != 0;
            if extended || !self.registers.is(gsts::CFIS) {
                self.record_interrupt(source.0, 0, Fault::new(reason::INTERRUPT_COMPATIBILITY));
                return MessageOutcome::Aborted;
            }
            return MessageOutcome::Unremapped;
        }
        let handle = (address::HANDLE_15.of(at.0) << 15 | address::HANDLE_14_0.of(at.0)) as u32;
        let (index, wrong) = if address::SHV.in_place(at.0) != 0 {
            let sub = data::SUBHANDLE.of(data.into()) as u32;
            (handle + sub, u64::from(data) & !data::SUBHANDLE.mask() != 0)
        } else {
            (handle, false)
        };
        let found =
            if wrong { Err(reason::INTERRUPT_REQUEST_RESERVED.into()) } else { self.remap(source, index) };
        match found {
            Ok(delivered) => delivered,
            Err(Stop::Fault(fault)) => {
                self.record_interrupt(source.0, index & 0xffff, fault);
                MessageOutcome::Aborted
            }
            Err(Stop::Poisoned(what)) => {
                self.violation(
                    "VT-d 6.7",
                    format!(
                        "interrupt {index} of source {:#x}: the {what} comes from cache contents that nobody has \
                         invalidated since bring-up",
                        source.0
                    ),
                );
                MessageOutcome::Aborted
            }
        }
    }

    fn remap(&mut self, source: SourceId, index: u32) -> Result<MessageOutcome, Stop> {
        let table = self.registers.interrupt_table;
        let entries = 1u32 << (irta::S.of(table) + 1);
        let Some(index) = u16::try_from(index).ok().filter(|index| u32::from(*index) < entries) else {
            return Err(reason::INTERRUPT_INDEX.into());
        };
        let words = self.find_interrupt_entry(table, index)?;
        let fault = |reason| Stop::Fault(Fault { reason, silent: irte::FPD.is_set(&words) });
        if !irte::P.is_set(&words) {
            return Err(fault(reason::INTERRUPT_NOT_PRESENT));
        }
        let extended = irta::EIME.in_place(table) != 0;
        if let Some(what) = wrong_entry(&words, extended) {
            self.violation("VT-d 9.10", format!("interrupt entry {index:#x}, {words:#018x?}: {what}"));
            return Err(fault(reason::INTERRUPT_RESERVED));
        }
        if !source_fits(&words, source.0 as u16) {
            return Err(fault(reason::INTERRUPT_SOURCE));
        }
        Ok(MessageOutcome::Delivered {
            vector: irte::V.get(&words) as u8,
            destination: if extended { irte::DST } else { irte::DST_XAPIC }.get(&words) as u32,
            logical: irte::DM.is_set(&words),
            delivery: irte::DLM.get(&words) as u8,
            level: irte::TM.is_set(&words),
        })
    }

    /// An entry as the unit takes it: cached, or read and cached.
    fn find_interrupt_entry(&mut self, table: u64, index: u16) -> Result<[u64; interrupts::WORDS], Stop> {
        if let Some(cached) = self.caches.interrupts.get(&index) {
            if !self.memory.is_allocated(cached.at) {
                self.violation(
                    "VT-d 6.5.2.7",
                    format!("the table of interrupt entry {index:#x} was freed while it is cached"),
                );
            }
            return Ok(cached.words);
        }
        if self.caches.poisoned_interrupt(index) {
            return Err(Stop::Poisoned("interrupt entry"));
        }
        let at = irta::IRTA.in_place(table).wrapping_add(u64::from(index) * interrupts::BYTES as u64);
        let words = self.read_words(at).map_err(|error| {
            self.violation("VT-d 11.4.10", format!("the interrupt remapping table: {error}"));
            Stop::from(reason::INTERRUPT_ACCESS)
        })?;
        let valid = irte::P.is_set(&words) && wrong_entry(&words, irta::EIME.in_place(table) != 0).is_none();
        if valid || self.config.caching_mode {
            self.caches.interrupts.insert(index, InterruptEntry { words, at: PhysAddr(at) });
        }
        Ok(words)
    }
}

fn wrong_entry(words: &[u64; interrupts::WORDS], extended: bool) -> Option<&'static str> {
    if irte::IM.is_set(words) {
        return Some("posted, which the unit does not support");
    }
    if words.iter().zip(irte::RESERVED).any(|(word, reserved)| word & reserved != 0) {
        return Some("a reserved bit is set");
    }
    if !extended && words[0] & irte::DST_RESERVED_XAPIC != 0 {
        return Some("a destination beyond xAPIC without EIME");
    }
    if irte::SVT.get(words) > irte::svt::BUS {
        return Some("a reserved source validation type");
    }
    let known =
        [delivery::FIXED, delivery::LOWEST, delivery::SMI, delivery::NMI, delivery::INIT, delivery::EXT_INT];
    if !known.contains(&irte::DLM.get(words)) {
        return Some("a reserved delivery mode");
    }
    None
}

fn source_fits(words: &[u64; interrupts::WORDS], source: u16) -> bool {
    let expected = irte::SID.get(words) as u16;
    match irte::SVT.get(words) {
        irte::svt::SID_SQ => {
            let ignored = match irte::SQ.get(words) {
                irte::sq::ALL => 0,
                irte::sq::NOT_2 => 0b100,
                irte::sq::NOT_2_1 => 0b110,
                _ => 0b111,
            };
            (expected ^ source) & !ignored == 0
        }
        irte::svt::BUS => (expected >> 8..=expected & 0xff).contains(&(source >> 8)),
        _ => true,
    }
}
