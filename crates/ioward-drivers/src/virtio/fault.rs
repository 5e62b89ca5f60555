//! What reports mean (virtio 1.3 §5.13.6.9).

use ioward_core::driver::{Access, Event, Fault, FaultCause};
use ioward_spec::virtio::fault;
use ioward_types::{Iova, SourceId};

pub(super) const WORDS: usize = fault::BYTES / 8;

/// The event of a report; none where the report is to be ignored.
pub(super) fn decode(words: &[u64; WORDS]) -> Option<Event> {
    if fault::RESERVED.is_set(words) {
        return None;
    }
    let flags = fault::FLAGS.get(words);
    let access = match (flags & fault::F_READ != 0, flags & fault::F_WRITE != 0) {
        (true, false) => Some(Access::Read),
        (false, true) => Some(Access::Write),
        _ => None,
    };
    let (cause, name) = match fault::REASON.get(words) as u8 {
        fault::R_DOMAIN => (FaultCause::Blocked, "VIRTIO_IOMMU_FAULT_R_DOMAIN"),
        // Or mapped without the right: the device does not say.
        fault::R_MAPPING => (FaultCause::NotMapped, "VIRTIO_IOMMU_FAULT_R_MAPPING"),
        _ => (FaultCause::Other, "VIRTIO_IOMMU_FAULT_R_UNKNOWN"),
    };
    Some(Event::Fault(Fault {
        source: SourceId(fault::ENDPOINT.get(words) as u32),
        pasid: None,
        at: (flags & fault::F_ADDRESS != 0).then(|| Iova(fault::ADDRESS.get(words))),
        access,
        cause,
        name,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Words by hand, after struct virtio_iommu_fault.
    #[test]
    fn reports_say_who_where_and_why() {
        let Some(Event::Fault(fault)) = decode(&[0x0000_0102_0000_0002, 0xffff_ffff_0000_0018, 0x1234_5000])
        else {
            panic!("a fault")
        };
        assert_eq!((fault.source, fault.at), (SourceId(0x18), Some(Iova(0x1234_5000))));
        assert_eq!((fault.access, fault.cause), (Some(Access::Write), FaultCause::NotMapped));
        let Some(Event::Fault(fault)) = decode(&[0xffff_fe00_0000_0001, 5, 9]) else { panic!("a fault") };
        assert_eq!((fault.at, fault.access, fault.cause), (None, None, FaultCause::Blocked));
        let Some(Event::Fault(fault)) = decode(&[0xee, 5, 9]) else { panic!("a fault") };
        assert_eq!(fault.cause, FaultCause::Other);
        assert_eq!(decode(&[0x0000_0100_0000_0102, 5, 9]), None, "reserved is set");
    }
}
