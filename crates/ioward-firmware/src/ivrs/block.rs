//! The raw view: blocks and device entries, at the offsets of specification 48882, section 5.2.2.

use crate::{Raw, acpi};

/// Offsets in the table after its header (table 81).
mod table {
    pub const IV_INFO: u32 = 36;
    pub const RESERVED: u32 = 40;
    pub const BLOCKS: u32 = 48;
}

/// Offsets in every block.
mod field {
    pub const TYPE: u32 = 0;
    pub const FLAGS: u32 = 1;
    pub const LENGTH: u32 = 2;
    pub const BYTES: u32 = 4;
}

/// A whole table, as it is.
#[derive(Clone, Copy, Debug)]
pub struct Ivrs<'a>(pub(super) Raw<'a>);

impl<'a> Ivrs<'a> {
    /// The least bytes of a table: header, IVinfo and a reserved field.
    pub const LEAST: u32 = table::BLOCKS;

    /// A view of the bytes, whatever they are.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(Raw::new(bytes))
    }
    /// The ACPI header.
    pub fn header(&self) -> acpi::Header<'a> {
        acpi::Header::new(self.0)
    }
    /// Address sizes and DMA protection (table 82).
    pub fn iv_info(&self) -> u32 {
        self.0.u32(table::IV_INFO)
    }
    /// Nothing.
    pub fn reserved(&self) -> u64 {
        self.0.u64(table::RESERVED)
    }
    /// The blocks one after the other, up to the first that cannot have another behind it: one shorter than a block's
    /// header or cut off by the table's end, which is the last to be shown.
    pub fn blocks(&self) -> impl Iterator<Item = Block<'a>> + use<'a> {
        let this = *self;
        let mut next = Some(table::BLOCKS);
        core::iter::from_fn(move || {
            let at = next.take().filter(|at| *at < this.0.len())?;
            let block =
                Block { raw: this.0.window(at, this.0.from(at).u16(field::LENGTH).into()), table: this.0 };
            if !block.is_cut() {
                next = at.checked_add(block.length().into());
            }
            Some(block)
        })
    }
}

/// A block, as it is: at most as long as its length field says.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    pub(super) raw: Raw<'a>,
    table: Raw<'a>,
}

impl<'a> Block<'a> {
    /// The bytes of a block's header.
    pub const HEADER: u32 = field::BYTES;

    /// Where it starts.
    pub fn at(&self) -> u32 {
        self.raw.at()
    }
    /// What it is.
    pub fn kind(&self) -> u8 {
        self.head().u8(field::TYPE)
    }
    /// Its flags.
    pub fn flags(&self) -> u8 {
        self.head().u8(field::FLAGS)
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
        match self.kind() {
            0x10 => Body::Hardware(Hardware { raw: self.raw, form: Form::Basic }),
            0x11 => Body::Hardware(Hardware { raw: self.raw, form: Form::Extended }),
            0x40 => Body::Hardware(Hardware { raw: self.raw, form: Form::Mixed }),
            0x20..=0x22 => Body::Memory(Memory(self.raw)),
            kind => Body::Unknown(kind),
        }
    }
    /// The header is read where it lies, even where the length field denies that there is one.
    fn head(&self) -> Raw<'a> {
        self.table.window(self.raw.at(), field::BYTES)
    }
}

/// What a block is.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// Types 10h, 11h and 40h.
    Hardware(Hardware<'a>),
    /// Types 20h, 21h and 22h.
    Memory(Memory<'a>),
    /// Anything else.
    Unknown(u8),
}

/// The form of a hardware definition, the least capable first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Form {
    /// Type 10h: fixed-length device entries, no feature-register images.
    Basic,
    /// Type 11h: with feature-register images.
    Extended,
    /// Type 40h: also with device entries of variable length.
    Mixed,
}

/// A hardware definition (IVHD; tables 83 to 94).
#[derive(Clone, Copy, Debug)]
pub struct Hardware<'a> {
    pub(super) raw: Raw<'a>,
    form: Form,
}

impl<'a> Hardware<'a> {
    /// Its form.
    pub fn form(&self) -> Form {
        self.form
    }
    /// Where it starts.
    pub fn at(&self) -> u32 {
        self.raw.at()
    }
    /// HtTunEn, PassPW, ResPassPW, Isoc, IotlbSup, Coherent from bit 0 up; in type 10h also PreFSup and PPRSup.
    pub fn flags(&self) -> u8 {
        self.raw.u8(field::FLAGS)
    }
    /// The IOMMU's own requester ID.
    pub fn device_id(&self) -> u16 {
        self.raw.u16(4)
    }
    /// Where its capability block starts in its configuration space.
    pub fn capability_offset(&self) -> u16 {
        self.raw.u16(6)
    }
    /// Where its registers are.
    pub fn base(&self) -> u64 {
        self.raw.u64(8)
    }
    /// Its PCI segment.
    pub fn segment(&self) -> u16 {
        self.raw.u16(16)
    }
    /// MSI number in bits 4:0, unit ID in 12:8.
    pub fn info(&self) -> u16 {
        self.raw.u16(18)
    }
    /// Type 10h: feature reporting. Types 11h and 40h: attributes.
    pub fn features(&self) -> u32 {
        self.raw.u32(20)
    }
    /// The image of the extended feature register; not in type 10h.
    pub fn efr(&self) -> Option<u64> {
        (self.form != Form::Basic).then(|| self.raw.u64(24))
    }
    /// The image of the second extended feature register; not in type 10h, and reserved in older tables.
    pub fn efr2(&self) -> Option<u64> {
        (self.form != Form::Basic).then(|| self.raw.u64(32))
    }
    /// The bytes before the device entries.
    pub fn fixed_bytes(&self) -> u32 {
        match self.form {
            Form::Basic => 24,
            Form::Extended | Form::Mixed => 40,
        }
    }
    /// The device entries one after the other; the first that is cut off by the block's end is the last to be shown.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        let mut rest = self.raw.from(self.fixed_bytes());
        core::iter::from_fn(move || {
            let entry = Entry(rest.window(0, length_of_entry(rest)));
            rest = rest.from(entry.length());
            (!entry.0.is_empty()).then_some(entry)
        })
    }
}

/// The bytes of the entry at the start of `rest`: the type says how many (tables 95 and 96).
fn length_of_entry(rest: Raw<'_>) -> u32 {
    match rest.u8(0) {
        kind @ 0..=0xbf => 4 << (kind >> 6),
        kind @ 0xc0..=0xef => 4 << (kind >> 6),
        // Fixed part, then as many bytes of _UID as the last byte of the fixed part says.
        _ => 22 + u32::from(rest.u8(21)),
    }
}

/// A device entry, as it is.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a>(pub(super) Raw<'a>);

impl<'a> Entry<'a> {
    /// Where it starts in the table.
    pub fn at(&self) -> u32 {
        self.0.at()
    }
    /// What it is.
    pub fn kind(&self) -> u8 {
        self.0.u8(0)
    }
    /// Its bytes, as its type says.
    pub fn length(&self) -> u32 {
        length_of_entry(self.0)
    }
    /// Whether the block ends before it does.
    pub fn is_cut(&self) -> bool {
        self.0.len() < self.length()
    }
    /// The device, by requester ID.
    pub fn device_id(&self) -> u16 {
        self.0.u16(1)
    }
    /// INITPass, EIntPass, NMIPass in bits 0 to 2, SysMgt in 5:4, Lint0Pass and Lint1Pass in bits 6 and 7 (table 97).
    pub fn setting(&self) -> u8 {
        self.0.u8(3)
    }
    /// Types 42h and 43h: the requester ID that the device's requests carry. Type 48h: that of the special device.
    pub fn source_id(&self) -> u16 {
        self.0.u16(5)
    }
    /// Types 46h and 47h: bit 31 says that ATS requests are blocked.
    pub fn extended(&self) -> u32 {
        self.0.u32(4)
    }
    /// Type 48h: IOAPIC ID or HPET number.
    pub fn handle(&self) -> u8 {
        self.0.u8(4)
    }
    /// Type 48h: 1 for an IOAPIC, 2 for an HPET.
    pub fn variety(&self) -> u8 {
        self.0.u8(7)
    }
    /// Type F0h: `_HID`.
    pub fn hid(&self) -> [u8; 8] {
        self.0.array(4)
    }
    /// Type F0h: `_CID`.
    pub fn cid(&self) -> [u8; 8] {
        self.0.array(12)
    }
    /// Type F0h: 0 no `_UID`, 1 a number, 2 text.
    pub fn uid_format(&self) -> u8 {
        self.0.u8(20)
    }
    /// Type F0h: the bytes of `_UID`.
    pub fn uid_length(&self) -> u8 {
        self.0.u8(21)
    }
    /// Type F0h: `_UID`.
    pub fn uid(&self) -> Raw<'a> {
        self.0.window(22, self.uid_length().into())
    }
}

/// A memory definition (IVMD; table 99).
#[derive(Clone, Copy, Debug)]
pub struct Memory<'a>(pub(super) Raw<'a>);

impl Memory<'_> {
    /// The bytes of a memory definition.
    pub const LEAST: u32 = 32;

    /// Where it starts.
    pub fn at(&self) -> u32 {
        self.0.at()
    }
    /// 20h for all devices, 21h for one, 22h for a range.
    pub fn kind(&self) -> u8 {
        self.0.u8(field::TYPE)
    }
    /// Unity, readable, writable, exclusion range from bit 0 up.
    pub fn flags(&self) -> u8 {
        self.0.u8(field::FLAGS)
    }
    /// The device, or the first one.
    pub fn device_id(&self) -> u16 {
        self.0.u16(4)
    }
    /// The last device of a range.
    pub fn auxiliary(&self) -> u16 {
        self.0.u16(6)
    }
    /// The PCI segment; part of the reserved field in older tables.
    pub fn segment(&self) -> u16 {
        self.0.u16(8)
    }
    /// The whole field that the segment is part of.
    pub fn reserved(&self) -> u64 {
        self.0.u64(8)
    }
    /// The first byte.
    pub fn start(&self) -> u64 {
        self.0.u64(16)
    }
    /// How many bytes.
    pub fn length(&self) -> u64 {
        self.0.u64(24)
    }
}
