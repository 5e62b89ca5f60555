//! The event log and the hardware event registers (48882 §2.5).

use super::unit::Unit;
use crate::{Access, BusError, Request};
use ioward_spec::amdvi::{
    control, events,
    registers::{buffer, hardware_event, status},
};
use ioward_types::PhysAddr;

/// Why a walk ended without a translation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum WalkFault {
    /// An entry was not present, or the address is beyond what the tables translate.
    NotPresent,
    /// An entry had a reserved bit set.
    Reserved,
    /// An entry had a level or size that is no legal one.
    Encoding,
    /// The device lacks the right.
    Permission,
    /// No memory answered at an entry's address.
    Bus(PhysAddr),
    /// The request met cache contents from before bring-up.
    Poisoned,
}

impl From<BusError> for WalkFault {
    fn from(error: BusError) -> Self {
        Self::Bus(error.0)
    }
}

/// A record with its code.
pub(super) fn record(code: u64) -> [u64; 2] {
    let mut words = [0; 2];
    events::EVENT_CODE.set(&mut words, code);
    words
}

/// A record about a request: device, PASID, what it wanted.
pub(super) fn about(code: u64, request: &Request, ahead: bool) -> [u64; 2] {
    let mut words = record(code);
    events::DEVICE_ID.set(&mut words, request.source.0.into());
    events::RW.set(&mut words, (request.access == Access::Write).into());
    events::TR.set(&mut words, ahead.into());
    if let Some(pasid) = request.pasid {
        events::GN.set(&mut words, 1);
        events::DOMAIN_ID_OR_PASID_15_0.set(&mut words, pasid.0.into());
        events::PASID_19_16.set(&mut words, u64::from(pasid.0) >> 16);
    }
    events::ADDRESS.set(&mut words, request.at.0);
    words
}

impl Unit {
    /// Writes an event, or notes that it was lost.
    pub fn log(&mut self, words: [u64; 2]) {
        self.note_hardware_event(words);
        if !self.registers.has(status::EVENT_LOG_RUN) {
            return;
        }
        let ring = self.registers.events;
        let next = ring.after(ring.tail);
        if next == ring.head {
            // Nothing is logged until software has cleared the overflow and restarted the log (§2.5.1).
            self.registers.set_status(status::EVENT_OVERFLOW, true);
            self.registers.set_status(status::EVENT_LOG_RUN, false);
        } else {
            let at = ring.address() + ring.tail;
            let written = self.store(PhysAddr(at), words[0]).and(self.store(PhysAddr(at + 8), words[1]));
            if written.is_err() {
                self.violation("48882 §2.5", format!("the event log at {at:#x} is not in memory"));
                return;
            }
            self.registers.events.tail = next;
        }
        self.registers.set_status(status::EVENT_LOG_INT, true);
        if self.registers.is(control::EVENT_INT_EN) {
            self.interrupts += 1;
        }
    }

    fn note_hardware_event(&mut self, words: [u64; 2]) {
        let code = events::EVENT_CODE.get(&words);
        let concerns = matches!(
            code,
            events::DEV_TAB_HARDWARE_ERROR | events::PAGE_TAB_HARDWARE_ERROR | events::COMMAND_HARDWARE_ERROR
        );
        if !concerns || !self.config.hardware_events {
            return;
        }
        let valid = &mut self.registers.hardware_event_status;
        if hardware_event::HEV.in_place(*valid) != 0 {
            *valid |= hardware_event::HEO.mask();
        } else {
            *valid |= hardware_event::HEV.mask();
            self.registers.hardware_event = words;
        }
    }

    /// ILLEGAL_DEV_TABLE_ENTRY (§2.5.2).
    pub fn log_illegal_entry(&mut self, request: &Request, ahead: bool, reserved: bool) {
        let mut words = about(events::ILLEGAL_DEV_TABLE_ENTRY, request, ahead);
        events::RZ.set(&mut words, reserved.into());
        events::ADDRESS_63_2.set_in_place(&mut words, request.at.0);
        words[1] &= events::ADDRESS_63_2.mask();
        self.log(words);
    }

    /// IO_PAGE_FAULT (§2.5.3) or PAGE_TAB_HARDWARE_ERROR (§2.5.5), whichever the cause asks for. RW is set for writes
    /// whatever PR says, as hardware does; its meaning is defined only with PR set.
    pub fn log_fault(
        &mut self,
        request: &Request,
        guest: Option<u32>,
        domain: u16,
        ahead: bool,
        cause: WalkFault,
    ) {
        if let WalkFault::Bus(at) = cause {
            let mut words = about(events::PAGE_TAB_HARDWARE_ERROR, request, ahead);
            self.name_space(&mut words, guest, domain);
            events::TYPE.set(&mut words, events::hardware_error::MASTER_ABORT);
            events::ADDRESS.set(&mut words, at.0 & events::ADDRESS_63_4.mask());
            return self.log(words);
        }
        let mut words = about(events::IO_PAGE_FAULT, request, ahead);
        self.name_space(&mut words, guest, domain);
        let (present, permission, reserved) = match cause {
            WalkFault::NotPresent | WalkFault::Bus(_) | WalkFault::Poisoned => (0, 0, 0),
            WalkFault::Permission => (1, 1, 0),
            WalkFault::Reserved => (1, 0, 1),
            WalkFault::Encoding => (1, 0, 0),
        };
        events::PR.set(&mut words, present);
        events::PE.set(&mut words, permission);
        events::RZ.set(&mut words, reserved);
        if guest.is_some() {
            events::US.set(&mut words, (!request.privileged).into());
            events::NX.set(&mut words, (request.access == Access::Execute).into());
        }
        self.log(words);
    }

    fn name_space(&self, words: &mut [u64; 2], guest: Option<u32>, domain: u16) {
        events::GN.set(words, guest.is_some().into());
        let name = guest.map_or(u64::from(domain), u64::from);
        events::DOMAIN_ID_OR_PASID_15_0.set(words, name);
        events::PASID_19_16.set(words, guest.map_or(0, |pasid| u64::from(pasid) >> 16));
    }

    /// DEV_TAB_HARDWARE_ERROR (§2.5.4).
    pub fn log_device_table_error(&mut self, request: &Request, ahead: bool, at: PhysAddr) {
        let mut words = record(events::DEV_TAB_HARDWARE_ERROR);
        events::DEVICE_ID.set(&mut words, request.source.0.into());
        events::RW.set(&mut words, (request.access == Access::Write).into());
        events::TR.set(&mut words, ahead.into());
        events::TYPE.set(&mut words, events::hardware_error::MASTER_ABORT);
        events::ADDRESS.set(&mut words, at.0 & events::ADDRESS_63_4.mask());
        self.log(words);
    }

    /// INVALID_DEVICE_REQUEST (§2.5.9).
    pub fn log_invalid_request(&mut self, request: &Request, ahead: bool, kind: u64) {
        let mut words = about(events::INVALID_DEVICE_REQUEST, request, ahead);
        events::RW.set(&mut words, 0);
        events::REQUEST_TYPE.set(&mut words, kind);
        self.log(words);
    }

    /// An error of the command at `at`: the command buffer stops (§2.4).
    pub fn stop_commands(&mut self, code: u64, at: u64) {
        let mut words = record(code);
        if code == events::COMMAND_HARDWARE_ERROR {
            events::TYPE.set(&mut words, events::hardware_error::MASTER_ABORT);
        }
        events::ADDRESS.set(&mut words, at & events::ADDRESS_63_4.mask());
        self.registers.set_status(status::CMD_BUF_RUN, false);
        self.log(words);
    }
}

const _: () = assert!(buffer::ENTRY_BYTES == 16);
