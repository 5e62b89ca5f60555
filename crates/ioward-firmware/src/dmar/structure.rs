//! The raw view: structures, their fields and device scopes, at the offsets of VT-d rev 4.1, sections 8.1 to 8.8.

use crate::{Raw, acpi, view::view};

/// Offsets in the table after its header (section 8.1).
mod table {
    pub const HOST_ADDRESS_WIDTH: u32 = 36;
    pub const FLAGS: u32 = 37;
    pub const RESERVED: u32 = 38;
    pub const STRUCTURES: u32 = 48;
}

/// Offsets in every structure (section 8.2).
mod field {
    pub const TYPE: u32 = 0;
    pub const LENGTH: u32 = 2;
    pub const BYTES: u32 = 4;
}

/// A whole table, as it is.
#[derive(Clone, Copy, Debug)]
pub struct Dmar<'a>(pub(super) Raw<'a>);

impl<'a> Dmar<'a> {
    /// The least bytes of a table: header, address width, flags and a reserved field.
    pub const LEAST: u32 = table::STRUCTURES;

    /// A view of the bytes, whatever they are.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(Raw::new(bytes))
    }
    /// The ACPI header.
    pub fn header(&self) -> acpi::Header<'a> {
        acpi::Header::new(self.0)
    }
    /// The widest DMA address of the machine in bits, **less one**.
    pub fn host_address_width(&self) -> u8 {
        self.0.u8(table::HOST_ADDRESS_WIDTH)
    }
    /// INTR_REMAP, X2APIC_OPT_OUT, DMA_CTRL_PLATFORM_OPT_IN from bit 0 up.
    pub fn flags(&self) -> u8 {
        self.0.u8(table::FLAGS)
    }
    /// Nothing.
    pub fn reserved(&self) -> [u8; 10] {
        self.0.array(table::RESERVED)
    }
    /// The structures one after the other, up to the first that cannot have another behind it: one shorter than a
    /// structure's header or cut off by the table's end, which is the last to be shown.
    pub fn structures(&self) -> impl Iterator<Item = Structure<'a>> + use<'a> {
        let this = *self;
        let mut next = Some(table::STRUCTURES);
        core::iter::from_fn(move || {
            let at = next.take().filter(|at| *at < this.0.len())?;
            let length = this.0.from(at).u16(field::LENGTH);
            let structure = Structure { raw: this.0.window(at, length.into()), table: this.0 };
            if !structure.is_cut() {
                next = at.checked_add(length.into());
            }
            Some(structure)
        })
    }
}

/// A structure, as it is: at most as long as its length field says.
#[derive(Clone, Copy, Debug)]
pub struct Structure<'a> {
    pub(super) raw: Raw<'a>,
    table: Raw<'a>,
}

impl<'a> Structure<'a> {
    /// The bytes of a structure's header.
    pub const HEADER: u32 = field::BYTES;

    /// Where it starts.
    pub fn at(&self) -> u32 {
        self.raw.at()
    }
    /// What it is.
    pub fn kind(&self) -> u16 {
        self.head().u16(field::TYPE)
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
            0 => Body::Drhd(Drhd(raw)),
            1 => Body::Rmrr(Rmrr(raw)),
            2 => Body::Atsr(Atsr(raw)),
            3 => Body::Rhsa(Rhsa(raw)),
            4 => Body::Andd(Andd(raw)),
            5 => Body::Satc(Satc(raw)),
            6 => Body::Sidp(Sidp(raw)),
            kind => Body::Unknown(kind),
        }
    }
    /// Its device scopes one after the other, if its kind has any; the first that is too short or cut off by the
    /// structure's end is the last to be shown.
    pub fn scopes(&self) -> impl Iterator<Item = DeviceScope<'a>> + use<'a> {
        let fixed = match self.kind() {
            0 => Drhd::LEAST,
            1 => Rmrr::LEAST,
            2 => Atsr::LEAST,
            5 => Satc::LEAST,
            6 => Sidp::LEAST,
            _ => self.raw.len(),
        };
        let mut rest = Some(self.raw.from(fixed));
        core::iter::from_fn(move || {
            let left = rest.take().filter(|left| !left.is_empty())?;
            let scope = DeviceScope { raw: left.window(0, left.u8(1).into()), left };
            if !scope.is_cut() {
                rest = Some(left.from(scope.length().into()));
            }
            Some(scope)
        })
    }
    /// The header is read where it lies, even where the length field denies that there is one.
    fn head(&self) -> Raw<'a> {
        self.table.window(self.at(), field::BYTES)
    }
}

/// What a structure is.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// Type 0: a remapping unit.
    Drhd(Drhd<'a>),
    /// Type 1: a region that devices need mapped.
    Rmrr(Rmrr<'a>),
    /// Type 2: root ports that let ATS through.
    Atsr(Atsr<'a>),
    /// Type 3: the proximity domain of a unit.
    Rhsa(Rhsa<'a>),
    /// Type 4: the name of a platform device.
    Andd(Andd<'a>),
    /// Type 5: built-in devices that cache translations.
    Satc(Satc<'a>),
    /// Type 6: properties of built-in devices.
    Sidp(Sidp<'a>),
    /// Anything else.
    Unknown(u16),
}

view! {
    /// Type 0, DMA remapping hardware unit definition (section 8.3).
    Drhd, 16 bytes {
        /// Bit 0: INCLUDE_PCI_ALL.
        4 flags: u8;
        /// Bits 3:0: the register block has so many pages of 4 KiB, as a power of two.
        5 size: u8;
        /// The PCI segment.
        6 segment: u16;
        /// Where its registers are.
        8 base: u64;
    }
}

view! {
    /// Type 1, reserved memory region reporting (section 8.4).
    Rmrr, 24 bytes {
        /// Nothing.
        4 reserved: u16;
        /// The PCI segment.
        6 segment: u16;
        /// The region's first byte.
        8 base: u64;
        /// The region's last byte.
        16 limit: u64;
    }
}

view! {
    /// Type 2, root port ATS capability reporting (section 8.5).
    Atsr, 8 bytes {
        /// Bit 0: ALL_PORTS.
        4 flags: u8;
        /// Nothing.
        5 reserved: u8;
        /// The PCI segment.
        6 segment: u16;
    }
}

view! {
    /// Type 3, remapping hardware static affinity (section 8.6).
    Rhsa, 20 bytes {
        /// Nothing.
        4 reserved: u32;
        /// Where the unit's registers are.
        8 base: u64;
        /// Its proximity domain.
        16 proximity_domain: u32;
    }
}

/// Type 4, ACPI name-space device declaration (section 8.7).
#[derive(Clone, Copy, Debug)]
pub struct Andd<'a>(pub(super) Raw<'a>);

impl<'a> Andd<'a> {
    /// The bytes before the name.
    pub const LEAST: u32 = 8;

    /// Nothing: three bytes.
    pub fn reserved(&self) -> [u8; 3] {
        self.0.array(4)
    }
    /// The number by which device scopes mean it.
    pub fn device_number(&self) -> u8 {
        self.0.u8(7)
    }
    /// The path of its object in the ACPI name space.
    pub fn name(&self) -> Option<&'a str> {
        self.0.text(Self::LEAST)
    }
}

view! {
    /// Type 5, SoC integrated address translation cache (section 8.8).
    Satc, 8 bytes {
        /// Bit 0: ATC_REQUIRED.
        4 flags: u8;
        /// Nothing.
        5 reserved: u8;
        /// The PCI segment.
        6 segment: u16;
    }
}

view! {
    /// Type 6, SoC integrated device property (section 8.9).
    Sidp, 8 bytes {
        /// Nothing.
        4 reserved: u16;
        /// The PCI segment.
        6 segment: u16;
    }
}

/// A device scope (section 8.3.1), as it is: at most as long as its length field says.
#[derive(Clone, Copy, Debug)]
pub struct DeviceScope<'a> {
    raw: Raw<'a>,
    left: Raw<'a>,
}

impl<'a> DeviceScope<'a> {
    /// The bytes before the path.
    pub const HEADER: u32 = 6;

    /// Where it starts in the table.
    pub fn at(&self) -> u32 {
        self.raw.at()
    }
    /// 1 a PCI endpoint, 2 a PCI sub-hierarchy, 3 an IOAPIC, 4 an HPET that writes messages, 5 a platform device.
    pub fn kind(&self) -> u8 {
        self.left.u8(0)
    }
    /// Its bytes, by its own word.
    pub fn length(&self) -> u8 {
        self.left.u8(1)
    }
    /// In a SIDP: see [`Traits::vtd_properties`](ioward_types::describe::Traits::vtd_properties). Elsewhere nothing.
    pub fn flags(&self) -> u8 {
        self.raw.u8(2)
    }
    /// Nothing.
    pub fn reserved(&self) -> u8 {
        self.raw.u8(3)
    }
    /// The ID of an IOAPIC, the number of an HPET or of an ANDD structure.
    pub fn enumeration_id(&self) -> u8 {
        self.raw.u8(4)
    }
    /// The bus that the path starts on.
    pub fn start_bus(&self) -> u8 {
        self.raw.u8(5)
    }
    /// Device and function of each hop, a byte each.
    pub fn path(&self) -> &'a [u8] {
        self.raw.from(Self::HEADER).bytes()
    }
    /// Whether it is shorter than its header, or its structure ends before it does.
    pub fn is_cut(&self) -> bool {
        u32::from(self.length()) < Self::HEADER || self.raw.len() < self.length().into()
    }
    /// The bytes that its structure has for it.
    pub(super) fn has(&self) -> u32 {
        self.left.len()
    }
}
