//! What records of the fault queue and messages of the page-request queue say (3.2, 3.3).

use ioward_core::driver::{Access, Event, Fault, FaultCause};
use ioward_spec::riscv::{
    fault::{self as spec, cause, ttyp},
    page_request,
};
use ioward_types::{Iova, Pasid, SourceId};

/// What a record of the fault queue says.
pub(super) fn decode(words: &[u64; spec::WORDS]) -> Event {
    let code = spec::CAUSE.get(words);
    let kind = spec::TTYP.get(words);
    let name = spec::name(code);
    if kind == ttyp::NONE {
        // Not the doing of a request; iotval is what the cause defines: the address of a message for cause 273.
        let what = name.unwrap_or("unknown fault");
        return Event::Unit { what, code: if name.is_some() { spec::IOTVAL.get(words) } else { code } };
    }
    // The cause of a page fault names the access itself, and QEMU 10 calls every request a write in TTYP.
    let access = access_of(code).filter(|_| kind != ttyp::ATS_REQUEST).or(match kind {
        ttyp::UNTRANSLATED_EXECUTE | ttyp::TRANSLATED_EXECUTE => Some(Access::Execute),
        ttyp::UNTRANSLATED_READ | ttyp::TRANSLATED_READ => Some(Access::Read),
        ttyp::UNTRANSLATED_WRITE | ttyp::TRANSLATED_WRITE => Some(Access::Write),
        _ => None,
    });
    let pasid = Pasid(spec::PID.get(words) as u32);
    Event::Fault(Fault {
        source: SourceId(spec::DID.get(words) as u32),
        // process_id 0 is never installed: it is what requests without one have. QEMU 10 says PV of those too.
        pasid: (spec::PV.is_set(words) && pasid.0 != 0).then_some(pasid),
        // iotval of a PCIe message is its code.
        at: (access.is_some() || kind == ttyp::ATS_REQUEST).then(|| Iova(spec::IOTVAL.get(words))),
        access,
        cause: cause_of(code),
        name: name.unwrap_or("unknown fault"),
    })
}

/// What a request wanted, where its cause says so. A fetch is a read too (2.3, PCIe), and TTYP tells it apart.
fn access_of(code: u64) -> Option<Access> {
    match code {
        cause::WRITE_PAGE | cause::WRITE_GUEST_PAGE | cause::WRITE_ACCESS => Some(Access::Write),
        cause::READ_PAGE | cause::READ_GUEST_PAGE | cause::READ_ACCESS => Some(Access::Read),
        cause::INSTRUCTION_PAGE | cause::INSTRUCTION_GUEST_PAGE | cause::INSTRUCTION_ACCESS => {
            Some(Access::Execute)
        }
        _ => None,
    }
}

fn cause_of(code: u64) -> FaultCause {
    match code {
        // A source that nobody has claimed or that is blocked has a device context that is not valid, or none; a PASID is
        // blocked by a process context that is not valid, or by there being no process directory.
        cause::ALL_DISALLOWED | cause::DDT_NOT_VALID | cause::TYPE_DISALLOWED | cause::PDT_NOT_VALID => {
            FaultCause::Blocked
        }
        // RISC-V does not tell a page without the right from no page, nor from an address that is too wide.
        cause::INSTRUCTION_PAGE
        | cause::READ_PAGE
        | cause::WRITE_PAGE
        | cause::INSTRUCTION_GUEST_PAGE
        | cause::READ_GUEST_PAGE
        | cause::WRITE_GUEST_PAGE
        | cause::MSI_PTE_NOT_VALID => FaultCause::NotMapped,
        cause::INSTRUCTION_ACCESS
        | cause::READ_ACCESS
        | cause::WRITE_ACCESS
        | cause::DDT_ACCESS
        | cause::DDT_MISCONFIGURED
        | cause::MSI_PTE_ACCESS
        | cause::MSI_PTE_MISCONFIGURED
        | cause::MRIF_ACCESS
        | cause::PDT_ACCESS
        | cause::PDT_MISCONFIGURED
        | cause::DDT_CORRUPTION
        | cause::PDT_CORRUPTION
        | cause::MSI_PT_CORRUPTION
        | cause::MRIF_CORRUPTION
        | cause::PT_CORRUPTION => FaultCause::Structure,
        _ => FaultCause::Other,
    }
}

/// What a message of the page-request queue says; none for a stop marker, which asks for nothing.
pub(super) fn decode_page_request(words: &[u64; page_request::WORDS]) -> Option<Event> {
    use page_request as spec;
    let asks = spec::R.is_set(words) || spec::W.is_set(words);
    if spec::L.is_set(words) && !asks {
        return None;
    }
    Some(Event::PageRequest {
        source: SourceId(spec::DID.get(words) as u32),
        pasid: spec::PV.is_set(words).then(|| Pasid(spec::PID.get(words) as u32)),
        at: Iova(spec::ADDR.get_in_place(words)),
        group: spec::PRGI.get(words) as u16,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record as the figure of 3.2 has it.
    fn record(cause: u64, pid: Option<u64>, ttyp: u64, did: u64, iotval: u64) -> [u64; 4] {
        let pid = pid.map_or(0, |pid| 1 << 32 | pid << 12);
        [cause | pid | ttyp << 34 | did << 40, 0, iotval, 0]
    }

    fn fault(words: [u64; 4]) -> Fault {
        match decode(&words) {
            Event::Fault(fault) => fault,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_fault_tells_who_where_and_what_for() {
        let expected = Fault {
            source: SourceId(0x1_0018),
            pasid: Some(Pasid(5)),
            at: Some(Iova(0xdead_b000)),
            access: Some(Access::Write),
            cause: FaultCause::NotMapped,
            name: "Write/AMO page fault",
        };
        assert_eq!(fault(record(15, Some(5), 3, 0x1_0018, 0xdead_b000)), expected);
        assert_eq!(fault(record(21, None, 2, 8, 0)).access, Some(Access::Read));
        assert_eq!(fault(record(21, None, 3, 8, 0)).access, Some(Access::Read), "QEMU's TTYP");
        assert_eq!(fault(record(20, None, 5, 8, 0)).access, Some(Access::Execute));
        assert_eq!(fault(record(13, Some(0), 2, 8, 0)).pasid, None);
        for (code, cause) in [
            (256, FaultCause::Blocked),
            (258, FaultCause::Blocked),
            (260, FaultCause::Blocked),
            (266, FaultCause::Blocked),
            (262, FaultCause::NotMapped),
            (259, FaultCause::Structure),
            (5, FaultCause::Structure),
            (272, FaultCause::Other),
            (4, FaultCause::Other),
            (999, FaultCause::Other),
        ] {
            assert_eq!(fault(record(code, None, 2, 8, 0)).cause, cause, "{code}");
        }
    }

    #[test]
    fn a_record_without_an_address_or_a_request_invents_none() {
        let message = fault(record(260, None, 9, 8, 0x10));
        assert_eq!((message.at, message.access), (None, None));
        let ahead = fault(record(260, None, 8, 8, 0x5000));
        assert_eq!((ahead.at, ahead.access), (Some(Iova(0x5000)), None));
        let unit = decode(&record(273, None, 0, 0, 0x2800_0000));
        assert_eq!(unit, Event::Unit { what: "IOMMU MSI write access fault", code: 0x2800_0000 });
        assert_eq!(decode(&record(999, None, 0, 0, 7)), Event::Unit { what: "unknown fault", code: 999 });
    }

    #[test]
    fn a_page_request_tells_its_group_and_a_stop_marker_nothing() {
        let message = |low: u64| [0x18 << 40 | 1 << 32 | 7 << 12, 0xdead_b000 | 0x1a5 << 3 | low];
        let expected = Event::PageRequest {
            source: SourceId(0x18),
            pasid: Some(Pasid(7)),
            at: Iova(0xdead_b000),
            group: 0x1a5,
        };
        for low in [1, 2, 5, 7] {
            assert_eq!(decode_page_request(&message(low)), Some(expected));
        }
        assert_eq!(decode_page_request(&message(4)), None);
    }
}
