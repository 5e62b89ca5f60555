//! What a person studies of a machine.
//!
//! * [`tables`]: firmware tables and device trees, every byte of them named and explained.
//!
//! Nothing here decides anything: the subsystem does not use it. What it shows comes from the crates that do decide, so that
//! what a person reads is what the subsystem has read. Whatever is shown can be written as JSON.
#![forbid(unsafe_code)]

pub mod tables;
