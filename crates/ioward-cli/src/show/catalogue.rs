//! A machine's functions as people call them.

use ioward::pci::{Bdf, Function};
use ioward_host::{Machine, Names, names};

/// A machine with the names of its functions.
pub struct Catalogue<'a> {
    /// The machine.
    pub machine: &'a Machine,
    names: Names,
    /// There is one segment, 0, so nobody needs to read it.
    short: bool,
}

impl<'a> Catalogue<'a> {
    /// With the system's list of names.
    pub fn new(machine: &'a Machine) -> Self {
        let short = machine.topology.functions().iter().all(|function| function.at.segment == 0);
        Self { machine, names: Names::system(), short }
    }

    /// A function by its place.
    pub fn function(&self, at: Bdf) -> Option<&'a Function> {
        let topology = &self.machine.topology;
        topology.find(at).map(|index| &topology.functions()[index])
    }

    /// Its place, without the segment where there is one only.
    pub fn at(&self, at: Bdf) -> String {
        self.shorten(&at.to_string())
    }

    /// Words with places in them, which lose their segments where there is one only.
    pub fn shorten(&self, text: &str) -> String {
        if self.short { text.replace("0000:", "") } else { text.to_owned() }
    }

    /// Places in one line; the first `most` of many.
    pub fn list(&self, places: &[Bdf], most: usize) -> String {
        // "And 1 more" is as long as that one.
        let most = if places.len() == most + 1 { most + 1 } else { most };
        let shown: Vec<String> = places.iter().take(most).map(|&at| self.at(at)).collect();
        match places.len().saturating_sub(most) {
            0 => shown.join(", "),
            more => format!("{} and {more} more", shown.join(", ")),
        }
    }

    /// Vendor and device.
    pub fn name(&self, at: Bdf) -> String {
        self.function(at).map_or_else(String::new, |function| self.names.function(function))
    }

    /// Class, vendor, device, much as `lspci` says it.
    pub fn words(&self, at: Bdf) -> String {
        match self.function(at) {
            Some(function) => {
                format!("{}: {}", names::class(function), names::brief(&self.names.function(function)))
            }
            None => "not on the bus".to_owned(),
        }
    }
}
