//! Registers: handshakes, guards and what a write sets in motion (chapter 5).

use super::{
    features::Interrupts,
    state::{Kind, State},
    translate::How,
};
use crate::model::{Access, Request};
use ioward_spec::{
    Field,
    riscv::registers::{
        self as r, cqcsr, ddtp, fctl, fqcsr, icvec, ipsr, pqcsr, queue_base, tr_req_ctl, tr_req_iova,
        tr_response,
    },
};
use ioward_types::{Iova, Pasid, SourceId};

/// 64-bit registers and runs of them: first offset, bytes.
const WIDE: [(usize, usize); 9] = [
    (r::CAPABILITIES, 8),
    (r::DDTP, 8),
    (r::CQB, 8),
    (r::FQB, 8),
    (r::PQB, 8),
    (r::IOHPMCYCLES, 8 + 16 * r::HPM_COUNTERS),
    (r::TR_REQ_IOVA, 24),
    (r::ICVEC, 8),
    (r::MSI_CFG_TBL, r::MSI_CFG_BYTES * r::MSI_CFG_ENTRIES),
];

/// The bits of a queue's control register: enable, interrupt enable, sticky errors, on and busy.
struct Csr {
    name: &'static str,
    section: &'static str,
    errors: u32,
}

fn csr(kind: Kind) -> Csr {
    let mask = |fields: &[Field]| fields.iter().fold(0, |mask, field| mask | field.mask()) as u32;
    match kind {
        Kind::Command => Csr {
            name: "cqcsr",
            section: "RISC-V IOMMU 1.0.1, 5.15",
            errors: mask(&[cqcsr::CQMF, cqcsr::CMD_TO, cqcsr::CMD_ILL, cqcsr::FENCE_W_IP]),
        },
        Kind::Fault => Csr {
            name: "fqcsr",
            section: "RISC-V IOMMU 1.0.1, 5.16",
            errors: mask(&[fqcsr::FQMF, fqcsr::FQOF]),
        },
        Kind::PageRequest => Csr {
            name: "pqcsr",
            section: "RISC-V IOMMU 1.0.1, 5.17",
            errors: mask(&[pqcsr::PQMF, pqcsr::PQOF]),
        },
    }
}

// The enable, interrupt enable, on and busy bits are in the same places of all three control registers.
const ENABLE: u32 = cqcsr::CQEN.mask() as u32;
const INTERRUPTS: u32 = cqcsr::CIE.mask() as u32;
const ON: u32 = cqcsr::CQON.mask() as u32;
const BUSY: u32 = cqcsr::BUSY.mask() as u32;

impl State {
    /// A 64-bit access must be to a 64-bit register (6.1).
    pub(super) fn judge_wide(&self, at: usize) {
        let inside = WIDE.iter().any(|&(first, bytes)| (first..first + bytes).contains(&at));
        let data = at >= r::MSI_CFG_TBL && (at - r::MSI_CFG_TBL) % r::MSI_CFG_BYTES != r::MSI_ADDR;
        if !inside || data {
            self.wrong("RISC-V IOMMU 1.0.1, 6.1", format!("a 64-bit access to 32-bit registers at {at:#x}"));
        }
    }

    pub(super) fn read(&self, at: usize) -> u32 {
        let ats = self.features.ats;
        let regs = &self.regs;
        let half = |value: u64| (value >> (8 * (at & 4))) as u32;
        match at & !4 {
            r::CAPABILITIES => return half(self.features.capabilities()),
            r::DDTP => {
                let busy = ddtp::BUSY.put(regs.ddtp_busy.into());
                return half(if regs.ddtp_busy { regs.ddtp_next | busy } else { regs.ddtp });
            }
            r::CQB => return half(regs.command.base),
            r::FQB => return half(regs.fault.base),
            r::PQB => return if ats { half(regs.page.base) } else { 0 },
            r::TR_REQ_IOVA => return half(regs.tr_iova),
            r::TR_REQ_CTL => return half(regs.tr_ctl),
            r::TR_RESPONSE => return half(regs.tr_response),
            r::ICVEC => return half(regs.icvec),
            _ => {}
        }
        match at {
            r::FCTL => regs.fctl,
            r::CQH => regs.command.head,
            r::CQT => regs.command.tail,
            r::FQH => regs.fault.head,
            r::FQT => regs.fault.tail,
            r::CQCSR => self.read_csr(Kind::Command),
            r::FQCSR => self.read_csr(Kind::Fault),
            r::IPSR => regs.ipsr,
            r::PQH if ats => regs.page.head,
            r::PQT if ats => regs.page.tail,
            r::PQCSR if ats => self.read_csr(Kind::PageRequest),
            _ if (r::MSI_CFG_TBL..r::MSI_CFG_TBL + r::MSI_CFG_BYTES * r::MSI_CFG_ENTRIES).contains(&at) => {
                self.read_msi(at - r::MSI_CFG_TBL)
            }
            _ => 0,
        }
    }

    fn read_csr(&self, kind: Kind) -> u32 {
        let mut regs = self.regs;
        let queue = regs.queue(kind);
        queue.csr | if queue.on { ON } else { 0 } | if queue.busy { BUSY } else { 0 }
    }

    /// One half of a 64-bit register, or a 32-bit register.
    pub(super) fn write(&mut self, at: usize, value: u32) {
        let shift = 8 * (at & 4);
        let half = |old: u64| old & !(0xffff_ffff << shift) | u64::from(value) << shift;
        match at & !4 {
            r::DDTP => return self.write_ddtp(half, shift == 0),
            r::CQB => return self.write_base(Kind::Command, half),
            r::FQB => return self.write_base(Kind::Fault, half),
            r::PQB => return self.write_base(Kind::PageRequest, half),
            r::TR_REQ_IOVA => return self.write_translation(true, half),
            r::TR_REQ_CTL => return self.write_translation(false, half),
            r::ICVEC => return self.write_icvec(half(self.regs.icvec)),
            _ => {}
        }
        match at {
            r::FCTL => self.write_fctl(value),
            r::CQT => self.write_tail(value),
            r::FQH => self.write_head(Kind::Fault, value),
            r::PQH => self.write_head(Kind::PageRequest, value),
            r::CQCSR => self.write_csr(Kind::Command, value),
            r::FQCSR => self.write_csr(Kind::Fault, value),
            r::PQCSR => self.write_csr(Kind::PageRequest, value),
            r::IPSR => {
                let known = ipsr::CIP.mask() | ipsr::FIP.mask() | ipsr::PMIP.mask() | ipsr::PIP.mask();
                self.reserved("ipsr", "RISC-V IOMMU 1.0.1, 5.18", value.into(), known);
                self.regs.ipsr &= !value;
                self.pend_conditions();
            }
            _ if (r::MSI_CFG_TBL..r::MSI_CFG_TBL + r::MSI_CFG_BYTES * r::MSI_CFG_ENTRIES).contains(&at) => {
                self.write_msi(at - r::MSI_CFG_TBL, value);
            }
            _ => {}
        }
    }

    /// Reserved fields are preserved, which means zero (WPRI).
    fn reserved(&self, name: &str, section: &'static str, value: u64, known: u64) {
        if value & !known != 0 {
            self.wrong(section, format!("{name} is written with reserved bits {:#x}", value & !known));
        }
    }

    fn write_fctl(&mut self, value: u32) {
        self.reserved(
            "fctl",
            "RISC-V IOMMU 1.0.1, 5.4",
            value.into(),
            fctl::BE.mask() | fctl::WSI.mask() | fctl::GXL.mask(),
        );
        let mut writable = 0;
        if self.features.both_endian {
            writable |= fctl::BE.mask() as u32;
        }
        if self.features.interrupts == Interrupts::Both {
            writable |= fctl::WSI.mask() as u32;
        }
        let next = self.regs.fctl & !writable | value & writable;
        let regs = &self.regs;
        let queues = [&regs.command, &regs.fault, &regs.page];
        let running = queues.iter().any(|queue| queue.on || queue.busy || queue.csr & ENABLE != 0);
        if next != regs.fctl && (running || self.mode() != ddtp::mode::OFF || regs.ddtp_busy) {
            self.wrong(
                "RISC-V IOMMU 1.0.1, 5.4",
                format!("fctl changes to {next:#x} while the mode is not Off or a queue is enabled"),
            );
        }
        self.regs.fctl = next;
    }

    fn write_ddtp(&mut self, half: impl Fn(u64) -> u64, low: bool) {
        if self.regs.ddtp_busy {
            self.wrong("RISC-V IOMMU 1.0.1, 5.5", "ddtp is written while busy: the write may be ignored");
            return;
        }
        let old = self.regs.ddtp;
        let asked = half(old);
        let known = ddtp::IOMMU_MODE.mask() | ddtp::PPN.mask() | ddtp::BUSY.mask();
        self.reserved("ddtp", "RISC-V IOMMU 1.0.1, 5.5", asked, known);
        let ppn = ddtp::PPN.in_place(asked);
        if !low {
            // The high half holds no part of the mode.
            self.regs.ddtp = ddtp::IOMMU_MODE.in_place(old) | ppn;
            return;
        }
        let (from, to) = (ddtp::IOMMU_MODE.of(old), ddtp::IOMMU_MODE.of(asked));
        let levels = |mode: u64| (mode > ddtp::mode::BARE).then(|| mode - ddtp::mode::ONE_LEVEL);
        let supported = match levels(to) {
            None => true,
            Some(n) => self.features.levels.get(n as usize).copied().unwrap_or(false),
        };
        // WARL: what is not supported changes nothing.
        let to = if supported { to } else { from };
        if supported && levels(from).is_some() {
            if levels(to).is_some() {
                self.wrong(
                    "RISC-V IOMMU 1.0.1, 5.5",
                    format!("ddtp.iommu_mode goes from {from} to {to} without Off or Bare between"),
                );
            }
            if to == ddtp::mode::BARE {
                self.wrong(
                    "RISC-V IOMMU 1.0.1, 5.5",
                    format!("ddtp.iommu_mode goes from {from} to Bare without Off between"),
                );
            }
            if to == ddtp::mode::OFF && ppn != ddtp::PPN.in_place(old) {
                self.wrong("RISC-V IOMMU 1.0.1, 5.5", "ddtp.PPN changes with a transition to Off");
            }
        }
        self.regs.ddtp_next = ppn | to;
        self.regs.ddtp_busy = true;
        self.start();
    }

    fn write_base(&mut self, kind: Kind, half: impl Fn(u64) -> u64) {
        if kind == Kind::PageRequest && !self.features.ats {
            return;
        }
        let section = match kind {
            Kind::Command => "RISC-V IOMMU 1.0.1, 5.6",
            Kind::Fault => "RISC-V IOMMU 1.0.1, 5.9",
            Kind::PageRequest => "RISC-V IOMMU 1.0.1, 5.12",
        };
        let queue = *self.regs.queue(kind);
        if queue.on || queue.busy || queue.csr & ENABLE != 0 {
            self.wrong(section, "a queue's base is written while the queue is on or busy");
            return;
        }
        let asked = half(queue.base);
        self.reserved("a queue's base", section, asked, queue_base::LOG2SZ_1.mask() | queue_base::PPN.mask());
        let most = u64::from(self.features.queue_bits.max(1)) - 1;
        let size = queue_base::LOG2SZ_1.of(asked).min(most);
        let queue = self.regs.queue(kind);
        queue.base = queue_base::PPN.in_place(asked) | size;
        // The index that software owns has any value of the right width now.
        match kind {
            Kind::Command => queue.tail = 1,
            _ => queue.head = 1,
        }
    }

    fn write_tail(&mut self, value: u32) {
        let queue = self.regs.command;
        let tail = value & queue.mask();
        if value != tail {
            self.wrong(
                "RISC-V IOMMU 1.0.1, 5.8",
                format!("cqt is written with {value:#x}, which is no index of the queue"),
            );
        }
        if queue.on {
            let next = super::state::Queue { tail, ..queue };
            if next.filled() < queue.filled() {
                self.wrong(
                    "RISC-V IOMMU 1.0.1, 3.1",
                    format!(
                        "cqt goes from {:#x} to {tail:#x} with cqh at {:#x}: backwards or past it",
                        queue.tail, queue.head
                    ),
                );
                return;
            }
        }
        self.regs.command.tail = tail;
        self.run_commands();
    }

    fn write_head(&mut self, kind: Kind, value: u32) {
        if kind == Kind::PageRequest && !self.features.ats {
            return;
        }
        let queue = *self.regs.queue(kind);
        let head = value & queue.mask();
        let name = if kind == Kind::Fault { "fqh" } else { "pqh" };
        let section =
            if kind == Kind::Fault { "RISC-V IOMMU 1.0.1, 5.10" } else { "RISC-V IOMMU 1.0.1, 5.13" };
        if value != head {
            self.wrong(section, format!("{name} is written with {value:#x}, which is no index of the queue"));
        }
        let next = super::state::Queue { head, ..queue };
        if queue.on && next.filled() > queue.filled() {
            self.wrong(
                section,
                format!(
                    "{name} goes from {:#x} to {head:#x}, past the tail at {:#x} or backwards",
                    queue.head, queue.tail
                ),
            );
        }
        self.regs.queue(kind).head = head;
    }

    fn write_csr(&mut self, kind: Kind, value: u32) {
        if kind == Kind::PageRequest && !self.features.ats {
            return;
        }
        let Csr { name, section, errors } = csr(kind);
        self.reserved(name, section, value.into(), (ENABLE | INTERRUPTS | errors | ON | BUSY).into());
        let wired = self.is_wired();
        let queue = self.regs.queue(kind);
        if queue.busy {
            self.wrong(section, format!("{name} is written while busy: the write may be ignored"));
            return;
        }
        let was = queue.csr;
        let kept = was & errors & !value;
        queue.csr = value & (ENABLE | INTERRUPTS) | kept;
        if was & ENABLE == 0 && value & ENABLE != 0 {
            queue.csr &= !errors;
            match kind {
                Kind::Command => queue.head = 0,
                _ => queue.tail = 0,
            }
        }
        if !wired && kind == Kind::Command {
            queue.csr &= !(cqcsr::FENCE_W_IP.mask() as u32);
        }
        if (was ^ queue.csr) & ENABLE != 0 {
            queue.busy = true;
            self.start();
        }
        self.pend_conditions();
        if kind == Kind::Command {
            self.run_commands();
        }
    }

    fn write_icvec(&mut self, value: u64) {
        let known = [icvec::CIV, icvec::FIV, icvec::PMIV, icvec::PIV];
        let mask = known.iter().fold(0, |mask, field| mask | field.mask());
        self.reserved("icvec", "RISC-V IOMMU 1.0.1, 5.28", value, mask);
        let vectors = (1u64 << self.features.vector_bits.min(4)) - 1;
        let offered = known.iter().fold(0, |mask, field| mask | field.put(vectors));
        // Without a performance monitor its vector selects nothing.
        self.regs.icvec = value & offered & !icvec::PMIV.mask();
    }

    /// A translation request by register (chapter 4).
    fn write_translation(&mut self, iova: bool, half: impl Fn(u64) -> u64) {
        if !self.features.debug {
            return;
        }
        if iova {
            self.regs.tr_iova = tr_req_iova::VPN.in_place(half(self.regs.tr_iova));
            return;
        }
        let control = half(self.regs.tr_ctl);
        self.regs.tr_ctl = control & !tr_req_ctl::GO_BUSY.mask();
        if tr_req_ctl::GO_BUSY.of(control) == 0 {
            return;
        }
        let is = |field: Field| field.of(control) == 1;
        let access = match (is(tr_req_ctl::EXE), is(tr_req_ctl::NW)) {
            (true, _) => Access::Execute,
            (false, true) => Access::Read,
            (false, false) => Access::Write,
        };
        let request = Request {
            source: SourceId(tr_req_ctl::DID.of(control) as u32),
            pasid: is(tr_req_ctl::PV).then(|| Pasid(tr_req_ctl::PID.of(control) as u32)),
            at: Iova(self.regs.tr_iova),
            access,
            privileged: is(tr_req_ctl::PRIV),
        };
        self.regs.tr_response = match self.translate(&request, How::Untranslated, false) {
            Ok(reached) if reached.mrif.is_none() => {
                let page = reached.at >> 12;
                let ones = if reached.bits > 12 { (1u64 << (reached.bits - 13)) - 1 } else { 0 };
                let size = if reached.bits > 12 { page & !(ones << 1 | 1) | ones } else { page };
                tr_response::PPN.put(size) | tr_response::S.put((reached.bits > 12).into())
            }
            Ok(_) => {
                let fault = super::translate::Fault::of(ioward_spec::riscv::fault::cause::TYPE_DISALLOWED);
                self.report(&request, How::Untranslated, &fault);
                tr_response::FAULT.mask()
            }
            Err(end) => {
                self.end(&request, How::Untranslated, &end);
                tr_response::FAULT.mask()
            }
        };
    }

    /// What was written to ddtp or a control register takes effect a while later.
    fn start(&mut self) {
        self.countdown = self.latency;
        if self.latency == 0 {
            self.finish();
        }
    }

    /// Time passes with every register read.
    pub(super) fn tick(&mut self) {
        if self.countdown > 0 {
            self.countdown -= 1;
            if self.countdown == 0 {
                self.finish();
            }
        }
    }

    /// What was written takes effect.
    pub(super) fn finish(&mut self) {
        if self.stuck || self.gone {
            return;
        }
        for kind in [Kind::Command, Kind::Fault, Kind::PageRequest] {
            let queue = self.regs.queue(kind);
            let enabled = queue.csr & ENABLE != 0;
            if !std::mem::take(&mut queue.busy) || enabled == queue.on {
                continue;
            }
            queue.on = enabled;
            if enabled {
                self.judge_queue(kind);
            } else if kind == Kind::Command {
                // What was fetched and not completed is aborted (5.15).
                self.deferred.clear();
            }
        }
        if std::mem::take(&mut self.regs.ddtp_busy) {
            let changed = self.mode() != ddtp::IOMMU_MODE.of(self.regs.ddtp_next);
            self.regs.ddtp = self.regs.ddtp_next;
            if changed && self.levels() != 0 {
                // Nothing was reachable before, so nothing is compared with what was read before (2.9).
                self.seen_dcs.clear();
                self.seen_pcs.clear();
                self.prefetch_all();
            }
        }
        self.run_commands();
    }

    fn judge_queue(&self, kind: Kind) {
        let mut regs = self.regs;
        let queue = *regs.queue(kind);
        let (name, section, entry) = match kind {
            Kind::Command => ("cqb", "RISC-V IOMMU 1.0.1, 5.6", 16),
            Kind::Fault => ("fqb", "RISC-V IOMMU 1.0.1, 5.9", 32),
            Kind::PageRequest => ("pqb", "RISC-V IOMMU 1.0.1, 5.12", 16),
        };
        let bytes = (u64::from(queue.mask()) + 1) * entry;
        let at = queue.entry(0, 0);
        if at & (bytes.max(4096) - 1) != 0 {
            self.wrong(
                section,
                format!("{name}: the queue of {bytes:#x} bytes at {at:#x} is not aligned to its size"),
            );
        }
        if self.beyond(at) {
            self.wrong(section, format!("{name}: the queue at {at:#x} is beyond capabilities.PAS"));
        }
    }

    /// Sets a register as firmware left it: no guards, no handshakes.
    pub(super) fn preset(&mut self, at: usize, value: u64) {
        let regs = &mut self.regs;
        let low = value as u32;
        let csr = |queue: &mut super::state::Queue, low: u32| {
            queue.csr = low & !(ON | BUSY);
            queue.on = low & ENABLE != 0;
        };
        match at {
            r::FCTL => regs.fctl = low,
            r::DDTP => regs.ddtp = value & !ddtp::BUSY.mask(),
            r::CQB => regs.command.base = value,
            r::CQH => regs.command.head = low,
            r::CQT => regs.command.tail = low,
            r::FQB => regs.fault.base = value,
            r::FQH => regs.fault.head = low,
            r::FQT => regs.fault.tail = low,
            r::PQB => regs.page.base = value,
            r::PQH => regs.page.head = low,
            r::PQT => regs.page.tail = low,
            r::CQCSR => csr(&mut regs.command, low),
            r::FQCSR => csr(&mut regs.fault, low),
            r::PQCSR => csr(&mut regs.page, low),
            r::IPSR => regs.ipsr = low,
            r::ICVEC => regs.icvec = value,
            _ => {}
        }
    }
}
