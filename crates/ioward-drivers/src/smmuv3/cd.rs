//! Context descriptors (IHI 0070, 5.4), encoded.

use super::{entry::Words, geometry::Walk};
use ioward_spec::smmuv3::{cacheability, cd as spec, shareability};
use ioward_types::table::ARM_MAIR;

/// A descriptor that blocks: V is 0.
pub(super) const BLOCKED: Words = [0; 8];

/// A descriptor of a stage 1 table. `stall`: hardware leaves no choice but to stall (IDR0.STALL_MODEL).
pub(super) fn translate(walk: &Walk, asid: u16, stall: bool) -> Words {
    let (cache, share) = if walk.coherent {
        (cacheability::WRITE_BACK, shareability::INNER)
    } else {
        (cacheability::NON, shareability::OUTER)
    };
    let mut cd = [0; 8];
    for (field, value) in [
        (spec::T0SZ, walk.tsz),
        (spec::TG0, walk.tg),
        (spec::IR0, cache),
        (spec::OR0, cache),
        (spec::SH0, share),
        // There is no upper half.
        (spec::EPD1, 1),
        (spec::V, 1),
        (spec::IPS, walk.ps),
        (spec::AA64, 1),
        (spec::HA, walk.dirty.into()),
        (spec::HD, walk.dirty.into()),
        (spec::S, stall.into()),
        // Faults are recorded, and their requests abort rather than read zeros.
        (spec::R, 1),
        (spec::A, 1),
        // Broadcast invalidation by CPUs never concerns these ASIDs.
        (spec::ASET, 1),
        (spec::ASID, asid.into()),
        (spec::MAIR0, ARM_MAIR & 0xffff_ffff),
        (spec::MAIR1, ARM_MAIR >> 32),
    ] {
        field.set(&mut cd, value);
    }
    spec::TTB0.set_in_place(&mut cd, walk.root);
    cd
}

/// What the SMMU reads of a descriptor: nothing else where V is 0 (5.4); TTB1 and its region's fields never, where EPD1
/// is 1.
pub(super) fn used(cd: &Words) -> Words {
    let mut bits = [0; 8];
    if !spec::V.is_set(cd) {
        spec::V.set(&mut bits, 1);
        return bits;
    }
    bits = [u64::MAX; 8];
    if spec::EPD1.is_set(cd) {
        bits[2] = 0;
        for field in [spec::T1SZ, spec::TG1, spec::IR1, spec::OR1, spec::SH1] {
            field.set(&mut bits, 0);
        }
    }
    bits
}
