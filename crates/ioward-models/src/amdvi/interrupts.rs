//! What becomes of an interrupt message (48882 §2.2.5 and Tables 3 and 9).

use super::{
    device::{DteMeaning, decode},
    log::about,
    request::{Found, INTERRUPTS},
    unit::Unit,
};
use crate::{Access, MessageOutcome, Request};
use ioward_spec::{
    Field,
    amdvi::{
        control,
        dte::{self, int_control},
        events::{self, invalid_device_request as invalid},
        interrupts::{basic, wide},
    },
};
use ioward_types::{Iova, PhysAddr, SourceId};

/// The delivery mode that a message's data ask for: bits 10 to 8, the encoding of the local APIC.
const DELIVERY: Field = Field::bits(10, 8);
/// What of the data is the index into the table.
const INDEX: Field = Field::bits(10, 0);
const FIXED: u64 = 0;
const LOWEST_PRIORITY: u64 = 1;
const NMI: u64 = 4;
const INIT: u64 = 5;
const EXT_INT: u64 = 7;
/// IntTabLen beyond this needs more remappable interrupts than EFR2.NumIntRemapSup gives here.
const MOST_LENGTH: u64 = 9;

impl Unit {
    /// A write of `data` to `at`.
    pub fn message(&mut self, source: SourceId, at: Iova, data: u32) -> MessageOutcome {
        if !self.registers.is(control::IOMMU_EN) || !INTERRUPTS.contains(&at.0) {
            return MessageOutcome::Unremapped;
        }
        let request = Request { source, pasid: None, at, access: Access::Write, privileged: false };
        let words = match self.find_entry(source) {
            Ok(Found::Entry(words)) => words,
            Ok(Found::Beyond) => {
                self.log_illegal_entry(&request, false, false);
                return MessageOutcome::Aborted;
            }
            Ok(Found::Poisoned) => {
                self.violation(
                    "48882 §2.4.2",
                    format!("an interrupt of device {source} met a device table entry from before bring-up"),
                );
                return MessageOutcome::Aborted;
            }
            Err(at) => {
                self.violation("48882 §2.2.2", format!("the device table at {at} is not in memory"));
                return MessageOutcome::Aborted;
            }
        };
        if let DteMeaning::Illegal(why) = decode(&self.config, self.registers.is(control::GT_EN), &words) {
            self.violation("48882 §2.2.2.1", format!("illegal entry of device {source}: {why}"));
            self.log_illegal_entry(&request, false, why.reserved);
            return MessageOutcome::Aborted;
        }
        // IV means something only with V set; without either, interrupts are not mapped.
        if !dte::V.is_set(&words) || !dte::IV.is_set(&words) {
            return MessageOutcome::Unremapped;
        }
        let pass = match DELIVERY.of(data.into()) {
            FIXED | LOWEST_PRIORITY => match dte::INT_CTL.get(&words) {
                int_control::FORWARD => Some(true),
                int_control::REMAP => None,
                _ => Some(false),
            },
            NMI => Some(dte::NMI_PASS.is_set(&words)),
            INIT => Some(dte::INIT_PASS.is_set(&words)),
            EXT_INT => Some(dte::EINT_PASS.is_set(&words)),
            _ => Some(false),
        };
        match pass {
            Some(true) => MessageOutcome::Unremapped,
            Some(false) => {
                self.log_invalid_request(&request, false, invalid::INTERRUPT);
                MessageOutcome::Aborted
            }
            None => self.remap(&request, &words, INDEX.of(data.into())),
        }
    }

    fn remap(&mut self, request: &Request, words: &[u64; dte::WORDS], index: u64) -> MessageOutcome {
        let length = dte::INT_TAB_LEN.get(words);
        if length > MOST_LENGTH {
            self.violation("48882 §2.2.2.1", format!("IntTabLen {length} without EFR2.NumIntRemapSup"));
        }
        if index >= 1 << length {
            return self.interrupt_fault(request, words, false);
        }
        let root = dte::INT_TABLE_ROOT.get_in_place(words);
        let entry = match self.interrupt_entry(request.source, root, index) {
            Ok(Some(entry)) => entry,
            Ok(None) => return MessageOutcome::Aborted,
            Err(at) => {
                self.violation("48882 §2.2.5", format!("the interrupt table at {at} is not in memory"));
                return self.interrupt_fault(request, words, false);
            }
        };
        let ga = self.registers.is(control::GA_EN);
        let has = |narrow: Field, broad: Field| if ga { broad.is_set(&entry) } else { narrow.is_set(&entry) };
        if !has(basic::REMAP_EN, wide::REMAP_EN) {
            let quiet = has(basic::SUP_IO_PF, wide::SUP_IO_PF);
            return if quiet { MessageOutcome::Aborted } else { self.interrupt_fault(request, words, false) };
        }
        let kind = if ga { wide::INT_TYPE.get(&entry) } else { basic::INT_TYPE.get(&entry) };
        if kind > LOWEST_PRIORITY || has(basic::GUEST_MODE, wide::GUEST_MODE) {
            self.violation(
                "48882 §2.2.5",
                format!("interrupt entry {index:#x} of device {}: {entry:#x?}", request.source),
            );
            return self.interrupt_fault(request, words, true);
        }
        let destination = match (ga, self.registers.is(control::XT_EN)) {
            (false, _) => basic::DESTINATION.get(&entry),
            (true, false) => wide::DESTINATION_23_0.get(&entry) & 0xff,
            (true, true) => wide::DESTINATION_23_0.get(&entry) | wide::DESTINATION_31_24.get(&entry) << 24,
        };
        MessageOutcome::Delivered {
            vector: if ga { wide::VECTOR.get(&entry) } else { basic::VECTOR.get(&entry) } as u8,
            destination: destination as u32,
            logical: has(basic::DM, wide::DM),
            delivery: kind as u8,
            level: has(basic::RQ_EOI, wide::RQ_EOI),
        }
    }

    /// An entry, cached from here on. None: what is cached is from before bring-up.
    fn interrupt_entry(
        &mut self,
        source: SourceId,
        root: u64,
        index: u64,
    ) -> Result<Option<[u64; 2]>, PhysAddr> {
        let device = source.0 as u16;
        if let Some(entry) = self.caches.interrupts.get(&(device, index)) {
            return Ok(Some(*entry));
        }
        if self.caches.interrupts_poisoned(device) {
            self.violation(
                "48882 §2.4.5",
                format!("an interrupt of device {source} met an interrupt table entry from before bring-up"),
            );
            return Ok(None);
        }
        let read = |at: u64| self.read(PhysAddr(at), true).map_err(|error| error.0);
        let entry = if self.registers.is(control::GA_EN) {
            let at = root + index * wide::BYTES;
            [read(at)?, read(at + 8)?]
        } else {
            let at = root + index * basic::BYTES;
            [read(at & !7)? >> (at % 8 * 8) & 0xffff_ffff, 0]
        };
        self.caches.interrupts.insert((device, index), entry);
        Ok(Some(entry))
    }

    /// IO_PAGE_FAULT with I set, unless the device table entry ignores unmapped interrupts.
    fn interrupt_fault(
        &mut self,
        request: &Request,
        words: &[u64; dte::WORDS],
        malformed: bool,
    ) -> MessageOutcome {
        if !dte::IG.is_set(words) {
            let mut record = about(events::IO_PAGE_FAULT, request, false);
            events::I.set(&mut record, 1);
            events::PR.set(&mut record, malformed.into());
            events::RZ.set(&mut record, malformed.into());
            self.log(record);
        }
        MessageOutcome::Aborted
    }
}
