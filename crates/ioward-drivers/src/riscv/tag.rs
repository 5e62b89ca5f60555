//! Tags: the PSCIDs of first stages and the GSCIDs of second stages.
//!
//! What is cached of a first stage is known by its PSCID where there is no second stage under it, and what is cached of a
//! second stage by its GSCID (2.7). So one table has one identifier, whichever sources and PASIDs use it.

use alloc::collections::BTreeSet;
use ioward_spec::riscv::device;
use ioward_types::{Format, TableConfig, Tag};

/// Which table of a translation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    First,
    Second,
}

impl Stage {
    /// The stage whose tables have this format.
    pub fn of(format: Format) -> Option<Self> {
        match format {
            Format::RiscvFirst => Some(Self::First),
            Format::RiscvSecond => Some(Self::Second),
            _ => None,
        }
    }
}

/// What a tag stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Meaning {
    pub stage: Stage,
    /// The PSCID or GSCID.
    pub id: u32,
}

const FIRST: u32 = 1 << 24;
const SECOND: u32 = 1 << 25;

impl Meaning {
    pub fn encode(self) -> Tag {
        match self.stage {
            Stage::First => Tag(FIRST | self.id),
            Stage::Second => Tag(SECOND | self.id),
        }
    }

    /// The meaning of a tag, if it is one of ours.
    pub fn decode(tag: Tag) -> Option<Self> {
        let id = tag.0 & 0xff_ffff;
        let (stage, field) = match tag.0 & 0xff00_0000 {
            FIRST => (Stage::First, device::PSCID),
            SECOND => (Stage::Second, device::GSCID),
            _ => return None,
        };
        field.fits(id.into()).then_some(Self { stage, id })
    }

    /// Whether tables of this shape go with the tag.
    pub fn fits(self, config: &TableConfig) -> bool {
        Stage::of(config.format) == Some(self.stage)
    }
}

/// Numbers from 1 up to a limit, each given out once until it is given back. Zero is never given out: contexts that use no
/// identifier hold it.
pub(super) struct Numbers {
    /// Cannot be given out: in use by somebody else.
    reserved: BTreeSet<u32>,
    given: BTreeSet<u32>,
    limit: u32,
    next: u32,
}

impl Numbers {
    pub fn new(limit: u32) -> Self {
        Self { reserved: BTreeSet::new(), given: BTreeSet::new(), limit, next: 1 }
    }

    /// Takes a number out for good.
    pub fn reserve(&mut self, number: u32) {
        self.reserved.insert(number);
    }

    /// Whether it has been given out and not given back.
    pub fn is_given(&self, number: u32) -> bool {
        self.given.contains(&number)
    }

    /// A number that was free; the one given back last comes last, so that a stale use shows as a fault for longest.
    pub fn take(&mut self) -> Option<u32> {
        let free = |n: &u32| !self.given.contains(n) && !self.reserved.contains(n);
        let number = (self.next..self.limit).chain(1..self.next.min(self.limit)).find(free)?;
        self.given.insert(number);
        self.next = number + 1;
        Some(number)
    }

    /// Makes a number free again, if it was given out.
    pub fn give_back(&mut self, number: u32) {
        self.given.remove(&number);
    }
}

/// Identifiers that are free.
pub(super) struct Tags {
    pub pscids: Numbers,
    pub gscids: Numbers,
}

impl Tags {
    pub fn new() -> Self {
        let limit = |field: ioward_spec::Field| field.max() as u32 + 1;
        Self { pscids: Numbers::new(limit(device::PSCID)), gscids: Numbers::new(limit(device::GSCID)) }
    }

    pub fn of(&mut self, stage: Stage) -> &mut Numbers {
        match stage {
            Stage::First => &mut self.pscids,
            Stage::Second => &mut self.gscids,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_says_what_it_is() {
        for (stage, id) in
            [(Stage::First, 1), (Stage::First, 0xf_ffff), (Stage::Second, 1), (Stage::Second, 0xffff)]
        {
            let meaning = Meaning { stage, id };
            assert_eq!(Meaning::decode(meaning.encode()), Some(meaning));
        }
        for tag in [0, 5, FIRST | 0x10_0000, SECOND | 0x1_0000, FIRST | SECOND | 1] {
            assert_eq!(Meaning::decode(Tag(tag)), None, "{tag:#x}");
        }
    }

    #[test]
    fn numbers_are_given_once_and_zero_never() {
        let mut numbers = Numbers::new(256);
        numbers.reserve(3);
        let all: BTreeSet<u32> = core::iter::from_fn(|| numbers.take()).collect();
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

    #[test]
    fn a_number_given_back_is_the_last_to_be_given_out_again() {
        let mut numbers = Numbers::new(8);
        assert_eq!(numbers.take(), Some(1));
        numbers.give_back(1);
        assert_eq!(core::iter::from_fn(|| numbers.take()).last(), Some(1));
    }
}
