//! Arm System MMU version 3: field positions, register offsets, command and event codes.
//!
//! Source: *Arm System Memory Management Unit Architecture Specification, SMMU architecture version 3*, ARM IHI 0070,
//! issue G.b. Section numbers are that issue's. Only the Non-secure programming interface is here: registers of page 0
//! below `0x8000` and of page 1, Non-secure commands, structures and events.
//!
//! Names are the specification's, without `SMMU_`; bits are numbered as there, through all words of a structure. Each
//! module that holds fields also lists them as `ALL`, so that a decoder can print them and a test can hold every one
//! against a mask from outside.
//!
//! * [`registers`]: chapter 6;
//! * [`ste`]: Stream table descriptors and entries, 5.1 and 5.2;
//! * [`cd`]: Context descriptors and their first-level descriptors, 5.3 and 5.4;
//! * [`command`]: the Command queue, chapter 4;
//! * [`event`]: the Event queue, 7.3;
//! * [`pri`]: the PRI queue, chapter 8.

/// Declares fields as the specification writes them, and the list of all of them.
macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident = [$high:literal : $low:literal];)*) => {
        $($(#[$doc])* pub const $name: $crate::Field = $crate::Field::bits($high, $low);)*
        /// Every field above with its name.
        pub const ALL: &[(&str, $crate::Field)] = &[$((stringify!($name), $name)),*];
    };
}

pub mod cd;
pub mod command;
pub mod event;
pub mod pri;
pub mod registers;
pub mod ste;
#[cfg(test)]
mod tests;

/// Shareability as registers, STE, CD and commands encode it (6.3.11, 5.2, 5.4).
pub mod shareability {
    /// Non-shareable.
    pub const NON: u64 = 0b00;
    /// Outer Shareable.
    pub const OUTER: u64 = 0b10;
    /// Inner Shareable.
    pub const INNER: u64 = 0b11;
}

/// Cacheability of table walks and structure fetches as CD.IR0/OR0, STE.S1CIR/S1COR and STE.S2IR0/S2OR0 encode it
/// (5.2, 5.4). CR1 encodes it differently: see [`registers::cr1`].
pub mod cacheability {
    /// Non-cacheable.
    pub const NON: u64 = 0b00;
    /// Write-Back, Read-Allocate (and for walks Write-Allocate).
    pub const WRITE_BACK: u64 = 0b01;
    /// Write-Through.
    pub const WRITE_THROUGH: u64 = 0b10;
    /// Write-Back, no Read-Allocate (no Write-Allocate for walks).
    pub const WRITE_BACK_NO_ALLOCATE: u64 = 0b11;
}
