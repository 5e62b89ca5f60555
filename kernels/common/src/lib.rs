//! What the kernels share. Each `main.rs` boots its machine, says where firmware's tables are, and calls [`run`].
//!
//! This is the porting example: [`platform`] is all that a kernel must implement, [`pci`] is its glue to the bus.
#![no_std]
extern crate alloc;

pub mod acpi;
pub mod board;
pub mod checks;
pub mod edu;
pub mod found;
pub mod lock;
pub mod memory;
pub mod pci;
pub mod platform;

pub use board::{Board, off};
pub use platform::Kernel;

use alloc::{boxed::Box, vec::Vec};
use checks::Checks;
use found::Found;
use ioward_pci::enumerate::Window;
use ioward_types::{Iova, PhysAddr, Platform as _, Span, describe::Table};

/// What a machine's own code knows when it hands over.
pub struct Boot {
    /// The kernel's command line.
    pub line: &'static str,
    /// The table that describes IOMMUs.
    pub table: (Table, &'static [u8]),
    /// Enhanced configuration space of segment 0, from bus 0 on; none where the table says it.
    pub ecam: Option<Span<PhysAddr>>,
    /// What base addresses may be assigned from; none where firmware has assigned them.
    pub windows: Option<Vec<Window>>,
}

/// Runs every check and ends the machine.
///
/// # Safety
/// What `boot` says is so, and everything that it names is mapped where it is; [`memory::add`] has been called.
pub unsafe fn run(boot: Boot) -> ! {
    let mut checks = Checks::default();
    let found = Found::read(boot.table.0, boot.table.1);
    for iommu in found.iommus() {
        say!("iommu {} {} registers {:?}", iommu.kind, iommu.name, iommu.registers);
    }
    let Some(ecam) = boot.ecam.or_else(|| found.ecam()) else {
        say!("PANIC firmware describes no PCI host");
        off()
    };
    // SAFETY: as promised by the caller.
    let Some(pci) = (unsafe { pci::Pci::new(ecam, boot.windows.as_deref()) }) else {
        say!("PANIC no configuration space");
        off()
    };
    let pci: &'static pci::Pci = Box::leak(Box::new(pci));
    for &function in &pci.functions {
        say!("pci {function} {:#010x} {:?}", pci.id(function), found.source(function));
    }
    for edu in edu::Edu::all(pci) {
        checks.check(format_args!("edu-{}", edu.function), edu.identify());
        pci.bus_master(edu.function, true);
        let page = Kernel.frames(4096, 4096, PhysAddr(u64::MAX)).unwrap();
        let p = Kernel.virt(page).cast::<u64>().as_ptr();
        unsafe { p.write_volatile(0x1234) };
        checks.check("fetch", edu.fetch(&Kernel, Iova(page.0), 8));
        checks.check("store", edu.store(&Kernel, Iova(page.0 + 8), 8));
        checks.check(
            "same",
            if unsafe { p.add(1).read_volatile() } == 0x1234 { Ok(()) } else { Err("differs") },
        );
    }
    checks.done();
    off()
}
