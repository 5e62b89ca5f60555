//! Which invalidations make caches forget a range (6.5.2.3 to 6.5.2.6).
//!
//! One names an aligned power of two of bytes. A range is sent as the aligned blocks that it consists of where those are
//! few, else as the one block that covers it, else as everything: forgetting more is never wrong.

use ioward_types::{Iova, Span};

/// An aligned power of two of bytes, or everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Block {
    /// `1 << log2` bytes from an address that is a multiple of that.
    Of { at: u64, log2: u8 },
    /// Every address.
    All,
}

/// The most commands that one range is sent as.
pub(super) const MOST: usize = 4;
/// The smallest block: 4 KiB.
const PAGE: u8 = 12;

/// The blocks of a span of IOVAs, at most [`MOST`]. `largest`: log2 of the largest block that can be named; none where
/// only everything can.
pub(super) fn blocks(span: Span<Iova>, largest: Option<u8>) -> impl Iterator<Item = Block> {
    let mut list = [None; MOST];
    let everything = one(Block::All).into_iter().flatten();
    let (Some(span), Some(largest)) = (span.align_outward(1 << PAGE), largest) else { return everything };
    let last = span.last().0;
    let (mut at, mut count) = (span.start.0, 0);
    loop {
        if count == MOST {
            return one(covering(span, largest)).into_iter().flatten();
        }
        let left = last - at;
        // The largest block that starts here and does not reach beyond the last byte.
        let fits = if left == u64::MAX { 63 } else { (left + 1).ilog2() };
        let log2 = at.trailing_zeros().min(fits).min(u32::from(largest)) as u8;
        list[count] = Some(Block::Of { at, log2 });
        count += 1;
        match at.checked_add(1 << log2) {
            Some(next) if next <= last => at = next,
            _ => return list.into_iter().flatten(),
        }
    }
}

fn one(block: Block) -> [Option<Block>; MOST] {
    let mut list = [None; MOST];
    list[0] = Some(block);
    list
}

/// The smallest block that covers a span of pages.
fn covering(span: Span<Iova>, largest: u8) -> Block {
    let (first, last) = (span.start.0, span.last().0);
    let log2 = (64 - (first ^ last).leading_zeros()).max(PAGE.into()) as u8;
    if log2 > largest { Block::All } else { Block::Of { at: first & !((1 << log2) - 1), log2 } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn of(start: u64, bytes: u64, largest: u8) -> Vec<Block> {
        blocks(Span { start: Iova(start), bytes }, Some(largest)).collect()
    }

    #[test]
    fn a_range_is_its_aligned_blocks() {
        assert_eq!(of(0x1000, 0x1000, 30), [Block::Of { at: 0x1000, log2: 12 }]);
        assert_eq!(of(0x20_0000, 0x20_0000, 30), [Block::Of { at: 0x20_0000, log2: 21 }]);
        let two = [Block::Of { at: 0x1000, log2: 12 }, Block::Of { at: 0x2000, log2: 13 }];
        assert_eq!(of(0x1000, 0x3000, 30), two);
        // No larger than what can be named.
        let halves = [Block::Of { at: 0, log2: 20 }, Block::Of { at: 0x10_0000, log2: 20 }];
        assert_eq!(of(0, 0x20_0000, 20), halves);
    }

    #[test]
    fn a_ragged_range_is_the_block_around_it_and_a_huge_one_everything() {
        assert_eq!(of(0x1000, 0x1_0000, 30), [Block::Of { at: 0, log2: 17 }]);
        assert_eq!(of(0x1000, 0x1_0000, 16), [Block::All]);
        assert_eq!(of(0, u64::MAX, 30), [Block::All]);
        assert_eq!(of(u64::MAX - 0xfff, 0x1000, 30), [Block::Of { at: u64::MAX - 0xfff, log2: 12 }]);
        let span = Span { start: Iova(0), bytes: 4096 };
        assert_eq!(blocks(span, None).collect::<Vec<_>>(), [Block::All]);
    }

    #[test]
    fn every_page_of_the_range_is_in_a_block() {
        let mut seed = 1u64;
        for round in 0..2000u32 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let (start, pages) = (seed >> 40 << 12, (seed >> 8 & 0x3f) + 1);
            for page in 0..pages {
                let at = start + page * 4096;
                assert!(of(start, pages * 4096, 12 + (round % 20) as u8).iter().any(|block| match block {
                    Block::All => true,
                    Block::Of { at: first, log2 } =>
                        at >> log2 == first >> log2 && first.trailing_zeros() >= u32::from(*log2).min(63),
                }));
            }
        }
    }
}
