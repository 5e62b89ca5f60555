//! What is mapped in a domain, kept so that it can be made again.

use super::features::Features;
use alloc::collections::BTreeMap;
use ioward_core::driver::Refused;
use ioward_spec::virtio::request::map;
use ioward_types::{Attributes, IommuId, Iova, PhysAddr, Span};

/// One MAP request's worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mapping {
    pub bytes: u64,
    pub to: PhysAddr,
    pub flags: u64,
}

/// Mappings by their first IOVA; they do not overlap.
#[derive(Default)]
pub(super) struct Mappings(BTreeMap<u64, Mapping>);

impl Mappings {
    pub fn is_free(&self, span: Span<Iova>) -> bool {
        let before = self.0.range(..=span.last().0).next_back();
        before.is_none_or(|(at, mapping)| at + (mapping.bytes - 1) < span.start.0)
    }

    pub fn insert(&mut self, at: Iova, mapping: Mapping) {
        self.0.insert(at.0, mapping);
    }

    pub fn iter(&self) -> impl Iterator<Item = (Iova, &Mapping)> {
        self.0.iter().map(|(at, mapping)| (Iova(*at), mapping))
    }

    /// Whether `span` begins or ends inside a mapping.
    pub fn cuts(&self, span: Span<Iova>) -> bool {
        let around = |at: u64| self.0.range(..=at).next_back();
        let starts =
            |(at, mapping): (&u64, &Mapping)| *at < span.start.0 && at + (mapping.bytes - 1) >= span.start.0;
        let ends = |(at, mapping): (&u64, &Mapping)| at + (mapping.bytes - 1) > span.last().0;
        around(span.start.0).is_some_and(starts) || around(span.last().0).is_some_and(ends)
    }

    /// Takes out what lies in `span`; tells from the first byte to the last of it.
    pub fn remove(&mut self, span: Span<Iova>) -> Option<Span<Iova>> {
        let mut range = self.0.range(span.start.0..=span.last().0);
        let (first, mapping) = range.next()?;
        let (last, tail) = range.next_back().unwrap_or((first, mapping));
        let whole = Span::inclusive(Iova(*first), Iova(last + (tail.bytes - 1)));
        while let Some((&at, _)) = self.0.range(span.start.0..=span.last().0).next() {
            self.0.remove(&at);
        }
        whole
    }
}

/// The flags of a MAP request, or why the rights cannot be said.
pub(super) fn flags(iommu: IommuId, features: &Features, how: Attributes) -> Result<u64, Refused> {
    if how.privileged {
        // It would be reachable by requests that are not, too.
        return Err(Refused::Unsupported { iommu, what: "mappings for privileged requests alone" });
    }
    if how.mmio && !features.mmio {
        return Err(Refused::Unsupported { iommu, what: "VIRTIO_IOMMU_F_MMIO" });
    }
    if !how.read && !how.write {
        return Err(Refused::Unsupported { iommu, what: "mappings without read and write" });
    }
    let flag = |on: bool, flag: u64| if on { flag } else { 0 };
    Ok(flag(how.read, map::F_READ) | flag(how.write, map::F_WRITE) | flag(how.mmio, map::F_MMIO))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: u64, bytes: u64) -> Span<Iova> {
        Span { start: Iova(start), bytes }
    }

    #[test]
    fn ranges_are_found_at_both_ends_of_the_space() {
        let mut all = Mappings::default();
        let to = PhysAddr(0x1000);
        for (at, bytes) in [(0, 0x1000), (0x3000, 0x2000), (0xffff_ffff_ffff_f000, 0x1000)] {
            assert!(all.is_free(span(at, bytes)));
            all.insert(Iova(at), Mapping { bytes, to, flags: 3 });
            assert!(!all.is_free(span(at, bytes)) && !all.cuts(span(at, bytes)));
        }
        assert!(all.is_free(span(0x1000, 0x2000)));
        assert!(!all.is_free(span(0x1000, 0x2001)) && !all.is_free(span(0x4fff, 1)));
        assert!(all.cuts(span(0x4000, 0x1000)) && all.cuts(span(0x3000, 0x1000)));
        assert!(!all.cuts(span(0x1000, 0x4000)) && !all.cuts(span(0x1000, 0x1000)));
        assert_eq!(all.remove(span(0x1000, 0x1000)), None);
        assert_eq!(all.remove(span(0, u64::MAX)), Span::inclusive(Iova(0), Iova(u64::MAX)));
    }

    #[test]
    fn what_is_removed_is_told_whole() {
        let mut all = Mappings::default();
        for at in [0x1000, 0x2000, 0x9000] {
            all.insert(Iova(at), Mapping { bytes: 0x1000, to: PhysAddr(0), flags: 1 });
        }
        assert_eq!(all.remove(span(0, 0x4000)), Some(span(0x1000, 0x2000)));
        assert_eq!(all.remove(span(0x9000, 0x1000)), Some(span(0x9000, 0x1000)));
        assert_eq!(all.iter().count(), 0);
    }
}
