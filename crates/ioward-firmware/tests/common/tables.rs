//! DMAR, RIMT and VIOT tables made here.
#![allow(dead_code, reason = "each test file uses its own part")]

use super::build::{Fields, header, seal};

/// A DMAR.
pub struct DmarBuilder(pub Vec<u8>);

impl DmarBuilder {
    /// An empty one: 39 bits of host addresses, and the flags of the table.
    pub fn new(flags: u8) -> Self {
        let mut bytes = header(b"DMAR", 1);
        bytes.extend(Fields::new().u8(38).u8(flags).u64(0).u16(0).0);
        Self(bytes)
    }
    /// A structure with its fixed fields and device scopes.
    pub fn structure(&mut self, kind: u16, body: Fields, scopes: &[Vec<u8>]) -> u32 {
        let at = self.0.len() as u32;
        let scopes = scopes.concat();
        let length = (4 + body.0.len() + scopes.len()) as u16;
        self.0.extend(Fields::new().u16(kind).u16(length).bytes(&body.0).bytes(&scopes).0);
        at
    }
    pub fn drhd(&mut self, flags: u8, segment: u16, base: u64, scopes: &[Vec<u8>]) -> u32 {
        self.structure(0, Fields::new().u8(flags).u8(0).u16(segment).u64(base), scopes)
    }
    pub fn rmrr(&mut self, base: u64, limit: u64, scopes: &[Vec<u8>]) -> u32 {
        self.structure(1, Fields::new().u16(0).u16(0).u64(base).u64(limit), scopes)
    }
    pub fn atsr(&mut self, flags: u8, scopes: &[Vec<u8>]) -> u32 {
        self.structure(2, Fields::new().u8(flags).u8(0).u16(0), scopes)
    }
    pub fn rhsa(&mut self, base: u64, domain: u32) -> u32 {
        self.structure(3, Fields::new().u32(0).u64(base).u32(domain), &[])
    }
    pub fn andd(&mut self, number: u8, name: &[u8]) -> u32 {
        self.structure(4, Fields::new().u16(0).u8(0).u8(number).bytes(name), &[])
    }
    pub fn satc(&mut self, flags: u8, scopes: &[Vec<u8>]) -> u32 {
        self.structure(5, Fields::new().u8(flags).u8(0).u16(0), scopes)
    }
    pub fn sidp(&mut self, scopes: &[Vec<u8>]) -> u32 {
        self.structure(6, Fields::new().u16(0).u16(0), scopes)
    }
    pub fn build(mut self) -> Vec<u8> {
        seal(&mut self.0);
        self.0
    }
}

/// A device scope: 1 endpoint, 2 sub-hierarchy, 3 IOAPIC, 4 HPET, 5 name-space device; path as device and function.
pub fn scope(kind: u8, id: u8, bus: u8, path: &[u8]) -> Vec<u8> {
    scope_with(0, kind, id, bus, path)
}

/// The same with flags.
pub fn scope_with(flags: u8, kind: u8, id: u8, bus: u8, path: &[u8]) -> Vec<u8> {
    let length = 6 + path.len() as u8;
    Fields::new().u8(kind).u8(length).u8(flags).u8(0).u8(id).u8(bus).bytes(path).0
}

/// Every structure and every kind of scope, most of them right.
pub fn every_structure() -> Vec<u8> {
    let mut table = DmarBuilder::new(7);
    table.drhd(0, 0, 0xfed9_0000, &[scope(1, 0, 0, &[2, 0])]);
    let scopes = [
        scope(2, 0, 0, &[0x1c, 0]),
        scope(1, 0, 0, &[0x1c, 1, 0, 0, 3, 1]),
        scope(3, 2, 0xf0, &[0x1f, 0]),
        scope(3, 3, 0, &[0x1c, 0, 0, 0]),
        scope(4, 0, 0, &[0x0f, 0]),
        scope(5, 1, 0, &[0x15, 0]),
        scope(5, 9, 0, &[0x15, 1]),
        scope(9, 0, 0, &[1, 0]),
        scope(1, 0, 0, &[]),
        scope(1, 0, 0, &[1]),
        scope(1, 0, 0, &[0x20, 0]),
    ];
    table.drhd(1, 0, 0xfed9_1000, &scopes);
    table.drhd(1, 0, 0xfed9_1000, &[]);
    table.drhd(1, 0, 0xfed9_2000, &[]);
    table.drhd(0, 1, 0xfed9_1000, &[]);
    table.drhd(0, 0, 0, &[]);
    table.rmrr(0xcdee_5000, 0xcdf0_3fff, &[scope(1, 0, 0, &[0x14, 0])]);
    table.rmrr(0x1234, 0x2234, &[scope(5, 1, 0, &[0x15, 0])]);
    table.rmrr(0x2000, 0x2fff, &[]);
    table.rmrr(0x2000, 0x1fff, &[]);
    table.atsr(1, &[]);
    table.atsr(0, &[scope(2, 0, 0, &[1, 0])]);
    table.rhsa(0xfed9_0000, 1);
    table.rhsa(0x77, 1);
    table.andd(1, b"\\_SB.PCI0.I2C0\0");
    table.andd(1, b"unended");
    table.satc(1, &[scope(1, 0, 0, &[5, 0])]);
    table.sidp(&[scope_with(0x1f, 1, 0, 0, &[5, 0])]);
    table.structure(0, Fields::new().u8(0), &[]);
    table.structure(7, Fields::new(), &[]);
    table.build()
}

/// An ID mapping of a RIMT: source base, number of IDs, destination base, IOMMU, flags.
pub type Mapping = [u32; 5];

/// A RIMT.
pub struct RimtBuilder {
    bytes: Vec<u8>,
    nodes: u32,
}

impl RimtBuilder {
    pub fn new() -> Self {
        let mut bytes = header(b"RIMT", 1);
        bytes.extend(Fields::new().u32(0).u32(48).u32(0).0);
        Self { bytes, nodes: 0 }
    }
    /// Where the next node will start.
    pub fn next(&self) -> u32 {
        self.bytes.len() as u32
    }
    pub fn node(&mut self, kind: u8, body: Fields) -> u32 {
        let at = self.next();
        let length = 8 + body.0.len() as u16;
        let head = Fields::new().u8(kind).u8(1).u16(length).u16(0).u16(self.nodes as u16);
        self.bytes.extend(head.bytes(&body.0).0);
        self.nodes += 1;
        at
    }
    /// An IOMMU, its flags, where it is, and its wires as number and flags.
    pub fn iommu(&mut self, flags: u32, base: u64, function: u16, wires: &[[u32; 2]]) -> u32 {
        let body = Fields::new().bytes(b"RSCV0004").u64(base).u32(flags).u32(7).u16(3).u16(function);
        let body = body.u16(wires.len() as u16).u16(40);
        let body = wires.iter().fold(body, |body, [number, flags]| body.u32(*number).u32(*flags));
        self.node(0, body)
    }
    pub fn complex(&mut self, flags: u32, segment: u16, mappings: &[Mapping]) -> u32 {
        let body = Fields::new().u32(flags).u16(0).u16(segment).u16(20).u16(mappings.len() as u16);
        self.node(1, append(body, mappings))
    }
    pub fn platform(&mut self, name: &[u8], mappings: &[Mapping]) -> u32 {
        let offset = (12 + name.len()) as u16;
        let body = Fields::new().u16(offset).u16(mappings.len() as u16).bytes(name);
        self.node(2, append(body, mappings))
    }
    pub fn build(mut self) -> Vec<u8> {
        self.bytes[36..40].copy_from_slice(&self.nodes.to_le_bytes());
        seal(&mut self.bytes);
        self.bytes
    }
}

fn append(body: Fields, mappings: &[Mapping]) -> Fields {
    mappings.iter().flatten().fold(body, |body, field| body.u32(*field))
}

/// Every node, and most of what can be wrong with one.
pub fn every_rimt_node() -> Vec<u8> {
    let mut table = RimtBuilder::new();
    let unit = table.iommu(2, 0x301_0000, 0, &[[36, 3], [37, 0]]);
    let pci = table.iommu(1, 0, 0x08, &[]);
    table.iommu(0, 0, 0, &[]);
    let mappings = [
        [0, 0x100, 0, unit, 3],
        [0x80, 0x1_0000, 0x80, unit, 0],
        [0x1_0000, 1, 0, pci, 0],
        [0, 0, 0, unit, 0],
        [u32::MAX, 2, 0, unit, 0],
        [0, 1, 0, 0x99, 0],
    ];
    table.complex(3, 0, &mappings);
    table.platform(b"\\_SB.DEV0\0", &[[0, 1, 0x700, pci, 0], [0, 3, 0x800, unit, 1]]);
    table.platform(b"unended", &[]);
    // One mapping where two are announced.
    let body = Fields::new().u32(0).u16(0).u16(0).u16(20).u16(2);
    table.node(1, append(body, &[[0, 1, 0, unit, 0]]).u32(5));
    let body = Fields::new().bytes(b"RSCV0004").u64(0x4000).u32(0).u32(0).u32(0).u16(9).u16(40);
    table.node(0, body);
    table.node(1, Fields::new());
    table.node(7, Fields::new());
    table.build()
}

/// A VIOT.
pub struct ViotBuilder {
    bytes: Vec<u8>,
    nodes: u16,
}

impl ViotBuilder {
    pub fn new() -> Self {
        let mut bytes = header(b"VIOT", 0);
        bytes.extend(Fields::new().u16(0).u16(48).u64(0).0);
        Self { bytes, nodes: 0 }
    }
    pub fn node(&mut self, kind: u8, body: Fields) -> u16 {
        let at = self.bytes.len() as u16;
        let length = 4 + body.0.len() as u16;
        self.bytes.extend(Fields::new().u8(kind).u8(0).u16(length).bytes(&body.0).0);
        self.nodes += 1;
        at
    }
    /// Functions of segments: first endpoint ID, segments, functions, IOMMU.
    pub fn range(&mut self, endpoint: u32, segments: [u16; 2], functions: [u16; 2], iommu: u16) -> u16 {
        let body = Fields::new().u32(endpoint).u16(segments[0]).u16(segments[1]);
        self.node(1, body.u16(functions[0]).u16(functions[1]).u16(iommu).u32(0).u16(0))
    }
    pub fn endpoint(&mut self, endpoint: u32, base: u64, iommu: u16) -> u16 {
        self.node(2, Fields::new().u32(endpoint).u64(base).u16(iommu).u32(0).u16(0))
    }
    pub fn pci(&mut self, segment: u16, function: u16) -> u16 {
        self.node(3, Fields::new().u16(segment).u16(function).u64(0))
    }
    pub fn mmio(&mut self, base: u64) -> u16 {
        self.node(4, Fields::new().u32(0).u64(base))
    }
    pub fn build(mut self) -> Vec<u8> {
        self.bytes[36..38].copy_from_slice(&self.nodes.to_le_bytes());
        seal(&mut self.bytes);
        self.bytes
    }
}

/// Every node, and most of what can be wrong with one.
pub fn every_viot_node() -> Vec<u8> {
    let mut table = ViotBuilder::new();
    let pci = table.pci(0, 0x08);
    let mmio = table.mmio(0xa00_0000);
    table.mmio(0);
    let again = table.mmio(0xa00_0000);
    table.pci(0, 0x08);
    table.range(0, [0, 0], [0, 0xffff], pci);
    table.range(0x100, [1, 2], [0x100, 0x1ff], again);
    table.endpoint(7, 0x1c00_0000, mmio);
    table.endpoint(8, 0x1d00_0000, 0x30 + 1);
    table.range(0, [0, 0], [1, 0], pci);
    table.range(0, [1, 0], [0, 1], pci);
    table.range(0xfffe_0000, [0, 0xffff], [0, 1], pci);
    table.range(0, [0, 0x200], [0, 1], pci);
    table.range(0, [0, 0], [0, 1], 9);
    table.node(1, Fields::new());
    table.node(9, Fields::new());
    table.build()
}
