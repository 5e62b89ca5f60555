//! What a system says of one function, before anybody interprets it.
//!
//! This is what sysfs holds and what a snapshot keeps; [`Record::function`] is the one place where it becomes a
//! [`Function`].

use ioward::pci::{
    Bdf, ConfigSpace, Finding, Function, config,
    function::{Header, Ids},
    regs,
};

/// What configuration space holds at least; a user without rights sees no more.
pub const HEADER_BYTES: usize = 64;

/// Whether a device can be taken out by its user (`removable` in sysfs).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Removable {
    /// It can: it is, for example, behind a Thunderbolt port.
    Removable,
    /// It is built in.
    Fixed,
}

/// One function, as far as a system tells.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Record {
    /// Where it is.
    pub at: Bdf,
    /// Configuration space from offset 0, as many bytes as could be read: 4096, 256, 64 or none.
    pub config: Vec<u8>,
    /// Vendor and device ID. Those of a virtual function are not in its configuration space.
    pub ids: Option<Ids>,
    /// Vendor and device ID of the subsystem.
    pub subsystem: Option<Ids>,
    /// Base class (15:8) and subclass (7:0).
    pub class: Option<u16>,
    /// For a bridge, the bus it leads to and the last one below it.
    pub buses: Option<(u8, u8)>,
    /// The driver that is bound to it.
    pub driver: Option<String>,
    /// The kernel's own IOMMU group.
    pub group: Option<u32>,
    /// The NUMA node; none where there is one only.
    pub numa_node: Option<u32>,
    /// Whether it can be taken out; none where the kernel does not tell.
    pub removable: Option<Removable>,
    /// For a virtual function, its physical one.
    pub physical: Option<Bdf>,
}

/// How much of a function's configuration space a record has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// Capabilities too.
    Whole,
    /// The header only.
    Header,
    /// All ones: the function does not answer.
    AllOnes,
    /// Nothing.
    None,
}

impl Record {
    /// A record of which nothing is known.
    pub fn new(at: Bdf) -> Self {
        Self { at, ..Self::default() }
    }

    /// How much of configuration space is there.
    pub fn extent(&self) -> Extent {
        match self.config.len() {
            0..HEADER_BYTES => Extent::None,
            // A virtual function has all ones as its IDs, but not as its command register and class.
            _ if self.config[..HEADER_BYTES].iter().all(|byte| *byte == 0xff) => Extent::AllOnes,
            HEADER_BYTES => Extent::Header,
            _ => Extent::Whole,
        }
    }

    /// The function, as far as it can be told; never fails. What is wrong is added to `findings`.
    pub fn function(&self, findings: &mut Vec<Finding>) -> Function {
        let read = match self.extent() {
            Extent::Whole | Extent::Header => {
                let space = Identified { config: &self.config, ids: self.ids };
                config::read(&space, self.at, findings)
            }
            Extent::AllOnes | Extent::None => None,
        };
        let mut function = read.unwrap_or_else(|| self.unread());
        function.ids = function.ids.or(self.ids);
        function.subsystem = function.subsystem.or(self.subsystem);
        function.class = function.class.or(self.class);
        function.driver.clone_from(&self.driver);
        function.linux_group = self.group;
        function.physical = self.physical;
        function
    }

    /// What the rest of the record tells of a function whose configuration space nobody read.
    fn unread(&self) -> Function {
        let mut function = Function::unseen(self.at);
        let bridge = self.class.is_some_and(|class| matches!(class, 0x0604 | 0x0607));
        function.header = match self.buses {
            Some((secondary, subordinate)) if secondary != 0 => Header::Bridge {
                primary: self.at.bus,
                secondary,
                subordinate,
                cardbus: self.class == Some(0x0607),
            },
            _ if bridge => Header::BridgeUnseen,
            _ => Header::Endpoint,
        };
        function
    }
}

/// Configuration space with the IDs that the kernel knows in place of those that a virtual function does not show (PCI
/// Express Base 6.0, section 9.3.4.1.1).
struct Identified<'a> {
    config: &'a [u8],
    ids: Option<Ids>,
}

impl ConfigSpace for Identified<'_> {
    fn read32(&self, offset: u16) -> Option<u32> {
        let word = self.config.read32(offset)?;
        match (offset, self.ids) {
            (regs::ID, Some(ids)) if word as u16 == u16::MAX => {
                Some(u32::from(ids.device) << 16 | u32::from(ids.vendor))
            }
            _ => Some(word),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ioward::pci::Fact;

    fn header(vendor: u16, device: u16) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[..2].copy_from_slice(&vendor.to_le_bytes());
        bytes[2..4].copy_from_slice(&device.to_le_bytes());
        bytes[0x0a..0x0c].copy_from_slice(&0x0200_u16.to_le_bytes());
        bytes[6] = 0x10;
        bytes[0x34] = 0x40;
        bytes
    }

    #[test]
    fn a_header_alone_leaves_capabilities_unseen() {
        let record = Record { config: header(0x8086, 0x1572), ..Record::new(Bdf::new(0, 1, 0, 0)) };
        let mut findings = Vec::new();
        let function = record.function(&mut findings);
        assert_eq!(record.extent(), Extent::Header);
        assert_eq!(function.ids, Some(Ids { vendor: 0x8086, device: 0x1572 }));
        assert_eq!(function.express, Fact::Unseen);
        assert_eq!(function.class, Some(0x0200));
    }

    #[test]
    fn a_virtual_function_has_the_ids_that_the_kernel_knows() {
        let ids = Some(Ids { vendor: 0x8086, device: 0x154c });
        let record = Record { config: header(0xffff, 0xffff), ids, ..Record::new(Bdf::new(0, 1, 2, 0)) };
        let function = record.function(&mut Vec::new());
        assert_eq!((function.ids, function.class), (ids, Some(0x0200)));
    }

    #[test]
    fn a_function_that_does_not_answer_is_unseen_and_keeps_its_buses() {
        let mut record = Record { config: vec![0xff; 256], ..Record::new(Bdf::new(0, 0, 0x1c, 0)) };
        (record.class, record.buses) = (Some(0x0604), Some((3, 5)));
        assert_eq!(record.extent(), Extent::AllOnes);
        let function = record.function(&mut Vec::new());
        assert_eq!(function.express, Fact::Unseen);
        assert_eq!(
            function.header,
            Header::Bridge { primary: 0, secondary: 3, subordinate: 5, cardbus: false }
        );
        record.buses = None;
        assert_eq!(record.function(&mut Vec::new()).header, Header::BridgeUnseen);
    }
}
