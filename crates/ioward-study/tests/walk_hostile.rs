//! Memory full of anything: a walk from anywhere ends, and reads no more than its format can ask for.

use ioward::types::{Iova, PhysAddr};
use ioward_pgtable::ReadMemory;
use ioward_study::walk::{Device, Kind, Origin, walk};
use proptest::prelude::*;
use std::cell::Cell;

/// Memory of a few words that repeat, so that what one structure leads to is one of them again.
struct Few {
    words: Vec<u64>,
    reads: Cell<usize>,
}

impl ReadMemory for Few {
    fn read64(&self, at: PhysAddr) -> Option<u64> {
        self.reads.set(self.reads.get() + 1);
        self.words.get(at.0 as usize / 8 % (self.words.len() + 1)).copied()
    }
}

const KINDS: [Kind; 6] =
    [Kind::SmmuV3, Kind::AmdVi, Kind::VtdLegacy, Kind::VtdScalable, Kind::RiscV, Kind::RiscVExtended];

/// Words of which many have the bits set that make entries valid.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        any::<u64>().prop_map(|word| word | 1),
        any::<u64>().prop_map(|word| word | 0xb | 1 << 31 | 1 << 41),
        (0u64..16).prop_map(|page| page << 12 | 0x7),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn a_walk_ends_whatever_memory_holds(
        words in prop::collection::vec(word(), 1..40),
        which in 0..KINDS.len(),
        (base, config) in (word(), any::<u64>()),
        registers in any::<bool>(),
        source in prop_oneof![0u32..0x400, any::<u32>()],
        pasid in prop::option::of(prop_oneof![0u32..4, 0u32..1 << 20]),
        iova in prop_oneof![any::<u64>(), 0u64..1 << 40],
    ) {
        let (kind, device) = (KINDS[which], Device { source, pasid });
        let origin = match registers {
            true => Origin::Registers { kind, base, config, device },
            false => Origin::Entry { kind, at: PhysAddr(base & !7), device },
        };
        let memory = Few { words, reads: Cell::new(0) };
        let report = walk(&memory as &dyn ReadMemory, &origin, Iova(iova));
        // Entries of at most four structures of at most eight words, and two stages of at most six levels: each read of the
        // first, and of the structures, goes through the second.
        prop_assert!(memory.reads.get() <= (5 * 8 + 6) * 7 + 6, "{} reads", memory.reads.get());
        prop_assert!(report.walks.len() <= 2);
    }
}
