//! RISC-V IOMMU and page tables: field positions, register offsets, command and fault codes.
//!
//! Source: *RISC-V IOMMU Architecture Specification*, version 1.0.1. Section numbers are that version's: chapter 2 is the
//! data structures, 3 the queues, 5 the registers, 6 the guidelines for software. Three things come from the release of
//! 2026-02-22, which extends it compatibly: `capabilities` bits NL, S and Svrsw60t59b and the operands NL and S of IOTINVAL
//! (its chapter 8). MSI page-table entries are the *RISC-V Advanced Interrupt Architecture*'s, version 1.0, 9.5.
//!
//! Names are the specification's in capitals; bits are numbered as there, through all words of a structure. Each module
//! that holds fields also lists them as `ALL`, so that a decoder can print them and a test can hold every one against a
//! mask from outside.
//!
//! * [`registers`]: chapter 5;
//! * [`device`]: device directory and device context, 2.1;
//! * [`process`]: process directory and process context, 2.2;
//! * [`msi`]: MSI page-table entries and memory-resident interrupt files;
//! * [`command`]: the command queue, 3.1;
//! * [`fault`]: the fault queue, 3.2;
//! * [`page_request`]: the page-request queue, 3.3;
//! * [`paging`]: page-table entries.

/// Declares fields as the specification numbers them, and the list of all of them.
macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident = [$high:literal : $low:literal];)*) => {
        $($(#[$doc])* pub const $name: $crate::Field = $crate::Field::bits($high, $low);)*
        /// Every field above with its name.
        pub const ALL: &[(&str, $crate::Field)] = &[$((stringify!($name), $name)),*];
    };
}

pub mod command;
pub mod device;
pub mod fault;
pub mod msi;
pub mod page_request;
pub mod paging;
pub mod process;
pub mod registers;
#[cfg(test)]
mod tests;

/// Bits of a page offset: a PPN is an address without them.
pub const PAGE_BITS: u32 = 12;
