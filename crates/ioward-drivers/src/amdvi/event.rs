//! Decoding of events (48882 §2.5).

use ioward_core::driver::{Access, Event, Fault, FaultCause};
use ioward_spec::amdvi::events as spec;
use ioward_types::{Iova, Pasid, SourceId};

/// One entry of the event log.
pub(super) type Raw = [u64; 2];

/// What the entry's code says. Zero is an entry that hardware has not written yet.
pub(super) fn code(raw: &Raw) -> u64 {
    spec::EVENT_CODE.get(raw)
}

/// Whether a device did not answer an invalidation of its IOTLB.
pub(super) fn is_iotlb_timeout(raw: &Raw) -> bool {
    code(raw) == spec::IOTLB_INV_TIMEOUT
}

/// What the event says. `blocked` tells whether a source's entry reaches nothing.
pub(super) fn decode(raw: &Raw, blocked: impl Fn(SourceId) -> bool) -> Event {
    let source = SourceId(spec::DEVICE_ID.get(raw) as u32);
    let address = spec::ADDRESS.get(raw);
    let fault = |name, at: Option<u64>, cause| {
        let interrupt = spec::I.is_set(raw);
        // An interrupt request has no PASID and no direction. QEMU sets I for memory requests too, and then has other
        // things where GN and RW are. Requests without a PASID that go through guest tables are logged with zero.
        let number = spec::PASID_19_16.get(raw) << 16 | spec::DOMAIN_ID_OR_PASID_15_0.get(raw);
        let pasid = (spec::GN.is_set(raw) && !interrupt && number != 0).then_some(Pasid(number as u32));
        let access = if spec::RW.is_set(raw) {
            Access::Write
        } else if code(raw) == spec::IO_PAGE_FAULT && spec::NX.is_set(raw) {
            Access::Execute
        } else {
            Access::Read
        };
        let access = (!interrupt).then_some(access);
        Event::Fault(Fault { source, pasid, at: at.map(Iova), access, cause, name })
    };
    match code(raw) {
        spec::ILLEGAL_DEV_TABLE_ENTRY => {
            fault("ILLEGAL_DEV_TABLE_ENTRY", Some(address & !3), FaultCause::Structure)
        }
        spec::IO_PAGE_FAULT => {
            let cause = if blocked(source) {
                FaultCause::Blocked
            } else if !spec::PR.is_set(raw) {
                FaultCause::NotMapped
            } else if spec::PE.is_set(raw) {
                FaultCause::Permission
            } else {
                FaultCause::Structure
            };
            fault("IO_PAGE_FAULT", Some(address), cause)
        }
        // The address of these is the structure's, not the device's.
        spec::DEV_TAB_HARDWARE_ERROR => fault("DEV_TAB_HARDWARE_ERROR", None, FaultCause::Structure),
        spec::PAGE_TAB_HARDWARE_ERROR => fault("PAGE_TAB_HARDWARE_ERROR", None, FaultCause::Structure),
        spec::INVALID_DEVICE_REQUEST => {
            let cause = if blocked(source) { FaultCause::Blocked } else { FaultCause::Other };
            fault("INVALID_DEVICE_REQUEST", Some(address), cause)
        }
        spec::ILLEGAL_COMMAND_ERROR => Event::Unit { what: "ILLEGAL_COMMAND_ERROR", code: address },
        spec::COMMAND_HARDWARE_ERROR => Event::Unit { what: "COMMAND_HARDWARE_ERROR", code: address },
        spec::IOTLB_INV_TIMEOUT => Event::Unit { what: "IOTLB_INV_TIMEOUT", code: raw[0] },
        spec::INVALID_PPR_REQUEST => Event::Unit { what: "INVALID_PPR_REQUEST", code: raw[0] },
        spec::EVENT_COUNTER_ZERO => Event::Unit { what: "EVENT_COUNTER_ZERO", code: raw[0] },
        spec::GUEST_EVENT_FAULT => Event::Unit { what: "GUEST_EVENT_FAULT", code: raw[0] },
        spec::VIOMMU_HARDWARE_ERROR => Event::Unit { what: "VIOMMU_HARDWARE_ERROR", code: raw[0] },
        // Where others have PASID and flags, this has the guest's tag.
        spec::RMP_PAGE_FAULT => Event::Fault(Fault {
            source,
            pasid: None,
            at: Some(Iova(address)),
            access: None,
            cause: FaultCause::Permission,
            name: "RMP_PAGE_FAULT",
        }),
        spec::RMP_HARDWARE_ERROR => Event::Unit { what: "RMP_HARDWARE_ERROR", code: raw[0] },
        0 => Event::Unit { what: "an event that was announced but not written", code: raw[0] },
        _ => Event::Unit { what: "an event with a reserved code", code: raw[0] },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(raw: Raw, blocked: bool) -> Fault {
        match decode(&raw, |_| blocked) {
            Event::Fault(fault) => fault,
            other => panic!("{other:?} is no fault"),
        }
    }

    #[test]
    fn a_page_fault_without_pasid() {
        // Code 2, RW; the domain is no PASID.
        let raw = [0x2020_0007_0000_0108, 0xdead_b000];
        let seen = fault(raw, false);
        assert_eq!((seen.source, seen.pasid, seen.at), (SourceId(0x108), None, Some(Iova(0xdead_b000))));
        assert_eq!((seen.access, seen.cause), (Some(Access::Write), FaultCause::NotMapped));
        assert_eq!(fault(raw, true).cause, FaultCause::Blocked);
    }

    #[test]
    fn a_page_fault_with_pasid() {
        // Code 2, GN, PR, PE; PASID 0x51234.
        let seen = fault([0x2051_1234_0005_0108, 0x1000], false);
        assert_eq!(seen.pasid, Some(Pasid(0x5_1234)));
        assert_eq!(fault([0x2051_0000_0000_0108, 0x1000], false).pasid, None, "guest tables, and no PASID");
        assert_eq!((seen.access, seen.cause), (Some(Access::Read), FaultCause::Permission));
        // NX.
        assert_eq!(fault([0x2053_1234_0005_0108, 0x1000], false).access, Some(Access::Execute));
        // PR without PE: the tables are wrong.
        assert_eq!(fault([0x2091_0000_0000_0108, 0], false).cause, FaultCause::Structure);
    }

    #[test]
    fn an_interrupt_request_has_neither_pasid_nor_direction() {
        let seen = fault([0x2009_0000_0000_00f8, 0xfee0_0000], false);
        assert_eq!((seen.pasid, seen.access), (None, None));
    }

    #[test]
    fn every_code_decodes() {
        for code in 0..16u64 {
            let raw = [code << 60 | 0x18, u64::MAX];
            match decode(&raw, |_| false) {
                Event::Fault(fault) => assert_eq!(fault.source, SourceId(0x18)),
                Event::Unit { what, .. } => assert!(!what.is_empty()),
                other => panic!("{other:?}"),
            }
        }
        assert!(is_iotlb_timeout(&[7 << 60, 0]) && !is_iotlb_timeout(&[6 << 60, 0]));
    }
}
