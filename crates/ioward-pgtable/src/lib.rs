//! One page-table engine for every IOMMU page-table format.
//!
//! 1. **One algorithm, formats as thin descriptions.** [`Format`] says where bits are; [`Table`] is written once and
//!    compiled for each format, so that no instruction is spent on a feature that a format lacks. [`AnyTable`] chooses
//!    among them by a [`TableConfig`](ioward_types::TableConfig).
//! 2. **Calls on disjoint ranges need no lock.** A table is installed by compare-and-swap, and freed only by the call
//!    that covers its whole span, never because it became empty: nobody else can be inside.
//! 3. **Nothing that hardware may still walk is reused.** [`Table::unmap`] hands out what it took off as [`Detached`];
//!    it is freed after the invalidation, and leaked if that never comes. Dropping a table leaks it.
//! 4. **An existing entry is never changed by a map.** What the failed call itself added is undone and reported, because
//!    an IOMMU may have cached it.
//! 5. **Foreign memory is hostile.** [`walk`] reads any memory through [`ReadMemory`] and neither loops nor panics.
#![no_std]

#[cfg(test)]
extern crate std;

mod any;
mod cut;
mod detached;
mod error;
mod format;
pub mod formats;
mod harvest;
mod map;
mod mem;
mod next;
mod page;
mod run;
mod table;
mod unmap;
mod walk;

pub use any::{AnyTable, shape};
pub use detached::Detached;
pub use error::{ConfigError, CutError, GrowError, HarvestError, MapCause, MapError, RangeError, UnmapError};
pub use format::{Format, Kind, Options, Rules, Shape, Touched};
pub use mem::Mem;
pub use page::Plain;
pub use table::Table;
#[doc(hidden)]
pub use table::{CLEANED, EXACT, MARKED};
pub use unmap::Unmapped;
pub use walk::{Meaning, ReadMemory, Step, Walk, WalkError, walk};
