//! Functions by hand, for topologies on paper.
#![allow(dead_code)]

use ioward_pci::{
    Acs, AcsBits, Bdf, EgressVector, Fact, Function, PortType, Topology,
    function::{Ari, Express, Header, Ids, PasidCap, SrIov},
};

/// What Linux turns on.
pub const ALL: AcsBits = AcsBits::ISOLATION;

pub fn at(name: &str) -> Bdf {
    name.parse().unwrap()
}

/// An endpoint on a root bus without any capability, as integrated devices of older machines are.
pub fn plain(name: &str) -> Function {
    Function::bare(at(name))
}

pub fn express(name: &str, kind: PortType) -> Function {
    Function { express: Fact::Present(Express::of(kind)), ..plain(name) }
}

pub fn endpoint(name: &str) -> Function {
    express(name, PortType::Endpoint)
}

pub fn integrated(name: &str) -> Function {
    express(name, PortType::IntegratedEndpoint)
}

fn bridge(mut function: Function, secondary: u8, subordinate: u8) -> Function {
    let primary = function.at.bus;
    function.header = Header::Bridge { primary, secondary, subordinate, cardbus: false };
    function.class = Some(0x0604);
    function
}

pub fn root_port(name: &str, secondary: u8, subordinate: u8) -> Function {
    bridge(express(name, PortType::RootPort), secondary, subordinate)
}

pub fn upstream(name: &str, secondary: u8, subordinate: u8) -> Function {
    bridge(express(name, PortType::UpstreamPort), secondary, subordinate)
}

pub fn downstream(name: &str, secondary: u8, subordinate: u8) -> Function {
    bridge(express(name, PortType::DownstreamPort), secondary, subordinate)
}

pub fn to_conventional(name: &str, secondary: u8, subordinate: u8) -> Function {
    bridge(express(name, PortType::ToConventional), secondary, subordinate)
}

pub fn conventional_bridge(name: &str, secondary: u8, subordinate: u8) -> Function {
    bridge(plain(name), secondary, subordinate)
}

pub trait With {
    /// An ACS capability with these bits, of which `control` are set.
    fn acs(self, capability: AcsBits, control: AcsBits) -> Self;
    fn multi(self) -> Self;
    fn ids(self, vendor: u16, device: u16) -> Self;
    fn pasid(self, bits: u8) -> Self;
    fn sriov(self, count: u16, offset: u16, stride: u16) -> Self;
    fn ari(self) -> Self;
    fn forwards_ari(self) -> Self;
    fn phantoms(self, bits: u8) -> Self;
    fn egress(self, all: bool) -> Self;
    /// An egress control vector of eight bits.
    fn vector(self, bits: u8) -> Self;
    fn port(self, number: u8) -> Self;
    fn memory(self) -> Self;
    fn acs_group(self, group: u8) -> Self;
}

impl With for Function {
    fn acs(mut self, capability: AcsBits, control: AcsBits) -> Self {
        let acs = Acs { capability: Some(capability), control: Some(control), ..Acs::default() };
        self.acs = Fact::Present(acs);
        self
    }
    fn multi(mut self) -> Self {
        self.multifunction = Some(true);
        self
    }
    fn ids(mut self, vendor: u16, device: u16) -> Self {
        self.ids = Some(Ids { vendor, device });
        self
    }
    fn pasid(mut self, bits: u8) -> Self {
        self.pasid = Fact::Present(PasidCap { bits: Some(bits), ..PasidCap::default() });
        self
    }
    fn sriov(mut self, count: u16, offset: u16, stride: u16) -> Self {
        self.sriov = Fact::Present(SrIov {
            enabled: true,
            total: count,
            count,
            offset,
            stride,
            device: 0x1000,
            ..SrIov::default()
        });
        self
    }
    fn ari(mut self) -> Self {
        self.ari = Fact::Present(Ari::default());
        self
    }
    fn forwards_ari(mut self) -> Self {
        if let Fact::Present(express) = &mut self.express {
            express.ari_forwarding = Some(true);
        }
        self
    }
    fn phantoms(mut self, bits: u8) -> Self {
        if let Fact::Present(express) = &mut self.express {
            (express.phantom_bits, express.phantom_enabled) = (bits, true);
        }
        self
    }
    fn egress(self, all: bool) -> Self {
        self.vector(if all { 0xff } else { 0 })
    }
    fn vector(mut self, bits: u8) -> Self {
        if let Fact::Present(acs) = &mut self.acs {
            acs.egress = Some(EgressVector { bits: 8, words: [bits.into(), 0, 0, 0, 0, 0, 0, 0] });
        }
        self
    }
    fn port(mut self, number: u8) -> Self {
        if let Fact::Present(express) = &mut self.express {
            express.port_number = Some(number);
        }
        self
    }
    fn memory(mut self) -> Self {
        self.memory = Some(true);
        self
    }
    fn acs_group(mut self, group: u8) -> Self {
        self.ari = Fact::Present(Ari { next: None, acs_group: Some(group) });
        self
    }
}

pub fn topology(functions: impl IntoIterator<Item = Function>) -> Topology {
    let topology = Topology::new(functions.into_iter().collect(), Vec::new());
    assert_eq!(topology.findings(), []);
    topology
}
