//! Page-table entries of RISC-V: Sv39, Sv48, Sv57 and their x4 forms (RISC-V privileged architecture, version 1.12, 10.4 to
//! 10.6 "Page-Based Virtual-Memory Systems", and 8.5 "Two-Stage Address Translation" for the second stage; Svnapot and
//! Svpbmt are its chapters of those names). The IOMMU walks the same entries (RISC-V IOMMU Architecture Specification,
//! version 1.0.1, 2.3 and 3.3).
//!
//! All entries are 64 bits in tables of 4 KiB, 512 entries each. The root of a second-stage table (Sv39x4 and its
//! siblings) has four times as many entries: 16 KiB, aligned to as much.

use crate::Field;

/// Valid; an entry without it is ignored in all other bits.
pub const V: Field = Field::bit(0);
/// Reading is allowed. With [`R`], [`W`] and [`X`] all clear the entry links to the next table.
pub const R: Field = Field::bit(1);
/// Writing is allowed. Without [`R`] the encoding is reserved.
pub const W: Field = Field::bit(2);
/// Fetching instructions is allowed.
pub const X: Field = Field::bit(3);
/// The page is a user's: required in leaves of the second stage, whose accesses all count as a user's. In a first stage,
/// supervisor requests may not use it unless SUM is set. Reserved, so zero, in links.
pub const U: Field = Field::bit(4);
/// Global: in all address spaces.
pub const G: Field = Field::bit(5);
/// Accessed. Hardware sets it where the device context's SADE or GADE is set, else a page without it faults. Reserved, so
/// zero, in links.
pub const A: Field = Field::bit(6);
/// Dirty. As [`A`], for writes. Reserved, so zero, in links.
pub const D: Field = Field::bit(7);
/// Software's own.
pub const RSW: Field = Field::bits(9, 8);
/// Physical page number: address bits 55:12. In a leaf above the lowest level, the bits below the page's size must be
/// zero.
pub const PPN: Field = Field::bits(53, 10);
/// Reserved, so zero.
pub const RESERVED: Field = Field::bits(60, 54);
/// Svpbmt: how the page's memory is reached, [`PBMT_PMA`], [`PBMT_NC`] or [`PBMT_IO`]. Reserved, so zero, in links, and
/// where capabilities.Svpbmt is clear.
pub const PBMT: Field = Field::bits(62, 61);
/// Svnapot: the page is a naturally aligned power of two, as the low bits of [`PPN`] say: [`NAPOT_64K`]. Reserved, so
/// zero, in links and above the lowest level.
pub const N: Field = Field::bit(63);

/// [`PBMT`]: as the physical memory attributes of the place are.
pub const PBMT_PMA: u64 = 0;
/// [`PBMT`]: main memory, not cached, idempotent, weakly ordered.
pub const PBMT_NC: u64 = 1;
/// [`PBMT`]: I/O, not cached, strongly ordered.
pub const PBMT_IO: u64 = 2;

/// The low bits of [`PPN`] in each of the 16 entries of a 64 KiB page with [`N`]: the only size that Svnapot defines.
pub const NAPOT_64K: Field = Field::bits(13, 10);
/// What [`NAPOT_64K`] holds.
pub const NAPOT_64K_PATTERN: u64 = 0b1000;
/// Base-2 logarithm of the bytes of such a page.
pub const NAPOT_64K_SHIFT: u32 = 16;

/// Address bits below the index of the lowest level; an address shifted right by it is a page number.
pub const PAGE_SHIFT: u32 = 12;
/// Address bits that a level indexes.
pub const LEVEL_BITS: u32 = 9;
/// Address bits that the root of a second-stage table indexes beyond [`LEVEL_BITS`].
pub const SECOND_STAGE_ROOT_BITS: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::cover;

    #[test]
    fn masks() {
        // Linux arch/riscv/include/asm/pgtable-bits.h and pgtable-64.h.
        for (bit, field) in [V, R, W, X, U, G, A, D].into_iter().enumerate() {
            assert_eq!(field.mask(), 1 << bit);
        }
        assert_eq!(RSW.mask(), 0x300);
        assert_eq!(PPN.mask(), 0x003f_ffff_ffff_fc00);
        assert_eq!(PBMT.put(PBMT_NC), 1 << 61);
        assert_eq!(PBMT.put(PBMT_IO), 1 << 62);
        assert_eq!(N.mask(), 1 << 63);
        assert_eq!(NAPOT_64K.put(NAPOT_64K_PATTERN), 0x2000);
    }

    #[test]
    fn the_fields_cover_an_entry_once() {
        let fields = [V, R, W, X, U, G, A, D, RSW, PPN, RESERVED, PBMT, N];
        assert_eq!(cover(&fields, 0), u64::MAX);
        assert_eq!(fields.iter().map(|field| u32::from(field.bits)).sum::<u32>(), 64);
    }
}
