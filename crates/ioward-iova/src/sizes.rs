//! Which sizes are kept at hand, and how many of each.

use crate::stock::{CLASSES, Place, SMALL, most};

/// The first byte that an address of 32 bits does not reach.
pub const LOW_END: u64 = 1 << 32;

/// Where an allocation may lie. What a CPU has at hand is kept apart by zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Zone {
    /// For who reaches the whole aperture. Where the aperture ends above 4 GiB, what is freed above 4 GiB comes here, and
    /// otherwise everything.
    Main,
    /// Below 4 GiB, where the aperture ends above.
    Low,
}

/// How many zones there are.
pub const ZONES: usize = 2;

impl Zone {
    /// All of them.
    pub const ALL: [Self; ZONES] = [Self::Main, Self::Low];
}

/// Up to so many granules a size is rounded up to the next that is kept. Above, those are kept that are such a size already:
/// rounding would waste too much.
const ROUNDED: u64 = 32;
const _: () =
    assert!(SMALL == ROUNDED.ilog2() as usize + 1, "the small sizes are those that others are rounded up to");
/// What all CPUs together have at hand is this part of a zone at most.
const SHARE: u64 = 8;

/// Sizes are looked up by so many bytes, the least granule, up to a size of [`SIZES`] times that.
const UNIT: u32 = 12;
const SIZES: usize = 512;
/// Where the size is kept of so many units and one more.
type Places = [Place; SIZES];
/// For granules of one unit, two, four, eight and sixteen.
static PLACES: [Places; 5] = {
    let mut all = [[Place::NONE; SIZES]; 5];
    let mut shift = 0;
    while shift < all.len() {
        let mut more = 0;
        while more < SIZES {
            let granules = (more as u64 >> shift) + 1;
            if granules <= ROUNDED || granules.is_power_of_two() {
                all[shift][more] = Place::of(granules.next_power_of_two().ilog2() as usize);
            }
            more += 1;
        }
        shift += 1;
    }
    all
};
static NOTHING: Places = [Place::NONE; SIZES];

/// The sizes that are kept at hand for one granule.
#[derive(Clone, Copy)]
pub struct Sizes(&'static Places);

impl Sizes {
    /// Those of a granule of `1 << shift` bytes.
    pub fn of(shift: u32) -> Self {
        let places = shift.checked_sub(UNIT).and_then(|shift| PLACES.get(shift as usize));
        Self(places.unwrap_or(&NOTHING))
    }

    /// No size at all.
    pub fn none() -> Self {
        Self(&NOTHING)
    }

    /// Where ranges of so many bytes are kept. [`Place::NONE`] or `None` where they are not.
    #[inline(always)]
    pub fn place(self, bytes: u64) -> Option<Place> {
        let more = bytes.wrapping_sub(1) >> UNIT;
        self.0.get(more as usize).copied()
    }

    /// The size that so many bytes are rounded up to: `1 << size` granules. `None` where it is not kept.
    pub fn class(self, bytes: u64) -> Option<usize> {
        self.place(bytes)?.class()
    }
}

/// How many ranges of a size a CPU may have at hand, of `cpus`, in a zone of so many granules. Larger sizes are kept `above`
/// 4 GiB only.
pub fn room(class: usize, granules: u64, cpus: usize, above: bool) -> usize {
    if class >= SMALL && !above {
        return 0;
    }
    let share = ((granules / SHARE / CLASSES as u64) >> class).checked_div(cpus as u64).unwrap_or(0);
    share.min(most(class) as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_the_next_power_of_two_and_large_ones_are_exact() {
        for shift in [12, 14, 16] {
            let sizes = Sizes::of(shift);
            for bytes in (1..=3 << 20).step_by(1 << 11).chain([1, 4096, 4097, u64::MAX, 0]) {
                let granules = bytes.div_ceil(1 << shift);
                let kept = bytes != 0
                    && bytes <= (SIZES as u64) << UNIT
                    && (granules <= ROUNDED || granules.is_power_of_two());
                let class = kept.then(|| granules.next_power_of_two().ilog2() as usize);
                assert_eq!(sizes.class(bytes), class, "{bytes:#x} by {shift}");
                // As it is freed: in whole granules.
                assert!(!kept || sizes.class(granules << shift) == class, "{bytes:#x} by {shift}");
            }
        }
        assert_eq!(Sizes::of(11).class(4096), None);
        assert_eq!(Sizes::of(40).class(4096), None);
    }

    #[test]
    fn cpus_together_have_an_eighth_at_most() {
        for (granules, cpus) in
            [(1 << 36, 64), (1 << 20, 2), (1 << 20, 256), (4096, 3), (64, 1), (1 << 30, 0)]
        {
            let rooms = (0..CLASSES).map(|class| (room(class, granules, cpus, true) as u64) << class);
            assert!(rooms.sum::<u64>() * cpus as u64 <= granules / SHARE);
        }
    }
}
