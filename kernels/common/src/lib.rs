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
pub mod iommus;
pub mod lock;
pub mod memory;
pub mod pci;
pub mod platform;
pub mod script;
pub mod system;
pub mod together;
pub mod tree;

pub use board::{Board, off};
pub use platform::Kernel;

use alloc::{
    boxed::Box,
    format,
    string::{String, ToString as _},
    sync::Arc,
    vec::Vec,
};
use checks::Checks;
use direct::Direct;
use edu::Edu;
use ioward::{
    core::{DefaultKind, Policy, Subsystem, driver::Driver},
    discover::{self, Bus, Facts, Machine, Place, Serving},
    pci::{Bdf, enumerate::Window},
    types::{
        Attributes, IommuId, PhysAddr, SourceId, Span,
        describe::{Fact, Severity, Table},
    },
};
use pci::Pci;
use script::{Page, Reports, Script, Side};
use system::{Owned, SafeDma};
use together::Pair;

/// What a machine's own code knows when it hands over.
pub struct Boot {
    /// The kernel's command line: `bypass` lets every device through, for the negative control.
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
    let bypass = boot.line.split(' ').any(|word| word == "bypass");
    // What firmware says, and the bus.
    let mut facts = Facts::new();
    for (table, bytes) in boot.tables.iter().filter(|(_, bytes)| !bytes.is_empty()) {
        facts.read(*table, bytes);
    }
    let described = |fact: &Fact<'_>| if let Fact::PciHost(host) = fact { host.ecam } else { None };
    let ecam = boot.ecam.or_else(|| facts.iter().find_map(|(_, _, fact)| described(fact)));
    let ecam = ecam.ok_or("firmware describes no PCI host")?;
    // SAFETY: as promised by the caller.
    let pci = unsafe { Pci::new(ecam, boot.windows.as_deref()) }.ok_or("no configuration space")?;
    let pci: &'static Pci = Box::leak(Box::new(pci));
    let bus = pci.bus();
    let machine = discover::join(&facts, &bus);
    for report in machine.reports.iter().filter(|report| report.severity() != Severity::Note) {
        say!("report {report}");
    }
    // SAFETY: the registers that firmware names are mapped where they are.
    let drivers = unsafe { iommus::bring_up(&machine, pci) }?;
    let mut devices = Vec::new();
    for edu in Edu::all(pci) {
        checks.check(format_args!("identify@{}", edu.function), edu.identify());
        let name = edu.function.to_string();
        let device =
            machine.devices.iter().find(|device| device.name == name).ok_or("a device was not discovered")?;
        if let Serving::Unserved(why) = &device.serving {
            return Err(format!("{name} stays off, since nothing can block it: {why}"));
        }
        let [(iommu, source)] = device.sources[..] else {
            return Err(format!("{name} is served by {:?}", device.sources));
        };
        pci.bus_master(edu.function, true);
        devices.push((edu, iommu, source));
    }
    drive(checks, bypass, &drivers, &devices)?;
    subsystem(checks, bypass, &drivers, &devices, &machine, pci, &bus)
}

/// What QEMU's IOMMUs report. An SMMUv3 aborts what a blocked source does without an event (IHI 0070, 5.2, STE.Config
/// 0b000); QEMU 10's riscv-iommu reports it without an address, and its amd-iommu never writes its event log: it takes the
/// log for overflowed, whatever its status says.
fn reports(drivers: &[Arc<dyn Driver>]) -> Reports {
    let silent = |kind| drivers.iter().any(|driver| driver.kind() == kind);
    let blocked = !["AMD-Vi", "SMMUv3", "RISC-V IOMMU"].into_iter().any(silent);
    Reports { tables: !silent("AMD-Vi"), blocked }
}

/// What is played with: the device, its IOMMU, and as what that sees it.
type Engine = (Edu, IommuId, SourceId);

/// The first rung: the driver alone.
fn drive(
    checks: &mut Checks,
    bypass: bool,
    drivers: &[Arc<dyn Driver>],
    engines: &[Engine],
) -> Result<(), String> {
    let mut sides = Vec::new();
    for (edu, iommu, source) in engines {
        let driver = drivers.iter().find(|driver| driver.id() == *iommu).ok_or("no driver")?;
        let side = Direct::new(driver.clone(), *source, bypass)?;
        say!("driver {} {} {}", edu.function, driver.kind(), side.shape());
        sides.push(side);
    }
    scripts(reports(drivers), checks, engines, &mut sides, "driver")?;
    sides.into_iter().try_for_each(Direct::close)
}

/// The second rung: the subsystem, first with groups taken, then through the DMA API.
#[allow(clippy::too_many_arguments)]
fn subsystem(
    checks: &mut Checks,
    bypass: bool,
    drivers: &[Arc<dyn Driver>],
    engines: &[Engine],
    machine: &Machine,
    pci: &'static Pci,
    bus: &Bus,
) -> Result<(), String> {
    let trusted = if bypass { DefaultKind::Identity } else { DefaultKind::Paging };
    let subsystem = Subsystem::with_policy(Kernel, Policy { trusted, ..Policy::default() });
    for driver in drivers {
        subsystem.register(driver.clone()).map_err(|why| why.to_string())?;
    }
    let mut added = Vec::new();
    for device in machine.usable() {
        let Place::Bus(index) = device.place else { continue };
        let Some(at) = bus.functions[index].at else { continue };
        let control = Arc::new(pci.control(Bdf::of_requester(0, at.requester)));
        let Some(desc) = device.desc(control) else { continue };
        let device = subsystem.add(&desc);
        say!("device {} {:?}", desc.name, device.status());
        added.push((at.requester, device));
    }
    let device = |edu: &Edu| {
        let found = added.iter().find(|(requester, _)| *requester == edu.function.requester());
        found.map(|(_, device)| device).ok_or("a device was not added")
    };
    let mut sides = Vec::new();
    for (edu, _, _) in engines {
        sides.push(Owned::take(&subsystem, drivers, device(edu)?, bypass)?);
    }
    scripts(reports(drivers), checks, engines, &mut sides, "owner")?;
    drop(sides);
    for (edu, _, _) in engines {
        let bound = device(edu)?.bind().map_err(|why| why.to_string())?;
        SafeDma { subsystem: &subsystem, drivers, bound: &bound, edu, reports: reports(drivers) }.run(checks);
    }
    if bypass {
        // What follows shows that things work, which they do with translation bypassed too or not at all.
        return Ok(());
    }
    if let [(first, _, _), (second, _, _), ..] = engines {
        let (first, second) = ((first, device(first)?), (second, device(second)?));
        Pair { subsystem: &subsystem, first, second }.run(checks)?;
        together::reset(checks, first.0, first.1)?;
        let bound = first.1.bind().map_err(|why| why.to_string())?;
        SafeDma { subsystem: &subsystem, drivers, bound: &bound, edu: first.0, reports: reports(drivers) }
            .again(checks);
    }
    for (edu, _, _) in engines {
        let place = added.iter().position(|(requester, _)| *requester == edu.function.requester());
        if let Some(place) = place {
            together::remove(checks, edu, added.swap_remove(place).1)?;
        }
    }
    Ok(())
}

/// Runs the script on every device, each with the next one as its neighbour.
fn scripts<S: Side>(
    reports: Reports,
    checks: &mut Checks,
    engines: &[Engine],
    sides: &mut [S],
    way: &'static str,
) -> Result<(), String> {
    for (index, (edu, _, source)) in engines.iter().enumerate() {
        let next = (index + 1) % engines.len();
        let neighbour = &Page::new(9);
        sides[next].map(neighbour.iova(), neighbour.phys(), Attributes::READ_WRITE)?;
        let side = &mut sides[index];
        Script { checks, edu, source: *source, side, neighbour, neighbour_seed: 9, reports, way }.run();
        sides[next].unmap(neighbour.iova())?;
    }
    Ok(())
}
