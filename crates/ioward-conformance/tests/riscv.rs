//! The driver of the RISC-V IOMMU, in every mode.

mod benches;

use benches::riscv::Bed;
use ioward_models::riscv::Features;

ioward_conformance::suite!(riscv {
    second => Bed::new(Features::default()),
    first => Bed::first(Features::default()),
    without_second => Bed::new(Features { second_bits: 0, ..Features::default() }),
    without_first => Bed::new(Features { first_bits: 0, pd: [false; 3], ..Features::default() }),
    base_format => Bed::new(Features { msi_flat: false, msi_mrif: false, ..Features::default() }),
    one_level => Bed::new(Features { levels: [true, false, false], ..Features::default() }),
    two_levels => Bed::up_to(0x7fff, Features::default()),
    two_levels_of_base_format => Bed::up_to(0xffff, Features {
        msi_flat: false,
        msi_mrif: false,
        ..Features::default()
    }),
    narrow_tables => Bed::first(Features {
        first_bits: 39,
        second_bits: 39,
        pd: [true, false, false],
        amo_hwad: false,
        ..Features::default()
    }),
    incoherent => Bed::new(Features { coherent: false, amo_hwad: false, ..Features::default() }),
    small => Bed::new(Features::small()),
});
