//! Addresses, spans and the small numbers that name things.

use core::fmt;

macro_rules! number {
    ($($(#[$doc:meta])* $name:ident($inner:ty) = $format:literal;)*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, concat!(stringify!($name), "(", $format, ")"), self.0) }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, $format, self.0) }
        }
    )* };
}

number! {
    /// An address as a device issues it, before translation.
    Iova(u64) = "{:#x}";
    /// An address as the memory system sees it, after translation.
    PhysAddr(u64) = "{:#x}";
    /// A process address space ID: 20 bits on PCI Express, zero being the requests without one on most IOMMUs.
    Pasid(u32) = "{}";
    /// A requester ID or stream ID as *one* IOMMU sees it; it means nothing without that IOMMU.
    SourceId(u32) = "{:#x}";
    /// One IOMMU instance, numbered by whoever discovers them.
    IommuId(u32) = "{}";
    /// Domain ID, ASID, VMID or GSCID: names one carrier on one IOMMU to its caches.
    Tag(u32) = "{}";
    /// Nanoseconds of the platform's monotonic clock.
    Nanos(u64) = "{} ns";
}

/// What can be the start of a [`Span`].
pub trait Address: Copy + Ord + fmt::Debug {
    /// The address as a number of bytes from zero.
    fn raw(self) -> u64;
    /// The address `raw` bytes from zero.
    fn from_raw(raw: u64) -> Self;
}

impl Address for Iova {
    fn raw(self) -> u64 {
        self.0
    }
    fn from_raw(raw: u64) -> Self {
        Self(raw)
    }
}

impl Address for PhysAddr {
    fn raw(self) -> u64 {
        self.0
    }
    fn from_raw(raw: u64) -> Self {
        Self(raw)
    }
}

/// `bytes` bytes from `start`: up to, not including, `start + bytes`.
///
/// A span built with [`Span::new`] has at least one byte and its last byte does not wrap; the fields are public so that
/// constants can be written, and whoever takes a span from outside checks it with [`Span::is_valid`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span<A> {
    /// The first byte.
    pub start: A,
    /// How many bytes.
    pub bytes: u64,
}

impl<A: Address> Span<A> {
    /// A span, or `None` where it would be empty or its last byte would wrap.
    pub fn new(start: A, bytes: u64) -> Option<Self> {
        let span = Self { start, bytes };
        span.is_valid().then_some(span)
    }

    /// The span from `first` to `last`, both included; `None` where `last < first` or all 2^64 bytes are meant.
    pub fn inclusive(first: A, last: A) -> Option<Self> {
        let bytes = last.raw().checked_sub(first.raw())?.checked_add(1)?;
        Some(Self { start: first, bytes })
    }

    /// Whether it has at least one byte and its last byte does not wrap.
    pub fn is_valid(&self) -> bool {
        self.bytes != 0 && self.start.raw().checked_add(self.bytes - 1).is_some()
    }

    /// The last byte of a valid span.
    pub fn last(&self) -> A {
        A::from_raw(self.start.raw().wrapping_add(self.bytes.wrapping_sub(1)))
    }

    /// Whether `at` is one of its bytes.
    pub fn contains(&self, at: A) -> bool {
        self.bytes != 0 && at.raw().wrapping_sub(self.start.raw()) < self.bytes
    }

    /// Whether every byte of `other` is one of its bytes.
    pub fn covers(&self, other: &Self) -> bool {
        self.contains(other.start) && self.contains(other.last())
    }

    /// Whether they share a byte.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.bytes != 0 && other.bytes != 0 && (self.contains(other.start) || other.contains(self.start))
    }

    /// Grown to multiples of `unit`, a power of two, on both sides; `None` where that would wrap.
    pub fn align_outward(&self, unit: u64) -> Option<Self> {
        let first = self.start.raw() & !(unit - 1);
        let last = self.last().raw() | (unit - 1);
        Self::inclusive(A::from_raw(first), A::from_raw(last))
    }

    /// Whether start and length are multiples of `unit`, a power of two.
    pub fn is_aligned(&self, unit: u64) -> bool {
        (self.start.raw() | self.bytes) & (unit - 1) == 0
    }
}

impl<A: Address> fmt::Debug for Span<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<A: Address> fmt::Display for Span<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..={:#x}", self.start.raw(), self.last().raw())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_ends_at_the_last_address_but_not_beyond() {
        assert!(Span::new(Iova(u64::MAX), 1).is_some());
        assert!(Span::new(Iova(u64::MAX), 2).is_none());
        assert!(Span::new(Iova(0), 0).is_none());
        assert_eq!(Span::inclusive(Iova(0), Iova(u64::MAX)), None);
        assert_eq!(Span::inclusive(Iova(1), Iova(u64::MAX)).unwrap().last(), Iova(u64::MAX));
    }

    #[test]
    fn overlap_is_of_bytes() {
        let low = Span { start: Iova(0), bytes: 0x1000 };
        let high = Span { start: Iova(0x1000), bytes: 0x1000 };
        assert!(!low.overlaps(&high) && !high.overlaps(&low));
        assert!(low.overlaps(&Span { start: Iova(0xfff), bytes: 1 }));
        assert!(!low.overlaps(&Span { start: Iova(0x10), bytes: 0 }));
    }
}
