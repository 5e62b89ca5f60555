//! The formats, each a thin description.
//!
//! | format | pages | widths in, out | what it cannot express |
//! | --- | --- | --- | --- |
//! | [`ArmStage1`] | 4 KiB, 2 MiB, 1 GiB; 16 KiB, 32 MiB; 64 KiB, 512 MiB; contiguous sets | 25..=48 (52 with 64 KiB), 32..=48 (52) | write without read |
//! | [`ArmStage2`] | the same | 32..=48 (52), 32..=48 (52) | privileged only |
//! | [`AmdV1`] | every power of two from 4 KiB | 13..=64, 32..=52 | privileged only; execute is ignored |
//! | [`AmdV2`] | 4 KiB, 2 MiB, 1 GiB | 32..=57, 32..=52 | write without read |
//! | [`VtdSecond`] | 4 KiB, 2 MiB, 1 GiB | 32..=57, 32..=52 | privileged only; execute is ignored |
//! | [`VtdFirst`] | 4 KiB, 2 MiB, 1 GiB | 32..=57, 32..=52 | write without read |
//! | [`RiscvFirst`] | 4 KiB, 2 MiB, 1 GiB, 512 GiB, 256 TiB; sets of 64 KiB | 32..=57, 32..=56 | write without read |
//! | [`RiscvSecond`] | the same | 32..=59, 32..=56 | write without read, privileged only |
//!
//! A mapping that cannot be expressed is refused; `widen` tells what can be asked for instead. A mapping that forbids
//! reading and writing both is refused by all. A page size that a narrow table has no level for is allowed and not used.

mod amd_v1;
mod arm;
mod riscv;
mod vtd_second;
mod x86;

pub use amd_v1::AmdV1;
pub use arm::{Arm, ArmStage1, ArmStage2};
pub use riscv::{Riscv, RiscvFirst, RiscvSecond};
pub use vtd_second::VtdSecond;
pub use x86::{AmdV2, VtdFirst, X86};

/// Runs `$body` with `$chosen` naming the format that a configuration asks for, or `$none` where there is none such.
macro_rules! with_format {
    ($config:expr, $chosen:ident => $body:expr, $none:expr) => {{
        use $crate::formats::*;
        macro_rules! run {
            ($format:ty) => {{
                type $chosen = $format;
                $body
            }};
        }
        match ($config.format, $config.granule()) {
            (ioward_types::Format::ArmStage1, 0x1000) => run!(ArmStage1<12>),
            (ioward_types::Format::ArmStage1, 0x4000) => run!(ArmStage1<14>),
            (ioward_types::Format::ArmStage1, 0x1_0000) => run!(ArmStage1<16>),
            (ioward_types::Format::ArmStage2, 0x1000) => run!(ArmStage2<12>),
            (ioward_types::Format::ArmStage2, 0x4000) => run!(ArmStage2<14>),
            (ioward_types::Format::ArmStage2, 0x1_0000) => run!(ArmStage2<16>),
            (ioward_types::Format::AmdV1, 0x1000) => run!(AmdV1),
            (ioward_types::Format::AmdV2, 0x1000) => run!(AmdV2),
            (ioward_types::Format::VtdSecond, 0x1000) => run!(VtdSecond),
            (ioward_types::Format::VtdFirst, 0x1000) => run!(VtdFirst),
            (ioward_types::Format::RiscvFirst, 0x1000) => run!(RiscvFirst),
            (ioward_types::Format::RiscvSecond, 0x1000) => run!(RiscvSecond),
            _ => $none,
        }
    }};
}
pub(crate) use with_format;
