//! What the kernels share. Each `main.rs` boots its machine, says where firmware's tables are, and calls [`run`].
//!
//! This is the porting example: [`platform`] is all that a kernel must implement, [`pci`] is its glue to the bus.
#![no_std]
extern crate alloc;

pub mod acpi;
pub mod board;
pub mod checks;
pub mod direct;
pub mod edu;
pub mod found;
pub mod iommus;
pub mod lock;
pub mod memory;
pub mod pci;
pub mod platform;
pub mod script;

pub use board::{Board, off};
pub use platform::Kernel;

use alloc::{string::String, vec::Vec};
use checks::Checks;
use edu::Edu;
use found::Found;
use ioward_pci::enumerate::Window;
use ioward_types::{Attributes, PhysAddr, Span, describe::Table};
use pci::Pci;
use script::{Page, Reports, Script, Side as _};

/// What a machine's own code knows when it hands over.
pub struct Boot {
    /// The kernel's command line: `bypass` lets every device through, for the negative control.
    pub line: &'static str,
    /// The table that describes IOMMUs.
    pub table: (Table, &'static [u8]),
    /// Enhanced configuration space of segment 0, from bus 0 on; none where the table says it.
    pub ecam: Option<Span<PhysAddr>>,
    /// What base addresses may be assigned from; none where firmware has assigned them.
    pub windows: Option<Vec<Window>>,
    /// What the machine's IOMMU reports.
    pub reports: Reports,
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
        Err(why) => say!("PANIC {why}"),
    }
    off()
}

unsafe fn try_all(boot: &Boot, checks: &mut Checks) -> Result<(), String> {
    let bypass = boot.line.split(' ').any(|word| word == "bypass");
    let found = Found::read(boot.table.0, boot.table.1);
    let ecam = boot.ecam.or_else(|| found.ecam()).ok_or("firmware describes no PCI host")?;
    // SAFETY: as promised by the caller.
    let pci = unsafe { Pci::new(ecam, boot.windows.as_deref()) }.ok_or("no configuration space")?;
    for &function in &pci.functions {
        let source = found.source(function).map(|(_, source)| source);
        say!("pci {function} {:#010x} {source:?}", pci.id(function));
    }
    // SAFETY: the registers that firmware names are mapped where they are.
    let iommus = unsafe { iommus::bring_up(&found) }?;
    // One device a group: a neighbour is another device's group.
    let mut devices = Vec::new();
    for edu in Edu::all(&pci) {
        checks.check(format_args!("identify@{}", edu.function), edu.identify());
        let (node, source) = found.source(edu.function).ok_or("firmware names no IOMMU for a device")?;
        let iommu =
            iommus.iter().find(|iommu| iommu.node == node).ok_or("the device's IOMMU is not driven")?;
        let side = direct::Direct::new(iommu.driver.clone(), source, bypass)?;
        say!("device {} {} {}", edu.function, iommu.driver.kind(), side.config());
        pci.bus_master(edu.function, true);
        devices.push((edu, source, side));
    }
    for index in 0..devices.len() {
        let neighbour = Page::new(9);
        let count = devices.len();
        let other = &mut devices[(index + 1) % count].2;
        other.map(neighbour.iova(), neighbour.phys(), Attributes::READ_WRITE)?;
        let (edu, source, side) = &mut devices[index];
        let (neighbour, reports) = (&neighbour, boot.reports);
        Script { checks, edu, source: *source, side, neighbour, neighbour_seed: 9, reports, way: "driver" }
            .run();
        devices[(index + 1) % count].2.unmap(neighbour.iova())?;
    }
    Ok(())
}
