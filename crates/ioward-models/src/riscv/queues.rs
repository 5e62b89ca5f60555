//! What the IOMMU produces: fault records and page requests (3.2, 3.3, 2.7).

use super::{
    state::{Kind, PageResponse, State},
    translate::{End, Fault, How},
};
use crate::model::{Access, Request};
use ioward_spec::{
    Field,
    riscv::{
        command::response,
        device as d,
        fault::{self as f, cause, ttyp},
        page_request as pr,
        registers::{ddtp, fqcsr, ipsr, pqcsr},
    },
};

/// PCIe's message code of a Page Request (PCIe 6.0, 2.2.8).
const PAGE_REQUEST_CODE: u64 = 0x04;

/// What became of a page request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageRequestOutcome {
    /// It is in the queue.
    Queued,
    /// The IOMMU answered it.
    Answered(PageResponse),
    /// It needs no answer and was discarded.
    Discarded,
}

impl State {
    /// Reports why a request ended, unless the device's context suppresses that.
    pub(super) fn end(&mut self, request: &Request, how: How, end: &End) {
        if !end.dtf || f::reported_despite_dtf(end.fault.cause) {
            self.report(request, how, &end.fault);
        }
    }

    /// Records a fault of a request.
    pub(super) fn report(&mut self, request: &Request, how: How, fault: &Fault) {
        self.record(request, how.ttyp(request.access), request.at.0, fault);
    }

    /// Records a fault that no transaction caused.
    pub(super) fn report_own(&mut self, fault: &Fault, iotval: u64) {
        let mut words = [0; f::WORDS];
        f::CAUSE.set(&mut words, fault.cause);
        f::TTYP.set(&mut words, ttyp::NONE);
        f::IOTVAL.set(&mut words, iotval);
        self.push_fault(words);
    }

    fn record(&mut self, request: &Request, kind: u64, iotval: u64, fault: &Fault) {
        let mut words = [0; f::WORDS];
        f::CAUSE.set(&mut words, fault.cause);
        f::DID.set(&mut words, request.source.0.into());
        f::TTYP.set(&mut words, kind);
        if let Some(pasid) = request.pasid {
            f::PV.set(&mut words, 1);
            f::PID.set(&mut words, pasid.0.into());
            f::PRIV.set(&mut words, request.privileged.into());
        }
        f::IOTVAL.set(&mut words, iotval);
        f::IOTVAL2.set(&mut words, fault.iotval2);
        self.push_fault(words);
    }

    fn push_fault(&mut self, words: [u64; f::WORDS]) {
        self.faults += 1;
        let errors = fqcsr::FQMF.mask() | fqcsr::FQOF.mask();
        if self.regs.fault.on && u64::from(self.regs.fault.csr) & errors == 0 {
            self.push(Kind::Fault, &words, (fqcsr::FQMF, fqcsr::FQOF));
        }
        let pend = self.regs.fault.on && fqcsr::FIE.of(self.regs.fault.csr.into()) == 1;
        if pend && u64::from(self.regs.fault.csr) & errors == 0 {
            self.pend(ipsr::FIP);
        }
        self.pend_conditions();
    }

    /// Appends an entry. False: the queue is full or nothing answers, which its control register shows.
    fn push(&mut self, kind: Kind, words: &[u64], (memory_fault, overflow): (Field, Field)) -> bool {
        let big = self.is_big_endian();
        let queue = *self.regs.queue(kind);
        if queue.is_full() {
            self.regs.queue(kind).csr |= overflow.mask() as u32;
            return false;
        }
        let at = queue.entry(queue.tail, words.len() as u64 * 8);
        let stored = words.iter().enumerate().all(|(n, word)| self.store(at + 8 * n as u64, *word, big));
        let queue = self.regs.queue(kind);
        if stored {
            queue.tail = queue.tail.wrapping_add(1) & queue.mask();
        } else {
            queue.csr |= memory_fault.mask() as u32;
        }
        stored
    }

    /// A Page Request message arrives (2.7). `access`: what the page is wanted for; none for a stop marker.
    pub(super) fn page_request(
        &mut self,
        request: &Request,
        access: Option<Access>,
        group: u16,
        last: bool,
    ) -> PageRequestOutcome {
        let (fault, prpr) = match self.page_request_allowed(request.source.0) {
            Ok(prpr) => (None, prpr),
            Err(fault) => (Some(fault), false),
        };
        let code = match fault {
            Some((fault, dtf)) => {
                if !dtf || f::reported_despite_dtf(fault.cause) {
                    self.record(request, ttyp::MESSAGE, PAGE_REQUEST_CODE, &fault);
                }
                if fault.cause == cause::TYPE_DISALLOWED {
                    response::INVALID_REQUEST
                } else {
                    response::FAILURE
                }
            }
            None => match self.push_page_request(request, access, group, last) {
                None => return PageRequestOutcome::Queued,
                Some(code) => code,
            },
        };
        if !last || access.is_none() {
            return PageRequestOutcome::Discarded;
        }
        // A failure carries the PASID of the request whatever PRPR says.
        let with_pasid = prpr || code == response::FAILURE;
        PageRequestOutcome::Answered(PageResponse {
            source: request.source,
            pasid: request.pasid.filter(|_| with_pasid),
            group,
            code: code as u8,
        })
    }

    /// Whether a device may make page requests, and PRPR; else the fault and DTF.
    fn page_request_allowed(&mut self, device: u32) -> Result<bool, (Fault, bool)> {
        match self.mode() {
            ddtp::mode::OFF => return Err((Fault::of(cause::ALL_DISALLOWED), false)),
            ddtp::mode::BARE => return Err((Fault::of(cause::TYPE_DISALLOWED), false)),
            _ => {}
        }
        let context = self.device_context(device).map_err(|fault| (fault, false))?;
        if context.has(d::EN_ATS) && context.has(d::EN_PRI) {
            Ok(context.has(d::PRPR))
        } else {
            Err((Fault::of(cause::TYPE_DISALLOWED), context.has(d::DTF)))
        }
    }

    /// Queues a page request; else how it is answered.
    fn push_page_request(
        &mut self,
        request: &Request,
        access: Option<Access>,
        group: u16,
        last: bool,
    ) -> Option<u64> {
        let queue = self.regs.page;
        if !queue.on || pqcsr::PQMF.of(queue.csr.into()) == 1 {
            return Some(response::FAILURE);
        }
        if pqcsr::PQOF.of(queue.csr.into()) == 1 {
            return Some(response::SUCCESS);
        }
        let mut words = [0; pr::WORDS];
        pr::DID.set(&mut words, request.source.0.into());
        if let Some(pasid) = request.pasid {
            pr::PV.set(&mut words, 1);
            pr::PID.set(&mut words, pasid.0.into());
            pr::PRIV.set(&mut words, request.privileged.into());
            pr::EXEC.set(&mut words, (access == Some(Access::Execute)).into());
        }
        pr::R.set(&mut words, matches!(access, Some(Access::Read | Access::Execute)).into());
        pr::W.set(&mut words, (access == Some(Access::Write)).into());
        pr::L.set(&mut words, last.into());
        pr::PRGI.set(&mut words, group.into());
        pr::ADDR.set_in_place(&mut words, request.at.0);
        let pushed = self.push(Kind::PageRequest, &words, (pqcsr::PQMF, pqcsr::PQOF));
        if pushed && pqcsr::PIE.of(self.regs.page.csr.into()) == 1 {
            self.pend(ipsr::PIP);
        }
        self.pend_conditions();
        match pushed {
            true => None,
            false if pqcsr::PQMF.of(self.regs.page.csr.into()) == 1 => Some(response::FAILURE),
            false => Some(response::SUCCESS),
        }
    }
}
