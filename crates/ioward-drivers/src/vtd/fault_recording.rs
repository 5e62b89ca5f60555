//! Fault recording registers (7.3, 11.4.7): read, given back, decoded.
//!
//! A fault that finds no free record is lost, and PFO says so. Which record is next, FRI says; records are looked at from
//! there round to there again, so that they are told in the order in which they came.

use super::global_command::Unit;
use ioward_core::driver::{Access, Event, Fault, FaultCause};
use ioward_spec::vtd::{
    fault::{self as spec, reason, record},
    registers::{FSTS, fsts},
};
use ioward_types::{Iova, Mmio, Pasid, Platform, SourceId};

/// A record.
pub(super) type Record = [u64; spec::WORDS];
/// Offset of the 32 bits that hold F.
const TOP: usize = 12;

/// Where the records are.
pub(super) struct FaultRecords {
    pub at: usize,
    pub count: usize,
}

/// What a look at the records brought.
pub(super) struct Drained {
    pub records: usize,
    /// Faults were lost since the last time.
    pub overflow: bool,
}

impl FaultRecords {
    /// Forgets what is recorded, of an earlier owner's time.
    pub fn clear<M: Mmio, P: Platform>(&self, unit: &Unit<M, P>) {
        for n in 0..self.count {
            self.give_back(unit, n);
        }
        let all = fsts::PFO.mask() | fsts::IQE.mask() | fsts::ICE.mask() | fsts::ITE.mask();
        unit.registers.write32(FSTS, all as u32);
    }

    fn give_back<M: Mmio, P: Platform>(&self, unit: &Unit<M, P>, n: usize) {
        let top = record::F.mask() >> 32;
        unit.registers.write32(self.at + n * spec::BYTES + TOP, top as u32);
    }

    /// Reads as many records as fit into `into`, the oldest first, and gives them back.
    pub fn drain<M: Mmio, P: Platform>(&mut self, unit: &Unit<M, P>, into: &mut [Record]) -> Drained {
        let mut found = Drained { records: 0, overflow: false };
        let status = u64::from(unit.registers.read32(FSTS));
        if status == u32::MAX.into() {
            return found;
        }
        if fsts::PPF.of(status) != 0 {
            let first = fsts::FRI.of(status) as usize % self.count;
            for n in (0..self.count).map(|n| (first + n) % self.count) {
                if found.records == into.len() {
                    break;
                }
                let at = self.at + n * spec::BYTES;
                // F is set last, so it is read first.
                let high = unit.registers.read64(at + 8);
                if record::F.of(high) == 0 || high == u64::MAX {
                    break;
                }
                into[found.records] = [unit.registers.read64(at), high];
                found.records += 1;
                self.give_back(unit, n);
            }
        }
        if fsts::PFO.of(status) != 0 {
            found.overflow = true;
            unit.registers.write32(FSTS, fsts::PFO.mask() as u32);
        }
        found
    }
}

/// What a record says.
pub(super) fn decode(words: &Record) -> Event {
    let code = record::FR.get(words);
    let Some(name) = spec::name(code) else {
        return Event::Unit { what: "a fault with a reserved reason", code: words[1] };
    };
    let interrupt = matches!(code, reason::INTERRUPT_REQUEST_RESERVED..=reason::INTERRUPT_POSTED_RESERVED);
    let access = match (record::T1.is_set(words), record::T2.is_set(words), record::EXE.is_set(words)) {
        // A page request, which may be for anything.
        (false, true, _) => None,
        (true, _, true) => Some(Access::Execute),
        (true, false, false) => Some(Access::Read),
        // A write, or an atomic operation.
        _ => Some(Access::Write),
    };
    Event::Fault(Fault {
        source: SourceId(record::SID.get(words) as u32),
        pasid: (record::PP.is_set(words) && !interrupt).then(|| Pasid(record::PV.get(words) as u32)),
        // An interrupt's record holds an index there.
        at: (!interrupt).then(|| Iova(record::FI.get_in_place(words))),
        access: access.filter(|_| !interrupt),
        cause: cause(code),
        name,
    })
}

/// Legacy mode reports a page that is not mapped and one that may not be written as the same: a second-stage entry has no
/// present bit. They are taken for the former, which is the more common.
fn cause(code: u64) -> FaultCause {
    use reason::*;
    match code {
        ROOT_NOT_PRESENT
        | CONTEXT_NOT_PRESENT
        | RTADDR_PASID
        | RTADDR_PAGE_REQUEST
        | SM_ROOT_NOT_PRESENT
        | SM_CONTEXT_NOT_PRESENT
        | SM_CONTEXT_PASIDE
        | SM_CONTEXT_PASID_BEYOND
        | SM_DIRECTORY_NOT_PRESENT
        | SM_PASID_NOT_PRESENT
        | INTERRUPT_NOT_PRESENT
        | INTERRUPT_INDEX
        | INTERRUPT_COMPATIBILITY => FaultCause::Blocked,
        WRITE | READ | FS_NOT_PRESENT | SS_PERMISSION => FaultCause::NotMapped,
        TRANSLATION_BLOCKED | SM_CONTEXT_DTE | SM_CONTEXT_PRE | SM_PASID_ERE | SM_PASID_SRE
        | USER_SUPERVISOR | EXECUTE | SM_WRITE | SM_READ | INTERRUPT_SOURCE => FaultCause::Permission,
        ADDRESS_BEYOND | NOT_CANONICAL | BEYOND_HARDWARE | BEYOND_SECOND | OUTPUT_INTERRUPT
        | SM_OUTPUT_INTERRUPT => FaultCause::Range,
        INTERRUPT_REQUEST_RESERVED => FaultCause::Other,
        // The rest are entries that are malformed or could not be read.
        _ => FaultCause::Structure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(words: Record) -> Fault {
        match decode(&words) {
            Event::Fault(fault) => fault,
            other => panic!("{other:?} is no fault"),
        }
    }

    #[test]
    fn a_fault_tells_who_where_and_what_for() {
        // 00:03.0, reason 5, a write; then reason 6, a read.
        let seen = fault([0xdead_b000, 0x8000_0005_0000_0018]);
        assert_eq!((seen.source, seen.at, seen.pasid), (SourceId(0x18), Some(Iova(0xdead_b000)), None));
        assert_eq!(
            (seen.access, seen.cause, seen.name),
            (Some(Access::Write), FaultCause::NotMapped, "WRITE")
        );
        assert_eq!(fault([0xdead_b000, 0xc000_0006_0000_0018]).access, Some(Access::Read));
        // PASID 5, not present.
        let seen = fault([0x1000, 0xc000_0559_8000_0018]);
        assert_eq!((seen.pasid, seen.cause), (Some(Pasid(5)), FaultCause::Blocked));
        // Atomic, execute, page request.
        assert_eq!(fault([0, 0xc000_0071_1000_0018]).access, Some(Access::Write));
        assert_eq!(fault([0, 0xc000_0071_4000_0018]).access, Some(Access::Execute));
        assert_eq!(fault([0, 0x8000_0047_1000_0018]).access, None);
    }

    #[test]
    fn an_interrupt_has_neither_address_nor_direction() {
        let seen = fault([0x0042_0000_0000_0000, 0x8000_0022_0000_00f8]);
        assert_eq!((seen.at, seen.access, seen.cause), (None, None, FaultCause::Blocked));
        assert_eq!(seen.name, "INTERRUPT_NOT_PRESENT");
    }

    #[test]
    fn every_reason_decodes() {
        for code in 0..=0xff {
            let words = [u64::MAX, record::F.mask() | record::FR.put(code) | 0x18];
            match decode(&words) {
                Event::Fault(fault) => assert_eq!(fault.source, SourceId(0x18)),
                Event::Unit { what, .. } => assert!(!what.is_empty()),
                other => panic!("{other:?}"),
            }
        }
    }
}
