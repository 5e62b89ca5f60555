//! Tables made here: what firmware would write, and what it should not.
#![allow(dead_code, reason = "each test file uses its own part")]

/// Sets length and checksum of an ACPI table.
pub fn seal(table: &mut [u8]) {
    let length = table.len() as u32;
    table[4..8].copy_from_slice(&length.to_le_bytes());
    table[9] = 0;
    table[9] = table.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
}

/// A header of 36 bytes.
pub fn header(signature: &[u8; 4], revision: u8) -> Vec<u8> {
    let mut bytes = signature.to_vec();
    bytes.extend([0; 4]);
    bytes.extend([revision, 0]);
    bytes.extend(b"IOWARD");
    bytes.extend(b"IOWARD01");
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(b"TEST");
    bytes.extend(1u32.to_le_bytes());
    bytes
}

/// Little-endian fields one after the other.
#[derive(Clone, Default)]
pub struct Fields(pub Vec<u8>);

impl Fields {
    pub fn new() -> Self {
        Self::default()
    }
    pub fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }
    pub fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }
    pub fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }
    pub fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }
    pub fn bytes(mut self, value: &[u8]) -> Self {
        self.0.extend(value);
        self
    }
}

/// An ID mapping: input base, count less one, output base, reference, flags.
pub type Mapping = [u32; 5];

/// An IORT.
pub struct IortBuilder {
    bytes: Vec<u8>,
    nodes: u32,
}

impl IortBuilder {
    pub fn new() -> Self {
        let mut bytes = header(b"IORT", 6);
        bytes.extend(Fields::new().u32(0).u32(48).u32(0).0);
        Self { bytes, nodes: 0 }
    }
    /// Where the next node will start.
    pub fn next(&self) -> u32 {
        self.bytes.len() as u32
    }
    pub fn node(&mut self, kind: u8, revision: u8, body: Fields, mappings: &[Mapping]) -> u32 {
        let at = self.next();
        let offset = 16 + body.0.len() as u32;
        let length = offset + 20 * mappings.len() as u32;
        let head = Fields::new().u8(kind).u16(length as u16).u8(revision).u32(self.nodes);
        self.bytes.extend(head.u32(mappings.len() as u32).u32(offset).bytes(&body.0).0);
        for mapping in mappings {
            mapping.iter().for_each(|field| self.bytes.extend(field.to_le_bytes()));
        }
        self.nodes += 1;
        at
    }
    pub fn its(&mut self, ids: &[u32]) -> u32 {
        let body = ids.iter().fold(Fields::new().u32(ids.len() as u32), |body, id| body.u32(*id));
        self.node(0, 1, body, &[])
    }
    pub fn named(&mut self, name: &str, flags: u32, mappings: &[Mapping]) -> u32 {
        let body = Fields::new().u32(flags).u32(1).u32(0x0300_0000).u8(40).bytes(name.as_bytes()).u8(0);
        self.node(1, 4, body, mappings)
    }
    pub fn root(&mut self, segment: u32, revision: u8, mappings: &[Mapping]) -> u32 {
        let body = Fields::new().u32(1).u32(0x0300_0000).u32(1).u32(segment).u8(48).u16(16).u8(0);
        self.node(2, revision, body, mappings)
    }
    pub fn smmu(&mut self, model: u32, mappings: &[Mapping]) -> u32 {
        let body = Fields::new().u64(0x1000_0000).u64(0x1_0000).u32(model).u32(0).u32(60).u32(1).u32(76);
        let body = body.u32(1).u32(84).u32(5).u32(0).u32(6).u32(1).u64(7).u64(8);
        self.node(3, 3, body, mappings)
    }
    pub fn smmu_v3(&mut self, base: u64, flags: u32, model: u32, index: u32, mappings: &[Mapping]) -> u32 {
        let body = Fields::new().u64(base).u32(flags).u32(0).u64(0).u32(model);
        let body = body.u32(74).u32(0).u32(75).u32(76).u32(0).u32(index);
        self.node(4, 4, body, mappings)
    }
    pub fn rmr(&mut self, flags: u32, ranges: &[(u64, u64)], mappings: &[Mapping]) -> u32 {
        let body = Fields::new().u32(flags).u32(ranges.len() as u32).u32(28);
        let body = ranges.iter().fold(body, |body, (base, bytes)| body.u64(*base).u64(*bytes).u32(0));
        self.node(6, 3, body, mappings)
    }
    pub fn build(mut self) -> Vec<u8> {
        self.bytes[36..40].copy_from_slice(&self.nodes.to_le_bytes());
        seal(&mut self.bytes);
        self.bytes
    }
}

/// An IVRS.
pub struct IvrsBuilder(pub Vec<u8>);

impl IvrsBuilder {
    pub fn new() -> Self {
        let mut bytes = header(b"IVRS", 2);
        bytes.extend(Fields::new().u32(0x0020_3040).u64(0).0);
        Self(bytes)
    }
    /// A hardware definition; `kind` 10h, 11h or 40h.
    pub fn hardware(&mut self, kind: u8, device: u16, base: u64, features: u32, entries: &[&[u8]]) -> u32 {
        let at = self.0.len() as u32;
        let entries = entries.concat();
        let fixed = if kind == 0x10 { 24 } else { 40 };
        let length = (fixed + entries.len()) as u16;
        let head = Fields::new().u8(kind).u8(0x30).u16(length).u16(device).u16(0x40).u64(base);
        let mut head = head.u16(0).u16(0).u32(features);
        if kind != 0x10 {
            head = head.u64(0x2254_ade0 | 1 << 9).u64(0x10);
        }
        self.0.extend(head.bytes(&entries).0);
        at
    }
    pub fn memory(&mut self, kind: u8, flags: u8, device: u16, last: u16, start: u64, bytes: u64) -> u32 {
        let at = self.0.len() as u32;
        let block =
            Fields::new().u8(kind).u8(flags).u16(32).u16(device).u16(last).u64(0).u64(start).u64(bytes);
        self.0.extend(block.0);
        at
    }
    pub fn build(mut self) -> Vec<u8> {
        seal(&mut self.0);
        self.0
    }
}

/// A device entry of 4 bytes.
pub fn entry(kind: u8, device: u16) -> Vec<u8> {
    Fields::new().u8(kind).u16(device).u8(0).0
}

/// A device entry of 8 bytes with an alias.
pub fn alias(kind: u8, device: u16, source: u16) -> Vec<u8> {
    Fields::new().u8(kind).u16(device).u8(0).u8(0).u16(source).u8(0).0
}

/// A device entry of 8 bytes with extended data.
pub fn extended(kind: u8, device: u16, data: u32) -> Vec<u8> {
    Fields::new().u8(kind).u16(device).u8(0xd7).u32(data).0
}

/// A special device.
pub fn special(handle: u8, source: u16, variety: u8) -> Vec<u8> {
    Fields::new().u8(0x48).u16(0).u8(0).u8(handle).u16(source).u8(variety).0
}

/// An ACPI-named device.
pub fn named(device: u16, hid: &[u8; 8], format: u8, uid: &[u8]) -> Vec<u8> {
    let fields = Fields::new().u8(0xf0).u16(device).u8(0).bytes(hid).u64(0).u8(format);
    fields.u8(uid.len() as u8).bytes(uid).0
}

/// A flattened device tree.
pub struct TreeBuilder {
    structure: Vec<u8>,
    strings: Vec<u8>,
}

impl TreeBuilder {
    /// Begins the root, with two cells each.
    pub fn new() -> Self {
        let mut tree = Self { structure: Vec::new(), strings: Vec::new() };
        tree.begin("").cells("#address-cells", &[2]).cells("#size-cells", &[2]);
        tree
    }
    fn word(&mut self, word: u32) {
        self.structure.extend(word.to_be_bytes());
    }
    fn pad(&mut self) {
        while !self.structure.len().is_multiple_of(4) {
            self.structure.push(0);
        }
    }
    pub fn begin(&mut self, name: &str) -> &mut Self {
        self.word(1);
        self.structure.extend(name.as_bytes());
        self.structure.push(0);
        self.pad();
        self
    }
    pub fn end(&mut self) -> &mut Self {
        self.word(2);
        self
    }
    /// A token by its number.
    pub fn token(&mut self, token: u32) -> &mut Self {
        self.word(token);
        self
    }
    pub fn property(&mut self, name: &str, value: &[u8]) -> &mut Self {
        self.word(3);
        self.word(value.len() as u32);
        let offset = self.strings.len() as u32;
        self.word(offset);
        self.strings.extend(name.as_bytes());
        self.strings.push(0);
        self.structure.extend(value);
        self.pad();
        self
    }
    pub fn cells(&mut self, name: &str, cells: &[u32]) -> &mut Self {
        let bytes: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
        self.property(name, &bytes)
    }
    pub fn text(&mut self, name: &str, text: &str) -> &mut Self {
        self.property(name, format!("{text}\0").as_bytes())
    }
    pub fn flag(&mut self, name: &str) -> &mut Self {
        self.property(name, &[])
    }
    /// Ends the root and adds header and end token.
    pub fn build(&mut self) -> Vec<u8> {
        self.end().token(9).blob()
    }
    /// The blob as it stands, whatever that is.
    pub fn blob(&mut self) -> Vec<u8> {
        let (structure, strings) = (self.structure.len() as u32, self.strings.len() as u32);
        let header = [
            0xd00d_feed,
            56 + structure + strings,
            56,
            56 + structure,
            40,
            17,
            16,
            0,
            strings,
            structure,
            // The memory reservation block: one empty entry.
            0,
            0,
            0,
            0,
        ];
        let mut blob: Vec<u8> = header.iter().flat_map(|word: &u32| word.to_be_bytes()).collect();
        blob.extend(&self.structure);
        blob.extend(&self.strings);
        blob
    }
}
