//! Requests as the device reads them, and what its answers mean (virtio 1.3 §5.13.6).

use super::mapping::Mapping;
use ioward_core::driver::Refused;
use ioward_spec::virtio::request::{self, attach, detach, map, probe, status, unmap};
use ioward_types::{IommuId, Iova, SourceId, Span};

/// 64-bit words of the longest request, PROBE.
pub(super) const WORDS: usize = probe::BYTES / 8;

/// The part of a request that the device reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Request {
    pub name: &'static str,
    pub words: [u64; WORDS],
    pub bytes: usize,
}

impl Request {
    fn new(name: &'static str, kind: u8, bytes: usize) -> Self {
        let mut words = [0; WORDS];
        request::TYPE.set(&mut words, kind.into());
        Self { name, words, bytes }
    }

    pub fn attach(domain: u32, endpoint: SourceId, bypass: bool) -> Self {
        let mut this = Self::new("ATTACH", request::T_ATTACH, attach::BYTES);
        attach::DOMAIN.set(&mut this.words, domain.into());
        attach::ENDPOINT.set(&mut this.words, endpoint.0.into());
        attach::FLAGS.set(&mut this.words, if bypass { attach::F_BYPASS } else { 0 });
        this
    }

    pub fn detach(domain: u32, endpoint: SourceId) -> Self {
        let mut this = Self::new("DETACH", request::T_DETACH, detach::BYTES);
        detach::DOMAIN.set(&mut this.words, domain.into());
        detach::ENDPOINT.set(&mut this.words, endpoint.0.into());
        this
    }

    pub fn map(domain: u32, at: Iova, mapping: &Mapping) -> Self {
        let mut this = Self::new("MAP", request::T_MAP, map::BYTES);
        map::DOMAIN.set(&mut this.words, domain.into());
        map::VIRT_START.set(&mut this.words, at.0);
        map::VIRT_END.set(&mut this.words, at.0 + (mapping.bytes - 1));
        map::PHYS_START.set(&mut this.words, mapping.to.0);
        map::FLAGS.set(&mut this.words, mapping.flags);
        this
    }

    pub fn unmap(domain: u32, span: Span<Iova>) -> Self {
        Self::unmap_all(domain, (span.start.0, span.last().0))
    }

    /// Of all between two addresses, the last one included.
    pub fn unmap_all(domain: u32, (first, last): (u64, u64)) -> Self {
        let mut this = Self::new("UNMAP", request::T_UNMAP, unmap::BYTES);
        unmap::DOMAIN.set(&mut this.words, domain.into());
        unmap::VIRT_START.set(&mut this.words, first);
        unmap::VIRT_END.set(&mut this.words, last);
        this
    }

    pub fn probe(endpoint: SourceId) -> Self {
        let mut this = Self::new("PROBE", request::T_PROBE, probe::BYTES);
        probe::ENDPOINT.set(&mut this.words, endpoint.0.into());
        this
    }
}

/// How a request was answered: with which status, or without any where the device wrote nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    Status(u8),
    Unwritten,
}

impl Answer {
    pub fn is_ok(self) -> bool {
        self == Self::Status(status::OK)
    }

    /// The specification's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unwritten => "the device returned it without a status",
            Self::Status(status::OK) => "VIRTIO_IOMMU_S_OK",
            Self::Status(status::IOERR) => "VIRTIO_IOMMU_S_IOERR",
            Self::Status(status::UNSUPP) => "VIRTIO_IOMMU_S_UNSUPP",
            Self::Status(status::DEVERR) => "VIRTIO_IOMMU_S_DEVERR",
            Self::Status(status::INVAL) => "VIRTIO_IOMMU_S_INVAL",
            Self::Status(status::RANGE) => "VIRTIO_IOMMU_S_RANGE",
            Self::Status(status::NOENT) => "VIRTIO_IOMMU_S_NOENT",
            Self::Status(status::FAULT) => "VIRTIO_IOMMU_S_FAULT",
            Self::Status(status::NOMEM) => "VIRTIO_IOMMU_S_NOMEM",
            Self::Status(_) => "an unknown status",
        }
    }

    pub fn refused(self, iommu: IommuId, request: &'static str) -> Refused {
        Refused::Rejected { iommu, request, why: self.name() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ioward_types::PhysAddr;

    // Words by hand, after the structures of §5.13.6.
    #[test]
    fn words_are_those_of_the_text() {
        let attach = Request::attach(0x1122_3344, SourceId(0x5566), true);
        assert_eq!(attach.words[..3], [0x1122_3344_0000_0001, 0x0000_0001_0000_5566, 0]);
        let detach = Request::detach(7, SourceId(0x18));
        assert_eq!(detach.words[..3], [0x0000_0007_0000_0002, 0x18, 0]);
        let mapping = Mapping { bytes: 0x2000, to: PhysAddr(0x8_0000_0000), flags: 7 };
        let map = Request::map(7, Iova(0xffff_ffff_ffff_e000), &mapping);
        let words = [0x0000_0007_0000_0003, 0xffff_ffff_ffff_e000, u64::MAX, 0x8_0000_0000, 7];
        assert_eq!(map.words[..5], words);
        let unmap = Request::unmap(7, Span { start: Iova(0x1000), bytes: 0x1000 });
        assert_eq!(unmap.words[..4], [0x0000_0007_0000_0004, 0x1000, 0x1fff, 0]);
        let probe = Request::probe(SourceId(0x18));
        assert_eq!((probe.words[0], probe.bytes), (0x0000_0018_0000_0005, 72));
    }
}
