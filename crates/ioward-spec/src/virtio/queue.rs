//! The split virtqueue (virtio 1.3 §2.7).

use crate::Field;

/// The most entries that a queue can have; a power of two.
pub const MAX_ENTRIES: u16 = 1 << 15;

/// The descriptor table: aligned to 16 bytes, 16 a descriptor (§2.7.5).
pub mod descriptor {
    use crate::Field;
    /// Bytes of one.
    pub const BYTES: usize = 16;
    /// Where the buffer is, physical.
    pub const ADDRESS: Field = Field::bits(63, 0);
    /// How many bytes it has.
    pub const LENGTH: Field = Field::bits(95, 64);
    /// Flags.
    pub const FLAGS: Field = Field::bits(111, 96);
    /// The next descriptor, with [`F_NEXT`].
    pub const NEXT: Field = Field::bits(127, 112);
    /// VIRTQ_DESC_F_NEXT: the chain goes on.
    pub const F_NEXT: u64 = 1;
    /// VIRTQ_DESC_F_WRITE: the device writes the buffer, where it otherwise reads it.
    pub const F_WRITE: u64 = 2;
    /// VIRTQ_DESC_F_INDIRECT: the buffer is a table of descriptors.
    pub const F_INDIRECT: u64 = 4;
}

/// The available ring: aligned to 2 bytes (§2.7.6). Offsets in bytes.
pub mod available {
    /// Flags, le16.
    pub const FLAGS: usize = 0;
    /// The index of the next entry, le16, counted without end.
    pub const INDEX: usize = 2;
    /// The first entry: heads of chains, le16 each.
    pub const RING: usize = 4;
    /// VIRTQ_AVAIL_F_NO_INTERRUPT: no interrupt is wanted.
    pub const F_NO_INTERRUPT: u16 = 1;
    /// Bytes of a ring of so many entries, used_event included.
    pub const fn bytes(entries: usize) -> usize {
        6 + 2 * entries
    }
}

/// The used ring: aligned to 4 bytes (§2.7.8). Offsets in bytes.
pub mod used {
    /// Flags, le16.
    pub const FLAGS: usize = 0;
    /// The index of the next entry, le16, counted without end.
    pub const INDEX: usize = 2;
    /// The first entry: le32 head of the chain, le32 bytes that the device wrote.
    pub const RING: usize = 4;
    /// Bytes of an entry.
    pub const ENTRY_BYTES: usize = 8;
    /// VIRTQ_USED_F_NO_NOTIFY: no notification is wanted.
    pub const F_NO_NOTIFY: u16 = 1;
    /// Bytes of a ring of so many entries, avail_event included.
    pub const fn bytes(entries: usize) -> usize {
        6 + 8 * entries
    }
}

/// What the first 64-bit word of either ring holds: its index.
pub const INDEX: Field = Field::bits(31, 16);
/// And its flags.
pub const FLAGS: Field = Field::bits(15, 0);
