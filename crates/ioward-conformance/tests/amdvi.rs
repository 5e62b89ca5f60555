//! The driver of AMD-Vi, in every mode.

mod benches;

use benches::amdvi::Bed;
use ioward_models::amdvi::AmdViConfig;

ioward_conformance::suite!(amdvi {
    v1 => Bed::new(AmdViConfig::default()),
    v1_caching_not_present => Bed::new(AmdViConfig { np_cache: true, ..AmdViConfig::default() }),
    v1_incoherent => Bed::new(AmdViConfig { coherent: false, ..AmdViConfig::default() }),
    v1_without_delay => Bed::new(AmdViConfig { lazy: false, ..AmdViConfig::default() }),
    v2 => Bed::v2(AmdViConfig::default()),
    v2_caching_not_present => Bed::v2(AmdViConfig { np_cache: true, ..AmdViConfig::default() }),
    v2_of_one_level_of_pasids => Bed::v2(AmdViConfig {
        pasid_bits: 9,
        guest_levels: 4,
        gcr3_levels: 1,
        ..AmdViConfig::default()
    }),
    minimal => Bed::new(AmdViConfig { invalidate_all: true, ..AmdViConfig::minimal() }),
});
