//! The raw view: nodes and their fields, at the offsets of ACPI 6.5, section 5.2.33.

use crate::{Raw, acpi, view::view};

/// Offsets in the table after its header (table 5.146).
mod table {
    pub const NODE_COUNT: u32 = 36;
    pub const NODE_OFFSET: u32 = 38;
    pub const RESERVED: u32 = 40;
    pub const BYTES: u32 = 48;
}

/// Offsets in every node (table 5.147).
mod field {
    pub const TYPE: u32 = 0;
    pub const RESERVED: u32 = 1;
    pub const LENGTH: u32 = 2;
    pub const BYTES: u32 = 4;
}

/// A whole table, as it is.
#[derive(Clone, Copy, Debug)]
pub struct Viot<'a>(pub(super) Raw<'a>);

impl<'a> Viot<'a> {
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
    pub fn node_count(&self) -> u16 {
        self.0.u16(table::NODE_COUNT)
    }
    /// Where the first node starts.
    pub fn node_offset(&self) -> u16 {
        self.0.u16(table::NODE_OFFSET)
    }
    /// Nothing.
    pub fn reserved(&self) -> u64 {
        self.0.u64(table::RESERVED)
    }
    /// The nodes one after the other, as many as there should be, up to the first that cannot have another behind it:
    /// one shorter than a node's header or cut off by the table's end, which is the last to be shown.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'a>> + use<'a> {
        let this = *self;
        let mut next = Some(u32::from(self.node_offset()));
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
    /// Nothing.
    pub fn reserved(&self) -> u8 {
        self.head().u8(field::RESERVED)
    }
    /// Its bytes, by its own word.
    pub fn length(&self) -> u16 {
        self.head().u16(field::LENGTH)
    }
    /// Whether it is shorter than a header, or the table ends before it does.
    pub fn is_cut(&self) -> bool {
        u32::from(self.length()) < field::BYTES || self.raw.len() < self.length().into()
    }
    /// What it is, with a view of that kind.
    pub fn body(&self) -> Body<'a> {
        let raw = self.raw;
        match self.kind() {
            1 => Body::PciRange(PciRange(raw)),
            2 => Body::MmioEndpoint(MmioEndpoint(raw)),
            3 => Body::PciIommu(PciIommu(raw)),
            4 => Body::MmioIommu(MmioIommu(raw)),
            kind => Body::Unknown(kind),
        }
    }
    /// The header is read where it lies, even where the length field denies that there is one.
    fn head(&self) -> Raw<'a> {
        self.table.window(self.at(), field::BYTES)
    }
}

/// What a node is.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// Type 1: PCI functions behind a virtio-iommu.
    PciRange(PciRange<'a>),
    /// Type 2: a platform device behind a virtio-iommu.
    MmioEndpoint(MmioEndpoint<'a>),
    /// Type 3: a virtio-iommu that is a PCI function.
    PciIommu(PciIommu<'a>),
    /// Type 4: a virtio-iommu with registers of its own.
    MmioIommu(MmioIommu<'a>),
    /// Anything else.
    Unknown(u8),
}

view! {
    /// Type 1 (table 5.149).
    PciRange, 24 bytes {
        /// The endpoint ID of the first function of the first segment.
        4 endpoint_start: u32;
        /// The first segment.
        8 segment_start: u16;
        /// The last segment.
        10 segment_end: u16;
        /// The first function of each segment.
        12 function_start: u16;
        /// The last one.
        14 function_end: u16;
        /// The offset of the virtio-iommu's node.
        16 output_node: u16;
    }
}

impl PciRange<'_> {
    /// Nothing: six bytes.
    pub fn reserved(&self) -> [u8; 6] {
        self.0.array(18)
    }
}

view! {
    /// Type 2 (table 5.150).
    MmioEndpoint, 24 bytes {
        /// Its endpoint ID.
        4 endpoint: u32;
        /// Where its registers are.
        8 base: u64;
        /// The offset of the virtio-iommu's node.
        16 output_node: u16;
    }
}

impl MmioEndpoint<'_> {
    /// Nothing: six bytes.
    pub fn reserved(&self) -> [u8; 6] {
        self.0.array(18)
    }
}

view! {
    /// Type 3 (table 5.151).
    PciIommu, 16 bytes {
        /// Its segment.
        4 segment: u16;
        /// Its bus, device and function.
        6 function: u16;
        /// Nothing.
        8 reserved: u64;
    }
}

view! {
    /// Type 4 (table 5.152).
    MmioIommu, 16 bytes {
        /// Nothing.
        4 reserved: u32;
        /// Where its registers are.
        8 base: u64;
    }
}
