//! IOVA allocation.
//!
//! [`IovaTree`] is the ordered tree: exact, with reserved ranges, alignment and limits. It has no lock of its own.
#![cfg_attr(not(test), no_std)]
extern crate alloc;

mod tree;

pub use tree::{IovaError, IovaTree, Reserved};
