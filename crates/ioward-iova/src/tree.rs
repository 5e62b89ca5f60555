//! The ordered tree of free IOVAs.

use crate::free::{Free, NO_START, Wanted};
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

/// Free, reserved and allocated ranges of an aperture. Everything is rounded outward to the granule.
///
/// What is neither free nor reserved is allocated, so a mapping costs the tree no memory of its own. The cost of a call
/// grows with the logarithm of the number of free ranges, whatever has happened before.
#[derive(Debug)]
pub struct IovaTree {
    granule: u64,
    /// The aperture as it was made.
    whole: Span<Iova>,
    /// What is left of it: allocations come from here.
    aperture: Span<Iova>,
    free: Free,
    /// First byte to length, of ranges that are neither free nor allocated; no two overlap.
    reserved: BTreeMap<u64, u64>,
    reserved_bytes: u64,
}

impl IovaTree {
    /// All of `aperture` is free but for the page at zero, which is never allocated: a device's driver may take zero
    /// for "none". `granule` is a power of two, in bytes.
    pub fn new(aperture: Span<Iova>, granule: u64) -> Result<Self, IovaError> {
        Self::with_start(aperture, granule, Iova(NO_START))
    }

    /// As [`IovaTree::new`], but what is at or above `start` is given out when nothing below will do. Where the aperture
    /// goes on above 4 GiB and `start` does not, that is so below 4 GiB alone, and above it allocations begin at the top.
    /// `start` is rounded down to the granule, and may lie outside the aperture: then it changes nothing.
    pub fn with_start(aperture: Span<Iova>, granule: u64, start: Iova) -> Result<Self, IovaError> {
        if !granule.is_power_of_two() || !aperture.is_valid() || !aperture.is_aligned(granule) {
            return Err(IovaError::Range(aperture));
        }
        let mut free = Free::new(start.0 & !(granule - 1));
        free.give(aperture.start.0, aperture.bytes);
        let (reserved, reserved_bytes) = (BTreeMap::new(), 0);
        let mut tree = Self { granule, whole: aperture, aperture, free, reserved, reserved_bytes };
        if aperture.start.0 == 0 {
            tree.withhold(Span { start: Iova(0), bytes: granule });
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

    /// Bytes that are free.
    pub fn free_bytes(&self) -> u64 {
        self.free.bytes()
    }

    /// Bytes allocated.
    pub fn in_use(&self) -> u64 {
        self.whole.bytes - self.free.bytes() - self.reserved_bytes
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
        Ok(Reserved { aperture, pieces: self.withhold(span) })
    }

    /// Takes a reservation or a lowering back: exactly what was free before it is free again. In the reverse order of
    /// several.
    pub fn undo(&mut self, reserved: Reserved) {
        self.aperture = reserved.aperture;
        for (start, bytes) in reserved.pieces {
            // What this tree did not reserve it does not give away.
            if self.reserved.get(&start) == Some(&bytes) {
                self.reserved.remove(&start);
                self.reserved_bytes -= bytes;
                self.free.give(start, bytes);
            }
        }
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
        let pieces = self.withhold(above);
        self.aperture.bytes = end - self.aperture.start.0 + 1;
        Ok(Reserved { aperture, pieces })
    }

    /// `bytes` bytes (rounded up to the granule), the first a multiple of `align` (a power of two), the last at or below
    /// `limit`. Above 4 GiB where that will do, so that those whose addresses have 32 bits find room; on either side of that
    /// below the start, where there is one and that will do.
    pub fn alloc(&mut self, bytes: u64, align: u64, limit: Iova) -> Result<Span<Iova>, IovaError> {
        let asked = Span { start: Iova(0), bytes };
        let rounded = bytes
            .checked_next_multiple_of(self.granule)
            .filter(|rounded| *rounded != 0 && align.is_power_of_two());
        let bytes = rounded.ok_or(IovaError::Range(asked))?;
        let wanted = Wanted { bytes, align: align.max(self.granule), limit: limit.0 };
        let fit = self.free.find(wanted, self.granule);
        let span = Span { start: Iova(fit.ok_or(IovaError::Exhausted { bytes, limit })?), bytes };
        self.free.take(span.start.0, span.last().0, |_, _| {});
        Ok(span)
    }

    /// Gives back what [`IovaTree::alloc`] gave, at once or in pieces, each a multiple of the granule. Fails, and changes
    /// nothing, if a part of it is not allocated.
    pub fn free(&mut self, span: Span<Iova>) -> Result<(), IovaError> {
        let inside = span.is_valid() && span.is_aligned(self.granule) && self.whole.covers(&span);
        let (first, last) = (span.start.0, if inside { span.last().0 } else { 0 });
        if !inside || self.free.touches(first, last) || touches(&self.reserved, first, last) {
            return Err(IovaError::NotAllocated(span));
        }
        self.free.give(first, span.bytes);
        Ok(())
    }

    fn clip(&self, span: Span<Iova>) -> Option<Span<Iova>> {
        let first = span.start.0.max(self.aperture.start.0) & !(self.granule - 1);
        let last = (span.last().0 | (self.granule - 1)).min(self.aperture.last().0);
        Span::inclusive(Iova(first), Iova(last))
    }

    /// That no part of a span inside the aperture is allocated; the highest part that is, if one is.
    fn check_unused(&self, span: Span<Iova>) -> Result<(), IovaError> {
        let mut last = span.last().0;
        loop {
            let below = [self.free.before(last), before(&self.reserved, last)];
            // The nearest range at or below `last`, and where it ends.
            let nearest = below.into_iter().flatten().max_by_key(|&(_, end)| end);
            let first = span.start.0;
            match nearest {
                Some((start, end)) if end >= last => match start.checked_sub(1) {
                    Some(next) if start > first => last = next,
                    _ => return Ok(()),
                },
                Some((_, end)) if end >= first => {
                    return Err(IovaError::InUse(Span { start: Iova(end + 1), bytes: last - end }));
                }
                _ => return Err(IovaError::InUse(Span { start: Iova(first), bytes: last - first + 1 })),
            }
        }
    }

    /// Takes what of `span` is free out of use; tells what that was.
    fn withhold(&mut self, span: Span<Iova>) -> Vec<(u64, u64)> {
        let mut pieces = Vec::new();
        self.free.take(span.start.0, span.last().0, |start, bytes| pieces.push((start, bytes)));
        for &(start, bytes) in &pieces {
            self.reserved.insert(start, bytes);
            self.reserved_bytes += bytes;
        }
        pieces
    }
}

/// The last range that starts at or below `last`, with its last byte.
pub(crate) fn before(ranges: &BTreeMap<u64, u64>, last: u64) -> Option<(u64, u64)> {
    ranges.range(..=last).next_back().map(|(&start, &bytes)| (start, start + (bytes - 1)))
}

/// Whether any of `first..=last` is in one of the ranges.
pub(crate) fn touches(ranges: &BTreeMap<u64, u64>, first: u64, last: u64) -> bool {
    before(ranges, last).is_some_and(|(_, end)| end >= first)
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
        let mut all_up_to = |last| {
            let mut starts = Vec::new();
            while let Ok(got) = tree.alloc(PAGE, PAGE, Iova(last)) {
                starts.push(got.start.0);
            }
            starts.sort_unstable();
            starts
        };
        assert_eq!(all_up_to(0x5fff), [0x1000, 0x2000, 0x5000], "the first reservation stays");
        tree.undo(low);
        let second = tree.alloc(2 * PAGE, PAGE, Iova(0x5fff));
        assert_eq!(second, Ok(span(0x3000, 2 * PAGE)));
    }

    #[test]
    fn what_is_in_use_is_named_and_pieces_of_an_allocation_can_be_given_back() {
        let mut tree = IovaTree::new(span(0, 1 << 20), PAGE).unwrap();
        tree.reserve(span(0x8000, PAGE)).unwrap();
        let got = tree.alloc(4 * PAGE, PAGE, Iova(0x6fff)).unwrap();
        assert_eq!(tree.reserve(span(0x1000, 0xf000)), Err(IovaError::InUse(got)));
        let (first, rest) = (span(got.start.0, PAGE), span(got.start.0 + PAGE, 3 * PAGE));
        tree.free(first).unwrap();
        assert_eq!(tree.free(got), Err(IovaError::NotAllocated(got)), "a part of it is free");
        assert_eq!(tree.reserve(span(0, 0xf000)), Err(IovaError::InUse(rest)));
        assert_eq!(tree.in_use(), 3 * PAGE);
        assert_eq!(
            tree.free(span(0x8000, PAGE)),
            Err(IovaError::NotAllocated(span(0x8000, PAGE))),
            "it is reserved"
        );
        tree.free(rest).unwrap();
        assert_eq!(tree.in_use(), 0);
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

    /// How many pages an aperture has, and where it may begin: at zero, and on both sides of 4 GiB.
    const PAGES: usize = 0x200;
    const BASES: [u64; 2] = [0, (1 << 32) - 0x10_0000];

    /// Against a plain list: nothing overlaps, limits and alignment hold, reserved ranges are never given out, and exhaustion
    /// is told only when it is true. Limits and reservations of steps count from `base`.
    fn is_as_a_plain_list(base: u64, start: Iova, steps: Vec<Step>) -> Result<(), TestCaseError> {
        let aperture = span(base, PAGES as u64 * PAGE);
        let mut tree = IovaTree::with_start(aperture, PAGE, start).unwrap();
        let mut live: Vec<Span<Iova>> = Vec::new();
        let mut taken = [false; PAGES];
        taken[0] = base == 0;
        let pages = |span: Span<Iova>| {
            (((span.start.0 - base) / PAGE) as usize)..=(((span.last().0 - base) / PAGE) as usize)
        };
        for step in steps {
            match step {
                Step::Alloc(bytes, align, limit) => {
                    let (align, limit) = (1u64 << align, base + limit);
                    let count = bytes.div_ceil(PAGE) as usize;
                    match tree.alloc(bytes, align, Iova(limit)) {
                        Ok(got) => {
                            prop_assert!(got.last().0 <= limit && got.start.0.is_multiple_of(align));
                            prop_assert!(aperture.covers(&got) && got.bytes == count as u64 * PAGE);
                            prop_assert!(!taken[pages(got)].contains(&true));
                            taken[pages(got)].fill(true);
                            live.push(got);
                        }
                        Err(_) => {
                            let fits = (0..=PAGES - count).any(|page| {
                                let got = span(base + page as u64 * PAGE, count as u64 * PAGE);
                                got.start.0.is_multiple_of(align)
                                    && got.last().0 <= limit
                                    && !taken[pages(got)].contains(&true)
                            });
                            prop_assert!(!fits);
                        }
                    }
                }
                Step::Free(_) if live.is_empty() => {}
                Step::Free(n) => {
                    let gone = live.swap_remove(n % live.len());
                    tree.free(gone).unwrap();
                    taken[pages(gone)].fill(false);
                }
                Step::Reserve(at, bytes) => {
                    let wanted = span(base + at, bytes);
                    let outward = wanted.align_outward(PAGE).unwrap();
                    let clash = live.iter().any(|live| live.overlaps(&outward));
                    prop_assert_eq!(tree.reserve(wanted).is_err(), clash);
                    if !clash {
                        let inside = pages(outward).filter(|page| *page < PAGES);
                        inside.for_each(|page| taken[page] = true);
                    }
                }
            }
        }
        live.into_iter().for_each(|gone| tree.free(gone).unwrap());
        prop_assert_eq!(tree.in_use(), 0);
        Ok(())
    }

    proptest! {
        #[test]
        fn behaves_as_a_plain_list(base in prop::sample::select(&BASES[..]), steps in steps()) {
            is_as_a_plain_list(base, Iova(NO_START), steps)?;
        }

        /// Wherever allocations begin.
        #[test]
        fn with_a_start_it_is_as_exact(base in prop::sample::select(&BASES[..]), start in 0..0x28_0000u64, steps in steps()) {
            is_as_a_plain_list(base, Iova(base + start), steps)?;
        }
    }
}
