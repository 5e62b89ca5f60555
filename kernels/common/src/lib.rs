//! What the kernels share. Each `main.rs` boots its machine, reads what firmware says and calls [`run`].
//!
//! This is the porting example: [`platform`] is all that a kernel must implement.
#![no_std]
extern crate alloc;

pub mod board;
pub mod lock;
pub mod memory;
pub mod platform;

pub use board::{Board, off};
pub use platform::Kernel;
