//! Benches of the five drivers over the models that judge them.
#![allow(dead_code, reason = "each test has a use for some")]

pub mod amdvi;
pub mod riscv;
pub mod smmuv3;
pub mod virtio;
pub mod vtd;

use ioward_models::{Memory, Violations};
use ioward_types::PhysAddr;

/// The memory of a machine.
fn memory() -> Memory {
    Memory::new(PhysAddr(0x8000_0000), 64 << 20, Violations::default())
}

fn violations(memory: &Memory) -> Vec<String> {
    memory.violations().take().iter().map(ToString::to_string).collect()
}
