//! PCI configuration space, topology, requester-ID aliases and IOMMU groups.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`access`] | reaching configuration space: a trait, the enhanced access mechanism, bytes of a dump |
//! | [`regs`] | offsets and bits |
//! | [`caps`] | bounded walks of capability lists |
//! | [`enumerate`] | bus numbers and base addresses, for machines whose firmware assigned none |
//!
//! Principles:
//! 1. Configuration space, dumps and text come from outside: nothing in them panics or hangs, and what contradicts itself
//!    is reported with the function it was found in.
//! 2. What could not be read is not the same as what is absent.
#![no_std]
extern crate alloc;

pub mod access;
mod address;
pub mod caps;
pub mod enumerate;
mod finding;
pub mod regs;

pub use access::{ConfigAccess, ConfigSpace, Ecam, FunctionSpace};
pub use address::{Bdf, BusId, NotABdf};
pub use finding::{Finding, Problem};
