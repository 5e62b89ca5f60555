//! PCI configuration space, topology, requester-ID aliases and IOMMU groups.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`access`] | reaching configuration space: a trait, the enhanced access mechanism, bytes of a dump |
//! | [`regs`] | offsets and bits |
//! | [`caps`] | bounded walks of capability lists |
//! | [`function`], [`config`] | one function: what is there, what is not, what could not be read |
//! | [`class`] | what classes are called |
//! | [`topology`] | functions, the buses between them, virtual functions, who issues whose requests |
//! | [`lspci`] | the same from the text that `lspci` prints |
//! | [`quirks`] | what is known of particular devices, as data |
//! | [`requesters`] | the requester IDs that requests may carry |
//! | [`joins`] | what the subsystem wants to know of each function |
//! | [`groups`] | two policies, and the reasons for what they say |
//! | [`edit`] | a machine with something changed: what would be if |
//! | [`enable`] | turning ACS on, as a kernel does before it groups |
//! | [`enumerate`] | bus numbers and base addresses, for machines whose firmware assigned none |
//!
//! Principles:
//! 1. Configuration space, dumps and text come from outside: nothing in them panics or hangs, and what contradicts itself
//!    is reported with the function it was found in.
//! 2. What could not be read is not the same as what is absent.
#![no_std]
extern crate alloc;

pub mod access;
mod acs;
mod address;
pub mod caps;
pub mod class;
pub mod config;
pub mod edit;
pub mod enable;
pub mod enumerate;
mod finding;
pub mod function;
pub mod groups;
pub mod joins;
pub mod lspci;
pub mod quirks;
pub mod regs;
pub mod requesters;
mod scan;
pub mod topology;

pub use access::{ConfigAccess, ConfigSpace, Ecam, FunctionSpace};
pub use acs::{Acs, AcsBits, EgressVector, NotAcsBits, PortMemory};
pub use address::{Bdf, BusId, NotABdf};
pub use edit::{Edit, EditError, Edited};
pub use finding::{Finding, Problem};
pub use function::{Fact, Function, PortType};
pub use topology::Topology;
