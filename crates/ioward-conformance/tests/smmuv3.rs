//! The driver of SMMUv3, in every mode.

mod benches;

use benches::smmuv3::Bed;
use ioward_models::smmuv3::Features;

ioward_conformance::suite!(smmuv3 {
    stage2 => Bed::new(Features { range_invalidation: false, ..Features::default() }),
    stage2_by_range => Bed::new(Features::default()),
    stage1 => Bed::stage1(Features::default()),
    without_stage2 => Bed::new(Features { stage2: false, range_invalidation: false, ..Features::default() }),
    without_stage1 => Bed::new(Features { stage1: false, ssid_bits: 0, ..Features::default() }),
    linear_tables => Bed::new(Features {
        two_level_streams: false,
        two_level_cds: false,
        sid_bits: 8,
        ssid_bits: 4,
        ..Features::default()
    }),
    incoherent => Bed::new(Features { coherent: false, httu: 0, ..Features::default() }),
    small => Bed::new(Features::small()),
    granule_of_64k => Bed::new(Features { granules: 1 << 16, ..Features::default() }),
});
