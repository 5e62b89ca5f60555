//! A flush as commands (3.1.1, 6.3.4, 6.3.5).

use super::{
    command::{self, Command},
    tag::Meaning,
};
use ioward_core::driver::{AtcTarget, Flush};
use ioward_spec::riscv::PAGE_BITS;
use ioward_types::Iova;

/// So many commands are still cheaper than forgetting a whole address space.
const MOST: u64 = 64;
const PAGE: u64 = 1 << PAGE_BITS;

/// How one IOMMU is flushed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flusher {
    /// `capabilities.S`.
    pub ranges: bool,
    /// `capabilities.NL`.
    pub non_leaf: bool,
}

impl Flusher {
    /// Hands `each` the commands that make the IOMMU's own caches forget: without IOFENCE.C. Tags that are not ours are
    /// nobody's here, and nothing is cached under them.
    pub fn translations(&self, flush: &Flush<'_>, each: &mut impl FnMut(Command)) {
        let Some(tag) = Meaning::decode(flush.tag) else { return };
        let (Some(span), true) = (flush.span.align_outward(PAGE), flush.span.is_valid()) else {
            return each(command::inval_tag(tag));
        };
        // Without NL an address names leaves alone; walk caches are forgotten with the whole.
        if flush.tables_went && !self.non_leaf {
            return each(command::inval_tag(tag));
        }
        let (first, pages) = (span.start.0 >> PAGE_BITS, span.bytes >> PAGE_BITS);
        if self.ranges {
            return self.by_range(tag, first, pages, flush.tables_went, each);
        }
        // One by one even where leaves are larger: an IOMMU that caches a large leaf in small pieces (QEMU's) forgets the
        // piece that is named.
        if pages > MOST {
            return each(command::inval_tag(tag));
        }
        for page in first..first + pages {
            each(command::inval_pages(tag, Iova(page << PAGE_BITS), 0, flush.tables_went));
        }
    }

    /// Aligned powers of two that together are the span: at most two of each size.
    fn by_range(&self, tag: Meaning, first: u64, pages: u64, non_leaf: bool, each: &mut impl FnMut(Command)) {
        let (mut at, mut left) = (first, pages);
        while left != 0 {
            let order = at.trailing_zeros().min(left.ilog2());
            if order >= u64::BITS - PAGE_BITS - 1 {
                return each(command::inval_tag(tag));
            }
            each(command::inval_pages(tag, Iova(at << PAGE_BITS), order, non_leaf));
            at += 1 << order;
            left -= 1 << order;
        }
    }

    /// Hands `each` the commands that make those devices forget that answer. The IOMMU must have forgotten before, or a
    /// device would fetch again what it should not have (6.3.6). `whole`: whose addresses are not those of the span.
    pub fn devices(
        &self,
        flush: &Flush<'_>,
        answers: impl Fn(&AtcTarget) -> bool,
        whole: impl Fn(&AtcTarget) -> bool,
        each: &mut impl FnMut(Command),
    ) {
        for &target in flush.atc.iter().filter(|target| answers(target)) {
            each(match flush.span.is_valid() && !whole(&target) {
                true => command::atc_inval(target, &flush.span),
                false => command::atc_inval_all(target),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::riscv::tag::Stage;
    use alloc::vec::Vec;
    use ioward_spec::riscv::command as spec;
    use ioward_types::Span;

    const TAG: Meaning = Meaning { stage: Stage::Second, id: 5 };

    fn commands(ranges: bool, non_leaf: bool, start: u64, bytes: u64, tables_went: bool) -> Vec<Command> {
        let span = Span { start: Iova(start), bytes };
        let flush = Flush { tag: TAG.encode(), span, granule: PAGE, tables_went, atc: &[] };
        let mut all = Vec::new();
        Flusher { ranges, non_leaf }.translations(&flush, &mut |command| all.push(command));
        all
    }

    /// Which pages a list of commands covers; none where it forgets everything.
    fn covered(commands: &[Command]) -> Option<Vec<u64>> {
        let mut pages = Vec::new();
        for words in commands {
            if !spec::IOTINVAL_AV.is_set(words) {
                return None;
            }
            let page = spec::IOTINVAL_ADDR.get(words);
            let order = if spec::IOTINVAL_S.is_set(words) { page.trailing_ones() + 1 } else { 0 };
            let first = page >> order << order;
            pages.extend(first..first + (1 << order));
        }
        Some(pages)
    }

    #[test]
    fn ranges_cover_exactly_what_is_asked_for() {
        for first in [0, 1, 0x73, 0x200, 0x3ff] {
            for pages in [1, 2, 3, 31, 64, 512, 1000, 4097] {
                let all = commands(true, false, first << 12, pages << 12, false);
                assert!(all.len() <= 24, "{pages}: {}", all.len());
                assert_eq!(covered(&all), Some((first..first + pages).collect()), "{first} {pages}");
            }
        }
    }

    #[test]
    fn pages_are_named_one_by_one_up_to_a_limit() {
        let all = commands(false, false, 0x4000, 64 << 12, false);
        assert_eq!(covered(&all), Some((4..68).collect()));
        assert_eq!(covered(&commands(false, false, 0x4000, 65 << 12, false)), None);
        // Partial pages count whole.
        assert_eq!(covered(&commands(false, false, 0x4800, 0x1000, false)), Some(alloc::vec![4, 5]));
    }

    #[test]
    fn walk_caches_are_forgotten_only_when_a_table_went() {
        for ranges in [false, true] {
            let all = commands(ranges, true, 0x20_0000, 0x2000, true);
            assert!(all.iter().all(|words| spec::IOTINVAL_NL.is_set(words)));
            let all = commands(ranges, true, 0x20_0000, 0x2000, false);
            assert!(all.iter().all(|words| !spec::IOTINVAL_NL.is_set(words)));
            assert_eq!(commands(ranges, false, 0x20_0000, 0x2000, true), [command::inval_tag(TAG)]);
        }
    }

    #[test]
    fn everything_is_an_address_space() {
        for ranges in [false, true] {
            assert_eq!(commands(ranges, true, 0, 0, true), [command::inval_tag(TAG)]);
            assert_eq!(commands(ranges, true, 0, u64::MAX, true).len(), 1);
        }
    }
}
