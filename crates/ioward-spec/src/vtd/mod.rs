//! Intel VT-d: field positions, register offsets, descriptor types and fault reasons.
//!
//! Source: *Intel Virtualization Technology for Directed I/O, Architecture Specification*, revision 4.1, order number
//! D51397. Section numbers are that revision's. Names are the specification's; where revision 3.3 renamed first and
//! second *level* to *stage*, the new name is used and the old one is given.
//!
//! Each module that holds fields lists them as `ALL`, so that a decoder can print them and a test can hold every one
//! against a mask from outside. Bits are numbered as in the text, through all words of a structure.
//!
//! * [`registers`]: chapter 11: offsets, and the fields of all registers but the two capability registers;
//! * [`capability`]: the capability and extended capability registers, 11.4.2 and 11.4.3;
//! * [`root`]: root entries of legacy and scalable mode, 9.1 and 9.2;
//! * [`context`]: context entries of legacy and scalable mode, 9.3 and 9.4;
//! * [`pasid`]: PASID directory and table entries, 9.5 and 9.6;
//! * [`paging`]: page-table entries of both stages, 9.7 and 9.8;
//! * [`descriptor`]: invalidation descriptors and the page group response, 6.5.2 and 7.6;
//! * [`fault`]: fault records and fault reasons, 9.9, 7.1 and 5.1.4.1;
//! * [`prq`]: page request descriptors, 7.4.1;
//! * [`interrupts`]: interrupt remapping table entries and interrupt requests, 9.10 and 5.1.

/// Declares fields as the specification writes them, and the list of all of them.
macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident = [$high:literal : $low:literal];)*) => {
        $($(#[$doc])* pub const $name: $crate::Field = $crate::Field::bits($high, $low);)*
        /// Every field above with its name.
        pub const ALL: &[(&str, $crate::Field)] = &[$((stringify!($name), $name)),*];
    };
}

pub mod capability;
pub mod context;
pub mod descriptor;
pub mod fault;
pub mod interrupts;
pub mod paging;
pub mod pasid;
pub mod prq;
pub mod registers;
pub mod root;
#[cfg(test)]
mod tests;
