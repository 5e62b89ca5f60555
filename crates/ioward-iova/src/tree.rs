//! The ordered tree of free IOVAs.

use alloc::{collections::BTreeMap, vec::Vec};
use core::fmt;
use ioward_types::{Iova, Span};

/// Why a range cannot be allocated, reserved or freed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum IovaError {
    /// No free range is long enough, aligned and below the limit.
    Exhausted {
        /// How many bytes were asked for.
        bytes: u64,
        /// The last IOVA that would have done.
        limit: Iova,
    },
    /// The length is zero, the alignment is no power of two, or the range wraps or leaves the aperture.
    Range(Span<Iova>),
    /// A part of the range is allocated.
    InUse(Span<Iova>),
    /// The range was not allocated as such.
    NotAllocated(Span<Iova>),
}

impl fmt::Display for IovaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exhausted { bytes, limit } => {
                write!(f, "no {bytes:#x} bytes of IOVA are free up to {limit}")
            }
            Self::Range(span) => write!(f, "{span} is no range of this aperture"),
            Self::InUse(span) => write!(f, "{span} is in use"),
            Self::NotAllocated(span) => write!(f, "{span} was not allocated"),
        }
    }
}
impl core::error::Error for IovaError {}

/// What a reservation or a lowering took away, for [`IovaTree::undo`]. Dropped: it stays away.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reserved {
    aperture: Span<Iova>,
    pieces: Vec<(u64, u64)>,
}

/// Free and allocated ranges of an aperture. Everything is rounded outward to the granule.
#[derive(Debug)]
pub struct IovaTree {
    granule: u64,
    aperture: Span<Iova>,
    /// First byte to length, of ranges that are free; no two touch.
    free: BTreeMap<u64, u64>,
    /// First byte to length, of ranges that are allocated.
    allocated: BTreeMap<u64, u64>,
}

impl IovaTree {
    /// All of `aperture` is free but for the page at zero, which is never allocated: a device's driver may take zero
    /// for "none". `granule` is a power of two.
    pub fn new(aperture: Span<Iova>, granule: u64) -> Result<Self, IovaError> {
        if !granule.is_power_of_two() || !aperture.is_valid() || !aperture.is_aligned(granule) {
            return Err(IovaError::Range(aperture));
        }
        let mut tree = Self {
            granule,
            aperture,
            free: BTreeMap::from([(aperture.start.0, aperture.bytes)]),
            allocated: BTreeMap::new(),
        };
        if aperture.start.0 == 0 {
            tree.take(Span { start: Iova(0), bytes: granule });
        }
        Ok(tree)
    }

    /// The range that allocations come from, reserved parts included.
    pub fn aperture(&self) -> Span<Iova> {
        self.aperture
    }

    /// The unit of allocation, in bytes.
    pub fn granule(&self) -> u64 {
        self.granule
    }

    /// Bytes allocated.
    pub fn in_use(&self) -> u64 {
        self.allocated.values().sum()
    }

    /// Never to allocate any of `span`. Parts outside the aperture and parts reserved before do not matter; an allocated
    /// part does, and then nothing is reserved.
    pub fn reserve(&mut self, span: Span<Iova>) -> Result<Reserved, IovaError> {
        let aperture = self.aperture;
        let Some(span) = span.is_valid().then(|| self.clip(span)).flatten() else {
            let nothing = Reserved { aperture, pieces: Vec::new() };
            return if span.is_valid() { Ok(nothing) } else { Err(IovaError::Range(span)) };
        };
        self.check_unused(span)?;
        Ok(Reserved { aperture, pieces: self.take(span) })
    }

    /// Takes a reservation or a lowering back: exactly what was free before it is free again. In the reverse order of
    /// several.
    pub fn undo(&mut self, reserved: Reserved) {
        self.aperture = reserved.aperture;
        reserved.pieces.into_iter().for_each(|(start, bytes)| self.give(start, bytes));
    }

    /// Whether no part of `span` is allocated.
    pub fn is_unused(&self, span: Span<Iova>) -> bool {
        !span.is_valid() || self.clip(span).is_none_or(|span| self.check_unused(span).is_ok())
    }

    /// From now on IOVAs stay at or below `last`. Fails, and changes nothing, if something above is allocated.
    pub fn lower(&mut self, last: Iova) -> Result<Reserved, IovaError> {
        let aperture = self.aperture;
        if last >= self.aperture.last() {
            return Ok(Reserved { aperture, pieces: Vec::new() });
        }
        let end = (last.0 | (self.granule - 1))
            - if (last.0 & (self.granule - 1)) == self.granule - 1 { 0 } else { self.granule };
        if last.0 < self.granule - 1 || end <= self.aperture.start.0 {
            return Err(IovaError::Range(Span { start: self.aperture.start, bytes: 0 }));
        }
        let above = Span { start: Iova(end + 1), bytes: self.aperture.last().0 - end };
        self.check_unused(above)?;
        let pieces = self.take(above);
        self.aperture.bytes = end - self.aperture.start.0 + 1;
        Ok(Reserved { aperture, pieces })
    }

    /// `bytes` bytes (rounded up to the granule), the first a multiple of `align` (a power of two), the last at or below
    /// `limit`. The highest that fits.
    pub fn alloc(&mut self, bytes: u64, align: u64, limit: Iova) -> Result<Span<Iova>, IovaError> {
        let asked = Span { start: Iova(0), bytes };
        let rounded = bytes
            .checked_next_multiple_of(self.granule)
            .filter(|rounded| *rounded != 0 && align.is_power_of_two());
        let bytes = rounded.ok_or(IovaError::Range(asked))?;
        let mask = align.max(self.granule) - 1;
        let fit = self.free.range(..=limit.0).rev().find_map(|(&start, &length)| {
            let last = (start + (length - 1)).min(limit.0);
            let first = (last.checked_sub(bytes - 1)?) & !mask;
            (first >= start).then_some(first)
        });
        let span = Span { start: Iova(fit.ok_or(IovaError::Exhausted { bytes, limit })?), bytes };
        self.take(span);
        self.allocated.insert(span.start.0, bytes);
        Ok(span)
    }

    /// Gives back exactly what [`IovaTree::alloc`] gave.
    pub fn free(&mut self, span: Span<Iova>) -> Result<(), IovaError> {
        if self.allocated.get(&span.start.0) != Some(&span.bytes) {
            return Err(IovaError::NotAllocated(span));
        }
        self.allocated.remove(&span.start.0);
        self.give(span.start.0, span.bytes);
        Ok(())
    }

    /// Adds to what is free.
    fn give(&mut self, mut start: u64, mut bytes: u64) {
        if let Some((&before, &length)) = self.free.range(..start).next_back()
            && before + length == start
        {
            self.free.remove(&before);
            (start, bytes) = (before, bytes + length);
        }
        if let Some(after) = start.checked_add(bytes)
            && let Some(length) = self.free.remove(&after)
        {
            bytes += length;
        }
        self.free.insert(start, bytes);
    }

    fn clip(&self, span: Span<Iova>) -> Option<Span<Iova>> {
        let first = span.start.0.max(self.aperture.start.0) & !(self.granule - 1);
        let last = (span.last().0 | (self.granule - 1)).min(self.aperture.last().0);
        Span::inclusive(Iova(first), Iova(last))
    }

    fn check_unused(&self, span: Span<Iova>) -> Result<(), IovaError> {
        match self.allocated.range(..=span.last().0).next_back() {
            Some((&start, &bytes)) if start + (bytes - 1) >= span.start.0 => {
                Err(IovaError::InUse(Span { start: Iova(start), bytes }))
            }
            _ => Ok(()),
        }
    }

    /// Removes `span` from what is free; tells what of it was.
    fn take(&mut self, span: Span<Iova>) -> Vec<(u64, u64)> {
        let mut pieces = Vec::new();
        let (first, last) = (span.start.0, span.last().0);
        while let Some((&start, &bytes)) = self.free.range(..=last).next_back() {
            let end = start + (bytes - 1);
            if end < first {
                break;
            }
            self.free.remove(&start);
            let (from, to) = (start.max(first), end.min(last));
            pieces.push((from, to - from + 1));
            if start < first {
                self.free.insert(start, first - start);
            }
            if end > last {
                self.free.insert(last + 1, end - last);
            }
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAGE: u64 = 4096;

    fn span(start: u64, bytes: u64) -> Span<Iova> {
        Span { start: Iova(start), bytes }
    }

    #[test]
    fn zero_is_never_allocated_and_the_last_page_is() {
        let mut tree = IovaTree::new(span(0, 2 * PAGE), PAGE).unwrap();
        assert_eq!(tree.alloc(1, 1, Iova(u64::MAX)), Ok(span(PAGE, PAGE)));
        assert!(matches!(tree.alloc(1, 1, Iova(u64::MAX)), Err(IovaError::Exhausted { .. })));
    }

    #[test]
    fn the_top_of_64_bits_does_not_wrap() {
        let top = 0xffff_ffff_ffff_0000;
        let mut tree = IovaTree::new(span(top, 0x1_0000), PAGE).unwrap();
        let all = tree.alloc(0x1_0000, PAGE, Iova(u64::MAX)).unwrap();
        assert_eq!(all, span(top, 0x1_0000));
        tree.free(all).unwrap();
        assert_eq!(tree.free(all), Err(IovaError::NotAllocated(all)));
        assert_eq!(tree.alloc(u64::MAX, 1, Iova(u64::MAX)), Err(IovaError::Range(span(0, u64::MAX))));
    }

    #[test]
    fn a_limit_is_inclusive_and_lowering_spares_what_is_live() {
        let mut tree = IovaTree::new(span(0, 1 << 20), PAGE).unwrap();
        assert_eq!(tree.alloc(PAGE, PAGE, Iova(0x2fff)), Ok(span(0x2000, PAGE)));
        assert_eq!(tree.alloc(PAGE, PAGE, Iova(0x2ffe)), Ok(span(0x1000, PAGE)));
        let high = tree.alloc(PAGE, PAGE, Iova(u64::MAX)).unwrap();
        assert_eq!(tree.lower(Iova(0xffff)), Err(IovaError::InUse(high)));
        tree.free(high).unwrap();
        tree.lower(Iova(0xffff)).unwrap();
        assert_eq!(tree.alloc(PAGE, PAGE, Iova(u64::MAX)), Ok(span(0xf000, PAGE)));
    }

    #[test]
    fn what_is_undone_is_free_again_and_nothing_else() {
        let mut tree = IovaTree::new(span(0, 1 << 20), PAGE).unwrap();
        let low = tree.reserve(span(0x3000, 0x2000)).unwrap();
        let overlapping = tree.reserve(span(0x4000, 0x2000)).unwrap();
        let narrow = tree.lower(Iova(0xffff)).unwrap();
        tree.undo(narrow);
        tree.undo(overlapping);
        assert_eq!(tree.aperture(), span(0, 1 << 20));
        assert_eq!(tree.alloc(PAGE, PAGE, Iova(0x5fff)), Ok(span(0x5000, PAGE)));
        assert_eq!(
            tree.alloc(PAGE, PAGE, Iova(0x5fff)),
            Ok(span(0x2000, PAGE)),
            "the first reservation stays"
        );
        tree.undo(low);
        assert_eq!(tree.alloc(PAGE, PAGE, Iova(0x4fff)), Ok(span(0x4000, PAGE)));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Alloc(u64, u32, u64),
        Free(usize),
        Reserve(u64, u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (1..0x9000u64, 0..16u32, 0..0x40_0000u64).prop_map(|(bytes, align, limit)| Step::Alloc(bytes, align, limit)),
            2 => any::<usize>().prop_map(Step::Free),
            1 => (0..0x40_0000u64, 1..0x3000u64).prop_map(|(start, bytes)| Step::Reserve(start, bytes)),
        ];
        prop::collection::vec(step, 1..200)
    }

    proptest! {
           /// Against a plain list: nothing overlaps, limits and alignment hold, reserved ranges are never given out, and
           /// exhaustion is told only when it is true.
           #[test]
           fn behaves_as_a_plain_list(steps in steps()) {
               let aperture = span(0, 0x20_0000);
               let mut tree = IovaTree::new(aperture, PAGE).unwrap();
               let mut live: Vec<Span<Iova>> = Vec::new();
               let mut taken = vec![false; 0x200];
               taken[0] = true;
               for step in steps {
                   match step {
                       Step::Alloc(bytes, align, limit) => {
                           let align = 1u64 << align;
                           let pages = bytes.div_ceil(PAGE) as usize;
                           match tree.alloc(bytes, align, Iova(limit)) {
                               Ok(got) => {
                                   prop_assert!(got.last().0 <= limit && got.start.0.is_multiple_of(align) && aperture.covers(&got));
                                   prop_assert_eq!(got.bytes, pages as u64 * PAGE);
                                   let pages = &mut taken[(got.start.0 / PAGE) as usize..=(got.last().0 / PAGE) as usize];
    prop_assert!(!pages.contains(&true));
    pages.fill(true);
                                   live.push(got);
                               }
                               Err(_) => {
                                   let fits = (0..=0x200 - pages).any(|page| {
                                       let start = page as u64 * PAGE;
                                       start.is_multiple_of(align) && start + pages as u64 * PAGE - 1 <= limit && !taken[page..page + pages].contains(&true)
                                   });
                                   prop_assert!(!fits);
                               }
                           }
                       }
                       Step::Free(n) if !live.is_empty() => {
                           let gone = live.swap_remove(n % live.len());
                           tree.free(gone).unwrap();
                           for page in gone.start.0 / PAGE..=gone.last().0 / PAGE {
                               taken[page as usize] = false;
                           }
                       }
                       Step::Free(_) => {}
                       Step::Reserve(start, bytes) => {
                           let wanted = span(start, bytes);
                           let outward = wanted.align_outward(PAGE).unwrap();
                           let clash = live.iter().any(|l| l.overlaps(&outward));
                           prop_assert_eq!(tree.reserve(wanted).is_err(), clash);
                           if !clash {
                               for page in outward.start.0 / PAGE..=outward.last().0 / PAGE {
                                   if let Some(page) = taken.get_mut(page as usize) {
                                       *page = true;
                                   }
                               }
                           }
                       }
                   }
               }
           }
       }
}
