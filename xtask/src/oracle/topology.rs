//! A machine's PCI devices as a tree, and how QEMU is told of them.

/// What a root port's ACS control register is to hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acs {
    /// There is no capability.
    Absent,
    /// What the kernel sets of itself.
    Kernel,
    /// These bits, by the kernel's `pci=config_acs=`.
    Bits(u8),
}

/// A function that is no bridge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Endpoint {
    /// One of [`PLAIN`], by its index there.
    Plain(usize),
    /// Intel's 82576, with as many virtual functions as it has.
    Igb,
    /// NVMe with virtual functions.
    NvmeWithVirtual,
}

/// Functions that need nothing else, as QEMU's `-device` has them; which are PCI Express where they sit on such a bus differs.
pub const PLAIN: &[&str] = &[
    "edu",
    "e1000e",
    "qemu-xhci",
    "virtio-rng-pci",
    "virtio-net-pci",
    "virtio-serial-pci",
    "nec-usb-xhci",
    "ich9-ahci",
    "pci-testdev",
    "e1000",
    "rtl8139",
    "usb-ehci",
    "vmxnet3",
    "pvscsi",
    "sdhci-pci",
    "ich9-usb-uhci1",
];

/// What sits in a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A root port that others know no quirk of.
    RootPort(Acs),
    /// Intel's root port 3420, which has no ACS capability.
    Ioh,
    /// A switch's upstream port.
    Upstream,
    /// A switch's downstream port.
    Downstream,
    /// PCI Express above, conventional PCI below.
    PciePci,
    /// Conventional on both sides.
    PciBridge,
    /// Intel's bridge of a root complex to conventional PCI.
    Dmi,
    /// Another root bus, with this number.
    Pxb(u8),
    /// No bridge.
    Endpoint(Endpoint),
}

/// A function, and what is behind it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Its device number on its bus.
    pub slot: u8,
    /// Its function number.
    pub function: u8,
    /// Whether the bit for several functions is set in its header, where it is not function 0.
    pub marked: bool,
    /// On the bus behind it.
    pub below: Vec<Node>,
}

impl Node {
    /// The only function of a slot, with nothing behind it.
    pub fn new(kind: Kind, slot: u8) -> Self {
        Self { kind, slot, function: 0, marked: true, below: Vec::new() }
    }

    /// The same as another function.
    pub fn function(mut self, function: u8) -> Self {
        self.function = function;
        self
    }

    /// The same with these behind it.
    pub fn with(mut self, below: impl IntoIterator<Item = Node>) -> Self {
        self.below.extend(below);
        self
    }
}

/// A machine's devices beside those that it always has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topology {
    /// Its name.
    pub name: String,
    /// On the first root bus, other root buses included.
    pub roots: Vec<Node>,
}

impl Topology {
    /// Whether it has more than one root bus.
    pub fn has_pxb(&self) -> bool {
        self.roots.iter().any(|node| matches!(node.kind, Kind::Pxb(_)))
    }

    /// QEMU's arguments for it.
    pub fn arguments(&self) -> Vec<String> {
        let mut writer = Writer { arguments: Vec::new(), next: 0 };
        writer.bus("pcie.0", &self.roots);
        writer.arguments
    }

    /// What the kernel's command line says about it.
    pub fn append(&self) -> String {
        let mut ports = Vec::new();
        for node in &self.roots {
            match node.kind {
                Kind::Pxb(bus) => node.below.iter().for_each(|node| ports.extend(configured(bus, node))),
                _ => ports.extend(configured(0, node)),
            }
        }
        if ports.is_empty() { String::new() } else { format!("pci=config_acs={}", ports.join(";")) }
    }
}

/// Seven bits, the highest first, and the function that they are for.
fn configured(bus: u8, node: &Node) -> Option<String> {
    let Kind::RootPort(Acs::Bits(bits)) = node.kind else { return None };
    Some(format!("{:07b}@0000:{bus:02x}:{:02x}.{}", bits & 0x7f, node.slot, node.function))
}

struct Writer {
    arguments: Vec<String>,
    next: u32,
}

impl Writer {
    fn bus(&mut self, bus: &str, nodes: &[Node]) {
        for node in nodes {
            let several =
                nodes.iter().any(|other| other.slot == node.slot && other.function != node.function);
            let id = format!("d{}", self.next);
            self.next += 1;
            let chassis = self.next;
            let port = format!("chassis={chassis},slot={chassis}");
            // Room for I/O ports is little, and firmware stops when it runs out of it.
            let what = match node.kind {
                Kind::RootPort(Acs::Absent) => format!("pcie-root-port,disable-acs=on,io-reserve=0,{port}"),
                Kind::RootPort(_) => format!("pcie-root-port,io-reserve=0,{port}"),
                Kind::Ioh => format!("ioh3420,{port}"),
                Kind::Upstream => "x3130-upstream".into(),
                Kind::Downstream => format!("xio3130-downstream,{port}"),
                Kind::PciePci => "pcie-pci-bridge".into(),
                Kind::PciBridge => format!("pci-bridge,chassis_nr={chassis}"),
                Kind::Dmi => "i82801b11-bridge".into(),
                Kind::Pxb(number) => format!("pxb-pcie,bus_nr={number}"),
                Kind::Endpoint(Endpoint::Plain(index)) => PLAIN[index % PLAIN.len()].into(),
                Kind::Endpoint(Endpoint::Igb) => "igb".into(),
                Kind::Endpoint(Endpoint::NvmeWithVirtual) => {
                    self.arguments.extend(["-device".into(), format!("nvme-subsys,id=s{id}")]);
                    format!(
                        "nvme,serial={id},subsys=s{id},sriov_max_vfs=3,sriov_vq_flexible=6,sriov_vi_flexible=3,\
                         max_ioqpairs=9,msix_qsize=9"
                    )
                }
            };
            let mark = if several && (node.function == 0 || node.marked) { ",multifunction=on" } else { "" };
            self.arguments.extend([
                "-device".into(),
                format!("{what},id={id},bus={bus},addr={:02x}.{}{mark}", node.slot, node.function),
            ]);
            self.bus(&id, &node.below);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_becomes_arguments_parents_first() {
        let edu = || Node::new(Kind::Endpoint(Endpoint::Plain(0)), 0);
        let mut second = Node::new(Kind::RootPort(Acs::Bits(0b1_0110)), 3).function(2);
        second.marked = false;
        let topology = Topology {
            name: "t".into(),
            roots: vec![
                Node::new(Kind::RootPort(Acs::Absent), 3).with([edu(), edu().function(1)]),
                second,
                Node::new(Kind::Pxb(0x40), 5).with([Node::new(Kind::RootPort(Acs::Bits(0)), 1)]),
            ],
        };
        let arguments = topology.arguments();
        assert_eq!(
            arguments.iter().filter(|word| *word != "-device").map(String::as_str).collect::<Vec<_>>(),
            [
                "pcie-root-port,disable-acs=on,io-reserve=0,chassis=1,slot=1,id=d0,bus=pcie.0,addr=03.0,multifunction=on",
                "edu,id=d1,bus=d0,addr=00.0,multifunction=on",
                "edu,id=d2,bus=d0,addr=00.1,multifunction=on",
                "pcie-root-port,io-reserve=0,chassis=4,slot=4,id=d3,bus=pcie.0,addr=03.2",
                "pxb-pcie,bus_nr=64,id=d4,bus=pcie.0,addr=05.0",
                "pcie-root-port,io-reserve=0,chassis=6,slot=6,id=d5,bus=d4,addr=01.0",
            ]
        );
        assert_eq!(topology.append(), "pci=config_acs=0010110@0000:00:03.2;0000000@0000:40:01.0");
        assert!(topology.has_pxb());
    }
}
