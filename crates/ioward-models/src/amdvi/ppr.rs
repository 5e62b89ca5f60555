//! The peripheral page request log (48882 §2.6).

use super::{log::record, request::Found, unit::Unit};
use ioward_spec::amdvi::{control, dte, events, ppr, registers::status};
use ioward_types::{Iova, Pasid, PhysAddr, SourceId};

/// A page request as a device sends it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageRequest {
    /// Who asks.
    pub source: SourceId,
    /// For which address space.
    pub pasid: Option<Pasid>,
    /// For which page; the lowest twelve bits do not count.
    pub at: Iova,
    /// It wants to read.
    pub read: bool,
    /// It wants to write.
    pub write: bool,
    /// The group that the request belongs to, nine bits.
    pub group: u16,
    /// It is the group's last.
    pub last: bool,
}

/// An answer that COMPLETE_PPR_REQUEST sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// To whom.
    pub source: SourceId,
    /// With which PASID.
    pub pasid: Option<Pasid>,
    /// To which group.
    pub group: u16,
    /// PCI Express response code: 0 success, 1 invalid request, 15 failure.
    pub status: u8,
}

impl Unit {
    /// Logs a page request; whether it was.
    pub fn page_request(&mut self, what: &PageRequest) -> bool {
        let enabled = self.registers.is(control::IOMMU_EN) && self.registers.is(control::PPR_EN);
        let served = match self.find_entry(what.source) {
            Ok(Found::Entry(words)) => {
                let v = dte::V.is_set(&words) && dte::I.is_set(&words);
                // With enhanced handling, each device must be let in (DTE.PPR).
                v && (!self.registers.is(control::EPH_EN) || dte::PPR.is_set(&words))
            }
            _ => false,
        };
        if !enabled || !served {
            let mut words = record(events::INVALID_PPR_REQUEST);
            events::DEVICE_ID.set(&mut words, what.source.0.into());
            if let Some(pasid) = what.pasid {
                events::GN.set(&mut words, 1);
                events::invalid_ppr_request::PASID_15_0.set(&mut words, pasid.0.into());
                events::invalid_ppr_request::PASID_19_16.set(&mut words, u64::from(pasid.0) >> 16);
            }
            events::invalid_ppr_request::TAG.set(&mut words, what.group.into());
            events::ADDRESS.set(&mut words, what.at.0 & !0xfff);
            self.log(words);
            return false;
        }
        if !self.registers.has(status::PPR_LOG_RUN) {
            return false;
        }
        let ring = self.registers.requests;
        let next = ring.after(ring.tail);
        if next == ring.head {
            self.registers.set_status(status::PPR_OVERFLOW, true);
            self.registers.set_status(status::PPR_LOG_RUN, false);
            return false;
        }
        let mut words = [0; 2];
        ppr::PPR_CODE.set(&mut words, ppr::PAGE_SERVICE_REQUEST);
        ppr::DEVICE_ID.set(&mut words, what.source.0.into());
        if let Some(pasid) = what.pasid {
            ppr::GN.set(&mut words, 1);
            ppr::PASID_15_0.set(&mut words, pasid.0.into());
            ppr::PASID_19_16.set(&mut words, u64::from(pasid.0) >> 16);
        }
        ppr::GROUP.set(&mut words, what.group.into());
        ppr::LAST.set(&mut words, what.last.into());
        ppr::READ.set(&mut words, what.read.into());
        ppr::WRITE.set(&mut words, what.write.into());
        ppr::US.set(&mut words, 1);
        ppr::ADDRESS.set_in_place(&mut words, what.at.0);
        let at = ring.address() + ring.tail;
        if self.store(PhysAddr(at), words[0]).and(self.store(PhysAddr(at + 8), words[1])).is_err() {
            self.violation("48882 §2.6", format!("the page request log at {at:#x} is not in memory"));
            return false;
        }
        self.registers.requests.tail = next;
        self.registers.set_status(status::PPR_INT, true);
        if self.registers.is(control::PPR_INT_EN) {
            self.interrupts += 1;
        }
        true
    }
}
