//! DMAR, IVRS, IORT, RIMT, VIOT and device tree to a neutral description of IOMMUs and what they serve.
//!
//! Each table has a module, and each module has two layers:
//!
//! * a **raw view** over the bytes, total and permissive: it never fails and never panics, fields beyond the end of a
//!   structure read as zero (as in a table of an older revision), and what it shows is what is there;
//! * the **facts**, [`ioward_types::describe::Fact`]s, delivered to a sink: only what makes sense, and a
//!   [`Problem`](ioward_types::describe::Problem) with an offset for whatever does not.
//!
//! Principles:
//! 1. Nothing is allocated; names are borrowed from the table.
//! 2. Nothing panics, whatever the bytes.
//! 3. A wrong checksum, an unknown structure or a broken entry is reported, and the rest is read all the same.
//! 4. A parser decides nothing about the machine: who wins where two scopes claim one source is not its business.
//!
//! ```
//! # use ioward_types::describe::{Fact, Table};
//! let mut broken = 0;
//! ioward_firmware::facts(Table::Iort, b"not a table", &mut |fact| broken += matches!(fact, Fact::Problem(_)) as u32);
//! assert_eq!(broken, 1);
//! ```
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod acpi;
pub mod devicetree;
pub mod dmar;
pub mod iort;
pub mod ivrs;
pub mod raw;
pub mod rimt;
mod sniff;
mod view;
pub mod viot;

pub use raw::Raw;
pub use sniff::{facts, kind_of};
