//! Fault records, fault status and the unit's own interrupts (7.2, 7.3, 11.4.7).

use super::{
    model::{Event, EventKind},
    registers::EventRegisters,
    unit::Unit,
};
use crate::{Access, Request};
use ioward_spec::{
    Field,
    vtd::{
        fault::{WORDS, reason, record},
        registers::*,
    },
};

/// Why a request is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fault {
    pub reason: u64,
    /// FPD was set on the way.
    pub silent: bool,
}

impl Fault {
    pub fn new(reason: u64) -> Self {
        Self { reason, silent: false }
    }
}

/// Why a request does not go on as it should.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stop {
    Fault(Fault),
    /// It meets cache contents from before bring-up; of which kind.
    Poisoned(&'static str),
}

impl From<u64> for Stop {
    fn from(reason: u64) -> Self {
        Self::Fault(Fault::new(reason))
    }
}

/// Faults that FPD silences (7.1.3): those found with a context entry at hand.
fn is_qualified(reason: u64) -> bool {
    !matches!(
        reason,
        reason::ROOT_NOT_PRESENT
            | reason::ROOT_ACCESS
            | reason::CONTEXT_ACCESS
            | reason::ROOT_RESERVED
            | reason::RTADDR_INVALID..=reason::SM_CONTEXT_ACCESS
            | reason::SM_DIRECTORY_ACCESS
            | reason::SM_PASID_ACCESS
            | reason::INTERRUPT_REQUEST_RESERVED..=reason::INTERRUPT_INDEX
            | reason::INTERRUPT_ACCESS
            | reason::INTERRUPT_COMPATIBILITY
    )
}

/// Faults that a translation request gets an answer for, with no rights, and that are not recorded (4.1.3).
pub(super) fn is_quiet_ahead(reason: u64) -> bool {
    matches!(
        reason,
        reason::ADDRESS_BEYOND
            | reason::WRITE
            | reason::READ
            | reason::FS_NOT_PRESENT
            | reason::SS_PERMISSION
            | reason::NOT_CANONICAL
            ..=reason::SM_READ | reason::SM_DIRECTORY_NOT_PRESENT | reason::SM_PASID_NOT_PRESENT
    )
}

impl Unit {
    /// Records a fault of a request, of address type `at`.
    pub fn record(&mut self, request: &Request, at: u64, fault: Fault) {
        if fault.silent && is_qualified(fault.reason) {
            return;
        }
        let mut words = [0; WORDS];
        record::FI.set_in_place(&mut words, request.at.0);
        record::T1.set(&mut words, u64::from(request.access != Access::Write));
        record::AT.set(&mut words, at);
        if let Some(pasid) = request.pasid {
            record::PP.set(&mut words, 1);
            record::PV.set(&mut words, pasid.0.into());
            record::EXE.set(&mut words, u64::from(request.access == Access::Execute));
            record::PRIV.set(&mut words, request.privileged.into());
        }
        self.record_words(request.source.0, fault.reason, words);
    }

    /// Records a fault of an interrupt request for an index.
    pub fn record_interrupt(&mut self, source: u32, index: u32, fault: Fault) {
        if fault.silent && is_qualified(fault.reason) {
            return;
        }
        let mut words = [0; WORDS];
        record_index(&mut words, index);
        self.record_words(source, fault.reason, words);
    }

    fn record_words(&mut self, source: u32, reason: u64, mut words: [u64; WORDS]) {
        record::SID.set(&mut words, source.into());
        record::FR.set(&mut words, reason);
        record::F.set(&mut words, 1);
        let r = &mut self.registers;
        // An overflow stands until software has seen it.
        if r.has_fault(fsts::PFO) || r.records.is_empty() {
            return;
        }
        if record::F.is_set(&r.records[r.next_record]) {
            return self.raise_fault_status(fsts::PFO);
        }
        let quiet = !self.any_fault();
        let r = &mut self.registers;
        r.records[r.next_record] = words;
        r.next_record = (r.next_record + 1) % r.records.len();
        if quiet {
            self.raise(EventKind::Fault);
        }
    }

    /// Whether software has something to look at in FSTS.
    fn any_fault(&self) -> bool {
        self.fault_status() & !(fsts::FRI.mask() as u32) != 0
    }

    /// FSTS as software reads it.
    pub fn fault_status(&self) -> u32 {
        let r = &self.registers;
        let count = r.records.len().max(1);
        // The oldest is the first set one from the next to be written on.
        let first = (0..r.records.len())
            .map(|n| (r.next_record + n) % count)
            .find(|&n| record::F.is_set(&r.records[n]));
        match first {
            Some(first) => r.fsts | (fsts::PPF.mask() | fsts::FRI.put(first as u64)) as u32,
            None => r.fsts,
        }
    }

    /// Sets a bit of FSTS; an interrupt follows where nothing else stood.
    pub fn raise_fault_status(&mut self, field: Field) {
        let quiet = !self.any_fault();
        self.registers.fsts |= field.mask() as u32;
        if quiet {
            self.raise(EventKind::Fault);
        }
    }

    /// Software writes FSTS.
    pub fn clear_faults(&mut self, value: u32) {
        let clears = (fsts::PFO.mask() | fsts::IQE.mask() | fsts::ICE.mask() | fsts::ITE.mask()) as u32;
        self.registers.fsts &= !(value & clears);
        if !self.any_fault() {
            self.registers.fault_event.pending = false;
        }
        self.run_queue();
    }

    /// Software clears F of a record.
    pub fn clear_record(&mut self, index: usize) {
        if let Some(words) = self.registers.records.get_mut(index) {
            record::F.set(words, 0);
        }
        if !self.any_fault() {
            self.registers.fault_event.pending = false;
        }
    }

    fn event(&mut self, kind: EventKind) -> &mut EventRegisters {
        match kind {
            EventKind::Fault => &mut self.registers.fault_event,
            EventKind::Invalidation => &mut self.registers.invalidation_event,
            EventKind::PageRequest => &mut self.registers.page_request_event,
        }
    }

    /// Sends one of the unit's own interrupts, or holds it back while it is masked.
    pub fn raise(&mut self, kind: EventKind) {
        let event = self.event(kind);
        if event.masked {
            event.pending = true;
            return;
        }
        let address = u64::from(event.upper) << 32 | event_address::MA.in_place(event.address.into());
        let sent = Event { kind, address, data: event.data };
        self.events.push(sent);
    }

    /// Software writes one of the four registers of an event; `offset` in bytes.
    pub fn write_event(&mut self, kind: EventKind, offset: usize, value: u32) {
        let event = self.event(kind);
        match offset {
            0 => {
                event.masked = event_control::IM.in_place(value.into()) != 0;
                if !event.masked && core::mem::take(&mut event.pending) {
                    self.raise(kind);
                }
            }
            4 => event.data = value,
            8 => event.address = value,
            _ => event.upper = value,
        }
    }
}

fn record_index(words: &mut [u64; WORDS], index: u32) {
    record::INDEX.set(words, index.into());
}
