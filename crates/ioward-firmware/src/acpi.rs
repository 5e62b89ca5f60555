//! What all ACPI tables have in common: the header of 36 bytes (ACPI 6.5, section 5.2.6).

use crate::Raw;
use ioward_types::describe::{Cause, Fact, Problem, Table};

/// Offsets in the header.
mod field {
    pub const SIGNATURE: u32 = 0;
    pub const LENGTH: u32 = 4;
    pub const REVISION: u32 = 8;
    pub const CHECKSUM: u32 = 9;
    pub const OEM_ID: u32 = 10;
    pub const OEM_TABLE_ID: u32 = 16;
    pub const OEM_REVISION: u32 = 24;
    pub const CREATOR_ID: u32 = 28;
    pub const CREATOR_REVISION: u32 = 32;
}

/// The bytes of a header.
pub const HEADER_BYTES: u32 = 36;

/// The header of a table, as it is.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a>(Raw<'a>);

impl<'a> Header<'a> {
    /// The header at the start of a table.
    pub fn new(table: Raw<'a>) -> Self {
        Self(table.window(0, HEADER_BYTES))
    }
    /// Four letters.
    pub fn signature(&self) -> [u8; 4] {
        self.0.array(field::SIGNATURE)
    }
    /// The bytes of the table, this header included.
    pub fn length(&self) -> u32 {
        self.0.u32(field::LENGTH)
    }
    /// The revision of the table's layout.
    pub fn revision(&self) -> u8 {
        self.0.u8(field::REVISION)
    }
    /// What makes all bytes add up to zero.
    pub fn checksum(&self) -> u8 {
        self.0.u8(field::CHECKSUM)
    }
    /// Who made the machine.
    pub fn oem_id(&self) -> [u8; 6] {
        self.0.array(field::OEM_ID)
    }
    /// Which machine.
    pub fn oem_table_id(&self) -> [u8; 8] {
        self.0.array(field::OEM_TABLE_ID)
    }
    /// Which revision of it.
    pub fn oem_revision(&self) -> u32 {
        self.0.u32(field::OEM_REVISION)
    }
    /// What made the table.
    pub fn creator_id(&self) -> [u8; 4] {
        self.0.array(field::CREATOR_ID)
    }
    /// Which revision of that.
    pub fn creator_revision(&self) -> u32 {
        self.0.u32(field::CREATOR_REVISION)
    }
}

/// The bytes of a table as its length field says, or `Err` where it is no table of this kind. What is wrong without
/// hindering is told to `sink`: a bad checksum, missing bytes, bytes too many.
pub(crate) fn open<'a>(
    bytes: &'a [u8],
    table: Table,
    signature: &[u8; 4],
    least: u32,
    sink: &mut dyn FnMut(Fact<'a>),
) -> Result<Raw<'a>, Problem> {
    let whole = Raw::new(bytes);
    let problem = |offset, cause| Problem { table, offset, structure: "table header", cause };
    let header = Header::new(whole);
    if whole.len() < HEADER_BYTES {
        return Err(problem(0, Cause::Truncated { needs: HEADER_BYTES, has: whole.len() }));
    }
    if header.signature() != *signature {
        return Err(problem(0, Cause::Signature { found: u32::from_le_bytes(header.signature()) }));
    }
    let length = header.length();
    if length < least {
        return Err(problem(field::LENGTH, Cause::Length { found: length, least }));
    }
    let raw = whole.window(0, length);
    if raw.len() < length {
        sink(Fact::Problem(problem(field::LENGTH, Cause::Truncated { needs: length, has: raw.len() })));
        if raw.len() < least {
            return Err(problem(raw.len(), Cause::Truncated { needs: least, has: raw.len() }));
        }
    } else {
        // Of a table that is cut off the sum says nothing.
        let sum = raw.bytes().iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        if sum != 0 {
            sink(Fact::Problem(problem(field::CHECKSUM, Cause::Checksum { sum })));
        }
        if whole.len() > length {
            sink(Fact::Problem(problem(length, Cause::Unused { bytes: whole.len() - length })));
        }
    }
    Ok(raw)
}
