//! Which commands make caches forget a range (48882 §2.4.3 and §2.4.4).
//!
//! A command names one aligned power of two of bytes. A range is sent as the aligned blocks that it consists of where
//! those are few, else as the one block that covers it: forgetting more is never wrong.

use ioward_types::{Iova, Span};

/// An aligned power of two of bytes, or everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Block {
    /// `1 << log2` bytes from an address that is a multiple of that; 12 to 51.
    Of { at: u64, log2: u8 },
    /// Every address.
    All,
}

/// The most commands that one range is sent as.
pub(super) const MOST: usize = 4;
/// The smallest block: 4 KiB.
const PAGE: u8 = 12;
/// The largest block that is sent as such. QEMU takes all larger encodings for everything, and so would a walk of that
/// many pages be no better than forgetting everything.
const LARGEST: u8 = 48;

/// The blocks of a span of IOVAs: at most [`MOST`].
pub(super) fn blocks(span: Span<Iova>) -> impl Iterator<Item = Block> {
    let mut list = [None; MOST];
    let Some(span) = span.align_outward(1 << PAGE) else { return one(Block::All).into_iter().flatten() };
    let last = span.last().0;
    let (mut at, mut count) = (span.start.0, 0);
    loop {
        if count == MOST {
            return one(covering(span)).into_iter().flatten();
        }
        let left = last - at;
        // The largest block that starts here and does not reach beyond the last byte.
        let fits = if left == u64::MAX { 63 } else { (left + 1).ilog2() };
        let log2 = at.trailing_zeros().min(fits) as u8;
        if log2 > LARGEST {
            return one(Block::All).into_iter().flatten();
        }
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
fn covering(span: Span<Iova>) -> Block {
    let (first, last) = (span.start.0, span.last().0);
    let log2 = (64 - (first ^ last).leading_zeros()).max(PAGE.into()) as u8;
    if log2 > LARGEST { Block::All } else { Block::Of { at: first & !((1 << log2) - 1), log2 } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{vec, vec::Vec};

    fn of(start: u64, bytes: u64) -> Vec<Block> {
        blocks(Span { start: Iova(start), bytes }).collect()
    }

    #[test]
    fn a_range_is_its_aligned_blocks() {
        assert_eq!(of(0x1000, 0x1000), [Block::Of { at: 0x1000, log2: 12 }]);
        assert_eq!(of(0x20_0000, 0x20_0000), [Block::Of { at: 0x20_0000, log2: 21 }]);
        assert_eq!(
            of(0x1000, 0x3000),
            [Block::Of { at: 0x1000, log2: 12 }, Block::Of { at: 0x2000, log2: 13 }]
        );
        // Not whole pages: whole pages are forgotten.
        assert_eq!(of(0x1fff, 2), [Block::Of { at: 0x1000, log2: 12 }, Block::Of { at: 0x2000, log2: 12 }]);
    }

    #[test]
    fn a_ragged_range_is_the_block_around_it() {
        // 0x1000 to 0xffff would be 1+2+4+8 pages: four blocks. One more page makes five.
        assert_eq!(of(0x1000, 0xf000).len(), 4);
        assert_eq!(of(0x1000, 0x1_0000), [Block::Of { at: 0, log2: 17 }]);
    }

    #[test]
    fn a_huge_range_is_everything() {
        assert_eq!(of(0, u64::MAX), vec![Block::All]);
        assert_eq!(of(0, 1 << 52), vec![Block::All]);
        assert_eq!(of(u64::MAX - 0xfff, 0x1000), [Block::Of { at: u64::MAX - 0xfff, log2: 12 }]);
    }

    #[test]
    fn every_page_of_the_range_is_in_a_block() {
        let mut seed = 1u64;
        for _ in 0..2000 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let (start, pages) = (seed >> 40 << 12, (seed >> 8 & 0x3f) + 1);
            for page in 0..pages {
                let at = start + page * 4096;
                assert!(of(start, pages * 4096).iter().any(|block| match block {
                    Block::All => true,
                    Block::Of { at: first, log2 } =>
                        at >> log2 == first >> log2 && first.trailing_zeros() >= u32::from(*log2).min(63),
                }));
            }
        }
    }
}
