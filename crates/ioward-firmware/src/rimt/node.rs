//! The raw view: nodes and their fields, at the offsets of the RIMT specification 1.0, chapter 2.

use crate::{Raw, acpi, view::view};

/// Offsets in the table after its header.
mod table {
    pub const NODE_COUNT: u32 = 36;
    pub const NODE_OFFSET: u32 = 40;
    pub const RESERVED: u32 = 44;
    pub const BYTES: u32 = 48;
}

/// Offsets in every node.
mod field {
    pub const TYPE: u32 = 0;
    pub const REVISION: u32 = 1;
    pub const LENGTH: u32 = 2;
    pub const RESERVED: u32 = 4;
    pub const ID: u32 = 6;
    pub const BYTES: u32 = 8;
}

/// A whole table, as it is.
#[derive(Clone, Copy, Debug)]
pub struct Rimt<'a>(pub(super) Raw<'a>);

impl<'a> Rimt<'a> {
    /// The least bytes of a table: header and the three fields after it.
    pub const LEAST: u32 = table::BYTES;

    /// A view of the bytes, whatever they are.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(Raw::new(bytes))
    }
    /// The ACPI header.
    pub fn header(&self) -> acpi::Header<'a> {
        acpi::Header::new(self.0)
    }
    /// How many nodes there should be.
    pub fn node_count(&self) -> u32 {
        self.0.u32(table::NODE_COUNT)
    }
    /// Where the first node starts.
    pub fn node_offset(&self) -> u32 {
        self.0.u32(table::NODE_OFFSET)
    }
    /// Nothing.
    pub fn reserved(&self) -> u32 {
        self.0.u32(table::RESERVED)
    }
    /// The nodes one after the other, as many as there should be, up to the first that cannot have another behind it:
    /// one shorter than a node's header or cut off by the table's end, which is the last to be shown.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'a>> + use<'a> {
        let this = *self;
        let mut next = Some(self.node_offset());
        (0..self.node_count()).map_while(move |_| {
            let at = next.take().filter(|at| *at < this.0.len())?;
            let length = this.0.from(at).u16(field::LENGTH);
            let node = Node { raw: this.0.window(at, length.into()), table: this.0 };
            if !node.is_cut() {
                next = at.checked_add(length.into());
            }
            Some(node)
        })
    }
}

/// A node, as it is: at most as long as its length field says.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    pub(super) raw: Raw<'a>,
    table: Raw<'a>,
}

impl<'a> Node<'a> {
    /// The bytes of a node's header.
    pub const HEADER: u32 = field::BYTES;

    /// Where it starts.
    pub fn at(&self) -> u32 {
        self.raw.at()
    }
    /// What it is.
    pub fn kind(&self) -> u8 {
        self.head().u8(field::TYPE)
    }
    /// The revision of its layout.
    pub fn revision(&self) -> u8 {
        self.head().u8(field::REVISION)
    }
    /// Its bytes, by its own word.
    pub fn length(&self) -> u16 {
        self.head().u16(field::LENGTH)
    }
    /// Nothing.
    pub fn reserved(&self) -> u16 {
        self.head().u16(field::RESERVED)
    }
    /// Its number, unique in the table.
    pub fn id(&self) -> u16 {
        self.head().u16(field::ID)
    }
    /// Whether it is shorter than a header, or the table ends before it does.
    pub fn is_cut(&self) -> bool {
        u32::from(self.length()) < field::BYTES || self.raw.len() < self.length().into()
    }
    /// What it is, with a view of that kind.
    pub fn body(&self) -> Body<'a> {
        let raw = self.raw;
        match self.kind() {
            0 => Body::Iommu(Iommu(raw)),
            1 => Body::RootComplex(RootComplex(raw)),
            2 => Body::Platform(Platform(raw)),
            kind => Body::Unknown(kind),
        }
    }
    /// Where its ID mappings start, counted from its own start, and how many there should be; none of a kind that has
    /// none.
    pub fn mapping_array(&self) -> Option<(u16, u16)> {
        match self.body() {
            Body::RootComplex(complex) => Some((complex.mapping_offset(), complex.mapping_count())),
            Body::Platform(device) => Some((device.mapping_offset(), device.mapping_count())),
            Body::Iommu(_) | Body::Unknown(_) => None,
        }
    }
    /// Its ID mappings, as far as the node goes; the last may be cut off.
    pub fn mappings(&self) -> impl Iterator<Item = IdMapping<'a>> + use<'a> {
        let (offset, count) = self.mapping_array().unwrap_or((0, 0));
        let array = self.raw.from(offset.into());
        (0..u32::from(count)).map_while(move |index| {
            let raw = array.window(index * IdMapping::BYTES, IdMapping::BYTES);
            (!raw.is_empty()).then_some(IdMapping(raw))
        })
    }
    /// The header is read where it lies, even where the length field denies that there is one.
    fn head(&self) -> Raw<'a> {
        self.table.window(self.at(), field::BYTES)
    }
}

/// What a node is.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// Type 0: a RISC-V IOMMU.
    Iommu(Iommu<'a>),
    /// Type 1: a PCI segment, or a part of one.
    RootComplex(RootComplex<'a>),
    /// Type 2: a platform device.
    Platform(Platform<'a>),
    /// Anything else.
    Unknown(u8),
}

view! {
    /// Type 0.
    Iommu, 40 bytes {
        /// Where its registers are, of a platform device.
        16 base: u64;
        /// Bit 0: it is a PCI function; bit 1: the proximity domain is valid.
        24 flags: u32;
        /// Where it lies.
        28 proximity_domain: u32;
        /// The segment of the PCI function that it is.
        32 segment: u16;
        /// Bus, device and function of the PCI function that it is.
        34 function: u16;
        /// How many wired interrupts it has; none where it sends messages.
        36 wire_count: u16;
        /// Where they are, counted from the node's start.
        38 wire_offset: u16;
    }
}

impl<'a> Iommu<'a> {
    /// `_HID` of a platform device, vendor and device ID of a PCI function.
    pub fn hardware_id(&self) -> [u8; 8] {
        self.0.array(8)
    }
    /// Its wired interrupts, as far as the node goes.
    pub fn wires(&self) -> impl Iterator<Item = Wire<'a>> + use<'a> {
        let array = self.0.from(self.wire_offset().into());
        (0..u32::from(self.wire_count())).map_while(move |index| {
            let raw = array.window(index * Wire::LEAST, Wire::LEAST);
            (raw.len() == Wire::LEAST).then_some(Wire(raw))
        })
    }
}

view! {
    /// A wired interrupt.
    Wire, 8 bytes {
        /// The global system interrupt.
        0 number: u32;
        /// Bit 0: level-triggered; bit 1: active high.
        4 flags: u32;
    }
}

view! {
    /// Type 1.
    RootComplex, 20 bytes {
        /// Bit 0: ATS is supported; bit 1: PRI.
        8 flags: u32;
        /// Nothing.
        12 reserved: u16;
        /// The PCI segment.
        14 segment: u16;
        /// Where the ID mappings start, counted from the node's start.
        16 mapping_offset: u16;
        /// How many there are.
        18 mapping_count: u16;
    }
}

view! {
    /// Type 2.
    Platform, 12 bytes {
        /// Where the ID mappings start, counted from the node's start.
        8 mapping_offset: u16;
        /// How many there are.
        10 mapping_count: u16;
    }
}

impl<'a> Platform<'a> {
    /// The path of its object in the ACPI name space.
    pub fn device_name(&self) -> Option<&'a str> {
        self.0.text(Self::LEAST)
    }
}

/// Maps source IDs of a node to device IDs of an IOMMU.
#[derive(Clone, Copy, Debug)]
pub struct IdMapping<'a>(Raw<'a>);

impl IdMapping<'_> {
    /// The bytes of a mapping.
    pub const BYTES: u32 = 20;
    /// Where it starts in the table.
    pub fn at(&self) -> u32 {
        self.0.at()
    }
    /// The bytes that its node has for it.
    pub fn len(&self) -> u32 {
        self.0.len()
    }
    /// Whether its node ends before it begins.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// The first source ID.
    pub fn source_base(&self) -> u32 {
        self.0.u32(0)
    }
    /// The number of IDs.
    pub fn id_count(&self) -> u32 {
        self.0.u32(4)
    }
    /// What the first one becomes.
    pub fn destination_base(&self) -> u32 {
        self.0.u32(8)
    }
    /// The offset of the IOMMU's node.
    pub fn destination(&self) -> u32 {
        self.0.u32(12)
    }
    /// Bit 0: the devices need ATS; bit 1: they need page requests.
    pub fn flags(&self) -> u32 {
        self.0.u32(16)
    }
}
