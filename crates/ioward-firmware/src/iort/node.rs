//! The raw view: nodes and their fields, at the offsets of DEN 0049, section 3.

use crate::{Raw, acpi, view::view};

/// Offsets in the table after its header (DEN 0049, table 2).
mod table {
    pub const NODE_COUNT: u32 = 36;
    pub const NODE_OFFSET: u32 = 40;
    pub const BYTES: u32 = 48;
}

/// Offsets in every node (table 3), and in an ID mapping (table 4).
mod field {
    pub const TYPE: u32 = 0;
    pub const LENGTH: u32 = 1;
    pub const REVISION: u32 = 3;
    pub const IDENTIFIER: u32 = 4;
    pub const MAPPING_COUNT: u32 = 8;
    pub const MAPPING_OFFSET: u32 = 12;
    pub const BYTES: u32 = 16;
}

/// A whole table, as it is.
#[derive(Clone, Copy, Debug)]
pub struct Iort<'a>(pub(super) Raw<'a>);

impl<'a> Iort<'a> {
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
    /// The node that starts at an offset, however it looks.
    pub fn node(&self, at: u32) -> Node<'a> {
        let length = self.0.from(at).u16(field::LENGTH);
        Node { raw: self.0.window(at, length.into()), table: self.0 }
    }
    /// The nodes one after the other, as many as there should be, up to the first that cannot have another behind it:
    /// one shorter than a node's header or cut off by the table's end, which is the last to be shown.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'a>> + use<'a> {
        let this = *self;
        let mut next = Some(self.node_offset());
        (0..self.node_count()).map_while(move |_| {
            let at = next.take().filter(|at| *at < this.0.len())?;
            let node = this.node(at);
            if !node.is_cut() {
                next = at.checked_add(node.length().into());
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
    /// Its bytes, by its own word.
    pub fn length(&self) -> u16 {
        self.head().u16(field::LENGTH)
    }
    /// The revision of its layout.
    pub fn revision(&self) -> u8 {
        self.head().u8(field::REVISION)
    }
    /// Its number; reserved before revision E of the specification.
    pub fn identifier(&self) -> u32 {
        self.head().u32(field::IDENTIFIER)
    }
    /// How many ID mappings it has.
    pub fn mapping_count(&self) -> u32 {
        self.head().u32(field::MAPPING_COUNT)
    }
    /// Where they start, counted from the node's start.
    pub fn mapping_offset(&self) -> u32 {
        self.head().u32(field::MAPPING_OFFSET)
    }
    /// Whether it is shorter than a header, or the table ends before it does.
    pub fn is_cut(&self) -> bool {
        u32::from(self.length()) < field::BYTES || self.raw.len() < self.length().into()
    }
    /// Its ID mappings, by its header's word, even beyond its own end but not beyond the table's.
    pub fn mappings(&self) -> impl Iterator<Item = IdMapping<'a>> + use<'a> {
        let array = self.table.from(self.at().saturating_add(self.mapping_offset()));
        (0..self.mapping_count()).map_while(move |index| {
            let raw = array.window(index.checked_mul(IdMapping::BYTES)?, IdMapping::BYTES);
            (!raw.is_empty()).then_some(IdMapping(raw))
        })
    }
    /// What it is, with a view of that kind.
    pub fn body(&self) -> Body<'a> {
        let raw = self.raw;
        match self.kind() {
            0 => Body::ItsGroup(ItsGroup(raw)),
            1 => Body::NamedComponent(NamedComponent(raw)),
            2 => Body::RootComplex(RootComplex(raw)),
            3 => Body::Smmu(Smmu(raw)),
            4 => Body::SmmuV3(SmmuV3(raw)),
            5 => Body::Pmcg(Pmcg(raw)),
            6 => Body::Rmr(Rmr(raw)),
            7 => Body::Iwb(Iwb(raw)),
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
    /// Type 0: a group of interrupt translation services.
    ItsGroup(ItsGroup<'a>),
    /// Type 1: a platform device.
    NamedComponent(NamedComponent<'a>),
    /// Type 2: a PCI segment.
    RootComplex(RootComplex<'a>),
    /// Type 3: an SMMUv1 or SMMUv2.
    Smmu(Smmu<'a>),
    /// Type 4: an SMMUv3.
    SmmuV3(SmmuV3<'a>),
    /// Type 5: a group of performance counters.
    Pmcg(Pmcg<'a>),
    /// Type 6: reserved memory ranges.
    Rmr(Rmr<'a>),
    /// Type 7: an interrupt wire bridge.
    Iwb(Iwb<'a>),
    /// Anything else.
    Unknown(u8),
}

/// Maps IDs of one node to IDs of another (table 4).
#[derive(Clone, Copy, Debug)]
pub struct IdMapping<'a>(pub(super) Raw<'a>);

impl IdMapping<'_> {
    /// The bytes of a mapping.
    pub const BYTES: u32 = 20;
    /// Where it starts in the table.
    pub fn at(&self) -> u32 {
        self.0.at()
    }
    /// Whether the table ends before it does.
    pub fn is_cut(&self) -> bool {
        self.0.len() < Self::BYTES
    }
    /// The first ID that is mapped.
    pub fn input_base(&self) -> u32 {
        self.0.u32(0)
    }
    /// The number of IDs **less one**.
    pub fn id_count(&self) -> u32 {
        self.0.u32(4)
    }
    /// What the first ID becomes.
    pub fn output_base(&self) -> u32 {
        self.0.u32(8)
    }
    /// The offset of the node that knows the output IDs.
    pub fn output_reference(&self) -> u32 {
        self.0.u32(12)
    }
    /// The flags.
    pub fn flags(&self) -> u32 {
        self.0.u32(16)
    }
    /// Bit 0 of the flags: input base and count mean nothing, the output ID is the node's own.
    pub fn is_single(&self) -> bool {
        self.flags() & 1 != 0
    }
}

view! {
    /// Type 0 (table 12).
    ItsGroup, 20 bytes {
        /// How many ITS identifiers follow.
        16 its_count: u32;
    }
}

impl<'a> ItsGroup<'a> {
    /// The identifiers, as MADT numbers them, as far as the node goes.
    pub fn identifiers(&self) -> impl Iterator<Item = u32> + use<'a> {
        let (raw, count) = (self.0.from(20), self.its_count());
        (0..count).map_while(move |index| (index < raw.len() / 4).then(|| raw.u32(index * 4)))
    }
}

view! {
    /// Type 1 (table 13).
    NamedComponent, 29 bytes {
        /// Bit 0: stalls are possible; bits 5:1: PASID width.
        16 flags: u32;
        /// Bit 0: fully coherent (memory properties, table 14).
        20 cache_coherency: u32;
        /// Bits 0 to 3: transient, write allocate, read allocate, override.
        24 hints: u8;
        /// Bits 0 to 2: coherent path to memory, cacheable and shareable attributes, ensured coherency of accesses.
        27 memory_flags: u8;
        /// The address bits that reach memory.
        28 memory_size_limit: u8;
    }
}

impl<'a> NamedComponent<'a> {
    /// The path of its object in the ACPI name space.
    pub fn device_name(&self) -> Option<&'a str> {
        self.0.text(29)
    }
}

view! {
    /// Type 2 (table 15).
    RootComplex, 32 bytes {
        /// Bit 0: fully coherent (memory properties, table 14).
        16 cache_coherency: u32;
        /// Bits 0 to 3: transient, write allocate, read allocate, override.
        20 hints: u8;
        /// Bits 0 to 2: coherent path to memory, cacheable and shareable attributes, ensured coherency of accesses.
        23 memory_flags: u8;
        /// Bit 0: ATS is supported; bit 1: PRI; bit 2: PASIDs are forwarded on translated requests.
        24 ats_attribute: u32;
        /// The PCI segment.
        28 segment: u32;
        /// The address bits that reach memory, from revision 1 on.
        32 memory_size_limit: u8;
        /// Bits 4:0: PASID width, from revision 3 on.
        33 pasid_capabilities: u16;
        /// Nothing.
        35 reserved: u8;
    }
}

view! {
    /// Type 3 (table 5).
    Smmu, 60 bytes {
        /// Where its registers are.
        16 base: u64;
        /// How many bytes of them.
        24 span: u64;
        /// The implementation.
        32 model: u32;
        /// Bit 0: DVM is supported; bit 1: walks are coherent.
        36 flags: u32;
        /// Where the global interrupts are, counted from the node's start.
        40 global_interrupt_offset: u32;
        /// How many context interrupts.
        44 context_interrupt_count: u32;
        /// Where they are.
        48 context_interrupt_offset: u32;
        /// How many PMU interrupts.
        52 pmu_interrupt_count: u32;
        /// Where they are.
        56 pmu_interrupt_offset: u32;
    }
}

impl<'a> Smmu<'a> {
    /// NSgIrpt, its flags, NSgCfgIrpt, its flags. Bit 0 of flags: edge-triggered.
    pub fn global_interrupts(&self) -> [u32; 4] {
        let raw = self.0.from(self.global_interrupt_offset());
        [raw.u32(0), raw.u32(4), raw.u32(8), raw.u32(12)]
    }
    /// The context interrupts: GSIV in the low half, flags in the high half; as far as the node goes.
    pub fn context_interrupts(&self) -> impl Iterator<Item = u64> + use<'a> {
        self.interrupts(self.context_interrupt_offset(), self.context_interrupt_count())
    }
    /// The PMU interrupts, likewise.
    pub fn pmu_interrupts(&self) -> impl Iterator<Item = u64> + use<'a> {
        self.interrupts(self.pmu_interrupt_offset(), self.pmu_interrupt_count())
    }
    fn interrupts(&self, at: u32, count: u32) -> impl Iterator<Item = u64> + use<'a> {
        let raw = self.0.from(at);
        (0..count).map_while(move |index| (index < raw.len() / 8).then(|| raw.u64(index * 8)))
    }
}

view! {
    /// Type 4 (table 9).
    SmmuV3, 60 bytes {
        /// Where its registers are: two pages of 64 KiB.
        16 base: u64;
        /// Bit 0 replaces SMMU_IDR0.COHACC, bits 2:1 replace SMMU_IDR0.HTTU, bit 3: the proximity domain is valid, bit 4:
        /// the device ID mapping index is valid.
        24 flags: u32;
        /// Nothing.
        28 reserved: u32;
        /// Where its VATOS page is, or zero.
        32 vatos: u64;
        /// The implementation: 0 generic, 1 HiSilicon Hi161x, 2 Cavium CN99xx.
        40 model: u32;
        /// The event queue's GSIV, or zero.
        44 event: u32;
        /// The PRI queue's GSIV, or zero.
        48 pri: u32;
        /// The global error's GSIV, or zero.
        52 gerror: u32;
        /// The command sync's GSIV, or zero.
        56 sync: u32;
        /// Where it lies, from revision 1 on.
        60 proximity_domain: u32;
        /// Which of its ID mappings is that of its own MSIs, from revision 1 on.
        64 device_id_mapping_index: u32;
    }
}

view! {
    /// Type 5 (table 16).
    Pmcg, 40 bytes {
        /// Its first register page.
        16 page_0: u64;
        /// Its overflow interrupt.
        24 overflow_gsiv: u32;
        /// The node that it counts for.
        28 node_reference: u32;
        /// Its second register page.
        32 page_1: u64;
    }
}

view! {
    /// Type 6 (table 17).
    Rmr, 28 bytes {
        /// Bit 0: remapping is permitted; bit 1: privileged; bits 9:2: memory attributes.
        16 flags: u32;
        /// How many descriptors.
        20 descriptor_count: u32;
        /// Where they start, counted from the node's start.
        24 descriptor_offset: u32;
    }
}

impl<'a> Rmr<'a> {
    /// The descriptors, as far as the node goes.
    pub fn descriptors(&self) -> impl Iterator<Item = RmrDescriptor<'a>> + use<'a> {
        let (array, count) = (self.0.from(self.descriptor_offset()), self.descriptor_count());
        (0..count).map_while(move |index| {
            let raw = array.window(index.checked_mul(RmrDescriptor::BYTES)?, RmrDescriptor::BYTES);
            (!raw.is_empty()).then_some(RmrDescriptor(raw))
        })
    }
}

/// One reserved memory range (table 18).
#[derive(Clone, Copy, Debug)]
pub struct RmrDescriptor<'a>(pub(super) Raw<'a>);

impl RmrDescriptor<'_> {
    /// The bytes of a descriptor.
    pub const BYTES: u32 = 20;
    /// Where the descriptor starts in the table.
    pub fn at(&self) -> u32 {
        self.0.at()
    }
    /// Whether its node ends before it does.
    pub fn is_cut(&self) -> bool {
        self.0.len() < Self::BYTES
    }
    /// The range's first byte.
    pub fn base(&self) -> u64 {
        self.0.u64(0)
    }
    /// The range's bytes.
    pub fn length(&self) -> u64 {
        self.0.u64(8)
    }
    /// Nothing.
    pub fn reserved(&self) -> u32 {
        self.0.u32(16)
    }
}

view! {
    /// Type 7 (issue E.g).
    Iwb, 26 bytes {
        /// Where its configuration frame is.
        16 config_frame: u64;
        /// Its number.
        24 index: u16;
    }
}

impl<'a> Iwb<'a> {
    /// The path of its object in the ACPI name space.
    pub fn device_name(&self) -> Option<&'a str> {
        self.0.text(26)
    }
}
