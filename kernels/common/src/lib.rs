//! What the kernels share. Each `main.rs` boots its machine, says where firmware's tables are, and calls [`run`].
//!
//! This is the porting example: [`platform`] is all that a kernel must implement, [`pci`] is its glue to the bus.
#![no_std]
extern crate alloc;

pub mod acpi;
pub mod board;
pub mod broken;
pub mod checks;
pub mod cpus;
pub mod direct;
pub mod domains;
pub mod edu;
pub mod fabric;
pub mod hotplug;
pub mod igb;
pub mod interrupts;
pub mod iommus;
pub mod isolation;
pub mod left_on;
pub mod lock;
pub mod memory;
pub mod msi;
pub mod neighbours;
pub mod nvme;
pub mod parallel;
pub mod pattern;
pub mod pci;
pub mod platform;
pub mod script;
pub mod sriov;
pub mod stage;
pub mod system;
pub mod time;
pub mod together;
pub mod tree;
pub mod unplug;
pub mod virtio;
pub mod virtual_functions;

pub use board::{Board, off};
pub use platform::Kernel;

use alloc::{format, string::String, vec::Vec};
use checks::Checks;
use ioward::{
    pci::enumerate::Window,
    types::{PhysAddr, Span, describe::Table},
};
use stage::Stage;

/// What a kernel can be told to do, by the word that follows `run=` on its command line.
const SUITES: &[(&str, Suite)] = &[
    ("edu", isolation::run),
    ("broken", broken::run),
    ("left-on", left_on::run),
    ("domains", domains::run),
    ("sriov", virtual_functions::run),
    ("unplug", unplug::run),
    ("fabric", fabric::run),
    ("nvme", nvme::run),
    ("cpus", parallel::run),
    ("measure", nvme::measure),
    ("virtio", virtio::run),
    ("interrupts", interrupts::run),
];
/// Runs its checks on a machine whose IOMMUs have been brought up.
type Suite = fn(&Stage, &mut Checks) -> Result<(), String>;

/// What a machine's own code knows when it hands over.
pub struct Boot {
    /// The kernel's command line: `run=WHAT` for each thing that it is to do (`edu` where there is none); `break=WHAT`
    /// breaks firmware's tables before they are read; `bypass` lets every device through, for the negative control.
    pub line: &'static str,
    /// The tables that describe IOMMUs; those that the machine does not have are empty.
    pub tables: [(Table, &'static [u8]); 3],
    /// Enhanced configuration space of segment 0, from bus 0 on; none where the table says it.
    pub ecam: Option<Span<PhysAddr>>,
    /// What base addresses may be assigned from; none where firmware has assigned them.
    pub windows: Option<Vec<Window>>,
}

/// A machine whose only table is this one.
pub fn one(table: Table, bytes: &'static [u8]) -> [(Table, &'static [u8]); 3] {
    [(table, bytes), (table, &[]), (table, &[])]
}

/// Runs every check and ends the machine.
///
/// # Safety
/// What `boot` says is so, and everything that it names is mapped where it is; [`memory::add`] has been called.
pub unsafe fn run(boot: Boot) -> ! {
    let mut checks = Checks::default();
    // SAFETY: as promised by the caller.
    match unsafe { try_all(&boot, &mut checks) } {
        Ok(()) => checks.done(),
        Err(why) => say!("ERROR {why}"),
    }
    off()
}

unsafe fn try_all(boot: &Boot, checks: &mut Checks) -> Result<(), String> {
    let asked: Vec<&str> = boot.line.split(' ').filter_map(|word| word.strip_prefix("run=")).collect();
    let asked = if asked.is_empty() { &["edu"][..] } else { &asked };
    let suite = |asked: &&str| SUITES.iter().find(|(name, _)| name == asked).map(|(_, suite)| suite);
    if let Some(unknown) = asked.iter().find(|asked| suite(asked).is_none()) {
        return Err(format!("this kernel does not know how to run `{unknown}`"));
    }
    // SAFETY: as promised by the caller.
    let stage = unsafe { Stage::set(boot) }?;
    asked.iter().filter_map(suite).try_for_each(|suite| suite(&stage, checks))
}
