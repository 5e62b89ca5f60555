//! The machine as every suite of checks finds it: firmware's facts and the bus joined, every IOMMU brought up, every source
//! blocked; and the subsystem over all that.

use crate::{
    Boot, broken,
    iommus::{self, Wishes},
    pci::Pci,
    platform::Kernel,
    say,
};
use alloc::{
    boxed::Box,
    format,
    string::{String, ToString as _},
    sync::Arc,
    vec::Vec,
};
use ioward::{
    core::{DefaultKind, Device, Policy, Subsystem, driver::Driver},
    discover::{self, Bus, Facts, Machine, Place, Serving},
    pci::Bdf,
    types::{
        IommuId, SourceId,
        describe::{Fact, Severity},
    },
};

/// What is there before anything is done with it.
pub struct Stage {
    /// The kernel's command line.
    pub line: &'static str,
    /// Whether every device is let through: the negative control.
    pub bypass: bool,
    /// The bus, and every function on it.
    pub pci: &'static Pci,
    /// What firmware says.
    facts: Arc<Facts<'static>>,
    /// The bus as discovery took it.
    pub bus: Bus,
    /// What discovery made of firmware and bus.
    pub machine: Machine,
    /// A driver for each IOMMU.
    pub drivers: Vec<Arc<dyn Driver>>,
}

impl Stage {
    /// Reads firmware's tables and the bus, and brings the IOMMUs up.
    ///
    /// # Safety
    /// As [`crate::run`].
    pub unsafe fn set(boot: &Boot) -> Result<Self, String> {
        let mut facts = Facts::new();
        let tables = broken::tables(boot.line, boot.tables)?;
        for (table, bytes) in tables.iter().filter(|(_, bytes)| !bytes.is_empty()) {
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
        let is_there = |word| boot.line.split(' ').any(|other| other == word);
        let bypass = is_there("bypass");
        let wishes = Wishes {
            interrupts: is_there("run=interrupts") && !bypass,
            astray: is_there(broken::QUEUE_BASE),
        };
        // SAFETY: the registers that firmware names are mapped where they are.
        let drivers = unsafe { iommus::bring_up(&machine, pci, wishes) }
            .map_err(|why| format!("{why}; {}", pci.all_off()))?;
        Ok(Self { line: boot.line, bypass, pci, facts: Arc::new(facts), bus, machine, drivers })
    }

    /// The same machine once its bus has changed.
    pub fn again(&self) -> Self {
        let bus = self.pci.bus();
        let machine = discover::join(&self.facts, &bus);
        let (facts, drivers) = (self.facts.clone(), self.drivers.clone());
        Self { facts, bus, machine, drivers, ..*self }
    }

    /// The IOMMU that serves a function, and as what that sees it. An error says why the function stays off.
    pub fn served(&self, function: Bdf) -> Result<(IommuId, SourceId), String> {
        let name = function.to_string();
        let device = self.machine.devices.iter().find(|device| device.name == name);
        let device = device.ok_or_else(|| format!("{name} was not discovered"))?;
        match (&device.serving, &device.sources[..]) {
            (Serving::Unserved(why), _) => {
                Err(format!("{name} stays off, since nothing can block it: {why}"))
            }
            (Serving::Refused, _) => Err(format!("{name} stays off: firmware contradicts itself about it")),
            (Serving::Served, [one]) => Ok(*one),
            (Serving::Served, several) => Err(format!("{name} is served by {several:?}")),
        }
    }

    /// A subsystem over all IOMMUs, and every device that they serve added to it.
    pub fn add_all(&self) -> Result<Added, String> {
        let trusted = if self.bypass { DefaultKind::Identity } else { DefaultKind::Paging };
        self.add_all_under(Policy { trusted, ..Policy::default() })
    }

    /// As [`add_all`](Self::add_all), under a policy of the caller's.
    pub fn add_all_under(&self, policy: Policy) -> Result<Added, String> {
        let subsystem = Subsystem::with_policy(Kernel, policy);
        for driver in &self.drivers {
            subsystem.register(driver.clone()).map_err(|why| why.to_string())?;
        }
        let mut added = Added { subsystem, devices: Vec::new() };
        self.machine.devices.iter().for_each(|device| self.add(&mut added, device));
        Ok(added)
    }

    fn add(&self, added: &mut Added, device: &discover::Device) {
        let Place::Bus(index) = device.place else { return };
        let Some(at) = self.bus.functions[index].at else { return };
        let function = Bdf::of_requester(0, at.requester);
        let Some(desc) = device.desc(Arc::new(self.pci.control(function))) else {
            // Firmware contradicts itself about it: it is not to be used.
            return self.pci.bus_master(function, false);
        };
        let device = added.subsystem.add(&desc);
        say!("device {} {:?}", desc.name, device.status());
        added.devices.push((function, device));
    }

    /// Adds a function that has come to the bus since.
    pub fn add_late(&self, added: &mut Added, function: Bdf) -> Result<(), String> {
        let name = function.to_string();
        let device = self.machine.usable().find(|device| device.name == name);
        self.add(added, device.ok_or_else(|| format!("{name} was not discovered, or is refused"))?);
        Ok(())
    }
}

/// The subsystem with its devices.
pub struct Added {
    /// The subsystem.
    pub subsystem: Subsystem<Kernel>,
    /// Every device that was added, by its function.
    pub devices: Vec<(Bdf, Device<Kernel>)>,
}

impl Added {
    /// A function's device.
    pub fn device(&self, function: Bdf) -> Result<&Device<Kernel>, String> {
        let found = self.devices.iter().find(|(at, _)| *at == function);
        found.map(|(_, device)| device).ok_or_else(|| format!("{function} was not added"))
    }

    /// Takes a function's device out of the list.
    pub fn take(&mut self, function: Bdf) -> Result<Device<Kernel>, String> {
        let place = self.devices.iter().position(|(at, _)| *at == function);
        let place = place.ok_or_else(|| format!("{function} was not added"))?;
        Ok(self.devices.swap_remove(place).1)
    }
}
