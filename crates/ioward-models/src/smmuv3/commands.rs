//! The Command queue: what each command must be, and what it does once a CMD_SYNC completes it (IHI 0070 G.b, chapter 4).

use super::{
    state::{PageResponse, Signal, State},
    ste::World,
    tlb::{Asids, Range, Scope},
    walk::ADDRESS,
};
use crate::model::AtcSpan;
use ioward_spec::{
    Field,
    field::cover,
    smmuv3::{
        command::{self as c, cs, opcode as op, tg},
        registers::{cmdq_cons, cmdq_cons::cerror, cr0, cr1, gerror, queue_base},
    },
};
use ioward_types::{Iova, Pasid, SourceId, Span};

const EL1: &[World] = &[World::El1];
const EL2: &[World] = &[World::El2];
const EL2_E2H: &[World] = &[World::El2E2h];
const ANY_EL2: &[World] = &[World::El2, World::El2E2h];

/// A command that was consumed and that only a CMD_SYNC completes (4.1.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Deferred {
    /// One STE, its CDs, and with `all_levels` the L1STD on the way.
    Ste { source: u32, all_levels: bool },
    /// STEs from `first` on, with everything below and above them. `bits`: log2 of how many; 32 for all.
    Stes { first: u32, bits: u32 },
    /// One CD, and with `all_levels` the L1CD on the way.
    Cd { source: u32, substream: u32, all_levels: bool },
    /// Every CD of a stream.
    Cds { source: u32 },
    /// Translations.
    Tlb(Scope),
    /// A device's own translations.
    Atc { source: u32, what: AtcSpan },
}

/// Why a command was not carried out: a value of CMDQ_CONS.ERR.
pub(super) type CommandError = u64;

impl State {
    /// Consumes what there is in the queue, as far as that is possible.
    pub(super) fn run_commands(&mut self) {
        let most = self.features.cmdq_bits;
        while self.is_enabled(cr0::CMDQEN)
            && !self.hung
            && !self.gone
            && !self.error_active(gerror::CMDQ_ERR)
            && self.regs.cmdq.filled(most) != 0
        {
            let result = self.fetch_command().and_then(|words| self.command(&words));
            let queue = &mut self.regs.cmdq;
            match result {
                Ok(()) => {
                    let mask = (2u32 << queue.bits(most)) - 1;
                    queue.cons = queue.cons & !mask | queue.cons.wrapping_add(1) & mask;
                }
                Err(error) => {
                    queue.cons = cmdq_cons::ERR.with(queue.cons.into(), error) as u32;
                    self.raise(gerror::CMDQ_ERR);
                }
            }
        }
    }

    fn fetch_command(&mut self) -> Result<[u64; 2], CommandError> {
        let queue = self.regs.cmdq;
        let bits = queue.bits(self.features.cmdq_bits);
        let base = queue_base::ADDR.in_place(queue.base) & !(((16u64 << bits) - 1).max(31));
        let at = base + 16 * u64::from(queue.cons & ((1 << bits) - 1));
        let snoops = self.cr1_snoops(cr1::QUEUE_IC, cr1::QUEUE_OC, cr1::QUEUE_SH);
        let word = |at| self.fetch(at, snoops).map_err(|_| cerror::ABT);
        Ok([word(at)?, word(at + 8)?])
    }

    fn command(&mut self, words: &[u64; 2]) -> Result<(), CommandError> {
        if let Some(filter) = &mut self.filter
            && !filter(words)
        {
            return Ok(());
        }
        self.commands.push(*words);
        let opcode = c::OPCODE.get(words);
        let allowed = self.operands(opcode).ok_or(cerror::ILL)?;
        for (n, word) in words.iter().enumerate() {
            if word & !cover(allowed, n) & !(if n == 0 { c::OPCODE.mask() } else { 0 }) != 0 {
                return Err(cerror::ILL);
            }
        }
        if c::SSEC.is_set(words) && allowed.contains(&c::SSEC) {
            return Err(cerror::ILL);
        }
        self.carry_out(opcode, words)
    }

    /// The fields that a command has here; none where it is Reserved or belongs to a feature that is missing (4.1.3).
    fn operands(&self, opcode: u64) -> Option<&'static [Field]> {
        const BY_ADDRESS: &[Field] = &[
            c::TLBI_NUM,
            c::TLBI_SCALE,
            c::TLBI_VMID,
            c::TLBI_ASID,
            c::LEAF,
            c::TLBI_TTL,
            c::TLBI_TG,
            c::ADDRESS,
        ];
        const BY_ADDRESS_ALONE: &[Field] = &[c::TLBI_VMID, c::TLBI_ASID, c::LEAF, c::ADDRESS];
        let f = &self.features;
        let fields: &[Field] = match opcode {
            op::PREFETCH_CONFIG => &[c::SSEC, c::SSV, c::SUBSTREAM_ID, c::STREAM_ID],
            op::PREFETCH_ADDR => {
                &[c::SSEC, c::SSV, c::SUBSTREAM_ID, c::STREAM_ID, c::PREFETCH_SIZE, c::ADDRESS]
            }
            op::CFGI_STE => &[c::SSEC, c::STREAM_ID, c::LEAF],
            op::CFGI_STE_RANGE => &[c::SSEC, c::STREAM_ID, c::RANGE],
            op::CFGI_CD if f.stage1 => &[c::SSEC, c::SUBSTREAM_ID, c::STREAM_ID, c::LEAF],
            op::CFGI_CD_ALL if f.stage1 => &[c::SSEC, c::STREAM_ID],
            op::TLBI_NH_ALL if f.stage1 => &[c::TLBI_VMID],
            op::TLBI_NH_ASID if f.stage1 => &[c::TLBI_VMID, c::TLBI_ASID],
            op::TLBI_EL2_ALL if f.hyp => &[],
            op::TLBI_EL2_ASID if f.hyp => &[c::TLBI_ASID],
            op::TLBI_NH_VA | op::TLBI_NH_VAA if f.stage1 => {
                if f.range_invalidation {
                    BY_ADDRESS
                } else {
                    BY_ADDRESS_ALONE
                }
            }
            op::TLBI_EL2_VA | op::TLBI_EL2_VAA if f.hyp => {
                if f.range_invalidation {
                    BY_ADDRESS
                } else {
                    BY_ADDRESS_ALONE
                }
            }
            op::TLBI_S2_IPA if f.stage2 => {
                if f.range_invalidation {
                    BY_ADDRESS
                } else {
                    BY_ADDRESS_ALONE
                }
            }
            op::TLBI_S12_VMALL if f.stage2 => &[c::TLBI_VMID],
            op::TLBI_NSNH_ALL => &[],
            op::ATC_INV if f.ats => {
                &[c::ATC_GLOBAL, c::SSV, c::SUBSTREAM_ID, c::STREAM_ID, c::ATC_SIZE, c::ADDRESS]
            }
            op::PRI_RESP if f.pri => &[c::SSV, c::SUBSTREAM_ID, c::STREAM_ID, c::PRG_INDEX, c::PRI_RESPONSE],
            op::SYNC if f.msi => {
                &[c::SYNC_CS, c::SYNC_MSH, c::SYNC_MSIATTR, c::SYNC_MSIDATA, c::SYNC_MSIADDRESS]
            }
            op::SYNC => &[c::SYNC_CS],
            _ => return None,
        };
        Some(fields)
    }

    fn carry_out(&mut self, opcode: u64, words: &[u64; 2]) -> Result<(), CommandError> {
        let source = c::STREAM_ID.get(words) as u32;
        let substream = c::SUBSTREAM_ID.get(words) as u32;
        let all_levels = !c::LEAF.is_set(words);
        let deferred = match opcode {
            op::PREFETCH_CONFIG | op::PREFETCH_ADDR => {
                self.know(source, substream);
                self.prefetch(source);
                return Ok(());
            }
            op::CFGI_STE if !self.source_fits(source) => return Ok(()),
            op::CFGI_STE => Deferred::Ste { source, all_levels },
            op::CFGI_STE_RANGE => {
                let bits = c::RANGE.get(words) as u32 + 1;
                let first = if bits > 31 { 0 } else { source & !((1u32 << bits) - 1) };
                Deferred::Stes { first, bits }
            }
            op::CFGI_CD if !self.source_fits(source) || !self.substream_fits(substream) => return Ok(()),
            op::CFGI_CD => Deferred::Cd { source, substream, all_levels },
            op::CFGI_CD_ALL if !self.source_fits(source) => return Ok(()),
            op::CFGI_CD_ALL => Deferred::Cds { source },
            op::ATC_INV => return self.atc_inv(words),
            op::PRI_RESP => return self.pri_resp(words),
            op::SYNC => return self.sync(words),
            _ => match self.scope(opcode, words)? {
                Some(scope) => Deferred::Tlb(scope),
                None => return Ok(()),
            },
        };
        self.deferred.push(deferred);
        Ok(())
    }

    fn source_fits(&self, source: u32) -> bool {
        let fits = source >> self.features.sid_bits.min(31) == 0;
        if !fits {
            self.wrong(
                "IHI 0070 G.b 4.1.7",
                format!("a command names stream {source:#x}, which is out of range"),
            );
        }
        fits
    }

    fn substream_fits(&self, substream: u32) -> bool {
        let fits = substream >> self.features.ssid_bits == 0;
        if !fits {
            self.wrong(
                "IHI 0070 G.b 4.1.7",
                format!("a command names substream {substream:#x}, which is out of range"),
            );
        }
        fits
    }

    /// What a CMD_TLBI means; none where it is not required to do anything (4.4).
    fn scope(&self, opcode: u64, words: &[u64; 2]) -> Result<Option<Scope>, CommandError> {
        let vmid = c::TLBI_VMID.get(words) as u16;
        let asid = c::TLBI_ASID.get(words) as u16;
        let e2h = self.e2h();
        let by_address = matches!(
            opcode,
            op::TLBI_NH_VA | op::TLBI_NH_VAA | op::TLBI_EL2_VA | op::TLBI_EL2_VAA | op::TLBI_S2_IPA
        );
        let has_vmid = matches!(
            opcode,
            op::TLBI_NH_ALL
                | op::TLBI_NH_ASID
                | op::TLBI_NH_VA
                | op::TLBI_NH_VAA
                | op::TLBI_S12_VMALL
                | op::TLBI_S2_IPA
        );
        let has_asid =
            matches!(opcode, op::TLBI_NH_ASID | op::TLBI_NH_VA | op::TLBI_EL2_ASID | op::TLBI_EL2_VA);
        if !has_vmid && vmid != 0 || by_address && !has_asid && asid != 0 {
            return Err(cerror::ILL);
        }
        if has_vmid && (!self.features.stage2 && vmid != 0 || !self.features.vmid16 && vmid > 0xff) {
            self.wrong(
                "IHI 0070 G.b 4.4",
                format!("VMID {vmid:#x} of a CMD_TLBI has Reserved bits: it may do nothing"),
            );
            return Ok(None);
        }
        if has_asid && !self.features.asid16 && asid > 0xff {
            self.wrong(
                "IHI 0070 G.b 4.4",
                format!("ASID {asid:#x} of a CMD_TLBI has Reserved bits: it may do nothing"),
            );
            return Ok(None);
        }
        let range = if by_address {
            match self.range(opcode, words)? {
                Some(range) => Some(range),
                None => return Ok(None),
            }
        } else {
            None
        };
        let scope = Scope {
            first: !matches!(opcode, op::TLBI_S2_IPA),
            second: matches!(opcode, op::TLBI_S2_IPA | op::TLBI_S12_VMALL | op::TLBI_NSNH_ALL),
            worlds: match opcode {
                op::TLBI_EL2_ALL => ANY_EL2,
                op::TLBI_EL2_ASID => EL2_E2H,
                op::TLBI_EL2_VA | op::TLBI_EL2_VAA if e2h => EL2_E2H,
                op::TLBI_EL2_VA | op::TLBI_EL2_VAA => EL2,
                _ => EL1,
            },
            vmid: has_vmid.then_some(vmid),
            asids: match opcode {
                op::TLBI_NH_ASID | op::TLBI_EL2_ASID => Asids::Only(asid),
                op::TLBI_NH_VA => Asids::OrGlobal(asid),
                op::TLBI_EL2_VA if e2h => Asids::OrGlobal(asid),
                _ => Asids::All,
            },
            range,
        };
        Ok(Some(scope))
    }

    /// The addresses of a CMD_TLBI by address (4.4.1.1).
    fn range(&self, opcode: u64, words: &[u64; 2]) -> Result<Option<Range>, CommandError> {
        let address = c::ADDRESS.get_in_place(words);
        if opcode == op::TLBI_S2_IPA && address & !c::IPA.mask() != 0 {
            return Err(cerror::ILL);
        }
        let first = address & ADDRESS;
        let leaf_only = c::LEAF.is_set(words);
        let (num, scale, ttl) = (c::TLBI_NUM.get(words), c::TLBI_SCALE.get(words), c::TLBI_TTL.get(words));
        let granule = match c::TLBI_TG.get(words) {
            tg::NONE => {
                if num | scale | ttl != 0 {
                    return Err(cerror::ILL);
                }
                return Ok(Some(Range { first, last: first, leaf_only, granule: None, level: None }));
            }
            tg::K4 => 12u8,
            tg::K16 => 14,
            _ => 16,
        };
        // IDR5.DS is 0 in this model: SCALE has five bits, and a hint of level 1 means nothing to 16KB tables.
        let ttl = if granule == 14 && ttl == 1 { 0 } else { ttl };
        if scale > 31 || num | scale | ttl == 0 {
            return Err(cerror::ILL);
        }
        let level = (ttl != 0).then_some(ttl as i8);
        let align = level.map_or(granule, |level| super::walk::Stage::shift(granule, level));
        if first & ((1 << align) - 1) != 0 {
            self.wrong(
                "IHI 0070 G.b 4.4.1.1",
                format!("CMD_TLBI of {first:#x} is not aligned to its granule and level: its range is UNPREDICTABLE"),
            );
            return Ok(None);
        }
        let bytes = u128::from(num + 1) << scale << granule;
        let last = (u128::from(first) + bytes - 1).min(ADDRESS.into()) as u64;
        Ok(Some(Range { first, last, leaf_only, granule: Some(granule), level }))
    }

    fn atc_inv(&mut self, words: &[u64; 2]) -> Result<(), CommandError> {
        let source = c::STREAM_ID.get(words) as u32;
        let size = c::ATC_SIZE.get(words);
        if size > c::ATC_SIZE_ALL {
            return Err(cerror::ILL);
        }
        if !self.is_enabled(cr0::SMMUEN) || !self.source_fits(source) {
            return Ok(());
        }
        let first = c::ADDRESS.get_in_place(words);
        let span = (size != c::ATC_SIZE_ALL).then(|| {
            let bytes = 0x1000u64 << size;
            Span { start: Iova(first & !(bytes - 1)), bytes }
        });
        let ssv = c::SSV.is_set(words);
        let pasid = ssv.then(|| Pasid(c::SUBSTREAM_ID.get(words) as u32));
        let what = AtcSpan { pasid, global: ssv && c::ATC_GLOBAL.is_set(words), span };
        self.judge_atc_order(source);
        self.deferred.push(Deferred::Atc { source, what });
        Ok(())
    }

    /// The SMMU forgets before the device does, or the device refills from what is stale (4.5.1).
    fn judge_atc_order(&self, source: u32) {
        let unfinished = self.deferred.iter().any(|deferred| match deferred {
            Deferred::Tlb(scope) => self.tlb.awaits(scope, source),
            _ => false,
        });
        if unfinished {
            self.wrong(
                "IHI 0070 G.b 4.5.1",
                format!(
                    "CMD_ATC_INV of stream {source:#x} while a CMD_TLBI of its translations is not completed"
                ),
            );
        }
    }

    fn pri_resp(&mut self, words: &[u64; 2]) -> Result<(), CommandError> {
        if c::PRI_RESPONSE.get(words) == 0b11 {
            return Err(cerror::ILL);
        }
        if self.is_enabled(cr0::SMMUEN) {
            self.responses.push(PageResponse {
                source: SourceId(c::STREAM_ID.get(words) as u32),
                pasid: c::SSV.is_set(words).then(|| Pasid(c::SUBSTREAM_ID.get(words) as u32)),
                group: c::PRG_INDEX.get(words) as u16,
                response: c::PRI_RESPONSE.get(words) as u8,
            });
        }
        Ok(())
    }

    fn sync(&mut self, words: &[u64; 2]) -> Result<(), CommandError> {
        let signal = c::SYNC_CS.get(words);
        if signal == 0b11 {
            return Err(cerror::ILL);
        }
        self.complete()?;
        match signal {
            cs::SIG_IRQ => {
                let address = c::SYNC_MSIADDRESS.get_in_place(words);
                if self.features.msi && address != 0 {
                    if !self.send_msi(address, c::SYNC_MSIDATA.get(words) as u32) {
                        self.raise(gerror::MSI_CMDQ_ABT_ERR);
                    }
                } else {
                    self.signals.push(Signal::Sync);
                }
            }
            cs::SIG_SEV if self.features.sev => self.signals.push(Signal::WakeUp),
            _ => {}
        }
        Ok(())
    }
}
