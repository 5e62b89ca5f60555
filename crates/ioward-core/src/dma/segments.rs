//! What a device takes as one segment of a list.

use core::{fmt, iter::Peekable, slice};
use ioward_types::{Iova, Span};

/// How long a segment may be, and what it may not cross.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentLimits {
    bytes: u64,
    /// A power of two; zero for none.
    boundary: u64,
}

impl SegmentLimits {
    /// Segments of any length, anywhere.
    pub const NONE: Self = Self { bytes: u64::MAX, boundary: 0 };

    /// At most `bytes` bytes, and no segment crosses a multiple of `boundary`. `None` for a length of zero, and for a boundary
    /// that is no power of two.
    pub const fn new(bytes: u64, boundary: Option<u64>) -> Option<Self> {
        let boundary = match boundary {
            Some(boundary) if boundary.is_power_of_two() => boundary,
            Some(_) => return None,
            None => 0,
        };
        if bytes == 0 { None } else { Some(Self { bytes, boundary }) }
    }

    /// How many bytes a segment that starts at `at` may have.
    fn most(self, at: Iova) -> u64 {
        let to_boundary = match self.boundary {
            0 => u64::MAX,
            boundary => boundary - (at.0 & (boundary - 1)),
        };
        self.bytes.min(to_boundary)
    }
}

impl Default for SegmentLimits {
    fn default() -> Self {
        Self::NONE
    }
}

/// The segments of a list, in its order: what follows each other is one, as far as the device takes it.
#[derive(Clone)]
pub struct Segments<'l> {
    spans: Peekable<slice::Iter<'l, Span<Iova>>>,
    rest: Option<Span<Iova>>,
    limits: SegmentLimits,
}

impl<'l> Segments<'l> {
    pub(super) fn new(spans: &'l [Span<Iova>], limits: SegmentLimits) -> Self {
        Self { spans: spans.iter().peekable(), rest: None, limits }
    }
}

impl Iterator for Segments<'_> {
    type Item = Span<Iova>;

    fn next(&mut self) -> Option<Span<Iova>> {
        let mut segment = self.rest.take().or_else(|| self.spans.next().copied())?;
        let follows = |segment: Span<Iova>| {
            move |next: &&Span<Iova>| {
                segment.last().0.checked_add(1) == Some(next.start.0)
                    && segment.bytes.checked_add(next.bytes).is_some()
            }
        };
        while let Some(next) = self.spans.next_if(follows(segment)) {
            segment.bytes += next.bytes;
        }
        let most = self.limits.most(segment.start);
        if segment.bytes > most {
            self.rest = Some(Span { start: Iova(segment.start.0 + most), bytes: segment.bytes - most });
            segment.bytes = most;
        }
        Some(segment)
    }
}

impl fmt::Debug for Segments<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn segments(spans: &[(u64, u64)], bytes: u64, boundary: Option<u64>) -> Vec<(u64, u64)> {
        let spans: Vec<_> =
            spans.iter().map(|(start, bytes)| Span { start: Iova(*start), bytes: *bytes }).collect();
        let limits = SegmentLimits::new(bytes, boundary).unwrap();
        Segments::new(&spans, limits).map(|span| (span.start.0, span.bytes)).collect()
    }

    #[test]
    fn neighbours_are_one_and_limits_cut() {
        let all = u64::MAX;
        assert_eq!(segments(&[(0x1000, 0x1000), (0x2000, 0x800)], all, None), [(0x1000, 0x1800)]);
        assert_eq!(
            segments(&[(0x1000, 0x100), (0x2000, 0x800)], all, None),
            [(0x1000, 0x100), (0x2000, 0x800)]
        );
        assert_eq!(segments(&[(0x1000, 0x1800)], 0x1000, None), [(0x1000, 0x1000), (0x2000, 0x800)]);
        let cut = [(0xff00, 0x100), (0x1_0000, 0x1_0000), (0x2_0000, 0x10)];
        assert_eq!(segments(&[(0xff00, 0x1_0110)], all, Some(0x1_0000)), cut);
        // The last byte that there is, and an end that would wrap into the next.
        assert_eq!(segments(&[(all - 0xff, 0x100), (0, 1)], all, None), [(all - 0xff, 0x100), (0, 1)]);
        assert_eq!(segments(&[], 1, None), []);
    }

    #[test]
    fn limits_that_no_segment_keeps_are_none() {
        assert_eq!(SegmentLimits::new(0, None), None);
        assert_eq!(SegmentLimits::new(1, Some(0)), None);
        assert_eq!(SegmentLimits::new(1, Some(0x3000)), None);
    }
}
