//! What records of the Event and PRI queues say (IHI 0070, 7.3 and 8.1).

use ioward_core::driver::{Access, Event, Fault, FaultCause};
use ioward_spec::smmuv3::{
    event::{self as spec, id},
    pri,
};
use ioward_types::{Iova, Pasid, SourceId};

/// A stalled request that waits for its CMD_RESUME.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stalled {
    pub source: SourceId,
    pub stag: u64,
}

/// What a record of the Event queue says, and whether its request waits.
pub(super) fn decode(words: &[u64; spec::WORDS]) -> (Event, Option<Stalled>) {
    let code = spec::ID.get(words);
    let Some(name) = spec::name(code) else {
        return (Event::Unit { what: "unknown event", code: words[0] }, None);
    };
    let source = SourceId(spec::STREAM_ID.get(words) as u32);
    let translation = matches!(code, id::F_TRANSLATION | id::F_ADDR_SIZE | id::F_ACCESS | id::F_PERMISSION);
    let has_access = translation
        || matches!(code, id::F_UUT | id::F_TRANSL_FORBIDDEN | id::F_WALK_EABT | id::F_TLB_CONFLICT);
    let has_address = has_access || matches!(code, id::F_BAD_ATS_TREQ | id::E_PAGE_REQUEST);
    let access = match (spec::IND.is_set(words), spec::RNW.is_set(words)) {
        (true, true) => Access::Execute,
        (false, true) => Access::Read,
        (_, false) => Access::Write,
    };
    let fault = Fault {
        source,
        pasid: spec::SSV.is_set(words).then(|| Pasid(spec::SUBSTREAM_ID.get(words) as u32)),
        at: has_address.then(|| Iova(spec::INPUT_ADDR.get(words))),
        access: has_access.then_some(access),
        cause: cause(code),
        name,
    };
    let stalled =
        (translation && spec::STALL.is_set(words)).then(|| Stalled { source, stag: spec::STAG.get(words) });
    (Event::Fault(fault), stalled)
}

fn cause(code: u64) -> FaultCause {
    match code {
        // Nothing leads to an entry, or the entry is one that this driver blocked: a PASID is blocked by a CD that is
        // not valid. A blocked source leaves no record at all (5.2, STE.Config).
        id::C_BAD_STREAMID | id::F_STREAM_DISABLED | id::C_BAD_SUBSTREAMID | id::C_BAD_CD => {
            FaultCause::Blocked
        }
        id::F_TRANSLATION => FaultCause::NotMapped,
        id::F_ACCESS | id::F_PERMISSION | id::F_BAD_ATS_TREQ | id::F_TRANSL_FORBIDDEN => {
            FaultCause::Permission
        }
        id::F_ADDR_SIZE => FaultCause::Range,
        id::C_BAD_STE | id::F_STE_FETCH | id::F_CD_FETCH | id::F_WALK_EABT | id::F_VMS_FETCH => {
            FaultCause::Structure
        }
        _ => FaultCause::Other,
    }
}

/// What a record of the PRI queue says.
pub(super) fn decode_page_request(words: &[u64; pri::WORDS]) -> Event {
    Event::PageRequest {
        source: SourceId(pri::STREAM_ID.get(words) as u32),
        pasid: pri::SSV.is_set(words).then(|| Pasid(pri::SUBSTREAM_ID.get(words) as u32)),
        at: Iova(pri::PAGE_ADDR.get_in_place(words)),
        group: pri::PRG_INDEX.get(words) as u16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_translation_fault_tells_who_where_and_what_for() {
        // Stream 0x18, substream 5, a read that missed in stage 1; as QEMU 10 writes it, with a substream added.
        let words = [0x0000_0018_0000_5810, 0x0000_0208_0000_0000, 0xdead_b000, 0];
        let (event, stalled) = decode(&words);
        let expected = Fault {
            source: SourceId(0x18),
            pasid: Some(Pasid(5)),
            at: Some(Iova(0xdead_b000)),
            access: Some(Access::Read),
            cause: FaultCause::NotMapped,
            name: "F_TRANSLATION",
        };
        assert_eq!((event, stalled), (Event::Fault(expected), None));
        let (_, stalled) = decode(&[words[0], 0x8000_0042, words[2], 0]);
        assert_eq!(stalled, Some(Stalled { source: SourceId(0x18), stag: 0x42 }));
    }

    #[test]
    fn a_record_without_an_address_invents_none() {
        let (event, _) = decode(&[0x0000_0018_0000_0002, u64::MAX, u64::MAX, u64::MAX]);
        let Event::Fault(fault) = event else { panic!("{event:?}") };
        assert_eq!((fault.at, fault.access, fault.pasid), (None, None, None));
        assert_eq!(fault.cause, FaultCause::Blocked);
        assert!(matches!(decode(&[0xfe, 0, 0, 0]).0, Event::Unit { code: 0xfe, .. }));
    }
}
