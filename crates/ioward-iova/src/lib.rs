//! IOVA allocation.
//!
//! [`IovaTree`] is the ordered tree: exact, with reserved ranges, alignment and limits. It has no lock of its own.
//! [`IovaAllocator`] puts caches for each CPU and a depot over it; that is what address spaces allocate from.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `free` | free ranges by address and by length |
//! | `tree` | the tree: free, reserved, allocated |
//! | `sizes` | which sizes are kept at hand, and how many of each |
//! | `stock` | what one CPU has at hand |
//! | `caches` | the allocator: stocks, depot, tree |
#![cfg_attr(not(test), no_std)]
extern crate alloc;

mod caches;
mod free;
mod sizes;
mod stock;
mod tree;

pub use caches::IovaAllocator;
pub use tree::{IovaError, IovaTree, Reserved};
