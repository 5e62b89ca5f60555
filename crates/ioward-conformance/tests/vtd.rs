//! The driver of VT-d, in every mode.

mod benches;

use benches::vtd::Bed;
use ioward_models::vtd::VtdConfig;

ioward_conformance::suite!(vtd {
    legacy => Bed::new(VtdConfig::legacy()),
    legacy_on_a_scalable_unit => Bed::legacy(VtdConfig::default()),
    legacy_by_registers => Bed::new(VtdConfig {
        queued: false,
        device_tlb: false,
        interrupt_remapping: false,
        x2apic: false,
        ..VtdConfig::legacy()
    }),
    legacy_caching_mode => Bed::new(VtdConfig { caching_mode: true, ..VtdConfig::legacy() }),
    legacy_incoherent => Bed::new(VtdConfig { coherent: false, ..VtdConfig::legacy() }),
    legacy_write_buffers => Bed::new(VtdConfig { write_buffer: true, ..VtdConfig::legacy() }),
    minimal => Bed::new(VtdConfig::minimal()),
    scalable_second => Bed::new(VtdConfig::default()),
    scalable_first => Bed::first(VtdConfig::default()),
    scalable_first_alone => Bed::new(VtdConfig { second_stage: false, nested: false, ..VtdConfig::default() }),
    scalable_second_alone => Bed::new(VtdConfig { first_stage: false, nested: false, ..VtdConfig::default() }),
    scalable_caching_mode => Bed::new(VtdConfig { caching_mode: true, ..VtdConfig::default() }),
    scalable_first_caching_mode => Bed::first(VtdConfig { caching_mode: true, ..VtdConfig::default() }),
    scalable_incoherent => Bed::new(VtdConfig {
        coherent: false,
        scalable_coherent: false,
        accessed_dirty: false,
        ..VtdConfig::default()
    }),
});
