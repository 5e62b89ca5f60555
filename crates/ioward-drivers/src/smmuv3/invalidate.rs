//! A flush as commands (IHI 0070, 4.4 and 4.5).

use super::{
    command::{self, Command},
    tag::Meaning,
};
use ioward_core::driver::Flush;
use ioward_types::Iova;

/// With one command a page, so many pages are still cheaper than forgetting a whole address space.
const PAGES: u64 = 64;
/// NUM counts to 32 (4.4.1.1).
const NUM: u64 = 32;
/// log2 of the granules that are beyond SCALE, which has five bits.
const MOST: u32 = 32;

/// How one SMMU is flushed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flusher {
    /// IDR3.RIL.
    pub ranges: bool,
    /// The VMID of stage 1 entries.
    pub vmid: u16,
}

impl Flusher {
    /// Hands `each` the commands that make the SMMU's own caches forget: without CMD_SYNC. Tags that are not ours are
    /// nobody's here, and nothing is cached under them.
    pub fn translations(&self, flush: &Flush<'_>, each: &mut impl FnMut(Command)) {
        let Some(tag) = Meaning::decode(flush.tag) else { return };
        let shift = tag.granule_shift();
        let (Some(span), true) = (flush.span.align_outward(1 << shift), flush.span.is_valid()) else {
            return each(command::tlbi_tag(tag, self.vmid));
        };
        let granules = span.bytes >> shift;
        let leaf = !flush.tables_went;
        if granules >= 1 << MOST {
            return each(command::tlbi_tag(tag, self.vmid));
        }
        if self.ranges {
            return self.by_range(tag, span.start.0, granules, leaf, each);
        }
        // One command for each leaf that may be cached; where tables went, at least one for each table, the smallest of
        // which spans a granule's worth of entries.
        let table = 1u64 << (shift + shift - 3);
        let leaves = flush.granule.max(1 << shift).next_power_of_two();
        let step = if leaf { leaves } else { leaves.min(table) };
        let first = span.start.0 & !(step - 1);
        let count = (span.last().0 - first) / step + 1;
        if count > PAGES {
            return each(command::tlbi_tag(tag, self.vmid));
        }
        for n in 0..count {
            each(command::tlbi_pages(tag, self.vmid, Iova(first + n * step), leaf, None));
        }
    }

    fn by_range(&self, tag: Meaning, start: u64, granules: u64, leaf: bool, each: &mut impl FnMut(Command)) {
        let (mut at, mut left) = (start, granules);
        while left != 0 {
            // The lowest five bits that are not zero, so that each round ends at least five bits higher.
            let scale = left.trailing_zeros();
            let num = (left >> scale) & (NUM - 1);
            // A range of a single granule is spelled without one: NUM, SCALE and TTL all zero is Reserved with TG (4.4.1.1).
            let range = (num << scale != 1).then_some((num - 1, scale.into()));
            each(command::tlbi_pages(tag, self.vmid, Iova(at), leaf, range));
            let done = num << scale;
            at = at.wrapping_add(done << tag.granule_shift());
            left -= done;
        }
    }

    /// Hands `each` the commands that make devices forget. The SMMU must have forgotten before, or a device would fetch
    /// again what it should not have.
    pub fn devices(&self, flush: &Flush<'_>, each: &mut impl FnMut(Command)) {
        for &target in flush.atc {
            each(match flush.span.is_valid() {
                true => command::atc_inv(target, &flush.span),
                false => command::atc_inv_all(target),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smmuv3::tag::Stage;
    use alloc::vec::Vec;
    use ioward_spec::smmuv3::command as spec;
    use ioward_types::Span;

    const TAG: Meaning = Meaning { stage: Stage::One, id: 5, granule: 1 };

    fn commands(ranges: bool, start: u64, bytes: u64, granule: u64, tables_went: bool) -> Vec<Command> {
        let span = Span { start: Iova(start), bytes };
        let flush = Flush { tag: TAG.encode(), span, granule, tables_went, atc: &[] };
        let mut all = Vec::new();
        Flusher { ranges, vmid: 0 }.translations(&flush, &mut |command| all.push(command));
        all
    }

    /// Which granules a list of commands covers, counted from `start`; none where it forgets everything.
    fn covered(commands: &[Command], start: u64) -> Option<Vec<u64>> {
        let mut pages = Vec::new();
        for words in commands {
            if spec::OPCODE.get(words) == spec::opcode::TLBI_NH_ASID {
                return None;
            }
            let at = (spec::ADDRESS.get_in_place(words) - start) >> 12;
            let count = match spec::TLBI_TG.get(words) {
                0 => 1,
                _ => (spec::TLBI_NUM.get(words) + 1) << spec::TLBI_SCALE.get(words),
            };
            pages.extend(at..at + count);
        }
        Some(pages)
    }

    #[test]
    fn ranges_cover_exactly_what_is_asked_for() {
        for pages in [1, 2, 3, 31, 32, 33, 63, 64, 512, 1000, 1023, 4097] {
            let start = 0x7_3000;
            let all = commands(true, start, pages << 12, 4096, false);
            assert!(all.len() <= 4, "{pages}: {}", all.len());
            assert_eq!(covered(&all, start), Some((0..pages).collect()), "{pages}");
            assert!(all.iter().all(|words| spec::LEAF.is_set(words)));
            // TG with NUM, SCALE and TTL all zero is Reserved.
            assert!(all.iter().all(|words| !spec::TLBI_TG.is_set(words)
                || spec::TLBI_NUM.is_set(words)
                || spec::TLBI_SCALE.is_set(words)));
        }
    }

    #[test]
    fn pages_are_named_one_by_one_up_to_a_limit() {
        let all = commands(false, 0x4000, 64 << 12, 4096, false);
        assert_eq!(covered(&all, 0x4000), Some((0..64).collect()));
        assert_eq!(covered(&commands(false, 0x4000, 65 << 12, 4096, false), 0x4000), None);
        assert_eq!(commands(false, 0, 64 << 21, 1 << 21, false).len(), 64);
        assert_eq!(commands(false, 0, 64 << 30, 1 << 30, false).len(), 64);
        // Tables of 2 MiB each went: naming one page of every GiB would leave most of them cached.
        assert_eq!(covered(&commands(false, 0, 1 << 30, 1 << 30, true), 0), None);
        assert_eq!(commands(false, 0, 4 << 21, 1 << 30, true).len(), 4);
    }

    #[test]
    fn walk_caches_are_forgotten_only_when_a_table_went() {
        for ranges in [false, true] {
            for went in [false, true] {
                let all = commands(ranges, 0x20_0000, 0x2000, 4096, went);
                assert!(all.iter().all(|words| spec::LEAF.is_set(words) != went));
            }
        }
    }

    #[test]
    fn everything_is_an_address_space() {
        let span = Span { start: Iova(0), bytes: 0 };
        let flush = Flush { tag: TAG.encode(), span, granule: 4096, tables_went: true, atc: &[] };
        let mut all = Vec::new();
        Flusher { ranges: true, vmid: 0 }.translations(&flush, &mut |command| all.push(command));
        assert_eq!(all, [command::tlbi_tag(TAG, 0)]);
        // The whole of 64 bits in one command where ranges are there.
        assert_eq!(commands(true, 0, u64::MAX, 4096, true).len(), 1);
    }
}
