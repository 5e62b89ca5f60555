//! What the kernel itself wants from the device tree: its command line, and what the PCI host bridge passes on.

use alloc::vec::Vec;
use ioward::firmware::devicetree::{Path, Tree};
use ioward::pci::enumerate::{Space, Window};
use ioward::types::PhysAddr;

/// What lies above is not mapped by the boot tables of every kernel.
const MAPPED: u64 = 512 << 30;

/// Command line and windows.
#[derive(Default)]
pub struct Known {
    /// The command line.
    pub line: &'static str,
    /// Where base addresses may be assigned.
    pub windows: Vec<Window>,
    /// Ticks of a RISC-V time register in a second.
    pub timebase: Option<u32>,
}

/// Reads them; a broken tree leaves out what could not be read.
pub fn read(bytes: &'static [u8]) -> Known {
    let mut known = Known::default();
    let Ok(tree) = Tree::open(bytes, &mut |_| {}) else { return known };
    let walked = tree.walk(&mut |path| {
        let Some(node) = path.node() else { return true };
        if node.name() == "chosen" {
            known.line = node.property("bootargs").and_then(|line| line.text()).unwrap_or_default();
        }
        if node.name() == "cpus" {
            known.timebase = node.property("timebase-frequency").and_then(|hertz| hertz.cells().one());
        }
        if node.compatible().any(|name| name == "pci-host-ecam-generic") {
            known.windows = windows(path).unwrap_or_default();
        }
        true
    });
    if let Err(problem) = walked {
        crate::say!("firmware {problem}");
    }
    known
}

/// `ranges` of a PCI host bridge: flags, bus address, CPU address, length (IEEE 1275 PCI binding, 2.2.1.1).
fn windows(path: &Path<'static>) -> Option<Vec<Window>> {
    let parent = path.parent()?.address_cells();
    let mut cells = path.node()?.property("ranges")?.cells();
    let mut windows = Vec::new();
    while let Some(flags) = cells.one() {
        let (bus, cpu, bytes) = (cells.number(2)?, cells.number(parent)?, cells.number(2)?);
        let space = if flags >> 24 & 3 == 1 { Space::Io } else { Space::Memory };
        // QEMU's virtual functions forget the upper half of their base address, and there is room enough below 4 GiB.
        let low = bus >> 32 == 0;
        if low && cpu.checked_add(bytes).is_some_and(|end| end <= MAPPED) {
            windows.push(Window { space, bus, cpu: PhysAddr(cpu), bytes });
        }
    }
    Some(windows)
}
