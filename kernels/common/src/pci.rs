//! The bus: configuration space by ECAM, every function on it, and their registers.

use alloc::vec::Vec;
use core::ptr::NonNull;
use ioward::{
    discover::Bus,
    pci::{
        Bdf, ConfigAccess as _, Ecam, Topology,
        enable::enable_acs,
        enumerate::{Assigned, Bar, Numbering, Window, assign_bars, assign_virtual_bars, number_buses},
        groups::{Linux, Policy as _},
        regs,
    },
    types::{DeviceControl, MmioPtr, Nanos, PhysAddr, Span},
};

/// One segment.
pub struct Pci {
    access: Ecam<MmioPtr>,
    /// Every function that answers, but virtual ones.
    pub functions: Vec<Bdf>,
    /// The registers that virtual functions share.
    virtual_bars: Vec<Bar>,
}

impl Pci {
    /// Finds every root bus behind `ecam`, whose first bus is 0, and what is below. With `windows`, numbers the buses and
    /// assigns base addresses; without, firmware has done so.
    ///
    /// # Safety
    /// `ecam` is the enhanced configuration space of a segment and mapped as device memory where it is, as are `windows`.
    pub unsafe fn new(ecam: Span<PhysAddr>, windows: Option<&[Window]>) -> Option<Self> {
        let base = NonNull::new(ecam.start.0 as *mut u8)?;
        // SAFETY: as promised by the caller.
        let registers = unsafe { MmioPtr::new(base, ecam.bytes as usize) };
        let last = (ecam.bytes >> 20).clamp(1, 256) - 1;
        let access = Ecam::new(registers, 0, 0, last as u8);
        // Root buses are those that no bridge leads to: while nothing is numbered, all that answer.
        let found = Topology::scan(&access, 0, 0, last as u8, &[]);
        let buses = found.buses().iter();
        let roots: Vec<u8> = buses
            .filter(|bus| bus.bridge.is_none() && bus.lent_by.is_none())
            .map(|bus| bus.id.number)
            .collect();
        let mut numbering = Numbering::default();
        for (index, &root) in roots.iter().enumerate() {
            let last = roots.get(index + 1).map_or(last as u8, |next| next - 1);
            let Numbering { buses, functions, findings } = number_buses(&access, 0, root, last);
            numbering.buses.extend(buses);
            numbering.functions.extend(functions);
            numbering.findings.extend(findings);
        }
        numbering.findings.iter().for_each(|finding| crate::say!("pci {finding}"));
        let mut virtual_bars = Vec::new();
        let mut note = |assigned: Assigned| {
            assigned.findings.iter().for_each(|finding| crate::say!("pci {finding}"));
            virtual_bars.extend(assigned.bars.into_iter().filter(|bar| bar.virtual_functions != 0));
        };
        match windows {
            Some(windows) => note(assign_bars(&access, &numbering, windows)),
            // Firmware has left out those of virtual functions.
            None => {
                let bridges: Vec<(u8, Bdf)> =
                    numbering.buses.iter().filter_map(|bus| Some((bus.number, bus.bridge?))).collect();
                for function in &numbering.functions {
                    let above = bridges.iter().find(|(bus, _)| *bus == function.bus);
                    above
                        .into_iter()
                        .for_each(|(_, bridge)| note(assign_virtual_bars(&access, *bridge, *function)));
                }
            }
        }
        // Before anybody groups: what cannot be told apart depends on it.
        enable_acs(&access, &Topology::scan(&access, 0, 0, last as u8, &[]));
        Some(Self { access, functions: numbering.functions, virtual_bars })
    }

    /// Vendor (lower half) and device (upper half).
    pub fn id(&self, function: Bdf) -> u32 {
        self.access.read32(function, 0)
    }

    /// The functions with this vendor (lower half) and device (upper half).
    pub fn with_id(&self, id: u32) -> impl Iterator<Item = Bdf> + '_ {
        self.functions.iter().copied().filter(move |&function| self.id(function) == id)
    }

    /// The functions of this class: base class, subclass and programming interface in 24 bits.
    pub fn with_class(&self, class: u32) -> impl Iterator<Item = Bdf> + '_ {
        self.functions.iter().copied().filter(move |&at| self.access.read32(at, 8) >> 8 == class)
    }

    /// 32 bits of a function's configuration space, at a multiple of 4.
    pub fn read(&self, function: Bdf, at: u16) -> u32 {
        self.access.read32(function, at)
    }

    /// Writes 32 bits of it, at a multiple of 4.
    pub fn write(&self, function: Bdf, at: u16, value: u32) {
        self.access.write32(function, at, value);
    }

    /// What a function's base address register decodes, with memory decoding turned on.
    pub fn bar(&self, function: Bdf, index: u16) -> Option<Span<PhysAddr>> {
        let at = regs::BAR + index * 4;
        let command = self.access.read32(function, regs::COMMAND) & 0xffff;
        let low = self.access.read32(function, at);
        let wide = low >> 1 & 3 == 2;
        let high = if wide { self.access.read32(function, at + 4) } else { 0 };
        // Sizing: while it decodes nothing, all ones show which bits it takes.
        self.access.write32(function, regs::COMMAND, command & !regs::COMMAND_MEMORY);
        self.access.write32(function, at, u32::MAX);
        let bytes = (!(self.access.read32(function, at) & !0xf)).wrapping_add(1);
        self.access.write32(function, at, low);
        self.access.write32(function, regs::COMMAND, command | regs::COMMAND_MEMORY);
        let start = PhysAddr(u64::from(low & !0xf) | u64::from(high) << 32);
        (low & 1 == 0 && bytes != 0 && start.0 != 0).then_some(Span { start, bytes: bytes.into() })
    }

    /// The registers behind it.
    pub fn registers(&self, function: Bdf, index: u16) -> Option<MmioPtr> {
        let span = self.bar(function, index)?;
        let base = NonNull::new(span.start.0 as *mut u8)?;
        // SAFETY: firmware or `assign_bars` put the registers there, and the whole bus is mapped as device memory.
        Some(unsafe { MmioPtr::new(base, span.bytes as usize) })
    }

    /// The registers of the `nth` virtual function of `physical`, from zero, behind its base address register `index`: all
    /// of them share the physical function's register of that index, one after the other (PCI Express Base 6.0, 9.3.3.14).
    pub fn virtual_registers(&self, physical: Bdf, index: u8, nth: usize) -> Option<MmioPtr> {
        let of = |bar: &&Bar| bar.function == physical && bar.index == index;
        let bar = self.virtual_bars.iter().find(of).filter(|bar| nth < bar.virtual_functions.into())?;
        let base = NonNull::new((bar.cpu.0 + bar.bytes * nth as u64) as *mut u8)?;
        // SAFETY: `assign_bars` or `assign_virtual_bars` put them there, and the whole bus is mapped as device memory.
        Some(unsafe { MmioPtr::new(base, bar.bytes as usize) })
    }

    /// How configuration space is reached.
    pub fn access(&self) -> &Ecam<MmioPtr> {
        &self.access
    }

    /// The bus as it is now.
    pub fn scan(&self) -> Topology {
        Topology::scan(&self.access, 0, 0, self.access.last_bus(), &[])
    }

    /// The bus as discovery wants it: who issues requests as whom, and who cannot be told apart.
    pub fn bus(&self) -> Bus {
        let topology = self.scan();
        Bus::of(&topology, &Linux.groups(&topology))
    }

    /// What the subsystem does to a function.
    pub fn control(&'static self, function: Bdf) -> Control {
        Control { pci: self, function }
    }

    /// Keeps every function from issuing requests, and says whether all of them obey: what is left where the IOMMU that is
    /// to confine them is of no use.
    pub fn all_off(&self) -> &'static str {
        self.functions.iter().for_each(|&function| self.bus_master(function, false));
        let on = |function: &Bdf| self.is_bus_master(*function);
        if self.functions.iter().any(on) {
            "not every device can be turned off"
        } else {
            "every device is off"
        }
    }

    /// Whether a function may issue requests.
    pub fn is_bus_master(&self, function: Bdf) -> bool {
        self.access.read32(function, regs::COMMAND) & regs::COMMAND_MASTER != 0
    }

    /// Lets a function issue requests, or not.
    pub fn bus_master(&self, function: Bdf, on: bool) {
        let command = self.access.read32(function, regs::COMMAND) & 0xffff;
        let bit = regs::COMMAND_MASTER;
        self.access.write32(function, regs::COMMAND, if on { command | bit } else { command & !bit });
    }
}

/// One function, as the subsystem controls it. None of the devices here has PASIDs, ATS or page requests.
pub struct Control {
    pci: &'static Pci,
    function: Bdf,
}

impl DeviceControl for Control {
    fn bus_master(&self, on: bool) {
        self.pci.bus_master(self.function, on);
    }
    fn pasid(&self, _: Option<u8>) {}
    fn ats(&self, _: Option<u8>) {}
    fn page_requests(&self, _: Option<u32>) {}
    fn reset(&self) -> Result<(), Nanos> {
        Ok(())
    }
}
