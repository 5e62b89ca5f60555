//! Tags: the ASIDs of stage 1 and the VMIDs of stage 2.
//!
//! A [`Tag`] says which it is and with which granule its tables were planned, so that a flush needs nothing else. Every
//! stage 1 entry carries one and the same VMID, which no stage 2 table gets.

use alloc::{vec, vec::Vec};
use ioward_spec::smmuv3::command::tg;
use ioward_types::{Format, TableConfig, Tag};

/// What a tag stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Meaning {
    pub stage: Stage,
    /// The ASID or VMID.
    pub id: u16,
    /// The granule as TLBI commands encode it.
    pub granule: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    One,
    Two,
}

impl Stage {
    /// The stage whose tables have this format.
    pub fn of(format: Format) -> Option<Self> {
        match format {
            Format::ArmStage1 => Some(Self::One),
            Format::ArmStage2 => Some(Self::Two),
            _ => None,
        }
    }
}

const STAGE_1: u32 = 1 << 24;
const STAGE_2: u32 = 1 << 25;

/// A granule of `1 << shift` bytes as TLBI commands encode it.
pub(super) fn encode_granule(bytes: u64) -> Option<u64> {
    match bytes {
        0x1000 => Some(tg::K4),
        0x4000 => Some(tg::K16),
        0x1_0000 => Some(tg::K64),
        _ => None,
    }
}

impl Meaning {
    pub fn encode(self) -> Tag {
        let stage = match self.stage {
            Stage::One => STAGE_1,
            Stage::Two => STAGE_2,
        };
        Tag(stage | (self.granule as u32) << 16 | u32::from(self.id))
    }

    /// The meaning of a tag, if it is one of ours.
    pub fn decode(tag: Tag) -> Option<Self> {
        let granule = u64::from(tag.0 >> 16 & 0xff);
        let stage = match tag.0 & 0xff00_0000 {
            STAGE_1 => Stage::One,
            STAGE_2 => Stage::Two,
            _ => return None,
        };
        (granule != tg::NONE && granule <= tg::K64).then_some(Self { stage, id: tag.0 as u16, granule })
    }

    /// log2 of the granule in bytes.
    pub fn granule_shift(self) -> u32 {
        10 + 2 * self.granule as u32
    }

    /// Whether tables of this shape go with the tag.
    pub fn fits(self, config: &TableConfig) -> bool {
        Stage::of(config.format) == Some(self.stage) && encode_granule(config.granule()) == Some(self.granule)
    }
}

/// Numbers from 0 up to a limit, each given out once until it is given back.
pub(super) struct Numbers {
    /// Cannot be given out.
    taken: Vec<u64>,
    /// Has been given out.
    given: Vec<u64>,
    limit: u32,
    next: u32,
}

impl Numbers {
    /// The numbers below `limit`, of which zero is taken for good: reset values and broken entries name it.
    pub fn new(limit: u32) -> Self {
        let words = limit.div_ceil(64) as usize;
        let mut numbers = Self { taken: vec![0; words], given: vec![0; words], limit, next: 1 };
        numbers.reserve(0);
        numbers
    }

    /// Takes a number out for good, if it is below the limit.
    pub fn reserve(&mut self, number: u16) {
        set(&mut self.taken, number, true);
    }

    /// Whether it has been given out and not given back.
    pub fn is_given(&self, number: u16) -> bool {
        is_set(&self.given, number)
    }

    /// A number that was free; the one given back last comes last, so that a stale use shows as a fault for longest.
    pub fn take(&mut self) -> Option<u16> {
        let free = |&n: &u32| !is_set(&self.taken, n as u16);
        let at = (self.next..self.limit).chain(0..self.next).find(free)?;
        set(&mut self.taken, at as u16, true);
        set(&mut self.given, at as u16, true);
        self.next = (at + 1) % self.limit;
        Some(at as u16)
    }

    /// The lowest number that is not taken; zero where there is none, or where it is only reserved by [`Numbers::new`].
    pub fn lowest_free(&self) -> u16 {
        (1..self.limit).map(|n| n as u16).find(|&n| !is_set(&self.taken, n)).unwrap_or(0)
    }

    /// Makes a number free again, if it was given out.
    pub fn give_back(&mut self, number: u16) {
        if self.is_given(number) {
            set(&mut self.given, number, false);
            set(&mut self.taken, number, false);
        }
    }
}

fn is_set(bits: &[u64], number: u16) -> bool {
    bits.get(usize::from(number) / 64).is_some_and(|word| word & 1 << (number % 64) != 0)
}

fn set(bits: &mut [u64], number: u16, to: bool) {
    if let Some(word) = bits.get_mut(usize::from(number) / 64) {
        *word = *word & !(1 << (number % 64)) | u64::from(to) << (number % 64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_says_what_it_is() {
        for stage in [Stage::One, Stage::Two] {
            for (bytes, shift) in [(0x1000, 12), (0x4000, 14), (0x1_0000, 16)] {
                let meaning = Meaning { stage, id: 0xfffe, granule: encode_granule(bytes).unwrap() };
                assert_eq!(Meaning::decode(meaning.encode()), Some(meaning));
                assert_eq!(meaning.granule_shift(), shift);
            }
        }
        assert_eq!(Meaning::decode(Tag(5)), None);
        assert_eq!(Meaning::decode(Tag(STAGE_1 | STAGE_2 | 0x1_0000)), None);
        assert_eq!(Meaning::decode(Tag(STAGE_1 | 0x4_0000)), None);
    }

    #[test]
    fn numbers_are_given_once_and_zero_never() {
        let mut numbers = Numbers::new(256);
        numbers.reserve(3);
        let all: alloc::collections::BTreeSet<u16> = core::iter::from_fn(|| numbers.take()).collect();
        assert_eq!(all.len(), 254);
        assert!(!all.contains(&0) && !all.contains(&3));
        numbers.give_back(9);
        numbers.give_back(3);
        numbers.give_back(700);
        assert!(
            numbers.is_given(8) && !numbers.is_given(9) && !numbers.is_given(3) && !numbers.is_given(700)
        );
        assert_eq!(numbers.take(), Some(9));
        assert_eq!(numbers.take(), None);
    }
}
