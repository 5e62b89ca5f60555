//! What a person studies of a machine.
//!
//! * [`tables`]: firmware tables and device trees, every byte of them named and explained;
//! * [`mod@walk`]: the translation of an IOVA step by step, in memory that nobody vouches for;
//! * [`whatif`]: groups before and after changes that nobody has made yet;
//! * [`regroup`]: what became of groups, and which facts did it;
//! * [`mod@diff`]: what differs between two machines;
//! * [`bits`]: ACS bits as people write them.
//!
//! Nothing here decides anything: the subsystem does not use it. What it shows comes from the crates that do decide, so that
//! what a person reads is what the subsystem has read. Whatever is shown can be written as JSON.
#![forbid(unsafe_code)]

pub mod bits;
pub mod diff;
pub mod regroup;
pub mod tables;
pub mod walk;
pub mod whatif;
