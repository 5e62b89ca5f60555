//! Where an address space begins to give out IOVAs, so that many of them do not all use the same cache lines.
//!
//! If each began at the top of its aperture, the tables of all would be used at the same entries. Tables are whole pages, so
//! those entries differ in bits by which a cache chooses no set: they would all lie in one set of a first-level cache, and
//! push each other out from a few domains on. So each address space begins elsewhere, whole cache lines of entries away from
//! others at every level. That is its colour. It keeps nothing secret: whoever knows the number knows the
//! IOVAs.

use ioward_types::{Iova, Span};

/// Bytes of a cache line, and of an entry. Where lines are longer, two colours share one.
const LINE: u64 = 64;
const ENTRY: u64 = 8;
/// More lines than this are not told apart: a first-level cache has no more sets.
const LINES: u64 = 64;
/// The golden ratio's part of 2^64: its multiples, modulo 2^64, are spread evenly, however many there are.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
/// So are those of some of its multiples. Each level has one of its own, upward, so that the levels of one address space lie
/// apart too.
const LEVELS: [i64; 6] = [1, -1, 2, -2, 3, -3];

/// The IOVA below which the address space with this number begins to look for ranges, where the smallest page has so many
/// bytes. The first one begins at the top of the aperture. No more than about half of the aperture is above it.
pub fn start(aperture: Span<Iova>, granule: u64, number: u64) -> Iova {
    let entries = granule / ENTRY;
    let lines = (granule / LINE).min(LINES);
    let mut offset = 0;
    // What a line of entries spans.
    let mut line = granule.saturating_mul(LINE / ENTRY);
    for multiple in LEVELS {
        if line > aperture.bytes / 4 {
            break;
        }
        let lines = lines.min(aperture.bytes / 2 / line);
        let spread = number.wrapping_mul(GOLDEN).wrapping_mul(multiple as u64);
        // The number of lines times a fraction of one.
        offset += ((u128::from(spread) * u128::from(lines)) >> 64) as u64 * line;
        line = line.saturating_mul(entries);
    }
    // One more than the last byte, or as near to that as can be.
    let top = aperture.start.0.saturating_add(aperture.bytes);
    Iova(top - offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{collections::BTreeMap, vec::Vec};

    const G4: u64 = 1 << 32;

    fn aperture(bits: u32) -> Span<Iova> {
        Span { start: Iova(0), bytes: 1 << bits }
    }

    /// Which line of its table the entry at each level is in, for the page below the start; upward.
    fn lines(bits: u32, granule: u64, number: u64) -> Vec<u64> {
        let page = (start(aperture(bits), granule, number).0 - 1) / granule;
        let entries = granule / ENTRY;
        let levels = (0..).take_while(|level| granule * entries.pow(*level) < 1 << bits);
        levels.map(|level| page / entries.pow(level) % entries / (LINE / ENTRY)).collect()
    }

    #[test]
    fn the_first_begins_at_the_top_and_each_at_one_place() {
        for bits in [32, 39, 48, 57] {
            assert_eq!(start(aperture(bits), 4096, 0).0, 1 << bits);
            assert_eq!(start(aperture(bits), 4096, 77), start(aperture(bits), 4096, 77));
        }
    }

    /// Of a few domains none shares a line with another; of many each line has its part and not much more. That holds for each
    /// level that has entries enough in the lower half of the aperture.
    #[test]
    fn lines_are_shared_evenly_at_every_level() {
        for (bits, granule) in [(48, 4096), (47, 4096), (39, 4096), (57, 4096), (48, 1 << 14), (48, 1 << 16)]
        {
            let levels = lines(bits, granule, 0).len();
            for count in [8, 64, 200, 1000] {
                for level in 0..levels {
                    let mut used = BTreeMap::new();
                    for number in 0..count {
                        *used.entry(lines(bits, granule, number)[level]).or_insert(0) += 1;
                    }
                    let span =
                        (granule * LINE / ENTRY) as u128 * u128::from(granule / ENTRY).pow(level as u32);
                    let there = ((1u128 << (bits - 1)) / span).clamp(1, LINES.into()) as u64;
                    let most: u64 = used.into_values().max().unwrap();
                    let fair = count.div_ceil(there);
                    let more = if count * 8 <= there { 0 } else { fair / 4 + 2 };
                    assert!(most <= fair + more, "{bits} {granule} level {level}: {most}, {fair} of {count}");
                }
            }
        }
    }

    /// In a first-level cache of 64 sets, the levels of one address space are in different sets, and those of many together in
    /// all of them.
    #[test]
    fn levels_lie_apart() {
        let mut apart = 0;
        for number in 1..=1000 {
            let mut used = lines(48, 4096, number);
            used.sort_unstable();
            used.dedup();
            apart += used.len();
        }
        assert!(apart > 3200, "{apart} of 4000");
        for count in [10, 50, 100, 200] {
            let mut sets = [0; 64];
            for number in 0..count {
                lines(48, 4096, number).into_iter().for_each(|line| sets[line as usize] += 1);
            }
            let (most, mean) = (sets.into_iter().max().unwrap(), count * 4 / 64);
            assert!(most <= mean + mean / 2 + 6, "{most} in a set, {mean} in the mean, of {count}");
        }
    }

    #[test]
    fn half_of_an_aperture_stays_below() {
        for bits in 12..64 {
            for granule in [4096, 1 << 14, 1 << 16] {
                for number in 0..300 {
                    let start = start(aperture(bits), granule, number).0;
                    assert!(start >= (1u64 << bits) / 2 - (1 << bits) / 16, "{bits} {granule}: {start:#x}");
                    assert!(start.is_multiple_of(granule) || (1u64 << bits) < granule);
                }
            }
        }
        // Apertures that do not begin at zero, or end where addresses do.
        let high = Span { start: Iova(G4), bytes: G4 };
        assert!((0..300).all(|number| (G4 + G4 / 2..=2 * G4).contains(&start(high, 4096, number).0)));
        let all = Span { start: Iova(0), bytes: !4095 };
        assert!((0..300).all(|number| start(all, 4096, number).0 >= 1 << 62));
    }
}
