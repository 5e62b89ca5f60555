//! The formats, each a thin description.
//!
//! | format | pages | widths in, out | what it cannot express |
//! | --- | --- | --- | --- |
//! | [`ArmStage1`] | 4 KiB, 2 MiB, 1 GiB; 16 KiB, 32 MiB; 64 KiB, 512 MiB; contiguous sets | 25..=48 (52 with 64 KiB), 32..=48 (52) | write without read |
//! | [`ArmStage2`] | the same | 32..=48 (52), 32..=48 (52) | privileged only |
//! | [`AmdV1`] | every power of two from 4 KiB | 13..=64, 32..=52 | privileged only; execute is ignored |
//! | [`AmdV2`] | 4 KiB, 2 MiB, 1 GiB | 32..=57, 32..=52 | write without read |
//!
//! A mapping that cannot be expressed is refused; `widen` tells what can be asked for instead. A mapping that forbids
//! reading and writing both is refused by all.

mod amd_v1;
mod amd_v2;
mod arm;

pub use amd_v1::AmdV1;
pub use amd_v2::AmdV2;
pub use arm::{ArmStage1, ArmStage2};
