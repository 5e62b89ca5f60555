//! The command queue: what each command must be, and what an IOFENCE.C completes (3.1, 5.15).

use super::{
    state::{PageResponse, State},
    tlb::{Range, Scope},
};
use crate::model::AtcSpan;
use ioward_spec::{
    Field,
    field::cover,
    riscv::{
        command::{self as c, func3, opcode},
        registers::cqcsr,
    },
};
use ioward_types::{Iova, Pasid, SourceId, Span};

/// A command that was fetched and that only an IOFENCE.C completes (3.1.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Deferred {
    /// One device's context and its processes'; none: every directory entry.
    Device(Option<u32>),
    /// One process's context.
    Process { device: u32, process: u32 },
    /// Translations.
    Tlb(Scope),
    /// A device's own translations.
    Atc { source: u32, what: AtcSpan },
}

impl State {
    /// Carries out what there is in the queue, as far as that is possible.
    pub(super) fn run_commands(&mut self) {
        let errors = cqcsr::CQMF.mask() | cqcsr::CMD_TO.mask() | cqcsr::CMD_ILL.mask();
        while self.regs.command.on
            && !self.hung
            && !self.gone
            && u64::from(self.regs.command.csr) & errors == 0
            && !self.regs.command.is_empty()
        {
            let result = self.fetch_command().and_then(|words| self.command(&words));
            let queue = &mut self.regs.command;
            match result {
                Ok(()) => queue.head = queue.head.wrapping_add(1) & queue.mask(),
                Err(error) => {
                    queue.csr |= error.mask() as u32;
                    // What was fetched before the error may have been carried out or not.
                    if error != cqcsr::CMD_TO {
                        self.deferred.clear();
                    }
                }
            }
        }
        self.pend_conditions();
    }

    fn fetch_command(&mut self) -> Result<[u64; 2], Field> {
        let queue = self.regs.command;
        let at = queue.entry(queue.head, c::BYTES as u64);
        let big = self.is_big_endian();
        let word = |at| self.fetch(at, big).ok_or(cqcsr::CQMF);
        Ok([word(at)?, word(at + 8)?])
    }

    /// One command. Err: the error bit of cqcsr that it raises.
    fn command(&mut self, words: &[u64; 2]) -> Result<(), Field> {
        if let Some(filter) = &mut self.filter
            && !filter(words)
        {
            return Ok(());
        }
        self.commands.push(*words);
        let fields = self.operands(words).ok_or(cqcsr::CMD_ILL)?;
        let head = c::OPCODE.mask() | c::FUNC3.mask();
        let known = |n: usize| cover(fields, n) | if n == 0 { head } else { 0 };
        if words.iter().enumerate().any(|(n, word)| word & !known(n) != 0) {
            return Err(cqcsr::CMD_ILL);
        }
        match (c::OPCODE.get(words), c::FUNC3.get(words)) {
            (opcode::IOTINVAL, function) => self.iotinval(function, words),
            (opcode::IOFENCE, _) => self.fence(words),
            (opcode::IODIR, function) => self.iodir(function, words),
            (_, func3::INVAL) => self.ats_inval(words),
            _ => self.ats_prgr(words),
        }
    }

    /// The operands that a command has here; none where it is reserved or belongs to a feature that is missing (3.1).
    fn operands(&self, words: &[u64; 2]) -> Option<&'static [Field]> {
        const VMA: &[Field] = &[
            c::IOTINVAL_AV,
            c::IOTINVAL_PSCID,
            c::IOTINVAL_PSCV,
            c::IOTINVAL_GV,
            c::IOTINVAL_GSCID,
            c::IOTINVAL_ADDR,
        ];
        const VMA_NL: &[Field] = &[
            c::IOTINVAL_AV,
            c::IOTINVAL_PSCID,
            c::IOTINVAL_PSCV,
            c::IOTINVAL_GV,
            c::IOTINVAL_GSCID,
            c::IOTINVAL_ADDR,
            c::IOTINVAL_NL,
        ];
        const VMA_S: &[Field] = &[
            c::IOTINVAL_AV,
            c::IOTINVAL_PSCID,
            c::IOTINVAL_PSCV,
            c::IOTINVAL_GV,
            c::IOTINVAL_GSCID,
            c::IOTINVAL_ADDR,
            c::IOTINVAL_S,
        ];
        const VMA_NL_S: &[Field] = &[
            c::IOTINVAL_AV,
            c::IOTINVAL_PSCID,
            c::IOTINVAL_PSCV,
            c::IOTINVAL_GV,
            c::IOTINVAL_GSCID,
            c::IOTINVAL_ADDR,
            c::IOTINVAL_NL,
            c::IOTINVAL_S,
        ];
        const FENCE: &[Field] =
            &[c::IOFENCE_AV, c::IOFENCE_PR, c::IOFENCE_PW, c::IOFENCE_DATA, c::IOFENCE_ADDR];
        const FENCE_WIRED: &[Field] =
            &[c::IOFENCE_AV, c::IOFENCE_PR, c::IOFENCE_PW, c::IOFENCE_DATA, c::IOFENCE_ADDR, c::IOFENCE_WSI];
        const PAYLOAD: Field = Field::bits(127, 64);
        const ATS: &[Field] = &[c::ATS_PID, c::ATS_PV, c::ATS_DSV, c::ATS_RID, c::ATS_DSEG, PAYLOAD];
        match (c::OPCODE.get(words), c::FUNC3.get(words)) {
            (opcode::IOTINVAL, func3::VMA | func3::GVMA) => {
                Some(match (self.features.non_leaf, self.features.ranges) {
                    (false, false) => VMA,
                    (true, false) => VMA_NL,
                    (false, true) => VMA_S,
                    (true, true) => VMA_NL_S,
                })
            }
            (opcode::IOFENCE, func3::C) => Some(if self.is_wired() { FENCE_WIRED } else { FENCE }),
            (opcode::IODIR, func3::INVAL_DDT) => Some(&[c::IODIR_DV, c::IODIR_DID]),
            (opcode::IODIR, func3::INVAL_PDT) => Some(&[c::IODIR_PID, c::IODIR_DV, c::IODIR_DID]),
            (opcode::ATS, func3::INVAL | func3::PRGR) if self.features.ats => Some(ATS),
            _ => None,
        }
    }

    fn iotinval(&mut self, function: u64, words: &[u64; 2]) -> Result<(), Field> {
        let by_process = c::IOTINVAL_PSCV.is_set(words);
        let guest = c::IOTINVAL_GV.is_set(words);
        if function == func3::GVMA && by_process {
            return Err(cqcsr::CMD_ILL);
        }
        // GVMA without GV ignores AV (3.1.1).
        let by_address = c::IOTINVAL_AV.is_set(words) && (function == func3::VMA || guest);
        let range = by_address.then(|| self.range(words));
        let non_leaf = c::IOTINVAL_NL.is_set(words);
        let gscid = guest.then(|| c::IOTINVAL_GSCID.get(words) as u16);
        let scope = if function == func3::VMA {
            let pscid = by_process.then(|| c::IOTINVAL_PSCID.get(words) as u32);
            Scope::Vma { gscid, pscid, range, non_leaf }
        } else {
            Scope::Gvma { gscid, range, non_leaf }
        };
        self.deferred.push(Deferred::Tlb(scope));
        Ok(())
    }

    /// The addresses of an IOTINVAL (3.1.1; release 2026-02-22, 8.3).
    fn range(&self, words: &[u64; 2]) -> Range {
        let page = c::IOTINVAL_ADDR.get(words);
        if !c::IOTINVAL_S.is_set(words) {
            return Range { first: page << 12, last: page << 12 | 0xfff };
        }
        let ones = page.trailing_ones();
        if ones >= 52 {
            self.wrong(
                "RISC-V IOMMU 2026-02-22, 8.3",
                "IOTINVAL with S and an address of ones is unspecified",
            );
        }
        let bits = 12 + ones + 1;
        if bits >= 64 {
            return Range { first: 0, last: u64::MAX };
        }
        let size = 1u64 << bits;
        let first = page << 12 & !(size - 1);
        Range { first, last: first | (size - 1) }
    }

    fn iodir(&mut self, function: u64, words: &[u64; 2]) -> Result<(), Field> {
        let device = c::IODIR_DID.get(words) as u32;
        let by_device = c::IODIR_DV.is_set(words);
        if by_device && self.levels() != 0 && !self.device_fits(device) {
            self.wrong(
                "RISC-V IOMMU 1.0.1, 3.1.3",
                format!("IODIR names device {device:#x}, wider than ddtp.iommu_mode supports"),
            );
            return Err(cqcsr::CMD_ILL);
        }
        if function == func3::INVAL_DDT {
            self.deferred.push(Deferred::Device(by_device.then_some(device)));
            return Ok(());
        }
        let process = c::IODIR_PID.get(words) as u32;
        if !by_device || process >> self.features.process_bits() != 0 {
            return Err(cqcsr::CMD_ILL);
        }
        self.deferred.push(Deferred::Process { device, process });
        Ok(())
    }

    fn target(words: &[u64; 2]) -> (u32, Option<Pasid>) {
        let segment = if c::ATS_DSV.is_set(words) { c::ATS_DSEG.get(words) as u32 } else { 0 };
        let pasid = c::ATS_PV.is_set(words).then(|| Pasid(c::ATS_PID.get(words) as u32));
        (segment << 16 | c::ATS_RID.get(words) as u32, pasid)
    }

    fn ats_inval(&mut self, words: &[u64; 2]) -> Result<(), Field> {
        let (source, pasid) = Self::target(words);
        let used = c::INVAL_G.mask() | c::INVAL_S.mask() | c::INVAL_ADDR.mask();
        if words[1] & !used != 0 {
            self.wrong(
                "RISC-V IOMMU 1.0.1, 3.1.4",
                format!("the payload {:#x} of ATS.INVAL has reserved bits set", words[1]),
            );
        }
        let global = c::INVAL_G.is_set(words);
        if global && pasid.is_none() {
            self.wrong("RISC-V IOMMU 1.0.1, 3.1.4", "ATS.INVAL has G without a PASID (PCIe 6.0, 10.3.8)");
        }
        let page = c::INVAL_ADDR.get(words);
        let bits = if c::INVAL_S.is_set(words) { 12 + page.trailing_ones() + 1 } else { 12 };
        let span = (bits < 64).then(|| {
            let bytes = 1u64 << bits;
            Span { start: Iova(page << 12 & !(bytes - 1)), bytes }
        });
        self.judge_atc_order(source);
        let what = AtcSpan { pasid, global: global && pasid.is_some(), span };
        self.deferred.push(Deferred::Atc { source, what });
        Ok(())
    }

    /// The IOMMU forgets before the device does, or the device refills from what is stale (6.3.7). Commands may be
    /// carried out in any order up to a fence (3.1.2).
    fn judge_atc_order(&self, source: u32) {
        let unfinished = self.deferred.iter().any(|deferred| match deferred {
            Deferred::Tlb(scope) => self.tlb.awaits(scope, source),
            _ => false,
        });
        if unfinished {
            self.wrong(
                "RISC-V IOMMU 1.0.1, 6.3.7",
                format!(
                    "ATS.INVAL of device {source:#x} while no IOFENCE.C has completed the IOTINVAL of its translations"
                ),
            );
        }
    }

    fn ats_prgr(&mut self, words: &[u64; 2]) -> Result<(), Field> {
        let (source, pasid) = Self::target(words);
        if words[1] & !(c::PRGR_INDEX.mask() | c::PRGR_CODE.mask()) != 0 {
            self.wrong(
                "RISC-V IOMMU 1.0.1, 3.1.4",
                format!("the payload {:#x} of ATS.PRGR has reserved bits set", words[1]),
            );
        }
        self.responses.push(PageResponse {
            source: SourceId(source),
            pasid,
            group: c::PRGR_INDEX.get(words) as u16,
            code: c::PRGR_CODE.get(words) as u8,
        });
        Ok(())
    }

    fn fence(&mut self, words: &[u64; 2]) -> Result<(), Field> {
        self.complete(c::IOFENCE_PR.is_set(words), c::IOFENCE_PW.is_set(words));
        if std::mem::take(&mut self.timed_out) {
            return Err(cqcsr::CMD_TO);
        }
        if c::IOFENCE_AV.is_set(words) {
            let at = c::IOFENCE_ADDR.get(words) << 2;
            if !self.write_message(at, c::IOFENCE_DATA.get(words) as u32) {
                return Err(cqcsr::CQMF);
            }
        }
        if c::IOFENCE_WSI.is_set(words) {
            self.regs.command.csr |= cqcsr::FENCE_W_IP.mask() as u32;
        }
        Ok(())
    }
}
