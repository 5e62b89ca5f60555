//! The page request queue (7.4).

use super::{
    fault::{Fault, Stop},
    meaning::SourceMeaning,
    model::EventKind,
    unit::Unit,
};
use crate::{Access, Request};
use ioward_spec::vtd::{
    descriptor::page_group_response::response,
    fault::{reason, record::at},
    prq::{self, *},
    registers::{gsts, pqa, pqh, prs, rtaddr::ttm},
};
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

/// An answer to a page request: by a page group response, or by the unit itself.
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
    /// Queues a page request; whether it was.
    pub fn page_request(&mut self, what: &PageRequest) -> bool {
        if !self.registers.is(gsts::TES) || !self.config.page_requests {
            self.answer_itself(what, response::FAILURE);
            return false;
        }
        if let Err(fault) = self.page_request_is_served(what) {
            let request = Request {
                source: what.source,
                pasid: what.pasid,
                at: what.at,
                access: if what.write { Access::Write } else { Access::Read },
                privileged: false,
            };
            self.record(&request, at::UNTRANSLATED, fault);
            self.answer_itself(what, response::FAILURE);
            return false;
        }
        let r = &self.registers;
        let bytes = 0x1000 << pqa::PQS.of(r.pqa);
        let next = (r.pqt + prq::BYTES as u64) % bytes;
        if r.prs & prs::PRO.mask() as u32 != 0 || next == pqh::PQH.in_place(r.pqh) {
            self.registers.prs |= prs::PRO.mask() as u32;
            self.answer_itself(what, response::SUCCESS);
            return false;
        }
        let base = pqa::PQA.in_place(r.pqa).wrapping_add(r.pqt);
        for (n, word) in descriptor(what).into_iter().enumerate() {
            let at = PhysAddr(base.wrapping_add(8 * n as u64));
            if self.memory.write64(&self.config.name, at, word).is_err() {
                self.violation(
                    "VT-d 11.4.11.3",
                    format!("the page request queue at {base:#x} is not in memory"),
                );
                return false;
            }
        }
        self.registers.pqt = next;
        let quiet = self.registers.prs == 0;
        self.registers.prs |= prs::PPR.mask() as u32;
        if quiet {
            self.raise(EventKind::PageRequest);
        }
        true
    }

    fn page_request_is_served(&mut self, what: &PageRequest) -> Result<(), Fault> {
        if self.registers.mode() != ttm::SCALABLE {
            return Err(Fault::new(reason::RTADDR_PAGE_REQUEST));
        }
        let context = self.find_context(what.source.0 as u16);
        let tables = match context {
            Ok(SourceMeaning::Pasids(tables)) => tables,
            Err(Stop::Fault(fault)) => return Err(fault),
            _ => return Err(Fault::new(reason::SM_CONTEXT_ACCESS)),
        };
        let refused = if !tables.page_requests {
            Some(reason::SM_CONTEXT_PRE)
        } else if what.pasid.is_some() && !tables.pasids {
            Some(reason::SM_CONTEXT_PASIDE)
        } else if what.pasid.is_some_and(|pasid| pasid.0 >= tables.limit) {
            Some(reason::SM_CONTEXT_PASID_BEYOND)
        } else {
            None
        };
        refused.map_or(Ok(()), |reason| Err(Fault { reason, silent: tables.silent }))
    }

    /// The last of a group gets an answer without software.
    fn answer_itself(&mut self, what: &PageRequest, status: u64) {
        if what.last {
            let &PageRequest { source, pasid, group, .. } = what;
            self.answers.push(Answer { source, pasid, group, status: status as u8 });
        }
    }
}

fn descriptor(what: &PageRequest) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    TYPE.set(&mut words, PAGE_REQUEST);
    RID.set(&mut words, what.source.0.into());
    if let Some(pasid) = what.pasid {
        PP.set(&mut words, 1);
        PASID.set(&mut words, pasid.0.into());
    }
    RD.set(&mut words, what.read.into());
    WR.set(&mut words, what.write.into());
    LPIG.set(&mut words, what.last.into());
    PRGI.set(&mut words, what.group.into());
    ADDR.set_in_place(&mut words, what.at.0);
    words
}
